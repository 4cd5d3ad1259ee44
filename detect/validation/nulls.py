"""Null texts under fresh keys: what the tests of a text say where no key had a part in it.

The texts are fixed and the keys are drawn: that is the experiment the null speaks of. Trial i has key i and text i mod
M of its row, so no key is used twice, and given the texts the trials are independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.colouring import under_every_key
from detect.exact.evalue import log10_e_value
from detect.exact.scan import of_all, smallest
from detect.exact.uniformity import kolmogorov_smirnov_p, randomised_p
from detect.validation.keys import fresh_key, row_seed
from detect.validation.rates import LEVELS, attainable_size, count_log10_p, counts_below
from watermark.greenlist import GreenList
from watermark.keys.parameters import Parameters
from watermark.windows import Document, Occurrences, Pairs, WindowRule

TESTS = ("count", "e-value", "scan")

_log10_e = lru_cache(maxsize=1 << 16)(log10_e_value)


@dataclass(frozen=True)
class PreparedText:
    """What of a text does not depend on the key.

    Attributes:
        pairs: the distinct pairs that count.
        stretches: of each document with a pair: which of them it holds, in reading order, for the scan.
    """

    pairs: Pairs
    stretches: tuple[NDArray[np.intp], ...]

    def measure(self, colours: NDArray[np.bool_], gamma: float) -> list[float]:
        """Under one key, from its colours of the pairs: how many are green, and the scan's log10 p.

        Null: the colours do not depend on the text. The scan's is a valid bound, one-sided (upper).
        """
        scanned = of_all([smallest(colours[stretch], gamma) for stretch in self.stretches])
        return [float(np.count_nonzero(colours)), scanned]


def prepare(
    rule: WindowRule, texts: Sequence[Sequence[Document]], prompts: Sequence[Document] = ()
) -> list[PreparedText]:
    """Each text by itself, a sequence of documents; pairs that occur in `prompts` count in none."""
    found = [rule.occurrences(text) for text in texts]
    if not found:
        return []
    contexts = np.concatenate([one.pairs.contexts for one in found])
    tokens = np.concatenate([one.pairs.tokens for one in found])
    ends = np.cumsum([len(one.pairs) for one in found])[:-1]
    counted = np.split(~rule.occurs(contexts, tokens, prompts), ends)  # looked up at once: prompts may be many
    return [_prepared(*one) for one in zip(found, counted, map(len, texts), strict=True)]


def _prepared(found: Occurrences, counted: NDArray[np.bool_], documents: int) -> PreparedText:
    number = np.cumsum(counted) - 1  # of a pair among those that count
    contexts = found.pairs.contexts[counted]
    pairs = Pairs(contexts, found.pairs.tokens[counted], len(np.unique(contexts, axis=0)))
    stretches = []
    for document in range(documents):
        here = found.numbers[found.documents == document]
        _, first = np.unique(here, return_index=True)
        here = here[np.sort(first)]
        stretches.append(number[here[counted[here]]])
    return PreparedText(pairs, tuple(one for one in stretches if len(one)))


@dataclass(frozen=True)
class NullRow:
    """Texts of one population and length, and how many keys they are scored under."""

    population: str
    length: int
    texts: tuple[PreparedText, ...]
    keys: int

    @property
    def name(self) -> str:
        return f"text/{self.population}/{self.length}"

    def score(self, parameters: Parameters, seed: bytes, on_key: Callable[[int], None] | None = None) -> dict[str, Any]:
        """What the tests say, JSON-ready: counts of small p by test.

        Null of every p counted here: the text does not depend on the key. `count` is exact, `e-value` (as 1/E) and
        `scan` are valid bounds, all one-sided (upper).

        Args:
            seed: of the study.
            on_key: called with 1 for each key done.
        """
        own = row_seed(seed, self.name)
        which = np.arange(self.keys) % len(self.texts)
        measured = np.zeros((self.keys, 2))
        for number, text in enumerate(self.texts):
            mine = np.flatnonzero(which == number)
            measured[mine] = _under(text, parameters, own, mine, on_key)
        n = np.array([len(text.pairs) for text in self.texts])[which]
        return _said(measured, n, parameters.gamma_65536 / 65536, own)


def _under(
    text: PreparedText,
    parameters: Parameters,
    seed: bytes,
    keys: NDArray[np.intp],
    on_key: Callable[[int], None] | None,
) -> NDArray[np.float64]:
    def green_list(at: int) -> GreenList:
        return GreenList(fresh_key(seed, int(keys[at]), parameters))

    return under_every_key(text.pairs, len(keys), green_list, text.measure, on_key)


def _said(measured: NDArray[np.float64], n: NDArray[np.intp], gamma: float, seed: bytes) -> dict[str, Any]:
    green = measured[:, 0].astype(np.int64)
    trials = list(zip(green.tolist(), n.tolist(), strict=True))
    log10_p = {
        "count": np.array([count_log10_p(k, pairs, gamma) for k, pairs in trials]),
        "e-value": np.array([min(0.0, -_log10_e(k, pairs, gamma)) for k, pairs in trials]),
        "scan": measured[:, 1],
    }
    rng = np.random.default_rng(np.frombuffer(seed, dtype=np.uint32))
    sizes, times = np.unique(n, return_counts=True)
    attainable = [
        sum(int(t) * attainable_size(int(size), gamma, level) for size, t in zip(sizes, times, strict=True))
        for level in LEVELS
    ]
    return {
        "pairs": [int(n.min()), int(np.median(n)), int(n.max())],
        "green": int(green.sum()),
        "scored": int(n.sum()),
        "counts": {test: counts_below(log10_p[test]) for test in TESTS},
        "smallest_log10_p": {test: float(log10_p[test].min()) for test in TESTS},
        "sizes": attainable,
        "uniformity_p": float(kolmogorov_smirnov_p(randomised_p(green, n, gamma, rng))),
        "key_seed": seed.hex(),
    }
