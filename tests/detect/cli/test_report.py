"""`taggant report`: a page of a bundle that passes, nothing of one that fails."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

from detect.bundles.seal import write_bundle
from tests.detect.bundles.bad.mutations import good, made
from tests.detect.bundles.factory import authority, signer
from tests.detect.cli.helpers import Cli
from tests.detect.reports.pdf import weasyprint_or_skip


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


@pytest.fixture
def at(tmp_path: Path) -> Path:
    write_bundle(good("stamped"), tmp_path / "bundle.zip")
    (tmp_path / "signer.pem").write_bytes(signer(1).public.pem)
    (tmp_path / "root.pem").write_bytes(authority().pem)
    return tmp_path


def test_a_page(at: Path, cli: Cli) -> None:
    (at / "commission.toml").write_text('examiner = "A. Expert"\n')
    options = ("--trust", at / "signer.pem", "--tsa-root", at / "root.pem", "--commission", at / "commission.toml")
    done = cli("report", at / "bundle.zip", "-o", at / "report.html", "--json", *options)
    found = json.loads(done.out)
    data = (at / "report.html").read_bytes()
    assert done.code == 0
    assert found["format"] == "taggant-report/1"
    assert found["files"] == {str(at / "report.html"): hashlib.sha256(data).hexdigest()}
    text = data.decode()
    assert "A. Expert" in text
    assert "Not checked: " in text
    assert "whose the signers" not in text
    assert "who made the timestamps" not in text
    assert "among the keys given as trusted" in text
    assert cli("report", at / "bundle.zip", "-o", at / "again.html", "-q", *options).err == ""
    assert (at / "again.html").read_bytes() == data


def test_never_over_something(at: Path, cli: Cli) -> None:
    (at / "report.html").write_text("mine")
    assert cli("report", at / "bundle.zip", "-o", at / "report.html").code == 3
    assert (at / "report.html").read_text() == "mine"


@pytest.mark.parametrize("name", ["smaller-p", "later-plan", "more-green-than-pairs"])
def test_a_bundle_that_fails_is_refused(name: str, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "bundle.zip").write_bytes(made(name))
    done = cli("report", tmp_path / "bundle.zip", "-o", tmp_path / "report.html")
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith("FAILED: ")
    assert line.endswith("; nothing was written")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.zip"]


def test_a_signer_who_is_not_trusted(at: Path, cli: Cli) -> None:
    (at / "other.pem").write_bytes(signer(7).public.pem)
    done = cli("report", at / "bundle.zip", "-o", at / "report.html", "--trust", at / "other.pem")
    assert done.code == 1
    assert "untrusted" in done.err


def test_without_a_printer(at: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    done = cli("report", at / "bundle.zip", "-o", at / "report.html", "--pdf", at / "report.pdf")
    assert done.code == 3
    assert "pip install 'taggant[report]'" in done.err
    assert not (at / "report.html").exists()


def test_as_pdf(at: Path, cli: Cli) -> None:
    weasyprint_or_skip()
    done = cli("report", at / "bundle.zip", "-o", at / "report.html", "--pdf", at / "report.pdf")
    assert done.code == 0
    assert (at / "report.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("option", ["--commission", "--validation", "--controls"])
def test_files_that_are_none(option: str, at: Path, cli: Cli) -> None:
    for name, content in (("absent", None), ("wrong", "[")):
        if content is not None:
            (at / name).write_text(content)
        done = cli("report", at / "bundle.zip", "-o", at / "report.html", option, at / name)
        assert done.code == 3
        assert name in done.err
    assert not (at / "report.html").exists()
