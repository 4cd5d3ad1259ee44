"""A study's keys: all from one secret, each standing alone in its file, and never another study's."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from distill_sim.condition import Condition
from distill_sim.study.keys import OWNER, StudyKeys
from tests.detect.questioned import tokenizers
from tests.watermark.engines.helpers import identity, key_for, tokenizer
from tests.watermark.keys.helpers import assert_one_line
from watermark.errors import InputError, KeyFileError, TokenizerMismatchError
from watermark.keys import Key

OWNERS_KEY = key_for(number=40)


@pytest.fixture
def keys(tmp_path: Path) -> StudyKeys:
    return StudyKeys(tmp_path, OWNERS_KEY)


def test_an_accounts_answers_carry_the_mark_that_is_looked_for(keys: StudyKeys) -> None:
    (mark,) = keys.marking(Condition(), 2)
    assert mark == OWNERS_KEY.account("account-2").retuned(gamma=0.25, delta=2.0, context_width=1)
    assert keys.looked_for(Condition(), 2) == {"account": mark}
    assert keys.marking(Condition(), 1) != [mark]


def test_the_first_of_several_accounts_is_looked_for(keys: StudyKeys) -> None:
    condition = Condition(accounts=3)
    marks = keys.marking(condition, 0)
    assert len({mark.key_id for mark in marks}) == 3
    assert keys.looked_for(condition, 0) == {"account": marks[0]}
    assert marks[:2] == keys.marking(Condition(accounts=2), 0)
    assert marks[0] == keys.marking(Condition(), 0)[0]


def test_a_licensed_student_is_tested_for_both_marks(keys: StudyKeys) -> None:
    (mark,) = keys.marking(Condition(source="licensed"), 1)
    looked_for = keys.looked_for(Condition(source="licensed"), 1)
    assert looked_for == {"account": keys.looked_for(Condition(), 1)["account"], "licensed": mark}
    assert looked_for["account"] != mark


def test_a_control_is_tested_for_the_accounts_mark_and_carries_none_of_it(keys: StudyKeys) -> None:
    own = keys.looked_for(Condition(), 1)
    for source in ("unmarked", "human", "another-owner", "imitated"):
        assert keys.looked_for(Condition(source=source), 1) == own
    (other,) = keys.marking(Condition(source="another-owner"), 1)
    assert other != own["account"]


def test_marks_have_the_conditions_parameters_and_delta_alone_makes_no_other_mark(keys: StudyKeys) -> None:
    (mark,) = keys.marking(Condition(gamma=0.5, delta=1.5, context_width=2), 0)
    assert (mark.gamma, mark.delta, mark.context_width) == (0.5, 1.5, 2)
    ids = {keys.marking(Condition(delta=delta), 0)[0].key_id for delta in (1.0, 2.0, 3.0)}
    assert len(ids) == 1
    assert mark.key_id not in ids


def test_every_key_has_a_file_of_its_own_delta_included(keys: StudyKeys, tmp_path: Path) -> None:
    marks = [keys.marking(Condition(delta=delta), 0)[0] for delta in (2.0, 2.5, 2.0000001)]
    files = [keys.file(mark) for mark in marks]
    assert len(set(files)) == 3
    for mark, file in zip(marks, files, strict=True):
        assert keys.file(mark) == file
        assert Key.load(file) == mark
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.parent == tmp_path


def test_a_resumed_study_finds_its_files(keys: StudyKeys, tmp_path: Path) -> None:
    (mark,) = keys.marking(Condition(), 0)
    file = keys.file(mark)
    assert StudyKeys(tmp_path, OWNERS_KEY).file(mark) == file
    assert Key.load(file) == mark


# --- where they come from ---


def test_keys_are_made_once(tmp_path: Path) -> None:
    first = StudyKeys.open(tmp_path / "keys", tokenizer())
    second = StudyKeys.open(tmp_path / "keys", tokenizer())
    assert first.marking(Condition(), 0) == second.marking(Condition(), 0)
    assert first.tokenizer.same_tokens(identity())
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    other = StudyKeys.open(tmp_path / "others", tokenizer())
    assert other.marking(Condition(), 0) != first.marking(Condition(), 0)


def test_a_given_key_is_the_owners(tmp_path: Path) -> None:
    OWNERS_KEY.save(tmp_path / "given.key")
    keys = StudyKeys.open(tmp_path / "keys", tokenizer(), tmp_path / "given.key")
    assert keys.marking(Condition(), 0) == StudyKeys(tmp_path, OWNERS_KEY).marking(Condition(), 0)
    assert StudyKeys.open(tmp_path / "keys", tokenizer()).marking(Condition(), 0) == keys.marking(Condition(), 0)


def test_a_study_does_not_go_on_with_another_key(tmp_path: Path) -> None:
    StudyKeys.open(tmp_path / "keys", tokenizer())
    OWNERS_KEY.save(tmp_path / "given.key")
    before = (tmp_path / "keys" / OWNER).read_bytes()
    with pytest.raises(InputError, match=r"is another key than .*this study began with it") as caught:
        StudyKeys.open(tmp_path / "keys", tokenizer(), tmp_path / "given.key")
    assert_one_line(caught.value)
    assert (tmp_path / "keys" / OWNER).read_bytes() == before


def test_a_key_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    Key.generate(tokenizer=tokenizers.other()).save(tmp_path / "given.key")
    with pytest.raises(TokenizerMismatchError):
        StudyKeys.open(tmp_path / "keys", tokenizer(), tmp_path / "given.key")
    assert not (tmp_path / "keys" / OWNER).exists()


def test_a_key_without_tokenizer_is_refused(tmp_path: Path) -> None:
    """It would not know which tokens are special."""
    key_for(bare=True).save(tmp_path / "given.key")
    with pytest.raises(InputError, match="names no tokenizer") as caught:
        StudyKeys.open(tmp_path / "keys", tokenizer(), tmp_path / "given.key")
    assert_one_line(caught.value)
    assert not (tmp_path / "keys" / OWNER).exists()


def test_a_given_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError):
        StudyKeys.open(tmp_path / "keys", tokenizer(), tmp_path / "missing.key")


def test_an_owners_key_that_was_damaged(tmp_path: Path) -> None:
    StudyKeys.open(tmp_path / "keys", tokenizer())
    (tmp_path / "keys" / OWNER).write_text("{}")
    with pytest.raises(KeyFileError):
        StudyKeys.open(tmp_path / "keys", tokenizer())
