"""The spellings and places in which a secret is looked for: one that is there is found."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile
from pathlib import Path

import pytest

from tests.detect.secrecy.canary import files_below, found_in

SECRET = bytes(range(200, 232))


def packed(data: bytes) -> bytes:
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner", data)
    return handle.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        SECRET,
        SECRET.hex().encode(),
        SECRET.hex().upper().encode(),
        *(base64.b64encode(b"x" * n + SECRET + b"y" * (2 - n)) for n in range(3)),
        *(base64.urlsafe_b64encode(b"x" * n + SECRET + b"y") for n in range(3)),
        *(base64.b64encode(json.dumps({"k" * n: SECRET.hex()}).encode()) for n in range(3)),
        repr({"secret": SECRET}).encode(),
    ],
)
def test_it_is_found(data: bytes, tmp_path: Path) -> None:
    for number, content in enumerate([data, packed(data), packed(packed(data)), gzip.compress(data)]):
        (tmp_path / f".{number}").write_bytes(b"before" + content if number == 0 else content)
    found = found_in({"it": SECRET}, files_below(tmp_path))
    assert len({one.split(",")[0] for one in found}) == 4, found


def test_a_name_and_nothing() -> None:
    assert found_in({"it": b"sk-canary-1234"}, [("name", b"sk-canary-1234.txt")]) == ["it in name"]
    assert found_in({"it": SECRET}, [("name", bytes(range(199, 230))), ("other", b"PK")]) == []
