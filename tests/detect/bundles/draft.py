"""A bundle taken apart, to be changed and signed anew: what somebody who holds the signing key could hand over."""

from __future__ import annotations

import base64
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import rfc8785

from detect.bundles.container import write_zip
from detect.bundles.entries import PAYLOAD_TYPE as ENTRY_TYPE
from detect.bundles.entries import digest
from detect.bundles.envelope import pae, to_base64
from detect.bundles.seal import PAYLOAD_TYPE as MANIFEST_TYPE
from detect.bundles.seal import PREDICATE, STATEMENT
from detect.bundles.signer import Signer
from tests.detect.bundles.factory import Files, signer

KEPT = "0" * 64  # a subject's digest that stays as it is
_MADE_ANEW = ("manifest.json", "manifest.tsr", "custody.jsonl")


def envelope(payload: bytes, kind: str, by: Signer, **changes: Any) -> bytes:
    """An envelope; `changes` to its members come after signing."""
    signature = {"keyid": by.keyid, "sig": to_base64(by.sign(pae(kind, payload)))}
    values = {"payload": to_base64(payload), "payloadType": kind, "signatures": [signature]} | changes
    return rfc8785.dumps(values)  # type: ignore[no-any-return]


def payload_of(line: bytes) -> Any:
    return json.loads(base64.b64decode(json.loads(line)["payload"]))


@dataclass
class Draft:
    """What a bundle is made of.

    Attributes:
        files: all but manifest, log and the signers' keys.
        entries: payloads of the log; `previous`, `sequence` and the digests of subjects come when it is put together.
        by: who signs entry i, by number; 1 where nothing is said.
        predicate: members of the manifest's predicate that are to be others.
        others: public keys that are there besides those that sign.
    """

    files: Files
    entries: list[dict[str, Any]]
    said: dict[str, Any]
    by: dict[int, int] = field(default_factory=dict)
    predicate: dict[str, Any] = field(default_factory=dict)
    others: tuple[int, ...] = ()

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> Draft:
        kept = {n: data for n, data in files.items() if n not in _MADE_ANEW and not n.startswith("signers/")}
        entries = [payload_of(line) for line in files["custody.jsonl"].splitlines()]
        return cls(kept, entries, payload_of(files["manifest.json"])["predicate"])

    # --- what is changed ---

    def json(self, name: str) -> Any:
        return json.loads(self.files[name])

    def put(self, name: str, value: Any) -> None:
        self.files[name] = rfc8785.dumps(value)

    def change(self, name: str, **members: Any) -> None:
        """Members of a JSON file; those of a member by its name, as in `lineup__rank`."""
        value = self.json(name)
        for path, new in members.items():
            *outer, last = path.split("__")
            at = value
            for part in outer:
                at = at[part]
            at[last] = new
        self.put(name, value)

    def entry(self, event: str, which: int = 0) -> dict[str, Any]:
        return [one for one in self.entries if one["event"] == event][which]

    def insert(self, at: int, event: str, details: Mapping[str, Any], subjects: Sequence[str] = ()) -> None:
        """An entry; it is as old as the one before."""
        like = self.entries[at - 1]
        named = [{"name": name, "sha256": ""} for name in subjects]
        self.entries.insert(at, {**like, "event": event, "details": dict(details), "subjects": named})

    # --- put together ---

    def lines(self, *, number: bool = True) -> list[bytes]:
        """The log, chained and signed."""
        found: list[bytes] = []
        for i, entry in enumerate(self.entries):
            one = dict(entry)
            if number:
                one["sequence"] = i
            one["previous"] = digest(found[-1]) if found else None
            one["subjects"] = [{**s, "sha256": self._digest(s)} for s in one["subjects"]]
            found.append(envelope(rfc8785.dumps(one), ENTRY_TYPE, signer(self.by.get(i, 1))))
        return found

    def _digest(self, subject: dict[str, Any]) -> str:
        name = f"case/{subject['name']}"
        kept: str = subject["sha256"]
        return kept if kept == KEPT or name not in self.files else digest(self.files[name])

    def build(self, lines: Sequence[bytes] | None = None) -> Files:
        """The bundle's files, signed by signer 1."""
        lines = self.lines() if lines is None else lines
        files = {**self.files, "custody.jsonl": b"".join(line + b"\n" for line in lines)}
        numbers = {1, *self.by.values(), *self.others}
        files |= {f"signers/{signer(n).keyid}.pem": signer(n).public.pem for n in numbers}
        return self.signed(files, lines)

    def signed(self, files: Files, lines: Sequence[bytes], **statement: Any) -> Files:
        """With a manifest over these files."""
        payload = rfc8785.dumps(self.statement(files, lines) | statement)
        files["manifest.json"] = envelope(payload, MANIFEST_TYPE, signer(1))
        return files

    def statement(self, files: Files, lines: Sequence[bytes]) -> dict[str, Any]:
        custody = {"entries": len(lines), "last": digest(lines[-1]) if lines else "0" * 64}
        predicate = {**self.said, "custody": custody, **self.predicate}
        named = sorted(name for name in files if name not in ("manifest.json", "manifest.tsr"))
        subjects = [{"name": name, "digest": {"sha256": digest(files[name])}} for name in named]
        return {"_type": STATEMENT, "predicateType": PREDICATE, "subject": subjects, "predicate": predicate}


def zipped(files: Mapping[str, bytes]) -> bytes:
    """As `taggant seal` writes it."""
    handle = io.BytesIO()
    write_zip(handle, files)
    return handle.getvalue()


def zipped_with(
    files: Mapping[str, bytes],
    *more: tuple[str, bytes],
    change: Callable[[zipfile.ZipInfo], None] | None = None,
    method: int = zipfile.ZIP_DEFLATED,
) -> bytes:
    """The same, with entries that `taggant seal` never writes; `change` is done to their heads."""
    handle = io.BytesIO(zipped(files))
    with warnings.catch_warnings(), zipfile.ZipFile(handle, "a") as archive:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, data in more:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr, info.compress_type = 3, 0o100644 << 16, method
            if change is not None:
                change(info)
            archive.writestr(info, data)
    return handle.getvalue()
