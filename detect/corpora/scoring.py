"""A shard → a row for every document, and its distinct pairs on disk, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detect.corpora.documents import DocumentWriter
from detect.corpora.prompts import PromptPairs
from detect.corpora.reading import part_rows
from detect.corpora.setting import Setting
from detect.corpora.sources import Shard
from detect.corpora.tallying import Account, PairCounter
from detect.readers import Row
from detect.readers.collection import Intake
from detect.readers.remarks import Remarks
from watermark.progress import Progress

DOCUMENTS = "documents.parquet"
TOLD_EVERY = 128  # rows, after which it is told how far the reading is


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
    counter = PairCounter(setting, prompts, directory)
    writer = DocumentWriter(directory / DOCUMENTS, setting.green.gamma)
    account = Account()
    for batch in intake.batches(source.rows()):
        documents = [(taken.row, taken.document) for taken in batch if taken.document is not None]
        if documents:
            tallied = counter.count([ids for _, ids in documents])
            writer.add([row for row, _ in documents], tallied.counts)
            account = account.plus(tallied.account)
    writer.close()
    counted, excluded = (len(runs) for runs in counter.finish())
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
                if self.counts[index] % TOLD_EVERY == 0:
                    self._report(done + min(read, part.weight), self._shard.weight, "")
            done += part.weight
