"""What was observed before any key came in: numbers that a key's colours are then counted against."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.errors import InputError
from watermark.files import new_file
from watermark.windows import Document, Pairs, WindowRule

READING_FORMAT = "taggant-reading/1"
DEFAULT_TOP = 256  # K, weights kept per context; ADR 0005


@dataclass(frozen=True)
class Probe:
    """A text that a questioned model reads, or a prompt it is asked.

    Attributes:
        prompt_ids: token ids of the prompt, as the model sees it (chat template included); may be empty.
        answer_ids: token ids of the answer; only positions whose whole context lies in it are read.
    """

    prompt_ids: Document
    answer_ids: Document


def probes_digest(probes: Sequence[Probe]) -> str:
    """SHA-256, hex, of what a model is fed: of each probe the prompt, then the answer.

    Either as its length and its token ids, all little-endian uint32.
    """
    digest = hashlib.sha256()
    for probe in probes:
        for ids in (probe.prompt_ids, probe.answer_ids):
            digest.update(np.array([len(ids), *map(int, ids)], dtype="<u4").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class ProbePairs:
    """Every distinct pair of the probes, none excluded: scored under a key, they tell whether it marked the probes.

    Attributes:
        pairs: of prompts and answers together.
        in_prompts: bool [len(pairs)], the pair occurs in a prompt.
        in_answers: bool [len(pairs)], the pair occurs in an answer.
    """

    pairs: Pairs
    in_prompts: NDArray[np.bool_]
    in_answers: NDArray[np.bool_]

    @property
    def parts(self) -> tuple[NDArray[np.bool_], ...]:
        """What is tested for the mark, bool [len(pairs)] each: prompts, answers, and both.

        Few marked prompts drown among many answers.
        """
        return self.in_prompts, self.in_answers, np.ones_like(self.in_prompts)

    @classmethod
    def of(cls, rule: WindowRule, probes: Sequence[Probe]) -> ProbePairs:
        prompts, answers = [probe.prompt_ids for probe in probes], [probe.answer_ids for probe in probes]
        pairs = rule.extract([*prompts, *answers]).pairs
        return cls(pairs, *(rule.occurs(pairs.contexts, pairs.tokens, some) for some in (prompts, answers)))


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
        probes: what was fed in, for the audit that the key did not mark it.
    """

    pairs: Pairs
    weights: NDArray[np.float64]
    n_positions: int
    with_reference: bool
    argmax: Pairs
    mass: ContextMass
    probes: ProbePairs

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
                probe_contexts=self.probes.pairs.contexts,
                probe_tokens=self.probes.pairs.tokens,
                probe_n_contexts=np.array(self.probes.pairs.n_contexts),
                probe_in_prompts=self.probes.in_prompts,
                probe_in_answers=self.probes.in_answers,
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
                probes=ProbePairs(
                    Pairs(a["probe_contexts"], a["probe_tokens"], int(a["probe_n_contexts"])),
                    a["probe_in_prompts"],
                    a["probe_in_answers"],
                ),
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
        "probe_contexts": ("uint32", (*arrays["probe_tokens"].shape, *width)),
        "probe_tokens": ("uint32", arrays["probe_tokens"].shape[:1]),
        "probe_in_prompts": ("bool", arrays["probe_tokens"].shape),
        "probe_in_answers": ("bool", arrays["probe_tokens"].shape),
    }
    for name, (dtype, shape) in expected.items():
        array = arrays[name]
        if array.dtype != dtype or array.shape != shape or not np.isfinite(array).all():
            raise ValueError(name)
