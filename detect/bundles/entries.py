"""One entry of the custody log: its members, and what each kind of event says."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detect.bundles import canonical
from detect.bundles.container import is_name
from detect.bundles.members import (
    Check,
    has,
    is_bool,
    is_count,
    is_digest,
    is_run,
    is_text,
    list_of,
    or_null,
    require,
)
from detect.bundles.refused import Refused
from watermark.keys.commitment import is_created

FORMAT = "taggant-custody/1"
PAYLOAD_TYPE = "application/vnd.taggant.custody+json"
LONGEST_NOTE = 4000  # characters
STAMPED = ("commitment", "plan", "entry")
RESPONSES = "responses.log"  # a server's answers, in a run's directory

_CASE = re.compile(r"[0-9a-f]{32}")
_QUESTIONED: tuple[Check, ...] = (has(model=is_digest), has(server=is_text, model_name=is_text))

DETAILS: dict[str, dict[str, Check]] = {
    "opened": {},
    "key-checked": {"key_id": is_digest, "accepted": is_bool, "corpus_sha256": is_digest},
    "committed": {"root": is_digest, "size": lambda value: is_count(value) and value > 0},
    "planned": {"plan": is_digest, "key_id": is_digest, "root": or_null(is_digest)},
    "begun": {
        "run": is_run,
        "command": is_text,
        "key_id": is_digest,
        "plan": or_null(is_digest),
        "questioned": lambda value: value is None or any(check(value) for check in _QUESTIONED),
        "inputs": list_of(has(name=is_text, sha256=is_digest, bytes=is_count)),
        "options": lambda value: isinstance(value, dict),
    },
    "finished": {"run": is_run, "tests": list_of(is_text)},
    "stopped": {"run": is_run, "reason": is_text},
    "noted": {"text": lambda value: is_text(value) and len(value) <= LONGEST_NOTE},
    "stamped": {"of": is_digest, "what": lambda value: value in STAMPED},
    "sealed": {"opened": is_bool},
}
_NUMBERED = r"(-[1-9][0-9]*)?\.json"
_SUBJECT = {
    "key-checked": re.compile(rf"key-check{_NUMBERED}"),
    "committed": re.compile(rf"commitment{_NUMBERED}"),
    "planned": re.compile(rf"plan{_NUMBERED}"),
    "stamped": re.compile(r"stamps/.+\.tsr"),
}


@dataclass(frozen=True)
class Entry:
    """What one line of the log says.

    Attributes:
        case: 32 hex digits, the same in every entry.
        sequence: from 0.
        previous: digest of the line before; None in the first.
        time: UTC, by the signer's clock.
        subjects: name below the case's directory → SHA-256.
        taggant: version that wrote it.
    """

    case: str
    sequence: int
    previous: str | None
    time: str
    event: str
    subjects: Mapping[str, str]
    details: Mapping[str, Any]
    taggant: str

    def to_payload(self) -> bytes:
        """The canonical JSON that is signed."""
        subjects = [{"name": name, "sha256": self.subjects[name]} for name in sorted(self.subjects)]
        values = {name: getattr(self, name) for name in _MEMBERS if name not in ("format", "subjects")}
        return canonical.dumps({"format": FORMAT, **values, "subjects": subjects})

    @classmethod
    def from_payload(cls, payload: bytes, what: str) -> Entry:
        """Read what `to_payload` gave.

        Raises:
            Refused: "json", "entry" or "event" (one that is not known).
        """
        values = require(canonical.loads(payload, what), _MEMBERS, "entry", what)
        event = values["event"]
        if event not in DETAILS:
            raise Refused("event", f"{what}: an event that is not known")
        require(values["details"], DETAILS[event], "entry", f"{what} ({event})")
        names = [one["name"] for one in values["subjects"]]
        if not all(map(is_name, names)):
            raise Refused("entry", f"{what}: a subject's name is none that a bundle's file may have")
        if names != sorted(set(names)):
            raise Refused("entry", f"{what}: its subjects are not in order, or one is named twice")
        _check_subjects(event, names, values["details"], what)
        subjects = {one["name"]: one["sha256"] for one in values["subjects"]}
        fields = {name: values[name] for name in _MEMBERS if name != "format"}
        return cls(**{**fields, "subjects": subjects})


_MEMBERS: dict[str, Check] = {
    "format": lambda value: value == FORMAT,
    "case": lambda value: is_text(value) and _CASE.fullmatch(value) is not None,
    "sequence": is_count,
    "previous": or_null(is_digest),
    "time": is_created,
    "event": is_text,
    "subjects": list_of(has(name=is_text, sha256=is_digest)),
    "details": lambda value: isinstance(value, dict),
    "taggant": is_text,
}


def answers_of(run: str) -> str:
    """The name of a run's copy of a server's answers."""
    return f"runs/{run}/{RESPONSES}"


def digest(data: bytes) -> str:
    """SHA-256, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def _check_subjects(event: str, names: list[str], details: Mapping[str, Any], what: str) -> None:
    """Raise Refused("entry") unless the event has the files that it must."""
    if event == "finished":
        below = f"runs/{details['run']}/"
        fits = f"{below}run.json" in names and all(name.startswith(below) for name in names)
    elif event == "stopped":
        fits = names in ([], [answers_of(details["run"])])
    elif event in _SUBJECT:
        fits = len(names) == 1 and _SUBJECT[event].fullmatch(names[0]) is not None
    else:
        fits = not names
    if not fits:
        raise Refused("entry", f"{what}: not the files that {event!r} must have")
