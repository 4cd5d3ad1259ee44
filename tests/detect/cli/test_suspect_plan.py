"""`suspect --plan`: a plan is carried out, checked before anything is asked, and only then a result is confirmatory."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.evidence import CHECKED_NOTE, EXPLORATORY_NOTE, KEY_CHECK_NOTE
from detect.exact.binomial import log10_sf
from detect.keycheck import KeyCheck, check_path
from detect.plans.plan import UNCOMMITTED_NOTE, Plan
from tests.detect.cli.helpers import EVIDENCE, EXECUTABLE, LINEUP, SPEECH, Cli, environment, names, save_key, write_rows
from tests.detect.questioned import table_model
from tests.detect.questioned.fake_server import FakeServer, Question
from tests.detect.test_sequential import in_a_loop
from tests.watermark.engines.helpers import tokenizer
from watermark import Key
from watermark.engines.chat import chat_prompt_ids
from watermark.greenlist import GreenList
from watermark.keys import UNTIMESTAMPED_NOTE

pytestmark = pytest.mark.usefixtures("here", "unconfigured")
PROMPTS = ("Where is the sea?", "Who counted the coins?", "What fell on the harbour?")
EASY = ("--effect", 0.5, "--decoys", 9)  # fixed n 132, maximum 212


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])


@pytest.fixture
def account(cli: Cli, text_key: Path, tmp_path: Path) -> Path:
    """The key of an account that was committed to; `committed` gives the options that show it."""
    three = [part for name in "abc" for part in ("--account", name)]
    where = ["-o", tmp_path / "commitment.json", "--leaves", tmp_path / "leaves.json"]
    assert cli("key", "commit", text_key, *three, *where).code == 0
    assert cli("key", "derive", text_key, "--account", "b", "-o", tmp_path / "b.key").code == 0
    return tmp_path / "b.key"


@pytest.fixture
def committed(tmp_path: Path) -> list[object]:
    return ["--commitment", tmp_path / "commitment.json", "--leaves", tmp_path / "leaves.json"]


def planned(cli: Cli, path: Path, key: Path, probes: Path, *options: object) -> Path:
    result = cli("plan", "-o", path, "--key", key, "--probes", probes, *EASY, *options, "-q")
    assert result.code == 0, result
    return path


@pytest.fixture
def plan(cli: Cli, account: Path, committed: list[object], prompts: Path, tmp_path: Path) -> Path:
    return planned(cli, tmp_path / "plan.json", account, prompts, *committed)


def asking(server: FakeServer | str, key: Path, plan: Path, probes: Path, *more: object) -> list[object]:
    url = server if isinstance(server, str) else server.url
    where = ["--api", url, "--model-name", "m", "--plan", plan]
    return ["suspect", "--key", key, "--probes", probes, *where, *more]


def written(key_file: Path, share: float) -> Any:
    """Text of a model that takes a green token with this chance, and else any."""
    mask = GreenList(Key.load(key_file)).mask(np.arange(384).reshape(-1, 1), 384)
    plain = [i for i in range(3, 384) if tokenizer().decode([i]).strip().isalpha() and len(tokenizer().decode([i])) > 2]

    def text(question: Question) -> str:
        rng = np.random.default_rng(question[1])
        ids = [int(rng.choice(plain))]
        while len(ids) < 10:
            green = [i for i in plain if mask[ids[-1], i]] if rng.random() < share else []
            ids.append(int(rng.choice(green or plain)))
        return str(tokenizer().decode(ids))

    return text


def texts(log: Path) -> list[str]:
    """The answers in a log, in the order asked."""
    lines = [json.loads(line) for line in log.read_bytes().splitlines()[1:]]
    return [line["text"] for line in sorted(lines, key=lambda line: line["request"])]


def by_hand(key_file: Path, log: Path, alpha: float, maximum: int) -> tuple[list[Any], list[bool], list[float], str]:
    """The whole e-process again, from the log alone, by plain loops."""
    answers = [tokenizer()(text, add_special_tokens=False)["input_ids"] for text in texts(log)]
    fed = [chat_prompt_ids(tokenizer(), prompt) for prompt in PROMPTS]
    fed += [tokenizer()(prompt, add_special_tokens=False)["input_ids"] for prompt in PROMPTS]
    return in_a_loop(Key.load(key_file), answers, fed, alpha, maximum)[:4]


# --- the e-process behind an API ---


def test_a_marked_model_stops_early_and_the_result_is_confirmatory(
    cli: Cli, account: Path, plan: Path, prompts: Path
) -> None:
    with FakeServer(text=written(account, 0.6)) as server:
        evidence = cli(*asking(server, account, plan, prompts, "--log", "log", "--json")).json()["sampled"]
        people = cli(*asking(server, account, plan, prompts, "--log", "log")).out
    assert list(evidence) == [*EVIDENCE, "lineup", "sequential", "plan"]
    assert list(evidence["lineup"]) == LINEUP
    pairs, colours, values, stopped = by_hand(account, Path("log"), 1e-6, 212)
    assert stopped == "early"
    assert evidence["sequential"] == {
        "alpha": 1e-6, "maximum_pairs": 212, "n_answers": evidence["sequential"]["n_answers"], "stopped": "early",
    }  # fmt: skip
    assert (evidence["n_scored"], evidence["n_green"]) == (len(pairs), sum(colours))
    assert evidence["log10_p"] == evidence["log10_p_adjusted"] == pytest.approx(-max(values), rel=1e-9)
    assert evidence["log10_e"] == pytest.approx(values[-1], rel=1e-9)
    assert (evidence["ci95"], evidence["z_score"]) == (None, None)
    assert (evidence["finding"], evidence["status"], evidence["alpha"]) == ("detected", "confirmatory", 1e-6)
    digest = hashlib.sha256(plan.read_bytes()).hexdigest()
    assert evidence["plan"] == {"sha256": digest, "test": "sampled/distinct", "primary": True, "control": None}
    assert evidence["lineup"]["seed"] == Plan.load(plan).lineup.seed
    assert EXPLORATORY_NOTE not in evidence["notes"]
    notes = "\n".join(evidence["notes"])
    for part in (f"plan: SHA-256 {digest}", "key commitment: root", UNTIMESTAMPED_NOTE, "stopped early, at the first",
                 "until the e-process ended, at most 212 pairs, as planned; the smallest run of requests"):  # fmt: skip
        assert part in notes
    assert "(valid bound, e-process, one-sided)" in people
    assert "stopped early; planned: at most 212)" in people
    assert "status       confirmatory" in people


def test_an_unmarked_model_is_asked_up_to_the_maximum(cli: Cli, account: Path, plan: Path, prompts: Path) -> None:
    with FakeServer(text=written(account, 0.0)) as server:
        evidence = cli(*asking(server, account, plan, prompts, "--log", "log", "--json")).json()["sampled"]
    assert by_hand(account, Path("log"), 1e-6, 212)[3] == "maximum"
    assert evidence["n_scored"] == 212
    assert (evidence["sequential"]["stopped"], evidence["finding"]) == ("maximum", "not detected")
    assert evidence["status"] == "confirmatory"
    note = (
        "a green fraction of 0.5 would have been found with probability at least 0.9 within the planned maximum of 212"
    )
    assert any(one.startswith(note) for one in evidence["notes"])


def test_after_a_key_check_it_stops_where_the_adjusted_p_is_small_enough(
    cli: Cli, account: Path, committed: list[object], prompts: Path
) -> None:
    checked(account, 22)
    plan = planned(cli, Path("p"), account, prompts, *committed)
    with FakeServer(text=written(account, 0.6)) as server:
        evidence = cli(*asking(server, account, plan, prompts, "--log", "log", "--json")).json()["sampled"]
    pairs, _, values, stopped = by_hand(account, Path("log"), 1e-6 * 0.99, 212)
    assert (stopped, evidence["n_scored"]) == ("early", len(pairs))
    assert evidence["sequential"]["alpha"] == 1e-6 * 0.99
    assert evidence["log10_p_adjusted"] == pytest.approx(-max(values) - math.log10(0.99))
    assert evidence["log10_p_adjusted"] <= -6
    assert evidence["finding"] == "detected"
    assert KEY_CHECK_NOTE[True] in evidence["notes"]


def checked(key_file: Path, n_green: int) -> None:
    """Lay a check on human text beside the key: passed with 22 of 90 green, refused with 34."""
    key_id, made, log10_p = Key.load(key_file).key_id, "2026-11-01T00:00:00+00:00", log10_sf(n_green, 90, 0.25)
    record = KeyCheck(key_id, log10_p > -2, log10_p, 90, n_green, "ab" * 32, 3, made)
    check_path(key_file).write_text(json.dumps(record.to_dict()))


def test_a_check_of_the_key_is_the_plans(
    cli: Cli, account: Path, plan: Path, committed: list[object], prompts: Path
) -> None:
    """A record that comes, or goes, after the plan changes nothing: neither the level nor who may be accused."""
    with FakeServer(text=written(account, 0.6)) as server:
        for n_green, outcome in ((22, "passed"), (34, "was refused by")):
            checked(account, n_green)
            cli(*asking(server, account, plan, prompts)).refused(5, f"the key {outcome} a check on human text that the")
        assert server.asked == []
        cli("plan", "-o", Path("r"), "--key", account, "--probes", prompts).refused(5, "refused by its own check")
        checked(account, 22)
        knowing = planned(cli, Path("k"), account, prompts, *committed)
        first = cli(*asking(server, account, knowing, prompts, "--json")).out
        check_path(account).unlink()
        assert cli(*asking(server, account, knowing, prompts, "--json")).out == first
    notes = json.loads(first)["sampled"]["notes"]
    assert KEY_CHECK_NOTE[True] in notes
    assert CHECKED_NOTE.format("ab" * 32) in notes


def test_the_order_of_arrival_changes_nothing(cli: Cli, account: Path, plan: Path, prompts: Path) -> None:
    """One at a time, and many at a time, each taking as long as it likes."""
    rng = random.Random(3)
    with FakeServer(text=written(account, 0.45)) as server:
        calm = cli(*asking(server, account, plan, prompts, "--json", "--log", "calm", "--concurrency", 1))
        server.misbehave = lambda *_: time.sleep(rng.uniform(0, 0.05)) or False
        hasty = cli(*asking(server, account, plan, prompts, "--json", "--log", "hasty", "--concurrency", 9))
    assert calm.json()["sampled"]["sequential"]["n_answers"] > 2
    arrived = [json.loads(line)["request"] for line in Path("hasty").read_bytes().splitlines()[1:]]
    assert arrived != sorted(arrived)
    assert hasty.out == calm.out


def test_killed_and_started_again_it_stops_at_the_same_place(
    cli: Cli, account: Path, committed: list[object], prompts: Path, tmp_path: Path
) -> None:
    """SIGKILL; the evidence is the undisturbed run's to the last byte, and what was recorded is not asked again."""
    plan = planned(cli, tmp_path / "p", account, prompts, *committed, "--alpha", 1e-12)
    with FakeServer(text=written(account, 0.35), delay=0.03) as server:
        command = asking(server, account, plan, prompts, "--json")
        calm = cli(*command, "--log", "calm")
        assert calm.json()["sampled"]["sequential"]["n_answers"] > 5
        server.sent.clear()
        arguments = [str(part) for part in [*command, "--log", "log"]]
        process = subprocess.Popen(
            [EXECUTABLE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
        )
        deadline = time.monotonic() + 120
        while len(server.sent) < 3:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.communicate(timeout=30)[0] == b""
        recorded = Path("log").read_bytes().count(b"\n") - 1
        again = cli(*command, "--log", "log")
        held = "1 answer is" if recorded == 1 else f"{recorded} answers are"
        assert f"{held} in log already; going on" in again.err
    assert again.out == calm.out


def test_a_budget_gives_a_partial_result(cli: Cli, account: Path, plan: Path, prompts: Path) -> None:
    with FakeServer(text=written(account, 0.3)) as server:
        result = cli(*asking(server, account, plan, prompts, "--max-requests", 2, "--json"))
        assert len(server.sent) == 2
    evidence = result.json()["sampled"]
    assert evidence["sequential"]["stopped"] == "exhausted"
    assert (evidence["finding"], evidence["status"]) == ("inconclusive", "confirmatory")
    assert any("the budget, or a run of empty answers, ended it at" in note for note in evidence["notes"])
    assert any("the e-process ended before the planned maximum of 212 pairs" in note for note in evidence["notes"])


def test_a_model_that_repeats_itself_ends_it(cli: Cli, account: Path, plan: Path, prompts: Path) -> None:
    with FakeServer(text=lambda question: f"The answer to that is the moon, {question[0]}") as server:
        result = cli(*asking(server, account, plan, prompts, "--json", "--log", "log"))
    evidence = result.json()["sampled"]
    assert result.err.count("Answers repeat: all 3 to prompts that were asked before are word for word") == 1
    assert "see whether it honours temperature and seed, or give more prompts; Ctrl-C keeps the answers in log." in (
        result.err
    )
    (note,) = [note for note in evidence["notes"] if note.startswith("answers repeat: ")]
    assert "all 200 to prompts" in note
    assert "the server seems not to sample" in note
    assert evidence["sequential"]["stopped"] == "exhausted"
    assert evidence["sequential"]["n_answers"] == 203
    assert evidence["finding"] == "inconclusive"
    assert any("by 200 answers in a row without a new pair" in note for note in evidence["notes"])
    assert not any("budget" in note for note in evidence["notes"])


def test_a_fixed_number_of_tokens(cli: Cli, account: Path, committed: list[object], prompts: Path) -> None:
    plan = planned(cli, Path("p"), account, prompts, *committed, "--stopping", "fixed", "--sample", 600)
    with FakeServer(text=written(account, 0.0)) as server:
        whole = cli(*asking(server, account, plan, prompts, "--log", "a", "--json")).json()["sampled"]
        part = cli(*asking(server, account, plan, prompts, "--log", "b", "--max-requests", 3, "--json"))
    assert "sequential" not in whole
    assert (whole["status"], whole["finding"]) == ("confirmatory", "not detected")
    assert whole["ci95"] is not None
    assert any(one.startswith("at least 600 tokens, as planned; the smallest run") for one in whole["notes"])
    assert not any("second, larger look" in one for one in whole["notes"])
    part = part.json()["sampled"]
    assert part["status"] == "exploratory"
    (reason,) = [one for one in part["notes"] if one.startswith("exploratory in spite of the plan: ")]
    assert f"the budget ended it at {part['n_tokens']}" in reason


def test_without_a_commitment_it_stays_exploratory(cli: Cli, text_key: Path, prompts: Path) -> None:
    plan = planned(cli, Path("p"), text_key, prompts)
    with FakeServer(text=written(text_key, 0.6)) as server:
        evidence = cli(*asking(server, text_key, plan, prompts, "--json")).json()["sampled"]
    assert (evidence["status"], evidence["finding"]) == ("exploratory", "detected")
    assert UNCOMMITTED_NOTE in evidence["notes"]
    assert evidence["notes"][-1] == "exploratory in spite of the plan: no key commitment in the plan"
    assert EXPLORATORY_NOTE not in evidence["notes"]


def test_marked_probes_are_exploratory(cli: Cli, account: Path, plan: Path, prompts: Path) -> None:
    with FakeServer(text=written(account, 0.6)) as server:
        evidence = cli(*asking(server, account, plan, prompts, "--probes-marked", "--json")).json()["sampled"]
    assert (evidence["status"], evidence["finding"]) == ("exploratory", "inconclusive")
    assert evidence["log10_p"] is evidence["log10_p_adjusted"] is evidence["log10_e"] is None
    assert evidence["notes"][-1] == "exploratory in spite of the plan: nothing is claimed"


def test_answers_that_were_there_before_the_plan_are_not_taken(
    cli: Cli, account: Path, plan: Path, prompts: Path
) -> None:
    with FakeServer(text=written(account, 0.6)) as server:
        command = asking(server, account, plan, prompts, "--log", "log")
        free = [part for part in command if part not in ("--plan", plan)]
        assert cli(*free, "--sample", 300, "--max-new-tokens", 64).code == 0
        asked = len(server.sent)
        cli(*command).refused(3, "log holds what was recorded of other work, and is kept")
        assert len(server.sent) == asked


# --- what is refused, before anything is asked ---


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (["--alpha", 0.01], "--alpha 0.01 contradicts the plan, which says 1e-06; leave it out"),
        (["--effect", 0.28], "--effect 0.28 contradicts the plan, which says 0.5"),
        (["--decoys", 8], "--decoys 8 contradicts the plan, which says 9"),
        (["--seed", "0" * 64], f"--seed {'0' * 64} contradicts the plan, which says"),
        (["--sample", 600], "--sample 600 contradicts the plan, which says until its e-process ends"),
        (["--max-new-tokens", 65], "--max-new-tokens 65 contradicts the plan, which says 64"),
        (["--temperature", 0.9], "--temperature 0.9 contradicts the plan, which says 1;"),
        (["--top-p", 0.9], "--top-p 0.9 contradicts"),
        (["--sample-seed", 1], "--sample-seed 1 contradicts"),
        (["--logprobs", 3], "--logprobs 3 contradicts the plan, which says none"),
        (["--endpoint", "completions"], "--endpoint completions contradicts the plan, which says chat"),
    ],
    ids=str,
)
def test_options_that_contradict_the_plan(
    options: list[object], fragment: str, cli: Cli, account: Path, plan: Path, prompts: Path, tmp_path: Path
) -> None:
    before = names(tmp_path)
    cli(*asking("http://127.0.0.1:9", account, plan, prompts, *options)).refused(2, fragment, "suspect --help")
    assert names(tmp_path) == before


def test_options_that_agree_with_the_plan(cli: Cli, account: Path, plan: Path, prompts: Path) -> None:
    same = ["--alpha", "1e-6", "--effect", 0.5, "--decoys", 9, "--max-new-tokens", 64, "--temperature", 1]
    with FakeServer(text=written(account, 0.6)) as server:
        command = asking(server, account, plan, prompts, "--json")
        assert cli(*command, *same, "--seed", Plan.load(plan).lineup.seed).out == cli(*command).out


def test_what_is_not_the_plans(cli: Cli, account: Path, text_key: Path, plan: Path, prompts: Path, model: Path) -> None:
    other = write_rows(Path("other.jsonl"), [{"prompt": prompt} for prompt in PROMPTS[::-1]])
    Path("broken").write_bytes(plan.read_bytes()[:-2])
    changed = json.loads(plan.read_text())
    changed["key"]["inclusion"]["index"] ^= 1
    Path("moved").write_text(json.dumps(changed))
    with FakeServer() as server:
        for key, what, probes, code, fragment in (
            (text_key, plan, prompts, 5, "the plan is for key"),
            (account, plan, other, 3, "content or order is not the plan's"),
            (account, "none", prompts, 3, "none does not exist"),
            (account, "broken", prompts, 3, "broken"),
            (account, "moved", prompts, 5, "do not lead to the committed root"),
        ):
            cli(*asking(server, key, Path(what), probes)).refused(code, fragment)
        given = asking(server, account, plan, prompts, "--reference", model)
        cli(*given).refused(3, "reference: digest", "none is planned")
        assert server.asked == []
    assert not list(Path().glob("responses-*"))


def test_tests_that_cannot_be_carried_out(cli: Cli, text_key: Path, model: Path, prompts: Path) -> None:
    answers = write_rows(Path("answers.jsonl"), [{"prompt": PROMPTS[0], "text": "The rain fell."}])
    reading = planned(cli, Path("r"), text_key, answers, "--primary", "reading", "--weights", "mass")
    counted = planned(cli, Path("c"), text_key, prompts, "--access", "weights")
    server = asking("http://127.0.0.1:9", text_key, reading, answers)
    cli(*server).refused(2, "access is chat, the plan says weights: give --model")
    local = ["suspect", "--key", text_key, "--model", model, "--probes", prompts]
    behind = planned(cli, Path("b"), text_key, prompts, "--access", "completions")
    cli(*local, "--plan", behind).refused(2, "access is weights, the plan says completions: give --api with --endpoint")
    cli(*local, "--positive-control", model).refused(2, "--positive-control needs --plan")
    cli(*local, "--plan", counted, "--positive-control", model).refused(2, "no weighted test that needs it")
    cli(*local, "--plan", counted, "--save-reading", "reading.npz").refused(2, "the plan has no reading")
    read = ["suspect", "--key", text_key, "--model", model, "--probes", answers, "--plan", reading]
    cli(*read, "--temperature", 1).refused(2, "--temperature: the plan has no sampled test; leave it out")
    cli(*read, "--reference", model).refused(3, "reference: digest", "none is planned")
    cli(*read, "--positive-control", model).refused(3, "positive control: digest", "none is planned")


# --- a model at hand ---


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base model, one that carries the mark of key 0, one that carries another, and one that is just another."""
    place = tmp_path_factory.mktemp("tables")
    key, foreign = Key.load(save_key(place / "key")), Key.load(save_key(place / "foreign.key", 3))
    made = {"base": (None, 0.0, 0), "student": (key, 1.0, 0), "foreign": (foreign, 1.0, 0), "control": (None, 0.0, 1)}
    return {
        name: table_model.build(place / name, key=mark, delta=delta, seed=seed)
        for name, (mark, delta, seed) in made.items()
    }


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    text = (
        "The moon goes still over the harbour where the boats counted coins twice and then the rain fell on the sea. "
    )
    return write_rows(tmp_path / "probes.jsonl", [{"prompt": one, "text": text[i * 20 :] + text} for i, one in
                                                  enumerate(PROMPTS)])  # fmt: skip


def test_a_local_model_is_asked_until_the_process_ends(
    cli: Cli, text_key: Path, tables: dict[str, Path], prompts: Path
) -> None:
    plan = planned(cli, Path("p"), text_key, prompts, "--top-p", 0.99, "--sample-seed", 4, "--access", "weights")
    command = ["suspect", "--key", text_key, "--probes", prompts, "--plan", plan, "--json", "--model"]
    for model, stopped, finding in (("student", "early", "detected"), ("control", "maximum", "not detected")):
        evidence = cli(*command, tables[model]).json()["sampled"]
        assert (evidence["sequential"]["stopped"], evidence["finding"]) == (stopped, finding)
        assert any("sampling: until the e-process ended, at most 212 pairs, temperature 1, top-p 0.99, at most 64 new"
                   in note for note in evidence["notes"])  # fmt: skip
        assert not any("the number of tokens" in note for note in evidence["notes"])
    assert cli(*command, tables["student"]).out == cli(*command, tables["student"]).out


def test_a_reading_with_its_positive_control(cli: Cli, text_key: Path, tables: dict[str, Path], probes: Path) -> None:
    """Not detected is said where the same test detects its control; else it is inconclusive."""
    base = tables["base"]
    options = ["--primary", "reading", "--reference", base, "--also", "sampled/distinct", "--sample", 500]
    command = ["suspect", "--key", text_key, "--probes", probes, "--reference", base, "--json"]
    results = {}
    for control in ("student", "foreign"):
        plan = planned(cli, Path(f"{control}.json"), text_key, probes, *options, "--positive-control", tables[control])
        for model in ("student", "control"):
            given = ["--plan", plan, "--positive-control", tables[control], "--model", tables[model]]
            results[control, model] = cli(*command, *given).json()
    found = {which: result["reading"]["finding"] for which, result in results.items()}
    assert found == {
        ("student", "student"): "detected",
        ("student", "control"): "not detected",
        ("foreign", "student"): "detected",
        ("foreign", "control"): "inconclusive",
    }
    one = results["student", "control"]["reading"]
    assert one["plan"]["control"]["finding"] == "detected"
    itself = {
        which: any("the questioned model itself" in n for n in r["reading"]["notes"]) for which, r in results.items()
    }
    assert itself == {which: which == ("student", "student") for which in results}
    assert one["plan"]["control"]["log10_p"] == pytest.approx(results["student", "student"]["reading"]["log10_p"])
    assert any(note.startswith("positive control (digest ") and "detected by the same" in note for note in one["notes"])
    for result in results.values():
        assert (result["reading"]["plan"]["primary"], result["sampled"]["plan"]["primary"]) == (True, False)
        for test in ("reading", "sampled"):  # the primary one by itself, the only other one by itself
            assert result[test]["log10_p_adjusted"] == result[test]["log10_p"]
            first = "the plan's primary test, reading/difference, is judged by itself; the other one is, too"
            assert any(note.startswith(first) for note in result[test]["notes"])
    plan = Path("student.json")
    without = cli(*command, "--plan", plan, "--model", tables["control"], "--no-positive-control")
    evidence = without.json()["reading"]
    assert evidence["finding"] == "inconclusive"
    assert any("not examined, so this test cannot say that a mark is absent" in note for note in evidence["notes"])
    people = cli(*command[:-1], "--plan", plan, "--model", tables["control"],
                 "--positive-control", tables["student"]).out  # fmt: skip
    assert "not detected: the plan's positive control was detected by the same test" in people
    cli(*command, "--plan", plan, "--model", base, "--positive-control", base).refused(3, "positive control: digest")
    left_out = [*command[:5], "--plan", plan, "--model", base, "--no-positive-control"]
    cli(*left_out).refused(3, "reference: none is given")


def test_a_planned_control_is_not_left_out_by_oversight(
    cli: Cli, text_key: Path, tables: dict[str, Path], prompts: Path, probes: Path, tmp_path: Path
) -> None:
    """Refused before the model is touched: it need not even exist."""
    base, student = tables["base"], tables["student"]
    known = ["--reference", base, "--positive-control", student]
    plan = planned(cli, Path("p"), text_key, probes, "--primary", "reading", *known)
    command = ["suspect", "--key", text_key, "--probes", probes, "--reference", base, "--plan", plan, "--model"]
    before = names(tmp_path)
    cli(*command, tmp_path / "none").refused(
        2, "the plan names a positive control: give it as --positive-control DIR", "--no-positive-control accepts that"
    )
    assert names(tmp_path) == before
    both = ["--positive-control", student, "--no-positive-control"]
    cli(*command, base, *both).refused(2, "give --positive-control or --no-positive-control, not both")
    cli(*command[:-3], "--model", base, "--no-positive-control").refused(2, "no meaning without --plan")
    counted = planned(cli, Path("c"), text_key, probes, "--also", "reading/difference", *known)
    nothing_lost = cli("suspect", "--key", text_key, "--probes", probes, "--reference", base, "--plan", counted,
                       "--model", student, "--json")  # fmt: skip
    assert set(nothing_lost.json()) == {"reading", "sampled"}
    none = planned(cli, Path("n"), text_key, prompts, "--access", "weights")
    cli("suspect", "--key", text_key, "--probes", prompts, "--plan", none, "--model", base,
        "--no-positive-control").refused(2, "the plan's primary test uses none; leave it out")  # fmt: skip


def test_a_flood_in_one_answer_does_not_spend_the_plan(
    cli: Cli, account: Path, committed: list[object], prompts: Path, tmp_path: Path
) -> None:
    plan = planned(cli, tmp_path / "plan.json", account, prompts, *committed, "--max-new-tokens", 8)
    marked = written(account, 0.9)

    def flood(question: Question) -> str:
        return SPEECH.read_text(encoding="utf-8")[:9000] if question[0] == PROMPTS[0] else str(marked(question))

    with FakeServer(text=flood, usage=False) as server:
        found = cli(*asking(server, account, plan, prompts, "--json")).json()["sampled"]
    assert (found["finding"], found["status"]) == ("detected", "confirmatory")
    (note,) = [note for note in found["notes"] if "longer than was asked for" in note]
    assert re.match(r"\d+ of \d+ answers longer than was asked for, in the key's tokens", note)
