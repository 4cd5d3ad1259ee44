"""With a real vLLM, where there is one: the tiny model's answers carry the mark as transformers' do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests import tiny
from tests.distill_sim.processes import REPOSITORY
from tests.watermark.engines.helpers import green_of_scored, key_for, tokenizer
from watermark.engines.answers import Sampling, answer
from watermark.engines.models import load_model
from watermark.engines.vllm_answers import VllmEngine, require_vllm
from watermark.errors import InputError

try:
    PYTHON = require_vllm()
except InputError as problem:
    pytest.skip(str(problem), allow_module_level=True)
pytestmark = pytest.mark.usefixtures("one_torch_thread")
PROMPTS = [[3 + i, 5 + i % 7] for i in range(160)]
SAMPLING = Sampling(max_new_tokens=40, batch_size=40)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads of 32: vLLM's CPU attention knows no smaller ones."""
    return tiny.build(tmp_path_factory.mktemp("tiny") / "model", hidden=128)


@pytest.fixture(scope="module")
def model(directory: Path) -> Any:
    return load_model(directory)


@pytest.fixture(scope="module")
def engine(directory: Path) -> Iterator[VllmEngine]:
    made = VllmEngine(directory)
    yield made
    made.close()


def counts(key: Any, answers: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Green and scored tokens of the answers, prompts being context only."""
    colours = [
        green_of_scored(key, [[*prompt, *ids]], skip=len(prompt))
        for prompt, ids in zip(PROMPTS, answers, strict=True)
        if ids
    ]
    found = np.concatenate(colours)
    return int(found.sum()), len(found)


@pytest.mark.parametrize("width", [0, 1, 3])
@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
def test_as_many_tokens_are_green_as_with_transformers(
    width: int, marked: bool, engine: VllmEngine, model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Null: both engines draw green with the same probability. Welch over answers, whose tokens are not independent."""
    key = key_for(width)
    key.save(tmp_path / "a.key")
    by_vllm = engine.answer(tokenizer(), PROMPTS, SAMPLING, seed=11, key_file=tmp_path / "a.key" if marked else None)
    by_transformers = answer(model, tokenizer(), PROMPTS, SAMPLING, seed=12, key=key if marked else None)
    answers = [[ids for batch in batches for ids in batch] for batches in (by_vllm, by_transformers)]
    (green, scored), (other_green, other_scored) = (counts(key, one) for one in answers)
    shares = [
        [
            green_of_scored(key, [[*prompt, *ids]], skip=len(prompt)).mean()
            for prompt, ids in zip(PROMPTS, one, strict=True)
            if len(ids) > width + 4
        ]
        for one in answers
    ]
    p = float(stats.ttest_ind(*shares, equal_var=False).pvalue)
    with capsys.disabled():
        print(
            f"\nh = {width}, {'marked' if marked else 'unmarked'}: green {green} of {scored} by vLLM, "
            f"{other_green} of {other_scored} by transformers; two-sided p {p:.3f}"
        )
    assert min(scored, other_scored) > 2000
    assert p > 1e-3
    assert abs(green / scored - other_green / other_scored) < 0.05
    if marked:
        assert green / scored > 0.45
    else:
        assert green / scored < 0.35


def test_greedy_answers_are_those_of_transformers(engine: VllmEngine, model: Any, tmp_path: Path) -> None:
    """The same logits and the same bias give the same tokens, but where two are as good as equal."""
    key = key_for(2, delta=3.0)
    key.save(tmp_path / "a.key")
    greedy = Sampling(max_new_tokens=12, temperature=1e-4, batch_size=40)
    by_vllm = engine.answer(tokenizer(), PROMPTS, greedy, seed=1, key_file=tmp_path / "a.key")
    by_transformers = answer(model, tokenizer(), PROMPTS, greedy, seed=1, key=key)
    answers = [[ids for batch in batches for ids in batch] for batches in (by_vllm, by_transformers)]
    same = sum(one == other for one, other in zip(*answers, strict=True))
    assert same >= 0.95 * len(PROMPTS), same


def test_the_processor_sees_what_vllm_has_in_its_batch(tmp_path: Path) -> None:
    """`record_vllm` compares at every step; its record is the one of which `test_vllm_batch` tests the rows."""
    command = [PYTHON, "-m", "tests.watermark.engines.record_vllm", str(tmp_path / "record.json")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    recorded = json.loads((tmp_path / "record.json").read_text())
    moves = {name for step in recorded["steps"] if step["update"] for _, _, name in step["update"]["moved"]}
    assert "UNIDIRECTIONAL" in moves
