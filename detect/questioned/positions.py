"""Where a model is read on given texts, the logits there, and tables of weights with one row per distinct context.

What `reading` and `sampled` against a reference have in common. No key comes in.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detect.fed import Excluded, Probe
from watermark.errors import InputError, ModelError
from watermark.windows import Document, Pairs, WindowRule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK = 32  # positions whose full distributions are worked on at once
BATCH_TOKENS = 768  # per forward pass, padding included
LONGEST = 1024  # answer tokens in one piece: the logits of a piece are in memory at once
WARM_UP = 64  # tokens of the piece before that a later piece begins with, unread; at least any context width


@dataclass(frozen=True)
class Batch:
    """Probes of similar length in one forward pass, and the positions to read from it."""

    ids: Tensor  # int64 [B, L], padded on the right
    attention: Tensor  # int64 [B, L]
    rows: Tensor  # int64 [P], sequence within the batch
    columns: Tensor  # int64 [P], the logits there predict the token after the context
    context_index: Tensor  # int64 [P], which distinct context
    probes: NDArray[np.intp]  # [P], number of the probe
    offsets: NDArray[np.intp]  # [P], place in its answer of the token that is predicted


@dataclass(frozen=True)
class Piece:
    """A piece of a probe."""

    ids: NDArray[np.int64]  # prompt + answer
    columns: NDArray[np.intp]  # where to read
    probe: int
    offsets: NDArray[np.intp]  # as in `Batch`


@dataclass(frozen=True)
class Plan:
    """Which positions of which sequences are read."""

    sequences: list[Piece]
    index: list[NDArray[np.intp]]  # per sequence, the distinct context read at each of its columns
    contexts: NDArray[np.uint32]  # [C, h] distinct contexts

    @property
    def n_positions(self) -> int:
        return sum(len(sequence.columns) for sequence in self.sequences)

    def batches(self) -> Iterator[Batch]:
        """Every position once, longest sequences first."""
        for (batch,) in joint_batches([self]):
            yield batch

    def batch(self, members: list[int]) -> Batch:
        """Some of the sequences, by their numbers."""
        parts = [self.sequences[member] for member in members]
        ids = torch.zeros((len(members), max(len(part.ids) for part in parts)), dtype=torch.long)
        attention = torch.zeros_like(ids)
        for row, part in enumerate(parts):
            ids[row, : len(part.ids)] = torch.from_numpy(part.ids)
            attention[row, : len(part.ids)] = 1
        counts = [len(part.columns) for part in parts]
        return Batch(
            ids=ids,
            attention=attention,
            rows=torch.from_numpy(np.repeat(np.arange(len(members)), counts)),
            columns=torch.from_numpy(np.concatenate([part.columns for part in parts])),
            context_index=torch.from_numpy(np.concatenate([self.index[member] for member in members])),
            probes=np.repeat([part.probe for part in parts], counts),
            offsets=np.concatenate([part.offsets for part in parts]),
        )


def joint_batches(plans: Sequence[Plan]) -> Iterator[tuple[Batch, ...]]:
    """The same positions of several plans, a batch of each: every position once, longest sequences first.

    Args:
        plans: of as many sequences, with as many columns each; the ids, and so the columns, may differ.
    """
    lengths = [max(len(sequence.ids) for sequence in same) for same in zip(*(p.sequences for p in plans), strict=True)]
    order = sorted((i for i, s in enumerate(plans[0].sequences) if len(s.columns)), key=lambda i: lengths[i])
    while order:
        size = max(1, BATCH_TOKENS // lengths[order[-1]])
        members, order = order[-size:], order[:-size]
        yield tuple(plan.batch(members) for plan in plans)


def plan_positions(
    probes: Sequence[Probe],
    rule: WindowRule,
    models: Sequence[PreTrainedModel],
    vocab_size: int,
    *,
    after_last: bool = True,
) -> Plan:
    """Where to read: every position whose whole context lies in an answer and holds no special token.

    Args:
        models: all that will be read there; a piece fits into each. None: only what was said is looked at.
        vocab_size: tokens of the key's tokenizer.
        after_last: also the position after an answer's last token, where nothing was said.

    Raises:
        InputError: no position can be read, a probe holds unknown token ids or a prompt that fills the model, or a
            model's vocabulary is too small.
    """
    _check_probes(probes, vocab_size)
    smallest = min(map(room, models), default=sys.maxsize)
    sequences, tables = [], []
    for number, probe in enumerate(probes):
        prompt = np.asarray(probe.prompt_ids, dtype=np.int64).reshape(-1)
        answer = np.asarray(probe.answer_ids, dtype=np.int64).reshape(-1)
        contexts, offsets = rule.contexts(answer)
        for start, end, read in _pieces(len(prompt), len(answer), smallest):
            after = len(prompt) + offsets - start - 1  # the logits at a token predict the next one
            wanted = (offsets > read) & (offsets <= end) & (after >= 0)
            if not after_last:
                wanted &= offsets < len(answer)
            ids = np.concatenate((prompt, answer[start:end]))
            sequences.append(Piece(ids, after[wanted], number, offsets[wanted]))
            tables.append(contexts[wanted])
    counts = [len(sequence.columns) for sequence in sequences]
    if not sum(counts):
        least = max(rule.context_width, 1) if after_last else rule.context_width + 1
        raise InputError(f"no probe has a readable position: each needs at least {least} answer tokens")
    for model in models:
        width = model.config.get_text_config().vocab_size
        if width < vocab_size:
            raise InputError(f"a model has {width} logits, the key's tokenizer {vocab_size} tokens: they do not fit")
    return Plan(sequences, *distinct_contexts(tables))


def distinct_contexts(tables: Sequence[NDArray[np.uint32]]) -> tuple[list[NDArray[np.intp]], NDArray[np.uint32]]:
    """Contexts [P, h] of several sequences → of each the numbers [P] of its contexts, and the distinct ones [C, h]."""
    together = np.concatenate(tables)
    distinct, inverse = np.unique(together, axis=0, return_inverse=True)
    if together.shape[1] == 0:  # np.unique has nothing to compare in rows without columns
        distinct, inverse = distinct[:1], np.zeros(len(together), dtype=np.intp)
    return np.split(inverse.reshape(-1), np.cumsum([len(table) for table in tables])[:-1]), distinct


def room(model: PreTrainedModel) -> int:
    """How many tokens fit into the model."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize


def _check_probes(probes: Sequence[Probe], vocab_size: int) -> None:
    for number, probe in enumerate(probes):
        for ids in (probe.prompt_ids, probe.answer_ids):
            if len(ids) and not 0 <= min(ids) <= max(ids) < vocab_size:
                raise InputError(
                    f"probe {number} (from 0) holds a token id outside 0 … {vocab_size - 1}, the key's tokenizer: "
                    "tokenise the probes with that"
                )


def _pieces(prompt: int, answer: int, room: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, read) of each piece of an answer: it holds answer[start:end], read are positions beyond `read`.

    Args:
        prompt: length of the prompt, which comes before every piece.
        answer: length of the answer; 0 has no piece.
        room: tokens that fit into the model.
    """
    longest = min(LONGEST, room - prompt)
    if answer > longest and longest <= 2 * WARM_UP:
        raise InputError(f"a prompt of {prompt} tokens leaves no room for its answer in a model of {room}; shorten it")
    start, end, read = 0, min(answer, longest), -1
    while end > max(0, read):
        yield start, end, read
        start, read = end - WARM_UP, end
        end = min(answer, start + longest)


def said_at(batch: Batch, part: slice, probes: Sequence[Probe]) -> Tensor:
    """The tokens at some of a batch's positions, int64 [P]; −1 after an answer's last."""
    answers = [probes[number].answer_ids for number in batch.probes[part].tolist()]
    places = zip(answers, batch.offsets[part].tolist(), strict=True)
    return torch.tensor([int(answer[at]) if at < len(answer) else -1 for answer, at in places])


def batch_logits(model: PreTrainedModel, batch: Batch, vocab_size: int) -> Callable[[slice], Tensor]:
    """Logits at the batch's positions, float32 [P, V], handed out in slices so that no second copy is made."""
    first, last = int(batch.columns.min()), int(batch.columns.max())
    arguments: dict[str, Any] = {"input_ids": batch.ids, "attention_mask": batch.attention, "use_cache": False}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        arguments["logits_to_keep"] = torch.arange(first, last + 1)
    else:
        first = 0
    with torch.inference_mode():
        logits = model(**{name: _to(value, model.device) for name, value in arguments.items()}).logits
    rows, columns = batch.rows.to(logits.device), (batch.columns - first).to(logits.device)
    return lambda part: logits[rows[part], columns[part], :vocab_size].float().cpu()


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def exclude_cells(
    table: Tensor, contexts: NDArray[np.uint32], rule: WindowRule, documents: Sequence[Document]
) -> Excluded:
    """Set the cells of special tokens and of pairs that occur in a document to zero; table [C, V], contexts [C, h].

    Returns:
        The pairs that occur in a document and had a weight.
    """
    table[:, [i for i in rule.special_ids if i < table.shape[1]]] = 0
    row_of = {context.tobytes(): row for row, context in enumerate(contexts)}
    pairs = rule.extract(documents).pairs
    rows, columns, kept = [], [], []
    for number, (context, token) in enumerate(
        zip(np.ascontiguousarray(pairs.contexts), pairs.tokens.tolist(), strict=True)
    ):
        row = row_of.get(context.tobytes())
        if row is not None and token < table.shape[1]:
            rows.append(row)
            columns.append(token)
            kept.append(number)
    at = torch.tensor(rows, dtype=torch.long), torch.tensor(columns, dtype=torch.long)
    weights = table[at].double().numpy()
    table[at] = 0
    weighed = np.array(kept, dtype=np.intp)[weights != 0]
    found = Pairs(pairs.contexts[weighed], pairs.tokens[weighed], len(set(np.array(rows)[weights != 0].tolist())))
    return Excluded(found, weights[weights != 0])


def kept_pairs(table: Tensor, contexts: NDArray[np.uint32], top: int) -> tuple[Pairs, NDArray[np.float64]]:
    """Of each context the `top` weights of largest magnitude that are not zero, with their pairs.

    Args:
        table: float32 [C, V].
        contexts: uint32 [C, h], distinct, in order.

    Raises:
        ModelError: a weight is not finite.
    """
    tokens, weights = largest(table, top)
    if not np.isfinite(weights).all():
        raise ModelError("a model's logits are not finite numbers: it is damaged, or was saved in too few bits")
    rows, columns = np.nonzero(weights)
    pairs = Pairs(contexts[rows], tokens[rows, columns], len(np.unique(rows)))
    return pairs, weights[rows, columns].astype(np.float64)


def largest(table: Tensor, top: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Per row the `top` entries of largest magnitude, in order of tokens: tokens and values, both [C, top]."""
    tokens, values = [], []
    for rows in table.split(CHUNK):
        found = rows.abs().topk(min(top, rows.shape[1]), dim=-1).indices.sort(dim=-1).values
        tokens.append(found)
        values.append(rows.gather(1, found))
    return torch.cat(tokens).numpy().astype(np.uint32), torch.cat(values).numpy()
