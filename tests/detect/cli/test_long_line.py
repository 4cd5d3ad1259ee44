"""A line of 10 MB: its size and time are bounded, wherever it stands; nothing is quadratic."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.detect.cli.helpers import Cli, write_rows

WHOLE = 10 << 20
KINDS = {
    "one letter": "x",
    "hidden": "a\u202e\u200b\x1b[31m<script>alert(1)</script>=1+1, ",
}


def line(kind: str, size: int) -> str:
    return (KINDS[kind] * (size // len(KINDS[kind]) + 1))[:size]


def detect(cli: Cli, key: Path, directory: Path, kind: str, size: int) -> tuple[float, int]:
    """CPU seconds, and bytes of the page."""
    rows = write_rows(directory / f"{size}.jsonl", [{"id": line(kind, size // 8), "text": line(kind, size)}])
    page = directory / f"{size}.html"
    started = time.process_time()
    done = cli("detect", "--key", key, rows, "--highlight", page, "--json")
    taken = time.process_time() - started
    assert done.code == 0, done.err[-300:]
    assert json.loads(done.out)["n_tokens"] > 0
    assert len(done.out) + len(done.err) < 20_000
    return taken, page.stat().st_size


@pytest.mark.parametrize("kind", KINDS)
def test_questioned_text(cli: Cli, text_key: Path, tmp_path: Path, kind: str) -> None:
    detect(cli, text_key, tmp_path, kind, 1000)  # what is loaded once is loaded
    few, _ = detect(cli, text_key, tmp_path, kind, WHOLE // 8)
    many, size = detect(cli, text_key, tmp_path, kind, WHOLE)
    assert many < 24 * few + 2  # eight times as much; 64 times were quadratic
    assert size < 8 << 20


def test_names_and_notes(cli: Cli, text_key: Path, ids: Path, tmp_path: Path) -> None:
    """What is refused is refused in a short line, and a recorded name is no longer than its file's."""
    case = tmp_path / "case"
    assert cli("detect", "--key", text_key, ids, "--case", case, "-q").code == 0
    long = line("hidden", WHOLE)
    done = cli("case", "note", case, long)
    assert done.code in (2, 3)
    assert len(done.out) + len(done.err) < 10_000
    (tmp_path / "rows.jsonl").write_text(long + "\n")
    done = cli("detect", "--key", text_key, tmp_path / "rows.jsonl")
    assert done.code == 3
    assert len(done.err) < 10_000
