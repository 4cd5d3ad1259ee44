"""What a questioned model is asked, and in which ids it is left out: a plan settles it, and `suspect` does the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detect.plans.parts import ACCESS
from detect.questioned.probes import fed_words, make_probes, plain_prompts
from detect.questioned.questions import Prompt
from detect.readers import Row, refuse_foreign_ids
from watermark.engines.chat import chat_prompt_ids
from watermark.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from detect.fed import Probe
    from watermark.windows import Document

WEIGHTS, CHAT, COMPLETIONS = ACCESS


@dataclass(frozen=True)
class Prompts:
    """The prompts of probes, in the key's token ids.

    Attributes:
        seen: as the model sees them if its tokenizer and template are the key's: of a model at hand one for every
            probe, empty where it has no prompt; of a server each distinct one.
        plain: their words without a chat template, which may be tokenised otherwise.
    """

    seen: list[Document]
    plain: list[Document]

    @property
    def left_out(self) -> list[Document]:
        """In every form: pairs that occur in one count nowhere."""
        return [*self.seen, *self.plain]

    @classmethod
    def of(cls, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, access: str) -> Prompts:
        """Of the rows of probe files.

        Args:
            tokenizer: the key's.
            access: how the model is reached, one of `detect.plans.parts.ACCESS`.

        Raises:
            InputError: as `as_sent`; ids beyond the tokenizer's.
        """
        if access == WEIGHTS:
            for row in rows:
                refuse_foreign_ids(row, len(tokenizer))
            return cls.of_probes(rows, make_probes(rows, tokenizer), tokenizer)
        sent = dict.fromkeys(one for one in as_sent(rows, access, len(tokenizer)) if len(one))
        words = [row.prompt for row in rows] if access == CHAT else fed_words(rows, tokenizer)
        return cls([_seen(one, access, tokenizer) for one in sent], [*plain_prompts(words, tokenizer)])

    @classmethod
    def of_probes(cls, rows: Sequence[Row], probes: Sequence[Probe], tokenizer: PreTrainedTokenizerBase) -> Prompts:
        """Of a model at hand, which sees the prompts as the probes have them."""
        return cls([one.prompt_ids for one in probes], [*plain_prompts(fed_words(rows, tokenizer), tokenizer)])


def as_sent(rows: Sequence[Row], access: str, vocabulary: int) -> list[Prompt]:
    """The prompts of the rows in the form that a server is sent them.

    Raises:
        InputError: there is none, or one that this endpoint cannot take.
    """
    prompts: list[Prompt] = []
    for row in rows:
        refuse_foreign_ids(row, vocabulary)
        if access == COMPLETIONS and row.prompt_ids is not None:
            prompts.append(tuple(int(token) for token in row.prompt_ids))
        elif row.prompt is not None:
            prompts.append(row.prompt)
        elif row.prompt_ids is not None:
            raise InputError(
                f"{row.source}: chat takes words, not token ids; give `prompt`, or use --endpoint completions"
            )
    if not prompts:
        raise InputError("the probes hold no prompts, which --api needs: give rows with `prompt` or `prompt_ids`")
    return prompts


def _seen(prompt: Prompt, access: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    if not isinstance(prompt, str):
        return list(prompt)
    return chat_prompt_ids(tokenizer, prompt) if access == CHAT else list(tokenizer(prompt)["input_ids"])
