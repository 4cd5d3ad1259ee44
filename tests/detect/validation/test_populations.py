"""Populations: every built-in text in one of them, and texts of exactly the length that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect.readers.builtin import builtin_rows
from detect.validation.populations import CODE, LANGUAGES, REPEATS, Population, builtin_populations, cut
from tests import tiny
from watermark.engines.models import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(tiny.shared())


def test_every_built_in_text_is_in_one_population(tokenizer: Any) -> None:
    rows = list(builtin_rows())
    populations = {one.name: one for one in builtin_populations(tokenizer)}
    assert list(populations) == ["prose", "code", "languages", "repetitive"]
    decoded = {name: [tokenizer.decode(ids) for ids in one.documents] for name, one in populations.items()}
    assert sorted([*decoded["prose"], *decoded["code"], *decoded["languages"]]) == sorted(str(r.text) for r in rows)
    domains = {row.id.rpartition("-")[0] for row in rows}
    assert domains >= {*CODE, *LANGUAGES}
    assert len(domains - {*CODE, *LANGUAGES}) == 24  # as the description says
    assert "24 domains" in populations["prose"].what
    assert not any("def " in text for text in decoded["prose"])
    assert sum("def " in text for text in decoded["code"]) > 4


def test_repetitive_text_repeats(tokenizer: Any) -> None:
    prose, _, _, repetitive = builtin_populations(tokenizer)
    for ids, again in zip(prose.documents, repetitive.documents, strict=True):
        text, whole = tokenizer.decode(again), tokenizer.decode(ids)
        sentence = text[: (len(text) - REPEATS + 1) // REPEATS]
        assert text == " ".join([sentence] * REPEATS)
        assert whole.startswith(sentence)
        assert whole == sentence or whole[len(sentence)].isspace()


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 50))
def test_texts_are_cut_to_length_and_nothing_comes_twice(lengths: list[int], length: int) -> None:
    flat = np.arange(sum(lengths), dtype=np.uint32)
    documents = np.split(flat, np.cumsum(lengths)[:-1]) if lengths else []
    texts = cut(documents, length)
    assert len(texts) == sum(lengths) // length
    assert all(sum(map(len, text)) == length for text in texts)
    joined = [int(token) for text in texts for piece in text for token in piece]
    assert joined == flat[: len(texts) * length].tolist()
    ends = set(np.cumsum(lengths).tolist())
    for text in texts:
        for piece in text:
            assert len(piece)
            assert not ends & set(range(int(piece[0]) + 1, int(piece[-1]) + 1))  # no piece spans two documents


def test_the_digest_tells_texts_apart() -> None:
    def digest(documents: list[list[int]], prompts: list[list[int]] = []) -> str:  # noqa: B006
        arrays = [tuple(np.array(one, dtype=np.uint32) for one in part) for part in (documents, prompts)]
        return Population("a", "b", *arrays).sha256

    digests = [digest(*one) for one in (([[1, 2]],), ([[1], [2]],), ([[2, 1]],), ([], [[1, 2]]), ([[1]], [[2]]), ([],))]
    assert len(set(digests)) == len(digests)
    assert digest([[1, 2]]) == digests[0]
