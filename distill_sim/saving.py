"""Save a model into a directory that is being made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from watermark.engines.models import quiet_transformers
from watermark.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def save_model(model: PreTrainedModel | Any, directory: Path) -> None:
    """Write config and weights (safetensors only), readable by all as other files are.

    Raises:
        InputError: the weights cannot be written, a full disk for one: safetensors' own error is no OSError.
    """
    from safetensors import SafetensorError

    try:
        with quiet_transformers():
            model.save_pretrained(directory)
    except SafetensorError as error:
        raise InputError(f"{directory.parent}: the model cannot be written: {str(error)[:200]}") from None
    for file in directory.glob("*.safetensors"):
        file.chmod((directory / "config.json").stat().st_mode & 0o777)  # safetensors makes them private
