"""Who asked what of whom: a TOML file that the examiner writes. It is not part of the bundle; the report says so."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from detect.bundles.entries import digest
from watermark.errors import InputError

NAMES = ("question", "commissioned_by", "examiner", "qualifications", "reference", "dated")
_ITEM = ("sha256", "description")


@dataclass(frozen=True)
class Commission:
    """What the examiner says of the commission; every text is shown as it is, and obeyed nowhere.

    Attributes:
        reference: the court's or the client's own number of the matter.
        dated: of the report, in the examiner's words, or a date of TOML.
        items: SHA-256 → what it is.
        sha256: of the file.
    """

    question: str | None = None
    commissioned_by: str | None = None
    examiner: str | None = None
    qualifications: str | None = None
    reference: str | None = None
    dated: str | None = None
    items: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None

    @classmethod
    def load(cls, path: Path) -> Commission:
        """Read a file.

        Raises:
            InputError: not there, no TOML, or with members that are none of a commission's.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from None
        try:
            content = tomllib.loads(data.decode("utf-8"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"{path} is no TOML ({error}); see `taggant report --help` for what is in it") from None
        return cls(**_texts(content, path), items=_items(content.get("items", []), path), sha256=digest(data))


def _texts(content: Mapping[str, Any], path: Path) -> dict[str, str]:
    for name, value in content.items():
        if name not in (*NAMES, "items"):
            raise InputError(f"{path}: {name!r} is not known; give {', '.join(NAMES)} or [[items]]")
        if name == "dated" and isinstance(value, date):
            continue
        if name != "items" and not isinstance(value, str):
            raise InputError(f"{path}: {name} must be text in quotation marks")
    return {name: str(content[name]) for name in NAMES if name in content}


def _items(value: Any, path: Path) -> dict[str, str]:
    rows = value if isinstance(value, list) else [value]
    for row in rows:
        if not isinstance(row, dict) or set(row) != set(_ITEM) or not all(isinstance(one, str) for one in row.values()):
            raise InputError(f"{path}: each of [[items]] has a sha256 and a description, both text, and nothing else")
    return {row["sha256"].lower(): row["description"] for row in rows}
