"""The page of a study: what was varied, what was held, what was found, and what would erase the mark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from detect.pages.rendering import write_page
from detect.visible import one_line
from detect.wording import probability_words
from distill_sim.condition import SOURCES, documentation
from distill_sim.curves import null_quantiles
from distill_sim.dose import EXTRAPOLATED
from distill_sim.report import plots
from distill_sim.report.material import Cell, Material, gather, said
from distill_sim.report.summarise import AFFECTED, Rows, dose_lines, fitted, of_material, runs_along, trends_along
from distill_sim.report.words import (
    SOURCE_TITLES,
    TEST_MEANINGS,
    TEST_TITLES,
    enough_words,
    number_words,
    power_words,
    treatment,
)
from distill_sim.survival import TESTS

LABELS = {
    "answers": "number of answers",
    "share": "share of the answers that is marked",
    "probe_tokens": "positions read",
    "sampled_tokens": "tokens sampled",
    "delta": "delta, nats",
    "context_width": "context width h",
}
FIRST_FIELDS = ("answers", "share", "probe_tokens", "sampled_tokens", "delta")  # whose series come first
MEASURES = {
    "perplexity": "how many tokens the unmarked teacher hesitates between, reading the answers; lower: more fluent",
    "auc": "how well a classifier without the key tells marked from unmarked answers; .5: not at all",
    "repetition": "share of the runs of four tokens that an answer has said before",
    "distinct_2": "distinct pairs of neighbouring tokens, as a share of all",
    "tokens_per_answer": "mean length of an answer",
    "held_out_nats": "the student's loss on human text it has not seen, nats a token; lower is better",
    "cloze_accuracy": "share of human texts whose true continuation the student prefers to others; higher is better",
}
COSTS = {"perplexity": "perplexity of the answers", "auc": "AUC of a blind reader"}


@dataclass(frozen=True)
class Shown:
    """One series on the page."""

    title: str
    anchor: str
    figure: Markup | None
    kind: str  # "lines" or "dots"
    trends: tuple[tuple[str, Mapping[str, Any]], ...]  # label of a line → its trends


def write_report(
    path: str | Path, study: Mapping[str, Any], survival: Rows, fresh: Rows = (), quality: Rows = ()
) -> None:
    """Write the page, in place of an earlier one. No network, no script; anybody's text on it is inert.

    The same study gives the same bytes.

    Args:
        study, survival, fresh, quality: as of `summary`.

    Raises:
        InputError: as `summary`, or the page cannot be written.
    """
    fresh, quality = list(fresh), list(quality)
    material = gather(study, survival)
    found = of_material(material, fresh, quality)
    write_page(
        path,
        "study.html.jinja",
        {
            "found": found,
            "study": found["study"],
            "varied": _varied(material),
            "held": _held(material),
            "drawn": _drawn(material, fresh, found),
            "shown": _shown(material),
            "responses": [
                {**one, "tests": {t: r for t, r in one["tests"].items() if t in plots.DRAWN}}
                for one in found["dose"]["lines"]
            ],
            "tests": {test: (TEST_MEANINGS[test], TESTS[test]) for test in material.tests},
            "extrapolated": EXTRAPOLATED,
            "fresh_controls": _fresh_by_control(found["controls"]["fresh"]["rows"]),
            "columns": [test for test in material.tests if test in plots.DRAWN],
            "titles": TEST_TITLES,
            "sources": _sources(material),
            "source_titles": SOURCE_TITLES,
            "measures": MEASURES,
            "quality": _quality(found["quality"], [one["condition"] for one in found["conditions"]]),
        },
        packages=("distill_sim.report", "distill_sim.demo"),
        filters={
            "count": lambda n: f"{n:,.0f}",
            "words": probability_words,
            "short": power_words,
            "near": number_words,
            "enough": enough_words,
            "decade": lambda n: f"10^{len(str(n)) - 1}",
            "said": lambda value: one_line(said(value), 300),
            "line": one_line,
            "what": _differs,
            "percent": lambda share: "–" if share is None else f"{share:.0%}",
        },
        overwrite=True,
    )


def _varied(material: Material) -> list[dict[str, Any]]:
    """Each series: the fields it varies with their meaning, and the values they take."""
    documented = {name: doc for name, doc, _ in documentation()}
    return [
        {
            "title": one["title"],
            "fields": [
                {"name": name, "doc": documented.get(name, ""), "values": _values(material.of(one), name)}
                for name in one["vary"]
            ],
        }
        for one in material.study["series"]
    ]


def _values(cells: Iterable[Cell], field: str) -> str:
    distinct = list(dict.fromkeys(cell.values[field] for cell in cells))
    ordered = sorted(distinct) if all(isinstance(v, int | float) for v in distinct) else distinct
    return "; ".join(said(value) for value in ordered)


def _held(material: Material) -> list[dict[str, Any]]:
    """The base condition, field by field; which of them some series varies."""
    varied = {name for one in material.study["series"] for name in one["vary"]}
    base = material.study["base"]
    return [
        {"name": name, "value": said(base[name]), "doc": doc, "varied": name in varied}
        for name, doc, _ in documentation()
        if name in base
    ]


def _drawn(material: Material, fresh: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that belong to no single series; None where the study has nothing to draw."""
    ladders = [one for one in material.ladders() if all(rung.cell.exposed for rung in one.rungs)]
    cleaned = material.cleaned()
    return {
        "heat": plots.heat(ladders) if ladders else None,
        "clean": _lines_figure("clean", "tokens of clean fine-tuning", [(c.label, c.tokens, c.cells) for c in cleaned]),
        "nulls": _nulls(fresh),
        "responses": _responses(material),
        "costs": _costs(material, found["quality"]),
    }


def _lines_figure(
    name: str,
    label: str,
    lines: Sequence[tuple[str, Sequence[float], Sequence[Cell]]],
    tests: Sequence[str] = plots.DRAWN,
) -> Markup | None:
    """One line: a curve a test. Several: a panel a test, a curve a line."""
    if len(lines) == 1:
        _, x, cells = lines[0]
        curves = plots.curves_by_test(x, cells, tests)
        return plots.along(name, label, {"": curves}) if curves else None
    panels: dict[str, list[plots.Curve]] = {}
    for test in (one for one in plots.MAIN if one in tests):
        curves = []
        for at, (title, x, cells) in enumerate(lines):
            for curve in plots.curves_by_test(x, cells, [test]):
                look = {**curve.look, "color": plots.COLOURS[at % 5], "marker": "osv^D"[at % 5]}
                curves.append(plots.Curve(title or "otherwise as the base", curve.x, curve.results, look))
        if curves:
            panels[TEST_TITLES[test]] = curves
    return plots.along(name, label, panels) if panels else None


def _shown(material: Material) -> list[Shown]:
    """Every series with a figure, those along the main axes first; steps are in the heat map."""
    found = []
    for at, series in enumerate(material.study["series"]):
        lines = material.lines(series)
        name = f"series{at}"
        title = one_line(series["title"])
        if lines:
            label = LABELS.get(lines[0].field, lines[0].field.replace("_", " "))
            tests = AFFECTED.get(lines[0].field, plots.DRAWN)
            figure = _lines_figure(name, label, [(line.label, line.x, line.cells) for line in lines], tests)
            trends = tuple((line.label, trends_along(material, line)) for line in lines)
            found.append((_order(lines[0].field), Shown(title, name, figure, "lines", trends)))
        elif not set(series["vary"]) <= {"attack", "after"} and material.of(series):
            rows = [(_name(material, series, cell), cell) for cell in material.of(series)]
            found.append((len(FIRST_FIELDS) + 1, Shown(title, name, plots.dots(name, rows), "dots", ())))
    return [shown for _, shown in sorted(found, key=lambda one: one[0])]


def _order(field: str) -> int:
    return FIRST_FIELDS.index(field) if field in FIRST_FIELDS else len(FIRST_FIELDS)


def _name(material: Material, series: Mapping[str, Any], cell: Cell) -> str:
    """What a row of a series differs in; the base by its name."""
    if cell is material.reference:
        return "base condition"
    if list(series["vary"]) == ["source"]:
        return SOURCE_TITLES[cell.values["source"]]
    return ", ".join(f"{n} {said(cell.values[n])}" for n in series["vary"] if cell.values[n] != _base(material, n))


def _base(material: Material, field: str) -> Any:
    value = material.study["base"].get(field)
    return tuple(value) if isinstance(value, list) else value


def _nulls(fresh: Sequence[Mapping[str, Any]]) -> Markup | None:
    groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(fresh, key=lambda r: (r["condition"], r["seed"], r["test"], r["number"])):
        groups[row["test"]][row["condition"]].append(row["log10_p"])
    if not groups:
        return None
    panels = {
        test: {condition: null_quantiles(values) for condition, values in sorted(groups[test].items())}
        for test in (*TESTS, *sorted(set(groups) - set(TESTS)))
        if test in groups
    }
    return plots.nulls(panels)


def _responses(material: Material) -> Markup | None:
    """Of the main dose series, reading and sampled."""
    for _, line in dose_lines(material)[:1]:
        found = {}
        for test in plots.MAIN:
            fit = fitted(line, test)
            if fit is not None:
                doses, evidence, _ = runs_along(line, test)
                found[test] = (doses, evidence, fit)
        if found:
            return plots.responses(found, EXTRAPOLATED)
    return None


def _costs(material: Material, quality: Sequence[Mapping[str, Any]]) -> Markup | None:
    """δ against quality, along the first series that varies delta alone."""
    line = next((ln for s in material.study["series"] for ln in material.lines(s) if ln.field == "delta"), None)
    if line is None or "reading" not in material.tests:
        return None
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for row in quality:
        values[row["condition"]][row["measure"]] = row["median"]
    points = [
        plots.Cost(x, values[cell.name], cell.evidence("reading"))
        for x, cell in zip(line.x, line.cells, strict=True)
        if cell.name in values
    ]
    measures = {name: label for name, label in COSTS.items() if sum(name in p.quality for p in points) > 1}
    return plots.costs(points, measures) if measures else None


def _sources(material: Material) -> dict[str, str]:
    """Who wrote answers in this study, with what that means."""
    there = {cell.values["source"] for cell in material.cells.values()}
    return {name: doc for name, doc in SOURCES.items() if name in there}


def _fresh_by_control(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Control × test: the largest count among its models, seed by seed, at each level."""
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["condition"], row["test"], row["n"]].append(row)
    return [
        {
            "condition": condition,
            "test": test,
            "models": len(models),
            "n": n,
            "most": {lv: (max(m["at_or_below"][lv] for m in models), most) for lv, most in models[0]["limits"].items()},
            "within": all(one["within"] for one in models),
        }
        for (condition, test, n), models in sorted(groups.items())
    ]


def _quality(rows: Sequence[Mapping[str, Any]], order: Sequence[str]) -> dict[str, Any]:
    """Measures as columns, conditions as rows, in the study's order."""
    measures = list(dict.fromkeys([*(m for m in COSTS if any(r["measure"] == m for r in rows)),
                                   *sorted({row["measure"] for row in rows})]))  # fmt: skip
    table: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for row in sorted(rows, key=lambda r: order.index(r["condition"]) if r["condition"] in order else len(order)):
        table[row["condition"]][row["measure"]] = row
    return {"measures": measures, "rows": dict(table)}


def _differs(differs: Mapping[str, Any]) -> str:
    """How a condition differs from the base, in words."""
    steps = treatment(differs.get("attack", ()), differs.get("after", ()))
    parts = [] if steps == "nothing" else [steps]
    parts += [f"{name} {said(value)}" for name, value in differs.items() if name not in ("attack", "after")]
    return one_line("; ".join(parts) or "the base condition", 300)
