"""`taggant doctor`: what this machine can do, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import click

from detect.cli.options import habits, json_option
from detect.cli.output import emit, emit_json, printable

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
EXTRAS = {
    "weasyprint": "report",
    "rfc3161-client": "timestamp",
    "lemminflect": "lab",
    "scikit-learn": "lab",
    "ray": "ray",
}


class Check(NamedTuple):
    """One line of the report; `advice` says how to mend what is not ok."""

    name: str
    ok: bool
    found: str
    advice: str = ""


@click.command(short_help="What this machine can do, what is missing and how to get it.")
@json_option
@habits
def doctor(as_json: bool) -> None:
    """Look at the installation: shadowed packages, libraries, colours against OpenSSL, the teacher.

    Exit 0 whatever is found; with --json, `ok` says whether everything is in order.
    """
    claims = _claims()
    checks = [
        _python(),
        *(_ours(package, claims) for package in OURS),
        *map(_library, LIBRARIES),
        *map(_extra, EXTRAS),
        *_working(),
    ]
    if as_json:
        emit_json({"ok": all(check.ok for check in checks), "checks": [check._asdict() for check in checks]})
        return
    lines = []
    for check in checks:
        lines.append(f"{'ok     ' if check.ok else 'problem'}  {check.name:24} {printable(check.found)}")
        if check.advice and not check.ok:
            lines.append(f"{'':33} → {check.advice}")
    emit("\n".join(lines))


def _python() -> Check:
    found = f"{platform.python_version()}, {platform.machine()}"
    return Check("python", sys.version_info >= (3, 11), found, "install Python 3.11 or later")


def _claims() -> dict[str, list[str]]:
    """Import name → other distributions that install it."""
    return {
        package: sorted({name for name in names if name.lower() != "taggant"})
        for package, names in metadata.packages_distributions().items()
        if package in OURS
    }


def _ours(package: str, claims: dict[str, list[str]]) -> Check:
    """Whether the import name is ours: PyPI's `watermark` and `markllm` install a top-level `watermark` too."""
    here = Path(__file__).resolve().parent.parent.parent
    places = _places(package)
    others = claims.get(package, [])
    found = ", ".join(map(str, places)) or "not found"
    if others:
        found += f"; also installed by {', '.join(others)}"
        advice = f"pip uninstall {' '.join(others)}, then reinstall taggant (it may have been overwritten)"
    else:
        advice = (
            f"this `{package}` is found before Taggant's {here / package}: remove it from PYTHONPATH or the current "
            "directory, or pip uninstall what installed it (watermark, markllm), or use another virtual environment"
        )
    return Check(f"package {package}", places[:1] == [here / package] and not others, found, advice)


def _places(package: str) -> list[Path]:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    return [Path(place).resolve() for place in spec.submodule_search_locations or [spec.origin or "?"]]


def _library(name: str) -> Check:
    try:
        return Check(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", f"pip install {name}, or reinstall taggant")


def _extra(name: str) -> Check:
    """What a command needs that not everybody uses; in order without it, too."""
    try:
        return Check(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, True, f"not installed; pip install 'taggant[{EXTRAS[name]}]' brings it")


def _working() -> list[Check]:
    """Checks that run something; a broken installation must not end the report."""
    named: dict[str, Callable[[str], Check]] = {
        "colours": _colours,
        "compiled kernels": _kernels,
        "torch devices": _devices,
        "teacher smollm2": _teacher,
        "disk": _disk,
        "key leftovers": _leftovers,
    }
    checks = []
    for name, check in named.items():
        try:
            checks.append(check(name))
        except Exception as error:  # whatever is broken is what the user came to hear
            found = printable(f"{type(error).__name__}: {error}")[:200]
            checks.append(Check(name, False, found, "mend the problems above first, then reinstall taggant"))
    return checks


def _colours(name: str) -> Check:
    """Single pairs (our kernel) against rows (OpenSSL) under a throw-away key."""
    import numpy as np

    from watermark.greenlist import GreenList

    green = GreenList.from_chacha_key(bytes(range(32)), 16384, 1)
    row = green.mask(np.array([[7]]), 1000)[0]
    single = green.is_green(np.full((1000, 1), 7), np.arange(1000))
    equal = bool((row == single).all())
    found = "1,000 colours equal OpenSSL's" if equal else "colours differ from OpenSSL's"
    return Check(name, equal, found, "do not use this installation; report it with the lines above")


def _kernels(name: str) -> Check:
    import_module("watermark.chacha_numba")
    return Check(name, True, "numba works")


def _devices(name: str) -> Check:
    import torch

    devices = ["cpu"] + [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return Check(name, True, f"{', '.join(devices)}; {torch.get_num_threads()} threads")


def _teacher(name: str) -> Check:
    """Named, not imported: detect does not depend on distill_sim."""
    teacher: Any = import_module("distill_sim.teacher")
    directory = teacher.default_directory()
    complete = teacher.is_complete(directory)
    advice = "taggant model pull smollm2 (the demo does it by itself)"
    return Check(name, complete, str(directory) if complete else "not pulled yet", advice)


def _disk(name: str) -> Check:
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home())
    free = shutil.disk_usage(place if place.exists() else Path.cwd()).free / 2**30
    return Check(name, free >= 6, f"{free:.0f} GiB free", "the demo needs about 6 GiB")


def _leftovers(name: str) -> Check:
    """Key files in the making, which a kill leaves under a hidden name in the directory where the command ran."""
    found = sorted(path.name for path in Path.cwd().glob(".*.key.*.tmp"))
    advice = "a command was killed while it wrote a key: when none is at work, remove these files, they hold a secret"
    return Check(name, not found, ", ".join(found) or "none in this directory", advice)
