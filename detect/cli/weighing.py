"""`taggant suspect` with a reference: answers of a model or a server are weighed, and what people must know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from detect.cli.frequencies import Frequencies, scaled_by
from detect.cli.output import detail, note, progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from detect.cli.asked import Asked
    from detect.counting import WeightTally
    from detect.fed import Probe
    from detect.observation import Excess, Expectation
    from detect.questioned.answer_ids import AnswerReader, Listed
    from detect.questioned.prompts import Prompts
    from detect.questioned.responses import Response
    from detect.questioned.sampled import Answers
    from watermark.keys import Key
    from watermark.windows import Document

AUDITED = 3  # every so-manieth of the built-in texts is read: 62 of them, some 9,000 tokens
SERVER_NOTE = (
    "what the reference expected was read behind the prompts as the key's tokenizer and its chat template have them: a "
    "system prompt or template of the server's own is not visible, and would make it less exact; that costs evidence, "
    "never validity, as long as nothing the server adds carries the mark"
)


@dataclass(frozen=True)
class Answered:
    """A questioned model's answers in the key's token ids, each behind its prompt.

    Attributes:
        prompts: every planned prompt, asked or not, in every form it takes.
        listed: of every answer, the log-probabilities that came with it.
    """

    probes: list[Probe]
    prompts: list[Document]
    listed: list[list[Listed] | None] | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of_model(cls, answers: Answers, plain_prompts: Sequence[Document]) -> Answered:
        """Of a model at hand."""
        from detect.fed import Probe

        probes = [Probe(answers.prompts[i], ids) for i, ids in zip(answers.asked, answers.answers, strict=True)]
        return cls(probes, [*answers.prompts, *plain_prompts])

    @classmethod
    def of_server(
        cls,
        responses: Sequence[Response],
        reader: AnswerReader,
        prompts: Prompts,
        *,
        lists_wanted: bool,
    ) -> Answered:
        """Of a server.

        Args:
            prompts: a response knows the number of its prompt among those seen.
            lists_wanted: log-probabilities were asked for; what a server sends unasked does not choose the weights.
        """
        from detect.fed import Probe

        answered = [one for one in responses if reader.length(one)]
        probes = [Probe(prompts.seen[one.prompt], reader.read(one).ids) for one in answered]
        listed = [reader.alternatives(one) if lists_wanted else None for one in answered]
        return cls(probes, prompts.left_out, listed, (SERVER_NOTE,))


class Weighed(NamedTuple):
    """What the reference made of answers, and the weights' colours."""

    excess: Excess
    tally: WeightTally


@dataclass(frozen=True)
class Weighing:
    """A reference that answers are weighed against. Begin before the questioned model is asked: it may be refused.

    Attributes:
        temperature: at which the answers are sampled.
        top: K.
        expectation: of the reference, for the audit that it does not depend on the key.
        save_to: where the weights of the questioned model's answers are written; None: nowhere.
    """

    ctx: click.Context
    key: Key
    reference: PreTrainedModel = field(repr=False)
    digest: str
    vocab_size: int
    temperature: float
    top: int
    expectation: Expectation | None = field(repr=False)
    frequencies: Frequencies | None = None
    save_to: Path | None = None

    @classmethod
    def if_asked(
        cls, ctx: click.Context, key: Key, tokenizer: PreTrainedTokenizerBase, asked: Asked
    ) -> Weighing | None:
        """As `begin`; None where no test needs it."""
        if "sampled/excess" not in asked.sampled_tests:
            return None
        return cls.begin(
            ctx,
            key,
            tokenizer,
            str(asked.reference_name),
            temperature=asked.temperature,
            top=asked.top,
            frequencies=Frequencies.of(asked.frequency_rows, key, tokenizer),
            save_to=asked.save_excess,
        )

    @classmethod
    def begin(
        cls,
        ctx: click.Context,
        key: Key,
        tokenizer: PreTrainedTokenizerBase,
        reference_name: str,
        *,
        temperature: float,
        top: int | None = None,
        frequencies: Frequencies | None = None,
        save_to: Path | None = None,
    ) -> Weighing:
        """Load the reference.

        Args:
            tokenizer: the key's.

        Raises:
            InputError: it has other tokens than the key's tokenizer.
        """
        from detect.observation import DEFAULT_TOP
        from watermark.engines.models import load_model, model_digest

        _refuse_foreign(reference_name, tokenizer)
        reference, digest = load_model(reference_name), model_digest(reference_name)
        detail(ctx, f"reference {reference_name}, digest {digest}")
        expectation = _expectation(ctx, key, reference, tokenizer)
        top = top or DEFAULT_TOP
        return cls(ctx, key, reference, digest, len(tokenizer), temperature, top, expectation, frequencies, save_to)

    def weigh(self, answered: Answered, *, of_control: bool = False) -> Weighed:
        """Let the reference read the answers, and colour the weights.

        Args:
            of_control: they are a positive control's, whose weights are not saved.

        Raises:
            InputError: what is to be saved exists.
        """
        from detect.counting import weigh

        excess = self._excess(answered, "reference, control" if of_control else "reference")
        if self.save_to is not None and not of_control:
            excess.save(self.save_to)
            note(self.ctx, f"weights of the answers: {self.save_to}")
        return Weighed(excess, weigh(self.key, excess, tokenizer_checked=True))

    def notes(self, answered: Answered) -> list[str]:
        """What another examiner needs to see the same."""
        own = f"reference: digest {self.digest}{scaled_by(self.frequencies)}; K = {self.top} weights kept per context"
        if self.temperature != 1:
            own += f"; what it expected is that of temperature {self.temperature:g}"
        return [own, *answered.notes]

    def _excess(self, answered: Answered, what: str) -> Excess:
        from detect.counting import window_rule
        from detect.questioned.excess import excess_of

        positions = sum(max(0, len(probe.answer_ids) - self.key.context_width) for probe in answered.probes)
        with progress(self.ctx, what, positions, "position") as advance:
            found = excess_of(
                self.reference,
                answered.probes,
                rule=window_rule(self.key),
                vocab_size=self.vocab_size,
                exclude=answered.prompts,
                listed=answered.listed,
                temperature=self.temperature,
                corpus=None if self.frequencies is None else self.frequencies.documents,
                top=self.top,
                expectation=self.expectation,
                on_positions=advance,
            )
        if answered.listed is not None and any(answered.listed) and found.n_listed < found.n_positions:
            missing = found.n_positions - found.n_listed
            note(self.ctx, f"{missing} of {found.n_positions} positions have no usable log-probabilities.")
        return found


def _expectation(
    ctx: click.Context, key: Key, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Expectation | None:
    """Of built-in texts, which no key had a part in: the answers may follow the key, and what is asked is short."""
    from detect.counting import window_rule
    from detect.questioned.expectation import expectation_of
    from detect.questioned.probes import make_probes
    from detect.readers.builtin import builtin_rows

    texts = make_probes(list(builtin_rows())[::AUDITED], tokenizer)
    positions = sum(max(0, len(text.answer_ids) - key.context_width) for text in texts)
    with progress(ctx, "audit of the reference", positions, "position") as advance:
        return expectation_of(reference, texts, rule=window_rule(key), vocab_size=len(tokenizer), on_positions=advance)


def _refuse_foreign(reference_name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    from watermark.engines.models import load_tokenizer
    from watermark.errors import InputError, ModelError
    from watermark.keys import TokenizerIdentity

    try:
        own = load_tokenizer(reference_name)
    except ModelError:
        return  # the directory holds none: whose tokens it has, its number of logits must tell
    if not TokenizerIdentity.of(own).same_tokens(TokenizerIdentity.of(tokenizer)):
        raise InputError(
            f"the reference {reference_name} has another tokenizer than the key, so it cannot say what to expect of "
            "answers; give a model with the key's tokenizer, or leave --reference out"
        )
