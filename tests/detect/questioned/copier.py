"""A model that copies what it reads, and texts for it to copy: it never saw a key."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import binom

from detect.counting import WeightTally
from detect.exact.weighted import CumulantFunction, chernoff
from detect.observation import Probe
from tests.detect.material import is_green, make_key
from watermark.greenlist import GreenList

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


def two_tails(pairs: set[Any]) -> float:
    """log10 of twice the smaller tail of the green among pairs, term by term."""
    k, n = sum(is_green(KEY, pair) for pair in pairs), len(pairs)
    terms = binom.logpmf(np.arange(n + 1), n, 0.25)
    smaller = min(logsumexp(terms[k:]), logsumexp(terms[: k + 1]))
    return float(min(0.0, (smaller + math.log(2)) / math.log(10)))
