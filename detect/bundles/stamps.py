"""Timestamps from outside (RFC 3161): a request over some bytes, sent to an authority, and its response."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from detect.bundles.verify.der import INTEGER, SEQUENCE, elements, encoded, only
from watermark.errors import InputError

TIMEOUT = 30.0  # seconds
LARGEST = 1 << 17  # bytes of a response; those of authorities have some 10,000
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"
_MISSING = (
    "--timestamp needs the library rfc3161-client, which is not installed: pip install 'taggant[timestamp]', or leave "
    "the option out"
)


def refuse_unusable(authority: str) -> None:
    """Before anything is done whose timestamp would fail: raise InputError for an address or a library that is none."""
    parts = urlsplit(authority)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("the timestamping authority's address must begin with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise InputError("the timestamping authority's address holds a user or a password; leave it out")
    try:
        import rfc3161_client  # noqa: F401
    except ImportError:
        raise InputError(_MISSING) from None


def timestamp(authority: str, data: bytes) -> bytes:
    """An authority's token over `data`: DER, checked to be over just these bytes, for just this request.

    It comes in a response that says "granted" and nothing else: what an authority adds to that, words mostly, is signed
    by nobody, and whoever changed it in a bundle would not be noticed.

    Who the authority is, and whether to trust it, is left to those who verify the bundle.

    Raises:
        InputError: the library is missing, the authority cannot be reached, or its answer is none.
    """
    refuse_unusable(authority)
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    request = (
        TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).nonce(nonce=True)
        .cert_request(cert_request=True).build()
    )  # fmt: skip
    response = _post(authority, request.as_bytes())
    _check(response, request.nonce, data, authority)
    return _plainly_granted(response, authority)


def _check(response: bytes, nonce: int | None, data: bytes, authority: str) -> None:
    from rfc3161_client import decode_timestamp_response

    host = urlsplit(authority).hostname
    try:
        decoded = decode_timestamp_response(response)
        granted, info = decoded.status in (0, 1), decoded.tst_info
    except ValueError:
        raise InputError(f"{host} sent no timestamp that can be read; try again, or another authority") from None
    if not granted:
        raise InputError(f"{host} granted no timestamp (status {decoded.status}); try again, or another authority")
    if info.message_imprint.message != hashlib.sha256(data).digest() or info.nonce != nonce:
        raise InputError(f"{host} sent a timestamp over something else; use another authority")


def _plainly_granted(response: bytes, authority: str) -> bytes:
    try:
        _, token = elements(only(response, SEQUENCE).content, SEQUENCE, SEQUENCE)
    except ValueError:
        host = urlsplit(authority).hostname
        raise InputError(f"{host} sent no timestamp that can be read; try again, or another authority") from None
    return encoded(SEQUENCE, encoded(SEQUENCE, encoded(INTEGER, b"\0")), token.whole)


def _post(authority: str, body: bytes) -> bytes:
    request = urllib.request.Request(authority, body, {"Content-Type": _QUERY, "Accept": _REPLY}, method="POST")  # noqa: S310
    host = urlsplit(authority).hostname
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            content: bytes = answer.read(LARGEST + 1)
    except urllib.error.HTTPError as error:
        raise InputError(f"{host} gave no timestamp ({error.code}); try again, or another authority") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{host} cannot be reached ({reason}); try again, or another authority") from None
    if len(content) > LARGEST:
        raise InputError(f"{host} sent more than a timestamp may be; use another authority")
    return content
