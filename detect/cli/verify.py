"""`taggant verify`: is a bundle what it says, and do its numbers follow? Offline, and without a model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detect.cli.options import FILE, habits, json_option
from detect.cli.output import emit, emit_json, printable

if TYPE_CHECKING:
    from cryptography import x509

    from detect.bundles.signer import PublicKey
    from detect.bundles.verify.check import Verified
    from detect.bundles.verify.responses import Tokens

EXIT_FAILED = 1


@click.command(short_help="Verify an evidence bundle, and compute its tests again.")
@click.argument("bundle", type=FILE)
@click.option(
    "--trust",
    "trust_files",
    multiple=True,
    type=FILE,
    metavar="PEM",
    help="Public key of a signer that is trusted: then all must be. A file whose name you were told, the signer's key "
    "id, is in the bundle: signers/….pem. May be repeated.",
)
@click.option(
    "--tsa-root",
    "root_files",
    multiple=True,
    type=FILE,
    metavar="PEM",
    help="Root certificate of a timestamping authority: then every timestamp must lead to one. May be repeated.",
)
@click.option(
    "--tokenizer",
    "tokenizer_directory",
    type=FILE,
    metavar="DIR",
    help="The mark's tokenizer: then its special ids are those of the mark, and answers of a server, of which text was "
    "tokenised again, are so here, too.",
)
@json_option
@habits
def verify(
    bundle: Path,
    trust_files: tuple[Path, ...],
    root_files: tuple[Path, ...],
    tokenizer_directory: Path | None,
    as_json: bool,
) -> int:
    """Verify an evidence bundle: a directory, or a zip archive that `taggant seal` wrote.

    A line a check, in a fixed order; the first that fails is the last. Then `PASSED`, with what could not be checked,
    or `FAILED` with a code and the reason, and exit 1. Nothing is fetched, and no model is needed. Whoever does not
    want to rely on this program has tools/verify_bundle.py, which shares no code with it.

    \b
    taggant verify case-17.zip --trust examiner.pem --tsa-root authority.pem
    """
    from detect.bundles.refused import Refused
    from detect.bundles.verify.check import verify_bundle

    trusted, roots = [public_key(path) for path in trust_files], [certificate(path) for path in root_files]
    tokens = None if tokenizer_directory is None else _tokens(tokenizer_directory)
    checks: list[tuple[str, str]] = []

    def on_check(name: str, found: str) -> None:
        checks.append((name, found))
        if not as_json:
            emit(f"{name:10}  {printable(found)}")

    try:
        verified = verify_bundle(bundle, trusted=trusted, roots=roots, tokens=tokens, on_check=on_check)
    except Refused as refused:
        if as_json:
            emit_json({"passed": False, "code": refused.code, "reason": str(refused), "checks": _as_objects(checks)})
        else:
            emit(f"FAILED: {refused.code} {printable(refused)}")
        return EXIT_FAILED
    if as_json:
        emit_json({"passed": True, "checks": _as_objects(checks), **_content(verified)})
    else:
        emit(f"PASSED: every check; not checked: {printable('; '.join(verified.unchecked)) or 'nothing'}")
    return 0


def _as_objects(checks: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"check": name, "found": found} for name, found in checks]


def _content(verified: Verified) -> dict[str, object]:
    """What a bundle that passed says, in short."""
    confirmatory = {(test.run, test.name) for test in verified.confirmatory}
    return {
        "case": verified.manifest.case,
        "key_id": verified.marked.key_id,
        "opened": verified.marked.opened,
        "signers": sorted({verified.manifest.keyid, *verified.log.signers}),
        "timestamps": [
            {"what": one.what, "of": one.of, "time": f"{one.stamp.time:%Y-%m-%dT%H:%M:%SZ}", "by": one.stamp.authority}
            for one in verified.stamps
        ],
        "tests": [
            {
                "run": test.run,
                "name": test.name,
                "finding": test.evidence["finding"],
                "log10_p_adjusted": test.evidence["log10_p_adjusted"],
                "confirmatory": (test.run, test.name) in confirmatory,
                "with_left_out": asdict(verified.wholes[test.what]) if test.what in verified.wholes else None,
            }
            for test in verified.tests
        ],
        "not_checked": list(verified.unchecked),
    }


def _tokens(directory: Path) -> Tokens:
    """Of a directory that holds a tokenizer; nothing is fetched (InputError, ModelError)."""
    from detect.bundles.verify.responses import Tokens
    from detect.questioned.answer_ids import AnswerReader
    from watermark.engines.models import load_tokenizer
    from watermark.errors import InputError
    from watermark.keys import TokenizerIdentity

    if not directory.is_dir():
        raise InputError(f"{directory} is no directory; give one that holds the mark's tokenizer")
    tokenizer = load_tokenizer(directory)
    own = TokenizerIdentity.of(tokenizer)
    return Tokens(own.sha256, own.special_ids, lambda longest: AnswerReader(tokenizer, longest))


def public_key(path: Path) -> PublicKey:
    """A signer's public key, of a file (KeyFileError)."""
    from detect.bundles.refused import Refused
    from detect.bundles.signer import PublicKey
    from watermark.errors import KeyFileError

    try:
        return PublicKey.from_pem(_bytes(path), str(path))
    except Refused as error:
        problem = str(error)
    raise KeyFileError(f"{problem}; give a signer's public key, such as signers/….pem of a bundle")


def certificate(path: Path) -> x509.Certificate:
    """A root certificate, of a file (KeyFileError)."""
    from cryptography import x509

    from watermark.errors import KeyFileError

    try:
        return x509.load_pem_x509_certificate(_bytes(path))
    except ValueError:
        pass
    raise KeyFileError(f"{path}: no certificate in PEM; give the root certificate of the timestamping authority")


def _bytes(path: Path) -> bytes:
    from watermark.errors import KeyFileError

    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read ({error.strerror}); check the path") from None
