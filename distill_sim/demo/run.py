"""`taggant demo`: the whole story on one machine, in one directory.

keys/          the owner's key, one account's key for this month, and the commitment to it
stages/        what each stage made; finished ones are never run again
summary.json   every number;  index.html   the story, for someone who has never heard of it
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from distill_sim.judge import RESULTS
from distill_sim.pipeline import Event, Finished, Pipeline
from distill_sim.stages import FLUENCY
from distill_sim.study import Condition, stages
from distill_sim.teacher import pull_smollm2
from watermark.engines.models import load_tokenizer, model_digest
from watermark.errors import InputError
from watermark.files import refuse_existing, strict_json, write_json
from watermark.keys import UNTIMESTAMPED_NOTE, Commitment, Key, Leaf

SCHEMA = "taggant-demo/1"
ACCOUNT = "account-0042"
SUMMARY, PAGE, SECONDS = "summary.json", "index.html", ".seconds"


@dataclass(frozen=True)
class Keys:
    """The demo's keys and where they lie."""

    account: Key
    account_file: Path
    commitment: Commitment
    epoch: str


def run_demo(
    root: Path,
    condition: Condition,
    *,
    model: Path | None = None,
    on_event: Callable[[Event], None],
) -> Path:
    """Run, or go on with, the demo in `root`; returns the page.

    Args:
        model: the teacher's directory; None pulls the built-in one.
        on_event: as in `Pipeline.run`.

    Raises:
        InputError: `root` holds something else, or a stage was refused.
    """
    _claim(root)
    teacher = pull_smollm2() if model is None else model
    begun = time.monotonic()
    keys = _keys(root / "keys", teacher)
    plan = stages(condition, keys.account, key_file=keys.account_file, model=teacher, model_id=model_digest(teacher))
    pipeline = Pipeline(root, plan)
    was_finished = pipeline.is_finished()
    with _adding_seconds(root / SECONDS, begun, count=not was_finished):
        finished = pipeline.run(*parallelism(), on_event)
    summary = _summary(root, condition, keys, teacher, finished)
    write_json(root / SUMMARY, summary, overwrite=True)
    from distill_sim.demo.page import write_page

    write_page(root / PAGE, summary, finished)
    return root / PAGE


@contextmanager
def _adding_seconds(path: Path, begun: float, *, count: bool) -> Iterator[None]:
    """Add the wall seconds since `begun` to those of earlier tries, however this try ends (short of a SIGKILL)."""
    try:
        yield
    finally:
        if count:
            write_json(path, round(_seconds(path) + time.monotonic() - begun, 1), overwrite=True)


def _seconds(path: Path) -> float:
    return float(strict_json(path.read_bytes())) if path.exists() else 0.0


def parallelism() -> tuple[int, int]:
    """Workers and torch threads of each. Two single threads beat one process with two: no waiting for each other."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    workers = min(2, cores)
    return workers, max(1, cores // workers)


def _claim(root: Path) -> None:
    """A fresh or an earlier demo's directory; nothing else is touched."""
    if root.exists() and not root.is_dir():
        refuse_existing(root)
    ours = {"keys", "stages", "work", ".lock", SUMMARY, PAGE}
    if root.is_dir():
        strangers = [path.name for path in root.iterdir() if path.name not in ours and not path.name.startswith(".")]
        if strangers:
            raise InputError(
                f"{root} holds {sorted(strangers)[0]}, which is not a demo's; choose another directory with -o"
            )
    root.mkdir(parents=True, exist_ok=True)


def _keys(directory: Path, teacher: Path) -> Keys:
    """The owner's key, the account's key for this month, and a commitment before first use; made once."""
    directory.mkdir(exist_ok=True)
    owner_file, account_file = directory / "owner.key", directory / "account.key"
    committed = directory / "commitment.json"
    if not owner_file.exists():
        Key.generate(tokenizer=load_tokenizer(teacher)).save(owner_file)
    owner = Key.load(owner_file)
    if not account_file.exists():
        owner.account(ACCOUNT).epoch(f"{datetime.now(UTC):%Y-%m}").save(account_file)
    account = Key.load(account_file)
    assert account.derived_from is not None
    epoch = account.derived_from.label
    if not committed.exists():
        Commitment.of([Leaf(ACCOUNT, epoch, account.key_id)]).save(committed)
    return Keys(account, account_file, Commitment.load(committed), epoch)


def _summary(
    root: Path,
    condition: Condition,
    keys: Keys,
    teacher: Path,
    finished: dict[str, Finished],
) -> dict[str, Any]:
    """Everything a reader or a script may want, without a secret. `seconds` covers all tries, without the set-up."""
    record = teacher / "taggant-model.json"
    fluency: Any = strict_json((finished["fluency"].directory / FLUENCY).read_bytes())
    results: Any = strict_json((finished["judged"].directory / RESULTS).read_bytes())
    return {
        "schema": SCHEMA,
        "version": metadata.version("taggant"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": _seconds(root / SECONDS),
        "stages": {name: one.seconds for name, one in finished.items()},
        "machine": {
            "python": platform.python_version(),
            "torch": metadata.version("torch"),
            "transformers": metadata.version("transformers"),
            "processor": platform.machine(),
            "workers": parallelism()[0],
            "threads": parallelism()[1],
        },
        "command": "taggant " + " ".join(sys.argv[1:]),
        "model": strict_json(record.read_bytes()) if record.exists() else {"source": "a directory given by the user"},
        "key": {"key_id": keys.account.key_id, "gamma": keys.account.gamma, "delta": keys.account.delta,
                "context_width": keys.account.context_width, "account": ACCOUNT, "epoch": keys.epoch},
        "commitment": {**keys.commitment.to_json(), "note": UNTIMESTAMPED_NOTE},
        "condition": {
            "prompts": len(condition.prompts),
            "answers_per_prompt": condition.samples,
            "probe_prompts": len(condition.probe_prompts),
            "epochs": condition.recipe.epochs,
            "layers_trained": condition.recipe.layers,
            "learning_rate": condition.recipe.learning_rate,
        },
        "fluency": fluency,
        **results,
    }  # fmt: skip
