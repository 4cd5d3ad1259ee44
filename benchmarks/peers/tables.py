"""The contest's results as tables and as the ratios that are claimed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

COLD, CACHED = "taggant, cold", "taggant, cached"
LEFT, SELF = "transformers, left hash", "transformers, self hash"
VLLM = ("vLLM, Gumbel", "vLLM, Gumbel, its default width 4")
VOCABULARY = 128_000  # where ratios are claimed


def cpu(case: dict[str, Any], name: str) -> float:
    """Median CPU milliseconds of a call."""
    return float(case["results"][name]["cpu_ms"]["median"])


def ratio(case: dict[str, Any], slow: str, fast: str) -> float | None:
    """How many times the CPU time; None: one of them was not there."""
    if slow not in case["results"] or fast not in case["results"]:
        return None
    return float(f"{cpu(case, slow) / cpu(case, fast):.3g}")


def title(case: dict[str, Any]) -> str:
    """What was done, in a line."""
    if case["task"] == "step":
        return f"Logits step, V = {case['vocabulary']:,}, batch {case['batch']}"
    return f"Scoring {case['tokens']:,} token ids, V = {case['vocabulary']:,}"


def table(case: dict[str, Any]) -> str:
    """A table in Markdown, fastest first; the last column is the CPU time over Taggant's (cold rows, or a score)."""
    ours = COLD if case["task"] == "step" else "taggant"
    rate = "" if case["task"] == "step" else " tokens/s |"
    lines = [
        f"| {title(case)} | CPU ms | least … most | rounds × calls | wall ms |{rate} over {ours} |",
        "|---|---|---|---|---|" + ("---|" if rate else "") + "---|",
    ]
    for name in sorted(case["results"], key=lambda one: cpu(case, one)):
        one = case["results"][name]
        speed = f" {1000 * case['tokens'] / cpu(case, name):,.0f} |" if rate else ""
        over = ratio(case, name, ours)
        lines.append(
            f"| {name} | {one['cpu_ms']['median']:g} | {one['cpu_ms']['least']:g} … {one['cpu_ms']['most']:g} | "
            f"{one['rounds']} × {one['calls']} | {one['wall_ms']['median']:g} |{speed} "
            f"{'' if over is None else f'{over:g}'} |"
        )
    return "\n".join(lines)


def headline(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The ratios of median CPU times that issue and page claim, from the cases that were run."""
    found: dict[str, Any] = {"vocabulary": VOCABULARY}
    for case in cases:
        if case["vocabulary"] != VOCABULARY:
            continue
        if case["task"] == "step":
            found[f"step_batch_{case['batch']}"] = {
                "left_over_cold": ratio(case, LEFT, COLD),
                "left_over_cached": ratio(case, LEFT, CACHED),
                "self_over_cold": ratio(case, SELF, COLD),
                "self_over_cached": ratio(case, SELF, CACHED),
                "sampling_over_cold": ratio(case, "limit: softmax and one draw", COLD),
            }
        else:
            found[f"score_{case['tokens']}_tokens"] = {
                "left_over_taggant": ratio(case, LEFT, "taggant"),
                "self_over_taggant": ratio(case, SELF, "taggant"),
                "left_over_not_compiled": ratio(case, LEFT, "taggant, not compiled"),
                "vllm_over_taggant": ratio(case, VLLM[0], "taggant"),
                "vllm_default_over_taggant": ratio(case, VLLM[1], "taggant"),
                "vllm_over_not_compiled": ratio(case, VLLM[0], "taggant, not compiled"),
                "vllm_over_all_evidence": ratio(case, VLLM[0], "taggant, all evidence"),
                "tokenizer_over_taggant": ratio(case, "limit: the tokenizer", "taggant"),
            }
    return found
