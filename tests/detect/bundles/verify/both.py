"""What the first verifier says of a bundle, in the second's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509

from detect.bundles.refused import Refused
from detect.bundles.verify.check import Verified, verify_bundle, verify_files


def verified(source: Path | Mapping[str, bytes], roots: Sequence[x509.Certificate] = ()) -> Verified:
    return verify_bundle(source, roots=roots) if isinstance(source, Path) else verify_files(source, roots=roots)


def first_code(source: Path | Mapping[str, bytes], roots: Sequence[x509.Certificate] = ()) -> str:
    try:
        verified(source, roots)
    except Refused as refused:
        return refused.code
    return "passed"
