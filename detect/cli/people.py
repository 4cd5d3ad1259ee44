"""Evidence in words, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detect.evidence import FLOOR

if TYPE_CHECKING:
    from detect.evidence import Evidence

TITLES = {
    "text": "Text test: distinct (context, token) pairs of the text",
    "sampled": "Sampled test: distinct pairs of the questioned model's answers",
    "reading": "Reading test: the questioned model's next-token distributions on probe text",
}
MEANINGS = {
    "detected": "what was observed depends on the secret key; how that came about is a separate question",
    "inconclusive": "too little was observed to tell; this is not a sign of absence",
    "not detected": "an effect of the planned size would probably have been seen; not a sign that the mark was never used",
}


def power_of_ten(log10_p: float | None) -> str:
    """A p-value for people: never below 10^-30, where errors of procedure dominate."""
    if log10_p is None:
        return "not claimed"
    if log10_p < FLOOR:
        return f"below 10^{FLOOR}"
    return f"{10**log10_p:.3g}" if log10_p > -4 else f"10^{log10_p:.1f}"


def describe(evidence: Evidence) -> str:
    """A few lines that say what was found, from what, and what it means."""
    lines = [TITLES[evidence.test], f"  finding      {evidence.finding}: {MEANINGS[evidence.finding]}"]
    p = power_of_ten(evidence.log10_p)
    kind = "exact" if evidence.theta is None else "valid bound"
    lines.append(f"  p            {p} ({kind}, one-sided); adjusted {power_of_ten(evidence.log10_p_adjusted)}")
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
        lines.append(f"  e-value      10^{evidence.log10_e:.1f}")
    if evidence.lineup is not None:
        line = evidence.lineup
        lines.append(f"  line-up      rank {line.rank} of {line.decoys + 1:,}; decoys' uniformity p {line.uniformity_p:.2g}")
    lines.append(f"  key          {evidence.key_id[:16]}, {evidence.scheme}, context width {evidence.context_width}")
    lines.append(f"  status       {evidence.status}")
    lines += [f"  note         {text}" for text in evidence.notes]
    return "\n".join(lines)
