"""`reading`: a questioned model's next-token distributions on probe text, as key-independent weights of pairs.

With p_s the questioned model's distribution, p_r the reference's, ℓ = log p and m = (p_s + p_r)/2:

    D(v)    = √m_v · [ℓ_s(v) − ℓ_r(v) − E_m(ℓ_s − ℓ_r)]      at each position
    a(c, v) = Σ D(v) over the positions whose context is c; the K largest |a| of each context are kept

Without a reference a(c, v) = Σ p_s(v): valid, and weak. Source: design.md, *The tests*.
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

from detect.observation import DEFAULT_TOP, ContextMass, Probe, ProbePairs, Reading
from watermark.errors import InputError, ModelError
from watermark.windows import Document, Pairs, WindowRule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MASS_TOP = 1024  # tokens per context whose probability the green-mass comparison follows
_BATCH_TOKENS = 768  # per forward pass, padding included
_CHUNK = 32  # positions whose full distributions are worked on at once
_LONGEST = 1024  # answer tokens in one piece: the logits of a piece are in memory at once
_WARM_UP = 64  # tokens of the piece before that a later piece begins with, unread; at least any context width


def read_model(
    model: PreTrainedModel,
    probes: Sequence[Probe],
    *,
    rule: WindowRule,
    vocab_size: int,
    reference: PreTrainedModel | None = None,
    exclude: Sequence[Document] = (),
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
        top: K, how many weights each context keeps.
        on_positions: called with the number of positions just read.

    Raises:
        InputError: no position can be read, a probe holds unknown token ids or a prompt that fills the model, or a
            model's vocabulary is too small.
        ModelError: a model's logits are not finite.
    """
    models = [model] if reference is None else [model, reference]
    _check_probes(probes, vocab_size)
    plan = _plan(probes, rule, min(map(_room, models)))
    for one in models:
        width = one.config.get_text_config().vocab_size
        if width < vocab_size:
            raise InputError(f"a model has {width} logits, the key's tokenizer {vocab_size} tokens: they do not fit")
    tables = _Tables(len(plan.contexts), vocab_size)
    for batch in plan.batches():
        logits = [_batch_logits(one, batch, vocab_size) for one in models]
        for start in range(0, len(batch.rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            tables.add(batch.context_index[part], *(torch.log_softmax(take(part), dim=-1) for take in logits))
        if on_positions is not None:
            on_positions(len(batch.rows))
    prompts = [*(probe.prompt_ids for probe in probes), *exclude]
    return tables.finish(plan, rule, prompts, top, reference is not None, ProbePairs.of(rule, probes))


@dataclass(frozen=True)
class _Batch:
    """Probes of similar length in one forward pass, and the positions to read from it."""

    ids: Tensor  # int64 [B, L], padded on the right
    attention: Tensor  # int64 [B, L]
    rows: Tensor  # int64 [P], probe within the batch
    columns: Tensor  # int64 [P], the logits there predict the token after the context
    context_index: Tensor  # int64 [P], which distinct context


@dataclass(frozen=True)
class _Plan:
    sequences: list[NDArray[np.int64]]  # prompt + answer
    columns: list[NDArray[np.intp]]  # per sequence, where to read
    index: list[NDArray[np.intp]]  # per sequence, the distinct context read there
    contexts: NDArray[np.uint32]  # [C, h] distinct contexts

    @property
    def n_positions(self) -> int:
        return sum(len(columns) for columns in self.columns)

    def batches(self) -> Iterator[_Batch]:
        order = sorted((i for i, c in enumerate(self.columns) if len(c)), key=lambda i: len(self.sequences[i]))
        while order:
            width = len(self.sequences[order[-1]])
            size = max(1, _BATCH_TOKENS // width)
            members, order = order[-size:], order[:-size]
            yield self._batch(members, width)

    def _batch(self, members: list[int], width: int) -> _Batch:
        ids = torch.zeros((len(members), width), dtype=torch.long)
        attention = torch.zeros_like(ids)
        for row, member in enumerate(members):
            sequence = torch.from_numpy(self.sequences[member])
            ids[row, : len(sequence)] = sequence
            attention[row, : len(sequence)] = 1
        columns = [self.columns[member] for member in members]
        rows = np.repeat(np.arange(len(members)), [len(c) for c in columns])
        index = np.concatenate([self.index[member] for member in members])
        return _Batch(ids, attention, *(torch.from_numpy(a) for a in (rows, np.concatenate(columns), index)))


def _room(model: PreTrainedModel) -> int:
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


def _plan(probes: Sequence[Probe], rule: WindowRule, room: int) -> _Plan:
    """Where to read: every position whose whole context lies in an answer and holds no special token."""
    sequences, columns, tables = [], [], []
    for probe in probes:
        prompt = np.asarray(probe.prompt_ids, dtype=np.int64).reshape(-1)
        answer = np.asarray(probe.answer_ids, dtype=np.int64).reshape(-1)
        contexts, offsets = rule.contexts(answer)
        for start, end, read in _pieces(len(prompt), len(answer), room):
            after = len(prompt) + offsets - start - 1  # the logits at a token predict the next one
            wanted = (offsets > read) & (offsets <= end) & (after >= 0)
            sequences.append(np.concatenate((prompt, answer[start:end])))
            columns.append(after[wanted])
            tables.append(contexts[wanted])
    if not sum(map(len, columns)):
        raise InputError(
            f"no probe has a readable position: each needs at least {max(rule.context_width, 1)} answer tokens"
        )
    distinct, inverse = np.unique(np.concatenate(tables), axis=0, return_inverse=True)
    if rule.context_width == 0:  # np.unique has nothing to compare in rows without columns
        distinct, inverse = distinct[:1], np.zeros(sum(map(len, columns)), dtype=np.intp)
    index = np.split(inverse.reshape(-1), np.cumsum([len(c) for c in columns])[:-1])
    return _Plan(sequences, columns, index, distinct)


def _pieces(prompt: int, answer: int, room: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, read) of each piece of an answer: it holds answer[start:end], read are positions beyond `read`.

    Args:
        prompt: length of the prompt, which comes before every piece.
        answer: length of the answer; 0 has no piece.
        room: tokens that fit into the model.
    """
    longest = min(_LONGEST, room - prompt)
    if answer > longest and longest <= 2 * _WARM_UP:
        raise InputError(f"a prompt of {prompt} tokens leaves no room for its answer in a model of {room}; shorten it")
    start, end, read = 0, min(answer, longest), -1
    while end > max(0, read):
        yield start, end, read
        start, read = end - _WARM_UP, end
        end = min(answer, start + longest)


def _batch_logits(model: PreTrainedModel, batch: _Batch, vocab_size: int) -> Callable[[slice], Tensor]:
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


class _Tables:
    """Sums over positions, one row per distinct context."""

    def __init__(self, contexts: int, vocab_size: int) -> None:
        self._mass = torch.zeros((contexts, vocab_size))  # Σ p_s
        self._difference: Tensor | None = None  # Σ D
        self._positions = torch.zeros(contexts)
        self._argmax: list[tuple[Tensor, Tensor]] = []

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
        mean = reference.exp().add_(probabilities).mul_(0.5)
        difference = questioned - reference
        difference -= (mean * difference).sum(dim=-1, keepdim=True)
        self._difference.index_add_(0, index, difference.mul_(mean.sqrt_()))

    def finish(
        self,
        plan: _Plan,
        rule: WindowRule,
        prompts: Sequence[Any],
        top: int,
        with_reference: bool,
        probes: ProbePairs,
    ) -> Reading:
        table = self._mass if self._difference is None else self._difference
        for one in (self._mass, table):
            _exclude(one, plan.contexts, rule, prompts)
        tokens, weights = _largest(table, top)
        if not np.isfinite(weights).all():
            raise ModelError("a model's logits are not finite numbers: it is damaged, or was saved in too few bits")
        rows, columns = np.nonzero(weights)
        mass_tokens, mass = _largest(self._mass, MASS_TOP)
        return Reading(
            pairs=Pairs(plan.contexts[rows], tokens[rows, columns], len(np.unique(rows))),
            weights=weights[rows, columns].astype(np.float64),
            n_positions=plan.n_positions,
            with_reference=with_reference,
            argmax=self._argmax_pairs(plan, rule, prompts),
            mass=ContextMass(plan.contexts, mass_tokens, mass / self._positions.numpy()[:, None]),
            probes=probes,
        )

    def _argmax_pairs(self, plan: _Plan, rule: WindowRule, prompts: Sequence[Any]) -> Pairs:
        rows = torch.cat([index for index, _ in self._argmax]).numpy()
        tokens = torch.cat([token for _, token in self._argmax]).numpy()
        distinct = np.unique(np.column_stack((rows, tokens)), axis=0)
        contexts, tokens = plan.contexts[distinct[:, 0]], distinct[:, 1].astype(np.uint32)
        keep = ~rule.is_special(tokens) & ~rule.occurs(contexts, tokens, prompts)
        return Pairs(contexts[keep], tokens[keep], len(np.unique(distinct[keep, 0])))


def _exclude(table: Tensor, contexts: NDArray[np.uint32], rule: WindowRule, prompts: Sequence[Any]) -> None:
    """Set the cells of special tokens and of pairs that occur in a prompt to zero; table [C, V], contexts [C, h]."""
    table[:, [i for i in rule.special_ids if i < table.shape[1]]] = 0
    row_of = {context.tobytes(): row for row, context in enumerate(contexts)}
    pairs = rule.extract(prompts).pairs
    for context, token in zip(np.ascontiguousarray(pairs.contexts), pairs.tokens.tolist(), strict=True):
        row = row_of.get(context.tobytes())
        if row is not None and token < table.shape[1]:
            table[row, token] = 0


def _largest(table: Tensor, top: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Per row the `top` entries of largest magnitude, in order of tokens: tokens and values, both [C, top]."""
    tokens, values = [], []
    for rows in table.split(_CHUNK):
        found = rows.abs().topk(min(top, rows.shape[1]), dim=-1).indices.sort(dim=-1).values
        tokens.append(found)
        values.append(rows.gather(1, found))
    return torch.cat(tokens).numpy().astype(np.uint32), torch.cat(values).numpy()
