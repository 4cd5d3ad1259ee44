"""`suspect` where sampled answers are weighed against a reference: at hand, behind a server, and as a plan says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.counting import weigh, window_rule
from detect.fed import Probe
from detect.observation import load_observed
from detect.questioned.answer_ids import Listed
from detect.questioned.excess import excess_of
from tests.detect.cli.helpers import EVIDENCE, Cli, save_key, write_rows
from tests.detect.questioned import table_model
from tests.detect.questioned.fake_server import FakeServer, Question
from tests.watermark.engines.helpers import tokenizer
from watermark import Key
from watermark.engines.chat import chat_prompt_ids
from watermark.engines.models import load_model, model_digest

pytestmark = pytest.mark.usefixtures("here", "unconfigured")
PROMPTS = ("Where is the sea?", "Who counted the coins?", "What fell on the harbour?")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base model, one that carries the mark of `text_key`, and another without a mark."""
    place = tmp_path_factory.mktemp("tables")
    key = Key.load(save_key(place / "text.key"))
    made: dict[str, tuple[Key | None, int]] = {"base": (None, 0), "marked": (key, 0), "other": (None, 1)}
    return {
        name: table_model.build(place / name, key=mark, delta=0.6, seed=seed) for name, (mark, seed) in made.items()
    }


def forms() -> list[list[int]]:
    """The prompts in both forms."""
    return [
        *(chat_prompt_ids(tokenizer(), prompt) for prompt in PROMPTS),
        *(list(tokenizer()(prompt, add_special_tokens=False)["input_ids"]) for prompt in PROMPTS),
    ]


# --- a model at hand ---


def test_sampled_answers_are_weighed(cli: Cli, text_key: Path, tables: dict[str, Path], prompts: Path) -> None:
    command = [
        "suspect",
        "--key",
        text_key,
        "--model",
        tables["marked"],
        "--probes",
        prompts,
        "--sample",
        1500,
        "--json",
    ]
    counted = cli(*command).json()["sampled"]
    found = cli(*command, "--reference", tables["base"], "--decoys", 20).json()["sampled"]
    assert list(found) == [*EVIDENCE, "lineup", "comparisons"]
    assert found["comparisons"] == {
        "distinct_pairs": {name: counted[name] for name in ("n_scored", "n_green", "log10_p")}
    }
    assert (found["test"], found["finding"], found["n_tokens"]) == ("sampled", "detected", counted["n_tokens"])
    assert found["log10_p"] < counted["log10_p"] - 3
    assert found["lineup"]["rank"] == 1
    for name in ("n_green", "green_fraction", "ci95", "log10_e"):
        assert found[name] is None
    scaled = "contexts scaled by what the reference expects (ADR 0005)"
    of_reference = f"reference: digest {model_digest(tables['base'])}; {scaled}; K = 256 weights kept per context"
    assert of_reference in found["notes"]
    assert any("a second, larger look is a second test" in note for note in found["notes"])
    assert found["n_scored"] > counted["n_scored"]
    poorer = cli(*command, "--reference", tables["other"], "--top", 9).json()["sampled"]
    assert found["log10_p"] < poorer["log10_p"]
    assert poorer["n_scored"] <= 9 * poorer["n_contexts"]
    again = cli(*command[:-1], "--reference", tables["base"])
    assert "distinct pairs p" in again.out
    assert "valid bound" in again.out


def test_nothing_is_found_where_there_is_nothing(
    cli: Cli, text_key: Path, tables: dict[str, Path], prompts: Path
) -> None:
    command = [
        "suspect",
        "--key",
        text_key,
        "--model",
        tables["other"],
        "--reference",
        tables["base"],
        "--probes",
        prompts,
    ]
    found = cli(*command, "--sample", 800, "--json").json()["sampled"]
    assert (found["finding"], found["log10_p"] > -3) == ("inconclusive", True)
    assert "without a positive control this test cannot say that a mark is absent" in cli(*command, "--sample", 800).out


def test_a_reference_with_other_tokens(
    cli: Cli, text_key: Path, foreign_model: Path, model: Path, prompts: Path
) -> None:
    command = ["suspect", "--key", text_key, "--model", model, "--reference", foreign_model, "--probes", prompts]
    cli(*command, "--sample", 50, "-q").refused(3, "has another tokenizer than the key")


# --- behind a server ---


def listed(text: str, seed: int) -> list[dict[str, Any]]:
    """What a server might say of each token: made up, and other tokens beside."""
    rng = np.random.default_rng(seed)
    names = [tokenizer().decode([token]) for token in tokenizer()(text, add_special_tokens=False)["input_ids"]]
    return [
        {"token": name, "logprob": -0.25, "top_logprobs": [{"token": name, "logprob": -0.25},
                                                          {"token": str(rng.choice(names)), "logprob": -2.5}]}
        for name in names
    ]  # fmt: skip


def asking(server: FakeServer, key: Path, probes: Path, *more: object) -> list[object]:
    return [
        "suspect",
        "--key",
        key,
        "--api",
        server.url,
        "--model-name",
        "m",
        "--probes",
        probes,
        *more,
        "--json",
        "-q",
    ]


def logged(log: Path, n_tokens: int) -> list[dict[str, Any]]:
    """The smallest run of requests that holds the tokens, from the log alone."""
    lines = sorted((json.loads(one) for one in log.read_bytes().splitlines()[1:]), key=lambda one: one["request"])
    found, total = [], 0
    for line in lines:
        if total < n_tokens:
            found.append(line)
            total += len(tokenizer()(line["text"], add_special_tokens=False)["input_ids"])
    return found


@pytest.mark.parametrize("with_lists", [False, True])
def test_a_servers_answers_are_weighed(with_lists: bool, cli: Cli, text_key: Path, model: Path, prompts: Path) -> None:
    def more(words: list[str]) -> dict[str, Any]:
        return {"logprobs": {"content": listed(" ".join(words), len(words))}} if with_lists else {}

    options = ["--sample", 300, "--reference", model, "--log", "log", "--top", 20, "--temperature", 0.8]
    with FakeServer(more=more) as server:
        asked = asking(server, text_key, prompts, *options, *(["--logprobs", 2] if with_lists else []))
        found = cli(*asked).json()["sampled"]
        assert cli(*asked).json()["sampled"] == found
        assert server.repeated() == {}
    probes, lists = [], []
    for line in logged(Path("log"), 300):
        ids = tokenizer()(line["text"], add_special_tokens=False)["input_ids"]
        probes.append(Probe(forms()[line["prompt"]], ids))
        names = {str(tokenizer().decode([token])): token for token in range(384)}
        lists.append(
            [Listed({**{names[n]: v for n, v in place["top"]}, token: -0.25}, _least(place))
             for token, place in zip(ids, line["logprobs"], strict=True)] if with_lists else None
        )  # fmt: skip
    key = Key.load(text_key)
    by_hand = excess_of(load_model(model), probes, rule=window_rule(key), vocab_size=384, exclude=forms(), listed=lists,
                        top=20, temperature=0.8)  # fmt: skip
    expected = weigh(key, by_hand, tokenizer_checked=True)
    notes = "\n".join(found["notes"])
    assert f"S = {expected.statistic!r}" in notes
    assert (found["n_tokens"], found["n_scored"]) == (expected.n_tokens, expected.n_scored)
    assert found["comparisons"]["distinct_pairs"] == expected.comparisons["distinct_pairs"].to_dict()
    assert ("the server gave log-probabilities at 100.0% of these" in notes) == with_lists
    assert ("log-probabilities of 2 tokens (weighed)" in notes) == with_lists
    assert "a system prompt or template of the server's own is not visible" in notes
    assert "what it expected is that of temperature 0.8" in notes
    assert all("\n" not in note and len(note) <= 400 for note in found["notes"])


def _least(place: dict[str, Any]) -> float:
    others = [value for name, value in place["top"] if name != place["token"]]
    return min(others, default=-0.25)


def test_options_that_need_the_reference(cli: Cli, text_key: Path, prompts: Path) -> None:
    with FakeServer() as server:
        cli(*asking(server, text_key, prompts, "--top", 9)).refused(2, "--top has no meaning with --api unless")
        missing = asking(server, text_key, prompts, "--reference", Path("gone"))
        cli(*missing).refused(3, "gone")
        assert server.asked == []  # refused before anything is asked


def test_what_was_weighed_is_saved_and_scored_again(
    cli: Cli, text_key: Path, model: Path, prompts: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "answers.npz"
    with FakeServer(text=_words) as server:
        asked = asking(server, text_key, prompts, "--reference", model, "--sample", 900, "--save-excess", saved)
        found = cli(*asked, "--json").json()["sampled"]
        cli(*asked).refused(3, f"{saved} already exists")
        bare = asking(server, text_key, prompts, "--save-excess", tmp_path / "x")
        cli(*bare).refused(2, "--save-excess: no answers are weighed; give --reference")
    again = weigh(Key.load(text_key), load_observed(saved), tokenizer_checked=True)
    assert f"S = {again.statistic!r}" in "\n".join(found["notes"])
    assert again.n_scored == found["n_scored"]


# --- as planned ---


def planned(cli: Cli, path: Path, key: Path, probes: Path, *options: object) -> Path:
    weights = ["--primary", "sampled", "--weights", "excess", "--sample", 1500, "--decoys", 9, "-q"]
    result = cli("plan", "-o", path, "--key", key, "--probes", probes, *weights, *options)
    assert result.code == 0, result
    return path


def test_a_plan_with_a_positive_control(cli: Cli, text_key: Path, tables: dict[str, Path], prompts: Path) -> None:
    models = ["--reference", tables["base"], "--positive-control", tables["marked"]]
    plan = planned(cli, Path("plan"), text_key, prompts, *models, "--also", "sampled/distinct", "--access", "weights")
    command = ["suspect", "--key", text_key, "--probes", prompts, "--plan", plan, *models, "--json", "-q"]
    other = cli(*command, "--model", tables["other"]).json()
    assert list(other) == ["sampled/distinct", "sampled/excess"]
    weighed, counted = other["sampled/excess"], other["sampled/distinct"]
    assert (weighed["finding"], weighed["plan"]["control"]["finding"]) == ("not detected", "detected")
    assert (weighed["plan"]["primary"], counted["plan"]["primary"]) == (True, False)
    assert weighed["comparisons"]["distinct_pairs"]["n_green"] == counted["n_green"]
    marked = cli(*command, "--model", tables["marked"]).json()["sampled/excess"]
    assert marked["finding"] == "detected"
    assert marked["log10_p"] == pytest.approx(weighed["plan"]["control"]["log10_p"])
    alone = [*command[:7], "--no-positive-control", "--model", tables["marked"]]
    cli(*alone, "--reference", tables["other"]).refused(3, "reference: digest")
    cli(*alone).refused(3, "reference: none is given")
    cli(*command[:9], "--model", tables["marked"]).refused(2, "the plan names a positive control")


def test_a_plan_behind_a_server(cli: Cli, text_key: Path, model: Path, prompts: Path) -> None:
    plan = planned(cli, Path("plan"), text_key, prompts, "--reference", model)
    with FakeServer(text=_words) as server:
        found = cli(*asking(server, text_key, prompts, "--plan", plan, "--reference", model)).json()
        cli(*asking(server, text_key, prompts, "--plan", plan)).refused(3, "reference: none is given")
    assert list(found) == ["sampled"]
    assert found["sampled"]["plan"]["test"] == "sampled/excess"
    assert found["sampled"]["lineup"]["decoys"] == 9
    assert any("as planned" in note for note in found["sampled"]["notes"])


def test_planned_log_probabilities_are_asked_for(cli: Cli, text_key: Path, model: Path, prompts: Path) -> None:
    plan = planned(cli, Path("plan"), text_key, prompts, "--reference", model, "--logprobs", 3)
    with FakeServer(text=_words) as server:
        cli(*asking(server, text_key, prompts, "--plan", plan, "--reference", model, "--json")).json()
        assert {body["top_logprobs"] for body in server.bodies} == {3}


def _words(question: Question) -> str:
    rng = np.random.default_rng(question[1])
    return str(tokenizer().decode(rng.integers(60, 380, 40).tolist()))
