"""Transformers' Trainer, set up for a student: answers-only loss, checkpoints by the clock, silence on stdout."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from distill_sim import ranks
from distill_sim.examples import IGNORED, Example, collate
from distill_sim.metrics import Metrics
from distill_sim.recipe import Recipe
from watermark.errors import InputError
from watermark.progress import Progress

Loss = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]
"""(model, input_ids, labels) → what is minimised; see `answer_loss`"""

EMPTY = Example((0,), 1)  # nothing to learn


def make_trainer(
    model: Any,
    examples: list[Example],
    recipe: Recipe,
    work: Path,
    checkpoint_seconds: float,
    on_progress: Progress,
    metrics: Metrics | None = None,
    loss: Loss | None = None,
) -> AnswerTrainer:
    """A Trainer that takes the examples in the order given, once (`arrange` laid all epochs out already).

    Processes that train together (`ranks`) share each batch: a step sees the same `recipe.batch_size` rows, and has
    the same loss, as in one process.

    Args:
        loss: what is minimised instead of `answer_loss`; in one process only.

    Raises:
        InputError: a batch cannot be shared evenly.
    """
    processes = ranks.count()
    if loss is not None and processes > 1:
        raise InputError("a loss of its own is trained by one process; leave the number of processes at 1")
    share, left = divmod(recipe.batch_size, processes)
    if left:
        raise InputError(
            f"recipe: batch_size {recipe.batch_size} cannot be shared by {processes} processes; use a multiple"
        )
    if processes > 1:  # the last batch is whole, or the Trainer would fill it with rows from the beginning
        examples = examples + [EMPTY] * (-len(examples) % recipe.batch_size)
    arguments = TrainingArguments(
        output_dir=str(work),
        num_train_epochs=1,
        train_sampling_strategy="sequential",
        per_device_train_batch_size=share,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=_warmup(recipe, -(-len(examples) // recipe.batch_size)),
        weight_decay=0.0,
        max_grad_norm=recipe.max_grad_norm,
        seed=recipe.seed,
        save_strategy="no",  # Steps decides
        save_total_limit=2,  # the newest may be half-written when the process dies
        logging_strategy="steps",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        use_cache=False,
        use_cpu=processes > 1 and not torch.cuda.is_available(),  # or accelerate would not see the processes
        ddp_backend=torch.distributed.get_backend() if processes > 1 else None,
        ddp_find_unused_parameters=False,
        project="taggant",
        run_name=metrics.run if metrics else None,
        trackio_space_id=None,  # nothing leaves this machine
    )
    if arguments.n_gpu > 1:  # one process uses one device: several would multiply the batch
        arguments._n_gpu = 1
    trainer = AnswerTrainer(
        loss,
        model=model,
        args=arguments,
        train_dataset=examples,
        data_collator=collate,
        callbacks=[Steps(checkpoint_seconds, on_progress)],
    )
    if metrics is not None and ranks.is_first():
        trainer.add_callback(metrics.callback(steps_done(last_checkpoint(work))))
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which is for data
    return trainer


def _warmup(recipe: Recipe, steps: int) -> float:
    """The share of the steps that the Trainer warms up in, at least one, whose learning rate is 0.

    A training that is too short for it goes without: of a single step nothing would be learnt.
    """
    return recipe.warmup if recipe.warmup * steps >= 1 else 0.0


def answer_loss(model: Any, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats over the labelled tokens; logits are computed only where one of them is predicted.

    Args:
        input_ids: int64 [batch, T].
        labels: int64 [batch, T], −100 where there is no loss.
    """
    return cross_entropy(*answer_logits(model, input_ids, labels))


def answer_logits(model: Any, input_ids: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits float32 [N, vocab] where the N labelled tokens are predicted, row by row, and those tokens int64 [N]."""
    following = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)  # what position t has to predict
    predicts = following != IGNORED  # bool [batch, T]
    logits = model(input_ids=input_ids, logits_to_keep=predicts, use_cache=False).logits
    return logits.float(), following[predicts]


class AnswerTrainer(Trainer):
    """Trainer with `answer_loss`, over all rows of a batch however many processes share it; or with another loss."""

    def __init__(self, loss: Loss | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._loss = loss or answer_loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss alone; nothing here evaluates, so outputs are never asked for."""
        if return_outputs:
            raise NotImplementedError("a student's training computes no outputs")
        if ranks.count() == 1:
            return self._loss(model, inputs["input_ids"], inputs["labels"])
        logits, tokens = answer_logits(model, inputs["input_ids"], inputs["labels"])
        share = ranks.count() / ranks.total(float(len(tokens)), tokens.device)  # gradients are averaged afterwards
        return cross_entropy(logits, tokens, reduction="sum") * share

    def _save_rng_state(self, output_dir: str) -> None:
        """As inherited; `_save_checkpoint` goes on, and says that the checkpoint is complete, when all have done so."""
        super()._save_rng_state(output_dir)
        ranks.wait()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As inherited; but a full disk, which three libraries report in three ways, becomes one line."""
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise InputError(f"{self.args.output_dir}: a checkpoint cannot be written: {reason}") from None


class Steps(TrainerCallback):
    """Reports every step, and asks for a checkpoint when enough time has passed since the last one."""

    def __init__(self, checkpoint_seconds: float, on_progress: Progress) -> None:
        self._interval = checkpoint_seconds
        self._report = on_progress
        self._saved = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._saved = time.monotonic()
        self._report(state.global_step, state.max_steps, "training")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._report(state.global_step, state.max_steps, "training")
        due = time.monotonic() - self._saved >= self._interval
        if state.global_step < state.max_steps and ranks.from_first(float(due), args.device):
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._saved = time.monotonic()


def last_checkpoint(work: Path) -> str | None:
    """The newest complete checkpoint: the trainer's state is written last, so one without it was cut short."""
    checkpoints = [path for path in work.glob("checkpoint-*") if _is_complete(path)]
    newest = max(checkpoints, key=lambda path: steps_done(path.name), default=None)
    return str(newest) if newest else None


def steps_done(checkpoint: str | None) -> int:
    """Steps that need not be done again."""
    return int(checkpoint.rpartition("-")[2]) if checkpoint else 0


def _is_complete(checkpoint: Path) -> bool:
    try:
        return isinstance(json.loads((checkpoint / "trainer_state.json").read_bytes()), dict)
    except (OSError, ValueError):
        return False
