"""The benchmark's tests of the literature against plain loops, on a tiny model; and which pieces it keeps."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.green_mass import green_masses, mass_of_contexts, mass_of_positions
from benchmarks.power import TESTS, Bench, is_there, needed, part_of, summary
from benchmarks.power_plot import NAMES, PANELS, draw
from benchmarks.remembered import Remembered
from detect.fed import Probe
from tests import tiny
from tests.detect.material import docstrings, is_green, key_for
from watermark.engines.models import load_model, load_tokenizer

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def texts() -> list[Probe]:
    tokenizer = load_tokenizer(tiny.shared())
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in docstrings()[:8]]
    answers = [[*one[:20], 2, *one[:25]] for one in ids]  # a special token in the middle, and contexts that repeat
    return [Probe([1, *prompt[30:34]], answer) for prompt, answer in zip(ids, answers, strict=True)]


@pytest.fixture(scope="module")
def model(texts: list[Probe]) -> Remembered:
    return Remembered(load_model(tiny.shared()), texts)


def slow_masses(key: Any, texts: list[Probe]) -> list[tuple[tuple[int, ...], float]]:
    """Context and probability of green at each position, one token of the vocabulary at a time."""
    plain, h, found = load_model(tiny.shared()), key.context_width, []
    for text in texts:
        ids = [*text.prompt_ids, *text.answer_ids]
        with torch.inference_mode():
            rows = plain(torch.tensor([ids])).logits[0].double().softmax(dim=-1)
        for end in range(len(text.prompt_ids) + h, len(ids) + 1):
            context = tuple(ids[end - h : end])
            if not set(context) & set(key.special_ids):
                green = [
                    token for token in range(384) if token not in key.special_ids and is_green(key, (context, token))
                ]
                found.append((context, float(rows[end - 1, green].sum())))
    return found


@pytest.mark.parametrize("h", [1, 2])
def test_adfp_takes_each_context_once_and_the_kinder_one_every_position(
    h: int, texts: list[Probe], model: Remembered
) -> None:
    key = key_for(5, load_tokenizer(tiny.shared()), h=h)
    some = texts[:2]
    slow = slow_masses(key, some)
    contexts, masses = green_masses(key, model, some)
    assert contexts.tolist() == [list(context) for context, _ in slow]
    np.testing.assert_allclose(masses, [mass for _, mass in slow], atol=1e-5)
    once: dict[tuple[int, ...], float] = {}
    for context, mass in slow:
        once.setdefault(context, mass)
    assert len(once) < len(slow)
    for found, values in ((mass_of_contexts, list(once.values())), (mass_of_positions, [mass for _, mass in slow])):
        mean = sum(values) / len(values)
        expected = -2 * len(values) * max(0.0, mean - 0.25) ** 2 / math.log(10)
        assert found(key, model, some) == pytest.approx(expected, abs=1e-4)


def test_the_bound_holds_for_keys_that_had_no_part_and_some_are_above_gamma(
    texts: list[Probe], model: Remembered
) -> None:
    tokenizer = load_tokenizer(tiny.shared())
    p = np.array([mass_of_contexts(key_for(number, tokenizer), model, texts) for number in range(60)])
    assert (p <= 0).all()
    assert (p < 0).mean() > 0.2
    assert (p <= -1).sum() <= 16  # of 60 at .1: more have a chance below 1e-4, were the p exact


def test_pieces_of_fewer_tests_are_made_again(tmp_path: Path) -> None:
    piece = tmp_path / "student-0.json"
    assert not is_there(piece)
    for curves, there in ((TESTS, True), (TESTS[:-1], False), (("reading", "argmax"), False)):
        piece.write_text(json.dumps({"curves": {name: {} for name in curves}}))
        assert is_there(piece) == there
    piece.write_text(json.dumps({"reading": {}, "wrong_keys": {}}))  # a diluted student, or the control
    assert is_there(piece)


def test_every_test_is_summed_up_and_drawn(tmp_path: Path) -> None:
    curves = {name: {n: [-n / (10 * rank + 10)] for n in (25, 400)} for rank, name in enumerate(TESTS)}
    row = {"curves": curves, "needed": {name: needed(curve) for name, curve in curves.items()}}
    found = summary([row, row])
    assert set(found["each_key"]) == set(TESTS)
    assert found["ratios_at_least"]["ADFP / reading"]["median"] > 1
    assert {name for _, panel in PANELS for name in panel} == set(NAMES) == set(TESTS)
    draw([row, row], tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_text()
    assert all(name in drawn for name in NAMES.values())  # as comments


def test_a_student_is_read_by_every_test(
    texts: list[Probe], model: Remembered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is missing and nothing is left over: otherwise a finished piece would be made again for ever."""
    key = key_for(5, load_tokenizer(tiny.shared()))
    monkeypatch.setattr("benchmarks.power.READ", (20, 60))
    bench = Bench(Path(), [key], texts, texts, model, None, [text.answer_ids for text in texts])
    read = bench._read_curves(key, model)
    assert set(read) == {name for name in TESTS if not name.startswith("sampled")}
    assert all(list(curve) == [20, 60] for curve in read.values())
    assert sum(len(part.answer_ids) for part in part_of(texts, 60)) == 60
