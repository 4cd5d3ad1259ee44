"""From tally to evidence: the designed fields, their numbers by scipy and mpmath, and what a finding may say."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.stats import beta, binom

from detect.counting import CountTally, tally
from detect.decoys import lineup
from detect.evidence import (
    EXPLORATORY_NOTE,
    KEY_CHECK_NOTE,
    POWER_NOTE,
    PROBES_NOTE,
    SEQUENTIAL_LINEUP_NOTE,
    SEQUENTIAL_NOTE,
    Assessment,
    Evidence,
    assess,
    assess_family,
)
from detect.exact.weighted import CumulantFunction, chernoff, evaluate_bound, saddlepoint
from detect.sequential import SequentialTally
from tests.detect.material import make_key, weight_tally
from watermark.files import strict_json
from watermark.greenlist import GreenList
from watermark.keys import SCHEME
from watermark.windows import Pairs

FIELDS = [
    "schema",
    "test",
    "key_id",
    "scheme",
    "gamma",
    "context_width",
    "n_tokens",
    "n_scored",
    "n_green",
    "green_fraction",
    "ci95",
    "z_score",
    "log10_p",
    "log10_p_adjusted",
    "log10_e",
    "log10_p_saddlepoint",
    "theta",
    "n_contexts",
    "alpha",
    "finding",
    "status",
    "notes",
]
LINEUP_FIELDS = ["decoys", "seed", "rank", "p_rank", "log10_p_best_decoy", "uniformity_p"]


def counted(k: int, n: int, test: Any = "text") -> CountTally:
    """k green of n pairs, made up."""
    key = make_key(20)
    contexts = np.arange(n, dtype=np.uint32)[:, None]
    pairs = Pairs(contexts, np.zeros(n, dtype=np.uint32), n)
    return CountTally(test, key.key_id, SCHEME, GreenList(key), n + 3, pairs, ("counted by hand",), k)


def weights(size: int = 300) -> np.ndarray:
    return np.random.default_rng(21).standard_t(3, size)


def weighted(level: float = 0.0) -> Any:
    """Weights with S at this share of its maximum."""
    one = weight_tally(make_key(22), weights())
    return replace(one, statistic=level * CumulantFunction(one.weights, 0.25).maximum)


# --- the fields ---


@pytest.mark.parametrize("test", ["text", "sampled"])
def test_counts_have_exactly_the_designed_fields(test: str) -> None:
    found = assess(counted(50, 100, test)).to_dict()
    assert list(found) == FIELDS
    assert found["test"] == test
    assert found["theta"] is None
    assert found["log10_p_saddlepoint"] is None
    assert all(found[name] is not None for name in FIELDS if name not in ("theta", "log10_p_saddlepoint"))


def test_a_reading_has_the_designed_fields_and_the_two_comparisons() -> None:
    found = assess(weighted(0.1)).to_dict()
    assert list(found) == [*FIELDS, "comparisons"]
    empty = {"n_green", "green_fraction", "ci95", "log10_e"}
    assert {name for name in FIELDS if found[name] is None} == empty
    assert set(found["comparisons"]) == {"argmax", "green_mass"}
    assert set(found["comparisons"]["argmax"]) == {"n_scored", "n_green", "log10_p"}
    assert set(found["comparisons"]["green_mass"]) == {"n_contexts", "mean", "log10_p"}


def test_a_lineup_has_the_designed_fields() -> None:
    for one in (counted(30, 100), weighted(0.1)):
        found = assess(one, lineup=lineup(one, 5)).to_dict()
        assert set(FIELDS) < set(found)
        assert list(found["lineup"]) == LINEUP_FIELDS


def test_values_that_are_only_passed_on() -> None:
    key = make_key(20)
    found = assess(counted(50, 100), Assessment(alpha=1e-3), notes=["read elsewhere"])
    assert (found.schema, found.scheme, found.key_id) == ("taggant-evidence/1", "greenlist/1", key.key_id)
    assert (found.gamma, found.context_width, found.alpha) == (0.25, 1, 1e-3)
    assert (found.n_tokens, found.n_scored, found.n_green, found.n_contexts) == (103, 100, 50, 100)
    assert found.notes == ("counted by hand", "read elsewhere", KEY_CHECK_NOTE[None], EXPLORATORY_NOTE)
    assert found.status == "exploratory"


EXTREMES = [counted(0, 0), counted(0, 1), counted(5000, 5000), counted(0, 5000), weighted(1.0), weighted(-0.2)]


@pytest.mark.parametrize("one", [*EXTREMES, weight_tally(make_key(22), [])])
def test_json_is_strict_whatever_the_counts(one: Any) -> None:
    """No NaN, no Infinity, also with nothing counted and with the largest S there can be."""
    for how in (Assessment(), Assessment(probes_marked=True), Assessment(key_check=True)):
        found = assess(one, how, lineup=lineup(one, 3))
        text = found.to_json()
        assert "\n" not in text
        assert strict_json(text) == json.loads(json.dumps(found.to_dict()))


def test_extreme_p_is_not_clipped_in_json() -> None:
    found = assess(counted(5000, 5000))
    assert found.to_dict()["log10_p"] == pytest.approx(5000 * math.log10(0.25))
    assert "below 10^-30 errors of procedure, which no p includes, dominate" in found.notes
    assert not any("10^-30" in note for note in assess(counted(40, 100)).notes)


def test_no_secret_in_repr_or_json() -> None:
    key = make_key(23)
    one = tally(key, [list(range(200))])
    found = assess(one, lineup=lineup(one, 3))
    for hidden in (key.chacha_key, key._secret):
        for text in (repr(found), str(found), found.to_json()):
            assert hidden.hex() not in text
            assert repr(hidden)[2:-1] not in text


# --- the numbers ---


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (25, 100), (45, 100), (330, 1000), (2600, 10_000)])
def test_counts_by_scipy(k: int, n: int) -> None:
    found = assess(counted(k, n))
    assert found.log10_p == pytest.approx(binom.logsf(k - 1, n, 0.25) / math.log(10), rel=1e-8, abs=1e-12)
    assert found.green_fraction == k / n
    low, high = found.ci95
    assert low == pytest.approx(beta.ppf(0.025, k, n - k + 1) if k else 0.0, rel=1e-9)
    assert high == pytest.approx(beta.ppf(0.975, k + 1, n - k) if k < n else 1.0, rel=1e-9)
    assert found.z_score == pytest.approx((k - n / 4) / math.sqrt(n * 3 / 16))


@pytest.mark.parametrize(("k", "n"), [(0, 3), (25, 100), (60, 100)])
def test_the_e_value_by_integration(k: int, n: int) -> None:
    """∫ (q/γ)^k ((1−q)/(1−γ))^(n−k) dπ(q), π uniform on (γ, 1)."""
    with mpmath.workdps(30):
        gamma = mpmath.mpf("0.25")
        integral = mpmath.quad(
            lambda q: (q / gamma) ** k * ((1 - q) / (1 - gamma)) ** (n - k), mpmath.linspace(gamma, 1, 9)
        )
        expected = float(mpmath.log10(integral / (1 - gamma)))
    assert assess(counted(k, n)).log10_e == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_weights_carry_the_bound_its_theta_and_the_saddlepoint() -> None:
    one = weighted(0.25)
    found = assess(one)
    function = CumulantFunction(one.weights, 0.25)
    assert (found.log10_p, found.theta) == tuple(chernoff(function, one.statistic))
    assert found.log10_p == pytest.approx(evaluate_bound(one.weights, 0.25, one.statistic, found.theta), rel=1e-12)
    assert found.log10_p_saddlepoint == saddlepoint(function, one.statistic) < found.log10_p < -2
    # the bound from its definition, by a plain sum
    s, theta = one.statistic, found.theta
    k = sum(math.log(0.75 + 0.25 * math.exp(theta * a)) for a in one.weights)
    expected = (k - theta * (s + 0.25 * sum(one.weights))) / math.log(10)
    assert found.log10_p == pytest.approx(expected, rel=1e-9)
    assert found.z_score == pytest.approx(s / math.sqrt(0.25 * 0.75 * sum(one.weights**2)))


def test_no_better_theta_is_left() -> None:
    one = weighted(0.25)
    found = assess(one)
    others = [evaluate_bound(one.weights, 0.25, one.statistic, found.theta * f) for f in (0.5, 0.9, 0.99, 1.01, 1.1, 2)]
    assert min(others) >= found.log10_p


@pytest.mark.parametrize("level", [0.0, -0.1])
def test_p_is_one_when_s_is_not_positive(level: float) -> None:
    found = assess(weighted(level))
    assert (found.log10_p, found.theta, found.finding) == (0.0, 0.0, "inconclusive")


def test_nothing_counted_says_nothing() -> None:
    found = assess(counted(0, 0))
    assert (found.green_fraction, found.ci95, found.z_score) == (None, None, None)
    assert (found.log10_p, found.log10_p_adjusted, found.log10_e, found.finding) == (0.0, 0.0, 0.0, "inconclusive")
    empty = assess(weight_tally(make_key(22), []))
    assert (empty.log10_p, empty.z_score, empty.finding) == (0.0, None, "inconclusive")


# --- the finding ---


def smallest_detected(n: int, alpha: float) -> int:
    return next(k for k in range(n + 1) if binom.sf(k - 1, n, 0.25) <= alpha)


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 0.05])
@pytest.mark.parametrize("n", [60, 131, 132, 1000])
def test_detected_exactly_from_the_critical_count_on(n: int, alpha: float) -> None:
    k = smallest_detected(n, alpha)
    assert assess(counted(k, n), Assessment(alpha=alpha)).finding == "detected"
    below = assess(counted(k - 1, n), Assessment(alpha=alpha))
    assert below.finding in ("inconclusive", "not detected")
    assert below.log10_p_adjusted > math.log10(alpha)


@pytest.mark.parametrize(
    ("test", "effect", "needed"),
    [("text", None, 132), ("sampled", None, 7885), ("text", 0.35, 758), ("sampled", 0.5, 132), ("text", 0.26, 69_206)],
)
def test_a_negative_needs_the_planned_number_of_pairs(test: str, effect: float | None, needed: int) -> None:
    how = Assessment(effect=effect)
    assert assess(counted(needed // 4, needed - 1, test), how).finding == "inconclusive"
    assert assess(counted(needed // 4, needed, test), how).finding == "not detected"


def test_more_pairs_are_needed_at_a_smaller_alpha() -> None:
    assert assess(counted(33, 132), Assessment(alpha=1e-12)).finding == "inconclusive"
    assert assess(counted(10, 40), Assessment(alpha=0.05)).finding == "not detected"


@pytest.mark.parametrize("effect", [0.25, 0.1, 0.250001])
def test_an_effect_no_number_of_pairs_can_show_is_inconclusive(effect: float) -> None:
    assert assess(counted(2500, 10_000), Assessment(effect=effect)).finding == "inconclusive"


def test_a_weighted_test_is_never_simply_negative() -> None:
    assert assess(weighted(0.05)).finding == "inconclusive"
    assert assess(weighted(0.0)).finding == "inconclusive"
    assert assess(weighted(0.6)).finding == "detected"


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1e-6, 2.0, math.nan])
def test_alpha_is_a_level(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        Assessment(alpha=alpha)


# --- families and the key check ---


def slow_holm(p: list[float]) -> list[float]:
    """max over j ranked at or before i of min(1, (m − j + 1) p_j), in plain numbers."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    result = [0.0] * len(p)
    for place, i in enumerate(order):
        result[i] = max(min(1.0, (len(p) - j) * p[order[j]]) for j in range(place + 1))
    return result


def test_a_family_is_holm_adjusted() -> None:
    tallies = [counted(40, 100), counted(25, 100), weighted(0.2), counted(41, 100)]
    found = assess_family(tallies)
    alone = [assess(one) for one in tallies]
    assert [one.log10_p for one in found] == [one.log10_p for one in alone]
    expected = [math.log10(p) for p in slow_holm([10.0**one.log10_p for one in alone])]
    assert [one.log10_p_adjusted for one in found] == pytest.approx(expected)
    assert found[0].log10_p_adjusted > found[0].log10_p
    assert all("log10_p_adjusted: Holm over 4 tests" in one.notes for one in found)
    assert all(one.log10_p_adjusted == one.log10_p for one in alone)
    assert not any("Holm" in note for one in alone for note in one.notes)


def test_the_finding_goes_by_the_adjusted_p() -> None:
    k = smallest_detected(132, 1e-6)
    pair = [counted(k, 132), counted(k, 132)]
    assert assess(pair[0]).finding == "detected"
    assert binom.sf(k - 1, 132, 0.25) > 1e-6 / 2
    assert [one.finding for one in assess_family(pair)] == ["inconclusive", "inconclusive"]  # 132 are too few for two


def power_note(found: Evidence) -> tuple[float, int]:
    """Effect and pairs needed, from the notes."""
    (note,) = [note for note in found.notes if note.startswith(POWER_NOTE)]
    words = (
        r"a green fraction of (\S+) would have been found with probability at least 0.9 from ([\d,]+) pairs \(binomial"
    )
    effect, pairs = re.match(words, note).groups()
    return float(effect), int(pairs.replace(",", ""))


@pytest.mark.parametrize("key_check", [None, True])
@pytest.mark.parametrize("family", [1, 2, 40])
def test_a_negative_had_the_power_it_says(family: int, key_check: bool | None) -> None:
    """By scipy: from the note's pairs on, Holm's first step is met with probability .9; and not one pair earlier."""
    how = Assessment(key_check=key_check)
    found = assess_family([counted(25, 100)] * family, how)[0]
    effect, needed = power_note(found)
    assert (effect, found.finding) == (0.5, "inconclusive")
    level = 1e-6 / family * (0.99 if key_check else 1)

    def power(n: int) -> float:
        k = next(k for k in range(n + 1) if binom.sf(k - 1, n, 0.25) <= level)
        return float(binom.sf(k - 1, n, effect))

    assert power(needed - 1) < 0.9
    assert min(power(n) for n in range(needed, needed + 30)) >= 0.9
    for n, finding in ((needed - 1, "inconclusive"), (needed, "not detected")):
        again = assess_family([counted(n // 4, n)] * family, how)[0]
        assert (again.finding, power_note(again)) == (finding, (0.5, needed))


def test_what_is_found_needs_no_note_on_power_and_what_cannot_be_found_has_one() -> None:
    assert not any(note.startswith(POWER_NOTE) for note in assess(counted(60, 100)).notes)
    note = "a green fraction of 0.2 cannot be told from gamma 0.25 by any number of pairs"
    assert note in assess(counted(25, 100), Assessment(effect=0.2)).notes
    assert assess_family([counted(25, 100)] * 2, Assessment(alpha=1e-200))[0].finding == "inconclusive"


def test_a_passed_key_check_multiplies_by_its_acceptance() -> None:
    for one in (counted(45, 100), weighted(0.2)):
        found = assess(one, Assessment(key_check=True))
        assert found.log10_p_adjusted == pytest.approx(found.log10_p - math.log10(0.99), rel=1e-12)
        assert found.log10_p == assess(one).log10_p
        assert KEY_CHECK_NOTE[True] in found.notes
    assert assess(counted(0, 100), Assessment(key_check=True)).log10_p_adjusted == 0.0


def test_holm_and_key_check_together() -> None:
    tallies = [counted(45, 100), counted(40, 100)]
    plain = assess_family(tallies)
    checked = assess_family(tallies, Assessment(key_check=True))
    for one, other in zip(checked, plain, strict=True):
        assert one.log10_p_adjusted == pytest.approx(min(0.0, other.log10_p_adjusted + math.log10(1 / 0.99)))


@pytest.mark.parametrize("one", [counted(90, 132), weighted(0.9), counted(10, 5000)])
def test_nothing_is_claimed_under_a_key_that_its_check_refused(one: Any) -> None:
    plain = assess(one)
    for found in (assess(one, Assessment(key_check=False)), *assess_family([one, one], Assessment(key_check=False))):
        assert (found.finding, found.log10_p_adjusted) == ("inconclusive", None)
        assert found.log10_p == plain.log10_p
        assert KEY_CHECK_NOTE[False] in found.notes
        assert not any("Holm" in note or note.startswith(POWER_NOTE) for note in found.notes)


def test_what_is_not_adjusted_says_so() -> None:
    for tallies, how in (([counted(40, 100), weighted(0.2)], Assessment()),
                         ([counted(40, 100)], Assessment(key_check=True))):  # fmt: skip
        for found in assess_family(tallies, how):
            alone = "log10_p of the comparison tests" if found.test == "reading" else "log10_e"
            assert f"{alone}: of this test alone, not adjusted" in found.notes
    assert not any("not adjusted" in note for note in assess(counted(40, 100)).notes)


def test_the_statistic_can_be_read_to_the_last_digit() -> None:
    one = weighted(0.25)
    found = assess(one)
    (note,) = [note for note in found.notes if note.startswith("S = ")]
    s = float(note.split()[2].rstrip(","))
    assert s == one.statistic
    assert evaluate_bound(one.weights, 0.25, s, found.theta) == pytest.approx(found.log10_p, rel=1e-12)
    assert not any(note.startswith("S = ") for note in assess(one, Assessment(probes_marked=True)).notes)


def test_each_of_a_family_keeps_its_own_notes_and_lineup() -> None:
    tallies = [counted(45, 100), counted(25, 100)]
    lines = [lineup(tallies[0], 3), None]
    found = assess_family(tallies, lineups=lines, notes=[["a"], ["b"]])
    assert [one.lineup for one in found] == lines
    assert ["a" in one.notes for one in found] == [True, False]
    assert ["b" in one.notes for one in found] == [False, True]
    assert assess_family([]) == []


def test_whoever_reads_p_is_told_who_must_not_have_chosen_the_probes() -> None:
    fed, text = replace(counted(45, 100, "sampled"), probes_log10_p=-0.2), counted(45, 100)
    assert [PROBES_NOTE in assess(one).notes for one in (fed, text)] == [True, False]
    assert PROBES_NOTE not in assess(replace(fed, probes_log10_p=-3.5)).notes


# --- an e-process ---


def processed(
    k: int, n: int, *, maximum: int, alpha: float = 1e-6, highest: float = 0.0, stopped: Any = "maximum"
) -> SequentialTally:
    """k green of n pairs at the end, with this largest log10 e-value on the way, made up."""
    one = counted(k, n, "sampled")
    values = {name: getattr(one, name) for name in CountTally.__dataclass_fields__}
    return SequentialTally(
        **values,
        colours=np.arange(n) < k,
        alpha=alpha,
        maximum_pairs=maximum,
        n_answers=7,
        log10_e=min(highest, 1.5),
        log10_e_max=highest,
        log10_e_whole=highest,
        stopped=stopped,
    )


def test_an_e_process_has_its_own_p_and_no_fixed_n_tail() -> None:
    found = assess(processed(90, 132, maximum=212, highest=6.4, stopped="early"), lineup=None).to_dict()
    assert list(found) == [*FIELDS, "sequential"]
    assert found["sequential"] == {"alpha": 1e-6, "maximum_pairs": 212, "n_answers": 7, "stopped": "early"}
    assert (found["log10_p"], found["log10_p_adjusted"], found["log10_e"]) == (-6.4, -6.4, 1.5)
    assert binom.logsf(89, 132, 0.25) / math.log(10) < -20  # what a fixed number of pairs would have given
    assert (found["n_green"], found["green_fraction"]) == (90, 90 / 132)
    assert {name for name in FIELDS if found[name] is None} == {"ci95", "z_score", "theta", "log10_p_saddlepoint"}
    assert SEQUENTIAL_NOTE in found["notes"]
    assert found["finding"] == "detected"


def test_a_process_that_crossed_nothing_has_p_one() -> None:
    found = assess(processed(0, 0, maximum=212, stopped="exhausted"))
    assert (found.log10_p, found.green_fraction, found.finding) == (0.0, None, "inconclusive")
    assert strict_json(found.to_json())


@pytest.mark.parametrize(
    ("stopped", "maximum", "finding", "words"),
    [
        ("maximum", 212, "not detected", "a green fraction of 0.5 would have been found with probability at least 0.9"),
        ("exhausted", 212, "inconclusive", "ended before the planned maximum of 212 pairs"),
        ("maximum", 140, "inconclusive", "within the planned maximum of 140 pairs a green fraction of 0.5 would have"),
    ],
)
def test_a_negative_of_a_process_needs_its_whole_way_and_the_power(
    stopped: str, maximum: int, finding: str, words: str
) -> None:
    found = assess(processed(30, maximum, maximum=maximum, stopped=stopped), Assessment(effect=0.5))
    assert found.finding == finding
    assert any(words in note for note in found.notes)


def test_a_process_stops_for_the_level_at_which_it_is_judged() -> None:
    """With a key check at .99 alpha: then the adjusted p is small enough at the stop; at alpha it would not be."""
    how = Assessment(key_check=True)
    assert how.level == 1e-6 * 0.99
    assert Assessment().level == Assessment(key_check=False).level == 1e-6
    for alpha, finding in ((how.level, "detected"), (1e-6, "inconclusive")):
        found = assess(processed(90, 132, maximum=212, alpha=alpha, highest=-math.log10(alpha), stopped="early"), how)
        assert found.finding == finding
    assert any("stops at level 1e-06, too early to be judged at 9.9e-07" in note for note in found.notes)


def test_the_line_up_of_a_process_says_what_its_rank_is_worth() -> None:
    one = processed(30, 132, maximum=132)
    assert SEQUENTIAL_LINEUP_NOTE in assess(one, lineup=lineup(one, 9)).notes
    assert SEQUENTIAL_LINEUP_NOTE not in assess(one).notes


# --- marked probes ---

P_VALUES = ("log10_p", "log10_p_adjusted", "log10_e", "log10_p_saddlepoint", "theta", "z_score")


@pytest.mark.parametrize("one", [counted(90, 132), weighted(0.9)])
def test_marked_probes_claim_nothing(one: Any) -> None:
    assert assess(one).finding == "detected"
    how = Assessment(probes_marked=True, key_check=True)
    for found in assess_family([one, one], how, lineups=[lineup(one, 9)] * 2):
        assert all(getattr(found, name) is None for name in P_VALUES)
        assert found.comparisons is None
        assert found.lineup is None
        assert (found.finding, found.status) == ("inconclusive", "exploratory")
        assert any("no p is claimed" in note for note in found.notes)
        assert not any("log10_p_adjusted" in note for note in found.notes)
        shown = found.to_dict()
        assert [name for name in FIELDS if name not in shown] == []
        assert "lineup" not in shown


def test_evidence_is_frozen() -> None:
    found = assess(counted(25, 100))
    assert isinstance(found, Evidence)
    with pytest.raises(AttributeError):
        found.log10_p = -100.0  # type: ignore[misc]
