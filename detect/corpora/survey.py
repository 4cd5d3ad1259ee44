"""A look over a shard before it is scored: how many lines its parts have, and the pairs of its prompts.

A prompt's pairs count nowhere in the whole corpus, so they have to be known before the first document is scored. Lines
are read, but parsed only where one may hold a prompt.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detect.corpora.reading import blocks_until, line_start, part_rows
from detect.corpora.runs import Gathering
from detect.corpora.setting import Setting
from detect.corpora.sources import Part, Shard
from detect.readers import Row, refuse_foreign_ids
from detect.readers.encoding import LazyEncoder, batches
from detect.readers.lines import jsonl_rows
from detect.readers.row import TokenIds
from watermark.dedup import number_rows
from watermark.errors import InputError
from watermark.progress import Progress

_ESCAPED = re.compile(rb"\\u00[5-7]")  # how a name of a member may be disguised
PROMPTS = "prompts"  # name of the runs


@dataclass(frozen=True)
class Surveyed:
    """What a survey found.

    Attributes:
        lines: of each part; None where they were not counted.
        runs: how many runs of prompts' pairs there are.
        tokenizer: whether one was needed.
    """

    lines: tuple[int | None, ...]
    runs: int
    tokenizer: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Surveyed:
        """What `to_json` gave."""
        return cls(tuple(value["lines"]), value["runs"], value["tokenizer"])


def survey(shard: Shard, setting: Setting, directory: Path, report: Progress) -> Surveyed:
    """Look over a shard, and write the runs of its prompts into `directory`.

    Rows that are refused are passed over: the scoring will name them.
    """
    gathering = Gathering(setting.packing, directory, PROMPTS)
    lines: list[int | None] = []
    encoder = LazyEncoder(setting.tokenizer)

    def rows() -> Iterator[Row]:
        done = 0
        for part in shard.parts:
            if part.kind == "jsonl":
                yield from _prompt_lines(part, setting, lines)
            else:
                lines.append(None)
                if part.prompts:
                    yield from _prompt_rows(part, setting.inputs)
            done += part.weight
            report(done, shard.weight, "")

    for batch in batches(_allowed(rows(), setting.vocab_size), _weight, setting.batch):
        found = setting.rule.windows(_ids(batch, encoder))
        distinct = number_rows(found.rows, found.documents)
        gathering.add(setting.packing.pack(found.rows[distinct.firsts]))
    return Surveyed(tuple(lines), len(gathering.finish()), encoder.tokenizer is not None)


def _may_hold(data: bytes) -> bool:
    """Whether JSON may name a member prompt or prompt_ids here."""
    return b'prompt"' in data or b'prompt_ids"' in data or (b"\\u00" in data and _ESCAPED.search(data) is not None)


def _prompt_lines(part: Part, setting: Setting, lines: list[int | None]) -> Iterator[Row]:
    """The rows of JSONL that may have a prompt; how many lines begin in the part is added to `lines`."""
    count = 0
    with part.reading(setting.inputs) as handle:
        stop = sys.maxsize if part.stop is None else part.stop
        for block in blocks_until(handle, line_start(handle, part.start) if part.start else 0, stop):
            count += block.count(b"\n") + (not block.endswith(b"\n"))
            if _may_hold(block):
                for line in filter(_may_hold, io.BytesIO(block)):
                    with suppress(InputError):
                        yield from jsonl_rows([line], part.name)
    lines.append(count)


def _prompt_rows(part: Part, inputs: Sequence[str]) -> Iterator[Row]:
    with suppress(InputError):
        yield from part_rows(part, inputs)


def _allowed(rows: Iterator[Row], vocab_size: int | None) -> Iterator[Row]:
    """Rows that have a prompt, without ids beyond the vocabulary."""
    for row in rows:
        if row.prompt is None and row.prompt_ids is None:
            continue
        with suppress(InputError):
            if vocab_size is not None:
                refuse_foreign_ids(row, vocab_size)
            yield row


def _weight(row: Row) -> int:
    return len(row.prompt or "") if row.prompt_ids is None else 4 * row.prompt_ids.size


def _ids(rows: Sequence[Row], encoder: LazyEncoder) -> list[TokenIds]:
    encoded = iter(encoder.encode([row.prompt for row in rows if row.prompt_ids is None and row.prompt is not None]))
    return [next(encoded) if row.prompt_ids is None else row.prompt_ids for row in rows]
