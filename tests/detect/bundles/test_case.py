"""A case: recorded before and after, by one command at a time, and whole whatever ended the last one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from detect.bundles import case as module
from detect.bundles.case import Case
from detect.bundles.held import Held
from detect.bundles.mark import Mark
from detect.bundles.signer import Signer
from tests.detect.bundles.helpers import BEGUN, DIGEST, KEY, events, new_case, payloads, refused
from tests.detect.cli.helpers import names
from tests.detect.material import make_key
from watermark import lines
from watermark.errors import InputError, KeyFileError


def test_a_new_case(tmp_path: Path) -> None:
    with new_case(tmp_path / "case") as case:
        keyid, first = case.signer.keyid, case.log.entries[0]
        assert case.made_signer == tmp_path / "case" / "signer.pem"
    assert names(tmp_path / "case") == ["custody.jsonl", "mark.json", "signer.pem", "signers"]
    assert names(tmp_path / "case" / "signers") == [f"{keyid}.pem"]
    assert (tmp_path / "case").stat().st_mode & 0o777 == 0o700
    for private in ("signer.pem", "custody.jsonl"):
        assert (tmp_path / "case" / private).stat().st_mode & 0o777 == 0o600
    held = Held.read(tmp_path / "case")
    assert held.log.entries == [first]
    assert held.mark == Mark.of(KEY)
    with Case(tmp_path / "case") as again:
        assert again.made_signer is None
        assert again.log.case == first.case
        assert len(first.case) == 32
    with new_case(tmp_path / "other") as other:
        assert other.log.case != first.case


def test_files_are_recorded_with_their_digests(tmp_path: Path) -> None:
    with new_case(tmp_path / "case") as case:
        for number in range(3):
            name = case.free_name("plan", ".json")
            case.record("planned", {"plan": DIGEST, "key_id": DIGEST, "root": None}, {name: b"%d" % number})
    assert Held.read(tmp_path / "case").files() == {"plan.json": b"0", "plan-2.json": b"1", "plan-3.json": b"2"}
    (tmp_path / "case" / "plan-2.json").write_bytes(b"9")
    with refused("subject"):
        Held.read(tmp_path / "case").files()
    (tmp_path / "case" / "plan-2.json").unlink()
    with refused("subject"):
        Held.read(tmp_path / "case").files()


def test_a_recorded_file_is_never_written_again(tmp_path: Path) -> None:
    planned = ("planned", {"plan": DIGEST, "key_id": DIGEST, "root": None})
    with new_case(tmp_path / "case") as case:
        case.record(*planned, {"plan.json": b"0"})
        with pytest.raises(InputError, match="already exists"):
            case.record(*planned, {"plan.json": b"1"})
    assert Held.read(tmp_path / "case").files() == {"plan.json": b"0"}
    assert events(tmp_path / "case") == ["opened", "planned"]


def test_what_was_left_without_an_entry_was_never_recorded(tmp_path: Path) -> None:
    with new_case(tmp_path / "case") as case:
        (tmp_path / "case" / "plan.json").write_bytes(b"half")
        case.record("planned", {"plan": DIGEST, "key_id": DIGEST, "root": None}, {"plan.json": b"whole"})
    assert Held.read(tmp_path / "case").files() == {"plan.json": b"whole"}


def test_a_run_ends_with_all_its_files(tmp_path: Path) -> None:
    with new_case(tmp_path / "case") as case:
        run = case.begin(BEGUN)
        assert case.log.open_run == run.number == "0001"
        (run.directory / "run.json").write_bytes(b"{}")
        (run.directory / "deep").mkdir()
        (run.directory / "deep" / "a.npz").write_bytes(b"1")
        run.finish(["text"])
        second = case.begin(BEGUN)
        second.stop("x" * 5000)
    assert events(tmp_path / "case") == ["opened", "begun", "finished", "begun", "stopped"]
    held = Held.read(tmp_path / "case")
    assert held.files() == {"runs/0001/run.json": b"{}", "runs/0001/deep/a.npz": b"1"}
    assert held.log.entries[-1].details == {"run": "0002", "reason": "x" * 1000}


@pytest.mark.parametrize("odd", ["link", ".hidden"])
def test_a_run_with_odd_files_does_not_finish(odd: str, tmp_path: Path) -> None:
    with new_case(tmp_path / "case") as case:
        run = case.begin(BEGUN)
        (run.directory / "run.json").write_bytes(b"{}")
        (run.directory / odd).symlink_to("run.json")
        with pytest.raises(InputError, match="no regular file"):
            run.finish([])
        assert case.log.open_run == "0001"


def test_one_mark_a_case(tmp_path: Path) -> None:
    new_case(tmp_path / "case").close()
    with Case(tmp_path / "case") as case:
        case.hold(Mark.of(KEY))
        with pytest.raises(InputError, match="make another case"):
            case.hold(Mark.of(make_key(4)))
    assert Held.read(tmp_path / "case").mark == Mark.of(KEY)


def test_a_mark_is_read_as_it_was_written() -> None:
    for key in (KEY, make_key(5, h=2, special=(0, 2))):
        mark = Mark.of(key)
        assert Mark.from_json(mark.to_json()) == mark
        assert mark.gamma == key.gamma
    content = Mark.of(make_key(5, special=(0, 2))).to_json()
    for change in (
        {"format": "x"}, {"key_id": "x"}, {"scheme": "x"}, {"gamma_65536": 0}, {"gamma_65536": 65536},
        {"gamma_65536": 0.5}, {"context_width": -1}, {"context_width": 9}, {"tokenizer_sha256": None},
        {"vocab_size": None}, {"vocab_size": 0}, {"special_ids": [2, 0]}, {"special_ids": [0, 0]},
        {"special_ids": [500_000]}, {"special_ids": [True]}, {"special_ids": None}, {"more": 1},
    ):  # fmt: skip
        with refused("mark"):
            Mark.from_json({**content, **change})
    with refused("mark"):
        Mark.from_json([])


def test_what_is_no_case_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="new or an empty directory"):
        Case(tmp_path / "d")
    assert names(tmp_path / "d") == ["letter.txt"]
    with pytest.raises(InputError, match="no directory"):
        Case(tmp_path / "d" / "letter.txt")
    with pytest.raises(InputError, match="cannot be made"):
        Case(tmp_path / "none" / "case")
    with pytest.raises(InputError, match="is not a case"):
        Held.read(tmp_path / "d")
    (tmp_path / "empty").mkdir()
    Case(tmp_path / "empty").close()


def test_another_signer(tmp_path: Path) -> None:
    mine = Signer.create(tmp_path / "mine.pem")
    with Case(tmp_path / "case", tmp_path / "mine.pem") as case:
        assert case.made_signer is None
        assert case.signer.keyid == mine.keyid
    assert not (tmp_path / "case" / "signer.pem").exists()
    with Case(tmp_path / "case") as case:
        case.append("noted", {"text": "by the case's own"})
        assert case.log.signers == [mine.keyid, case.signer.keyid]
    assert len(names(tmp_path / "case" / "signers")) == 2
    with pytest.raises(KeyFileError, match="does not exist"):
        Case(tmp_path / "new", tmp_path / "none.pem")
    assert not (tmp_path / "new").exists()


def test_one_command_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "WAIT_SECONDS", 0.05)
    with new_case(tmp_path / "case") as case:
        case.begin(BEGUN)
        with pytest.raises(InputError, match="another command is at work in this case"):
            Case(tmp_path / "case")
        assert Held.read(tmp_path / "case").log.open_run == "0001"
    assert events(tmp_path / "case") == ["opened", "begun"]


def test_a_killed_run_is_stopped_by_the_next_command(tmp_path: Path) -> None:
    """SIGKILL in the middle of a run, its files half written."""
    program = f"""
import sys, time
from pathlib import Path
from tests.detect.bundles.helpers import BEGUN, new_case
case = new_case(Path({str(tmp_path / "case")!r}))
run = case.begin(BEGUN)
(run.directory / "run.json").write_bytes(b"half")
print("ready", flush=True)
time.sleep(60)
"""
    root = Path(module.__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    with Case(tmp_path / "case") as case:
        assert case.log.entries[-1].details == {"run": "0001", "reason": "killed"}
        run = case.begin(BEGUN)
        (run.directory / "run.json").write_bytes(b"whole")
        run.finish([])
    assert events(tmp_path / "case") == ["opened", "begun", "stopped", "begun", "finished"]
    assert Held.read(tmp_path / "case").files() == {"runs/0002/run.json": b"whole"}


def test_killed_during_an_append_the_log_goes_on_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every length that the last line can have."""
    monkeypatch.setattr(lines.os, "fsync", lambda _: None)
    with new_case(tmp_path / "case") as case:
        case.append("noted", {"text": "one"})
        before = case.bytes_of_log()
        case.append("noted", {"text": "two"})
        whole = case.bytes_of_log()
    path = tmp_path / "case" / "custody.jsonl"
    for cut in range(len(before), len(whole) + 1, 7):
        path.write_bytes(whole[:cut])
        survived = before if cut < len(whole) else whole
        assert len(Held.read(tmp_path / "case").log.entries) == survived.count(b"\n")
        with Case(tmp_path / "case") as case:
            case.append("noted", {"text": "three"})
        assert path.read_bytes().startswith(survived)
        assert [one["details"] for one in payloads(path.read_bytes())][-1] == {"text": "three"}
        Held.read(tmp_path / "case")


def test_an_interrupt_between_the_log_and_what_is_known_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C right after the line was written, and right before: either way the run ends, and the log is whole."""
    for after in (True, False):
        with new_case(tmp_path / f"case{after}") as case:
            append = case._lines.append

            def broken(line: bytes, after: bool = after, append: Callable[[bytes], None] = append) -> None:
                if after:
                    append(line)
                raise KeyboardInterrupt

            with monkeypatch.context() as patch:
                patch.setattr(case._lines, "append", broken)
                with pytest.raises(KeyboardInterrupt):
                    case.begin(BEGUN)
            case.stop("0001", "interrupted")
            case.append("noted", {"text": "on"})
        assert events(tmp_path / f"case{after}") == ["opened", *(["begun", "stopped"] if after else []), "noted"]
        Held.read(tmp_path / f"case{after}")


def test_a_full_disk_leaves_no_half_of_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with new_case(tmp_path / "case") as case:
        before = case.bytes_of_log()
        with monkeypatch.context() as patch:
            patch.setattr(lines.os, "fsync", full)
            with pytest.raises(InputError, match="No space left"):
                case.append("noted", {"text": "lost"})
        assert case.bytes_of_log() == before
        case.append("noted", {"text": "kept"})
    assert events(tmp_path / "case") == ["opened", "noted"]


@pytest.mark.parametrize("change", ["flip", "cut", "swap", "mark", "signer", "empty line"])
def test_a_case_that_was_changed_is_refused(change: str, tmp_path: Path) -> None:
    with new_case(tmp_path / "case") as case:
        for text in ("one", "two"):
            case.append("noted", {"text": text})
        keyid = case.signer.keyid
    log = tmp_path / "case" / "custody.jsonl"
    data = log.read_bytes()
    first, second, third = data.splitlines(keepends=True)
    changed = {"flip": data.replace(b'"sig":"', b'"sig":"A', 1), "cut": first + third, "swap": first + third + second,
               "empty line": data + b"\n"}  # fmt: skip
    if change in changed:
        log.write_bytes(changed[change])
    elif change == "mark":
        (tmp_path / "case" / "mark.json").write_bytes(b"{}")
    else:
        (tmp_path / "case" / "signers" / f"{keyid}.pem").write_bytes(b"none")
    before = log.read_bytes()
    with pytest.raises(ValueError):  # noqa: PT011
        Held.read(tmp_path / "case")
    with pytest.raises(ValueError):  # noqa: PT011
        Case(tmp_path / "case")
    assert log.read_bytes() == before


def test_a_clock_that_runs_behind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_case(tmp_path / "case").close()
    monkeypatch.setattr(module, "now", lambda: "2001-01-01T00:00:00Z")
    with pytest.raises(InputError, match="set the clock right"):
        Case(tmp_path / "case")
    assert events(tmp_path / "case") == ["opened"]


def test_a_clock_that_is_set_back_during_a_run_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with new_case(tmp_path / "case") as case:
        run = case.begin(BEGUN)
        monkeypatch.setattr(module, "now", lambda: "2001-01-01T00:00:00Z")
        run.stop("interrupted")
        one, two = case.log.entries[-2:]
    assert one.time == two.time
