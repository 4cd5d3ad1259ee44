"""Start-up and size: `python -m benchmarks.startup`.

Wall seconds of fresh processes, medians of nine after one that is not counted; what they had imported; the size of the
wheel, of what it installs, and of what that needs.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.common import save

PROJECT = Path(__file__).parents[1]
ROUNDS = 9
HEAVY = ("torch", "transformers", "tokenizers", "numba", "scipy", "numpy", "click", "pyarrow", "matplotlib")
RUN = "import sys; from detect.cli.main import run; code = run(sys.argv[1:])"
SHOWN = f"import json; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)"


def median_seconds(command: Sequence[str], place: Path) -> float:
    """Of fresh processes in the directory `place`."""
    seconds = []
    for _ in range(ROUNDS + 1):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=place)
        seconds.append(time.perf_counter() - begun)
    return round(statistics.median(seconds[1:]), 3)


def loaded(program: str, arguments: Sequence[str], place: Path) -> list[str]:
    """Which of HEAVY a fresh process has imported after `program`."""
    command = [sys.executable, "-c", f"import sys\n{program}\n{SHOWN}", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=place)
    found: list[str] = json.loads(done.stderr.splitlines()[-1])
    return found


def programs(place: Path) -> dict[str, tuple[str, list[str]]]:
    """What is started, by name; makes the files it needs in `place`."""
    from benchmarks.common import docstrings
    from distill_sim.teacher import pull_smollm2

    model = str(pull_smollm2())
    (place / "letter.txt").write_text("\n".join(docstrings(8_000)))
    (place / "ids.jsonl").write_text(json.dumps({"token_ids": list(range(20, 1500))}) + "\n")
    subprocess.run(
        [sys.executable, "-c", RUN, "keygen", "-o", "a.key", "--tokenizer", model],
        check=True, capture_output=True, cwd=place,
    )  # fmt: skip
    ids, text = (["detect", "--key", "a.key", name, "--json"] for name in ("ids.jsonl", "letter.txt"))
    return {
        "python alone": ("", []),
        "import watermark": ("import watermark", []),
        "import detect": ("import detect", []),
        "import transformers": ("import transformers", []),
        "import torch": ("import torch", []),
        "taggant --help": (RUN, ["--help"]),
        "taggant detect, token ids": (RUN, ids),
        "taggant detect, text": (RUN, text),
    }


def sizes() -> dict[str, Any]:
    """Bytes: the wheel, what it installs, and the distributions it needs, largest first."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", place, PROJECT],
            check=True, capture_output=True,
        )  # fmt: skip
        (wheel,) = Path(place).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            installed = sum(member.file_size for member in archive.infolist())
        wheel_bytes = wheel.stat().st_size
    needed = {name: size for name in _needed("taggant") if (size := _installed(name))}
    largest = dict(sorted(needed.items(), key=lambda one: -one[1])[:12])
    return {
        "wheel_kilobytes": round(wheel_bytes / 1e3),
        "installed_kilobytes": round(installed / 1e3),
        "dependencies": len(needed),
        "dependencies_megabytes": round(sum(needed.values()) / 1e6),
        "largest_megabytes": {name: round(size / 1e6, 1) for name, size in largest.items()},
    }


def _needed(root: str) -> set[str]:
    """The distributions that `root` needs, without extras, as far as they are installed."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    open_ones = [root]
    while open_ones:
        try:
            lines = metadata.requires(open_ones.pop()) or []
        except metadata.PackageNotFoundError:
            continue
        wanted = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate({"extra": ""})]
        fresh = {one.name.lower() for one in wanted} - found
        found |= fresh
        open_ones += sorted(fresh)
    return found


def _installed(name: str) -> int:
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        return 0
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file())


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        place, started = Path(directory), {}
        for name, (program, arguments) in programs(place).items():
            started[name] = {
                "wall_seconds_median": median_seconds([sys.executable, "-c", program, *arguments], place),
                "imported": loaded(program, arguments, place),
            }
    save("startup", "python -m benchmarks.startup", {"rounds": ROUNDS, "started": started, "sizes": sizes()})


if __name__ == "__main__":
    main()
