"""A sparse bias, contexts × tokens, that is added to a model's logits: what somebody without the key thinks of a mark.

Both sides of one coin use it: `distill_sim.neutralise` estimates it to subtract it from a student (which hides a mark)
or to add it to an unmarked teacher (which imitates one).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watermark.errors import InputError
from watermark.files import new_file

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FORMAT = "taggant-bias/1"
_NONE = -1  # stands where there is no token; as uint32 larger than any token id


@dataclass(frozen=True)
class Bias:
    """For each of C contexts some tokens, and how much each is preferred there; N in all.

    Attributes:
        contexts: uint32 [C, h], distinct.
        starts: int64 [C + 1]; tokens and values of context i stand from starts[i] to starts[i + 1].
        tokens: uint32 [N], distinct within a context.
        values: float32 [N], finite. Of no unit: times a strength in nats they are added to logits.
    """

    contexts: NDArray[np.uint32]
    starts: NDArray[np.int64]
    tokens: NDArray[np.uint32]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, dtype, dimensions in (
            ("contexts", "u4", 2),
            ("starts", "i8", 1),
            ("tokens", "u4", 1),
            ("values", "f4", 1),
        ):
            array = getattr(self, name)
            if array.dtype != np.dtype(dtype) or array.ndim != dimensions:
                raise ValueError(f"{name} of type {array.dtype} and shape {list(array.shape)}")
        steps = np.diff(self.starts)
        if len(self.starts) != len(self.contexts) + 1 or self.starts[0] != 0 or (steps < 0).any():
            raise ValueError("starts do not belong to the contexts")
        if not self.starts[-1] == len(self.tokens) == len(self.values):
            raise ValueError("starts, tokens and values are not of one table")
        cells = np.column_stack((np.repeat(np.arange(len(steps)), steps), self.tokens))
        if len(self._rows) != len(self.contexts) or len(np.unique(cells, axis=0)) != len(cells):
            raise ValueError("a context, or a token of one, stands there twice")
        if not np.isfinite(self.values).all():
            raise ValueError("a value is not finite")

    @property
    def context_width(self) -> int:
        return int(self.contexts.shape[1])

    def __len__(self) -> int:
        """How many pairs of context and token have a value."""
        return int(self.tokens.shape[0])

    @classmethod
    def of_cells(
        cls, contexts: NDArray[np.uint32], rows: NDArray[Any], tokens: NDArray[Any], values: NDArray[Any]
    ) -> Bias:
        """From cells in any order; contexts without one are left out.

        Args:
            contexts: uint32 [C, h], distinct.
            rows: [N], the context of each cell, by its number.
            tokens: [N].
            values: [N].
        """
        order = np.lexsort((tokens, rows))
        used, counts = np.unique(rows[order], return_counts=True)
        return cls(
            np.ascontiguousarray(contexts[used], dtype=np.uint32),
            np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            tokens[order].astype(np.uint32),
            values[order].astype(np.float32),
        )

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        return {context.tobytes(): row for row, context in enumerate(np.ascontiguousarray(self.contexts))}

    def cells(self, contexts: NDArray[np.uint32]) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.float32]]:
        """The cells of a table [P, vocab] in which row i stands behind contexts[i], uint32 [P, h].

        Returns:
            row, token and value of each cell, all [M].
        """
        known = [self._rows.get(context.tobytes(), -1) for context in np.ascontiguousarray(contexts)]
        found = np.array(known, dtype=np.intp).reshape(len(known))
        places = np.flatnonzero(found >= 0)
        begin, end = self.starts[found[places]], self.starts[found[places] + 1]
        counts = end - begin
        at = np.arange(counts.sum()) + np.repeat(begin - np.cumsum(counts) + counts, counts)
        return np.repeat(places, counts), self.tokens[at].astype(np.int64), self.values[at]

    def save(self, path: str | Path) -> None:
        """Write it as safetensors; the same bias gives the same bytes.

        Raises:
            InputError: something is at `path`.
        """
        from safetensors.numpy import save

        arrays = {
            name: np.ascontiguousarray(getattr(self, name)) for name in ("contexts", "starts", "tokens", "values")
        }
        with new_file(path) as handle:
            handle.write(save(arrays, metadata={"format": FORMAT}))

    @classmethod
    def load(cls, path: str | Path) -> Bias:
        """Read what `save` wrote.

        Raises:
            InputError: not such a file, or damaged.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as file:
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise ValueError("another format")
                return cls(**{name: file.get_tensor(name) for name in ("contexts", "starts", "tokens", "values")})
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror or 'no such file'})") from None
        except (SafetensorError, ValueError) as error:
            raise InputError(f"{path} is damaged or not {FORMAT}: {str(error)[:200]}") from None


@contextmanager
def biased(model: PreTrainedModel, bias: Bias, strength: float) -> Iterator[PreTrainedModel]:
    """`model` itself, with strength · bias added to its logits for as long as the block lasts. No weight changes.

    Whatever calls the model inside the block sees other logits: `read_model`, `excess_of`, `answer`, a loss from
    logits; not the loss that a model computes itself from `labels`. Blocks may be nested: their biases add up.

    Contexts are the last h tokens fed to the model, prompt included. With h > 1 and a cache the tokens before are
    remembered from the call before; a cache of another origin is refused. Sampling and greedy search are exact; beam
    search, which reorders a cache's rows unseen, is not, unless h ≤ 1.

    Args:
        strength: nats for a value of 1; negative to subtract.

    Raises:
        InputError: the bias names tokens the model doesn't have. Inside the block: a call without input ids, or one
            that goes on from a cache whose tokens were not seen.
    """
    width = model.config.get_text_config().vocab_size
    if len(bias) and int(bias.tokens.max()) >= width:
        raise InputError(f"the bias names token {int(bias.tokens.max())}, but the model has only {width}")
    handle = model.register_forward_hook(_Hook(bias, strength), with_kwargs=True)
    try:
        yield model
    finally:
        handle.remove()


class _Hook:
    """Adds a bias to the logits of a forward call."""

    def __init__(self, bias: Bias, strength: float) -> None:
        self._bias = bias
        self._strength = strength
        self._earlier = max(0, bias.context_width - 1)
        self._seen: _Seen | None = None

    def __call__(self, model: Any, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
        from transformers.modeling_utils import slice_logits_to_keep

        ids = named.get("input_ids", arguments[0] if arguments else None)
        if ids is None or not isinstance(getattr(output, "logits", None), Tensor):
            raise InputError("a bias on logits needs a call with input_ids that returns logits by name")
        joined = torch.cat((self._before(ids, named, output), ids.detach().long().cpu()), dim=1)
        contexts = _contexts(joined, self._bias.context_width, ids.shape[1])  # [batch, length, h]
        kept = slice_logits_to_keep(contexts, named.get("logits_to_keep", 0)).flatten(0, -2)
        shape = output.logits.shape
        flat = output.logits.reshape(-1, shape[-1])
        if len(kept) != len(flat):
            raise InputError("a bias on logits needs a model that returns logits for exactly the positions asked for")
        rows, tokens, values = self._bias.cells(kept.numpy().astype(np.uint32))
        added = torch.from_numpy(values * np.float32(self._strength)).to(flat)
        flat.index_put_(_places(flat, rows, tokens), added, accumulate=True)
        output.logits = flat.view(shape)
        return output

    def _before(self, ids: Tensor, named: dict[str, Any], output: Any) -> Tensor:
        """The h − 1 tokens before those of this call, int64 [batch, h − 1]; and remember for the next."""
        blank = torch.full((ids.shape[0], self._earlier), _NONE)
        cache = named.get("past_key_values")
        cache = getattr(output, "past_key_values", None) if cache is None else cache
        if not self._earlier or cache is None:
            return blank
        length = int(cache.get_seq_length())  # with the tokens of this call
        past = length - ids.shape[1]
        before = blank
        if past:
            seen = self._seen
            if seen is None or seen.cache() is not cache or seen.length != past or len(seen.tail) != ids.shape[0]:
                raise InputError(
                    f"a bias of context width {self._bias.context_width} needs the tokens before, and this cache was "
                    "filled elsewhere; feed whole texts, or generate inside the block"
                )
            before = seen.tail
        tail = torch.cat((before, ids.detach().long().cpu()), dim=1)[:, -self._earlier :]
        self._seen = _Seen(weakref.ref(cache), length, tail)
        return before


@dataclass(frozen=True)
class _Seen:
    """A cache, how many tokens it held, and the last h − 1 of them in every row."""

    cache: weakref.ref[Any]
    length: int
    tail: Tensor


def _contexts(ids: Tensor, width: int, length: int) -> Tensor:
    """The `width` tokens that end at each of the last `length` columns: int64 [batch, length, width]."""
    if width == 0:
        return torch.empty((ids.shape[0], length, 0), dtype=torch.long)
    return ids.unfold(1, width, 1)


def _places(table: Tensor, rows: NDArray[Any], tokens: NDArray[Any]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(rows).to(table.device), torch.from_numpy(tokens).to(table.device)
