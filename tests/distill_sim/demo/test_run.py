"""The demo, whole and small: what it writes, what it keeps, what it refuses."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from distill_sim.demo import keys, run
from distill_sim.demo.run import run_demo
from distill_sim.pipeline import Event, alone
from distill_sim.stopwatch import kept_seconds
from tests import tiny
from tests.distill_sim.demo.outcome import evidence, nobody, secrets, summary
from tests.distill_sim.small import CONDITION, STAGES
from watermark.errors import InputError
from watermark.keys import Key, derive

pytestmark = pytest.mark.usefixtures("one_torch_thread")


# --- what it writes ---


def test_the_summary_has_what_was_asked_for(finished: Path) -> None:
    content = summary(finished)
    for name in ("teacher_marked", "teacher_unmarked"):
        assert content[name]["text"]["test"] == "text"
    for name in ("student", "control"):
        assert content[name]["sampled"]["test"] == "sampled"
        assert content[name]["reading"]["test"] == "reading"
        lineup = content[name]["reading"]["lineup"]
        assert lineup["decoys"] == CONDITION.decoys
        assert 1 <= lineup["rank"] <= CONDITION.decoys + 1
        assert {"argmax", "green_mass"} <= set(content[name]["reading"]["comparisons"])
    for test in (content[name]["text"] for name in ("teacher_marked", "teacher_unmarked")):
        assert test["key_id"] == content["key"]["key_id"]
        assert -1000 < test["log10_p"] <= 0
    assert content["teacher_marked"]["text"]["log10_p"] < -3 < content["teacher_unmarked"]["text"]["log10_p"]
    assert content["seconds"] > 0
    assert set(content["stages"]) == set(STAGES)
    assert sum(content["stages"].values()) <= content["seconds"] + 0.2
    assert content["fluency"]["marked"]["perplexity"] > 1


def test_the_key_is_this_months_of_one_account_and_committed_to(finished: Path) -> None:
    content = summary(finished)
    owner, account = (Key.load(finished / "keys" / f"{name}.key") for name in ("owner", "account"))
    month = derive(derive(owner._secret, "account", keys.ACCOUNT), "epoch", content["key"]["epoch"])
    assert month == account._secret
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", content["key"]["epoch"])
    assert content["key"]["key_id"] == account.key_id
    assert (account.gamma, account.delta, account.context_width) == (0.25, 2.0, 1)  # the default profile
    published = json.loads((finished / "keys" / "commitment.json").read_text())
    assert {name: content["commitment"][name] for name in published} == published
    assert "timestamp" in content["commitment"]["note"]
    assert content["commitment"]["created"] <= content["created"]
    made = [(finished / "keys" / name).stat().st_mtime_ns for name in ("owner.key", "account.key", "commitment.json")]
    (marked,) = (finished / "stages").glob("marked-*")
    assert made == sorted(made)
    assert made[-1] <= (marked / "corpus.parquet").stat().st_mtime_ns  # committed to before it marked anything
    assert {path.stat().st_mode & 0o777 for path in (finished / "keys").glob("*.key")} == {0o600}


def content_of(path: Path) -> bytes:
    """A file's bytes; of Parquet also every cell and all metadata, unpacked."""
    data = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        data += repr(table.to_pylist()).encode() + repr(table.schema.metadata).encode()
    return data


def test_no_secret_lies_anywhere_but_in_the_key_files(finished: Path) -> None:
    hidden = secrets(finished)
    files = [path for path in finished.rglob("*") if path.is_file()]
    holders = {path.relative_to(finished).as_posix() for path in files if any(s in content_of(path) for s in hidden)}
    assert holders == {"keys/owner.key", "keys/account.key"}
    assert len(files) > 30
    assert sum(path.suffix == ".parquet" for path in files) == 3


def test_nothing_half_finished_is_left(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        *("keys", "stages", "work", "summary.json", "index.html", ".lock", ".demo.lock", ".seconds"),
    }
    assert list((finished / "work").iterdir()) == []
    assert not [path for path in finished.rglob("*") if path.name.endswith(".tmp")]
    assert {path.name.rpartition("-")[0] for path in (finished / "stages").iterdir()} == set(STAGES)


@pytest.mark.usefixtures("unstarted")
def test_a_finished_demo_runs_nothing_again_and_keeps_its_seconds(copy: Path) -> None:
    before, stages = summary(copy), {p: p.stat().st_mtime_ns for p in (copy / "stages").rglob("*")}
    events: list[Event] = []
    (copy / "index.html").unlink()
    run_demo(copy, CONDITION, model=tiny.shared(), on_event=events.append)
    assert [(event.stage, event.kind) for event in events] == [(name, "kept") for name in STAGES]
    after = summary(copy)
    assert after["seconds"] == before["seconds"]
    assert after["stages"] == before["stages"]
    assert evidence(copy)["student"] == before["student"]
    assert {p: p.stat().st_mtime_ns for p in (copy / "stages").rglob("*")} == stages
    assert (copy / "index.html").is_file()


def test_more_decoys_run_one_stage_and_add_seconds(copy: Path) -> None:
    before, kept = summary(copy), kept_seconds(copy / run.SECONDS)
    events: list[Event] = []
    run_demo(copy, replace(CONDITION, decoys=23), model=tiny.shared(), on_event=events.append)
    assert [event.stage for event in events if event.kind == "started"] == ["judged"]
    after = summary(copy)
    assert after["student"]["reading"]["lineup"]["decoys"] == 23
    assert kept < kept_seconds(copy / run.SECONDS) < kept + 60  # the summary's are rounded to a tenth
    assert after["seconds"] == round(kept_seconds(copy / run.SECONDS), 1) >= before["seconds"]
    assert after["student"]["sampled"] == before["student"]["sampled"]


def test_a_command_line_is_kept_as_it_can_be_typed(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/taggant", "demo", "-o", "my runs/a"])
    run_demo(copy, CONDITION, model=tiny.shared(), on_event=nobody)
    assert summary(copy)["command"] == "taggant demo -o 'my runs/a'"


# --- what it refuses ---


@pytest.mark.usefixtures("unstarted")
@pytest.mark.parametrize("stranger", ["thesis.tex", "keys.old"])
def test_a_directory_with_strangers_is_refused_and_left_alone(stranger: str, tmp_path: Path) -> None:
    (tmp_path / stranger).write_text("precious")
    with pytest.raises(InputError, match=f"holds {stranger}, which is not a demo's; choose another"):
        run_demo(tmp_path, CONDITION, model=tiny.shared(), on_event=nobody)
    assert [path.name for path in tmp_path.iterdir()] == [stranger]
    assert (tmp_path / stranger).read_text() == "precious"


@pytest.mark.usefixtures("unstarted")
def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("precious")
    with pytest.raises(InputError, match="already exists"):
        run_demo(tmp_path / "run", CONDITION, model=tiny.shared(), on_event=nobody)


@pytest.mark.usefixtures("unstarted")
def test_a_second_run_at_the_same_time_is_refused_and_adds_no_seconds(copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    with alone(copy, run.LOCK), pytest.raises(InputError, match="another run is at work"):
        run_demo(copy, replace(CONDITION, decoys=5), model=tiny.shared(), on_event=nobody)
    ours = {copy / run.LOCK}
    after = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    assert {path for path in after if before.get(path) != after[path]} <= ours


def test_leftovers_in_the_root_are_removed(copy: Path) -> None:
    for name in (".summary.json.x1.tmp", ".index.html.x2.tmp", "..seconds.x3.tmp", ".keep.me"):
        (copy / name).touch()
    run_demo(copy, CONDITION, model=tiny.shared(), on_event=nobody)
    assert not list(copy.glob(".*.tmp"))
    assert (copy / ".keep.me").exists()
