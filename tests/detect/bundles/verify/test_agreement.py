"""Two verifiers that share no code say the same of every bundle, good and bad."""

from __future__ import annotations

import ast
import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from scipy.integrate import quad
from scipy.stats import binom

from detect.bundles.container import read_bundle
from detect.bundles.refused import CODES, Refused
from detect.bundles.seal import write_bundle
from detect.bundles.verify.check import verify_bundle, verify_files
from detect.bundles.verify.responses import Tokens
from detect.bundles.verify.unchecked import (
    AT_HAND,
    BEFORE,
    CONTACT,
    MADE_FOR,
    NOTES,
    PROMPTS,
    RANDOM,
    SPECIAL,
    UNSETTLED,
    UNSTAMPED,
)
from detect.decoys import lineup
from detect.examined import Examined
from detect.observation import Texts
from detect.sequential import Sequential
from tests.detect.bundles.bad.mutations import BAD, good, made
from tests.detect.bundles.bad.registry import case_of
from tests.detect.bundles.bad.runs import reweigh
from tests.detect.bundles.draft import Draft
from tests.detect.bundles.factory import (
    GOOD,
    KEY,
    MODEL,
    SEED,
    SHOWN,
    WIDE,
    Made,
    asked,
    authority,
    documents,
    planned,
    planned_families,
    sealed,
    signer,
)  # fmt: skip
from tests.detect.bundles.helpers import refused
from tests.detect.bundles.served import FED
from tests.detect.bundles.verify.both import NAMED, first_code, first_outcome, verified
from tests.detect.material import distinct_pairs, is_green
from tests.tools.second import FILE, check_of, outcome_of, second

HERE = Path(__file__).parents[1] / "bad"
INDEX = json.loads((HERE / "index.json").read_text(encoding="utf-8"))
AUTHORITY = (HERE / "authority.pem").read_bytes()


@pytest.mark.parametrize("name", GOOD)
def test_good_bundles_pass_both_as_directory_and_as_archive(name: str, tmp_path: Path) -> None:
    """Read from either they are the same files, which each verifies once."""
    files = good(name)
    for place in (tmp_path / "bundle", tmp_path / "bundle.zip"):
        write_bundle(files, place)
        assert read_bundle(place) == files
        assert second.read(place if place.is_dir() else place.read_bytes()) == files
    assert first_code(place, [authority().root]) == "passed"
    assert check_of(place, [signer(1).public.pem], [authority().pem]) == "passed"


def test_what_could_not_be_checked_is_said() -> None:
    closed = verified(good("early-closed"))
    whose = "whose the signers' keys are (--trust)"
    assert closed.unchecked[0].startswith("colours: the key is not opened")
    assert closed.unchecked[1:] == (whose, UNSTAMPED, *ALWAYS)
    lines = list(second.verify(good("early-closed")))
    for words in (whose, UNSTAMPED, AT_HAND, BEFORE, RANDOM, NOTES, "the key is not opened"):
        assert words in lines[-1]
    assert "by the log" not in lines[-1]
    stamped = verified(good("stamped"), [authority().root])
    assert stamped.unchecked == (whose, CONTACT, *ALWAYS)
    assert "who made the timestamps (--tsa-root)" in verified(good("stamped")).unchecked
    assert "who made the timestamps (--tsa-root)" in list(second.verify(good("stamped")))[-1]
    assert "scan" in list(second.verify(good("text")))[-1]


ALWAYS = (AT_HAND, BEFORE, RANDOM, NOTES)  # of a model at hand


@pytest.mark.parametrize(
    ("name", "words"),
    [("text", None), ("texts-wide", SPECIAL), ("texts-shown", MADE_FOR), ("texts-shown-closed", SPECIAL)],
)
def test_special_ids_are_a_word_unless_the_tokens_show_them(name: str, words: str | None) -> None:
    """Under an opened key; that the tokenizer is the model's they do not show. A mark without one has none."""
    both = verified(good(name)).unchecked, list(second.verify(good(name)))[-1].split("; ")
    for said in both:
        for one in (SPECIAL, MADE_FOR):
            start = one.partition(" {}")[0].partition(":")[0]
            assert any(start in part for part in said) == (one == words)
        assert words != MADE_FOR or any("with its 3 special ids" in part for part in said)


@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("early", []),
        ("server", []),
        ("text", ["run 0001, text", "run 0001, text/scan"]),
        (
            "weights",
            [f"run 0001, {one}" for one in ("reading/difference", "sampled/excess", "reading/difference/control")],
        ),
        ("attributed", []),  # no prompts were given
    ],
)
def test_prompts_are_a_word_unless_a_plan_settled_their_ids(name: str, free: list[str]) -> None:
    first, last = verified(good(name)).unchecked, list(second.verify(good(name)))[-1]
    assert [one for one in first if one.startswith(PROMPTS)] == ([f"{PROMPTS}; of {', '.join(free)}"] if free else [])
    assert re.findall(r"(run \d+, \S+): which ids were fed in as prompts", last) == free


def test_what_a_count_were_with_what_it_leaves_out() -> None:
    """Counted here once more, colour by colour."""
    files = good("texts-shown")
    evidence = json.loads(files["case/runs/0001/text.json"])
    rows = [json.loads(line)["token_ids"] for line in files["case/runs/0001/text.documents.jsonl"].splitlines()]
    pairs = distinct_pairs(rows, [], 1)  # those with special tokens, too
    green, n = sum(is_green(SHOWN, pair) for pair in pairs), len(pairs)
    assert n > evidence["n_scored"]
    whole = verified(files).wholes["run 0001, text"]
    assert (whole.left_out, whole.n_scored, whole.n_green) == (n - evidence["n_scored"], n, green)
    assert whole.log10_p == pytest.approx(binom.logsf(green - 1, n, SHOWN.gamma) / math.log(10), rel=1e-9)
    assert any(
        line.startswith("run 0001, text: detected") and line.endswith(f" ({whole})") for line in second.verify(files)
    )


@pytest.mark.parametrize("name", GOOD)
def test_both_say_what_was_found_in_the_same_words(name: str) -> None:
    """Finding, status, adjusted p and level, and what a count were with what it leaves out."""
    said: dict[str, str] = {}
    verify_files(good(name), on_check=said.__setitem__)
    lines = [line for line in second.verify(good(name)) if line.startswith("run ")]
    assert said["findings"] == ("; ".join(lines) or "none")
    assert all(" at alpha 1e-06" in line for line in lines if "scan" not in line and "/control" not in line)


def repeating(made: Made) -> None:
    """An e-process over answers of which the first says a prompt again."""
    made.commit()
    one = made.plan(effect=0.5)
    answers = documents(KEY, 0.6, 30)
    answers[0][:3] = [3, 4, 5]
    test = Sequential(KEY, FED, one.alpha, one.maximum_pairs or 0)
    for index, ids in enumerate(answers):
        test.add(index, ids)
    seen = Examined(test.result(), [], lineup(test.result(), 19, seed=SEED), observed=Texts(answers, FED))
    made.run("suspect", planned_families(made, one, {"sampled/distinct": seen}), plan=one, questioned=MODEL)


def test_what_an_e_process_were_with_what_it_leaves_out() -> None:
    files = case_of(repeating)
    evidence = json.loads(files["case/runs/0001/sampled-distinct.json"])
    lines = files["case/runs/0001/sampled-distinct.documents.jsonl"].splitlines()
    rows, room = [], evidence["n_tokens"]
    for ids in (json.loads(line)["token_ids"] for line in lines):
        rows.append(ids[:room])
        room -= len(rows[-1])
    pairs = distinct_pairs(rows, [], 1)
    green, n = sum(is_green(KEY, pair) for pair in pairs), len(pairs)
    whole = verified(files).wholes["run 0001, sampled/distinct"]
    assert (whole.left_out, whole.n_scored, whole.n_green) == (2, n, green)
    mixture, _ = quad(
        lambda q: (q / 0.25) ** green * ((1 - q) / 0.75) ** (n - green) / 0.75, 0.25, 1, points=[green / n]
    )
    assert whole.log10_e == pytest.approx(math.log10(mixture), rel=1e-6)
    assert whole.log10_p is None
    assert any(str(whole) in line for line in second.verify(files))


def test_special_ids_are_held_against_the_marks_tokenizer() -> None:
    """Both list the same mark, and the fingerprint that its key id is of: other special ids are refused."""
    sha256, special = WIDE.tokenizer.sha256, WIDE.special_ids
    assert special
    right, wrong = (Tokens(sha256, ids, lambda longest: None) for ids in (special, special[1:]))  # type: ignore[arg-type,return-value]
    files = good("texts-wide")
    assert not any(SPECIAL in one for one in verify_files(files, tokens=right).unchecked)
    assert any(SPECIAL in one for one in verify_files(files).unchecked)
    with refused("mark"):
        verify_files(files, tokens=wrong)


def test_a_timestamp_of_the_manifest_alone_says_nothing_of_the_order() -> None:
    with tempfile.TemporaryDirectory() as place:
        late = sealed(Path(place), KEY, planned, stamped=True)
    assert "manifest.tsr" in late
    for files, right, wrong in ((late, UNSTAMPED, CONTACT), (good("stamped"), CONTACT, UNSTAMPED)):
        said = verified(files, [authority().root]).unchecked
        assert right in said
        assert wrong not in said
        line = list(second.verify(files, roots=[authority().pem]))[-1]
        assert right in line
        assert wrong not in line


def test_only_a_stamp_of_the_plan_itself_settles_when_it_was_made() -> None:
    """One of the commitment says nothing of a plan that may have been made later; nor does one of another plan."""

    def another(made: Made) -> None:
        planned(made)
        made.plan(effect=0.5, maximum_pairs=401, stamped=True)

    for make, right in (
        (lambda made: planned(made, stamped=True), CONTACT),
        (another, UNSETTLED.format("run 0001, sampled/distinct")),
        (stamped_commitment, UNSTAMPED),
    ):
        files = case_of(make)
        last = list(second.verify(files, roots=[authority().pem]))[-1]
        for said in ("; ".join(verified(files, [authority().root]).unchecked), last):
            assert [one in said for one in (CONTACT, UNSTAMPED, right)] == [right == CONTACT, right == UNSTAMPED, True]


def stamped_commitment(made: Made) -> None:
    made.commit(stamped=True)
    one = made.plan(effect=0.5)
    tests = {"sampled/distinct": asked(made.key, one, one.alpha, 0.6, 30)}
    made.run("suspect", planned_families(made, one, tests), plan=one, questioned=MODEL)


def test_what_a_server_says_of_its_answers_is_held_against_the_log() -> None:
    """Nobody signed it, so it refutes nothing: it is remarked upon."""
    draft = Draft.of(good("server"))
    name = "case/runs/0001/responses.log"
    data = draft.files[name].replace(b'"model": "student", "sys', b'"model": "other", "sys')
    draft.files[name] = data.replace(b'"created": 1796', b'"created": 1696', 3)
    n = data.count(b'"model": "other"')
    files = draft.build()
    said = (*verified(files).unchecked, list(second.verify(files))[-1])
    for text in ("\n".join(said[:-1]), said[-1]):
        assert f"why {n} " in text
        assert "name another model than student" in text
        assert "why 3 " in text
        assert "made before the model was first asked" in text
    assert not any("why " in one for one in verified(good("server")).unchecked)
    assert "why " not in list(second.verify(good("server")))[-1]


SPANS = {
    "none": [],
    "elsewhere": [{"document_index": 1, "start_token": 0, "end_token": 36, "n_scored": 36, "n_green": 36}],
    "greener": None,
}


@pytest.mark.parametrize("name", SPANS)
def test_stretches_that_no_scan_found_are_refused_by_the_first_alone(name: str) -> None:
    """The second says that it has not looked."""
    draft, place = Draft.of(good("text")), "case/runs/0001/text-scan.json"
    spans = draft.json(place)["spans"]
    assert spans
    changed = SPANS[name]
    if changed is None:
        changed = [{**spans[0], "n_green": spans[0]["n_green"] + 1}, *spans[1:]]
    draft.change(place, spans=[{"log10_p": -38.5, "log10_p_adjusted": -36.0, **one} for one in changed])
    files = draft.build()
    assert first_outcome(files) == ("p", "numbers")
    assert "text/scan: a scan, and the stretches it found" in list(second.verify(files))[-1]


def test_what_is_confirmatory() -> None:
    assert [test.name for test in verified(good("early")).confirmatory] == ["sampled/distinct"]
    assert verified(good("texts")).confirmatory == ()
    assert {test.name for test in verified(good("weights")).confirmatory} == {"reading/difference", "sampled/excess"}


def agree(place: Path, code: str, pem: bytes) -> None:
    """Both refuse a bundle: the first with its code, the second in the same check, and for the same number.

    So too without a root for timestamps, unless what is wrong is who made one: then both pass it, and say so.
    """
    roots = x509.load_pem_x509_certificates(pem)
    found, check = first_outcome(place, roots)
    said = outcome_of(place, [], [pem])
    assert (found, said.split()[:2]) == (code, ["FAILED:", f"{check}:"])
    assert code not in NAMED or any(f" {name} is " in said or f" {name} have " in said for name in NAMED[code]), said
    if check == "timestamps":
        found, check = first_outcome(place)
        said = outcome_of(place)
        assert said.split()[:2] == (["FAILED:", "timestamps:"] if check == "timestamps" else ["PASSED:", "every"])
        assert check == "timestamps" or (code == "stamp-untrusted" and "who made the timestamps (--tsa-root)" in said)


@pytest.mark.parametrize("name", INDEX)
def test_bad_bundles_are_refused_by_both_for_the_same_reason(name: str) -> None:
    agree(HERE / f"{name}.zip", INDEX[name], AUTHORITY)


def test_the_committed_bundles_are_of_all_mutations_but_the_largest() -> None:
    assert {name: code for name, (code, _, _) in BAD.items() if name in INDEX} == INDEX
    assert len(INDEX) >= 200
    assert len(set(BAD) - set(INDEX)) <= 24
    assert {place.stem for place in HERE.glob("*.zip")} == set(INDEX)
    assert sum(place.stat().st_size for place in HERE.iterdir() if place.is_file()) < 4_000_000
    by_tests_of_their_own = {"unreadable", "untrusted"}
    assert set(CODES) - {code for code, _, _ in BAD.values()} == by_tests_of_their_own


@pytest.mark.parametrize("name", sorted(set(BAD) - set(INDEX)) + sorted(INDEX)[::12])
def test_mutations_of_bundles_that_are_made_today(name: str, tmp_path: Path) -> None:
    place = tmp_path / "bundle.zip"
    place.write_bytes(made(name))
    agree(place, BAD[name][0], authority().pem)


# --- what no archive can hold, and what is given besides ---


def test_unreadable(tmp_path: Path) -> None:
    assert first_outcome(tmp_path / "none.zip") == ("unreadable", check_of(tmp_path / "none.zip"))


@pytest.mark.parametrize("kind", ["link", "directory link", "fifo", "hidden"])
def test_directories_with_something_else_in_them(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "bundle"
    write_bundle(good("nothing"), place)
    (place / "empty").mkdir()
    assert (first_code(place), check_of(place)) == ("passed", "passed")
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
    assert first_outcome(place) == (expected, check_of(place))


def test_trust() -> None:
    own, other = signer(1).public, signer(3).public
    assert verify_files(good("nothing"), trusted=[other, own]).unchecked[0].startswith("when")
    assert check_of(good("nothing"), [other.pem, own.pem]) == "passed"
    with pytest.raises(ValueError, match="not among the keys that are trusted") as refused:
        verify_files(good("nothing"), trusted=[other])
    assert getattr(refused.value, "code", None) == "untrusted"
    said = outcome_of(good("nothing"), [other.pem])
    assert said.startswith("FAILED: signers: ")
    assert said.endswith(": it is not trusted")


def test_too_little_memory_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr("detect.bundles.verify.check.read_mark", full)
    monkeypatch.setattr(second, "mark", full)
    write_bundle(good("nothing"), tmp_path / "bundle")
    with pytest.raises(Refused, match="too little memory") as refused:
        verify_bundle(tmp_path / "bundle")
    assert refused.value.code == "size"
    assert outcome_of(tmp_path / "bundle").startswith("FAILED: ")


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
    assert ran.stdout.splitlines()[-1].startswith(
        "PASSED: " if code == 0 else "FAILED: numbers: run 0001, text: log10_p is "
    )


# --- what crashed a verifier ---


@pytest.mark.parametrize("value", [None, 5, [], ""], ids=repr)
def test_comparisons_that_are_no_objects_are_refused(value: object) -> None:
    """By the first alone: nothing follows from them that the second computes."""
    draft = Draft.of(good("weights"))
    draft.change("case/runs/0001/reading-difference.json", comparisons__argmax=value)
    assert first_outcome(draft.build()) == ("evidence", "runs")


@pytest.mark.parametrize("name", ["excluded_contexts", "argmax_tokens", "mass_contexts", "mass_tokens", "probe_tokens"])
def test_token_ids_that_are_none_are_refused_wherever_they_stand(name: str) -> None:
    def change(arrays: dict[str, np.ndarray]) -> np.ndarray:
        changed = arrays[name].copy()
        changed.flat[0] = 0xFFFFFFFF
        return changed

    draft = Draft.of(good("weights"))
    reweigh(draft, **{name: change})
    assert first_outcome(draft.build()) == ("material", "numbers")
