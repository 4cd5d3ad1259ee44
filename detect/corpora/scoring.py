"""A shard → a row for every document, and its distinct pairs on disk. One pass; a pair's colour once in a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.corpora.documents import DocumentWriter
from detect.corpora.prompts import PromptPairs
from detect.corpora.reading import part_rows
from detect.corpora.runs import Gathering
from detect.corpora.setting import Setting
from detect.corpora.sources import Shard
from detect.readers import Row
from detect.readers.collection import Intake, Taken
from detect.readers.remarks import Remarks
from watermark.dedup import number_rows
from watermark.progress import Progress

DOCUMENTS = "documents.parquet"
COUNTED, EXCLUDED = "counted", "excluded"  # names of the runs
_GREEN, _IN_PROMPT = 1, 2


@dataclass(frozen=True)
class Account:
    """Where the tokens of documents went, repeats apart: what is not in these counts is one or repeats one."""

    tokens: int = 0
    no_context: int = 0
    special: int = 0
    in_prompt: int = 0

    def plus(self, other: Account) -> Account:
        return Account(*(mine + its for mine, its in zip(asdict(self).values(), asdict(other).values(), strict=True)))


@dataclass(frozen=True)
class Scored:
    """What the scoring of a shard found, besides the documents and the pairs.

    Attributes:
        rows: of each part, documents or not.
        counted, excluded: how many runs of pairs there are that count, and that occur in a prompt.
        tokenizer: whether one was needed.
    """

    account: Account
    remarks: Remarks
    rows: tuple[int, ...]
    counted: int
    excluded: int
    tokenizer: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Scored:
        """What `to_json` gave."""
        remarks, account = Remarks.from_json(value["remarks"]), Account(**value["account"])
        return cls(**{**value, "remarks": remarks, "account": account, "rows": tuple(value["rows"])})


def score(
    shard: Shard,
    first_line: int,
    prompts: PromptPairs,
    setting: Setting,
    directory: Path,
    report: Progress,
) -> Scored:
    """Score a shard, and write its documents and pairs into `directory`.

    Args:
        first_line: number of the first line of the first part: where a file's lines go on, it is the first.
        prompts: pairs that count nowhere.

    Raises:
        InputError: the first row that is refused.
    """
    source = _Source(shard, first_line, setting, report)
    intake = Intake(setting.mark.context_width, setting.tokenizer, vocab_size=setting.vocab_size, batch=setting.batch)
    gathered = [Gathering(setting.packing, directory, name) for name in (COUNTED, EXCLUDED)]
    writer = DocumentWriter(directory / DOCUMENTS, setting.green.gamma)
    account = Account()
    for batch in intake.batches(source.rows()):
        documents = [taken for taken in batch if taken.document is not None]
        if documents:
            account = account.plus(_count(documents, prompts, setting, gathered, writer))
    writer.close()
    counted, excluded = (len(one.finish()) for one in gathered)
    used = intake.tokenizer is not None
    return Scored(account, intake.remarks, tuple(source.counts), counted, excluded, used)


class _Source:
    """A shard's rows, counted by part; how far the reading is, is reported as they pass."""

    def __init__(self, shard: Shard, first_line: int, setting: Setting, report: Progress) -> None:
        self.counts = [0] * len(shard.parts)
        self._shard, self._first_line, self._setting, self._report = shard, first_line, setting, report

    def rows(self) -> Iterator[Row]:
        done = 0
        for index, part in enumerate(self._shard.parts):
            read = 0
            for row in part_rows(part, self._setting.inputs, self._first_line if index == 0 else 1):
                yield row
                self.counts[index] += 1
                read += len(row.text or "")
                self._report(done + min(read, part.weight), self._shard.weight, "")
            done += part.weight


def _count(
    taken: Sequence[Taken],
    prompts: PromptPairs,
    setting: Setting,
    gathered: Sequence[Gathering],
    writer: DocumentWriter,
) -> Account:
    """Count a batch of documents, each by itself."""
    found = setting.rule.windows([one.document for one in taken if one.document is not None])
    numbered = number_rows(found.rows, found.documents)
    rows = found.rows[numbered.firsts]
    packed = setting.packing.pack(rows)
    kinds = setting.green.is_green(rows[:, :-1], rows[:, -1]).astype(np.uint8)  # [D], of _GREEN and _IN_PROMPT
    in_prompt = 0
    counted = packed
    if prompts.count:
        inside = prompts.contain(packed)
        kinds |= inside.astype(np.uint8) << 1
        in_prompt = int(np.count_nonzero(inside[numbered.numbers]))
        counted = packed[:, ~inside]
        gathered[1].add(packed[:, inside])
    gathered[0].add(counted)
    new = numbered.fresh
    by_kind = _table(found.documents[new], kinds[numbered.numbers[new]], len(taken))
    green, red = by_kind[:, _GREEN], by_kind[:, 0]
    excluded_green, excluded_red = by_kind[:, _IN_PROMPT | _GREEN], by_kind[:, _IN_PROMPT]
    counts = np.column_stack((found.lengths, green + red, green, excluded_green + excluded_red, excluded_green))
    writer.add([one.row for one in taken], counts.astype(np.int64))
    return Account(int(found.lengths.sum()), found.no_context, found.special, in_prompt)


def _table(documents: NDArray[np.intp], kinds: NDArray[np.uint8], count: int) -> NDArray[np.intp]:
    """How many pairs of each of four kinds each document has: intp [count, 4]."""
    return np.bincount(4 * documents + kinds, minlength=4 * count).reshape(count, 4)
