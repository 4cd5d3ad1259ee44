"""Which figures a study's page has, and what they show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from detect.visible import one_line
from distill_sim.condition import CONTROLS
from distill_sim.curves import null_quantiles
from distill_sim.dose import EXTRAPOLATED, fit_dose
from distill_sim.hold_out import hold_out
from distill_sim.report.controls import condition_and_key
from distill_sim.report.doses import ceiling, dose_lines, runs_along
from distill_sim.report.material import Material
from distill_sim.report.names import TEST_TITLES, amounts, differing, labelled
from distill_sim.report.plots.axes import DRAWN, MAIN
from distill_sim.report.plots.costs import Cost, costs
from distill_sim.report.plots.curves import dots, lines_figure
from distill_sim.report.plots.extrapolation import Response, extrapolation
from distill_sim.report.plots.heat import heat
from distill_sim.report.plots.nulls import nulls
from distill_sim.report.results import Cell
from distill_sim.report.trends import AFFECTED, trends_along

COSTS = {"perplexity": "perplexity of the answers", "auc": "AUC of a classifier without the key (.5: sees nothing)"}
OTHERS = "students that met another mark"
FIRST_FIELDS = ("answers", "share", "probe_tokens", "sampled_tokens", "delta")  # whose series come first


@dataclass(frozen=True)
class Shown:
    """One series on the page.

    Attributes:
        field: the numeric field along which it is drawn; "" where its conditions have no order.
        notes: sentences below the figure.
    """

    title: str
    field: str
    figure: Markup | None
    notes: tuple[str, ...]


def single(material: Material, fresh: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that belong to no single series; None where the study has nothing to draw."""
    cleaned = material.cleaned()
    return {
        "heat": _heat(material, found),
        "clean": lines_figure("clean", "tokens of clean fine-tuning", [(c.label, c.tokens, c.cells) for c in cleaned]),
        "nulls": _nulls(material, fresh),
        "extrapolation": _extrapolation(material),
        "costs": _costs(material, found["quality"]),
    }


def _heat(material: Material, found: Mapping[str, Any]) -> Markup | None:
    """Treatments of more than one strength, in the order of the table; tests that had something to lose."""
    order = [one["condition"] for one in found["treatments"]]
    ladders = [one for one in material.ladders() if len(one.rungs) > 1 and all(r.cell.name in order for r in one.rungs)]
    ladders.sort(key=lambda one: min(order.index(rung.cell.name) for rung in one.rungs))
    told = [
        test
        for test in MAIN
        if any(one.plain and test in one.plain.tests and one.plain.tests[test].told for one in ladders)
    ]
    return heat(ladders, told) if told else None


def shown(material: Material) -> list[Shown]:
    """Every series with a figure, those along the main axes first; treatments are in the heat map."""
    found = []
    for at, series in enumerate(material.study["series"]):
        lines, name, title = material.lines(series), f"series{at}", one_line(series["title"])
        title = title[:1].upper() + title[1:]
        if lines:
            field = lines[0].field
            tests = AFFECTED.get(field, DRAWN)
            figure = lines_figure(name, labelled(field), [(line.label, line.x, line.cells) for line in lines], tests)
            notes = tuple(
                note for line in lines for note in _trend_words(line.label, trends_along(material, line), len(line.x))
            )
            found.append((_order(field), Shown(title, field, figure, notes)))
        elif not set(series["vary"]) <= {"attack", "after"} and material.of(series):
            rows = [(_name(material, series, cell), cell) for cell in material.of(series)]
            found.append((len(FIRST_FIELDS) + 1, Shown(title, "", dots(name, rows), ())))
    return [one for _, one in sorted(found, key=lambda one: one[0])]


def _order(field: str) -> int:
    return FIRST_FIELDS.index(field) if field in FIRST_FIELDS else len(FIRST_FIELDS)


def _name(material: Material, series: Mapping[str, Any], cell: Cell) -> str:
    """What a row of a series differs in."""
    if cell is material.reference:
        return "base: " + ", ".join(amounts(field, [cell.values[field]]) for field in series["vary"])
    varied = {field: cell.values[field] for field in series["vary"]}
    return differing({n: v for n, v in varied.items() if (n, v) in material.changed(cell)}) or cell.name


def _trend_words(label: str, trends: Mapping[str, Any], size: int) -> list[str]:
    """Kendall's tau, and what fell where it should rise."""
    said = [
        f"{TEST_TITLES[test]} {one['tau']:+.2f}".replace("-", "−")
        for test, one in trends.items()
        if one["tau"] is not None and test != "text"
    ]
    wrong = [TEST_TITLES[test] for test, one in trends.items() if one["inversions"]]
    start = f"{one_line(label)}: " if label else ""
    notes = []
    if said and size > 2:
        notes.append(f"{start}Kendall's τ: {', '.join(said)}.")
    if wrong:
        notes.append(f"{start}Somewhere more gave less evidence, by more than the runs spread: {', '.join(wrong)}.")
    kept = {test: one for test, one in trends.items() if one["notices"] and not one["inversions"]}
    for notices in dict.fromkeys(tuple(map(tuple, one["notices"])) for one in kept.values()):
        same = [TEST_TITLES[t] for t, one in kept.items() if tuple(map(tuple, one["notices"])) == notices]
        (small, seldom), (large, often) = notices
        notes.append(
            f"{start}Nowhere did more give less evidence by more than the wider quartile range of the two: "
            f"{', '.join(same)}. That is a blunt check: a true fall of {small:g} standard deviation of a run would be "
            f"noticed in {seldom:.0%} of studies, one of {large:g} in {often:.0%}."
        )
    return notes


def _nulls(material: Material, fresh: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Pooled over seeds, and over the keys of one control."""
    groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    titles = {name: control_title(material, name) for name in {row["condition"] for row in fresh}}
    for row in sorted(fresh, key=lambda r: (r["condition"], r["seed"], r["test"], r["number"])):
        groups[row["test"]][titles[row["condition"]]].append(row["log10_p"])
    if not groups:
        return None
    panels = {
        test: {name: null_quantiles(values) for name, values in sorted(groups[test].items())}
        for test in (*TEST_TITLES, *sorted(set(groups) - set(TEST_TITLES)))
        if test in groups
    }
    return nulls(panels)


def control_title(material: Material, name: str) -> str:
    """The words for a student of fresh.parquet, whose name may end in its key's number; all but controls are one."""
    condition, _ = condition_and_key(name)
    cell = material.cells.get(condition)
    if cell is not None and cell.values["source"] not in CONTROLS:
        return OTHERS
    return differing(dict(material.changed(cell))) or condition if cell is not None else condition


def _extrapolation(material: Material) -> Markup | None:
    """Of the main dose series: reading and asking, or whatever could be fitted."""
    for _, line in dose_lines(material)[:1]:
        found = {}
        for test in DRAWN:
            runs, most = runs_along(line, test), ceiling(line, test)
            fit, check = fit_dose(*runs), hold_out(*runs, most=most)
            if fit is not None:
                failed = check is not None and check.failed is not None
                found[test] = Response(runs[0], runs[1], fit, most, failed)
        chosen = {test: found[test] for test in MAIN if test in found} or found
        if chosen:
            return extrapolation(chosen, EXTRAPOLATED)
    return None


def _costs(material: Material, quality: Sequence[Mapping[str, Any]]) -> Markup | None:
    """δ against quality, along the first series that varies delta alone."""
    line = next((ln for s in material.study["series"] for ln in material.lines(s) if ln.field == "delta"), None)
    if line is None:
        return None
    values: dict[str, dict[str, tuple[float, float | None]]] = defaultdict(dict)
    for row in quality:
        values[row["condition"]][row["measure"]] = (row["median"], row["unmarked"])
    points = [
        Cost(
            x,
            {name: value for name, (value, _) in values[cell.name].items()},
            {name: other for name, (_, other) in values[cell.name].items() if other is not None},
            cell,
        )
        for x, cell in zip(line.x, line.cells, strict=True)
        if cell.name in values
    ]
    measures = {name: label for name, label in COSTS.items() if sum(name in p.quality for p in points) > 1}
    return costs(points, measures) if measures else None
