"""Text with what was done to it between model and examiner undone, as far as it can be: `detect --normalise`.

A tokenizer reads raw characters; a hidden or exchanged character makes other tokens, and the pairs around it are lost.
Folded are: invisible characters, unusual and doubled spaces, line ends, quotes and letters in other dress, combining
tricks, and lookalike letters in words of mixed script. Genuine Greek, Russian, Persian, Chinese or emoji stay as they
are. What is folded depends on the text alone, never on a key.

The table of lookalikes is our own. Checked against Unicode's confusables: docs/adr/0008-scan-and-normalisation.md.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from detect.lookalikes import ALPHABETS, EAST_ASIAN, PHONETIC, mixed_words, script, stands_out, undisguised
from detect.visible import BLANK, EMPTY, is_hidden, is_ignorable

DRESSED = 0.05
KINDS = ("zero_width", "homoglyph", "space", "compatibility")

_SUSPECT = re.compile(r"[ -~]?[^\n\t -~]+")  # with the character that marks may sit on
_PRINTED = bytes([*b"\n\t", *range(0x20, 0x7F)])
_LINE_ENDS = "\r\x85\u2028\u2029"
_LAYOUT = "\n\t\v\f" + _LINE_ENDS
_FEEDS = re.compile("[\v\f]+")  # at home between lines and pages, not inside a word
_VISIBLE_FORMATS = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u08e2"  # Arabic number signs and the like
# These do nothing for any script: soft hyphen, zero-width space, word joiner, byte-order mark, invisible operators
_NEVER_NEEDED = "\xad\u200b\u2060\ufeff\u2061\u2062\u2063\u2064\u180e"
_DIRECTION_MARKS = "\u200e\u200f\u061c"
_MOST_ROUNDS = 8
MOST_MARKS = 30  # on one character, as in Unicode's stream-safe format (UAX 15): composing more takes quadratic time
_NEAR = 40  # characters
_PLAIN = {
    **dict.fromkeys("‘’‛ʼ", "'"),
    **dict.fromkeys("“”‟", '"'),
    **dict.fromkeys("‐‑−﹣－", "-"),
    "…": "...",
}
_DOUBLED = re.compile(r"(?<=\S) ( +)(?=\S)")  # spaces inside a line; its indentation is none
_KEYCAP = "\u20e3"  # of emoji such as 1\ufe0f\u20e3
_JAMO = ("\u1160", "\u11ff")  # Hangul vowels and finals: they compose with the letter before


@dataclass(frozen=True, eq=False)
class Normalised:
    """A text after folding.

    Attributes:
        text: itself, if nothing was changed.
        changes: how many characters of each kind of KINDS were removed or exchanged.
        origin: int64 [len(text) + 1], where each character stood; the last is the original's length.
        mixed: words left that no table undoes, though letters of another script stand among Latin ones.
    """

    text: str
    changes: dict[str, int]
    origin: NDArray[np.int64]
    mixed: int = 0

    @property
    def is_disguise(self) -> bool:
        """Whether the text was made to hide its tokens, as people and models that write plainly don't.

        Anything invisible or any lookalike tells; spaces, quotes and letters in other dress only where they are more
        than DRESSED of all characters: spaces are about one in six of them, quotes hardly one in fifty.
        """
        tells = self.changes["zero_width"] + self.changes["homoglyph"] + self.mixed
        return tells > 0 or sum(self.changes.values()) > DRESSED * int(self.origin[-1])

    def original_range(self, start: int, end: int) -> tuple[int, int]:
        """Characters start … end − 1 of `text` as a range of the original."""
        if start >= end:
            return int(self.origin[start]), int(self.origin[start])
        return int(self.origin[start]), int(max(self.origin[end], self.origin[end - 1] + 1))


def normalise(text: str) -> Normalised:
    """Fold `text` until there is nothing left to fold: one trick may hide another."""
    result = _folded(text)
    for _ in range(_MOST_ROUNDS):
        if not any(result.changes.values()):
            break
        again = _folded(result.text)
        if again.text == result.text:
            break
        changes = {kind: result.changes[kind] + again.changes[kind] for kind in KINDS}
        result = Normalised(again.text, changes, result.origin[again.origin])
    return replace(result, mixed=mixed_words(result.text))


def looks_disguised(text: str) -> bool:
    """`normalise(text).is_disguise`, at once where a text is plainly none.

    That is where no character needs a look at its neighbours, and the others, with the spaces beside them, are few.
    """
    odd = text.encode().translate(None, _PRINTED).decode()  # no byte of a longer character is a printed one's
    if any(_needs_a_look(char) for char in set(odd)):
        return normalise(text).is_disguise
    exchanged = sum(map(_is_exchanged, odd))
    # A run of spaces loses all but one: no more than two for each pair in it, and two for each other one among them
    if 3 * exchanged + 2 * text.count("  ") <= DRESSED * len(text):
        return False
    if 3 * exchanged + 2 * sum(line.count("  ") for line in map(str.lstrip, text.split("\n"))) <= DRESSED * len(text):
        return False  # the rest was indentation
    if not exchanged:
        return sum(len(spaces) for spaces in _DOUBLED.findall(text)) > DRESSED * len(text)
    return normalise(text).is_disguise


@lru_cache(maxsize=1 << 16)
def _needs_a_look(char: str) -> bool:
    """Whether what becomes of a character, or of others for its sake, hangs on what stands beside it."""
    if _is_invisible(char) or char in "\v\f" or unicodedata.category(char)[0] == "M" or _JAMO[0] <= char <= _JAMO[1]:
        return True
    return unicodedata.normalize("NFC", char) != char or stands_out(char)


@lru_cache(maxsize=1 << 16)
def _is_exchanged(char: str) -> bool:
    """Whether one that needs no look may be exchanged for another."""
    return char in _LINE_ENDS or char == "\u3000" or _is_odd_space(char, "") or _undressed(char) != char


def _folded(text: str) -> Normalised:
    changes = Counter(dict.fromkeys(KINDS, 0))
    pieces: list[str] = []
    origins: list[NDArray[np.int64]] = []
    at = 0
    for found in _SUSPECT.finditer(text):
        start = found.start()
        pieces.append(text[at:start])
        origins.append(np.arange(at, start))
        before = text[start - 1] if start else "\n"
        for piece, places in _composed(_visible(text, start, found.end(), before, changes), changes):
            pieces.append(piece)
            origins.append(np.array(places, dtype=np.int64))
        at = found.end()
    pieces.append(text[at:])
    origins.append(np.arange(at, len(text) + 1))
    folded, exchanged = undisguised("".join(pieces))  # one character for one
    changes["homoglyph"] += exchanged
    result, kept = _single_spaced(folded)
    changes["space"] += len(folded) - len(result)
    return Normalised(text if result == text else result, dict(changes), np.concatenate(origins)[kept])


def _single_spaced(text: str) -> tuple[str, NDArray[np.bool_]]:
    """`text` with one space between two words of a line, and which of its characters, and its end, are kept."""
    kept = np.ones(len(text) + 1, dtype=np.bool_)
    for found in _DOUBLED.finditer(text):
        kept[found.start(1) : found.end(1)] = False
    return (text if kept.all() else _DOUBLED.sub(" ", text)), kept


def _visible(text: str, start: int, end: int, before: str, changes: Counter[str]) -> list[tuple[str, int]]:
    """(character or what it stands for, where it was) of a stretch, without invisible ones."""
    kept: list[tuple[str, int]] = []
    feeds, inside = start, False  # where the last run of feeds ends, and whether that is within a word
    for at in range(start, end):
        char = text[at]
        if at >= feeds and (run := _FEEDS.match(text, at)):
            feeds = run.end()
            inside = before.isalnum() and text[feeds : feeds + 1].isalnum()
        if at < feeds and inside:
            changes["zero_width"] += 1
            continue
        if _is_invisible(char):
            if _joins(char, before) or text[at + 1 : at + 2] == _KEYCAP or _directs(char, text, at):
                kept.append((char, at))  # `before` stays: a run of joiners hangs on one character
            else:
                changes["zero_width"] += 1
            continue
        if char in _LINE_ENDS:
            changes["space"] += 1
            if not (char == "\r" and text[at + 1 : at + 2] == "\n"):
                kept.append(("\n", at))
        elif _is_odd_space(char, before):
            changes["space"] += 1
            kept.append((" ", at))
        else:
            plain = _undressed(char)
            changes["compatibility"] += plain != char
            kept.append((plain, at))
        before = kept[-1][0][-1] if kept else before
    return kept


def _composed(chars: list[tuple[str, int]], changes: Counter[str]) -> list[tuple[str, list[int]]]:
    """Every character with its marks in composed form (NFC), less those that only disturb or are too many; origins."""
    clusters: list[tuple[list[str], list[int]]] = []
    for char, at in chars:
        if clusters and (unicodedata.category(char[0])[0] == "M" or _JAMO[0] <= char <= _JAMO[1]):
            marked, origins = clusters[-1]
            if len(marked) > MOST_MARKS:
                changes["compatibility"] += 1
                continue
            marked.append(char)
            origins.append(at)
        else:
            clusters.append(([char], [at] * len(char)))
    result = []
    for parts, origins in clusters:
        cluster = "".join(parts)
        clean = cluster if cluster.isascii() else _without_tricks(unicodedata.normalize("NFC", cluster))
        changes["compatibility"] += clean != cluster
        result.append((clean, origins if len(clean) == len(origins) else origins[:1] * len(clean)))
    return result


def _without_tricks(cluster: str) -> str:
    """Less strokes through a letter; on an ASCII letter less every mark that did not compose with it."""
    base, marks = cluster[0], cluster[1:]
    if not marks or script(base) not in ALPHABETS:
        return cluster
    if base.isascii():
        return base + "".join(mark for mark in marks if unicodedata.category(mark)[0] != "M")
    return base + "".join(mark for mark in marks if unicodedata.combining(mark) != 1)


@lru_cache(maxsize=4096)
def _is_invisible(char: str) -> bool:
    if not is_hidden(char) or char in _LAYOUT or char in _VISIBLE_FORMATS or char == BLANK:
        return False
    return is_ignorable(char) or char in EMPTY or unicodedata.category(char) not in ("Zs", "Co", "Cn", "Cs")


def _joins(char: str, before: str) -> bool:
    """Whether an invisible character may have work to do: in emoji, and in scripts whose letters join."""
    if char in _NEVER_NEEDED or unicodedata.category(char) in ("Cc", "Cn"):
        return False
    kind = unicodedata.category(before)
    if kind == "So" or "\U0001f3fb" <= before <= "\U0001f3ff":  # emoji, and their skin tones
        return True
    return kind[0] in "LM" and script(before) not in ALPHABETS | EAST_ASIAN | {PHONETIC, "COMBINING"}


def _directs(char: str, text: str, at: int) -> bool:
    """Whether a direction mark may have work to do: the last letter before it is one of right-to-left writing."""
    if char not in _DIRECTION_MARKS:
        return False
    letters = [one for one in text[max(0, at - _NEAR) : at] if one.isalpha()]
    return bool(letters) and unicodedata.bidirectional(letters[-1]) in ("R", "AL")


def _is_odd_space(char: str, before: str) -> bool:
    if char == "\u3000":  # at home in Chinese and Japanese
        return before.isascii() and before not in _LAYOUT
    return char == BLANK or (unicodedata.category(char) == "Zs" and char != " ")


@lru_cache(maxsize=4096)
def _undressed(char: str) -> str:
    """The plain form of a quote, or of a letter or digit in other dress: full width, mathematical, ligature."""
    if char in _PLAIN:
        return _PLAIN[char]
    tag = unicodedata.decomposition(char).partition(" ")[0]
    plain = unicodedata.normalize("NFKC", char)
    if not plain.isascii():
        return char
    if tag in ("<wide>", "<narrow>", "<font>") and plain.isalnum():
        return plain
    if tag == "<compat>" and plain.isalpha() and unicodedata.category(char)[0] in "LN":  # ligatures, Roman numerals
        return plain
    return plain if tag in ("<circle>", "<square>") and plain.isalpha() and len(plain) == 1 else char
