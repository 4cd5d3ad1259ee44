"""Colours by the `openssl` command line program alone, from a secret and the design's text; nothing of Taggant's.

`python -m tests.watermark.openssl > tests/golden/greenlist.json` writes the golden vectors.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

UNUSED = 0xFFFFFFFF


def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout


def prefixed(text: str) -> bytes:
    return len(text.encode()).to_bytes(4, "little") + text.encode()


def chacha_key(secret: str) -> str:
    """64 hex digits: HKDF-SHA256 of the key file's secret for scheme greenlist/1."""
    options = {
        "digest": "SHA256",
        "hexkey": secret,
        "hexsalt": b"taggant/1".hex(),
        "hexinfo": (prefixed("scheme") + prefixed("greenlist/1")).hex(),
    }
    flags = [word for name, value in options.items() for word in ("-kdfopt", f"{name}:{value}")]
    return openssl("kdf", "-keylen", "32", "-binary", *flags, "HKDF").hex()


def nonce(context: Sequence[int]) -> bytes:
    """12 bytes."""
    if len(context) > 3:
        ids = b"".join(token.to_bytes(4, "little") for token in context)
        return openssl("dgst", "-sha256", "-binary", stdin=ids)[:12]
    slots = [UNUSED] * (3 - len(context)) + list(context)
    return b"".join(slot.to_bytes(4, "little") for slot in slots)


def values(key: str, context: Sequence[int], first: int, count: int) -> list[int]:
    """u(c, first) … u(c, first + count − 1); `first` a multiple of 32, a block's worth."""
    assert first % 32 == 0
    iv = (first // 32).to_bytes(4, "little") + nonce(context)  # OpenSSL's IV is the block counter, then the nonce
    stream = openssl("enc", "-chacha20", "-K", key, "-iv", iv.hex(), stdin=bytes(2 * count))
    return [int.from_bytes(stream[2 * i : 2 * i + 2], "little") for i in range(count)]


def context_of(width: int, number: int) -> list[int]:
    """A few fixed contexts per width: small ids, ids of a real vocabulary, the largest ids there can be."""
    kinds = (
        [0, 1, 2, 31, 32, 33, 255, 256],
        [49151, 7, 128255, 0, 5, 200018, 65535, 65536],
        [2**32 - 2 - i for i in range(8)],
    )
    return kinds[number][:width]


def vector(secret: str, gamma_65536: int, width: int, number: int) -> dict[str, Any]:
    context = context_of(width, number)
    key = chacha_key(secret)
    row = values(key, context, 0, 80)
    far = {token: values(key, context, token - token % 32, 32)[token % 32] for token in (49151, 128255, 2**32 - 2)}
    return {
        "secret": secret,
        "chacha_key": key,
        "gamma_65536": gamma_65536,
        "context": context,
        "values": row,
        "green": "".join("1" if u < gamma_65536 else "0" for u in row),
        "far": [{"token": token, "value": u, "green": u < gamma_65536} for token, u in far.items()],
    }


def golden() -> list[dict[str, Any]]:
    secrets = ("00" * 32, bytes(range(32)).hex(), "5a" * 31 + "01")
    gammas = (16384, 32768, 6554)
    return [vector(secrets[i], gammas[(i + h) % 3], h, i) for h in range(9) for i in range(3)]


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(v) for v in golden())
    sys.stdout.write(f"[\n{lines}\n]\n")
