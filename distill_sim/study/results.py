"""What a study writes of its finished cells: tables, study.json, summary.json and the page."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from distill_sim.stopwatch import kept_seconds
from distill_sim.study.controls import CONTROLS_FILE, write_controls
from distill_sim.study.file import BASE
from distill_sim.study.laboratory import Laboratory, values_of
from distill_sim.study.portrait import examples, sizes
from distill_sim.survival import FRESH, QUALITY, SURVIVAL, write_table
from watermark.files import strict_json, write_json

SECONDS, DESCRIPTION = ".seconds", "study.json"
OF_THE_RUN = ("command", "created", "seconds", "versions", "revision", "machine")
PACKAGES = (
    *("taggant", "torch", "transformers", "tokenizers", "numpy", "scipy", "accelerate", "peft", "gguf", "pyarrow"),
    *("numba", "cryptography", "scikit-learn", "lemminflect", "vllm"),
)


def write_results(root: Path, laboratory: Laboratory, machine: Mapping[str, Any], *, carried_out: bool = True) -> Path:
    """Write the tables, the summary and the page of what is finished.

    Args:
        machine: who did the work, for study.json.
        carried_out: by the command that runs now; otherwise what study.json says of the earlier one is kept.
    """
    survival, fresh, quality = list(laboratory.survival()), list(laboratory.fresh()), list(laboratory.quality())
    for name, rows in ((SURVIVAL, survival), (FRESH, fresh), (QUALITY, quality)):
        write_table(root / name, rows)
    study = describe(root, laboratory, machine)
    if not carried_out:
        study |= _of_the_run(root)
    write_json(root / DESCRIPTION, study, overwrite=True)
    write_controls(root / CONTROLS_FILE, laboratory)
    from distill_sim.report import write_report
    from distill_sim.report.summarise import summary

    write_json(root / "summary.json", summary(study, survival, fresh, quality), overwrite=True)
    write_report(root / "index.html", study, survival, fresh, quality)
    return root / "index.html"


def _of_the_run(root: Path) -> dict[str, Any]:
    """What study.json says of the run that wrote the results that are there; nothing where there are none."""
    path = root / DESCRIPTION
    content: Any = strict_json(path.read_bytes()) if path.exists() else {}
    return {name: content[name] for name in OF_THE_RUN if name in content}


def describe(root: Path, laboratory: Laboratory, machine: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, by what it was carried out, and a look at what it stands on."""
    study = laboratory.study
    return {
        "schema": "taggant-study/1",
        "name": root.resolve().name,
        "title": study.title,
        "description": study.description,
        "scale": study.scale.name,
        "command": shlex.join(["taggant", *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(kept_seconds(root / SECONDS), 1),
        "study_sha256": study.sha256,
        "versions": {"python": platform.python_version(), **_versions()},
        "revision": revision(),
        "teacher_engine": laboratory.foundation.engine,
        "machine": {"processor": platform.machine(), **machine},
        "owner_key_id": laboratory.keys.owner_key_id,
        "seeds": study.repeats_of_base.seeds,
        "keys": study.repeats_of_base.keys,
        "fresh_keys": study.fresh_keys,
        "disjoint": study.disjoint,
        "models": sizes(laboratory.foundation.models),
        "examples": examples(
            laboratory.pipeline, laboratory.cells, laboratory.keys, laboratory.foundation.teacher.directory
        ),
        "reference": BASE,
        "base": values_of(study.base),
        "series": [
            {"name": one.name, "title": one.name, "vary": list(one.vary), "conditions": list(one.conditions)}
            for one in study.series
        ],
    }


def revision() -> str | None:
    """The commit of the code that runs, "-modified" behind it where files differ from it; None: not from a checkout."""
    here = Path(__file__).parent
    try:
        found, changed = (
            subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{found}-modified" if changed else found


def _versions() -> dict[str, str]:
    """Of the packages that had a part in it and are installed."""
    found = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
