"""Training a student, on a tiny model: what is learnt, what stays, and what a killed training comes to."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from distill_sim import student, trainer
from distill_sim.corpus import CorpusRow
from distill_sim.examples import IGNORED, collate, make_examples
from distill_sim.recipe import Recipe
from distill_sim.student import prepare, train_student
from distill_sim.trainer import answer_loss, last_checkpoint
from tests import tiny
from tests.distill_sim.test_corpus import ROW
from watermark.engines.models import load_model, load_tokenizer
from watermark.errors import InputError, ModelError
from watermark.progress import ignore

RECIPE = Recipe(layers=1, batch_size=4, learning_rate=1e-2)
NEVER = 1e9


def corpus(n: int = 18) -> list[CorpusRow]:
    """Rows of different lengths whose answers repeat a pattern that can be learnt."""
    draw = random.Random(1)
    rows = []
    for i in range(n):
        prompt = tuple(draw.randrange(3, 384) for _ in range(draw.randrange(2, 9)))
        rows.append(replace(ROW, id=str(i), prompt_ids=prompt, token_ids=(50, 60, 70, 80, 90, 100)[: 3 + i % 4]))
    return rows


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def mean_loss(directory: Path, rows: list[CorpusRow]) -> float:
    batch = collate(make_examples(rows, 256, 384))
    with torch.inference_mode():
        return float(answer_loss(load_model(directory), batch["input_ids"], batch["labels"]))


# --- the loss ---


def gradients(model: Any, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))


def test_the_loss_is_the_mean_over_answer_tokens_computed_one_row_at_a_time() -> None:
    model = load_model(tiny.shared())
    rows = corpus(5)
    batch = collate(make_examples(rows, 256, 384))
    losses = []
    for row in rows:  # no batch, no padding, the full logits, token by token
        ids = torch.tensor([row.prompt_ids + row.token_ids])
        log_p = model(ids, attention_mask=torch.ones_like(ids)).logits[0].log_softmax(-1)
        losses += [-log_p[t - 1, ids[0, t]] for t in range(len(row.prompt_ids), ids.shape[1])]
    expected = torch.stack(losses).mean()
    found = answer_loss(model, batch["input_ids"], batch["labels"])
    assert torch.allclose(found, expected, rtol=1e-5)
    for a, b in zip(gradients(model, found), gradients(model, expected), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_prompts_are_context_and_never_targets() -> None:
    """Labels that reveal other prompts give the same gradients; other prompts in the context do not."""
    model = load_model(tiny.shared())
    batch = collate(make_examples(corpus(6), 256, 384))
    ids, labels = batch["input_ids"], batch["labels"]
    reference = gradients(model, answer_loss(model, ids, labels))
    logits = model(input_ids=ids).logits[:, :-1]
    corrupt = torch.where(labels == IGNORED, torch.randint_like(labels, 3, 384), labels)[:, 1:]
    learnt = (labels != IGNORED)[:, 1:]
    independent = cross_entropy(logits.transpose(1, 2), corrupt, reduction="none")[learnt].mean()
    for a, b in zip(reference, gradients(model, independent), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    other = torch.where(labels == IGNORED, (ids + 1) % 384, ids)
    assert not torch.allclose(reference[0], gradients(model, answer_loss(model, other, labels))[0], atol=1e-5)


def test_padding_does_not_touch_the_loss() -> None:
    model = load_model(tiny.shared())
    batch = collate(make_examples(corpus(4), 256, 384))
    wider = {
        "input_ids": torch.nn.functional.pad(batch["input_ids"], (0, 7), value=11),
        "labels": torch.nn.functional.pad(batch["labels"], (0, 7), value=IGNORED),
    }
    assert torch.allclose(answer_loss(model, **batch), answer_loss(model, **wider), rtol=1e-5)


def test_logits_are_computed_only_where_an_answer_token_is_predicted() -> None:
    model = load_model(tiny.shared())
    batch = collate(make_examples(corpus(4), 256, 384))
    shapes: list[torch.Size] = []
    model.lm_head.register_forward_hook(lambda module, args, output: shapes.append(output.shape))
    answer_loss(model, **batch)
    assert shapes == [torch.Size([sum(len(row.token_ids) for row in corpus(4)), 384])]


# --- what is trained ---


def test_only_the_top_layers_move(tmp_path: Path) -> None:
    before = weights(tiny.shared())
    after = weights(train_student(tiny.shared(), corpus(), replace(RECIPE, layers=2), tmp_path / "s"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.startswith(("model.layers.1.", "model.layers.2."))}
    assert len(moved) == 18


def test_full_training_moves_everything(tmp_path: Path) -> None:
    before = weights(tiny.shared())
    after = weights(train_student(tiny.shared(), corpus(), replace(RECIPE, method="full"), tmp_path / "s"))
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("method", ["top", "lora", "full"])
def test_a_student_learns_its_corpus(tmp_path: Path, method: Any) -> None:
    recipe = replace(RECIPE, method=method, epochs=4)
    output = train_student(tiny.shared(), corpus(), recipe, tmp_path / "s")
    assert mean_loss(output, corpus()) < 0.6 * mean_loss(tiny.shared(), corpus())


def test_lora_merged_computes_what_the_adapter_computes() -> None:
    model = load_model(tiny.shared())
    plain = model(torch.arange(3, 30)[None]).logits
    torch.manual_seed(0)
    adapted = prepare(model, replace(RECIPE, method="lora", lora_rank=4))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:  # zero at first
            torch.nn.init.normal_(parameter, std=0.05)
    adapted.eval()
    logits = adapted(torch.arange(3, 30)[None]).logits
    merged = adapted.merge_and_unload()(torch.arange(3, 30)[None]).logits
    assert torch.allclose(logits, merged, atol=1e-4)
    assert not torch.allclose(plain, merged, atol=1e-2)


def test_lora_is_saved_merged_and_leaves_embeddings_alone(tmp_path: Path) -> None:
    output = train_student(tiny.shared(), corpus(), replace(RECIPE, method="lora"), tmp_path / "s")
    before, after = weights(tiny.shared()), weights(output)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.endswith("_proj.weight")}


def test_more_layers_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="layers is 4, but the model has 3"):
        train_student(tiny.shared(), corpus(), replace(RECIPE, layers=4), tmp_path / "s")
    assert not (tmp_path / "s").exists()


# --- what is saved ---


def test_the_directory_is_complete_safe_and_says_how_it_was_made(tmp_path: Path) -> None:
    rows = [*corpus(), replace(ROW, id="empty", token_ids=())]
    output = train_student(tiny.shared(), rows, replace(RECIPE, epochs=2), tmp_path / "s")
    assert output == tmp_path / "s"
    assert [path.name for path in tmp_path.iterdir()] == ["s"]  # no working directory stays
    assert {path.suffix for path in output.iterdir()} == {".json", ".safetensors", ".jinja"}
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in output.iterdir())
    assert (output / "tokenizer.json").read_bytes() == (tiny.shared() / "tokenizer.json").read_bytes()
    assert load_tokenizer(output).get_vocab() == load_tokenizer(tiny.shared()).get_vocab()
    record = json.loads((output / "recipe.json").read_text())
    assert Recipe(**record["recipe"]) == replace(RECIPE, epochs=2)
    assert (record["rows"], record["rows_without_answer"]) == (18, 1)
    assert record["tokens_trained"] == 2 * sum(len(row.token_ids) for row in rows)
    assert len(record["losses"]) == 9  # ceil(2 × 18 / 4) steps
    assert record["losses"][-1] < record["losses"][0]


def test_nothing_is_printed_to_stdout_and_progress_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int, str]] = []
    train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "s", lambda *step: told.append(step))
    assert capfd.readouterr().out == ""
    assert told == [(step, 5, "training") for step in range(6)]


def test_an_existing_output_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "precious").write_text("x")
    with pytest.raises(InputError, match="already exists"):
        train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "s")
    assert [path.name for path in tmp_path.rglob("*")] == ["s", "precious"]


def test_divergence_is_reported_and_nothing_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(model: Any, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return answer_loss(model, input_ids, labels) * float("inf")

    monkeypatch.setattr(trainer, "answer_loss", explode)
    with pytest.raises(InputError, match="training diverged"):
        train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_what_is_no_model_or_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        train_student(tmp_path, corpus(), RECIPE, tmp_path / "s")
    with pytest.raises(InputError, match="no row has an answer"):
        train_student(tiny.shared(), [], RECIPE, tmp_path / "s")


# --- the same again ---


@pytest.mark.parametrize("method", ["top", "lora"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path, method: Any) -> None:
    recipe = replace(RECIPE, method=method)
    first = train_student(tiny.shared(), corpus(), recipe, tmp_path / "a")
    torch.manual_seed(12345)
    assert same(first, train_student(tiny.shared(), corpus(), recipe, tmp_path / "b"))
    assert not same(first, train_student(tiny.shared(), corpus(), replace(recipe, seed=1), tmp_path / "c"))


@pytest.mark.parametrize("schedule", ["constant_with_warmup", "linear", "cosine"])
def test_a_training_of_one_step_changes_the_weights(tmp_path: Path, schedule: Any) -> None:
    """A warm-up begins at a learning rate of 0: were it the only step, nothing would be learnt."""
    recipe = replace(RECIPE, schedule=schedule, batch_size=8)
    student = train_student(tiny.shared(), corpus(3), recipe, tmp_path / "s")
    assert not same(tiny.shared(), student)


@pytest.mark.parametrize(("steps", "warm"), [(1, 0), (19, 0), (20, 1), (21, 2), (100, 5)])
def test_warm_up_is_a_share_of_the_steps_where_that_is_a_step(steps: int, warm: int, tmp_path: Path) -> None:
    recipe = replace(RECIPE, batch_size=2)
    examples = make_examples(corpus(1) * (2 * steps - 1), 64, 384)
    made = trainer.make_trainer(load_model(tiny.shared()), examples, recipe, tmp_path, NEVER, ignore)
    assert made.args.get_warmup_steps(steps) == warm


class Killed(BaseException):
    pass


def killer(step: int) -> Callable[[int, int, str], None]:
    def report(done: int, total: int, what: str) -> None:
        if done == step:
            raise Killed

    return report


@pytest.mark.parametrize("method", ["top", "lora", "full"])
@pytest.mark.parametrize("schedule", ["constant_with_warmup", "cosine"])
def test_killed_and_resumed_training_ends_with_the_same_weights(tmp_path: Path, method: Any, schedule: Any) -> None:
    recipe = replace(RECIPE, method=method, schedule=schedule, epochs=2)
    whole = train_student(tiny.shared(), corpus(), recipe, tmp_path / "whole", checkpoint_seconds=NEVER)
    with pytest.raises(Killed):
        train_student(tiny.shared(), corpus(), recipe, tmp_path / "s", killer(6), checkpoint_seconds=0)
    assert not (tmp_path / "s").exists()
    assert (tmp_path / ".s.training" / "checkpoint-5").is_dir()
    told: list[int] = []
    again = train_student(tiny.shared(), corpus(), recipe, tmp_path / "s", lambda d, n, w: told.append(d))
    assert told[0] == 5  # it went on; it did not start again
    assert same(whole, again)
    assert len(json.loads((again / "recipe.json").read_text())["losses"]) == 9


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    whole = train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "whole", checkpoint_seconds=NEVER)
    with pytest.raises(Killed):
        train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "s", killer(4), checkpoint_seconds=0)
    work = tmp_path / ".s.training"
    assert str(last_checkpoint(work)).endswith("checkpoint-3")
    (work / "checkpoint-3" / "trainer_state.json").write_text('{"half')
    (work / "checkpoint-3" / "model.safetensors").write_bytes(b"")
    (work / "checkpoint-99").mkdir()
    assert str(last_checkpoint(work)).endswith("checkpoint-2")
    assert same(whole, train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "s"))


@pytest.mark.parametrize("changed", ["recipe", "corpus", "teacher"])
def test_checkpoints_of_another_training_are_thrown_away(tmp_path: Path, changed: str) -> None:
    with pytest.raises(Killed):
        train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "s", killer(4), checkpoint_seconds=0)
    recipe = replace(RECIPE, learning_rate=1e-3) if changed == "recipe" else RECIPE
    rows = corpus(17) if changed == "corpus" else corpus()
    teacher = tiny.build(tmp_path / "other", seed=1) if changed == "teacher" else tiny.shared()
    told: list[int] = []
    resumed = train_student(teacher, rows, recipe, tmp_path / "s", lambda d, n, w: told.append(d))
    assert told[0] == 0
    assert same(resumed, train_student(teacher, rows, recipe, tmp_path / "fresh"))


def test_a_full_disk_at_a_checkpoint_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer.Trainer, "_save_checkpoint", full)
    with pytest.raises(InputError, match=r"checkpoint cannot be written: .*No space left"):
        train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "s", checkpoint_seconds=0)


def test_a_full_disk_at_the_end_leaves_no_half_a_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(student.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "s", checkpoint_seconds=0)
    assert [path.name for path in tmp_path.iterdir()] == [".s.training"]
    monkeypatch.undo()
    assert train_student(tiny.shared(), corpus(), RECIPE, tmp_path / "s").is_dir()


# --- the recipe ---


@pytest.mark.parametrize(
    "change",
    [
        {"method": "magic"}, {"layers": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"epochs": 0},
        {"batch_size": 0}, {"max_length": 1}, {"lora_rank": 0}, {"warmup": 1.0}, {"schedule": "step"}, {"seed": -1},
        {"seed": 2**32}, {"max_grad_norm": 0.0},
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_meant(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"recipe: .*{next(iter(change))}"):
        replace(RECIPE, **change)


def test_a_wider_model_than_its_tokenizer(tmp_path: Path) -> None:
    teacher = tiny.build(tmp_path / "wide", surplus=16)
    output = train_student(teacher, corpus(), RECIPE, tmp_path / "s")
    assert load_model(output).get_input_embeddings().num_embeddings == 400
    shutil.rmtree(teacher)
    assert load_model(output) is not None
