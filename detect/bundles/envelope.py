"""DSSE 1.0 envelopes: the signature is over the payload's bytes, which nobody parses before it was verified.

Source: https://github.com/secure-systems-lab/dsse, protocol and envelope, version 1.0.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import NamedTuple

from detect.bundles import canonical
from detect.bundles.refused import Refused
from detect.bundles.signer import PublicKey, Signer


class Opened(NamedTuple):
    """What an envelope held.

    Attributes:
        payload: the verified bytes.
        keyid: whose signature it was.
    """

    payload: bytes
    keyid: str


def seal(payload: bytes, payload_type: str, signer: Signer) -> bytes:
    """The canonical JSON of an envelope with one signature."""
    signature = {"keyid": signer.keyid, "sig": to_base64(signer.sign(pae(payload_type, payload)))}
    envelope = {"payload": to_base64(payload), "payloadType": payload_type, "signatures": [signature]}
    return canonical.dumps(envelope)


def unseal(data: bytes, payload_type: str, keys: Mapping[str, PublicKey], what: str) -> Opened:
    """Verify an envelope, and only then hand its payload out.

    1. It is canonical JSON with an envelope's members and one signature.
    2. It is of this type.
    3. Payload and signature are base64.
    4. Its key is among `keys`.
    5. The signature is this key's, over PAE(type, payload).

    Args:
        keys: by their key ids.
        what: it is, for the error.

    Raises:
        Refused: "json", "envelope", "payload-type", "base64", "key-id" or "signature".
    """
    envelope = canonical.loads(data, what)
    if not isinstance(envelope, dict) or envelope.keys() != {"payload", "payloadType", "signatures"}:
        raise Refused("envelope", f"{what}: not an object of payload, payloadType and signatures")
    signatures = envelope["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise Refused("envelope", f"{what}: it must have exactly one signature")
    (one,) = signatures
    if not isinstance(one, dict) or one.keys() != {"keyid", "sig"}:
        raise Refused("envelope", f"{what}: its signature is not an object of keyid and sig")
    texts = (envelope["payload"], envelope["payloadType"], one["keyid"], one["sig"])
    if not all(isinstance(text, str) for text in texts):
        raise Refused("envelope", f"{what}: a member is not text")
    if envelope["payloadType"] != payload_type:
        raise Refused("payload-type", f"{what}: it is not of type {payload_type}")
    payload, signature = (from_base64(text, what) for text in (envelope["payload"], one["sig"]))
    if one["keyid"] not in keys:
        raise Refused("key-id", f"{what}: signed by a key that is not there")
    if not keys[one["keyid"]].verifies(signature, pae(payload_type, payload)):
        raise Refused("signature", f"{what}: its signature is not that of key {one['keyid'][:16]} over this payload")
    return Opened(payload, one["keyid"])


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def to_base64(data: bytes) -> str:
    """The standard alphabet, padded."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str, what: str) -> bytes:
    """What `to_base64` made into `text`; any other spelling of the same bytes is refused (Refused: "base64")."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise Refused("base64", f"{what}: not base64") from None
    if to_base64(data) != text:
        raise Refused("base64", f"{what}: base64 in another spelling than the one")
    return data
