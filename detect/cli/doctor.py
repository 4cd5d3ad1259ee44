"""`taggant doctor`: what this machine can do, what is missing, and how to get it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import click

from detect.cli.options import json_option

OURS = ("watermark", "detect", "distill_sim")
LIBRARIES = (
    "torch",
    "transformers",
    "numpy",
    "scipy",
    "numba",
    "cryptography",
    "tokenizers",
    "safetensors",
    "accelerate",
    "peft",
    "gguf",
    "pyarrow",
    "matplotlib",
)


class Check(NamedTuple):
    """One line of the report; `advice` says how to mend what is not ok."""

    name: str
    ok: bool
    found: str
    advice: str = ""


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Look at the installation: shadowed packages, libraries, colours against OpenSSL, the teacher."""
    checks = [_python(), *map(_ours, OURS), *map(_library, LIBRARIES), *_working(), _teacher(), _disk()]
    if as_json:
        click.echo(json.dumps({"ok": all(c.ok for c in checks), "checks": [c._asdict() for c in checks]}))
    else:
        for check in checks:
            click.echo(f"{'ok     ' if check.ok else 'missing'}  {check.name:24} {check.found}")
            if check.advice and not check.ok:
                click.echo(f"{'':33} → {check.advice}")
    return 0


def _python() -> Check:
    version = platform.python_version()
    return Check(
        "python", sys.version_info >= (3, 11), f"{version}, {platform.machine()}", "install Python 3.11 or later"
    )


def _ours(package: str) -> Check:
    """Whether the import name is ours: PyPI's `watermark` and `markllm` install a top-level `watermark` too."""
    spec = find_spec(package)
    here = Path(__file__).resolve().parent.parent.parent
    places = [Path(place).resolve() for place in (spec.submodule_search_locations or [])] if spec else []
    advice = (
        f"another distribution provides `{package}`: uninstall it (pip uninstall watermark markllm) "
        "and reinstall taggant, or use a virtual environment of its own"
    )
    found = ", ".join(map(str, places)) or (str(spec.origin) if spec else "not found")
    return Check(f"package {package}", here / package in places, found, advice)


def _library(name: str) -> Check:
    try:
        return Check(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", f"pip install {name}")


def _working() -> list[Check]:
    """Checks that run something; a broken installation must not end the report."""
    checks = []
    for name, check in (("colours", _colours), ("compiled kernels", _kernels), ("torch devices", _devices)):
        try:
            checks.append(check(name))
        except Exception as error:  # whatever is broken is what the user came to hear
            checks.append(
                Check(name, False, f"{type(error).__name__}: {error}"[:200], "reinstall taggant and its dependencies")
            )
    return checks


def _colours(name: str) -> Check:
    """Single pairs (our kernel) against rows (OpenSSL) under a throw-away key."""
    import numpy as np

    from watermark.greenlist import GreenList

    green = GreenList.from_chacha_key(bytes(range(32)), 16384, 1)
    row = green.mask(np.array([[7]]), 1000)[0]
    single = green.is_green(np.full((1000, 1), 7), np.arange(1000))
    return Check(
        name, bool((row == single).all()), "1,000 colours equal OpenSSL's" if (row == single).all() else "differ"
    )


def _kernels(name: str) -> Check:
    import_module("watermark.chacha_numba")
    return Check(name, True, "numba works")


def _devices(name: str) -> Check:
    import torch

    devices = ["cpu"] + [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return Check(name, True, f"{', '.join(devices)}; {torch.get_num_threads()} threads")


def _teacher() -> Check:
    """Named, not imported: detect does not depend on distill_sim."""
    teacher: Any = import_module("distill_sim.teacher")
    directory = teacher.default_directory()
    found = str(directory) if teacher.is_complete(directory) else "not pulled yet"
    return Check(
        "teacher smollm2",
        teacher.is_complete(directory),
        found,
        "taggant model pull smollm2 (the demo does it by itself)",
    )


def _disk() -> Check:
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home())
    free = shutil.disk_usage(place if place.exists() else Path.cwd()).free / 2**30
    return Check("disk", free >= 6, f"{free:.0f} GiB free", "the demo needs about 6 GiB")
