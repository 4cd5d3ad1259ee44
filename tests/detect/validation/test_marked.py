"""Marked texts: prefixes of each length, the reported p, and rates that a simulation of the mark confirms."""

from __future__ import annotations

import numpy as np
import pytest

from detect.exact.power import power
from detect.validation.marked import MarkedText, detect_at, marked_sha256
from detect.validation.rates import detection_rates
from tests.detect.validation.material import PARAMETERS, slow_count, slow_key, slow_log10_p, stream
from watermark.greenlist import GreenList
from watermark.keys import Key

pytestmark = pytest.mark.usefixtures("compiled_colours")
GREENER = 0.55  # green fraction of a made-up marked text


def marked(number: int, tokens: int) -> MarkedText:
    """Each token green with probability `GREENER`; so many kinds of tokens that pairs hardly repeat."""
    key, rng = slow_key("marked", number), np.random.default_rng(number)
    green, ids = GreenList(key), [0]
    while len(ids) <= tokens:
        wanted = rng.random() < GREENER
        found = rng.integers(0, 50_000, 64)
        colours = green.is_green(np.full((64, 1), ids[-1]), found)
        ids.append(int(found[colours == wanted][0]))
    return MarkedText(key, ids[1:], [1, 2, 3])


def test_it_is_the_reported_p_of_the_first_tokens() -> None:
    texts = [marked(number, 40) for number in range(6)] + [MarkedText(slow_key("x", 0), stream(1, 12).tolist())]
    found = detect_at(texts, 30)
    assert found is not None
    counted = [slow_count(text.key, [list(text.ids[:30])], [list(text.prompt)]) for text in texts[:6]]
    assert (found["texts"], found["green"], found["scored"]) == (
        6, sum(k for k, _ in counted), sum(n for _, n in counted),
    )  # fmt: skip
    p = [slow_log10_p(k, n) for k, n in counted]
    assert found["median_log10_p"]["count"] == pytest.approx(float(np.median(p)), rel=1e-9)
    assert found["counts"]["count"] == [sum(one <= at for one in p) for at in (-1, -2, -3, -4, -6)]
    assert all(found["median_log10_p"][test] >= found["median_log10_p"]["count"] for test in ("e-value", "scan"))


def test_texts_that_are_too_short_are_left_out() -> None:
    assert detect_at([MarkedText(slow_key("x", 0), [1, 2, 3])], 4) is None
    assert detect_at([], 1) is None


def test_rates_agree_with_exact_power() -> None:
    """60 texts of 61 tokens, some 60 pairs each: the rates lie where binomial power says, to five deviations."""
    texts = [marked(number, 61) for number in range(60)]
    found = detect_at(texts, 61)
    assert found is not None
    assert found["scored"] >= 60 * 60 - 5
    for rate in detection_rates(found["counts"]["count"], found["texts"]):
        expected = power(60, 0.25, GREENER, rate.level)
        assert abs(rate.count - 60 * expected) <= 5 * np.sqrt(60 * expected * (1 - expected)) + 1
    wrong = [MarkedText(slow_key("other", number), text.ids, text.prompt) for number, text in enumerate(texts)]
    missed = detect_at(wrong, 61)
    assert missed is not None
    assert missed["counts"]["count"][2:] == [0, 0, 0]


def test_the_digest_tells_texts_apart() -> None:
    key = Key(bytes(32), PARAMETERS)
    assert marked_sha256([MarkedText(key, [1], [2])]) != marked_sha256([MarkedText(key, [2], [1])])
