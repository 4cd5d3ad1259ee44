"""Evidence in words, for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from detect.visible import one_line
from detect.wording import FLOOR, MEANINGS, probability_words

if TYPE_CHECKING:
    from detect.evidence import Evidence

TITLES = {
    "text": "Text test: distinct (context, token) pairs of the text",
    "sampled": "Sampled test: distinct pairs of the questioned model's answers",
    "reading": "Reading test: the questioned model's next-token distributions on probe text",
}
COMPARISONS = {"argmax": "argmax", "green_mass": "green mass"}
NO_CONTROL = "without a positive control this test cannot say that a mark is absent"


def describe(evidence: Evidence) -> str:
    """A few lines that say what was found, from what, and what it means."""
    lines = [TITLES[evidence.test], f"  finding      {evidence.finding}: {_meaning(evidence)}"]
    if evidence.log10_p is None:
        lines.append("  p            not claimed")
    else:
        kind = "valid bound" if evidence.test == "reading" else "exact"
        adjusted = probability_words(evidence.log10_p_adjusted)
        lines.append(f"  p            {probability_words(evidence.log10_p)} ({kind}, one-sided); adjusted: {adjusted}")
    if evidence.green_fraction is not None and evidence.ci95 is not None:
        low, high = evidence.ci95
        lines.append(
            f"  green        {evidence.n_green:,} of {evidence.n_scored:,} pairs, {evidence.green_fraction:.1%} "
            f"(gamma {evidence.gamma:.1%}; 95 % interval under a binomial model {low:.1%} to {high:.1%})"
        )
    else:
        lines.append(f"  weights      {evidence.n_scored:,} over {evidence.n_contexts:,} contexts")
    if evidence.z_score is not None:
        lines.append(f"  z            {evidence.z_score:.2f} (for display: no p is computed from it)")
    if evidence.log10_e is not None:
        rounded_down = math.floor(10 * evidence.log10_e) / 10
        e_value = f"10^{rounded_down:.1f}" if evidence.log10_e <= -FLOOR else f"above 10^{-FLOOR}"
        lines.append(f"  e-value      {e_value} (of this test alone, not adjusted)")
    for name, one in (evidence.comparisons or {}).items():
        lines.append(
            f"  {COMPARISONS[name]:12} p {probability_words(one['log10_p'])} "
            "(a published test, for comparison; not adjusted)"
        )
    if evidence.lineup is not None:
        line = evidence.lineup
        uniform = "none, see the notes" if line.uniformity_p is None else f"{line.uniformity_p:.2g}"
        lines.append(f"  line-up      rank {line.rank} of {line.decoys + 1:,}; decoys' uniformity p {uniform}")
    lines.append(f"  key          {evidence.key_id[:16]}, {evidence.scheme}, context width {evidence.context_width}")
    lines.append(f"  status       {evidence.status}")
    lines += [f"  note         {one_line(text, limit=400)}" for text in evidence.notes]
    return "\n".join(lines)


def _meaning(evidence: Evidence) -> str:
    if evidence.log10_p is None:
        return "no p is claimed, see the notes"
    if evidence.log10_p_adjusted is None:
        return "nothing is claimed under this key, see the notes"
    if evidence.test == "reading" and evidence.finding == "inconclusive":
        return NO_CONTROL
    return MEANINGS[evidence.finding]
