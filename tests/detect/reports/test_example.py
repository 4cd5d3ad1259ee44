"""The examples under docs/: of the files that are committed beside them, and no older than the program."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from detect.bundles.verify.check import verify_bundle
from detect.reports.commission import Commission
from detect.reports.content import report_of
from detect.reports.given import Given
from detect.reports.page import html_of
from detect.reports.validation import Validation
from tests.detect.reports.pages import Parsed

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "docs" / "example"
STUDY = ROOT / "benchmarks" / "results" / "validation" / "validation.json"  # of texts
MODELS = ROOT / "benchmarks" / "results" / "validation_model" / "validation.json"  # of texts, and of readings


def test_the_leaflets_bundle_gives_their_report() -> None:
    verified = verify_bundle(EXAMPLES / "bundle.zip")
    given = Given(verified, Commission.load(EXAMPLES / "commission.toml"), Validation.load(STUDY))
    again = "docs/example/leaflets.sh makes the report again"
    assert html_of(report_of(given)) == (EXAMPLES / "report.html").read_bytes(), again


def test_the_students_report_is_of_the_files_beside_it() -> None:
    """Its bundle is too large to be here: `make example` makes another, with another key."""
    text = Parsed((EXAMPLES / "student.html").read_bytes()).text
    for given in (EXAMPLES / "student.toml", MODELS):
        assert hashlib.sha256(given.read_bytes()).hexdigest() in text, given
    for words in ("confirmatory", "positive control", "No likelihood ratio is given", "The log shows no deviation"):
        assert words in text


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="poppler's pdftotext is not installed")
@pytest.mark.parametrize("name", ["report", "student"])
def test_a_pdf_is_of_the_page_beside_it(name: str) -> None:
    """By the bundle's digest, and by the words of the first page, which is one page."""
    done = subprocess.run(["pdftotext", "-l", "1", EXAMPLES / f"{name}.pdf", "-"], capture_output=True, check=True)
    first = "".join(done.stdout.decode("utf-8").split())
    page = Parsed((EXAMPLES / f"{name}.html").read_bytes()).text
    summary = "".join(page[page.index("Summary on one page") : page.index("Contents")].split())
    missing = [word for word in set(page[: page.index("Contents")].split()) if len(word) > 40 and word not in first]
    assert missing == []
    assert summary[-60:] in first
