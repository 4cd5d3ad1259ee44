"""`--frequencies`: unmarked text of the teacher scales the weights, in `suspect` and under a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.counting import weigh, window_rule
from detect.exact.weighted import CumulantFunction, chernoff
from detect.fed import Probe
from detect.plans.parts import PlannedProbes
from detect.questioned.reading import read_model
from detect.readers import read_rows
from tests import tiny
from tests.detect.cli.helpers import Cli, write_rows
from tests.detect.material import docstrings
from watermark import GreenList, Key
from watermark.engines.models import load_model, load_tokenizer

pytestmark = pytest.mark.usefixtures("here")
TEXTS = [text[:150] for text in docstrings()[:8]]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("other"), seed=7)


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "probes.jsonl", [{"prompt": "Why?", "text": text} for text in TEXTS[:4]])


@pytest.fixture
def usual(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "usual.jsonl", [{"text": text} for text in TEXTS[4:]])


def options(key: Path, other: Path, model: Path, probes: Path) -> list[Any]:
    return ["suspect", "--key", key, "--model", other, "--reference", model, "--probes", probes, "--json"]


def test_they_scale_a_reading(cli: Cli, text_key: Path, other: Path, model: Path, probes: Path, usual: Path) -> None:
    plain = cli(*options(text_key, other, model, probes)).json()["reading"]
    found = cli(*options(text_key, other, model, probes), "--frequencies", usual).json()["reading"]
    identity = PlannedProbes.of(read_rows([str(usual)])).sha256
    assert any(f"their frequency in 4 rows, SHA-256 {identity}" in note for note in found["notes"])
    assert any("contexts scaled by what the reference expects" in note for note in plain["notes"])
    assert found["log10_p_saddlepoint"] != plain["log10_p_saddlepoint"]
    tokenizer, key = load_tokenizer(model), Key.load(text_key)
    ids = [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in TEXTS]
    prompt = list(tokenizer.apply_chat_template([{"role": "user", "content": "Why?"}], add_generation_prompt=True,
                                                return_dict=False))  # fmt: skip
    plain_prompt = list(tokenizer("Why?", add_special_tokens=False)["input_ids"])
    reading = read_model(
        load_model(other), [Probe(prompt, one) for one in ids[:4]], rule=window_rule(key), vocab_size=384,
        reference=load_model(model), exclude=[plain_prompt], corpus=ids[4:],
    )  # fmt: skip
    weighed = weigh(key, reading)
    bound = chernoff(CumulantFunction(weighed.weights, key.gamma), weighed.statistic)
    assert found["log10_p"] == pytest.approx(bound.log10_p, rel=1e-6, abs=1e-9)
    assert found["n_scored"] == weighed.n_scored


def test_marked_text_is_refused(
    cli: Cli, text_key: Path, other: Path, model: Path, probes: Path, tmp_path: Path
) -> None:
    """It would carry the key into the weights."""
    rng, green, ids = np.random.default_rng(3), GreenList(Key.load(text_key)), [50]
    for _ in range(400):
        candidates = rng.integers(10, 384, 8)
        colours = green.is_green(np.full((8, 1), ids[-1]), candidates)
        ids.append(int(candidates[int(colours.argmax())]))
    marked = write_rows(tmp_path / "marked.jsonl", [{"token_ids": ids}])
    refused = cli(*options(text_key, other, model, probes), "--frequencies", marked)
    refused.refused(3, "carries the key's mark, or avoids it", "unmarked answers of the teacher")


def test_without_a_reference_they_have_no_meaning(
    cli: Cli, text_key: Path, other: Path, probes: Path, usual: Path
) -> None:
    command = ["suspect", "--key", text_key, "--model", other, "--probes", probes, "--frequencies", usual]
    cli(*command).refused(2, "--frequencies", "--reference")


def test_a_plan_settles_them(
    cli: Cli, text_key: Path, other: Path, model: Path, probes: Path, usual: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    cli("plan", "-o", plan, "--key", text_key, "--probes", probes, "--reference", model, "--primary", "reading",
        "--frequencies", usual, "--decoys", 5)  # fmt: skip
    command = [*options(text_key, other, model, probes), "--plan", plan]
    found = cli(*command, "--frequencies", usual).json()["reading"]
    assert any("their frequency in 4 rows" in note for note in found["notes"])
    cli(*command).refused(3, "none are given")
    cli(*command, "--frequencies", probes).refused(3, "is planned; give the same files")
