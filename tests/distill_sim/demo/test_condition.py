"""What a condition amounts to: its budget, its stages, and what differs between student and control."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detect.workers import resolve
from distill_sim.demo.condition import Condition, stages
from distill_sim.demo.show import COSTS, TITLES
from distill_sim.pipeline import Pipeline, Stage
from distill_sim.stages import built_in_prompts
from tests.detect.material import make_key
from tests.distill_sim.small import STAGES
from watermark.errors import InputError
from watermark.keys import Key

DEFAULT = Condition()
KEY = make_key(1, special=(0, 1, 2))
ROOT = Path("/somewhere")


def plan(condition: Condition = DEFAULT, key: Key = KEY, place: str = "/a", model_id: str = "m1") -> list[Stage]:
    return stages(condition, key, key_file=Path(place) / "k.key", model=Path(place) / "model", model_id=model_id)


def named(**arguments: Any) -> dict[str, Stage]:
    return {stage.name: stage for stage in plan(**arguments)}


def identities(**arguments: Any) -> dict[str, str]:
    return Pipeline(ROOT, plan(**arguments)).identities


def changed(**arguments: Any) -> set[str]:
    before, after = identities(), identities(**arguments)
    return {name for name in before if before[name] != after[name]}


# --- the budget of issue 2 ---


def test_the_demo_keeps_its_budget() -> None:
    assert 0 < len(DEFAULT.prompts) * DEFAULT.samples * DEFAULT.answer_tokens <= 10_000
    for name in ("marked", "unmarked"):
        settings = named()[name].settings
        tokens = len(settings["prompts"]) * settings["samples"] * settings["sampling"]["max_new_tokens"]
        assert 0 < tokens <= 10_000
    assert DEFAULT.recipe.epochs in (1, 2)
    assert DEFAULT.decoys == 1000


def test_answers_are_drawn_as_the_model_gives_them() -> None:
    from watermark.engines.answers import Sampling

    assert Sampling(**DEFAULT.sampling) == Sampling(max_new_tokens=DEFAULT.answer_tokens)
    assert (Sampling().temperature, Sampling().top_k, Sampling().top_p) == (1.0, 0, 1.0)


def test_probes_are_other_prompts_than_those_trained_on() -> None:
    assert DEFAULT.prompts
    assert DEFAULT.probe_prompts
    together = DEFAULT.prompts + DEFAULT.probe_prompts
    assert len({prompt.casefold().strip(" ?.!") for prompt in together}) == len(together)
    assert set(together) <= set(built_in_prompts())


def test_the_built_in_prompts_are_plain_questions_in_english() -> None:
    prompts = built_in_prompts()
    assert len(prompts) >= 100
    for prompt in prompts:
        assert prompt == prompt.strip()
        assert prompt.isascii()
        assert 10 < len(prompt) < 200
        assert prompt[0].isupper()
        assert prompt[-1] in "?."


# --- the stages ---


def test_the_stages_their_functions_and_their_titles() -> None:
    assert tuple(stage.name for stage in plan()) == STAGES
    assert set(TITLES) == set(COSTS) == set(STAGES)
    for stage in plan():
        assert callable(resolve(stage.function))


def test_student_and_control_differ_only_in_their_corpus() -> None:
    stage = named()
    student, control = stage["student"], stage["control"]
    assert student.needs == ("marked",)
    assert control.needs == ("unmarked",)
    assert {**student.settings, "corpus": "unmarked"} == control.settings
    assert (student.function, student.private) == (control.function, control.private)
    for test in ("reading", "sampled"):
        one, other = stage[f"{test}-student"], stage[f"{test}-control"]
        assert {**one.settings, "questioned": "x"} == {**other.settings, "questioned": "x"}
        assert (one.function, one.private) == (other.function, other.private)
        assert set(one.needs) ^ set(other.needs) == {"student", "control"}


def test_the_two_corpora_differ_only_in_the_mark_and_the_draw() -> None:
    marked, unmarked = named()["marked"], named()["unmarked"]
    differing = {name for name in marked.settings if marked.settings[name] != unmarked.settings[name]}
    assert differing == {"seed", "key_id", "delta"}
    assert (marked.settings["key_id"], marked.settings["delta"]) == (KEY.key_id, KEY.delta)
    assert (unmarked.settings["key_id"], unmarked.settings["delta"]) == (None, None)
    assert "key" not in unmarked.private
    seeds = [named()[name].settings["seed"] for name in ("marked", "unmarked", "probes", "sampled-student")]
    assert len(set(seeds)) == 4


def test_only_marking_and_judging_see_the_key() -> None:
    assert {name for name, stage in named().items() if "key" in stage.private} == {"marked", "judged"}
    probes = named()["probes"]
    assert probes.settings["key_id"] is None
    assert probes.settings["prompts"] == list(DEFAULT.probe_prompts)


def test_another_key_shares_what_no_key_touched() -> None:
    other = make_key(2, special=(0, 1, 2))
    assert other.key_id != KEY.key_id
    assert changed(key=other) == {"marked", "student", "reading-student", "sampled-student", "fluency", "judged"}
    assert Pipeline(ROOT, plan(key=other)).directory("control") == Pipeline(ROOT, plan()).directory("control")


def test_another_context_width_is_read_anew() -> None:
    assert changed(key=make_key(1, h=2, special=(0, 1, 2))) >= {"reading-control", "reading-student"}
    assert "control" not in changed(key=make_key(1, h=2, special=(0, 1, 2)))


def test_paths_do_not_matter_and_the_model_does() -> None:
    assert changed(place="/another") == set()
    assert changed(model_id="m2") == set(STAGES)


STUDENTS = {name for name in STAGES if "student" in name or "control" in name}


@pytest.mark.parametrize(
    ("change", "stages_changed"),
    [
        ({"samples": 3}, set(STAGES) - {"probes"}),
        ({"prompts": DEFAULT.prompts[1:]}, set(STAGES) - {"probes"}),
        ({"probe_prompts": DEFAULT.probe_prompts[1:]},
         {"probes", "judged"} | {n for n in STAGES if n.startswith(("reading", "sampled"))}),
        ({"recipe": replace(DEFAULT.recipe, epochs=2)}, STUDENTS | {"judged"}),
        ({"top": 64}, {"reading-student", "reading-control", "judged"}),
        ({"sampled_tokens": 10}, {"sampled-student", "sampled-control", "judged"}),
        ({"fluency_tokens": 10}, {"fluency"}),
        ({"decoys": 10}, {"judged"}),
        ({"seed": 1}, set(STAGES)),
    ],
)  # fmt: skip
def test_what_a_change_of_the_condition_changes(change: dict[str, Any], stages_changed: set[str]) -> None:
    assert changed(condition=replace(DEFAULT, **change)) == stages_changed


def test_seeds_of_conditions_do_not_meet() -> None:
    seeds = [
        stage.settings["seed"]
        for seed in range(30)
        for stage in plan(condition=replace(DEFAULT, seed=seed))
        if "seed" in stage.settings and stage.name != "sampled-control"  # asked as the student is
    ]
    assert len(seeds) == len(set(seeds)) == 30 * 4


def test_a_key_without_tokenizer_is_refused() -> None:
    with pytest.raises(InputError, match="names no tokenizer") as caught:
        plan(key=make_key(1))
    assert make_key(1).short_id in str(caught.value)
