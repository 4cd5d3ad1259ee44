"""Students that never met the mark, imitations of it, fresh keys, and licences: what a finding may mistake."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from distill_sim.condition import CONTROLS
from distill_sim.curves import NULL_LEVEL, bonferroni, null_count
from distill_sim.report.counts import Identity, a_test, every_run, student
from distill_sim.report.material import Material
from distill_sim.report.names import COUNTED


def deployed(material: Material) -> dict[str, Any]:
    """Students under keys that people use, whose marks they never met. A test that two conditions share counts once."""
    rows: list[dict[str, Any]] = []
    seen: set[Identity] = set()
    p: list[float] = []
    for cell in material.cells.values():
        for who, tests in sorted(cell.results.items()):
            if cell.met(who) is not False:
                continue
            claimed = {test: [-e for e in tests[test].claimed] for test in material.tests if test in tests}
            new = []
            for test in claimed:
                for run in tests[test].runs:
                    identity = a_test(cell, run, who, test)
                    if identity not in seen and run.evidence is not None:
                        new.append(-run.evidence)
                    seen.add(identity)
            p += new
            runs = next(iter(tests.values())).runs
            rows.append(
                {
                    "condition": cell.name,
                    "source": cell.values["source"],
                    "share": cell.values["share"],
                    "looked_for": who,
                    "students": len({student(cell, run) for run in runs}),
                    "keys": len({run.key_id for run in runs}),
                    "new": len(new),
                    "tests": {
                        t: {"n": len(v), "smallest": min(v), "detected": tests[t].detected}
                        for t, v in claimed.items()
                        if v
                    },
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


def imitated(material: Material) -> list[dict[str, Any]]:
    """Students of imitated answers, under the key of the account that was imitated."""
    return [
        {"condition": cell.name, "looked_for": who, "test": test, **tests[test].to_dict()}
        for cell in material.cells.values()
        if cell.values["source"] == "imitated"
        for who, tests in sorted(cell.results.items())
        if who == "account"
        for test in material.tests
        if test in tests
    ]


def fresh(material: Material, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Students under keys that marked nothing; one that stands under two names counts once.

    exposed: those that are no controls, and met some mark, but none of these keys'.

    Exact counts are checked from above and below, bounds from above alone: that they are not dead is for the base
    condition to show (`alive`: its runs that they detect). `no_lower`: counts whose number of pairs is not known.
    """
    models: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: (r["condition"], r["test"], r["seed"], r["number"])):
        models[row["condition"], row["test"], row["seed"]].append(row["log10_p"])
    different = {(where[1:], tuple(p)): where for where, p in reversed(models.items())}
    kept = set(different.values())
    pairs = {where: counted_pairs(material, *where) for where in kept if where[1] in COUNTED}
    counted = {
        where: null_count(p, pairs.get(where), _gamma(material, where[0]))
        for where, p in models.items()
        if where in kept
    }
    base, bounds = material.reference, {test for _, test, _ in kept if test not in COUNTED}
    alive = {} if base is None else {test: base.tests[test] for test in sorted(bounds) if test in base.tests}
    return {
        "models": len({(condition, seed) for condition, _, seed in counted}),
        "exposed": len({(name, seed) for name, _, seed in counted if _exposed(material, name)}),
        "checks": sum(one.checks for one in counted.values()),
        "outside": [
            {"condition": condition, "test": test, "seed": seed, "level": f"{level:g}", "too": too}
            for (condition, test, seed), one in counted.items()
            for level, too in one.outside
        ],
        "alive": {test: {"detected": one.detected, "runs": len(one.runs)} for test, one in alive.items()},
        "no_lower": sorted({test for (_, test, _), known in pairs.items() if known is None}),
        "rows": [
            {"condition": condition, "test": test, "seed": seed, **one.to_dict()}
            for (condition, test, seed), one in counted.items()
        ],
    }


def condition_and_key(name: str) -> tuple[str, int | None]:
    """(condition, key) of a control of fresh.parquet, whose name may end in the number of its key."""
    condition, _, key = name.partition(", key ")
    return condition, int(key) if key.isdecimal() else None


def _exposed(material: Material, name: str) -> bool:
    cell = material.cells.get(condition_and_key(name)[0])
    return cell is not None and cell.values["source"] not in CONTROLS


def _gamma(material: Material, name: str) -> float:
    cell = material.cells.get(condition_and_key(name)[0])
    return float(material.study["base"]["gamma"] if cell is None else cell.values["gamma"])


def counted_pairs(material: Material, name: str, test: str, seed: int) -> int | None:
    """What a test counted of a control, from the study's own rows; None where they do not tell."""
    condition, key = condition_and_key(name)
    cell = material.cells.get(condition)
    found = {
        run.scored
        for tests in (cell.results.values() if cell is not None else ())
        for run in (tests[test].runs if test in tests else ())
        if run.seed == seed and key in (None, run.key)
    }
    return found.pop() if len(found) == 1 else None


def exposure(material: Material) -> list[dict[str, Any]]:
    """Exposure and licence, kept apart: runs and detections by what the student met and whose key was looked for.

    A student that several conditions share counts once for each key: as it was read or asked most.
    """
    runs = sorted(
        every_run(material),
        key=lambda one: (-one[0].values["probe_tokens"], -one[0].values["sampled_tokens"]),
    )
    seen: set[Identity] = set()
    groups: dict[tuple[bool, bool, bool, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for cell, who, test, run in runs:
        identity = (student(cell, run), who, run.key_id, test)
        if identity in seen:
            continue
        seen.add(identity)
        count = groups[cell.exposed, cell.licensed, cell.values["source"] == "imitated", who, test]
        count[0] += 1
        count[1] += run.detected
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
