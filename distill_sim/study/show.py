"""A study on a terminal: one bar over all stages with the time left, and how far each kind of stage is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from distill_sim.pipeline import Event
from watermark.progress import Progress

TITLES = {
    "blank": "random starts",
    "human": "human text",
    "teacher": "teachers trained on human text",
    "smaller": "smaller models trained on human text",
    "other-tokenizer": "models with another tokenizer trained on human text",
    "answers": "unmarked answers",
    "marked": "marked answers",
    "imitation": "marks learnt by an imitator",
    "imitated": "imitated answers",
    "corpus": "corpora",
    "respelled": "corpora in another tokenizer's tokens",
    "student": "students trained",
    "tuned": "students trained further",
    "altered": "students made small",
    "neutralised": "students neutralised",
    "reading": "students read",
    "asked": "students asked",
    "excess": "answers weighed",
    "judged": "cells judged",
    "examined": "controls of a likelihood ratio examined",
    "fresh": "controls under fresh keys",
    "started": "starting models measured",
    "quality": "costs measured",
}
COSTS = {  # CPU seconds of the nano scale, about; only ratios matter
    "teacher": 200, "smaller": 60, "other-tokenizer": 200, "answers": 2, "marked": 2, "imitated": 2, "student": 5,
    "tuned": 3, "reading": 1, "asked": 1.5, "excess": 0.5, "fresh": 8, "quality": 1.5, "judged": 0.3,
}  # fmt: skip
SMALL = 0.2


class StudyProgress:
    """Turns pipeline events into progress.

    Args:
        names: of the stages.
        show: where it is shown.
    """

    def __init__(self, names: Iterable[str], show: Progress) -> None:
        self._costs = {name: COSTS.get(kind_of(name), SMALL) for name in names}
        self._fractions: dict[str, float] = {}
        self._running: dict[str, None] = {}
        self._show = show

    def event(self, event: Event) -> None:
        """Show one event."""
        self._fractions[event.stage] = event.fraction
        if event.kind == "started":
            self._running[event.stage] = None
        elif event.kind in ("finished", "kept"):
            self._running.pop(event.stage, None)
        done = sum(self._costs[name] * fraction for name, fraction in self._fractions.items())
        finished = sum(fraction == 1 for fraction in self._fractions.values())
        running = " and ".join(dict.fromkeys(TITLES.get(kind_of(name), name) for name in self._running))
        what = f"{finished} of {len(self._costs)} stages{', ' if running else ''}{running}"
        self._show(int(10 * done), int(10 * sum(self._costs.values())), what)


def kind_of(stage: str) -> str:
    """The kind that a stage's name begins with; a foundation's stage is named by that alone."""
    return stage if stage in TITLES else stage.partition("-")[0]


def table(finished: Mapping[str, int], total: Mapping[str, int]) -> list[str]:
    """How far each kind of stage is, a line each."""
    width = max(len(TITLES.get(kind, kind)) for kind in total)
    lines = [f"{TITLES.get(kind, kind):{width}}  {finished[kind]:>5} of {count}" for kind, count in total.items()]
    return [*lines, f"{'all stages':{width}}  {sum(finished.values()):>5} of {sum(total.values())}"]
