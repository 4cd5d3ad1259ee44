"""Being connected to Ray, where it is installed: a cluster, or one of our own on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detect.visible import one_line
from watermark.errors import InputError

HERE = Path(__file__).resolve().parents[1]  # where this package's modules are found
STORE = 128 << 20  # bytes of shared memory of a Ray of our own: messages are small, results lie in files


def load_ray() -> Any:
    """The library (InputError: it is not installed)."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    # workers without GPUs leave CUDA's variables alone
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise InputError("running on Ray needs Ray; pip install 'taggant[ray]' installs it") from None
    return ray


@contextmanager
def connected(address: str | None = None) -> Iterator[Any]:
    """Be connected to Ray inside the block; one that this process is connected to already is left as it is.

    Args:
        address: of the cluster; None: what RAY_ADDRESS says, else a Ray of our own on this machine.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be reached.
    """
    ray = load_ray()
    if ray.is_initialized():
        yield ray
        return
    where = address or os.environ.get("RAY_ADDRESS") or "local"
    own = {"include_dashboard": False, "object_store_memory": STORE} if where == "local" else {}
    try:
        with _in(HERE):  # Ray lets its workers import from the current directory, which may be full of exhibits
            ray.init(
                address=where,
                log_to_driver=os.environ.get("TAGGANT_DEBUG") == "1",
                logging_level="ERROR",
                configure_logging=False,
                **own,
            )
    except (OSError, RuntimeError, ValueError) as error:  # ConnectionError is an OSError
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"Ray at {where!r} cannot be reached: {one_line(first, 200)}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _in(directory: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)
