"""What a study varies: every field typed and in range, every combination one that can be carried out."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from distill_sim.condition import (
    AFTERWARDS,
    ATTACKS,
    SOURCES,
    WITHOUT_AMOUNT,
    Condition,
    Step,
    documentation,
    joined,
)
from tests.watermark.keys.helpers import assert_one_line
from watermark.errors import InputError

# --- steps ---


@pytest.mark.parametrize(
    ("text", "name", "amount"),
    [
        ("int8", "int8", None),
        ("int4", "int4", None),
        ("prune:0.3", "prune", 0.3),
        ("merge:0.25", "merge", 0.25),
        ("heal:96", "heal", 96.0),
        ("clean:1e4", "clean", 10_000.0),
        ("distil:12", "distil", 12.0),
        ("neutralise:2.5", "neutralise", 2.5),
    ],
)
def test_a_step_is_read_and_written_as_it_was(text: str, name: str, amount: float | None) -> None:
    step = Step.parse(text, AFTERWARDS, "after")
    assert step == Step(name, amount)
    assert Step.parse(str(step), AFTERWARDS, "after") == step


@pytest.mark.parametrize("amount", ["1234567", "1000001"])
def test_a_large_number_survives_being_written(amount: str) -> None:
    step = Step.parse(f"clean:{amount}", AFTERWARDS, "after")
    assert str(step) == f"clean:{amount}"


@pytest.mark.parametrize("share", ["0.12345678", "0.999999999"])
def test_a_fine_share_survives_being_written(share: str) -> None:
    step = Step.parse(f"delete:{share}", ATTACKS, "attack")
    assert Step.parse(str(step), ATTACKS, "attack").amount == float(share)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("int2", "'int2' is none of int8, int4, prune"),
        ("", "'' is none of"),
        ("int8:4", "write 'int8', not 'int8:4'"),
        ("int8:", "write 'int8', not 'int8:'"),
        ("prune", "write 'prune:0.5', not 'prune'"),
        ("heal", "write 'heal:1000', not 'heal'"),
        ("prune:0", "a share between 0 and 1"),
        ("prune:1", "a share between 0 and 1"),
        ("prune:nan", "a share between 0 and 1"),
        ("merge:some", "a share between 0 and 1"),
        ("heal:0", "a whole number"),
        ("heal:1.5", "a whole number"),
        ("clean:inf", "a whole number"),
        ("distil:-3", "a whole number"),
        ("neutralise:0", "above 0"),
        ("neutralise:101", "above 0"),
        ("prune:0.3\nhello", "a share between 0 and 1"),
    ],
)
def test_a_step_that_cannot_be_meant(text: str, says: str) -> None:
    with pytest.raises(InputError, match=r"^after: ") as caught:
        Step.parse(text, AFTERWARDS, "after")
    assert says in str(caught.value)
    assert_one_line(caught.value)


def test_what_a_step_needs_is_known_of_every_step() -> None:
    for known in (ATTACKS, AFTERWARDS):
        for name in known:
            text = name if name in WITHOUT_AMOUNT else f"{name}:{'10' if name in ('heal', 'clean', 'distil') else 0.5}"
            assert str(Step.parse(text, known, "x")) == text


# --- fields ---


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("source", "thief", "source: 'thief' is none of account, licensed"),
        ("base", "larger", "base: 'larger' is none of"),
        ("method", "prompt", "method: 'prompt' is none of full"),
        ("loss", "mse", "loss: 'mse' is none of"),
        ("answers", 0, "answers: 0 is not at least 1"),
        ("epochs", -1, "epochs: -1 is not at least 1"),
        ("lora_rank", 0, "lora_rank: 0"),
        ("probe_tokens", 0, "probe_tokens: 0"),
        ("sampled_tokens", 0, "sampled_tokens: 0"),
        ("share", 1.01, "share: 1.01 is out of range"),
        ("share", -0.1, "share: -0.1 is out of range"),
        ("top_p", 0, "top_p: 0.0 is out of range"),
        ("temperature", 0.0, "temperature: 0.0 is out of range"),
        ("delta", 0, "delta: 0.0 is out of range"),
        ("gamma", 1, "gamma: 1.0 is out of range"),
        ("context_width", 9, "context_width: 9 is out of range"),
        ("context_width", -1, "context_width: -1 is out of range"),
        ("learning_rate", 1.0, "learning_rate: 1.0 is out of range"),
        ("answers", 2.0, "answers: 2.0 is not a whole number"),
        ("answers", True, "answers: True is not a whole number"),
        ("delta", True, "delta: True is not a number"),
        ("delta", math.inf, "delta: inf is not a number"),
        ("delta", math.nan, "delta: nan is not a number"),
        ("delta", "2", "delta: '2' is not a number"),
        ("source", 3, "source: 3 is not a word in quotes"),
        ("after", "int8", "after: 'int8' is not a list of words"),
        ("after", [8], r"after: [8] is not a list of words"),
        ("after", ["int2"], "after: 'int2' is none of"),
        ("attack", ["int8"], "attack: 'int8' is none of"),
    ],
)
def test_a_value_that_cannot_be_meant(field: str, value: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        Condition(**{field: value})
    assert str(caught.value).startswith(says)
    assert_one_line(caught.value)


def test_whole_numbers_are_taken_for_numbers_and_lists_for_tuples() -> None:
    condition = Condition(delta=3, after=["int8"])  # type: ignore[arg-type]
    assert condition == Condition(delta=3.0, after=("int8",))
    assert isinstance(condition.delta, float)
    assert hash(condition) == hash(Condition(delta=3.0, after=("int8",)))


def test_the_edges_are_inside() -> None:
    Condition(share=0, top_p=1, temperature=100, delta=100, context_width=0)
    Condition(context_width=8, answers=1, epochs=1)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"loss": "logits", "attack": ["shuffle"]}, "loss logits"),
        ({"loss": "logits", "source": "human"}, "loss logits"),
        ({"loss": "logits", "source": "another-owner"}, "loss logits"),
        ({"loss": "logits", "base": "other-tokenizer"}, "loss logits"),
        ({"loss": "logits", "accounts": 2}, "loss logits"),
        ({"loss": "logits", "share": 0.5}, "loss logits"),
        ({"source": "unmarked", "share": 0.5}, "source unmarked"),
        ({"source": "human", "accounts": 2}, "source human"),
        ({"source": "imitated", "share": 0.5}, "source imitated"),
        ({"source": "imitated", "accounts": 2}, "source imitated"),
        ({"after": ["neutralise:2", "int8"]}, "after neutralise: it changes"),
        ({"base": "other-tokenizer", "after": ["neutralise:2"]}, "after neutralise or distil"),
        ({"base": "other-tokenizer", "after": ["distil:9"]}, "after neutralise or distil"),
        ({"method": "fresh", "after": ["merge:0.5"]}, "after merge"),
    ],
)
def test_a_combination_that_cannot_be_carried_out(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}") as caught:
        Condition().with_values(values)
    assert_one_line(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"loss": "logits"},
        {"loss": "logits", "source": "unmarked"},
        {"loss": "logits", "source": "licensed", "method": "lora"},
        {"after": ["prune:0.3", "heal:96", "int8", "neutralise:2.5"]},
        {"base": "other-tokenizer", "after": ["clean:100", "int4"]},
        {"accounts": 3, "share": 0.25, "attack": ["synonyms:0.2", "shuffle"]},
        {"source": "imitated"},
    ],
)
def test_a_combination_that_can(values: dict[str, Any]) -> None:
    condition = Condition().with_values(values)
    assert [str(step) for step in (*condition.attacks, *condition.afterwards)] == [
        *values.get("attack", []),
        *values.get("after", []),
    ]


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(InputError, match="'dose' is no field of a condition; `taggant simulate --fields` lists them"):
        Condition().with_values({"dose": 3})


@pytest.mark.parametrize("source", SOURCES)
def test_who_has_met_the_owners_mark(source: str) -> None:
    assert Condition(source=source).exposed == (source in ("account", "licensed"))


def test_a_share_of_zero_is_no_exposure() -> None:
    assert not Condition(share=0.0).exposed


def test_a_condition_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Condition().delta = 3.0  # type: ignore[misc]


def test_every_field_is_documented_where_it_is_defined() -> None:
    lines = documentation()
    assert [name for name, _, _ in lines] == [one.name for one in fields(Condition)]
    for name, says, default in lines:
        assert says.strip(), name
        assert "\n" not in says
        assert default == repr(getattr(Condition(), name))
    said = {name: says for name, says, _ in lines}
    assert all(source in said["source"] for source in SOURCES)
    assert all(step in said["after"] for step in AFTERWARDS)
    assert all(step in said["attack"] for step in ATTACKS)


def test_fine_tunings_on_clean_text_that_follow_each_other_are_one() -> None:
    texts = ["clean:2500", "clean:2500", "int8", "clean:100", "clean:400"]
    steps = joined([Step.parse(text, AFTERWARDS, "after") for text in texts])
    assert [str(step) for step in steps] == ["clean:5000", "int8", "clean:500"]
    assert joined([]) == ()
