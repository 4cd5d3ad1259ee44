"""What a key is besides its secret, and the key id that binds it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import rfc8785

from watermark.errors import KeyFileError
from watermark.keys.derive import KINDS, normal_label
from watermark.keys.members import hex_digits, integer, members, number, one_of
from watermark.keys.tokenizers import TokenizerIdentity

SCHEME = "greenlist/1"
GAMMA_UNITS = 65536
MAX_DELTA = 50.0  # nats; far beyond any use, and safe in half precision
MAX_CONTEXT_WIDTH = 8


@dataclass(frozen=True)
class Parameters:
    """The public part of a key, valid once it exists.

    Attributes:
        gamma_65536: gamma = gamma_65536 / 65536 exactly, 1 … 65535.
        delta: logit bias in nats, 0 … 50. The only parameter the key id does not bind: it does not change colours.
        context_width: h, 0 … 8.
        tokenizer: the tokenizer the key was made for, or None for a key that works on bare ids.
        scheme: the rule that turns key, context and token into a colour.
    """

    gamma_65536: int
    delta: float
    context_width: int
    tokenizer: TokenizerIdentity | None = None
    scheme: str = SCHEME

    def __post_init__(self) -> None:
        """Refuse values out of range (KeyFileError); an integer delta becomes a float."""
        one_of(self.scheme, "scheme", [SCHEME])
        integer(self.gamma_65536, "gamma_65536", 1, GAMMA_UNITS - 1)
        object.__setattr__(self, "delta", number(self.delta, "delta", 0, MAX_DELTA))
        integer(self.context_width, "context_width", 0, MAX_CONTEXT_WIDTH)

    def key_id(self, chacha_key: bytes) -> str:
        """Return the id of the key with these parameters and this ChaCha20 key."""
        return key_id(
            hashlib.sha256(chacha_key).hexdigest(),
            scheme=self.scheme,
            gamma_65536=self.gamma_65536,
            context_width=self.context_width,
            tokenizer_sha256=self.tokenizer.sha256 if self.tokenizer else None,
        )


@dataclass(frozen=True)
class DerivedFrom:
    """Where a derived key comes from: its parent's id, and the kind and label of the derivation."""

    key_id: str
    kind: str
    label: str

    @classmethod
    def from_json(cls, value: object) -> DerivedFrom:
        """Read the member "derived_from" of a key file."""
        content = members(value, ("key_id", "kind", "label"), "'derived_from'")
        kind = one_of(content["kind"], "derived_from.kind", KINDS)
        label = normal_label(kind, content["label"])
        if label != content["label"]:
            raise KeyFileError("'derived_from.label' must be in Unicode NFC")
        return cls(hex_digits(content["key_id"], "derived_from.key_id"), kind, label)


def key_id(
    chacha_key_sha256: str, *, scheme: str, gamma_65536: int, context_width: int, tokenizer_sha256: str | None
) -> str:
    """Return SHA-256 (64 hex digits) of the RFC 8785 JSON of the hash of a ChaCha20 key and what it is used with."""
    bound = {
        "chacha_key_sha256": chacha_key_sha256,
        "scheme": scheme,
        "gamma_65536": gamma_65536,
        "context_width": context_width,
        "tokenizer_sha256": tokenizer_sha256,
    }
    return hashlib.sha256(rfc8785.dumps(bound)).hexdigest()


def gamma_units(gamma: float) -> int:
    """Return gamma in units of 1/65536, rounded to the nearest; the key records the exact value used.

    Raises:
        KeyFileError: gamma is not a number, or rounds to 0 or 1.
    """
    value = number(gamma, "gamma", 0, 1)
    units = round(value * GAMMA_UNITS)
    if not 1 <= units < GAMMA_UNITS:
        raise KeyFileError(f"gamma = {value:g} leaves no green or no red tokens; choose 1/65536 … 65535/65536")
    return units
