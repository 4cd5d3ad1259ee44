"""A timestamping authority for tests: RFC 3161 responses written in DER by hand, in every right and wrong way."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

STAMPED = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
_SHA256, _SIGNED_DATA, _TST_INFO = "2.16.840.1.101.3.4.2.1", "1.2.840.113549.1.7.2", "1.2.840.113549.1.9.16.1.4"
_ECDSA_SHA256, _POLICY = "1.2.840.10045.4.3.2", "1.3.6.1.4.1.55555.1"
_CONTENT_TYPE, _DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.47"


def tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    digits = len(body).to_bytes((len(body).bit_length() + 7) // 8 or 1, "big")
    return bytes([tag]) + (digits if len(body) < 128 else bytes([0x80 | len(digits)]) + digits) + body


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    body = [40 * first + second]
    for arc in rest:
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(0x80 | arc & 0x7F)
        body += digits[::-1]
    return tlv(0x06, bytes(body))


_USAGE = dict.fromkeys(
    ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
     "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False,
)  # fmt: skip


@dataclass(frozen=True)
class Authority:
    """A root, a certificate that it issued, and the keys of both."""

    root: x509.Certificate
    root_key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, name: str = "authority") -> Authority:
        key, begins = ec.generate_private_key(ec.SECP256R1()), STAMPED - timedelta(days=3650)
        called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} root")])
        root = (
            x509.CertificateBuilder().subject_name(called).issuer_name(called).serial_number(1)
            .public_key(key.public_key()).not_valid_before(begins).not_valid_after(begins + timedelta(days=36500))
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .add_extension(x509.KeyUsage(**{**_USAGE, "key_cert_sign": True}), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, SHA256())
        )  # fmt: skip
        return cls(root, key, root, key).issue(name)

    def issue(
        self,
        name: str = "authority",
        *,
        begins: datetime = STAMPED - timedelta(days=365),
        days: int = 3650,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.TIME_STAMPING,
    ) -> Authority:
        """Another certificate by the same root."""
        key = ec.generate_private_key(ec.SECP256R1())
        called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder().subject_name(called).issuer_name(self.root.subject).serial_number(2)
            .public_key(key.public_key()).not_valid_before(begins).not_valid_after(begins + timedelta(days=days))
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(x509.KeyUsage(**{**_USAGE, "digital_signature": True}), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
            .sign(self.root_key, SHA256())
        )  # fmt: skip
        return Authority(self.root, self.root_key, certificate, key)

    @property
    def pem(self) -> bytes:
        """Of the root."""
        return self.root.public_bytes(Encoding.PEM)

    def stamp(
        self,
        data: bytes,
        at: datetime = STAMPED,
        *,
        status: int = 0,
        signed: bytes | None = None,
        fraction: str = "",
    ) -> bytes:
        """A response over `data`.

        Args:
            status: 0: granted.
            fraction: of the second, as it is written: ".5".
            signed: what the signature is made over instead of the attributes.
        """
        algorithm = sequence(oid(_SHA256))
        imprint = sequence(algorithm, tlv(0x04, hashlib.sha256(data).digest()))
        moment = tlv(0x18, f"{at:%Y%m%d%H%M%S}{fraction}Z".encode())
        info = sequence(integer(1), oid(_POLICY), imprint, integer(17), moment)
        der = self.certificate.public_bytes(Encoding.DER)
        named = sequence(sequence(sequence(tlv(0x04, hashlib.sha256(der).digest()))))
        attributes = sorted(
            [
                sequence(oid(_CONTENT_TYPE), tlv(0x31, oid(_TST_INFO))),
                sequence(oid(_DIGEST), tlv(0x31, tlv(0x04, hashlib.sha256(info).digest()))),
                sequence(oid(_SIGNING_CERTIFICATE), tlv(0x31, named)),
            ]
        )
        signature = self.key.sign(tlv(0x31, *attributes) if signed is None else signed, ec.ECDSA(SHA256()))
        signer = sequence(
            integer(1), sequence(self.certificate.issuer.public_bytes(), integer(self.certificate.serial_number)),
            algorithm, tlv(0xA0, *attributes), sequence(oid(_ECDSA_SHA256)), tlv(0x04, signature),
        )  # fmt: skip
        content = sequence(oid(_TST_INFO), tlv(0xA0, tlv(0x04, info)))
        body = sequence(integer(3), tlv(0x31, algorithm), content, tlv(0xA0, der), tlv(0x31, signer))
        token = sequence(oid(_SIGNED_DATA), tlv(0xA0, body))
        return sequence(sequence(integer(status)), *([] if status > 1 else [token]))
