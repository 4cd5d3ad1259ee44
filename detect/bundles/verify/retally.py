"""What a test rests on, counted again: under the opened key, or as far as that goes without it.

Without the key a tally has the examiner's own count of green pairs, or S; everything else of it is counted again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.bundles import canonical
from detect.bundles.material import COUNT, E_PROCESS
from detect.bundles.members import Check, is_text, list_of, require
from detect.bundles.refused import Refused
from detect.bundles.verify.marked import Marked
from detect.bundles.verify.npz import read_arrays
from detect.bundles.verify.runs import RecordedTest
from detect.counting import CountTally, Tally, WeightTally, tally, weigh, window_rule
from detect.exact.evalue import log10_e_process, log10_e_value
from detect.observation import Excess, Reading
from detect.plans.parts import NEED_REFERENCE
from detect.plans.plan import Plan
from detect.sequential import STALE_RUN, Sequential, SequentialTally
from watermark.greenlist import MAX_TOKEN_ID
from watermark.windows import Document, Pairs, Reason

SLACK = 1e-9  # what rounding may do to a number
_ROW: dict[str, Check] = {
    "id": lambda value: value is None or is_text(value) or type(value) is int,
    "token_ids": list_of(lambda value: type(value) is int and 0 <= value <= MAX_TOKEN_ID),
}


def retally(test: RecordedTest, marked: Marked) -> Tally:
    """Count or weigh again (not for scans).

    Raises:
        Refused: "material", "pairs" or "evidence".
    """
    if test.kind == COUNT:
        return _counted(test, marked)
    if test.kind == E_PROCESS:
        return _in_sequence(test, marked)
    return _weighed(test, marked)


def texts_of(test: RecordedTest) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of documents and prompts (Refused: "json" or "material")."""
    documents, prompts = ([row["token_ids"] for row in rows_of(test, part)] for part in ("documents", "prompts"))
    return documents, prompts


def rows_of(test: RecordedTest, part: str) -> list[dict[str, Any]]:
    """The rows of a test's documents, or of its prompts (Refused: "json" or "material")."""
    what = f"{test.what}, {part}"
    return [require(row, _ROW, "material", what) for row in canonical.load_lines(test.material[part], what)]


def _counted(test: RecordedTest, marked: Marked) -> CountTally:
    documents, prompts = texts_of(test)
    if marked.opened:
        return tally(marked, documents, prompts, test=test.evidence["test"])
    extraction = window_rule(marked).extract(documents, prompts)
    green = _said_green(test, len(extraction.pairs))
    return CountTally(**_common(test, marked, extraction.n_tokens, extraction.pairs), n_green=green)


def _in_sequence(test: RecordedTest, marked: Marked) -> SequentialTally:
    documents, prompts = texts_of(test)
    said = test.evidence["sequential"]
    if not marked.opened:
        return _said_sequence(test, marked, documents, prompts)
    process = Sequential(marked, prompts, said["alpha"], said["maximum_pairs"])
    for index, ids in enumerate(documents):
        if process.add(index, ids):
            break
    found = process.result()
    if (np.abs(log10_e_process(found.colours, marked.gamma) + math.log10(said["alpha"])) <= SLACK).any():
        raise Refused("pairs", f"{test.what}: E comes so near to its level that rounding decides whether it reached it")
    return found


def _said_sequence(
    test: RecordedTest, marked: Marked, documents: Sequence[Document], prompts: Sequence[Document]
) -> SequentialTally:
    """As far as the pairs alone tell: an early stop is where the examiner says it was."""
    said, wanted = test.evidence["sequential"], test.evidence["n_scored"]
    rule, most = window_rule(marked), said["maximum_pairs"]
    limit = min(wanted, most) if said["stopped"] == "early" else most
    kept: list[NDArray[np.uint32]] = []
    n_tokens = scored = answers = stale = 0
    stopped = "exhausted"
    for ids, reasons in zip(documents, rule.label(documents, prompts), strict=True):
        new = np.flatnonzero(reasons == Reason.COUNTED)[: limit - scored]
        table = np.asarray(ids, dtype=np.uint32)
        kept.append(table[new[:, None] + np.arange(-rule.context_width, 1)].reshape(-1, rule.context_width + 1))
        answers, scored = answers + 1, scored + len(new)
        if scored == limit and len(new):
            n_tokens += int(new[-1]) + 1
            stopped = "early" if said["stopped"] == "early" else "maximum"
            break
        n_tokens, stale = n_tokens + len(ids), 0 if len(new) else stale + 1
        if stale == max(STALE_RUN, len(prompts)):
            break
    rows = np.concatenate([np.zeros((0, rule.context_width + 1), dtype=np.uint32), *kept])
    pairs = Pairs(rows[:, :-1], rows[:, -1], len(np.unique(rows[:, :-1], axis=0)) if len(rows) else 0)
    green = _said_green(test, scored)
    log10_e = log10_e_value(green, scored, marked.gamma)
    highest = _said_highest(test, green, scored, stopped == "early", marked.gamma)
    return SequentialTally(
        **_common(test, marked, n_tokens, pairs),
        n_green=green,
        colours=np.zeros(scored, dtype=np.bool_),
        alpha=said["alpha"],
        maximum_pairs=most,
        n_answers=answers,
        log10_e=log10_e,
        log10_e_max=highest,
        log10_e_whole=highest,
        stopped=stopped,  # type: ignore[arg-type]
    )


def _said_highest(test: RecordedTest, green: int, scored: int, early: bool, gamma: float) -> float:
    """The largest log10 E on the way, as the examiner says, within what `green` of `scored` pairs allow in any order.

    E rises with every green pair and falls with every other. So it ended early iff the last pair was green and took E
    over the level; else E stayed below it, and its largest value is at least the last, and at most that with all green
    pairs first.

    Raises:
        Refused: "pairs" (it cannot have stopped so) or "p".
    """
    level = -math.log10(test.evidence["sequential"]["alpha"])
    log10_e = log10_e_value(green, scored, gamma)
    if early != (log10_e >= level) or (early and log10_e_value(green - 1, scored - 1, gamma) >= level):
        said = test.evidence["sequential"]["stopped"]
        raise Refused("pairs", f"{test.what}: stopped is {said}, which {green} green of {scored} pairs do not allow")
    if early or not test.claims:
        return max(0.0, log10_e)
    highest = -float(test.evidence["log10_p"])
    low, high = max(0.0, log10_e), log10_e_value(green, green, gamma)
    if highest >= level or not low - SLACK * max(1, low) <= highest <= high + SLACK * max(1, high):
        bounds = f"{-min(high, level):.6g} to {-low:.6g}"
        raise Refused("p", f"{test.what}: log10_p is {-highest}, and {green} green of {scored} pairs give {bounds}")
    return highest


def _weighed(test: RecordedTest, marked: Marked) -> WeightTally:
    observed = observed_of(test)
    h = observed.pairs.contexts.shape[1]
    if h != marked.context_width or not observed.weights.all():
        raise Refused("material", f"{test.what}: contexts of {h} tokens, or weights that are zero")
    rule = window_rule(marked)
    if rule.is_special(observed.pairs.tokens).any() or rule.is_special(observed.pairs.contexts).any():
        raise Refused("pairs", f"{test.what}: special tokens have weights")
    if observed.pairs.n_contexts != len(np.unique(observed.pairs.contexts, axis=0)):
        raise Refused("pairs", f"{test.what}: its weights are of another number of contexts than they say")
    if test.plan is not None:
        _check_as_planned(test, observed, test.plan)
    if marked.opened:
        return weigh(marked, observed)
    n_tokens = observed.n_tokens if isinstance(observed, Excess) else observed.n_positions
    assert test.statistic is not None
    common = _common(test, marked, n_tokens, observed.pairs)
    return WeightTally(**common, weights=observed.weights, statistic=test.statistic, comparisons={})


def _check_as_planned(test: RecordedTest, observed: Reading | Excess, plan: Plan) -> None:
    """Raise Refused unless weights were made as the plan says, and have all that the audits of a claim look at."""
    needs = test.name.removesuffix("/control") in NEED_REFERENCE
    if observed.with_reference != needs:
        raise Refused("material", f"{test.what}: weighed {'without' if needs else 'against'} a reference")
    if observed.excluded is None or (needs and observed.expectation is None):
        raise Refused("material", f"{test.what}: what is audited is not there: of the reference, or left out")
    _, often = np.unique(observed.pairs.contexts, axis=0, return_counts=True)
    if often.max(initial=0) > plan.top:
        raise Refused("material", f"{test.what}: {often.max()} weights of a context, the plan says {plan.top}")


def observed_of(test: RecordedTest) -> Reading | Excess:
    """What was weighed (Refused: "material")."""
    kinds = {kind.FORMAT: kind for kind in (Reading, Excess)}
    try:
        arrays = read_arrays(test.material["weights"])
        for name, array in arrays.items():
            if name.endswith(("contexts", "tokens")) and array.size and int(array.max()) > MAX_TOKEN_ID:
                raise ValueError("token ids that are none")
        found = kinds[str(arrays["format"])].from_arrays(arrays)
        if arrays.keys() != {"format", *found.to_arrays()}:
            raise ValueError("other arrays than weights have")
        return found
    except MemoryError:
        raise
    except Exception as error:  # numpy and zipfile have many for what is malformed
        raise Refused("material", f"{test.what}: no weights that can be read ({type(error).__name__})") from None


def _said_green(test: RecordedTest, n_scored: int) -> int:
    green = test.evidence["n_green"]
    if type(green) is not int or not 0 <= green <= n_scored:
        raise Refused("colours", f"{test.what}: {green} of {n_scored} pairs cannot be green")
    return green


def _common(test: RecordedTest, marked: Marked, n_tokens: int, pairs: Pairs) -> dict[str, Any]:
    mark = marked.mark
    return {
        "test": test.evidence["test"], "key_id": mark.key_id, "scheme": mark.scheme, "green": marked.green,
        "n_tokens": n_tokens, "pairs": pairs, "notes": (),
    }  # fmt: skip
