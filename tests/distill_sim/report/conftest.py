"""One study, summarised and rendered once for all tests that only read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill_sim.report import summary, write_report
from tests.distill_sim.demo.pages import Page
from tests.distill_sim.report import synthetic


@pytest.fixture(scope="session")
def rows() -> list[synthetic.Row]:
    return synthetic.rows()


@pytest.fixture(scope="session")
def fresh() -> list[synthetic.Row]:
    return synthetic.fresh()


@pytest.fixture(scope="session")
def quality() -> list[synthetic.Row]:
    return synthetic.quality()


@pytest.fixture(scope="session")
def found(rows: list[Any], fresh: list[Any], quality: list[Any]) -> dict[str, Any]:
    return summary(synthetic.study(), rows, fresh, quality)


@pytest.fixture(scope="session")
def page(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], fresh: list[Any], quality: list[Any]
) -> tuple[Path, Page]:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(path, synthetic.study(), rows, fresh, quality)
    return path, Page(path.read_text(encoding="utf-8"))
