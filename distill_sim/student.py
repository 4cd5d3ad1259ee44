"""Train a student: a copy of the base model, fine-tuned on a corpus's answers the way models are really distilled.

    rows → examples (ids, where the answer starts) → a seeded order of batches → Trainer → a Hugging Face directory

The loss covers the answers only. Killed and started again with the same arguments, training goes on from its
last checkpoint and ends with the same weights.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_sim import ranks
from distill_sim.corpus import CorpusRow
from distill_sim.examples import Example, arrange, make_examples
from distill_sim.metrics import Metrics
from distill_sim.optimise import keep_zeros
from distill_sim.recipe import Recipe
from distill_sim.saving import save_model
from watermark.engines.models import load_model, local_directory, model_digest, quiet_transformers
from watermark.errors import InputError
from watermark.files import new_directory, refuse_existing, write_json
from watermark.progress import Progress, ignore

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from distill_sim.logits import LogitTeacher

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
)


def train_student(
    teacher_dir: str | Path,
    corpus_rows: Sequence[CorpusRow],
    recipe: Recipe,
    output: Path,
    on_progress: Progress = ignore,
    *,
    work: Path | None = None,
    checkpoint_seconds: float = 30.0,
    metrics: Metrics | None = None,
    teacher: LogitTeacher | None = None,
) -> Path:
    """Fine-tune a copy of the model in `teacher_dir` on the rows and save it as `output`; returns `output`.

    Unfinished work lies in `work` (default: a hidden directory beside `output`); it is taken up again when model,
    rows and recipe are the same, else thrown away. `output` appears whole, with the tokenizer and recipe.json.
    Where several processes train together (`distill_sim.training`), all call this, and the first one writes.

    Args:
        teacher: whose distributions are learnt from, instead of the answers' tokens; in one process only.

    Raises:
        InputError: something is at `output`, no row can be trained on, an id the model doesn't have, or divergence.
        ModelError: from loading the model.
    """
    output = Path(output)
    if output.is_dir() and any(output.iterdir()):
        refuse_existing(output)
    source = local_directory(teacher_dir)
    model = load_model(source)
    examples = make_examples(corpus_rows, recipe.max_length, model.get_input_embeddings().num_embeddings)
    order = arrange([len(example.ids) for example in examples], recipe.batch_size, recipe.epochs, recipe.seed)
    identity: dict[str, Any] = {
        "teacher": model_digest(source),
        "examples": _digest(examples),
        "recipe": asdict(recipe),
    }
    if ranks.count() > 1:
        identity["processes"] = ranks.count()  # sums come in another order, and checkpoints have a file a process
    work = work or output.parent / f".{output.name}.training"
    if ranks.is_first():
        _working_directory(work, identity)
    ranks.wait()
    begun = time.monotonic()
    several = [examples[i] for i in order]
    model, losses = _train(model, several, recipe, work, checkpoint_seconds, on_progress, metrics, teacher)
    if not ranks.is_first():
        return output
    record = {
        **identity,
        "rows": len(examples),
        "rows_without_answer": len(corpus_rows) - len(examples),
        "tokens_trained": sum(example.trained for example in examples) * recipe.epochs,
        "losses": losses,
        "seconds": round(time.monotonic() - begun, 1),  # of this process, the last if there were several
    }
    _save(model, source, output, record)
    shutil.rmtree(work)
    return output


def _train(
    model: PreTrainedModel,
    examples: list[Example],
    recipe: Recipe,
    work: Path,
    checkpoint_seconds: float,
    on_progress: Progress,
    metrics: Metrics | None,
    teacher: LogitTeacher | None,
) -> tuple[PreTrainedModel, list[float]]:
    """Train on the examples in their order; returns the plain model (adapters merged) and every step's loss."""
    from transformers import set_seed

    from distill_sim.trainer import last_checkpoint, make_trainer

    with quiet_transformers():
        set_seed(recipe.seed)
        trainable = prepare(model, recipe)
        if recipe.keep_zeros:
            keep_zeros(trainable)
        loss = None if teacher is None else teacher.loss
        trainer = make_trainer(trainable, examples, recipe, work, checkpoint_seconds, on_progress, metrics, loss)
        trainer.train(resume_from_checkpoint=last_checkpoint(work))
    losses = [round(entry["loss"], 4) for entry in trainer.state.log_history if "loss" in entry]
    plain = trainable.merge_and_unload() if recipe.method == "lora" else trainable
    if not all(bool(weight.isfinite().all()) for weight in plain.parameters()):
        raise InputError("training diverged: the student's weights are not finite; lower the recipe's learning_rate")
    return plain, losses


def prepare(model: PreTrainedModel, recipe: Recipe) -> Any:
    """Say which weights are trained: all, a LoRA adapter around all linear layers, or the top layers alone.

    With frozen embeddings and lower layers no gradient is ever computed below the top ones.

    Raises:
        InputError: more layers than the model has.
    """
    if recipe.method == "full":
        return model
    if recipe.method == "lora":
        from peft import LoraConfig, get_peft_model

        rank = recipe.lora_rank
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        with warnings.catch_warnings():  # peft asks transformers for an attribute by its old name
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            return get_peft_model(model, config)
    layers = model.get_decoder().layers
    if recipe.layers > len(layers):
        raise InputError(f"recipe: layers is {recipe.layers}, but the model has {len(layers)}")
    model.requires_grad_(False)
    layers[-recipe.layers :].requires_grad_(True)
    return model


def _save(model: PreTrainedModel, source: Path, output: Path, record: dict[str, Any]) -> None:
    with new_directory(output) as directory:
        save_model(model, directory)
        for name in TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, directory / name)
        write_json(directory / "recipe.json", record)


def _working_directory(work: Path, identity: dict[str, Any]) -> None:
    """Prepare the directory for checkpoints: emptied unless it belongs to exactly this training."""
    stamp = work / "identity.json"
    text = json.dumps(identity, sort_keys=True)
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == text):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        stamp.write_text(text, encoding="utf-8")


def _digest(examples: Sequence[Example]) -> str:
    return hashlib.sha256(repr([(e.ids, e.start) for e in examples]).encode()).hexdigest()
