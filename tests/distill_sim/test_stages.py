"""Each step of a distillation on a tiny model, in this process, against the functions it is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from detect import tally
from detect.fed import Probe
from detect.observation import Reading
from distill_sim import stages
from distill_sim.corpus import CorpusRow, read_corpus, read_provenance
from distill_sim.fluency import fluency
from distill_sim.judge import RESULTS
from distill_sim.pipeline import Pipeline, run_stage
from distill_sim.stages import ANSWERS, CORPUS, FLUENCY, READING, STUDENT
from tests import tiny
from tests.distill_sim.small import CONDITION, STAGES, make_key, plan
from watermark.engines.answers import Sampling, answer
from watermark.engines.chat import chat_prompt_ids
from watermark.engines.models import load_model, load_tokenizer, model_digest
from watermark.errors import InputError, KeyFileError
from watermark.keys import Key
from watermark.windows import WindowRule

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@dataclass(frozen=True)
class Run:
    """Every stage's directory, and what each reported."""

    pipeline: Pipeline
    key: Key
    reports: dict[str, list[tuple[int, int, str]]]

    def __truediv__(self, name: str) -> Path:
        return self.pipeline.directory(name)

    def rows(self, name: str) -> list[CorpusRow]:
        return read_corpus(self / name / CORPUS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("stages")
    key_file = make_key(root)
    pipeline = Pipeline(root / "run", plan(key_file))
    reports: dict[str, list[tuple[int, int, str]]] = {}
    for stage in pipeline.stages:
        seen = reports.setdefault(stage.name, [])
        run_stage(pipeline._task(stage, set()).arguments, lambda *values, seen=seen: seen.append(values))
    return Run(pipeline, Key.load(key_file), reports)


def test_every_stage_reports_up_to_its_end(run: Run) -> None:
    assert set(run.reports) == set(STAGES)
    for name, reports in run.reports.items():
        fractions = [done / total for done, total, _ in reports]
        assert fractions == sorted(fractions), name
        assert 0.9 < fractions[-1] <= 1, name
        assert all(what for _, _, what in reports)


# --- corpus ---


def expected_answers(run: Run, prompts: tuple[str, ...], samples: int, seed: int, key: Key | None) -> list[list[int]]:
    """What `answer` gives without journal, batch seam or stage."""
    model, tokenizer = load_model(tiny.shared()), load_tokenizer(tiny.shared())
    ids = [chat_prompt_ids(tokenizer, prompt) for prompt in prompts for _ in range(samples)]
    batches = answer(model, tokenizer, ids, Sampling(max_new_tokens=CONDITION.answer_tokens), seed=seed, key=key)
    return [ids for batch in batches for ids in batch]


def test_the_teacher_answers_every_prompt_as_often_as_asked(run: Run) -> None:
    for name, key, seed in (("marked", run.key, 1), ("unmarked", None, 2)):
        rows = run.rows(name)
        expected = expected_answers(run, CONDITION.prompts, CONDITION.samples, seed, key)
        assert [list(row.token_ids) for row in rows] == expected
        assert [row.prompt for row in rows] == [p for p in CONDITION.prompts for _ in range(CONDITION.samples)]
    assert [row.prompt for row in run.rows("probes")] == list(CONDITION.probe_prompts)
    answers = {tuple(row.token_ids) for row in run.rows("marked")}
    assert len(answers) > CONDITION.samples  # samples of one prompt differ


def test_every_row_says_where_it_came_from(run: Run) -> None:
    tokenizer = load_tokenizer(tiny.shared())
    for name in ("marked", "unmarked", "probes"):
        marked = name == "marked"
        for row in run.rows(name):
            assert (row.marked, row.key_id) == (marked, run.key.key_id if marked else None)
            assert row.model == model_digest(tiny.shared())
            assert list(row.prompt_ids) == chat_prompt_ids(tokenizer, row.prompt)
            assert row.text == tokenizer.decode(row.token_ids)
            sampling = json.loads(row.sampling)
            assert (sampling.pop("delta"), sampling.pop("gamma")) == ((2.0, 0.25) if marked else (None, None))
            assert sampling == Sampling(max_new_tokens=CONDITION.answer_tokens).to_dict()
        provenance = read_provenance(run / name / CORPUS)
        stage = next(stage for stage in run.pipeline.stages if stage.name == name)
        assert provenance["settings"] == dict(stage.settings)


def again(run: Run, name: str, root: Path, **private: str) -> Any:
    """Arguments that run one stage anew, elsewhere, on the same inputs."""
    stage = next(stage for stage in run.pipeline.stages if stage.name == name)
    arguments = run.pipeline._task(replace(stage, private={**stage.private, **private}), set()).arguments
    return {**arguments, "output": str(root / "out"), "work": str(root / "work")}


def test_a_corpus_goes_on_after_the_batches_it_has(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = again(run, "marked", tmp_path)
    reports: list[int] = []

    def stop(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(arguments, stop)
    assert not (tmp_path / "out").exists()
    assert len((tmp_path / "work" / "answers.jsonl").read_bytes().splitlines()) == 2  # what it is, and one batch
    asked = []
    from watermark.engines import answers

    def counted(*a: Any, **k: Any) -> Any:
        asked.append(k["first"])
        return answer(*a, **k)

    monkeypatch.setattr(answers, "answer", counted)
    run_stage(arguments, lambda done, total, what: reports.append(done))
    assert asked == [32]
    assert reports == [32, 40]
    resumed = read_corpus(tmp_path / "out" / CORPUS)
    assert [replace(row, created="") for row in resumed] == [replace(row, created="") for row in run.rows("marked")]


def test_another_key_marks_nothing(run: Run, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="not the key this run began with"):
        run_stage(again(run, "marked", tmp_path, key=str(make_key(tmp_path))), lambda *_: None)
    with pytest.raises(KeyFileError, match="does not exist"):
        run_stage(again(run, "marked", tmp_path, key=str(tmp_path / "absent")), lambda *_: None)
    assert not (tmp_path / "out").exists()


# --- student ---


def test_student_and_control_were_trained_from_the_same_model_on_their_own_corpora(run: Run) -> None:
    base = load_file(tiny.shared() / "model.safetensors")
    weights = {name: load_file(run / name / STUDENT / "model.safetensors") for name in ("student", "control")}
    for name, one in weights.items():
        changed = {tensor for tensor in one if not torch.equal(one[tensor], base[tensor])}
        assert changed, name
        assert all(".layers.2." in tensor for tensor in changed), "only the top layer is trained"
    assert any(not torch.equal(weights["student"][t], weights["control"][t]) for t in base)
    records = {name: json.loads((run / name / STUDENT / "recipe.json").read_text()) for name in weights}
    differing = {field for field in records["student"] if records["student"][field] != records["control"][field]}
    assert differing <= {"examples", "losses", "tokens_trained", "rows", "rows_without_answer", "seconds"}
    assert records["student"]["examples"] != records["control"]["examples"]
    assert records["student"]["rows"] <= CONDITION.samples * len(CONDITION.prompts)


# --- observations ---


@pytest.mark.parametrize("name", ["student", "control"])
def test_a_reading_is_read_model_s(run: Run, name: str) -> None:
    from detect.questioned.reading import read_model

    tokenizer = run.key.tokenizer
    assert tokenizer is not None
    expected = read_model(
        load_model(run / name / STUDENT),
        [Probe(row.prompt_ids, row.token_ids) for row in run.rows("probes")],
        rule=WindowRule(1, (0, 1, 2)),
        vocab_size=384,
        reference=load_model(tiny.shared()),
        top=CONDITION.top,
    )
    found = Reading.load(run / f"reading-{name}" / READING)
    assert found.with_reference
    assert found.n_positions == expected.n_positions > 0
    assert np.array_equal(found.pairs.contexts, expected.pairs.contexts)
    assert np.array_equal(found.pairs.tokens, expected.pairs.tokens)
    assert np.allclose(found.weights, expected.weights, rtol=1e-4, atol=1e-6)
    assert np.abs(found.weights).max() > 1e-3


def test_answers_are_enough_and_exclude_every_planned_prompt(run: Run) -> None:
    tokenizer = load_tokenizer(tiny.shared())
    for name in ("student", "control"):
        content = json.loads((run / f"sampled-{name}" / ANSWERS).read_text())
        asked = [chat_prompt_ids(tokenizer, prompt) for prompt in CONDITION.probe_prompts]
        plain = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in CONDITION.probe_prompts]
        assert content["prompts"] == asked + plain
        assert sum(map(len, content["answers"])) >= CONDITION.sampled_tokens > sum(map(len, content["answers"][:-1]))
        assert all(0 < len(ids) <= CONDITION.answer_tokens for ids in content["answers"])


def test_fluency_is_under_the_teacher(run: Run) -> None:
    content = json.loads((run / "fluency" / FLUENCY).read_text())
    model = load_model(tiny.shared())
    assert set(content) == {"marked", "unmarked"}
    for name in content:
        expected = fluency(model, run.rows(name), max_tokens=CONDITION.fluency_tokens)
        assert content[name] == pytest.approx(expected.to_dict(), rel=1e-5)


def test_the_mark_is_in_the_marked_text_alone(run: Run) -> None:
    results = json.loads((run / "judged" / RESULTS).read_text())
    marked, unmarked = (results[name]["text"] for name in ("teacher_marked", "teacher_unmarked"))
    assert marked["green_fraction"] > unmarked["green_fraction"] + 0.05
    assert marked["log10_p"] < -3
    assert unmarked["log10_p"] > -4
    assert {len(results[name]["reading"]["lineup"]) for name in ("student", "control")} == {6}


def test_no_secret_lies_in_any_result(run: Run) -> None:
    secrets = [run.key._secret.hex().encode(), run.key.chacha_key.hex().encode(), run.key._secret, run.key.chacha_key]
    files = [path for path in run.pipeline.root.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        assert not any(secret in content for secret in secrets), path


# --- refusals ---


def test_a_damaged_corpus_and_a_missing_model_are_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / CORPUS).write_bytes(b"PAR1 nonsense")
    arguments = {**again(run, "student", tmp_path), "inputs": {"marked": str(tmp_path / "in")}}
    with pytest.raises(InputError, match="is not Parquet"):
        run_stage(arguments, lambda *_: None)
    with pytest.raises(InputError, match="nowhere"):
        run_stage(again(run, "student", tmp_path, model=str(tmp_path / "nowhere")), lambda *_: None)
    assert not (tmp_path / "out").exists()


def test_the_prompts_are_shipped_with_the_package() -> None:
    assert (Path(stages.__file__).parent / "data" / "prompts.txt").is_file()
    assert all(prompt.strip() == prompt for prompt in stages.built_in_prompts())


# --- answers by vLLM (a stand-in for it) ---


def test_a_teacher_in_vllm(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers are kept batch by batch, marked, and the engine serves the next stage; a student's stage ends it."""
    from tests.watermark.engines.test_vllm_answers import STUB
    from watermark.engines import vllm_answers
    from watermark.engines.vllm_answers import VllmEngine

    monkeypatch.syspath_prepend(STUB)
    monkeypatch.delenv("TAGGANT_VLLM_PYTHON", raising=False)
    made: list[VllmEngine] = []

    def noted(directory: Path) -> VllmEngine:
        made.append(VllmEngine(directory))
        return made[-1]

    monkeypatch.setattr(vllm_answers, "VllmEngine", noted)
    for name in ("marked", "unmarked"):
        arguments = again(run, name, tmp_path / name)
        run_stage({**arguments, "settings": {**arguments["settings"], "engine": "vllm"}}, lambda *_: None)
    assert len(made) == 1
    assert made[0].is_open
    marked, unmarked = (read_corpus(tmp_path / name / "out" / CORPUS) for name in ("marked", "unmarked"))
    assert [row.prompt for row in marked] == [row.prompt for row in run.rows("marked")]
    assert {row.key_id for row in marked} == {run.key.key_id}
    assert {row.key_id for row in unmarked} == {None}
    assert [row.token_ids for row in marked] != [row.token_ids for row in unmarked]
    assert {json.loads(row.sampling)["vllm"] for row in marked} == {"0.0.stub"}
    assert read_provenance(tmp_path / "marked" / "out" / CORPUS)["settings"]["engine"] == "vllm"
    green = [tally(run.key, [row.token_ids for row in rows]) for rows in (marked, unmarked)]
    assert green[0].n_green / green[0].n_scored > 0.4 > green[1].n_green / green[1].n_scored
    run_stage(again(run, "fluency", tmp_path / "fluency"), lambda *_: None)
    assert not made[0].is_open


def test_an_engine_that_nobody_knows_is_a_mistake(run: Run, tmp_path: Path) -> None:
    arguments = again(run, "marked", tmp_path)
    with pytest.raises(ValueError, match="no engine is called 'pen'"):
        run_stage({**arguments, "settings": {**arguments["settings"], "engine": "pen"}}, lambda *_: None)
