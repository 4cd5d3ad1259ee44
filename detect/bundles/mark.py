"""What of a mark is public, as a case and its bundle say it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from detect.bundles.members import Check, is_count, is_digest, list_of, or_null, require
from detect.bundles.refused import Refused
from watermark.errors import KeyFileError
from watermark.keys import SCHEME, Key
from watermark.keys.parameters import GAMMA_UNITS, MAX_CONTEXT_WIDTH
from watermark.keys.tokenizers import MAX_VOCABULARY, check_special_ids

FORMAT = "taggant-mark/1"
_MEMBERS: dict[str, Check] = {
    "format": lambda value: value == FORMAT,
    "key_id": is_digest,
    "scheme": lambda value: value == SCHEME,
    "gamma_65536": lambda value: is_count(value) and 1 <= value < GAMMA_UNITS,
    "context_width": lambda value: is_count(value) and value <= MAX_CONTEXT_WIDTH,
    "tokenizer_sha256": or_null(is_digest),
    "vocab_size": or_null(lambda value: is_count(value) and 1 <= value <= MAX_VOCABULARY),
    "special_ids": list_of(is_count),
}


@dataclass(frozen=True)
class Mark:
    """A mark without its key: parameters, and the tokenizer where there is one.

    Attributes:
        special_ids: neither biased nor scored, ascending; empty without a tokenizer.
    """

    key_id: str
    scheme: str
    gamma_65536: int
    context_width: int
    tokenizer_sha256: str | None
    vocab_size: int | None
    special_ids: tuple[int, ...] = field(repr=False)

    @classmethod
    def of(cls, key: Key) -> Mark:
        tokenizer = key.tokenizer
        return cls(
            key_id=key.key_id,
            scheme=key.scheme,
            gamma_65536=key.gamma_65536,
            context_width=key.context_width,
            tokenizer_sha256=None if tokenizer is None else tokenizer.sha256,
            vocab_size=None if tokenizer is None else tokenizer.vocab_size,
            special_ids=key.special_ids,
        )

    @property
    def gamma(self) -> float:
        """The green fraction under the null."""
        return self.gamma_65536 / GAMMA_UNITS

    def to_json(self) -> dict[str, Any]:
        """The content of mark.json."""
        return {"format": FORMAT, **asdict(self), "special_ids": list(self.special_ids)}

    @classmethod
    def from_json(cls, value: Any) -> Mark:
        """Read what `to_json` gave.

        Raises:
            Refused: "mark".
        """
        content = require(value, _MEMBERS, "mark", "mark.json")
        fields = {name: content[name] for name in _MEMBERS if name != "format"}
        if (fields["tokenizer_sha256"] is None) != (fields["vocab_size"] is None):
            raise Refused("mark", "mark.json: vocab_size must be null where tokenizer_sha256 is, and only there")
        try:
            check_special_ids(tuple(fields["special_ids"]), fields["vocab_size"] or 0, "special_ids")
        except KeyFileError as error:
            raise Refused("mark", f"mark.json: {error}") from None
        return cls(**{**fields, "special_ids": tuple(fields["special_ids"])})
