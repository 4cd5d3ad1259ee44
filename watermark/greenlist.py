"""`greenlist/1`: which tokens are green after which context. The one definition; generation and tests both call it.

    green ⇔ u(c, t) < gamma_65536

Pure colour: special tokens are the business of the processor (watermark.engines) and the windows (watermark.windows).
"""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, overload
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from watermark import chacha
from watermark.errors import KeyFileError

if TYPE_CHECKING:
    from watermark.chacha_numba import Layout

MAX_CONTEXT_WIDTH = 8
MAX_TOKEN_ID = chacha.UNUSED_SLOT - 1
_HANDLES = itertools.count()
_LISTS: WeakValueDictionary[int, GreenList] = WeakValueDictionary()


class MarkParameters(Protocol):
    """What a green list needs of a key. `watermark.Key` has it."""

    @property
    def chacha_key(self) -> bytes: ...
    @property
    def gamma_65536(self) -> int: ...
    @property
    def context_width(self) -> int: ...


@dataclass(frozen=True)
class PreparedPairs:
    """Nonce words uint32 [3, N] and tokens uint32 [N]: what of a pair's colour does not depend on the key."""

    nonces: NDArray[np.uint32]
    tokens: NDArray[np.uint32]
    context_width: int

    @cached_property
    def layout(self) -> Layout:
        """The blocks that the pairs lie in, for the compiled kernels."""
        from watermark.chacha_numba import lay_out

        return lay_out(self.nonces, self.tokens)


class GreenList:
    """The colours of one mark.

    NumPy in, NumPy out; a torch tensor in, a torch tensor on the same device out, with the same bits.

    Args:
        key: a `Key`, or anything with `chacha_key` (32 bytes), `gamma_65536` and `context_width`.
    """

    def __init__(self, key: MarkParameters) -> None:
        self._init(key.chacha_key, key.gamma_65536, key.context_width)

    @classmethod
    def from_chacha_key(cls, chacha_key: bytes, gamma_65536: int, context_width: int) -> GreenList:
        """A green list from an opened ChaCha20 key (an expert's view of one mark, or a decoy)."""
        self = cls.__new__(cls)
        self._init(chacha_key, gamma_65536, context_width)
        return self

    def _init(self, chacha_key: bytes, gamma_65536: int, context_width: int) -> None:
        if len(chacha_key) != 32:
            raise ValueError(f"a ChaCha20 key has 32 bytes, not {len(chacha_key)}")
        if not 1 <= gamma_65536 <= 65535:
            raise ValueError(f"gamma_65536 must be 1 … 65535, not {gamma_65536}")
        if not 0 <= context_width <= MAX_CONTEXT_WIDTH:
            raise ValueError(f"context width must be 0 … {MAX_CONTEXT_WIDTH}, not {context_width}")
        self._chacha_key = chacha_key
        self._handle = next(_HANDLES)
        _LISTS[self._handle] = self
        self.gamma_65536 = gamma_65536
        self.context_width = context_width

    @property
    def gamma(self) -> float:
        """The green fraction, exactly gamma_65536 / 65536."""
        return self.gamma_65536 / 65536

    def __repr__(self) -> str:
        return f"GreenList(gamma_65536={self.gamma_65536}, context_width={self.context_width})"

    def __copy__(self) -> GreenList:
        return self

    def __deepcopy__(self, memo: object) -> GreenList:
        return self

    def __reduce__(self) -> NoReturn:
        raise KeyFileError("a GreenList is not pickled, it holds a ChaCha20 key; make it anew where it is needed")

    def with_chacha_key(self, chacha_key: bytes) -> GreenList:
        """The same parameters under another key: a decoy."""
        return GreenList.from_chacha_key(chacha_key, self.gamma_65536, self.context_width)

    @overload
    def mask(self, contexts: NDArray[Any], vocab_size: int) -> NDArray[np.bool_]: ...
    @overload
    def mask(self, contexts: Any, vocab_size: int) -> Any: ...
    def mask(self, contexts: Any, vocab_size: int) -> Any:
        """Colours of a whole vocabulary.

        Args:
            contexts: any integer dtype [B, h] (h = 0: [B, 0]), token ids in text order.
            vocab_size: V.

        Returns:
            bool [B, V], True where green.

        Raises:
            ValueError: wrong shape or dtype, or a token id outside 0 … 2^32 − 2.
        """
        vocab_size = operator.index(vocab_size)
        if not 0 <= vocab_size <= MAX_TOKEN_ID + 1:
            raise ValueError(f"vocab_size must be 0 … {MAX_TOKEN_ID + 1}, not {vocab_size}")
        if _is_tensor(contexts):
            from watermark import chacha_torch

            if _is_compiling():
                return chacha_torch.compiled_rows(self._handle, contexts, vocab_size)
            _check_tensor(contexts, (None, self.context_width), "contexts")
            return chacha_torch.green_rows(self._chacha_key, contexts, vocab_size, self.gamma_65536)
        checked = _as_ids(contexts, (None, self.context_width), "contexts")
        out = np.empty((checked.shape[0], vocab_size), dtype=np.bool_)
        for nonce, row in zip(chacha.nonces(checked).T, out, strict=True):
            self._fill(nonce, row)
        return out

    def fill_bits(self, context: Sequence[int], out: NDArray[np.uint32]) -> None:
        """The colours after one context of token ids, into `out`, uint32 [W]: bit t % 32 of out[t // 32] is token t's.

        For a step of generation, without detours; an eighth of the memory of bytes.

        Raises:
            ValueError: another number of tokens than h, or a token id outside 0 … 2^32 − 2.
        """
        if len(context) != self.context_width:
            raise ValueError(f"a context of this mark has {self.context_width} tokens, not {len(context)}")
        for token in context:
            _check_range(token, token, "contexts")
        nonce = chacha.nonce_of(context)
        if chacha.COMPILED in sys.modules:
            self._compiled_bits(nonce, out)
            return
        colours = chacha.scratch_row(self._chacha_key, nonce, 32 * out.shape[0]) < np.uint16(self.gamma_65536)
        out[:] = np.packbits(colours, bitorder="little").view("<u4")

    def _fill(self, nonce: NDArray[np.uint32], out: NDArray[np.bool_]) -> None:
        if chacha.COMPILED in sys.modules:
            bits = np.empty(-(-out.shape[0] // 32), dtype=np.uint32)
            self._compiled_bits(nonce, bits)
            out[:] = colours_of(bits, out.shape[0])
            return
        np.less(chacha.scratch_row(self._chacha_key, nonce, out.shape[0]), np.uint16(self.gamma_65536), out=out)

    def _compiled_bits(self, nonce: NDArray[np.uint32], out: NDArray[np.uint32]) -> None:
        from watermark.chacha_numba import green_bits

        green_bits(chacha.key_words(self._chacha_key), nonce, np.uint16(self.gamma_65536), out)

    @overload
    def is_green(self, contexts: NDArray[Any], tokens: NDArray[Any]) -> NDArray[np.bool_]: ...
    @overload
    def is_green(self, contexts: Any, tokens: Any) -> Any: ...
    def is_green(self, contexts: Any, tokens: Any) -> Any:
        """Colours of single pairs.

        Args:
            contexts: any integer dtype [N, h].
            tokens: any integer dtype [N].

        Returns:
            bool [N].

        Raises:
            ValueError: wrong shape or dtype, or a token id outside 0 … 2^32 − 2.
        """
        if _is_tensor(contexts) != _is_tensor(tokens):
            raise ValueError("contexts and tokens must both be torch tensors or neither")
        if _is_tensor(contexts):
            from watermark import chacha_torch

            if _is_compiling():
                return chacha_torch.compiled_pairs(self._handle, contexts, tokens)
            _check_tensor(contexts, (None, self.context_width), "contexts")
            _check_tensor(tokens, (contexts.shape[0],), "tokens")
            return chacha_torch.green_pairs(self._chacha_key, contexts, tokens, self.gamma_65536)
        checked, ids = self._checked_pairs(contexts, tokens)
        return chacha.pairs(self._chacha_key, checked, ids) < np.uint16(self.gamma_65536)

    def prepare(self, contexts: NDArray[Any], tokens: NDArray[Any]) -> PreparedPairs:
        """Pairs made ready to be coloured under many keys of this context width; `colour` takes the result."""
        checked, ids = self._checked_pairs(contexts, tokens)
        return PreparedPairs(chacha.nonces(checked), np.ascontiguousarray(ids), self.context_width)

    def colour(self, prepared: PreparedPairs) -> NDArray[np.bool_]:
        """`is_green` of prepared pairs: bool [N]."""
        self._check_width(prepared)
        if chacha.compiled(prepared.tokens.shape[0]):
            from watermark.chacha_numba import values

            found = np.empty(prepared.tokens.shape[0], dtype=np.uint16)
            values(chacha.key_words(self._chacha_key), *prepared.layout, found)
        else:
            found = chacha.pairs_from_nonces(self._chacha_key, prepared.nonces, prepared.tokens)
        return found < np.uint16(self.gamma_65536)

    def _check_width(self, prepared: PreparedPairs) -> None:
        if prepared.context_width != self.context_width:
            raise ValueError(f"pairs of context width {prepared.context_width}, green list of {self.context_width}")

    def _checked_pairs(self, contexts: Any, tokens: Any) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        checked = _as_ids(contexts, (None, self.context_width), "contexts")
        return checked, _as_ids(tokens, (checked.shape[0],), "tokens")


def colours_of(bits: NDArray[np.uint32], count: int) -> NDArray[np.bool_]:
    """Of what `fill_bits` wrote, the colours of the first `count` tokens."""
    packed = bits.astype("<u4", copy=False).view(np.uint8)
    return np.unpackbits(packed, count=count, bitorder="little").view(np.bool_)


def count_green(lists: Sequence[GreenList], prepared: PreparedPairs) -> NDArray[np.int64]:
    """How many of the pairs are green under each of several lists, in one pass over the pairs: int64 [K]."""
    from watermark.chacha_numba import count_below

    for one in lists:
        one._check_width(prepared)
    keys = np.frombuffer(b"".join([one._chacha_key for one in lists]), dtype="<u4").astype(np.uint32).reshape(-1, 8)
    thresholds = np.array([one.gamma_65536 for one in lists], dtype=np.uint16)
    counts = np.empty(len(lists), dtype=np.int64)
    count_below(keys, thresholds, *prepared.layout, counts)
    return counts


def by_handle(handle: int) -> GreenList:
    """The green list that has this number in this process: what compiled code knows it by, instead of its key."""
    return _LISTS[handle]


def _is_compiling() -> bool:
    return bool(sys.modules["torch"].compiler.is_compiling())


def _is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _check_shape(shape: tuple[int, ...], expected: tuple[int | None, ...], name: str) -> None:
    if len(shape) != len(expected) or any(e is not None and e != s for s, e in zip(shape, expected, strict=True)):
        wanted = ", ".join("any" if e is None else str(e) for e in expected)
        raise ValueError(f"{name} must have shape [{wanted}], not {list(shape)}")


def _check_range(low: int, high: int, name: str) -> None:
    if low < 0 or high > MAX_TOKEN_ID:
        raise ValueError(f"{name} must be token ids 0 … {MAX_TOKEN_ID}, found {low if low < 0 else high}")


def _as_ids(value: Any, expected: tuple[int | None, ...], name: str) -> NDArray[np.uint32]:
    array = np.asarray(value)
    _check_shape(array.shape, expected, name)
    if array.size == 0:
        return np.zeros(array.shape, dtype=np.uint32)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold integers, not {array.dtype}")
    _check_range(int(array.min()), int(array.max()), name)
    return array.astype(np.uint32, copy=False)


def _check_tensor(value: Any, expected: tuple[int | None, ...], name: str) -> None:
    """Shape and dtype always; the range only on the CPU, where looking costs no synchronisation."""
    _check_shape(tuple(value.shape), expected, name)
    if value.dtype.is_floating_point or value.dtype.is_complex or str(value.dtype) == "torch.bool":
        raise ValueError(f"{name} must hold integers, not {value.dtype}")
    if value.device.type == "cpu" and value.numel():
        wide = value.long()
        _check_range(int(wide.min()), int(wide.max()), name)
