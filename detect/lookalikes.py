"""Letters that look like letters of another script, and words in which one has been put for the other."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

LATIN, GREEK, CYRILLIC, PHONETIC = "LATIN", "GREEK", "CYRILLIC", "PHONETIC"
ALPHABETS = frozenset({LATIN, GREEK, CYRILLIC, "ARMENIAN", "CHEROKEE", "LISU"})  # letters that stand apart

EAST_ASIAN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL"})  # letters that stand apart, and alike to no others

# Latin, Greek, Cyrillic; a dot where a script has none that could be taken for the others.
_ALIKE = """
A Α А|B Β В|C Ϲ С|E Ε Е|G . Ԍ|H Η Н|I Ι І|J Ϳ Ј|K Κ К|M Μ М|N Ν .|O Ο О|P Ρ Р|Q . Ԛ|S . Ѕ|T Τ Т|V . Ѵ|W . Ԝ
X Χ Х|Y Υ Ү|Z Ζ .|a α а|c ϲ с|d . ԁ|e . е|h . һ|i ι і|j ϳ ј|k κ к|l . ӏ|n . п|o ο о|p ρ р|q . ԛ|r . г|s . ѕ
t τ т|u υ .|v ν ѵ|w ω ԝ|x χ х|y γ у|Ï Ϊ Ї|ï ϊ ї|Ë . Ё|ë . ё|ó ό .|í ί .|æ . ӕ|Æ . Ӕ|ə . ә|Ə . Ә
"""
# Others that stand for a Latin letter; there is no way back.
_TO_LATIN = """
УY ӀI ьb νv σo ɑa ɡg ᴄc ᴏo ᴠv ᴡw ᴢz ꜱs օo ոn սu հh յj զq ցg ՍU ՕO ՏS ԼL
ᎪA ᏴB ᏟC ᎠD ᎬE ᏀG ᎻH ᎫJ ᏦK ᏞL ᎷM ᏢP ᏒR ᏚS ᎢT ᏙV ᎳW ᎩY ᏃZ Ꭵi ꓮA ꓐB ꓚC ꓓD ꓰE ꓝF ꓖG ꓧH ꓲI ꓙJ ꓗK ꓡL ꓟM ꓠN ꓳO ꓑP ꓣR ꓢS
ꓔT ꓴU ꓦV ꓪW ꓫX ꓬY ꓜZ
"""
_PHONETIC = frozenset("ɑɡᴄᴏᴠᴡᴢꜱ")  # Latin by name, but of no language's spelling
# First words of the names of letters that belong to no script, or to Latin under another name
_NO_SCRIPT = frozenset(
    {"", LATIN, PHONETIC, "MODIFIER", "FULLWIDTH", "HALFWIDTH", "FEMININE", "MASCULINE", "MATHEMATICAL", "MICRO"}
    | {"DOUBLE-STRUCK", "SCRIPT", "BLACK-LETTER", "KELVIN", "ANGSTROM", "OHM", "PLANCK", "EULER", "ALEF", "BET"}
    | {"GIMEL", "DALET", "VERTICAL", "IDEOGRAPHIC", "TURNED"}
)
_WORD = re.compile(r"[^\W\d_]+")


def _tables() -> dict[str, dict[str, str]]:
    """Target script → a letter of another script → the target's letter."""
    tables: dict[str, dict[str, str]] = {LATIN: {}, GREEK: {}, CYRILLIC: {}}
    for entry in _ALIKE.replace("\n", "|").strip("|").split("|"):
        letters = dict(zip(tables, entry.split(), strict=True))
        for target, own in letters.items():
            if own != ".":
                tables[target].update({other: own for other in letters.values() if other not in (own, ".")})
    tables[LATIN].update({pair[0]: pair[1] for pair in _TO_LATIN.split()})
    return tables


TABLES = _tables()
_DISGUISES = re.compile(
    "[" + "".join({char for table in TABLES.values() for char in table if not char.isascii()}) + "]"
)


@lru_cache(maxsize=8192)
def script(char: str) -> str:
    """The first word of the character's Unicode name: "LATIN", "CYRILLIC", "CJK"; "" if it has none."""
    return PHONETIC if char in _PHONETIC else unicodedata.name(char, "").partition(" ")[0]


def undisguised(text: str) -> tuple[str, int]:
    """`text` with lookalike letters put back, one for one, and how many there were.

    A word of mixed script is written in the script of its unmistakable letters, where that does not tell in that of
    the words around it. A word of Cyrillic lookalikes alone ("а", "со") becomes Latin between Latin words.
    """
    if not _DISGUISES.search(text):
        return text, 0
    words = list(_WORD.finditer(text))
    own = [_unmistakable(found.group()) for found in words]
    before, after = _nearest(own), _nearest(own[::-1])[::-1]
    pieces, exchanged, at = [], 0, 0
    for i, found in enumerate(words):
        if found.group().isascii():
            continue
        target = _target(found.group(), frozenset({before[i], after[i]} - {""}))
        for place in range(found.start(), found.end()) if target else ():
            plain = TABLES[str(target)].get(text[place])
            if plain is not None and script(text[place]) != target:
                pieces += [text[at:place], plain]
                exchanged += 1
                at = place + 1
    return "".join([*pieces, text[at:]]), exchanged


def stands_out(char: str) -> bool:
    """Whether a character may be taken for one of another script, or be of a script that Latin words don't hold."""
    if _DISGUISES.match(char):
        return True
    return char.isalpha() and not _is_at_home(script(char))


def _is_at_home(one: str) -> bool:
    """Whether letters of a script may stand among Latin ones: Greek as symbols, East Asian writing beside them."""
    return one in _NO_SCRIPT or one == GREEK or one in EAST_ASIAN


def mixed_words(text: str) -> int:
    """How many words have a letter of another script among Latin ones, as no spelling has.

    What is in use: Greek letters as symbols ("TNFα"), and East Asian writing beside Latin. Letters without case (Thai,
    Arabic) may touch a Latin word, whose neighbours no space divides from it, but stand between its letters nowhere.
    """
    return 0 if text.isascii() else sum(_is_mixed(found.group()) for found in _WORD.finditer(text))


@lru_cache(maxsize=1 << 16)
def _is_mixed(word: str) -> bool:
    if word.isascii() or len(word) < 2:
        return False
    letters = [(char, script(char)) for char in word]
    latin = [at for at, (_, one) in enumerate(letters) if one == LATIN]
    if not latin:
        return False
    for at, (char, one) in enumerate(letters):
        if not char.isalpha() or _is_at_home(one):
            continue
        if char.lower() != char.upper() or latin[0] < at < latin[-1]:
            return True
    return False


def _nearest(scripts: Iterable[str]) -> list[str]:
    """For each place the last unmistakable script before it, "" if there is none."""
    found, last = [], ""
    for one in scripts:
        found.append(last)
        last = one or last
    return found


@lru_cache(maxsize=1 << 16)
def _unmistakable(word: str) -> str:
    """The script of most letters of a word that look like no other script's; "" if there are none."""
    if word.isascii() and len(word) > 2:  # nobody writes whole words of another script in ASCII
        return LATIN
    return _most(_firm(word, frozenset(TABLES)))


@lru_cache(maxsize=1 << 16)
def _target(word: str, around: frozenset[str]) -> str | None:
    """The script a word is to be written in; None: it stays."""
    present = frozenset(map(script, word)) & (ALPHABETS | {PHONETIC})
    if len(present) == 1:
        lone = present == {CYRILLIC} and around == {LATIN} and all(char in TABLES[LATIN] for char in word)
        return LATIN if lone else None
    scripts = [script(char) for char in word]
    # In "Δx" or "μm" the Greek letter is a symbol, so Greek and Cyrillic have to be most of a word to be its script
    possible = frozenset(one for one in present & TABLES.keys() if one == LATIN or 2 * scripts.count(one) > len(word))
    for candidates in (_firm(word, possible), [one for one in around if one in possible and len(around) == 1]):
        if candidates:
            return _most(candidates)
    return _most([one for one in scripts if one in possible]) or None


def _firm(word: str, among: frozenset[str]) -> list[str]:
    """The scripts, of those `among`, of the letters that look like no letter of the others."""
    own = ((char, script(char)) for char in word)
    return [one for char, one in own if one in among and not any(char in TABLES[other] for other in among - {one})]


def _most(scripts: list[str]) -> str:
    """The most frequent one; of equally frequent ones Latin, then Greek, then Cyrillic; "" of none."""
    return max(TABLES, key=scripts.count) if scripts else ""
