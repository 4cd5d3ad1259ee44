"""On what machine a bundle was sealed, for whoever computes it again; no names of people or hosts."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

FORMAT = "taggant-environment/1"
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "numba", "cryptography", "rfc8785")


def environment() -> dict[str, Any]:
    """The content of environment.json."""
    return {
        "format": FORMAT,
        "taggant": version("taggant"),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def version(distribution: str) -> str | None:
    """Of an installed distribution; None: it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
