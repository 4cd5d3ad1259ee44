"""Whose mark: one observation scored under the keys of thousands of accounts, and judged as one family.

Every key's p is that of the tests elsewhere: exact for counts, a valid bound for weights. The keys are derived by a
pseudo-random function, so the text of one account does not depend on the key of another: with true sources present the
other p-values still hold, and Holm's adjustment over all keys keeps the chance of any false attribution at alpha.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from detect.accounts.candidates import (
    Candidate,
    derived_candidates,
    key_files,
    load_candidates,
    refuse_doubles,
    same_rule,
)
from detect.accounts.family import DEFAULT_JUDGEMENT, Family, Judgement, KeyEvidence
from detect.accounts.scores import Group, Observation, score
from detect.counting import TestName
from detect.evidence import EXPLORATORY_NOTE
from watermark.errors import InputError

__all__ = [
    "Attribution",
    "Candidate",
    "Group",
    "Judgement",
    "KeyEvidence",
    "Observation",
    "attribute",
    "derived_candidates",
    "key_files",
    "load_candidates",
    "refuse_doubles",
    "same_rule",
]

SCHEMA = "taggant-attribution/1"

Finding = Literal["attributed", "none attributed"]

CAUTIONS = (
    "attributed to the mark of an account: what was observed depends on that account's key; how that came about, and "
    "by whose act, is a separate question",
    "several accounts can be attributed; one that is not attributed may still have had a part",
    "the list of accounts must not come from an earlier look at this material: the adjustment counts those listed only",
)


@dataclass(frozen=True)
class Attribution:
    """Whose marks were found. Field for field what `--json` prints.

    Attributes:
        weighted: whether pairs were weighed, as a reading and answers against a reference are; else they were counted.
        n_accounts: distinct accounts.
        n_keys: keys scored: the family that every adjusted p accounts for.
        n_tokens: None where groups of keys were scored on different numbers of them, as `n_scored`; see `groups`.
        attributed: the accounts with a key whose adjusted p is at most alpha, best first.
        n_inconclusive: keys not attributed of which too little was observed to tell.
        n_withdrawn: keys under which nothing is claimed; the notes say why.
        runner_up_gap: log10_p of the best key that is not attributed less that of the last one attributed, in decades,
            each after its key's check and before Holm. None: no key is attributed, or every one.
        accounts: the keys attributed and the next best, best first.
        groups: for each rule of pairs, how many keys have it and what was counted.
    """

    schema: str
    test: TestName
    weighted: bool
    n_accounts: int
    n_keys: int
    n_tokens: int | None
    n_scored: int | None
    alpha: float
    finding: Finding
    attributed: tuple[str, ...]
    n_inconclusive: int
    n_withdrawn: int
    runner_up_gap: float | None
    accounts: tuple[KeyEvidence, ...]
    groups: tuple[dict[str, Any], ...]
    status: Literal["exploratory"]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)


def attribute(
    groups: Sequence[Group],
    how: Judgement = DEFAULT_JUDGEMENT,
    *,
    on_key: Callable[[int], None] | None = None,
) -> Attribution:
    """Score every candidate and judge all of them as one family.

    Args:
        groups: one material, once for every rule of pairs; every candidate in one of them.
        how: level, effect, and how many keys to show.
        on_key: called with 1 for each key scored.

    Raises:
        InputError: no candidates, or one key twice.
    """
    candidates = [candidate for group in groups for candidate in group.candidates]
    if not candidates:
        raise InputError("there are no accounts to attribute anything to; give their keys")
    refuse_doubles(candidates)
    family = Family(groups, [score(group, on_key) for group in groups], how)
    found = [int(i) for i in family.order if family.attributed[i]]
    shown = family.order[: max(how.top, len(found))]
    described = [_described(group) for group in groups]
    return Attribution(
        schema=SCHEMA,
        test=family.test,
        weighted=family.weighted,
        n_accounts=len({candidate.account for candidate in candidates}),
        n_keys=len(candidates),
        n_tokens=_common(described, "n_tokens"),
        n_scored=_common(described, "n_scored"),
        alpha=how.alpha,
        finding="attributed" if found else "none attributed",
        attributed=tuple(dict.fromkeys(candidates[i].account for i in found)),
        n_inconclusive=family.n_inconclusive(),
        n_withdrawn=int(family.silent.sum()),
        runner_up_gap=family.gap(),
        accounts=tuple(family.evidence(int(i)) for i in shown),
        groups=tuple(described),
        status="exploratory",
        notes=(*family.notes(), *CAUTIONS, EXPLORATORY_NOTE),
    )


def _described(group: Group) -> dict[str, Any]:
    key, seen = group.candidates[0].key, group.observation
    return {
        "n_keys": len(group.candidates),
        "scheme": key.scheme,
        "context_width": key.context_width,
        "tokenizer_sha256": None if key.tokenizer is None else key.tokenizer.sha256,
        "n_tokens": seen.n_tokens,
        "n_scored": len(seen.pairs),
        "n_contexts": seen.pairs.n_contexts,
    }


def _common(described: Sequence[dict[str, Any]], name: str) -> int | None:
    values = {one[name] for one in described}
    return int(values.pop()) if len(values) == 1 else None
