"""How far the sampled test goes, and how its answers are counted: all at the end, or one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import click

from detect.cli.asked import Asked
from detect.cli.output import progress
from detect.wording import amount

if TYPE_CHECKING:
    from detect.counting import CountTally
    from detect.observation import Texts
    from detect.sequential import Sequential
    from watermark.keys import Key
    from watermark.windows import Document


@dataclass(frozen=True)
class Extent:
    """When the asking ends.

    Attributes:
        tokens: once the answers hold so many tokens; None: not by that.
        maximum_pairs: of an e-process, which ends it, and may do so earlier; None: there is none.
        level: at which the e-process stops early.
        planned: a plan says so.
        weighed: the answers are weighed, so there is no e-value.
    """

    tokens: int | None
    maximum_pairs: int | None
    level: float
    planned: bool
    weighed: bool

    @classmethod
    def of(cls, asked: Asked, level: float, default_tokens: int | None = None) -> Extent:
        tokens = asked.sample_tokens
        if asked.maximum_pairs is None and tokens is None:
            tokens = default_tokens
        weighed = "sampled/excess" in asked.sampled_tests
        return cls(tokens, asked.maximum_pairs, level, asked.tests is not None, weighed)

    @property
    def words(self) -> str:
        if self.maximum_pairs is None:
            return f"at least {amount(self.tokens or 0, 'token')}"
        ends = f"until the e-process ended, at most {amount(self.maximum_pairs, 'pair')}"
        return ends if self.tokens is None else f"{ends}, or {amount(self.tokens, 'token')} or more"

    @property
    def counted(self) -> str:
        """Which of the answers count, whatever was asked beyond them."""
        ends = "holds them" if self.maximum_pairs is None else "ends it"
        return f"the smallest run of requests 0, 1, 2 … that {ends} counts"

    @property
    def settled(self) -> str:
        """By what it was."""
        return "as planned" if self.planned else "fixed when the command was given"

    @property
    def next_look(self) -> str | None:
        """What must be known before one looks again after asking for more."""
        if self.planned:
            return None
        if self.weighed:
            return "a second, larger look is a second test, and no p here allows for it"
        return "a second, larger look must be judged by log10_e"


class Counting:
    """Counts answers as `extent` says.

    Args:
        prompts: token ids of all that are planned, in every form: their pairs count nowhere.
    """

    def __init__(self, key: Key, prompts: Sequence[Document], extent: Extent) -> None:
        self._key, self._prompts, self._extent = key, prompts, extent
        self._shown = 0
        self._heard: dict[int, Document] = {}

    @property
    def stop(self) -> Callable[[int, Document], bool] | None:
        """Takes an answer with its number, in order, and says whether that was the last; None: nothing is looked at."""
        return None if self._test is None else self._hear

    @property
    def ended_itself(self) -> bool:
        """Whether an e-process came to its end."""
        return self._test is not None and self._test.stopped is not None

    def tally(self, answers: Sequence[Document]) -> CountTally:
        from detect.counting import tally

        if self._test is not None:
            return self._test.result()
        return tally(self._key, answers, self._prompts, test="sampled", tokenizer_checked=True)

    def texts(self, answers: Sequence[Document], ids: Sequence[str] | None = None) -> Texts:
        """What `tally` counts; of an e-process the answers that it looked at, in their order."""
        from detect.observation import Texts

        heard = answers if self._test is None else [self._heard[number] for number in range(self._test.n_answers)]
        return Texts(heard, self._prompts, ids)

    @contextmanager
    def progress(self, ctx: click.Context, name: str) -> Iterator[Callable[[int], None]]:
        """A bar in tokens, or in pairs of the e-process; yields a function to call with the tokens just added."""
        pairs = self._extent.maximum_pairs is not None
        total = self._extent.maximum_pairs if pairs else self._extent.tokens
        with progress(ctx, name, total or 0, "pair" if pairs else "token") as advance:
            yield (lambda _: advance(self._new_pairs())) if pairs else advance

    def _hear(self, number: int, answer: Document) -> bool:
        assert self._test is not None
        self._heard.setdefault(number, answer)
        return self._test.add(number, answer)

    def _new_pairs(self) -> int:
        before, self._shown = self._shown, 0 if self._test is None else self._test.n_scored
        return self._shown - before

    @cached_property
    def _test(self) -> Sequential | None:
        if self._extent.maximum_pairs is None:
            return None
        from detect.sequential import Sequential

        return Sequential(
            self._key, self._prompts, self._extent.level, self._extent.maximum_pairs, tokenizer_checked=True
        )
