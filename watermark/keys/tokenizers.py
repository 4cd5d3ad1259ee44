"""Which tokenizer a key was made for: token ids mean nothing under another one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from watermark.errors import KeyFileError, UnsupportedError
from watermark.keys.derive import framed
from watermark.keys.members import hex_digits, integer, members

MAX_VOCABULARY = 0xFFFFFFFF  # ids stay below 0xFFFFFFFF, which marks an unused slot of a nonce
NAME_MAX_LENGTH = 4096


class TokenizerLike(Protocol):
    """What is asked of a transformers tokenizer, fast or slow."""

    name_or_path: Any

    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]: ...
    def __len__(self) -> int: ...
    def convert_ids_to_tokens(self, ids: list[int]) -> Any: ...


@dataclass(frozen=True)
class TokenizerIdentity:
    """A tokenizer as a key file names it.

    Attributes:
        name: what it can be loaded by again: a hub id or an absolute directory; may be empty. Never part of evidence.
        sha256: 64 hex digits over every token and the special ids (see `of`).
        vocab_size: len(tokenizer).
        special_ids: ids of special tokens, ascending; they are neither biased nor scored.
    """

    name: str
    sha256: str
    vocab_size: int
    special_ids: tuple[int, ...] = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse values that a key file must not hold (KeyFileError)."""
        if not isinstance(self.name, str) or len(self.name) > NAME_MAX_LENGTH or not self.name.isprintable():
            raise KeyFileError(f"'tokenizer.name' must be printable text of at most {NAME_MAX_LENGTH} characters")
        hex_digits(self.sha256, "tokenizer.sha256")
        integer(self.vocab_size, "tokenizer.vocab_size", 1, MAX_VOCABULARY)
        check_special_ids(self.special_ids, self.vocab_size, "tokenizer.special_ids")

    @classmethod
    def of(cls, tokenizer: TokenizerLike | TokenizerIdentity) -> TokenizerIdentity:
        """Identify a transformers tokenizer (an identity is returned as it is).

        sha256 = SHA-256 of lp(convert_ids_to_tokens(i)) for i = 0 … len − 1, without NFC, a hole counting as the
        empty string; then the special ids as little-endian uint32.

        Raises:
            UnsupportedError: the tokenizer cannot list its tokens, or has special ids beyond its length.
        """
        if isinstance(tokenizer, TokenizerIdentity):
            return tokenizer
        size = len(tokenizer)
        special = tuple(sorted(i for i, token in tokenizer.added_tokens_decoder.items() if token.special))
        if special and not 0 <= special[0] <= special[-1] < size:
            raise UnsupportedError(
                f"the tokenizer has {size} tokens and special id {special[-1]}; special ids must be below its length"
            )
        digest = tokens_sha256(_tokens(tokenizer, size), special)
        return cls(_loadable_name(tokenizer.name_or_path), digest, size, special)

    @classmethod
    def from_json(cls, value: object) -> TokenizerIdentity:
        """Read the member "tokenizer" of a key file."""
        content = members(value, ("name", "sha256", "vocab_size", "special_ids"), "'tokenizer'")
        ids = content["special_ids"]
        return cls(**{**content, "special_ids": tuple(ids) if isinstance(ids, list) else ids})

    def to_json(self) -> dict[str, Any]:
        """Return the member "tokenizer" of a key file."""
        return {**asdict(self), "special_ids": list(self.special_ids)}

    @property
    def special_ids_digest(self) -> str:
        """SHA-256 over the special ids, then vocab_size, each as little-endian uint32: what decides which pairs count.

        `sha256` binds both too, but only whoever has the tokenizer can recompute it; this one needs the key file alone.
        """
        return special_ids_digest(self.special_ids, self.vocab_size)

    def same_tokens(self, other: TokenizerIdentity) -> bool:
        """Whether both give every id the same meaning; names may differ."""
        return (self.sha256, self.vocab_size, self.special_ids) == (other.sha256, other.vocab_size, other.special_ids)


def tokens_sha256(tokens: Sequence[str | None], special_ids: Sequence[int]) -> str:
    """Return the tokenizer hash of the design over all tokens by id (None: a hole) and the special ids."""
    return _sha256(_vocabulary(tokens), special_ids)


def vocabulary_of(tokenizer: TokenizerLike) -> bytes:
    """All tokens by id, as the tokenizer hash takes them in: that hash shows to whoever has them which ids are special.

    Raises:
        UnsupportedError: the tokenizer cannot list its tokens, or `check_vocabulary` could not tell where they end.
    """
    found = _vocabulary(_tokens(tokenizer, len(tokenizer)))
    if not _ends_clearly(*_counted(found)):
        raise UnsupportedError("the tokenizer's last token is empty or holds a zero byte")
    return found


def check_vocabulary(vocabulary: bytes, special_ids: Sequence[int], vocab_size: int, sha256: str) -> None:
    """Raise KeyFileError unless these are the tokens and the special ids that a tokenizer hash was made of.

    The hash runs over the tokens, each behind its length, and then the ids, with nothing between. To move that border
    would make a last token of special ids, which end in a zero byte: below 2^24 all do. So the last token must not hold
    any, nor be empty, and nothing but these tokens and these ids has this hash.
    """
    count, last = _counted(vocabulary, vocab_size)
    if count != vocab_size or not _ends_clearly(count, last):
        raise KeyFileError(f"the vocabulary is not one of {vocab_size:,} whole tokens")
    if _sha256(vocabulary, special_ids) != sha256:
        raise KeyFileError("the vocabulary, and the ids that are said to be special, are not those of the tokenizer")


def special_ids_digest(special_ids: Sequence[int], vocab_size: int) -> str:
    """Return SHA-256 (64 hex digits) over the ids and the size, each as little-endian uint32."""
    return hashlib.sha256(b"".join([i.to_bytes(4, "little") for i in (*special_ids, vocab_size)])).hexdigest()


def check_special_ids(ids: object, vocab_size: int, name: str) -> None:
    """Refuse what is not a tuple of ascending token ids below `vocab_size` (KeyFileError)."""
    if not isinstance(ids, tuple):
        raise KeyFileError(f"{name!r} must be a list of token ids")
    previous = -1
    for token in ids:
        previous = integer(token, f"{name} (ascending)", previous + 1, vocab_size - 1)


def _vocabulary(tokens: Sequence[str | None]) -> bytes:
    return b"".join([framed((token or "").encode("utf-8")) for token in tokens])


def _counted(vocabulary: bytes, most: int = 1 << 24) -> tuple[int, bytes]:
    """How many tokens there are, and the last (KeyFileError: there are more than `most`, or it is cut)."""
    count, start, at = 0, 0, 0
    while at < len(vocabulary) and count <= most:
        start, at, count = at + 4, at + 4 + int.from_bytes(vocabulary[at : at + 4], "little"), count + 1
    if count > most:
        raise KeyFileError(f"the vocabulary is not one of {most:,} whole tokens")
    if at != len(vocabulary):
        raise KeyFileError("the vocabulary ends within a token")
    return count, vocabulary[start:]


def _ends_clearly(count: int, last: bytes) -> bool:
    return 0 < count < 1 << 24 and bool(last) and 0 not in last


def _sha256(vocabulary: bytes, special_ids: Sequence[int]) -> str:
    digest = hashlib.sha256(vocabulary)
    digest.update(b"".join([i.to_bytes(4, "little") for i in special_ids]))
    return digest.hexdigest()


def _tokens(tokenizer: TokenizerLike, size: int) -> list[str | None]:
    try:
        tokens: list[str | None] = tokenizer.convert_ids_to_tokens(list(range(size)))
    except (LookupError, TypeError, ValueError) as error:
        raise UnsupportedError(f"the tokenizer cannot list its {size} tokens ({type(error).__name__})") from error
    if len(tokens) != size:
        raise UnsupportedError(f"the tokenizer lists {len(tokens)} tokens but claims {size}")
    return tokens


def _loadable_name(name_or_path: object) -> str:
    """The name by which the tokenizer can be loaded again: a local directory's absolute path, or a hub id as it is."""
    name = str(name_or_path or "")
    if len(name) > NAME_MAX_LENGTH or not name.isprintable():
        return ""
    return str(Path(name).resolve()) if name and os.path.isdir(name) else name  # noqa: PTH112 (never raises)
