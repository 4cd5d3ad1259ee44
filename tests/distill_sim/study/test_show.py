"""A study on a terminal: one bar over all stages, and how far each kind of them is."""

from __future__ import annotations

import re

import pytest

from distill_sim.pipeline import Event
from distill_sim.study import scales
from distill_sim.study.scales import NANO, SMOLLM2
from distill_sim.study.show import COSTS, SMALL, TITLES, StudyProgress, kind_of, table

FORBIDDEN = re.compile(r"proves|match|guilty|caught|thief|certain|confidence|ngram|hash_key|verdict", re.IGNORECASE)
NAMES = ["student-a1", "student-b2", "reading-c3", "judged-d4", "corpus-e5"]


def shown(events: list[Event], names: list[str] = NAMES) -> list[tuple[int, int, str]]:
    calls: list[tuple[int, int, str]] = []
    progress = StudyProgress(names, lambda done, total, what: calls.append((done, total, what)))
    for event in events:
        progress.event(event)
    return calls


def event(stage: str, kind: str, fraction: float) -> Event:
    return Event(stage, kind, fraction, "", 0.0)


def test_the_bar_adds_up_what_stages_cost() -> None:
    total = int(10 * (2 * COSTS["student"] + COSTS["reading"] + COSTS["judged"] + SMALL))
    calls = shown(
        [
            event("corpus-e5", "kept", 1.0),
            event("student-a1", "started", 0.0),
            event("student-a1", "progress", 0.5),
            event("student-b2", "started", 0.0),
            event("student-a1", "finished", 1.0),
            event("reading-c3", "started", 0.0),
        ]
    )
    done = [SMALL, SMALL, SMALL + COSTS["student"] / 2, SMALL + COSTS["student"] / 2]
    done += [SMALL + COSTS["student"]] * 2
    assert [call[0] for call in calls] == [int(10 * one) for one in done]
    assert {call[1] for call in calls} == {total}
    assert [call[2] for call in calls] == [
        "1 of 5 stages",
        "1 of 5 stages, students trained",
        "1 of 5 stages, students trained",
        "1 of 5 stages, students trained",  # two of a kind are named once
        "2 of 5 stages, students trained",
        "2 of 5 stages, students trained and students read",
    ]


def test_in_the_end_the_bar_is_full_and_nothing_runs() -> None:
    events = [event(name, kind, fraction) for name in NAMES for kind, fraction in (("started", 0.0), ("finished", 1.0))]
    done, total, what = shown(events)[-1]
    assert (done, what) == (total, "5 of 5 stages")


def test_progress_never_goes_back_over_a_whole_run() -> None:
    events = [
        event(name, kind, fraction)
        for name in NAMES
        for kind, fraction in (("started", 0.0), ("progress", 0.3), ("progress", 0.9), ("finished", 1.0))
    ]
    done = [call[0] for call in shown(events)]
    assert done == sorted(done)


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        ("student-0123456789ab", "student"),
        ("teacher", "teacher"),
        ("other-tokenizer", "other-tokenizer"),
        ("blank-other-tokenizer", "blank"),
        ("human-other-tokenizer", "human"),
        ("human-0123456789ab", "human"),
        ("unheard", "unheard"),
    ],
)
def test_the_kind_of_a_stage(stage: str, kind: str) -> None:
    assert kind_of(stage) == kind


@pytest.mark.parametrize("scale", [NANO, SMOLLM2])
def test_what_models_are_made_of_has_a_title(scale: scales.Scale) -> None:
    made = scales.stages(scale, {"teacher", *scale.shapes}, None if not scale.pulled else scales.Model(None, "id"))  # type: ignore[arg-type]
    assert {kind_of(stage.name) for stage in made} <= set(TITLES)


def test_a_table_of_how_far_it_is() -> None:
    lines = table({"student": 1, "reading": 0, "unheard": 2}, {"student": 12, "reading": 3, "unheard": 2})
    assert [re.split(r"\s{2,}", line) for line in lines] == [
        ["students trained", "1 of 12"],
        ["students read", "0 of 3"],
        ["unheard", "2 of 2"],
        ["all stages", "3 of 17"],
    ]
    assert len({line.index(" of ") for line in lines}) == 1


@pytest.mark.parametrize("title", TITLES.values())
def test_titles_are_plain_words(title: str) -> None:
    assert not FORBIDDEN.search(title)
