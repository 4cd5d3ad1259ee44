"""The signing key's file: private, whole or absent, and never shown."""

from __future__ import annotations

import copy
import hashlib
import pickle
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from detect.bundles.signer import PublicKey, Signer
from tests.detect.bundles.helpers import refused, signer
from watermark.errors import InputError, KeyFileError


def test_what_was_created_is_loaded(tmp_path: Path) -> None:
    made = Signer.create(tmp_path / "signer.pem")
    loaded = Signer.load(tmp_path / "signer.pem")
    assert loaded.keyid == made.keyid == hashlib.sha256(_der(made)).hexdigest()
    assert made.public.verifies(loaded.sign(b"data"), b"data")
    assert not made.public.verifies(loaded.sign(b"data"), b"dat")
    assert (tmp_path / "signer.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(InputError, match="already exists"):
        Signer.create(tmp_path / "signer.pem")


def _der(one: Signer) -> bytes:
    """As OpenSSL writes it."""
    command = ["openssl", "pkey", "-pubin", "-outform", "DER"]
    return subprocess.run(command, input=one.public.pem, capture_output=True, check=True).stdout


def test_openssl_reads_it_and_makes_one(tmp_path: Path) -> None:
    made = Signer.create(tmp_path / "a.pem")
    command = ["openssl", "pkey", "-in", str(tmp_path / "a.pem"), "-pubout"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == made.public.pem
    command = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(tmp_path / "b.pem")]
    subprocess.run(command, capture_output=True, check=True)
    (tmp_path / "b.pem").chmod(0o600)
    assert Signer.load(tmp_path / "b.pem").keyid != made.keyid


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    Signer.create(tmp_path / "signer.pem")
    (tmp_path / "signer.pem").chmod(mode)
    with pytest.raises(KeyFileError, match="open to group or others"):
        Signer.load(tmp_path / "signer.pem")


def pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, encryption: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"canary-5150",
        signer().public.pem,
        pem(ec.generate_private_key(ec.SECP256R1()), NoEncryption()),
        pem(ed25519.Ed25519PrivateKey.generate(), BestAvailableEncryption(b"canary-5150")),
        b"-----BEGIN PRIVATE KEY-----\ncanary-5150\n-----END PRIVATE KEY-----\n",
    ],
)
def test_anything_else_is_refused_and_not_quoted(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "signer.pem").write_bytes(content)
    (tmp_path / "signer.pem").chmod(0o600)
    with pytest.raises(KeyFileError) as caught:
        Signer.load(tmp_path / "signer.pem")
    assert "canary" not in str(caught.value)
    assert str(caught.value).count("\n") == 0
    assert caught.value.__context__ is None
    with pytest.raises(KeyFileError, match="does not exist"):
        Signer.load(tmp_path / "none.pem")


def test_a_signer_is_not_shown_and_not_pickled(tmp_path: Path) -> None:
    one = Signer.create(tmp_path / "signer.pem")
    assert repr(one) == f"<Signer {one.keyid[:16]}>"
    assert copy.deepcopy(one) is one
    for protocol in range(2, 6):
        with pytest.raises(KeyFileError):
            pickle.dumps(one, protocol)


def test_a_public_key_is_read_from_its_file() -> None:
    one = signer()
    read = PublicKey.from_pem(one.public.pem, "it")
    assert (read.keyid, read.pem) == (one.keyid, one.public.pem)
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    for content in (b"", b"x", other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)):
        with refused("signer"):
            PublicKey.from_pem(content, "it")
