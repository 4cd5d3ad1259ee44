"""`taggant plan --choose`: which probes are fed in, decided by the reference before a questioned model is touched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.frequencies import Frequencies
from detect.cli.options import FILE, rows_of
from detect.cli.output import note, progress, refuse_output, writing
from detect.wording import amount

JSONL_SUFFIXES = (".jsonl", ".ndjson")  # as detect.readers.paths, which would import numpy

if TYPE_CHECKING:
    from detect.fed import Probe
    from detect.plans.plan import Plan
    from detect.readers import Row
    from watermark.keys import Key
    from watermark.windows import WindowRule


OPTIONS = (
    click.option("--choose", "choose_tokens", type=click.IntRange(1, 2**53), metavar="TOKENS",
                 help="Plan only the probes that --reference expects to say most, of this many answer tokens at most."),
    click.option("--chosen", "chosen_file", type=FILE,
                 help="--choose: write the chosen rows here, a new JSONL file; examine with these."),
)  # fmt: skip


def refuse_incomplete(ctx: click.Context, output: Path, asked: dict[str, Any]) -> None:
    """Raise UsageError unless everything that choosing needs is there, or nothing of it; and InputError if in the way.

    Args:
        output: the plan's file.
    """
    if asked["choose_tokens"] is None:
        if asked["chosen_file"]:
            raise click.UsageError("--chosen belongs to --choose TOKENS: give both", ctx)
        return
    chosen = asked["chosen_file"]
    if chosen is None:
        raise click.UsageError("--choose needs --chosen FILE.jsonl: where the chosen rows are written", ctx)
    if asked["reference_name"] is None:
        raise click.UsageError("--choose needs --reference: a model published before the key's first use decides", ctx)
    if chosen.suffix.lower() not in JSONL_SUFFIXES or chosen == output:
        raise click.UsageError(f"--chosen {chosen}: name a file of its own that ends in .jsonl", ctx)
    refuse_output(chosen)


def choose_rows(
    ctx: click.Context, key: Key, rows: Sequence[Row], reference_digest: str, asked: dict[str, Any]
) -> tuple[list[Row], str]:
    """The chosen of the candidates, most telling per token first, and a note on how they were chosen.

    Raises:
        InputError: none can be chosen.
    """
    from detect.cli.examination import own_tokenizer
    from detect.counting import window_rule
    from detect.plans.parts import PlannedProbes
    from detect.questioned.information import choose, expected_information
    from detect.questioned.probes import make_probes
    from detect.readers import refuse_foreign_ids
    from watermark.engines.models import load_model

    tokenizer, _ = own_tokenizer(key, asked["reference_name"], None)
    for row in rows:
        refuse_foreign_ids(row, len(tokenizer))
    usual = list(rows_of(asked["frequency_files"])) if asked["frequency_files"] else None
    frequencies = Frequencies.of(usual, key, tokenizer)
    probes, rule = make_probes(rows, tokenizer), window_rule(key)
    with progress(ctx, "choosing", _positions(probes, rule), "position") as advance:
        information = expected_information(
            load_model(asked["reference_name"]),
            probes,
            rule=rule,
            vocab_size=len(tokenizer),
            gamma=key.gamma,
            corpus=None if frequencies is None else frequencies.documents,
            on_positions=advance,
        )
    chosen = choose(information, asked["choose_tokens"])
    silent = sum(not len(values) for values in information.values)
    if silent:
        have = "has" if silent == 1 else "have"
        note(ctx, f"{amount(silent, 'probe')} {have} no answer to be read and could not be chosen")
    tokens = int(information.tokens[chosen].sum())
    how = (
        f"probes: {len(chosen):,} of {amount(len(rows), 'candidate')}, {amount(tokens, 'answer token')} of at most "
        f"{asked['choose_tokens']:,}, chosen for the information per token that the reference, digest "
        f"{reference_digest}, expects of them (ADR 0011); candidates: {PlannedProbes.of(rows).words}; contexts "
        f"weigh by their frequency in {'the candidates' if frequencies is None else frequencies.words}"
    )
    return [rows[number] for number in chosen], how


def save_both(plan: Plan, output: Path, rows: Sequence[Row], chosen: Path) -> None:
    """Write the chosen rows as JSONL, and the plan that names them: both, or neither."""
    from watermark.files import new_file

    with writing(chosen), new_file(chosen) as handle:
        for row in rows:
            handle.write(json.dumps(_members(row), ensure_ascii=False).encode() + b"\n")
    try:
        with writing(output):
            plan.save(output)
    except BaseException:
        chosen.unlink(missing_ok=True)
        raise


def _members(row: Row) -> dict[str, Any]:
    ids = {"prompt_ids": row.prompt_ids, "token_ids": row.token_ids}
    members = {"id": row.id, "prompt": row.prompt, "text": row.text}
    members |= {name: None if value is None else value.tolist() for name, value in ids.items()}
    return {name: value for name, value in members.items() if value is not None}


def _positions(probes: Sequence[Probe], rule: WindowRule) -> int:
    return sum(max(0, len(probe.answer_ids) - rule.context_width + 1) for probe in probes)
