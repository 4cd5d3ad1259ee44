"""Null texts under fresh keys: the same as the slow way of the reports, and the limits catch what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detect.counting import tally
from detect.evidence import assess
from detect.scan import scan_documents
from detect.validation import nulls
from detect.validation.nulls import TESTS, NullRow, PreparedText, prepare
from detect.validation.rates import LEVELS, counts_below, null_rates
from detect.validation.study import Design
from tests.detect.material import secret
from tests.detect.validation.material import (
    PARAMETERS,
    SEED,
    row,
    slow_count,
    slow_key,
    slow_log10_p,
    stream,
)
from watermark.greenlist import GreenList
from watermark.keys import Key, TokenizerIdentity
from watermark.keys.parameters import Parameters
from watermark.windows import WindowRule

pytestmark = pytest.mark.usefixtures("compiled_colours")


def outside(scored: dict[str, Any], keys: int) -> list[tuple[str, float]]:
    """(test, level) of each count that lies outside its limits."""
    return [
        (test, rate.level)
        for test in TESTS
        for rate in null_rates(scored["counts"][test], keys, scored["sizes"] if test == "count" else None)
        if not rate.within
    ]


# --- the same as what is reported ---


def test_a_row_is_what_the_reports_say_text_by_text() -> None:
    """Keys by the documented derivation; pairs and colours by plain loops and OpenSSL; p by scipy; e and scan by the
    functions that `taggant detect` calls."""
    keys, tokens = 60, 60
    one = row(keys, texts=8, tokens=tokens)
    log10_p: dict[str, list[float]] = {test: [] for test in TESTS}
    green = scored = 0
    for i in range(keys):
        key = slow_key(one.name, i)
        documents = [stream(2 * (i % 8) + part, tokens // 2).tolist() for part in range(2)]
        k, n = slow_count(key, documents)
        green, scored = green + k, scored + n
        log10_p["count"].append(slow_log10_p(k, n))
        evidence = assess(tally(key, documents))
        assert evidence.log10_p == pytest.approx(log10_p["count"][-1], rel=1e-9)
        assert evidence.log10_e is not None
        log10_p["e-value"].append(min(0.0, -evidence.log10_e))
        log10_p["scan"].append(scan_documents(key, documents).log10_p)
    found = one.score(PARAMETERS, SEED)
    assert (found["green"], found["scored"]) == (green, scored)
    for test in TESTS:
        assert found["counts"][test] == counts_below(np.array(log10_p[test]))
        assert found["smallest_log10_p"][test] == pytest.approx(min(log10_p[test]), rel=1e-9)
    assert found["counts"]["count"][0] > 0


@pytest.mark.parametrize("h", [0, 1, 3])
def test_a_prepared_text_is_what_is_tallied_and_scanned(h: int) -> None:
    """With prompts, special tokens, documents of one token and of none."""
    identity = TokenizerIdentity("", "0" * 64, 60, (7, 8))
    parameters = Parameters(20000, 2.0, h, identity)
    documents = [stream(1, 300), stream(2, 1), stream(1, 40), stream(3, 0), stream(4, 90)]
    prompts = [stream(1, 50), stream(9, 30)]
    other, text = prepare(WindowRule(h, (7, 8)), [[stream(8, 70)], documents], prompts)
    assert len(other.pairs) > 10
    for number in range(5):
        key = Key(secret(number), parameters)
        green = GreenList(key)
        k, scanned = text.measure(green.is_green(text.pairs.contexts, text.pairs.tokens), green.gamma)
        counted = tally(key, documents, prompts)
        assert (k, len(text.pairs), text.pairs.n_contexts) == (
            counted.n_green, counted.n_scored, counted.pairs.n_contexts,
        )  # fmt: skip
        assert scanned == scan_documents(key, documents, prompts).log10_p


def test_a_text_without_pairs_says_nothing() -> None:
    (text,) = prepare(WindowRule(1), [[[5]]])
    found = NullRow("made up", 1, (text,), 100).score(PARAMETERS, SEED)
    assert found["counts"] == {test: [0] * 5 for test in TESTS}
    assert found["smallest_log10_p"] == dict.fromkeys(TESTS, 0.0)
    assert outside(found, 100) == []


def test_texts_take_turns_and_every_key_is_reported() -> None:
    seen = []
    one = row(103, texts=8)
    found = one.score(PARAMETERS, SEED, seen.append)
    assert sum(seen) == 103
    sizes = [len(text.pairs) for text in one.texts]
    assert found["scored"] == sum(sizes[i % 8] for i in range(103))
    assert found["pairs"] == [min(sizes), int(np.median([sizes[i % 8] for i in range(103)])), max(sizes)]


def test_the_same_seed_gives_the_same_row_and_another_gives_another() -> None:
    one = row(300)
    found = one.score(PARAMETERS, SEED)
    assert found == one.score(PARAMETERS, SEED)
    other = one.score(PARAMETERS, bytes(32))
    assert other["key_seed"] != found["key_seed"]
    assert other["green"] != found["green"]
    assert NullRow("another", 60, one.texts, 300).score(PARAMETERS, SEED)["green"] != found["green"]


# --- limits that hold, and that can fail ---

KEYS = 2000


def test_fresh_keys_lie_within_the_limits() -> None:
    one = row(KEYS, texts=20, tokens=200)
    found = one.score(PARAMETERS, SEED)
    assert outside(found, KEYS) == []
    assert found["uniformity_p"] > 1e-3
    assert found["counts"]["count"][0] > 0.8 * found["sizes"][0] > 100
    share = found["green"] / found["scored"]
    assert abs(share - 0.25) < 6 * math.sqrt(0.1875 / found["scored"])


def with_colours(monkeypatch: pytest.MonkeyPatch, green_list: Callable[[Key], GreenList]) -> dict[str, Any]:
    monkeypatch.setattr(nulls, "GreenList", green_list)
    return row(KEYS, texts=20, tokens=200).score(PARAMETERS, SEED)


@pytest.mark.parametrize("units", [+900, -900])
def test_a_gamma_that_is_off_by_a_little_fails(units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours with γ = .25 ± .014, judged with .25: too many small p, or too few."""

    def shifted(key: Key) -> GreenList:
        return GreenList.from_chacha_key(key.chacha_key, key.gamma_65536 + units, key.context_width)

    found = with_colours(monkeypatch, shifted)
    assert ("count", 0.1) in outside(found, KEYS)
    assert found["uniformity_p"] < 1e-6


def test_one_key_for_all_trials_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if texts under one key were experiments: here the key's luck on common pairs is everybody's."""
    (one,) = prepare(WindowRule(1), [[stream(1, 200)]])
    monkeypatch.setattr(nulls, "fresh_key", lambda seed, index, parameters: Key(secret(3), parameters))
    found = NullRow("one", 200, (one,), KEYS).score(PARAMETERS, SEED)
    assert found["uniformity_p"] < 1e-12
    assert outside(found, KEYS) != []


def test_keys_that_mark_the_text_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second trial has the greener of two keys, as if the text had been chosen for it."""
    fresh = nulls.fresh_key
    one = row(KEYS, texts=20, tokens=200)
    text = one.texts[0]

    def greener(seed: bytes, index: int, parameters: Parameters) -> Key:
        keys = [fresh(seed, index + offset, parameters) for offset in (0, 10**6)]
        if index % 2:
            return keys[0]
        text = one.texts[index % 20]
        return max(keys, key=lambda key: int(GreenList(key).is_green(text.pairs.contexts, text.pairs.tokens).sum()))

    assert len(text.pairs) > 150
    monkeypatch.setattr(nulls, "fresh_key", greener)
    found = one.score(PARAMETERS, SEED)
    assert ("count", 0.1) in outside(found, KEYS)


def test_pairs_that_count_twice_fail() -> None:
    doubled = []
    for text in row(KEYS, texts=20, tokens=200).texts:
        pairs = text.pairs
        twice = type(pairs)(np.repeat(pairs.contexts, 2, axis=0), np.repeat(pairs.tokens, 2), pairs.n_contexts)
        doubled.append(PreparedText(twice, (np.arange(len(twice)),)))
    found = NullRow("doubled", 200, tuple(doubled), KEYS).score(PARAMETERS, SEED)
    assert {("count", 0.1), ("count", 0.01)} <= set(outside(found, KEYS))


# --- rows ---


def test_nothing_to_prepare() -> None:
    assert prepare(WindowRule(1), []) == []


def test_rows_of_a_design() -> None:
    from detect.validation.populations import Population
    from detect.validation.study import null_rows

    design = Design(PARAMETERS, SEED, 10, (5, 20, 400))
    long, short = (Population(name, "", (stream(1, n),)) for name, n in (("long", 300), ("short", 12)))
    rows, left_out = null_rows(design, [long, short])
    assert [(one.population, one.length, len(one.texts)) for one in rows] == [
        ("long", 5, 10), ("long", 20, 10), ("short", 5, 2),
    ]  # fmt: skip
    assert left_out == [
        "long at 400 tokens: 300 in all are too few",
        "short at 20 tokens: 12 in all are too few",
        "short at 400 tokens: 12 in all are too few",
    ]
    assert len({one.name for one in rows}) == 3
    assert len(LEVELS) == len(rows[0].score(PARAMETERS, SEED)["counts"]["scan"])
