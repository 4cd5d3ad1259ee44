"""Dose and response: every line along the number of answers, fitted, extrapolated, and how many are enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from distill_sim.dose import EXTRAPOLATED, DoseFit, Prediction, fit_dose
from distill_sim.enough import Enough, enough
from distill_sim.hold_out import HoldOut, hold_out
from distill_sim.report.material import Line, Material
from distill_sim.report.results import ALPHA


def dose_lines(material: Material) -> list[tuple[Mapping[str, Any], Line]]:
    """Every line along the number of answers, with its series; those that else are the base condition first."""
    found = [(s, line) for s in material.study["series"] for line in material.lines(s) if line.field == "answers"]
    return sorted(found, key=lambda one: min(len(material.changed(c, apart=("answers",))) for c in one[1].cells))


def dose(material: Material) -> dict[str, Any]:
    lines = []
    for series, line in dose_lines(material):
        tests = {test: _response(line, test) for test in material.tests if test != "text"}
        lines.append(
            {"series": series["name"], "label": line.label, "tests": {t: one for t, one in tests.items() if one}}
        )
    main = lines[0]["tests"] if lines else {}
    return {"lines": lines, "enough": {test: one["enough"] for test, one in main.items() if one["enough"]}}


Runs = tuple[list[float], list[float], list[int], list[int]]  # dose, evidence, seed, key


def runs_along(line: Line, test: str) -> Runs:
    """(dose, evidence, seed, key) of every run with a p, at exposed cells."""
    found = [
        (x, run.evidence, run.seed, run.key)
        for x, cell in zip(line.x, line.cells, strict=True)
        if cell.exposed and test in cell.tests
        for run in cell.tests[test].runs
        if run.evidence is not None
    ]
    doses, evidence, seeds, keys = zip(*found, strict=True) if found else ((), (), (), ())
    return list(doses), list(evidence), list(seeds), list(keys)


def ceiling(line: Line, test: str) -> float | None:
    """The most evidence in decades that a test can give: all it scored on one side, n · log10(1 / min(γ, 1 − γ)).

    n: the most that it scored in a run along the line.
    """
    scored = max((run.scored for cell in line.cells if test in cell.tests for run in cell.tests[test].runs), default=0)
    rarest = min(min(cell.values["gamma"], 1 - cell.values["gamma"]) for cell in line.cells)
    return scored * -math.log10(rarest) or None


def _response(line: Line, test: str) -> dict[str, Any] | None:
    found = [
        (x, run.detected)  # where no p is claimed nothing is detected
        for x, cell in zip(line.x, line.cells, strict=True)
        if cell.exposed and test in cell.tests
        for run in cell.tests[test].runs
    ]
    if not found:
        return None
    runs, most = runs_along(line, test), ceiling(line, test)
    fit, check = fit_dose(*runs), hold_out(*runs, most=most)
    beyond = [] if fit is None else [fit.predict(dose, most=most) for dose in EXTRAPOLATED if dose > fit.doses[-1]]
    return {
        "fit": None if fit is None else _fit(fit),
        "hold_out": None if check is None else _check(check),
        "extrapolation": [_prediction(one, fit) for one in beyond if fit is not None],
        "ceiling": None if most is None else -most,
        "passes_ceiling": None if fit is None or most is None else _reaches(fit, most),
        "enough": _enough(enough([dose for dose, _ in found], [hit for _, hit in found])),
    }


def _reaches(fit: DoseFit, evidence: float) -> float | None:
    """The dose at which the fitted line gives so much evidence; None where it does not rise."""
    return 10 ** ((math.log10(evidence) - fit.intercept) / fit.slope) if fit.slope > 0.05 else None


def _fit(fit: DoseFit) -> dict[str, Any]:
    named = {name: value for name, value in asdict(fit).items() if not name.startswith("_")}
    return {
        "model": "log10(-log10 p) = intercept + slope * log10(answers)",
        **named,
        **{f"{who}_slopes": _ends([b for _, b in named[f"{who}_lines"]]) for who in ("seed", "key")},
    }


def _ends(slopes: list[float]) -> list[float] | None:
    return [min(slopes), max(slopes)] if slopes else None


def _prediction(one: Prediction, fit: DoseFit) -> dict[str, Any]:
    return {
        "answers": one.dose,
        "extrapolation_from": [fit.doses[0], fit.doses[-1]],
        "log10_p": -one.evidence,
        "low": -one.high,
        "high": -one.low,
        "at_ceiling": one.at_ceiling,
    }


def _check(one: HoldOut) -> dict[str, Any]:
    """What a line fitted to the lower doses says of the largest one, and what was measured there."""
    return {
        **_prediction(one.predicted, one.fit),
        "fitted": list(one.fit.doses),
        "measured": -one.measured,
        "runs": one.runs,
        "inside": one.inside,
        "promised": one.failed,
    }


def _enough(one: Enough | None) -> dict[str, Any] | None:
    return None if one is None else {**asdict(one), "power": 0.9, "log10_alpha": math.log10(ALPHA)}
