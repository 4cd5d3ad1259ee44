"""Evidence in words, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from detect.cli.told import Told, more_line
from detect.wording import FLOOR, MEANINGS, NO_MORE, amount, probability_words

if TYPE_CHECKING:
    from detect.evidence import Evidence, Finding

TITLES = {
    "text": "Text test: distinct (context, token) pairs of the text",
    "sampled": "Sampled test: distinct pairs of the questioned model's answers",
    "sampled, weighted": "Sampled test: the questioned model's answers, less what was expected of them",
    "reading": "Reading test: the questioned model's next-token distributions on probe text",
}
COMPARISONS = {"green_mass": "green mass", "distinct_pairs": "distinct pairs"}
NO_CONTROL = "without a positive control this test cannot say that a mark is absent"
CONTROL_MISSED = "the positive control was not detected either: this test is too weak to tell"
CONTROL_FOUND = (
    "the plan's positive control was detected by the same test; this does not show that the mark was never used"
)


def describe_all(found: Mapping[str, Evidence], *, verbose: bool = False) -> str:
    """Several tests of a questioned model, by their names: what they say together, then each.

    What a plan's primary test says is said whatever the others do. Notes that all of them have come once, at the end.

    Args:
        verbose: show every note.
    """
    lines = summary([(f"the {name} test", one.finding) for name, one in found.items()])
    primary = [name for name, one in found.items() if (one.plan or {}).get("primary")]
    if lines and primary:
        lines = [f"{lines[0]}; the plan's primary test, {primary[0]}: {found[primary[0]].finding}"]
    first, *others = found.values()
    common = [text for text in first.notes if others and all(text in one.notes for one in others)]
    told = {name: _told(one, common, verbose) for name, one in found.items()}
    shared = Told.of(common, verbose=verbose)
    blocks = [_lines(one, told[name]) for name, one in found.items()]
    blocks += [[f"Notes on each of these {len(found)} tests:", *shared.lines()]] if shared.notes else []
    blocks[-1] += more_line(len(shared.held_back.union(*(one.held_back for one in told.values()))))
    return "\n\n".join([*lines, *map("\n".join, blocks)])


def summary(found: Sequence[tuple[str, Finding]]) -> list[str]:
    """All tests that were run, in one line: which of them detected, and how many found what else. One test: nothing.

    Args:
        found: what each test is called, and its finding.
    """
    if len(found) < 2:
        return []
    names = [name for name, finding in found if finding == "detected"]
    by = " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part) or "none of them"
    by = by if len(names) < len(found) else "all of them"
    findings = [finding for _, finding in found]
    others = [f"{findings.count(one)} {one}" for one in ("not detected", "inconclusive") if one in findings]
    rest = f" ({', '.join(others)})" if others else ""
    return [f"Summary of {len(found)} tests: detected by {by}{rest}"]


def describe(evidence: Evidence, *, read: str | None = None, verbose: bool = False) -> str:
    """A few lines that say what was found, from what, and what it means.

    Args:
        read: what files it was read from, in words.
        verbose: show every note, not only those that change what is to be concluded.
    """
    told = _told(evidence, (), verbose)
    return "\n".join([*_lines(evidence, told, read), *more_line(len(told.held_back))])


def _told(evidence: Evidence, elsewhere: Sequence[str], verbose: bool) -> Told:
    said = _named_power(evidence)  # with the finding
    return Told.of([text for text in evidence.notes if text not in (*elsewhere, said)], verbose=verbose)


def _lines(evidence: Evidence, told: Told, read: str | None = None) -> list[str]:
    lines = [
        _title(evidence),
        f"  finding      {evidence.finding}: {_meaning(evidence)}",
        _p(evidence),
        _counted(evidence),
        *([] if read is None else [f"  read         {read}"]),
    ]
    if evidence.z_score is not None:
        lines.append(f"  z            {evidence.z_score:.2f} (for display: no p is computed from it)")
    if evidence.log10_e is not None:
        rounded_down = math.floor(10 * evidence.log10_e) / 10
        e_value = f"10^{rounded_down:.1f}" if evidence.log10_e <= -FLOOR else f"above 10^{-FLOOR}"
        lines.append(f"  e-value      {e_value} (of this test alone, not adjusted)")
    for name, one in (evidence.comparisons or {}).items():
        lines.append(
            f"  {COMPARISONS.get(name, name):12} p {probability_words(one['log10_p'])} "
            "(a published test, for comparison; not adjusted)"
        )
    if evidence.lineup is not None:
        line = evidence.lineup
        uniform = "none, see the notes" if line.uniformity_p is None else f"{line.uniformity_p:.2g}"
        lines.append(f"  line-up      rank {line.rank} of {line.decoys + 1:,}; decoys' uniformity p {uniform}")
    lines.append(f"  key          {evidence.key_id[:16]}, {evidence.scheme}, context width {evidence.context_width}")
    lines.append(f"  status       {evidence.status}")
    return [*lines, *told.lines()]


def _is_weighted(evidence: Evidence) -> bool:
    return evidence.n_green is None


def _title(evidence: Evidence) -> str:
    return TITLES["sampled, weighted" if evidence.test == "sampled" and _is_weighted(evidence) else evidence.test]


def _p(evidence: Evidence) -> str:
    if evidence.log10_p is None:
        return "  p            not claimed"
    kind = "valid bound" if _is_weighted(evidence) else "exact"
    if evidence.sequential is not None:
        kind = "valid bound, e-process"
    adjusted = probability_words(evidence.log10_p_adjusted)
    return f"  p            {probability_words(evidence.log10_p)} ({kind}, one-sided); adjusted: {adjusted}"


def _counted(evidence: Evidence) -> str:
    if evidence.green_fraction is None:
        return f"  weights      {evidence.n_scored:,} over {amount(evidence.n_contexts, 'context')}"
    line = f"  green        {evidence.n_green:,} of {amount(evidence.n_scored, 'pair')}, {evidence.green_fraction:.1%} "
    if evidence.ci95 is None:
        return f"{line}(gamma {evidence.gamma:.1%}; {_ended(evidence)})"
    low, high = evidence.ci95
    return f"{line}(gamma {evidence.gamma:.1%}; 95 % interval under a binomial model {low:.1%} to {high:.1%})"


def _ended(evidence: Evidence) -> str:
    process = evidence.sequential or {}
    if process.get("stopped") == "early":
        return f"stopped early; planned: at most {process['maximum_pairs']:,}"
    return f"planned: at most {process.get('maximum_pairs', 0):,}"


def _meaning(evidence: Evidence) -> str:
    if evidence.log10_p is None:
        return "no p is claimed, see the notes"
    if evidence.log10_p_adjusted is None:
        return "nothing is claimed under this key, see the notes"
    if not _is_weighted(evidence) or evidence.finding == "detected":
        return _what_was_missed(evidence) or MEANINGS[evidence.finding]
    if evidence.finding == "not detected":
        return CONTROL_FOUND
    return CONTROL_MISSED if (evidence.plan or {}).get("control") else NO_CONTROL


def _what_was_missed(evidence: Evidence) -> str | None:
    """Of a count that did not detect: the green fraction that it would have found, by its note; None: none is named."""
    named = _named_power(evidence)
    return None if named is None else f"{named.rstrip()}, {NO_MORE}"


def _named_power(evidence: Evidence) -> str | None:
    from detect.evidence import POWER_NOTE

    if evidence.finding != "not detected" or _is_weighted(evidence):
        return None
    return next((text for text in evidence.notes if text.startswith(POWER_NOTE)), None)
