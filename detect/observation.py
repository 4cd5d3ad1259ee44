"""What was observed before any key came in: numbers that a key's colours are then counted against."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.errors import InputError
from watermark.files import new_file
from watermark.windows import Document, Pairs

READING_FORMAT = "taggant-reading/1"


@dataclass(frozen=True)
class Probe:
    """A text that a questioned model reads, or a prompt it is asked.

    Attributes:
        prompt_ids: token ids of the prompt, as the model sees it (chat template included); may be empty.
        answer_ids: token ids of the answer; only positions whose whole context lies in it are read.
    """

    prompt_ids: Document
    answer_ids: Document


@dataclass(frozen=True)
class ContextMass:
    """How a model's probability spreads over its likeliest tokens, one row per distinct context.

    Attributes:
        contexts: uint32 [C, h].
        tokens: uint32 [C, M], the M likeliest tokens.
        probabilities: float32 [C, M], mean over the positions with that context; a row sums to at most 1.
            0 for pairs that occur in a prompt: they count as if they were coloured by chance.
    """

    contexts: NDArray[np.uint32]
    tokens: NDArray[np.uint32]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """What a questioned model says after each context of the probes, as weights of pairs. Made without a key.

    Attributes:
        pairs: distinct pairs with a non-zero weight.
        weights: float64 [len(pairs)].
        n_positions: positions read.
        with_reference: whether a reference model's predictions were subtracted.
        argmax: distinct (context, likeliest token) pairs, for the comparison test.
        mass: for the comparison test by green mass.
    """

    pairs: Pairs
    weights: NDArray[np.float64]
    n_positions: int
    with_reference: bool
    argmax: Pairs
    mass: ContextMass

    def save(self, path: str | Path) -> None:
        """Write as .npz: numbers only, so that anyone can score it again under an opened key."""
        with new_file(path) as handle:
            np.savez(
                handle,
                format=np.array(READING_FORMAT),
                contexts=self.pairs.contexts,
                tokens=self.pairs.tokens,
                n_contexts=np.array(self.pairs.n_contexts),
                weights=self.weights,
                n_positions=np.array(self.n_positions),
                with_reference=np.array(self.with_reference),
                argmax_contexts=self.argmax.contexts,
                argmax_tokens=self.argmax.tokens,
                argmax_n_contexts=np.array(self.argmax.n_contexts),
                mass_contexts=self.mass.contexts,
                mass_tokens=self.mass.tokens,
                mass_probabilities=self.mass.probabilities,
            )

    @classmethod
    def load(cls, path: str | Path) -> Reading:
        """Read what `save` wrote.

        Raises:
            InputError: not such a file, or not readable. Pickled content is refused.
        """
        try:
            with Path(path).open("rb") as handle:
                file = np.load(handle, allow_pickle=False)
                if not isinstance(file, np.lib.npyio.NpzFile):
                    raise ValueError("one array")
                a = {name: file[name] for name in file.files}
            if str(a["format"]) != READING_FORMAT:
                raise ValueError("format")
            _check(a)
            return cls(
                pairs=Pairs(a["contexts"], a["tokens"], int(a["n_contexts"])),
                weights=a["weights"],
                n_positions=int(a["n_positions"]),
                with_reference=bool(a["with_reference"]),
                argmax=Pairs(a["argmax_contexts"], a["argmax_tokens"], int(a["argmax_n_contexts"])),
                mass=ContextMass(a["mass_contexts"], a["mass_tokens"], a["mass_probabilities"]),
            )
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror or 'input error'})") from None
        except (ValueError, TypeError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error):
            raise InputError(f"{path} is not a {READING_FORMAT} file; read the model again") from None


def _check(arrays: dict[str, NDArray[Any]]) -> None:
    """Raise ValueError unless types and shapes belong together and every number is finite."""
    width = arrays["contexts"].shape[1:]
    rows, followed = arrays["mass_tokens"].shape
    expected = {
        "contexts": ("uint32", (*arrays["weights"].shape, *width)),
        "tokens": ("uint32", arrays["weights"].shape),
        "weights": ("float64", arrays["weights"].shape[:1]),
        "argmax_contexts": ("uint32", (*arrays["argmax_tokens"].shape, *width)),
        "argmax_tokens": ("uint32", arrays["argmax_tokens"].shape[:1]),
        "mass_contexts": ("uint32", (rows, *width)),
        "mass_tokens": ("uint32", (rows, followed)),
        "mass_probabilities": ("float32", (rows, followed)),
    }
    for name, (dtype, shape) in expected.items():
        array = arrays[name]
        if array.dtype != dtype or array.shape != shape or not np.isfinite(array).all():
            raise ValueError(name)
