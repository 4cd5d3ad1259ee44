"""Answers that repeat word for word: the sign of a server that does not sample, whose repeats add nothing.

Every request has a seed of its own, so two answers to one prompt are two draws. Looked at are whole answers alone,
never their colours: nothing here depends on a key.
"""

from __future__ import annotations

from collections.abc import Iterable

from detect.questioned.questions import Questions
from detect.questioned.responses import Response

ENOUGH = 3  # answers to prompts that were asked before, none of which differs
COLD = 0.1  # temperature below which an answer is the same again wherever it was sampled


class Repeats:
    """Counts answers to prompts that were answered before; empty ones say nothing."""

    def __init__(self, responses: Iterable[Response] = ()) -> None:
        self._first: dict[int, str] = {}
        self._alike = self._differing = 0
        for one in responses:
            self.add(one)

    def add(self, response: Response) -> None:
        words = response.text.rstrip()  # of two answers alike one may hold a last space more
        if not words:
            return
        first = self._first.get(response.prompt)
        if first is None:
            self._first[response.prompt] = words
        elif first == words:
            self._alike += 1
        else:
            self._differing += 1

    def words(self, questions: Questions) -> str | None:
        """What to say of a server that seems not to sample; None: there is no sign of that."""
        if self._alike < ENOUGH or self._differing:
            return None
        temperature = questions.sampling.temperature
        why = "the server seems not to sample, or to answer from a cache, unless the prompts allow one answer only"
        if temperature < COLD:
            why = f"as was to be expected at temperature {temperature:g}"
        return (
            f"answers repeat: all {self._alike} to prompts that were asked before are word for word the first ones, "
            f"each under another seed: {why}; repeats add nothing"
        )


def advice(questions: Questions) -> str:
    """What to do about it, as long as it goes on."""
    if questions.sampling.temperature < COLD:
        return "raise --temperature, or give more prompts"
    return "see whether it honours temperature and seed, or give more prompts"
