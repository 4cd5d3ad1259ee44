"""`taggant suspect --model`: a questioned model whose weights are at hand is read, and asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from detect.cli.frequencies import Frequencies, scaled_by
from detect.cli.options import tokenizer_for
from detect.cli.output import detail, note, progress
from detect.wording import amount

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from detect.cli.asked import Asked
    from detect.cli.extent import Counting, Extent
    from detect.examined import Examined
    from detect.fed import Probe
    from detect.observation import Reading
    from detect.questioned.prompts import Prompts
    from detect.questioned.sampled import Answers
    from detect.readers import Row
    from watermark.engines.answers import Sampling
    from watermark.keys import Key


MAX_NEW_TOKENS = 64
CONTROL_ITSELF = (
    "the positive control is the questioned model itself (same digest): it cannot show what would have been found"
)
ONE_MODEL = (
    "the questioned model and its reference predict the same everywhere: they seem to be one model, of which nothing "
    "can be read"
)
RETOKENISED = "asked in the model's own tokens, and a plan does not settle its tokenizer"
ALIGNED = "read at aligned offsets, and a plan does not settle the models' own tokenizers"


@dataclass
class Examination:
    """A questioned model, the key, its tokenizer, and the probes in the key's token ids."""

    ctx: click.Context
    key: Key
    asked: Asked
    rows: list[Row]
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    probes: list[Probe]
    prompts: Prompts
    digest: str
    own_notes: list[str]
    frequencies: Frequencies | None

    @classmethod
    def begin(cls, ctx: click.Context, key: Key, rows: list[Row], asked: Asked) -> Examination:
        from detect.cli.foreign import fed_prompts, tokenizer_of
        from detect.questioned.probes import apart_notes, make_probes
        from detect.questioned.prompts import Prompts
        from detect.readers import refuse_foreign_ids
        from watermark.engines.models import load_model, model_digest

        model_name = str(asked.model_name)
        tokenizer, tokenizer_notes = own_tokenizer(key, model_name, asked.tokenizer)
        for row in rows:
            refuse_foreign_ids(row, len(tokenizer))
        probes = make_probes(rows, tokenizer)
        prompts = Prompts.of_probes(rows, probes, tokenizer)
        tokenizer_notes += apart_notes(rows, tokenizer, words_sent=False)
        frequencies = Frequencies.of(asked.frequency_rows, key, tokenizer)
        model = load_model(model_name)
        own = tokenizer_of(model, tokenizer)
        if own is not tokenizer:
            prompts.plain.extend(fed_prompts(own, rows, probes, tokenizer))
        digest = model_digest(model_name)
        detail(ctx, f"questioned model {model_name}, digest {digest}")
        notes = list(tokenizer_notes)
        if asked.control_name is not None and model_digest(asked.control_name) == digest:
            notes.append(CONTROL_ITSELF)
            note(ctx, f"Warning: {CONTROL_ITSELF}")
        return cls(ctx, key, asked, rows, model, tokenizer, probes, prompts, digest, notes, frequencies)

    def _notes(self, *more: str) -> list[str]:
        """What another examiner needs to see the same."""
        import torch

        from detect.fed import probes_digest

        other = "" if self.asked.tests is None else "; the plan's own digest is over the rows as written, so another"
        return [
            f"questioned model: digest {self.digest}; torch {torch.__version__}, threads {torch.get_num_threads()}",
            f"probes: {amount(len(self.probes), 'row')}, SHA-256 {probes_digest(self.probes)} over the token ids of "
            f"prompt, answer of each (length, then ids; little-endian uint32){other}",
            *self.own_notes,
            *more,
        ]

    def reading(self, *, against_reference: bool) -> Examined:
        """Read the model on the probes' answers, and the positive control where one was given."""
        from detect.counting import weigh
        from detect.examined import Examined
        from detect.observation import DEFAULT_TOP
        from watermark.engines.models import load_model, model_digest

        asked, top = self.asked, self.asked.top or DEFAULT_TOP
        name = asked.reference_name if against_reference else None
        reference = None if name is None else load_model(name)
        reading, covered = self._read("reading", self.model, reference, top)
        aligned = bool(covered)
        if reference is not None and not len(reading.pairs):
            covered = [*covered, ONE_MODEL]
            note(self.ctx, f"Warning: {ONE_MODEL}")
        if asked.save_reading is not None:
            reading.save(asked.save_reading)
            note(self.ctx, f"reading: {asked.save_reading}")
        control, read, control_covered = None, None, list[str]()
        if asked.control_name is not None:
            read, control_covered = self._read("positive control", load_model(asked.control_name), reference, top)
            control = weigh(self.key, read, tokenizer_checked=True)
        compared = "no reference"
        if name is not None:
            compared = f"reference: digest {model_digest(name)}{scaled_by(self.frequencies)}"
        notes = self._notes(f"{compared}; K = {top} weights kept per context", *covered)
        deviation = ALIGNED if aligned or control_covered else None
        counted = weigh(self.key, reading, tokenizer_checked=True)
        return Examined(counted, notes, control=control, deviation=deviation, observed=reading, control_observed=read)

    def _read(
        self, what: str, model: PreTrainedModel, reference: PreTrainedModel | None, top: int
    ) -> tuple[Reading, list[str]]:
        """A reading, and what to note of it: at aligned offsets where a model has another tokenizer than the key."""
        from detect.cli.foreign import aligned_reading, tokenizer_of
        from detect.counting import window_rule
        from detect.questioned.reading import read_model

        models = [model] if reference is None else [model, reference]
        tokenizers = [tokenizer_of(one, self.tokenizer) for one in models]
        corpus = None if self.frequencies is None else self.frequencies.documents
        how: dict[str, Any] = {
            "rule": window_rule(self.key), "exclude": self.prompts.plain, "corpus": corpus, "top": top,
        }  # fmt: skip
        positions = sum(max(0, len(probe.answer_ids) - self.key.context_width + 1) for probe in self.probes)
        with progress(self.ctx, what, positions, "position") as advance:
            if any(own is not self.tokenizer for own in tokenizers):
                return aligned_reading(models, tokenizers, self.rows, self.probes, self.tokenizer, advance, **how)
            reading = read_model(
                model,
                self.probes,
                vocab_size=len(self.tokenizer),
                reference=reference,
                on_positions=advance,
                **how,
            )
            return reading, []

    def sampled(self, level: float) -> dict[str, Examined]:
        """Ask the probes' prompts, and count the answers, or weigh them, or both, as a plan or the options say.

        Args:
            level: at which an e-process stops early.
        """
        from detect.cli.extent import Counting, Extent
        from detect.cli.foreign import tokenizer_of
        from detect.cli.weighing import Answered, Weighing
        from detect.examined import Examined
        from watermark.engines.models import load_model

        asked, extent = self.asked, Extent.of(self.asked, level)
        weighing = Weighing.if_asked(self.ctx, self.key, self.tokenizer, asked)
        counting = Counting(self.key, self.prompts.left_out, extent)
        answers = self._answers("sampling", self.model, extent, counting)
        other = None if weighing is None or asked.control_name is None else load_model(asked.control_name)
        notes = self._notes(*self._sampling_notes(extent), *self._retokenising_notes(answers))
        models = [self.model] if other is None else [self.model, other]
        foreign = any(tokenizer_of(one, self.tokenizer) is not self.tokenizer for one in models)
        deviation = RETOKENISED if foreign else None
        found = {}
        if "sampled/distinct" in asked.sampled_tests:
            counted, texts = counting.tally(answers.answers), counting.texts(answers.answers)
            found["sampled/distinct"] = Examined(counted, notes, deviation=deviation, observed=texts)
        if weighing is not None:
            control, answered = None, Answered.of_model(answers, self.prompts.plain)
            if other is not None:
                its = self._answers("positive control", other, extent, counting)
                control = weighing.weigh(Answered.of_model(its, self.prompts.plain), of_control=True)
            notes = [*notes, *weighing.notes(answered)]
            weighed = weighing.weigh(answered)
            found["sampled/excess"] = Examined(
                weighed.tally,
                notes,
                control=None if control is None else control.tally,
                deviation=deviation,
                observed=weighed.excess,
                control_observed=None if control is None else control.excess,
            )
        return found

    def _answers(self, what: str, model: PreTrainedModel, extent: Extent, counting: Counting) -> Answers:
        """Answers in the key's token ids: tokenised again where the model has another tokenizer."""
        from detect.cli.foreign import answers_in_own_tokens, tokenizer_of
        from detect.questioned.sampled import sample_model

        own = tokenizer_of(model, self.tokenizer)
        how: dict[str, Any] = {"sampling": self._drawn, "seed": self.asked.sample_seed, "stop": counting.stop}
        with _from_the_start(self.ctx), counting.progress(self.ctx, what) as advance:
            if own is not self.tokenizer:
                return answers_in_own_tokens(
                    model, own, self.rows, self.probes, self.tokenizer, extent.tokens, on_tokens=advance, **how
                )
            prompts = [list(probe.prompt_ids) for probe in self.probes]
            return sample_model(model, self.tokenizer, prompts, extent.tokens, on_tokens=advance, **how)

    def _retokenising_notes(self, answers: Answers) -> list[str]:
        from detect.cli.foreign import notes_on_retokenising, tokenizer_of

        if tokenizer_of(self.model, self.tokenizer) is self.tokenizer:
            return []
        return notes_on_retokenising(self.tokenizer, self.key.context_width, answers.answers, self.rows)

    @property
    def _drawn(self) -> Sampling:
        from detect.questioned.sampled import as_asked
        from watermark.engines.answers import Sampling

        asked = self.asked
        return as_asked(Sampling(asked.max_new_tokens or MAX_NEW_TOKENS, asked.temperature, asked.top_k, asked.top_p))

    def _sampling_notes(self, extent: Extent) -> list[str]:
        drawn = self._drawn
        cut = "".join(
            f", {name} {value:g}"
            for name, value, off in (("top-k", drawn.top_k, 0), ("top-p", drawn.top_p, 1))
            if value != off
        )
        how = (
            f"sampling: {extent.words}, temperature {drawn.temperature:g}{cut}, at most {drawn.max_new_tokens} new "
            f"tokens an answer, seed {self.asked.sample_seed}, {drawn.batch_size} prompts at a time; {extent.counted}"
        )
        later = "" if extent.next_look is None else f": {extent.next_look}"
        return [how] if extent.maximum_pairs is not None else [how, f"the number of tokens was {extent.settled}{later}"]


@contextmanager
def _from_the_start(ctx: click.Context) -> Iterator[None]:
    """Interrupted, say what becomes of the answers: unlike a server's they are in no log."""
    try:
        yield
    except KeyboardInterrupt:
        note(ctx, "No answers of a model at hand are kept: the same command asks from the start, with the same seed.")
        raise


def own_tokenizer(key: Key, model_name: str, given: str | None) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """--tokenizer, else the key's; the questioned model's only where neither can be had. And what to note of it.

    The key's hash covers the tokens, not merges, normaliser and template, which the examined party could have changed.

    Raises:
        TokenizerMismatchError: it is not the one of the key.
    """
    from detect.cli.foreign import notes_on_tokenizer
    from watermark.engines.models import load_tokenizer, tokenizer_fingerprint
    from watermark.errors import InputError, ModelError
    from watermark.keys import TokenizerIdentity

    name = given or (key.tokenizer.name if key.tokenizer is not None else "")
    try:
        tokenizer = tokenizer_for(key, given)
    except InputError:
        if given:
            raise
        tokenizer, name = load_tokenizer(model_name), model_name
        key.check_tokenizer(tokenizer)
    if name == model_name:
        return tokenizer, ["tokenizer and chat template are the questioned model's own"]
    try:
        its_own = load_tokenizer(model_name)
        mine, its = tokenizer_fingerprint(name), tokenizer_fingerprint(model_name)
    except ModelError:
        return tokenizer, ["the questioned model's directory holds no usable tokenizer; the key's was used"]
    if not TokenizerIdentity.of(its_own).same_tokens(TokenizerIdentity.of(tokenizer)):
        return tokenizer, notes_on_tokenizer(model_name, its_own)
    if mine == its:
        return tokenizer, []
    return tokenizer, [f"the questioned model's tokenizer files differ ({its[:16]}) from those used ({mine[:16]})"]
