"""Controls for a likelihood ratio: models or texts of sources that have nothing in common, and what a test said.

{"format": "taggant-controls/1", "test": "reading", "kind": "weights", "weights": "difference", "reference": true,
 "gamma": 0.25, "context_width": 2, "alpha": 1e-6, "what": "how they were made, and what they share",
 "positives": [{"source": "…", "detected": true}, …], "negatives": [{"source": "…", "detected": false}, …]}
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from detect.bundles.material import COUNT, E_PROCESS, SCAN, WEIGHTS
from detect.bundles.members import Check, has, is_bool, is_count, is_text, list_of, require
from detect.bundles.refused import Refused
from detect.bundles.verify.runs import RecordedTest, is_number
from detect.observation import Excess, Reading
from detect.reports.beside import read_object
from detect.reports.ratio import LikelihoodRatio, likelihood_ratio
from watermark.errors import InputError

FORMAT = "taggant-controls/1"
_ROWS = list_of(has(source=is_text, detected=is_bool))
_MEMBERS: dict[str, Check] = {
    "format": lambda value: value == FORMAT,
    "test": lambda value: value in ("text", "sampled", "reading"),
    "kind": lambda value: value in (COUNT, E_PROCESS, WEIGHTS),
    "weights": lambda value: value in ("distinct", "excess", "difference", "mass"),
    "reference": is_bool,
    "gamma": lambda value: is_number(value) and 0 < value < 1,
    "context_width": is_count,
    "alpha": lambda value: is_number(value) and 0 < value < 1,
    "what": is_text,
    "positives": lambda value: _ROWS(value) and len(value) > 0,
    "negatives": lambda value: _ROWS(value) and len(value) > 0,
}


@dataclass(frozen=True)
class Design:
    """What of a test has to be the same for controls to say anything of it.

    Attributes:
        kind: "count", "e-process" or "weights".
        weights: in the words of plans: "distinct" pairs that are counted, "excess", "difference" or "mass".
        reference: there was a reference model.
        alpha: level at which one test alone is judged.
    """

    test: str
    kind: str
    weights: str
    reference: bool
    gamma: float
    context_width: int
    alpha: float

    @classmethod
    def of(cls, test: RecordedTest) -> Design | None:
        """That of a recorded test; None of a scan, of which there are no controls."""
        if test.kind == SCAN:
            return None
        weights, reference = _weighting(test)
        own = {name: test.evidence[name] for name in ("test", "gamma", "context_width", "alpha")}
        return cls(**own, kind=test.kind, weights=weights, reference=reference)


def _weighting(test: RecordedTest) -> tuple[str, bool]:
    """What was weighed, and whether against a reference, as the verified material has it, whatever the test's name."""
    if test.kind != WEIGHTS:
        return "distinct", False
    with np.load(io.BytesIO(test.material["weights"]), allow_pickle=False) as file:
        form, reference = str(file["format"]), bool(file["with_reference"])
    read = {Reading.FORMAT: "difference" if reference else "mass", Excess.FORMAT: "excess"}
    return read[form], reference


@dataclass(frozen=True)
class Controls:
    """Controls of one test.

    Attributes:
        design: of the test that each was examined by, alone.
        what: how they were made and what they share, in the words of whoever made them.
        positives, negatives: whether each was detected.
        sha256: of the file.
    """

    design: Design
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
        design = Design(**{one.name: content[one.name] for one in fields(Design)})
        return cls(design, content["what"], positives=positives, negatives=negatives, sha256=sha)

    def fits(self, test: RecordedTest) -> bool:
        """Whether they were examined by this test, under such a mark, at its level."""
        return Design.of(test) == self.design

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
