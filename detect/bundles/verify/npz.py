"""Arrays of an .npz that somebody else made, in the one form that `save_arrays` writes."""

from __future__ import annotations

import io
import re
from typing import Any

from numpy.lib import format as npy
from numpy.typing import NDArray

from detect.bundles.container import LARGEST_FILE, read_archive

_SUFFIX, _LENGTH = ".npy", slice(8, 10)


def read_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Every array by its name.

    The archive obeys the rules of a bundle's, and holds 1 GiB at most; heads are of version 1.0, spelled as NumPy
    does, with nothing behind the numbers: two readers must find the same.

    Raises:
        ValueError: it is none (Refused is one); so are many others, of NumPy and zipfile.
    """
    return {_stem(name): _array(content) for name, content in read_archive(io.BytesIO(data), LARGEST_FILE)}


def _stem(name: str) -> str:
    if not name.endswith(_SUFFIX):
        raise ValueError(name)
    return name.removesuffix(_SUFFIX)


def _array(content: bytes) -> NDArray[Any]:
    found: NDArray[Any] = npy.read_array(io.BytesIO(content), allow_pickle=False)
    said = npy.header_data_from_array_1_0(found)
    text = "".join(f"{name!r}: {said[name]!r}, " for name in sorted(said))
    start = 10 + int.from_bytes(content[_LENGTH], "little")
    head = re.escape(npy.magic(1, 0)) + b".." + re.escape(f"{{{text}}}".encode()) + rb" *\n"
    if not re.fullmatch(head, content[:start], re.DOTALL) or len(content) != start + found.nbytes:
        raise ValueError("not as NumPy writes it")
    return found
