"""Two verifiers that share no code say the same of every bundle, good and bad."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from detect.bundles.container import read_bundle
from detect.bundles.refused import CODES
from detect.bundles.seal import write_bundle
from tests.detect.bundles.bad.mutations import BAD, good, made
from tests.detect.bundles.factory import GOOD, authority, signer
from tests.detect.bundles.verify.both import first_code, verified
from tests.tools.second import FILE, code_of, second

HERE = Path(__file__).parents[1] / "bad"
INDEX = json.loads((HERE / "index.json").read_text(encoding="utf-8"))
AUTHORITY = (HERE / "authority.pem").read_bytes()


@pytest.mark.parametrize("name", GOOD)
def test_good_bundles_pass_both_as_directory_and_as_archive(name: str, tmp_path: Path) -> None:
    files = good(name)
    for place in (tmp_path / "bundle", tmp_path / "bundle.zip"):
        write_bundle(files, place)
        assert read_bundle(place) == files
        assert first_code(place, [authority().root]) == "passed"
        assert code_of(place, [signer(1).public.pem], [authority().pem]) == "passed"


def test_what_could_not_be_checked_is_said() -> None:
    closed = verified(good("early-closed"))
    assert [one.partition(" ")[0] for one in closed.unchecked] == ["whose", "when", "colours:"]
    lines = list(second.verify(good("early-closed")))
    assert all(word in lines[-1] for word in ("--trust", "no timestamp from outside", "the key is not opened"))
    assert "by the log" not in lines[-1]
    stamped = verified(good("stamped"), [authority().root])
    assert stamped.unchecked == ("whose the signers' keys are (--trust)",)
    assert "who made the timestamps (--tsa-root)" in verified(good("stamped")).unchecked
    assert "who made the timestamps (--tsa-root)" in list(second.verify(good("stamped")))[-1]
    assert "scan" in list(second.verify(good("text")))[-1]


def test_what_is_confirmatory() -> None:
    assert [test.name for test in verified(good("early")).confirmatory] == ["sampled/distinct"]
    assert verified(good("texts")).confirmatory == ()
    assert {test.name for test in verified(good("weights")).confirmatory} == {"reading/difference", "sampled/excess"}


@pytest.mark.parametrize("name", INDEX)
def test_bad_bundles_are_refused_by_both_with_the_code(name: str) -> None:
    place = HERE / f"{name}.zip"
    found = first_code(place, x509.load_pem_x509_certificates(AUTHORITY)), code_of(place, [], [AUTHORITY])
    assert found == (INDEX[name], INDEX[name])


def test_the_committed_bundles_are_of_all_mutations_but_the_largest() -> None:
    assert {name: code for name, (code, _, _) in BAD.items() if name in INDEX} == INDEX
    assert len(INDEX) >= 200
    assert len(set(BAD) - set(INDEX)) <= 12
    assert {place.stem for place in HERE.glob("*.zip")} == set(INDEX)
    assert sum(place.stat().st_size for place in HERE.iterdir() if place.is_file()) < 2_000_000
    by_tests_of_their_own = {"unreadable", "untrusted"}
    assert set(CODES) - {code for code, _, _ in BAD.values()} == by_tests_of_their_own


@pytest.mark.parametrize("name", sorted(set(BAD) - set(INDEX)) + sorted(INDEX)[::12])
def test_mutations_of_bundles_that_are_made_today(name: str, tmp_path: Path) -> None:
    place = tmp_path / "bundle.zip"
    place.write_bytes(made(name))
    assert (first_code(place, [authority().root]), code_of(place, [], [authority().pem])) == (BAD[name][0],) * 2


# --- what no archive can hold, and what is given besides ---


def test_unreadable(tmp_path: Path) -> None:
    assert (first_code(tmp_path / "none.zip"), code_of(tmp_path / "none.zip")) == ("unreadable",) * 2


@pytest.mark.parametrize("kind", ["link", "directory link", "fifo", "hidden"])
def test_directories_with_something_else_in_them(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "bundle"
    write_bundle(good("nothing"), place)
    (place / "empty").mkdir()
    assert (first_code(place), code_of(place)) == ("passed", "passed")
    if kind == "link":
        (place / "case").mkdir(exist_ok=True)
        (place / "case" / "link").symlink_to(place / "mark.json")
    elif kind == "directory link":
        (place / "case").symlink_to(tmp_path)
    elif kind == "fifo":
        import os

        os.mkfifo(place / "fifo")
    else:
        (place / ".hidden").write_text("x")
    expected = "name" if kind == "hidden" else "link"
    assert (first_code(place), code_of(place)) == (expected, expected)


def test_trust() -> None:
    from detect.bundles.verify.check import verify_files

    own, other = signer(1).public, signer(3).public
    assert verify_files(good("nothing"), trusted=[other, own]).unchecked[0].startswith("when")
    assert code_of(good("nothing"), [other.pem, own.pem]) == "passed"
    with pytest.raises(ValueError, match="not among the keys that are trusted") as refused:
        verify_files(good("nothing"), trusted=[other])
    assert getattr(refused.value, "code", None) == code_of(good("nothing"), [other.pem]) == "untrusted"


# --- the second is by itself ---


def test_the_second_imports_nothing_but_the_standard_library_and_cryptography() -> None:
    tree = ast.parse(FILE.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert foreign == {"cryptography"}


@pytest.mark.parametrize(("name", "code"), [("nothing", 0), ("smaller-p", 1)])
def test_the_second_as_a_command(name: str, code: int, tmp_path: Path) -> None:
    place = tmp_path / "bundle.zip"
    place.write_bytes(made(name)) if name in BAD else write_bundle(good(name), place)
    command = [sys.executable, "-I", str(FILE), str(place)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (code, "")
    assert ran.stdout.splitlines()[-1].startswith("PASSED: " if code == 0 else "FAILED: p run 0001, text: log10_p is ")
