"""`taggant verify`: a line a check, PASSED or FAILED last, and the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from detect.bundles.seal import write_bundle
from detect.bundles.verify.unchecked import AT_HAND, BEFORE, CONTACT, NOTES, RANDOM
from tests.detect.bundles.bad.mutations import good, made
from tests.detect.bundles.factory import authority, signer
from tests.detect.bundles.verify.both import CHECKS
from tests.detect.cli.helpers import Cli


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


@pytest.fixture
def stamped(tmp_path: Path) -> Path:
    write_bundle(good("stamped"), tmp_path / "bundle.zip")
    (tmp_path / "signer.pem").write_bytes(signer(1).public.pem)
    (tmp_path / "root.pem").write_bytes(authority().pem)
    return tmp_path


def test_passed(stamped: Path, cli: Cli) -> None:
    done = cli("verify", stamped / "bundle.zip", "--trust", stamped / "signer.pem", "--tsa-root", stamped / "root.pem")
    lines = done.out.splitlines()
    unchecked = (CONTACT, AT_HAND, BEFORE, RANDOM, NOTES)
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in lines] == [*CHECKS, "PASSED:"]
    assert lines[-1] == f"PASSED: every check; not checked: {'; '.join(unchecked)}"
    assert "detected" in lines[CHECKS.index("findings")]


def test_as_json(stamped: Path, cli: Cli) -> None:
    done = cli("verify", stamped / "bundle.zip", "--json")
    found = json.loads(done.out)
    assert (done.code, found["passed"], found["opened"]) == (0, True, True)
    assert [one["check"] for one in found["checks"]] == CHECKS
    (test,) = found["tests"]
    assert (test["name"], test["finding"], test["confirmatory"]) == ("sampled/distinct", "detected", True)
    assert len(found["timestamps"]) == 3
    assert len(found["not_checked"]) == 7


def test_failed(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "bundle.zip").write_bytes(made("smaller-p"))
    done = cli("verify", tmp_path / "bundle.zip")
    assert done.code == 1
    assert done.out.splitlines()[-1].startswith("FAILED: p run 0001, text: log10_p is ")
    assert [line.split()[0] for line in done.out.splitlines()[:-1]] == CHECKS[:8]
    found = json.loads(cli("verify", tmp_path / "bundle.zip", "--json").out)
    assert (found["passed"], found["code"], len(found["checks"])) == (False, "p", 8)


def test_no_bundle(tmp_path: Path, cli: Cli) -> None:
    done = cli("verify", tmp_path / "none")
    assert (done.code, done.out.split()[:2]) == (1, ["FAILED:", "unreadable"])


@pytest.mark.parametrize("option", ["--trust", "--tsa-root"])
def test_trust_that_is_none(option: str, stamped: Path, cli: Cli) -> None:
    (stamped / "other.pem").write_text("nothing")
    for wrong in ("other.pem", "absent.pem"):
        done = cli("verify", stamped / "bundle.zip", option, stamped / wrong)
        assert (done.code, done.out) == (5, "")
        assert wrong in done.err
    assert cli("verify", stamped / "bundle.zip", "--trust", stamped / "signer.pem").code == 0


def test_neither_torch_nor_a_model_is_loaded(stamped: Path) -> None:
    """In a fresh interpreter."""
    program = (
        "import sys; from detect.cli.main import run; code = run(['verify', sys.argv[1]]); "
        "assert not {'torch', 'transformers'} & set(sys.modules), 'loaded'; sys.exit(code)"
    )
    command = [sys.executable, "-c", program, str(stamped / "bundle.zip")]
    root = Path(__file__).parents[4]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert (ran.returncode, ran.stderr) == (0, "")
