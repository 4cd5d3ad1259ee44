"""The one secret of questioning a server: from the environment, into one header, and nowhere else."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from watermark.errors import InputError

VARIABLES = ("TAGGANT_API_KEY", "OPENAI_API_KEY")  # where an API key may be, the first one set wins
_SHORTEST_SECRET = 12  # characters: "EMPTY", as some servers want it, is a word that answers may hold


@dataclass(frozen=True)
class ApiKey:
    """What opens the server; None where the environment holds none, as many local servers need none."""

    variable: str | None
    secret: str | None = field(repr=False)

    @classmethod
    def from_environment(cls) -> ApiKey:
        """From TAGGANT_API_KEY, else OPENAI_API_KEY.

        Raises:
            InputError: it holds what no header can carry.
        """
        for variable in VARIABLES:
            secret = os.environ.get(variable, "").strip()
            if secret:
                if not (secret.isascii() and secret.isprintable()) or " " in secret:
                    raise InputError(f"{variable} holds characters that no API key has; set it anew")
                return cls(variable, secret)
        return cls(None, None)

    def cut_out(self, value: Any) -> Any:
        """`value`, text or JSON, without the key."""
        if self.secret is None or len(self.secret) < _SHORTEST_SECRET:
            return value
        if isinstance(value, str):
            return value.replace(self.secret, "[API key]")
        if isinstance(value, list):
            return [self.cut_out(one) for one in value]
        if isinstance(value, dict):
            return {self.cut_out(name): self.cut_out(one) for name, one in value.items()}
        return value
