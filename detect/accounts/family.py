"""All accounts' keys as one family of tests: Holm over all of them, and what each key's evidence is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detect.accounts.candidates import Candidate, what_is_listed
from detect.accounts.scores import Bools, Group, Observation, Scores
from detect.audit import SUSPECT
from detect.evidence import DEFAULT_ALPHA, DEFAULT_EFFECT, KEY_CHECK_ACCEPTS, PLANNED_POWER, POWER_NOTE, PROBES_NOTE
from detect.exact.binomial import count_z_score
from detect.exact.multiplicity import holm, key_check_adjustment
from detect.exact.power import pairs_needed_if_any
from detect.exact.weighted import CumulantFunction, chernoff, z_score
from detect.wording import FLOOR, amount

DEFAULT_TOP = 10
UNCHECKED_NOTE = (
    "no key check was at hand (none is, for keys derived on the spot); the p of a key that passed one before first use "
    "must be multiplied by 1/.99"
)
FED_NOTE = (
    "what the model was fed, or the reference, carries the mark, or avoids it (two-sided log10_p at most "
    f"{SUSPECT:g}); or what occurs in a prompt and was left out is redder than chance allows (one-sided); by chance "
    "three keys in a thousand, at most; so nothing is claimed"
)

WHOLE_NOTE = (
    "everything is counted as one, without a windowed scan: a document that is marked in part may not stand out. "
    "`taggant detect --scan` looks for stretches under one key and has a p of its own; do not attribute a stretch that "
    "it found, since that key chose it"
)

KeyFinding = Literal["attributed", "not attributed", "inconclusive"]


@dataclass(frozen=True)
class Judgement:
    """How the scores are judged; all of it settled before looking.

    Attributes:
        alpha: the chance of any false attribution.
        effect: green fraction worth detecting; None takes the test's default.
        top: how many keys to show, those attributed included (all of which are shown).
    """

    alpha: float = DEFAULT_ALPHA
    effect: float | None = None
    top: int = DEFAULT_TOP

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must lie between 0 and 1, not {self.alpha}")


DEFAULT_JUDGEMENT = Judgement()


@dataclass(frozen=True)
class KeyEvidence:
    """One account's key (of one month, where it is one's).

    Null of its p-values: what was observed does not depend on this key. Exact for counts, a valid bound for weights;
    one-sided (upper).

    Attributes:
        statistic: S of weights; None for counts.
        z_score: for display; no p is computed from it.
        log10_p: this key alone. None: its claim is withdrawn, as it marked what the model was fed.
        log10_p_adjusted: after the key's check, if it had one, and Holm over all keys. None: nothing is claimed.
        theta: where the bound was evaluated; None for counts.
    """

    account: str
    epoch: str | None
    key_id: str
    gamma: float
    n_scored: int
    n_green: int | None
    green_fraction: float | None
    statistic: float | None
    z_score: float | None
    log10_p: float | None
    log10_p_adjusted: float | None
    theta: float | None
    finding: KeyFinding


class Family:
    """All candidates as one family; arrays run over all groups, in their order."""

    def __init__(self, groups: Sequence[Group], scores: Sequence[Scores], how: Judgement) -> None:
        self.how, self.groups, self.test = how, groups, groups[0].observation.test
        self.weighted = groups[0].observation.weights is not None
        self.members = [(candidate, group.observation) for group in groups for candidate in group.candidates]
        self.statistic = np.concatenate([one.statistic for one in scores])
        self.alone = np.concatenate([one.log10_p for one in scores])
        self.marked = np.concatenate([one.withdrawn for one in scores])
        checks = [candidate.key_check for candidate, _ in self.members]
        self.checked = np.array([check is True for check in checks])
        self.refused = np.array([check is False for check in checks])
        # What is not claimed stays in the family as p = 1: the factors of the others do not depend on its key
        self.silent = self.marked | self.refused
        self.claimed = np.where(self.silent, 0.0, self.alone)
        for i in np.flatnonzero(self.checked):
            self.claimed[i] = key_check_adjustment(self.claimed[i], KEY_CHECK_ACCEPTS)
        self.adjusted = holm(self.claimed)
        self.attributed = self.adjusted <= math.log10(how.alpha)

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """All keys, best first. Those attributed come first: so Holm rejects."""
        return np.argsort(self.claimed, kind="stable")

    def gap(self) -> float | None:
        """Decades of p between the last key attributed and the first that is not; None where one of them is missing."""
        order, found = self.order, int(self.attributed.sum())
        if not 0 < found < order.size:
            return None
        return float(self.claimed[order[found]] - self.claimed[order[found - 1]])

    def evidence(self, i: int) -> KeyEvidence:
        """Of key `i`."""
        candidate, seen = self.members[i]
        value, gamma, n = float(self.statistic[i]), candidate.key.gamma, len(seen.pairs)
        marked, counted = bool(self.marked[i]), seen.weights is None
        theta, log10_p, z = None, float(self.alone[i]), None
        if seen.weights is not None:
            cumulant = CumulantFunction(seen.weights, gamma)
            log10_p, theta = chernoff(cumulant, value)  # the family was judged by a bound larger by at most 1e-5
            z = z_score(cumulant, value) if n else None
        elif n:
            z = count_z_score(int(value), n, gamma)
        return KeyEvidence(
            account=candidate.account,
            epoch=candidate.epoch,
            key_id=candidate.key.key_id,
            gamma=gamma,
            n_scored=n,
            n_green=int(value) if counted else None,
            green_fraction=value / n if counted and n else None,
            statistic=None if counted else value,
            z_score=None if marked else z,
            log10_p=None if marked else log10_p,
            log10_p_adjusted=None if self.silent[i] else float(self.adjusted[i]),
            theta=None if marked else theta,
            finding=self._finding(i),
        )

    def _finding(self, i: int) -> KeyFinding:
        candidate, seen = self.members[i]
        if self.attributed[i]:
            return "attributed"
        return "inconclusive" if self.silent[i] or self._too_little(candidate, seen) else "not attributed"

    def n_inconclusive(self) -> int:
        """Keys not attributed of which too little was observed to tell."""
        open_ones = np.flatnonzero(~(self.attributed | self.silent))
        return sum(self._too_little(*self.members[i]) for i in open_ones)

    def _too_little(self, candidate: Candidate, seen: Observation) -> bool:
        """Whether a negative says nothing: a weighted test would need a positive control for that."""
        return seen.weights is not None or len(seen.pairs) < self._needed(candidate)

    def _needed(self, candidate: Candidate) -> float:
        """Pairs from which the effect would have been found under this key."""
        level = self.how.alpha / len(self.members)  # Holm's first step: the least that a p may have to reach
        if candidate.key_check:
            level *= KEY_CHECK_ACCEPTS
        return pairs_needed_if_any(self._effect, candidate.key.gamma, level, PLANNED_POWER)

    @property
    def _effect(self) -> float:
        return self.how.effect if self.how.effect is not None else DEFAULT_EFFECT[self.test]

    def notes(self) -> tuple[str, ...]:
        """What must be known about the numbers."""
        notes = [note for group in self.groups for note in group.observation.notes]
        notes.append(f"log10_p_adjusted: Holm over {amount(len(self.members), 'key')}")
        notes += what_is_listed([candidate for candidate, _ in self.members])
        if self.test == "text":
            notes.append(WHOLE_NOTE)
        if any(group.observation.fed is not None for group in self.groups):
            notes.append(PROBES_NOTE)
        for which, text in (
            (~(self.checked | self.refused), UNCHECKED_NOTE),
            (self.checked, "passed the key check before first use, their p is multiplied by 1/.99"),
            (self.refused, "refused by the key's own check on human text, nothing is claimed under them"),
            (self.marked, FED_NOTE),
        ):
            if which.any():
                notes.append(f"{self._some(which)}: {text}")
        if self.weighted:
            notes.append("without a positive control weights cannot say that a mark is absent")
        else:
            notes += self._power_notes()
        if self.claimed.min() < FLOOR:
            notes.append(f"below 10^{FLOOR} errors of procedure, which no p includes, dominate")
        return tuple(dict.fromkeys(notes))

    def _some(self, which: Bools) -> str:
        """How many keys, and the first of them."""
        first = self.members[int(np.flatnonzero(which)[0])][0].name
        count = int(which.sum())
        return f"1 key ({first})" if count == 1 else f"{count} keys (first: {first})"

    def _power_notes(self) -> list[str]:
        notes = []
        for gamma in sorted({candidate.key.gamma for candidate, _ in self.members}):
            needed = max(self._needed(candidate) for candidate, _ in self.members if candidate.key.gamma == gamma)
            effect = f"{POWER_NOTE} {self._effect:g}"
            if needed == math.inf:
                notes.append(f"{effect} cannot be told from gamma {gamma:g} by any number of pairs")
                continue
            notes.append(
                f"{effect} under one key would have been found with probability at least {PLANNED_POWER:g} from "
                f"{needed:,} pairs (binomial model, gamma {gamma:g}); of a mixture each account raises its own count "
                "by its share only"
            )
        return notes
