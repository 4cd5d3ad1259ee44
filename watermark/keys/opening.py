"""One mark of a commitment, and what is handed over when it is opened."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import rfc8785

from watermark.errors import CommitmentError, KeyFileError
from watermark.keys.derive import normal_label
from watermark.keys.members import hex_digits, integer, members, one_of, read_document, write_private
from watermark.keys.parameters import GAMMA_UNITS, MAX_CONTEXT_WIDTH, SCHEME
from watermark.keys.tokenizers import MAX_VOCABULARY, check_special_ids

OPENING_FORMAT = "taggant-opening/1"
MAX_LEAVES = 1 << 40


@dataclass(frozen=True)
class Leaf:
    """One mark in a commitment; `account` and `epoch` are None for a key that has none."""

    account: str | None
    epoch: str | None
    key_id: str

    def __post_init__(self) -> None:
        """Bring the labels into NFC, and refuse malformed ones (KeyFileError)."""
        for kind in ("account", "epoch"):
            label = getattr(self, kind)
            if label is not None:
                object.__setattr__(self, kind, normal_label(kind, label))
        hex_digits(self.key_id, "leaf.key_id")

    @property
    def canonical(self) -> bytes:
        """The RFC 8785 bytes that are hashed."""
        return rfc8785.dumps(asdict(self))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Opening:
    """One opened mark: what an expert needs to recompute its colours and its place in the commitment.

    Attributes:
        leaf: account, epoch and key id.
        chacha_key: 64 hex digits. Opens this one mark; keep an opening as confidential as the case requires.
        index: the leaf's position, from 0.
        path: sibling hashes, 64 hex digits each, from the leaf upwards.
        root: 64 hex digits; the Merkle root.
        size: number of leaves.
        special_ids: neither biased nor scored, ascending. With vocab_size they are the owner's statement: the key id
            binds them only through tokenizer_sha256, which takes the tokenizer to recompute.
        vocab_size: of the tokenizer; None, as tokenizer_sha256, for a key without one.
    """

    leaf: Leaf
    chacha_key: str = field(repr=False)
    index: int
    path: tuple[str, ...]
    root: str
    size: int
    gamma_65536: int
    context_width: int
    scheme: str
    tokenizer_sha256: str | None
    special_ids: tuple[int, ...] = field(repr=False)
    vocab_size: int | None

    def __post_init__(self) -> None:
        """Refuse values of the wrong type or out of range (KeyFileError)."""
        hex_digits(self.chacha_key, "chacha_key")
        integer(self.size, "size", 1, MAX_LEAVES)
        integer(self.index, "index", 0, self.size - 1)
        hex_digits(self.root, "root")
        if not isinstance(self.path, tuple):
            raise KeyFileError("'path' must be a list of hashes")
        for sibling in self.path:
            hex_digits(sibling, "path")
        integer(self.gamma_65536, "gamma_65536", 1, GAMMA_UNITS - 1)
        integer(self.context_width, "context_width", 0, MAX_CONTEXT_WIDTH)
        one_of(self.scheme, "scheme", [SCHEME])
        if self.tokenizer_sha256 is not None:
            hex_digits(self.tokenizer_sha256, "tokenizer_sha256")
            integer(self.vocab_size, "vocab_size", 1, MAX_VOCABULARY)
        elif self.vocab_size is not None:
            raise KeyFileError("'vocab_size' must be null where 'tokenizer_sha256' is")
        check_special_ids(self.special_ids, self.vocab_size or 0, "special_ids")

    def to_json(self) -> dict[str, Any]:
        """Return the opening's file content."""
        lists = {"path": list(self.path), "special_ids": list(self.special_ids)}
        return {"format": OPENING_FORMAT, **asdict(self), **lists}

    def save(self, path: str | Path) -> None:
        """Write the opening, mode 0600, never over something that exists (InputError)."""
        write_private(path, self.to_json)

    @classmethod
    def from_json(cls, value: object) -> Opening:
        """Read what `to_json` gave; nothing is verified beyond types and ranges.

        Raises:
            KeyFileError: malformed.
        """
        names = tuple(cls.__dataclass_fields__)
        content = members(value, ("format", *names), "the opening")
        one_of(content["format"], "format", [OPENING_FORMAT])
        fields = {name: content[name] for name in names}
        leaf = members(content["leaf"], ("account", "epoch", "key_id"), "'leaf'")
        lists = {name: tuple(fields[name]) for name in ("path", "special_ids") if isinstance(fields[name], list)}
        return cls(**{**fields, **lists, "leaf": Leaf(**leaf)})

    @classmethod
    def load(cls, path: str | Path) -> Opening:
        """Read an opening's file.

        Raises:
            CommitmentError: missing, unreadable, open to group or others, or malformed; no content is quoted.
        """
        advice = "ask the key's owner for the opening as it was written"
        return read_document(path, cls.from_json, private=True, advice=advice, error=CommitmentError)

    def __copy__(self) -> Opening:
        return self

    def __deepcopy__(self, memo: object) -> Opening:
        return self

    def __reduce__(self) -> NoReturn:
        raise KeyFileError(
            "an Opening is not pickled, its key would leave mode 0600; save it and pass the path instead"
        )

    def __getstate__(self) -> NoReturn:
        self.__reduce__()
