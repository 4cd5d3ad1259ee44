"""`taggant attribute`: whose marks does this material carry?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.casework import Inputs, at_case, at_run, case_options, refuse_lost_check, shown_options
from detect.cli.commitment import account_ids
from detect.cli.options import (
    FILE,
    TokenizerAtHand,
    alpha_option,
    effect_option,
    exit_code,
    habits,
    json_option,
    load_key,
)
from detect.cli.output import emit, emit_json, is_verbose, note, progress
from detect.cli.types import DIRECTORY_OR_ID, EPOCH, ROWS

if TYPE_CHECKING:
    from detect.attribution import Candidate, Group, Observation
    from detect.readers import Row
    from watermark.keys import Key


@click.command(short_help="Find whose mark, of thousands of accounts, a text or model carries.")
@click.option(
    "--keys", "directory", type=FILE, help="Directory of the accounts' key files, as `key derive` writes them."
)
@click.option("--owner", "owner_file", type=FILE, help="Derive the keys from this one instead; needs --accounts.")
@click.option("--accounts", "accounts_file", type=FILE, help="File with one account id a line.")
@click.option(
    "--epoch", "epochs", multiple=True, type=EPOCH, help="With --owner: the accounts' keys of this month; repeatable."
)
@click.argument("files", nargs=-1, type=ROWS)
@click.option(
    "--reading",
    "saved_file",
    type=FILE,
    help="Instead of FILES: what `suspect` saved, a reading or the weights of a model's answers; which, the file says.",
)
@click.option(
    "--sampled",
    is_flag=True,
    help="FILES are a questioned model's answers: nothing is claimed under keys that marked its prompts.",
)
@click.option("--tokenizer", type=DIRECTORY_OR_ID, help="Tokenizer of the text; default: the one each key names.")
@click.option(
    "--top",
    default=10,
    show_default=True,
    type=click.IntRange(min=0),
    help="Keys to show, best first; those attributed are always shown.",
)
@alpha_option("Chance of any false attribution.")
@effect_option
@click.option("--strict", is_flag=True, help="Exit 4 when nothing is attributed and too little was observed to tell.")
@click.option("--fail-on-detect", is_flag=True, help="Exit 1 when an account's mark is found.")
@json_option
@click.option("--key", "key_file", type=FILE, help="With --case: the key file of the case's mark, one of those listed.")
@case_options
@habits
@click.pass_context
def attribute(
    ctx: click.Context, /, top: int, alpha: float, effect: float | None, strict: bool, fail_on_detect: bool,
    as_json: bool, key_file: Path | None, case_directory: Path | None, signer_file: Path | None, **asked: Any,
) -> int:  # fmt: skip
    """Whose marks does this material carry: one account's, several, or none?

    FILES are what `taggant detect` takes, all pooled, and every distinct pair is counted once under each key. The
    p-values are Holm-adjusted over all keys, so --alpha is the chance of any false attribution, also when some marks
    are there. List every account that could have had a part, and every month; not those that an earlier look brought
    up.

    --case: a case is of one mark, that of --key. Recorded is what the material is under this key, its p multiplied by
    the number of keys listed; of the other accounts nothing but that number.

    \b
    taggant attribute --keys accounts/ answers.jsonl
    taggant attribute --owner owner.key --accounts ids.txt --epoch 2026-10 --epoch 2026-11 answers.jsonl --json
    taggant attribute --owner owner.key --accounts ids.txt --reading student.npz
    """
    from detect.attribution import Judgement
    from detect.attribution import attribute as attribute_all
    from detect.cli.attributed import describe
    from detect.cli.own_key import OwnKey
    from detect.evidence import Assessment
    from detect.keycheck import on_record

    question = _Question(ctx, **asked)
    question.refuse_unclear()
    if (key_file is None) != (case_directory is None):
        raise click.UsageError("--case and --key go together: a case is of one mark", ctx)
    key = None if key_file is None else load_key(key_file)
    with at_case(ctx, case_directory, signer_file, key) as case:
        how = Assessment(alpha, effect, **({} if key is None or key_file is None else on_record(key, key_file)))
        refuse_lost_check(case, how.key_check)
        candidates = question.candidates()
        own = None if key is None else OwnKey.among(key, how, candidates)
        inputs = Inputs.of(case, question.files).and_files(case, question.saved_file, question.accounts_file)
        settled = shown_options(
            {"alpha": alpha, "effect": effect, "sampled": question.sampled, "epochs": question.epochs}
        )
        with at_run(case, "attribute", key, inputs, settled) as run:
            # Read once: standard input cannot be read again
            rows = list(inputs.rows(question.files)) if question.files else []
            groups = question.observed(candidates, rows)
            with progress(ctx, "accounts", len(candidates), "key") as advance:
                found = attribute_all(groups, Judgement(alpha, effect, top), on_key=advance)
            if run is not None and own is not None and question.saved_file is not None:
                own.record_saved(run, question.saved_file)
            elif run is not None and own is not None:
                own.record_rows(run, rows, question.tokenizer, sampled=question.sampled)
    if as_json:
        emit_json(found.to_dict())
    else:
        emit(describe(found, verbose=is_verbose(ctx)))
    finding = "detected" if found.attributed else "inconclusive" if found.n_inconclusive else "not detected"
    return exit_code([finding], strict=strict, fail_on_detect=fail_on_detect)


@dataclass(frozen=True)
class _Question:
    """What the command line asks: which keys, which material."""

    ctx: click.Context
    directory: Path | None
    owner_file: Path | None
    accounts_file: Path | None
    epochs: tuple[str, ...]
    files: tuple[str, ...]
    saved_file: Path | None
    sampled: bool
    tokenizer: str | None

    def refuse_unclear(self) -> None:
        """Exactly one source of keys and one of material (UsageError)."""
        for wrong, advice in (
            ((self.directory is None) == (self.owner_file is None), "give --keys DIR, or --owner KEY --accounts FILE"),
            ((self.owner_file is None) != (self.accounts_file is None), "--owner and --accounts go together"),
            (self.directory is not None and self.epochs, "--epoch goes with --owner; key files name their own months"),
            (bool(self.files) == (self.saved_file is not None), "give FILES, or --reading FILE"),
            (self.saved_file is not None and self.sampled, "--sampled goes with FILES, not with --reading"),
            (
                self.saved_file is not None and self.tokenizer,
                "--tokenizer goes with FILES; what was saved holds token ids",
            ),
        ):
            if wrong:
                raise click.UsageError(advice, self.ctx)

    def candidates(self) -> list[Candidate]:
        from detect.attribution import derived_candidates, key_files, load_candidates, refuse_doubles

        if self.directory is not None:
            paths = key_files(self.directory)
            with progress(self.ctx, "loading keys", len(paths), "key") as advance:
                candidates = load_candidates(paths, advance)
        else:
            assert self.owner_file is not None
            owner, accounts = load_key(self.owner_file), account_ids(self.accounts_file)
            months = list(dict.fromkeys(self.epochs))
            if owner.derived_from is not None:
                one = f"{owner.derived_from.kind} {owner.derived_from.label}"
                warning = f"Warning: {self.owner_file} is a derived key ({one}), not an owner's"
                note(self.ctx, f"{warning}: only keys that were derived from it can be found with it.")
            with progress(self.ctx, "deriving keys", len(accounts) * max(1, len(months)), "key") as advance:
                candidates = list(derived_candidates(owner, accounts, months, advance))
        refuse_doubles(candidates)  # before the long work
        return candidates

    def observed(self, candidates: Sequence[Candidate], rows: Sequence[Row]) -> list[Group]:
        """The material, once for every rule of pairs among the keys.

        Args:
            rows: of FILES; with --reading there are none.
        """
        from detect.attribution import Group, same_rule

        groups = same_rule(candidates)
        tokenizers = {group[0].rule[2] for group in groups}
        if self.saved_file is not None:
            seen = _saved(self.saved_file, [group[0].key for group in groups], len(tokenizers))
        else:
            _refuse_ambiguous_ids(rows, len(tokenizers - {None}))
            loaded: dict[Any, TokenizerAtHand] = {}
            seen = [self._of_rows(rows, group[0].key, loaded) for group in groups]
        return [Group(group, observation) for group, observation in zip(groups, seen, strict=True)]

    def _of_rows(self, rows: Sequence[Row], key: Key, loaded: dict[Any, TokenizerAtHand]) -> Observation:
        """`loaded` keeps a tokenizer for the next group that needs the same."""
        from detect.attribution import Observation
        from detect.readers import tokenized

        identity = key.tokenizer
        tokenizer = loaded.get(identity) or loaded.setdefault(identity, TokenizerAtHand(key, self.tokenizer))
        vocab_size = None if identity is None else identity.vocab_size
        collection = tokenized(rows, key.context_width, tokenizer.load, vocab_size=vocab_size)
        return Observation.of_documents(
            key,
            collection.documents,
            collection.prompts,
            test="sampled" if self.sampled else "text",
            tokenizer_checked=tokenizer.checked,
            notes=collection.notes,
        )


def _saved(path: Path, keys: Sequence[Key], tokenizers: int) -> list[Observation]:
    from detect.attribution import Observation
    from detect.observation import load_observed
    from watermark.engines.models import file_sha256
    from watermark.errors import InputError

    if tokenizers > 1:
        raise InputError("what was saved is of one tokenizer, but the keys are of several; give the keys of one")
    observed = load_observed(path)
    notes = [f"computed from a saved file: {observed.FORMAT}, SHA-256 {file_sha256(path)}"]
    return [Observation.of_weighted(key, observed, notes) for key in keys]


def _refuse_ambiguous_ids(rows: Sequence[Row], tokenizers: int) -> None:
    from detect.visible import one_line
    from watermark.errors import InputError

    if tokenizers < 2:
        return
    for row in rows:
        if row.token_ids is not None or row.prompt_ids is not None:
            raise InputError(
                f"{one_line(row.source)} holds token ids, which mean one tokenizer, but the keys are of {tokenizers}; "
                "give text, or the keys of one tokenizer at a time"
            )
