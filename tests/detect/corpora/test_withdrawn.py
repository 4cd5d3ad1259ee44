"""Where nothing is claimed of the whole, no document and no source is selected either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from detect.evidence import Assessment
from tests.detect.corpora.corpus import do, save_key, write_jsonl
from watermark import GreenList, Key

DOCUMENTS = 50


def rows(key: Key, *, quoting_red: bool) -> list[dict[str, Any]]:
    """Random documents of 37 ids, 12 pairs green; prompts quote the red pairs, or as many others."""
    green, draw = GreenList(key), np.random.default_rng(1)
    found: list[dict[str, Any]] = []
    while len(found) < DOCUMENTS:
        ids = draw.integers(0, 1 << 30, 37).astype(np.uint32)
        colours = green.is_green(ids[:-1, None], ids[1:])
        if np.count_nonzero(colours) != 12:
            continue
        quoted = np.flatnonzero(~colours) if quoting_red else draw.permutation(36)[:24]
        prompt = [int(one) for at in quoted for one in (ids[at], ids[at + 1], draw.integers(1 << 30, 1 << 31))]
        found.append({"token_ids": ids.tolist(), "prompt_ids": prompt})
    return found


@pytest.mark.parametrize("quoting_red", [True, False])
def test_prompts_that_were_chosen_under_the_key(quoting_red: bool, tmp_path: Path) -> None:
    """No document shows by itself that its prompt is odd: 24 red pairs have a chance of 1 in 997."""
    key = save_key(tmp_path / "a.key", bare=True)
    path = write_jsonl(tmp_path / "a.jsonl", rows(key, quoting_red=quoting_red))
    found = do(tmp_path / "job", tmp_path / "a.key", [path])
    documents = pq.read_table(tmp_path / "job" / "documents.parquet")
    assert (documents.num_rows, documents.column("log10_p").null_count) == (DOCUMENTS, 0)
    if quoting_red:
        assert (found.evidence.log10_p, found.selection, found.sources) == (None, None, [])
    else:
        assert found.selection is not None
        assert found.selection.documents_e_bh == 0


def test_a_key_that_failed_its_check(tmp_path: Path) -> None:
    key = save_key(tmp_path / "a.key", bare=True)
    path = write_jsonl(tmp_path / "a.jsonl", rows(key, quoting_red=False))
    found = do(tmp_path / "job", tmp_path / "a.key", [path], how=Assessment(key_check=False))
    assert (found.selection, found.sources) == (None, [])
