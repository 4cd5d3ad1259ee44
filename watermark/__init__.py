"""Keyed green lists, and the processors that apply them in generation.

Names load what they need on first use: `Key` and `GreenList` neither torch nor transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from watermark.engines.transformers import GreenListProcessor, MarkConfig
    from watermark.greenlist import GreenList
    from watermark.keys import Key

__all__ = ["GreenList", "GreenListProcessor", "Key", "MarkConfig"]

_HOME = {
    "GreenList": "watermark.greenlist",
    "GreenListProcessor": "watermark.engines.transformers",
    "Key": "watermark.keys",
    "MarkConfig": "watermark.engines.transformers",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
