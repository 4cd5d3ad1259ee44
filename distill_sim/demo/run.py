"""`taggant demo`: the whole story on one machine, in one directory.

keys/          the owner's key, one account's key for this month, and the commitment to it
stages/        what each stage made; finished ones are never run again
summary.json   every number;  index.html   the story, for someone who has never heard of it
"""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from detect.workers import processors
from distill_sim.demo.condition import Condition, stages
from distill_sim.demo.keys import ACCOUNT, Keys, demo_keys
from distill_sim.judge import RESULTS
from distill_sim.pipeline import Event, Finished, Pipeline, alone
from distill_sim.stages import FLUENCY
from distill_sim.stopwatch import Stopwatch, kept_seconds
from distill_sim.teacher import pull_smollm2
from watermark.engines.models import model_digest
from watermark.errors import InputError
from watermark.files import refuse_existing, strict_json, write_json
from watermark.keys import UNTIMESTAMPED_NOTE

SCHEMA = "taggant-demo/1"
SUMMARY, PAGE, SECONDS, LOCK = "summary.json", "index.html", ".seconds", ".demo.lock"


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
        InputError: `root` holds something else, another run is at work in it, or a stage was refused.
        KeyFileError: the run's keys are not those it began with.
    """
    _claim(root)
    teacher = pull_smollm2() if model is None else model
    with alone(root, LOCK):
        _sweep(root)
        clock = Stopwatch(root / SECONDS)
        keys = demo_keys(root / "keys", teacher, used=_is_used(root))
        plan = stages(
            condition, keys.account, key_file=keys.account_file, model=teacher, model_id=model_digest(teacher)
        )
        finished = _run(Pipeline(root, plan), clock, on_event)
        summary = _summary(root, condition, keys, teacher, finished)
        _write_summary(root / SUMMARY, summary)
        from distill_sim.demo.page import write_page

        write_page(root / PAGE, summary, finished, key=keys.account)
    return root / PAGE


def _run(pipeline: Pipeline, clock: Stopwatch, on_event: Callable[[Event], None]) -> dict[str, Finished]:
    """Run the stages on the clock; when all are finished already, only say so."""
    if pipeline.is_finished():
        return pipeline.run(*parallelism(), on_event)

    def both(event: Event) -> None:
        clock.tick()
        on_event(event)

    with clock.running():
        return pipeline.run(*parallelism(), both)


def parallelism() -> tuple[int, int]:
    """Workers and torch threads of each. Two single threads beat one process with two: no waiting for each other."""
    cores = processors()
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


def _sweep(root: Path) -> None:
    """Remove what a kill left of files in the making."""
    for name in (SUMMARY, PAGE, SECONDS):
        for leftover in root.glob(f".{name}.*.tmp"):
            leftover.unlink()


def _is_used(root: Path) -> bool:
    """Whether the account's key has marked something, or may have."""
    return any(any((root / place).glob("marked-*")) for place in ("stages", "work"))


def _write_summary(path: Path, summary: dict[str, Any]) -> None:
    try:
        write_json(path, summary, overwrite=True)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}); free space, run the same command again"
        ) from None


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
        "seconds": round(kept_seconds(root / SECONDS), 1),
        "stages": {name: one.seconds for name, one in finished.items()},
        "machine": {
            "python": platform.python_version(),
            "torch": metadata.version("torch"),
            "transformers": metadata.version("transformers"),
            "processor": platform.machine(),
            "workers": parallelism()[0],
            "threads": parallelism()[1],
        },
        "command": shlex.join(["taggant", *sys.argv[1:]]),
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
