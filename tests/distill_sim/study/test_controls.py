"""Controls of disjoint sources: a study goes on for them where it was, and writes what a report takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from detect.counting import weigh
from detect.evidence import assess
from detect.observation import Reading
from detect.reports.controls import Controls, Design
from distill_sim import pipeline
from distill_sim.corpus import read_corpus
from distill_sim.stages import CORPUS, READING
from distill_sim.study.cells import FIRST_OWN
from distill_sim.study.controls import CONTROLS_FILE
from distill_sim.study.show import kind_of
from tests.distill_sim.small import inline
from tests.distill_sim.study.small import CONTENT, runner, shrink
from watermark.keys import Key

pytestmark = pytest.mark.usefixtures("one_torch_thread")
EACH = 2
DISJOINT = {**CONTENT, "disjoint": EACH}


def stages(root: Path, kind: str) -> list[Path]:
    return sorted(path for path in (root / "stages").iterdir() if kind_of(path.name) == kind)


def stage(root: Path, name: str) -> Path:
    (found,) = (root / "stages").glob(f"{name}-*")
    return found


def settings_of(stage: Path) -> dict[str, Any]:
    return dict(json.loads((stage / "stage.json").read_text())["settings"])


@pytest.fixture(scope="module")
def whole(finished: Path, owner: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished study, gone on with for its controls. Read only."""
    root = Path(shutil.copytree(finished, tmp_path_factory.mktemp("controls") / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "run_tasks", inline)
        shrink(patch)
        runner(root, owner, DISJOINT).run(quiet=True)
    return root


def test_a_study_without_them_writes_none(finished: Path) -> None:
    assert not (finished / CONTROLS_FILE).exists()


def test_controls_are_written_as_a_report_takes_them(whole: Path, owner: Path) -> None:
    controls = Controls.load(whole / CONTROLS_FILE)
    key = Key.load(owner)
    assert controls.design == Design(
        "reading", "weights", "difference", True, gamma=key.gamma, context_width=key.context_width, alpha=1e-6
    )
    assert "What they share, so that they are no independent sources in this: the teacher" in controls.what
    for one in stages(whole, "examined"):
        reading = Reading.load(stage(whole, settings_of(one)["reading"]) / READING)
        assert reading.with_reference
        assert reading.pairs.contexts.shape[1] == controls.design.context_width
    assert (len(controls.positives), len(controls.negatives)) == (EACH, EACH)
    assert Key.load(owner).short_id in controls.what
    assert "share of marked answers 1)" in controls.what
    found = [settings_of(one)["key_id"] for one in stages(whole, "examined")]
    written = json.loads((whole / CONTROLS_FILE).read_text())
    named = [one["source"].rpartition(" ")[2] for kind in ("positives", "negatives") for one in written[kind]]
    assert sorted(named) == sorted(key_id[:16] for key_id in found)


def test_what_was_detected_is_what_the_reading_says(whole: Path, owner: Path) -> None:
    """Scored again, by hand, under the account's key of each."""
    detected = set()
    accounts = {
        key.key_id: key for key in (Key.load(owner).account(f"account-{FIRST_OWN + i}") for i in range(2 * EACH))
    }
    for one in stages(whole, "examined"):
        settings = settings_of(one)
        reading = Reading.load(stage(whole, settings["reading"]) / READING)
        evidence = assess(weigh(accounts[settings["key_id"]], reading))
        detected |= {settings["key_id"][:16]} if evidence.finding == "detected" else set()
    written = json.loads((whole / CONTROLS_FILE).read_text())
    for kind in ("positives", "negatives"):
        for control in written[kind]:
            assert control["detected"] == (control["source"].rpartition(" ")[2] in detected)


def test_no_two_have_answers_or_probes_or_a_key_in_common(whole: Path) -> None:
    examined = [settings_of(one) for one in stages(whole, "examined")]
    assert len({one["key_id"] for one in examined}) == 2 * EACH
    texts, probes, marked = [], [], 0
    for one in examined:
        reading = settings_of(stage(whole, one["reading"]))
        corpus = settings_of(stage(whole, reading["questioned"]))["corpus"]
        rows = read_corpus(stage(whole, corpus) / CORPUS)
        texts.append({tuple(row.token_ids) for row in rows})
        probes += reading["probes"]
        marked += sum(row.key_id == one["key_id"] for row in rows) > 0
        assert {row.key_id for row in rows} <= {None, one["key_id"]}
    assert marked == EACH
    assert len(set(probes)) == len(probes)
    assert not any(one & other for i, one in enumerate(texts) for other in texts[:i])


def test_those_that_are_finished_are_written(whole: Path, owner: Path, tmp_path: Path) -> None:
    """A study that was killed before its last control."""
    root = Path(shutil.copytree(whole, tmp_path / "copy"))
    last = stages(root, "examined")[0]
    negative = settings_of(last)["key_id"][:16] in str(json.loads((root / CONTROLS_FILE).read_text())["negatives"])
    shutil.rmtree(last)
    runner(root, owner, DISJOINT).status()
    controls = Controls.load(root / CONTROLS_FILE)
    assert (len(controls.positives), len(controls.negatives)) == ((EACH, 1) if negative else (1, EACH))


@pytest.mark.parametrize("value", [0, -1, True, "two", [2]])
def test_a_number_that_is_none_is_refused(value: Any) -> None:
    from distill_sim.study.file import parse_study
    from watermark.errors import InputError

    with pytest.raises(InputError, match=r"^disjoint: .* is not a whole number above 0$"):
        parse_study({"disjoint": value})
