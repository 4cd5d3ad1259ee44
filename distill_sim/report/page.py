"""The page of a study: what was varied, what was held, what was found, and what would erase the mark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detect.pages.rendering import write_page
from detect.visible import one_line
from detect.wording import probability_words
from distill_sim.dose import EXTRAPOLATED
from distill_sim.drawing import powers
from distill_sim.enough import SIMULATED
from distill_sim.report import dose_words, figures, tables
from distill_sim.report.material import Material, gather
from distill_sim.report.names import LOOKED_FOR_TITLES, MODEL_TITLES, SOURCE_TITLES, TEST_TITLES, glossary
from distill_sim.report.plots.axes import DRAWN
from distill_sim.report.quality import medians
from distill_sim.report.results import ALPHA
from distill_sim.report.summarise import Rows, of_material
from distill_sim.report.words import enough_words, number_words, power_words, spread


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
            "box": [line.partition(": ") for line in found["headline"]],
            "tests": tables.tests(material),
            "glossary": glossary(material.study),
            "treatments": tables.treatments(found),
            "drawn": figures.single(material, fresh, found),
            "shown": figures.shown(material),
            "responses": _responses(found),
            "extrapolated": EXTRAPOLATED,
            "simulated": SIMULATED,
            "sources": tables.sources(material),
            "met": tables.met(found["exposure"]),
            "fresh": tables.fresh(found["controls"]["fresh"]["rows"]),
            "untested": [TEST_TITLES[t] for t in material.tests if t not in _fresh_tests(found)],
            "texts": tables.texts(material, found["quality"]),
            "students": tables.students(material, found),
            "varied": tables.varied(material),
            "columns": [test for test in TEST_TITLES if test in material.tests],
            "titles": TEST_TITLES,
            "source_titles": SOURCE_TITLES,
            "model_titles": MODEL_TITLES,
            "looked_for_titles": LOOKED_FOR_TITLES,
            "measures": tables.MEASURES,
            "measure_titles": tables.MEASURE_TITLES,
            "whole": _whole(material),
            "copies": study["base"].get("base") == "teacher" and study["base"].get("method") != "fresh",
            "has_base": material.reference is not None,
            "unmoved": [one["what"] or "the base" for one in found["conditions"] if one["unmoved"]],
            "called": {one["condition"]: one["what"] for one in found["conditions"]},
            "green": _green(material),
            "blind": medians(found["quality"]).get("auc", {}).get(study["reference"]),
            "false_alarms": found["counts"]["tests"] * ALPHA,
        },
        packages=("distill_sim.report", "distill_sim.demo"),
        filters={
            "count": lambda n: f"{n:,.0f}",
            "words": lambda p: powers(probability_words(p)),
            "short": lambda p: powers(power_words(p)),
            "near": number_words,
            "enough": enough_words,
            "raised": powers,
            "spread": spread,
            "decade": lambda n: powers(f"10^{len(str(n)) - 1}"),
            "line": one_line,
            "measured": lambda value: "<0.001" if 0 < abs(value) < 0.001 else f"{value:.3g}",
            "percent": lambda share: "–" if share is None else f"{share:.0%}",
        },
        overwrite=True,
    )


def _responses(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each line along the dose: what is drawn, what is said, and what a table can tell."""
    lines = []
    for line in found["dose"]["lines"]:
        tests = {test: one for test, one in line["tests"].items() if test in DRAWN}
        lines.append(
            {
                "label": line["label"],
                "enough": {test: one["enough"] for test, one in tests.items() if one["enough"]},
                "said": {test: dose_words.sentences(test, one) for test, one in tests.items() if one["fit"]},
                "unfitted": [TEST_TITLES[test] for test, one in tests.items() if not one["fit"]],
                "fitted": {test: one for test, one in tests.items() if one["fit"]},
                "told": (table := {t: one for t, one in tests.items() if one["fit"] and dose_words.told(one)}),
                "cut": any(at["at_ceiling"] for one in table.values() for at in one["extrapolation"]),
            }
        )
    return lines


def _fresh_tests(found: Mapping[str, Any]) -> set[str]:
    return {row["test"] for row in found["controls"]["fresh"]["rows"]}


def _green(material: Material) -> dict[str, float | None]:
    """Green fraction of the base's answers, and of unmarked ones."""
    base = material.reference
    unmarked = (cell for cell in material.cells.values() if cell.values["source"] == "unmarked" and cell.plain)
    return {
        "marked": base.green[base.own] if base is not None and base.exposed else None,
        "unmarked": next((cell.green[cell.own] for cell in unmarked), None),
    }


def _whole(material: Material) -> bool:
    """Whether every condition has all seeds and keys."""
    size = material.study["seeds"] * material.study["keys"]
    return all(len(one.runs) == size for cell in material.cells.values() for one in cell.tests.values())
