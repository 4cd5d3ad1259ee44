"""`taggant validate` at work: texts and models → rows, scored one after the other into a journal → three files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.options import rows_of, tokenizer_for
from detect.cli.output import note, progress, writing
from detect.validation.populations import Population, builtin_populations
from detect.validation.study import Design, null_rows
from watermark.errors import InputError

if TYPE_CHECKING:
    from detect.cli.validate import AskedValidation
    from detect.cli.validating_model import ModelAtHand
    from detect.readers import Collection
    from detect.validation.marked import MarkedText
    from watermark.journal import Journal
    from watermark.keys import Key
    from watermark.keys.parameters import Parameters

JOURNAL, JSON, CSV, PAGE = ".validation.journal", "validation.json", "validation.csv", "index.html"
_GOES_ON = "free space; the same command then goes on from there"


@dataclass
class Steps:
    """What is done once, and read from the journal when the command is run again."""

    journal: Journal
    _done: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._done = {entry["step"]: entry["found"] for entry in self.journal.entries}

    def has(self, step: str) -> bool:
        return step in self._done

    def get(self, step: str, compute: Callable[[], Any]) -> Any:
        """What `compute` gave (JSON), now or in an earlier run."""
        if step not in self._done:
            found = compute()
            self.journal.append({"step": step, "found": found})
            self._done[step] = found
        return self._done[step]


@dataclass
class Validation:
    """One study: its design, texts in token ids, and the model where there is one."""

    ctx: click.Context
    asked: AskedValidation
    key: Key | None
    design: Design
    populations: list[Population]
    given: dict[str, list[MarkedText]]
    model: ModelAtHand | None

    @classmethod
    def begin(cls, ctx: click.Context, asked: AskedValidation, key: Key | None) -> Validation:
        tokenizer = _tokenizer(asked, key)
        design = Design(_parameters(key, tokenizer), asked.seed, asked.keys, asked.lengths)
        populations = builtin_populations(tokenizer)
        taken = {*(one.name for one in populations), "answers", "model"}
        for name, files in asked.texts.items():
            if name in taken:
                raise click.UsageError(f"--texts {name}=…: that name is taken; choose another", ctx)
            found = _collection(ctx, files, design, tokenizer)
            what = "given with --texts; that no key had a part in them is the word of who gave them"
            populations.append(Population(name, what, tuple(found.documents), tuple(found.prompts)))
        given = {name: _marked(ctx, files, design, tokenizer, key) for name, files in asked.marked.items()}
        model = None
        if asked.model_name is not None:
            from detect.cli.validating_model import ModelAtHand

            model = ModelAtHand.begin(ctx, asked, design, tokenizer)
        return cls(ctx, asked, key, design, populations, given, model)

    def run(self, output: Path) -> dict[str, Any]:
        """Score everything, and write the three files into `output`; returns what validation.json holds.

        Raises:
            InputError: a result is there already, or cannot be written.
        """
        from detect.bundles.canonical import dumps
        from watermark.files import strict_json
        from watermark.journal import Journal

        _prepare(output)
        described = self._described()
        with Journal(output / JOURNAL, described) as journal:
            if journal.entries:
                note(self.ctx, f"{len(journal.entries)} steps are done already; going on")
            written = dumps(self._study(Steps(journal), described))
            study: dict[str, Any] = strict_json(written)  # page and table are made of what the JSON says, no more
            _write(output, written, study)
            journal.remove()
        return study

    def _described(self) -> dict[str, Any]:
        """What is studied, and by what: equal exactly when the figures must be."""
        from detect.validation.marked import marked_sha256

        return {
            "taggant": version("taggant"),
            **self.design.describe(),
            "populations": [one.describe() for one in self.populations],
            "given": [
                {"name": name, "texts": len(texts), "sha256": marked_sha256(texts), "key_id": texts[0].key.key_id}
                for name, texts in self.given.items()
            ],
            "model": None if self.model is None else self.model.describe(),
            "key_check": self._key_check(),
            "made_with": {} if self.model is None else self.model.versions(),
        }

    def _key_check(self) -> dict[str, Any] | None:
        """The record beside the key, with the rule and the factor that every later p is multiplied by."""
        from detect.keycheck import load_check
        from detect.validation.record import CHECK_RULE

        if self.key is None or self.asked.key_file is None:
            return None
        found = load_check(self.key, self.asked.key_file)
        if found is None:
            return None
        kept = ("key_id", "accepted", "corpus_sha256", "n_documents", "n_scored")
        return {**{name: getattr(found, name) for name in kept}, "rule": CHECK_RULE, "factor": 1 / 0.99}

    def _study(self, steps: Steps, described: Mapping[str, Any]) -> dict[str, Any]:
        from detect.validation.marked import detect_at
        from detect.validation.record import record

        design, populations = self.design, list(self.populations)
        marked: list[tuple[str, float | None, list[MarkedText]]] = []
        if self.model is not None:
            unmarked, written = self.model.write(steps)
            populations.append(unmarked)
            marked += [("answers", delta, texts) for delta, texts in written]
        marked += [(name, None, texts) for name, texts in self.given.items()]
        rows, left_out = null_rows(design, populations)
        load_kernel(sum(row.keys * len(text.pairs) for row in rows for text in row.texts[:1]))
        reading = None if self.model is None else self.model.read(steps)
        total = sum(row.keys for row in rows) + (0 if self.model is None else design.keys)
        scored, read = [], []
        with progress(self.ctx, "scoring", total, "key") as advance:
            for row in rows:
                if steps.has(row.name):
                    advance(row.keys)
                scored.append((row, steps.get(row.name, partial(row.score, design.parameters, design.seed, advance))))
            if self.model is not None:
                read.append(self.model.score(steps, reading, advance))
        found = []
        for name, delta, texts in marked:
            for length in design.lengths:
                one = steps.get(f"found/{name}/{delta}/{length}", partial(detect_at, texts, length))
                if one is not None:
                    found.append({"population": name, "delta": delta, "tokens": length, **one})
        described = {**described, "populations": [one.describe() for one in populations]}
        return record(described, scored, read, found, left_out)


def load_kernel(colours: int) -> None:
    """The compiled colouring, where loading it costs less than it saves: many small texts never ask for it."""
    from detect.colouring import COMPILED_FROM

    if colours >= COMPILED_FROM:
        import watermark.chacha_numba  # noqa: F401


def _tokenizer(asked: AskedValidation, key: Key | None) -> Any:
    from watermark.engines.models import load_tokenizer

    if key is not None and (asked.tokenizer or key.tokenizer is not None):
        return tokenizer_for(key, asked.tokenizer)
    name = asked.tokenizer or asked.model_name
    if name is None:
        raise InputError("texts need a tokenizer: the key names none; give --tokenizer DIR or ID")
    return load_tokenizer(name)


def _parameters(key: Key | None, tokenizer: Any) -> Parameters:
    """The key's; without one those of the default profile."""
    from watermark.keys import DEFAULT_PROFILE, PROFILES, TokenizerIdentity
    from watermark.keys.parameters import Parameters

    if key is not None:
        return key.parameters
    profile = PROFILES[DEFAULT_PROFILE]
    return Parameters(profile.gamma_65536, profile.delta, profile.context_width, TokenizerIdentity.of(tokenizer))


def _collection(ctx: click.Context, files: list[str], design: Design, tokenizer: Any) -> Collection:
    from detect.readers import tokenized

    found = tokenized(rows_of(files), design.parameters.context_width, lambda: tokenizer, vocab_size=len(tokenizer))
    for line in found.notes:
        note(ctx, line)
    return found


def _marked(ctx: click.Context, files: list[str], design: Design, tokenizer: Any, key: Key | None) -> list[MarkedText]:
    from detect.validation.marked import MarkedText

    assert key is not None
    found = _collection(ctx, files, design, tokenizer)
    return [MarkedText(key, ids, prompt) for ids, prompt in zip(found.documents, found.document_prompts, strict=True)]


def _prepare(output: Path) -> None:
    """Make the directory; refuse one that holds a result, or somebody else's files under these names."""
    from watermark.files import refuse_existing

    refuse_existing(output / JSON)
    if not (output / JOURNAL).exists():
        for name in (CSV, PAGE):
            refuse_existing(output / name)
    with writing(output, "choose another place"):
        output.mkdir(exist_ok=True)


def _write(output: Path, written: bytes, study: dict[str, Any]) -> None:
    """The JSON last: where it is, the others are."""
    from detect.pages.validation import validation_page
    from detect.validation.record import table
    from watermark.files import new_file

    with writing(output / CSV, _GOES_ON), new_file(output / CSV, overwrite=True) as handle:
        handle.write(table(study))
    validation_page(study, output / PAGE)
    with writing(output / JSON, _GOES_ON), new_file(output / JSON) as handle:
        handle.write(written)
