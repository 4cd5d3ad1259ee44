"""Timestamps from outside (RFC 3161): what an authority's response is over, when it was made, and by whom.

1. The response grants a token: CMS SignedData by one signer, nothing beside what is signed but certificates.
2. Its TSTInfo is over the SHA-256 digest that it should be.
3. The signed attributes name the TSTInfo's digest, and the certificate of the signer by its own digest.
4. The certificate's key made the signature over the attributes.
5. The certificate is for timestamping alone, and was valid at the time that the token states.
6. Where roots are given, issuers lead from it to one of them, all valid at that time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from detect.bundles.refused import Refused
from detect.bundles.verify.der import FIRST, INTEGER, NULL, OCTETS, OID, SEQUENCE, SET, TIME, Element, elements, only

LONGEST_CHAIN = 8

_NAMED, _EXTENSIONS, _TRUTH, _DIRECTORY = 0xA0, 0xA1, 0x01, 0xA4
_BEHIND_TIME = (SEQUENCE, _TRUTH, INTEGER, _NAMED, _EXTENSIONS)  # accuracy, ordering, nonce, who, extensions
_STATED = re.compile(r"(\d{14})(?:\.(\d{1,99}))?Z")

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_TST_INFO = bytes.fromhex("2a864886f70d0109100104")
_CONTENT_TYPE, _MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010903"), bytes.fromhex("2a864886f70d010904")
_CERTIFICATE_V1, _CERTIFICATE_V2 = bytes.fromhex("2a864886f70d010910020c"), bytes.fromhex("2a864886f70d010910022f")
_RSA = bytes.fromhex("2a864886f70d010101")
_SHA256 = bytes.fromhex("608648016503040201")
_HASHES: dict[bytes, tuple[str, type[hashes.HashAlgorithm], tuple[bytes, bytes]]] = {
    bytes.fromhex(own): (name, kind, (bytes.fromhex(with_rsa), bytes.fromhex(with_ecdsa)))
    for own, name, kind, with_rsa, with_ecdsa in (
        ("608648016503040201", "sha256", hashes.SHA256, "2a864886f70d01010b", "2a8648ce3d040302"),
        ("608648016503040202", "sha384", hashes.SHA384, "2a864886f70d01010c", "2a8648ce3d040303"),
        ("608648016503040203", "sha512", hashes.SHA512, "2a864886f70d01010d", "2a8648ce3d040304"),
    )
}


@dataclass(frozen=True)
class Stamp:
    """A timestamp that was verified.

    Attributes:
        time: when it was made, by the authority's clock.
        authority: the certificate's subject.
    """

    time: datetime
    authority: str


def read_stamp(response: bytes, of: str, roots: Sequence[x509.Certificate], what: str) -> Stamp:
    """Verify a response.

    Args:
        of: SHA-256, 64 hex digits, of what it must be over.
        roots: that are trusted; none: the last step is left out.
        what: it is, for the error.

    Raises:
        Refused: "stamp", "stamp-untrusted" or "stamp-expired".
    """
    try:
        token = _Token.read(response, bytes.fromhex(of))
        signer = token.signer()
        token.verify(signer)
    except Exception as error:  # reading what strangers made of certificates, `cryptography` raises many
        raise Refused("stamp", f"{what}: no timestamp over {of[:16]} ({error or type(error).__name__})") from None
    chain = _chain(signer, token.certificates, roots)
    for one in chain:
        if not one.not_valid_before_utc <= token.time <= one.not_valid_after_utc:
            raise Refused("stamp-expired", f"{what}: {_name(one)} was not valid at {token.time:%Y-%m-%dT%H:%M:%SZ}")
    if token.names not in (None, signer.subject.public_bytes()):
        raise Refused("stamp", f"{what}: it names another authority than the one that signed it")
    if not _for_timestamps(signer):
        raise Refused("stamp-untrusted", f"{what}: {_name(signer)} is not for timestamping alone")
    if roots and chain[-1] not in roots:
        raise Refused("stamp-untrusted", f"{what}: {_name(signer)} does not lead to a root that was given")
    return Stamp(token.time, _name(signer))


@dataclass(frozen=True)
class _Token:
    """What a response holds; nothing of it is verified yet, but that it is over what it should be."""

    info: bytes
    time: datetime
    certificates: list[x509.Certificate]
    issuer: bytes
    serial: int
    digest: bytes
    attributes: dict[bytes, bytes]
    signed: bytes
    algorithm: bytes
    signature: bytes
    names: bytes | None

    @classmethod
    def read(cls, response: bytes, of: bytes) -> _Token:
        status, token = elements(only(response, SEQUENCE).content, SEQUENCE, SEQUENCE)
        if only(status.content, INTEGER).content != b"\0":
            raise ValueError("not granted")
        kind, wrapped = elements(token.content, OID, FIRST)
        version, digests, content, certificates, signers = elements(
            only(wrapped.content, SEQUENCE).content, INTEGER, SET, SEQUENCE, FIRST, SET
        )
        content_kind, held = elements(content.content, OID, FIRST)
        info = only(held.content, OCTETS).content
        number, identifier, digest, attributes, algorithm, signature = elements(
            only(signers.content, SEQUENCE).content, INTEGER, SEQUENCE, SEQUENCE, FIRST, SEQUENCE, OCTETS
        )
        if (kind.content, content_kind.content, version.content, number.content) != (
            _SIGNED_DATA, _TST_INFO, b"\3", b"\1",
        ) or digests.content != digest.whole:  # fmt: skip
            raise ValueError("not a token of this kind")
        issuer, serial = elements(identifier.content, SEQUENCE, INTEGER)
        return cls(
            info=info,
            time=_time_of(info, of),
            certificates=[x509.load_der_x509_certificate(one.whole) for one in elements(certificates.content)],
            issuer=issuer.whole,
            serial=int.from_bytes(serial.content, "big", signed=True),
            digest=_algorithm(digest),
            attributes=dict(map(_attribute, elements(attributes.content))),
            signed=bytes([SET]) + attributes.whole[1:],  # what is signed is the set itself
            algorithm=_algorithm(algorithm),
            signature=signature.content,
            names=_names_of(info),
        )

    def signer(self) -> x509.Certificate:
        """The certificate that the signed attributes name, and the signer's identifier as well."""
        if _CERTIFICATE_V2 in self.attributes:
            first = elements(only(only(self.attributes[_CERTIFICATE_V2], SEQUENCE).content, SEQUENCE).content)[0]
            parts = elements(first.content)
            name = _HASHES[_algorithm(parts.pop(0))][0] if parts[0].tag == SEQUENCE else "sha256"
        else:
            first = elements(elements(only(self.attributes[_CERTIFICATE_V1], SEQUENCE).content)[0].content)[0]
            parts, name = elements(first.content), "sha1"
        for one in self.certificates:
            der = one.public_bytes(Encoding.DER)
            own = hashlib.new(name, der, usedforsecurity=name != "sha1").digest()
            if own == parts[0].content and (one.issuer.public_bytes(), one.serial_number) == (self.issuer, self.serial):
                return one
        raise ValueError("the signer's certificate is not there")

    def verify(self, signer: x509.Certificate) -> None:
        """Raise ValueError or InvalidSignature unless the signer signed the attributes, and they are of the TSTInfo."""
        name, kind, (with_rsa, with_ecdsa) = _HASHES[self.digest]
        kind_of_content = only(self.attributes[_CONTENT_TYPE], OID).content
        if (
            kind_of_content != _TST_INFO
            or only(self.attributes[_MESSAGE_DIGEST], OCTETS).content != hashlib.new(name, self.info).digest()
        ):
            raise ValueError("the signature is over something else")
        key = signer.public_key()
        if isinstance(key, rsa.RSAPublicKey) and self.algorithm in (_RSA, with_rsa):
            key.verify(self.signature, self.signed, padding.PKCS1v15(), kind())
        elif isinstance(key, ec.EllipticCurvePublicKey) and self.algorithm == with_ecdsa:
            key.verify(self.signature, self.signed, ec.ECDSA(kind()))
        else:
            raise ValueError("a kind of signature that is not read")


def _time_of(info: bytes, of: bytes) -> datetime:
    """The time that a TSTInfo states, if it is over the digest `of`."""
    version, policy, imprint, serial, time, *rest = elements(only(info, SEQUENCE).content)
    if [one.tag for one in rest] != [tag for tag in _BEHIND_TIME if tag in [one.tag for one in rest]]:
        raise ValueError("something behind its time that a TSTInfo has not")
    if (version.content, [one.tag for one in (policy, serial, time)]) != (b"\1", [OID, INTEGER, TIME]):
        raise ValueError("not a TSTInfo of version 1")
    algorithm, digest = elements(imprint.content, SEQUENCE, OCTETS)
    if _algorithm(algorithm) != _SHA256 or digest.content != of:
        raise ValueError("it is over something else")
    stated = _STATED.fullmatch(time.content.decode("ascii"))
    if stated is None:
        raise ValueError("a time that is not UTC")
    moment = datetime.strptime(stated[1], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return moment.replace(microsecond=int((stated[2] or "")[:6].ljust(6, "0")))


def _names_of(info: bytes) -> bytes | None:
    """The DER name of the authority that a TSTInfo names; None: it names none (b"": by no such name)."""
    named = [one for one in elements(only(info, SEQUENCE).content)[5:] if one.tag == _NAMED]
    if not named:
        return None
    (one,) = elements(named[0].content)
    return one.content if one.tag == _DIRECTORY else b""


def _algorithm(element: Element) -> bytes:
    """The identifier of an algorithm without parameters."""
    first, *rest = elements(element.content)
    if element.tag != SEQUENCE or first.tag != OID or [one.whole for one in rest] not in ([], [NULL]):
        raise ValueError("an algorithm with parameters")
    return first.content


def _attribute(element: Element) -> tuple[bytes, bytes]:
    kind, values = elements(element.content, OID, SET)
    return kind.content, values.content


def _chain(
    signer: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """From the signer upwards, to a root where there is a way."""
    chain = [signer]
    while roots and chain[-1] not in roots and len(chain) < LONGEST_CHAIN:
        issuer = next((one for one in (*roots, *others) if one not in chain and _issued(chain[-1], one)), None)
        if issuer is None:
            break
        chain.append(issuer)
    return chain


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        authority = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except Exception:  # it does not, or is malformed
        return False
    try:
        return authority and issuer.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return authority


def _for_timestamps(certificate: x509.Certificate) -> bool:
    """As OpenSSL has it: for timestamps and nothing else, to sign with, no authority over others, nothing unknown."""
    try:
        found = {one.oid: one for one in certificate.extensions}
        usage = found[ExtensionOID.EXTENDED_KEY_USAGE]
        if not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
            return False
        signs = ExtensionOID.KEY_USAGE not in found or _only_signs(found[ExtensionOID.KEY_USAGE].value)
        basic = found.get(ExtensionOID.BASIC_CONSTRAINTS)
        unknown = any(one.critical and oid not in _UNDERSTOOD for oid, one in found.items())
        return signs and not unknown and (basic is None or not basic.value.ca)
    except Exception:  # there is none, or it is malformed
        return False


_UNDERSTOOD = (ExtensionOID.EXTENDED_KEY_USAGE, ExtensionOID.KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS)


def _only_signs(usage: x509.KeyUsage) -> bool:
    others = ("key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign")
    signs = usage.digital_signature or usage.content_commitment
    return signs and not any(getattr(usage, name) for name in others)


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()
