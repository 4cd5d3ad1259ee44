"""A full disk: refused with exit 3, nothing half-written, and the same command goes on when there is room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.detect.cli.helpers import Cli, names, write_rows


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    yield directory
    subprocess.run(["umount", directory], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill all but `leave` pages of 4 KiB."""
    filler = disk / "filler"
    size = 0
    with filler.open("wb", buffering=0) as handle:
        while True:
            try:
                size += handle.write(b"\0" * 4096)
            except OSError:
                break
        handle.truncate(size - 4096 * leave)
    return filler


def test_keys_and_commitments(cli: Cli, disk: Path, key: Path) -> None:
    fill(disk)
    for command in (
        ["keygen", "-o", "OUT"],
        ["key", "derive", key, "--account", "a", "-o", "OUT"],
        ["key", "rotate", key, "-o", "OUT"],
        ["key", "commit", key, "-o", "OUT"],
        ["key", "commit", key, "-o", key.with_name("c"), "--leaves", "OUT"],
    ):
        result = cli(*(disk / "out" if part == "OUT" else part for part in command))
        result.refused(3, f"{disk / 'out'} cannot be written (No space left on device)", "free space")
        assert names(disk) == ["filler"]
        assert not key.with_name("c").exists()


def test_the_record_of_a_key_check(cli: Cli, disk: Path, key: Path, ids: Path) -> None:
    owner = disk / "owner.key"
    owner.write_bytes(key.read_bytes())
    owner.chmod(0o600)
    filler = fill(disk)
    cli("key", "check", owner, ids).refused(3, "owner.key.check.json cannot be written (No space left on device)")
    assert names(disk) == ["filler", "owner.key"]
    filler.unlink()
    assert cli("key", "check", owner, ids).code in (0, 5)


def test_the_highlighted_page(cli: Cli, disk: Path, key: Path, ids: Path) -> None:
    fill(disk)
    result = cli("detect", "--key", key, ids, "--highlight", disk / "page.html")
    result.refused(3, "page.html", "No space left on device")
    assert names(disk) == ["filler"]


def test_generation_goes_on_when_there_is_room(cli: Cli, disk: Path, model: Path, tmp_path: Path) -> None:
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt_ids": [5]}])

    def command(out: Path) -> list[object]:
        sampling = ["--samples", 40, "--max-new-tokens", 60, "--batch-size", 4]
        return ["generate", "--model", model, "--no-mark", "--prompts", prompts, "-o", out, *sampling]

    filler = fill(disk)
    cli(*command(disk / "out")).refused(3, ".out.journal cannot be written (No space left on device)")
    assert names(disk) == ["filler"]
    filler.unlink()
    filler = fill(disk, leave=1)
    cli(*command(disk / "out")).refused(3, ".out.journal cannot be written (No space left on device)")
    assert names(disk) == [".out.journal", "filler"]
    assert (disk / ".out.journal").read_bytes().endswith(b"\n")
    filler.unlink()
    result = cli(*command(disk / "out"))
    assert result.code == 0
    assert "answers are there already; going on" in result.err
    assert names(disk) == ["out"]
    assert cli(*command(tmp_path / "whole")).code == 0
    assert (disk / "out").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_result_that_does_not_fit_keeps_the_answers(cli: Cli, disk: Path, model: Path, tmp_path: Path) -> None:
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt_ids": [5]}])
    command = ["generate", "--model", model, "--no-mark", "--prompts", prompts, "-o", disk / "out", "--samples", 4]
    filler = fill(disk, leave=1)
    cli(*command, "--max-new-tokens", 200).refused(
        3, f"{disk / 'out'} cannot be written", "the same command then goes on"
    )
    assert names(disk) == [".out.journal", "filler"]
    filler.unlink()
    result = cli(*command, "--max-new-tokens", 200)
    assert "4 of 4 answers are there already" in result.err
    assert names(disk) == ["out"]
