"""Logs, cases and bundles for the tests: small, and made by the code that makes real ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from detect.bundles.case import Case
from detect.bundles.custody import Log
from detect.bundles.entries import PAYLOAD_TYPE, Entry, digest
from detect.bundles.envelope import seal
from detect.bundles.mark import Mark
from detect.bundles.refused import Refused
from detect.bundles.seal import Stamp, seal_case
from detect.bundles.signer import Signer
from tests.detect.material import make_key
from watermark.keys import Opening

CASE = "0123456789abcdef" * 2
DIGEST = "ab" * 32
KEY = make_key(3)
BEGUN: dict[str, Any] = {
    "command": "detect", "key_id": KEY.key_id, "plan": None, "questioned": None, "inputs": [], "options": {},
}  # fmt: skip


def signer(number: int = 0) -> Signer:
    """The same signer for the same number."""
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes([number + 1]) * 32))


class Lines:
    """A log in the making, its times a second apart; nothing is checked, so that it can be wrong."""

    def __init__(self, number: int = 0) -> None:
        self.signer = signer(number)
        self.lines: list[bytes] = []

    def add(self, event: str, details: Mapping[str, Any] | None = None, subjects: Any = None, **changes: Any) -> Lines:
        """Add an entry that follows, unless `changes` of its members say otherwise."""
        members: dict[str, Any] = {
            "case": CASE,
            "sequence": len(self.lines),
            "previous": digest(self.lines[-1]) if self.lines else None,
            "time": f"2026-11-30T01:02:{len(self.lines):02d}Z",
            "event": event,
            "subjects": subjects or {},
            "details": details or {},
            "taggant": "0.1.0",
        }
        return self.put(Entry(**{**members, **changes}).to_payload())

    def put(self, payload: bytes, payload_type: str = PAYLOAD_TYPE) -> Lines:
        self.lines.append(seal(payload, payload_type, self.signer))
        return self

    def begun(self, run: str = "0001", **changes: Any) -> Lines:
        return self.add("begun", {"run": run, **BEGUN, **changes})

    def finished(self, run: str = "0001", tests: tuple[str, ...] = ("text",)) -> Lines:
        return self.add("finished", {"run": run, "tests": list(tests)}, {f"runs/{run}/run.json": DIGEST})

    @property
    def data(self) -> bytes:
        return b"".join(line + b"\n" for line in self.lines)

    def read(self) -> Log:
        return Log.read(self.data, {self.signer.keyid: self.signer.public})


def new_case(directory: Path) -> Case:
    """A case of KEY."""
    case = Case(directory)
    case.hold(Mark.of(KEY))
    return case


def sealed_files(
    case: Case, opening: Opening | None = None, stamp: Stamp | None = None, vocabulary: bytes | None = None
) -> dict[str, bytes]:
    """The files of a bundle of a case, which records it."""
    sealed = seal_case(case, opening, stamp, vocabulary)
    case.write(sealed.entry)
    return dict(sealed.files)


def payloads(data: bytes) -> list[Any]:
    """What the lines of a log say, read by hand."""
    return [json.loads(base64.b64decode(json.loads(line)["payload"])) for line in data.splitlines()]


def events(directory: Path) -> list[str]:
    """The events of a case, in order."""
    return [one["event"] for one in payloads((directory / "custody.jsonl").read_bytes())]


class refused:
    """As pytest.raises(Refused), with the code that it must have."""

    def __init__(self, code: str) -> None:
        self._code, self._raises = code, pytest.raises(Refused)

    def __enter__(self) -> Any:
        self._found = self._raises.__enter__()
        return self._found

    def __exit__(self, *error: Any) -> Any:
        done = self._raises.__exit__(*error)
        assert self._found.value.code == self._code, self._found.value
        return done
