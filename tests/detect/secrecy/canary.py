"""Looking for a secret: in every spelling that a program would write it in, and in every file, also packed ones."""

from __future__ import annotations

import base64
import gzip
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path


def spellings(secret: bytes) -> set[bytes]:
    """The bytes, in hex, in base64 at each of its three alignments, and hex in base64, as in signed envelopes."""
    found = {secret, repr(secret)[2:-1].encode()}
    for form in (secret.hex(), secret.hex().upper()):
        found |= {form.encode(), *_base64(form.encode())}
    return found | _base64(secret)


def _base64(data: bytes) -> set[bytes]:
    """What of `data` stands in the base64 of anything that holds it."""
    found = set()
    for before in range(3):
        text = base64.b64encode(bytes(before) + data)
        whole = text[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]  # characters of no neighbour's bits
        found |= {whole, whole.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def unpacked(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """A file, and everything in it where it is an archive."""
    yield name, data
    if data[:2] == b"\x1f\x8b":
        yield from unpacked(f"{name}, unpacked", gzip.decompress(data))
    if data[:4] == b"PK\3\4":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for one in archive.infolist():
                yield from unpacked(f"{name}, {one.filename}", archive.read(one))


def found_in(secrets: Mapping[str, bytes], written: Iterable[tuple[str, bytes]]) -> list[str]:
    """Where a secret stands: "its name in the file's"."""
    patterns = {
        name: re.compile(b"|".join(map(re.escape, sorted(spellings(secret))))) for name, secret in secrets.items()
    }
    return [
        f"{secret} in {place}"
        for name, data in written
        for place, part in unpacked(name, data)
        for secret, pattern in patterns.items()
        if pattern.search(part)
    ]


def files_below(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Every regular file, hidden ones included; names are searched like contents."""
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        yield f"the name {name}", name.encode()
        if path.is_file() and not path.is_symlink():
            yield name, path.read_bytes()
