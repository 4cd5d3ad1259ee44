"""What the two verifiers say of a bundle, to be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509

from detect.bundles.container import read_bundle
from detect.bundles.refused import Refused
from detect.bundles.verify.check import Verified, verify_bundle, verify_files

CHECKS = ["container", "manifest", "files", "signers", "custody", "mark", "timestamps", "runs", "numbers", "responses"]
CHECKS += ["findings", "order"]

# What the second says of a number that it refuses: it has no codes, and names what is not as it should be.
NAMED = {
    "pairs": ("n_tokens", "n_scored", "n_contexts", "n_answers", "stopped", "special tokens"),
    "colours": ("n_green", "S"),
    "p": ("log10_p",),
    "e": ("log10_e",),
    "z": ("z_score",),
    "interval": ("ci95", "green_fraction"),
    "theta": ("theta",),
    "lineup": ("rank", "p_rank", "log10_p_best_decoy"),
}


def verified(source: Path | Mapping[str, bytes], roots: Sequence[x509.Certificate] = ()) -> Verified:
    return verify_bundle(source, roots=roots) if isinstance(source, Path) else verify_files(source, roots=roots)


def first_code(source: Path | Mapping[str, bytes], roots: Sequence[x509.Certificate] = ()) -> str:
    """ "passed", or the first verifier's code."""
    return first_outcome(source, roots)[0]


def first_outcome(source: Path | Mapping[str, bytes], roots: Sequence[x509.Certificate] = ()) -> tuple[str, str]:
    """The first verifier's code, and the check that failed; "passed" twice."""
    passed: list[str] = []
    try:
        files = read_bundle(source) if isinstance(source, Path) else source
        verify_files(files, roots=roots, on_check=lambda name, found: passed.append(name))
    except Refused as refused:
        assert passed == CHECKS[: len(passed)]
        return refused.code, CHECKS[len(passed)]
    return "passed", "passed"
