"""Pairs of all shards → how many distinct ones there are, and how many of them are green: the pooled count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from detect.corpora.runs import Run, merged, stretches
from detect.corpora.setting import Setting
from detect.corpora.tallying import Account
from detect.counting import CountTally, ScoredMark, account
from detect.exact.binomial import log10_cdf
from detect.readers.remarks import Remarks
from detect.wording import amount
from watermark.greenlist import GreenList
from watermark.keys import SCHEME
from watermark.progress import Progress
from watermark.windows import Pairs, Reason


@dataclass(frozen=True)
class Pooled:
    """Distinct pairs of a share of all contexts.

    Attributes:
        counted: that count; green: of these; contexts: of these.
        excluded: that do not count, as they occur in a prompt; excluded_green: of these.
    """

    counted: int = 0
    green: int = 0
    contexts: int = 0
    excluded: int = 0
    excluded_green: int = 0

    def plus(self, other: Pooled) -> Pooled:
        return Pooled(*(mine + its for mine, its in zip(asdict(self).values(), asdict(other).values(), strict=True)))


def pool(
    counted: Sequence[Run], excluded: Sequence[Run], share: int, shares: int, setting: Setting, report: Progress
) -> Pooled:
    """Count the pairs of one share of the stretches into which all are cut.

    Args:
        counted, excluded: the runs of all shards.
        share: 0 … shares − 1.
    """
    total = Pooled()
    work = [(runs, cut) for runs in (counted, excluded) for cut in stretches(runs, setting.packing)[share::shares]]
    for done, (runs, (first, last)) in enumerate(work):
        report(done, len(work), "")
        pairs = setting.packing.pairs(merged(runs, setting.packing, first, last))
        green = int(np.count_nonzero(setting.green.is_green(pairs.contexts, pairs.tokens)))
        mine = (len(pairs), green)
        total = total.plus(Pooled(*mine, pairs.n_contexts) if runs is counted else Pooled(0, 0, 0, *mine))
    return total


@dataclass(frozen=True)
class Totals:
    """What was counted in a corpus: everything that its evidence is made of.

    Attributes:
        tokenizer: whether one was at hand, and checked against the key.
        documents_sha256: of documents.parquet, hex.
    """

    pooled: Pooled
    account: Account
    remarks: Remarks
    tokenizer: bool
    documents_sha256: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Totals:
        """What `to_json` gave."""
        remarks = Remarks.from_json(value["remarks"])
        pooled, account = Pooled(**value["pooled"]), Account(**value["account"])
        return cls(pooled, account, remarks, value["tokenizer"], value["documents_sha256"])


def add_up(parts: Iterable[Pooled]) -> Pooled:
    """Of all shares."""
    total = Pooled()
    for part in parts:
        total = total.plus(part)
    return total


@dataclass(frozen=True)
class CorpusTally(CountTally):
    """A count whose pairs were never in memory together: `pairs` is empty, and all that is asked of them are numbers.

    Attributes:
        totals: what was counted.
    """

    totals: Totals = field(kw_only=True, repr=False)

    @property
    def n_scored(self) -> int:
        return self.totals.pooled.counted

    @property
    def n_contexts(self) -> int:
        return self.totals.pooled.contexts

    @property
    def n_excluded(self) -> int:
        return self.totals.pooled.excluded

    @cached_property
    def excluded_log10_p(self) -> float | None:
        """As of any tally. Null: see `ExcludedAudit`."""
        if not self.n_excluded:
            return None
        return log10_cdf(self.totals.pooled.excluded_green, self.n_excluded, self.green.gamma)


def corpus_tally(mark: ScoredMark, totals: Totals) -> CorpusTally:
    """What `tally` makes of the same documents and prompts, without their pairs."""
    green, words = GreenList(mark), totals.account
    counted = totals.pooled.counted
    windows = words.tokens - words.no_context - words.special
    tokens = {
        Reason.COUNTED: counted,
        Reason.REPEATED: windows - words.in_prompt - counted,
        Reason.IN_PROMPT: words.in_prompt,
        Reason.SPECIAL: words.special,
        Reason.NO_CONTEXT: words.no_context,
    }
    nothing = np.zeros((0, mark.context_width), dtype=np.uint32)
    return CorpusTally(
        test="text",
        key_id=mark.key_id,
        scheme=SCHEME,
        green=green,
        n_tokens=words.tokens,
        pairs=Pairs(nothing, np.zeros(0, dtype=np.uint32), 0),
        notes=(
            account(tokens, amount(totals.remarks.documents, "document")),
            mark.special_ids_note(verified=totals.tokenizer),
        ),
        n_green=totals.pooled.green,
        totals=totals,
    )
