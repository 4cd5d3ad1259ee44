"""Writing is whole or not at all, never over something that exists; reading JSON refuses what could mean two things."""

# ruff: noqa: PT012 (what happens inside the block of a context manager is what these tests are about)

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watermark import files
from watermark.errors import InputError
from watermark.files import new_directory, new_file, refuse_existing, strict_json, write_json


class Interrupted(BaseException):
    """Like KeyboardInterrupt, but pytest doesn't stop for it."""


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# --- new_file ---


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
@pytest.mark.parametrize("umask", [0, 0o077])
def test_the_file_has_its_bytes_and_its_mode(tmp_path: Path, mode: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        with new_file(tmp_path / "a", mode=mode) as handle:
            handle.write(b"bytes\x00\n")
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == b"bytes\x00\n"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode & ~umask
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("proc", [True, False], ids=["proc", "no proc"])
@pytest.mark.parametrize("umask", [0, 0o022, 0o027, 0o077, 0o777])
def test_the_umask_takes_from_group_and_others_and_is_left_as_it_was(
    tmp_path: Path, umask: int, proc: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not proc:
        monkeypatch.setattr(files, "Path", lambda path: Path("/none") if str(path).startswith("/proc") else Path(path))
    before = os.umask(umask)
    try:
        with new_directory(tmp_path / "d") as directory:
            seen = stat.S_IMODE(directory.stat().st_mode)
        write_json(tmp_path / "f", 1)
        write_json(tmp_path / "private", 1, mode=0o600)
    finally:
        assert os.umask(before) == umask
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)}
    assert modes == {"d": 0o755 & ~(umask & 0o077), "f": 0o644 & ~(umask & 0o077), "private": 0o600}
    assert seen == modes["d"]


def test_until_the_block_ends_nothing_has_the_name_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    with new_file(tmp_path / "a") as handle:
        handle.write(b"secret")
        handle.flush()
        (temporary,) = tmp_path.iterdir()
        assert temporary.name != "a"
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600


@pytest.mark.parametrize("failure", [ValueError("x"), OSError("y"), Interrupted()], ids=repr)
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_left_after_an_exception(tmp_path: Path, failure: BaseException, overwrite: bool) -> None:
    if overwrite:
        (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(type(failure)), new_file(tmp_path / "a", overwrite=overwrite) as handle:
        handle.write(b"half")
        raise failure
    assert names(tmp_path) == (["a"] if overwrite else [])
    if overwrite:
        assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("what", ["file", "directory", "link", "dangling link"])
def test_what_exists_is_refused_before_any_work(tmp_path: Path, what: str) -> None:
    target, path = tmp_path / "target", tmp_path / "a"
    if what == "directory":
        path.mkdir()
    elif what == "file":
        path.write_bytes(b"old")
    else:
        path.symlink_to(target)
        if what == "link":
            target.write_bytes(b"old")
    before = names(tmp_path)
    with pytest.raises(InputError, match="already exists"), new_file(path):
        pytest.fail("the block ran")
    with pytest.raises(InputError, match="already exists"):
        refuse_existing(path)
    assert names(tmp_path) == before
    assert not target.exists() or target.read_bytes() == b"old"


WAYS = ["rename", "hard link", "neither"]  # how a file gets its name, where another file must not lose it


def _only_way(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play a system that knows no better way than `way`."""
    if way != "rename":
        monkeypatch.setattr(files, "_rename_no_replace", lambda *_: False)
    if way == "neither":
        monkeypatch.setattr(os, "link", _no_link)


@pytest.mark.parametrize("what", ["file", "dangling link"])
@pytest.mark.parametrize("way", WAYS)
def test_what_appears_meanwhile_is_never_replaced(
    tmp_path: Path, what: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only_way(way, monkeypatch)
    path, elsewhere = tmp_path / "a", tmp_path / "elsewhere"
    with pytest.raises(InputError, match="already exists"), new_file(path) as handle:
        handle.write(b"mine")
        if what == "file":
            subprocess.run([sys.executable, "-c", f"open({str(path)!r}, 'x').write('theirs')"], check=True)
        else:
            path.symlink_to(elsewhere)
    assert names(tmp_path) == ["a"]
    assert not elsewhere.exists()
    assert path.is_symlink() or path.read_text() == "theirs"


def _no_link(*_: object, **__: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_name_a_file(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _only_way(way, monkeypatch)
    with new_file(tmp_path / "a", mode=0o600) as handle:
        handle.write(b"x")
    assert (tmp_path / "a").read_bytes() == b"x"
    assert names(tmp_path) == ["a"]


def test_a_file_never_has_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between two names would leave a secret under the hidden one."""
    monkeypatch.setattr(os, "link", lambda *_: pytest.fail("a second name"))
    write_json(tmp_path / "a", 1)
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_a_system_that_cannot_rename_exclusively_says_so(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Library:
        def renameat2(self, *_: object) -> int:
            return -1

    monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: Library())
    monkeypatch.setattr(files.ctypes, "get_errno", lambda: number)
    assert not files._rename_no_replace(str(tmp_path / "a"), tmp_path / "b")
    monkeypatch.setattr(files.ctypes, "get_errno", lambda: errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        files._rename_no_replace(str(tmp_path / "a"), tmp_path / "b")


@pytest.mark.parametrize("way", ["_rename_no_replace", "link"])
def test_another_failure_to_name_the_file_is_told(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if way == "link":
        _only_way("hard link", monkeypatch)
    monkeypatch.setattr(os if way == "link" else files, way, no_space)
    with pytest.raises(OSError, match="No space"), new_file(tmp_path / "a") as handle:
        handle.write(b"x")
    assert names(tmp_path) == []


def test_overwriting_replaces_a_link_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "a").symlink_to(tmp_path / "target")
    with new_file(tmp_path / "a", overwrite=True) as handle:
        handle.write(b"new")
    assert (tmp_path / "target").read_bytes() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"
    assert not (tmp_path / "a").is_symlink()


def test_a_missing_parent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a directory"), new_file(tmp_path / "no" / "a"):
        pytest.fail("the block ran")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["fsync", "fchmod"])
def test_a_disk_that_fails_at_the_end_leaves_nothing(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, name, fails)
    with pytest.raises(OSError, match="No space"), new_file(tmp_path / "a") as handle:
        handle.write(b"x")
    assert names(tmp_path) == []


# --- a disk that is really full ---


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small file system here; the failing fsync above stands in for it")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_no_file(full_disk: Path) -> None:
    with pytest.raises(OSError, match="No space"), new_file(full_disk / "a") as handle:
        handle.write(bytes(200_000))
    with pytest.raises(OSError, match="No space"):
        write_json(full_disk / "b", ["x" * 200_000])
    assert names(full_disk) == []
    write_json(full_disk / "c", [1])
    assert names(full_disk) == ["c"]


def test_a_full_disk_leaves_no_directory(full_disk: Path) -> None:
    with pytest.raises(OSError, match="No space"), new_directory(full_disk / "d" / "e") as directory:
        (directory / "fits").write_bytes(bytes(1000))
        (directory / "too much").write_bytes(bytes(200_000))
    assert names(full_disk) == []


# --- new_directory ---


def test_a_directory_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "d"
    with new_directory(path) as directory:
        assert not path.exists()
        (directory / "sub").mkdir()
        (directory / "sub" / "file").write_text("x")
        (directory / "dangling").symlink_to("nowhere")
    assert (path / "sub" / "file").read_text() == "x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert names(path.parent) == ["d"]


def test_an_empty_directory_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with new_directory(tmp_path / "d") as directory:
        (directory / "file").write_text("x")
    assert names(tmp_path / "d") == ["file"]


@pytest.mark.parametrize("what", ["full directory", "file", "link to empty directory"])
def test_a_path_that_is_taken_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "d"
    if what == "file":
        path.write_text("old")
    elif what == "full directory":
        path.mkdir()
        (path / "old").write_text("old")
    else:
        (tmp_path / "empty").mkdir()
        path.symlink_to(tmp_path / "empty")
    before = names(tmp_path)
    with pytest.raises(InputError, match="already exists"), new_directory(path):
        pytest.fail("the block ran")
    assert names(tmp_path) == before


@pytest.mark.parametrize("failure", [ValueError("x"), Interrupted()], ids=repr)
def test_nothing_is_left_of_a_failed_directory(tmp_path: Path, failure: BaseException) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(type(failure)), new_directory(tmp_path / "kept" / "new" / "deep" / "d") as directory:
        (directory / "file").write_text("x")
        raise failure
    assert names(tmp_path) == ["kept"]
    assert names(tmp_path / "kept") == []


def test_a_parent_that_someone_else_uses_by_now_stays(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), new_directory(tmp_path / "p" / "q" / "d"):
        (tmp_path / "p" / "theirs").write_text("x")
        raise ValueError("x")
    assert names(tmp_path / "p") == ["theirs"]


def test_a_directory_that_was_filled_meanwhile_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not empty"), new_directory(tmp_path / "d") as directory:
        (directory / "mine").write_text("x")
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "theirs").write_text("x")
    assert names(tmp_path) == ["d"]
    assert names(tmp_path / "d") == ["theirs"]


def test_everything_is_synced_before_the_directory_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    sync = files._sync
    monkeypatch.setattr(
        files, "_sync", lambda path: (synced.append((path.name, (tmp_path / "d").exists())), sync(path))
    )
    with new_directory(tmp_path / "d") as directory:
        (directory / "sub").mkdir()
        (directory / "sub" / "file").write_text("x")
        own = directory.name
    assert sorted(synced[:-1]) == sorted([(own, False), ("sub", False), ("file", False)])
    assert synced[-1] == (tmp_path.name, True)


# --- SIGKILL ---


@pytest.mark.parametrize(
    "block",
    [
        "with new_file(path) as out:\n    out.write(b'half'); out.flush(); wait()",
        "with new_directory(path) as out:\n    (out / 'file').write_text('half'); wait()",
        "files.os.fsync = lambda _: wait()\nwrite_json(path, [1])",
    ],
    ids=["new_file", "new_directory", "while syncing"],
)
def test_sigkill_in_the_middle_leaves_nothing_under_the_name(tmp_path: Path, block: str) -> None:
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from watermark import files
        from watermark.files import new_directory, new_file, write_json
        def wait():
            print("now", flush=True)
            time.sleep(60)
        path = Path(sys.argv[1])
    """)
    command = [sys.executable, "-c", program + block, str(tmp_path / "result")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert len(names(tmp_path)) == 1  # the temporary one: it was in the middle
    assert not (tmp_path / "result").exists()
    write_json(tmp_path / "result", [2])
    assert json.loads((tmp_path / "result").read_text()) == [2]
    if "new_directory" not in block:
        assert names(tmp_path) == ["result"]  # the leftover is swept


def test_a_kill_after_a_hard_link_leaves_nothing_that_stays(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from watermark import files
link = os.link
def link_and_die(*names):
    link(*names)
    os.kill(os.getpid(), signal.SIGKILL)
files._rename_no_replace = lambda *_: False
os.link = link_and_die
files.write_json(Path(sys.argv[1]), "secret", mode=0o600)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    with pytest.raises(InputError, match="already exists"):
        write_json(tmp_path / "a", 1)
    assert names(tmp_path) == ["a"]
    assert json.loads((tmp_path / "a").read_text()) == "secret"


def test_only_leftovers_of_the_same_file_are_swept(tmp_path: Path) -> None:
    leftover = tmp_path / ".a.abcd_123.tmp"
    others = [".a.b.abcd1234.tmp", ".a.abcd1234.tmp.x", ".a.notes.tmp", ".b.abcd1234.tmp", ".axabcd1234.tmp", "a.tmp"]
    for name in (leftover.name, *others):
        (tmp_path / name).write_text("x")
    (tmp_path / ".a.directry.tmp").mkdir()
    (tmp_path / ".a.somelink.tmp").symlink_to(tmp_path / "a.tmp")
    write_json(tmp_path / "a", 1)
    assert names(tmp_path) == sorted([*others, "a", ".a.directry.tmp", ".a.somelink.tmp"])


def test_a_file_that_another_process_is_writing_is_not_swept(tmp_path: Path) -> None:
    program = """
import sys
from watermark.files import new_file
with new_file(sys.argv[1]) as handle:
    handle.write(b"theirs")
    print("now", flush=True)
    sys.stdin.readline()
"""
    command = [sys.executable, "-c", program, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "now\n"
        with pytest.raises(ZeroDivisionError), new_file(tmp_path / "a"):
            assert len(names(tmp_path)) == 2
            raise ZeroDivisionError
        other.communicate("\n")
        assert other.returncode == 0
    assert (tmp_path / "a").read_bytes() == b"theirs"


def test_one_that_was_swept_before_it_was_locked_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, calls = files.fcntl.flock, []

    def swept(descriptor: int, how: int) -> None:
        if not calls:
            next(tmp_path.iterdir()).unlink()
        calls.append(how)
        flock(descriptor, how)

    monkeypatch.setattr(files.fcntl, "flock", swept)
    write_json(tmp_path / "a", 1)
    assert len(calls) == 2
    assert names(tmp_path) == ["a"]


# --- JSON ---


def test_json_is_written_readably(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"δ": 2.0, "ids": [1]})
    assert (tmp_path / "a").read_text(encoding="utf-8") == '{\n  "δ": 2.0,\n  "ids": [\n    1\n  ]\n}\n'
    write_json(tmp_path / "a", 5, overwrite=True, mode=0o600)
    assert (tmp_path / "a").read_text() == "5\n"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"x": object()}, {1, 2}, "\ud800"])
def test_what_is_not_json_is_not_written(tmp_path: Path, value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a", value)
    assert names(tmp_path) == []


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_strict_json_reads_what_json_is(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert strict_json(text) == value
    assert strict_json(json.dumps(value)) == value
    if "\\ud" not in json.dumps(value):
        assert strict_json(text.encode()) == value
        assert strict_json(bytearray(text.encode())) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "names a member twice"),
        ('[{"b": {"a": 1, "\\u0061": 2}}]', "names a member twice"),
        ("[NaN]", "NaN"),
        ("-Infinity", "-Infinity"),
        ("[1e999]", "too large"),
        ("-1e999", "too large"),
        ("1" * 4301, "too many digits"),
        ('{"a": -' + "9" * 100_000 + "}", "too many digits"),
        ("[" * 100_000, "nested too deeply"),
        ('{"secret": "abc', "not JSON: Unterminated string starting at line 1, column 12"),
        ("", "not JSON: Expecting value at line 1, column 1"),
        ("[1] x", "Extra data"),
        ("\ufeff[1]", "BOM"),
        (b"\xff\xfe[\x00]\x00", "not UTF-8 at byte 0"),
        ('["secret"]'.encode("utf-16-le"), "not JSON"),
        ('["secret"]'.encode("utf-32"), "not UTF-8 at byte 0"),
        (b'["\xe9"]', "not UTF-8 at byte 2"),
        (b"\xef\xbb\xbf[1]", "BOM"),
    ],
    ids=range(18),
)
def test_strict_json_refuses(text: str | bytes, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        strict_json(text)
    message = str(caught.value)
    assert reason in message
    assert "\n" not in message
    assert len(message) < 100
    assert "secret" not in message.lower()
    assert caught.value.__cause__ is None


def test_an_integer_of_4300_digits_is_still_one() -> None:
    assert strict_json("1" * 4300) == int("1" * 4300)
