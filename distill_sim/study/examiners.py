"""How every student is questioned and judged, alike whatever its condition; and what its mark cost."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

from detect.observation import DEFAULT_TOP
from distill_sim.condition import Condition
from distill_sim.study.authors import Authors
from distill_sim.study.graph import JUDGING, STAGES, Graph, Ref, number
from distill_sim.study.keys import StudyKeys
from distill_sim.study.scales import Foundation

HAS_CLASSIFIER = find_spec("sklearn") is not None  # of the extra `lab`; without it no AUC is measured
LEAST_TOLD_APART = 20  # answers
FREQUENCY_ANSWERS = 384  # unmarked ones, at least: how often contexts are used


class Examiners:
    """Adds the stages of questioning and judging.

    Args:
        fresh_keys: for each student that is judged under them.
    """

    def __init__(
        self, graph: Graph, foundation: Foundation, keys: StudyKeys, authors: Authors, *, fresh_keys: int
    ) -> None:
        self.graph = graph
        self._foundation = foundation
        self._keys = keys
        self._authors = authors
        self._fresh_keys = fresh_keys
        self._teacher = Ref.of(foundation.teacher)

    def _frequencies(self, condition: Condition) -> list[str]:
        return self._authors.answers(plain(condition), 10_000, None, count=FREQUENCY_ANSWERS)

    def reading(self, condition: Condition, seed: int, student: str) -> str:
        drawn = plain(condition)
        pool = self._foundation.scale.prompts("probes", condition.domains)
        wanted = -(-condition.probe_tokens // max(1, condition.answer_tokens - 1))
        probes = self._authors.chunks(drawn, pool, wanted, ("probes", seed), None, self._teacher)
        frequencies = self._frequencies(condition)
        reference = Ref.of(self._foundation.reference(condition))
        settings = {
            "questioned": student,
            "probes": probes,
            "positions": condition.probe_tokens,
            "frequencies": frequencies,
            "reference": reference.id,
            "model": self._teacher.id,
            "scaled": True,
            "top": DEFAULT_TOP,
            **self._authors.rule(condition),
        }
        private = reference.private("reference") | self._teacher.private("model")
        return self.graph.add("reading", f"{STAGES}:reading", settings, [student, *probes, *frequencies], private)

    def asked(self, condition: Condition, seed: int, questioned: Ref) -> str:
        settings = {
            "questioned": questioned.id,
            "prompts": self._foundation.scale.prompts("probes", condition.domains),
            "n_tokens": condition.sampled_tokens,
            "sampling": {"max_new_tokens": condition.answer_tokens},
            "seed": number("asked", seed),
            "model": self._teacher.id,
        }
        private = self._teacher.private("model") | questioned.private("questioned")
        return self.graph.add("asked", f"{STAGES}:sampled", settings, questioned.needs, private)

    def excess(self, condition: Condition, asked: str) -> str:
        own = self._foundation.reference(condition)
        reference = self._teacher if condition.base == "other-tokenizer" else Ref.of(own)
        frequencies = self._frequencies(condition)
        weighing = {
            "answers": asked,
            "reference": reference.id,
            "frequencies": frequencies,
            "temperature": 1.0,
            "vocab_size": self._foundation.vocab_size,
            "top": DEFAULT_TOP,
            **self._authors.rule(condition),
        }
        needs = [asked, *frequencies]
        return self.graph.add("excess", f"{STAGES}:excess", weighing, needs, reference.private("reference"))

    def judged(self, condition: Condition, key: int, corpus: str, reading: str, excess: str) -> str:
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

    def examined(self, condition: Condition, key: int, reading: str) -> str:
        """The reading alone, under the account's key."""
        looked_for = self._keys.looked_for(condition, key)["account"]
        settings = {"key_id": looked_for.key_id, "reading": reading}
        private = {"key": str(self._keys.file(looked_for))}
        return self.graph.add("examined", f"{JUDGING}:examined", settings, [reading], private)

    def fresh(self, condition: Condition, reading: str, excess: str) -> str:
        settings = {
            "keys": self._fresh_keys,
            "gamma": condition.gamma,
            "context_width": condition.context_width,
            "reading": reading,
            "excess": excess,
        }
        return self.graph.add("fresh", f"{JUDGING}:fresh", settings, [reading, excess])

    def quality(self, condition: Condition, seed: int, corpus: str, student: str, asked: str) -> str:
        """What the mark cost."""
        reference = self.asked(condition, seed, Ref.of(self._foundation.reference(condition)))
        start = Ref.of(self._foundation.start(condition))
        text = self._authors.human("probes", (), start)
        beginning = {"model": start.id, "human": text}
        started = self.graph.add("started", f"{JUDGING}:started", beginning, [text], start.private("model"))
        unmarked = replace(condition, source="unmarked", share=1.0, accounts=1, attack=())
        counterpart = self._authors.corpus(unmarked, seed, 0)
        blind = HAS_CLASSIFIER and condition.answers >= LEAST_TOLD_APART and corpus != counterpart
        again = self._authors.corpus(unmarked, seed + 1, 0) if blind else None
        settings = {
            "corpus": corpus,
            "unmarked": counterpart,
            "unmarked_again": again,
            "model": self._teacher.id,
            "questioned": student,
            "started": started,
            "human": text,
            "wrote": asked,
            "reference_wrote": reference,
        }
        needs = [corpus, counterpart, student, started, text, asked, reference, *([] if again is None else [again])]
        return self.graph.add("quality", f"{JUDGING}:quality", settings, needs, self._teacher.private("model"))


def plain(condition: Condition) -> Condition:
    """How unmarked text of the teacher is drawn, whatever the condition varies."""
    return replace(condition, temperature=1.0, top_p=1.0)
