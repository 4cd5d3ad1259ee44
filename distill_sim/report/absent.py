"""What a reader might look for and a study does not have, from everything that a condition declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from distill_sim.condition import AFTERWARDS, ATTACKS, BASES, LOSSES, METHODS, SOURCES, Step
from distill_sim.report.material import Material
from distill_sim.report.names import SOURCE_TITLES, amounts, labelled
from distill_sim.report.results import FIELDS
from distill_sim.report.steps import STEPS

CHOICES = {"method": METHODS, "base": BASES, "loss": LOSSES}
_APART = ("source", "attack", "after", *CHOICES)


def missing(material: Material, found: Mapping[str, Any]) -> list[str]:
    """In words, a sentence each."""
    cells = material.cells.values()
    values = {field: {cell.values[field] for cell in cells} for field in FIELDS}
    absent = _fields(values)
    absent += _steps(values)
    absent += [f"No student of {SOURCE_TITLES[source]}." for source in SOURCES if source not in values["source"]]
    if not found["controls"]["fresh"]["rows"]:
        absent.append("No control was looked at under fresh keys.")
    if not found["quality"]:
        absent.append("What the mark costs readers was not measured.")
    named = {name for series in material.study["series"] for name in series["conditions"]}
    absent += [f"Condition {name} has no rows." for name in sorted(named - set(material.cells))]
    whole = material.study["seeds"] * material.study["keys"]
    some = [cell.name for cell in cells if any(len(r.runs) < whole for r in cell.tests.values())]
    if some:
        absent.append(f"Fewer than {whole} runs (seeds × keys): {', '.join(some)}.")
    return absent


def _fields(values: Mapping[str, set[Any]]) -> list[str]:
    said = []
    for field in FIELDS:
        if field not in _APART and len(values[field]) == 1:
            (value,) = values[field]
            said.append(f"Not varied: {labelled(field)} (held: {amounts(field, [value])}).")
    for field, known in CHOICES.items():
        untried = [value for value in known if value not in values[field]]
        if untried:
            said.append(f"Not tried, {labelled(field)}: {amounts(field, untried)}.")
    return said


def _steps(values: Mapping[str, set[Any]]) -> list[str]:
    attacks, after = _tried(values["attack"], ATTACKS, "attack"), _tried(values["after"], AFTERWARDS, "after")
    said = []
    for what, known, tried in (("the answers", ATTACKS, attacks), ("the student", AFTERWARDS, after)):
        untried = [STEPS[name].title.lower() for name in known if name not in tried]
        if len(untried) == len(known):
            said.append(f"Not tried: anything done to {what}.")
        elif untried:
            said.append(f"Not tried on {what}: {'; '.join(untried)}.")
    if attacks and all(len(steps) < 2 for steps in values["attack"]):
        said.append("No two treatments of the answers were combined.")
    return said


def _tried(conditions: Iterable[tuple[str, ...]], known: Mapping[str, str], what: str) -> set[str]:
    return {Step.parse(text, known, what).name for steps in conditions for text in steps}
