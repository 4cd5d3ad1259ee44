"""What the mark costs: what readers may notice of it in answers, and what a student is worth.

    answers   repetition · length · a blind classifier (AUC); and perplexity, which is `distill_sim.fluency`'s
    students  held-out loss on human text · cloze accuracy

No function here opens a key. All are deterministic: same rows, model and seed, same result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from detect.exact.interval import clopper_pearson
from distill_sim.corpus import CorpusRow
from distill_sim.examples import Example, collate, make_examples
from distill_sim.fluency import Fluency, mean_nats
from watermark.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REPEATED_GRAM = 4  # tokens
DISTINCT_GRAMS = (1, 2)
CLOZE_BATCH = 64  # sequences


class _AsDict:
    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class Length(_AsDict):
    """Tokens of an answer: mean, its standard error (0 for one answer), median."""

    n_answers: int
    mean: float
    standard_error: float
    median: float


def length(rows: Sequence[CorpusRow]) -> Length:
    """How long the answers are, empty ones included.

    Raises:
        InputError: no rows.
    """
    if not rows:
        raise InputError("a corpus without rows has no length; give at least one answer")
    tokens = np.array([len(row.token_ids) for row in rows], dtype=np.float64)
    error = float(tokens.std(ddof=1) / math.sqrt(len(rows))) if len(rows) > 1 else 0.0
    return Length(len(rows), float(tokens.mean()), error, float(np.median(tokens)))


@dataclass(frozen=True)
class Repetition(_AsDict):
    """How often answers say the same again.

    Attributes:
        n_answers: those of 4 tokens or more.
        seq_rep_4: share of an answer's sequences of 4 tokens that stood in it before, mean over those answers.
        n_tokens: that distinct_1 and distinct_2 were counted on.
        distinct_1, distinct_2: share of different ones among all answers' single tokens, and among their sequences of
            2. They fall as a corpus grows: compare corpora of as many tokens.
    """

    n_answers: int
    seq_rep_4: float
    n_tokens: int
    distinct_1: float
    distinct_2: float


def repetition(rows: Sequence[CorpusRow], *, max_tokens: int | None = None) -> Repetition:
    """Repetition within answers, and variety over all of them; sequences are of token ids and never cross answers.

    Args:
        max_tokens: distinct-n reads the first so many answer tokens in the order of the rows; None: all.

    Raises:
        InputError: no answer has 4 tokens.

    Source: seq-rep-n: Welleck et al. 2020 (arXiv 1908.04319), section 6, for whole answers without their prompts;
        distinct-n: Li et al. 2016 (arXiv 1510.03055), section 5, per sequence rather than per word.
    """
    answers = [row.token_ids for row in rows]
    shares = [_repeated(ids) for ids in answers if len(ids) >= REPEATED_GRAM]
    if not shares:
        raise InputError(f"no answer has {REPEATED_GRAM} tokens: there is no repetition to measure")
    first = _first_tokens(answers, max_tokens)
    one, two = (_distinct(first, n) for n in DISTINCT_GRAMS)
    return Repetition(len(shares), math.fsum(shares) / len(shares), sum(map(len, first)), one, two)


def _grams(ids: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return list(zip(*(ids[i:] for i in range(n)), strict=False))


def _repeated(ids: Sequence[int]) -> float:
    grams = _grams(ids, REPEATED_GRAM)
    return 1.0 - len(set(grams)) / len(grams)


def _distinct(answers: Sequence[Sequence[int]], n: int) -> float:
    grams = list(chain.from_iterable(_grams(ids, n) for ids in answers))
    return len(set(grams)) / len(grams) if grams else 0.0


def _first_tokens(answers: Sequence[tuple[int, ...]], max_tokens: int | None) -> list[tuple[int, ...]]:
    if max_tokens is None:
        return list(answers)
    if max_tokens < 1:
        raise InputError(f"max_tokens is {max_tokens}; it must be at least 1")
    kept, left = [], max_tokens
    for ids in answers:
        kept.append(ids[:left])
        left -= len(kept[-1])
    return kept


@dataclass(frozen=True)
class HeldOut(_AsDict):
    """Mean negative log-likelihood in nats of text that nobody trained on."""

    n_texts: int
    n_tokens: int
    nats_per_token: float


def held_out_loss(
    model: PreTrainedModel,
    rows: Sequence[CorpusRow],
    *,
    max_length: int = 256,
    on_tokens: Callable[[int], None] | None = None,
) -> HeldOut:
    """The loss of training on rows that were not trained on: human text, to compare students by.

    Students with different tokenizers predict different tokens: their losses per token do not compare.

    Args:
        max_length: tokens of prompt and answer; the answer's end is cut. A row without prompt is read from its second
            token on.
        on_tokens: called with the number of tokens just scored.

    Raises:
        InputError: as `distill_sim.examples.make_examples`.
    """
    examples = make_examples(rows, max_length, model.get_input_embeddings().num_embeddings)
    found: Fluency = mean_nats(model, examples, on_tokens=on_tokens)
    return HeldOut(len(examples), found.n_tokens, found.nats_per_token)


@dataclass(frozen=True)
class Cloze(_AsDict):
    """How often a model ranks the true continuation of a text above others.

    Attributes:
        n: texts asked about.
        correct: of them, those whose true continuation beat all `distractors`; a tie is a miss.
        chance: accuracy of blind guessing, 1 / (distractors + 1).
        ci95: Clopper–Pearson interval of the accuracy, as if texts were independent.
    """

    n: int
    correct: int
    accuracy: float
    ci95: tuple[float, float]
    distractors: int
    chance: float


def cloze(
    model: PreTrainedModel,
    rows: Sequence[CorpusRow],
    *,
    context_tokens: int = 24,
    continuation_tokens: int = 12,
    distractors: int = 3,
    items: int = 200,
    seed: int = 0,
    on_items: Callable[[int], None] | None = None,
) -> Cloze:
    """Which of several continuations does the model find likeliest, per token?

    Each of `items` rows (drawn with the seed; all when there are fewer) is cut after `context_tokens` of its answer,
    prompt not counted. What follows, up to `continuation_tokens`, is the true continuation; the distractors are the
    continuations, cut in the same way, of other rows. The model ranks them by mean log-likelihood per token.
    A model needs no instruction tuning for it, and about a million parameters are enough to be above chance.

    Args:
        rows: held-out texts. Those too short for a context and half a continuation are left out.
        on_items: called with the number of texts just asked about.

    Raises:
        InputError: fewer than `distractors` + 1 different continuations, a number below 1, or an id the model
            doesn't have.

    Source: choice by length-normalised likelihood, Brown et al. 2020 (arXiv 2005.14165), section 2.4; the distractors
        are not adversarial, as those of HellaSwag (Zellers et al. 2019, arXiv 1905.07830) are.
    """
    numbers = {"context_tokens": context_tokens, "continuation_tokens": continuation_tokens}
    for name, value in {**numbers, "distractors": distractors, "items": items}.items():
        if value < 1:
            raise InputError(f"cloze: {name} is {value}; it must be at least 1")
    least = context_tokens + (continuation_tokens + 1) // 2
    texts = [row for row in rows if len(row.token_ids) >= least]
    ends = [row.token_ids[context_tokens : context_tokens + continuation_tokens] for row in texts]
    if len(set(ends)) <= distractors:
        raise InputError(
            f"cloze: {len(set(ends))} different continuations in texts of {least} tokens or more, but "
            f"{distractors + 1} are needed; give more or longer texts, or ask for fewer distractors"
        )
    _refuse_unknown_ids(model, texts)
    draw = np.random.default_rng(seed)
    asked = [int(i) for i in draw.permutation(len(texts))[:items]]
    sequences = []
    for i in asked:
        context = texts[i].prompt_ids + texts[i].token_ids[:context_tokens]
        choices = [ends[i], *_others(ends, i, distractors, draw)]
        sequences += [Example(context + end, len(context)) for end in choices]
    scores = np.array(_mean_log_likelihoods(model, sequences, distractors + 1, on_items)).reshape(len(asked), -1)
    correct = int((scores[:, 0] > scores[:, 1:].max(axis=1)).sum())
    return Cloze(
        n=len(asked),
        correct=correct,
        accuracy=correct / len(asked),
        ci95=clopper_pearson(correct, len(asked)),
        distractors=distractors,
        chance=1 / (distractors + 1),
    )


def _others(ends: Sequence[tuple[int, ...]], own: int, count: int, draw: np.random.Generator) -> list[tuple[int, ...]]:
    """`count` continuations that differ from the row's own and from each other."""
    chosen: list[tuple[int, ...]] = []
    for i in draw.permutation(len(ends)):
        if ends[i] != ends[own] and ends[i] not in chosen:
            chosen.append(ends[i])
        if len(chosen) == count:
            break
    return chosen


def _refuse_unknown_ids(model: PreTrainedModel, rows: Sequence[CorpusRow]) -> None:
    size = model.get_input_embeddings().num_embeddings
    for row in rows:
        if max(row.prompt_ids + row.token_ids) >= size:
            raise InputError(f"row {row.id!r} holds a token id that the model doesn't have: it has only {size}")


def _mean_log_likelihoods(
    model: PreTrainedModel, examples: Sequence[Example], per_item: int, on_items: Callable[[int], None] | None
) -> list[float]:
    """Mean log-likelihood in nats of every example's learnt tokens, whole items a batch."""
    import torch
    from torch.nn.functional import cross_entropy

    from distill_sim.trainer import answer_logits

    scores: list[float] = []
    step = max(1, CLOZE_BATCH // per_item) * per_item
    for start in range(0, len(examples), step):
        several = examples[start : start + step]
        batch = collate(several)
        with torch.inference_mode():
            nats = cross_entropy(*answer_logits(model, batch["input_ids"], batch["labels"]), reduction="none")
        rows = nats.double().split([example.trained for example in several])
        scores += [-float(row.mean()) for row in rows]
        if on_items is not None:
            on_items(len(several) // per_item)
    return scores
