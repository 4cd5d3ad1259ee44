"""From conditions to stages: what leads to each cell of a study, everything that two cells share made once.

    answers (marked, unmarked) → composed → [respelled] → student → what happens afterwards
        → reading, sampled → excess → judged;   controls besides → fresh

`authors` has what comes before the student, `examiners` what comes after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from distill_sim.condition import CONTROLS, NEUTRALISED, NEUTRALISED_WIDTHS, Condition, Step
from distill_sim.recipe import Recipe
from distill_sim.study.authors import Authors
from distill_sim.study.examiners import Examiners
from distill_sim.study.graph import MAKING, STAGES, Graph, Ref
from distill_sim.study.keys import StudyKeys
from distill_sim.study.scales import Foundation

FIRST_OWN = 100_000  # seeds and keys from here on belong to one student each; no repeat has so great a number
TRAINED: dict[str, Literal["top", "lora", "full"]] = {"full": "full", "lora": "lora", "top": "top", "fresh": "full"}


@dataclass(frozen=True)
class Cell:
    """One condition under one seed and one key.

    Attributes:
        corpus: the stage that holds what its student was trained on.
        judged: the stage that holds its rows.
        fresh: for controls, and one student for each γ, h and starting model, the stage that holds the p-values under
            fresh keys.
        quality: the stage that says what the mark cost; measured under the first key alone.
    """

    name: str
    condition: Condition
    seed: int
    key: int
    corpus: str
    judged: str
    fresh: str | None
    quality: str | None


@dataclass(frozen=True)
class Single:
    """One control of a likelihood ratio: a student that has its seed and its key to itself.

    Attributes:
        source: what it was made from, in a word.
        marked: its teacher was.
        examined: the stage that says whether the mark was detected.
    """

    source: str
    marked: bool
    examined: str


class Builder:
    """Adds the stages of one cell after the other to a graph.

    Args:
        fresh_keys: for each control, and for one student for each γ, h and starting model.
        processes: that train one student together.
        metrics: where trainings write what they measure, as `distill_sim.metrics.Metrics` takes it; None: nowhere.
    """

    def __init__(
        self,
        foundation: Foundation,
        keys: StudyKeys,
        *,
        fresh_keys: int,
        processes: int = 1,
        metrics: Mapping[str, str] | None = None,
    ) -> None:
        self.graph = Graph()
        self._foundation = foundation
        self._keys = keys
        self._authors = Authors(self.graph, foundation, keys)
        self._examiners = Examiners(self.graph, foundation, keys, self._authors, fresh_keys=fresh_keys)
        self._processes = processes
        self._metrics = metrics
        self._teacher = Ref.of(foundation.teacher)
        self._ways: dict[tuple[float, int, str], Condition] = {}  # γ, h, start → the first condition that has them

    def cell(self, name: str, condition: Condition, seed: int, key: int) -> Cell:
        """Everything that leads to one cell."""
        ask, corpus = self._examiners, self._authors.corpus(condition, seed, key)
        student = self._afterwards(condition, seed, self._student(condition, seed, key, corpus), corpus)
        reading, asked = ask.reading(condition, seed, student), ask.asked(condition, seed, Ref(student))
        excess = ask.excess(condition, asked)
        judged = ask.judged(condition, key, corpus, reading, excess)
        fresh = ask.fresh(condition, reading, excess) if self._under_fresh_keys(condition, seed, key) else None
        quality = ask.quality(condition, seed, corpus, student, asked) if key == 0 else None
        return Cell(name, condition, seed, key, corpus, judged, fresh, quality)

    def _under_fresh_keys(self, condition: Condition, seed: int, key: int) -> bool:
        """Every control; and one student wherever colours are drawn, or a model is read, in another way."""
        if condition.source in CONTROLS:
            return True
        way = (condition.gamma, condition.context_width, condition.base)
        return (seed, key) == (0, 0) and self._ways.setdefault(way, condition) == condition

    def singles(self, condition: Condition, count: int) -> list[Single]:
        """Controls of disjoint sources: `count` students of the marked teacher and of the unmarked one, in turns."""
        unmarked = control_of(condition, "unmarked")
        made = []
        for number in range(2 * count):
            marked, own = number % 2 == 0, FIRST_OWN + number
            one = condition if marked else unmarked
            corpus = self._authors.corpus(one, own, own)
            student = self._afterwards(one, own, self._student(one, own, own, corpus), corpus)
            examined = self._examiners.examined(one, own, self._examiners.reading(one, own, student))
            made.append(Single(f"student {own} of the {'marked' if marked else 'unmarked'} teacher", marked, examined))
        return made

    def _student(self, condition: Condition, seed: int, key: int, corpus: str) -> str:
        start = Ref.of(self._foundation.start(condition))
        if condition.base == "other-tokenizer":
            settings: dict[str, Any] = {"corpus": [corpus], "model": start.id}
            corpus = self.graph.add("respelled", f"{MAKING}:respelled", settings, [corpus], start.private("model"))
        settings = {"recipe": asdict(recipe_of(condition, seed)), "model": start.id, "corpus": corpus}
        if condition.loss == "logits":
            return self._logit_student(condition, key, settings, start)
        return self._trained(settings, start)

    def _trained(self, settings: dict[str, Any], start: Ref) -> str:
        if self._processes > 1:
            settings = {**settings, "processes": self._processes}
        private = self._with_metrics(start.private("model"))
        return self.graph.add("student", f"{STAGES}:student", settings, [settings["corpus"]], private)

    def _with_metrics(self, private: dict[str, Any]) -> dict[str, Any]:
        return private if self._metrics is None else {**private, "metrics": dict(self._metrics)}

    def _logit_student(self, condition: Condition, key: int, settings: dict[str, Any], start: Ref) -> str:
        private = start.private("model") | self._teacher.private("teacher")
        marking = None
        if condition.source != "unmarked":
            (marking,) = self._keys.marking(condition, key)
            private["key"] = str(self._keys.file(marking))
        settings |= {
            "teacher": self._teacher.id,
            "key_id": None if marking is None else marking.key_id,
            "delta": None if marking is None else marking.delta,
        }
        function = f"{MAKING}:logit_student"
        return self.graph.add("student", function, settings, [settings["corpus"]], self._with_metrics(private))

    def _afterwards(self, condition: Condition, seed: int, student: str, corpus: str) -> str:
        cleaned = 0
        for step in condition.afterwards:
            if step.name == "clean":
                student = self._cleaned(condition, seed, student, cleaned, step)
                cleaned += int(step.amount or 0)
            elif step.name == "heal":
                answers = self._authors.answers(condition, seed, None, count=int(step.amount or 0))
                student = self._tuned(condition, seed, student, answers, keep_zeros=True)
            elif step.name == "distil":
                student = self._second_generation(condition, seed, student, int(step.amount or 0))
            elif step.name in NEUTRALISED:
                student = self._neutralised(condition, student, step, corpus)
            else:
                student = self._altered(condition, student, step)
        return student

    def _cleaned(self, condition: Condition, seed: int, student: str, skip: int, step: Step) -> str:
        text = self._authors.human("clean", (), Ref.of(self._foundation.start(condition)))
        return self._tuned(condition, seed, student, [text], skip=skip, tokens=int(step.amount or 0))

    def _tuned(
        self,
        condition: Condition,
        seed: int,
        student: str,
        corpus: list[str],
        *,
        skip: int = 0,
        tokens: int | None = None,
        keep_zeros: bool = False,
    ) -> str:
        recipe = replace(recipe_of(condition, seed), epochs=1, keep_zeros=keep_zeros)
        if condition.base == "other-tokenizer" and tokens is None:
            start = Ref.of(self._foundation.start(condition))
            respelled: dict[str, Any] = {"corpus": corpus, "model": start.id}
            corpus = [self.graph.add("respelled", f"{MAKING}:respelled", respelled, corpus, start.private("model"))]
        settings = {
            "questioned": student, "recipe": asdict(recipe), "corpus": corpus, "skip": skip, "tokens": tokens,
        }  # fmt: skip
        return self.graph.add("tuned", f"{MAKING}:tuned", settings, [student, *corpus], self._with_metrics({}))

    def _altered(self, condition: Condition, student: str, step: Step) -> str:
        base = Ref.of(self._foundation.start(condition))
        settings = {"questioned": student, "step": str(step), "model": base.id}
        return self.graph.add("altered", f"{MAKING}:altered", settings, [student], base.private("model"))

    def _second_generation(self, condition: Condition, seed: int, student: str, count: int) -> str:
        """A student of the student: answers to the same prompts, and the same training."""
        answers = self._authors.answers(condition, seed + 1, None, writer=Ref(student), count=count)
        settings = {
            "answers": count, "share": 0.0, "marked": [], "unmarked": answers, "attack": [], "seed": seed,
            "model": self._teacher.id,
        }  # fmt: skip
        corpus = self.graph.add("corpus", f"{MAKING}:composed", settings, answers, self._teacher.private("model"))
        start = Ref.of(self._foundation.start(condition))
        training = {"recipe": asdict(recipe_of(condition, seed)), "model": start.id, "corpus": corpus}
        return self._trained(training, start)

    def _neutralised(self, condition: Condition, student: str, step: Step, corpus: str) -> str:
        """The bias is estimated on what an extractor has: the answers the student was trained on."""
        base = Ref.of(self._foundation.start(condition))
        rule = self._authors.rule(condition)
        widths = (condition.context_width,) if step.name == "neutralise" else NEUTRALISED_WIDTHS
        settings = {
            "questioned": student, "model": base.id, "step": str(step), "corpus": [corpus],
            "context_widths": list(widths), "special_ids": rule["special_ids"],
        }  # fmt: skip
        return self.graph.add(
            "neutralised", f"{MAKING}:neutralised", settings, [student, corpus], base.private("model")
        )


def control_of(condition: Condition, source: str) -> Condition:
    """The condition with another source, and nothing else that presupposes the mark."""
    return condition.with_values({"source": source, "share": 1.0, "accounts": 1, "attack": (), "loss": "answers"})


def recipe_of(condition: Condition, seed: int) -> Recipe:
    """How a condition's student is trained."""
    return Recipe(
        method=TRAINED[condition.method],
        layers=condition.layers,
        learning_rate=condition.learning_rate,
        epochs=condition.epochs,
        batch_size=condition.batch_size,
        lora_rank=condition.lora_rank,
        max_length=512,
        seed=seed,
    )
