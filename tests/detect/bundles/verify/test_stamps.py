"""Timestamps: OpenSSL takes those that we take, and of ours no bit can be another."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from detect.bundles.refused import Refused
from detect.bundles.verify.der import INTEGER, elements
from detect.bundles.verify.stamps import read_stamp
from tests.detect.bundles import tsa
from tests.detect.bundles.factory import KEY, Made, authority, planned, sealed
from tests.detect.bundles.tsa import STAMPED, Authority
from tests.detect.bundles.verify.both import first_code
from tests.tools.second import outcome_of

DATA = b"what was there"
OF = hashlib.sha256(DATA).hexdigest()


def code(response: bytes, *roots: Authority, of: str = OF) -> str:
    try:
        read_stamp(response, of, [one.root for one in roots], "it")
    except Refused as refused:
        return refused.code
    return "passed"


def openssl(response: bytes, root: Authority, place: Path) -> bool:
    for name, content in (("response", response), ("root", root.pem), ("data", DATA)):
        (place / name).write_bytes(content)
    command = [
        "openssl",
        "ts",
        "-verify",
        "-data",
        place / "data",
        "-in",
        place / "response",
        "-CAfile",
        place / "root",
    ]
    ran = subprocess.run([*command, "-attime", str(int(STAMPED.timestamp()))], capture_output=True, check=False)
    return ran.returncode == 0


def test_openssl_takes_what_we_take(tmp_path: Path) -> None:
    one, other = authority(), authority("stranger")
    response = one.stamp(DATA)
    assert read_stamp(response, OF, [other.root, one.root], "it").time == STAMPED
    assert read_stamp(response, OF, [], "it").authority == "CN=authority"
    assert openssl(response, one, tmp_path)
    refused = {
        "stamp-untrusted": [other.stamp(DATA), one.issue(purpose=ExtendedKeyUsageOID.SERVER_AUTH).stamp(DATA)],
        "stamp-expired": [one.issue(begins=STAMPED - timedelta(days=9), days=3).stamp(DATA)],
        "stamp": [one.stamp(DATA + b"."), one.stamp(DATA, signed=b"x"), one.stamp(DATA, status=2), response[:-1], b""],
    }
    for expected, responses in refused.items():
        for each in responses:
            assert code(each, one) == expected
            assert not openssl(each, one, tmp_path)


def test_without_roots_only_who_made_it_is_open() -> None:
    assert code(authority("stranger").stamp(DATA)) == "passed"
    assert code(authority().issue(purpose=ExtendedKeyUsageOID.SERVER_AUTH).stamp(DATA)) == "stamp-untrusted"
    assert code(authority().issue(begins=STAMPED + timedelta(days=1)).stamp(DATA)) == "stamp-expired"
    assert code(authority().stamp(DATA), of="ab" * 32) == "stamp"


def test_no_bit_can_be_another() -> None:
    response = authority().stamp(DATA)
    accepted = []
    for at in range(len(response)):
        data = bytearray(response)
        data[at] ^= 1 << at % 8
        if code(bytes(data), authority()) == "passed":
            accepted.append(at)
    assert accepted == []


def test_the_time_is_that_of_the_token() -> None:
    later = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert read_stamp(authority().stamp(DATA, later), OF, [], "it").time == later


@pytest.mark.parametrize(
    "data",
    [b"\x02", b"\x02\x80", b"\x02\x81\x01\x05", b"\x02\x82\x00\x80" + bytes(128), b"\x02\x02\x01", b"\x04\x01\x05"],
)
def test_der_is_strict(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut short|a length|other elements"):
        elements(data, INTEGER)


def test_a_time_in_the_serial_number_is_none(tmp_path: Path) -> None:
    """Made two days after the run, with a serial number in which a second time stands: it is late for both."""
    hidden = int.from_bytes(b"\x18\x0f" + (STAMPED - timedelta(days=30)).strftime("%Y%m%d%H%M%SZ").encode(), "big")
    whole = tsa.integer

    def stamp(data: bytes) -> bytes:
        with patch.object(tsa, "integer", lambda value: whole(hidden if value == 17 else value)):
            return authority().stamp(data, STAMPED + timedelta(days=2))

    def late(made: Made) -> None:
        made.stamp = stamp
        planned(made, stamped=True)

    files = sealed(tmp_path, KEY, late)
    assert first_code(files, [authority().root]) == "stamp-late"
    assert "began before what it rests on" in outcome_of(files, [], [authority().pem])
