"""The examiner's signing key: Ed25519, in a file that nobody else can read."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from detect.bundles.refused import Refused
from watermark.errors import KeyFileError
from watermark.keys.members import Kind, read_file, write_private_bytes

_ADVICE = "restore it from a backup, or leave it out for a new one: entries that it signed stay valid"
_KIND = Kind(
    re.compile(rb"-----BEGIN PRIVATE KEY-----"),
    "holds no signing key (PEM, PKCS #8, without a password); give a file that Taggant wrote as a case's signer.pem",
)


class PublicKey:
    """An Ed25519 public key.

    Attributes:
        keyid: SHA-256 of its DER SubjectPublicKeyInfo, 64 hex digits.
        pem: its file.
    """

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.keyid = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
        self.pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def from_pem(cls, pem: bytes, what: str) -> PublicKey:
        """Read a public key's file.

        Raises:
            Refused: "signer": it holds none, or one of another kind.
        """
        try:
            key = load_pem_public_key(pem)
        except Exception:  # of many kinds, for many kinds of keys
            raise Refused("signer", f"{what}: no public key in PEM") from None
        if not isinstance(key, Ed25519PublicKey):
            raise Refused("signer", f"{what}: not an Ed25519 key")
        return cls(key)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether it is this key's signature of `data`."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


class Signer:
    """A private key that signs. It is not shown and not pickled."""

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key, self.public = key, PublicKey(key.public_key())

    @classmethod
    def create(cls, path: str | Path) -> Signer:
        """A new key in a new file, mode 0600 (InputError: the path is taken, or cannot be written)."""
        key = Ed25519PrivateKey.generate()
        write_private_bytes(path, lambda: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return cls(key)

    @classmethod
    def load(cls, path: str | Path) -> Signer:
        """Read a key's file.

        Raises:
            KeyFileError: missing, unreadable, open to others, or no Ed25519 key; nothing of it is quoted.
        """
        return read_file(path, cls._from_pem, private=True, advice=_ADVICE, own=_KIND)

    @classmethod
    def _from_pem(cls, pem: bytes) -> Signer:
        try:
            key = load_pem_private_key(pem, password=None)
        except Exception:  # of many kinds; none may quote the file
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError("not an Ed25519 private key")
        return cls(key)

    @property
    def keyid(self) -> str:
        return self.public.keyid

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"<Signer {self.keyid[:16]}>"

    def __copy__(self) -> Signer:
        return self

    def __deepcopy__(self, memo: object) -> Signer:
        return self

    def __reduce__(self) -> NoReturn:
        raise KeyFileError("a Signer is not pickled, its key would leave mode 0600; pass its file's path instead")

    def __getstate__(self) -> NoReturn:
        self.__reduce__()
