"""What lost the mark: treatments of answers and students, and ways of training under which it is hardly learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distill_sim.curves import half_life
from distill_sim.report.material import Cleaned, Ladder, Material, Rung
from distill_sim.report.names import differing
from distill_sim.report.quality import LOSS, WRITES
from distill_sim.report.results import QUESTIONING, Cell
from distill_sim.report.steps import STEPS, strength, titled, treatment
from distill_sim.report.trends import trends
from distill_sim.survival import TESTS

Costs = Mapping[str, Mapping[str, float]]  # measure → condition → median


def clean(material: Material, one: Cleaned) -> dict[str, Any]:
    """Along fine-tuning on clean text; half-lives are of −log10 p."""
    tests = [test for test in material.tests if test != "text"]
    return {
        "label": one.label,
        "tokens": list(one.tokens),
        "conditions": [cell.name for cell in one.cells],
        "half_life": {test: half_life(one.tokens, [cell.evidence(test) for cell in one.cells]) for test in tests},
        "told": {
            test: test in tests and test in one.cells[0].tests and one.cells[0].tests[test].told for test in TESTS
        },
        "trends": trends(tests, one.tokens, one.cells, rising=False),
    }


def treatments(material: Material, costs: Costs) -> list[dict[str, Any]]:
    """Every cell with an attack or an afterwards and an untreated counterpart; least evidence left comes first."""
    found = []
    for ladder in material.ladders():
        if ladder.plain is not None:
            found += [_treated(material, ladder, r, ladder.plain, costs) for r in ladder.rungs if r.cell.exposed]
    main = next((test for test in ("reading", *material.tests) if test in material.tests), "reading")
    return sorted(found, key=lambda one: (_typical(one, main), _typical(one, "sampled"), one["condition"]))


def _treated(material: Material, ladder: Ladder, rung: Rung, plain: Cell, costs: Costs) -> dict[str, Any]:
    cell, others = rung.cell, differing(dict(ladder.others))
    what = treatment(cell.values["attack"], cell.values["after"])
    names = [step.name for step in rung.steps]
    return {
        "condition": cell.name,
        "what": what + (f" ({others})" if others else ""),
        "kind": "answers" if not cell.values["after"] else "student" if not cell.values["attack"] else "both",
        "plain": plain.name,
        "steps": names,
        "title": titled(rung.steps) + (f" ({others})" if others else ""),
        "strength": strength(rung.steps),
        "needs": {
            "key": False,
            "unmarked_teacher": any(STEPS[name].teacher for name in names),
            "start_model": any(STEPS[name].start for name in names),
        },
        "held_out_loss": _pair(costs, LOSS, plain, cell),
        "written_perplexity": _pair(costs, WRITES, plain, cell),
        "tests": {t: _remaining(cell, plain, t) for t in material.tests if t in cell.tests and t in plain.tests},
    }


def _pair(costs: Costs, measure: str, before: Cell, after: Cell) -> list[float | None]:
    there = costs.get(measure, {})
    return [there.get(before.name), there.get(after.name)]


def _typical(one: Mapping[str, Any], test: str) -> float:
    median = one["tests"].get(test, {}).get("median")
    return 0.0 if median is None else -float(median)


def _remaining(cell: Cell, plain: Cell, test: str) -> dict[str, Any]:
    before, results = plain.evidence(test), cell.tests[test]
    return {
        **results.to_dict(),
        "share_left": cell.evidence(test) / before if before > 0 else None,
        "z_left": z_left(cell, plain, test),
        "told": plain.tests[test].told,  # there was something to lose
    }


def z_left(cell: Cell, plain: Cell, test: str) -> float | None:
    """Median z as a share of another condition's; None where that is not above 0, or one of them has none."""
    after, before = cell.tests[test].z, plain.tests[test].z
    return None if after is None or before is None or before <= 0 else max(0.0, after / before)


# --- without any treatment ---


def learning(material: Material, costs: Costs) -> dict[str, list[dict[str, Any]]]:
    """Conditions without treatment, trained otherwise than the base, in which much changes.

    weaker: reading detects at most half as large a share of the runs as at the base, least first.
    stronger: asking detects at least half of the runs, and did not at the base, most first.
    """
    base = material.reference
    if base is None:
        return {"weaker": [], "stronger": []}
    others = [
        (cell, dict(material.changed(cell, apart=QUESTIONING)))
        for cell in material.cells.values()
        if cell.exposed and cell.plain and cell is not base
    ]
    trained = [(cell, changed) for cell, changed in others if changed and set(changed) != {"source"}]
    weaker = [one for one in trained if _fell(one[0], base)]
    stronger = [one for one in trained if _rose(one[0], base)]
    return {
        "weaker": sorted((_learnt(material, base, *one, costs) for one in weaker), key=lambda o: _order(o, "reading")),
        "stronger": sorted(
            (_learnt(material, base, *one, costs) for one in stronger),
            key=lambda o: _order(o, "sampled"),
            reverse=True,
        ),
    }


def _fell(cell: Cell, base: Cell) -> bool:
    if "reading" not in cell.tests or "reading" not in base.tests or not base.tests["reading"].told:
        return False
    now, before = cell.tests["reading"], base.tests["reading"]
    return 2 * now.detected * len(before.runs) <= before.detected * len(now.runs)


def _rose(cell: Cell, base: Cell) -> bool:
    there = "sampled" in cell.tests and "sampled" in base.tests
    return there and cell.tests["sampled"].told and not base.tests["sampled"].told


def _learnt(material: Material, base: Cell, cell: Cell, changed: dict[str, Any], costs: Costs) -> dict[str, Any]:
    both = [t for t in material.tests if t in cell.tests and t in base.tests]
    return {
        "condition": cell.name,
        "what": differing(changed),
        "differs": changed,
        "text_told": "text" in cell.tests and cell.tests["text"].told,
        "held_out_loss": _pair(costs, LOSS, base, cell),
        "tests": {t: {**cell.tests[t].to_dict(), "z_left": z_left(cell, base, t)} for t in both},
    }


def _order(one: Mapping[str, Any], test: str) -> tuple[float, float, str]:
    found = one["tests"][test]
    return found["detected"] / found["runs"], -(found["median"] or 0.0), one["condition"]
