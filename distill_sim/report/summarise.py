"""From a study's tables to its findings, as one JSON object. The page shows these numbers and no others."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from distill_sim.condition import SOURCES
from distill_sim.curves import (
    NULL_LEVEL,
    bonferroni,
    half_life,
    inversions,
    kendall_tau,
    median_of,
    null_count,
)
from distill_sim.dose import EXTRAPOLATED, DoseFit, Enough, enough, fit_dose
from distill_sim.report.material import ALPHA, Cell, Cleaned, Line, Material, gather
from distill_sim.report.words import SOURCE_TITLES, headline, treatment
from watermark.errors import InputError

SCHEMA = "taggant-survival-summary/1"
RISING = ("answers", "share", "epochs", "delta", "probe_tokens", "sampled_tokens")  # more of it: more evidence
AXES = {
    "answers": "the dose (number of answers)",
    "share": "the marked share of the answers",
    "probe_tokens": "the number of positions read",
    "sampled_tokens": "the number of tokens sampled",
    "delta": "the bias delta",
}

AFFECTED = {  # what a field can change; any other: every test
    "probe_tokens": ("reading", "argmax", "green_mass"),
    "sampled_tokens": ("sampled", "distinct_pairs"),
}

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


def of_material(material: Material, fresh: Rows, quality: Rows) -> dict[str, Any]:
    """The same from what was gathered."""
    fresh, quality = list(fresh), list(quality)
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "study": {name: value for name, value in material.study.items() if name != "series"},
        "log10_alpha": math.log10(ALPHA),
        "conditions": [_condition(material, cell) for cell in material.cells.values()],
        "series": [_series(material, one) for one in material.study["series"]],
        "dose": _dose(material),
        "clean": [_clean(material, one) for one in material.cleaned()],
        "treatments": _treatments(material),
        "controls": {
            "deployed": _deployed(material),
            "imitated": _imitated(material),
            "fresh": _fresh(fresh),
        },
        "exposure": _exposure(material),
        "quality": _quality(quality),
    }
    found["missing"] = _missing(material, found)
    found["headline"] = headline(found)
    return dict(_plain(found))


def _condition(material: Material, cell: Cell) -> dict[str, Any]:
    return {
        "condition": cell.name,
        "source": cell.values["source"],
        "exposed": cell.exposed,
        "licensed": cell.licensed,
        "marked_tokens": cell.marked_tokens,
        "differs": dict(material.changed(cell)),
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


def trends_along(material: Material, line: Line) -> dict[str, Any]:
    """Of the tests that the field can change; with inversions where more of it must give more evidence."""
    tests = [test for test in material.tests if test in AFFECTED.get(line.field, material.tests)]
    return _trends(tests, line.x, line.cells, rising=line.field in RISING or None)


def _trends(tests: Sequence[str], x: Sequence[float], cells: Sequence[Cell], rising: bool | None) -> dict[str, Any]:
    """Test → Kendall's tau of median evidence, and inversions where the direction is known beforehand."""
    found = {}
    for test in tests:
        medians = [cell.tests[test].median if test in cell.tests else None for cell in cells]
        there = [(at, one) for at, one in zip(x, medians, strict=True) if one is not None]
        if len(there) < 2:
            continue
        wrong = None if rising is None else inversions([one for _, one in there], rising)
        found[test] = {
            "tau": kendall_tau([at for at, _ in there], [one.median for _, one in there]),
            "inversions": None if wrong is None else [[there[i][0], there[j][0]] for i, j in wrong],
        }
    return found


def dose_lines(material: Material) -> list[tuple[Mapping[str, Any], Line]]:
    """Every line along the number of answers, with its series; those that else are the base condition first."""
    found = [(s, line) for s in material.study["series"] for line in material.lines(s) if line.field == "answers"]
    return sorted(found, key=lambda one: min(len(material.changed(c, apart=("answers",))) for c in one[1].cells))


def _dose(material: Material) -> dict[str, Any]:
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
    return {
        "fit": None if fit is None else _fit(fit),
        "extrapolation": [_prediction(fit, dose) for dose in beyond if fit is not None],
        "enough": _enough(enough([dose for dose, _ in found], [hit for _, hit in found])),
    }


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


# --- what was done to answers and students ---


def _clean(material: Material, one: Cleaned) -> dict[str, Any]:
    tests = [test for test in material.tests if test != "text"]
    return {
        "label": one.label,
        "tokens": list(one.tokens),
        "conditions": [cell.name for cell in one.cells],
        "half_life": {test: half_life(one.tokens, [cell.evidence(test) for cell in one.cells]) for test in tests},
        "trends": _trends(tests, one.tokens, one.cells, rising=False),
    }


def _treatments(material: Material) -> list[dict[str, Any]]:
    """Every cell with an attack or an afterwards and an untreated counterpart; least evidence left comes first."""
    found = []
    for cell in material.cells.values():
        plain = material.at(cell.with_changes(attack=(), after=()))
        if cell.plain or plain is None or not cell.exposed:
            continue
        tests = {t: _remaining(cell, plain, t) for t in material.tests if t in cell.tests and t in plain.tests}
        others = material.changed(cell, apart=("attack", "after"))
        found.append(
            {
                "condition": cell.name,
                "what": treatment(cell.values["attack"], cell.values["after"])
                + "".join(f" ({name} {value})" for name, value in others),
                "kind": "answers" if not cell.values["after"] else "student" if not cell.values["attack"] else "both",
                "plain": plain.name,
                "tests": tests,
            }
        )
    main = next((test for test in ("reading", *material.tests) if test in material.tests), "reading")
    return sorted(found, key=lambda one: (_typical(one, main), _typical(one, "sampled"), one["condition"]))


def _typical(one: Mapping[str, Any], test: str) -> float:
    median = one["tests"].get(test, {}).get("median")
    return 0.0 if median is None else -float(median)


def _remaining(cell: Cell, plain: Cell, test: str) -> dict[str, Any]:
    before = plain.evidence(test)
    results = cell.tests[test]
    return {
        **results.to_dict(),
        "share_left": cell.evidence(test) / before if before > 0 else None,
        "told": 2 * plain.tests[test].detected >= len(plain.tests[test].runs),  # there was something to lose
    }


# --- controls ---


def _deployed(material: Material) -> dict[str, Any]:
    """Students under keys that people use, whose marks they never met."""
    rows: list[dict[str, Any]] = []
    p: list[float] = []
    for cell in material.cells.values():
        for who, tests in sorted(cell.results.items()):
            if cell.met(who) is not False:
                continue
            claimed = {test: [-e for e in tests[test].claimed] for test in material.tests if test in tests}
            p += [value for values in claimed.values() for value in values]
            rows.append(
                {
                    "condition": cell.name,
                    "source": cell.values["source"],
                    "looked_for": who,
                    "tests": {t: {"n": len(v), "smallest": min(v)} for t, v in claimed.items() if v},
                }
            )
    adjusted = bonferroni([min(0.0, value) for value in p])
    smallest = float(adjusted.min()) if adjusted.size else None
    return {
        "tests": len(p),
        "smallest_adjusted": smallest,
        "level": NULL_LEVEL,
        "quiet": None if smallest is None else smallest > math.log10(NULL_LEVEL),
        "rows": rows,
    }


def _imitated(material: Material) -> list[dict[str, Any]]:
    return [
        {"condition": cell.name, "looked_for": who, "test": test, **tests[test].to_dict()}
        for cell in material.cells.values()
        if cell.values["source"] == "imitated"
        for who, tests in sorted(cell.results.items())
        if who == "account"
        for test in material.tests
        if test in tests
    ]


def _fresh(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    models: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for row in rows:
        models[row["condition"], row["test"], row["seed"]].append(row["log10_p"])
    counted = {where: null_count(values) for where, values in sorted(models.items())}
    return {
        "models": len({(condition, seed) for condition, _, seed in counted}),
        "checks": sum(len(one.limits) for one in counted.values()),
        "outside": [
            {"condition": condition, "test": test, "seed": seed, "level": f"{level:g}"}
            for (condition, test, seed), one in counted.items()
            for level, limit in one.limits.items()
            if one.found[level] > limit
        ],
        "rows": [
            {"condition": condition, "test": test, "seed": seed, **one.to_dict()}
            for (condition, test, seed), one in counted.items()
        ],
    }


def _exposure(material: Material) -> list[dict[str, Any]]:
    """Exposure and licence, kept apart: runs and detections by what the student met and whose key was looked for."""
    groups: dict[tuple[bool, bool, bool, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for cell in material.cells.values():
        for who, tests in cell.results.items():
            for test, results in tests.items():
                imitated = cell.values["source"] == "imitated"
                count = groups[cell.exposed, cell.licensed, imitated, who, test]
                count[0] += len(results.runs)
                count[1] += results.detected
    return [
        {
            "exposed": exposed,
            "licensed": licensed,
            "imitated": imitated,
            "looked_for": who,
            "test": test,
            "runs": n,
            "detected": k,
        }
        for (exposed, licensed, imitated, who, test), (n, k) in sorted(groups.items(), reverse=True)
    ]


def _quality(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """condition × measure: medians over runs, beside the unmarked counterpart's."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["condition"], row["measure"]].append(row)
    found = []
    for (condition, measure), members in sorted(groups.items()):
        one = median_of([row["value"] for row in members])
        unmarked = [row["unmarked"] for row in members if row["unmarked"] is not None]
        found.append(
            {
                "condition": condition,
                "measure": measure,
                "runs": one.n,
                "median": one.median,
                "low": one.low,
                "high": one.high,
                "unmarked": median_of(unmarked).median if unmarked else None,
            }
        )
    return found


# --- what is not there ---


def _missing(material: Material, found: Mapping[str, Any]) -> list[str]:
    """What a reader might look for and the study does not have, in words."""
    axes = {line["field"] for series in found["series"] for line in series["lines"]}
    absent = [f"Not varied: {what}." for field, what in AXES.items() if field not in axes]
    if not found["clean"]:
        absent.append("Not tried: clean fine-tuning of the student.")
    if not found["treatments"]:
        absent.append("Not tried: any attack on the answers or treatment of the student.")
    there = {cell.values["source"] for cell in material.cells.values()}
    absent += [f"No student of {SOURCE_TITLES[source]}." for source in SOURCES if source not in there]
    if not found["controls"]["fresh"]["rows"]:
        absent.append("No control was looked at under fresh keys.")
    if not found["quality"]:
        absent.append("What the mark costs readers was not measured.")
    named = {name for series in material.study["series"] for name in series["conditions"]}
    absent += [f"Condition {name} has no rows." for name in sorted(named - set(material.cells))]
    whole = material.study["seeds"] * material.study["keys"]
    some = [cell.name for cell in material.cells.values() if any(len(r.runs) < whole for r in cell.tests.values())]
    if some:
        absent.append(f"Fewer than {whole} runs (seeds × keys): {', '.join(some)}.")
    return absent


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
