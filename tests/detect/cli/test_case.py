"""`--case` and `taggant case`: keys, plans and texts are recorded, also what failed or found nothing."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.bundles.held import Held
from detect.keycheck import check_path
from detect.plans.plan import Plan
from tests.detect.bundles.helpers import events, payloads
from tests.detect.cli.helpers import EXECUTABLE, SPEECH, Cli, environment, names, save_key, secrets_of, write_rows
from watermark import Key
from watermark.greenlist import GreenList
from watermark.keys import Commitment

pytestmark = pytest.mark.usefixtures("here")
CASE = Path("case")
OPEN_ENDED = ("PYTHONPATH", str(Path(__file__).parents[3]))


def last(case: Path = CASE) -> Any:
    return payloads((case / "custody.jsonl").read_bytes())[-1]


def run_of(number: int, case: Path = CASE) -> Any:
    return json.loads((case / "runs" / f"{number:04d}" / "run.json").read_bytes())


def evidence(number: int, name: str, case: Path = CASE) -> Any:
    entry = run_of(number, case)["tests"][name]
    return json.loads((case / "runs" / f"{number:04d}" / entry["evidence"]).read_bytes())


def rows(number: int, name: str, what: str = "documents") -> list[Any]:
    path = CASE / "runs" / f"{number:04d}" / run_of(number)["tests"][name]["material"][what]
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def rounded(value: Any) -> Any:
    """Floats to 12 significant digits, by another way than the package's."""
    if isinstance(value, float):
        return float(np.format_float_scientific(value, precision=11, unique=False)) + 0.0
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


# --- texts ---


def test_texts_are_recorded_with_what_was_counted(cli: Cli, key: Path, ids: Path) -> None:
    result = cli("detect", "--key", key, ids, "--case", CASE, "--json", "--decoys", 5)
    shown = result.json()
    assert events(CASE) == ["opened", "begun", "finished"]
    assert result.notes.startswith(f"Made {CASE / 'signer.pem'}, which signs this case's entries (key id ")
    (public,) = (CASE / "signers").iterdir()
    assert f"Its public key is {public}: give that to whoever verifies (--trust)" in result.notes
    begun = payloads((CASE / "custody.jsonl").read_bytes())[1]["details"]
    data = ids.read_bytes()
    assert begun["inputs"] == [{"name": "ids.jsonl", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}]
    assert (begun["command"], begun["key_id"], begun["plan"]) == ("detect", Key.load(key).key_id, None)
    assert begun["questioned"] is None
    assert begun["options"] == {"decoys": 5, "seed": "0" * 64, "alpha": 1e-6}
    assert evidence(1, "text") == rounded(shown)
    assert rows(1, "text") == [
        {"id": row.get("id", f"{ids}:2"), "token_ids": row["token_ids"]} for row in map(json.loads, data.splitlines())
    ]
    assert rows(1, "text", "prompts") == []
    assert run_of(1)["family"] == [{"tests": ["text"], "key_check": False}]
    assert run_of(1)["tests"]["text"]["kind"] == "count"
    assert last()["details"] == {"run": "0001", "tests": ["text"]}
    assert sorted(Held.read(CASE).files()) == [f"runs/0001/{name}" for name in names(CASE / "runs" / "0001")]


def test_nothing_else_is_printed_with_a_case_than_without(cli: Cli, key: Path, ids: Path) -> None:
    plain = cli("detect", "--key", key, ids, "--each", "--scan", "-q")
    assert cli("detect", "--key", key, ids, "--each", "--scan", "-q", "--case", CASE) == plain


def test_every_test_is_there_by_itself(cli: Cli, text_key: Path, tmp_path: Path) -> None:
    words = "the rain fell on the harbour and the boats were still there in the rain "
    texts = [{"text": words + "he\u200bll\u200bo there", "prompt": "the rain"}, {"text": words[::-1]}]
    path = write_rows(tmp_path / "texts.jsonl", texts)
    command = ["detect", "--key", text_key, path, "--scan", "--normalise", "--each"]
    result = cli(*command, "--case", CASE)
    *each, pooled = result.lines()
    entry = run_of(1)
    assert [one["tests"] for one in entry["family"]] == [
        ["text", "text/scan", "normalised", "normalised/scan"],
        ["each/00001", "each/00001/normalised", "each/00002"],
    ]
    assert {name: one["kind"] for name, one in entry["tests"].items() if "each" not in name} == {
        "text": "count", "text/scan": "scan", "normalised": "count", "normalised/scan": "scan",
    }  # fmt: skip
    normalised = pooled.pop("normalised")
    assert evidence(1, "text/scan") == rounded(pooled.pop("scan"))
    assert evidence(1, "normalised/scan") == rounded(normalised.pop("scan"))
    assert evidence(1, "text") == rounded(pooled)
    assert evidence(1, "normalised") == rounded(normalised)
    first = each[0]
    assert evidence(1, "each/00001/normalised") == rounded(first.pop("normalised"))
    assert {"id": first["id"], **evidence(1, "each/00001")} == rounded(first)
    assert rows(1, "text") != rows(1, "normalised")
    assert [rows(1, "text")[0]] == rows(1, "each/00001")
    assert [rows(1, "normalised")[0]] == rows(1, "each/00001/normalised")
    # What several tests rest on is written once
    assert entry["tests"]["text"]["material"] == entry["tests"]["text/scan"]["material"]
    assert len(rows(1, "text", "prompts")) == 1


def test_a_text_that_normalising_does_not_change_is_one_test(cli: Cli, text_key: Path) -> None:
    assert cli("detect", "--key", text_key, SPEECH, "--normalise", "--case", CASE).code == 0
    assert list(run_of(1)["tests"]) == ["text"]


def test_standard_input_is_recorded_too(key: Path, ids: Path) -> None:
    command = [EXECUTABLE, "detect", "--key", key, "-", "--case", CASE, "--json"]
    done = subprocess.run(
        list(map(str, command)), input=ids.read_bytes(), capture_output=True, env=environment(**dict([OPEN_ENDED]))
    )
    assert done.returncode == 0, done.stderr
    begun = payloads((CASE / "custody.jsonl").read_bytes())[1]["details"]
    assert [one["name"] for one in begun["inputs"]] == ["stdin"]
    assert begun["inputs"][0]["sha256"] == hashlib.sha256(ids.read_bytes()).hexdigest()
    assert evidence(1, "text") == rounded(json.loads(done.stdout))


def test_a_detected_text_and_one_in_which_nothing_is_found(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    mask = GreenList(Key.load(key)).mask(np.arange(300).reshape(-1, 1), 300)
    stream, rng = [5], np.random.default_rng(1)
    while len(stream) < 200:
        stream.append(int(rng.choice(np.flatnonzero(mask[stream[-1]]))))
    marked = write_rows(tmp_path / "marked.jsonl", [{"token_ids": stream}])
    for path in (marked, ids):
        assert cli("detect", "--key", key, path, "--case", CASE).code == 0
    assert [evidence(number, "text")["finding"] for number in (1, 2)] == ["detected", "not detected"]


def test_a_refused_input_stops_the_run(cli: Cli, key: Path, tmp_path: Path) -> None:
    bad = write_rows(tmp_path / "bad.jsonl", [{"token_ids": [1, -1]}])
    assert cli("detect", "--key", key, bad, "--case", CASE).code == 3
    assert events(CASE) == ["opened", "begun", "stopped"]
    assert last()["details"]["run"] == "0001"
    assert "token_ids must lie in" in last()["details"]["reason"]
    cli("detect", "--key", key, tmp_path / "none.jsonl", "--case", CASE).refused(3, "none.jsonl does not exist")
    assert events(CASE) == ["opened", "begun", "stopped"]


def test_an_error_of_our_own_and_ctrl_c_stop_it_too(
    cli: Cli, key: Path, ids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: type[BaseException]) -> Any:
        def failing(*_: object, **__: object) -> None:
            raise error

        return failing

    for error, code, words in ((KeyboardInterrupt, 130, "interrupted"), (ZeroDivisionError, 70, "internal error")):
        monkeypatch.setattr("detect.counting.tally", fail(error))
        assert cli("detect", "--key", key, ids, "--case", CASE).code == code
        assert last()["event"] == "stopped"
        assert last()["details"]["reason"].startswith(words)


def test_a_full_disk_prints_no_results_and_stops_the_run(
    cli: Cli, key: Path, ids: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("detect.bundles.material.new_file", full)
    result = cli("detect", "--key", key, ids, "--case", CASE, "-q")
    result.refused(3, "No space left")
    assert events(CASE) == ["opened", "begun", "stopped"]


def test_sigterm_stops_the_run(key: Path, tmp_path: Path) -> None:
    """While it waits for its input; SIGKILL is what `tests.detect.bundles.test_case` has."""
    os.mkfifo(tmp_path / "fifo")
    write_rows(tmp_path / "ids.jsonl", [{"token_ids": list(range(3, 300))}])
    command = [EXECUTABLE, "detect", "--key", key, tmp_path / "ids.jsonl", "--decoys", "1000000", "--case", CASE]
    with subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, env=environment(**dict([OPEN_ENDED]))
    ) as process:
        deadline = time.monotonic() + 30
        while not (CASE / "custody.jsonl").exists() or (CASE / "custody.jsonl").read_bytes().count(b"\n") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    assert last()["details"] == {"run": "0001", "reason": f"interrupted by signal {int(signal.SIGTERM)}"}


def test_another_marks_case_is_refused(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    assert cli("detect", "--key", key, ids, "--case", CASE).code == 0
    before = (CASE / "custody.jsonl").read_bytes()
    other = save_key(tmp_path / "other.key", 1, bare=True)
    cli("detect", "--key", other, ids, "--case", CASE).refused(3, "is a case of key", "make another case")
    cli("key", "check", other, ids, "--case", CASE).refused(3, "make another case")
    cli("key", "commit", other, "-o", "c.json", "--case", CASE).refused(3, "not among the marks committed to")
    assert not check_path(other).exists()
    assert not Path("c.json").exists()
    assert (CASE / "custody.jsonl").read_bytes() == before


def test_signers(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    cli("detect", "--key", key, ids, "--signer", "s.pem").refused(2, "--signer", "--case")
    cli("detect", "--key", key, ids, "--case", CASE, "--signer", "s.pem").refused(5, "s.pem does not exist")
    assert not CASE.exists()
    assert cli("detect", "--key", key, ids, "--case", "other").code == 0
    result = cli("detect", "--key", key, ids, "--case", CASE, "--signer", "other/signer.pem")
    assert (result.code, result.err) == (0, "")
    assert not (CASE / "signer.pem").exists()
    Path("other/signer.pem").chmod(0o644)
    cli("detect", "--key", key, ids, "--case", "other").refused(5, "signer.pem", "chmod 600")


def test_too_many_documents_one_by_one(cli: Cli, key: Path, ids: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detect.cli.recorded.MOST_DOCUMENTS", 1)
    cli("detect", "--key", key, ids, "--each", "--case", CASE, "-q").refused(3, "leave out --each")
    assert cli("detect", "--key", key, ids, "--case", CASE, "-q").code == 0


# --- the key, its commitment, plans ---


def test_the_keys_check_is_recorded_passed_or_not(
    cli: Cli, text_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("key", "check", text_key, SPEECH, "--case", CASE).code == 0
    record = json.loads(check_path(text_key).read_bytes())
    assert last()["details"] == {name: record[name] for name in ("key_id", "accepted", "corpus_sha256")}
    assert json.loads((CASE / "key-check.json").read_bytes()) == rounded(record)
    other = save_key(tmp_path / "other.key", 1)
    monkeypatch.setattr("detect.keycheck.THRESHOLD", 0.999999)
    assert cli("key", "check", other, SPEECH, "--case", "refused").code == 5
    assert last(Path("refused"))["details"]["accepted"] is False


def test_a_recorded_check_is_accounted_for(cli: Cli, text_key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("key", "check", text_key, SPEECH, "--case", CASE).code == 0
    assert cli("detect", "--key", text_key, SPEECH, "--case", CASE).code == 0
    assert run_of(1)["family"] == [{"tests": ["text"], "key_check": True}]
    found = evidence(1, "text")
    assert found["log10_p_adjusted"] == pytest.approx(min(0.0, found["log10_p"] - np.log10(0.99)), rel=1e-11)
    check_path(text_key).unlink()
    before = events(CASE)
    cli("detect", "--key", text_key, SPEECH, "--case", CASE).refused(3, "put it back")
    suspect = ["suspect", "--key", text_key, "--model", "m", "--probes", "builtin", "--case", CASE]
    cli(*suspect).refused(3, "put it back")
    assert events(CASE) == before


def test_a_check_after_first_use_is_refused(cli: Cli, text_key: Path) -> None:
    assert cli("detect", "--key", text_key, SPEECH, "--case", CASE).code == 0
    cli("key", "check", text_key, SPEECH, "--case", CASE).refused(3, "a key is checked before its first use")
    assert not check_path(text_key).exists()


def test_a_check_that_was_made_before_is_recorded_as_what_it_is(cli: Cli, text_key: Path, ids: Path) -> None:
    first = cli("key", "check", text_key, SPEECH, "--json").json()
    written = check_path(text_key).read_bytes()
    cli("key", "check", text_key, ids, "--case", CASE).refused(3, "is of another text than this")
    assert not CASE.exists()
    again = cli("key", "check", text_key, SPEECH, "--case", CASE, "--json")
    assert again.json() == first
    assert f"Recorded the check of {first['created']}" in again.err
    assert check_path(text_key).read_bytes() == written
    assert json.loads((CASE / "key-check.json").read_bytes()) == rounded(first)
    assert last()["details"] == {name: first[name] for name in ("key_id", "accepted", "corpus_sha256")}
    cli("key", "check", text_key, SPEECH, "--case", CASE).refused(3, "the case records a check of the key")
    assert cli("detect", "--key", text_key, SPEECH, "--case", "late").code == 0
    cli("key", "check", text_key, SPEECH, "--case", "late").refused(3, "is accounted for all the same")
    assert events(Path("late")) == ["opened", "begun", "finished"]


def test_a_check_that_cannot_be_made_begins_no_case(cli: Cli, text_key: Path, tmp_path: Path) -> None:
    few = write_rows(tmp_path / "few.jsonl", [{"token_ids": [1, 2]}])
    cli("key", "check", text_key, few, "--case", CASE).refused(3, "too few to refuse any key")
    copy = tmp_path / "copy.key"
    copy.write_bytes(text_key.read_bytes())
    copy.chmod(0o600)
    assert cli("key", "check", text_key, SPEECH).code == 0
    cli("key", "check", copy, SPEECH, "--case", CASE).refused(3, "a key is checked once")
    assert not CASE.exists()


def test_a_commitment_that_was_made_before_is_recorded_with_its_own_date(cli: Cli, text_key: Path) -> None:
    command = ["key", "commit", text_key, "--account", "a", "--account", "b", "--leaves", "leaves.json", "-o", "c.json"]
    assert cli(*command).code == 0
    earlier = replace(Commitment.load("c.json"), created="2025-01-02T03:04:05Z")
    Path("c.json").write_bytes(earlier.canonical)
    files = {path: path.read_bytes() for path in (Path("c.json"), Path("leaves.json"))}
    cli(*command).refused(3, "c.json already exists")
    for options, words in ((["--account", "x"], "to other marks than these"), (["--epoch", "2026-11"], "other marks")):
        cli(*command, *options, "--case", CASE).refused(3, words)
    Path("leaves.json").write_bytes(b"[]")
    cli(*command, "--case", CASE).refused(3, "leaves.json is not the list of these marks")
    assert not CASE.exists()
    Path("leaves.json").write_bytes(files[Path("leaves.json")])
    assert cli(*command, "--case", CASE, "--json").json()["created"] == earlier.created
    assert {path: path.read_bytes() for path in files} == files
    assert (CASE / "commitment.json").read_bytes() == earlier.canonical
    assert last()["details"] == {"root": earlier.root, "size": 2}
    cli(*command, "--case", CASE).refused(3, "records this commitment already")
    assert events(CASE) == ["opened", "committed"]
    Path("c.json").write_bytes(earlier.canonical + b"\n")
    cli(*command, "--case", "other").refused(3, "c.json is not as it was written")


def test_a_commitment_is_recorded_as_it_is_published(cli: Cli, text_key: Path) -> None:
    command = ["key", "commit", text_key, "--account", "a", "--account", "b", "--leaves", "leaves.json"]
    assert cli(*command, "-o", "commitment.json", "--case", CASE).code == 0
    written = Path("commitment.json").read_bytes()
    assert (CASE / "commitment.json").read_bytes() == written
    commitment = Commitment.load("commitment.json")
    assert last()["details"] == {"root": commitment.root, "size": 2}
    assert last()["subjects"] == [{"name": "commitment.json", "sha256": hashlib.sha256(written).hexdigest()}]
    assert Held.read(CASE).mark is None
    Path("leaves.json").unlink()
    assert cli(*command, "-o", "again.json", "--case", CASE).code == 0
    assert last()["subjects"][0]["name"] == "commitment-2.json"


def planned(cli: Cli, key: Path, probes: Path, output: str, *more: object) -> Any:
    return cli("plan", "-o", output, "--key", key, "--probes", probes, "--effect", 0.5, *more, "--json", "-q")


def test_plans_are_recorded(cli: Cli, text_key: Path, tmp_path: Path) -> None:
    probes = write_rows(tmp_path / "prompts.jsonl", [{"prompt": "Where is the sea?"}])
    assert cli("key", "commit", text_key, "-o", "c.json", "--leaves", "l.json", "--case", CASE).code == 0
    inclusion = ["--commitment", "c.json", "--leaves", "l.json"]
    result = planned(cli, text_key, probes, "plan.json", "--case", CASE, *inclusion).json()
    plan = Plan.load("plan.json")
    root = Commitment.load("c.json").root
    assert last()["details"] == {"plan": plan.digest, "key_id": plan.key_id, "root": root}
    assert (CASE / "plan.json").read_bytes() == Path("plan.json").read_bytes()
    assert f"--case {CASE}" in result["then"]
    assert not any("will be exploratory" in note for note in result["notes"])
    second = planned(cli, text_key, probes, "second.json", "--case", CASE).json()
    assert last()["subjects"][0]["name"] == "plan-2.json"
    assert last()["details"]["root"] is None
    assert any("will be exploratory: the plan names no commitment of the key" in n for n in second["notes"])
    cli("plan", "--case", CASE).refused(2, "--case belongs into a plan's file")


# --- looking at it, and notes ---


def test_show_and_note(cli: Cli, key: Path, ids: Path) -> None:
    assert cli("detect", "--key", key, ids, "--case", CASE).code == 0
    result = cli("case", "note", CASE, "seal intact; \x1b[31mred")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("entry 3, 20")
    people = cli("case", "show", CASE)
    assert people.code == 0
    assert Key.load(key).key_id in people.out
    assert "run 0001: detect of texts" in people.out
    assert "\x1b" not in people.out
    shown = cli("case", "show", CASE, "--json").json()
    assert [one["event"] for one in shown["entries"]] == events(CASE)
    assert shown["entries"][3]["details"] == {"text": "seal intact; \x1b[31mred"}
    assert shown["mark"]["key_id"] == Key.load(key).key_id
    assert shown["open_run"] is None


@pytest.mark.parametrize(("text", "words"), [("", "nothing to note"), (" ", "nothing to note"), ("x" * 4001, "4,000")])
def test_notes_that_are_none(text: str, words: str, cli: Cli, key: Path, ids: Path) -> None:
    assert cli("detect", "--key", key, ids, "--case", CASE).code == 0
    cli("case", "note", CASE, text).refused(3, words)
    assert events(CASE)[-1] == "finished"


@pytest.mark.parametrize("command", [["show"], ["note"]])
def test_what_is_no_case_stays_none(command: list[str], cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    cli("case", *command, "d", *(["text"] if command == ["note"] else [])).refused(3, "d is not a case")
    assert names(tmp_path / "d") == []


def test_a_changed_file_is_seen(cli: Cli, key: Path, ids: Path) -> None:
    assert cli("detect", "--key", key, ids, "--case", CASE).code == 0
    path = CASE / "runs" / "0001" / "text.json"
    path.write_bytes(path.read_bytes().replace(b"not detected", b"detected"))
    cli("case", "show", CASE).refused(3, "text.json is not the file that was recorded")


def test_no_secret_is_in_a_case(cli: Cli, text_key: Path, tmp_path: Path) -> None:
    probes = write_rows(tmp_path / "prompts.jsonl", [{"prompt": "Where is the sea?"}])
    assert cli("key", "check", text_key, SPEECH, "--case", CASE).code == 0
    assert cli("key", "commit", text_key, "-o", "c.json", "--leaves", "l.json", "--case", CASE).code == 0
    assert planned(cli, text_key, probes, "plan.json", "--case", CASE).code == 0
    assert cli("detect", "--key", text_key, SPEECH, "--case", CASE, "--scan", "--normalise").code == 0
    signing = (CASE / "signer.pem").read_text().splitlines()[1]
    for path in (path for path in CASE.rglob("*") if path.is_file() and path.name != "signer.pem"):
        content = path.read_bytes()
        if path.name == "custody.jsonl":
            content += json.dumps(payloads(content)).encode()
        for secret in [*secrets_of(text_key), signing]:
            assert secret.encode() not in content
            assert secret.encode() not in content.lower()
