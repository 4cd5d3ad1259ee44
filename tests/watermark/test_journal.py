"""The journal: what was recorded is there again, whatever ended the run; nobody else's work is taken for ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from watermark import lines
from watermark.errors import InputError
from watermark.journal import Journal

WORK = {"seed": 1, "prompts": [[1, 2], [3]]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".out.journal"


def recorded(path: Path, *entries: Any, work: Any = WORK) -> bytes:
    with Journal(path, work) as journal:
        for entry in entries:
            journal.append(entry)
    return path.read_bytes()


def test_entries_come_back_in_order(path: Path) -> None:
    recorded(path, [1, 2], {"a": None})
    recorded(path, "third")
    with Journal(path, WORK) as journal:
        assert journal.entries == [[1, 2], {"a": None}, "third"]


def test_one_json_value_a_line_the_work_first(path: Path) -> None:
    data = recorded(path, [1], "é\n")
    first = {"format": "taggant-journal/1", "work": WORK}
    assert [json.loads(line) for line in data.splitlines()] == [first, [1], "é\n"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert data.endswith(b"\n")


def test_an_entry_is_on_disk_when_append_returns(path: Path) -> None:
    journal = Journal(path, WORK)
    journal.append([1, 2, 3])
    assert path.read_bytes().endswith(b"[1, 2, 3]\n")
    journal.close()


@pytest.mark.parametrize("other", [{"seed": 2}, {**WORK, "seed": 2}, None, [], "x"], ids=str)
def test_a_journal_of_other_work_is_thrown_away(other: Any, path: Path) -> None:
    recorded(path, [1], [2])
    with Journal(path, other) as journal:
        assert journal.entries == []
        journal.append("new")
    first, entry = map(json.loads, path.read_bytes().splitlines())
    assert (first["work"], entry) == (other, "new")


def test_tuples_and_the_order_of_members_are_the_same_work(path: Path) -> None:
    recorded(path, "kept")
    with Journal(path, {"prompts": ((1, 2), (3,)), "seed": 1}) as journal:
        assert journal.entries == ["kept"]


def test_cut_anywhere_the_whole_lines_survive_and_work_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a power cut or SIGKILL in the middle of a write: every length the file can have."""
    monkeypatch.setattr(lines.os, "fsync", lambda _: None)
    entries: list[Any] = [[5, 6], [], {"text": "é"}]
    whole = recorded(path, *entries)
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        survived = max(0, whole[:cut].count(b"\n") - 1)
        with Journal(path, WORK) as journal:
            assert journal.entries == entries[:survived]
            for entry in entries[survived:]:
                journal.append(entry)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("tail", [b"{broken\n", b"\xff\n", b'{"a": 1, "a": 2}\n', b"NaN\n", b"\n"], ids=str)
def test_a_damaged_line_and_what_follows_it_is_dropped(tail: bytes, path: Path) -> None:
    whole = recorded(path, [1])
    path.write_bytes(whole + tail + b"[2]\n")
    with Journal(path, WORK) as journal:
        assert journal.entries == [[1]]
        journal.append([3])
    assert path.read_bytes() == whole + b"[3]\n"


@pytest.mark.parametrize(
    "data",
    [bytes(100), b"dear diary", b'{"seed": 1}\n', b'{"format": "taggant-key/1", "secret": 1}\n', b"\n"],
    ids=repr,
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    with pytest.raises(InputError, match="not a journal of earlier work; move it away") as caught:
        Journal(path, WORK)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == data


@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_is_refused_and_its_target_left_alone(there: bool, path: Path, tmp_path: Path) -> None:
    target = tmp_path / "exhibit"
    if there:
        recorded(target, "precious", work="other")  # even where it is a journal itself
    before = target.read_bytes() if there else None
    path.symlink_to(target)
    with pytest.raises(InputError, match="is a symbolic link, which is not followed; remove it"):
        Journal(path, WORK)
    assert path.is_symlink()
    assert (target.read_bytes() if target.exists() else None) == before


def test_only_a_plain_file_of_this_user_is_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(path)
    with pytest.raises(InputError, match="not a regular file of this user"):
        Journal(path, WORK)
    path.unlink()
    recorded(path, [1])
    monkeypatch.setattr(lines.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(InputError, match="not a regular file of this user"):
        Journal(path, WORK)


def test_a_journal_without_entries_goes_when_it_is_closed(path: Path) -> None:
    Journal(path, WORK).close()
    assert not path.exists()
    with pytest.raises(KeyboardInterrupt), Journal(path, WORK):
        raise KeyboardInterrupt
    assert not path.exists()


def test_an_entry_written_just_before_an_interrupt_is_kept(path: Path) -> None:
    """Ctrl-C may come between the write and the list that mirrors it."""
    journal = Journal(path, WORK)
    journal._write([1])
    journal.close()
    with Journal(path, WORK) as journal:
        assert journal.entries == [[1]]


def test_closing_twice_and_removing(path: Path) -> None:
    journal = Journal(path, WORK)
    journal.append(1)
    journal.close()
    journal.close()
    assert path.exists()
    journal.remove()
    journal.close()
    assert not path.exists()


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1, 2}, object(), b"x"], ids=lambda value: type(value).__name__
)
def test_what_is_no_json_is_refused_and_leaves_nothing(value: Any, path: Path) -> None:
    with pytest.raises((ValueError, TypeError)):
        Journal(path, value)
    assert not path.exists()
    with Journal(path, WORK) as journal:
        journal.append(1)
        with pytest.raises((ValueError, TypeError)):
            journal.append(value)
    assert len(path.read_bytes().splitlines()) == 2


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none" / "j"):
        with pytest.raises(InputError, match=f"{place} cannot be written"):
            Journal(place, WORK)


def test_a_line_that_could_not_be_written_whole_is_taken_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(path, WORK)
    journal.append("first")
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(lines.os, "fsync", full)
        with pytest.raises(InputError, match=r"cannot be written \(No space left on device\); free space"):
            journal.append("second")
    assert path.read_bytes() == before
    journal.append("third")
    journal.close()
    with Journal(path, WORK) as again:
        assert again.entries == ["first", "third"]


def test_one_process_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "WAIT_SECONDS", 0.1)
    holder = Journal(path, WORK)
    holder.append(1)
    with pytest.raises(InputError, match="another process is at this work; wait until it has ended"):
        Journal(path, WORK)
    with pytest.raises(InputError, match="another process"):
        Journal(path, "other work")
    holder.append(2)
    holder.close()
    with Journal(path, WORK) as journal:
        assert journal.entries == [1, 2]


def test_a_process_that_was_killed_lets_go(path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom watermark.journal import Journal\n"
        f"journal = Journal(Path({str(path)!r}), {WORK!r})\n"
        "journal.append([1])\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with Journal(path, WORK) as journal:
        assert journal.entries == [[1]]


def test_a_file_system_without_locks_is_no_obstacle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lines.fcntl, "flock", unsupported)
    recorded(path, 1)
    with Journal(path, WORK) as journal:
        assert journal.entries == [1]


# A journal that is evidence


def test_evidence_of_other_work_is_kept(path: Path) -> None:
    data = recorded(path, [1])
    for other in ({"seed": 2}, None):
        with pytest.raises(InputError, match="recorded of other work, and is kept; choose another place"):
            Journal(path, other, evidence=True)
        assert path.read_bytes() == data
    with Journal(path, WORK, evidence=True) as journal:
        assert journal.entries == [[1]]


@pytest.mark.parametrize("tail", [b"{broken\n", b"\xff\n", b"\n", b"{broken\n[2]\n"], ids=str)
def test_evidence_with_a_damaged_line_is_refused_and_kept(tail: bytes, path: Path) -> None:
    data = recorded(path, [1]) + tail
    path.write_bytes(data)
    with pytest.raises(InputError, match=r": line 3 is damaged; restore the file"):
        Journal(path, WORK, evidence=True)
    assert path.read_bytes() == data


def test_evidence_that_holds_nothing_yet_gives_way(path: Path) -> None:
    for beginning in (b"", recorded(path, [1]).splitlines(keepends=True)[0]):
        path.write_bytes(beginning)
        with Journal(path, "other", evidence=True) as journal:
            journal.append("new")
        assert json.loads(path.read_bytes().splitlines()[0])["work"] == "other"


def test_evidence_is_cut_only_where_a_line_was_cut_short(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines.os, "fsync", lambda _: None)
    whole = recorded(path, [5, 6], {"text": "é"})
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        with Journal(path, WORK, evidence=True) as journal:
            assert len(journal.entries) == max(0, whole[:cut].count(b"\n") - 1)
            for entry in [[5, 6], {"text": "é"}][len(journal.entries) :]:
                journal.append(entry)
        assert path.read_bytes() == whole
