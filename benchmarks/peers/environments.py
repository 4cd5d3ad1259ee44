"""A virtual environment for each peer, made once; it sees the packages of the interpreter that makes it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2]
GROUP = "peer-"


def peers() -> dict[str, list[str]]:
    """What is installed for each peer: the dependency groups `peer-…` of pyproject.toml, the peer itself first."""
    groups = tomllib.loads((PROJECT / "pyproject.toml").read_text())["dependency-groups"]
    return {name.removeprefix(GROUP): packages for name, packages in groups.items() if name.startswith(GROUP)}


def python_of(peer: str, root: Path) -> Path:
    """The interpreter of a peer's environment; made and filled where it is not there yet.

    Raises:
        OSError: it cannot be installed; says what pip said last.
    """
    place = root / peer
    python, done = place / "bin" / "python", place / ".installed"
    packages = peers()[peer]
    if done.exists() and done.read_text() == "\n".join(packages):
        return python
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
    except subprocess.CalledProcessError as error:
        raise OSError(f"no virtual environment: {error}") from None
    site = sysconfig.get_path("purelib", vars={"base": str(place)})
    (Path(site) / "of_the_benchmark.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for options in (["--no-deps", packages[0]], packages[1:]):  # the peer's own pins would bring another torch
        if options:
            tried = subprocess.run([*pip, *options], capture_output=True, text=True)
            if tried.returncode:
                raise OSError((tried.stderr.strip().splitlines() or ["pip failed"])[-1])
    done.write_text("\n".join(packages))
    return python
