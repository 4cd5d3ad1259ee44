"""Envelopes are what other tools call DSSE and in-toto: securesystemslib verifies them."""

from __future__ import annotations

import json

import pytest

from tests.detect.bundles.bad.mutations import good
from tests.detect.bundles.factory import signer

dsse = pytest.importorskip("securesystemslib.dsse", reason="securesystemslib is in the extra dev")
exceptions = pytest.importorskip("securesystemslib.exceptions")
signers = pytest.importorskip("securesystemslib.signer")


@pytest.mark.parametrize("name", ["texts", "stamped", "weights"])
def test_every_envelope_of_a_bundle(name: str) -> None:
    files = good(name)
    public = files[f"signers/{signer(1).keyid}.pem"].decode()
    key = signers.SSlibKey(signer(1).keyid, "ed25519", "ed25519", {"public": raw(public)})
    lines = [files["manifest.json"], *files["custody.jsonl"].splitlines()]
    for line in lines:
        envelope = dsse.Envelope.from_dict(json.loads(line))
        assert list(envelope.verify([key], threshold=1)) == [signer(1).keyid]
    statement = json.loads(dsse.Envelope.from_dict(json.loads(files["manifest.json"])).payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert set(statement["subject"][0]) == {"name", "digest"}


def test_a_changed_envelope_fails_there_as_here() -> None:
    files = good("texts")
    key = signers.SSlibKey(signer(1).keyid, "ed25519", "ed25519", {"public": raw(signer(1).public.pem.decode())})
    envelope = dsse.Envelope.from_dict(json.loads(files["manifest.json"]))
    envelope.payload_type = "application/json"
    with pytest.raises(exceptions.VerificationError):
        envelope.verify([key], threshold=1)


def raw(pem: str) -> str:
    """An Ed25519 public key's 32 bytes in hex."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(pem.encode())
    assert isinstance(key, Ed25519PublicKey)
    return key.public_bytes_raw().hex()
