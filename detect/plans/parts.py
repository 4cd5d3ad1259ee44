"""The parts of a plan: what is fed, how it is sampled, which key, which control. Plain values, checked when made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

import rfc8785

from detect.fed import documents_digest
from detect.readers import Row
from detect.wording import amount
from watermark.errors import CommitmentError, InputError, KeyFileError
from watermark.keys import Commitment, Leaf
from watermark.keys.commitment import root_from
from watermark.keys.members import hex_digits, integer, members, number
from watermark.keys.opening import MAX_LEAVES
from watermark.windows import Document

WEIGHTS = {"sampled": ("distinct", "excess"), "reading": ("difference", "mass")}
TESTS = tuple(f"{test}/{weights}" for test, choices in WEIGHTS.items() for weights in choices)
ACCESS = ("weights", "chat", "completions")  # how a questioned model is reached: the last two are a server's
NEED_REFERENCE = ("sampled/excess", "reading/difference")
MOST = 1 << 53  # integers beyond it are not exact in JSON
LONGEST_NOTE = 400
MOST_LOGPROBS = 20  # that a server may be asked for at a position

T = TypeVar("T")


@contextmanager
def as_input() -> Iterator[None]:
    """What the checks of key files refuse is no key here: their KeyFileError becomes an InputError."""
    try:
        yield
    except KeyFileError as error:
        raise InputError(str(error)) from None


@dataclass(frozen=True)
class PlannedProbes:
    """What will be fed in, identified by the rows of the probe files alone: no tokenizer and no model is needed.

    Attributes:
        sha256: of every row in turn, as the canonical JSON (RFC 8785) of its members among prompt, prompt_ids, text
            and token_ids, ended by a line feed.
        rows: how many.
        prompts: how many distinct prompts (ids win over text, as when they are asked).
    """

    sha256: str
    rows: int
    prompts: int

    def __post_init__(self) -> None:
        with as_input():
            hex_digits(self.sha256, "probes.sha256")
            integer(self.rows, "probes.rows", 1, MOST)
            integer(self.prompts, "probes.prompts", 0, self.rows)

    @property
    def words(self) -> str:
        """For people."""
        return f"{amount(self.rows, 'row')}, SHA-256 {self.sha256}"

    @classmethod
    def of(cls, rows: Iterable[Row]) -> PlannedProbes:
        """Identify probes.

        Raises:
            InputError: there are none.
        """
        digest, count = hashlib.sha256(), 0
        prompts: set[str | tuple[int, ...]] = set()
        for row in rows:
            count += 1
            digest.update(rfc8785.dumps(_content(row)) + b"\n")
            if row.prompt_ids is not None:
                prompts.add(tuple(row.prompt_ids.tolist()))
            elif row.prompt is not None:
                prompts.add(row.prompt)
        if not count:
            raise InputError("there are no probes; give at least one row")
        return cls(digest.hexdigest(), count, len(prompts - {"", ()}))


@dataclass(frozen=True)
class PlannedExclusion:
    """The prompts in the key's token ids, in every form that is left out: pairs that occur in one count nowhere.

    Whoever could choose these ids after the answers could leave out just the red pairs of them.

    Attributes:
        rows: how many.
        sha256: `detect.fed.documents_digest` of them, in order.
    """

    rows: int
    sha256: str

    def __post_init__(self) -> None:
        with as_input():
            integer(self.rows, "left_out.rows", 1, MOST)
            hex_digits(self.sha256, "left_out.sha256")

    @classmethod
    def of(cls, prompts: Sequence[Document]) -> PlannedExclusion:
        """Identify what is left out (InputError: it is nothing)."""
        return cls(len(prompts), documents_digest(prompts))


def _content(row: Row) -> dict[str, Any]:
    ids = {"prompt_ids": row.prompt_ids, "token_ids": row.token_ids}
    content: dict[str, Any] = {"prompt": row.prompt, "text": row.text}
    content |= {name: None if value is None else value.tolist() for name, value in ids.items()}
    return {name: value for name, value in content.items() if value is not None}


@dataclass(frozen=True)
class PlannedSampling:
    """How answers are drawn.

    Attributes:
        tokens: answer tokens to collect, at least; None: until the e-process ends.
        max_new_tokens: longest answer.
        seed: of the sampling.
        logprobs: of how many likeliest tokens a server is asked for log-probabilities, for sampled/excess; None: of
            none.
    """

    tokens: int | None = None
    max_new_tokens: int = 64
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    logprobs: int | None = None

    def __post_init__(self) -> None:
        with as_input():
            if self.tokens is not None:
                integer(self.tokens, "sampling.tokens", 1, MOST)
            integer(self.max_new_tokens, "sampling.max_new_tokens", 1, MOST)
            integer(self.top_k, "sampling.top_k", 0, MOST)
            integer(self.seed, "sampling.seed", 0, MOST)
            if self.logprobs is not None:
                integer(self.logprobs, "sampling.logprobs", 1, MOST_LOGPROBS)
            object.__setattr__(self, "temperature", number(self.temperature, "sampling.temperature", 1e-4, 100))
            object.__setattr__(self, "top_p", number(self.top_p, "sampling.top_p", 1e-6, 1))


@dataclass(frozen=True)
class PositiveControl:
    """A model known to carry the mark at the strength to be detected.

    Attributes:
        digest: as `watermark.engines.models.model_digest` gives it.
        note: what it is; for people.
    """

    digest: str
    note: str = ""

    def __post_init__(self) -> None:
        with as_input():
            hex_digits(self.digest, "positive_control.digest")
            if not isinstance(self.note, str) or len(self.note) > LONGEST_NOTE:
                raise KeyFileError(f"'positive_control.note' must be text of at most {LONGEST_NOTE} characters")


@dataclass(frozen=True)
class PlannedLineup:
    """The decoys: how many, and the seed they are derived from (64 hex digits), drawn when the plan is made."""

    decoys: int
    seed: str

    def __post_init__(self) -> None:
        with as_input():
            integer(self.decoys, "lineup.decoys", 1, 1_000_000)
            hex_digits(self.seed, "lineup.seed")


@dataclass(frozen=True)
class Inclusion:
    """A key's place in a published commitment.

    Attributes:
        commitment: root, size and date, without leaves.
        leaf: account, month and key id.
        index: the leaf's position, from 0.
        path: sibling hashes, 64 hex digits each, from the leaf upwards.
    """

    commitment: Commitment
    leaf: Leaf
    index: int
    path: tuple[str, ...]

    def __post_init__(self) -> None:
        with as_input():
            integer(self.index, "key.inclusion.index", 0, min(MAX_LEAVES, self.commitment.size) - 1)
            for sibling in self.path:
                hex_digits(sibling, "key.inclusion.path")

    @classmethod
    def of(cls, key_id: str, commitment: Commitment) -> Inclusion:
        """Find a key among the commitment's leaves.

        Raises:
            CommitmentError: it is not among them.
        """
        leaf = next((leaf for leaf in commitment.leaves if leaf.key_id == key_id), None)
        if leaf is None:
            raise CommitmentError(
                f"key {key_id[:16]} is not among the {len(commitment.leaves)} marks committed to; give the key file of "
                "the account and month that was committed to, or that key's own commitment"
            )
        return cls(replace(commitment, leaves=()), leaf, *commitment.place(leaf))

    def check(self, key_id: str) -> None:
        """Recompute the root from the leaf and its path.

        Raises:
            CommitmentError: the leaf is another key's, or does not lead to the root.
        """
        if self.leaf.key_id != key_id:
            raise CommitmentError(f"the plan's leaf is of key {self.leaf.key_id[:16]}, not of {key_id[:16]}")
        if root_from(self.leaf, self.index, self.commitment.size, self.path) != self.commitment.root:
            raise CommitmentError(f"key {key_id[:16]}: the plan's leaf and path do not lead to the committed root")

    def commitment_json(self) -> dict[str, Any]:
        """Root, size and date."""
        return {name: getattr(self.commitment, name) for name in ("root", "size", "created")}

    def to_json(self) -> dict[str, Any]:
        """Leaf, index and path."""
        return {"leaf": asdict(self.leaf), "index": self.index, "path": list(self.path)}

    @classmethod
    def from_json(cls, commitment: object, inclusion: object) -> Inclusion:
        """Read what the two functions above gave (KeyFileError: malformed)."""
        published = members(commitment, ("root", "size", "created"), "'key.commitment'")
        place = members(inclusion, ("leaf", "index", "path"), "'key.inclusion'")
        leaf = members(place["leaf"], ("account", "epoch", "key_id"), "'key.inclusion.leaf'")
        if not isinstance(place["path"], list):
            raise KeyFileError("'key.inclusion.path' must be a list of hashes")
        return cls(Commitment(**published), Leaf(**leaf), place["index"], tuple(place["path"]))


def part(kind: type[T], value: object, what: str) -> T:
    """Read one part's JSON object: exactly the fields of its dataclass (KeyFileError)."""
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    return kind(**members(value, names, f"'{what}'"))
