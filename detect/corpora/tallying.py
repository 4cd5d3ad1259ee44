"""Documents in token ids → what each holds, and their distinct pairs on disk. A pair's colour once in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detect.corpora.prompts import PromptPairs
from detect.corpora.runs import Gathering
from detect.corpora.setting import Setting
from detect.readers.row import TokenIds
from watermark.dedup import number_rows
from watermark.windows import Windows

COUNTED, EXCLUDED = "counted", "excluded"  # names of the runs
_GREEN, _IN_PROMPT = 1, 2


@dataclass(frozen=True)
class Account:
    """Where the tokens of documents went; what is in none of these counts is counted, or repeats what is."""

    tokens: int = 0
    no_context: int = 0
    special: int = 0
    in_prompt: int = 0

    def plus(self, other: Account, times: int = 1) -> Account:
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return Account(*(mine + times * its for mine, its in pairs))


@dataclass(frozen=True, eq=False)
class Tallied:
    """A batch of documents.

    Attributes:
        counts: int64 [documents, 5]: tokens; distinct pairs that count, and the green among them; distinct pairs that
            occur in a prompt, and the green among them.
    """

    account: Account
    counts: NDArray[np.int64]


class PairCounter:
    """Counts documents, each by itself, and gathers the pairs of all in runs.

    Args:
        prompts: pairs that count nowhere.
        directory: where the runs are written.
    """

    def __init__(self, setting: Setting, prompts: PromptPairs, directory: Path) -> None:
        self._setting, self._prompts = setting, prompts
        self._counted = Gathering(setting.packing, directory, COUNTED)
        self._excluded = Gathering(setting.packing, directory, EXCLUDED)

    def count(self, documents: Sequence[TokenIds]) -> Tallied:
        """Count a batch."""
        found = self._setting.rule.windows(documents)
        numbered = number_rows(found.rows, found.documents)
        rows = found.rows.T.take(numbered.firsts, axis=1).T
        packed = self._setting.packing.pack(rows)
        kinds = self._setting.green.is_green(rows[:, :-1], rows[:, -1]).astype(np.uint8)  # [D], of four kinds
        in_prompt = 0
        if self._prompts.count:
            inside = self._prompts.contain(packed)
            kinds |= inside.astype(np.uint8) * np.uint8(_IN_PROMPT)
            in_prompt = int(np.count_nonzero(inside[numbered.numbers]))
            self._excluded.add(packed[:, inside])
            packed = packed[:, ~inside]
        self._counted.add(packed)
        counts = _counts(found, kinds[numbered.numbers[numbered.fresh]], numbered.fresh)
        return Tallied(Account(int(found.lengths.sum()), found.no_context, found.special, in_prompt), counts)

    def finish(self) -> tuple[list[Path], list[Path]]:
        """The runs of pairs that count, and of those that occur in a prompt."""
        return self._counted.finish(), self._excluded.finish()


def _counts(found: Windows, kinds: NDArray[np.uint8], fresh: NDArray[np.bool_]) -> NDArray[np.int64]:
    """As `Tallied.counts`, from the kind of each pair that is new in its document."""
    documents = len(found.lengths)
    table = np.bincount(4 * found.documents[fresh] + kinds, minlength=4 * documents).reshape(documents, 4)
    green, excluded_green = table[:, _GREEN], table[:, _IN_PROMPT | _GREEN]
    scored, excluded = green + table[:, 0], excluded_green + table[:, _IN_PROMPT]
    return np.column_stack((found.lengths, scored, green, excluded, excluded_green)).astype(np.int64)
