"""`taggant validate`: the error-rate table that a report cites."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
from click.core import ParameterSource

from detect.cli.options import FILE, habits, json_option, load_key
from detect.cli.output import emit, emit_json, note
from detect.cli.types import DIRECTORY_OR_ID, PROBES, HexSeed, NamedFiles, Number

MODEL_ONLY = ("reference_name", "probe_files", "deltas", "answers", "max_new_tokens")
STRENGTHS = (1.0, 2.0, 3.0)


@dataclass(frozen=True)
class AskedValidation:
    """The options, under the names of `validate`'s parameters.

    Attributes:
        texts: of the user's populations: name → files.
        marked: of the user's marked texts: name → files.
    """

    key_file: Path | None
    tokenizer: str | None
    model_name: str | None
    reference_name: str | None
    probe_files: tuple[str, ...]
    deltas: tuple[float, ...]
    answers: int
    max_new_tokens: int
    texts: dict[str, list[str]]
    marked: dict[str, list[str]]
    keys: int
    lengths: tuple[int, ...]
    seed: bytes


@click.command(short_help="Error rates of the tests: a table with intervals, for a report to cite.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=FILE,
    help="Directory for validation.json, validation.csv and index.html; made if there is none.",
)
@click.option(
    "--key", "key_file", type=FILE, help="Take gamma, context width and tokenizer from this key.  [default: `trace`]"
)
@click.option(
    "--tokenizer", type=DIRECTORY_OR_ID, help="Of the texts.  [default: the one the key names, or the model's]"
)
@click.option(
    "--texts",
    multiple=True,
    type=NamedFiles(),
    help="A population of your own that no key had a part in: a name and a file or directory. May be repeated; the "
    "same name twice is one population.",
)
@click.option(
    "--marked", multiple=True, type=NamedFiles(), help="Texts of your own that --key marked, named as for --texts."
)
@click.option(
    "--model",
    "model_name",
    type=DIRECTORY_OR_ID,
    help="A model that saw no mark: it is read under fresh keys, and writes answers, unmarked and marked.",
)
@click.option("--reference", "reference_name", type=DIRECTORY_OR_ID, help="Read the model against this one.")
@click.option(
    "--probes",
    "probe_files",
    multiple=True,
    type=PROBES,
    help="What the model reads, as for `suspect`.  [default: the first built-in text of every domain]",
)
@click.option(
    "--delta",
    "deltas",
    multiple=True,
    type=Number(0, 50, min_open=True),
    help="Strength of the marked answers, nats; may be repeated.  [default: 1, 2, 3]",
)
@click.option(
    "--answers",
    default=64,
    show_default=True,
    type=click.IntRange(1, 185),
    help="Answers of each strength, each to another built-in prompt.",
)
@click.option(
    "--max-new-tokens", default=200, show_default=True, type=click.IntRange(min=1), help="Longest answer, tokens."
)
@click.option(
    "--keys", default=10_000, show_default=True, type=click.IntRange(100, 1_000_000), help="Fresh keys for each row."
)
@click.option(
    "--length",
    "lengths",
    multiple=True,
    type=click.IntRange(2, 1_000_000),
    help="Tokens of a text; may be repeated.  [default: 25, 50, 100, 200, 400, 1600]",
)
@click.option(
    "--seed",
    type=HexSeed(),
    default="0" * 64,
    help="All keys and answers are derived from it, 64 hex digits.  [default: zeros]",
)
@json_option
@habits
@click.pass_context
def validate(
    ctx: click.Context,
    output: Path,
    key_file: Path | None,
    tokenizer: str | None,
    texts: tuple[tuple[str, str], ...],
    marked: tuple[tuple[str, str], ...],
    model_name: str | None,
    reference_name: str | None,
    probe_files: tuple[str, ...],
    deltas: tuple[float, ...],
    answers: int,
    max_new_tokens: int,
    keys: int,
    lengths: tuple[int, ...],
    seed: bytes,
    as_json: bool,
) -> None:
    """How often the tests err on texts that no key had a part in, and how often they find what is marked.

    Null texts: built-in prose, code, other languages and repetitive text, and what --texts gives; cut to several
    lengths, and scored by count, e-value and scan under fresh keys that are derived from --seed. A --model is read
    under fresh keys, too, and writes answers that are unmarked or marked at several strengths. The table counts p at or
    below 0.1, 0.01, 10^-3, 10^-4 and 10^-6, with Clopper–Pearson intervals, and says whether the counts lie within
    limits that were set beforehand.

    The same command, inputs and seed give the same files, byte for byte. Interrupted, the same command goes on.

    \b
    taggant validate -o validation --tokenizer MODEL
    taggant validate -o validation --key owner.key --texts letters=case/letters --marked answers=marked.jsonl
    taggant validate -o validation --key owner.key --model BASE --reference OTHER
    """
    from detect.cli.validated_words import summary
    from detect.cli.validating import Validation
    from detect.validation.study import LENGTHS

    if marked and key_file is None:
        raise click.UsageError("--marked needs the --key that marked the texts", ctx)
    if model_name is None:
        _refuse_without_model(ctx)
    if key_file is None and tokenizer is None and model_name is None:
        raise click.UsageError("give --key, --tokenizer or --model: texts need a tokenizer", ctx)
    asked = AskedValidation(
        key_file=key_file,
        tokenizer=tokenizer,
        model_name=model_name,
        reference_name=reference_name,
        probe_files=probe_files,
        deltas=tuple(dict.fromkeys(deltas or STRENGTHS)),
        answers=answers,
        max_new_tokens=max_new_tokens,
        texts=_by_name(texts),
        marked=_by_name(marked),
        keys=keys,
        lengths=tuple(sorted(set(lengths or LENGTHS))),
        seed=seed,
    )
    study = Validation.begin(ctx, asked, None if key_file is None else load_key(key_file)).run(output)
    if as_json:
        emit_json(study)
    else:
        emit(summary(study))
    note(ctx, f"the whole table: {output / 'index.html'}")


def _refuse_without_model(ctx: click.Context) -> None:
    for parameter in ctx.command.params:
        if parameter.name in MODEL_ONLY and ctx.get_parameter_source(parameter.name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{parameter.opts[-1]} is for a model: give --model", ctx)


def _by_name(named: tuple[tuple[str, str], ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, path in named:
        found.setdefault(name, []).append(path)
    return found
