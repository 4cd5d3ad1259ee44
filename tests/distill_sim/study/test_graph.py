"""From conditions to stages: what two cells share is made once, and a change makes anew only what depends on it."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detect.workers import resolve
from distill_sim.condition import CONTROLS, Condition
from distill_sim.pipeline import Pipeline, Stage
from distill_sim.study import examiners
from distill_sim.study.cells import Builder, Cell
from distill_sim.study.graph import Graph, number
from distill_sim.study.keys import StudyKeys
from distill_sim.study.scales import NANO, Foundation, Model
from distill_sim.study.show import TITLES, kind_of
from tests.watermark.engines.helpers import key_for
from watermark.keys import Key

OWNER = key_for(number=41)
NAMES = ("teacher", "smaller", "other-tokenizer", "fresh")
MODELS = {name: Model(Path("/models") / name, f"digest of {name}") for name in NAMES}
BASE = Condition(answers=16, answer_tokens=8, probe_tokens=60, sampled_tokens=60)


@pytest.fixture(scope="module")
def key_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def new(key_files: Path) -> Callable[[], Builder]:
    """Makes builders of one study: their stages compare."""
    foundation = Foundation(replace(NANO, chunk=8), MODELS, 384, (0, 1, 2))
    return lambda: Builder(foundation, StudyKeys(key_files, OWNER), fresh_keys=20)


def stages_of(builder: Builder, *cells: tuple[Condition, int, int]) -> dict[str, Stage]:
    for condition, seed, key in cells:
        builder.cell("some", condition, seed, key)
    return {stage.name: stage for stage in builder.graph.stages}


def kinds(names: Any) -> Counter[str]:
    return Counter(kind_of(name) for name in names)


def added(new: Callable[[], Builder], before: tuple[Any, ...], after: tuple[Any, ...]) -> Counter[str]:
    """Stages that the second cell needs besides the first's."""
    return kinds(stages_of(new(), after).keys() - stages_of(new(), before).keys())


TESTED = {"reading": 1, "asked": 1, "excess": 1, "judged": 1, "quality": 1, "fresh": 1}
RETRAINED = {"corpus": 1, "student": 1, **TESTED}

EVERYTHING = [
    BASE,
    *(replace(BASE, source=source) for source in (*CONTROLS, "licensed", "imitated")),
    replace(BASE, share=0.5, accounts=2, attack=("synonyms:0.2", "delete:0.1", "shuffle", "resample:0.2")),
    replace(BASE, attack=("paraphrase",)),
    replace(BASE, loss="logits"),
    replace(BASE, loss="logits", source="unmarked"),
    replace(BASE, after=("int8", "prune:0.3", "heal:8", "clean:50", "clean:60", "merge:0.5")),
    replace(BASE, after=("distil:8", "neutralise:2")),
    replace(BASE, base="smaller", method="lora", after=("distil:8", "neutralise:2")),
    replace(BASE, base="other-tokenizer", after=("heal:8", "clean:50", "int4")),
    replace(BASE, method="fresh"),
    replace(BASE, domains=("novel",), context_width=2, gamma=0.5),
]  # fmt: skip


@pytest.fixture(scope="module")
def everything(new: Callable[[], Builder]) -> list[Stage]:
    return list(
        stages_of(new(), *((one, seed, key) for one in EVERYTHING for seed in (0, 1) for key in (0, 1))).values()
    )


# --- what a cell needs ---


def test_a_cells_stages(new: Callable[[], Builder]) -> None:
    stages = stages_of(new(), (BASE, 0, 0))
    # unmarked answers: 2 chunks of the counterpart's, some for frequencies, 2 of probes (at most 8 · 7 positions each)
    frequencies = -(-examiners.FREQUENCY_ANSWERS // 8)
    assert kinds(stages) == {
        "marked": 2,
        "answers": 2 + frequencies + 2,
        "corpus": 2,
        "human": 1,
        "student": 1,
        "started": 1,
        **TESTED,
        "asked": 2,  # the student, and the model it started from
    }


def test_every_need_comes_before_and_is_what_the_settings_name(everything: list[Stage], tmp_path: Path) -> None:
    assert len(Pipeline(tmp_path, everything).identities) == len(everything)  # which checks names and order
    names = {stage.name for stage in everything}

    def named(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set().union(*map(named, value.values()), set())
        if isinstance(value, list | tuple):
            return set().union(*map(named, value), set())
        return {value} & names if isinstance(value, str) else set()

    for stage in everything:
        assert set(stage.needs) == named(dict(stage.settings)), stage.name
        assert len(set(stage.needs)) == len(stage.needs)


def test_models_are_named_by_their_digest_and_found_by_path(everything: list[Stage]) -> None:
    for stage in everything:
        for role in ("model", "reference", "tokenizer", "questioned", "teacher"):
            maker = stage.settings.get(role)
            if maker is not None and maker not in stage.needs:
                assert stage.private[role] == str(next(m.directory for m in MODELS.values() if m.id == maker))


def test_every_stage_has_its_function_and_its_title(everything: list[Stage]) -> None:
    assert {kind_of(stage.name) for stage in everything} <= set(TITLES)
    functions = {stage.function for stage in everything}
    assert all(callable(resolve(function)) for function in functions)
    assert all(json.dumps(stage.settings, allow_nan=False) for stage in everything)


def test_nothing_secret_is_in_a_stage(everything: list[Stage], key_files: Path) -> None:
    said = repr([(stage.name, dict(stage.settings), dict(stage.private)) for stage in everything]).lower()
    keys = [Key.load(path) for path in key_files.glob("*.key")]
    assert len(keys) > 8
    for key in [OWNER, *keys]:
        for raw in (key._secret, key.chacha_key):
            assert raw.hex() not in said
            assert repr(raw)[2:-1].lower() not in said


# --- what is shared ---


def test_the_same_cell_twice_is_one(new: Callable[[], Builder]) -> None:
    builder = new()
    assert builder.cell("a", BASE, 0, 0).judged == builder.cell("b", BASE, 0, 0).judged
    assert {stage.name: stage for stage in builder.graph.stages} == stages_of(new(), (BASE, 0, 0))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"after": ("int8",)}, {"altered": 1, **TESTED}),
        ({"after": ("prune:0.3", "heal:8")}, {"altered": 1, "tuned": 1, **TESTED}),  # heals on the unmarked answers
        ({"after": ("clean:50",)}, {"human": 1, "tuned": 1, **TESTED}),
        ({"after": ("neutralise:2",)}, {"neutralised": 1, **TESTED}),
        ({"after": ("neutralise-blind:2",)}, {"neutralised": 1, **TESTED}),
        ({"after": ("distil:8",)}, {"answers": 1, "corpus": 1, "student": 1, **TESTED}),
        ({"probe_tokens": 50}, {"reading": 1, "judged": 1, "fresh": 1}),
        ({"probe_tokens": 120}, {"answers": 1, "reading": 1, "judged": 1, "fresh": 1}),
        # the model it started from is asked as much
        ({"sampled_tokens": 90}, {"asked": 2, "excess": 1, "judged": 1, "quality": 1, "fresh": 1}),
        ({"epochs": 3}, {"student": 1, **TESTED}),
        ({"learning_rate": 1e-2}, {"student": 1, **TESTED}),
        ({"method": "lora"}, {"student": 1, **TESTED}),
        ({"method": "fresh"}, {"human": 1, "student": 1, "started": 1, **TESTED}),
        ({"base": "smaller"}, {"human": 1, "student": 1, "started": 1, **TESTED, "asked": 2}),
        ({"base": "other-tokenizer"}, {"human": 1, "respelled": 1, "student": 1, "started": 1, **TESTED, "asked": 2}),
        ({"delta": 3.0}, {"marked": 2, **RETRAINED}),
        ({"gamma": 0.5}, {"marked": 2, **RETRAINED}),
        ({"context_width": 2}, {"marked": 2, **RETRAINED}),
        ({"share": 0.5}, RETRAINED),
        ({"accounts": 2}, {"marked": 2, **RETRAINED}),
        ({"attack": ("shuffle",)}, RETRAINED),
        ({"answers": 8}, {"corpus": 2, "student": 1, **TESTED}),
        # 3 chunks of another seed, too: a classifier tells unmarked answers apart, for comparison
        ({"answers": 24}, {"marked": 1, "answers": 1 + 3, "corpus": 2 + 1, "student": 1, **TESTED}),
        ({"temperature": 0.7}, {"marked": 2, "answers": 2, "corpus": 2, "student": 1, **TESTED}),
        ({"source": "licensed"}, {"marked": 2, **RETRAINED}),
        ({"source": "unmarked"}, {"student": 1, **TESTED}),
        ({"source": "human"}, {"human": 1, **RETRAINED}),
        ({"source": "another-owner"}, {"marked": 2, **RETRAINED}),
        ({"source": "imitated"}, {"imitation": 1, "imitated": 2, **RETRAINED}),
    ],
)
def test_a_change_makes_anew_only_what_depends_on_it(
    changes: dict[str, Any], expected: dict[str, int], new: Callable[[], Builder]
) -> None:
    assert added(new, (BASE, 0, 0), (replace(BASE, **changes), 0, 0)) == expected


def test_conditions_that_share_a_student_share_its_training(new: Callable[[], Builder]) -> None:
    conditions = [replace(BASE, after=after) for after in ((), ("int8",), ("int4",), ("clean:50",), ("clean:60",))]
    conditions.append(replace(BASE, probe_tokens=30))
    stages = stages_of(new(), *((one, 0, 0) for one in conditions))
    assert kinds(stages)["student"] == 1
    assert kinds(stages)["marked"] == 2
    assert kinds(stages)["reading"] == len(conditions)


def test_a_delta_is_in_the_marked_answers_alone(new: Callable[[], Builder]) -> None:
    one, other = stages_of(new(), (BASE, 0, 0)), stages_of(new(), (replace(BASE, delta=3.0), 0, 0))
    for stages, delta in ((one, 2.0), (other, 3.0)):
        for stage in stages.values():
            if kind_of(stage.name) == "marked":
                assert stage.settings["delta"] == delta
                assert Key.load(stage.private["key"]).delta == delta
    seeds = [[s.settings["seed"] for s in stages.values() if kind_of(s.name) == "marked"] for stages in (one, other)]
    assert seeds[0] == seeds[1]  # the same draws under another bias


@pytest.mark.parametrize(
    "changes", [{"delta": 3.0}, {"gamma": 0.5}, {"share": 0.5}, {"source": "human"}, {"epochs": 9}]
)
def test_every_student_is_questioned_alike(changes: dict[str, Any], new: Callable[[], Builder]) -> None:
    def questioning(condition: Condition, key: int) -> list[dict[str, Any]]:
        stages = stages_of(new(), (condition, 0, key)).values()
        asked = [dict(s.settings) for s in stages if kind_of(s.name) in ("reading", "asked", "excess")]
        asked = [one for one in asked if one.get("questioned") != MODELS["teacher"].id]  # for comparison
        return [{name: v for name, v in one.items() if name not in ("questioned", "answers")} for one in asked]

    assert questioning(BASE, 0) == questioning(replace(BASE, **changes), 1)


def test_another_key_shares_what_no_key_touched(new: Callable[[], Builder]) -> None:
    again = {kind: 1 for kind in RETRAINED if kind not in ("quality", "fresh")}  # under the first key alone
    assert added(new, (BASE, 0, 0), (BASE, 0, 1)) == {"marked": 2, **again}
    one, other = stages_of(new(), (BASE, 0, 0)), stages_of(new(), (BASE, 0, 1))
    answers, again = ({name for name in stages if kind_of(name) == "answers"} for stages in (one, other))
    assert again
    assert again < answers  # but those that costs are measured on


@pytest.mark.parametrize("condition", [replace(BASE, source=source) for source in ("unmarked", "human")])
def test_a_control_is_trained_once_for_all_keys(condition: Condition, new: Callable[[], Builder]) -> None:
    assert added(new, (condition, 0, 0), (condition, 0, 1)) == {"judged": 1}


def test_a_share_of_zero_is_the_unmarked_control(new: Callable[[], Builder]) -> None:
    zero, unmarked = replace(BASE, share=0.0), replace(BASE, source="unmarked")
    assert added(new, (unmarked, 0, 0), (zero, 0, 0)) == {}
    assert added(new, (zero, 0, 0), (zero, 0, 1)) == {"judged": 1}


def test_another_seed_shares_what_is_not_drawn(new: Callable[[], Builder]) -> None:
    expected = {"marked": 2, "answers": 2 + 2, "corpus": 2, "student": 1, **TESTED, "asked": 2}
    del expected["fresh"]  # under the first seed alone
    assert added(new, (BASE, 0, 0), (BASE, 1, 0)) == expected  # not the frequencies, not the human text


def test_two_chunks_are_not_the_same_draw(new: Callable[[], Builder]) -> None:
    stages = stages_of(new(), (BASE, 0, 0)).values()
    drawn = [stage for stage in stages if "prompts" in stage.settings]
    asked = [stage for stage in drawn if kind_of(stage.name) == "asked"]
    assert len({stage.settings["seed"] for stage in drawn}) == len(drawn) - 1
    assert len({stage.settings["seed"] for stage in asked}) == 1 < len(asked)  # student and start model, alike


def test_no_prompt_of_the_teacher_is_a_probe(new: Callable[[], Builder]) -> None:
    stages = stages_of(new(), (BASE, 0, 0))
    (reading,) = (stage for name, stage in stages.items() if kind_of(name) == "reading")
    (asked,) = (s for s in stages.values() if kind_of(s.name) == "asked" and s.settings["questioned"] in stages)
    probes = {prompt for name in reading.settings["probes"] for prompt in stages[name].settings["prompts"]}
    taught = {p for name, stage in stages.items() if kind_of(name) == "marked" for p in stage.settings["prompts"]}
    assert not probes & taught
    assert not set(asked.settings["prompts"]) & taught
    assert probes <= set(asked.settings["prompts"])


# --- whose marks ---


def test_settings_name_the_keys_that_are_used(new: Callable[[], Builder]) -> None:
    def mark(account: str) -> str:
        return OWNER.account(account).retuned(gamma=0.25, delta=2.0, context_width=1).key_id

    for condition, marks, looked_for in (
        (BASE, ["account-1"], {"account": "account-1"}),
        (replace(BASE, accounts=2), ["account-1", "account-1-1"], {"account": "account-1"}),
        (replace(BASE, source="licensed"), ["licensed-1"], {"account": "account-1", "licensed": "licensed-1"}),
        (replace(BASE, source="another-owner"), ["another-owner-1"], {"account": "account-1"}),
        (replace(BASE, source="imitated"), ["account-1"], {"account": "account-1"}),
        (replace(BASE, source="unmarked"), [], {"account": "account-1"}),
    ):
        stages = stages_of(new(), (condition, 0, 1)).values()
        marked = [stage for stage in stages if kind_of(stage.name) == "marked"]
        assert {stage.settings["key_id"] for stage in marked} == set(map(mark, marks))
        (judged,) = (stage for stage in stages if kind_of(stage.name) == "judged")
        assert judged.settings["keys"] == {role: mark(account) for role, account in looked_for.items()}
        for stage in marked:
            assert Key.load(stage.private["key"]).key_id == stage.settings["key_id"]
        for role, key_id in judged.settings["keys"].items():
            assert Key.load(judged.private[role]).key_id == key_id


def test_only_marking_and_judging_know_a_key(everything: list[Stage]) -> None:
    for stage in everything:
        if str(stage.private).count(".key"):
            assert kind_of(stage.name) in ("marked", "judged") or stage.settings.get("key_id"), stage.name
        if kind_of(stage.name) in ("reading", "asked", "excess", "answers", "fresh"):
            assert stage.settings.get("key_id") is None
            assert ".key" not in str(stage.private)


def test_every_control_is_judged_under_fresh_keys_and_one_student_for_each_way_of_testing(
    new: Callable[[], Builder],
) -> None:
    ways = [{}, {"gamma": 0.5}, {"context_width": 2}, {"base": "smaller"}]
    alike = [{"delta": 3.0}, {"gamma": 0.5, "epochs": 3}, {"base": "smaller", "after": ("int8",)}]
    builder = new()
    for change in (*ways, *alike):
        condition = replace(BASE, **change)
        for seed, key in ((0, 0), (0, 1), (1, 0)):
            cell: Cell = builder.cell("some", condition, seed, key)
            assert (cell.fresh is not None) == (change in ways and (seed, key) == (0, 0)), (change, seed, key)
    for source, seed, key in itertools.product(CONTROLS, (0, 1), (0, 1)):
        assert builder.cell("some", replace(BASE, source=source), seed, key).fresh is not None


# --- the graph itself ---


def test_a_stage_is_named_by_function_and_settings() -> None:
    some = Graph()
    one = some.add("kind", "m:f", {"a": 1, "b": [2]}, private={"model": "/here"})
    assert some.add("kind", "m:f", {"b": [2], "a": 1}, private={"model": "/there"}) == one
    others = [some.add("kind", "m:g", {"a": 1, "b": [2]}), some.add("kind", "m:f", {"a": 2, "b": [2]})]
    assert len({one, *others}) == 3
    assert [stage.private for stage in some.stages][:1] == [{"model": "/here"}]


def test_a_draws_number_tells_its_parts_apart() -> None:
    parts = [("answers", 0, 96), ("answers", 0, 9, 6), ("answers", 96, 0), ("answers", "0", "96 "), ("probes", 0, 96)]
    assert len({number(*one) for one in parts}) == len(parts)
    assert all(0 <= number(*one) < 2**48 for one in parts)
    assert number("answers", 0, 96) == number("answers", 0, 96)


# --- another engine ---


@pytest.fixture(scope="module")
def by_vllm(key_files: Path) -> Callable[[], Builder]:
    foundation = Foundation(replace(NANO, chunk=8), MODELS, 384, (0, 1, 2), engine="vllm")
    return lambda: Builder(foundation, StudyKeys(key_files, OWNER), fresh_keys=20)


def test_answers_by_another_engine_are_other_answers_and_all_else_follows(
    new: Callable[[], Builder], by_vllm: Callable[[], Builder], tmp_path: Path
) -> None:
    """Only the stages in which the teacher answers say so; what builds on them is another by its needs alone."""
    cell = (replace(BASE, after=("distil:8",)), 0, 0)
    plain, other = stages_of(new(), cell), stages_of(by_vllm(), cell)
    assert kinds(plain) == kinds(other)
    assert not any("engine" in stage.settings for stage in plain.values())  # so that earlier studies go on
    said = [stage for stage in other.values() if "engine" in stage.settings]
    assert {stage.settings["engine"] for stage in said} == {"vllm"}
    teacher = [
        stage
        for stage in other.values()
        if stage.function == "distill_sim.stages:corpus" and stage.settings["model"] == MODELS["teacher"].id
    ]
    assert said == teacher
    students = [s for s in other.values() if s.function == "distill_sim.stages:corpus" and s not in teacher]
    assert kinds(stage.name for stage in students) == {"answers": 1}  # the second generation's
    shared = set(plain) & set(other)
    assert {kind_of(name) for name in shared} <= {"human", "started", "asked"}
    identities = [set(Pipeline(tmp_path, list(stages.values())).identities.values()) for stages in (plain, other)]
    assert len(identities[0] & identities[1]) == len(shared)
