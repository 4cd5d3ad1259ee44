"""From a study's tables to its findings, as one JSON object. The page shows these numbers and no others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from distill_sim.report.absent import missing
from distill_sim.report.box import headline
from distill_sim.report.controls import deployed, exposure, fresh, imitated
from distill_sim.report.counts import counts
from distill_sim.report.doses import dose
from distill_sim.report.losses import clean, learning, treatments
from distill_sim.report.material import Line, Material, gather
from distill_sim.report.names import differing
from distill_sim.report.quality import medians, quality
from distill_sim.report.results import ALPHA, Cell
from distill_sim.report.trends import trends_along
from watermark.errors import InputError

SCHEMA = "taggant-survival-summary/1"

Rows = Iterable[Mapping[str, Any]]


def summary(study: Mapping[str, Any], survival: Rows, fresh: Rows = (), quality: Rows = ()) -> dict[str, Any]:
    """All findings of a study, JSON-ready: floats to 12 significant digits; log10 p unclipped.

    Args:
        study: name, title, scale, description, command, created, versions, machine, seconds, seeds, keys, base (fields
            of the base condition), series (each name, title, vary, conditions), reference (the base condition's name).
        survival, fresh, quality: rows as `distill_sim.survival.read_table` gives them, in any order.

    Raises:
        InputError: the description lacks something, or there are no rows.
    """
    return of_material(gather(study, survival), fresh, quality)


def of_material(material: Material, fresh_rows: Rows, quality_rows: Rows) -> dict[str, Any]:
    """The same from what was gathered."""
    measured = quality(list(quality_rows))
    costs = medians(measured)
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "study": {name: value for name, value in material.study.items() if name != "series"},
        "log10_alpha": math.log10(ALPHA),
        "counts": counts(material),
        "conditions": [_condition(material, cell) for cell in material.cells.values()],
        "series": [_series(material, one) for one in material.study["series"]],
        "dose": dose(material),
        "clean": [clean(material, one) for one in material.cleaned()],
        "treatments": treatments(material, costs),
        "learning": learning(material, costs),
        "controls": {
            "deployed": deployed(material),
            "imitated": imitated(material),
            "fresh": fresh(material, fresh_rows),
        },
        "exposure": exposure(material),
        "quality": measured,
    }
    found["missing"] = missing(material, found)
    found["headline"] = headline(found)
    return dict(_plain(found))


def _condition(material: Material, cell: Cell) -> dict[str, Any]:
    return {
        "condition": cell.name,
        "source": cell.values["source"],
        "exposed": cell.exposed,
        "licensed": cell.licensed,
        "marked_tokens": cell.marked_tokens,
        "green_fraction": cell.green[cell.own],
        "differs": dict(material.changed(cell)),
        "what": differing(dict(material.changed(cell))),
        "unmoved": cell.unmoved,
        "looked_for": cell.own,
        "tests": {test: cell.tests[test].to_dict() for test in material.tests if test in cell.tests},
        "others": {
            who: {test: tests[test].to_dict() for test in material.tests if test in tests}
            for who, tests in sorted(cell.results.items())
            if who != cell.own
        },
    }


# --- along an axis ---


def _series(material: Material, series: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": series["name"],
        "title": series["title"],
        "vary": list(series["vary"]),
        "conditions": [cell.name for cell in material.of(series)],
        "lines": [_line(material, line) for line in material.lines(series)],
    }


def _line(material: Material, line: Line) -> dict[str, Any]:
    return {
        "field": line.field,
        "label": line.label,
        "x": list(line.x),
        "conditions": [cell.name for cell in line.cells],
        "trends": trends_along(material, line),
    }


def _plain(value: Any) -> Any:
    """JSON's types; floats to 12 significant digits.

    Raises:
        InputError: a number that is none.
    """
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError("a number of the study is not finite; run its stages again")
        return float(f"{value:.12g}") + 0.0  # no negative zero
    return value
