"""`taggant simulate`: one study in one directory.

keys/               the owner's key and the marks derived from it
stages/             what each stage made; finished ones are never run again
log.jsonl           which stage was begun, finished or kept, and when: a line each, appended
study.json          what was asked for, and by what it was carried out
survival.parquet, fresh.parquet, quality.parquet   the results (`distill_sim.survival`)
controls.json                                      of disjoint sources, where the file asks for them
summary.json, index.html                           what they say
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path

from distill_sim.pipeline import Event, Pipeline, alone
from distill_sim.stages import STUDENT, TRANSFORMERS, VLLM
from distill_sim.stopwatch import Stopwatch
from distill_sim.study import scales
from distill_sim.study.controls import CONTROLS_FILE
from distill_sim.study.file import Study
from distill_sim.study.keys import StudyKeys
from distill_sim.study.laboratory import Laboratory
from distill_sim.study.results import DESCRIPTION, SECONDS, write_results
from distill_sim.study.scales import Foundation, Model
from distill_sim.study.show import StudyProgress, kind_of
from distill_sim.survival import FRESH, QUALITY, SURVIVAL
from distill_sim.workers import Executor
from watermark.errors import InputError
from watermark.progress import bar

LOCK, LOG = ".study.lock", "log.jsonl"
METRICS = "metrics"


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
            return write_results(self.root, laboratory, asdict(self._parallel))

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
            write_results(self.root, laboratory, asdict(self._parallel), carried_out=False)
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


def _claim(root: Path) -> None:
    """A fresh or an earlier study's directory; nothing else is touched.

    Raises:
        InputError: something else lies there.
    """
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is not a directory; choose another with -o")
    results = {DESCRIPTION, SURVIVAL, FRESH, QUALITY, CONTROLS_FILE, "summary.json", "index.html"}
    ours = {"keys", "stages", "work", METRICS, LOG, *results}
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
