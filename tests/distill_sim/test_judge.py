"""The judge against plain loops: colours one at a time from OpenSSL's keystream, tails from scipy."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from detect.counting import weigh
from detect.exact.weighted import evaluate_bound
from detect.observation import ContextMass, Reading
from distill_sim.corpus import CorpusRow, write_corpus
from distill_sim.judge import (
    LINEUPS,
    RESULTS,
    judge_model,
    judge_text,
    judged,
    read_scores,
    scored_lineup,
)
from distill_sim.pipeline import StageContext
from distill_sim.stages import ANSWERS, CORPUS, READING
from tests.detect.material import Pair, distinct_pairs, hkdf, is_green, make_key, no_probes
from tests.distill_sim.test_corpus import ROW
from watermark.errors import InputError, KeyFileError
from watermark.keys import Key
from watermark.windows import Pairs

SPECIAL = (0, 1, 2)
KEY = make_key(3, special=SPECIAL)
DECOYS = 12


def texts(seed: int, green: float, count: int = 6, length: int = 40) -> list[list[int]]:
    """Ids of which about `green` go on in green (chosen with the key at hand), with a special token here and there."""
    draw = random.Random(seed)
    result = []
    for _ in range(count):
        ids = [draw.randrange(3, 90)]
        while len(ids) < length:
            token = draw.randrange(90)
            if draw.random() > green or token in SPECIAL or is_green(KEY, ((ids[-1],), token)):
                ids.append(token)
        result.append(ids)
    return result


def corpus(directory: Path, answers: list[list[int]], prompts: list[list[int]]) -> Path:
    directory.mkdir()
    rows: list[CorpusRow] = [
        replace(ROW, id=str(i), prompt_ids=tuple(prompts[i % len(prompts)]), token_ids=tuple(ids))
        for i, ids in enumerate(answers)
    ]
    write_corpus(directory / CORPUS, rows, {})
    return directory


def reading(directory: Path, seed: int, pull: float) -> Path:
    """Weights of 300 pairs, those of green ones raised by `pull`."""
    directory.mkdir()
    rng = np.random.default_rng(seed)
    cells = np.sort(rng.choice(60 * 90, 300, replace=False))
    contexts, tokens = (cells // 90 + 3).astype(np.uint32)[:, None], (cells % 90 + 3).astype(np.uint32)
    colours = np.array([is_green(KEY, ((int(c),), int(t))) for (c,), t in zip(contexts, tokens, strict=True)])
    distinct = np.unique(contexts, axis=0)
    column = np.ones((len(distinct), 1))
    Reading(
        pairs=Pairs(contexts, tokens, len(distinct)),
        weights=rng.normal(size=300) + pull * colours,
        n_positions=500,
        with_reference=True,
        argmax=Pairs(contexts[:5], tokens[:5], len(np.unique(contexts[:5]))),
        mass=ContextMass(distinct, (7 * column).astype(np.uint32), (0.5 * column).astype(np.float32)),
        probes=no_probes(),
    ).save(directory / READING)
    return directory


def expected_count(documents: list[list[int]], prompts: list[list[int]]) -> tuple[int, int]:
    """Distinct pairs that count, and the green among them."""
    pairs: set[Pair] = distinct_pairs(documents, prompts, 1, SPECIAL)
    return len(pairs), sum(is_green(KEY, pair) for pair in pairs)


@pytest.mark.parametrize("green", [0.0, 0.95])
def test_a_corpus_is_judged_as_by_hand(green: float, tmp_path: Path) -> None:
    answers, prompts = texts(1, green), texts(2, 0.0, count=3, length=15)
    answers[0][5:12] = prompts[0][3:10]  # a quoted prompt counts nowhere
    answers[1][:20] = answers[2][:20]  # repeated pairs count once
    n, k = expected_count(answers, prompts)
    assert n < len(distinct_pairs(answers, [], 1, SPECIAL)) < sum(map(len, answers))
    evidence = judge_text(KEY, corpus(tmp_path / "c", answers, prompts))
    assert (evidence.test, evidence.n_scored, evidence.n_green) == ("text", n, k)
    assert evidence.log10_p == pytest.approx(math.log10(binom.sf(k - 1, n, 0.25)), rel=1e-9)
    assert (evidence.log10_p < -6) == (green > 0)
    assert evidence.key_id == KEY.key_id


def test_answers_are_judged_as_by_hand(tmp_path: Path) -> None:
    answers, prompts = texts(3, 0.4), texts(4, 0.0, count=2)
    (tmp_path / ANSWERS).write_text(json.dumps({"answers": answers, "prompts": prompts}))
    n, k = expected_count(answers, prompts)
    evidence = judge_model(KEY, reading(tmp_path / "r", 5, 0.0), tmp_path, DECOYS)[0]["sampled"]
    assert (evidence.test, evidence.n_scored, evidence.n_green) == ("sampled", n, k)
    assert evidence.log10_p == pytest.approx(math.log10(binom.sf(k - 1, n, 0.25)), rel=1e-9)


def colours(directory: Path, chacha_key: bytes | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Weights and colours of a saved reading; under a decoy's key if given."""
    saved = Reading.load(directory / READING)
    if chacha_key is None:
        pairs = zip(saved.pairs.contexts.tolist(), saved.pairs.tokens.tolist(), strict=True)
        return saved.weights, np.array([is_green(KEY, (tuple(context), token)) for context, token in pairs])
    from watermark.greenlist import GreenList

    rows = GreenList.from_chacha_key(chacha_key, 16384, 1).mask(saved.pairs.contexts.astype(np.int64), 100)
    return saved.weights, rows[np.arange(len(saved.pairs)), saved.pairs.tokens]


def statistics(directory: Path) -> tuple[float, list[float]]:
    """S of the key and of every decoy."""
    everybody = [None, *(hkdf(bytes(32), "decoy", str(i)) for i in range(DECOYS))]
    values = [sum(a * (g - 0.25) for a, g in zip(*colours(directory, one), strict=True)) for one in everybody]
    return values[0], values[1:]


@pytest.mark.parametrize("pull", [0.0, 1.0])
def test_a_reading_is_judged_as_by_hand(pull: float, tmp_path: Path) -> None:
    directory = reading(tmp_path / "r", 5, pull)
    steps: list[int] = []
    family, _ = judge_model(KEY, directory, answered(tmp_path / "a"), DECOYS, steps.append)
    evidence = family["reading"]
    own, decoys = statistics(directory)
    assert evidence.theta is not None
    assert evidence.log10_p == pytest.approx(evaluate_bound(colours(directory)[0], 0.25, own, evidence.theta))
    assert (evidence.log10_p < -6) == (pull > 0)
    assert evidence.lineup is not None
    assert evidence.lineup.decoys == sum(steps) == DECOYS
    assert evidence.lineup.rank == 1 + sum(score >= own for score in decoys)
    assert evidence.lineup.seed == "00" * 32


def answered(directory: Path) -> Path:
    directory.mkdir()
    (directory / ANSWERS).write_text(json.dumps({"answers": texts(7, 0.1), "prompts": texts(8, 0, count=1)}))
    return directory


def test_both_tests_of_a_model_are_one_family_as_in_suspect(tmp_path: Path) -> None:
    found, _ = judge_model(KEY, reading(tmp_path / "r", 5, 1.0), answered(tmp_path / "a"), DECOYS)
    assert list(found) == ["sampled", "reading"]
    best = min(found.values(), key=lambda one: one.log10_p)
    assert best.log10_p_adjusted == pytest.approx(best.log10_p + math.log10(2))
    assert all("log10_p_adjusted: Holm over 2 tests" in one.notes for one in found.values())


def test_marked_prompts_withdraw_the_claim_of_what_was_sampled(tmp_path: Path) -> None:
    marked = answered(tmp_path / "a")
    (marked / ANSWERS).write_text(json.dumps({"answers": texts(7, 0.1), "prompts": texts(8, 1.0, count=5)}))
    found, _ = judge_model(KEY, reading(tmp_path / "r", 5, 1.0), marked, DECOYS)
    assert found["sampled"].log10_p is None
    assert found["reading"].finding == "detected"


def test_scores_are_the_lineups_statistics_in_standard_deviations(tmp_path: Path) -> None:
    directory = reading(tmp_path / "r", 6, 1.0)
    own, decoys = statistics(directory)
    deviation = math.sqrt(0.25 * 0.75 * float((colours(directory)[0] ** 2).sum()))
    found = scored_lineup(weigh(KEY, Reading.load(directory / READING)), DECOYS)[1]
    assert found.own == pytest.approx(own / deviation)
    assert found.decoys == pytest.approx(np.array(decoys) / deviation)


# --- the stage ---


def observations(root: Path) -> dict[str, Path]:
    answers = root / "answers"
    answers.mkdir()
    (answers / ANSWERS).write_text(json.dumps({"answers": texts(7, 0.1), "prompts": texts(8, 0, count=1)}))
    return {
        "marked": corpus(root / "marked", texts(1, 0.5), texts(2, 0.0, count=2)),
        "unmarked": corpus(root / "unmarked", texts(9, 0.0), texts(2, 0.0, count=2)),
        "reading-student": reading(root / "student", 5, 1.0),
        "reading-control": reading(root / "control", 6, 0.0),
        "sampled-student": answers,
        "sampled-control": answers,
    }


def context(root: Path, key: Key, key_id: str, reports: list[tuple[int, int, str]]) -> StageContext:
    key.save(root / "k.key")
    (root / "out").mkdir()
    return StageContext(
        settings={"key_id": key_id, "label": "", "decoys": DECOYS},
        private={"key": str(root / "k.key")},
        inputs=observations(root),
        output=root / "out",
        work=root,
        report=lambda *values: reports.append(values),
    )


def test_the_stage_writes_all_tests_and_the_lineups_scores(tmp_path: Path) -> None:
    reports: list[tuple[int, int, str]] = []
    one = context(tmp_path, KEY, KEY.key_id, reports)
    judged(one)
    results: Any = json.loads((one.output / RESULTS).read_text())
    assert results == {
        "teacher_marked": {"text": json.loads(judge_text(KEY, one.inputs["marked"]).to_json())},
        "teacher_unmarked": {"text": json.loads(judge_text(KEY, one.inputs["unmarked"]).to_json())},
        **{
            name: {
                test: json.loads(evidence.to_json())
                for test, evidence in judge_model(
                    KEY, one.inputs[f"reading-{name}"], one.inputs[f"sampled-{name}"], DECOYS
                )[0].items()
            }
            for name in ("student", "control")
        },
    }
    assert results["student"]["reading"]["lineup"]["rank"] == 1
    done = [values[0] for values in reports]
    assert done == sorted(done)
    assert done[-1] == reports[-1][1]
    drawn = read_scores(one.output)
    assert drawn is not None
    for name in ("student", "control"):
        again = scored_lineup(weigh(KEY, Reading.load(one.inputs[f"reading-{name}"] / READING)), DECOYS)[1]
        assert drawn[name].own == again.own
        assert np.array_equal(drawn[name].decoys, again.decoys)
    assert {path.name for path in one.output.iterdir()} == {RESULTS, LINEUPS}


def test_another_key_than_the_settings_name_is_refused(tmp_path: Path) -> None:
    one = context(tmp_path, make_key(4, special=SPECIAL), KEY.key_id, [])
    with pytest.raises(KeyFileError, match="not the key this run began with"):
        judged(one)
    assert list(one.output.iterdir()) == []


def test_scores_that_are_absent_or_damaged(tmp_path: Path) -> None:
    assert read_scores(tmp_path) is None
    for content in (b"", b"nonsense"):
        (tmp_path / LINEUPS).write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            read_scores(tmp_path)
    with (tmp_path / LINEUPS).open("wb") as file:
        np.savez(file, student_own=np.array(1.0))
    with pytest.raises(InputError, match="damaged"):
        read_scores(tmp_path)
