"""Which documents and which sources: what a corpus's e-values say when there are many of them.

Documents under one key share pairs, so their results depend on each other, and are never combined as if they did not.
e-BH and Holm hold however they depend. A source's e-value is the mean of those of its documents, which is an e-value
again, whatever the dependence; under many documents a single strong one still shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from detect.arrow import batches, opened, pa, pq
from detect.exact.multiplicity import e_bh, holm

COLUMNS = ["source", "n_tokens", "log10_p", "log10_e"]
_BATCH = 1 << 16
_LN10 = math.log(10.0)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """How many are selected at a level, of how many.

    Attributes:
        documents: in the corpus.
        documents_e_bh: rejected by e-BH over all documents.
        documents_holm: rejected by Holm over all documents.
        sources: files.
        sources_e_bh: rejected by e-BH over all sources.
    """

    documents: int
    documents_e_bh: int
    documents_holm: int
    sources: int
    sources_e_bh: int


@dataclass(frozen=True)
class Source:
    """One file's documents together.

    Attributes:
        documents: in it; n_tokens: of these.
        documents_e_bh: of them, rejected by e-BH over all documents of the corpus.
        smallest_log10_p: of a document by itself; None: none is claimed.
        log10_e: of the mean of its documents' e-values; None: that is 0.
        e_bh: rejected by e-BH over all sources.
    """

    source: str
    documents: int
    n_tokens: int
    documents_e_bh: int
    smallest_log10_p: float | None
    log10_e: float | None
    e_bh: bool


SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("n_tokens", pa.int64(), nullable=False),
        pa.field("documents_e_bh", pa.int64(), nullable=False),
        pa.field("smallest_log10_p", pa.float64()),
        pa.field("log10_e", pa.float64()),
        pa.field("e_bh", pa.bool_(), nullable=False),
    ]
)


def select(documents: Path, level: float) -> tuple[Selection, list[Source]]:
    """What is selected among a corpus's documents and sources at `level`; sources in their order.

    Null of each document: what stands in it does not depend on the key; of a source: none of its documents does. Of
    what e-BH rejects, the expected share of true nulls is at most `level`; of Holm, the chance of any is. A document of
    which no p is claimed counts with e = 0 and p = 1.

    Args:
        documents: the Parquet file of all documents.
        level: alpha, less what the key's check costs.
    """
    groups = _groups(documents, level)
    total = sum(group.documents for group in groups)
    e_values = np.concatenate([np.zeros(0), *(one for group in groups for one in group.strong)])
    p_values = np.concatenate([np.zeros(0), *(one for group in groups for one in group.small)])
    chosen = e_values[e_bh(e_values, level, total)]
    least = float(chosen.min()) if chosen.size else math.inf
    rejected = int(np.count_nonzero(holm(p_values, others=total - len(p_values)) <= math.log10(level)))
    by_source = e_bh([group.log10_e for group in groups], level).tolist()
    sources = [group.judged(least, found) for group, found in zip(groups, by_source, strict=True)]
    return Selection(total, len(chosen), rejected, len(sources), sum(by_source)), sources


def write_sources(target: IO[bytes], sources: list[Source], level: float) -> None:
    """A row for every source, as Parquet; its metadata say at which level sources and documents were selected."""
    columns = {name: [getattr(one, name) for one in sources] for name in SCHEMA.names}
    schema = SCHEMA.with_metadata({"taggant.level": f"{level:.17g}"})
    pq.write_table(pa.table(columns, schema=schema), target, compression="zstd")


class _Group:
    """The documents of one source, as they come by; kept are those alone that can be selected.

    Attributes:
        strong: float64 [·] each, log10 E of 1 / level and more.
        small: float64 [·] each, log10 p up to the level.
    """

    def __init__(self, name: str, level: float) -> None:
        self.name = name
        self.documents = self.tokens = 0
        self.strong: list[Floats] = []
        self.small: list[Floats] = []
        self._bound = math.log10(level)
        self._smallest = math.inf
        self._largest, self._scaled = -math.inf, 0.0  # the sum of all E is scaled * 10^largest

    def add(self, tokens: NDArray[np.int64], log10_p: Floats, log10_e: Floats) -> None:
        """Take documents, in their order; nan where no p is claimed."""
        self.documents += tokens.size
        self.tokens += int(tokens.sum())
        claimed = ~np.isnan(log10_p)
        p_values, e_values = log10_p[claimed], log10_e[claimed]
        if not p_values.size:
            return
        self._smallest = min(self._smallest, float(p_values.min()))
        for kept, found in (
            (self.small, p_values[p_values <= self._bound]),
            (self.strong, e_values[e_values >= -self._bound]),
        ):
            if found.size:
                kept.append(found)
        largest = max(self._largest, float(e_values.max()))
        before = self._scaled * 10.0 ** (self._largest - largest) if self._scaled else 0.0
        self._scaled = before + float(np.exp((e_values - largest) * _LN10).sum())
        self._largest = largest

    @property
    def log10_e(self) -> float:
        """Of the mean of the documents' e-values; -inf where it is 0."""
        if not self._scaled:
            return -math.inf
        return self._largest + math.log10(self._scaled) - math.log10(self.documents)

    def judged(self, least: float, found: bool) -> Source:
        """Args: least, the smallest log10 E that e-BH rejects; found, whether it rejects the source."""
        chosen = sum(int(np.count_nonzero(one >= least)) for one in self.strong)
        smallest = None if math.isinf(self._smallest) else self._smallest
        log10_e = None if math.isinf(self.log10_e) else self.log10_e
        return Source(self.name, self.documents, self.tokens, chosen, smallest, log10_e, found)


def _groups(documents: Path, level: float) -> list[_Group]:
    """The sources, in the order in which their first documents lie; what is named twice is one."""
    groups: dict[str, _Group] = {}
    with opened(documents) as file:
        for batch in batches(file, _BATCH, COLUMNS):
            names = batch.column("source")
            codes, known = names.indices.to_numpy(), names.dictionary.to_pylist()
            values = [batch.column(name).to_numpy(zero_copy_only=False) for name in COLUMNS[1:]]
            borders = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
            for start, stop in pairwise(borders if len(codes) else []):
                name = known[codes[start]]
                if name not in groups:
                    groups[name] = _Group(name, level)
                groups[name].add(*(one[start:stop] for one in values))
    return list(groups.values())
