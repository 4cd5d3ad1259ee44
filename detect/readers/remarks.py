"""What people must know of rows that were read: counts and first cases, which add up over any number of parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from detect.visible import one_line
from detect.wording import amount

OWN_WINDOWS = 0.8  # least share of windows of two tokens that the tokenizer makes, too; drawn at 1.3: .9
_EITHER = (
    "ids can hide a mark that the text carries, or make one that it does not; test it without token_ids, and go by that"
)


@dataclass(frozen=True)
class Agreement:
    """Of rows that hold text and token ids: whether the ids are the text, split as its tokenizer does.

    Attributes:
        apart: how many rows whose token ids are not their text, or spell it as no model draws it.
        first_apart: id of the first of them.
        windows: of two tokens, in all rows whose ids are their text, short ones included.
        shared: how many of them the tokenizer makes, too.
        unchecked: how many rows there was no tokenizer for.
    """

    apart: int = 0
    first_apart: str = ""
    windows: int = 0
    shared: int = 0
    unchecked: int = 0

    def plus(self, later: Agreement) -> Agreement:
        return Agreement(
            self.apart + later.apart,
            self.first_apart if self.apart else later.first_apart,
            self.windows + later.windows,
            self.shared + later.shared,
            self.unchecked + later.unchecked,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        notes = []
        if self.apart:
            notes.append(
                f"{amount(self.apart, 'document')} whose token_ids are not the text beside them, or spell it as "
                f"its tokenizer does not (first: {one_line(self.first_apart)}): the ids were counted; {_EITHER}"
            )
        if self.windows:
            share = self.shared / self.windows
            note = (
                f"token_ids beside text: {share:.1%} of their {amount(self.windows, 'window')} of two tokens are those "
                "of the text's own tokenizer"
            )
            if share < OWN_WINDOWS:
                note += f", fewer than {OWN_WINDOWS:.0%}, which models that draw tokens keep above: {_EITHER}"
            notes.append(note)
        if self.unchecked:
            notes.append(
                f"{amount(self.unchecked, 'document')} with text beside token_ids, counted by the ids: whether they "
                "are the text was not looked at, as no tokenizer is at hand; give --tokenizer"
            )
        return tuple(notes)


@dataclass(frozen=True)
class Skipped:
    """Rows that are no documents, for one reason: how many, and the id of the first."""

    count: int
    first: str


@dataclass(frozen=True)
class Remarks:
    """What is to be known of the rows of a collection, or of a part of it.

    Attributes:
        documents: how many there are.
        skipped: by reason, in the order in which the reasons came up.
        longest: tokens of the longest document that was too short; -1: there is none.
        longest_id: its id.
        html: how many texts begin as HTML does.
        disguised: how many texts hold characters that hide their tokens, in what is looked at of each.
        agreement: of texts beside token ids.
    """

    documents: int = 0
    skipped: Mapping[str, Skipped] = field(default_factory=dict)
    longest: int = -1
    longest_id: str = ""
    html: int = 0
    disguised: int = 0
    agreement: Agreement = Agreement()

    def plus(self, later: Remarks) -> Remarks:
        """Of both parts, this one first."""
        skipped = dict(self.skipped)
        for reason, more in later.skipped.items():
            known = skipped.get(reason)
            skipped[reason] = more if known is None else Skipped(known.count + more.count, known.first)
        longest = later if later.longest > self.longest else self
        return Remarks(
            self.documents + later.documents,
            skipped,
            longest.longest,
            longest.longest_id,
            self.html + later.html,
            self.disguised + later.disguised,
            self.agreement.plus(later.agreement),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """How many rows were skipped, a line for each reason; markup and disguises among text; ids beside it."""
        skips = [
            f"{_count(one.count, 'document')} skipped: {reason} (first: {one_line(one.first)})"
            for reason, one in self.skipped.items()
        ]
        markup = (
            f"{_count(self.html, 'text')} in HTML: the markup was counted, too, and can hide a mark; give text alone"
        )
        hiding = (
            f"{_count(self.disguised, 'text')} with invisible or lookalike characters or odd spaces, which can hide a "
            "mark from the count of the text as it came: --normalise reads it as it looks, too"
        )
        told = [note for count, note in ((self.html, markup), (self.disguised, hiding)) if count]
        return (*skips, *told, *self.agreement.notes)

    def nothing_left(self, context_width: int) -> str:
        """Why there is no document at all."""
        least = (
            f"at least {context_width + 1} are needed (the {_count(context_width, 'token')} of context, and one more)"
        )
        if not context_width:
            least = "at least 1 is needed"
        skipped = sum(one.count for one in self.skipped.values())
        if not skipped:
            return "there are no documents to read; give files with text"
        if self.longest < 0:
            return f"none of {_count(skipped, 'row')} holds text or token_ids; give rows that do"
        if skipped == 1:
            return f"{one_line(self.longest_id)} has {_count(self.longest, 'token')}; {least}"
        longest_one = f"the longest, {one_line(self.longest_id)}, has {_count(self.longest, 'token')}"
        return f"all {skipped} documents are too short: {longest_one}; {least}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Remarks:
        """What `to_json` gave."""
        skipped = {reason: Skipped(**one) for reason, one in value["skipped"].items()}
        return cls(**{**value, "skipped": skipped, "agreement": Agreement(**value["agreement"])})


def all_remarks(parts: Iterable[Remarks]) -> Remarks:
    """Of all parts, in their order."""
    total = Remarks()
    for part in parts:
        total = total.plus(part)
    return total


def too_short(context_width: int) -> str:
    """Why a document that is shorter than h + 1 tokens is skipped."""
    return f"shorter than {_count(context_width + 1, 'token')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
