"""From conditions to stages: what leads to each cell of a study, everything that two cells share made once.

    answers (marked, unmarked) → composed → [respelled] → student → what happens afterwards
        → reading, sampled → excess → judged;   controls besides → fresh

A stage is named by its content, so the same work under two conditions is one stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import rfc8785

from distill_sim import texts
from distill_sim.condition import Condition, Step
from distill_sim.pipeline import Stage
from distill_sim.recipe import Recipe
from distill_sim.study.keys import StudyKeys
from distill_sim.study.scales import Foundation, Model
from watermark.keys import Key

CONTROLS = ("unmarked", "human", "another-owner")
STAGES, MAKING, JUDGING = "distill_sim.stages", "distill_sim.study.making", "distill_sim.study.judging"
TRAINED: dict[str, Literal["top", "lora", "full"]] = {"full": "full", "lora": "lora", "top": "top", "fresh": "full"}
DEFAULT_TOP = 256
HAS_CLASSIFIER = find_spec("sklearn") is not None  # of the extra `lab`; without it no AUC is measured
LEAST_TOLD_APART = 20  # answers
FREQUENCY_ANSWERS = 384  # unmarked ones, at least: how often contexts are used


@dataclass(frozen=True)
class Cell:
    """One condition under one seed and one key.

    Attributes:
        judged: the stage that holds its rows.
        fresh: for controls, the stage that holds the p-values under fresh keys; the same under every key.
        quality: the stage that says what the mark cost; measured under the first key alone.
    """

    name: str
    condition: Condition
    seed: int
    key: int
    judged: str
    fresh: str | None
    quality: str | None


class Graph:
    """Stages by content."""

    def __init__(self) -> None:
        self._stages: dict[str, Stage] = {}

    @property
    def stages(self) -> list[Stage]:
        """In an order in which every stage comes after those it needs."""
        return list(self._stages.values())

    def add(
        self,
        kind: str,
        function: str,
        settings: Mapping[str, Any],
        needs: Sequence[str] = (),
        private: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a stage unless it is there, and return its name."""
        content = {"function": function, "settings": dict(settings)}
        name = f"{kind}-{hashlib.sha256(rfc8785.dumps(content)).hexdigest()[:12]}"
        if name not in self._stages:
            needed = tuple(dict.fromkeys(needs))
            self._stages[name] = Stage(name, function, settings, needed, private=private or {})
        return name


@dataclass(frozen=True)
class _Ref:
    """A model in a role of a stage: one that no condition changes, or a stage's."""

    id: str
    directory: Path | None = None

    @classmethod
    def of(cls, model: Model) -> _Ref:
        return cls(model.id, model.directory)

    @property
    def needs(self) -> list[str]:
        return [self.id] if self.directory is None else []

    def private(self, role: str) -> dict[str, Any]:
        return {} if self.directory is None else {role: str(self.directory)}


class Builder:
    """Adds the stages of one cell after the other to a graph.

    Args:
        fresh_keys: for each control.
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
        self._processes = processes
        self._metrics = metrics
        self._foundation = foundation
        self._keys = keys
        self._fresh_keys = fresh_keys
        self._teacher = _Ref.of(foundation.teacher)

    def cell(self, name: str, condition: Condition, seed: int, key: int) -> Cell:
        """Everything that leads to one cell."""
        corpus = self._corpus(condition, seed, key)
        student = self._afterwards(condition, seed, self._student(condition, seed, key, corpus), corpus)
        reading = self._reading(condition, seed, student)
        excess = self._excess(condition, seed, student)
        counterpart = self._corpus(replace(condition, source="unmarked", share=1.0, accounts=1, attack=()), seed, 0)
        judged = self._judged(condition, key, corpus, reading, excess)
        fresh = self._fresh(condition, reading, excess) if condition.source in CONTROLS else None
        quality = self._quality(condition, corpus, counterpart, student) if key == 0 else None
        return Cell(name, condition, seed, key, judged, fresh, quality)

    # --- who wrote what ---

    def _corpus(self, condition: Condition, seed: int, key: int) -> str:
        """What the student is given, in the teacher's tokens."""
        marked: list[list[str]] = []
        if condition.share > 0 and condition.source not in ("unmarked", "human", "imitated"):
            marked = [self._answers(condition, seed, one) for one in self._keys.marking(condition, key)]
        if condition.source == "human":
            unmarked = [self._human("answers", condition.domains)]
        elif condition.source == "imitated":
            unmarked = self._imitated(condition, seed, key)
        elif condition.share < 1 or not marked:
            unmarked = self._answers(condition, seed, None)
        else:
            unmarked = []
        settings = {
            "answers": condition.answers,
            "share": condition.share if marked else 0.0,
            "marked": marked,
            "unmarked": unmarked,
            "attack": [str(step) for step in condition.attacks],
            "seed": seed,
            "model": self._teacher.id,
        }
        needs = [*(name for names in marked for name in names), *unmarked]
        return self.graph.add("corpus", f"{MAKING}:composed", settings, needs, self._teacher.private("model"))

    def _answers(
        self, condition: Condition, seed: int, key: Key | None, *, writer: _Ref | None = None, count: int | None = None
    ) -> list[str]:
        """Corpora of whole chunks of answers; under a key, or unmarked."""
        pool = self._foundation.scale.prompts("answers", condition.domains)
        wanted = condition.answers if count is None else count
        return self._chunks(condition, pool, wanted, ("answers", seed), key, writer or self._teacher)

    def _chunks(
        self, condition: Condition, pool: Sequence[str], wanted: int, what: Sequence[Any], key: Key | None, writer: _Ref
    ) -> list[str]:
        size = self._foundation.scale.chunk
        return [
            self._chunk(condition, [pool[(first + i) % len(pool)] for i in range(size)], (*what, first), key, writer)
            for first in range(0, wanted, size)
        ]

    def _chunk(
        self, condition: Condition, prompts: list[str], what: Sequence[Any], key: Key | None, writer: _Ref
    ) -> str:
        settings = {
            "model": writer.id,
            "prompts": prompts,
            "samples": 1,
            "sampling": self._sampling(condition),
            "seed": number(*what, "unmarked" if key is None else key.key_id),
            "key_id": None if key is None else key.key_id,
            "delta": None if key is None else key.delta,
        }
        private = writer.private("model") | ({} if key is None else {"key": str(self._keys.file(key))})
        kind = "answers" if key is None else "marked"
        return self.graph.add(kind, f"{STAGES}:corpus", settings, writer.needs, private)

    def _sampling(self, condition: Condition) -> dict[str, Any]:
        return {
            "max_new_tokens": condition.answer_tokens,
            "temperature": condition.temperature,
            "top_p": condition.top_p,
            "batch_size": self._foundation.scale.chunk,
        }

    def _human(self, part: str, domains: Sequence[str] = (), tokenizer: _Ref | None = None) -> str:
        whose = tokenizer or self._teacher
        kinds = [name for name in domains if name in texts.DOMAINS]
        settings = {"texts": texts.digest(), "part": part, "domains": kinds, "tokenizer": whose.id}
        return self.graph.add("human", f"{MAKING}:human", settings, whose.needs, whose.private("tokenizer"))

    def _imitated(self, condition: Condition, seed: int, key: int) -> list[str]:
        """Answers of a teacher that was made to prefer what marked answers, which the imitator saw, preferred."""
        (victim,) = self._keys.marking(replace(condition, source="account", accounts=1), key)
        seen, other = self._answers(condition, seed, victim), self._answers(condition, seed, None)
        settings = {"marked": seen, "unmarked": other, **self._rule(condition)}
        bias = self.graph.add("imitation", f"{MAKING}:imitation", settings, [*seen, *other])
        pool = self._foundation.scale.prompts("answers", condition.domains)
        size = self._foundation.scale.chunk
        return [
            self.graph.add(
                "imitated",
                f"{MAKING}:imitated",
                {
                    "model": self._teacher.id,
                    "bias": bias,
                    "prompts": [pool[(first + i) % len(pool)] for i in range(size)],
                    "sampling": self._sampling(condition),
                    "delta": condition.delta,
                    "seed": number("imitated", seed, first),
                },
                [bias],
                self._teacher.private("model"),
            )
            for first in range(0, condition.answers, size)
        ]

    # --- the student ---

    def _student(self, condition: Condition, seed: int, key: int, corpus: str) -> str:
        start = _Ref.of(self._foundation.start(condition))
        if condition.base == "other-tokenizer":
            settings: dict[str, Any] = {"corpus": [corpus], "model": start.id}
            corpus = self.graph.add("respelled", f"{MAKING}:respelled", settings, [corpus], start.private("model"))
        settings = {"recipe": asdict(recipe_of(condition, seed)), "model": start.id, "corpus": corpus}
        if condition.loss == "logits":
            return self._logit_student(condition, key, settings, start)
        return self._trained(settings, start)

    def _trained(self, settings: dict[str, Any], start: _Ref) -> str:
        if self._processes > 1:
            settings = {**settings, "processes": self._processes}
        private = self._with_metrics(start.private("model"))
        return self.graph.add("student", f"{STAGES}:student", settings, [settings["corpus"]], private)

    def _with_metrics(self, private: dict[str, Any]) -> dict[str, Any]:
        return private if self._metrics is None else {**private, "metrics": dict(self._metrics)}

    def _logit_student(self, condition: Condition, key: int, settings: dict[str, Any], start: _Ref) -> str:
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
                answers = self._answers(condition, seed, None, count=int(step.amount or 0))
                student = self._tuned(condition, seed, student, answers, keep_zeros=True)
            elif step.name == "distil":
                student = self._second_generation(condition, seed, student, int(step.amount or 0))
            elif step.name == "neutralise":
                student = self._neutralised(condition, student, step, corpus)
            else:
                student = self._altered(condition, student, step)
        return student

    def _cleaned(self, condition: Condition, seed: int, student: str, skip: int, step: Step) -> str:
        text = self._human("clean", (), _Ref.of(self._foundation.start(condition)))
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
            start = _Ref.of(self._foundation.start(condition))
            respelled: dict[str, Any] = {"corpus": corpus, "model": start.id}
            corpus = [self.graph.add("respelled", f"{MAKING}:respelled", respelled, corpus, start.private("model"))]
        settings = {
            "questioned": student, "recipe": asdict(recipe), "corpus": corpus, "skip": skip, "tokens": tokens,
        }  # fmt: skip
        return self.graph.add("tuned", f"{MAKING}:tuned", settings, [student, *corpus], self._with_metrics({}))

    def _altered(self, condition: Condition, student: str, step: Step) -> str:
        base = _Ref.of(self._foundation.start(condition))
        settings = {"questioned": student, "step": str(step), "model": base.id}
        return self.graph.add("altered", f"{MAKING}:altered", settings, [student], base.private("model"))

    def _second_generation(self, condition: Condition, seed: int, student: str, count: int) -> str:
        """A student of the student: answers to the same prompts, and the same training."""
        answers = self._answers(condition, seed + 1, None, writer=_Ref(student), count=count)
        settings = {
            "answers": count, "share": 0.0, "marked": [], "unmarked": answers, "attack": [], "seed": seed,
            "model": self._teacher.id,
        }  # fmt: skip
        corpus = self.graph.add("corpus", f"{MAKING}:composed", settings, answers, self._teacher.private("model"))
        start = _Ref.of(self._foundation.start(condition))
        training = {"recipe": asdict(recipe_of(condition, seed)), "model": start.id, "corpus": corpus}
        return self._trained(training, start)

    def _neutralised(self, condition: Condition, student: str, step: Step, corpus: str) -> str:
        """The bias is estimated on what an extractor has: the answers the student was trained on."""
        base = _Ref.of(self._foundation.start(condition))
        settings = {
            "questioned": student, "model": base.id, "step": str(step), "corpus": [corpus], **self._rule(condition),
        }  # fmt: skip
        return self.graph.add(
            "neutralised", f"{MAKING}:neutralised", settings, [student, corpus], base.private("model")
        )

    # --- questioning ---

    def _rule(self, condition: Condition) -> dict[str, Any]:
        """What must be known of the mark without its key."""
        return {"context_width": condition.context_width, "special_ids": list(self._foundation.special_ids)}

    def _frequencies(self, condition: Condition) -> list[str]:
        return self._answers(plain(condition), 10_000, None, count=FREQUENCY_ANSWERS)

    def _reading(self, condition: Condition, seed: int, student: str) -> str:
        drawn = plain(condition)
        pool = self._foundation.scale.prompts("probes", condition.domains)
        wanted = -(-condition.probe_tokens // max(1, condition.answer_tokens - 1))
        probes = self._chunks(drawn, pool, wanted, ("probes", seed), None, self._teacher)
        frequencies = self._frequencies(condition)
        reference = _Ref.of(self._foundation.reference(condition))
        settings = {
            "questioned": student,
            "probes": probes,
            "positions": condition.probe_tokens,
            "frequencies": frequencies,
            "reference": reference.id,
            "model": self._teacher.id,
            "scaled": True,
            "top": DEFAULT_TOP,
            **self._rule(condition),
        }
        private = reference.private("reference") | self._teacher.private("model")
        return self.graph.add("reading", f"{STAGES}:reading", settings, [student, *probes, *frequencies], private)

    def _excess(self, condition: Condition, seed: int, student: str) -> str:
        settings = {
            "questioned": student,
            "prompts": self._foundation.scale.prompts("probes", condition.domains),
            "n_tokens": condition.sampled_tokens,
            "sampling": {"max_new_tokens": condition.answer_tokens},
            "seed": number("asked", seed),
            "model": self._teacher.id,
        }
        asked = self.graph.add("asked", f"{STAGES}:sampled", settings, [student], self._teacher.private("model"))
        own = self._foundation.reference(condition)
        reference = self._teacher if condition.base == "other-tokenizer" else _Ref.of(own)
        frequencies = self._frequencies(condition)
        weighing = {
            "answers": asked,
            "reference": reference.id,
            "frequencies": frequencies,
            "temperature": 1.0,
            "vocab_size": self._foundation.vocab_size,
            "top": DEFAULT_TOP,
            **self._rule(condition),
        }
        needs = [asked, *frequencies]
        return self.graph.add("excess", f"{STAGES}:excess", weighing, needs, reference.private("reference"))

    # --- judging ---

    def _judged(self, condition: Condition, key: int, corpus: str, reading: str, excess: str) -> str:
        looked_for = self._keys.looked_for(condition, key)
        settings = {
            "keys": {role: one.key_id for role, one in looked_for.items()},
            "corpus": corpus,
            "epochs": condition.epochs,
            "reading": reading,
            "excess": excess,
        }
        private = {role: str(self._keys.file(one)) for role, one in looked_for.items()}
        return self.graph.add("judged", f"{JUDGING}:judged", settings, [corpus, reading, excess], private)

    def _fresh(self, condition: Condition, reading: str, excess: str) -> str:
        settings = {
            "keys": self._fresh_keys,
            "gamma": condition.gamma,
            "context_width": condition.context_width,
            "reading": reading,
            "excess": excess,
        }
        return self.graph.add("fresh", f"{JUDGING}:fresh", settings, [reading, excess])

    def _quality(self, condition: Condition, corpus: str, counterpart: str, student: str) -> str:
        text = self._human("probes", (), _Ref.of(self._foundation.start(condition)))
        settings = {
            "corpus": corpus,
            "unmarked": counterpart,
            "blind": HAS_CLASSIFIER and condition.answers >= LEAST_TOLD_APART,
            "model": self._teacher.id,
            "questioned": student,
            "human": text,
        }
        needs = [corpus, counterpart, student, text]
        return self.graph.add("quality", f"{JUDGING}:quality", settings, needs, self._teacher.private("model"))


def plain(condition: Condition) -> Condition:
    """How unmarked text of the teacher is drawn, whatever the condition varies."""
    return replace(condition, temperature=1.0, top_p=1.0)


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


def number(*parts: Any) -> int:
    """A seed of 48 bits from whatever tells two draws apart."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little")
