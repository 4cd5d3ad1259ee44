"""A validation study, as `taggant validate` writes it: its error rates, cited with the population of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detect.bundles.mark import Mark
from detect.bundles.members import Check, is_count, is_text, list_of, or_null
from detect.bundles.verify.runs import is_number
from detect.reports.beside import read_object
from watermark.errors import InputError

FORMAT = "taggant-validation/1"


def _rate(value: Any) -> bool:
    interval = value.get("interval95") if isinstance(value, dict) else None
    return (
        isinstance(value, dict)
        and is_number(value.get("level"))
        and is_count(value.get("count"))
        and is_count(value.get("of"))
        and value["count"] <= value["of"]
        and isinstance(interval, list)
        and len(interval) == 2
        and all(map(is_number, interval))
    )


def _tests(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(one, dict) and list_of(_rate)(one.get("rates")) for one in value.values()
    )


def _holds(**members: Check) -> Check:
    """An object that has these members, and may have more."""
    return lambda value: (
        isinstance(value, dict) and all(name in value and check(value[name]) for name, check in members.items())
    )


_MEMBERS: dict[str, Check] = {
    "mark": _holds(scheme=is_text, gamma_65536=is_count, context_width=is_count, tokenizer_sha256=or_null(is_text)),
    "populations": list_of(_holds(name=is_text, what=is_text, documents=is_count, tokens=is_count, sha256=is_text)),
    "nulls": list_of(_holds(population=is_text, tokens=is_count, texts=is_count, keys=is_count, tests=_tests)),
    "pooled": list_of(_holds(population=is_text, test=is_text, rates=list_of(_rate))),
    "models": list_of(_holds(population=is_text, keys=is_count, tests=_tests)),
    "marked": list_of(
        _holds(population=is_text, delta=or_null(is_number), tokens=is_count, texts=is_count, tests=_tests)
    ),
    "limits": _holds(checked=is_count, within=is_count),
    "notes": list_of(is_text),
}


@dataclass(frozen=True)
class Validation:
    """A study that was given.

    Attributes:
        content: checked as far as it is shown.
        sha256: of the file.
    """

    content: Mapping[str, Any] = field(repr=False)
    sha256: str

    @classmethod
    def load(cls, path: Path) -> Validation:
        """Read a study (InputError: not there, or malformed)."""
        advice = "the validation.json that `taggant validate` wrote"
        content, sha = read_object(path, FORMAT, advice)
        for name, check in _MEMBERS.items():
            if not check(content.get(name)):
                raise InputError(f"{path}: {name} is malformed; give {advice}")
        return cls(content, sha)

    def differences(self, mark: Mark) -> list[str]:
        """In what its mark differs from this one, in words; the tokenizer only where both have one."""
        own = self.content["mark"]
        names = ["scheme", "gamma_65536", "context_width"]
        if own["tokenizer_sha256"] is not None and mark.tokenizer_sha256 is not None:
            names.append("tokenizer_sha256")
        return [
            f"{name} {own[name]} instead of {getattr(mark, name)}" for name in names if own[name] != getattr(mark, name)
        ]
