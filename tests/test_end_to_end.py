"""The whole story on the real SmolLM2: a smaller dose than `taggant demo`, through the same code and the command line.

Every run has fresh keys, so nothing here is tuned to one.
"""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.common import docstrings
from detect.cli.main import run
from detect.decoys import LARGEST_SHARE
from detect.exact.weighted import CumulantFunction, TailCurve, evaluate_bound, statistic
from detect.observation import Reading
from distill_sim.demo.condition import Condition
from distill_sim.demo.run import run_demo
from distill_sim.stages import CORPUS, READING, STUDENT
from distill_sim.teacher import pull_smollm2
from watermark import GreenList, Key

pytestmark = pytest.mark.real  # make test keeps a file on one worker: the demo is run once


@pytest.fixture(scope="module")
def teacher() -> Path:
    return pull_smollm2()


@pytest.fixture(scope="module")
def demo(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished demo: 5,120 marked tokens at most, one epoch."""
    whole = Condition()
    condition = replace(
        whole,
        prompts=whole.prompts[:32],
        answer_tokens=80,
        probe_prompts=whole.probe_prompts[:40],
        sampled_tokens=800,
        fluency_tokens=800,
        seed=secrets.randbelow(1000),
    )
    root = tmp_path_factory.mktemp("real") / "demo"
    run_demo(root, condition, model=teacher, on_event=lambda event: None)
    return root


@pytest.fixture(scope="module")
def summary(demo: Path) -> Any:
    return json.loads((demo / "summary.json").read_text())


def stage(demo: Path, name: str) -> Path:
    (directory,) = (demo / "stages").glob(f"{name}-[0-9a-f]*")
    return directory


def detect(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert run(["-q", *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_mark_is_in_the_marked_text_and_not_in_the_unmarked(summary: Any) -> None:
    assert summary["teacher_marked"]["text"]["finding"] == "detected"
    assert summary["teacher_marked"]["text"]["log10_p"] < -100
    assert summary["teacher_unmarked"]["text"]["log10_p"] > -4


def test_the_student_depends_on_the_key_and_the_control_does_not(demo: Path, summary: Any) -> None:
    student, control = summary["student"]["reading"], summary["control"]["reading"]
    assert student["finding"] == "detected"
    assert student["lineup"]["rank"] == 1
    assert student["lineup"]["decoys"] == 1000
    assert control["finding"] != "detected"
    assert control["log10_p"] > -4
    for name, evidence in (("student", student), ("control", control)):
        assert evidence["lineup"]["log10_p_best_decoy"] > -6
        squares = Reading.load(stage(demo, f"reading-{name}") / READING).weights ** 2
        uniformity_p = evidence["lineup"]["uniformity_p"]
        if squares.max() > LARGEST_SHARE * squares.sum():  # one weight outweighs the rest: there is no tail to audit
            assert uniformity_p is None
        else:
            assert uniformity_p > 1e-4


def test_the_mark_costs_fluency(summary: Any) -> None:
    marked, unmarked = (summary["fluency"][name]["perplexity"] for name in ("marked", "unmarked"))
    assert 1 < unmarked < marked < 4 * unmarked


def test_the_control_is_calibrated_under_fresh_keys(demo: Path) -> None:
    """10,000 keys that marked nothing: p of the weighted bound on real weights stays within design.md's limits."""
    reading = Reading.load(stage(demo, "reading-control") / READING)
    strongest = np.argsort(-np.abs(reading.weights))[:20_000]  # any key-independent choice of pairs is valid
    weights = reading.weights[strongest]
    green = GreenList.from_chacha_key(bytes(32), 16384, 1)
    prepared = green.prepare(reading.pairs.contexts[strongest], reading.pairs.tokens[strongest])
    rng = np.random.default_rng(20261124)
    scores = np.array(
        [statistic(green.with_chacha_key(rng.bytes(32)).colour(prepared), weights, green.gamma) for _ in range(10_000)]
    )
    log10_p = TailCurve(CumulantFunction(weights, green.gamma)).chernoff_log10_p(scores)
    for level, limit in ((0.1, 1113), (0.01, 139), (1e-3, 24), (1e-4, 6)):
        assert np.count_nonzero(log10_p <= math.log10(level)) <= limit
    assert np.count_nonzero(log10_p <= math.log10(0.3)) > 500  # p ≡ 1 must not pass


def test_a_verifier_gets_the_same_bound_from_the_saved_reading(demo: Path, summary: Any) -> None:
    key = Key.load(demo / "keys" / "account.key")
    reading = Reading.load(stage(demo, "reading-student") / READING)
    colours = GreenList(key).is_green(reading.pairs.contexts, reading.pairs.tokens)
    s = statistic(colours, reading.weights, key.gamma)
    evidence = summary["student"]["reading"]
    assert evaluate_bound(reading.weights, key.gamma, s, evidence["theta"]) == pytest.approx(evidence["log10_p"])


def test_detect_from_the_command_line(
    demo: Path, teacher: Path, tmp_path: Path, summary: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    account, other = demo / "keys" / "account.key", tmp_path / "other.key"
    assert run(["-q", "keygen", "-o", str(other), "--tokenizer", str(teacher)]) == 0
    capsys.readouterr()
    marked = stage(demo, "marked") / CORPUS
    mine = detect(capsys, "detect", "--key", account, marked, "--json")
    assert mine["log10_p"] == summary["teacher_marked"]["text"]["log10_p"]
    assert detect(capsys, "detect", "--key", other, marked, "--json")["log10_p"] > -4
    human = tmp_path / "docstrings.txt"
    human.write_text("\n\n".join(docstrings(60_000)))
    for key in (account, other):
        evidence = detect(capsys, "detect", "--key", key, human, "--json")
        assert evidence["finding"] == "not detected"
        assert evidence["log10_p"] > -4


def test_suspect_from_the_command_line(
    demo: Path, teacher: Path, summary: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    evidence = detect(
        capsys,
        *("suspect", "--key", demo / "keys" / "account.key", "--model", stage(demo, "student") / STUDENT),
        *("--reference", teacher, "--probes", stage(demo, "probes") / CORPUS, "--json"),
    )["reading"]
    assert evidence["log10_p"] == pytest.approx(summary["student"]["reading"]["log10_p"], rel=0.02)
    assert evidence["finding"] == "detected"


def test_the_page_tells_it_without_secrets(demo: Path) -> None:
    page = (demo / "index.html").read_text()
    secret = json.loads((demo / "keys" / "account.key").read_text())["secret"]
    assert "<svg" in page
    assert secret not in page
    assert secret not in (demo / "summary.json").read_text()
