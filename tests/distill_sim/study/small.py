"""A study that the tiny model goes through in seconds: a base, its controls, a dose, and something afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_sim import texts
from distill_sim.study import costs, examiners
from distill_sim.study.file import Study, parse_study
from distill_sim.study.run import Parallel, Runner
from tests import tiny
from tests.watermark.engines.helpers import key_for

SEEDS, KEYS, FRESH_KEYS = 1, 2, 15
CONTENT: dict[str, Any] = {
    "title": "A tiny study",
    "seeds": SEEDS,
    "keys": KEYS,
    "fresh_keys": FRESH_KEYS,
    "base": {
        "answers": 16, "answer_tokens": 12, "epochs": 1, "batch_size": 8, "learning_rate": 1e-2, "probe_tokens": 60,
        "sampled_tokens": 60, "method": "top", "layers": 1,
    },
    "vary": [{"name": "dose", "answers": [8, 16]}, {"name": "after", "after": ["int8", ["prune:0.3", "heal:8"]]}],
}  # fmt: skip
MORE = {**CONTENT, "vary": [*CONTENT["vary"], {"name": "source", "source": ["licensed"], "keys": 1}]}
CHUNK, PASSAGES = 16, 60


def shrink(patch: pytest.MonkeyPatch) -> None:
    """What a study does besides its conditions is made small, too."""
    whole = texts.passages
    patch.setattr(texts, "passages", lambda part: whole(part)[:PASSAGES])
    patch.setattr(examiners, "FREQUENCY_ANSWERS", CHUNK)
    for name, value in (("TEXT_TOKENS", 100), ("HUMAN_TEXTS", 2), ("CLOZE_ITEMS", 2)):
        patch.setattr(costs, name, value)


def study(content: Mapping[str, Any] = CONTENT) -> Study:
    parsed = parse_study(content)
    return replace(parsed, scale=replace(parsed.scale, chunk=CHUNK))


def save_owner(directory: Path) -> Path:
    """The owner's key, always the same."""
    path = directory / "owner.key"
    key_for(number=43).save(path)
    return path


def runner(root: Path, owner: Path | None, content: Mapping[str, Any] = CONTENT, **how: Any) -> Runner:
    how = {"model": tiny.shared(), "parallel": Parallel(1, 1), **how}
    return Runner(root, study(content), owner_key=owner, **how)
