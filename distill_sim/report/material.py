"""A study's rows, put together: one cell a condition, its runs by test, and which cells differ in what."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import takewhile
from typing import Any

from distill_sim.condition import AFTERWARDS, ATTACKS, Condition, Step, joined
from distill_sim.curves import Median, median_of
from distill_sim.survival import TESTS
from watermark.errors import InputError

ALPHA = 1e-6  # a run counts as detected when p of the test alone is at or below it
LOG10_ALPHA = math.log10(ALPHA)
FIELDS = tuple(one.name for one in fields(Condition))
NUMBERS = tuple(one.name for one in fields(Condition) if isinstance(one.default, int | float))
STEPS = {"attack": ATTACKS, "after": AFTERWARDS}
REQUIRED = ("name", "title", "scale", "description", "command", "created", "versions", "machine", "seconds", "seeds",
            "keys", "base", "series", "reference")  # fmt: skip

Values = tuple[Any, ...]


@dataclass(frozen=True)
class Run:
    """One seed × key under one test. Evidence is −log10 p in decades; None: no p was claimed."""

    seed: int
    key: int
    evidence: float | None

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

    @property
    def median(self) -> Median | None:
        return median_of(self.claimed) if self.claimed else None

    @property
    def typical(self) -> float:
        """Median evidence; 0 where no p was claimed."""
        return self.median.median if self.median else 0.0

    def to_dict(self) -> dict[str, Any]:
        """In log10 p, as the tables are: `low` is the smaller p."""
        found = {"runs": len(self.runs), "claimed": len(self.claimed), "detected": self.detected}
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
        tokens_under: looked_for → tokens that the student met under that key's mark, median over runs.
    """

    name: str
    values: Mapping[str, Any]
    exposed: bool
    licensed: bool
    tokens_under: Mapping[str, float]
    results: Mapping[str, Mapping[str, Results]]

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


@dataclass(frozen=True)
class Rung:
    """A cell, and the amounts of its steps (None: a step without one)."""

    amounts: tuple[float | None, ...]
    cell: Cell


@dataclass(frozen=True)
class Ladder:
    """The same steps done to answers or student, at growing strength.

    Attributes:
        kind: "attack" or "after".
        steps: their names.
        plain: the cell to which nothing was done, all else equal; None where the study has none.
        others: fields in which it differs from the reference besides.
    """

    kind: str
    steps: tuple[str, ...]
    rungs: tuple[Rung, ...]
    plain: Cell | None
    others: tuple[tuple[str, Any], ...]

    @property
    def label(self) -> str:
        extra = ", ".join(f"{name} {said(value)}" for name, value in self.others)
        return ", ".join(self.steps) + (f" ({extra})" if extra else "")

    def strength(self, rung: Rung) -> str:
        """The amounts that vary along the ladder; of a single rung all of them."""
        columns = list(zip(*(one.amounts for one in self.rungs), strict=True))
        shown = [
            f"{amount:,g}"
            for amount, column in zip(rung.amounts, columns, strict=True)
            if amount is not None and (len(set(column)) > 1 or len(self.rungs) == 1)
        ]
        return ", ".join(shown)


@dataclass(frozen=True)
class Cleaned:
    """Clean fine-tuning for growing numbers of tokens, 0 included."""

    label: str
    tokens: tuple[float, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Line:
    """Cells along a numeric field.

    Attributes:
        label: what the others of the varied fields are; "" where one field alone varies.
    """

    field: str
    label: str
    x: tuple[float, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Material:
    """All of a study."""

    study: Mapping[str, Any]
    cells: Mapping[str, Cell]

    @property
    def reference(self) -> Cell | None:
        return self.cells.get(self.study["reference"])

    @property
    def tests(self) -> list[str]:
        found = {test for cell in self.cells.values() for tests in cell.results.values() for test in tests}
        return [test for test in TESTS if test in found]

    def at(self, place: Values) -> Cell | None:
        return next((cell for cell in self.cells.values() if cell.place == place), None)

    def changed(self, cell: Cell, apart: Iterable[str] = ()) -> tuple[tuple[str, Any], ...]:
        """Fields in which a cell differs from the study's base."""
        base, left_out = self.study["base"], set(apart)
        return tuple(
            (name, value)
            for name, value in cell.values.items()
            if name not in left_out and name in base and value != _frozen(base[name])
        )

    def of(self, series: Mapping[str, Any]) -> list[Cell]:
        """A series' cells that have rows, in its order, the reference first where it fits and is not named."""
        named = [self.cells[name] for name in series["conditions"] if name in self.cells]
        one = self.reference
        if named and one is not None and all(one.place != cell.place for cell in named):
            held = [name for name in FIELDS if name not in series["vary"]]
            if all(one.values[name] == cell.values[name] for cell in named for name in held):
                return [one, *named]
        return named

    def lines(self, series: Mapping[str, Any]) -> list[Line]:
        """The series as lines along its numeric field of most values; none where no field is numeric."""
        cells = self.of(series)
        counts = {name: len({c.values[name] for c in cells}) for name in series["vary"] if name in NUMBERS}
        if not counts or max(counts.values()) < 2:
            return []
        along = max(counts, key=lambda name: counts[name])
        groups: dict[str, list[Cell]] = defaultdict(list)
        for cell in cells:
            groups[self._label(series, along, cell)].append(cell)
        found = []
        for label, members in groups.items():
            by_x = {float(cell.values[along]): cell for cell in reversed(members)}  # of two alike the first
            if len(by_x) > 1:
                xs, ordered = zip(*sorted(by_x.items()), strict=True)
                found.append(Line(along, label, xs, ordered))
        return found

    def _label(self, series: Mapping[str, Any], along: str, cell: Cell) -> str:
        return ", ".join(f"{name} {said(cell.values[name])}" for name in series["vary"] if name != along)

    def ladders(self) -> list[Ladder]:
        """Every sequence of attacks, or of things done to the student, that some cell has; with all its amounts."""
        groups: dict[tuple[Any, ...], list[Rung]] = defaultdict(list)
        for cell in self.cells.values():
            for kind, known in STEPS.items():
                steps = joined([Step.parse(text, known, kind) for text in cell.values[kind]])
                if steps:
                    where = (kind, tuple(step.name for step in steps), cell.with_changes(**{kind: ()}))
                    groups[where].append(Rung(tuple(step.amount for step in steps), cell))
        return [self._ladder(kind, steps, rungs) for (kind, steps, _), rungs in groups.items()]

    def _ladder(self, kind: str, steps: tuple[str, ...], rungs: list[Rung]) -> Ladder:
        ordered = tuple(sorted(rungs, key=lambda rung: [amount or 0.0 for amount in rung.amounts]))
        one = ordered[0].cell
        plain = self.at(one.with_changes(attack=(), after=()))
        return Ladder(kind, steps, ordered, plain, self.changed(one, apart=(kind,)))

    def cleaned(self) -> list[Cleaned]:
        """Students that were fine-tuned on clean text last, where the study has the one that was not."""
        groups: dict[tuple[Any, ...], list[tuple[float, Cell]]] = defaultdict(list)
        for cell in self.cells.values():
            texts = cell.values["after"]
            steps = [Step.parse(text, AFTERWARDS, "after") for text in texts]
            last = list(takewhile(lambda step: step.name == "clean", reversed(steps)))
            if last:
                without = cell.with_changes(after=texts[: len(texts) - len(last)])
                groups[without].append((sum(step.amount or 0.0 for step in last), cell))
        found = []
        for place, members in groups.items():
            start = self.at(place)
            if start is not None:
                tokens, cells = zip(*sorted(members, key=lambda one: one[0]), strict=True)
                others = self.changed(start)
                label = ", ".join(f"{name} {said(value)}" for name, value in others)
                found.append(Cleaned(label, (0.0, *tokens), (start, *cells)))
        return found


def gather(study: Mapping[str, Any], survival: Iterable[Mapping[str, Any]]) -> Material:
    """Put the rows together; their order does not matter.

    Raises:
        InputError: the study lacks something, or there are no rows.
    """
    missing = [name for name in REQUIRED if name not in study]
    if missing:
        raise InputError(f"the study's description lacks {missing[0]!r}")
    rows = sorted(survival, key=lambda r: (r["condition"], r["seed"], r["key"], r["looked_for"], r["test"]))
    if not rows:
        raise InputError("the study has no rows yet; let it finish first")
    by_condition: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_condition[row["condition"]].append(row)
    named = [name for series in study["series"] for name in series["conditions"]]
    order = {name: at for at, name in reversed(list(enumerate([study["reference"], *named])))}
    names = sorted(by_condition, key=lambda name: (order.get(name, len(order) + len(named)), name))
    return Material(study, {name: _cell(name, by_condition[name]) for name in names})


def _cell(name: str, rows: Sequence[Mapping[str, Any]]) -> Cell:
    runs: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        p = row["log10_p"]
        runs[row["looked_for"]][row["test"]].append(Run(row["seed"], row["key"], None if p is None else max(0.0, -p)))
    first = rows[0]
    return Cell(
        name=name,
        values={field: _frozen(first[field]) for field in FIELDS},
        exposed=first["exposed"],
        licensed=first["licensed"],
        tokens_under={
            who: median_of([row["marked_tokens"] for row in rows if row["looked_for"] == who]).median for who in runs
        },
        results={who: {test: Results(tuple(found)) for test, found in tests.items()} for who, tests in runs.items()},
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def said(value: Any) -> str:
    """A field's value as people write it."""
    if isinstance(value, list | tuple):
        return " + ".join(map(str, value)) or "nothing"
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
