"""Stages by content: what is run, what is kept, what is left behind, and what is refused."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from distill_sim import pipeline
from distill_sim.pipeline import RECORD, Event, Finished, Pipeline, Stage, alone, run_stage
from tests.distill_sim.conftest import STUB
from tests.distill_sim.processes import REPOSITORY, eventually, in_session, running
from watermark.errors import InputError
from watermark.progress import ignore

JOBS = "tests.distill_sim.jobs"


def stage(name: str, value: int = 1, needs: tuple[str, ...] = (), function: str = "add", **private: Any) -> Stage:
    return Stage(name, f"{JOBS}:{function}", {"value": value}, needs, private=private)


def diamond(log: Path | str = "log", **values: int) -> list[Stage]:
    """a → b, c → d; and e on its own."""
    value = {"a": 1, "b": 10, "c": 100, "d": 1000, "e": 5, **values}
    needs = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ()}
    return [stage(name, value[name], needs[name], log=str(log)) for name in "abcde"]


def here(one: Pipeline) -> dict[str, Finished]:
    """Run every unfinished stage in this process: what a worker does, without starting any."""
    for each in one.stages:
        if not one._finished(each):
            run_stage(one._task(each, set()).arguments, ignore)
    return {each.name: Finished(one.directory(each.name), 0.0) for each in one.stages}


def value(one: Pipeline, name: str) -> Any:
    return json.loads((one.directory(name) / "value.json").read_text())


def runs(log: Path) -> list[str]:
    """Stage names in the order of their runs."""
    return [line.partition("-")[0] for line in log.read_text().splitlines()] if log.exists() else []


# --- identities ---


def test_an_identity_is_the_hash_of_name_function_settings_and_needs() -> None:
    one = Pipeline(Path("/nowhere"), diamond())

    def identity(name: str, value: int, needs: Mapping[str, str]) -> str:
        content = {
            "stage": name,
            "function": f"{JOBS}:add",
            "version": pipeline.VERSION,
            "settings": {"value": value},
            "needs": needs,
        }
        return hashlib.sha256(rfc8785.dumps(content)).hexdigest()

    a = identity("a", 1, {})
    b, c = identity("b", 10, {"a": a}), identity("c", 100, {"a": a})
    assert one.identities == {
        "a": a,
        "b": b,
        "c": c,
        "d": identity("d", 1000, {"b": b, "c": c}),
        "e": identity("e", 5, {}),
    }
    assert one.directory("b") == Path(f"/nowhere/stages/b-{b[:16]}")


@pytest.mark.parametrize(("changed", "downstream"), [("a", "abcd"), ("b", "bd"), ("c", "cd"), ("d", "d"), ("e", "e")])
def test_a_changed_setting_changes_exactly_what_comes_after(changed: str, downstream: str) -> None:
    before, after = (Pipeline(Path("/x"), diamond(**values)).identities for values in ({}, {changed: 77}))
    assert {name for name in before if before[name] != after[name]} == set(downstream)


def test_the_order_of_settings_and_private_values_changes_nothing() -> None:
    a = Stage("s", "m:f", {"x": 1, "y": [1.5, None]}, private={"key": "/here"})
    b = Stage("s", "m:f", {"y": [1.5, None], "x": 1}, private={"key": "/elsewhere"})
    assert Pipeline(Path("/x"), [a]).identities == Pipeline(Path("/y"), [b]).identities
    for other in (
        replace(a, function="m:g"),
        replace(a, settings={"x": 1, "y": [1.5, 0]}),
        replace(a, settings={"x": 1}),
        replace(a, name="t"),
    ):
        assert set(Pipeline(Path("/x"), [other]).identities.values()) != set(
            Pipeline(Path("/x"), [a]).identities.values()
        )


def test_a_new_version_of_the_stages_runs_all_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Pipeline(Path("/x"), diamond()).identities
    monkeypatch.setattr(pipeline, "VERSION", pipeline.VERSION + 1)
    after = Pipeline(Path("/x"), diamond()).identities
    assert not set(before.values()) & set(after.values())


def test_a_revision_of_one_stage_runs_it_and_what_needs_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [stage("a"), replace(stage("b", needs=("a",)), function="m:f"), stage("c", needs=("b",)), stage("d")]
    before = Pipeline(Path("/x"), stages).identities
    monkeypatch.setitem(pipeline.REVISIONS, "m:f", 1)
    after = Pipeline(Path("/x"), stages).identities
    assert {name for name in before if before[name] != after[name]} == {"b", "c"}


def test_revised_stages_exist() -> None:
    for function in pipeline.REVISIONS:
        assert callable(pipeline.resolve(function))


def test_a_stage_comes_after_those_it_needs_and_names_are_unique() -> None:
    with pytest.raises(ValueError, match="needs b, which does not come before"):
        Pipeline(Path("/x"), [stage("a", needs=("b",)), stage("b")])
    with pytest.raises(ValueError, match="called a"):
        Pipeline(Path("/x"), [stage("a"), stage("b"), stage("a", 2)])


# --- running ---


@pytest.mark.usefixtures("fast_workers")
def test_a_run_and_its_events_and_the_next_run(tmp_path: Path) -> None:
    log, root = tmp_path / "log", tmp_path / "deep" / "root"
    one = Pipeline(root, diamond(log))
    assert not one.is_finished()
    events: list[Event] = []
    finished = one.run(2, 1, events.append)
    assert {name: value(one, name) for name in "abcde"} == {"a": 1, "b": 11, "c": 101, "d": 1112, "e": 5}
    assert sorted(runs(log)) == [*"abcde"]
    assert {(e.stage, e.kind) for e in events} == {(n, k) for n in "abcde" for k in ("started", "finished")}
    assert {name: done.directory for name, done in finished.items()} == {n: one.directory(n) for n in "abcde"}
    assert all(0 <= done.seconds < 30 for done in finished.values())
    assert list((root / "work").iterdir()) == []
    assert one.is_finished()
    events.clear()
    again = Pipeline(root, diamond(log)).run(2, 1, events.append)
    assert again == finished
    assert events == [Event(name, "kept", 1.0, "", 0.0) for name in "abcde"]
    assert len(runs(log)) == 5


@pytest.mark.usefixtures("fast_workers")
def test_only_what_is_not_there_runs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    here(Pipeline(tmp_path / "root", diamond(log)))
    log.unlink()
    one = Pipeline(tmp_path / "root", diamond(log, b=20))
    events: list[Event] = []
    one.run(1, 1, events.append)
    assert runs(log) == ["b", "d"]
    assert [e.stage for e in events if e.kind == "kept"] == ["a", "c", "e"]
    assert value(one, "d") == 1122
    assert value(Pipeline(tmp_path / "root", diamond(log)), "d") == 1112  # the earlier result is still there


@pytest.mark.usefixtures("fast_workers")
def test_a_stage_that_fails_leaves_nothing_but_its_work_and_goes_on_from_there(tmp_path: Path) -> None:
    stages = [stage("first", log=str(tmp_path / "log")), stage("half", needs=("first",), function="half")]
    one = Pipeline(tmp_path / "root", stages)
    for attempt in (1, 2):
        with pytest.raises(InputError, match=f"try {attempt}"):
            one.run(1, 1, lambda event: None)
        assert [path.name for path in (tmp_path / "root" / "stages").iterdir()] == [one.directory("first").name]
        assert not one.is_finished()
    one.run(1, 1, lambda event: None)
    assert value(one, "half") == 3
    assert runs(tmp_path / "log") == ["first"]
    assert list((tmp_path / "root" / "work").iterdir()) == []


def test_seconds_of_all_tries_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 2.5  # whatever a stage does takes 2.5 s more by this clock
        return now[0]

    monkeypatch.setattr("distill_sim.stopwatch.time.monotonic", clock)
    one = Pipeline(tmp_path, [stage("half", function="half")])
    arguments = one._task(one.stages[0], set()).arguments
    work = Path(arguments["work"]) / "seconds.json"
    kept = []
    for _ in range(2):
        with pytest.raises(InputError):
            run_stage(arguments, ignore)
        kept.append(json.loads(work.read_text()))
    assert 0 < kept[0] < kept[1]
    seconds = run_stage(arguments, ignore)
    assert seconds > kept[1]
    assert one._record(one.stages[0]).seconds == seconds


# --- what lies on disk ---


def test_the_record_says_what_was_done(tmp_path: Path) -> None:
    one = Pipeline(tmp_path, [stage("s", 4, function="two_files")])
    here(one)
    record = json.loads((one.directory("s") / RECORD).read_text())
    assert record.pop("seconds") >= 0
    assert record == {
        "identity": one.identities["s"],
        "function": f"{JOBS}:two_files",
        "settings": {"value": 4},
        "files": {"b.txt": 1, "deep/a.bin": 100},
        "sha256": {
            "b.txt": hashlib.sha256(b"b").hexdigest(),
            "deep/a.bin": hashlib.sha256(bytes(100)).hexdigest(),
        },
    }


def damage_record(directory: Path, content: bytes) -> None:
    (directory / RECORD).write_bytes(content)


def relink(path: Path) -> None:
    """Another file of the same size."""
    path.unlink()
    path.with_suffix(".other").write_text("c")
    path.symlink_to(path.with_suffix(".other").rename(path.parents[2] / "other"))


DAMAGES: dict[str, Any] = {
    "no record": lambda d: (d / RECORD).unlink(),
    "empty record": lambda d: damage_record(d, b""),
    "cut record": lambda d: damage_record(d, (d / RECORD).read_bytes()[:40]),
    "a list": lambda d: damage_record(d, b"[]"),
    "a number": lambda d: damage_record(d, b"3"),
    "no seconds": lambda d: damage_record(d, b'{"identity": "x"}'),
    "wrong seconds": lambda d: damage_record(d, b'{"identity": "x", "seconds": {}}'),
    "another identity": lambda d: damage_record(d, b'{"identity": "x", "seconds": 1}'),
    "a file is missing": lambda d: (d / "b.txt").unlink(),
    "a file was cut short": lambda d: (d / "deep" / "a.bin").write_bytes(bytes(99)),
    "a file too many": lambda d: (d / "more").touch(),
    "a file was changed": lambda d: (d / "b.txt").write_text("c"),
    "a file is gone and a link there": lambda d: relink(d / "b.txt"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_refused_with_what_to_do(damage: str, tmp_path: Path) -> None:
    one = Pipeline(tmp_path, [stage("s", function="two_files")])
    here(one)
    assert one.is_finished()
    DAMAGES[damage](one.directory("s"))
    for look in (one.is_finished, lambda: one.run(1, 1, lambda event: None)):
        with pytest.raises(InputError, match="damaged; remove that directory") as caught:
            look()
        assert str(one.directory("s")) in str(caught.value)
    with alone(tmp_path):  # the lock was given back
        pass


@pytest.mark.usefixtures("fast_workers")
def test_a_large_file_is_read_again_only_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "LARGE", 99)
    first = stage("s", function="two_files")
    one = Pipeline(tmp_path, [first])
    here(one)
    (one.directory("s") / "deep" / "a.bin").write_bytes(bytes(99) + b"x")
    assert one.is_finished()  # quickly said
    one.run(1, 1, lambda event: None)
    more = Pipeline(tmp_path, [first, stage("next", needs=("s",), log=str(tmp_path / "log"))])
    with pytest.raises(InputError, match="damaged; remove that directory") as caught:
        more.run(1, 1, lambda event: None)
    assert str(one.directory("s")) in str(caught.value)
    assert not (tmp_path / "log").exists()
    Pipeline(tmp_path, [first, stage("other", log=str(tmp_path / "log"))]).run(1, 1, lambda event: None)
    assert runs(tmp_path / "log") == ["other"]  # which does not read it


def test_a_file_where_a_result_should_be(tmp_path: Path) -> None:
    one = Pipeline(tmp_path, [stage("s")])
    (tmp_path / "stages").mkdir()
    one.directory("s").write_text("")
    with pytest.raises(InputError, match="damaged"):
        one.is_finished()


def test_leftovers_of_killed_runs_are_removed_and_other_work_is_not(tmp_path: Path) -> None:
    log = tmp_path / "log"
    one = Pipeline(tmp_path / "root", [stage("a", log=str(log))])
    here(one)
    leftover = tmp_path / "root" / "stages" / f".{one.directory('a').name}.x8s.tmp"
    (leftover / "deep").mkdir(parents=True)
    just_finished = tmp_path / "root" / "work" / one.directory("a").name  # killed between result and this removal
    other = tmp_path / "root" / "work" / "b-0123456789abcdef"
    for directory in (just_finished, other):
        directory.mkdir(parents=True)
        (directory / "journal").touch()
    one.run(1, 1, lambda event: None)
    assert not leftover.exists()
    assert not just_finished.exists()
    assert (other / "journal").exists()
    assert value(one, "a") == 1


def test_the_same_root_is_not_worked_on_twice_at_once(tmp_path: Path) -> None:
    one = Pipeline(tmp_path / "root", [stage("a", log=str(tmp_path / "log"))])
    with alone(tmp_path / "root"):
        with pytest.raises(InputError, match=r"another run is at work in .*root"):
            one.run(1, 1, lambda event: None)
        with alone(tmp_path / "root", ".other"):
            pass
    assert runs(tmp_path / "log") == []
    assert not (tmp_path / "root" / "stages").exists()
    with (tmp_path / "root" / ".lock").open("w") as handle:  # as any other program sees it
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(InputError, match="another run"), alone(tmp_path / "root"):
            raise AssertionError


def test_a_lock_is_a_plain_file_of_ours_and_is_never_emptied(tmp_path: Path) -> None:
    target = tmp_path / "exhibit"
    target.write_text("precious")
    (tmp_path / ".lock").symlink_to(target)
    with pytest.raises(InputError, match="is a symbolic link, which is not followed"), alone(tmp_path):
        raise AssertionError
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").hardlink_to(target)
    with alone(tmp_path):
        assert target.read_text() == "precious"
    with alone(tmp_path, ".other"):
        assert (tmp_path / ".other").stat().st_mode & 0o777 == 0o600


PROGRAM = """
import sys
from pathlib import Path
from distill_sim.pipeline import Pipeline
from tests.distill_sim.test_pipeline import held
if __name__ == "__main__":
    Pipeline(Path(sys.argv[1]), held(sys.argv[2])).run(1, 1, lambda event: print(event.stage, event.kind, flush=True))
"""


def held(log: str) -> list[Stage]:
    return [stage("a", log=log), stage("stuck", needs=("a",), function="stuck", log=log)]


@pytest.mark.usefixtures("fast_workers")
@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_a_killed_process_frees_the_root_and_its_leftovers_go(tmp_path: Path) -> None:
    program, log, root = tmp_path / "program.py", tmp_path / "log", tmp_path / "root"
    program.write_text(PROGRAM)
    arguments = (str(program), str(root), str(log))
    with running(*arguments, path=(STUB, REPOSITORY)) as first:
        eventually(lambda: log.exists() and len(log.read_text().splitlines()) == 2, 60, "it is stuck")
        with running(*arguments, path=(STUB, REPOSITORY)) as second:
            output, errors = second.communicate(timeout=60)
        assert second.returncode != 0
        assert output == ""
        assert "InputError: another run is at work in" in errors
        os.kill(first.pid, signal.SIGKILL)
        first.communicate(timeout=30)
        eventually(lambda: not in_session(first.pid), 2, "its worker ends")
    names = [path.name for path in (root / "stages").iterdir()]
    assert sum(name.startswith(".stuck-") for name in names) == 1  # half a result, under a hidden name
    one = Pipeline(root, [*held(str(log))[:1], stage("b", 5, ("a",), log=str(log))])
    one.run(1, 1, lambda event: None)
    assert sorted(path.name for path in (root / "stages").iterdir()) == sorted(
        one.directory(name).name for name in "ab"
    )
    assert value(one, "b") == 6


@pytest.mark.usefixtures("fast_workers")
def test_an_interrupt_in_a_callback_ends_the_workers_and_frees_the_root(tmp_path: Path) -> None:
    one = Pipeline(tmp_path, [stage("stuck", function="stuck")])

    def interrupt(event: Event) -> None:
        if event.kind == "progress":
            raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        one.run(1, 1, interrupt)
    assert time.monotonic() - begun < 60
    with alone(tmp_path):
        pass
    assert not one.directory("stuck").exists()
