"""DSSE envelopes: verified before they are read, in one spelling, against the specification's own example."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from detect.bundles.envelope import from_base64, pae, seal, unseal
from tests.detect.bundles.helpers import refused, signer

KIND = "application/x"
ME = signer()
KEYS = {ME.keyid: ME.public}


def test_pae_is_the_specifications() -> None:
    """The example of DSSE's protocol.md."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", b"\x00\xff") == "DSSEv1 2 é 2 ".encode() + b"\x00\xff"


def test_an_envelope_gives_its_payload_back() -> None:
    data = seal(b"\x00payload", KIND, ME)
    assert data == json.dumps(json.loads(data), separators=(",", ":"), sort_keys=True).encode()
    assert unseal(data, KIND, KEYS, "it") == (b"\x00payload", ME.keyid)


def test_the_signature_is_over_the_pre_authentication_encoding() -> None:
    """By cryptography alone."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    envelope = json.loads(seal(b"payload", KIND, ME))
    key: Any = load_pem_public_key(ME.public.pem)
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), b"DSSEv1 13 application/x 7 payload")


def changed(**changes: Any) -> bytes:
    envelope = json.loads(seal(b"payload", KIND, ME)) | changes
    kept = {name: value for name, value in envelope.items() if value != "left out"}
    return json.dumps(kept, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def signature(**changes: Any) -> list[dict[str, Any]]:
    return [json.loads(seal(b"payload", KIND, ME))["signatures"][0] | changes]


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("json", seal(b"payload", KIND, ME) + b"\n"),
        ("json", b"{"),
        ("envelope", b"[]"),
        ("envelope", changed(more=1)),
        ("envelope", changed(payload="left out")),
        ("envelope", changed(payload=1)),
        ("envelope", changed(signatures=[])),
        ("envelope", changed(signatures=signature() * 2)),
        ("envelope", changed(signatures=signature(more=1))),
        ("envelope", changed(signatures={})),
        ("payload-type", changed(payloadType="application/y")),
        ("base64", changed(payload="cGF5bG9hZA")),
        ("base64", changed(payload="cGF5bG9hZB==")),
        ("base64", changed(payload="cGF5bG9h\nZA==")),
        ("base64", changed(payload="é")),
        ("base64", changed(signatures=signature(sig="-_=="))),
        ("key-id", changed(signatures=signature(keyid=signer(1).keyid))),
        ("signature", changed(payload=base64.b64encode(b"another").decode())),
        ("signature", changed(signatures=signature(sig=base64.b64encode(bytes(64)).decode()))),
        ("signature", changed(signatures=signature(sig=""))),
    ],
)
def test_anything_else_is_refused(code: str, data: bytes) -> None:
    with refused(code):
        unseal(data, KIND, KEYS, "it")


def test_the_type_is_signed_too() -> None:
    data = seal(b"payload", KIND, ME).replace(b"application/x", b"application/y")
    with refused("signature"):
        unseal(data, "application/y", KEYS, "it")


def test_every_flipped_bit_is_refused() -> None:
    data = seal(b"p", KIND, ME)
    for at in range(len(data)):
        flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(ValueError):  # noqa: PT011
            unseal(flipped, KIND, KEYS, "it")


def test_base64_has_one_spelling() -> None:
    assert from_base64("", "it") == b""
    assert from_base64("/+8=", "it") == b"\xff\xef"
    for text in ("/+9=", "/+8", "_-8=", " /+8=", "/+8=\n", "/+8=="):
        with refused("base64"):
            from_base64(text, "it")
