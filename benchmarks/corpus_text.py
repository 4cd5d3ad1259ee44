"""A corpus of any size for the benchmarks: rows of JSONL made on the spot from real text, a marked minority in it.

An unmarked row is a passage of the speeches and the novel that ship with the simulator, or of Python's docstrings, cut
at random places. A marked one is a walk over the pairs of tokens that follow each other in that text, on which green
ones are preferred; it is made into text again, so that some of its pairs are lost, as they are in life.
"""

from __future__ import annotations

import json
import lzma
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import docstrings
from distill_sim.texts import FILE
from watermark import GreenList, Key

MEAN, LEAST = 2_000, 200  # characters of a row
MARKED = 0.01  # of the rows
TRIES = 4  # tokens that a marked walk chooses from at each step: a green one if there is any, so seven steps in ten
WALKS, STEPS = 512, 450  # made at once; tokens of each
MARK = "m"  # how the id of a marked row begins


def write(path: Path, megabytes: float, key: Key, tokenizer: Any, seed: int = 0) -> dict[str, int]:
    """Write so many megabytes of rows; returns how many rows there are, and how many are marked."""
    chance = random.Random(seed)
    text, marked = _text(), _marked(key, tokenizer, seed)
    size = rows = found = 0
    with path.open("wb") as handle:
        while size < megabytes * 1e6:
            if chance.random() < MARKED:
                row = {"id": f"{MARK}{rows}", "text": next(marked)}
                found += 1
            else:
                length = LEAST + int(chance.expovariate(1 / (MEAN - LEAST)))
                start = chance.randrange(len(text) - length)
                row = {"id": f"h{rows}", "text": text[start : start + length]}
            size += handle.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            rows += 1
    return {"rows": rows, "marked": found}


def _text() -> str:
    with lzma.open(FILE, "rt", encoding="utf-8") as lines:
        people = "\n\n".join(json.loads(line)["text"] for line in lines)
    return people + "\n\n" + "\n\n".join(docstrings(2_000_000))


def _marked(key: Key, tokenizer: Any, seed: int) -> Iterator[str]:
    """Marked texts without end."""
    core, green, draw = tokenizer.backend_tokenizer, GreenList(key), np.random.default_rng(seed)
    ids = np.array(core.encode(_text()[:2_000_000], add_special_tokens=False).ids)
    order = np.argsort(ids[:-1], kind="stable")
    follow = ids[1:][order]  # what follows each token, those of one token together
    starts = np.searchsorted(ids[:-1][order], np.arange(len(tokenizer) + 1))
    while True:
        walks = np.empty((WALKS, STEPS), dtype=np.int64)
        walks[:, 0] = draw.choice(ids[:-1], size=WALKS)
        for step in range(1, STEPS):
            last = walks[:, step - 1]
            many = starts[last + 1] - starts[last]
            lost = many == 0  # the text ends there
            last = np.where(lost, ids[0], last)
            many = starts[last + 1] - starts[last]
            offered = follow[starts[last][:, None] + (draw.random((WALKS, TRIES)) * many[:, None]).astype(np.int64)]
            colours = green.is_green(np.repeat(last, TRIES)[:, None], offered.reshape(-1)).reshape(WALKS, TRIES)
            walks[:, step] = offered[np.arange(WALKS), colours.argmax(axis=1)]  # the first green one, or the first
        yield from core.decode_batch(walks.tolist())
