"""The processes of one training: how many they are, and which one this is. A training in one process has one rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def count() -> int:
    """Processes that train together."""
    return int(_distributed().get_world_size()) if _together() else 1


def is_first() -> bool:
    """Whether this process is the one that reports and writes."""
    return not _together() or _distributed().get_rank() == 0


def wait() -> None:
    """Until all processes are here."""
    if _together():
        _distributed().barrier()


def total(value: float, device: torch.device) -> float:
    """The sum of what the processes bring."""
    return _exchange(value, device, lambda tensor: _distributed().all_reduce(tensor))


def from_first(value: float, device: torch.device) -> float:
    """What the first process brings."""
    return _exchange(value, device, lambda tensor: _distributed().broadcast(tensor, src=0))


def _exchange(value: float, device: torch.device, operation: Any) -> float:
    if not _together():
        return value
    import torch

    tensor = torch.tensor(value, dtype=torch.float64, device=device)
    operation(tensor)
    return float(tensor)


def _together() -> bool:
    return bool(_distributed().is_available() and _distributed().is_initialized())


def _distributed() -> Any:
    import torch.distributed

    return torch.distributed
