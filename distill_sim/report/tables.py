"""The tables of a study's page, row by row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from distill_sim.condition import documentation
from distill_sim.report.box import loss_words
from distill_sim.report.counts import corpus
from distill_sim.report.figures import COSTS
from distill_sim.report.material import Material
from distill_sim.report.names import (
    ACCESS,
    SOURCE_MEANINGS,
    SOURCE_TITLES,
    TEST_MEANINGS,
    TEST_TITLES,
    amounts,
    labelled,
    said,
)
from distill_sim.report.quality import CLOZE, LOSS, OF_STUDENTS, WRITES, WRITTEN, medians
from distill_sim.report.results import frozen
from distill_sim.report.steps import STEPS, treatment
from distill_sim.report.words import spread
from distill_sim.survival import TESTS

Found = Mapping[str, Any]
MEASURES = {
    "perplexity": "how many tokens the unmarked teacher hesitates between, reading the answers; lower: more fluent",
    "auc": "how well a classifier without the key, shown answers of both kinds, tells marked from unmarked ones; "
    ".5: not at all, 1: always",
    "repetition": "share of the runs of four tokens that an answer has said before",
    "distinct_2": "different pairs of neighbouring tokens, as a share of all such pairs",
    "tokens_per_answer": "mean length of an answer",
    LOSS: "the student's loss on human text it has not seen, nats a token; lower is better",
    CLOZE: "share of human texts whose true continuation the student prefers to three others; higher is "
    "better, a quarter is chance",
}
MEASURE_TITLES = {
    "perplexity": "perplexity",
    "auc": "AUC",
    "repetition": "repetition",
    "distinct_2": "different pairs",
    "tokens_per_answer": "length",
    LOSS: "held-out loss",
    CLOZE: "cloze accuracy",
    **{name: f"{of} of what it writes" for name, of in WRITTEN.items()},
}
STEP_FIELDS = ("attack", "after")


def tests(material: Material) -> list[dict[str, str]]:
    return [
        {"title": TEST_TITLES[test], "meaning": TEST_MEANINGS[test], "access": ACCESS[test], "name": test,
         "doc": TESTS[test]}
        for test in TEST_TITLES
        if test in material.tests
    ]  # fmt: skip


def treatments(found: Found) -> list[dict[str, Any]]:
    """By kind, the kind with the most damaging treatment first; in each the most damaging first."""
    groups: dict[str, list[Found]] = defaultdict(list)
    for one in found["treatments"]:
        groups[one["title"]].append(one)
    return [
        {
            "title": title,
            "sentence": " ".join(STEPS[name].sentence for name in members[0]["steps"]),
            "needs": members[0]["needs"],
            "rows": [{**one, "loss": loss_words(one["held_out_loss"])} for one in members],
        }
        for title, members in groups.items()
    ]


def varied(material: Material) -> list[dict[str, Any]]:
    """Every field: in words, its value at the base, the values it takes elsewhere, its name in the file."""
    base = material.study["base"]
    rows = []
    for field, doc, _ in documentation():
        if field in base:
            values = dict.fromkeys(cell.values[field] for cell in material.cells.values())
            others = [value for value in values if value != frozen(base[field])]
            if all(isinstance(value, int | float) for value in others):
                others.sort()
            rows.append(
                {
                    "label": labelled(field),
                    "base": _value(field, frozen(base[field])),
                    "others": "; ".join(_value(field, value) for value in others),
                    "name": field,
                    "doc": doc,
                }
            )
    return rows


def _value(field: str, value: Any) -> str:
    if field in STEP_FIELDS:
        return treatment(**{**dict.fromkeys(STEP_FIELDS, ()), field: value}) or "nothing"
    if field == "share":
        return f"{value:.0%}"
    return said(value) if isinstance(value, int | float) else amounts(field, [value])


def sources(material: Material) -> list[dict[str, str]]:
    """Who wrote answers in this study besides the account."""
    there = {cell.values["source"] for cell in material.cells.values()}
    return [
        {"title": SOURCE_TITLES[name], "meaning": meaning}
        for name, meaning in SOURCE_MEANINGS.items()
        if name in there and name not in ("account", "imitated")
    ]


def met(exposure: Sequence[Found]) -> list[dict[str, Any]]:
    """What was met and looked for, a line each; detections by test."""
    groups: dict[tuple[Any, ...], dict[str, Found]] = defaultdict(dict)
    names = ("exposed", "licensed", "imitated", "looked_for")
    for one in exposure:
        groups[tuple(one[name] for name in names)][one["test"]] = one
    return [{**dict(zip(names, where, strict=True)), "tests": by_test} for where, by_test in groups.items()]


def fresh(rows: Sequence[Found]) -> list[dict[str, Any]]:
    """A line a test: counts of small p among its models, lowest to highest."""
    groups: dict[str, list[Found]] = defaultdict(list)
    for row in rows:
        groups[row["test"]].append(row)
    return [
        {
            "title": TEST_TITLES.get(test, test),
            "models": len(members),
            "keys": spread([one["n"] for one in members]),
            "levels": [
                {
                    "found": spread([one["at_or_below"][level] for one in members]),
                    "expected": _few([one["n"] * float(level) for one in members]),
                    "limit": spread([one["limits"][level] for one in members]),
                    "least": spread([one["least"][level] for one in members]),
                }
                for level in members[0]["limits"]
            ],
            "within": all(one["within"] for one in members),
            "cautious": all(one["at_or_below"]["0.1"] <= 0.075 * one["n"] for one in members),
        }
        for test in (*TEST_TITLES, *sorted(set(groups) - set(TESTS)))
        if (members := groups.get(test))
    ]


def _few(values: Sequence[float]) -> str:
    """As `spread`, but what is less than one is told."""
    return spread(values) if min(values) >= 1 else " to ".join(f"{value:g}" for value in sorted({*values}))


def texts(material: Material, measured: Sequence[Found]) -> dict[str, Any]:
    """What students were given: a row for each different text, conditions that share it folded."""
    values: dict[str, dict[str, Found]] = defaultdict(dict)
    for row in measured:
        if row["measure"] not in OF_STUDENTS:
            values[row["condition"]][row["measure"]] = row
    groups: dict[Any, list[str]] = defaultdict(list)
    for name, cell in material.cells.items():
        if name in values:
            groups[corpus(cell, next(iter(cell.tests.values())).runs[0])].append(name)
    known = {measure for one in values.values() for measure in one}
    columns = [name for name in (*COSTS, *MEASURES, *sorted(known - set(MEASURES))) if name in known]
    return {
        "columns": list(dict.fromkeys(columns)),
        "rows": [
            {"condition": names[0], "others": len(names) - 1, "values": values[names[0]]} for names in groups.values()
        ],
    }


def students(material: Material, found: Found) -> dict[str, Any]:
    """What training did to students: the base's loss beside that of one of unmarked answers, and along the dose."""
    losses = medians(found["quality"]).get(LOSS, {})
    base = material.reference
    only = [cell.name for cell in material.cells.values() if dict(material.changed(cell)) == {"source": "unmarked"}]
    plain = next((name for name in only if name in losses), None)
    shown = [name for name in (LOSS, CLOZE, WRITES, "written_repetition") if name in medians(found["quality"])]
    by_condition: dict[str, dict[str, Found]] = defaultdict(dict)
    for row in found["quality"]:
        by_condition[row["condition"]][row["measure"]] = row
    named = {"the base": base.name if base is not None else None, "unmarked answers": plain}
    doses: list[tuple[float, float]] = []
    for series in material.study["series"]:
        for line in material.lines(series):
            if line.field == "answers" and not doses:
                doses = [(x, losses[c.name]) for x, c in zip(line.x, line.cells, strict=True) if c.name in losses]
    marked = losses.get(base.name) if base is not None else None
    unmarked = losses.get(plain) if plain is not None else None
    return {
        "base": marked,
        "unmarked": unmarked,
        "doses": doses if len(doses) > 1 else [],
        "columns": shown,
        "rows": [(title, by_condition[name]) for title, name in named.items() if name in by_condition],
        "training": _mostly_training(marked, unmarked, doses),
        "all": losses,
    }


def _mostly_training(marked: float | None, unmarked: float | None, doses: Sequence[tuple[float, float]]) -> bool:
    """Whether unmarked answers raised the loss, from the smallest dose on, by more than the mark changed it."""
    if marked is None or unmarked is None or len(doses) < 2:
        return False
    return unmarked - doses[0][1] > abs(marked - unmarked)
