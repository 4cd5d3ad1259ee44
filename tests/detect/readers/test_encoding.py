"""Long texts are tokenised in pieces, as if they were whole."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from detect.readers import Row, encoding, tokenized
from tests import tiny


class TestLongTexts:
    @staticmethod
    def prose(lines: int) -> str:
        rng = np.random.default_rng(1)
        ends = ["\n", "\n", "\n\n", "\n    ", " \n", "\r\n"]
        return "".join(tiny.SENTENCES[rng.integers(5)] + ends[rng.integers(6)] for _ in range(lines))

    def test_pieces_join_to_the_text_and_end_at_line_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encoding, "CUT_ABOVE", 4000)
        monkeypatch.setattr(encoding, "PIECE", 1000)
        text = self.prose(400)
        pieces = encoding.pieces(text)
        assert "".join(pieces) == text
        assert len(pieces) > 15
        assert all(piece.endswith("\n") and 1000 <= len(piece) < 2500 for piece in pieces[:-1])
        assert all(not piece[-2].isspace() and not after[0].isspace() for piece, after in itertools.pairwise(pieces))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a" * 50, ["a" * 50]),  # no line end: never cut inside a line
            ("a" * 50 + "\n", ["a" * 50 + "\n"]),
            ("a" * 15 + "\n\n" + "b" * 30, ["a" * 15 + "\n", "\n" + "b" * 30]),  # only a poor cut to be had
            ("x" * 20, ["x" * 20]),
            ("xxx\n" * 5, ["xxx\n" * 5]),
        ],
    )
    def test_edges(self, text: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encoding, "CUT_ABOVE", 20)
        monkeypatch.setattr(encoding, "PIECE", 10)
        assert encoding.pieces(text) == expected

    def test_default_sizes(self) -> None:
        line = "x" * 99 + "\n"
        assert encoding.pieces(line * 10_000) == [line * 10_000]  # 1 MB
        lengths = [len(piece) for piece in encoding.pieces(line * 20_000)]
        assert sum(lengths) == 2_000_000
        assert max(lengths) < 1.1 * 2**18

    def test_good_cuts_change_no_token(self, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        text = self.prose(400)
        (whole,) = tokenized([Row("a", "", text)], 1, lambda: tokenizer).documents
        monkeypatch.setattr(encoding, "CUT_ABOVE", 4000)
        monkeypatch.setattr(encoding, "PIECE", 1000)
        monkeypatch.setattr(encoding, "BATCH", 2500)
        (cut,) = tokenized([Row("a", "", text)], 1, lambda: tokenizer).documents
        assert len(encoding.pieces(text)) > 15
        assert np.array_equal(whole, cut)
