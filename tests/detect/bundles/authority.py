"""A timestamping authority on this machine: certificates by cryptography, answers by OpenSSL, over HTTP."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_CONFIGURATION = """
[tsa]
default_tsa = one
[one]
serial = {root}/serial
default_policy = 1.2.3.4.1
digests = sha256, sha512
signer_digest = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""


class Authority:
    """The authority and what it was sent.

    Args:
        root: an empty directory for its files.
        answer: makes the answer of the request and of the one that is right; None: the one that is right.

    Attributes:
        certificate: of its root, PEM.
        requests: as they came.
        status: of the HTTP answer.
    """

    def __init__(self, root: Path, answer: Callable[[bytes, bytes], bytes] | None = None) -> None:
        self._root, self._answer = root, answer
        self.requests: list[bytes] = []
        self.status = 200
        self.certificate = self._certify()
        (root / "tsa.cnf").write_text(_CONFIGURATION.format(root=root))
        (root / "serial").write_text("01\n")

    def __enter__(self) -> Authority:
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/timestamp-query"
                authority.requests.append(request)
                reply = authority.reply(request)
                self.send_response(authority.status)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/tsr"

    def reply(self, request: bytes) -> bytes:
        """The answer to a request, DER."""
        right = self.right_reply(request)
        return right if self._answer is None else self._answer(request, right)

    def right_reply(self, request: bytes) -> bytes:
        """By OpenSSL."""
        (self._root / "request").write_bytes(request)
        command = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", "request", "-out", "reply"]
        command += ["-signer", "tsa.pem", "-inkey", "tsa.key"]
        subprocess.run(command, cwd=self._root, check=True, capture_output=True)
        return (self._root / "reply").read_bytes()

    def _certify(self) -> bytes:
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root_name, name = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, n)]) for n in ("root", "authority"))
        ca = _certificate(root_name, root_name, root_key, root_key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.TIME_STAMPING])
        tsa = _certificate(name, root_name, key, root_key).add_extension(usage, critical=True)
        root_pem = ca.sign(root_key, SHA256()).public_bytes(Encoding.PEM)
        (self._root / "root.pem").write_bytes(root_pem)
        (self._root / "tsa.pem").write_bytes(tsa.sign(root_key, SHA256()).public_bytes(Encoding.PEM))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self._root / "tsa.key").write_bytes(private)
        return root_pem


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    today = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=10))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
