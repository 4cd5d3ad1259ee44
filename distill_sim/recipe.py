"""How a student is trained: every choice in one frozen, validated object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from watermark.errors import InputError


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a student is trained. The defaults are facts.md's small budget: top 8 layers, one epoch, 4e-4.

    Raises:
        InputError: a value that cannot be meant.
    """

    method: Literal["top", "lora", "full"] = "top"
    layers: int = 8  # trained, counted from the top; "top" only
    learning_rate: float = 4e-4
    schedule: Literal["constant_with_warmup", "linear", "cosine"] = "constant_with_warmup"
    warmup: float = 0.05  # share of all steps; none where that is less than one
    epochs: int = 1
    batch_size: int = 8
    max_length: int = 256  # tokens, prompt and answer; the answer's end is cut
    max_grad_norm: float = 1.0
    lora_rank: int = 16  # "lora" only; alpha is twice the rank
    seed: int = 0
    keep_zeros: bool = False  # weights that are 0 stay 0: a pruned student is healed

    def __post_init__(self) -> None:
        if self.method not in ("top", "lora", "full"):
            raise InputError(f"recipe: method is {self.method!r}; use top, lora or full")
        if self.keep_zeros and self.method == "lora":
            raise InputError("recipe: keep_zeros needs method top or full: merging an adapter fills the zeros")
        if self.schedule not in ("constant_with_warmup", "linear", "cosine"):
            raise InputError(f"recipe: schedule is {self.schedule!r}; use constant_with_warmup, linear or cosine")
        for name, least in (("layers", 1), ("epochs", 1), ("batch_size", 1), ("max_length", 2), ("lora_rank", 1)):
            if getattr(self, name) < least:
                raise InputError(f"recipe: {name} is {getattr(self, name)}; it must be at least {least}")
        if not (0 < self.learning_rate < 1 and 0 <= self.warmup < 1 and self.max_grad_norm > 0):
            raise InputError("recipe: learning_rate lies in (0, 1), warmup in [0, 1), max_grad_norm above 0")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"recipe: seed is {self.seed}; it must lie in 0 … 2^32 − 1")
