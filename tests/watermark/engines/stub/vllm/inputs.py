"""How a prompt is given."""

from typing import TypedDict


class TokensPrompt(TypedDict):
    """A prompt as token ids."""

    prompt_token_ids: list[int]
