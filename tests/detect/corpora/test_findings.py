"""Which documents and sources are selected, against the definitions and plain sums."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from detect.corpora import findings
from detect.corpora.documents import DocumentWriter
from detect.corpora.findings import select, write_sources
from detect.exact.binomial import log10_sf
from detect.exact.evalue import log10_e_value
from detect.exact.multiplicity import e_bh, holm
from detect.readers import Row


def written(path: Path, sources: list[tuple[str, int, float]], seed: int = 0) -> list[tuple[str, int, int, int]]:
    """Documents of sources: how many each, and how green; the last ones are withdrawn. (source, n, k, excluded)"""
    random = np.random.default_rng(seed)
    rows, counts, found = [], [], []
    for source, documents, green in sources:
        for number in range(documents):
            n = int(random.integers(1, 200))
            k = int(random.binomial(n, green))
            excluded = 40 if number == documents - 1 and documents > 5 else 0  # all red
            rows.append(Row(f"d{number}", f"{source}:{number + 1}", number=number + 1))
            counts.append([n + excluded, n, k, excluded, 0])
            found.append((source, n, k, excluded))
    writer = DocumentWriter(path, 0.25)
    writer.add(rows, np.array(counts))
    writer.close()
    return found


@pytest.mark.parametrize("level", [1e-6, 0.05])
@pytest.mark.parametrize("batch", [7, 1 << 16])
def test_against_plain_definitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: float, batch: int) -> None:
    monkeypatch.setattr(findings, "_BATCH", batch)
    sources = [("a", 30, 0.25), ("b", 40, 0.5), ("c", 1, 0.9), ("d", 20, 0.3), ("e", 8, 0.0)]
    documents = written(tmp_path / "d.parquet", sources)
    e = np.array([-math.inf if left else log10_e_value(k, n, 0.25) for _, n, k, left in documents])
    p = np.array([0.0 if left else log10_sf(k, n, 0.25) for _, n, k, left in documents])
    chosen = e_bh(e, level)
    found, named = select(tmp_path / "d.parquet", level)
    assert (found.documents, found.documents_e_bh) == (len(documents), chosen.sum())
    assert found.documents_holm == (holm(p) <= math.log10(level)).sum()
    names = np.array([source for source, *_ in documents])
    means = {name: float(np.mean(10.0 ** e[names == name])) for name, *_ in sources}
    by_source = e_bh([math.log10(one) if one else -math.inf for one in means.values()], level)
    assert (found.sources, found.sources_e_bh) == (5, by_source.sum())
    for source, mean, is_found in zip(named, means.values(), by_source, strict=True):
        mine = names == source.source
        assert (source.documents, source.documents_e_bh) == (mine.sum(), chosen[mine].sum())
        assert source.log10_e == pytest.approx(math.log10(mean), rel=1e-12)
        assert source.smallest_log10_p == p[mine].min() or p[mine].min() == 0.0
        assert source.e_bh == is_found
    assert found.sources_e_bh in (1, 2)


def test_a_source_of_which_nothing_is_claimed(tmp_path: Path) -> None:
    writer = DocumentWriter(tmp_path / "d.parquet", 0.25)
    writer.add([Row("a", "a.txt")], np.array([[60, 20, 20, 40, 0]]))
    writer.close()
    found, (source,) = select(tmp_path / "d.parquet", 0.05)
    assert (found.documents, found.documents_e_bh, found.documents_holm, found.sources_e_bh) == (1, 0, 0, 0)
    assert (source.source, source.log10_e, source.smallest_log10_p, source.e_bh) == ("a.txt", None, None, False)


def test_sources_as_parquet(tmp_path: Path) -> None:
    written(tmp_path / "d.parquet", [("a", 3, 0.25), ("b", 4, 0.9)])
    _, sources = select(tmp_path / "d.parquet", 0.05)
    with (tmp_path / "s.parquet").open("wb") as handle:
        write_sources(handle, sources, 0.05)
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.to_pylist() == [vars(one) for one in sources]
    assert float(table.schema.metadata[b"taggant.level"]) == 0.05


def test_false_discoveries_are_as_rare_as_they_should_be(tmp_path: Path) -> None:
    """Under the null, however documents share pairs: here all documents of a source are one and the same."""
    random = np.random.default_rng(1)
    sources = documents = 0
    for _ in range(300):
        k = np.repeat(random.binomial(100, 0.25, size=20), 5)
        writer = DocumentWriter(tmp_path / "d.parquet", 0.25)
        rows = [Row("x", f"s{i // 5}:{i % 5 + 1}", number=i % 5 + 1) for i in range(100)]
        writer.add(rows, np.column_stack([np.full(100, 100), np.full(100, 100), k, np.zeros((100, 2), dtype=int)]))
        writer.close()
        found, _ = select(tmp_path / "d.parquet", 0.2)
        sources += found.sources_e_bh > 0
        documents += found.documents_e_bh > 0
    for false in (sources, documents):
        assert false <= 84  # 60 expected at most; above 84 of 300 has chance below 1e-3 at 0.2


def test_a_file_whose_documents_lie_apart_is_one_source(tmp_path: Path) -> None:
    """As where it is given twice; the documented query groups by name, too."""
    written(tmp_path / "d.parquet", [("a", 3, 0.9), ("b", 2, 0.25), ("a", 4, 0.25)])
    found, sources = select(tmp_path / "d.parquet", 1e-6)
    assert (found.sources, [(one.source, one.documents) for one in sources]) == (2, [("a", 7), ("b", 2)])
