"""A model that copies what it reads, and texts for it to copy: it never saw a key."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from scipy.stats import binom

from detect.counting import WeightTally
from detect.exact.weighted import CumulantFunction, chernoff
from detect.fed import Probe
from tests.detect import material
from tests.detect.material import Pair, distinct_pairs, make_key, windows
from watermark.greenlist import GreenList
from watermark.keys import Key

V, LENGTH = 60, 40
KEY = make_key(300)


class Copier(torch.nn.Module):
    """Logits: the same for every token, and `pull` more for what followed the last token earlier in the input."""

    def __init__(self, pull: float) -> None:
        super().__init__()
        text = SimpleNamespace(vocab_size=V)
        self.config = SimpleNamespace(get_text_config=lambda: text)
        self.device = torch.device("cpu")
        self.pull = pull

    def forward(self, input_ids: Any, attention_mask: Any, use_cache: bool) -> Any:
        logits = torch.zeros((*input_ids.shape, V))
        for row, ids in enumerate(input_ids.tolist()):
            followed: dict[int, set[int]] = {}
            for at, token in enumerate(ids):
                if at:
                    followed.setdefault(ids[at - 1], set()).add(token)
                for next_token in followed.get(token, ()):
                    logits[row, at, next_token] = self.pull
        return SimpleNamespace(logits=logits)

    def answer(self, prompt: list[int], length: int, rng: np.random.Generator) -> list[int]:
        """Drawn from the same law, token by token; written apart from `forward`."""
        ids = list(prompt)
        for _ in range(length):
            weights = np.ones(V)
            weights[[after for before, after in pairwise(ids) if before == ids[-1]]] = math.exp(self.pull)
            ids.append(int(rng.choice(V, p=weights / weights.sum())))
        return ids[len(prompt) :]


def chain(rng: np.random.Generator, green: np.ndarray | None) -> list[int]:
    """LENGTH tokens; all on the green list of the one before, if a table of colours is given."""
    ids = [int(rng.integers(V))]
    while len(ids) < LENGTH:
        choice = np.arange(V) if green is None else np.flatnonzero(green[ids[-1]])
        ids.append(int(rng.choice(choice)))
    return ids


def probes(marked: str, count: int) -> list[Probe]:
    """Prompts and answers, green throughout where `marked` names them."""
    rng = np.random.default_rng(301)
    table = GreenList(KEY).mask(np.arange(V).reshape(-1, 1), V)
    prompt, answer = (table if name in marked else None for name in ("prompts", "answers"))
    return [Probe(chain(rng, prompt), chain(rng, answer)) for _ in range(count)]


def unaudited(one: WeightTally) -> float:
    """log10 of the bound, whatever the probes carry."""
    return chernoff(CumulantFunction(one.weights, one.green.gamma), one.statistic).log10_p


def audited(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]] = ()) -> float:
    """The audit of what was fed, from its definition: every part by itself, Bonferroni over them."""
    texts = [distinct_pairs([text], [], 1) for text in (*prompts, *answers)]
    fed = [windows(text, 1) for text in (*prompts, *answers)]
    in_prompts, in_answers = distinct_pairs(prompts, [], 1), distinct_pairs(answers, [], 1)
    counted = [part for part in (in_prompts, in_answers) if part]
    if len(counted) == 2:
        counted.append(in_prompts | in_answers)
    parts = [two_tails(part) for part in counted]
    times = Counter(pair for text in fed for pair in text)
    if set(times.values()) - {1}:
        parts.append(two_bounds(times))
    texts = [text for text in texts if text]
    if len(texts) > 1:
        parts.append(min(map(two_tails, texts)) + math.log10(len(texts)))
    return min(0.0, min(parts) + math.log10(len(parts)))


def two_bounds(weights: Mapping[Any, float]) -> float:
    """log10 of twice the smaller Chernoff bound of either tail of S, by scipy's minimiser over a plain sum."""
    a = np.array(list(weights.values()), dtype=np.float64)
    green = np.array([is_green(KEY, pair) for pair in weights])
    found = a[green].sum() - 0.25 * a.sum()

    def bound(sign: float) -> float:
        def exponent(theta: float) -> float:
            return float(
                np.sum(np.log(0.75 + 0.25 * np.exp(sign * theta * a))) - theta * sign * (found + 0.25 * a.sum())
            )

        return min(0.0, float(minimize_scalar(exponent, bounds=(0, 60 / a.max()), method="bounded").fun))

    return min(0.0, (min(bound(1.0), bound(-1.0)) + math.log(2)) / math.log(10))


@cache
def is_green(key: Key, pair: Pair) -> bool:
    """As `material.is_green`, each pair once."""
    return material.is_green(key, pair)


def two_tails(pairs: set[Any]) -> float:
    """log10 of twice the smaller tail of the green among pairs, term by term."""
    k, n = sum(is_green(KEY, pair) for pair in pairs), len(pairs)
    terms = binom.logpmf(np.arange(n + 1), n, 0.25)
    smaller = min(logsumexp(terms[k:]), logsumexp(terms[: k + 1]))
    return float(min(0.0, (smaller + math.log(2)) / math.log(10)))
