"""What is a further student, and what a further test: conditions may share students, and students may share keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from distill_sim.report.material import Material
from distill_sim.report.names import ASKED, READ
from distill_sim.report.results import QUESTIONING, Cell, Run

UNMARKED = ("unmarked", "human")
_MARK = ("delta", "gamma", "context_width", "accounts", "share")
_CORPUS = ("source", "answers", "share", "domains", "answer_tokens", "temperature", "top_p", "delta", "gamma",
           "context_width", "accounts", "attack")  # fmt: skip

Identity = tuple[Any, ...]


def student(cell: Cell, run: Run) -> Identity:
    """Equal for the same student: what only changes how it is tested, or what it never met, is left out."""
    values = {name: value for name, value in cell.values.items() if name not in QUESTIONING}
    if values["method"] != "top":
        values.pop("layers")
    if values["method"] != "lora":
        values.pop("lora_rank")
    return _identity(values, run)


def corpus(cell: Cell, run: Run) -> Identity:
    """Equal for the same text that a student was trained on."""
    return _identity({name: cell.values[name] for name in _CORPUS}, run)


def _identity(values: dict[str, Any], run: Run) -> Identity:
    key: int | None = run.key
    if values["source"] in UNMARKED or values["share"] == 0:  # the same under every mark and key
        key = None
        if values["source"] != "human":
            values["source"] = "unmarked"
        known = any(step.startswith("neutralise:") for step in values.get("after", ()))  # it uses the context width
        values = {name: value for name, value in values.items() if name not in _MARK or known}
    return (*sorted(values.items()), run.seed, key)


def a_test(cell: Cell, run: Run, looked_for: str, test: str) -> Identity:
    """Equal for the same test of the same thing under the same key."""
    what = corpus(cell, run) if test == "text" else student(cell, run)
    asked = tuple(cell.values[name] for name, tests in zip(QUESTIONING, (READ, ASKED), strict=True) if test in tests)
    return (what, asked, looked_for, run.key_id, test)


def every_run(material: Material) -> Iterator[tuple[Cell, str, str, Run]]:
    """Condition, key looked for, test, run."""
    for cell in material.cells.values():
        for who, tests in sorted(cell.results.items()):
            for test, results in tests.items():
                for run in results.runs:
                    yield cell, who, test, run


def counts(material: Material) -> dict[str, int]:
    """How much there is: conditions; condition × seed × key; different students; different tests."""
    everything = list(every_run(material))
    return {
        "conditions": len(material.cells),
        "cells": len({(cell.name, run.seed, run.key) for cell, _, _, run in everything}),
        "students": len({student(cell, run) for cell, _, _, run in everything}),
        "tests": len({a_test(cell, run, who, test) for cell, who, test, run in everything}),
    }
