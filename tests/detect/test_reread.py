"""The second reading of a collection, and where its tokens stand in the text as it came."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detect.normalise import KINDS
from detect.offsets import character_ranges
from detect.readers import Collection, Row, tokenized
from detect.reread import Reread, reread
from tests.detect.material import speech
from tests.watermark.engines.helpers import tokenizer

PLAIN = "The rain fell on the harbour and the boats were still."
HIDDEN = "The ra\u200bin fell оn the hаrbour and the boats\u00a0were still."


def read(*rows: Row) -> tuple[Collection, Reread]:
    collection = tokenized(rows, 1, tokenizer, keep_texts=True)
    return collection, reread(collection, rows)


def encode(text: str) -> list[int]:
    return list(tokenizer()(text, add_special_tokens=False)["input_ids"])


class TestReread:
    def test_texts_are_folded_and_ids_are_not(self) -> None:
        ids = np.array([9, 10, 11], dtype=np.uint32)
        collection, again = read(Row("a", "", HIDDEN), Row("b", "", "ignored", ids), Row("c", "", PLAIN))
        assert [one.tolist() for one in again.documents] == [encode(PLAIN), ids.tolist(), encode(PLAIN)]
        assert collection.documents[0].tolist() == encode(HIDDEN) != encode(PLAIN)
        assert again.changes == {"zero_width": 1, "homoglyph": 2, "space": 1, "compatibility": 0}
        assert again.changed(collection) == [0]
        assert not again.same
        assert again.texts[1] is None
        assert again.notes == ("normalised: 1 of 3 documents came as token ids, with no text to normalise",)

    def test_nothing_to_fold_is_the_same_test(self) -> None:
        collection, again = read(Row("a", "", PLAIN, None, "What?"))
        assert again.same
        assert again.changed(collection) == []
        assert again.changes == dict.fromkeys(KINDS, 0)
        assert [one.tolist() for one in again.prompts] == [one.tolist() for one in collection.prompts]
        assert again.notes == ("normalisation changes no token: both readings are one and the same test, counted once",)

    def test_prompts_are_excluded_as_they_came_and_folded(self) -> None:
        collection, again = read(Row("a", "", PLAIN, None, HIDDEN), Row("b", "", PLAIN, None, None, np.arange(5)))
        assert [one.tolist() for one in again.prompts] == [encode(HIDDEN), list(range(5)), encode(PLAIN)]
        assert not again.same
        assert again.changed(collection) == [0, 1]

    def test_a_text_of_which_nothing_is_left(self) -> None:
        collection, again = read(Row("a", "", "\u200b\u200b\u200b"))
        assert collection.documents[0].size > 1
        assert again.documents[0].size == 0

    def test_texts_must_have_been_kept(self) -> None:
        rows = [Row("a", "", PLAIN)]
        with pytest.raises(ValueError, match="keep_texts"):
            reread(tokenized(rows, 1, tokenizer), rows)


class TestOffsets:
    @pytest.mark.parametrize("text", [PLAIN, "é✓ 😀 中文\n\ttab", speech()[:3000]])
    def test_every_token_where_it_stands(self, text: str) -> None:
        ids = np.array(encode(text), dtype=np.uint32)
        places = character_ranges(tokenizer(), text, ids, [(i, i + 1) for i in range(len(ids))])
        for token, place in zip(ids.tolist(), places, strict=True):
            assert place is not None
            spelled = tokenizer().decode([token])
            if "\ufffd" not in spelled:
                assert text[slice(*place)].strip() == spelled.strip()
        whole = character_ranges(tokenizer(), text, ids, [(0, len(ids))])
        assert whole == [(0, len(text))]

    def test_a_long_text_that_was_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from detect.readers import encoding

        text = (PLAIN + "\n") * 50
        (whole,) = character_ranges(tokenizer(), text, np.array(encode(text), dtype=np.uint32), [(0, 5)])
        monkeypatch.setattr(encoding, "CUT_ABOVE", 200)
        monkeypatch.setattr(encoding, "PIECE", 100)
        assert len(encoding.pieces(text)) > 5
        encoder = encoding.LazyEncoder(tokenizer)
        (ids,) = encoder.encode([text])
        half = len(ids) // 2
        places = character_ranges(tokenizer(), text, ids, [(0, 5), (half, half + 20), (len(ids) - 1, len(ids))])
        assert places[0] == whole
        assert places[1] is not None
        assert places[2] is not None
        assert places[2][1] == len(text)
        assert text[slice(*places[1])].strip() == tokenizer().decode(ids[half : half + 20].tolist()).strip()

    def test_none_where_it_cannot_be_told(self) -> None:
        ids: Any = np.array([5, 6, 7], dtype=np.uint32)
        assert character_ranges(tokenizer(), PLAIN, ids, [(0, 1), (1, 2)]) == [None, None]
        assert character_ranges(object(), PLAIN, ids, [(0, 1)]) == [None]
        assert character_ranges(tokenizer(), PLAIN, ids, []) == []
