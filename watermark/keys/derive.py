"""One secret from another: HKDF-SHA256 under a purpose, so that an opened key says nothing about its siblings."""

from __future__ import annotations

import re
import unicodedata

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from watermark.errors import KeyFileError

SECRET_BYTES = 32
SALT = b"taggant/1"
LABEL_MAX_BYTES = 256
KINDS = ("account", "epoch")  # what callers may derive; "scheme" and "decoy" have functions of their own

_EPOCH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
# Control, format (bidi!), surrogate, private and unassigned characters, line and paragraph separators. Unassigned
# ones also because their NFC may change with the Unicode version, and the derived key with it.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def framed(data: bytes) -> bytes:
    """Return `data` behind its length as a little-endian uint32, so that concatenations can be read one way only."""
    return len(data).to_bytes(4, "little") + data


def lp(text: str) -> bytes:
    """Return the length-prefixed UTF-8 bytes of the NFC form of `text`.

    Injective up to NFC, also under concatenation: lp(a) + lp(b) = lp(c) + lp(d) only when a, b and c, d agree.

    Raises:
        UnicodeEncodeError: `text` holds a lone surrogate.
    """
    return framed(unicodedata.normalize("NFC", text).encode("utf-8"))


def hkdf_sha256(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    """Return `length` bytes of HKDF-SHA256, extract and expand. Source: RFC 5869."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def normal_label(kind: str, label: str) -> str:
    """Return the NFC form of an account's or epoch's label.

    Raises:
        KeyFileError: `kind` is not one a caller may derive, or the label breaks its rules.
    """
    if kind not in KINDS:
        raise KeyFileError('a key can be derived for an "account" or an "epoch" only')
    if not isinstance(label, str) or any(unicodedata.category(c) in _REFUSED_CATEGORIES for c in label):
        raise KeyFileError(f"the {kind} label must be text without control or invisible characters")
    if kind == "epoch" and not _EPOCH.fullmatch(label):
        raise KeyFileError('the epoch label must be a month such as "2026-11"')
    label = unicodedata.normalize("NFC", label)
    if not 1 <= len(label.encode("utf-8")) <= LABEL_MAX_BYTES:
        raise KeyFileError(f"the {kind} label must have 1 to {LABEL_MAX_BYTES} bytes; use an opaque id")
    return label


def derive(secret: bytes, kind: str, label: str) -> bytes:
    """Return the 32 secret bytes of an account or an epoch under `secret` (32 bytes).

    Raises:
        KeyFileError: another kind, a refused label, or a secret of another length.
    """
    return _derive(secret, kind, normal_label(kind, label))


def scheme_key(secret: bytes, scheme: str) -> bytes:
    """Return the 32-byte ChaCha20 key with which `scheme` colours tokens under `secret`."""
    return _derive(secret, "scheme", scheme)


def decoy_key(seed: bytes, index: int) -> bytes:
    """Return the 32-byte ChaCha20 key of decoy `index` (from 0) of the line-up with this 32-byte seed."""
    if isinstance(index, bool) or index < 0:
        raise KeyFileError("a decoy's index must be 0 or more")
    return _derive(seed, "decoy", str(index))


def _derive(secret: bytes, kind: str, label: str) -> bytes:
    if len(secret) != SECRET_BYTES:
        raise KeyFileError(f"a secret must have {SECRET_BYTES} bytes, this one has {len(secret)}")
    return hkdf_sha256(secret, salt=SALT, info=lp(kind) + lp(label), length=SECRET_BYTES)
