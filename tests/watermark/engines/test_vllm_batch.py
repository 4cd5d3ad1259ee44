"""vLLM's moving batch: every row gets exactly what `GreenListProcessor` gives for the same tokens, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.watermark.engines.helpers import SPECIALS, VOCABULARY, key_for
from watermark import GreenListProcessor, Key
from watermark.engines.bias import GreenBias
from watermark.engines.vllm_batch import MarkedRequests
from watermark.errors import UnsupportedError

pytestmark = pytest.mark.usefixtures("one_torch_thread")
RECORDED = Path(__file__).parents[2] / "golden" / "vllm-batches.json"
SURPLUS = 40
COLUMNS = VOCABULARY + SURPLUS
KEYS = {"h0": key_for(0, number=1), "h1": key_for(1, number=2), "h3": key_for(3, delta=2.5, number=3)}


class Move(Enum):
    """Named as vLLM's."""

    UNIDIRECTIONAL = auto()
    SWAP = auto()


def update(**what: Any) -> Any:
    return SimpleNamespace(**{"removed": [], "added": [], "moved": [], **what})


def followed(columns: int = COLUMNS) -> MarkedRequests:
    """Requests name a key of KEYS in what stands for their sampling parameters; None: unmarked."""
    biases = {name: GreenBias(key, columns) for name, key in KEYS.items()}
    return MarkedRequests(lambda name: None if name is None else biases[name])


def logits_for(rows: int, step: int = 0) -> torch.Tensor:
    return torch.randn(rows, COLUMNS, generator=torch.Generator().manual_seed(100 * step + rows))


@dataclass
class Request:
    """What the batch should know of a request."""

    key: str | None
    prompt: list[int]
    answer: list[int] = field(default_factory=list)

    def expected(self, logits: torch.Tensor) -> torch.Tensor:
        """The row [V] as `GreenListProcessor` gives it for the whole sequence."""
        if self.key is None:
            return logits
        ids = torch.tensor([[*self.prompt, *self.answer]], dtype=torch.long)
        return GreenListProcessor(KEYS[self.key], COLUMNS)(ids, logits[None])[0]


def assert_rows(requests: MarkedRequests, batch: Sequence[Request], step: int = 0) -> int:
    """All rows are as they should be; returns how many are changed."""
    logits = logits_for(len(batch), step)
    expected = torch.stack([one.expected(row) for one, row in zip(batch, logits, strict=True)])
    got = requests.marked(logits.clone())
    assert torch.equal(got, expected)
    assert torch.equal(got[:, VOCABULARY:], logits[:, VOCABULARY:])
    return int((got != logits).any(dim=1).sum())


# --- as vLLM really did it ---


def test_the_batch_of_a_real_vllm_row_for_row() -> None:
    """Recorded by `record_vllm`: chunked prefill, shared prefixes, preemption, aborts. (Its CPU never swaps rows.)"""
    recorded: Any = json.loads(RECORDED.read_text())
    sequences = [Request(one["key"], one["prompt"]) for one in recorded["requests"]]
    running: dict[int, list[int]] = {}
    requests, marked, seen = followed(), 0, set()
    for number, step in enumerate(recorded["steps"]):
        told = step["update"]
        if told is not None:
            added = []
            for row, request, count in told["added"]:
                running[request] = list(recorded["requests"][request]["answer"][:count])
                added.append((row, sequences[request].key, sequences[request].prompt, running[request]))
            moved = [(start, end, Move[name]) for start, end, name in told["moved"]]
            requests.update(update(removed=told["removed"], added=added, moved=moved))
            seen |= {name for _, _, name in told["moved"]} | ({"removed"} if told["removed"] else set())
            seen |= {"resumed"} if any(count for _, _, count in told["added"]) else set()
        else:
            requests.update(None)
        batch = []
        for request, count in step["rows"]:
            whole = recorded["requests"][request]["answer"]
            running[request][:] = whole[:count]  # between update and sampling, as vLLM does
            sequences[request].answer = whole[:count]
            batch.append(sequences[request])
        marked += assert_rows(requests, batch, number)
    assert seen >= {"UNIDIRECTIONAL", "removed", "resumed"}
    assert marked > 200


# --- any course of events ---


@pytest.mark.parametrize("seed", range(6))
def test_rows_follow_their_requests_whatever_happens(seed: int) -> None:
    """Against a plain list of requests: rows fall empty, are taken over, swapped and moved, in every order."""
    random = np.random.default_rng(seed)

    def new() -> Request:
        key = [None, *KEYS][random.integers(4)]
        return Request(key, random.integers(0, VOCABULARY, random.integers(1, 5)).tolist())

    requests, batch, marked = followed(), [], 0
    for step in range(150):
        removed: list[int] = []
        added: list[Any] = []
        moved: list[Any] = []
        for row in range(len(batch)):
            if random.random() < 0.1:  # another request takes over
                batch[row] = new()
                added.append((row, batch[row].key, batch[row].prompt, batch[row].answer))
        if random.random() < 0.3 and len(batch) < 8:
            batch.append(new())
            added.append((len(batch) - 1, batch[-1].key, batch[-1].prompt, batch[-1].answer))
        if random.random() < 0.2 and batch:
            gone = int(random.integers(len(batch)))
            last = batch.pop()
            added = [one for one in added if one[0] != gone]
            if gone < len(batch):
                batch[gone] = last
                moved.append((len(batch), gone, Move.UNIDIRECTIONAL))
            else:
                removed.append(gone)
        if random.random() < 0.3 and len(batch) > 1:
            one, other = random.choice(len(batch), 2, replace=False).tolist()
            batch[one], batch[other] = batch[other], batch[one]
            moved.append((one, other, Move.SWAP))
        is_changed = bool(removed or added or moved)
        requests.update(update(removed=removed, added=added, moved=moved) if is_changed else None)
        for one in batch:
            one.answer.append(int(random.integers(0, VOCABULARY)))  # after the update, as vLLM does
        marked += assert_rows(requests, batch, step) if batch else 0
    assert marked > 100


def test_an_unmarked_request_does_not_inherit_the_mark_of_the_row_it_takes_over() -> None:
    requests = followed()
    for change in (
        {"added": [(0, None, [5, 6], [])]},
        {"added": [(1, None, [5, 6], [])], "moved": [(1, 0, Move.UNIDIRECTIONAL)]},
        {"added": [(1, None, [5, 6], [])], "moved": [(0, 1, Move.SWAP)]},
        {"removed": [0]},
    ):
        requests.update(update(added=[(0, "h1", [5, 6], [])]))
        requests.update(update(**change))
        assert torch.equal(requests.marked(logits_for(2))[0], logits_for(2)[0]), change
        requests.update(update(removed=[0, 1]))


def test_a_batch_of_one_key_and_a_mixed_one() -> None:
    """A batch that is marked as a whole takes another way than single rows of it."""
    alike = [Request("h1", [5, 6]), Request("h1", [7]), Request("h1", [8], [9])]
    mixed = [*alike, Request(None, [5, 6]), Request("h3", [5, 6, 7]), Request("h0", [5])]
    for batch, changed in ((alike, 3), (mixed, 5)):
        requests = followed()
        requests.update(update(added=[(i, one.key, one.prompt, one.answer) for i, one in enumerate(batch)]))
        assert assert_rows(requests, batch) == changed


@pytest.mark.parametrize("special", SPECIALS)
def test_nothing_is_marked_after_a_special_token_or_too_few(special: int) -> None:
    batch = [
        *(Request("h1", [5, special]), Request("h3", [5, 6], [special]), Request("h3", [special, 5], [6])),
        *(Request("h3", [5]), Request("h3", [5], [6]), Request("h1", [special], [5])),
    ]
    requests = followed()
    requests.update(update(added=[(i, one.key, one.prompt, one.answer) for i, one in enumerate(batch)]))
    assert assert_rows(requests, batch) == 1


def test_a_prompt_given_as_embeddings_has_no_ids() -> None:
    answer: list[int] = []
    requests = followed()
    requests.update(update(added=[(0, "h3", None, answer)]))
    for count in range(5):
        logits = logits_for(1)
        changed = not torch.equal(requests.marked(logits.clone()), logits)
        assert changed == (count >= 3)
        answer.append(5 + count)


@pytest.mark.parametrize("ids", [([5], [-1]), ([5, 6], [7, -1]), ([-1], [])], ids=str)
def test_a_token_that_vllm_has_not_filled_in_is_refused(ids: tuple[list[int], list[int]]) -> None:
    requests = followed()
    requests.update(update(added=[(0, "h1", *ids)]))
    with pytest.raises(UnsupportedError, match="--no-async-scheduling"):
        requests.marked(logits_for(1))


def test_a_fixed_list_needs_no_token() -> None:
    """h = 0: nothing of the sequence matters, not even a placeholder."""
    requests = followed()
    requests.update(update(added=[(0, "h0", [5], [-1])]))
    assert torch.equal(requests.marked(logits_for(1))[0], Request("h0", [5]).expected(logits_for(1)[0]))


def test_logits_that_are_not_the_batchs_are_refused() -> None:
    requests = followed()
    requests.update(update(added=[(2, "h1", [5], [])]))
    with pytest.raises(UnsupportedError, match="2 rows of logits, and row 2"):
        requests.marked(logits_for(2))
    with pytest.raises(UnsupportedError, match=f"{COLUMNS + 1} logits a row, its model has {COLUMNS}"):
        requests.marked(torch.zeros(3, COLUMNS + 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_both_ways_into_the_logits_agree(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the cache of the CPU and as on a device."""
    batch = [Request("h1", [5]), Request(None, [5]), Request("h3", [5, 6, 7]), Request("h1", [9, 4])]
    made: list[torch.Tensor] = []
    ways: list[Callable[..., None]] = [GreenBias._add_from_cache, GreenBias._add_on_device]
    for way in ways:
        monkeypatch.setattr(GreenBias, "_add_from_cache", way)
        requests = followed()
        requests.update(update(added=[(i, one.key, one.prompt, one.answer) for i, one in enumerate(batch)]))
        made.append(requests.marked(logits_for(len(batch)).to(dtype)))
    assert torch.equal(*made)
    assert not torch.equal(made[0], logits_for(len(batch)).to(dtype))


def test_nothing_shows_a_key() -> None:
    requests = followed()
    requests.update(update(added=[(0, "h1", [5], [])]))
    key: Key = KEYS["h1"]
    shown = repr(requests) + repr(vars(requests)) + repr(vars(requests._requests[0].bias))
    assert key.chacha_key.hex() not in shown
    assert repr(key.chacha_key) not in shown
