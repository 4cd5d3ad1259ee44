"""What a custom logits processor inherits from."""

from abc import ABC, abstractmethod
from typing import Any


class LogitsProcessor(ABC):
    """vLLM calls these."""

    @classmethod  # noqa: B027
    def validate_params(cls, sampling_params: Any) -> None:
        """Raise ValueError for a request that cannot be served."""

    @abstractmethod
    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None: ...

    @abstractmethod
    def apply(self, logits: Any) -> Any: ...

    @abstractmethod
    def is_argmax_invariant(self) -> bool: ...

    @abstractmethod
    def update_state(self, batch_update: Any) -> None: ...
