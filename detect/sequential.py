"""`sampled`, judged while the answers come in: an e-process over new distinct pairs, in the plan's fixed order.

1. Requests are numbered before the first is asked; their answers count in that order, whenever they arrive.
2. Of each answer, in token order, the pairs that no earlier answer and no planned prompt holds are new.
3. After every new pair E is looked at. The first pair with E >= 1/α ends the test; so does the planned maximum, and so
   do STALE_RUN answers in a row (or one for each prompt, where those are more) without any new pair.
4. log10_p = −max(0, the largest log10 E so far), also where nothing was crossed: no fixed-n tail after the fact.

Source: Ville 1939; Ramdas et al. 2023, Game-theoretic statistics and safe anytime-valid inference.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from detect.audit import SUSPECT, FedAudit
from detect.counting import CountTally, ScoredMark, account, window_rule
from detect.exact.arguments import require_count, require_probability
from detect.exact.binomial import log10_sf
from detect.exact.evalue import EProcess, log10_e_value
from detect.fed import Excluded, ProbePairs
from watermark.errors import InputError
from watermark.greenlist import GreenList
from watermark.windows import Document, Pairs, Reason

STALE_RUN = 200
Stopped = Literal["early", "maximum", "exhausted"]
Table = NDArray[np.uint32]


@dataclass(frozen=True)
class SequentialTally(CountTally):
    """Distinct pairs up to the stop.

    `pairs` are in the order in which they came. A line-up may count them under decoys as it counts any: the chance of a
    good rank grows by at most alpha, as without an early stop the pairs do not depend on the key.

    Attributes:
        colours: bool [n_scored], which of the pairs are green, in their order.
        alpha: the level at which the test stops early.
        maximum_pairs: planned, whatever was seen.
        n_answers: answers looked at, the one in which the test stopped included.
        log10_e: log10 E at the stop.
        log10_e_max: the largest log10 E over time, at least 0 (before the first pair E is 1).
        log10_e_whole: the same of a second process, over what was counted and what was left out, in order.
        stopped: "early": E reached 1/alpha; "maximum": it did not within maximum_pairs; "exhausted": nor before the
            answers were used up, or brought nothing new any more.
    """

    colours: NDArray[np.bool_] = field(repr=False)
    alpha: float
    maximum_pairs: int
    n_answers: int
    log10_e: float
    log10_e_max: float
    log10_e_whole: float
    stopped: Stopped

    @property
    def log10_p(self) -> float:
        """Null: each new distinct pair is green with probability gamma, whatever came before. Valid bound at any
        stopping time, one-sided (upper)."""
        return -max(0.0, self.log10_e_max) + 0.0

    @property
    def hangs_on_exclusion(self) -> bool:
        """Whether it stopped early, and with what was left out it would be far from that.

        A few green pairs end it, and so few red ones need be left out before them that the audit of these may pass.
        The second process holds all that was observed, which prompts have no part in: by Ville's inequality it reaches
        10^3 under one key in a thousand, whatever prompts were chosen.
        """
        nothing = self.excluded is None or not len(self.excluded.pairs)
        wanted = min(-SUSPECT, -math.log10(self.alpha) / 2)
        return self.stopped == "early" and not nothing and self.log10_e_whole < wanted

    def power(self, effect: float) -> float:
        """The least chance that E would have reached 1/alpha within maximum_pairs pairs, each green with this chance.

        It is that of the last look alone; the earlier ones can only add to it. Binomial model.
        """
        return power_at_last_look(self.maximum_pairs, self.green.gamma, self.alpha, effect)


def power_at_last_look(n: int, gamma: float, alpha: float, effect: float) -> float:
    """The chance that E reaches 1/alpha with pair n, each green with chance `effect`. Binomial model."""
    low, high = 0, n + 1  # of green pairs with which E, which rises with them, is large enough at the last look
    while low < high:
        middle = (low + high) // 2
        if log10_e_value(middle, n, gamma) >= -math.log10(alpha):
            high = middle
        else:
            low = middle + 1
    return 0.0 if low > n else float(10.0 ** log10_sf(low, n, effect))


class Sequential:
    """The running test. Feed it with `add` in any order, from one thread; ask `stopped` whether to go on.

    What it holds is a function of the answers to requests 0, 1, … alone: a process that was killed adds what its
    response log holds and goes on.

    Args:
        key: the mark's key.
        prompts: token ids of every planned prompt, asked or not, in every form it takes: their pairs count nowhere.
        alpha: the level at which to stop: the plan's, times whatever an adjustment (key check, several tests) will
            cost, or a test that stopped early would not be detected after it.
        maximum_pairs: of the plan.
        tokenizer_checked: as in `detect.counting.tally`.

    Attributes:
        stopped: None while more answers are wanted.
    """

    def __init__(
        self,
        key: ScoredMark,
        prompts: Iterable[Document],
        alpha: float,
        maximum_pairs: SupportsIndex,
        *,
        tokenizer_checked: bool = False,
    ) -> None:
        self.stopped: Stopped | None = None
        self._alpha = require_probability("alpha", alpha)
        self._maximum = require_count("maximum_pairs", maximum_pairs, low=1)
        self._key_id, self._scheme, self._green, self._rule = key.key_id, key.scheme, GreenList(key), window_rule(key)
        prompts = list(prompts)
        fed = ProbePairs.of_prompts(self._rule, prompts)
        self._stale, self._stale_run = 0, max(STALE_RUN, len(prompts))  # answers in a row without a new pair
        self._probes_log10_p = FedAudit(fed).under(self._green)
        self._special_ids_note = key.special_ids_note(verified=tokenizer_checked)
        self._in_prompts = frozenset(_codes(np.column_stack((fed.pairs.contexts, fed.pairs.tokens))))
        self._seen: set[bytes] = set()
        self._excluded: set[bytes] = set()  # observed, but in a prompt
        self._process, self._scored = EProcess(key.gamma), 0
        self._whole, self._whole_highest = EProcess(key.gamma), 0.0
        self._log10_e = self._highest = 0.0
        self._pairs: list[Table] = []
        self._colours: list[NDArray[np.bool_]] = []
        self._reasons = np.zeros(len(Reason), dtype=np.int64)  # how many tokens went where
        self._waiting: dict[int, tuple[Table, NDArray[np.int8]]] = {}
        self._digests: dict[int, bytes] = {}
        self._next = 0

    @property
    def n_answers(self) -> int:
        """Answers looked at so far: those to requests 0 … n_answers − 1."""
        return self._next

    @property
    def n_scored(self) -> int:
        """New distinct pairs so far."""
        return self._scored

    def add(self, index: SupportsIndex, token_ids: Document) -> bool:
        """Take the answer to request `index` (from 0) and return whether the test has stopped.

        An answer waits until all before it are there; one that comes after the stop is left out. A request that
        will never be answered must be added as an empty answer, for everybody to see.

        Raises:
            InputError: the request was answered before, otherwise.
            ValueError: not a flat sequence of token ids.
        """
        index = require_count("index", index)
        ids = np.asarray(token_ids)
        (reasons,) = self._rule.label([ids])  # also refuses what are no ids
        ids = ids.astype(np.uint32)
        digest = hashlib.sha256(ids.astype("<u4").tobytes()).digest()
        if self._digests.setdefault(index, digest) != digest:
            raise InputError(f"request {index} has two different answers; keep the one that was logged first")
        if index >= self._next and self.stopped is None:
            self._waiting[index] = (ids, reasons)
        while self.stopped is None and self._next in self._waiting:
            self._take(*self._waiting.pop(self._next))
            self._next += 1
        return self.stopped is not None

    def result(self, *, budget_spent: bool = False) -> SequentialTally:
        """What was counted, up to the stop or to the last answer there is.

        Args:
            budget_spent: no more answers can be had: those after a gap are left out.

        Raises:
            InputError: an answer is missing before one that is there.
        """
        if self.stopped is None and self._waiting and not budget_spent:
            raise InputError(
                f"the answer to request {self._next} is missing, and a later one is there: ask it again, or count it "
                "as empty"
            )
        rows = np.concatenate([np.zeros((0, self._rule.context_width + 1), dtype=np.uint32), *self._pairs])
        contexts = rows[:, :-1]
        colours = np.concatenate([np.zeros(0, dtype=np.bool_), *self._colours])
        stopped: Stopped = self.stopped or "exhausted"
        return SequentialTally(
            test="sampled",
            key_id=self._key_id,
            scheme=self._scheme,
            green=self._green,
            n_tokens=int(self._reasons.sum()),
            pairs=Pairs(contexts, rows[:, -1], len(set(_codes(contexts)))),
            notes=(self._account(stopped), self._special_ids_note),
            n_green=int(np.count_nonzero(colours)),
            probes_log10_p=self._probes_log10_p,
            excluded=self._left_out(),
            colours=colours,
            alpha=self._alpha,
            maximum_pairs=self._maximum,
            n_answers=self._next,
            log10_e=self._log10_e,
            log10_e_max=self._highest,
            log10_e_whole=self._whole_highest,
            stopped=stopped,
        )

    def _take(self, ids: Table, reasons: NDArray[np.int8]) -> None:
        """Count the next answer in order. `reasons`: int8 [len(ids)], of this answer alone; the others come in here."""
        at = np.flatnonzero((reasons == Reason.COUNTED) | (reasons == Reason.REPEATED))
        windows = ids[at[:, None] + np.arange(-self._rule.context_width, 1)]  # [len(at), h + 1]
        new = self._mark_old(windows, at, reasons)[: self._maximum - self._scored]
        rows = windows[new]
        colours = self._green.is_green(rows[:, :-1], rows[:, -1])
        log10_e = self._process.advance(colours)
        crossed = np.flatnonzero(log10_e >= -math.log10(self._alpha))
        if crossed.size:
            self.stopped, count = "early", int(crossed[0]) + 1
        else:
            count = len(rows)
            self.stopped = "maximum" if self._scored + count >= self._maximum else None
        if count:
            self._scored += count
            self._log10_e = float(log10_e[count - 1])
            self._highest = max(self._highest, float(log10_e[:count].max()))
            self._pairs.append(rows[:count])
            self._colours.append(colours[:count])
        end = len(ids) if self.stopped is None else int(at[new[count - 1]]) + 1
        self._reasons += np.bincount(reasons[:end], minlength=len(Reason))
        self._take_whole(windows[at < end], reasons[at[at < end]])
        self._stale = 0 if count else self._stale + 1
        if self.stopped is None and self._stale >= self._stale_run:
            self.stopped = "exhausted"

    def _take_whole(self, windows: Table, reasons: NDArray[np.int8]) -> None:
        """Remember what is left out, and feed the process over it and what is counted."""
        fresh = []
        for number, code in enumerate(_codes(windows)):
            if reasons[number] == Reason.COUNTED:
                fresh.append(number)
            elif reasons[number] == Reason.IN_PROMPT and code not in self._excluded:
                self._excluded.add(code)
                fresh.append(number)
        rows = windows[fresh]
        log10_e = self._whole.advance(self._green.is_green(rows[:, :-1], rows[:, -1]))
        self._whole_highest = max(self._whole_highest, float(log10_e.max(initial=0.0)))

    def _mark_old(self, windows: Table, at: NDArray[np.intp], reasons: NDArray[np.int8]) -> list[int]:
        """Which windows are new. They are remembered; why the others don't count is written into `reasons`."""
        new = []
        for number, code in enumerate(_codes(windows)):
            if code in self._in_prompts:
                reasons[at[number]] = Reason.IN_PROMPT
            elif code in self._seen:
                reasons[at[number]] = Reason.REPEATED
            else:
                self._seen.add(code)
                new.append(number)
        return new

    def _left_out(self) -> Excluded:
        """Up to the stop, which the colours of what is left out have no part in: under the null they are fresh."""
        rows = np.frombuffer(b"".join(sorted(self._excluded)), dtype=np.uint32)
        rows = rows.reshape(-1, self._rule.context_width + 1)
        pairs = Pairs(rows[:, :-1], rows[:, -1], len(set(_codes(rows[:, :-1]))))
        return Excluded(pairs)

    def _account(self, stopped: Stopped) -> str:
        """How it ended and where the tokens went, in one line that adds up."""
        end = {
            "early": f"stopped early, at the first pair with an e-value of 1/{self._alpha:g} or more",
            "maximum": f"stopped at the planned maximum of {self._maximum:,} pairs",
            "exhausted": f"all answers used up before the planned maximum of {self._maximum:,} pairs",
        }[stopped]
        if self._stale >= self._stale_run:
            end = f"ended before the planned maximum of {self._maximum:,} pairs by {self._stale} answers in a row "
            end += "without a new pair"
        tokens = {reason: int(self._reasons[reason]) for reason in Reason}
        return f"e-process in the plan's order, {end}: {account(tokens, f'{self._next} answers')}"


def _codes(rows: Table) -> list[bytes]:
    """One bytes object per row, equal where the rows are."""
    data, step = np.ascontiguousarray(rows, dtype=np.uint32).tobytes(), 4 * rows.shape[1]
    return [data[i * step : (i + 1) * step] for i in range(len(rows))]
