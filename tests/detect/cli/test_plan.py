"""`plan`: the design's figures, and the plan of an examination."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom

from detect.cli.plan import EFFECTS
from detect.cli.planned_words import WEAK
from detect.plans.plan import UNCOMMITTED_NOTE, Plan
from detect.readers import read_rows
from tests.detect.cli.helpers import Cli, execute, names, save_key, secrets_of, write_rows
from watermark import Key
from watermark.keys import UNTIMESTAMPED_NOTE


def test_the_designs_table(cli: Cli) -> None:
    plan = cli("plan", "--alpha", "1e-6", "--power", ".9", "--json").json()
    assert list(plan) == ["alpha", "power", "gamma", "plan"]
    assert (plan["alpha"], plan["power"], plan["gamma"]) == (1e-6, 0.9, 0.25)
    needed = {row["effect"]: row["pairs_needed"] for row in plan["plan"]}
    assert list(needed) == list(EFFECTS)
    assert (needed[0.50], needed[0.35]) == (132, 758)
    assert round(needed[0.28], -2) == 7_900
    assert round(needed[0.26], -2) == 69_200
    for row in plan["plan"]:
        assert 1.6 * row["pairs_needed"] <= row["pairs_maximum_sequential"] < 1.6 * row["pairs_needed"] + 1


@pytest.mark.parametrize(("effect", "n"), [(0.5, 132), (0.35, 758)])
def test_power_is_there_and_not_one_pair_earlier(effect: float, n: int) -> None:
    """By scipy's binomial."""

    def power(pairs: int) -> float:
        critical = int(binom.isf(1e-6, pairs, 0.25)) + 1
        return float(binom.sf(critical - 1, pairs, effect))

    assert power(n - 1) < 0.9
    assert min(power(pairs) for pairs in range(n, n + 60)) >= 0.9


def test_the_table_for_people(cli: Cli) -> None:
    result = cli("plan")
    assert (result.code, result.err) == (0, "")
    rows = [line.split() for line in result.out.splitlines()]
    assert rows[0] == ["alpha", "1e-06,", "power", "0.9,", "gamma", "0.25"]
    assert ["0.5", "132", "212"] in rows
    assert ["0.35", "758", "1,213"] in rows
    assert "The last column is the maximum of an e-process, which may stop early" in result.out
    assert "0.9 distinct" not in result.out


def test_options(cli: Cli, tmp_path: Path) -> None:
    one = cli("plan", "--effect", "0.4", "--effect", "0.3", "--gamma", "0.2", "--alpha", "0.01", "--json").json()
    assert [row["effect"] for row in one["plan"]] == [0.4, 0.3]
    assert (one["gamma"], one["alpha"]) == (0.2, 0.01)
    key = save_key(tmp_path / "k", bare=True)
    assert cli("plan", "--key", key, "--json").json()["gamma"] == 0.25
    assert [row["effect"] for row in cli("plan", "--gamma", "0.3", "--json").json()["plan"]] == [0.5, 0.35]


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (["--gamma", "0.25", "--key", "k"], ["not both"]),
        (["--effect", "0.25"], ["--effect 0.25 must be above gamma 0.25"]),
        (["--effect", "0.5", "--effect", "0.1"], ["--effect 0.1 must be above"]),
        (["--gamma", "0.5"], ["give --effect: it must be above gamma 0.5"]),
        (["--effect", "1"], ["--effect"]),
        (["--alpha", "0"], ["--alpha"]),
        (["--alpha", "1e-201"], ["--alpha"]),
        (["--power", "nan"], ["--power"]),
        (["--gamma", "nan"], ["--gamma"]),
    ],
    ids=str,
)
def test_bad_options(options: list[str], fragments: list[str], cli: Cli) -> None:
    cli("plan", *options).refused(2, *fragments, "taggant plan --help")


def test_what_is_out_of_reach_says_so(cli: Cli) -> None:
    cli("plan", "--effect", "0.2500001").refused(3, "more than 2000000000 pairs")


def test_json_is_one_object(cli: Cli) -> None:
    assert len(json.loads(cli("plan", "--json").out)["plan"]) == 4


# --- the plan's file ---


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    return write_rows(
        tmp_path / "probes.jsonl",
        [{"prompt": "Why?", "text": "So."}, {"prompt": "Where?"}, {"prompt": "Why?", "token_ids": [4, 5]}],
    )


@pytest.fixture
def committed(cli: Cli, key: Path, tmp_path: Path) -> list[object]:
    """Options for account b's key, which is one of three committed to."""
    three = [part for name in "abc" for part in ("--account", name)]
    commitment, leaves, account = tmp_path / "c.json", tmp_path / "l.json", tmp_path / "b.key"
    assert cli("key", "commit", key, *three, "-o", commitment, "--leaves", leaves).code == 0
    assert cli("key", "derive", key, "--account", "b", "-o", account).code == 0
    return ["--key", account, "--commitment", commitment, "--leaves", leaves]


def test_a_committed_plan(cli: Cli, committed: list[object], probes: Path, tmp_path: Path) -> None:
    shown = cli("plan", "-o", tmp_path / "plan.json", *committed, "--probes", probes, "--json").json()
    content = (tmp_path / "plan.json").read_bytes()
    assert shown["sha256"] == hashlib.sha256(content).hexdigest()
    assert (shown["fixed_pairs"], shown["maximum_pairs"]) == (7885, 12_616)
    plan, key = Plan.load(tmp_path / "plan.json"), Key.load(tmp_path / "b.key")
    assert shown["plan"] == plan.to_json() == json.loads(content)
    plan.check_key(key)
    plan.check_probes(read_rows([str(probes)], prompts_only_ok=True))
    assert plan.inclusion.commitment.root == json.loads((tmp_path / "c.json").read_text())["root"]
    assert (plan.key_id, plan.inclusion.leaf.account) == (key.key_id, "b")
    assert (plan.alpha, plan.power, plan.effect, plan.primary) == (1e-6, 0.9, 0.28, "sampled/distinct")
    assert (plan.probes.rows, plan.probes.prompts, plan.stopping) == (3, 2, "e-process")
    assert UNTIMESTAMPED_NOTE in shown["notes"]
    assert UNCOMMITTED_NOTE not in shown["notes"]


def test_without_a_commitment_it_says_that_results_stay_exploratory(
    cli: Cli, key: Path, probes: Path, tmp_path: Path
) -> None:
    shown = cli("plan", "-o", tmp_path / "plan.json", "--key", key, "--probes", probes, "--json").json()
    assert shown["plan"]["key"] == {
        "key_id": Key.load(key).key_id,
        "commitment": None,
        "inclusion": None,
        "check": None,
    }
    assert shown["plan"]["tokenizer"] is None
    assert any("names a tokenizer: results under this plan stay exploratory" in note for note in shown["notes"])
    assert UNCOMMITTED_NOTE in shown["notes"]
    assert any("2^40 keys" in note for note in shown["notes"])


def test_the_plan_for_people(cli: Cli, committed: list[object], probes: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    result = cli("plan", "-o", path, *committed, "--probes", probes)
    assert result.code == 0
    assert "before the questioned model is touched" in result.err
    said = dict(line.split("  ", 1) for line in result.out.splitlines())
    said = {name: text.strip() for name, text in said.items()}
    plan = Plan.load(path)
    assert said["digest"].split()[0] == plan.digest
    assert said["plan"] == str(path)
    assert said["stopping"] == "e-process, at most 12,616 pairs"
    assert said["fixed n"] == "7,885 pairs"
    assert plan.probes.sha256 in said["probes"]
    assert plan.lineup.seed in said["line-up"]
    assert plan.inclusion.commitment.root in said["commitment"]
    assert UNTIMESTAMPED_NOTE in result.out
    assert cli("plan", "-o", tmp_path / "two", *committed, "--probes", probes, "-q").err == ""


def test_everything_is_settled(cli: Cli, key: Path, model: Path, probes: Path, tmp_path: Path) -> None:
    from watermark.engines.models import model_digest, tokenizer_fingerprint

    options: dict[str, Any] = {
        "--reference": model, "--positive-control": model, "--positive-control-note": "a student",
        "--primary": "reading", "--sample": 4000, "--max-new-tokens": 90, "--temperature": 0.7, "--top-p": 0.9,
        "--sample-seed": 5, "--top": 64, "--decoys": 200, "--seed": "ab" * 32, "--alpha": 1e-5, "--power": 0.8,
        "--effect": 0.3, "--tokenizer": model,
    }  # fmt: skip
    flat = [part for pair in options.items() for part in pair]
    also = ["--also", "sampled/excess", "--also", "sampled/distinct"]
    shown = cli(
        "plan", "-o", tmp_path / "p", "--key", key, "--probes", probes, "--probes", probes, *also, *flat, "--json"
    ).json()
    plan = shown["plan"]
    assert plan["primary"] == {"test": "reading", "weights": "difference"}
    assert plan["tests"] == ["sampled/distinct", "sampled/excess", "reading/difference"]
    assert plan["reference"] == {"digest": model_digest(model)}
    assert plan["positive_control"] == {"digest": model_digest(model), "note": "a student"}
    assert plan["sampling"] == {
        "tokens": 4000, "max_new_tokens": 90, "temperature": 0.7, "top_p": 0.9, "top_k": 0, "seed": 5,
        "logprobs": None,
    }  # fmt: skip
    assert plan["tokenizer"] == {"fingerprint": tokenizer_fingerprint(model)}
    assert plan["access"] == "weights"
    assert plan["lineup"] == {"decoys": 200, "seed": "ab" * 32}
    assert (plan["alpha"], plan["power"], plan["effect"], plan["top"]) == (1e-5, 0.8, 0.3, 64)
    assert (plan["stopping"], plan["fixed_pairs"], plan["maximum_pairs"]) == ("fixed", None, None)
    assert plan["probes"]["rows"] == 6
    for hidden in secrets_of(key):
        assert hidden not in (tmp_path / "p").read_text()


def test_weights_by_default(cli: Cli, key: Path, model: Path, probes: Path, tmp_path: Path) -> None:
    base = ["--key", key, "--probes", probes, "--json"]
    shown = cli("plan", "-o", tmp_path / "1", *base, "--primary", "reading", "--reference", model).json()
    assert shown["plan"]["primary"] == {"test": "reading", "weights": "difference"}
    assert shown["plan"]["sampling"] is None
    assert any("positive control" in note for note in shown["notes"])
    assert WEAK not in shown["notes"]
    shown = cli("plan", "-o", tmp_path / "2", *base, "--reference", model).json()
    assert shown["plan"]["primary"] == {"test": "sampled", "weights": "distinct"}
    assert not any("positive control" in note for note in shown["notes"])


def test_the_weak_reading_must_be_asked_for(cli: Cli, key: Path, probes: Path, tmp_path: Path) -> None:
    base = ["plan", "-o", tmp_path / "p", "--key", key, "--probes", probes, "--primary", "reading"]
    cli(*base).refused(2, "--reference", "best the base model: give it", "--weights mass")
    assert not (tmp_path / "p").exists()
    shown = cli(*base, "--weights", "mass", "--json").json()
    assert shown["plan"]["primary"] == {"test": "reading", "weights": "mass"}
    assert WEAK in shown["notes"]


def test_a_green_fraction_that_no_student_has_is_warned_of(cli: Cli, key: Path, probes: Path, tmp_path: Path) -> None:
    base = ["plan", "--key", key, "--probes", probes]
    counted, read = [], ["--primary", "reading", "--weights", "mass"]
    for number, (effect, options, warned) in enumerate(
        (
            (0.5, counted, True),
            (0.36, counted, True),
            (0.35, counted, False),
            (0.28, counted, False),
            (0.5, read, False),
        )
    ):
        result = cli(*base, "-o", tmp_path / str(number), "--effect", effect, *options, "--json")
        notes = [note for note in result.json()["notes"] if "students of marked text are rarely greener" in note]
        assert len(notes) == warned
        assert ("Warning: " in result.err) == warned
        assert all(f"Warning: {note}\n" in result.err for note in notes)
    assert "students of marked" in cli(*base, "-o", tmp_path / "people", "--effect", 0.5).out
    assert "Warning" not in cli("plan", "--effect", 0.5).err  # a table, for texts as well


def test_a_control_that_could_not_be_examined_is_refused(
    cli: Cli, key: Path, model: Path, probes: Path, tmp_path: Path
) -> None:
    base = ["plan", "-o", tmp_path / "p", "--key", key, "--probes", probes, "--positive-control", model]
    weighed = ["--weights", "excess", "--reference", model, "--sample", 1000]
    cli(*base).refused(2, "--positive-control: no weighted test is planned that needs one")
    for access, name in ((["--access", "completions"], "completions"), ([], "chat")):
        cli(*base, *weighed, *access).refused(
            2, f"a server's {name} endpoint", "Give --access weights, or leave it out"
        )
    assert not (tmp_path / "p").exists()
    assert cli(*base, *weighed, "--access", "weights").code == 0


def test_it_says_how_it_is_carried_out(cli: Cli, key: Path, model: Path, probes: Path, tmp_path: Path) -> None:
    """The last line, and with --json a member, is a command for a shell."""
    plan = tmp_path / "my plan.json"
    base = ["plan", "-o", plan, "--key", key, "--probes", probes]
    last = cli(*base).out.splitlines()[-1]
    assert last.startswith("carry out     taggant suspect --plan ")
    assert shlex.split(last.partition("  taggant ")[2]) == [
        "suspect", "--plan", str(plan), "--key", str(key), "--api", "URL", "--model-name", "NAME",
        "--probes", str(probes),
    ]  # fmt: skip
    base[2], usual = tmp_path / "p", write_rows(tmp_path / "usual.jsonl", [{"text": "So."}])
    shown = cli(*base, "--probes", "builtin", "--primary", "reading", "--reference", model, "--positive-control", model,
                "--frequencies", usual, "--tokenizer", model, "--json").json()  # fmt: skip
    assert shlex.split(shown["then"])[6:] == [
        "--model", "DIR", "--probes", str(probes), "--probes", "builtin", "--reference", str(model), "--frequencies",
        str(usual), "--positive-control", str(model), "--tokenizer", str(model),
    ]  # fmt: skip


def test_a_seed_is_drawn_for_each_plan(cli: Cli, key: Path, probes: Path, tmp_path: Path) -> None:
    seeds = set()
    for name in ("1", "2", "3"):
        cli("plan", "-o", tmp_path / name, "--key", key, "--probes", probes)
        seeds.add(Plan.load(tmp_path / name).lineup.seed)
    assert len(seeds) == 3
    assert "0" * 64 not in seeds


def test_tokens_that_cannot_hold_the_pairs_are_warned_of(cli: Cli, key: Path, probes: Path, tmp_path: Path) -> None:
    base = ["--key", key, "--probes", probes, "--json", "--effect", 0.5, "--sample"]
    for number, (tokens, options, warned) in enumerate(
        ((211, [], True), (212, [], False), (131, ["--stopping", "fixed"], True), (132, ["--stopping", "fixed"], False))
    ):
        notes = cli("plan", "-o", tmp_path / str(number), *base, tokens, *options).json()["notes"]
        assert any("distinct pairs that the primary test may need" in note for note in notes) == warned


def test_a_servers_logprobs_are_planned(cli: Cli, key: Path, model: Path, probes: Path, tmp_path: Path) -> None:
    weights = ["--weights", "excess", "--reference", model, "--sample", 1000, "--logprobs", 5]
    base = ["--key", key, "--probes", probes, *weights]
    shown = cli("plan", "-o", tmp_path / "1", *base, "--access", "completions", "--json").json()["plan"]
    assert (shown["access"], shown["sampling"]["logprobs"]) == ("completions", 5)
    said = cli("plan", "-o", tmp_path / "2", *base).out
    assert "a server's chat endpoint" in said
    assert "log-probabilities of 5 tokens" in said
    assert "level         alpha 1e-06\n" in said  # no power: it is not computed for weights
    cli("plan", "-o", tmp_path / "3", *base, "--access", "weights").refused(
        3, "log-probabilities are asked of a server"
    )


def test_a_large_alpha_is_warned_of(cli: Cli, key: Path, probes: Path, tmp_path: Path) -> None:
    base = ["--key", key, "--probes", probes, "--json"]
    assert any("2.5 x" in note for note in cli("plan", "-o", tmp_path / "1", *base, "--alpha", 0.05).json()["notes"])
    assert not any("2.5 x" in note for note in cli("plan", "-o", tmp_path / "2", *base).json()["notes"])


@pytest.mark.parametrize(
    ("options", "code", "fragments"),
    [
        ([], 2, ["give --key"]),
        (["--key", "K"], 2, ["--probes"]),
        (["--key", "K", "--gamma", "0.25"], 2, ["not both"]),
        (["--key", "K", "--probes", "P", "--effect", "0.3", "--effect", "0.4"], 2, ["--effect once"]),
        (["--key", "K", "--probes", "P", "--commitment", "K"], 2, ["needed together"]),
        (["--key", "K", "--probes", "P", "--leaves", "K"], 2, ["needed together"]),
        (["--key", "K", "--probes", "P", "--weights", "mass"], 2, ["no weighting of the sampled test"]),
        (["--key", "K", "--probes", "P", "--also", "reading"], 2, ["--also"]),
        (["--key", "K", "--probes", "P", "--seed", "zz"], 2, ["--seed", "64 hex digits"]),
        (
            ["--key", "K", "--probes", "P", "--weights", "mass", "--primary", "reading", "--top-p", "0.9"],
            2,
            ["no sampled test is planned"],
        ),
        (["--key", "K", "--probes", "P", "--positive-control-note", "x"], 2, ["give both"]),
        (["--key", "K", "--probes", "P", "--effect", "0.2"], 3, ["above gamma"]),
        (["--key", "K", "--probes", "P", "--max-pairs", "12615"], 3, ["1.6 x the 7,885", "12,616 or more"]),
        (["--key", "K", "--probes", "P", "--stopping", "fixed"], 3, ["--sample TOKENS"]),
        (["--key", "K", "--probes", "P", "--also", "reading/difference"], 3, ["--reference"]),
        (["--key", "K", "--probes", "P", "--reference", "none-here"], 3, ["none-here"]),
        (["--key", "K", "--probes", "none"], 3, ["none does not exist"]),
        (["--key", "none", "--probes", "P"], 5, ["none does not exist"]),
    ],
    ids=str,
)
def test_plans_that_are_refused_leave_nothing(
    options: list[str], code: int, fragments: list[str], cli: Cli, key: Path, probes: Path, tmp_path: Path
) -> None:
    before = names(tmp_path)
    given = [{"K": key, "P": probes}.get(option, option) for option in options]
    cli("plan", "-o", tmp_path / "plan.json", *given).refused(code, *fragments)
    assert names(tmp_path) == before


def test_what_is_there_is_never_replaced(cli: Cli, key: Path, probes: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("mine")
    cli("plan", "-o", tmp_path / "plan.json", "--key", key, "--probes", probes).refused(3, "already exists")
    cli("plan", "-o", tmp_path / "no" / "plan", "--key", key, "--probes", probes).refused(3, "not a directory")
    assert (tmp_path / "plan.json").read_text() == "mine"


def test_commitments_that_do_not_hold_the_key(
    cli: Cli, key: Path, committed: list[object], probes: Path, tmp_path: Path
) -> None:
    _, account, *tree = committed
    base = ["plan", "-o", tmp_path / "plan.json", "--probes", probes, "--key"]
    cli(*base, key, *tree).refused(5, "not among the 3 marks")
    leaves = tmp_path / "l.json"
    listed = json.loads(leaves.read_text())
    for content, reason in (
        (listed[:2], "commits to other marks than the 2 given; give the leaves that were written with it"),
        ([], "at least one"),
        ({}, "at least one"),
        ([{"account": "a"}], "a leaf lacks"),
        ([listed[0], listed[0]], "given twice"),
    ):
        leaves.write_text(json.dumps(content))
        cli(*base, account, *tree).refused(5, reason)
    (tmp_path / "c.json").write_text("{}")
    cli(*base, account, *tree).refused(5, "c.json")
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize("option", ["--decoys", "--probes", "--max-pairs", "--primary", "--seed", "--commitment"])
def test_options_of_a_plan_need_its_file(option: str, cli: Cli) -> None:
    value = {"--primary": "reading", "--seed": "0" * 64}.get(option, "3")
    cli("plan", option, value).refused(2, option, "-o PLAN.json")


@pytest.mark.parametrize("whose", ["key", "text_key"])
def test_torch_is_only_needed_for_models(
    whose: str, probes: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A plan without models is made on a machine that could not load one; a tokenizer needs none."""
    (tmp_path / "torch.py").write_text("raise ImportError('none here')\n")
    key = request.getfixturevalue(whose)
    done = execute("plan", "-o", tmp_path / "p", "--key", key, "--probes", probes, PYTHONPATH=str(tmp_path))
    assert done.code == 0, done
    assert (Plan.load(tmp_path / "p").left_out is None) == (whose == "key")
