"""The manifest: whose signature is over it, what it says of the bundle, and whether the files are those it names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from detect.bundles import canonical
from detect.bundles.entries import digest
from detect.bundles.envelope import unseal
from detect.bundles.held import SIGNERS
from detect.bundles.members import Check, has, is_bool, is_count, is_digest, is_text, list_of, require
from detect.bundles.refused import Refused
from detect.bundles.seal import FORMAT, MANIFEST, MANIFEST_STAMP, PAYLOAD_TYPE, PREDICATE, STATEMENT
from detect.bundles.signer import PublicKey
from watermark.keys.commitment import is_created

Files = Mapping[str, bytes]

_STATEMENT: dict[str, Check] = {
    "_type": lambda value: value == STATEMENT,
    "predicateType": lambda value: value == PREDICATE,
    "subject": list_of(has(name=is_text, digest=has(sha256=is_digest))),
    "predicate": lambda value: isinstance(value, dict),
}
_PREDICATE: dict[str, Check] = {
    "format": lambda value: value == FORMAT,
    "case": is_text,
    "created": is_created,
    "opened": is_bool,
    "custody": has(entries=is_count, last=is_digest),
    "taggant": is_text,
}


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        keyid: who signed it.
        subjects: name and SHA-256 of every file, in the order in which they stand.
        opened: the key is handed over.
        entries: of the log.
        last: digest of the log's last line.
    """

    keyid: str
    case: str
    created: str
    opened: bool
    entries: int
    last: str
    subjects: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, files: Files, keys: Mapping[str, PublicKey]) -> Manifest:
        """Verify the envelope, then read the statement in it.

        Raises:
            Refused: as `unseal`, or "statement".
        """
        signed = unseal(files[MANIFEST], PAYLOAD_TYPE, keys, MANIFEST)
        statement = require(canonical.loads(signed.payload, MANIFEST), _STATEMENT, "statement", MANIFEST)
        said: dict[str, Any] = require(statement["predicate"], _PREDICATE, "statement", f"{MANIFEST}, predicate")
        subjects = tuple((one["name"], one["digest"]["sha256"]) for one in statement["subject"])
        return cls(signed.keyid, said["case"], said["created"], said["opened"], **said["custody"], subjects=subjects)

    def check(self, files: Files) -> None:
        """Raise Refused unless these are the files, each as it was.

        Raises:
            Refused: "order", "extra", "absent" or "digest".
        """
        names = [name for name, _ in self.subjects]
        if names != sorted(set(names)):
            raise Refused("order", "the manifest's files are not in order, or one is named twice")
        for name in files:
            if name not in (MANIFEST, MANIFEST_STAMP) and name not in names:
                raise Refused("extra", f"{name} is not named by the manifest")
        for name, found in self.subjects:
            if name not in files or name in (MANIFEST, MANIFEST_STAMP):
                raise Refused("absent", f"{name} is named by the manifest and not there")
            if digest(files[name]) != found:
                raise Refused("digest", f"{name} is not the file that was signed for")


def keys_in(files: Files) -> dict[str, PublicKey]:
    """The public keys that lie under their own key ids."""
    found = {}
    for name in _signers(files):
        try:
            key = PublicKey.from_pem(files[name], name)
        except Refused:
            continue  # said by `check_signers`
        if name == f"{SIGNERS}/{key.keyid}.pem":
            found[key.keyid] = key
    return found


def check_signers(files: Files, keys: Mapping[str, PublicKey], trusted: Collection[PublicKey]) -> None:
    """Raise Refused unless every signer's key can be read, has its name and, where some are given, is trusted.

    Raises:
        Refused: "signer" or "untrusted".
    """
    for name in _signers(files):
        key = PublicKey.from_pem(files[name], name)
        if name != f"{SIGNERS}/{key.keyid}.pem":
            raise Refused("signer", f"{name} holds the key {key.keyid[:16]}")
    known = {key.keyid for key in trusted}
    for keyid in keys:
        if known and keyid not in known:
            raise Refused("untrusted", f"the signer {keyid} is not among the keys that are trusted")


def _signers(files: Files) -> list[str]:
    return [name for name in files if name.startswith(f"{SIGNERS}/")]
