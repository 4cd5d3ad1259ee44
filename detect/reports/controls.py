"""Controls for a likelihood ratio: models or texts of sources that have nothing in common, and what a test said of "
"each.

{"format": "taggant-controls/1", "test": "reading", "kind": "weights", "alpha": 1e-6, "what": "how they were made",
 "positives": [{"source": "…", "detected": true}, …], "negatives": [{"source": "…", "detected": false}, …]}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detect.bundles.material import COUNT, E_PROCESS, WEIGHTS
from detect.bundles.members import Check, has, is_bool, is_text, list_of, require
from detect.bundles.refused import Refused
from detect.bundles.verify.runs import RecordedTest, is_number
from detect.reports.beside import read_object
from detect.reports.ratio import LikelihoodRatio, likelihood_ratio
from watermark.errors import InputError

FORMAT = "taggant-controls/1"
_ROWS = list_of(has(source=is_text, detected=is_bool))
_MEMBERS: dict[str, Check] = {
    "format": lambda value: value == FORMAT,
    "test": lambda value: value in ("text", "sampled", "reading"),
    "kind": lambda value: value in (COUNT, E_PROCESS, WEIGHTS),
    "alpha": lambda value: is_number(value) and 0 < value < 1,
    "what": is_text,
    "positives": lambda value: _ROWS(value) and len(value) > 0,
    "negatives": lambda value: _ROWS(value) and len(value) > 0,
}


@dataclass(frozen=True)
class Controls:
    """Controls of one test.

    Attributes:
        alpha: level at which each was judged.
        what: how they were made, in the words of whoever made them.
        positives, negatives: whether each was detected.
        sha256: of the file.
    """

    test: str
    kind: str
    alpha: float
    what: str
    positives: tuple[bool, ...]
    negatives: tuple[bool, ...]
    sha256: str

    @classmethod
    def load(cls, path: Path) -> Controls:
        """Read a file.

        Raises:
            InputError: malformed, or two controls share a source.
        """
        value, sha = read_object(path, FORMAT, "controls as docs/legal.md has them")
        try:
            content = require(value, _MEMBERS, "json", str(path))
        except Refused as error:
            raise InputError(f"{error}; give controls as docs/legal.md has them") from None
        _refuse_shared(content, path)
        positives, negatives = (tuple(one["detected"] for one in content[kind]) for kind in ("positives", "negatives"))
        own = {name: content[name] for name in ("test", "kind", "alpha", "what")}
        return cls(**own, positives=positives, negatives=negatives, sha256=sha)

    def fits(self, test: RecordedTest) -> bool:
        """Whether they were examined by this test, at its level."""
        own = (test.evidence.get("test"), test.kind, test.evidence.get("alpha"))
        return own == (self.test, self.kind, self.alpha)

    def ratio(self, detected: bool) -> LikelihoodRatio:
        """For the outcome of the case."""
        hits, false = self.counts(detected)
        return likelihood_ratio(hits, len(self.positives), false, len(self.negatives))

    def counts(self, detected: bool) -> tuple[int, int]:
        """How many positive and negative controls had this outcome."""
        return self.positives.count(detected), self.negatives.count(detected)


def _refuse_shared(content: dict[str, Any], path: Path) -> None:
    sources: Sequence[str] = [
        one["source"].strip().casefold() for kind in ("positives", "negatives") for one in content[kind]
    ]
    if len(set(sources)) != len(sources):
        raise InputError(f"{path}: two controls share a source, so they are no independent ones; leave one of them out")
