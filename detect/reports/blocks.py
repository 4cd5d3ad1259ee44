"""What a report is made of: plain values that the template lays out. Whatever others wrote is made inert here."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from detect.visible import one_line
from detect.wording import FLOOR

LONGEST = 2000  # characters of a text that others wrote; the rest is left out and counted
LONGEST_CELL = 160
LONGEST_WORD = 22  # characters
SIGNIFICANT = 6  # digits of a number

Text = str | Markup
_BROKEN, _UNBROKEN = Markup('<bdi class="long">{}</bdi>'), Markup("<bdi>{}</bdi>")


@dataclass(frozen=True)
class Paragraph:
    """A numbered paragraph."""

    text: Text


@dataclass(frozen=True)
class Points:
    """A list under the paragraph before it."""

    texts: tuple[Text, ...]


@dataclass(frozen=True)
class Formula:
    """A line of symbols, in characters."""

    text: str


@dataclass(frozen=True)
class Quotation:
    """What others wrote, paragraph by paragraph."""

    texts: tuple[Text, ...]


@dataclass(frozen=True)
class Code:
    """Lines to type."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows under headings, or names with their values; the first cell of a row heads it.

    Attributes:
        to_sign: has room for a hand.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]
    caption: str
    to_sign: bool = False


@dataclass(frozen=True)
class Picture:
    """A drawing.

    Attributes:
        svg: a whole document.
        description: what it shows, for who cannot see it.
    """

    svg: bytes
    caption: Text
    description: str


@dataclass(frozen=True)
class Heading:
    """Of a part of a section."""

    text: Text


Block = Paragraph | Points | Formula | Quotation | Code | Table | Picture | Heading


@dataclass(frozen=True)
class Section:
    """A numbered section."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        case: id of the case.
        bundle: SHA-256 of the bundle's manifest, which names every other file.
        facts: what the first page begins with: name → value.
        summary: blocks of the first page.
    """

    title: str
    case: str
    bundle: str
    sealed: str
    facts: tuple[tuple[str, Text], ...]
    summary: tuple[Block, ...]
    sections: tuple[Section, ...]


def said(text: object, limit: int = LONGEST_CELL) -> Markup:
    """What others wrote, on one line: hidden characters spelled out, cut, and kept from turning what is around it."""
    shown = one_line(_one_spaced(str(text)[: 4 * limit]), limit)
    broken = any(len(word) > LONGEST_WORD for word in shown.split(" "))  # such words are broken wherever a line ends
    return (_BROKEN if broken else _UNBROKEN).format(shown)


def quoted(text: str, limit: int = LONGEST) -> Quotation:
    """What others wrote, in its paragraphs; beyond `limit` characters it is left out, and said so."""
    shown, rest = text[:limit], len(text) - limit
    parts: list[Text] = [said(part, limit) for part in re.split(r"\r\n|[\r\n]", shown) if part.strip()]
    if rest > 0:
        parts.append(f"[{rest:,} more characters are left out here]")
    return Quotation(tuple(parts or ["[empty]"]))


def filled(sentence: str, *places: object, **values: object) -> Markup:
    """A sentence with values in its braces, each escaped unless it is Markup."""
    return Markup(escape(sentence)).format(*places, **values)  # noqa: S704


def joined(texts: Iterable[Text], between: str = ", ") -> Markup:
    """Texts in a row, each escaped unless it is Markup."""
    return Markup(escape(between)).join(texts)  # noqa: S704


def number(value: float | None, digits: int = SIGNIFICANT) -> str:
    """A number as people are shown it, with so many significant digits."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    mantissa, small, exponent = f"{value:.{digits}g}".partition("e")
    if not small:
        return mantissa
    power = f"10^{int(exponent)}"
    return power if mantissa == "1" else f"{mantissa} × {power}"


def percent(fraction: float) -> str:
    """A share, with the same number of digits."""
    return f"{number(100 * fraction)}%"


def kept(text: str) -> Markup:
    """A word that is not broken at the end of a line: a time, a number of a run."""
    return Markup('<span class="kept">{}</span>').format(text)


def strong(text: str) -> Markup:
    """A name at the head of what it is about."""
    return Markup("<strong>{}</strong>").format(text)


def digest(value: str) -> Markup:
    """A digest in full, to be broken wherever the line ends."""
    return Markup('<span class="digest">{}</span>').format(value)


_POWER = re.compile(r"(log10[ _][pE]\S*|log10) (-?\d+(?:\.\d+)?)")


def floored(note: str) -> str:
    """A note of the evidence; a p in it is shown no smaller than the floor (its record is in the bundle)."""

    def cut(found: re.Match[str]) -> str:
        value = float(found[2])
        if value < FLOOR:
            return f"{found[1]} below {FLOOR}"
        return f"{found[1]} above {-FLOOR}" if value > -FLOOR else found[0]

    return _POWER.sub(cut, note)


def rows_of(values: Mapping[str, Text | None]) -> tuple[tuple[Text, ...], ...]:
    """A table's rows of names and values; None is left out."""
    return tuple((name, value) for name, value in values.items() if value is not None)


def plain(report: Report) -> dict[str, Any]:
    """The words of a report, JSON-ready."""
    sections = [
        {"number": i, "title": one.title, "text": _words(one.blocks)} for i, one in enumerate(report.sections, 1)
    ]
    facts = {name: stripped(value) for name, value in report.facts}
    return {
        "format": "taggant-report/1", "title": report.title, "case": report.case, "bundle": report.bundle,
        "sealed": report.sealed, "facts": facts, "summary": _words(report.summary), "sections": sections,
    }  # fmt: skip


def _words(blocks: Sequence[Block]) -> list[Any]:
    found: list[Any] = []
    for block in blocks:
        if isinstance(block, Paragraph | Heading | Formula):
            found.append(stripped(block.text))
        elif isinstance(block, Points | Quotation):
            found.append([stripped(one) for one in block.texts])
        elif isinstance(block, Code):
            found.append(list(block.lines))
        elif isinstance(block, Table):
            rows = [[stripped(cell) for cell in row] for row in block.rows]
            found.append({"table": block.caption, "headings": list(block.headings), "rows": rows})
        else:
            found.append({"picture": stripped(block.caption), "shows": block.description})
    return found


def stripped(text: Text) -> str:
    """Without markup, which is ours alone."""
    return html.unescape(re.sub(r"<[^<>]*>", "", text)) if isinstance(text, Markup) else text


def _one_spaced(text: str) -> str:
    return text.replace("\t", " ")
