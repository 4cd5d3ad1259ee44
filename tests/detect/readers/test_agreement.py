"""Token ids and the text beside them: who counts the ids must know where they are not the text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detect.readers import Row
from detect.readers.agreement import TextCheck, said_by, shared_windows
from watermark.errors import InputError, TokenizerMismatchError

TEXT = "The rain fell on the harbour and the boats were still. Who counted the coins twice?"


def plain(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def spelled_out(tokenizer: Any, text: str) -> list[int]:
    return [token for char in text for token in plain(tokenizer, char)]


def looked_at(tokenizer: Any, *rows: tuple[str | None, list[int] | None]) -> TextCheck:
    check = TextCheck(lambda: tokenizer)
    for number, (text, ids) in enumerate(rows):
        check.look_at(Row(f"r{number}", "", text, None if ids is None else np.array(ids, np.uint32)))
    return check


def test_rows_that_agree_or_hold_one_of_the_two(tokenizer: Any) -> None:
    ids = plain(tokenizer, TEXT)
    drawn = [*spelled_out(tokenizer, "The"), *plain(tokenizer, TEXT[len("The") :])]  # in a few places
    short = "Who?"
    rows = [(TEXT, ids), (f" {TEXT}\n", [*ids, 2]), (TEXT, drawn), (TEXT, None), (None, [5, 6]), ("", [])]
    check = looked_at(tokenizer, *rows, (short, spelled_out(tokenizer, short)))
    assert (check.found.apart, check.found.unchecked) == (0, 0)
    (note,) = check.notes
    own = 3 * len(ids) - 3
    assert own - 8 < check.found.shared < check.found.windows < own + 12
    share = (
        f"token_ids beside text: {check.found.shared / check.found.windows:.1%} of their {check.found.windows} windows"
    )
    assert note == f"{share} of two tokens are those of the text's own tokenizer"
    assert looked_at(tokenizer, (TEXT, None), (None, [5, 6]), ("", [])).notes == ()


def test_many_rows_too_short_to_tell_are_told_together(tokenizer: Any) -> None:
    """Ids that were split under a key make a mark in human text; in rows of two words none of them stands out."""
    words = TEXT.split()
    pairs = [" ".join(words[at : at + 2]) for at in range(0, len(words) - 1, 2)]
    check = looked_at(tokenizer, *((text, spelled_out(tokenizer, text)) for text in pairs))
    assert check.found.apart == 0
    (note,) = check.notes
    assert note.startswith("token_ids beside text: ")
    assert (
        ", fewer than 80%, which models that draw tokens keep above: ids can hide a mark that the text carries" in note
    )
    assert "or make one that it does not; test it without token_ids, and go by that" in note


@pytest.mark.parametrize("what", ["another text", "spelled out", "a special token inside", "beyond the vocabulary"])
def test_rows_that_do_not(tokenizer: Any, what: str) -> None:
    ids = plain(tokenizer, TEXT)
    given = {
        "another text": plain(tokenizer, TEXT[:-9]),
        "spelled out": spelled_out(tokenizer, TEXT),
        "a special token inside": [*ids[:5], 2, *ids[5:]],
        "beyond the vocabulary": [*ids, len(tokenizer)],
    }[what]
    check = looked_at(tokenizer, (TEXT, ids), (TEXT, given), (TEXT, given))
    assert (check.found.apart, check.found.first_apart) == (2, "r1")
    note, shares = check.notes
    assert note.startswith("2 documents whose token_ids are not the text beside them")
    assert "(first: r1)" in note
    assert "ids can hide a mark that the text carries, or make one that it does not" in note
    assert ("100.0%" in shares) == (what != "spelled out")


def test_without_a_tokenizer_nothing_is_compared_and_it_is_looked_for_once() -> None:
    tried = []

    def load() -> Any:
        tried.append(1)
        raise InputError("none is named")

    check = TextCheck(load)
    for _ in range(2):
        check.look_at(Row("a", "", "x", np.array([5], np.uint32)))
    assert (check.found.unchecked, len(tried)) == (2, 1)
    assert check.notes[0].startswith("2 documents with text beside token_ids")


def test_another_tokenizer_than_the_keys_is_no_tokenizer_too_few() -> None:
    def load() -> Any:
        raise TokenizerMismatchError("another", expected="a", found="b")

    with pytest.raises(TokenizerMismatchError):
        TextCheck(load).look_at(Row("a", "", "x", np.array([5], np.uint32)))


def test_what_ids_say(tokenizer: Any) -> None:
    ids = plain(tokenizer, TEXT)
    assert said_by(tokenizer, [*ids, 2, 2], TEXT) == ids
    cut = plain(tokenizer, "é")[:1]
    assert said_by(tokenizer, [*ids, *cut], TEXT) == [*ids, *cut]
    assert said_by(tokenizer, ids, TEXT + "!") is None


def test_windows() -> None:
    assert shared_windows([1, 2, 3, 1, 2], [1, 2, 9, 3, 1], 2) == (4, 2)
    assert shared_windows([1], [1], 2) == (0, 0)
