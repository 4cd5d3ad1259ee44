"""What a reader of a study wants to see of what it stands on: its models' sizes, and a few answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from distill_sim.corpus import CorpusRow, read_corpus
from distill_sim.pipeline import Pipeline
from distill_sim.stages import CORPUS
from distill_sim.study.cells import Cell
from distill_sim.study.file import BASE
from distill_sim.study.scales import Model
from watermark.files import strict_json

EXAMPLES = 2
LONGEST = 300  # characters that are shown


def sizes(models: Mapping[str, Model]) -> dict[str, dict[str, int]]:
    """What teacher and students start from, by name: parameters, layers, hidden and vocabulary size."""
    return {name: _size(model.directory) for name, model in sorted(models.items(), key=lambda one: one[0] != "teacher")}


def _size(directory: Path) -> dict[str, int]:
    config: Any = strict_json((directory / "config.json").read_bytes())
    return {
        "parameters": sum(map(_parameters, directory.glob("*.safetensors"))),
        "layers": int(config["num_hidden_layers"]),
        "hidden": int(config["hidden_size"]),
        "vocabulary": int(config["vocab_size"]),
    }


def _parameters(path: Path) -> int:
    """Numbers in a file of safetensors, from its header: its length in 8 bytes, then JSON."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(prod(one["shape"]) for name, one in header.items() if name != "__metadata__")


def examples(pipeline: Pipeline, cells: Sequence[Cell]) -> list[dict[str, str]]:
    """Answers of the base's first corpus, and the unmarked teacher's to the same prompts; none while they are made."""
    base = next((cell for cell in cells if cell.name == BASE), None)
    if base is None or not base.condition.exposed or base.condition.attack:
        return []
    plain = replace(base.condition, source="unmarked", share=1.0, accounts=1)
    control = next((cell for cell in cells if cell.condition == plain and cell.seed == base.seed), None)
    done = pipeline.finished()
    if control is None or base.corpus not in done or control.corpus not in done:
        return []
    marked, unmarked = (read_corpus(pipeline.directory(one.corpus) / CORPUS) for one in (base, control))
    pairs = [(one, other) for one, other in zip(marked, unmarked, strict=True) if one.marked]
    return [_example(one, other) for one, other in pairs[:EXAMPLES]]


def _example(marked: CorpusRow, unmarked: CorpusRow) -> dict[str, str]:
    return {
        "prompt": marked.prompt[:LONGEST],
        "marked": marked.text[:LONGEST],
        "unmarked": unmarked.text[:LONGEST],
    }
