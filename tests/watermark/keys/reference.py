"""A second implementation of the key design, from its text and the RFCs, with the standard library only.

`python -m tests.watermark.keys.reference > tests/golden/keys.json` writes the golden vectors.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import unicodedata

CASES = [  # secret, gamma_65536, context_width, tokenizer_sha256, derivations
    ("00" * 32, 16384, 1, None, []),
    (bytes(range(32)).hex(), 16384, 1, None, [("account", "acct-0001")]),
    (bytes(range(32)).hex(), 16384, 1, None, [("account", "acct-0001"), ("epoch", "2026-11")]),
    (bytes(range(32)).hex(), 16384, 1, None, [("epoch", "2026-11"), ("account", "acct-0001")]),
    ("ff" * 32, 1, 0, "ab" * 32, [("epoch", "1999-01")]),
    ("5a" * 32, 65535, 8, "01" * 32, [("account", "e\u0301toile/\u20ac \U0001f600")]),
    (hashlib.sha256(b"taggant").hexdigest(), 6554, 3, "cd" * 32, [("account", "a" * 256)]),
]


def hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 by its two steps."""
    pseudo_random_key = hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()
    output, block, counter = b"", b"", 1
    while len(output) < length:
        block = hmac.new(pseudo_random_key, block + info + bytes([counter]), hashlib.sha256).digest()
        output, counter = output + block, counter + 1
    return output[:length]


def prefixed(text: str) -> bytes:
    data = unicodedata.normalize("NFC", text).encode()
    n = len(data)
    return bytes([n & 255, n >> 8 & 255, n >> 16 & 255, n >> 24 & 255]) + data


def child(secret: bytes, kind: str, label: str) -> bytes:
    return hkdf(secret, b"taggant/1", prefixed(kind) + prefixed(label), 32)


def chacha(secret: bytes) -> bytes:
    return child(secret, "scheme", "greenlist/1")


def key_id(chacha_key: bytes, gamma_65536: int, context_width: int, tokenizer_sha256: str | None) -> str:
    """The canonical JSON written out: members in alphabetical order, no spaces."""
    tokenizer = "null" if tokenizer_sha256 is None else f'"{tokenizer_sha256}"'
    text = (
        f'{{"chacha_key_sha256":"{hashlib.sha256(chacha_key).hexdigest()}","context_width":{context_width},'
        f'"gamma_65536":{gamma_65536},"scheme":"greenlist/1","tokenizer_sha256":{tokenizer}}}'
    )
    return hashlib.sha256(text.encode()).hexdigest()


def merkle_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written there."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + merkle_root(leaves[:k]) + merkle_root(leaves[k:])).digest()


def audit_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1, as it is written there."""
    if len(leaves) == 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if index < k:
        return [*audit_path(index, leaves[:k]), merkle_root(leaves[k:])]
    return [*audit_path(index - k, leaves[k:]), merkle_root(leaves[:k])]


def vector(secret: str, gamma_65536: int, width: int, tokenizer: str | None, path: list[tuple[str, str]]) -> dict:
    current = bytes.fromhex(secret)
    parent = None
    for kind, label in path:
        parent = key_id(chacha(current), gamma_65536, width, tokenizer)
        current = child(current, kind, label)
    return {
        "secret": secret,
        "gamma_65536": gamma_65536,
        "context_width": width,
        "tokenizer_sha256": tokenizer,
        "derivations": [list(step) for step in path],
        "derived_secret": current.hex(),
        "chacha_key": chacha(current).hex(),
        "key_id": key_id(chacha(current), gamma_65536, width, tokenizer),
        "parent_key_id": parent,
    }


def golden() -> dict:
    keys = [vector(*case) for case in CASES]
    leaves = [f'{{"account":"a{i}","epoch":"2026-11","key_id":"{i:064x}"}}'.encode() for i in range(7)]
    return {
        "keys": keys,
        "decoys": [
            {"seed": seed, "index": i, "chacha_key": child(bytes.fromhex(seed), "decoy", str(i)).hex()}
            for seed in ("00" * 32, "5a" * 32)
            for i in (0, 1, 10, 999)
        ],
        "commitments": [{"size": n, "root": merkle_root(sorted(leaves[:n])).hex()} for n in range(1, 8)],
    }


if __name__ == "__main__":
    json.dump(golden(), sys.stdout, indent=2, ensure_ascii=True)
    sys.stdout.write("\n")
