"""Which probes tell most, said beforehand by the reference alone: the questioned model and the key have no part in it.

A mark of strength δ makes p(v) into p(v)·e^{δ·green(v)}, normalised. At a position where the reference predicts p, what
one token says about a small δ (its Fisher information, the variance of `green` under p) is, averaged over keys,

    I = γ(1 − γ)(1 − Σ p_v²)

so a position where the next token is all but settled says nothing. A student has learnt most about contexts that were
frequent in its training: with f their counts in unmarked answers of the same teacher (without such a corpus: in the
candidates themselves), a context c weighs √(f + ½). Positions that share it show the same colours again and count less
and less, n alike ones like √n:

    F(probes) = Σ_c √(f_c + ½) · √( Σ I_i² over the positions i of the probes whose context is c )

F grows with every probe, and by less the more there are, so taking the probe that adds most per token, again and again,
is a sound way to spend a number of tokens. Figures: ADR 0011.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from detect.fed import Probe
from detect.questioned.positions import CHUNK, Plan, batch_logits, plan_positions
from detect.questioned.usage import context_counts
from watermark.errors import InputError, ModelError
from watermark.windows import Document, WindowRule

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Information:
    """What each position of each probe is expected to say.

    Attributes:
        tokens: intp [N], answer tokens of each probe.
        contexts: per probe intp [n], the number of the context at each position that is read.
        values: per probe float64 [n], I at each of them.
        weights: float64 [C], √(f + ½) of each context.
    """

    tokens: NDArray[np.intp]
    contexts: list[NDArray[np.intp]] = field(repr=False)
    values: list[NDArray[np.float64]] = field(repr=False)
    weights: NDArray[np.float64] = field(repr=False)

    def total(self, chosen: Sequence[int]) -> float:
        """F of some of the probes, by their numbers."""
        squares = np.zeros(len(self.weights))
        for number in chosen:
            np.add.at(squares, self.contexts[number], self.values[number] ** 2)
        return float((self.weights * np.sqrt(squares)).sum())


def expected_information(
    reference: PreTrainedModel,
    probes: Sequence[Probe],
    *,
    rule: WindowRule,
    vocab_size: int,
    gamma: float = 0.25,
    corpus: Sequence[Document] | None = None,
    on_positions: Callable[[int], None] | None = None,
) -> Information:
    """What reading each probe is expected to say about a mark, by the reference model alone.

    Args:
        reference: a model published before the key's first use.
        probes: candidates, in the key's token ids; those without a readable position say nothing.
        rule: context width and special tokens of the mark (nothing secret).
        vocab_size: tokens of the key's tokenizer; surplus logits are ignored.
        gamma: green fraction. The same factor everywhere: it changes the amounts, not the choice.
        corpus: token ids of unmarked answers of the teacher, which tell how frequent a context was in training. None:
            the candidates' own answers, which tell it less well.
        on_positions: called with the number of positions just read.

    Raises:
        InputError: as `detect.questioned.reading.read_model`.
        ModelError: the reference's logits are not finite.
    """
    plan = plan_positions(probes, rule, [reference], vocab_size)
    contexts: list[list[NDArray[np.intp]]] = [[] for _ in probes]
    values: list[list[NDArray[np.float64]]] = [[] for _ in probes]
    for batch in plan.batches():
        logits = batch_logits(reference, batch, vocab_size)
        starts = range(0, len(batch.rows), CHUNK)
        spread = torch.cat([1 - torch.softmax(logits(slice(at, at + CHUNK)), -1).square().sum(-1) for at in starts])
        index = batch.context_index.numpy()
        said = gamma * (1 - gamma) * spread.double().clamp_min(0).numpy()
        if not np.isfinite(said).all():
            raise ModelError("the reference's logits are not finite numbers: it is damaged, or saved in too few bits")
        for number in np.unique(batch.probes):
            own = batch.probes == number
            contexts[number].append(index[own])
            values[number].append(said[own])
        if on_positions is not None:
            on_positions(len(batch.rows))
    return Information(
        np.array([len(probe.answer_ids) for probe in probes]),
        [np.concatenate([np.zeros(0, dtype=np.intp), *parts]) for parts in contexts],
        [np.concatenate([np.zeros(0), *parts]) for parts in values],
        np.sqrt(_counts(plan, corpus, rule) + 0.5),
    )


def _counts(plan: Plan, corpus: Sequence[Document] | None, rule: WindowRule) -> NDArray[Any]:
    """How often each context of the plan occurs in the corpus, or without one in the plan itself: [C]."""
    if corpus is None:
        return np.bincount(np.concatenate(plan.index), minlength=len(plan.contexts))
    return context_counts(corpus, plan.contexts, rule)


def choose(information: Information, tokens: int) -> list[int]:
    """Numbers of the probes to take, most telling per token first, as many whole ones as `tokens` answer tokens allow.

    Greedy on F, and deterministic: of equals the first. What a smaller number of tokens would choose comes first, but
    for probes that only then still fitted.

    Raises:
        InputError: not one probe that says anything fits.
    """
    squares, left = np.zeros(len(information.weights)), tokens
    # Gains only fall as probes are taken, so one that heads the heap after being brought up to date is the best.
    heap = [(-np.inf, number) for number in range(len(information.tokens)) if len(information.values[number])]
    heapq.heapify(heap)
    chosen: list[int] = []
    while heap:
        _, number = heapq.heappop(heap)
        length = int(information.tokens[number])
        if length > left:
            continue
        gain, added = _gain(information, number, squares)
        rate = -gain / length
        if heap and (rate, number) > heap[0]:
            heapq.heappush(heap, (rate, number))
        elif gain > 0:
            np.add.at(squares, *added)
            left -= length
            chosen.append(number)
    if not chosen:
        smallest = min((int(n) for n in information.tokens if n), default=0)
        raise InputError(f"no probe fits into {tokens:,} tokens: the shortest has {smallest:,}; choose more tokens")
    return chosen


def _gain(
    information: Information, number: int, squares: NDArray[np.float64]
) -> tuple[float, tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """By how much F grows when a probe is taken, and what is then added to Σ I² of which contexts."""
    touched, inverse = np.unique(information.contexts[number], return_inverse=True)
    added = np.zeros(len(touched))
    np.add.at(added, inverse, information.values[number] ** 2)
    before = squares[touched]
    gains = information.weights[touched] * (np.sqrt(before + added) - np.sqrt(before))
    return float(gains.sum()), (touched, added)
