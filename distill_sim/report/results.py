"""The rows of one condition, put together: runs by test, with medians."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from distill_sim.condition import Condition
from distill_sim.curves import Median, median_of

ALPHA = 1e-6  # a run counts as detected when p of the test alone is at or below it
LOG10_ALPHA = math.log10(ALPHA)
FIELDS = tuple(one.name for one in fields(Condition))
QUESTIONING = ("probe_tokens", "sampled_tokens")  # fields that change how a student is tested, not the student

Values = tuple[Any, ...]


@dataclass(frozen=True)
class Run:
    """One seed × key under one test.

    Attributes:
        evidence: −log10 p, in decades; None: no p was claimed.
        z: standard deviations above chance, for display; None: the test has none, or scored nothing.
        scored: what the test counted or weighed.
    """

    seed: int
    key: int
    key_id: str
    evidence: float | None
    z: float | None
    scored: int

    @property
    def detected(self) -> bool:
        return self.evidence is not None and -self.evidence <= LOG10_ALPHA


@dataclass(frozen=True)
class Results:
    """The runs of one condition under one test, looked at with one kind of key."""

    runs: tuple[Run, ...]

    @property
    def claimed(self) -> list[float]:
        return [run.evidence for run in self.runs if run.evidence is not None]

    @property
    def detected(self) -> int:
        return sum(run.detected for run in self.runs)

    @cached_property
    def median(self) -> Median | None:
        return median_of(self.claimed) if self.claimed else None

    @property
    def typical(self) -> float:
        """Median evidence; 0 where no p was claimed."""
        return self.median.median if self.median else 0.0

    @property
    def z(self) -> float | None:
        """Median z of the runs that have one."""
        known = [run.z for run in self.runs if run.z is not None]
        return float(np.median(known)) if known else None

    @property
    def told(self) -> bool:
        """Whether at least half of the runs were detected, so that there is something to lose."""
        return 2 * self.detected >= len(self.runs) > 0

    def to_dict(self) -> dict[str, Any]:
        """In log10 p, as the tables are: `low` is the smaller p."""
        found = {"runs": len(self.runs), "claimed": len(self.claimed), "detected": self.detected, "z": self.z}
        one = self.median
        if one is None:
            return {**found, "median": None}
        return {
            **found,
            "median": -one.median,
            "low": -one.high,
            "high": -one.low,
            "coverage": one.coverage,
            "quartiles": [-one.q3, -one.q1],
            "smallest": -one.largest,
            "largest": -one.smallest,
        }


@dataclass(frozen=True)
class Cell:
    """One condition.

    Attributes:
        values: every field of the condition.
        results: looked_for → test → runs.
        tokens_under: looked_for → answer tokens written under that key's mark, median over runs.
        green: looked_for → green fraction of the answers' pairs, median over runs; None: not counted.
    """

    name: str
    values: Mapping[str, Any]
    exposed: bool
    licensed: bool
    tokens_under: Mapping[str, float]
    results: Mapping[str, Mapping[str, Results]]
    green: Mapping[str, float | None]

    @property
    def own(self) -> str:
        """Whose key the condition is mainly looked at with."""
        first = "licensed" if self.licensed else "account"
        return first if first in self.results else min(self.results)

    @property
    def marked_tokens(self) -> float:
        return self.tokens_under[self.own]

    @property
    def tests(self) -> Mapping[str, Results]:
        return self.results[self.own]

    @property
    def plain(self) -> bool:
        """Nothing was done to answers or student."""
        return not self.values["attack"] and not self.values["after"]

    @property
    def unmoved(self) -> bool:
        """Whether reading had nothing to weigh in any run: the student predicts as its reference does."""
        runs = self.tests["reading"].runs if "reading" in self.tests else ()
        return bool(runs) and all(run.scored == 0 for run in runs)

    def evidence(self, test: str) -> float:
        """The median, in decades."""
        return self.tests[test].typical if test in self.tests else 0.0

    def met(self, looked_for: str) -> bool | None:
        """Whether the student met the mark of that key. None: it met an imitation of it."""
        source = self.values["source"]
        if looked_for == "owner":
            return bool(source == "another-owner")
        if source == "imitated":
            return None
        return self.exposed and self.licensed == (looked_for == "licensed")

    def with_changes(self, **values: Any) -> Values:
        """What a cell's `place` would be if it had these values instead."""
        return tuple({**self.values, **values}[name] for name in FIELDS)

    @property
    def place(self) -> Values:
        return self.with_changes()


def cell_of(name: str, rows: Sequence[Mapping[str, Any]]) -> Cell:
    """The cell of one condition's rows, which are sorted."""
    runs: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        p = row["log10_p"]
        evidence = None if p is None else max(0.0, -p)
        run = Run(row["seed"], row["key"], row["key_id"], evidence, row["z_score"], row["n_scored"])
        runs[row["looked_for"]][row["test"]].append(run)
    first = rows[0]
    by_key = {who: [row for row in rows if row["looked_for"] == who] for who in runs}
    return Cell(
        name=name,
        values={field: frozen(first[field]) for field in FIELDS},
        exposed=first["exposed"],
        licensed=first["licensed"],
        tokens_under={who: median_of([row["marked_tokens"] for row in own]).median for who, own in by_key.items()},
        results={who: {test: Results(tuple(found)) for test, found in tests.items()} for who, tests in runs.items()},
        green={who: _green(own) for who, own in by_key.items()},
    )


def _green(rows: Sequence[Mapping[str, Any]]) -> float | None:
    known = [r["green_fraction"] for r in rows if r["test"] == "text" and r["green_fraction"] is not None]
    return float(np.median(known)) if known else None


def frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value
