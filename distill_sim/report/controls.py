"""Students that never met the mark, imitations of it, fresh keys, and licences: what a finding may mistake."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from distill_sim.curves import NULL_LEVEL, bonferroni, null_count
from distill_sim.report.counts import Identity, a_test, every_run, student
from distill_sim.report.material import Material


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


def fresh(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Each control under keys that marked nothing; a control that stands under two names counts once."""
    models: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: (r["condition"], r["test"], r["seed"], r["number"])):
        models[row["condition"], row["test"], row["seed"]].append(row["log10_p"])
    different = {(where[1:], tuple(p)): where for where, p in reversed(models.items())}
    kept = set(different.values())
    counted = {where: null_count(p) for where, p in models.items() if where in kept}
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
