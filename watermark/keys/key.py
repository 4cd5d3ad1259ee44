"""The key: 32 secret bytes, the parameters of the mark, and the file they live in."""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

from watermark.errors import KeyFileError, TokenizerMismatchError
from watermark.keys.derive import SECRET_BYTES, derive, normal_label, scheme_key
from watermark.keys.members import Kind, hex_digits, members, one_of, read_document, write_private
from watermark.keys.parameters import GAMMA_UNITS, SCHEME, DerivedFrom, Parameters, gamma_units
from watermark.keys.profiles import DEFAULT_PROFILE, PROFILES, profile_named
from watermark.keys.tokenizers import TokenizerIdentity, TokenizerLike

FORMAT = "taggant-key/1"
SHORT_DIGITS = 16

_MEMBERS = (
    "format",
    "key_id",
    "secret",
    "scheme",
    "gamma_65536",
    "delta",
    "context_width",
    "tokenizer",
    "derived_from",
)
_SECRET = re.compile(rf"[0-9a-fA-F]{{{2 * SECRET_BYTES}}}")
_KIND = Kind(
    re.compile(rb'taggant-key/|"secret"|"gamma_65536"'),
    "holds no key; give a file that `taggant keygen` or `taggant key derive` wrote, or restore it from a backup",
)
_ADVICE = "restore it from a backup, or make a new key with `taggant keygen`"


class Key:
    """A secret and the parameters it is used with. Immutable; shows and pickles nothing secret.

    Make one with `generate` or `load`; `account` and `epoch` derive keys that stand alone.

    Attributes:
        parameters: gamma, delta, context width, tokenizer, scheme.
        derived_from: the parent's id, kind and label, or None.
        chacha_key: 32 bytes, computed once. Secret: whoever has it can see, forge and remove this one mark.
        key_id: 64 hex digits that bind `chacha_key` and the parameters.
    """

    __slots__ = ("_secret", "chacha_key", "derived_from", "key_id", "parameters")

    _secret: bytes
    chacha_key: bytes
    derived_from: DerivedFrom | None
    key_id: str
    parameters: Parameters

    def __init__(self, secret: bytes, parameters: Parameters, derived_from: DerivedFrom | None = None) -> None:
        problem = None
        try:
            self._fill(bytes(secret), parameters, derived_from)
        except KeyFileError as error:
            problem = str(error)
        except (TypeError, ValueError, AttributeError) as error:
            problem = f"a key is made of {SECRET_BYTES} secret bytes and Parameters ({type(error).__name__})"
        del secret
        if problem:  # outside the except block, whose frames hold the secret
            raise KeyFileError(problem)

    def _fill(self, secret: bytes, parameters: Parameters, derived_from: DerivedFrom | None) -> None:
        chacha_key = scheme_key(secret, parameters.scheme)
        values = (secret, chacha_key, derived_from, parameters.key_id(chacha_key), parameters)
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def generate(
        cls,
        profile: str = DEFAULT_PROFILE,
        tokenizer: TokenizerLike | TokenizerIdentity | None = None,
        *,
        gamma: float | None = None,
        delta: float | None = None,
        context_width: int | None = None,
    ) -> Key:
        """Return a fresh key with the profile's parameters, or those given instead.

        Args:
            profile: a name in PROFILES.
            tokenizer: the tokenizer of the model to be marked; without one no special tokens are known.
            gamma: green fraction; rounded to the nearest k/65536, which the key records.
            delta: logit bias, nats.
            context_width: h.

        Raises:
            KeyFileError: an unknown profile or a parameter out of range.
        """
        base = profile_named(profile)
        parameters = Parameters(
            gamma_65536=base.gamma_65536 if gamma is None else gamma_units(gamma),
            delta=base.delta if delta is None else delta,
            context_width=base.context_width if context_width is None else context_width,
            tokenizer=None if tokenizer is None else TokenizerIdentity.of(tokenizer),
        )
        return cls(secrets.token_bytes(SECRET_BYTES), parameters)

    @classmethod
    def load(cls, path: str | Path) -> Key:
        """Read a key file and check format, ranges, mode and key id.

        Raises:
            KeyFileError: one line; neither it nor its traceback holds anything from the file.
        """
        return read_document(path, cls._from_json, private=True, advice=_ADVICE, own=_KIND)

    def save(self, path: str | Path) -> None:
        """Write the key file, mode 0600, whole or not at all, never over something that exists.

        Raises:
            InputError: the path is taken, or cannot be written.
        """
        write_private(path, self._to_json)

    def account(self, account: str) -> Key:
        """Return the key of an account: an opaque id, not a name or address, since openings show it."""
        return self._derived("account", account)

    def epoch(self, month: str) -> Key:
        """Return the key of a month such as "2026-11"."""
        return self._derived("epoch", month)

    def retuned(
        self, *, gamma: float | None = None, delta: float | None = None, context_width: int | None = None
    ) -> Key:
        """Return the same secret under other parameters: another mark, unless delta alone differs.

        Raises:
            KeyFileError: a parameter out of range.
        """
        own = self.parameters
        parameters = replace(
            own,
            gamma_65536=own.gamma_65536 if gamma is None else gamma_units(gamma),
            delta=own.delta if delta is None else delta,
            context_width=own.context_width if context_width is None else context_width,
        )
        return Key(self._secret, parameters, self.derived_from)

    def check_tokenizer(self, tokenizer: TokenizerLike | TokenizerIdentity) -> None:
        """Raise unless `tokenizer` is the one this key was made for; a key made without one takes any.

        Raises:
            TokenizerMismatchError: with the first 16 hex digits of both hashes.
        """
        if self.tokenizer is None:
            return
        found = TokenizerIdentity.of(tokenizer)
        if self.tokenizer.same_tokens(found):
            return
        expected, other = self.tokenizer.sha256[:SHORT_DIGITS], found.sha256[:SHORT_DIGITS]
        if expected == other:
            message = f"key {self.short_id} lists other special ids or another size than its tokenizer {expected} has"
            raise TokenizerMismatchError(f"{message}; {_ADVICE}", expected=expected, found=other)
        raise TokenizerMismatchError(
            f"key {self.short_id} was made for tokenizer {expected}, this one is {other}; "
            "give the tokenizer of the marked model, or make a key for this one with `taggant keygen --tokenizer`",
            expected=expected,
            found=other,
        )

    @property
    def short_id(self) -> str:
        """The first 16 digits of the key id, for people."""
        return self.key_id[:SHORT_DIGITS]

    @property
    def scheme(self) -> str:
        """The colouring rule, "greenlist/1"."""
        return self.parameters.scheme

    @property
    def gamma_65536(self) -> int:
        """The green fraction in units of 1/65536."""
        return self.parameters.gamma_65536

    @property
    def gamma(self) -> float:
        """The green fraction, exactly gamma_65536 / 65536."""
        return self.parameters.gamma_65536 / GAMMA_UNITS

    @property
    def delta(self) -> float:
        """The logit bias of green tokens, nats."""
        return self.parameters.delta

    @property
    def context_width(self) -> int:
        """h, the number of context tokens that seed a green list."""
        return self.parameters.context_width

    @property
    def tokenizer(self) -> TokenizerIdentity | None:
        """The tokenizer the key was made for."""
        return self.parameters.tokenizer

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids that are neither biased nor scored, ascending; empty for a key without tokenizer."""
        return self.parameters.tokenizer.special_ids if self.parameters.tokenizer else ()

    @property
    def special_ids_digest(self) -> str | None:
        """SHA-256 over the special ids, then vocab_size, as little-endian uint32; None for a key without tokenizer."""
        return self.parameters.tokenizer.special_ids_digest if self.parameters.tokenizer else None

    def special_ids_note(self, verified: bool) -> str:
        """A sentence for evidence: which special ids were left out of the test, and on whose word.

        The key id binds them only through the tokenizer's hash, so a test of bare token ids rests on the key file.

        Args:
            verified: whether `check_tokenizer` passed with a tokenizer at hand.
        """
        if self.tokenizer is None:
            return "The key names no tokenizer: no token counts as special."
        ids = f"{len(self.special_ids)} special ids (digest {self.tokenizer.special_ids_digest[:SHORT_DIGITS]})"
        if verified:
            return f"{ids}, verified against the tokenizer."
        return f"{ids} taken from the key file, not verified against a tokenizer."

    def public(self) -> dict[str, Any]:
        """Return what may be shown of the key, JSON-able: everything but the secret and the ChaCha20 key."""
        shape = (self.gamma_65536, self.delta, self.context_width)
        profiles = {(p.gamma_65536, p.delta, p.context_width): p.name for p in PROFILES.values()}
        return {
            "key_id": self.key_id,
            "short_id": self.short_id,
            "scheme": self.scheme,
            "profile": profiles.get(shape),
            "gamma": self.gamma,
            "gamma_65536": self.gamma_65536,
            "delta": self.delta,
            "context_width": self.context_width,
            "tokenizer": self.tokenizer.to_json() if self.tokenizer else None,
            "special_ids_digest": self.special_ids_digest,
            "derived_from": asdict(self.derived_from) if self.derived_from else None,
        }

    def _derived(self, kind: str, label: str) -> Key:
        label = normal_label(kind, label)
        return Key(derive(self._secret, kind, label), self.parameters, DerivedFrom(self.key_id, kind, label))

    def _to_json(self) -> dict[str, Any]:
        public = {**self.public(), "format": FORMAT, "secret": self._secret.hex()}
        return {name: public[name] for name in _MEMBERS}

    @classmethod
    def _from_json(cls, value: Any) -> Key:
        content = members(value, _MEMBERS, "the key file")
        one_of(content["format"], "format", [FORMAT])
        one_of(content["scheme"], "scheme", [SCHEME])
        if not isinstance(content["secret"], str) or not _SECRET.fullmatch(content["secret"]):
            raise KeyFileError(f"'secret' must be {2 * SECRET_BYTES} hexadecimal digits")
        tokenizer, parent = content["tokenizer"], content["derived_from"]
        parameters = Parameters(
            gamma_65536=content["gamma_65536"],
            delta=content["delta"],
            context_width=content["context_width"],
            tokenizer=None if tokenizer is None else TokenizerIdentity.from_json(tokenizer),
        )
        derived_from = None if parent is None else DerivedFrom.from_json(parent)
        key = cls(bytes.fromhex(content["secret"]), parameters, derived_from)
        if hex_digits(content["key_id"], "key_id") != key.key_id:
            raise KeyFileError("'key_id' does not belong to this secret and these parameters: the file was changed")
        return key

    def __repr__(self) -> str:
        if not hasattr(self, self.__slots__[-1]):  # a traceback may show a key whose making failed
            return "<Key, not made>"
        return (
            f"<Key {self.short_id} {self.scheme} gamma={self.gamma:g} delta={self.delta:g} "
            f"context_width={self.context_width}>"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        same_public = (self.parameters, self.derived_from) == (other.parameters, other.derived_from)
        return hmac.compare_digest(self._secret, other._secret) and same_public

    def __hash__(self) -> int:
        return hash(self.key_id)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Key is immutable; {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Key is immutable; {name} cannot be deleted")

    def __copy__(self) -> Key:
        return self

    def __deepcopy__(self, memo: object) -> Key:
        return self  # transformers deep-copies its generation config, and with it a mark's key

    def __reduce__(self) -> NoReturn:
        raise KeyFileError("a Key is not pickled, its secret would leave mode 0600; save it and pass the path instead")

    def __getstate__(self) -> NoReturn:
        self.__reduce__()
