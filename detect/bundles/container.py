"""A bundle as a directory or a zip archive: its files by name, read once, or the reason why it is refused.

What is refused here could hide something, fill the machine, or reach beyond the bundle when others unpack it.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from detect.bundles.refused import Refused
from detect.visible import one_line

REQUIRED = ("manifest.json", "custody.jsonl", "mark.json", "environment.json")
MOST_FILES = 10_000
LARGEST_FILE, LARGEST_BUNDLE = 1 << 30, 4 << 30  # bytes
LARGEST_RATIO = 200  # of a zip's entry: what it holds to what it takes
MOST_PARTS = 8
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_ZIP_FLAGS = 0b1000_0000_1110  # level of deflating (1, 2), sizes behind the data (3), names in UTF-8 (11)
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
_LEVEL = 6
_FIRST_ENTRY, _END, _END_SIZE = b"PK\x03\x04", b"PK\x05\x06", 22


def read_bundle(path: str | Path) -> dict[str, bytes]:
    """Every file of a bundle by its name, sorted; every byte is read once.

    Raises:
        Refused: "unreadable", "name", "twice", "link", "size", "zip" or "missing".
    """
    path = Path(path)
    try:
        files = dict(sorted(_from_directory(path) if path.is_dir() else _from_zip(path)))
    except OSError as error:
        raise Refused("unreadable", f"{path}: {error.strerror or 'input error'}") from None
    for name in REQUIRED:
        if name not in files:
            case = "custody.jsonl" in files and files.keys().isdisjoint({"manifest.json", "environment.json"})
            advice = "; this is a case: `taggant seal` makes a bundle of it" if case else ""
            raise Refused("missing", f"{name} is not there{advice}")
    return files


def is_name(name: str) -> bool:
    """Whether a file of a bundle may be called so."""
    parts = name.split("/")
    return len(parts) <= MOST_PARTS and all(_PART.fullmatch(part) for part in parts)


def check_name(name: str) -> str:
    """A file's name, if a bundle may have it (Refused: "name")."""
    if not is_name(name):
        raise Refused("name", f"{one_line(name, 120)} is no name that a bundle's file may have")
    return name


class Room:
    """What files may still come: their names once each, and their sizes."""

    def __init__(self, most: int | None = None) -> None:
        self._most = LARGEST_BUNDLE if most is None else most  # bytes
        self._names: set[str] = set()
        self._bytes = 0

    def take(self, name: str, size: int) -> None:
        """Raise Refused unless one more file of this name and size (bytes) fits in."""
        check_name(name)
        if name in self._names:
            raise Refused("twice", f"{name} is there twice")
        self._names.add(name)
        self._bytes += size
        if len(self._names) > MOST_FILES:
            raise Refused("size", f"more than {MOST_FILES:,} files")
        if size > LARGEST_FILE:
            raise Refused("size", f"{name} is larger than {LARGEST_FILE >> 30} GiB")
        if self._bytes > self._most:
            raise Refused("size", f"more than {self._most >> 30} GiB in all")


def write_zip(handle: IO[bytes], files: Mapping[str, bytes]) -> None:
    """Write files as an archive that is the same, byte for byte, for the same files."""
    with zipfile.ZipFile(handle, "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _FIRST_DAY)
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            info.compress_type = _method(files[name])
            archive.writestr(info, files[name], compresslevel=_LEVEL)


def _method(data: bytes) -> int:
    """Deflated, unless that would make less of it than a reader believes."""
    small = len(zlib.compress(data, _LEVEL)) * LARGEST_RATIO // 2
    return zipfile.ZIP_STORED if len(data) > small else zipfile.ZIP_DEFLATED


def _from_directory(root: Path) -> Iterator[tuple[str, bytes]]:
    room = Room()
    for name in _names_below(root, ""):
        path = root / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            if path.is_symlink():
                raise Refused("link", f"{one_line(name, 120)} is a symbolic link") from None
            raise
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Refused("link", f"{one_line(name, 120)} is no regular file")
            room.take(name, status.st_size)
            data = file.read(status.st_size + 1)
        if len(data) != status.st_size:
            raise Refused("unreadable", f"{name} changed while it was read")
        yield name, data


def _names_below(root: Path, prefix: str) -> Iterator[str]:
    """Everything below that is no directory, in order."""
    with os.scandir(root / prefix) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = f"{prefix}{entry.name}"
        if not entry.is_dir(follow_symlinks=False):
            yield name
            continue
        check_name(name)
        yield from _names_below(root, f"{name}/")


def read_archive(handle: IO[bytes], most: int | None = None) -> Iterator[tuple[str, bytes]]:
    """Every file of an archive, of at most `most` bytes in all, or as many as a bundle may have.

    Raises:
        Refused: as of a bundle; zipfile has many others for what is malformed.
    """
    _refuse_more_than_one_reading(handle)
    with zipfile.ZipFile(handle) as archive:
        yield from _entries(archive, most)


def _from_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as handle:
            if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
                raise Refused("unreadable", f"{path} is neither a directory nor a regular file")
            yield from read_archive(handle)
    except (Refused, OSError, MemoryError):
        raise
    except Exception as error:  # zipfile has many for what is malformed
        raise Refused("zip", f"{path} is no zip archive that can be read ({type(error).__name__})") from None


def _refuse_more_than_one_reading(handle: IO[bytes]) -> None:
    """An archive begins with its first entry and ends with its directory's end: nothing stands before or behind."""
    begins = handle.read(len(_FIRST_ENTRY))
    handle.seek(max(0, handle.seek(0, os.SEEK_END) - _END_SIZE))
    if begins != _FIRST_ENTRY or not handle.read().startswith(_END):
        raise Refused("zip", "not a zip archive from its first to its last byte")
    handle.seek(0)


def _entries(archive: zipfile.ZipFile, most: int | None) -> Iterator[tuple[str, bytes]]:
    room = Room(most)
    for info in archive.infolist():
        if info.is_dir() and not info.file_size:
            check_name(info.orig_filename.removesuffix("/"))
            continue
        name = info.orig_filename  # `filename` ends at a NUL
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):  # whatever system the entry says it was made on
            raise Refused("link", f"{one_line(name, 120)} is no regular file")
        room.take(name, info.file_size)
        if info.flag_bits & ~_ZIP_FLAGS:
            raise Refused("zip", f"{name} is encrypted, or packed in a way that is not read")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refused("zip", f"{name} is neither stored nor deflated")
        if info.file_size > LARGEST_RATIO * info.compress_size:
            raise Refused("size", f"{name} is more than {LARGEST_RATIO} times larger than what it is packed in")
        with archive.open(info) as file:
            data = file.read(info.file_size + 1)
        if len(data) != info.file_size:
            raise Refused("zip", f"{name} has another size than the archive says")
        yield name, data
