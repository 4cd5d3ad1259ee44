"""All of a study: its conditions, and which of them differ in what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import takewhile
from typing import Any

from distill_sim.condition import AFTERWARDS, Condition, Step
from distill_sim.report import names
from distill_sim.report.results import FIELDS, Cell, Values, cell_of, frozen
from distill_sim.report.steps import parsed, strength, titled
from distill_sim.survival import TESTS
from watermark.errors import InputError

NUMBERS = tuple(one.name for one in fields(Condition) if isinstance(one.default, int | float))
REQUIRED = ("name", "title", "scale", "description", "command", "created", "versions", "machine", "seconds", "seeds",
            "keys", "base", "series", "reference")  # fmt: skip


@dataclass(frozen=True)
class Rung:
    """A cell, and its steps."""

    steps: tuple[Step, ...]
    cell: Cell


@dataclass(frozen=True)
class Ladder:
    """The same steps done to answers or student, at growing strength.

    Attributes:
        rungs: the weakest first.
        plain: the cell to which nothing was done, all else equal; None where the study has none.
        others: fields in which it differs from the reference besides.
    """

    rungs: tuple[Rung, ...]
    plain: Cell | None
    others: tuple[tuple[str, Any], ...]

    @property
    def title(self) -> str:
        extra = names.differing(dict(self.others))
        return titled(self.rungs[0].steps) + (f" ({extra})" if extra else "")

    def strength(self, rung: Rung) -> str:
        """The amounts that vary along the ladder; of a single rung all of them."""
        columns = list(zip(*(one.steps for one in self.rungs), strict=True))
        shown = [
            step
            for step, column in zip(rung.steps, columns, strict=True)
            if len({one.amount for one in column}) > 1 or len(self.rungs) == 1
        ]
        return strength(shown)


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
            if name not in left_out and name in base and value != frozen(base[name])
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
        return ", ".join(names.amounts(name, [cell.values[name]]) for name in series["vary"] if name != along)

    def ladders(self) -> list[Ladder]:
        """Every sequence of treatments that some cell has, of answers and then of the student; with all its amounts."""
        groups: dict[tuple[Any, ...], list[Rung]] = defaultdict(list)
        for cell in self.cells.values():
            steps = parsed(cell.values["attack"], cell.values["after"])
            if steps:
                where = (tuple(step.name for step in steps), cell.with_changes(attack=(), after=()))
                groups[where].append(Rung(steps, cell))
        return [self._ladder(place, rungs) for (_, place), rungs in groups.items()]

    def _ladder(self, place: Values, rungs: list[Rung]) -> Ladder:
        ordered = tuple(sorted(rungs, key=lambda rung: [step.amount or 0.0 for step in rung.steps]))
        return Ladder(ordered, self.at(place), self.changed(ordered[0].cell, apart=("attack", "after")))

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
                found.append(Cleaned(names.differing(dict(others)), (0.0, *tokens), (start, *cells)))
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
    ordered = sorted(by_condition, key=lambda name: (order.get(name, len(order) + len(named)), name))
    return Material(study, {name: cell_of(name, by_condition[name]) for name in ordered})
