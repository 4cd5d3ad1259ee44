"""docs/speed.md from the results: `python -m benchmarks.speed_page`. Nothing is measured here."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from benchmarks.common import RESULTS
from benchmarks.peers.__main__ import BATCHES, LENGTHS
from benchmarks.peers.tables import VOCABULARY, table
from benchmarks.scaling import clock_of

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
TEMPLATE = Path(__file__).parent / "templates" / "speed.md.jinja"
NAMES = ("peers", "peers_other_host", "hot_paths", "text", "corpus", "reading_speed", "scaling", "startup")
STEPS = (
    ("left_over_cold", "transformers' left hash over Taggant, contexts never seen"),
    ("left_over_cached", "over Taggant, contexts seen before"),
    ("self_over_cold", "transformers' self hash over Taggant, contexts never seen"),
    ("self_over_cached", "over Taggant, contexts seen before"),
    ("sampling_over_cold", "softmax and one draw over Taggant, contexts never seen"),
)
SCORES = (
    ("left_over_taggant", "transformers' detector, left hash, over Taggant"),
    ("self_over_taggant", "the same, self hash"),
    ("left_over_not_compiled", "left hash over Taggant without its compiled kernels"),
    ("vllm_over_taggant", "vLLM's detector, context width 1, over Taggant"),
    ("vllm_default_over_taggant", "vLLM's detector, its default width 4"),
    ("vllm_over_not_compiled", "vLLM's detector, width 1, over Taggant without its compiled kernels"),
    ("vllm_over_all_evidence", "vLLM's detector, width 1, over Taggant with e-value, interval and notes"),
    ("tokenizer_over_taggant", "SmolLM2's tokenizer, on as many tokens of text, over Taggant"),
)
Results = dict[str, Any]


def results() -> Results:
    """What the benchmarks wrote, by name."""
    return {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in NAMES}


def profiles() -> dict[str, str]:
    """The text of each profile, by name."""
    return {path.stem: path.read_text() for path in sorted((RESULTS / "profiles").glob("*.txt"))}


def page(found: Results, sampled: dict[str, str]) -> str:
    """The page.

    Args:
        found: as `results`.
        sampled: as `profiles`.
    """
    made = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701  (Markdown)
    made.filters["thousands"] = lambda number: f"{number:,}"
    return made.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        **found,
        dates=sorted({one["date"] for one in found.values()}),
        claims=_claims(found["peers"]["headline"]),
        claims_there=_claims(found["peers_other_host"]["headline"]),
        copies=[_copy_of_the_logits(found[name]["cases"]) for name in ("peers", "peers_other_host")],
        shares=_shares(found["text"]["runs"]),
        sizes=_sizes(found["corpus"]["sizes"]["points"]),
        exponent_alone=_exponent_alone(found["corpus"]),
        costs=_costs(found["scaling"]),
        starts=_starts(found["startup"]["started"]),
        samples=_samples(sampled),
        tables=_tables(found["peers"]["cases"]),
    )


def _claims(headline: Results) -> str:
    steps = [headline[f"step_batch_{batch}"] for batch in BATCHES]
    scores = [headline[f"score_{tokens}_tokens"] for tokens in LENGTHS]
    batches, lengths = " | ".join(map(str, BATCHES)), " | ".join(f"{one:,} ids" for one in LENGTHS)
    rows = [f"| V = {VOCABULARY:,}, CPU time; batch | {batches} |", "|---" * (1 + len(BATCHES)) + "|"]
    rows += [_row(label, [one[name] for one in steps]) for name, label in STEPS]
    rows += [
        "",
        f"| V = {VOCABULARY:,}, CPU time of a test from ids to p | {lengths} |",
        "|---" * (1 + len(LENGTHS)) + "|",
    ]
    rows += [_row(label, [one.get(name) for one in scores]) for name, label in SCORES]
    return "\n".join(rows)


def _copy_of_the_logits(cases: list[Results]) -> float:
    """CPU milliseconds for 64 rows: what a host's fresh memory costs."""
    (case,) = (one for one in cases if one["vocabulary"] == VOCABULARY and one.get("batch") == 64)
    return float(case["results"]["limit: a copy of the logits"]["cpu_ms"]["median"])


def _row(label: str, ratios: list[float | None]) -> str:
    return " | ".join([f"| {label}", *("–" if one is None else f"{one:g} ×" for one in ratios)]) + " |"


def _shares(runs: list[Results]) -> str:
    rows = [
        "| threads | bare tokenizer, s | Taggant, s | share of its speed | in CPU time |",
        "|---|---|---|---|---|",
    ]
    for run in runs:
        rows.append(
            f"| {run['threads']} | {run['bare_wall_seconds']['median']} | {run['taggant_wall_seconds']['median']} | "
            f"{run['share_of_the_bare_speed_wall']:.1%} | {run['share_of_the_bare_speed_cpu']:.1%} |"
        )
    return "\n".join(rows)


def _sizes(points: list[Results]) -> str:
    rows = [
        "| JSONL, MB | documents | tokens | seconds | CPU seconds | peak memory together, MB | marked found | others |",
        "|---" * 8 + "|",
    ]
    for one in points:
        rows.append(
            f"| {one['megabytes']:,} | {one['documents']:,} | {one['tokens']:,} | {one['seconds']:,} | "
            f"{one['cpu_seconds']:,} | {one['peak_mb_together']:,} | {one['marked_selected']:,} of {one['marked']:,} | "
            f"{one['unmarked_selected']} |"
        )
    return "\n".join(rows)


def _exponent_alone(corpus: Results) -> float:
    """Of CPU time from what was measured on an idle machine to the largest size, which was not."""
    small, large = corpus["workers"], corpus["sizes"]["points"][-1]
    times = large["cpu_seconds"] / small["two"]["cpu_seconds"]
    return round(math.log(times) / math.log(large["megabytes"] / small["megabytes"]), 2)


def _costs(scaling: Results) -> str:
    rows = ["| what grows | sizes | time ∝ | memory ∝ | at the largest |", "|---|---|---|---|---|"]
    for name, one in scaling.items():
        if not isinstance(one, dict) or "points" not in one:
            continue
        first, last, powers = one["points"][0], one["points"][-1], one["exponents"]
        measures = (clock_of(name), "megabytes")
        shown = ["–" if powers[measure] is None else f"size^{powers[measure]:g}" for measure in measures]
        rows.append(
            f"| {name} | {int(first['size']):,} … {int(last['size']):,} | {shown[0]} | {shown[1]} | "
            f"{last[measures[0]]:g} s, {last['megabytes']:g} MB |"
        )
    return "\n".join(rows)


def _starts(started: Results) -> str:
    rows = ["| a fresh process | wall seconds | of the large packages, it imported |", "|---|---|---|"]
    for name, one in started.items():
        rows.append(f"| `{name}` | {one['wall_seconds_median']} | {', '.join(one['imported']) or '–'} |")
    return "\n".join(rows)


def _samples(sampled: dict[str, str]) -> str:
    lines = []
    for name, text in sampled.items():
        own = [line.strip().split("  ") for line in text.splitlines() if "%  " in line][:3]
        shown = ", ".join(f"{share} in `{where}`" for share, where in own)
        lines.append(f"- [{name}](../benchmarks/results/profiles/{name}.txt): {shown}")
    return "\n".join(lines)


def _tables(cases: list[Results]) -> str:
    first = [case for case in cases if case["vocabulary"] == VOCABULARY]
    rest = [case for case in cases if case["vocabulary"] != VOCABULARY]
    return "\n\n".join(table(case) for case in [*first, *rest])


def main() -> None:
    PAGE.write_text(page(results(), profiles()), encoding="utf-8")


if __name__ == "__main__":
    main()
