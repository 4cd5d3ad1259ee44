"""The likelihood ratio: by hand, never beyond what the controls can show, and never 1/p."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from detect.reports.controls import Controls
from detect.reports.ratio import LEAST, SCALE, LikelihoodRatio, enough, likelihood_ratio
from detect.reports.words import RATIO_LAW
from watermark.errors import InputError


def test_by_hand() -> None:
    found = likelihood_ratio(18, 20, 1, 40)
    assert found.value == pytest.approx((18.5 / 21) / (1.5 / 41))
    low, high = beta.ppf(0.0125, 18, 3), beta.ppf(0.9875, 19, 2)
    false_low, false_high = beta.ppf(0.0125, 1, 40), beta.ppf(0.9875, 2, 39)
    assert found.low == pytest.approx(low / false_high)
    assert found.high == pytest.approx(min(41, high / false_low))
    assert (found.least, found.most) == (1 / 21, 41)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
       st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))  # fmt: skip
def test_it_stays_within_what_so_many_controls_can_show(positive: tuple[int, int], negative: tuple[int, int]) -> None:
    found = likelihood_ratio(*positive, *negative)
    assert found.least <= found.low <= found.value <= found.high <= found.most
    assert found.nearest == 1 or (found.nearest in (found.low, found.high))


def test_a_dozen_perfect_controls_of_a_kind_are_weak_evidence() -> None:
    found = likelihood_ratio(12, 12, 0, 12)
    assert found.value == 13
    assert found.words == ("slightly more probable", "weak support for H1")


def test_below_two_it_is_none() -> None:
    found = likelihood_ratio(10, 10, 0, 10)
    assert (found.value, 1 < found.low < 2) == (11, True)
    assert found.words[1] == "no support for either proposition"
    other = likelihood_ratio(0, 10, 10, 10)
    assert (0.5 < other.high < 1, other.words) == (True, found.words)


def test_how_many_are_enough() -> None:
    """Seven of each kind, whatever there is of the other; by the closed form of an interval without errors."""
    for n in range(1, 30):
        both = 2 * 0.0125 ** (1 / n)
        assert enough(n, n) == (both > 1) == (likelihood_ratio(0, n, n, n).high < 1)
    assert enough(LEAST, LEAST)
    for few in range(1, LEAST):
        assert likelihood_ratio(few, few, 0, 3000).low > 1 or few < 3
        assert not enough(few, 3000)
        assert not enough(3000, few)


def test_the_other_way_round() -> None:
    many, few = likelihood_ratio(500, 500, 0, 5000), likelihood_ratio(0, 5000, 500, 500)
    assert many.value == pytest.approx(1 / few.value)
    assert many.words[1].removesuffix("H1") == few.words[1].removesuffix("H0")
    assert few.words[0].endswith("less probable")


def test_the_interval_covers() -> None:
    """Ratios of known rates lie in the interval at least as often as it says."""
    rng = np.random.default_rng(1)
    for p, q, n, m in ((0.9, 0.05, 30, 60), (0.5, 0.5, 20, 20), (0.97, 0.2, 50, 25)):
        pairs = np.stack([rng.binomial(n, p, 400), rng.binomial(m, q, 400)], axis=1).tolist()
        drawn = [likelihood_ratio(hits, n, false, m) for hits, false in pairs]
        covered = sum(one.low <= p / q <= one.high for one in drawn)
        assert covered >= 380


@pytest.mark.parametrize(("p", "q", "n", "m"), [(0.9, 1e-6, 30, 60), (0.99, 1e-6, 20, 20), (1e-6, 0.9, 30, 60)])
def test_beyond_the_limits_it_covers_the_limit_and_not_the_ratio(p: float, q: float, n: int, m: int) -> None:
    rng = np.random.default_rng(2)
    pairs = np.stack([rng.binomial(n, p, 400), rng.binomial(m, q, 400)], axis=1).tolist()
    drawn = [likelihood_ratio(hits, n, false, m) for hits, false in pairs]
    limit = min(drawn[0].most, max(drawn[0].least, p / q))
    assert limit in (drawn[0].least, drawn[0].most)
    assert sum(one.low <= p / q <= one.high for one in drawn) == 0
    assert sum(one.low <= limit <= one.high for one in drawn) >= 380
    said = " ".join(str(LikelihoodRatio.__doc__).split())
    for words in (said, RATIO_LAW):
        assert "or the limit beyond which it lies, with at least 95 %" in words or "or its limit" in words


def test_no_support_where_one_lies_within() -> None:
    assert likelihood_ratio(3, 10, 2, 10).words[1] == "no support for either proposition"


def test_the_scale_falls() -> None:
    assert [above for above, *_ in SCALE] == sorted((above for above, *_ in SCALE), reverse=True)


@pytest.mark.parametrize("counts", [(1, 0, 0, 1), (2, 1, 0, 1), (0, 1, -1, 1)])
def test_no_controls(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="controls"):
        likelihood_ratio(*counts)


CONTROLS: dict[str, Any] = {
    "format": "taggant-controls/1", "test": "text", "kind": "count", "weights": "distinct", "reference": False,
    "gamma": 0.25, "context_width": 1, "alpha": 1e-6, "what": "essays by twenty people",
    "positives": [{"source": f"p{i}", "detected": i > 1} for i in range(20)],
    "negatives": [{"source": f"n{i}", "detected": False} for i in range(30)],
}  # fmt: skip


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_controls(tmp_path: Path) -> None:
    found = Controls.load(write(tmp_path / "c.json", CONTROLS))
    assert (found.counts(True), found.counts(False)) == ((18, 0), (2, 30))
    assert found.ratio(True) == likelihood_ratio(18, 20, 0, 30)
    assert found.ratio(False) == likelihood_ratio(2, 20, 30, 30)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"positives": [{"source": "N3 ", "detected": True}]}, "share a source"),
        ({"negatives": []}, "negatives is malformed"),
        ({"alpha": 0}, "alpha is malformed"),
        ({"weights": "all"}, "weights is malformed"),
        ({"reference": None}, "reference is malformed"),
        ({"format": "taggant-controls/2"}, "not in the format"),
        ({"more": 1}, "not an object of"),
    ],
)
def test_controls_that_are_none(change: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        Controls.load(write(tmp_path / "c.json", {**CONTROLS, **change}))


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Controls.load(tmp_path / "absent.json")
    with pytest.raises(InputError, match="no JSON"):
        Controls.load(write(tmp_path / "c.json", "{"))
