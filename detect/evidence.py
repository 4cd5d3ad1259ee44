"""From what was counted to what it means: `assess` turns a tally into `Evidence`, the object every command prints."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from detect.audit import SUSPECT
from detect.counting import CountTally, Tally, WeightTally
from detect.decoys import Lineup
from detect.exact.multiplicity import holm, key_check_adjustment
from detect.exact.power import pairs_needed_if_any
from detect.numbers import numbers_of
from detect.sequential import SequentialTally, power_at_last_look
from detect.wording import FLOOR, amount

SCHEMA = "taggant-evidence/1"
DEFAULT_ALPHA = 1e-6
PLANNED_POWER = 0.9
DEFAULT_EFFECT = {"text": 0.50, "sampled": 0.28}  # green fraction worth detecting

Finding = Literal["detected", "inconclusive", "not detected"]
Status = Literal["exploratory", "confirmatory"]
POWER_NOTE = "a green fraction of"  # how the note on what would have been found begins
KEY_CHECK_ACCEPTS = 0.99
KEY_CHECK_NOTE = {
    None: "no key check was at hand: if the key passed one before first use, p must be multiplied by 1/.99",
    True: "log10_p_adjusted: multiplied by 1/.99 for the key check before first use",
    False: "the key was refused by its own check on human text: no p under it can be relied on",
}
REFERENCE_NOTE = (
    "p presupposes that the reference does not depend on the key: that it was published before the key's first use. A "
    "two-sided test of what it expects, under this key: log10_p {:.1f}; a faint dependence would not show there"
)
PROBES_NOTE = (
    "p presupposes that probes, and frequencies where there are any, were chosen without the key: chosen under it from "
    "honest texts they pass every test of them here, and an innocent model can seem to follow the key on them"
)
EXCLUDED_NOTE = (
    "what was observed but occurs in a prompt is left out, {} distinct; a one-sided test under this key that it is not "
    "redder than chance allows, which would make the rest greener: log10_p {:.1f}"
)
HANGING = (
    "it stopped early only because pairs that occur in a prompt are left out: with them log10 E would have been {:.1f} "
    "at most, as where prompts are chosen under the key, so no p is claimed"
)
CHECKED_NOTE = (
    "the key's check: passed on a corpus with SHA-256 {}; that it came before the key's first use, and was its only "
    "one, is the owner's statement: a check that was repeated elsewhere leaves no trace"
)
SEQUENTIAL_NOTE = (
    "log10_p: -log10 of the largest e-value on the way, a valid bound whenever it stopped; no fixed-n tail, interval "
    "or z; the green fraction at an early stop is biased upwards"
)
SEQUENTIAL_LINEUP_NOTE = (
    "line-up: the decoys are counted on the pairs up to the stop, their own p at that number of pairs; the chance of a "
    "rank is then p_rank plus the level of the early stop, at most"
)
EXPLORATORY_NOTE = "exploratory: this test was not planned beforehand, so choices made after looking are not excluded"


@dataclass(frozen=True)
class Evidence:
    """One test's outcome. Field for field what `--json` prints.

    Null of every p-value here: what was observed does not depend on the secret key. Rejecting it shows dependence on
    the key; how that came about is another question.

    Attributes:
        test: "text", "sampled" or "reading".
        key_id: 64 hex digits.
        gamma: green fraction under the null.
        n_tokens: tokens looked at (`reading`: positions).
        n_scored: distinct pairs counted (`reading`: non-zero weights).
        ci95: Clopper–Pearson interval of the green fraction, under a binomial model, not guaranteed for marked text.
            None for an e-process, whose number of pairs was not fixed beforehand.
        z_score: for display; no p is computed from it. None for an e-process.
        log10_p: this test alone; exact for counts, a valid bound for weights and for an e-process. None: no p is
            claimed.
        log10_p_adjusted: after multiplicity and the key check. None: no p is claimed, or the key check refused the key.
        log10_e: mixture e-value of this test alone, not adjusted; None for weights. Of an e-process: at its end.
        log10_p_saddlepoint: for display; None for counts.
        theta: where the bound was evaluated; None for counts.
        sequential: of an e-process: the level at which it stops early, its planned maximum of pairs, the answers it
            looked at, and how it ended ("early", "maximum", "exhausted").
        plan: of a planned test: the plan's digest and this test's part in it.
    """

    schema: str
    test: str
    key_id: str
    scheme: str
    gamma: float
    context_width: int
    n_tokens: int
    n_scored: int
    n_green: int | None
    green_fraction: float | None
    ci95: tuple[float, float] | None
    z_score: float | None
    log10_p: float | None
    log10_p_adjusted: float | None
    log10_e: float | None
    log10_p_saddlepoint: float | None
    theta: float | None
    n_contexts: int
    alpha: float
    finding: Finding
    status: Status
    notes: tuple[str, ...]
    lineup: Lineup | None = None
    comparisons: dict[str, dict[str, Any]] | None = None
    sequential: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the last four only where there are any."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["notes"] = list(self.notes)
        values["ci95"] = None if self.ci95 is None else list(self.ci95)
        values["lineup"] = None if self.lineup is None else self.lineup.to_dict()
        for optional in ("lineup", "comparisons", "sequential", "plan"):
            if values[optional] is None:
                del values[optional]
        return values

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class Assessment:
    """How tallies are judged; all of it settled before looking.

    Attributes:
        alpha: level of the finding.
        effect: green fraction worth detecting; None takes the test's default.
        key_check: True: the key passed its one check on human text, at 0.01, before first use. False: it was refused
            there, and nothing is claimed under it. None: it was never checked.
        check_corpus: digest of the human text of a check that it passed, for the notes.
        probes_marked: the probes' prompts or answers carry the mark; no p is claimed then. Each tally is audited for
            that besides.
    """

    alpha: float = DEFAULT_ALPHA
    effect: float | None = None
    key_check: bool | None = None
    probes_marked: bool = False
    check_corpus: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must lie between 0 and 1, not {self.alpha}")

    @property
    def level(self) -> float:
        """What p of a single test may be for a finding: alpha, less what the key check costs."""
        return self.alpha * KEY_CHECK_ACCEPTS if self.key_check else self.alpha


def assess(
    tally: Tally,
    how: Assessment = Assessment(),
    *,
    lineup: Lineup | None = None,
    notes: Sequence[str] = (),
) -> Evidence:
    """Judge one tally on its own."""
    return assess_family([tally], how, lineups=[lineup], notes=[notes])[0]


def assess_family(
    tallies: Sequence[Tally],
    how: Assessment = Assessment(),
    *,
    lineups: Sequence[Lineup | None] | None = None,
    notes: Sequence[Sequence[str]] | None = None,
    keys: int = 1,
) -> list[Evidence]:
    """Judge several tallies as one family: their `log10_p_adjusted` is Holm's.

    Args:
        tallies: one per test or document.
        lineups: the decoy line-up of each, if made.
        notes: more for people to read with each.
        keys: among how many, this one included, the mark was looked for. The others are in the family as p = 1.
    """
    computed = [numbers_of(tally) for tally in tallies]
    withdrawn = [_withdrawn(tally, how) for tally in tallies]
    # A withdrawn claim stays in the family as p = 1: the factors of the others do not depend on the key
    claims = [n["log10_p"] if m is None else 0.0 for n, m in zip(computed, withdrawn, strict=True)]
    adjusted = holm(claims, others=keys - 1)
    result = []
    for i, tally in enumerate(tallies):
        claimed: float | None = float(adjusted[i])
        if withdrawn[i] is not None or how.key_check is False:
            claimed = None
        elif how.key_check:
            claimed = key_check_adjustment(float(adjusted[i]), KEY_CHECK_ACCEPTS)
        judged = _Judged(tally, computed[i], claimed, withdrawn[i], len(tallies) + keys - 1)
        extra = [] if notes is None else list(notes[i])
        result.append(_evidence(judged, how, None if lineups is None else lineups[i], extra))
    return result


@dataclass(frozen=True)
class _Judged:
    """One tally of a family.

    Attributes:
        numbers: the fields that depend on the kind of tally.
        claimed: log10_p_adjusted; None: nothing is claimed.
        withdrawn: why no p is claimed, for the sake of the probes, the reference or what was left out; None: it is.
        family: how many tests it was adjusted for.
    """

    tally: Tally
    numbers: dict[str, Any]
    claimed: float | None
    withdrawn: str | None
    family: int


def _withdrawn(tally: Tally, how: Assessment) -> str | None:
    """Why no p is claimed. It may depend on the key, as it only ever withdraws a claim."""
    because = "a model copies what it is fed, so no p is claimed"
    if how.probes_marked:
        return f"the probes carry the mark, as was said: {because}"
    fed, reference = tally.probes_log10_p, tally.reference_log10_p
    if fed is not None and fed <= SUSPECT:
        audit = f"two-sided text tests of them under this key: log10_p {fed:.1f}"
        return f"the probes' own prompts or answers carry the mark, or avoid it ({audit}): {because}"
    if reference is not None and reference <= SUSPECT:
        return (
            f"the reference carries the mark, or avoids it (two-sided test under this key of what it expects: log10_p "
            f"{reference:.1f}), so a difference from it says nothing of the questioned model: no p is claimed; give "
            "one published before the key's first use"
        )
    if (found := excluded_words(tally.excluded_log10_p)) is None and isinstance(tally, SequentialTally):
        return HANGING.format(tally.log10_e_whole) if tally.hangs_on_exclusion else None
    return found


def excluded_words(log10_p: float | None) -> str | None:
    """Why no p is claimed where that is the audit's of what was left out; None: it is."""
    if log10_p is None or log10_p > SUSPECT:
        return None
    return (
        "what was observed but left out, as it occurs in a prompt, is redder than chance allows (one-sided test of it "
        f"under this key: log10_p {log10_p:.1f}), as where prompts are chosen under the key; that makes the rest "
        "greener, so no p is claimed"
    )


_NO_CLAIM = ("log10_p", "log10_e", "log10_p_saddlepoint", "theta", "z_score", "comparisons")


def _evidence(judged: _Judged, how: Assessment, lineup: Lineup | None, extra: list[str]) -> Evidence:
    tally, numbers = judged.tally, judged.numbers
    if judged.withdrawn is not None:
        numbers, lineup = {**numbers, **dict.fromkeys(_NO_CLAIM)}, None
    finding, power = _finding(judged, how)
    return Evidence(
        schema=SCHEMA,
        test=tally.test,
        key_id=tally.key_id,
        scheme=tally.scheme,
        gamma=tally.green.gamma,
        context_width=tally.green.context_width,
        n_tokens=tally.n_tokens,
        n_scored=tally.n_scored,
        log10_p_adjusted=judged.claimed,
        n_contexts=tally.n_contexts,
        alpha=how.alpha,
        finding=finding,
        status="exploratory",
        notes=(*tally.notes, *extra, *_notes(judged, how, lineup), *power, EXPLORATORY_NOTE),
        lineup=lineup,
        **numbers,
    )


def _notes(judged: _Judged, how: Assessment, lineup: Lineup | None) -> list[str]:
    """What must be known about the numbers."""
    if judged.withdrawn is not None:
        refused = [KEY_CHECK_NOTE[False]] if how.key_check is False else []
        return [judged.withdrawn, *refused]
    notes = []
    if isinstance(judged.tally, SequentialTally):
        notes.append(SEQUENTIAL_NOTE)
    if isinstance(judged.tally, WeightTally):
        notes.append(f"S = {float(judged.tally.statistic)!r}, the sum of weight x (green - gamma); theta belongs to it")
    if judged.tally.reference_log10_p is not None:
        notes.append(REFERENCE_NOTE.format(judged.tally.reference_log10_p))
    if judged.tally.probes_log10_p is not None:
        notes.append(PROBES_NOTE)
    if judged.tally.excluded_log10_p is not None:
        left_out = amount(judged.tally.n_excluded, "pair")
        notes.append(EXCLUDED_NOTE.format(left_out, judged.tally.excluded_log10_p))
    if how.key_check is not False and judged.family > 1:
        notes.append(f"log10_p_adjusted: Holm over {judged.family} tests")
    notes.append(KEY_CHECK_NOTE[how.key_check])
    notes += [CHECKED_NOTE.format(how.check_corpus)] if how.key_check and how.check_corpus else []
    if judged.family > 1 or how.key_check is not None:
        alone = "log10_e" if isinstance(judged.tally, CountTally) else "log10_p of the comparison tests"
        notes.append(f"{alone}: of this test alone, not adjusted")
    if lineup is not None and lineup.uniformity_p is None:
        notes.append("line-up: too few, too coarse or too unequal weights to test the decoys' p for uniformity")
    if lineup is not None and isinstance(judged.tally, SequentialTally):
        notes.append(SEQUENTIAL_LINEUP_NOTE)
    if judged.claimed is not None and judged.claimed < FLOOR:
        notes.append(f"below 10^{FLOOR} errors of procedure, which no p includes, dominate")
    return notes


def _finding(judged: _Judged, how: Assessment) -> tuple[Finding, list[str]]:
    """Detected at alpha; else inconclusive unless the test had the power to detect the effect, and a note on that."""
    if judged.claimed is not None and judged.claimed <= math.log10(how.alpha):
        return "detected", []
    tally = judged.tally
    if judged.claimed is None or isinstance(tally, WeightTally):
        return "inconclusive", []  # a weighted test needs a positive control before a negative says anything
    effect = how.effect if how.effect is not None else DEFAULT_EFFECT[tally.test]
    level = how.level / judged.family  # Holm's first step: the least that a p may have to reach
    if isinstance(tally, SequentialTally):
        return _sequential_finding(tally, effect, level)
    gamma = tally.green.gamma
    needed = pairs_for_negative(effect, gamma, level)
    if needed == math.inf:
        return "inconclusive", [f"{POWER_NOTE} {effect:g} cannot be told from gamma {gamma:g} by any number of pairs"]
    note = f"{POWER_NOTE} {effect:g} would have been found with probability at least {PLANNED_POWER:g} "
    note += f"from {needed:,} pairs (binomial model)"
    return ("inconclusive" if tally.n_scored < needed else "not detected"), [note]


def pairs_for_negative(effect: float, gamma: float, level: float) -> float:
    """From how many pairs on a count that does not reach its level is a negative; infinite: from none.

    Args:
        level: the least that its p may have to reach, by Holm's first step.
    """
    return pairs_needed_if_any(effect, gamma, level, PLANNED_POWER)


def sequence_for_negative(
    alpha: float, maximum_pairs: int, stopped: str, effect: float, gamma: float, level: float
) -> bool:
    """Whether an e-process that does not detect is a negative: it went all the way, and had the power to find it."""
    if alpha > level * (1 + 1e-9) or stopped != "maximum":
        return False
    return power_at_last_look(maximum_pairs, gamma, alpha, effect) >= PLANNED_POWER


def _sequential_finding(tally: SequentialTally, effect: float, level: float) -> tuple[Finding, list[str]]:
    """Of an e-process that did not detect: a negative where it went all the way, and would have had the power to."""
    planned = f"the planned maximum of {tally.maximum_pairs:,} pairs"
    if tally.alpha > level:
        note = f"the e-process stops at level {tally.alpha:g}, too early to be judged at {level:g}"
        return "inconclusive", [note]
    if tally.stopped != "maximum":
        return "inconclusive", [f"the e-process ended before {planned}: what it would have found is not known"]
    gamma = tally.green.gamma
    if not sequence_for_negative(tally.alpha, tally.maximum_pairs, tally.stopped, effect, gamma, level):
        shown = math.floor(100 * tally.power(effect)) / 100
        note = f"within {planned} {POWER_NOTE} {effect:g} would have been found with probability {shown:g} at least "
        return "inconclusive", [f"{note}(binomial model): too little to call it a negative"]
    note = (
        f"{POWER_NOTE} {effect:g} would have been found with probability at least {PLANNED_POWER:g} within {planned} "
    )
    return "not detected", [f"{note}(binomial model)"]
