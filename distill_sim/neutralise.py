"""Guessing a mark without its key, to hide it or to imitate it.

Both attacks score how much oftener a token comes after a context than it would without the mark, by the same rule:

    d(c, v) = ½ · min(2, P(v | c) / P₀(v | c))     where P(v | c) > P₀(v | c), else 0

- *Neutralisation* (Pan et al. 2025): P and P₀ are the student's and its base's, and strength · w(c) · d(c, v) is
  subtracted from the student's logits when it writes.
- *Imitation*, or spoofing (Jovanović et al. 2024): P and P₀ are counted in marked and unmarked answers, and
  strength · d(c, v) is added to another model's logits.

Sources: Pan et al. 2025 (arXiv 2502.11598) and their published code; Jovanović et al. 2024 (arXiv 2402.19361). The
scores are theirs; what is simplified stands at each function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detect.fed import Probe
from detect.questioned.positions import CHUNK, batch_logits, plan_positions
from distill_sim.bias import Bias, biased
from distill_sim.corpus import CorpusRow
from watermark.errors import InputError
from watermark.windows import Occurrences, WindowRule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CAP = 2.0  # ratios beyond are not told apart
ALPHA = 0.3  # how slowly the weight of a context falls with its frequency
LEAST_FREQUENCY = 5e-5  # of a context among all; rarer ones are left alone
TOP = 50  # tokens of a context that are looked at, the student's likeliest
MAX_CONTEXTS = 4096


@contextmanager
def neutralised(model: PreTrainedModel, bias: Bias, strength: float) -> Iterator[PreTrainedModel]:
    """`model` itself, with strength · bias subtracted from its logits inside the block; as `biased` otherwise.

    Args:
        strength: nats; 2.5 in the published configuration.
    """
    with biased(model, bias, -strength) as changed:
        yield changed


def estimate_bias(
    before: PreTrainedModel,
    after: PreTrainedModel,
    texts: Sequence[Probe],
    *,
    rule: WindowRule,
    vocab_size: int,
    top: int = TOP,
    least_frequency: float = LEAST_FREQUENCY,
    max_contexts: int = MAX_CONTEXTS,
    on_positions: Callable[[int], None] | None = None,
) -> Bias:
    """w(c) · d(c, v), from a student before and after its training, for the contexts that are frequent in `texts`.

    As published: P and P₀ are the two models' distributions, each averaged over the positions of the training texts
    that stand behind c; only the `top` tokens of P are looked at; contexts rarer than `least_frequency` are left out;
    w(c) = (log f_max / log f(c))^0.3, f a context's frequency.

    Theirs adds up the biases of widths 0, 1 and 2; so do nested blocks of `neutralised`, an estimate each.

    Simplified: positions are read behind prompt and answer so far, not behind the answer alone. Of very many
    contexts only the `max_contexts` most frequent are kept, for memory. Special tokens are left alone.

    Memory: two float32 [contexts, vocab_size] tables.

    Args:
        before: the base that the student was trained from.
        after: the student.
        texts: what it was trained on, prompt and answer.
        rule: context width and special tokens.
        vocab_size: tokens of the tokenizer; surplus logits are left alone.
        on_positions: called with the number of positions just read.

    Raises:
        InputError: no position can be read, or a model's vocabulary is too small.
    """
    models = [after, before]
    plan = plan_positions(texts, rule, models, vocab_size)
    counts = np.bincount(np.concatenate(plan.index), minlength=len(plan.contexts))
    kept = _frequent(counts, least_frequency, max_contexts)
    row_of = torch.full((len(counts),), -1)
    row_of[torch.from_numpy(kept)] = torch.arange(len(kept))
    sums = [torch.zeros((len(kept), vocab_size)) for _ in models]
    for batch in plan.batches():
        logits = [batch_logits(model, batch, vocab_size) for model in models]
        rows = row_of[batch.context_index]
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            wanted = rows[part] >= 0
            for table, take in zip(sums, logits, strict=True):
                table.index_add_(0, rows[part][wanted], torch.softmax(take(part)[wanted], dim=-1))
        if on_positions is not None:
            on_positions(len(rows))
    weights = context_weights(counts[kept] / counts.sum())
    for table in sums:
        table[:, [i for i in rule.special_ids if i < vocab_size]] = 0
    return _of_tables(plan.contexts[kept], weights, top, *sums)


def _frequent(counts: NDArray[np.intp], least_frequency: float, most: int) -> NDArray[np.intp]:
    """The numbers of the contexts that are frequent enough, in order; of too many the most frequent.

    Raises:
        InputError: none is.
    """
    enough = np.flatnonzero(counts > least_frequency * counts.sum())
    if not len(enough):
        raise InputError(f"no context is more frequent than {least_frequency:g} in these texts; lower that")
    return np.sort(enough[np.argsort(-counts[enough], kind="stable")[:most]])


def context_weights(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """w(c) = (log f_max / log f(c))^0.3, 1 for the most frequent context and for one that is alone; in and out [C]."""
    highest = frequencies.max()
    if highest >= 1:
        return np.ones_like(frequencies)
    weights: NDArray[np.float64] = (np.log(highest) / np.log(frequencies)) ** ALPHA
    return weights


def score(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """d of two probabilities: ½ · min(2, observed / expected) where more was observed than expected, else 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.minimum(CAP, observed / expected)
    return np.where(observed > expected, ratio / CAP, 0.0)


def _of_tables(
    contexts: NDArray[np.uint32], weights: NDArray[np.float64], top: int, observed: Tensor, expected: Tensor
) -> Bias:
    """From two tables [C, vocab], each row as often a distribution as the context was read."""
    likeliest = observed.topk(min(top, observed.shape[1]), dim=-1).indices  # [C, top]
    ratios = score(observed.gather(1, likeliest).double().numpy(), expected.gather(1, likeliest).double().numpy())
    rows, columns = np.nonzero(ratios)
    values = weights[rows] * ratios[rows, columns]
    return Bias.of_cells(contexts, rows, likeliest.numpy()[rows, columns], values)


def imitation(
    marked_rows: Sequence[CorpusRow],
    unmarked_rows: Sequence[CorpusRow],
    *,
    rule: WindowRule,
    least: int = 2,
) -> Bias:
    """d(c, v), from what was counted after c in marked and in unmarked answers: which tokens the mark seems to prefer.

    `biased(teacher, imitation(…), strength)` makes the unmarked teacher write answers that imitate the mark.

    As published: the capped ratio of two conditional frequencies, added to logits; a pair counts when it was met at
    least `least` times in marked answers, and fully when never in unmarked ones.

    Simplified: one context width, it is known, and contexts are in order (theirs are sets of tokens; parts of a context
    and the empty one add their scores, and so does what a token would allow next). A context has to be met in unmarked
    answers too, since what comes after one that is not says nothing about the mark. The unmarked answers are those of
    the same model, where theirs are another's.

    Args:
        marked_rows: answers of the model whose mark is to be imitated.
        unmarked_rows: answers to the same kind of prompts without it.
        rule: context width and special tokens.

    Raises:
        InputError: no pair was counted often enough.
    """
    marked = rule.occurrences([row.token_ids for row in marked_rows])
    unmarked = rule.occurrences([row.token_ids for row in unmarked_rows])
    ours, theirs = _Counts(marked), _Counts(unmarked)
    contexts: dict[bytes, int] = {}
    cells: list[tuple[int, int, float, float]] = []
    for (context, token), count in ours.pairs.items():
        base = theirs.contexts.get(context, 0)
        if count >= least and base:
            row = contexts.setdefault(context, len(contexts))
            cells.append((row, token, count / ours.contexts[context], theirs.pairs.get((context, token), 0) / base))
    if not cells:
        raise InputError(
            f"no pair occurs {least} times in marked answers with its context in unmarked ones too; give more answers"
        )
    rows, tokens, observed, expected = (np.array(column) for column in zip(*cells, strict=True))
    values = score(observed, expected)
    table = np.frombuffer(b"".join(contexts), dtype=np.uint32).reshape(len(contexts), rule.context_width)
    keep = values > 0
    return Bias.of_cells(table, rows[keep], tokens[keep], values[keep])


class _Counts:
    """How often each pair occurs, and each context before a token."""

    def __init__(self, found: Occurrences) -> None:
        times = np.bincount(found.numbers, minlength=len(found.pairs)).tolist()
        self.pairs: dict[tuple[bytes, int], int] = {}
        self.contexts: dict[bytes, int] = {}
        contexts = np.ascontiguousarray(found.pairs.contexts)
        for context, token, count in zip(contexts, found.pairs.tokens.tolist(), times, strict=True):
            code = context.tobytes()
            self.pairs[code, token] = count
            self.contexts[code] = self.contexts.get(code, 0) + count
