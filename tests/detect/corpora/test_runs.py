"""Pairs on disk: whatever comes in whatever portions, what is counted is what a set holds, and memory has a limit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detect.corpora import runs
from detect.corpora.prompts import PromptPairs, write_prompts
from detect.corpora.runs import Gathering, Run, all_merged, merged, stretches
from watermark.errors import InputError
from watermark.packing import BUCKETS, Packing

PACKINGS = [Packing(0, 384), Packing(1, 49152), Packing(1), Packing(5, 49152), Packing(8)]


@pytest.fixture(params=PACKINGS, ids=str)
def packing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Packing:
    monkeypatch.setattr(runs, "MOST_WORDS", 200)
    return request.param  # type: ignore[no-any-return]


def table(packing: Packing, seed: int, count: int, highest: int = 40) -> np.ndarray:
    shape = (count, packing.context_width + 1)
    return np.random.default_rng(seed).integers(0, highest, size=shape).astype(np.uint32)


def gathered(packing: Packing, directory: Path, rows: np.ndarray, portions: int = 7) -> list[Run]:
    directory.mkdir(exist_ok=True)
    gathering = Gathering(packing, directory, "x")
    for part in np.array_split(rows, portions):
        gathering.add(packing.pack(part))
    return [Run(path, packing) for path in gathering.finish()]


def as_set(packing: Packing, words: np.ndarray) -> set[tuple[int, ...]]:
    found = [tuple(row) for row in packing.unpack(words).tolist()]
    assert len(found) == len(set(found))
    return set(found)


def test_runs_of_several_sources_are_one_set(packing: Packing, tmp_path: Path) -> None:
    tables = [table(packing, seed, 900) for seed in range(4)]
    found = [run for n, rows in enumerate(tables) for run in gathered(packing, tmp_path / f"{n}", rows)]
    assert len(found) > 4 or packing.context_width == 0
    expected = {tuple(row) for rows in tables for row in rows.tolist()}
    whole = list(all_merged(found, packing))
    assert sum(words.shape[1] for words in whole) == len(expected)
    assert as_set(packing, np.concatenate(whole, axis=1)) == expected
    for words in whole:  # each in order, and behind the one before
        assert (np.diff(words[0].astype(object)) >= 0).all()
    contexts = sum(packing.count_contexts(words) for words in whole)
    assert contexts == len({row[:-1] for row in expected})


def test_stretches_hold_what_memory_does(packing: Packing, tmp_path: Path) -> None:
    found = gathered(packing, tmp_path / "a", table(packing, 1, 3000, 300))
    cuts = stretches(found, packing)
    assert cuts[0][0] == 0
    assert cuts[-1][1] == BUCKETS
    assert [first for first, _ in cuts[1:]] == [last for _, last in cuts[:-1]]
    sizes = sum(run.sizes() for run in found) * packing.words
    for first, last in cuts:
        assert sizes[first:last].sum() <= 200 or last - first == 1 or np.count_nonzero(sizes[first:last]) == 1
    assert merged(found, packing, 0, BUCKETS).shape[1] == len({tuple(r) for r in table(packing, 1, 3000, 300).tolist()})


def test_nothing_at_all(packing: Packing, tmp_path: Path) -> None:
    assert gathered(packing, tmp_path / "a", table(packing, 1, 0)) == []
    assert [words.shape for words in all_merged([], packing)] == [(packing.words, 0)]


def test_files_that_are_cut_are_refused(packing: Packing, tmp_path: Path) -> None:
    (run, *_) = gathered(packing, tmp_path / "a", table(packing, 1, 50))
    whole = run.path.read_bytes()
    for damaged in (whole[:-1], whole[:100], whole + b"12345678", b"", b"\xff" * len(whole)):
        run.path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"is damaged; remove .* and run the same command again"):
            run.sizes()


def test_prompts_are_looked_up_as_in_a_set(packing: Packing, tmp_path: Path) -> None:
    known = table(packing, 1, 700, 12)
    directory = tmp_path / "prompts"
    directory.mkdir()
    count = write_prompts(gathered(packing, tmp_path / "a", known), packing, directory)
    expected = {tuple(row) for row in known.tolist()}
    assert count == len(expected)
    prompts = PromptPairs(packing, directory, count)
    asked = np.concatenate([table(packing, 2, 500, 13), known[:100]])
    assert prompts.contain(packing.pack(asked)).tolist() == [tuple(row) in expected for row in asked.tolist()]
    assert prompts.contain(packing.pack(asked[:0])).tolist() == []
    nothing = PromptPairs(packing, directory, 0)
    assert not nothing.contain(packing.pack(asked)).any()
    with pytest.raises(InputError, match="is damaged"):
        PromptPairs(packing, directory, count + 1)
