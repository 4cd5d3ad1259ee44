"""The queries in docs/corpora.md select what `detect -o` selects."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from detect.corpora.findings import select
from detect.exact.multiplicity import e_bh, holm
from tests.detect.corpora.test_findings import written

DOCUMENT = Path(__file__).parents[3] / "docs" / "corpora.md"


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    written(tmp_path / "documents.parquet", [("a", 30, 0.25), ("b", 40, 0.5), ("c", 1, 0.9), ("d", 60, 0.8)])
    monkeypatch.chdir(tmp_path)
    return tmp_path / "documents.parquet"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_queries() -> None:
    assert (len(blocks("sql")), len(blocks("python"))) == (2, 1)


def test_in_duckdb(documents: Path) -> None:
    import duckdb

    by_document, by_source = (duckdb.sql(query).fetchall() for query in blocks("sql"))
    table = pq.read_table(documents)
    log10_e = table.column("log10_e").to_numpy()
    chosen = e_bh(np.nan_to_num(log10_e, nan=-np.inf), 1e-6)
    places = [(row["source"], row["row"]) for row in table.to_pylist()]
    assert {(source, row) for source, row, *_ in by_document} == {places[at] for at in np.flatnonzero(chosen)}
    _, sources = select(documents, 1e-6)
    assert {source for source, *_ in by_source} == {one.source for one in sources if one.e_bh}
    means = {one.source: one.log10_e for one in sources}
    for source, _, log10_e in by_source:
        assert log10_e == pytest.approx(means[source], rel=1e-9)


def test_in_polars(documents: Path) -> None:
    names: dict[str, object] = {}
    exec(compile(blocks("python")[0], "corpora.md", "exec"), names)  # noqa: S102
    log10_p = np.nan_to_num(pq.read_table(documents).column("log10_p").to_numpy(), nan=0.0)
    adjusted = np.sort(holm(log10_p))
    found = names["small"].get_column("adjusted").to_list()  # type: ignore[attr-defined]
    assert found == pytest.approx(adjusted[adjusted <= -6].tolist(), rel=1e-12)
    assert found
