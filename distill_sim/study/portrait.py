"""What a reader of a study wants to see of what it stands on: its models' sizes, and a few answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from detect.pages.marking import states
from detect.pages.spelling import decoder, spell
from distill_sim.corpus import CorpusRow, read_corpus
from distill_sim.pipeline import Pipeline
from distill_sim.stages import CORPUS
from distill_sim.study.cells import Cell
from distill_sim.study.file import BASE
from distill_sim.study.keys import StudyKeys
from distill_sim.study.scales import Model
from watermark.files import strict_json
from watermark.keys import Key
from watermark.windows import WindowRule

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


def examples(pipeline: Pipeline, cells: Sequence[Cell], keys: StudyKeys, teacher: Path) -> list[dict[str, Any]]:
    """Answers of the base's first corpus, and the unmarked teacher's to the same prompts; none while they are made.

    With each go its tokens: [text, colour under the key that marked the first], as `detect.pages.marking` has colours.

    Args:
        teacher: directory of its tokenizer.
    """
    base = next((cell for cell in cells if cell.name == BASE), None)
    if base is None or not base.condition.exposed or base.condition.attack:
        return []
    plain = replace(base.condition, source="unmarked", share=1.0, accounts=1)
    control = next((cell for cell in cells if cell.condition == plain and cell.seed == base.seed), None)
    done = pipeline.finished()
    if control is None or base.corpus not in done or control.corpus not in done:
        return []
    from watermark.engines.models import load_tokenizer

    tokenizer = load_tokenizer(teacher)
    by_id = {key.key_id: key for key in keys.marking(base.condition, base.key)}
    marked, unmarked = (read_corpus(pipeline.directory(one.corpus) / CORPUS) for one in (base, control))
    pairs = [(one, other) for one, other in zip(marked, unmarked, strict=True) if one.key_id in by_id]
    return [_example(one, other, by_id[str(one.key_id)], tokenizer) for one, other in pairs[:EXAMPLES]]


def _example(marked: CorpusRow, unmarked: CorpusRow, key: Key, tokenizer: Any) -> dict[str, Any]:
    return {
        "prompt": marked.prompt[:LONGEST],
        "marked": marked.text[:LONGEST],
        "unmarked": unmarked.text[:LONGEST],
        "marked_tokens": _coloured(marked, key, tokenizer),
        "unmarked_tokens": _coloured(unmarked, key, tokenizer),
    }


def _coloured(row: CorpusRow, key: Key, tokenizer: Any) -> list[list[str]]:
    """The first `LONGEST` characters as tokens: what each adds to the text, and its colour."""
    ids, rule = np.array(row.token_ids, dtype=np.uint32), WindowRule(key.context_width, key.special_ids)
    colours = states(key, rule, ids, rule.label([ids])[0])
    spelled = spell(row.token_ids, decoder(tokenizer), len(tokenizer))
    found, room = [], LONGEST
    for one, colour in zip(spelled, colours, strict=True):
        if room <= 0:
            break
        found.append([one.text[:room], colour])
        room -= len(one.text)
    return found
