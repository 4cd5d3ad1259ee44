"""Sealing: a case becomes a bundle, every byte of which is under one signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detect.bundles import canonical
from detect.bundles.case import Case, DrawnUp
from detect.bundles.container import Room, write_zip
from detect.bundles.entries import digest
from detect.bundles.envelope import seal as enveloped
from detect.bundles.environment import environment, version
from detect.bundles.held import LOG, MARK, SIGNERS
from detect.bundles.refused import Refused
from watermark.errors import InputError
from watermark.files import new_directory, new_file
from watermark.keys import Opening

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:taggant:bundle:1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
FORMAT = "taggant-bundle/1"
MANIFEST, MANIFEST_STAMP, OPENING, ENVIRONMENT = "manifest.json", "manifest.tsr", "opening.json", "environment.json"
VOCABULARY = "vocabulary.bin"  # the tokens of the mark's tokenizer, as its hash takes them in
FILES = "case"  # the directory of the case's files
ZIP_SUFFIX = ".zip"

Stamp = Callable[[bytes], bytes]  # some bytes → an authority's RFC 3161 response over them


@dataclass(frozen=True)
class Sealed:
    """A bundle that was made of a case.

    Attributes:
        files: by their names.
        entry: says so in the bundle's log, and not yet in the case's: it is recorded when the bundle is there.
    """

    files: Mapping[str, bytes] = field(repr=False)
    entry: DrawnUp = field(repr=False)


def seal_case(
    case: Case, opening: Opening | None = None, stamp: Stamp | None = None, vocabulary: bytes | None = None
) -> Sealed:
    """Make a bundle of a case; where it fails nothing was recorded.

    Args:
        opening: of the case's one key; None: it stays closed.
        stamp: has the manifest timestamped.
        vocabulary: of the mark's tokenizer (`watermark.keys.tokenizers.vocabulary_of`), which shows the other side
            which ids are special; None: that stays the examiner's word.

    Raises:
        InputError: the case has no mark yet, or is larger than a bundle may be.
        Refused: a recorded file is not there, or was changed; or as `stamp`.
    """
    if case.mark is None:
        raise InputError(f"{case.directory} has no mark yet: nothing was done with a key in it that could be sealed")
    files = {f"{FILES}/{name}": data for name, data in case.held.files().items()}
    files[MARK] = canonical.dumps(case.mark.to_json())
    files[ENVIRONMENT] = canonical.dumps(environment())
    if opening is not None:
        files[OPENING] = canonical.dumps(opening.to_json())
    if vocabulary is not None:
        files[VOCABULARY] = vocabulary
    _refuse_too_large(files)
    entry = case.draw_up("sealed", {"opened": opening is not None})
    files[LOG] = case.bytes_of_log() + entry.line + b"\n"
    files |= {f"{SIGNERS}/{keyid}.pem": case.keys[keyid].pem for keyid in entry.log.signers}
    files[MANIFEST] = enveloped(_statement(entry, files, opening is not None), PAYLOAD_TYPE, case.signer)
    if stamp is not None:
        files[MANIFEST_STAMP] = stamp(files[MANIFEST])
    return Sealed(files, entry)


def write_bundle(files: Mapping[str, bytes], path: Path, just_before: Callable[[], None] = lambda: None) -> None:
    """Write a bundle: a zip archive where `path` ends in .zip, the same for the same files, else a directory.

    An opened key is for its owner's eyes alone until they hand it over.

    Args:
        just_before: called when all of it is written, and it only remains to put it in its place.

    Raises:
        InputError: something is there already.
        OSError: as from the operating system; nothing is left behind.
    """
    if path.suffix == ZIP_SUFFIX:
        with new_file(path, mode=0o600 if OPENING in files else 0o644) as handle:
            write_zip(handle, files)
            just_before()
        return
    with new_directory(path) as root:
        for name, data in files.items():
            place = root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            if name == OPENING:
                place.chmod(0o600)
        just_before()


def _statement(sealed: DrawnUp, files: Mapping[str, bytes], opened: bool) -> bytes:
    """The in-toto statement about all files there are by now."""
    log = sealed.log
    predicate: dict[str, Any] = {
        "format": FORMAT,
        "case": log.case,
        "created": sealed.entry.time,
        "opened": opened,
        "custody": {"entries": len(log.entries), "last": log.last},
        "taggant": version("taggant") or "unknown",
    }
    subjects = [{"name": name, "digest": {"sha256": digest(files[name])}} for name in sorted(files)]
    return canonical.dumps(
        {"_type": STATEMENT, "predicateType": PREDICATE, "subject": subjects, "predicate": predicate}
    )


def _refuse_too_large(files: Mapping[str, bytes]) -> None:
    room = Room()
    try:
        for name, data in files.items():
            room.take(name, len(data))
    except Refused as error:
        raise InputError(f"the case is more than a bundle may hold: {error}") from None
