"""Who wrote what a student is given: answers in chunks, human text, imitations, and corpora of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from distill_sim import texts
from distill_sim.condition import Condition
from distill_sim.stages import TRANSFORMERS
from distill_sim.study.graph import MAKING, STAGES, Graph, Ref, number
from distill_sim.study.keys import StudyKeys
from distill_sim.study.scales import Foundation
from watermark.keys import Key


class Authors:
    """Adds the stages of what is written."""

    def __init__(self, graph: Graph, foundation: Foundation, keys: StudyKeys) -> None:
        self.graph = graph
        self._foundation = foundation
        self._keys = keys
        self._teacher = Ref.of(foundation.teacher)

    def corpus(self, condition: Condition, seed: int, key: int) -> str:
        """What the student is given, in the teacher's tokens."""
        marked: list[list[str]] = []
        if condition.share > 0 and condition.source not in ("unmarked", "human", "imitated"):
            marked = [self.answers(condition, seed, one) for one in self._keys.marking(condition, key)]
        if condition.source == "human":
            unmarked = [self.human("answers", condition.domains)]
        elif condition.source == "imitated":
            unmarked = self._imitated(condition, seed, key)
        elif condition.share < 1 or not marked:
            unmarked = self.answers(condition, seed, None)
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

    def answers(
        self, condition: Condition, seed: int, key: Key | None, *, writer: Ref | None = None, count: int | None = None
    ) -> list[str]:
        """Corpora of whole chunks of answers; under a key, or unmarked."""
        pool = self._foundation.scale.prompts("answers", condition.domains)
        wanted = condition.answers if count is None else count
        return self.chunks(condition, pool, wanted, ("answers", seed), key, writer or self._teacher)

    def chunks(
        self, condition: Condition, pool: Sequence[str], wanted: int, what: Sequence[Any], key: Key | None, writer: Ref
    ) -> list[str]:
        size = self._foundation.scale.chunk
        return [
            self._chunk(condition, [pool[(first + i) % len(pool)] for i in range(size)], (*what, first), key, writer)
            for first in range(0, wanted, size)
        ]

    def _chunk(
        self, condition: Condition, prompts: list[str], what: Sequence[Any], key: Key | None, writer: Ref
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
        if writer == self._teacher and self._foundation.engine != TRANSFORMERS:
            settings["engine"] = self._foundation.engine
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

    def human(self, part: str, domains: Sequence[str] = (), tokenizer: Ref | None = None) -> str:
        whose = tokenizer or self._teacher
        kinds = [name for name in domains if name in texts.DOMAINS]
        settings = {"texts": texts.digest(), "part": part, "domains": kinds, "tokenizer": whose.id}
        return self.graph.add("human", f"{MAKING}:human", settings, whose.needs, whose.private("tokenizer"))

    def _imitated(self, condition: Condition, seed: int, key: int) -> list[str]:
        """Answers of a teacher that was made to prefer what marked answers, which the imitator saw, preferred."""
        (victim,) = self._keys.marking(replace(condition, source="account", accounts=1), key)
        seen, other = self.answers(condition, seed, victim), self.answers(condition, seed, None)
        settings = {"marked": seen, "unmarked": other, **self.rule(condition)}
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

    def rule(self, condition: Condition) -> dict[str, Any]:
        """What must be known of the mark without its key."""
        return {"context_width": condition.context_width, "special_ids": list(self._foundation.special_ids)}
