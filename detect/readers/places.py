"""Where material lies: paths, globs and addresses of remote storage → files that can be opened, in a fixed order."""

from __future__ import annotations

import glob
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from detect.visible import one_line
from watermark.errors import InputError

Kind = Literal["jsonl", "parquet", "text"]

JSONL_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_SUFFIX = ".parquet"
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_WEB = ("http", "https")
_BUFFER = 1 << 20  # bytes


@dataclass(frozen=True)
class File:
    """One file, here or in remote storage.

    Attributes:
        path: local, or as its file system names it.
        name: as messages and default ids show it: whole, hidden characters spelled out, no password and no query.
        system: an fsspec file system; None: this machine's own.
    """

    path: str = field(repr=False)
    name: str
    system: Any = field(default=None, repr=False)

    @property
    def kind(self) -> Kind:
        """By its suffix, that of a compression aside."""
        plain = self.name.removesuffix(PurePosixPath(self.name).suffix) if self.compression else self.name
        suffix = PurePosixPath(plain).suffix.lower()
        if suffix == PARQUET_SUFFIX:
            return "parquet"
        return "jsonl" if suffix in JSONL_SUFFIXES else "text"

    @property
    def compression(self) -> str | None:
        """ "gzip", "zstd" or None, by its suffix."""
        return COMPRESSIONS.get(PurePosixPath(self.name).suffix.lower())

    @property
    def base(self) -> str:
        """The last part of its name."""
        return PurePosixPath(self.name).name

    def open(self) -> BinaryIO:
        """Its bytes, as they are stored.

        Raises:
            OSError, and whatever a file system raises: see `reading`.
        """
        if self.system is None:
            return Path(self.path).open("rb")
        return io.BufferedReader(self.system.open(self.path, "rb"), _BUFFER)


_LONGEST = 1 << 16  # characters of a name: all of it


@contextmanager
def reading(file: File) -> Iterator[BinaryIO]:
    """The content of a file, uncompressed; what goes wrong in the block becomes one line that names it.

    Raises:
        InputError: it is not there, cannot be read, or is damaged.
    """
    with named_errors(file), file.open() as stored:
        if file.compression is None:
            yield stored
            return
        if file.kind == "parquet":
            raise InputError(f"{file.name}: Parquet is compressed inside; unpack the file, or write it again")
        from detect.arrow import pa

        with io.BufferedReader(pa.CompressedInputStream(stored, file.compression), _BUFFER) as unpacked:
            yield unpacked


@contextmanager
def named_errors(file: File) -> Iterator[None]:
    """What a file system raises in the block becomes one line. A remote one's own words may hold a signed address."""
    try:
        yield
        return
    except (InputError, MemoryError):
        raise
    except OSError as error:
        problem = unreadable(error, file.name, said=file.system is None)
    except Exception as error:  # a remote file system's client raises its own
        if file.system is None:
            raise
        problem = InputError(f"{file.name} cannot be read ({type(error).__name__}); check address, rights and network")
    raise problem from None


def unreadable(error: OSError, name: str, *, said: bool = True) -> InputError:
    """What is told of a file that cannot be read.

    Args:
        said: the error's own words may be repeated.
    """
    if isinstance(error, FileNotFoundError):
        return InputError(f"{name} does not exist; check the path")
    reason = error.strerror or (one_line(error) if said else type(error).__name__)
    return InputError(f"{name} cannot be read ({reason}); check the path and its permissions")


def shown(path: str | Path) -> str:
    """A path as messages and default ids show it: whole, but hidden characters and undecodable bytes spelled out."""
    return one_line(path, limit=_LONGEST)


def is_address(path: str | Path) -> bool:
    """Whether this names something in remote storage ("s3://…", "hf://…", "https://…")."""
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def find(path: str | Path) -> list[File]:
    """The file itself; of a directory all files below it, of a glob what it names: sorted, without hidden ones.

    Raises:
        InputError: nothing is there, or it cannot be looked at.
    """
    if is_address(path):
        return _remote(str(path))
    local = Path(path)
    if not glob.has_magic(str(path)) or local.exists():
        return [File(str(one), shown(one)) for one in _below(local)]
    found = [Path(one) for one in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 (absolute patterns, too)
    files = sorted({file for one in found for file in _below(one, empty_ok=True)}, key=lambda file: file.parts)
    if not files:
        raise InputError(f"{shown(path)}: no file has such a name; check the pattern")
    return [File(str(one), shown(one)) for one in files]


def _below(path: Path, *, empty_ok: bool = False) -> list[Path]:
    """The path itself, or every regular file below it, sorted by path."""
    try:
        if not path.is_dir():
            return [path]
        found = []
        for folder, folders, names in os.walk(path, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [Path(folder, name) for name in names if not name.startswith(".")]
        files = sorted((file for file in found if file.is_file()), key=lambda file: file.parts)
    except OSError as error:
        raise unreadable(error, shown(error.filename or path)) from None
    if not files and not empty_ok:
        raise InputError(f"{shown(path)} holds no files to read (hidden ones are left out); give another directory")
    return files


def _raise(error: OSError) -> None:
    raise error


def _remote(address: str) -> list[File]:
    name = without_secrets(address)
    with named_errors(File(address, name, address)):
        system, path = _system(address, name)
        if glob.has_magic(path) and not _is_web(system):
            found = sorted(one for one in system.glob(path) if not system.isdir(one))
            if not found:
                raise InputError(f"{name}: no file has such a name; check the pattern")
        elif not _is_web(system) and system.isdir(path):
            base = len(PurePosixPath(path).parts)
            found = sorted(one for one in system.find(path) if not _is_hidden(PurePosixPath(one).parts[base:]))
            if not found:
                raise InputError(f"{name} holds no files to read (hidden ones are left out); give another directory")
        else:
            return [File(path, name, system)]
        return [File(one, without_secrets(system.unstrip_protocol(one)), system) for one in found]


def _system(address: str, name: str) -> tuple[Any, str]:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError:
        protocol = name.partition("://")[0]
        raise InputError(
            f"{name}: {protocol}:// needs a package that is not installed; pip install 'taggant[remote]'"
        ) from None
    except ValueError:
        raise InputError(f"{name}: no file system is known by that name; check the address") from None
    return system, str(path)


def _is_web(system: Any) -> bool:
    """Whether these are web pages: there are no directories, and ? and * are parts of an address."""
    protocols = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
    return any(one in _WEB for one in protocols)


def _is_hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") for part in parts)


def without_secrets(address: str) -> str:
    """An address without user and password, and without a query on the web: signatures and tokens stand there."""
    links = []
    for link in address.split("::"):  # a chain, as fsspec has them
        protocol, separator, rest = link.partition("://")
        authority, slash, path = rest.partition("/")
        if protocol.lower() in _WEB:
            path = re.split(r"[?#]", path, maxsplit=1)[0]
        links.append(f"{protocol}{separator}{authority.rpartition('@')[2]}{slash}{path}")
    return shown("::".join(links))
