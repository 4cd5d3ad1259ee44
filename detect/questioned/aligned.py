"""`reading` of a questioned model whose tokenizer is not the key's.

The probes are known as text. At a place in an answer where both tokenizers have a boundary, the context is the h tokens
of the key's tokenizer before it, and the model, fed with its own tokens of all that comes before, says how likely each
of its tokens is there. Tokens that are one token of the same text in both vocabularies carry the weights a(c, v) of
`detect.questioned.reading`, all others none. Any weights that depend on no key are valid; the detour costs power alone.
ADR 0010.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detect.fed import Probe, ProbePairs
from detect.observation import DEFAULT_TOP, Reading
from detect.questioned.alignment import Spelled, Vocabulary, meeting, pieces, shared_tokens
from detect.questioned.positions import (
    CHUNK,
    LONGEST,
    WARM_UP,
    Batch,
    Piece,
    Plan,
    batch_logits,
    distinct_contexts,
    joint_batches,
    room,
)
from detect.questioned.reading import Tables
from detect.questioned.retokenised import fed_ids
from watermark.errors import InputError
from watermark.windows import Document, Table, WindowRule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NOTHING = -1e4  # log-probability of a token that is not shared: its probability is 0, its logarithm is finite


@dataclass(frozen=True)
class TextProbe:
    """A probe as the key's tokenizer has it, and its words.

    Attributes:
        ids: prompt (chat template included) and answer in the key's token ids.
        prompt: the prompt's words, for the questioned model's own chat template; None: `prompt_text` is fed as it is.
        prompt_text: the words of the prompt's ids, where there is no `prompt`.
        text: of the answer.
        answer: its tokens and their places in `text`.
    """

    ids: Probe
    prompt: str | None
    prompt_text: str
    text: str
    answer: Spelled = field(repr=False)

    @classmethod
    def of(cls, ids: Probe, prompt: str | None, vocabulary: Vocabulary) -> TextProbe:
        """Spell out a probe.

        Args:
            ids: as `make_probes` makes them with the key's tokenizer.
            prompt: the prompt's words, where they are known.
            vocabulary: of the key's tokenizer.
        """
        text, answer = vocabulary.read(ids.answer_ids)
        return cls(ids, prompt, vocabulary.read(ids.prompt_ids)[0] if prompt is None else "", text, answer)


@dataclass(frozen=True)
class Reader:
    """A model and its own tokenizer."""

    model: PreTrainedModel
    vocabulary: Vocabulary

    def prompt_ids(self, probe: TextProbe) -> list[int]:
        """What the model is given before the answer: through its own chat template, else as its tokenizer begins."""
        return fed_ids(self.vocabulary.tokenizer, probe.prompt, probe.prompt_text)

    def prompt_words(self, probe: TextProbe) -> str:
        """The same as text, special tokens left out."""
        return self.vocabulary.read(self.prompt_ids(probe))[0]


@dataclass(frozen=True)
class Coverage:
    """How much of what the key's tokenizer sees the questioned model could be asked about.

    Attributes:
        positions: where the key's tokenizer has a whole context in an answer.
        aligned: of them, where every tokenizer has a boundary.
        shared: tokens that all vocabularies have.
        vocabulary: tokens of the key's tokenizer.
        mass: share of the questioned model's probability that falls on shared tokens, mean over the aligned positions.
    """

    positions: int
    aligned: int
    shared: int
    vocabulary: int
    mass: float


@dataclass(frozen=True)
class AlignedReading:
    """A reading in the key's token ids, and what it covers."""

    reading: Reading
    coverage: Coverage


def read_aligned(
    questioned: Reader,
    probes: Sequence[TextProbe],
    *,
    rule: WindowRule,
    vocabulary: Vocabulary,
    reference: Reader | None = None,
    exclude: Sequence[Document] = (),
    corpus: Sequence[Document] | None = None,
    scaled: bool = True,
    top: int = DEFAULT_TOP,
    on_positions: Callable[[int], None] | None = None,
) -> AlignedReading:
    """Read a questioned model in its own tokens, for a mark in those of the key's tokenizer.

    Args:
        questioned: the model with its own tokenizer.
        probes: key-independent, spelled by `vocabulary`.
        rule: context width and special tokens of the mark.
        vocabulary: of the key's tokenizer.
        reference: a model published before the key's first use, with the questioned model's tokenizer or any other.
        exclude: ids (of the key's tokenizer) of more documents whose pairs count nowhere. The probes' prompts, as the
            key's tokenizer has them and as the models are fed them, are excluded anyway.
        corpus: as in `read_model`, in ids of the key's tokenizer.
        scaled: as in `read_model`.
        top: K, how many weights each context keeps.
        on_positions: called with the number of positions just read.

    Raises:
        InputError: no position is aligned, no token shared, a prompt fills a model, or a model has too few logits.
        ModelError: a model's logits are not finite.
    """
    readers = [questioned] if reference is None else [questioned, reference]
    _check_widths(readers)
    key_ids, *columns = shared_tokens([vocabulary, *(reader.vocabulary for reader in readers)])
    if not len(key_ids):
        raise InputError("the tokenizers share no token: an aligned reading has nothing to read; use the sampled test")
    plans, positions = _plans(readers, probes, rule)
    tables, mass = Tables(len(plans[0].contexts), len(vocabulary)), 0.0
    for batches in joint_batches(plans):
        index = batches[0].context_index
        logits = [_logits(reader, batch) for reader, batch in zip(readers, batches, strict=True)]
        for start in range(0, len(index), CHUNK):
            part = slice(start, start + CHUNK)
            shares = [take(part)[:, ids] for take, ids in zip(logits, columns, strict=True)]
            mass += float(shares[0].exp().sum())
            tables.add(index[part], *(_in_key_ids(share, key_ids, len(vocabulary)) for share in shares))
        if on_positions is not None:
            on_positions(len(index))
    prompts = [*_prompts(readers, probes, vocabulary), *exclude]
    if reference is not None and scaled:
        tables.scale(plans[0].contexts, rule, corpus)
    audited = ProbePairs.of(rule, [probe.ids for probe in probes])
    reading = tables.finish(plans[0], rule, prompts, top, reference is not None, audited)
    aligned = plans[0].n_positions
    return AlignedReading(reading, Coverage(positions, aligned, len(key_ids), len(vocabulary), mass / aligned))


def _check_widths(readers: Sequence[Reader]) -> None:
    for reader in readers:
        width, tokens = reader.model.config.get_text_config().vocab_size, len(reader.vocabulary)
        if width < tokens:
            raise InputError(f"a model has {width} logits, its own tokenizer {tokens} tokens: they do not fit")


def _plans(readers: Sequence[Reader], probes: Sequence[TextProbe], rule: WindowRule) -> tuple[list[Plan], int]:
    """One plan for each model, all of the same positions; and how many the key's tokenizer has, aligned or not."""
    sequences: list[list[Piece]] = [[] for _ in readers]
    tables: list[Table] = []
    positions = 0
    for number, probe in enumerate(probes):
        contexts, offsets = rule.contexts(probe.ids.answer_ids)
        prompts = [reader.prompt_ids(probe) for reader in readers]
        answers = [reader.vocabulary.tokenise(probe.text) for reader in readers]
        found, tokens = meeting(probe.answer.places[offsets], answers)
        after_something = (tokens + [len(prompt) for prompt in prompts] > 0).all(axis=1)
        found, tokens = found[after_something], tokens[after_something]
        positions += len(offsets) if all(map(len, prompts)) else int(np.count_nonzero(offsets))
        longest = [_longest(r, len(p), len(a.ids)) for r, p, a in zip(readers, prompts, answers, strict=True)]
        for start, end, part in pieces(tokens, longest, WARM_UP):
            for i, prompt in enumerate(prompts):
                ids = np.concatenate((np.array(prompt, dtype=np.int64), answers[i].ids[start[i] : end[i]]))
                at = len(prompt) + tokens[part, i] - start[i] - 1  # the logits at a token predict the next one
                sequences[i].append(Piece(ids, at, number, offsets[found[part]]))
            tables.append(contexts[found[part]])
    if not sum(map(len, tables)):
        raise InputError(
            f"none of the {positions} positions of the probes is a boundary in every tokenizer: nothing can be read"
        )
    index, distinct = distinct_contexts(tables)
    return [Plan(own, index, distinct) for own in sequences], positions


def _longest(reader: Reader, prompt: int, answer: int) -> int:
    """Answer tokens that fit behind a prompt, in one piece."""
    space = room(reader.model)
    longest = min(LONGEST, space - prompt)
    if answer > longest and longest <= 2 * WARM_UP:
        raise InputError(f"a prompt of {prompt} tokens leaves no room for its answer in a model of {space}; shorten it")
    return longest


def _logits(reader: Reader, batch: Batch) -> Callable[[slice], Tensor]:
    """Log-probabilities over the model's own tokens, float32 [P, V], handed out in slices."""
    take = batch_logits(reader.model, batch, len(reader.vocabulary))
    return lambda part: torch.log_softmax(take(part), dim=-1)


def _in_key_ids(share: Tensor, key_ids: NDArray[np.int64], tokens: int) -> Tensor:
    """Log-probabilities of shared tokens, float32 [P, S] → over the key's tokens, [P, tokens], given one is shared."""
    out = torch.full((len(share), tokens), _NOTHING)
    out[:, torch.from_numpy(key_ids)] = torch.log_softmax(share, dim=-1)
    return out


def _prompts(readers: Sequence[Reader], probes: Sequence[TextProbe], vocabulary: Vocabulary) -> list[Document]:
    """Every prompt in the key's tokens: as it has them, and the words each model is fed."""
    words = dict.fromkeys(reader.prompt_words(probe) for probe in probes for reader in readers)
    fed = [vocabulary.tokenise(text).ids for text in words if text]
    return [*(probe.ids.prompt_ids for probe in probes), *fed]
