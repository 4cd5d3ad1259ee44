"""Probes as a questioned model sees them: rows of a file → prompt and answer in its token ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from detect.fed import Probe
from detect.normalise import normalise
from detect.readers import Row
from watermark.engines.answers import chat_prompt_ids

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


def _prompt_ids(row: Row, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    if row.prompt_ids is not None:
        return [int(token) for token in row.prompt_ids]
    return [] if row.prompt is None else chat_prompt_ids(tokenizer, row.prompt)


def _answer_ids(row: Row, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    if row.token_ids is not None:
        return [int(token) for token in np.asarray(row.token_ids)]
    return [] if row.text is None else list(tokenizer(row.text, add_special_tokens=False)["input_ids"])
