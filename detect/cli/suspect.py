"""`taggant suspect`: does a questioned model depend on this key?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.options import (
    FILE,
    exit_code,
    habits,
    json_option,
    key_option,
    load_key,
    rows_of,
    sample_seed_option,
    temperature_option,
    test_options,
    tokenizer_for,
)
from detect.cli.output import detail, emit, emit_json, note, progress, refuse_output
from detect.cli.types import DIRECTORY_OR_ID, ROWS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from detect.counting import Tally, WeightTally
    from detect.decoys import Lineup
    from detect.observation import Probe
    from watermark.engines.answers import Sampling
    from watermark.keys import Key


@click.command(short_help="Test a questioned model whose weights are at hand.")
@key_option
@click.option(
    "--model", "model_name", required=True, type=DIRECTORY_OR_ID, help="Directory or hub id of the questioned model."
)
@click.option(
    "--reference",
    "reference_name",
    type=DIRECTORY_OR_ID,
    help="A model published before the key's first use, best its base model: makes `reading` strong.",
)
@click.option(
    "--probes",
    "probe_files",
    required=True,
    multiple=True,
    type=ROWS,
    help="JSONL, Parquet, text files or a directory: rows {prompt?, text? or token_ids?}; may be repeated.",
)
@click.option(
    "--probes-marked",
    is_flag=True,
    help="Prompts or answers of the probes carry the mark: no p is claimed. Noticed without it where it shows.",
)
@click.option(
    "--sample",
    "sample_tokens",
    type=click.IntRange(min=1),
    help="Add the sampled test with this many tokens, at least.",
)
@click.option(
    "--max-new-tokens",
    default=64,
    show_default=True,
    type=click.IntRange(min=1),
    help="Longest sampled answer, tokens.",
)
@temperature_option
@click.option(
    "--top", default=None, type=click.IntRange(min=1), help="Weights kept per context in `reading`.  [default: 256]"
)
@click.option(
    "--save-reading",
    type=FILE,
    help="Write what `reading` read as .npz: weights of pairs, to be scored again by others.",
)
@click.option(
    "--tokenizer", type=DIRECTORY_OR_ID, help="Default: the one the key names; the questioned model's only without it."
)
@sample_seed_option
@json_option
@test_options
@habits
@click.pass_context
def suspect(
    ctx: click.Context,
    key_file: Path,
    model_name: str,
    reference_name: str | None,
    probe_files: tuple[str, ...],
    probes_marked: bool,
    sample_tokens: int | None,
    max_new_tokens: int,
    temperature: float,
    top: int | None,
    save_reading: Path | None,
    tokenizer: str | None,
    sample_seed: int,
    as_json: bool,
    decoys: int | None,
    seed: bytes,
    alpha: float,
    effect: float | None,
    strict: bool,
    fail_on_detect: bool,
) -> int:
    """Test a questioned model whose weights are at hand.

    Reads its next-token distributions on the answers in --probes (`reading`); with --sample it is also asked their
    prompts (`sampled`). Probes must not depend on the key, neither prompts nor answers: use natural text, or unmarked
    answers of the teacher. They are tested for the mark, whatever else the rows say; if they carry it, no p is claimed.

    \b
    taggant generate --model TEACHER --no-mark --prompts prompts.jsonl -o probes.jsonl
    taggant suspect --key owner.key --model QUESTIONED --reference BASE --probes probes.jsonl --decoys 1000
    """
    from detect.evidence import Assessment, assess_family
    from detect.keycheck import load_check
    from watermark.engines.answers import Sampling
    from watermark.errors import InputError

    refuse_output(save_reading)
    key = load_key(key_file)
    record = load_check(key, key_file)
    how = Assessment(
        alpha=alpha,
        effect=effect,
        key_check=None if record is None else record.accepted,
        probes_marked=probes_marked,
    )
    rows = list(rows_of(probe_files, prompts_only_ok=True))
    _refuse_unusable(rows, sample_tokens, save_reading)
    examination = _Examination.begin(ctx, key, model_name, tokenizer, rows)
    tallies: dict[str, Tally] = {}
    notes: dict[str, list[str]] = {}
    if any(len(probe.answer_ids) for probe in examination.probes):
        tallies["reading"], notes["reading"] = examination.reading(reference_name, top, save_reading)
    elif sample_tokens is not None:
        note(ctx, "The probes hold no answers: only the sampled test is run.")
    else:
        raise InputError("the probes' answers are all empty; give probes with text or token_ids")
    if sample_tokens is not None:
        sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature)
        tallies["sampled"], notes["sampled"] = examination.sampled(sample_tokens, sampling, sample_seed)
    lineups = [_lineup(ctx, name, tally, None if probes_marked else decoys, seed) for name, tally in tallies.items()]
    judged = assess_family(list(tallies.values()), how, lineups=lineups, notes=list(notes.values()))
    family = dict(zip(tallies, judged, strict=True))
    if as_json:
        emit_json({name: one.to_dict() for name, one in family.items()})
    else:
        from detect.cli.people import describe

        emit("\n\n".join(describe(one) for one in family.values()))
    return exit_code([one.finding for one in family.values()], strict=strict, fail_on_detect=fail_on_detect)


def _refuse_unusable(rows: list[Any], sample_tokens: int | None, save_reading: Path | None) -> None:
    """Say it before a model is loaded."""
    from watermark.errors import InputError

    if save_reading is not None and all(row.text is None and row.token_ids is None for row in rows):
        raise InputError("the probes hold prompts only, so there is nothing to read: leave out --save-reading")
    if sample_tokens is None and all(row.text is None and row.token_ids is None for row in rows):
        raise InputError("the probes hold prompts only: `reading` needs answers (text or token_ids); or add --sample")
    if sample_tokens is not None and all(row.prompt is None and row.prompt_ids is None for row in rows):
        raise InputError("the probes hold no prompts, which --sample needs: give rows with `prompt` or `prompt_ids`")


@dataclass
class _Examination:
    """A questioned model, the key, and the probes as that model sees them."""

    ctx: click.Context
    key: Key
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    probes: list[Probe]
    plain_prompts: list[list[int]]
    digest: str
    tokenizer_notes: list[str]

    @classmethod
    def begin(
        cls, ctx: click.Context, key: Key, model_name: str, tokenizer_name: str | None, rows: list[Any]
    ) -> _Examination:
        from detect.questioned.probes import make_probes, plain_prompts
        from watermark.engines.models import load_model, model_digest

        tokenizer, tokenizer_notes = _own_tokenizer(key, model_name, tokenizer_name)
        probes, plain = make_probes(rows, tokenizer), plain_prompts((row.prompt for row in rows), tokenizer)
        for row, probe in zip(rows, probes, strict=True):
            _refuse_foreign_ids(row.source, probe, len(tokenizer))
        model = load_model(model_name)
        digest = model_digest(model_name)
        detail(ctx, f"questioned model {model_name}, digest {digest}")
        return cls(ctx, key, model, tokenizer, probes, plain, digest, tokenizer_notes)

    def _notes(self, *more: str) -> list[str]:
        """What another examiner needs to see the same."""
        import torch

        from detect.observation import probes_digest

        return [
            f"questioned model: digest {self.digest}; torch {torch.__version__}, threads {torch.get_num_threads()}",
            f"probes: {len(self.probes)} rows, SHA-256 {probes_digest(self.probes)} over prompt, answer of each "
            "(length, then token ids; little-endian uint32)",
            *self.tokenizer_notes,
            *more,
        ]

    def reading(self, reference_name: str | None, top: int | None, save: Path | None) -> tuple[WeightTally, list[str]]:
        from detect.counting import weigh, window_rule
        from detect.questioned.reading import DEFAULT_TOP, read_model
        from watermark.engines.models import load_model, model_digest

        reference = None if reference_name is None else load_model(reference_name)
        positions = sum(max(0, len(probe.answer_ids) - self.key.context_width + 1) for probe in self.probes)
        with progress(self.ctx, "reading", positions, "position") as advance:
            reading = read_model(
                self.model,
                self.probes,
                rule=window_rule(self.key),
                vocab_size=len(self.tokenizer),
                reference=reference,
                exclude=self.plain_prompts,
                top=top or DEFAULT_TOP,
                on_positions=advance,
            )
        if reference is not None and not len(reading.pairs):
            note(self.ctx, "The model and its reference predict the same everywhere: they seem to be one model.")
        if save is not None:
            reading.save(save)
            note(self.ctx, f"reading: {save}")
        kept = f"K = {top or DEFAULT_TOP} weights kept per context"
        compared = "no reference" if reference_name is None else f"reference: digest {model_digest(reference_name)}"
        return weigh(self.key, reading), self._notes(f"{compared}; {kept}")

    def sampled(self, n_tokens: int, sampling: Sampling, seed: int) -> tuple[Tally, list[str]]:
        from detect.counting import tally
        from detect.questioned.sampled import as_asked, sample_model

        prompts = [list(probe.prompt_ids) for probe in self.probes]
        with progress(self.ctx, "sampling", n_tokens, "token") as advance:
            answers = sample_model(
                self.model, self.tokenizer, prompts, n_tokens, sampling=sampling, seed=seed, on_tokens=advance
            )
        counted = tally(self.key, answers.answers, [*answers.prompts, *self.plain_prompts], test="sampled")
        drawn = as_asked(sampling)
        return counted, self._notes(
            f"sampling: at least {n_tokens} tokens, temperature {drawn.temperature:g}, "
            f"at most {drawn.max_new_tokens} new tokens an answer, seed {seed}, {drawn.batch_size} prompts at a time",
            "the number of tokens was fixed beforehand: a second, larger look must be judged by log10_e",
        )


def _own_tokenizer(key: Key, model_name: str, given: str | None) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """--tokenizer, else the key's; the questioned model's only where neither can be had. And what to note of it.

    The key's hash covers the tokens, not merges, normaliser and template, which the examined party could have changed.

    Raises:
        TokenizerMismatchError: a tokenizer, the questioned model's included, is not the one of the key.
    """
    from watermark.engines.models import load_tokenizer, tokenizer_fingerprint
    from watermark.errors import InputError, ModelError

    name = given or (key.tokenizer.name if key.tokenizer is not None else "")
    try:
        tokenizer = tokenizer_for(key, given)
    except InputError:
        if given:
            raise
        tokenizer, name = load_tokenizer(model_name), model_name
        key.check_tokenizer(tokenizer)
    notes = [key.special_ids_note(verified=True)]
    if name == model_name:
        return tokenizer, [*notes, "tokenizer and chat template are the questioned model's own"]
    try:
        its_own = load_tokenizer(model_name)
        if not given:  # with --tokenizer the user vouches for the model's ids
            key.check_tokenizer(its_own)
        mine, its = tokenizer_fingerprint(name), tokenizer_fingerprint(model_name)
    except ModelError:
        return tokenizer, [*notes, "the questioned model's directory holds no usable tokenizer; the key's was used"]
    if mine != its:
        notes.append(f"the questioned model's tokenizer files differ ({its[:16]}) from those used ({mine[:16]})")
    return tokenizer, notes


def _refuse_foreign_ids(source: str, probe: Probe, vocabulary: int) -> None:
    from watermark.errors import InputError

    largest = max([*probe.prompt_ids, *probe.answer_ids], default=0)
    if largest >= vocabulary:
        raise InputError(f"{source}: token id {largest} is not among the tokenizer's {vocabulary} tokens")


def _lineup(ctx: click.Context, name: str, tally: Tally, decoys: int | None, seed: bytes) -> Lineup | None:
    from detect.decoys import lineup

    if decoys is None:
        return None
    with progress(ctx, f"line-up, {name}", decoys, "decoy") as advance:
        return lineup(tally, decoys, seed=seed, on_decoy=advance)
