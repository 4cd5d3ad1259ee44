"""Probes as a questioned model sees them: rows of a file → prompt and answer in its token ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from detect.fed import Probe
from detect.normalise import normalise
from detect.readers import Row
from detect.visible import one_line
from detect.wording import amount
from watermark.engines.chat import chat_prompt_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def make_probes(rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase) -> list[Probe]:
    """One probe a row: `prompt` through the chat template, ids as they are; a row may lack prompt or answer."""
    return [Probe(_prompt_ids(row, tokenizer), _answer_ids(row, tokenizer)) for row in rows]


def plain_prompts(prompts: Iterable[str | None], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The distinct prompts' own words without the chat template, for exclusion: it may tokenise otherwise.

    As they came, and normalised: answers that repeat them may be read so.
    """
    texts = dict.fromkeys(text for prompt in prompts if prompt for text in (prompt, normalise(prompt).text))
    return [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts if text]


def fed_words(rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase) -> list[str | None]:
    """Of each row the prompt's words, if they are fed: those beside ids that hold other words are not."""
    return [None if are_apart(row, tokenizer) else row.prompt for row in rows]


def are_apart(row: Row, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a row's `prompt_ids` don't hold the words of the `prompt` beside them, as the tokenizer writes them."""
    if row.prompt is None or row.prompt_ids is None:
        return False
    held = _written(tokenizer, [int(token) for token in row.prompt_ids])
    own = _written(tokenizer, list(tokenizer(row.prompt, add_special_tokens=False)["input_ids"]))
    return row.prompt.strip() not in held and own.strip() not in held


def apart_notes(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, *, words_sent: bool) -> list[str]:
    """What people must know of such rows.

    Args:
        words_sent: the model was asked the words; else the ids.
    """
    apart = [row.source for row in rows if are_apart(row, tokenizer)]
    if not apart:
        return []
    fed, other = ("prompt", "prompt_ids") if words_sent else ("prompt_ids", "prompt")
    return [
        f"{amount(len(apart), 'row')} whose prompt_ids do not hold the words of the prompt beside them (first: "
        f"{one_line(apart[0])}): the model was given `{fed}`, and what `{other}` holds was not left out for it"
    ]


def _written(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _prompt_ids(row: Row, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    if row.prompt_ids is not None:
        return [int(token) for token in row.prompt_ids]
    return [] if row.prompt is None else chat_prompt_ids(tokenizer, row.prompt)


def _answer_ids(row: Row, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    if row.token_ids is not None:
        return [int(token) for token in np.asarray(row.token_ids)]
    return [] if row.text is None else list(tokenizer(row.text, add_special_tokens=False)["input_ids"])
