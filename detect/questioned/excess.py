"""`sampled` against a reference: how much oftener a token was said after a context than the reference expected.

A questioned model answered key-independent prompts, and a reference model reads its answers:

    a(c, v) = n(c, v) − e(c, v)      n: how often v was said after c
                                     e = Σ p_r(v | prompt and answer so far), over the positions whose context is c

The K largest |a| of each context are kept. To first order nothing is stronger: for a questioned model that predicts
p_r(v)·exp(κ·green(c, v)), normalised, Σ a·green is the derivative of its answers' log-likelihood by κ at 0. A
student's κ is larger where it has met a context often, so the weights are scaled by usage (see `usage`).

Where the server listed log-probabilities, p_s of the listed tokens is known, and no draw adds noise:

    a(c, v) = Σ 2·(√p_s(v) − √p_r(v))

over the listed tokens and those that must be less likely than the reference says. What the list leaves of p_s is spread
over the others as p_r is; where that gives a token more than the least of the likeliest, which it cannot have, it gets
that, and only such tokens count besides the listed.
Without a reference a = n, and Σ p_s over the listed tokens: valid, weak.

Three students of SmolLM2 (of `benchmarks.ten_keys`: 9k marked tokens, δ = 2), 2,560 answer tokens each, mean log10 p,
not scaled, measured once with a script that was not kept; the form was chosen on these same students:

    likeliest tokens listed                      none      1      5     20
    distinct pairs                               −1.4
    without a reference: n; Σ p_s, listed        −1.8   −1.6   −1.9   −2.1
    n − e; Σ p_s − p_r, listed                   −2.9   −8.9  −14.4  −18.0
    D of `reading`, listed                              −10.1  −18.3  −26.0
    D of `reading`, listed or cut down                  −10.3  −19.3  −26.6
    √p_s − √p_r, listed or cut down                     −10.7  −19.7  −27.0
    √p_s − √p_r, all tokens, the rest as p_r            −10.4  −17.8  −25.4

Synthetic models rank them alike; √ beats D by little, but needs no logarithm of a 0 that a server may have written.

Source: design.md, *The tests*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from detect.fed import Probe, ProbePairs
from detect.observation import DEFAULT_TOP, Excess, Expectation
from detect.questioned.answer_ids import Listed
from detect.questioned.positions import CHUNK, Batch, batch_logits, exclude_cells, kept_pairs, plan_positions, said_at
from detect.questioned.usage import ANSWERS, Usage
from watermark.windows import Document, WindowRule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LEAST_LEFT = 1e-9  # of a probability that is shared out; below, float32 holds rounding only
_ROUNDING = 2.0**-17  # of 2·√p: float32 logits up to 30 leave about 2^-20


def excess_of(
    reference: PreTrainedModel | None,
    answered: Sequence[Probe],
    *,
    rule: WindowRule,
    vocab_size: int,
    exclude: Sequence[Document] = (),
    listed: Sequence[Sequence[Listed | None] | None] | None = None,
    temperature: float = 1.0,
    corpus: Sequence[Document] | None = None,
    scaled: bool = True,
    top: int = DEFAULT_TOP,
    expectation: Expectation | None = None,
    on_positions: Callable[[int], None] | None = None,
) -> Excess:
    """Weigh a questioned model's answers against what a reference would have said.

    Memory: one float32 [contexts, vocab_size] table. Answers longer than the reference's room are read in overlapping
    pieces, each position once.

    Args:
        reference: a model published before the key's first use, with the key's tokenizer. A poorer one costs evidence,
            never validity. None: there is none.
        answered: every answer behind its prompt, in the key's token ids. Where the prompt is a guess (a server's system
            prompt or chat template is not seen), e is less exact, and the test weaker.
        rule: context width and special tokens of the mark (nothing secret).
        vocab_size: tokens of the key's tokenizer; surplus logits are ignored.
        exclude: token ids of every planned prompt, asked or not, in every form it takes: their pairs count nowhere. The
            prompts of `answered` are excluded anyway.
        listed: of every answer, what the server listed at each of its tokens; None: nothing.
        temperature: the answers were sampled at; e is what the reference would say at the same. Lists are taken to be
            those of temperature 1.
        corpus: token ids of unmarked text of the teacher: how often contexts and tokens are used. None: as the
            reference expects it. Only with a reference.
        scaled: False leaves n − e as it is.
        top: K, how many weights each context keeps.
        expectation: of the reference, by `expectation_of`, on text that depends on no key (the answers may): kept for
            the audit that the reference does not. None: it is not audited.
        on_positions: called with the number of positions just read.

    Raises:
        InputError: no position can be read, an answer holds unknown token ids or a prompt that fills the reference, or
            the reference's vocabulary is too small.
        ModelError: its logits are not finite.
    """
    given = _checked(listed, answered)
    plan = plan_positions(answered, rule, [] if reference is None else [reference], vocab_size, after_last=False)
    table = torch.zeros((len(plan.contexts), vocab_size))
    n_listed, expected = 0, torch.zeros(vocab_size, dtype=torch.float64)
    positions = torch.zeros(len(plan.contexts), dtype=torch.float64)
    for batch in plan.batches():
        logits = None if reference is None else batch_logits(reference, batch, vocab_size)
        for start in range(0, len(batch.rows), CHUNK):
            part = slice(start, start + CHUNK)
            said, lists = _observed(batch, part, answered, given)
            there = None if logits is None else logits(part)
            if there is not None:
                expected += torch.softmax(there, dim=-1).sum(dim=0, dtype=torch.float64)
            contexts = batch.context_index[part]
            table.index_add_(0, contexts, _weights(said, lists, there, vocab_size, temperature))
            positions.index_add_(0, contexts, torch.ones(len(contexts), dtype=torch.float64))
            n_listed += sum(one is not None for one in lists)
        if on_positions is not None:
            on_positions(len(batch.rows))
    prompts = [*(probe.prompt_ids for probe in answered), *exclude]
    if reference is not None and scaled:
        usage = Usage.of(corpus, (expected / plan.n_positions).numpy(), plan.contexts, rule)
        usage.scale(table, positions.numpy(), ANSWERS)
    excluded = exclude_cells(table, plan.contexts, rule, prompts)
    pairs, weights = kept_pairs(table, plan.contexts, top)
    answers = [probe.answer_ids for probe in answered]
    return Excess(
        pairs=pairs,
        weights=weights,
        with_reference=reference is not None,
        n_positions=plan.n_positions,
        probes=ProbePairs.of_prompts(rule, prompts),
        n_tokens=sum(map(len, answers)),
        n_listed=n_listed,
        distinct=rule.extract(answers, prompts).pairs,
        expectation=expectation,
        excluded=excluded,
    )


_Lists = Sequence[Listed | None]


def _checked(listed: Sequence[_Lists | None] | None, answered: Sequence[Probe]) -> list[_Lists]:
    """Of every answer, what was listed at each of its tokens."""
    given: list[_Lists] = []
    for number, probe in enumerate(answered):
        lists, tokens = None if listed is None else listed[number], len(probe.answer_ids)
        if lists is not None and len(lists) != tokens:
            raise ValueError(f"{len(lists)} lists of log-probabilities for {tokens} answer tokens")
        given.append([None] * tokens if lists is None else lists)
    return given


def _observed(
    batch: Batch, part: slice, answered: Sequence[Probe], given: Sequence[_Lists]
) -> tuple[Tensor, list[Listed | None]]:
    """What was said at some positions, int64 [P], and what was listed there."""
    places = zip(batch.probes[part].tolist(), batch.offsets[part].tolist(), strict=True)
    return said_at(batch, part, answered), [given[probe][offset] for probe, offset in places]


def _weights(said: Tensor, lists: _Lists, logits: Tensor | None, vocab_size: int, temperature: float) -> Tensor:
    """float32 [P, V] of positions, with the reference's logits there, float32 [P, V], or None."""
    expected = torch.zeros((len(said), vocab_size)) if logits is None else torch.softmax(logits / temperature, dim=-1)
    weights = expected.neg_()
    weights[torch.arange(len(said)), said] += 1
    for row, one in enumerate(lists):
        if one is not None:
            theirs = None if logits is None else torch.softmax(logits[row], dim=-1)
            weights[row] = listed_weights(one, theirs, vocab_size)
    return weights


def listed_weights(listed: Listed, reference: Tensor | None, vocab_size: int) -> Tensor:
    """Of one position, float32 [V]: with a reference's probabilities, float32 [V], 2·(√p_s − √p_r); without, p_s.

    What both say alike but for rounding weighs nothing: rounding errors depend on the probabilities, and a test does
    not look at how large all weights are.
    """
    known = {token: value for token, value in listed.log_probabilities.items() if 0 <= token < vocab_size}
    tokens, own = torch.tensor(list(known), dtype=torch.long), _probabilities(list(known.values()))
    weights = torch.zeros(vocab_size)
    if reference is None:
        weights[tokens] = own
        return weights
    if listed.least is not None:
        left = (1 - own.sum()).clamp(min=_LEAST_LEFT) / (1 - reference[tokens].sum()).clamp(min=_LEAST_LEFT)
        most = _probabilities([listed.least])
        weights = torch.where(reference * left > most, 2 * (most.sqrt() - reference.sqrt()), 0)
    weights[tokens] = 2 * (own.sqrt() - reference[tokens].sqrt())
    weights[weights.abs() < _ROUNDING] = 0
    return weights


def _probabilities(logarithms: Sequence[float]) -> Tensor:
    """float32; servers round, so that some logarithm may be above 0."""
    return torch.tensor(logarithms, dtype=torch.float64).clamp(max=0).exp().float()
