"""What is there, and how it is cut into shards: units of work of about one size, the same whoever does them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from detect.readers.places import File, Kind, find, is_address, named_errors, reading
from watermark.errors import InputError

SHARD_BYTES = 64 << 20  # of text: half a minute on one core
LONG_TEXT = 16 << 20  # bytes of a text that is not held in memory as a whole
LONG_PACKED = 1 << 18  # of a compressed one, which may be a thousand times as long
MOST_PARTS = 10_000  # files in a shard
UNPACKED = 4  # bytes of text in a byte of a compressed file, roughly
_STAMPS = ("ETag", "etag", "md5", "mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True)
class Part:
    """What of one file a shard holds.

    Attributes:
        name: of the file, as people see it.
        path: where it lies; None: the input itself is the file, as its address may hold a secret.
        given: which of the inputs led to it.
        kind: of the file.
        size: of the file, bytes; None: not known.
        stamp: what changes when the file does.
        start, stop: of JSONL, the bytes in which its lines begin; of Parquet, its row groups. stop None: all of it.
        first: number of the first row, of Parquet.
        weight: bytes of text in it, roughly.
        prompts: whether it may hold prompts.
        is_long_text: whether it is one text, too long to be held.
    """

    name: str
    path: str | None = field(repr=False)
    given: int
    kind: Kind
    size: int | None
    stamp: str
    start: int = 0
    stop: int | None = None
    first: int = 1
    weight: int = 0
    prompts: bool = False
    is_long_text: bool = False

    def file(self, inputs: Sequence[str]) -> File:
        """The file.

        Args:
            inputs: as they were given to `plan`.
        """
        given = inputs[self.given]
        if not is_address(given):
            return File(str(self.path), self.name)
        if self.path is None:
            (file,) = find(given)
            return file
        import fsspec

        with named_errors(File(self.path, self.name, given)):
            return File(self.path, self.name, fsspec.core.url_to_fs(given)[0])

    @contextmanager
    def reading(self, inputs: Sequence[str]) -> Iterator[BinaryIO]:
        """The content of the file, uncompressed, as `detect.readers.places.reading`; the same when it ends as planned.

        Args:
            inputs: as they were given to `plan`.

        Raises:
            InputError: it cannot be read, or is not what it was when the job began.
        """
        file = self.file(inputs)
        self._refuse_changed(file)
        with reading(file) as handle:
            yield handle
        self._refuse_changed(file)

    def _refuse_changed(self, file: File) -> None:
        if _state(file) != (self.size, self.stamp):
            raise InputError(f"{self.name} changed since the job began; begin another on what it holds now")


@dataclass(frozen=True)
class Shard:
    """Parts of files, in order.

    Attributes:
        number: from 0.
    """

    number: int
    parts: tuple[Part, ...]

    @property
    def weight(self) -> int:
        """Bytes of text in it, roughly; at least 1."""
        return max(1, sum(part.weight for part in self.parts))

    @property
    def is_long_text(self) -> bool:
        """Whether it is one text, too long to be held."""
        return len(self.parts) == 1 and self.parts[0].is_long_text

    @property
    def may_hold_prompts(self) -> bool:
        return any(part.prompts for part in self.parts)

    @property
    def needs_survey(self) -> bool:
        """Whether its lines have to be numbered, or its prompts read, before it can be scored."""
        return self.may_hold_prompts or any(part.stop is not None and part.kind == "jsonl" for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Shard:
        """What `to_json` gave."""
        return cls(value["number"], tuple(Part(**part) for part in value["parts"]))


def plan(inputs: Sequence[str], shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """Cut what the inputs name into shards, in the order in which `read_rows` reads it.

    Large files of JSONL are cut by bytes, of Parquet by row groups. Compressed files and texts stay whole.

    Args:
        inputs: files, directories, globs, addresses; not standard input.
        shard_bytes: of text in a shard, about.

    Raises:
        InputError: nothing is there, or it cannot be looked at.
    """
    shards: list[Shard] = []
    held: list[Part] = []
    weight = 0

    def close() -> None:
        nonlocal weight
        if held:
            shards.append(Shard(len(shards), tuple(held)))
        held.clear()
        weight = 0

    for part in _parts(inputs, shard_bytes):
        if part.is_long_text:  # in a shard of its own
            close()
        held.append(part)
        weight += part.weight
        if weight >= shard_bytes or len(held) >= MOST_PARTS or part.is_long_text:
            close()
    close()
    return shards


def _parts(inputs: Sequence[str], shard_bytes: int) -> Iterator[Part]:
    if not inputs:
        raise InputError("nothing to read: give files, directories, globs or addresses")
    addresses: dict[str, str] = {}
    for given, path in enumerate(inputs):
        for file in find(path):
            if file.system is not None and addresses.setdefault(file.name, file.path) != file.path:
                raise InputError(
                    f"{file.name} is given twice, with other queries or passwords, which no result may show; give each "
                    "in a job of its own, or fetch them under other names"
                )
            yield from _cut(file, _whole(file, given), shard_bytes)


def _whole(file: File, given: int) -> Part:
    size, stamp = _state(file)
    path = os.path.abspath(file.path) if file.system is None else file.path  # noqa: PTH100 (symbolic links stay)
    if file.system is not None and "://" in file.path:  # of the web: the whole address, and what it may hold
        return Part(file.name, None, given, file.kind, size, stamp)
    return Part(file.name, path, given, file.kind, size, stamp)


def _state(file: File) -> tuple[int | None, str]:
    """Size, and what changes with the content."""
    with named_errors(file):
        if file.system is None:
            found = Path(file.path).stat()
            return found.st_size, str(found.st_mtime_ns)
        info = file.system.info(file.path)
        size = info.get("size")
        return None if size is None else int(size), str(next((info[name] for name in _STAMPS if name in info), ""))


def _cut(file: File, whole: Part, shard_bytes: int) -> Iterator[Part]:
    size = whole.size or 0
    if whole.kind == "parquet":
        yield from _row_groups(file, whole, shard_bytes)
        return
    is_rows = whole.kind == "jsonl"
    if not is_rows or file.compression is not None or size <= shard_bytes or not _can_seek(file):
        packed = file.compression is not None
        is_long = not is_rows and size >= (LONG_PACKED if packed else LONG_TEXT)
        yield replace(whole, weight=UNPACKED * size if packed else size, prompts=is_rows, is_long_text=is_long)
        return
    for start in range(0, size, shard_bytes):
        stop = min(start + shard_bytes, size)
        yield replace(whole, start=start, stop=stop, weight=stop - start, prompts=True)


def _can_seek(file: File) -> bool:
    """Whether a part can be read by itself; not every web server gives one."""
    with reading(file) as handle:
        return handle.seekable()


def _row_groups(file: File, whole: Part, shard_bytes: int) -> Iterator[Part]:
    from detect.readers.parquet import row_groups

    with reading(file) as handle:
        groups, prompts = row_groups(handle, file.name)
    if not sum(group.rows for group in groups):
        raise InputError(f"{file.name} holds no rows; leave it out")
    start, first, rows, weight = 0, 1, 0, 0
    for index, group in enumerate(groups, start=1):
        rows += group.rows
        weight += group.size
        if weight >= shard_bytes or index == len(groups):
            yield replace(whole, start=start, stop=index, first=first, weight=weight, prompts=prompts)
            start, first, rows, weight = index, first + rows, 0, 0
