"""Two tokenizers on one text: places and shared tokens, beside what the tokenizers' own decoders say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from detect.questioned.alignment import NOWHERE, Spelled, Vocabulary, meeting, pieces, shared_tokens
from tests.detect.questioned.tokenizers import byte_level, fast, other, sentencepiece
from watermark.errors import UnsupportedError

MAKERS = {"byte-level": byte_level, "other": other, "sentencepiece": sentencepiece}
TEXTS = (
    "The rain fell on the harbour, and the boats were still.",
    " Two  spaces\n\n\tand é, 漢字, 🙂🙂 inside",
    "counted again",
    "e\u0301\u00a0x",
    "",
)


def decoded(tokenizer: Any, token: int) -> str | None:
    """What a token adds behind another, by the tokenizer's own decoder; None: no whole characters."""
    core = tokenizer.backend_tokenizer
    before = [core.token_to_id("x")]
    text = core.decode([*before, token], skip_special_tokens=False)[len(core.decode(before)) :]
    return None if "\ufffd" in text else text


@pytest.mark.parametrize("kind", MAKERS)
def test_tokens_are_spelled_as_decoders_spell_them(kind: str) -> None:
    tokenizer = MAKERS[kind]()
    vocabulary = Vocabulary.of(tokenizer)
    assert len(vocabulary) == len(tokenizer)
    assert vocabulary.special == {0, 1, 2}
    whole = 0
    for token, spelling in enumerate(vocabulary.spelling):
        text = decoded(tokenizer, token)
        if text is not None:
            assert spelling == text.encode(), token
            whole += 1
    assert whole > 0.4 * len(tokenizer)
    single = {spelling for spelling in vocabulary.spelling if len(spelling) == 1}
    assert len(single) == 256  # every byte has a token
    assert bool(vocabulary.fallback) == (kind == "sentencepiece")
    assert vocabulary.adds_space == (kind == "sentencepiece")


@pytest.mark.parametrize("kind", MAKERS)
@given(text=st.one_of(st.sampled_from(TEXTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=30)))
def test_places_are_where_the_tokens_before_end(kind: str, text: str) -> None:
    vocabulary = Vocabulary.of(MAKERS[kind]())
    found = vocabulary.tokenise(text)
    data, core = text.encode(), vocabulary.tokenizer.backend_tokenizer
    assert len(found.places) == len(found.ids) + 1
    if any(name in text for name in ("<|", "▁")):  # special tokens, and a sign that stands for a space
        return
    assert found.ids.tolist() == core.encode(text, add_special_tokens=False).ids
    assert found.places[-1] == len(data)
    for i, place in enumerate(found.places.tolist()):
        before = core.decode(found.ids[:i].tolist(), skip_special_tokens=False)
        if "\ufffd" not in before and place >= 0:
            assert data[:place].decode() == before
        elif place < 0:
            assert kind == "sentencepiece"
            assert i == 0


def test_a_boundary_within_a_character_is_one() -> None:
    vocabulary = Vocabulary.of(byte_level())
    assert vocabulary.tokenise("é🙂").places.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_a_space_put_before_a_text_has_no_place() -> None:
    vocabulary = Vocabulary.of(sentencepiece())
    places = vocabulary.tokenise("counted again").places.tolist()
    assert places[0] == NOWHERE
    assert places[-1] == 13
    text, spelled = vocabulary.read(vocabulary.tokenise("counted again").ids)
    assert text == "counted again"
    assert spelled.places.tolist() == places


def test_a_text_is_read_from_ids_without_special_tokens_and_to_its_last_whole_character() -> None:
    vocabulary = Vocabulary.of(byte_level())
    ids = [1, *vocabulary.tokenise("ab é").ids, 2, *vocabulary.tokenise("é").ids[:1]]
    text, spelled = vocabulary.read(ids)
    assert text == "ab é"
    assert spelled.ids.tolist() == ids
    ends = spelled.places.tolist()
    assert ends[:2] == [0, 0]  # a special token has no text
    assert ends[-3:] == [5, 5, NOWHERE]
    assert vocabulary.read([])[0] == ""


def test_where_a_normaliser_changes_the_text_offsets_tell_the_places() -> None:
    plain, lower = Vocabulary.of(other()), Vocabulary.of(other(lowercase=True))
    text = "É The COINS were é counted"
    found = lower.tokenise(text)
    assert plain.read(found.ids)[0] == text.lower()
    data, core = text.encode(), lower.tokenizer.backend_tokenizer
    ranges = core.encode(text, add_special_tokens=False).offsets
    known = [(place, i) for i, place in enumerate(found.places.tolist()) if place >= 0]
    assert len(known) > 0.6 * len(found.places)
    for place, i in known:
        prefix = data[:place].decode()
        assert all(end <= len(prefix) for _, end in ranges[:i])
        assert all(start >= len(prefix) for start, _ in ranges[i:])
    assert found.places.tolist()[1] == NOWHERE  # within É, whose two bytes are two tokens of one range


def test_shared_tokens_have_the_same_text() -> None:
    vocabularies = [Vocabulary.of(make()) for make in MAKERS.values()]
    ids = shared_tokens(vocabularies)
    texts = [[v.spelling[i] for i in column] for v, column in zip(vocabularies, ids, strict=True)]
    assert texts[0] == texts[1] == texts[2]
    assert len(set(texts[0])) == len(texts[0])
    assert sorted(ids[0].tolist()) == ids[0].tolist()
    # By the decoders' own words, which know whole characters only
    words = [
        {text for i in range(3, len(make())) if (text := decoded(make(), i)) is not None} for make in MAKERS.values()
    ]
    assert {text.decode() for text in texts[0] if _is_text(text)} == words[0] & words[1] & words[2]
    assert b" let" in texts[0]
    assert b"\n" in texts[0]  # <0x0A> there


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_an_ordinary_token_comes_before_a_fallback_and_special_ones_never() -> None:
    vocabulary = Vocabulary.of(sentencepiece())
    tokens = vocabulary.tokens()
    core = vocabulary.tokenizer.backend_tokenizer
    assert tokens[b"e"] == core.token_to_id("e") != core.token_to_id("<0x65>")
    assert tokens[b"\n"] == core.token_to_id("<0x0A>")
    assert not vocabulary.special & set(tokens.values())


def test_boundaries_meet_where_texts_so_far_are_the_same() -> None:
    first, *rest = [Vocabulary.of(make()) for make in MAKERS.values()]
    for text in TEXTS:
        mine, others = first.tokenise(text), [vocabulary.tokenise(text) for vocabulary in rest]
        found, tokens = meeting(mine.places, others)
        expected = []
        for i, place in enumerate(mine.places.tolist()):
            before = [[j for j, p in enumerate(o.places.tolist()) if p == place] for o in others]
            if all(before):
                expected.append((i, [places[-1] for places in before]))
        assert list(zip(found.tolist(), tokens.tolist(), strict=True)) == expected
    mine, others = rest[0].tokenise(TEXTS[0]), [first.tokenise(TEXTS[0])]
    share = len(meeting(mine.places, others)[0]) / len(mine.places)
    assert 0.4 < share < 1


def test_of_several_boundaries_at_a_place_the_last_counts() -> None:
    other_side = Spelled(np.zeros(3, dtype=np.int64), np.array([0, 0, 2, 2], dtype=np.int64))
    found, tokens = meeting(np.array([0, 1, 2]), [other_side])
    assert found.tolist() == [0, 2]
    assert tokens.tolist() == [[1], [3]]


@given(
    steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=60),
    longest=st.tuples(st.integers(9, 40), st.integers(9, 40)),
)
def test_pieces_fit_and_read_every_position_once(steps: list[tuple[int, int]], longest: tuple[int, int]) -> None:
    warm_up = 5
    tokens = np.cumsum(steps, axis=0)
    read: list[int] = []
    for start, end, part in pieces(tokens, longest, warm_up):
        rows = tokens[part]
        assert ((end - start) <= longest).all() or len(rows) == 1
        assert (start >= 0).all()
        assert (rows <= end).all()
        assert (rows - start >= np.minimum(rows, warm_up)).all()
        read += range(len(tokens))[part]
    assert read == list(range(len(tokens)))


def test_a_tokenizer_that_cannot_be_aligned_is_refused_in_a_line() -> None:
    with pytest.raises(UnsupportedError, match=r"old: a tokenizer without a tokenizer\.json"):
        Vocabulary.of(SimpleNamespace(name_or_path="old"))  # type: ignore[arg-type]
    core = Tokenizer(models.WordPiece({"<|endoftext|>": 0, "a": 1, "##b": 2}, unk_token="<|endoftext|>"))
    core.decoder = decoders.WordPiece()
    with pytest.raises(UnsupportedError, match="neither a byte-level") as raised:
        Vocabulary.of(fast(core))
    assert "\n" not in str(raised.value)
