"""`taggant simulate`: one study in one directory.

keys/               the owner's key and the marks derived from it
stages/             what each stage made; finished ones are never run again
log.jsonl           which stage was begun, finished or kept, and when: a line each, appended
study.json          what was asked for, and by what it was carried out
survival.parquet, fresh.parquet, quality.parquet   the results (`distill_sim.survival`)
summary.json, index.html                           what they say
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import Any

from distill_sim.condition import Condition
from distill_sim.pipeline import Event, Pipeline, Stage, alone
from distill_sim.stages import STUDENT, TRANSFORMERS, VLLM
from distill_sim.stopwatch import Stopwatch, kept_seconds
from distill_sim.study import scales
from distill_sim.study.cells import Builder, Cell
from distill_sim.study.file import BASE, Study
from distill_sim.study.judging import ROWS
from distill_sim.study.keys import StudyKeys
from distill_sim.study.portrait import examples, sizes
from distill_sim.study.scales import Foundation, Model
from distill_sim.study.show import StudyProgress, kind_of
from distill_sim.survival import FRESH, QUALITY, SURVIVAL, write_table
from distill_sim.workers import Executor
from watermark.errors import InputError
from watermark.files import strict_json, write_json
from watermark.progress import bar

LOCK, SECONDS, LOG, DESCRIPTION = ".study.lock", ".seconds", "log.jsonl", "study.json"
METRICS = "metrics"
PACKAGES = ("taggant", "torch", "transformers", "tokenizers", "numpy", "scipy")


@dataclass(frozen=True)
class Parallel:
    """Who does the work.

    Attributes:
        workers: processes side by side.
        threads: of torch, each.
        processes: that train one student together, a GPU each.
        ray: address of a Ray cluster whose actors are the workers; "auto": found, or started here; None: no Ray.
    """

    workers: int
    threads: int
    processes: int = 1
    ray: str | None = None

    @property
    def executor(self) -> Executor | None:
        """None: processes of this machine."""
        if self.ray is None:
            return None
        from distill_sim.ray_workers import run_tasks_on_ray

        return partial(run_tasks_on_ray, address=None if self.ray == "auto" else self.ray)


@dataclass(frozen=True)
class Status:
    """How far a study is: stages by kind, finished and in all."""

    finished: dict[str, int]
    total: dict[str, int]

    @classmethod
    def of(cls, pipeline: Pipeline) -> Status:
        """Of its stages; reads every finished result's record."""
        done = pipeline.finished()
        kinds = {stage.name: kind_of(stage.name) for stage in pipeline.stages}
        total = Counter(kinds.values())
        return cls({kind: sum(kinds[name] == kind for name in done) for kind in total}, dict(total))


class Laboratory:
    """A study in its directory, ready to run: the foundation is made first, since the keys need its tokenizer."""

    def __init__(
        self,
        root: Path,
        study: Study,
        foundation: Foundation,
        keys: StudyKeys,
        *,
        processes: int = 1,
        metrics: Mapping[str, str] | None = None,
    ) -> None:
        fresh_keys = study.fresh_keys
        builder = Builder(foundation, keys, fresh_keys=fresh_keys, processes=processes, metrics=metrics)
        self.study = study
        self.foundation = foundation
        self.cells = [
            builder.cell(name, condition, seed, key)
            for name, condition in study.conditions.items()
            for seed in range(study.repeats[name].seeds)
            for key in range(study.repeats[name].keys)
        ]
        self.pipeline = Pipeline(root, _engines_first(builder.graph.stages))

    def survival(self) -> Iterator[dict[str, Any]]:
        """Rows of all finished cells."""
        done = self.pipeline.finished()
        for cell in self.cells:
            if cell.judged in done:
                for row in self._rows(cell.judged):
                    yield {**_where(cell), **_of(cell.condition), **row}

    def fresh(self) -> Iterator[dict[str, Any]]:
        """Rows of the controls under fresh keys; each control once, whatever key it stands beside."""
        done, seen = self.pipeline.finished(), set()
        for cell in self.cells:
            if cell.fresh in done and (cell.fresh, cell.name, cell.seed) not in seen:
                seen.add((cell.fresh, cell.name, cell.seed))
                name = cell.name if cell.condition.source != "another-owner" else f"{cell.name}, key {cell.key}"
                for row in self._rows(str(cell.fresh)):
                    yield {"condition": name, "seed": cell.seed, **row}

    def quality(self) -> Iterator[dict[str, Any]]:
        """Rows of what the mark cost."""
        done = self.pipeline.finished()
        for cell in self.cells:
            if cell.quality in done:
                for row in self._rows(str(cell.quality)):
                    yield {**_where(cell), **row}

    def _rows(self, stage: str) -> list[dict[str, Any]]:
        content: Any = strict_json((self.pipeline.directory(stage) / ROWS).read_bytes())
        return list(content)


def _engines_first(stages: list[Stage]) -> list[Stage]:
    """What an engine answers comes first, needing nothing: each worker then starts it once, and not for every cell."""
    return sorted(stages, key=lambda stage: "engine" not in stage.settings)


def _where(cell: Cell) -> dict[str, Any]:
    return {"condition": cell.name, "seed": cell.seed, "key": cell.key}


def _of(condition: Condition) -> dict[str, Any]:
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(condition).items()}
    return {**values, "exposed": condition.exposed, "licensed": condition.source == "licensed"}


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


class Runner:
    """Carries a study out in a directory.

    Args:
        model: the teacher's directory; None: the scale's own.
        owner_key: everything is derived from it; None: a fresh one, the first time.
        metrics: "tensorboard" or "trackio": trainings write what they measure to `metrics/`; None: they don't.
        teacher_engine: "transformers" or "vllm": what draws the teacher's answers. Other engines, other answers.
    """

    def __init__(
        self,
        root: Path,
        study: Study,
        *,
        model: Path | None = None,
        owner_key: Path | None = None,
        parallel: Parallel,
        metrics: str | None = None,
        teacher_engine: str = TRANSFORMERS,
    ) -> None:
        self.root = root
        self.study = study
        self._model = model
        self._owner_key = owner_key
        self._parallel = parallel
        self._metrics = None if metrics is None else {"tool": metrics, "directory": str(root.absolute() / METRICS)}
        self._engine = teacher_engine

    def run(self, *, quiet: bool = False) -> Path:
        """Run, or go on with, the study; returns the page.

        Raises:
            InputError: the directory holds something else, or another run is at work in it, or a stage was refused; or
                the teacher's engine is not installed.
            KeyFileError: the study's keys are not those it began with.
        """
        if self._engine == VLLM:
            from watermark.engines.vllm_answers import require_vllm

            require_vllm()
        _claim(self.root)
        with alone(self.root, LOCK):
            clock = Stopwatch(self.root / SECONDS)
            with clock.running():
                self._carry_out(self._ground(), "models", clock, quiet)
                laboratory = self._laboratory()
                self._carry_out(laboratory.pipeline, "study", clock, quiet)
            return write_results(self.root, laboratory, self._parallel)

    def status(self) -> Status:
        """How far it is; writes the results of what is finished.

        Raises:
            InputError: nothing was begun in the directory, or a result was changed.
        """
        if not (self.root / "stages").is_dir():
            raise InputError(f"no study was begun in {self.root}; run the same command without --status")
        ground = self._ground()
        if not ground.is_finished():
            return Status.of(ground)
        laboratory = self._laboratory()
        if next(laboratory.survival(), None) is not None:
            write_results(self.root, laboratory, self._parallel, command=_last_command(self.root))
        return Status.of(laboratory.pipeline)

    def _carry_out(self, pipeline: Pipeline, name: str, clock: Stopwatch, quiet: bool) -> None:
        if pipeline.is_finished():
            return
        with bar(name, "unit", quiet=quiet) as show:
            progress = StudyProgress([stage.name for stage in pipeline.stages], show)

            with (self.root / LOG).open("a", encoding="utf-8") as log:

                def every(event: Event) -> None:
                    clock.tick()
                    progress.event(event)
                    if event.kind != "progress":
                        log.write(_log_line(event))
                        log.flush()

                pipeline.run(self._parallel.workers, self._parallel.threads, every, self._parallel.executor)

    @cached_property
    def _teacher(self) -> Model | None:
        """The pulled one, or the one that was given; None: it is made."""
        if self._model is not None:
            return Model.at(self._model)
        if not self.study.scale.pulled:
            return None
        from distill_sim.teacher import pull_smollm2

        return Model.at(pull_smollm2())

    @cached_property
    def _wanted(self) -> set[str]:
        return scales.bases(self.study.conditions.values())

    def _ground(self) -> Pipeline:
        """What makes the models that everything starts from."""
        return Pipeline(self.root, scales.stages(self.study.scale, self._wanted, self._teacher))

    def _laboratory(self) -> Laboratory:
        """The study on its finished ground: the keys need the teacher's tokenizer."""
        from watermark.engines.models import load_tokenizer

        ground, teacher, scale = self._ground(), self._teacher, self.study.scale
        made = {
            name: Model.at(ground.directory(scales.maker(name, scale)) / STUDENT)
            for name in self._wanted
            if name != "teacher" or teacher is None
        }
        models = made if teacher is None else {**made, "teacher": teacher}
        keys = StudyKeys.open(self.root / "keys", load_tokenizer(models["teacher"].directory), self._owner_key)
        foundation = Foundation(scale, models, keys.tokenizer.vocab_size, keys.tokenizer.special_ids, self._engine)
        processes = self._parallel.processes
        return Laboratory(self.root, self.study, foundation, keys, processes=processes, metrics=self._metrics)


def _log_line(event: Event) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "event": event.kind, "stage": event.stage, "seconds": event.seconds}) + "\n"


def _last_command(root: Path) -> str | None:
    """Of the run that wrote the results that are there; None: there are none."""
    path = root / DESCRIPTION
    content: Any = strict_json(path.read_bytes()) if path.exists() else {}
    return str(content["command"]) if "command" in content else None


def write_results(root: Path, laboratory: Laboratory, parallel: Parallel, command: str | None = None) -> Path:
    """Write the tables, the summary and the page of what is finished.

    Args:
        command: that carried the study out; None: the one that runs now.
    """
    survival, fresh, quality = list(laboratory.survival()), list(laboratory.fresh()), list(laboratory.quality())
    for name, rows in ((SURVIVAL, survival), (FRESH, fresh), (QUALITY, quality)):
        write_table(root / name, rows)
    study = describe(root, laboratory, parallel)
    if command is not None:
        study["command"] = command
    write_json(root / DESCRIPTION, study, overwrite=True)
    from distill_sim.report import write_report
    from distill_sim.report.summarise import summary

    write_json(root / "summary.json", summary(study, survival, fresh, quality), overwrite=True)
    write_report(root / "index.html", study, survival, fresh, quality)
    return root / "index.html"


def describe(root: Path, laboratory: Laboratory, parallel: Parallel) -> dict[str, Any]:
    """What was asked for, by what it was carried out, and a look at what it stands on."""
    study = laboratory.study
    return {
        "schema": "taggant-study/1",
        "name": root.resolve().name,
        "title": study.title,
        "description": study.description,
        "scale": study.scale.name,
        "command": shlex.join(["taggant", *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(kept_seconds(root / SECONDS), 1),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        "teacher_engine": laboratory.foundation.engine,
        "machine": {"processor": platform.machine(), **asdict(parallel)},
        "seeds": study.repeats_of_base.seeds,
        "keys": study.repeats_of_base.keys,
        "fresh_keys": study.fresh_keys,
        "models": sizes(laboratory.foundation.models),
        "examples": examples(laboratory.pipeline, laboratory.cells),
        "reference": BASE,
        "base": _of(study.base),
        "series": [
            {"name": one.name, "title": one.name, "vary": list(one.vary), "conditions": list(one.conditions)}
            for one in study.series
        ],
    }


def _claim(root: Path) -> None:
    """A fresh or an earlier study's directory; nothing else is touched.

    Raises:
        InputError: something else lies there.
    """
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is not a directory; choose another with -o")
    ours = {"keys", "stages", "work", METRICS, LOG, DESCRIPTION, SURVIVAL, FRESH, QUALITY, "summary.json", "index.html"}
    strangers = (
        [one.name for one in root.iterdir() if one.name not in ours and not one.name.startswith(".")]
        if root.is_dir()
        else []
    )
    if strangers:
        raise InputError(
            f"{root} holds {sorted(strangers)[0]}, which is not a study's; choose another directory with -o"
        )
    root.mkdir(parents=True, exist_ok=True)
