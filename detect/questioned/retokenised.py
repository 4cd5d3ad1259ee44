"""A model with another tokenizer than the key's: asked in its own tokens, its words tokenised again with the key's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watermark.engines.chat import chat_prompt_ids
from watermark.windows import Document

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Retokeniser:
    """Prompts into a model's own tokens, and what it says into the key's.

    Attributes:
        own: the model's tokenizer.
        key: the key's.
    """

    own: PreTrainedTokenizerBase
    key: PreTrainedTokenizerBase

    def prompt(self, words: str | None, ids: Document) -> list[int]:
        """A prompt as the model is asked, in its own tokens.

        Args:
            words: the prompt; None: it is known by its ids alone.
            ids: in the key's tokens, chat template included; an empty prompt stays empty.
        """
        if words is None and not len(ids):
            return []
        return fed_ids(self.own, words, "" if words is not None else _text(self.key, ids))

    def again(self, ids: Document) -> list[int]:
        """What the model's tokens say, special ones left out, in the key's."""
        return list(self.key(_text(self.own, ids), add_special_tokens=False)["input_ids"])


def fed_ids(tokenizer: PreTrainedTokenizerBase, prompt: str | None, text: str) -> list[int]:
    """A prompt in a model's own tokens: through its chat template; else `text` as the tokenizer begins any text."""
    if prompt is not None:
        return chat_prompt_ids(tokenizer, prompt)
    return list(tokenizer(text)["input_ids"])


def _text(tokenizer: PreTrainedTokenizerBase, ids: Document) -> str:
    whole: Sequence[int] = [int(token) for token in ids]
    return str(tokenizer.decode(whole, skip_special_tokens=True, clean_up_tokenization_spaces=False))
