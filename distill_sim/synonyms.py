"""Words → synonyms in the same form: WordNet's sets of synonyms, and lemminflect for the endings.

WordNet 3.0 is read from the files of Debian's package `wordnet-base` (/usr/share/wordnet, or where $TAGGANT_WORDNET
says). No sense is chosen by context: a person who paraphrases keeps more of the meaning, and exchanges no fewer tokens.
"""

from __future__ import annotations

import os
import random
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from watermark.errors import InputError

FILES = {"NOUN": "noun", "VERB": "verb", "ADJ": "adj", "ADV": "adv"}
TAGS = {
    "NOUN": ("NN", "NNS"),
    "VERB": ("VB", "VBZ", "VBD", "VBN", "VBG", "VBP"),
    "ADJ": ("JJ", "JJR", "JJS"),
    "ADV": ("RB", "RBR", "RBS"),
}
SENSES = 3  # the most frequent ones
_WORD = re.compile(r"[A-Za-z]+")


def wordnet_directory() -> Path:
    """Where WordNet is looked for: $TAGGANT_WORDNET, or where Debian puts it."""
    return Path(os.environ.get("TAGGANT_WORDNET") or "/usr/share/wordnet")


class Thesaurus:
    """WordNet's synonyms, inflected.

    Args:
        directory: with WordNet's files; None: `wordnet_directory()`.

    Raises:
        InputError: WordNet or lemminflect is missing.
    """

    def __init__(self, directory: Path | None = None) -> None:
        directory = wordnet_directory() if directory is None else directory
        _check_installed(directory)
        import lemminflect  # of the extra `lab`

        self._inflect: Any = lemminflect
        self._senses = {pos: _index(directory / f"index.{name}") for pos, name in FILES.items()}
        self._data = {pos: (directory / f"data.{name}").read_bytes() for pos, name in FILES.items()}
        self._known: dict[str, list[str]] = {}

    def synonyms(self, word: str) -> list[str]:
        """Other words in the form of `word`, lower case, sorted."""
        word = word.lower()
        if word not in self._known:
            found = {one for pos, lemmas in self._inflect.getAllLemmas(word).items() if pos in FILES
                     for lemma in lemmas for one in self._in_form(word, lemma, pos)}  # fmt: skip
            self._known[word] = sorted(found - {word})
        return self._known[word]

    def _in_form(self, word: str, lemma: str, pos: str) -> set[str]:
        tag = next((tag for tag in TAGS[pos] if word in self._inflect.getInflection(lemma, tag)), None)
        if tag is None:
            return set()
        others = {one for offset in self._senses[pos].get(lemma, [])[:SENSES] for one in self._members(pos, offset)}
        return {form.lower() for other in others - {lemma} for form in self._inflect.getInflection(other, tag)[:1]}

    def _members(self, pos: str, offset: int) -> list[str]:
        """The single words of one set of synonyms."""
        fields = self._data[pos][offset : offset + 4000].split(b" ")
        words = [fields[4 + 2 * i].decode().partition("(")[0] for i in range(int(fields[3], 16))]
        return [word.lower() for word in words if word.isalpha()]


def _check_installed(directory: Path) -> None:
    missing = [
        kind + name
        for name in FILES.values()
        for kind in ("index.", "data.")
        if not (directory / (kind + name)).is_file()
    ]
    if missing:
        raise InputError(
            f"synonyms: {directory} has no WordNet ({missing[0]}): install Debian's wordnet-base, or set "
            "TAGGANT_WORDNET to a directory with its files"
        )
    if find_spec("lemminflect") is None:
        raise InputError("synonyms: lemminflect is not installed: pip install 'taggant[lab]'")


def _index(path: Path) -> dict[str, list[int]]:
    """Lemma → where its sets of synonyms stand in the data file, the most frequent sense first."""
    index = {}
    for line in path.read_text(encoding="ascii").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            index[fields[0]] = [int(offset) for offset in fields[-int(fields[2]) :]]
    return index


def replaced(text: str, thesaurus: Thesaurus, share: float, rng: random.Random) -> tuple[str, float]:
    """`text` with this share of its words replaced, or as many as have synonyms; and the share that was."""
    words = list(_WORD.finditer(text))
    wanted = round(share * len(words))
    new: dict[int, str] = {}
    for i in rng.sample(range(len(words)), len(words)):
        if len(new) == wanted:
            break
        word = words[i].group()
        choices = thesaurus.synonyms(word)
        if choices:
            choice = rng.choice(choices)
            new[i] = choice.capitalize() if word[0].isupper() else choice
    pieces, at = [], 0
    for i, found in enumerate(words):
        pieces += [text[at : found.start()], new.get(i, found.group())]
        at = found.end()
    return "".join([*pieces, text[at:]]), len(new) / max(1, len(words))
