"""Holm by its definition, e-BH by its definition, and what both promise under the null."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect.exact.multiplicity import e_bh, holm, key_check_adjustment
from watermark.errors import InputError

LOGS = st.lists(st.floats(-400, 0), min_size=1, max_size=12)


def holm_rejects(log10_p: list[float], log10_alpha: float) -> list[bool]:
    """The step-down procedure itself: go on while the smallest p left is <= alpha / how many are left."""
    left = sorted(range(len(log10_p)), key=lambda i: log10_p[i])
    rejected = [False] * len(log10_p)
    for done, i in enumerate(left):
        if log10_p[i] + math.log10(len(log10_p) - done) > log10_alpha:
            break
        rejected[i] = True
    return rejected


@given(LOGS, st.floats(-300, -0.01))
def test_adjusted_p_rejects_what_the_procedure_rejects(values: list[float], log10_alpha: float) -> None:
    adjusted = holm(values)
    assert (adjusted <= log10_alpha).tolist() == holm_rejects(values, log10_alpha)


@given(LOGS)
def test_holm_is_monotone_capped_and_between_none_and_bonferroni(values: list[float]) -> None:
    adjusted, raw = holm(values), np.array(values)
    assert (adjusted <= 0).all()
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(0, raw + math.log10(len(values))) + 1e-12).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_holm_by_hand_and_far_below_what_a_float_holds() -> None:
    np.testing.assert_allclose(10.0 ** holm(np.log10([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([-1e5, -2.0]), [-1e5 + math.log10(2), -2.0])
    assert holm([-3.0]).tolist() == [-3.0]
    assert holm([]).shape == (0,)


@given(LOGS, st.integers(0, 30))
def test_holm_among_others_that_have_p_1(values: list[float], others: int) -> None:
    whole = holm([*values, *[0.0] * others])[: len(values)]
    np.testing.assert_array_equal(holm(values, others=others), whole)


def test_holm_among_more_than_a_machine_holds() -> None:
    np.testing.assert_allclose(holm([-20.0, -1.0], others=10**15 - 2), [-5.0, 0.0])


def test_holm_keeps_the_family_wise_error() -> None:
    rng = np.random.default_rng(6)
    p = rng.random((20_000, 5))
    p[:, 3:] = rng.beta(0.05, 1, (20_000, 2))  # two real effects
    p[:, 1] = p[:, 0]  # and dependence
    false = sum((holm(row)[:3] <= math.log10(0.05)).any() for row in np.log10(np.maximum(p, 1e-300)))
    assert 200 < false <= 0.05 * 20_000 + 4 * math.sqrt(0.05 * 0.95 * 20_000)


@given(st.lists(st.integers(-3, 6), min_size=1, max_size=9), st.sampled_from([0.05, 0.1, 0.5]))
def test_e_bh_by_its_definition(exponents: list[int], alpha: float) -> None:
    # 3 × 10^x is never on a boundary, so floating point cannot decide
    e = [3 * Fraction(10) ** x for x in exponents]
    size = len(e)
    ordered = sorted(e, reverse=True)
    best = max((k for k in range(1, size + 1) if k * ordered[k - 1] * Fraction(str(alpha)) >= size), default=0)
    boundary = {k * v * Fraction(str(alpha)) for k in range(1, size + 1) for v in e}
    rejected = e_bh([math.log10(3) + x for x in exponents], alpha)
    if size not in boundary:
        assert rejected.tolist() == [best > 0 and value >= ordered[best - 1] for value in e]


def test_e_bh_by_hand() -> None:
    assert e_bh(np.log10([100, 1, 30, 3]), 0.1).tolist() == [True, False, True, False]
    assert e_bh(np.log10([39.0, 1, 1, 1]), 0.1).tolist() == [False] * 4
    assert e_bh([5_000.0, -np.inf], 1e-6).tolist() == [True, False]
    assert e_bh([], 0.05).shape == (0,)


def test_key_check_costs_one_per_cent() -> None:
    assert key_check_adjustment(-6.0) == pytest.approx(-6 + math.log10(1 / 0.99))
    assert key_check_adjustment(-6.0, 0.5) == pytest.approx(-6 + math.log10(2))
    assert key_check_adjustment(0.0) == key_check_adjustment(-1e-4) == 0


@pytest.mark.parametrize("values", [[0.1], [math.nan], [[-1.0]]])
def test_what_is_no_log10_p_is_refused(values: list[float]) -> None:
    with pytest.raises(InputError):
        holm(values)


def test_other_refusals() -> None:
    with pytest.raises(InputError, match="above 0"):
        key_check_adjustment(0.5)
    with pytest.raises(InputError, match="accept_probability"):
        key_check_adjustment(-3.0, 0.0)
    with pytest.raises(InputError, match="alpha"):
        e_bh([1.0], 0.0)


@given(st.lists(st.floats(-12, 0), max_size=40), st.sampled_from([1e-6, 0.01, 0.3]))
def test_the_smallest_p_of_a_larger_family(values: list[float], alpha: float) -> None:
    """Those above the level can be left out: they change nothing of the others."""
    all_of_them = np.array(values)
    small = all_of_them <= math.log10(alpha)
    assert holm(all_of_them[small], others=int((~small).sum())).tolist() == holm(all_of_them)[small].tolist()


@given(st.lists(st.floats(-5, 9), max_size=40), st.sampled_from([1e-6, 0.01, 0.3]))
def test_the_largest_e_of_a_larger_family(values: list[float], alpha: float) -> None:
    all_of_them = np.array(values)
    large = all_of_them >= -math.log10(alpha)
    assert e_bh(all_of_them[large], alpha, len(values)).tolist() == e_bh(all_of_them, alpha)[large].tolist()
    assert not e_bh(all_of_them, alpha)[~large].any()


def test_a_family_is_not_smaller_than_what_is_given_of_it() -> None:
    with pytest.raises(InputError, match="others must be at least 0, got -1"):
        holm([-1.0, -2.0], others=-1)
    with pytest.raises(InputError, match="tests must be at least 2, got 1"):
        e_bh([1.0, 2.0], 0.1, 1)
