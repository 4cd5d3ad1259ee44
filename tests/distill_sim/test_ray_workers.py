"""The promises of `run_tasks`, kept by a real Ray on this machine."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detect.ray import HERE, _in, load_ray
from detect.workers import Task, Update, WorkerDiedError
from distill_sim import ray_workers
from distill_sim.pipeline import Event, Pipeline
from distill_sim.ray_workers import run_tasks_on_ray
from tests.distill_sim.conftest import STUB
from tests.distill_sim.processes import REPOSITORY, eventually, running
from tests.distill_sim.test_pipeline import diamond, runs, value
from tests.distill_sim.test_workers import EXPECTED, logged, task
from watermark.errors import InputError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'taggant[ray]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray of two processors for most tests: starting one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        load_ray()
        before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}
        with _in(HERE):
            ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 << 20)
        yield
        ray.shutdown()
        for name, handler in before.items():
            signal.signal(name, handler)


def run(tasks: list[Task], workers: int = 1, threads: int = 1) -> list[Update]:
    return list(run_tasks_on_ray(tasks, workers, threads))


@pytest.mark.usefixtures("cluster", "fast_workers")
def test_two_workers_work_side_by_side_and_dependents_wait(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    first, second = (task(name, log=log, sleep=1.0) for name in "ab")
    tasks = [
        task("c", needs=("a", "b"), log=log, result=2.5),
        first,
        second,
        task("d", "threads"),
        task("e", "chatter"),
    ]
    updates = run(tasks, workers=2, threads=3)
    at = {(entry[0], entry[1]): entry[2] for entry in logged(tmp_path / "log")}
    processes = {entry[1]: entry[3] for entry in logged(tmp_path / "log")}
    assert processes["a"] != processes["b"]
    assert os.getpid() not in processes.values()
    assert max(at["begin", "a"], at["begin", "b"]) < min(at["end", "a"], at["end", "b"])
    assert at["begin", "c"] >= max(at["end", "a"], at["end", "b"])
    assert [update for update in updates if update[0] == "c"] == [
        ("c", "started", 0.0, "", 0.0),
        ("c", "progress", 0.25, "a quarter", 0.0),
        ("c", "finished", 1.0, "", 2.5),
    ]
    assert ("d", "finished", 1.0, "", 3.0) in updates  # threads reach torch and OMP_NUM_THREADS
    assert 2 <= sum(update[:2] == ("e", "progress") for update in updates) <= 5  # in 0.7 seconds
    assert ray.is_initialized()  # it was not ours to end


@pytest.mark.usefixtures("cluster", "fast_workers")
@pytest.mark.parametrize("name", ["input", "full", "other"])
def test_an_error_ends_the_run(name: str, tmp_path: Path) -> None:
    kind, words = EXPECTED[name]
    tasks = [task("s", "fail", error=name), task("later", log=str(tmp_path / "log"))]
    with pytest.raises(kind, match=words) as caught:
        run(tasks)
    assert type(caught.value) is kind
    assert not (tmp_path / "log").exists()


@pytest.mark.usefixtures("cluster", "fast_workers")
@pytest.mark.parametrize(("function", "arguments"), [("die", {"how": "kill"}), ("fail", {"error": "leave"})])
def test_a_worker_that_dies_is_not_started_again(function: str, arguments: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(WorkerDiedError, match=r"stage s: its Ray worker ended .* run the same command again"):
        run([task("s", function, **arguments), task("later", log=str(tmp_path / "log"))])
    assert not (tmp_path / "log").exists()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.usefixtures("cluster", "fast_workers")
def test_an_error_and_leaving_early_end_the_others(tmp_path: Path) -> None:
    log = tmp_path / "pids"
    updates = run_tasks_on_ray([task("slow", "hang", log=str(log))], 1, 1)
    assert next(updates) == ("slow", "started", 0.0, "", 0.0)
    assert next(updates)[1] == "progress"
    eventually(log.exists, 10, "at work")
    updates.close()
    eventually(lambda: not alive(int(log.read_text())), 5, "the worker's end")


@pytest.mark.usefixtures("cluster", "fast_workers")
def test_workers_the_cluster_has_no_room_for_are_refused_and_not_waited_for() -> None:
    with pytest.raises(InputError, match=r"no Ray worker started within 1 s; free are 2 processors and 0 GPUs"):
        list(run_tasks_on_ray([task("s", "log")], 1, 1, gpus=1, patience=1.0))


@pytest.mark.usefixtures("cluster", "fast_workers")
def test_relative_paths_mean_the_same_there_and_modules_are_not_looked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    (tmp_path / "statistics.py").write_text("raise SystemExit")
    assert run([task("s", log="log"), task("e", "elsewhere")])[-1] == ("e", "finished", 1.0, "", 1.0)
    assert len(logged(tmp_path / "log")) == 2


@pytest.mark.usefixtures("cluster", "fast_workers")
def test_a_pipeline_runs_on_it_as_it_runs_here(tmp_path: Path) -> None:
    log, events = tmp_path / "log", []
    one = Pipeline(tmp_path / "run", diamond(log))

    def note(event: Event) -> None:
        events.append((event.stage, event.kind))

    finished = one.run(2, 1, note, executor=run_tasks_on_ray)
    assert (value(one, "d"), value(one, "e")) == (1112, 5)
    assert sorted(runs(log)) == [*"abcde"]
    assert set(finished) == set("abcde")
    assert {event for event in events if event[1] == "finished"} == {(name, "finished") for name in "abcde"}
    events.clear()
    one.run(2, 1, note)  # and elsewhere nothing is left to do
    assert events == [(name, "kept") for name in "abcde"]


def test_what_is_refused_before_ray_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "load_ray", None)  # calling it would fail otherwise
    assert run([]) == []
    with pytest.raises(ValueError, match="circle"):
        run([task("a", needs=("a",))])
    with pytest.raises(ValueError, match="0 workers"):
        run([task("a")], workers=0)


def test_without_ray_the_way_to_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'taggant\[ray\]'"):
        run([task("a")])


PROGRAM = """
import sys
from pathlib import Path
from distill_sim.pipeline import Pipeline, Stage
from distill_sim.ray_workers import run_tasks_on_ray
root, function = Path(sys.argv[1]), sys.argv[2]
log = {"log": str(root / "log")}
stages = [Stage("a", "tests.distill_sim.jobs:add", {"value": 1}, private=log),
          Stage("b", "tests.distill_sim.jobs:stuck_until", {"value": 2}, ("a",),
                private={**log, "go": str(root / "go")})]
def note(event):
    print(event.stage, event.kind, flush=True)
if __name__ == "__main__":
    Pipeline(root, stages).run(1, 1, note, executor=run_tasks_on_ray)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_killed_and_started_again_it_goes_on(tmp_path: Path) -> None:
    """The program's own Ray dies with it; no finished stage runs twice, and what was half done is done again."""
    (tmp_path / "program.py").write_text(PROGRAM)
    root = tmp_path / "run"
    root.mkdir()
    arguments, path = (str(tmp_path / "program.py"), str(root), ""), (STUB, REPOSITORY)
    with running(*arguments, path=path, environment={"RAY_ADDRESS": "local"}) as program:
        eventually(lambda: (root / "work").exists() and bool(list(root.glob("work/b-*/pid"))), 60, "b at work")
        worker = int(next(iter(root.glob("work/b-*/pid"))).read_text())
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
        eventually(lambda: not alive(worker), 10, "the worker's end")
    (root / "go").touch()
    with running(*arguments, path=path, environment={"RAY_ADDRESS": "local"}) as program:
        output, errors = program.communicate(timeout=90)
    assert output.splitlines() == ["a kept", "b started", "b finished"], errors
    assert runs(root / "log") == ["a", "b", "b"]
    assert json.loads(next(iter(root.glob("stages/b-*/value.json"))).read_text()) == 3
    assert [path.name for path in root.glob("stages/.*")] == []
