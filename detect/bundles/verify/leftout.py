"""What a count leaves out for standing in a prompt: whether the plan settled it, and what the count were with it.

Whoever can choose what is left out can choose how the rest looks: a plan settles it, and `Whole` shows what it did.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detect.bundles.material import COUNT, E_PROCESS, WEIGHTS
from detect.bundles.verify.marked import Marked
from detect.bundles.verify.retally import rows_of
from detect.bundles.verify.runs import RecordedTest
from detect.exact.binomial import log10_sf
from detect.exact.evalue import log10_e_value
from detect.plans.parts import PlannedExclusion
from detect.wording import amount
from watermark.windows import WindowRule

COUNTS = (COUNT, E_PROCESS)


@dataclass(frozen=True)
class Whole:
    """A count together with the pairs that it leaves out: nobody had a hand in it by choosing prompts or special ids.

    Attributes:
        left_out: distinct pairs that were seen, and stand in a prompt or have a special token.
        n_scored: distinct pairs with them.
        n_green: of these.
        log10_p: exact. Null: neither texts nor their number depend on the key, so the colours of all their pairs are
            i.i.d. Bernoulli(γ); a model that repeats marked prompts breaks it, which is why they are left out. None: of
            an e-process.
        log10_e: of an e-process where it ended, with them. The same null.
    """

    left_out: int
    n_scored: int
    n_green: int
    log10_p: float | None
    log10_e: float | None

    def __str__(self) -> str:
        value = f"log10 p {self.log10_p:.1f}" if self.log10_p is not None else f"log10 e {self.log10_e:.1f}"
        return f"with the {amount(self.left_out, 'pair')} left out {self.n_green:,} of {self.n_scored:,} green, {value}"


def whole_of(test: RecordedTest, marked: Marked) -> Whole | None:
    """None: it is no count, the key is closed, or nothing was left out."""
    if test.kind not in COUNTS or not marked.opened:
        return None
    documents, room = [], int(test.evidence["n_tokens"])
    for ids in _ids(test, "documents"):
        documents.append(ids[:room])
        room -= len(documents[-1])
    pairs = WindowRule(marked.context_width).extract(documents, []).pairs
    left_out = len(pairs) - int(test.evidence["n_scored"])
    if not left_out:
        return None
    green = int(np.count_nonzero(marked.green.is_green(pairs.contexts, pairs.tokens)))
    if test.kind == E_PROCESS:
        return Whole(left_out, len(pairs), green, None, log10_e_value(green, len(pairs), marked.gamma))
    return Whole(left_out, len(pairs), green, log10_sf(green, len(pairs), marked.gamma), None)


def leaves_out_as_planned(test: RecordedTest) -> bool:
    """Whether a planned count leaves out just what its plan settled."""
    if test.kind not in COUNTS or test.plan is None or test.plan.left_out is None:
        return False
    prompts = _ids(test, "prompts")
    return len(prompts) > 0 and PlannedExclusion.of(prompts) == test.plan.left_out


def leaves_out_freely(test: RecordedTest, confirmatory: bool) -> bool:
    """Whether what a test leaves out is the examiner's word alone.

    Args:
        confirmatory: so, by the log, that its plan came before the first contact with the model.
    """
    if test.kind == WEIGHTS:
        return True
    return any(_ids(test, "prompts")) and not (confirmatory and leaves_out_as_planned(test))


def _ids(test: RecordedTest, part: str) -> list[list[int]]:
    """Of its documents, or of its prompts: the other part may be large, and is not read for it."""
    return [row["token_ids"] for row in rows_of(test, part)]
