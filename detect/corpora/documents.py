"""A row for every document: what was counted in it, and what that says by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from detect.arrow import batches, opened, pa, pq
from detect.audit import SUSPECT
from detect.exact.binomial import log10_cdf_each, log10_sf_each
from detect.exact.evalue import log10_e_each
from detect.readers import Row

SCHEMA = pa.schema(
    [
        pa.field("source", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("row", pa.int64()),
        pa.field("id", pa.string(), nullable=False),
        pa.field("n_tokens", pa.int64(), nullable=False),
        pa.field("n_scored", pa.int64(), nullable=False),
        pa.field("n_green", pa.int64(), nullable=False),
        pa.field("n_excluded", pa.int64(), nullable=False),
        pa.field("log10_p", pa.float64()),
        pa.field("log10_e", pa.float64()),
    ]
)
GROUP_ROWS = 1 << 16
_LOW = np.uint64(0xFFFFFFFF)
Counts = NDArray[np.int64]


class DocumentWriter:
    """Documents in their order → a Parquet file whose bytes do not depend on the portions they come in.

    Args:
        gamma: green fraction under the null.
    """

    def __init__(self, path: Path, gamma: float) -> None:
        self._groups = GroupWriter(path)
        self._gamma = gamma
        self._rows: list[tuple[str, int | None, str]] = []  # file, number, id: not the texts
        self._counts: list[Counts] = []

    def add(self, rows: Sequence[Row], counts: Counts) -> None:
        """Take documents.

        Args:
            counts: int64 [documents, 5]: tokens; distinct pairs that count, and the green among them; distinct pairs
                that occur in a prompt, and the green among them.
        """
        self._rows.extend((row.file, row.number, row.id) for row in rows)
        self._counts.append(counts)
        if len(self._rows) >= GROUP_ROWS:
            self._hand_over()

    def close(self) -> None:
        self._hand_over()
        self._groups.close()

    def _hand_over(self) -> None:
        if self._rows:
            self._groups.add(_table(self._rows, np.concatenate(self._counts), self._gamma))
        self._rows, self._counts = [], []


class GroupWriter:
    """Tables of documents → a Parquet file in row groups of one size."""

    def __init__(self, target: Path | IO[bytes]) -> None:
        self._writer = pq.ParquetWriter(target, SCHEMA, compression="zstd", use_dictionary=["source"])
        self._held: list[Any] = []
        self._count = 0

    def add(self, table: Any) -> None:
        self._held.append(table)
        self._count += table.num_rows
        if self._count >= GROUP_ROWS:
            whole = pa.concat_tables(self._held)
            cut = self._count - self._count % GROUP_ROWS
            self._write(whole.slice(0, cut))
            self._held, self._count = [whole.slice(cut)], self._count - cut

    def close(self) -> None:
        if self._count:
            self._write(pa.concat_tables(self._held))
        self._writer.close()

    def _write(self, table: Any) -> None:
        for start in range(0, table.num_rows, GROUP_ROWS):
            group = table.slice(start, GROUP_ROWS).combine_chunks()
            names = group.column("source").cast(pa.string())
            group = group.set_column(0, SCHEMA.field("source"), names.dictionary_encode())
            self._writer.write_table(group, row_group_size=GROUP_ROWS)


def _table(rows: Sequence[tuple[str, int | None, str]], counts: Counts, gamma: float) -> Any:
    files, numbers, ids = zip(*rows, strict=True)
    tokens, scored, green, excluded, excluded_green = counts.T
    p, e = alone(scored, green, excluded, excluded_green, gamma)
    withdrawn = np.isnan(p)
    columns = [
        pa.array(files, pa.string()).dictionary_encode(),
        pa.array(numbers, pa.int64()),
        pa.array(ids, pa.string()),
        *(pa.array(np.ascontiguousarray(one)) for one in (tokens, scored, green, excluded)),
        *(pa.array(one, mask=withdrawn) for one in (p, e)),
    ]
    return pa.table(columns, schema=SCHEMA)


def alone(
    scored: Counts, green: Counts, excluded: Counts, excluded_green: Counts, gamma: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """log10 p and log10 E of each document by itself: as `assess` has them; nan where no p is claimed.

    Null: what stands in the document does not depend on the key. Exact, one-sided. Documents of one key share pairs: p
    and E of several depend on each other.
    """
    p, e = (_each(one, green, scored, gamma) for one in (log10_sf_each, log10_e_each))
    left_out = np.flatnonzero(excluded)
    redder = _each(log10_cdf_each, excluded_green[left_out], excluded[left_out], gamma) <= SUSPECT
    p[left_out[redder]] = e[left_out[redder]] = np.nan
    return p, e


def _each(function: Any, k: Counts, n: Counts, gamma: float) -> NDArray[np.float64]:
    """A function of counts, once for every two that occur."""
    codes, which = np.unique((n.astype(np.uint64) << np.uint64(32)) | k.astype(np.uint64), return_inverse=True)
    values: NDArray[np.float64] = function(
        (codes & _LOW).astype(np.int64), (codes >> np.uint64(32)).astype(np.int64), gamma
    )
    return values[which]


def join(parts: Iterable[Path], target: IO[bytes]) -> None:
    """Put the documents of all shards into one file, in order."""
    writer = GroupWriter(target)
    for part in parts:
        with opened(part) as file:
            for batch in batches(file, GROUP_ROWS):
                writer.add(pa.Table.from_batches([batch]).cast(SCHEMA))
    writer.close()
