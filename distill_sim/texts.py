"""Text written by people, in passages: what small models are made from, and what stands for "no teacher at all".

Every passage belongs to one part, by a hash of its id, so no text of one part is seen through another:

    base      the small models' own training
    answers   prompts for teachers, and what people wrote instead of an answer
    probes    prompts and text that no student has seen
    clean     fine-tuning that knows no teacher
"""

from __future__ import annotations

import hashlib
import json
import lzma
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from distill_sim.corpus import CorpusRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE = Path(__file__).parent / "data" / "human.jsonl.xz"
SHARES = {"base": 0.72, "answers": 0.15, "probes": 0.05, "clean": 0.08}
DOMAINS = ("speeches", "novel")
PROMPT_WORDS, PASSAGE_WORDS = 10, 60
HUMAN = "human"  # stands where a corpus row names the model
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class Passage:
    """A few sentences: the first words are the prompt, the rest is the text that followed them."""

    id: str
    domain: str
    prompt: str
    text: str  # begins with a space


@cache
def passages(part: str) -> tuple[Passage, ...]:
    """All passages of a part, in a fixed order that mixes the domains."""
    mine = [passage for passage in _all() if _part(passage.id) == part]
    random.Random(0).shuffle(mine)  # noqa: S311 (an order, not a secret)
    return tuple(mine)


@cache
def digest() -> str:
    """SHA-256 of the shipped file, in hex."""
    return hashlib.sha256(FILE.read_bytes()).hexdigest()


def human_rows(chosen: Sequence[Passage], tokenizer: PreTrainedTokenizerBase) -> list[CorpusRow]:
    """Passages as corpus rows: the prompt through the chat template, the text as the answer."""
    from watermark.engines.chat import chat_prompt_ids

    return [
        CorpusRow(
            id=passage.id,
            prompt=passage.prompt,
            prompt_ids=tuple(chat_prompt_ids(tokenizer, passage.prompt)),
            text=passage.text,
            token_ids=tuple(tokenizer(passage.text, add_special_tokens=False)["input_ids"]),
            marked=False,
            key_id=None,
            seed=0,
            model=HUMAN,
            sampling="{}",
            created="",
        )
        for passage in chosen
    ]


def _all() -> list[Passage]:
    lines = lzma.decompress(FILE.read_bytes()).decode("utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    return [
        Passage(f"{one['title']}-{number}", one["domain"], " ".join(words[:PROMPT_WORDS]), _rest(words))
        for one in documents
        for number, words in enumerate(_pieces(one["text"]))
    ]


def _rest(words: list[str]) -> str:
    return " " + " ".join(words[PROMPT_WORDS:])


def _pieces(text: str) -> list[list[str]]:
    """Whole sentences, until there are enough words; what is left over at the end is dropped."""
    found: list[list[str]] = []
    words: list[str] = []
    for sentence in _SENTENCE_END.split(text):
        words += sentence.split()
        if len(words) >= PASSAGE_WORDS:
            found.append(words)
            words = []
    return found


def _part(passage_id: str) -> str:
    place = int.from_bytes(hashlib.sha256(passage_id.encode()).digest()[:4], "little") / 2**32
    for name, share in SHARES.items():
        if place < share:
            return name
        place -= share
    return next(reversed(SHARES))
