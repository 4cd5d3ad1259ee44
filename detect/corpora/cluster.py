"""The same tasks on a cluster, through datatrove's executors: they start processes, and know nothing of what is done.

Each process does every n-th task of a stage. What is done is told by the job's directory, which all machines share at
one path, with Taggant installed in one version; so datatrove's own markers decide nothing, and any number of processes
can go on where others ended.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detect.corpora.job import Job, read_json, write_json
from detect.corpora.sources import Shard
from detect.corpora.stages import Stage, forget_errors, perform, raise_first, results_stage, stages
from detect.ray import connected
from detect.readers.places import is_address, without_secrets
from watermark.errors import InputError, TaggantError
from watermark.progress import Progress, ignore

SLURM = {"partition": str, "time": str, "cpus_per_task": int, "mem_per_cpu_gb": int, "qos": str, "env_command": str,
         "venv_path": str, "condaenv": str, "max_array_size": int, "mail_user": str}  # fmt: skip
RAY = {"cpus_per_task": float, "mem_per_cpu_gb": float}
NEEDED = {"slurm": ("partition", "time"), "ray": ()}
SHARE = 0.4  # of a Ray's processors that our processes reserve: on two, two of a whole one each would wait for ever
MEMORY = 2  # GB a process
EVERY = 2.0  # seconds between two looks at how far it is
SUBMITTED = "slurm.json"


def checked_arguments(executor: str, pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE as arguments of datatrove's executor.

    Raises:
        ValueError: no such argument, no such value, or one that is needed is missing.
    """
    known = SLURM if executor == "slurm" else RAY
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in known:
            raise ValueError(f"--cluster {pair}: must be NAME=VALUE, NAME one of {', '.join(known)}")
        try:
            found[name] = known[name](value)
        except ValueError:
            raise ValueError(f"--cluster {pair}: the value must be a number") from None
    for name in NEEDED[executor]:
        if name not in found:
            raise ValueError(f"--executor {executor} needs --cluster {name}=…")
    return found


class Share:
    """A step of datatrove's: every n-th task of a stage.

    Args:
        arguments: of every task, without its number.
    """

    def __init__(self, stage: Stage, arguments: Mapping[str, Any], numbers: Sequence[int]) -> None:
        self._stage, self._arguments, self._numbers = stage, dict(arguments), list(numbers)

    def __repr__(self) -> str:
        return f"taggant: {self._stage.name}, {len(self._numbers)} tasks"

    def __call__(self, data: object, rank: int = 0, world_size: int = 1) -> None:
        """Do those of one process."""
        for number in self._numbers[rank::world_size]:
            perform(self._stage.task(self._arguments, number), ignore)


@dataclass(frozen=True)
class Ray:
    """Processes on a Ray cluster, or on a Ray of our own on this machine."""

    workers: int
    cluster: Mapping[str, Any]

    def __call__(self, stage: Stage, numbers: Sequence[int], arguments: Mapping[str, Any], show: Progress) -> None:
        """As `detect.corpora.stages.Executor`."""
        executors = _executors()
        job = Job(Path(arguments["job"]))
        processes = min(self.workers, len(numbers))
        with connected() as ray:
            reserved = min(1.0, SHARE * float(ray.cluster_resources().get("CPU", 1.0)) / processes)
            options = {"cpus_per_task": reserved, "mem_per_cpu_gb": MEMORY, **self.cluster}
            executor = executors.RayPipelineExecutor(
                pipeline=[Share(stage, arguments, numbers)],
                tasks=processes,
                workers=processes,
                logging_dir=_logs(job, stage),
                skip_completed=False,
                **options,
            )
            _watched(executor.run, job, stage, show)
        raise_first(job, stage)
        if left := stage.left(job):
            raise TaggantError(
                f"{len(left)} of {len(stage.weights)} tasks ({stage.name}) ended without a word on Ray; free some "
                "memory there and run the same command again, it goes on from there"
            )


def _watched(work: Callable[[], object], job: Job, stage: Stage, show: Progress) -> None:
    """Do `work`, and tell meanwhile what is done of a stage."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    total = sum(stage.weights.values())
    while thread.is_alive():
        show(total - sum(stage.weights[number] for number in stage.left(job)), total, "")
        thread.join(EVERY)
    if failed:
        raise failed[0]


def submit(
    job: Job, shards: Sequence[Shard], arguments: Mapping[str, Any], workers: int, cluster: Mapping[str, Any],
    tell: Callable[[str], None],
) -> bool:  # fmt: skip
    """Hand all that is left to Slurm, as jobs that wait for each other; True: all was done by then.

    Raises:
        InputError: what a task of an earlier submission raised; an address that holds a secret; or no Slurm here.
    """
    order = [*stages(shards), results_stage()]
    at_work = slurm_job(job)
    if at_work is not None:
        done = sum(not stage.left(job) for stage in order)
        tell(f"Slurm is at work (job {at_work}): {done} of {len(order)} stages done; ask again later")
        return False
    job.sweep()
    try:
        for stage in order:
            raise_first(job, stage)
    finally:
        forget_errors(job)  # told once; after that the same command goes on
    for one in arguments["inputs"]:
        if is_address(one) and without_secrets(one) != one:
            raise InputError(
                f"{without_secrets(one)}: the address holds a password or a query, which would lie in the job's files; "
                "give access by the machines' own settings"
            )
    if shutil.which("sbatch") is None:
        raise InputError(
            "there is no sbatch on this machine; submit from one of the cluster's, or leave out --executor"
        )
    executors = _executors()
    chain: list[Any] = []
    options: dict[str, Any] = {"mem_per_cpu_gb": MEMORY}
    activate = Path(sys.prefix) / "bin" / "activate"
    if activate.exists() and not {"env_command", "condaenv"} & set(cluster):
        options["venv_path"] = str(activate)
    for stage in order:
        if not (left := stage.left(job)):
            continue
        processes = min(workers, len(left))
        chain.append(
            executors.SlurmPipelineExecutor(
                pipeline=[Share(stage, arguments, left)],
                tasks=processes,
                workers=processes,
                job_name=f"taggant-{stage.name}",
                logging_dir=_logs(job, stage),
                depends=chain[-1] if chain else None,
                skip_completed=False,
                sbatch_args={"kill-on-invalid-dep": "yes"},  # of what waits for a stage that failed
                **{**options, **cluster},
            )
        )
    if not chain:
        return True
    try:
        chain[-1].run()
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"sbatch refused the job ({type(error).__name__}); see {job.work / 'datatrove'}") from None
    finally:
        if handed_over := [str(one.job_id) for one in chain if one.job_id]:  # also where a later one was refused
            write_json(job.work / SUBMITTED, {"id": handed_over[-1]})
    tell(f"Handed to Slurm (last job {chain[-1].job_id}); the same command tells how far it is, and the results")
    return False


def slurm_job(job: Job) -> str | None:
    """The last Slurm job that was handed over, while Slurm still has it; None: nobody is at work there.

    Raises:
        InputError: Slurm cannot be asked; to go on then might have two processes do the same work.
    """
    record = job.work / SUBMITTED
    if not record.exists():
        return None
    number = str(read_json(record)["id"])
    try:
        found = subprocess.run(
            ["squeue", "--noheader", "--jobs", number], capture_output=True, check=False, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = type(error).__name__
    else:
        if found.returncode == 0:
            return number if found.stdout.strip() else None
        if "invalid job id" in found.stderr.lower():  # it ended a while ago
            return None
        problem = f"squeue ended with {found.returncode}"
    raise InputError(
        f"Slurm was given job {number}, and cannot be asked whether it still runs ({problem}); ask again from one of "
        f"its machines, or, where that job is gone, remove {record}"
    )


def _logs(job: Job, stage: Stage) -> str:
    return str(job.work / "datatrove" / stage.name)


def _executors() -> Any:
    """datatrove's executors; they say nothing here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import datatrove.executor
        from loguru import logger
    except ImportError:
        raise InputError("a cluster needs datatrove; pip install 'taggant[cluster]' installs it") from None
    with suppress(ValueError):
        logger.remove()
    return datatrove.executor
