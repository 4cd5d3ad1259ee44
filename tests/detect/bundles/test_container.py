"""Bundles as directories and archives: read once, the same from either, and nothing else than plain files."""

from __future__ import annotations

import io
import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detect.bundles import container
from detect.bundles.container import REQUIRED, check_name, read_bundle, write_zip
from tests.detect.bundles.helpers import refused

FILES = {**dict.fromkeys(REQUIRED, b"{}"), "case/runs/0001/run.json": b"x" * 5000, "case/a.npz": bytes(100_000)}


def directory(root: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def archived(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with path.open("wb") as handle:
        write_zip(handle, files)
    return path


def test_both_forms_give_the_same_files(tmp_path: Path) -> None:
    for found in (read_bundle(directory(tmp_path / "d")), read_bundle(archived(tmp_path / "z.zip"))):
        assert found == FILES
        assert list(found) == sorted(FILES)


def test_an_archive_is_the_same_for_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = archived(tmp_path / "a.zip").read_bytes()
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    os.umask(os.umask(0o077))
    assert archived(tmp_path / "b.zip", dict(reversed(FILES.items()))).read_bytes() == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.namelist() == sorted(FILES)
        infos = archive.infolist()
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {info.external_attr >> 16 for info in infos} == {stat.S_IFREG | 0o644}
    # What deflates too well for a reader to believe is stored
    assert {info.filename: info.compress_type for info in infos}["case/a.npz"] == zipfile.ZIP_STORED
    assert all(info.file_size <= container.LARGEST_RATIO * info.compress_size for info in infos)


def test_empty_directories_are_ignored(tmp_path: Path) -> None:
    (directory(tmp_path / "d") / "case" / "empty").mkdir()
    assert read_bundle(tmp_path / "d") == FILES
    with zipfile.ZipFile(archived(tmp_path / "z.zip"), "a") as archive:
        archive.mkdir("case/empty")
    assert read_bundle(tmp_path / "z.zip") == FILES


@pytest.mark.parametrize("name", REQUIRED)
def test_what_every_bundle_has_must_be_there(name: str, tmp_path: Path) -> None:
    files = {one: data for one, data in FILES.items() if one != name}
    for path in (directory(tmp_path / "d", files), archived(tmp_path / "z.zip", files)):
        with refused("missing") as caught:
            read_bundle(path)
        assert name in str(caught.value)


@pytest.mark.parametrize("name", ["a", "a/b.c", "A-_.9/x", "/".join("abcdefgh"), "x" * 100, "a.."])
def test_names_that_may_be(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", ".hidden", "a/.b", "a b", "a\\b", "a:b", "é", "a\n", "a\0b",
     "x" * 101, "/".join("abcdefghi"), "~/a/*"],
)  # fmt: skip
def test_names_that_may_not(name: str) -> None:
    with refused("name") as caught:
        check_name(name)
    assert "\n" not in str(caught.value)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with refused("unreadable"):
        read_bundle(tmp_path / "none")
    (tmp_path / "text").write_text("no archive")
    with refused("zip"):
        read_bundle(tmp_path / "text")
    (tmp_path / "nothing").write_bytes(b"")
    with refused("zip"):
        read_bundle(tmp_path / "nothing")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "d").mkdir()
    with refused("missing"):
        read_bundle(tmp_path / "d")


def _link(root: Path) -> None:
    (root / "case" / "link.json").symlink_to(root / "mark.json")


def _directory_link(root: Path) -> None:
    (root / "case" / "more").symlink_to(root, target_is_directory=True)


def _broken_link(root: Path) -> None:
    (root / "case" / "link.json").symlink_to("nowhere")


def _fifo(root: Path) -> None:
    os.mkfifo(root / "case" / "fifo")


@pytest.mark.parametrize("put", [_link, _directory_link, _broken_link, _fifo])
def test_links_and_special_files_are_refused(put: Callable[[Path], None], tmp_path: Path) -> None:
    put(directory(tmp_path / "d"))
    with refused("link"):
        read_bundle(tmp_path / "d")


@pytest.mark.parametrize("name", [".hidden", "a b", "case/.git/config", "case/é"])
def test_odd_names_in_a_directory_are_refused(name: str, tmp_path: Path) -> None:
    with refused("name"):
        read_bundle(directory(tmp_path / "d", {**FILES, name: b""}))


def test_a_deep_directory_is_refused(tmp_path: Path) -> None:
    (directory(tmp_path / "d") / "/".join("abcdefghi")).mkdir(parents=True)
    with refused("name"):
        read_bundle(tmp_path / "d")


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [directory(tmp_path / "d"), archived(tmp_path / "z.zip")]
    total = sum(map(len, FILES.values()))
    for name, value in (("MOST_FILES", 5), ("LARGEST_FILE", 99_999), ("LARGEST_BUNDLE", total - 1)):
        with monkeypatch.context() as patch:
            patch.setattr(container, name, value)
            for path in paths:
                with refused("size"):
                    read_bundle(path)
            patch.setattr(container, name, value + 1)
            assert [read_bundle(path) for path in paths] == [FILES, FILES]


def entry(name: str, data: bytes = b"x", **changes: Any) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
    for member, value in changes.items():
        setattr(info, member, value)
    return info, data


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("code", "one"),
    [
        ("name", entry("../a")),
        ("name", entry("/a")),
        ("name", entry("a\\b")),
        ("name", entry(".a")),
        ("name", entry("a//")),
        ("twice", entry("mark.json", b"{}")),
        ("link", entry("a", external_attr=(stat.S_IFLNK | 0o777) << 16)),
        ("link", entry("a", external_attr=(stat.S_IFIFO | 0o644) << 16)),
        ("zip", entry("a", compress_type=zipfile.ZIP_BZIP2)),
        ("zip", entry("a", compress_type=zipfile.ZIP_LZMA)),
        ("size", entry("a", bytes(1 << 20), compress_type=zipfile.ZIP_DEFLATED)),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[0].filename),
)
def test_odd_entries_are_refused(code: str, one: tuple[zipfile.ZipInfo, bytes], tmp_path: Path) -> None:
    with zipfile.ZipFile(archived(tmp_path / "z.zip"), "a") as archive:
        archive.writestr(*one)
    with refused(code):
        read_bundle(tmp_path / "z.zip")


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def test_hidden_bytes_and_lies_are_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "z.zip", archived(tmp_path / "whole.zip", dict.fromkeys(REQUIRED, b"{}")).read_bytes()
    directory_at = whole.index(b"PK\x01\x02")
    name_in_local = whole.index(b"custody.jsonl")
    name_in_directory = whole.index(b"custody.jsonl", directory_at)
    variants = {
        "before": b"#!/bin/sh\n" + whole,
        "behind": whole + b"\n",
        "comment": whole[:-2] + b"\x01\x00x",
        "cut": whole[:-30],
        "encrypted": patched(whole, directory_at + 8, b"\x01"),
        "content": whole.replace(deflated(b"{}"), deflated(b"[]"), 1),
        "larger": patched(whole, directory_at + 24, b"\x03"),
        "smaller": patched(whole, directory_at + 24, b"\x01"),
        "local name": patched(whole, name_in_local, b"Custody"),
        "zero in name": patched(patched(whole, name_in_local + 4, b"\0"), name_in_directory + 4, b"\0"),
    }
    for name, data in variants.items():
        path.write_bytes(data)
        with pytest.raises(container.Refused) as caught:
            read_bundle(path)
        assert caught.value.code == ("name" if name == "zero in name" else "zip"), (name, caught.value)


def test_any_damage_to_an_archive_is_refused_or_harmless(tmp_path: Path) -> None:
    """Never a traceback, and never other content under the same names."""
    whole = archived(tmp_path / "whole.zip", dict.fromkeys(REQUIRED, b"{}")).read_bytes()
    path, right = tmp_path / "z.zip", read_bundle(tmp_path / "whole.zip")
    for at in range(len(whole)):
        path.write_bytes(patched(whole, at, bytes([whole[at] ^ 0x41])))
        try:
            found = read_bundle(path)
        except container.Refused:
            continue
        assert found == right
