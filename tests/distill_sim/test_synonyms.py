"""Synonyms in the form of the word they stand for, and one line where WordNet or lemminflect is missing."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from distill_sim import synonyms
from distill_sim.synonyms import Thesaurus, replaced, wordnet_directory
from tests.distill_sim import wordnet
from watermark.errors import InputError


@pytest.fixture(scope="module")
def thesaurus(tmp_path_factory: pytest.TempPathFactory) -> Thesaurus:
    return Thesaurus(wordnet.write(tmp_path_factory.mktemp("wordnet")))


@pytest.mark.parametrize(
    ("word", "others"),
    [
        *(("dog", ["hound"]), ("Dogs", ["hounds"]), ("houses", ["homes"]), ("biggest", ["largest"])),
        *(("seeing", ["viewing"]), ("saw", ["viewed"]), ("the", []), ("sofa", [])),
    ],
)
def test_synonyms_take_the_form_of_the_word(thesaurus: Thesaurus, word: str, others: list[str]) -> None:
    assert thesaurus.synonyms(word) == others


def test_replaced_keeps_capitals_and_everything_between_words(thesaurus: Thesaurus) -> None:
    text, share = replaced("Dogs, big ones:\n(the house)!", thesaurus, 0.99, random.Random(1))
    assert text == "Hounds, large ones:\n(the home)!"
    assert share == 3 / 5
    assert replaced("", thesaurus, 0.5, random.Random(1)) == ("", 0.0)


def test_wordnet_is_looked_for_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TAGGANT_WORDNET", raising=False)
    assert wordnet_directory() == Path("/usr/share/wordnet")
    monkeypatch.setenv("TAGGANT_WORDNET", str(tmp_path))
    with pytest.raises(InputError, match=r"has no WordNet \(index\.noun\): install Debian's wordnet-base, or set TAGG"):
        Thesaurus()
    wordnet.write(tmp_path)
    assert Thesaurus().synonyms("dog") == ["hound"]


def test_a_missing_lemminflect_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wordnet.write(tmp_path)
    monkeypatch.setattr(synonyms, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "lemminflect", raising=False)
    with pytest.raises(InputError, match=r"lemminflect is not installed: pip install 'taggant\[lab\]'"):
        Thesaurus(tmp_path)
    assert "lemminflect" not in sys.modules
