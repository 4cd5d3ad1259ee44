"""Answers in the key's token ids: the server's own where they are the key's, else the text tokenised again."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from detect.questioned.answer_ids import AnswerIds, AnswerReader, Detour, Listed, surviving_share
from detect.questioned.responses import Response
from tests.watermark.engines.helpers import tokenizer

TEXT = "The rain fell on the harbour and the boats were still."


def encoded(text: str) -> list[int]:
    return list(tokenizer()(text, add_special_tokens=False)["input_ids"])


def split(text: str) -> list[int]:
    """A way to write `text` that a model may draw and the tokenizer never would: byte by byte."""
    return [token for char in text for token in encoded(char)]


def drawn_otherwise(text: str) -> list[int]:
    """As a model now and then draws it: the last long token in two."""
    ids = encoded(text)
    at = max(i for i, token in enumerate(ids) if len(str(tokenizer().decode([token]))) > 2)
    name = str(tokenizer().decode([ids[at]]))
    return [*ids[:at], *encoded(name[:1]), *encoded(name[1:]), *ids[at + 1 :]]


def answer(text: str = TEXT, **members: Any) -> Response:
    return Response(members.pop("request", 0), 0, text, **members)


def read(response: Response) -> tuple[list[int], bool]:
    found = AnswerReader(tokenizer()).read(response)
    return found.ids, found.returned


def test_text_is_tokenised_again_where_there_are_no_ids() -> None:
    assert read(answer()) == (encoded(TEXT), False)
    assert read(answer("")) == ([], False)


def test_the_servers_ids_win_where_they_say_the_same() -> None:
    text = f"{TEXT} {TEXT}"
    drawn = drawn_otherwise(text)
    assert drawn != encoded(text)
    assert read(answer(text, token_ids=tuple(drawn))) == (drawn, True)
    with_end = [*drawn, 2]  # vLLM hands the end-of-text over, too
    assert read(answer(text, token_ids=tuple(with_end))) == (with_end, True)
    assert read(answer("", token_ids=(2,))) == ([2], True)
    assert read(answer("", token_ids=())) == ([], True)
    cut = encoded("é")[:1]
    for shown in (TEXT, f"{TEXT}\ufffd"):  # an end within a character
        assert read(answer(shown, token_ids=(*encoded(TEXT), *cut))) == ([*encoded(TEXT), *cut], True)


def test_a_text_spelled_out_is_tokenised_again() -> None:
    """A server that hands ids over byte by byte would hide every pair of the mark, and still say the same text."""
    reader = AnswerReader(tokenizer())
    found = reader.read(answer(token_ids=tuple(split(TEXT))))
    assert found == AnswerIds(encoded(TEXT), returned=False, spelled_otherwise=True)
    half = [*encoded(TEXT[: len(TEXT) // 2]), *split(TEXT[len(TEXT) // 2 :])]
    assert reader.read(answer(request=1, token_ids=tuple(half))).spelled_otherwise
    assert not reader.read(answer(request=2)).spelled_otherwise
    assert not reader.read(answer(request=3, token_ids=(5, 6))).spelled_otherwise  # another text


@pytest.mark.parametrize(
    "ids", [(5, 6, 7), (), (384,), (2**32 - 1,), tuple(split(TEXT[:-1])), tuple(split(TEXT[::-1]))], ids=str
)
def test_ids_of_another_vocabulary_are_not_used(ids: tuple[int, ...]) -> None:
    assert read(answer(token_ids=ids)) == (encoded(TEXT), False)


@pytest.mark.parametrize(
    ("old", "new"), [(" ", "  "), ("e", "e\u200b"), ("o", "о"), ("e", "e\ufe0f"), (" ", "\u00a0"), ("a", "a\u2065")]
)
def test_a_disguised_answer_is_read_as_it_looks(old: str, new: str) -> None:
    shown = TEXT.replace(old, new)
    assert shown != TEXT
    hidden = answer(shown, token_ids=tuple(encoded(shown)), completion_tokens=400)
    reader = AnswerReader(tokenizer())
    assert reader.read(hidden) == AnswerIds(encoded(TEXT), returned=False, odd=TEXT.count(old), disguised=True)
    assert Detour.measured(reader, [hidden]).answers == 0  # its number of tokens is another text's
    names = [tokenizer().decode([token]) for token in encoded(TEXT)]
    assert reader.alternatives(answer(shown, request=1, logprobs=positions(names))) is None


def test_a_few_odd_spaces_are_no_disguise() -> None:
    few = answer(TEXT.replace(" ", "\u00a0", 2), token_ids=tuple(encoded(TEXT.replace(" ", "\u00a0", 2))))
    assert AnswerReader(tokenizer()).read(few) == AnswerIds(list(few.token_ids or ()), returned=True, odd=2)


def test_every_answer_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = AnswerReader(tokenizer())
    assert reader.length(answer()) == len(encoded(TEXT))
    monkeypatch.setattr(reader, "_tokenizer", None)
    assert reader.read(answer()).ids == encoded(TEXT)


# Log-probabilities


def positions(names: list[str]) -> tuple[dict[str, Any], ...]:
    return tuple({"token": name, "logprob": -0.25, "top": [[name, -0.25], ["zz", -3.0]]} for name in names)


def test_alternatives_by_token_id() -> None:
    ids = encoded(TEXT)
    names = [tokenizer().decode([token]) for token in ids]
    found = AnswerReader(tokenizer()).alternatives(answer(logprobs=positions(names)))
    assert found == [Listed({token: -0.25}, -3.0) for token in ids]  # "zz" is no token, but as likely as listed


def test_alternatives_named_by_id() -> None:
    drawn = split("ab")
    given = tuple(
        {"token": f"token_id:{token}", "logprob": -1.0, "top": [["token_id:7", -2.0]]} for token in [*drawn, 2]
    )
    reader = AnswerReader(tokenizer())
    assert reader.alternatives(answer("ab", token_ids=tuple(drawn), logprobs=given)) == [
        Listed({7: -2.0, token: -1.0}, -2.0) for token in drawn
    ]
    # The same names mean nothing where the ids are not the key's
    assert reader.alternatives(answer("ab", request=1, token_ids=(9, 9), logprobs=given)) == [
        Listed({token: -1.0}, -2.0) for token in encoded("ab")
    ]


def test_alternatives_that_do_not_fit() -> None:
    reader = AnswerReader(tokenizer())
    names = [tokenizer().decode([token]) for token in encoded(TEXT)]
    assert reader.alternatives(answer()) is None
    assert reader.alternatives(answer(request=1, logprobs=positions(names[:-1]))) is None  # too few
    assert reader.alternatives(answer(request=2, logprobs=positions([*names[1:], names[0]]))) is None  # other tokens


def test_names_that_several_tokens_share_name_none() -> None:
    names = [tokenizer().decode([token]) for token in range(len(tokenizer()))]
    shared = [name for name, count in Counter(names).items() if count > 1]
    assert shared == ["\ufffd"]  # bytes that are no characters
    found = AnswerReader(tokenizer()).alternatives(
        answer("a", logprobs=({"token": "a", "logprob": 0.0, "top": [["\ufffd", -1.0]]},))
    )
    assert found == [Listed({encoded("a")[0]: 0.0}, -1.0)]


@pytest.mark.parametrize(
    ("top", "least"),
    [
        ([], None),  # what was said is not among the likeliest, for all that is known
        ([["a", -2.0]], -2.0),
        ([["b", -0.5], ["a", -2.0]], -0.5),  # it may have been added to the likeliest
        ([["b", -0.5], ["c", -3.0], ["a", -2.0]], -3.0),
    ],
)
def test_the_least_of_the_likeliest(top: list[list[Any]], least: float | None) -> None:
    (found,) = AnswerReader(tokenizer()).alternatives(
        answer("a", logprobs=({"token": "a", "logprob": -2.0, "top": top},))
    )
    assert found.least == least


# What the detour cost


def test_the_detour_is_measured_against_the_servers_count() -> None:
    n = len(encoded(TEXT))
    answers = [
        answer(request=0, finish_reason="length", completion_tokens=n),  # alike
        answer(request=1, finish_reason="stop", completion_tokens=n + 1),  # alike, with its end-of-text
        answer(request=2, finish_reason="stop", completion_tokens=n),  # alike, without
        answer(request=3, finish_reason="length", completion_tokens=n + 3),
        answer(request=4, finish_reason="stop", completion_tokens=n + 3),
        answer(request=5, finish_reason="length", completion_tokens=n - 1),
        answer(request=6, completion_tokens=None),
        answer(request=7, completion_tokens=900, token_ids=tuple(encoded(TEXT))),  # its ids are used
        answer("", request=8, completion_tokens=1),
    ]
    found = Detour.measured(AnswerReader(tokenizer()), answers)
    assert found == Detour(answers=6, alike=3, tokens=6 * n + 6, missing=3 + 2 + 1)
    assert found.share_of_pairs(1) == 6 * 3 / (6 * n + 6)
    assert Detour(1, 0, 10, 9).share_of_pairs(3) == 1
    assert Detour(0, 0, 0, 0).share_of_pairs(1) == 0


def test_what_survives_decoding_and_tokenising_again() -> None:
    whole = encoded(TEXT)
    assert surviving_share(tokenizer(), [whole, np.array(whole)], 2) == 1
    assert surviving_share(tokenizer(), [[5], []], 2) is None
    drawn = split(TEXT)
    expected = (Counter(pairwise(drawn)) & Counter(pairwise(whole))).total()
    assert surviving_share(tokenizer(), [drawn], 2) == expected / (len(drawn) - 1) < 0.9


def test_the_estimate_is_near_what_is_lost() -> None:
    """Some tokens split as a model might: the share of pairs gone, told from lengths alone, against the true one."""
    rng = np.random.default_rng(3)
    documents = []
    for _ in range(300):
        ids: list[int] = []
        for token in encoded(TEXT):
            name = str(tokenizer().decode([token]))
            parts = [*encoded(name[:1]), *encoded(name[1:])]
            ids += parts if len(parts) == 2 and rng.random() < 0.1 else [token]
        documents.append(ids)
    lost = 1 - (surviving_share(tokenizer(), documents, 2) or 0)
    reader = AnswerReader(tokenizer())
    told = Detour.measured(
        reader,
        [
            answer(tokenizer().decode(ids), request=i, finish_reason="length", completion_tokens=len(ids))
            for i, ids in enumerate(documents)
        ],
    )
    assert lost > 0.01
    assert lost == pytest.approx(told.share_of_pairs(1), rel=0.35)


def test_special_tokens_between_others_are_not_taken() -> None:
    """They leave the text as it is, and would keep every pair from being counted."""
    drawn = encoded(TEXT)
    woven = [token for one in drawn for token in (one, 2)]
    assert read(answer(token_ids=tuple(woven))) == (drawn, False)
    assert read(answer(token_ids=(*drawn, 2, 2))) == ([*drawn, 2, 2], True)


def test_a_tokens_name_of_any_length_is_only_a_name() -> None:
    drawn = encoded(TEXT)
    positions = tuple(
        {"token": "no such token", "logprob": -1.0, "top": [["token_id:" + "9" * 5000, -1.0]]} for _ in drawn
    )
    listed = AnswerReader(tokenizer()).alternatives(answer(token_ids=tuple(drawn), logprobs=positions))
    assert listed is not None
    assert [one.log_probabilities for one in listed] == [{token: -1.0} for token in drawn]


@pytest.mark.parametrize(
    ("given", "usage", "kept"),
    [(True, None, 6), (True, 6, 6), (False, None, 6), (False, 7, 6), (False, 6, 24), (False, 0, 24)],
)
def test_no_answer_counts_beyond_what_was_asked_for(given: bool, usage: int | None, kept: int) -> None:
    """A server that floods its first answer would spend a plan; its word on its own tokens goes only so far."""
    text = "the rain fell on the harbour and " * 30
    ids = tuple(tokenizer()(text.strip(), add_special_tokens=False)["input_ids"])
    long = answer(text=text.strip(), token_ids=ids if given else None, completion_tokens=usage)
    found = AnswerReader(tokenizer(), 6).read(long)
    assert (found.ids, found.returned, found.surplus) == (list(ids[:kept]), given, len(ids) - kept)
    assert AnswerReader(tokenizer(), len(ids)).read(long).surplus == AnswerReader(tokenizer()).read(long).surplus == 0
    assert Detour.measured(AnswerReader(tokenizer(), 6), [long]).answers == 0


def test_a_word_of_two_scripts_that_nothing_undoes_is_a_disguise() -> None:
    found = AnswerReader(tokenizer()).read(answer("the b\u2c9fats were still", token_ids=(40, 41)))
    assert (found.disguised, found.returned, found.odd) == (True, False, 1)
