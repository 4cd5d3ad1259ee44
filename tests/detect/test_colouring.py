"""The same pairs under many keys: as if each were coloured by itself, in order, whatever the kernel."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from detect import colouring
from detect.colouring import counts_under_every_key, under_every_key
from tests.detect.material import make_key
from watermark.greenlist import GreenList
from watermark.windows import Pairs

KEYS = [make_key(number) for number in range(60, 67)]


def some_pairs(count: int) -> Pairs:
    rng = np.random.default_rng(60)
    contexts = rng.integers(0, 5000, (count, 1)).astype(np.uint32)
    return Pairs(contexts, rng.integers(0, 5000, count).astype(np.uint32), len(np.unique(contexts)))


def expected(pairs: Pairs) -> list[list[float]]:
    """Green among all, and among the first half; each key by itself."""
    rows = []
    for key in KEYS:
        colours = GreenList(key).is_green(pairs.contexts, pairs.tokens).tolist()
        rows.append([sum(colours), sum(colours[: len(colours) // 2]) + key.gamma])
    return rows


@pytest.mark.parametrize("compiled_from", [1, 10**12])
def test_each_key_by_itself_in_order(compiled_from: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colouring, "COMPILED_FROM", compiled_from)
    pairs, done = some_pairs(500), []
    found = under_every_key(
        pairs,
        len(KEYS),
        lambda index: GreenList(KEYS[index]),
        lambda colours, gamma: [np.count_nonzero(colours), np.count_nonzero(colours[:250]) + gamma],
        done.append,
    )
    assert found.dtype == np.float64
    assert found.tolist() == expected(pairs)
    assert done == [1] * len(KEYS)
    if compiled_from == 1:
        assert "watermark.chacha_numba" in sys.modules


def test_one_number_a_key() -> None:
    pairs = some_pairs(40)
    found = under_every_key(pairs, 3, lambda index: GreenList(KEYS[index]), lambda colours, _: float(colours.sum()))
    assert found.tolist() == [row[0] for row in expected(pairs)[:3]]


def test_a_failure_under_one_key_reaches_the_caller() -> None:
    def measure(colours: np.ndarray, gamma: float) -> float:
        raise ZeroDivisionError("under a key")

    with pytest.raises(ZeroDivisionError, match="under a key"):
        under_every_key(some_pairs(4), len(KEYS), lambda index: GreenList(KEYS[index]), measure)


@pytest.mark.parametrize("size", [0, 1, 500, 30_000])
@pytest.mark.parametrize("compiled_from", [1, 10**12])
def test_counts_are_those_of_each_key_by_itself(size: int, compiled_from: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colouring, "COMPILED_FROM", compiled_from)
    monkeypatch.setattr(colouring, "_TOGETHER", 3 * size + 1)  # several passes, the last of fewer keys
    pairs, done = some_pairs(size), []
    found = counts_under_every_key(pairs, len(KEYS), lambda index: GreenList(KEYS[index]), done.append)
    assert found.dtype == np.int64
    assert found.tolist() == [int(GreenList(key).is_green(pairs.contexts, pairs.tokens).sum()) for key in KEYS]
    assert sum(done) == len(KEYS)


def test_counts_of_keys_with_other_gammas_and_of_one_key() -> None:
    pairs = some_pairs(300)
    lists = [GreenList.from_chacha_key(bytes([number] * 32), 1000 * number + 1, 1) for number in range(5)]
    found = counts_under_every_key(pairs, 5, lambda index: lists[index])
    assert found.tolist() == [int(one.is_green(pairs.contexts, pairs.tokens).sum()) for one in lists]
    assert counts_under_every_key(pairs, 1, lambda index: lists[4]).tolist() == found.tolist()[4:]
