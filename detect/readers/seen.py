"""Which files rows came from: noted as the rows go by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from detect.readers.places import File
from detect.readers.row import Row
from detect.wording import amount

_NAMES = {"text": "text", "jsonl": "JSONL file", "parquet": "Parquet file"}


class FilesSeen:
    """The files, in the order in which they were read. A file that was given twice is one."""

    def __init__(self) -> None:
        self._rows: Counter[tuple[str, str]] = Counter()  # by name and kind

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, each noted."""
        for row in rows:
            self._rows[row.file, _kind(row)] += 1
            yield row

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def summary(self) -> str:
        """ "3 files: 2 texts, 1 JSONL file"."""
        kinds = Counter(kind for _, kind in self._rows)
        parts = [amount(kinds[kind], name) for kind, name in _NAMES.items() if kinds[kind]]
        return f"{amount(len(self), 'file')}: {', '.join(parts)}"

    @property
    def names(self) -> list[str]:
        """A line for each file."""
        return [
            f"read {name}" + ("" if kind == "text" else f" ({_NAMES[kind]}, {amount(count, 'row')})")
            for (name, kind), count in self._rows.items()
        ]


def _kind(row: Row) -> str:
    if row.number is None:
        return "text"
    return "parquet" if File("", row.file).kind == "parquet" else "jsonl"  # standard input has rows, and no name
