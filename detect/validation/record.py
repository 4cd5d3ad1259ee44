"""What a study found, as one JSON object that holds everything its page and its table show."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detect.bundles.canonical import rounded
from detect.validation import nulls, weights
from detect.validation.keys import FORMAT
from detect.validation.nulls import NullRow
from detect.validation.rates import LEVELS, detection_rates, null_rates

EXACT = ("count", "argmax")  # the others are bounds, so they may be small too rarely

KEYS_NOTE = (
    "Every trial has a key of its own, and the texts are fixed: that is the experiment which the null speaks of. Given "
    "the texts the trials are independent, and the interval is about keys, not about texts: a population that is not "
    "in the table has to be scored itself (--texts)."
)
SHARED_NOTE = (
    "Keys that share a text (or a model and its probes) repeat the experiment on keys, not on texts: ten thousand keys "
    "on one text are one text. And texts under one key are no independent experiments either, as they share pairs: the "
    "rate is not the share of documents that one deployed key would flag. That is what a key's check on human text is "
    "for."
)
BOUND_NOTE = (
    "The e-value, the scan and the weighted reading are bounds: their p may be small more rarely than the level says, "
    "never more often. The count and the argmax are exact, so too few small p would be a fault as well; what a count "
    "can reach below a level is less than the level where there are few pairs."
)
FAR_NOTE = (
    "No table of trials reaches 10^-6: nothing at or below it among N says that the rate is below the upper end of the "
    "interval. That p is right further out rests on the law of the colours, which the rates at larger levels check."
)
ALONE_NOTE = "All p are those of a test by itself: not adjusted for other tests, nor for a key's check."
MARKED_NOTE = (
    "Marked texts: each answer was marked with a key of its own, so answers are independent given their prompts; a "
    "rate is about this model, these prompts, this way of sampling and this tokenizer. Answers that ended before a "
    "length are not in its row."
)
GIVEN_NOTE = (
    "Texts given with --marked share one key, so the interval is that of independent texts, which these are not quite."
)
CHECK_RULE = (
    "before first use, once: accepted if the one-sided p of human text under the key is above 0.01; every later p is "
    "then multiplied by 1/P(accept) = 1/.99"
)


def record(
    described: Mapping[str, Any],
    scored: Sequence[tuple[NullRow, Mapping[str, Any]]],
    read: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    left_out: Sequence[str],
) -> dict[str, Any]:
    """The whole study, JSON-ready.

    Args:
        described: what was studied, by name: of `Design.describe` and more.
        scored: each null row with what `NullRow.score` gave.
        read: what `weights.score_reading` gave, with what says which model it is.
        found: what `marked.detect_at` gave, with `population`, `delta` and `tokens`; `delta` is null for given texts.
        left_out: rows for which there was too little text.
    """
    keys = int(described["keys"])
    texts = [_null_row(row, one) for row, one in scored]
    models = [_model_row(one, keys) for one in read]
    marked = [_marked_row(one) for one in found]
    notes = [KEYS_NOTE, SHARED_NOTE, BOUND_NOTE, FAR_NOTE, ALONE_NOTE]
    notes += [MARKED_NOTE] if any(one["delta"] is not None for one in marked) else []
    notes += [GIVEN_NOTE] if any(one["delta"] is None for one in marked) else []
    pooled = _pooled(scored)
    return {
        "format": FORMAT,
        **described,
        "levels": list(LEVELS),
        "nulls": texts,
        "pooled": pooled,
        "models": models,
        "marked": marked,
        "limits": _limits([*texts, *({**one, "tests": {one["test"]: one}} for one in pooled), *models]),
        "left_out": list(left_out),
        "notes": notes,
    }


def _null_row(row: NullRow, one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "population": row.population,
        "tokens": row.length,
        "texts": len(row.texts),
        "keys": row.keys,
        "pairs": dict(zip(("least", "median", "most"), one["pairs"], strict=True)),
        "green_fraction": one["green"] / one["scored"] if one["scored"] else None,
        "uniformity_p": one["uniformity_p"],
        "key_seed": one["key_seed"],
        "tests": {test: _null_test(test, one, row.keys) for test in nulls.TESTS},
    }


def _null_test(test: str, one: Mapping[str, Any], keys: int) -> dict[str, Any]:
    rates = null_rates(one["counts"][test], keys, one["sizes"] if test in EXACT else None)
    return {"rates": [rate.to_dict() for rate in rates], "smallest_log10_p": one["smallest_log10_p"][test]}


def _model_row(one: Mapping[str, Any], keys: int) -> dict[str, Any]:
    kept = ("population", "model", "reference", "probes", "positions", "weights", "pairs", "key_seed")
    return {
        **{name: one[name] for name in kept},
        "keys": keys,
        "tests": {test: _null_test(test, one, keys) for test in weights.TESTS},
    }


def _marked_row(one: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("population", "delta", "tokens", "texts")
    tests = {
        test: {
            "rates": [rate.to_dict() for rate in detection_rates(counts, one["texts"])],
            "median_log10_p": one["median_log10_p"][test],
        }
        for test, counts in one["counts"].items()
    }
    fraction = one["green"] / one["scored"] if one["scored"] else None
    return {**{name: one[name] for name in kept}, "green_fraction": fraction, "tests": tests}


def _pooled(scored: Sequence[tuple[NullRow, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Each population's rows together: their keys differ, so they are trials like those of one row."""
    pooled = []
    for population in dict.fromkeys(row.population for row, _ in scored):
        mine = [(row, one) for row, one in scored if row.population == population]
        keys = sum(row.keys for row, _ in mine)
        sizes = [sum(column) for column in zip(*(one["sizes"] for _, one in mine), strict=True)]
        for test in nulls.TESTS:
            counts = [sum(column) for column in zip(*(one["counts"][test] for _, one in mine), strict=True)]
            rates = null_rates(counts, keys, sizes if test in EXACT else None)
            pooled.append({"population": population, "test": test, "rates": [rate.to_dict() for rate in rates]})
    return pooled


def _limits(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many counts of small p lie within the design's limits, and which do not."""
    checked, outside = 0, []
    for row in rows:
        for test, one in row["tests"].items():
            for rate in one["rates"]:
                checked += 1
                if not rate["within"]:
                    outside.append(
                        {"population": row["population"], "tokens": row.get("tokens"), "test": test,
                         **{name: rate[name] for name in ("level", "count", "of", "at_most", "at_least")}}
                    )  # fmt: skip
    return {"checked": checked, "within": checked - len(outside), "outside": outside}


COLUMNS = (
    *("kind", "population", "delta", "tokens", "test", "trials", "texts", "level", "count", "rate"),
    *("interval95_low", "interval95_high", "attainable", "at_most", "at_least", "within"),
)


def table(study: Mapping[str, Any]) -> bytes:
    """The same as CSV, a line a rate: for a spreadsheet, in which no cell is a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in _lines(rounded(study)):
        writer.writerow([inert(line.get(name)) for name in COLUMNS])
    return text.getvalue().encode("utf-8")


def inert(value: object) -> str:
    """A cell that a spreadsheet shows and does not carry out."""
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if not isinstance(value, int | float) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _lines(study: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for kind, rows in (("null", study["nulls"]), ("model", study["models"]), ("marked", study["marked"])):
        for row in rows:
            common = {"kind": kind, **{name: row.get(name) for name in ("population", "delta", "tokens", "texts")}}
            for test, one in row["tests"].items():
                for rate in one["rates"]:
                    low, high = rate["interval95"]
                    ends = {"trials": rate["of"], "interval95_low": low, "interval95_high": high}
                    yield {**common, "test": test, **rate, **ends}
