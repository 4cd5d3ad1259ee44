"""A study's file: what it may say, what comes of it, and that nonsense is refused in one line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from distill_sim.condition import Condition
from distill_sim.study.file import BASE, Repeats, Study, parse_study, read_study
from distill_sim.study.scales import NANO, SMOLLM2
from tests.watermark.keys.helpers import assert_one_line
from watermark.errors import InputError

CONTROLS = ["source=unmarked", "source=human", "source=another-owner"]


def parsed(text: str) -> Study:
    return parse_study(tomllib.loads(text))


def test_an_empty_file_is_the_scales_base_and_its_controls() -> None:
    study = parsed("")
    assert study.scale is NANO
    assert list(study.conditions) == [BASE, *CONTROLS]
    assert study.base == NANO.defaults == Condition()
    assert (study.repeats_of_base, study.fresh_keys, study.series) == (Repeats(3, 3), 1000, ())
    assert set(study.repeats.values()) == {Repeats(3, 3)}


def test_the_other_scale_has_its_own_base() -> None:
    study = parsed("scale = 'smollm2'")
    assert study.scale is SMOLLM2
    assert study.base == SMOLLM2.defaults
    assert all(condition.domains == ("questions",) for condition in study.conditions.values())


def test_the_base_differs_from_the_scales_in_what_is_said() -> None:
    study = parsed("[base]\nanswers = 96\ndelta = 3\nafter = 'int8'")
    assert study.base == Condition(answers=96, delta=3.0, after=("int8",))
    assert study.conditions["source=human"] == Condition(answers=96, delta=3.0, after=("int8",), source="human")


@pytest.mark.parametrize(
    "base",
    [
        "share = 0.5",
        "accounts = 3",
        "loss = 'logits'",
        "attack = ['shuffle']",
        "source = 'licensed'",
        "base = 'smaller'",
        "base = 'other-tokenizer'",
        "method = 'fresh'",
        "after = ['neutralise:2']",
        "source = 'imitated'",
        "source = 'unmarked'",
    ],
)
def test_whatever_the_base_is_its_controls_are_there(base: str) -> None:
    study = parsed(f"[base]\n{base}")
    sources = [condition.source for condition in study.conditions.values()]
    assert {"unmarked", "human", "another-owner"} <= set(sources)
    for name, condition in study.conditions.items():
        if name != BASE:
            assert (condition.share, condition.accounts, condition.attack) == (1.0, 1, ())
            assert condition.method == study.base.method
            assert condition.after == study.base.after


def test_a_list_makes_a_series_and_the_base_stands_in_it() -> None:
    study = parsed("[[vary]]\nname = 'dose'\nanswers = [24, 192, 384]")
    (series,) = study.series
    assert (series.name, series.vary) == ("dose", ("answers",))
    assert series.conditions == ("answers=24", BASE, "answers=384")
    assert list(study.conditions) == [BASE, *CONTROLS, "answers=24", "answers=384"]
    assert study.conditions["answers=24"] == Condition(answers=24)


def test_several_lists_make_a_grid() -> None:
    study = parsed("[[vary]]\ndelta = [1, 2, 3]\ncontext_width = [0, 1]")
    (series,) = study.series
    assert series.name == "delta, context_width"
    assert series.vary == ("delta", "context_width")
    assert series.conditions == (
        "delta=1, context_width=0", "delta=1", "context_width=0", BASE, "delta=3, context_width=0", "delta=3",
    )  # fmt: skip
    grid = {(study.conditions[name].delta, study.conditions[name].context_width) for name in series.conditions}
    assert grid == {(d, h) for d in (1.0, 2.0, 3.0) for h in (0, 1)}


def test_lists_of_steps_and_single_ones() -> None:
    study = parsed("[[vary]]\nafter = ['int8', ['prune:0.3', 'heal:96'], []]\n[[vary]]\ndomains = ['novel']")
    assert study.series[0].conditions == ("after=int8", "after=prune:0.3+heal:96", BASE)
    assert study.conditions["after=prune:0.3+heal:96"].after == ("prune:0.3", "heal:96")
    assert study.conditions["domains=novel"].domains == ("novel",)


def test_what_the_base_has_and_a_condition_lacks_is_named_too() -> None:
    study = parsed("[base]\nafter = ['int8']\n[[vary]]\nafter = [[], 'int4']")
    assert study.series[0].conditions == ("after=none", "after=int4")
    assert study.conditions["after=none"].after == ()


def test_the_same_condition_in_two_series_is_one() -> None:
    study = parsed("[[vary]]\nanswers = [24, 24]\n[[vary]]\nanswers = [24, 48]")
    assert [one.conditions for one in study.series] == [("answers=24",), ("answers=24", "answers=48")]
    assert list(study.conditions) == [BASE, *CONTROLS, "answers=24", "answers=48"]


def test_two_conditions_never_have_one_name() -> None:
    study = parsed("[[vary]]\nshare = [0.12345671, 0.12345672]\n[[vary]]\nlearning_rate = [0.00100000001, 0.001]")
    assert len(study.series[0].conditions) == 2
    assert study.series[1].conditions[1] == BASE
    shares = [study.conditions[name].share for name in study.series[0].conditions]
    assert shares == [0.12345671, 0.12345672]


def test_a_varied_source_joins_its_control() -> None:
    study = parsed("[[vary]]\nsource = ['licensed', 'human']")
    assert study.series[0].conditions == ("source=licensed", "source=human")
    assert list(study.conditions) == [BASE, *CONTROLS, "source=licensed"]


# --- repeats ---


def test_a_series_may_have_other_repeats() -> None:
    study = parsed("seeds = 2\nkeys = 4\n[[vary]]\nanswers = [24, 192]\nseeds = 1\n[[vary]]\ndelta = [3]\nkeys = 9")
    assert study.repeats_of_base == Repeats(2, 4)
    assert study.repeats["answers=24"] == Repeats(1, 4)
    assert study.repeats["delta=3"] == Repeats(2, 9)
    assert study.repeats[BASE] == Repeats(2, 4)  # fewer in a series takes nothing away
    assert study.repeats["source=human"] == Repeats(2, 4)


def test_a_condition_of_two_series_has_the_larger_number_of_both() -> None:
    twice = "[[vary]]\nanswers = [24]\nseeds = 5\nkeys = 1\n[[vary]]\nanswers = [24]\nseeds = 1\nkeys = 3"
    study = parsed(f"seeds = 2\nkeys = 2\n{twice}")
    assert study.repeats["answers=24"] == Repeats(5, 3)


# --- files ---


def test_a_file_with_everything(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        """
        title = "How the dose decides"
        description = "γ stays"
        scale = "nano"
        seeds = 1
        keys = 2
        fresh_keys = 50

        [base]
        answers = 48

        [[vary]]
        name = "dose"
        answers = [24, 48]
        """,
        encoding="utf-8",
    )
    study = read_study(path)
    assert (study.title, study.description, study.fresh_keys) == ("How the dose decides", "γ stays", 50)
    assert study.series[0].conditions == ("answers=24", BASE)
    assert study == read_study(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"scale = ", "is not a study"),
        (b"\xff\xfe", "is not a study"),
        (b"a = 1\na = 2", "is not a study"),
        (b"keys = 0", "keys: 0 is not a whole number above 0"),
    ],
)
def test_a_file_that_is_none(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        read_study(path)
    assert str(caught.value).startswith(str(path))
    assert_one_line(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; give a study's TOML file"):
        read_study(tmp_path / "missing.toml")
    with pytest.raises(InputError, match="is not a study"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour = 'red'", "a study has no 'colour'; it has base, "),
        ("scale = 'mega'", "scale: 'mega' is none of nano, smollm2"),
        ("scale = ['nano']", "scale: ['nano'] is none of nano, smollm2"),
        ("seeds = 0", "seeds: 0 is not a whole number above 0"),
        ("keys = true", "keys: True is not"),
        ("keys = 2.5", "keys: 2.5 is not"),
        ("fresh_keys = -1", "fresh_keys: -1 is not"),
        ("fresh_keys = 'many'", "fresh_keys: 'many' is not"),
        ("base = 3", "base: write it as a table"),
        ("[base]\ndose = 3", "base: 'dose' is no field"),
        ("[base]\nanswers = 'many'", "base: answers: 'many' is not a whole number"),
        ("[base]\nsource = 'thief'", "base: source: 'thief' is none of"),
        ("[base]\ndomains = ['poems']", "domains: scale nano has speeches, novel, not 'poems'"),
        ("[[vary]]\ndomains = ['questions']", "domains: scale nano has speeches, novel, not 'questions'"),
        ("vary = 5", "vary: write [[vary]], one table a series"),
        ("vary = [5]", "vary: write [[vary]]"),
        ("[vary]\nanswers = [1]", "vary: write [[vary]]"),
        ("[[vary]]\nname = 'x'", "vary 'x': it varies nothing"),
        ("[[vary]]\nanswers = 24", "vary 1: answers needs a list of values, not 24"),
        ("[[vary]]\n[[vary]]\nanswers = []", "vary 1: it varies nothing"),
        ("[[vary]]\nanswers = []", "vary 1: answers needs a list of values, not []"),
        ("[[vary]]\nname = 'x'\ndose = [1]", "vary 'x': 'dose' is no field"),
        ("[[vary]]\nname = 'x'\nanswers = [0]", "vary 'x': answers: 0 is not at least 1"),
        ('[[vary]]\nname = "a\\nb"\nanswers = [0]', "vary 'a\\nb': answers: 0"),
        ("[[vary]]\nafter = ['prune']", "vary 1: after: write 'prune:0.5'"),
        ('[[vary]]\nafter = ["prune:x\\ny"]', "vary 1: after: 'prune:x\\ny' needs a share"),
        ("[[vary]]\nmethod = ['fresh']\nafter = ['merge:0.5']", "vary 1: after merge"),
        ("[[vary]]\nanswers = [24]\nseeds = 0", "vary 1: seeds: 0 is not"),
        ("[[vary]]\nname = 'x'\nanswers = [24]\nkeys = 'two'", "vary 'x': keys: 'two' is not"),
        ("[[vary]]\nmethod = ['fresh']\nbase = ['smaller']", "method fresh"),
    ],
)
def test_nonsense_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        parsed(text)
    assert str(caught.value).startswith(says)
    assert_one_line(caught.value)


def test_any_content_is_a_study_or_refused() -> None:
    """Every word with a value of every kind: never anything but an InputError."""
    values: list[Any] = [None, True, 1, 1.5, "x", [], [1], ["x"], [[]], {}, {"x": 1}, [{}], [{"answers": [None]}]]
    for name in ("title", "description", "scale", "seeds", "keys", "fresh_keys", "disjoint", "base", "vary"):
        for value in values:
            try:
                parse_study({name: value})
            except InputError as error:
                assert_one_line(error)


def test_the_shipped_studies_are_read() -> None:
    files = sorted((Path(__file__).parents[3] / "benchmarks" / "studies").glob("*.toml"))
    for path in files:
        assert read_study(path).series


def test_a_profile_stands_for_the_numbers_of_the_mark() -> None:
    named = parsed('[base]\nprofile = "discreet"\n[[vary]]\nname = "profiles"\nprofile = ["trace", "discreet"]')
    assert named.base == Condition(delta=1.0, gamma=0.25, context_width=2)
    (series,) = named.series
    assert series.vary == ("delta", "gamma", "context_width")
    assert series.conditions == ("delta=2, context_width=1", BASE)
    assert named.conditions["delta=2, context_width=1"] == Condition(delta=2.0, gamma=0.25, context_width=1)


def test_a_profile_may_be_one_side_of_a_grid() -> None:
    series = parsed('[[vary]]\nprofile = ["trace", "balanced"]\nanswers = [24, 48]').series[0]
    assert series.vary == ("delta", "gamma", "context_width", "answers")
    assert len(series.conditions) == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[base]\nprofile = "loud"', "'loud' is none of trace, balanced, discreet"),
        ("[base]\nprofile = 2", "2 is none of trace"),
        ("[base]\nprofile = []", "is none of trace"),
        ('[base]\nprofile = "trace"\ndelta = 3', "profile and delta"),
        ('[[vary]]\nprofile = ["trace"]\ngamma = [0.5]', "profile and gamma"),
    ],
)
def test_a_profile_that_says_nothing_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        parsed(text)
    assert_one_line(refused)
