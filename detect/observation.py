"""What was observed before any key came in: numbers that a key's colours are then counted against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from detect.arrays import Arrays, checked, count, load_arrays, pairs_arrays, pairs_from, save_arrays
from detect.fed import Excluded, ProbePairs
from watermark.windows import Document, Pairs

DEFAULT_TOP = 256  # K, weights kept per context; ADR 0005


@dataclass(frozen=True, eq=False)
class Texts:
    """Token ids that are counted.

    Attributes:
        documents: in the order in which they count; of an e-process, and of a server, the answers to requests 0, 1, 2
            …, empty ones too.
        prompts: whose pairs count nowhere.
        ids: what each document is called, where it has a name.
    """

    documents: Sequence[Document] = field(repr=False)
    prompts: Sequence[Document] = field(repr=False)
    ids: Sequence[str] | None = field(default=None, repr=False)


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
class Expectation:
    """How often text that depends on no key says a token after a context, less how often a reference expects it.

    Scored under a key, it tells whether the reference depends on that key.

    Attributes:
        pairs: distinct pairs with a non-zero weight.
        weights: float64 [len(pairs)].
        n_positions: that were looked at.
    """

    pairs: Pairs
    weights: NDArray[np.float64]
    n_positions: int

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        return {
            **pairs_arrays(self.pairs, "expected_"),
            "expected_weights": self.weights,
            "expected_n_positions": np.array(self.n_positions),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, context_width: int) -> Expectation | None:
        """What `to_arrays` gave, or None if nothing is there; ValueError if it does not belong together."""
        if "expected_weights" not in arrays:
            return None
        pairs = pairs_from(arrays, context_width, "expected_")
        weights = checked(arrays, "expected_weights", "float64", (len(pairs),))
        return cls(pairs, weights, count(arrays, "expected_n_positions", 1))


@dataclass(frozen=True)
class Weighted:
    """Pairs with weights that were fixed without a key: what the weighted tests are made on.

    On disk it is an .npz of plain numbers, so that anyone can score it again under an opened key.

    Attributes:
        FORMAT: names the kind in a file.
        AGAIN: what to do when a file is not of this kind.
        pairs: distinct pairs with a non-zero weight.
        weights: float64 [len(pairs)].
        n_positions: positions that the weights are of.
        with_reference: whether a reference model's predictions were subtracted.
        probes: what the questioned model was fed, for the audit that the key did not mark it.
        expectation: of the reference, for the audit that it does not depend on the key; None: there is none.
        excluded: what was observed, but occurs in a prompt, for the audit that the prompts were not chosen under the
            key; None: it was not kept.
    """

    FORMAT: ClassVar[str]
    AGAIN: ClassVar[str]

    pairs: Pairs
    weights: NDArray[np.float64]
    n_positions: int
    with_reference: bool
    probes: ProbePairs
    expectation: Expectation | None = field(default=None, kw_only=True)
    excluded: Excluded | None = field(default=None, kw_only=True)

    def save(self, path: str | Path) -> None:
        """Write a new file.

        Raises:
            InputError: the file exists.
        """
        common = {
            **pairs_arrays(self.pairs),
            "weights": self.weights,
            "n_positions": np.array(self.n_positions),
            "with_reference": np.array(self.with_reference),
            **self.probes.to_arrays(),
            **({} if self.expectation is None else self.expectation.to_arrays()),
            **({} if self.excluded is None else self.excluded.to_arrays()),
        }
        save_arrays(path, self.FORMAT, {**common, **self._own_arrays()})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: not such a file, or not readable. Pickled content is refused.
        """
        return load_arrays(path, {cls.FORMAT: cls.from_arrays}, cls.AGAIN)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """What `save` wrote; ValueError, TypeError or KeyError if it does not belong together."""
        _, width = arrays["contexts"].shape
        pairs = pairs_from(arrays, width)
        common: dict[str, Any] = {
            "pairs": pairs,
            "weights": checked(arrays, "weights", "float64", (len(pairs),)),
            "n_positions": count(arrays, "n_positions", 1),
            "with_reference": bool(arrays["with_reference"]),
            "probes": ProbePairs.from_arrays(arrays, width),
            "expectation": Expectation.from_arrays(arrays, width),
            "excluded": Excluded.from_arrays(arrays, width),
        }
        return cls(**common, **cls._own_from(arrays, width, common["n_positions"]))

    def _own_arrays(self) -> dict[str, NDArray[Any]]:
        """Of what this kind has besides."""
        raise NotImplementedError

    @classmethod
    def _own_from(cls, arrays: Arrays, width: int, n_positions: int) -> dict[str, Any]:
        """The fields that `_own_arrays` gave."""
        raise NotImplementedError


@dataclass(frozen=True)
class Reading(Weighted):
    """What a questioned model says after each context of the probes, as weights of pairs. Made without a key.

    Attributes:
        argmax: distinct (context, likeliest token) pairs, for the comparison test.
        mass: for the comparison test by green mass.
    """

    FORMAT = "taggant-reading/2"
    AGAIN = "read the model again"

    argmax: Pairs
    mass: ContextMass

    def _own_arrays(self) -> dict[str, NDArray[Any]]:
        return {
            **pairs_arrays(self.argmax, "argmax_"),
            "mass_contexts": self.mass.contexts,
            "mass_tokens": self.mass.tokens,
            "mass_probabilities": self.mass.probabilities,
        }

    @classmethod
    def _own_from(cls, arrays: Arrays, width: int, n_positions: int) -> dict[str, Any]:
        rows, followed = arrays["mass_tokens"].shape
        mass = ContextMass(
            checked(arrays, "mass_contexts", "uint32", (rows, width)),
            checked(arrays, "mass_tokens", "uint32", (rows, followed)),
            checked(arrays, "mass_probabilities", "float32", (rows, followed)),
        )
        return {"argmax": pairs_from(arrays, width, "argmax_"), "mass": mass}


@dataclass(frozen=True)
class Excess(Weighted):
    """How often a questioned model's answers say a token after a context, less how often a reference would have.

    Made without a key, by `detect.questioned.excess`.

    Attributes:
        n_tokens: tokens in all answers.
        n_listed: of the positions, those where the server listed log-probabilities.
        distinct: the answers' distinct pairs, for the comparison test that counts them.
    """

    FORMAT = "taggant-excess/2"
    AGAIN = "let the reference read the answers again"

    n_tokens: int
    n_listed: int
    distinct: Pairs

    def _own_arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "n_tokens": np.array(self.n_tokens),
            "n_listed": np.array(self.n_listed),
            **pairs_arrays(self.distinct, "distinct_"),
        }

    @classmethod
    def _own_from(cls, arrays: Arrays, width: int, n_positions: int) -> dict[str, Any]:
        n_tokens, n_listed = count(arrays, "n_tokens"), count(arrays, "n_listed")
        if not n_listed <= n_positions <= n_tokens:
            raise ValueError("more positions than tokens")
        return {"n_tokens": n_tokens, "n_listed": n_listed, "distinct": pairs_from(arrays, width, "distinct_")}


Observed = Texts | Reading | Excess


def load_observed(path: str | Path) -> Reading | Excess:
    """Whichever of the two a file holds.

    Raises:
        InputError: neither, or not readable. Pickled content is refused.
    """
    kinds: dict[str, Callable[[Arrays], Reading | Excess]] = {
        kind.FORMAT: kind.from_arrays for kind in (Reading, Excess)
    }
    return load_arrays(path, kinds, "give what `taggant suspect` saved")
