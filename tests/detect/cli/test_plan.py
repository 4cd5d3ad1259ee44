"""`plan`: the design's figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy.stats import binom

from detect.cli.plan import EFFECTS
from tests.detect.cli.helpers import Cli, save_key


def test_the_designs_table(cli: Cli) -> None:
    plan = cli("plan", "--alpha", "1e-6", "--power", ".9", "--json").json()
    assert list(plan) == ["alpha", "power", "gamma", "plan"]
    assert (plan["alpha"], plan["power"], plan["gamma"]) == (1e-6, 0.9, 0.25)
    needed = {row["effect"]: row["pairs_needed"] for row in plan["plan"]}
    assert list(needed) == list(EFFECTS)
    assert (needed[0.50], needed[0.35]) == (132, 758)
    assert round(needed[0.28], -2) == 7_900
    assert round(needed[0.26], -2) == 69_200
    for row in plan["plan"]:
        assert 1.6 * row["pairs_needed"] <= row["pairs_maximum_sequential"] < 1.6 * row["pairs_needed"] + 1


@pytest.mark.parametrize(("effect", "n"), [(0.5, 132), (0.35, 758)])
def test_power_is_there_and_not_one_pair_earlier(effect: float, n: int) -> None:
    """By scipy's binomial."""

    def power(pairs: int) -> float:
        critical = int(binom.isf(1e-6, pairs, 0.25)) + 1
        return float(binom.sf(critical - 1, pairs, effect))

    assert power(n - 1) < 0.9
    assert min(power(pairs) for pairs in range(n, n + 60)) >= 0.9


def test_the_table_for_people(cli: Cli) -> None:
    result = cli("plan")
    assert (result.code, result.err) == (0, "")
    rows = [line.split() for line in result.out.splitlines()]
    assert rows[0] == ["alpha", "1e-06,", "power", "0.9,", "gamma", "0.25"]
    assert ["0.5", "132", "212"] in rows
    assert ["0.35", "758", "1,213"] in rows
    assert "No command of this version stops early" in result.out
    assert "0.9 distinct" not in result.out


def test_options(cli: Cli, tmp_path: Path) -> None:
    one = cli("plan", "--effect", "0.4", "--effect", "0.3", "--gamma", "0.2", "--alpha", "0.01", "--json").json()
    assert [row["effect"] for row in one["plan"]] == [0.4, 0.3]
    assert (one["gamma"], one["alpha"]) == (0.2, 0.01)
    key = save_key(tmp_path / "k", bare=True)
    assert cli("plan", "--key", key, "--json").json()["gamma"] == 0.25
    assert [row["effect"] for row in cli("plan", "--gamma", "0.3", "--json").json()["plan"]] == [0.5, 0.35]


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (["--gamma", "0.25", "--key", "k"], ["not both"]),
        (["--effect", "0.25"], ["--effect 0.25 must be above gamma 0.25"]),
        (["--effect", "0.5", "--effect", "0.1"], ["--effect 0.1 must be above"]),
        (["--gamma", "0.5"], ["give --effect: it must be above gamma 0.5"]),
        (["--effect", "1"], ["--effect"]),
        (["--alpha", "0"], ["--alpha"]),
        (["--alpha", "1e-201"], ["--alpha"]),
        (["--power", "nan"], ["--power"]),
        (["--gamma", "nan"], ["--gamma"]),
    ],
    ids=str,
)
def test_bad_options(options: list[str], fragments: list[str], cli: Cli) -> None:
    cli("plan", *options).refused(2, *fragments, "taggant plan --help")


def test_what_is_out_of_reach_says_so(cli: Cli) -> None:
    cli("plan", "--effect", "0.2500001").refused(3, "more than 2000000000 pairs")


def test_json_is_one_object(cli: Cli) -> None:
    assert len(json.loads(cli("plan", "--json").out)["plan"]) == 4
