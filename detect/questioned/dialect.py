"""How a server likes to be asked, found out by its first answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Dialect:
    """What a server turned out to understand beyond the common parameters.

    Attributes:
        extras: `return_token_ids` and its like, which vLLM knows and others refuse.
        limit: what it calls the longest answer.
        settled: an answer came, so this is how it likes to be asked.
    """

    extras: bool = True
    limit: str = "max_tokens"
    settled: bool = False

    def adapt(self, message: str) -> bool:
        """After a refusal (400, 422): whether there is another way to ask."""
        if self.settled:
            return False
        if self.extras:
            self.extras = False
        elif "max_completion_tokens" in message and self.limit == "max_tokens":
            self.limit = "max_completion_tokens"
        else:
            return False
        return True
