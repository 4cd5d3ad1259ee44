"""`reading`: a questioned model's next-token distributions on probe text, as key-independent weights of pairs.

With p_s the questioned model's distribution, p_r the reference's, ℓ = log p and m = (p_s + p_r)/2:

    D(v)    = √m_v · [ℓ_s(v) − ℓ_r(v) − E_m(ℓ_s − ℓ_r)]      at each position
    a(c, v) = Σ D(v) over the positions whose context is c; the K largest |a| of each context are kept

Without a reference a(c, v) = Σ p_s(v): valid, and weak. Source: design.md, *The tests*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from detect.fed import Probe, ProbePairs
from detect.observation import DEFAULT_TOP, ContextMass, Reading
from detect.questioned.expectation import Expected
from detect.questioned.positions import (
    CHUNK,
    Plan,
    batch_logits,
    exclude_cells,
    kept_pairs,
    largest,
    plan_positions,
    said_at,
)
from detect.questioned.usage import READINGS, Usage
from watermark.windows import Document, Pairs, Table, WindowRule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MASS_TOP = 1024  # tokens per context whose probability the green-mass comparison follows


def read_model(
    model: PreTrainedModel,
    probes: Sequence[Probe],
    *,
    rule: WindowRule,
    vocab_size: int,
    reference: PreTrainedModel | None = None,
    exclude: Sequence[Document] = (),
    corpus: Sequence[Document] | None = None,
    scaled: bool = True,
    top: int = DEFAULT_TOP,
    on_positions: Callable[[int], None] | None = None,
) -> Reading:
    """Read a questioned model on probe text.

    Memory: two float32 [contexts, vocab_size] tables. Answers longer than a thousand tokens, or than the models' room,
    are read in overlapping pieces, each position once.

    Args:
        model: the questioned model.
        probes: key-independent text in the key's token ids. A prompt or an answer that carries the mark makes the test
            invalid; the reading keeps their pairs, so that `assess` can withdraw its claim.
        rule: context width and special tokens of the mark (nothing secret).
        vocab_size: tokens of the key's tokenizer; surplus logits are ignored.
        reference: a model published before the key's first use, with the same tokenizer.
        exclude: token ids of more documents whose pairs count nowhere; the probes' prompts are excluded anyway.
        corpus: token ids of unmarked text of the teacher: how often contexts and tokens are used. None: as the
            reference expects it. Only with a reference.
        scaled: False leaves Σ D as it is.
        top: K, how many weights each context keeps.
        on_positions: called with the number of positions just read.

    Raises:
        InputError: no position can be read, a probe holds unknown token ids or a prompt that fills the model, or a
            model's vocabulary is too small.
        ModelError: a model's logits are not finite.
    """
    models = [model] if reference is None else [model, reference]
    plan = plan_positions(probes, rule, models, vocab_size)
    tables, expected = Tables(len(plan.contexts), vocab_size), Expected(vocab_size)
    for batch in plan.batches():
        logits = [batch_logits(one, batch, vocab_size) for one in models]
        for start in range(0, len(batch.rows), CHUNK):
            part = slice(start, start + CHUNK)
            predicted = [torch.log_softmax(take(part), dim=-1) for take in logits]
            tables.add(batch.context_index[part], *predicted)
            if reference is not None:
                expected.add(batch.context_index[part], said_at(batch, part, probes), predicted[1].exp())
        if on_positions is not None:
            on_positions(len(batch.rows))
    prompts = [*(probe.prompt_ids for probe in probes), *exclude]
    if reference is not None and scaled:
        tables.scale(plan.contexts, rule, corpus)
    found = tables.finish(plan, rule, prompts, top, reference is not None, ProbePairs.of(rule, probes))
    return replace(found, expectation=expected.finish(plan.contexts, rule))


class Tables:
    """Sums over positions, one row per distinct context."""

    def __init__(self, contexts: int, vocab_size: int) -> None:
        self._mass = torch.zeros((contexts, vocab_size))  # Σ p_s
        self._difference: Tensor | None = None  # Σ D
        self._positions = torch.zeros(contexts)
        self._argmax: list[tuple[Tensor, Tensor]] = []
        self._expected = torch.zeros(vocab_size, dtype=torch.float64)  # Σ p_r over all positions

    def add(self, index: Tensor, questioned: Tensor, reference: Tensor | None = None) -> None:
        """Add positions: index int64 [P]; log-probabilities of both models, float32 [P, V]."""
        probabilities = questioned.exp()
        self._mass.index_add_(0, index, probabilities)
        self._positions.index_add_(0, index, torch.ones(len(index)))
        self._argmax.append((index, questioned.argmax(dim=-1)))
        if reference is None:
            return
        if self._difference is None:
            self._difference = torch.zeros_like(self._mass)
        mean = reference.exp()
        for row in mean:  # one by one: as doubles all of them together would take as long as a softmax
            self._expected += row
        mean = mean.add_(probabilities).mul_(0.5)
        difference = questioned - reference
        difference -= (mean * difference).sum(dim=-1, keepdim=True)
        self._difference.index_add_(0, index, difference.mul_(mean.sqrt_()))

    def scale(self, contexts: Table, rule: WindowRule, corpus: Sequence[Document] | None) -> None:
        """Weigh contexts and tokens by how often they are used; contexts: uint32 [C, h]."""
        assert self._difference is not None
        positions = self._positions.double().numpy()
        usage = Usage.of(corpus, (self._expected / positions.sum()).numpy(), contexts, rule)
        usage.scale(self._difference, positions, READINGS)

    def finish(
        self,
        plan: Plan,
        rule: WindowRule,
        prompts: Sequence[Any],
        top: int,
        with_reference: bool,
        probes: ProbePairs,
    ) -> Reading:
        table = self._mass if self._difference is None else self._difference
        excluded = exclude_cells(table, plan.contexts, rule, prompts)
        exclude_cells(self._mass, plan.contexts, rule, prompts)
        pairs, weights = kept_pairs(table, plan.contexts, top)
        mass_tokens, mass = largest(self._mass, MASS_TOP)
        return Reading(
            pairs=pairs,
            weights=weights,
            n_positions=plan.n_positions,
            with_reference=with_reference,
            argmax=self._argmax_pairs(plan, rule, prompts),
            mass=ContextMass(plan.contexts, mass_tokens, mass / self._positions.numpy()[:, None]),
            probes=probes,
            excluded=excluded,
        )

    def _argmax_pairs(self, plan: Plan, rule: WindowRule, prompts: Sequence[Any]) -> Pairs:
        rows = torch.cat([index for index, _ in self._argmax]).numpy()
        tokens = torch.cat([token for _, token in self._argmax]).numpy()
        distinct = np.unique(np.column_stack((rows, tokens)), axis=0)
        contexts, tokens = plan.contexts[distinct[:, 0]], distinct[:, 1].astype(np.uint32)
        keep = ~rule.is_special(tokens) & ~rule.occurs(contexts, tokens, prompts)
        return Pairs(contexts[keep], tokens[keep], len(np.unique(distinct[keep, 0])))
