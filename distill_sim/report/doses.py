"""Dose and response: every line along the number of answers, fitted, extrapolated, and how many are enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from distill_sim.dose import EXTRAPOLATED, DoseFit, Enough, enough, fit_dose
from distill_sim.report.material import Line, Material
from distill_sim.report.results import ALPHA, Cell


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


def runs_along(line: Line, test: str) -> tuple[list[float], list[float], list[int]]:
    """(dose, evidence, seed) of every run with a p, at exposed cells."""
    found = [
        (x, run.evidence, run.seed)
        for x, cell in zip(line.x, line.cells, strict=True)
        if cell.exposed and test in cell.tests
        for run in cell.tests[test].runs
        if run.evidence is not None
    ]
    doses, evidence, seeds = zip(*found, strict=True) if found else ((), (), ())
    return list(doses), list(evidence), list(seeds)


def fitted(line: Line, test: str) -> DoseFit | None:
    doses, evidence, seeds = runs_along(line, test)
    return fit_dose(doses, evidence, seeds)


def ceiling(cell: Cell, test: str) -> float | None:
    """The most evidence in decades that a test can give: all it scored on one side, n · log10(1 / min(γ, 1 − γ))."""
    runs = cell.tests[test].runs if test in cell.tests else ()
    gamma = cell.values["gamma"]
    return max((run.scored for run in runs), default=0) * -math.log10(min(gamma, 1 - gamma)) or None


def _response(line: Line, test: str) -> dict[str, Any] | None:
    found = [
        (x, run.detected)  # where no p is claimed nothing is detected
        for x, cell in zip(line.x, line.cells, strict=True)
        if cell.exposed and test in cell.tests
        for run in cell.tests[test].runs
    ]
    if not found:
        return None
    fit = fitted(line, test)
    beyond = [] if fit is None else [dose for dose in EXTRAPOLATED if dose > fit.doses[-1]]
    most = ceiling(line.cells[-1], test)
    return {
        "fit": None if fit is None else _fit(fit),
        "extrapolation": [_prediction(fit, dose) for dose in beyond if fit is not None],
        "ceiling": None if most is None else -most,
        "passes_ceiling": None if fit is None or most is None else _reaches(fit, most),
        "enough": _enough(enough([dose for dose, _ in found], [hit for _, hit in found])),
    }


def _reaches(fit: DoseFit, evidence: float) -> float | None:
    """The dose at which the fitted line gives so much evidence; None where it does not rise."""
    return 10 ** ((math.log10(evidence) - fit.intercept) / fit.slope) if fit.slope > 0.05 else None


def _fit(fit: DoseFit) -> dict[str, Any]:
    named = {name: value for name, value in asdict(fit).items() if not name.startswith("_")}
    slopes = [slope for _, slope in fit.seed_lines]
    return {
        "model": "log10(-log10 p) = intercept + slope * log10(answers)",
        **named,
        "seed_slopes": [min(slopes), max(slopes)] if slopes else None,
    }


def _prediction(fit: DoseFit, dose: float) -> dict[str, Any]:
    one = fit.predict(dose)
    return {
        "answers": dose,
        "extrapolation_from": [fit.doses[0], fit.doses[-1]],
        "log10_p": -one.evidence,
        "low": -one.high,
        "high": -one.low,
    }


def _enough(one: Enough | None) -> dict[str, Any] | None:
    return None if one is None else {**asdict(one), "power": 0.9, "log10_alpha": math.log10(ALPHA)}
