"""Observations on disk: plain numbers in .npz, so that anyone can score them again; checked when they are read."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from watermark.errors import InputError
from watermark.files import new_file
from watermark.windows import Pairs

Arrays = Mapping[str, NDArray[Any]]

T = TypeVar("T")


def save_arrays(path: str | Path, kind: str, arrays: Arrays) -> None:
    """Write `arrays` and, as "format", their kind.

    Raises:
        InputError: the file exists.
    """
    with new_file(path) as handle:
        np.savez(handle, allow_pickle=False, format=np.array(kind), **arrays)


def load_arrays(path: str | Path, kinds: Mapping[str, Callable[[Arrays], T]], again: str) -> T:
    """What the decoder of its kind makes of the arrays in a file.

    Args:
        kinds: a decoder for every kind that is taken; it may raise ValueError, TypeError or KeyError where the arrays
            don't belong together.
        again: what to do when the file is of none of them.

    Raises:
        InputError: not such a file, or not readable. Pickled content is refused.
    """
    try:
        with Path(path).open("rb") as handle:
            file = np.load(handle, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("one array")
            arrays = {name: file[name] for name in file.files}
        return kinds[str(arrays["format"])](arrays)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or 'input error'})") from None
    except (ValueError, TypeError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        raise InputError(f"{path} is not a {' or '.join(kinds)} file; {again}") from None


def checked(arrays: Arrays, name: str, dtype: str, shape: Sequence[int]) -> NDArray[Any]:
    """One of them; ValueError unless it has this type and shape and every number is finite."""
    array = arrays[name]
    if array.dtype != dtype or array.shape != tuple(shape) or not np.isfinite(array).all():
        raise ValueError(name)
    return array


def count(arrays: Arrays, name: str, least: int = 0) -> int:
    """A single whole number (int64); ValueError if it is none, or less."""
    value = int(checked(arrays, name, "int64", ()))
    if value < least:
        raise ValueError(name)
    return value


def pairs_arrays(pairs: Pairs, prefix: str = "") -> dict[str, NDArray[Any]]:
    """A set of pairs as three arrays, whose names begin with `prefix`."""
    return {
        f"{prefix}contexts": pairs.contexts,
        f"{prefix}tokens": pairs.tokens,
        f"{prefix}n_contexts": np.array(pairs.n_contexts),
    }


def pairs_from(arrays: Arrays, context_width: int, prefix: str = "") -> Pairs:
    """What `pairs_arrays` gave; ValueError if they don't belong together, or a pair stands twice: it is one draw."""
    (number,) = arrays[f"{prefix}tokens"].shape
    contexts = checked(arrays, f"{prefix}contexts", "uint32", (number, context_width))
    tokens = checked(arrays, f"{prefix}tokens", "uint32", (number,))
    columns = [*contexts.T, tokens]
    order = np.lexsort(columns)
    if number > 1 and np.all([column[order][1:] == column[order][:-1] for column in columns], axis=0).any():
        raise ValueError("a pair twice")
    return Pairs(contexts, tokens, count(arrays, f"{prefix}n_contexts"))
