"""A whole study, tiny: what it writes, what it keeps, what it does not do twice, and what it refuses."""

from __future__ import annotations

import json
import stat
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_sim.condition import CONTROLS
from distill_sim.corpus import read_corpus
from distill_sim.pipeline import alone
from distill_sim.stages import CORPUS
from distill_sim.study.file import BASE
from distill_sim.study.portrait import EXAMPLES, LONGEST
from distill_sim.study.run import LOCK
from distill_sim.study.show import kind_of
from distill_sim.survival import FRESH, QUALITY, SURVIVAL, TESTS, read_table
from tests import tiny
from tests.distill_sim.study import small
from tests.distill_sim.study.small import CONTENT, FRESH_KEYS, KEYS, MORE, SEEDS, runner
from tests.watermark.engines.helpers import key_for
from tests.watermark.keys.helpers import assert_one_line
from watermark.engines.models import load_model
from watermark.errors import InputError
from watermark.greenlist import GreenList
from watermark.keys import Key

pytestmark = pytest.mark.usefixtures("one_torch_thread")

CONDITIONS = [BASE, *(f"source={one}" for one in CONTROLS), "answers=8", "after=int8", "after=prune:0.3+heal:8"]


def log(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]


def rows_of(root: Path, **wanted: Any) -> list[dict[str, Any]]:
    rows = read_table(root / SURVIVAL)
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


# --- what it writes ---


def test_a_row_for_every_condition_seed_key_and_test(finished: Path) -> None:
    rows = read_table(finished / SURVIVAL)
    places = Counter((row["condition"], row["seed"], row["key"], row["looked_for"], row["test"]) for row in rows)
    expected = {
        (name, seed, key, "account", test)
        for name in CONDITIONS
        for seed in range(SEEDS)
        for key in range(KEYS)
        for test in TESTS
    }
    assert set(places) == expected
    assert set(places.values()) == {1}


def test_a_row_says_what_was_done_and_what_was_counted(finished: Path) -> None:
    conditions = small.study().conditions
    owner = Key.load(finished / "keys" / "owner.key")
    for row in read_table(finished / SURVIVAL):
        condition = conditions[row["condition"]]
        assert (row["answers"], row["source"], tuple(row["after"])) == (
            condition.answers, condition.source, condition.after,
        )  # fmt: skip
        assert row["exposed"] == (condition.source == "account")
        assert not row["licensed"]
        assert row["key_id"] == owner.account(f"account-{row['key']}").key_id
        assert (row["marked_tokens"] > 0) == row["exposed"]
        assert row["marked_tokens"] in (0, row["trained_tokens"])  # one epoch, share 1
        assert row["log10_p"] <= 0
        judged = row["test"] in ("text", "reading", "sampled")
        assert (row["finding"] is not None) == (row["log10_p_adjusted"] is not None) == judged
        if row["test"] in ("reading", "sampled"):
            assert row["log10_p_adjusted"] >= row["log10_p"]


def test_the_mark_is_in_the_marked_text_alone(finished: Path) -> None:
    for row in rows_of(finished, test="text"):
        assert (row["log10_p"] < -6) == row["exposed"], row["condition"]


def test_less_of_the_answers_is_a_part_of_more(finished: Path) -> None:
    (less,), (more,) = (rows_of(finished, condition=name, key=0, test="text") for name in ("answers=8", BASE))
    assert 0 < less["marked_tokens"] < more["marked_tokens"]
    assert less["n_tokens"] < more["n_tokens"]


def test_conditions_with_the_same_student_were_trained_once(finished: Path) -> None:
    students = list((finished / "stages").glob("student-*"))
    # base and dose under 2 keys, controls: unmarked, human, and another owner's under 2
    assert len(students) == 2 * 2 + 2 + 2


def test_fresh_keys_of_every_control_and_of_one_other_student(finished: Path) -> None:
    rows = read_table(finished / FRESH)
    # 15 keys × reading, sampled, argmax, distinct_pairs; another owner has another student under each key
    names = ["source=unmarked", "source=human", *(f"source=another-owner, key {key}" for key in range(KEYS))]
    names.append(f"{BASE}, key 0")  # one student that met the mark
    assert Counter(row["condition"] for row in rows) == dict.fromkeys(names, SEEDS * 4 * FRESH_KEYS)
    assert {row["number"] for row in rows} == set(range(FRESH_KEYS))
    assert {row["test"] for row in rows} == {"reading", "sampled", "argmax", "distinct_pairs"}
    assert len({row["log10_p"] for row in rows}) > 50


def test_what_the_mark_cost(finished: Path) -> None:
    rows = read_table(finished / QUALITY)
    measures = {row["measure"] for row in rows}
    assert {"perplexity", "tokens_per_answer", "held_out_nats"} <= measures
    assert len(rows) == len(CONDITIONS) * SEEDS * len(measures)
    assert {row["key"] for row in rows} == {0}  # under the first key alone
    for row in rows:
        if row["measure"] in ("held_out_nats", "cloze_accuracy") or row["measure"].startswith("written_"):
            assert row["unmarked"] is not None  # of the model it started from
        elif row["condition"] == "source=unmarked":
            assert row["unmarked"] is None  # it is the counterpart itself
        elif row["measure"] == "perplexity":
            assert row["unmarked"] is not None


def test_the_description_and_the_page(finished: Path, owner: Path) -> None:
    study = json.loads((finished / "study.json").read_text())
    assert (study["schema"], study["title"], study["scale"]) == ("taggant-study/1", "A tiny study", "nano")
    assert (study["seeds"], study["keys"], study["fresh_keys"]) == (SEEDS, KEYS, FRESH_KEYS)
    assert [one["name"] for one in study["series"]] == ["dose", "after"]
    assert study["series"][0]["conditions"] == ["answers=8", BASE]
    assert study["base"]["answers"] == 16
    assert study["reference"] == BASE
    assert set(study["models"]) == {"teacher"}
    weights = load_model(tiny.shared())
    assert study["models"]["teacher"]["parameters"] == sum(one.numel() for one in weights.parameters())
    assert study["models"]["teacher"]["layers"] == weights.config.num_hidden_layers
    assert json.loads((finished / "summary.json").read_text())["study"]["title"] == "A tiny study"
    assert "A tiny study" in (finished / "index.html").read_text()


def test_answers_to_look_at_are_kept(finished: Path) -> None:
    """Marked and unmarked, to the same prompts."""
    shown = json.loads((finished / "study.json").read_text())["examples"]
    assert len(shown) == EXAMPLES
    texts: dict[bool, dict[str, set[str]]] = {True: {}, False: {}}
    for stage in (finished / "stages").glob("corpus-*"):
        for row in read_corpus(stage / CORPUS):
            texts[row.marked].setdefault(row.prompt[:LONGEST], set()).add(row.text[:LONGEST])
    for one in shown:
        assert one["marked"] in texts[True][one["prompt"]]
        assert one["unmarked"] in texts[False][one["prompt"]]
        assert one["marked"] != one["unmarked"]


def test_tokens_of_the_answers_have_their_colours(finished: Path) -> None:
    """Against a count of the same corpora, pair by pair, under the key that the corpus names."""
    rows = [row for stage in (finished / "stages").glob("corpus-*") for row in read_corpus(stage / CORPUS)]
    keys = {key.key_id: key for path in (finished / "keys").glob("*-*.key") if (key := Key.load(path))}
    for one in json.loads((finished / "study.json").read_text())["examples"]:
        marked, unmarked = (
            next(row for row in rows if row.prompt[:LONGEST] == one["prompt"] and row.text[:LONGEST] == one[kind])
            for kind in ("marked", "unmarked")
        )
        key = keys[str(marked.key_id)]
        for row, tokens in ((marked, one["marked_tokens"]), (unmarked, one["unmarked_tokens"])):
            assert "".join(text for text, _ in tokens).startswith(row.text[: LONGEST // 2])
            seen: set[tuple[int, int]] = set()
            for at, (_, colour) in enumerate(tokens):
                pair = row.token_ids[at - 1], row.token_ids[at]
                if colour in ("green", "red"):
                    (green,) = GreenList(key).is_green(np.array([[pair[0]]]), np.array([pair[1]]))
                    assert (colour == "green") == green
                    assert at > 0
                    assert pair not in seen
                elif colour == "repeated":
                    assert pair in seen
                seen.add(pair)
            assert tokens[0][1] == "start"
            assert {"green", "red"} <= {colour for _, colour in tokens}


def test_nothing_secret_leaves_the_key_files(finished: Path) -> None:
    secrets = set()
    for path in (finished / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        key = Key.load(path)
        secrets |= {key._secret, key.chacha_key, key._secret.hex().encode(), key.chacha_key.hex().encode()}
    seen = [path for path in finished.rglob("*") if path.is_file() and path.parent.name != "keys"]
    assert len(seen) > 200
    for path in seen:
        if path.suffix != ".safetensors":
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path


def test_the_log_has_every_stage_begun_and_finished(finished: Path) -> None:
    events = log(finished)
    names = {path.name.rpartition("-")[0] for path in (finished / "stages").iterdir()}
    for kind in ("started", "finished"):
        assert Counter(one["stage"] for one in events if one["event"] == kind) == dict.fromkeys(names, 1)
    assert [one["time"] for one in events] == sorted(one["time"] for one in events)
    assert list((finished / "work").iterdir()) == []


# --- again ---


def test_a_second_run_runs_nothing_and_writes_the_same(copy: Path, owner: Path, started: list[str]) -> None:
    before = {name: (copy / name).read_bytes() for name in (SURVIVAL, FRESH, QUALITY)}
    lines = (copy / "log.jsonl").read_bytes()
    runner(copy, owner).run(quiet=True)
    runner(copy, None).run(quiet=True)  # its own key is there
    assert started == []
    assert {name: (copy / name).read_bytes() for name in before} == before
    assert (copy / "log.jsonl").read_bytes() == lines


def test_a_study_that_grew_runs_only_what_is_new(copy: Path, owner: Path, started: list[str]) -> None:
    before = rows_of(copy)
    runner(copy, owner, MORE).run(quiet=True)
    assert Counter(map(kind_of, started)) == {
        "marked": 1, "corpus": 1, "student": 1, "reading": 1, "asked": 1, "excess": 1, "judged": 1, "quality": 1,
    }  # fmt: skip
    rows = rows_of(copy)
    assert [row for row in rows if row["condition"] != "source=licensed"] == before
    licensed = rows_of(copy, condition="source=licensed")
    assert {(row["looked_for"], row["test"]) for row in licensed} == {
        (role, test) for role in ("account", "licensed") for test in TESTS
    }
    assert all(row["licensed"] and row["exposed"] for row in licensed)
    (own,) = (row for row in licensed if row["looked_for"] == "licensed" and row["test"] == "text")
    (other,) = (row for row in licensed if row["looked_for"] == "account" and row["test"] == "text")
    assert own["marked_tokens"] > 0 == other["marked_tokens"]
    assert own["log10_p"] < -6 < other["log10_p"]


def test_a_study_that_shrank_shows_what_is_asked_for(copy: Path, owner: Path, started: list[str]) -> None:
    runner(copy, owner, {**CONTENT, "keys": 1, "vary": CONTENT["vary"][:1]}).run(quiet=True)
    assert started == []
    assert {row["condition"] for row in rows_of(copy)} == set(CONDITIONS) - {"after=int8", "after=prune:0.3+heal:8"}
    assert {row["key"] for row in rows_of(copy)} == {0}


# --- how far it is ---


def test_the_status_of_a_finished_study(copy: Path, started: list[str]) -> None:
    status = runner(copy, None).status()
    assert status.finished == status.total
    assert sum(status.total.values()) == len(list((copy / "stages").iterdir()))
    assert status.total["student"] == 8
    assert started == []


def test_a_later_look_leaves_what_is_said_of_the_run(copy: Path, started: list[str]) -> None:
    """Who looks on another machine, or a year later, did not carry it out."""
    path = copy / "study.json"
    before = {**json.loads(path.read_text()), "created": "2020-01-01T00:00:00+00:00", "versions": {"torch": "0"}}
    path.write_text(json.dumps(before))
    runner(copy, None).status()
    after = json.loads(path.read_text())
    kept = ("command", "created", "versions", "machine", "seconds")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert after["owner_key_id"] == Key.load(copy / "keys" / "owner.key").key_id


def test_the_status_of_a_study_on_its_way(copy: Path, started: list[str]) -> None:
    for path in (copy / "stages").glob("judged-*"):
        if path != min((copy / "stages").glob("judged-*")):
            (path / "stage.json").unlink()
            (path / "rows.json").unlink()
            path.rmdir()
    whole = rows_of(copy)
    status = runner(copy, None).status()
    assert status.finished == {**status.total, "judged": 1}
    assert status.total["judged"] == len(CONDITIONS) * SEEDS * KEYS
    found = rows_of(copy)
    assert len(found) == len(TESTS)
    assert all(row in whole for row in found)
    assert started == []


def test_the_status_of_a_study_without_a_row_yet(copy: Path, started: list[str]) -> None:
    """Nothing to show is no fault."""
    for path in (copy / "stages").glob("judged-*"):
        (path / "stage.json").unlink()
        (path / "rows.json").unlink()
        path.rmdir()
    status = runner(copy, None).status()
    assert status.finished["judged"] == 0
    assert status.finished["student"] == status.total["student"]
    assert started == []


def test_the_status_of_what_was_never_begun(tmp_path: Path, started: list[str]) -> None:
    with pytest.raises(InputError, match="no study") as caught:
        runner(tmp_path / "run", None).status()
    assert_one_line(caught.value)
    assert list(tmp_path.iterdir()) == []


# --- what it refuses ---


@pytest.mark.parametrize("stranger", ["thesis.tex", "keys.old"])
def test_a_directory_with_strangers_is_refused_and_left_alone(stranger: str, owner: Path, tmp_path: Path) -> None:
    (tmp_path / stranger).write_text("precious")
    with pytest.raises(InputError, match=f"holds {stranger}, which is not a study's; choose another") as caught:
        runner(tmp_path, owner).run(quiet=True)
    assert_one_line(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [stranger]


def test_a_file_in_the_place_of_the_directory(owner: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("precious")
    with pytest.raises(InputError, match="is not a directory; choose another"):
        runner(tmp_path / "run", owner).run(quiet=True)
    assert (tmp_path / "run").read_text() == "precious"


def test_another_run_is_at_work(copy: Path, owner: Path, started: list[str]) -> None:
    before = (copy / ".seconds").read_bytes()
    with alone(copy, LOCK), pytest.raises(InputError, match="another run is at work"):
        runner(copy, owner, MORE).run(quiet=True)
    assert started == []
    assert (copy / ".seconds").read_bytes() == before


def test_another_owners_key(copy: Path, tmp_path: Path, started: list[str]) -> None:
    key_for(number=44).save(tmp_path / "other.key")
    with pytest.raises(InputError, match="this study began with it; choose another directory"):
        runner(copy, tmp_path / "other.key").run(quiet=True)
    assert started == []


def test_a_result_that_was_changed(copy: Path, owner: Path, started: list[str]) -> None:
    damaged = min((copy / "stages").glob("judged-*"))
    (damaged / "rows.json").write_text("[]")
    with pytest.raises(InputError, match=f"{damaged.name} is damaged; remove that directory") as caught:
        runner(copy, owner).run(quiet=True)
    assert_one_line(caught.value)
    assert started == []


def test_a_stage_that_refuses_its_input_stops_the_study(owner: Path, tmp_path: Path, started: list[str]) -> None:
    content = {**CONTENT, "base": {**CONTENT["base"], "layers": 9}, "vary": [], "keys": 1}
    with pytest.raises(InputError, match="layers is 9, but the model has 3") as caught:
        runner(tmp_path / "run", owner, content).run(quiet=True)
    assert_one_line(caught.value)
    assert not list((tmp_path / "run" / "stages").glob(".*"))
    ended = log(tmp_path / "run")
    assert ended[-1]["event"] == "started"
    assert ended[-1]["stage"] == started[-1]
