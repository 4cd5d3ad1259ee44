"""`taggant suspect --model` on models whose tokenizer is not the key's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.cli.foreign import answers_in_own_tokens, fed_prompts, tokenizer_of
from detect.counting import tally
from detect.fed import Probe
from detect.questioned.probes import make_probes
from detect.readers.row import make_row
from tests import tiny
from tests.detect.cli.helpers import Cli, save_key, write_rows
from tests.detect.questioned import table_model
from tests.detect.questioned.tokenizers import renumbered
from watermark import Key
from watermark.engines.answers import Sampling
from watermark.engines.models import load_model, load_tokenizer

PROMPTS = ["What is the capital?", "Explain the moon to a child."]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Marked and unmarked table models, each of the key's tokenizer and with other ids."""
    place = tmp_path_factory.mktemp("models")
    key = Key.load(save_key(place / "text.key"))
    table_model.build(place / "marked", key=key, delta=2.0)
    table_model.build(place / "plain")
    for name in ("marked", "plain"):
        renumbered(place / name, place / f"{name}-other", seed=3)
    return place


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """Texts in words that the table model knows, and prompts."""
    keys = load_tokenizer(tiny.shared())
    known = [i for i in range(3, 384) if (text := keys.decode([i])).strip().isalpha() and len(text) > 2]
    rng = np.random.default_rng(5)
    texts = [keys.decode(rng.choice(known, 40).tolist()) for _ in range(40)]
    return write_rows(
        tmp_path / "probes.jsonl", [{"prompt": PROMPTS[i % 2], "text": text} for i, text in enumerate(texts)]
    )


def notes_of(evidence: Any) -> str:
    return "\n".join(evidence["notes"])


def test_whose_tokenizer_is_used(models: Path, tmp_path: Path) -> None:
    keys = load_tokenizer(tiny.shared())
    assert tokenizer_of(load_model(models / "plain"), keys) is keys
    assert tokenizer_of(load_model(models / "plain-other"), keys) is not keys
    bare = tmp_path / "bare"
    shutil.copytree(models / "plain-other", bare)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink()
    assert tokenizer_of(load_model(bare), keys) is keys


def test_answers_are_those_of_the_same_model_under_the_keys_ids(models: Path) -> None:
    """What it says in its own tokens is what it is said to have answered; a rule to stop by is shown the key's."""
    keys = load_tokenizer(tiny.shared())
    rows = [make_row({"prompt": prompt}, "x", 1, prompts_only_ok=True) for prompt in [*PROMPTS, PROMPTS[0]]]
    probes = make_probes(rows, keys)
    model, own = load_model(models / "marked-other"), load_tokenizer(models / "marked-other")
    shown: list[tuple[int, list[int]]] = []

    def stop(number: int, ids: list[int]) -> bool:
        shown.append((number, ids))
        return number == 3

    how = {"sampling": Sampling(max_new_tokens=20, batch_size=3), "seed": 4}
    found = answers_in_own_tokens(model, own, rows, probes, keys, None, stop=stop, **how)
    assert found.prompts == [list(probe.prompt_ids) for probe in probes[:2]]
    assert found.asked == [0, 1, 0, 1]
    assert [ids for _, ids in shown] == found.answers
    assert [number for number, _ in shown] == [0, 1, 2, 3]
    assert all(ids == keys(keys.decode(ids), add_special_tokens=False)["input_ids"] for ids in found.answers)
    key = Key.load(models / "text.key")
    longer = answers_in_own_tokens(model, own, rows, probes, keys, 1500, **how)
    assert longer.answers[:4] == found.answers
    counted = tally(key, longer.answers, fed_prompts(own, rows, probes, keys), test="sampled")
    assert counted.n_green / counted.n_scored > 0.4


def test_what_was_fed_is_excluded_in_the_keys_tokens(models: Path) -> None:
    keys, own = load_tokenizer(tiny.shared()), load_tokenizer(models / "plain-other")
    rows = [make_row({"prompt": PROMPTS[0]}, "x", 1, prompts_only_ok=True), make_row({"text": "a"}, "y", 1)]
    fed = fed_prompts(own, rows, make_probes(rows, keys), keys)
    assert [keys.decode(ids) for ids in fed] == [f"user\n{PROMPTS[0]}\nassistant\n"]
    ids = keys("The rain", add_special_tokens=False)["input_ids"]
    (again,) = fed_prompts(own, [make_row({"prompt_ids": ids}, "x", 1, prompts_only_ok=True)], [Probe(ids, [])], keys)
    assert keys.decode(again) == "The rain"


# --- the command ---


def test_a_mark_is_found_through_another_tokenizer(cli: Cli, models: Path, spoken: Path) -> None:
    command = ["suspect", "--key", models / "text.key", "--probes", spoken, "--json", "--sample", 2000]
    found = {
        name: cli(*command, "--model", models / name, "--reference", models / "plain").json()
        for name in ("marked-other", "plain-other")
    }
    marked, plain = found["marked-other"], found["plain-other"]
    assert marked["reading"]["finding"] == "detected"
    assert marked["sampled"]["finding"] == "detected"
    assert plain["reading"]["log10_p"] > -4
    assert plain["sampled"]["log10_p"] > -4
    notes = notes_of(marked["reading"])
    assert "aligned reading" in notes
    assert "(100.0%) are boundaries of every tokenizer; 381 tokens (99.2% of the key's)" in notes
    assert "tokenizer of its own" in notes
    assert "tokenised again" in notes_of(marked["sampled"])


def test_it_is_the_ordinary_reading_where_ids_alone_differ(cli: Cli, models: Path, spoken: Path) -> None:
    """Also with a reference of the key's own tokenizer."""
    command = ["suspect", "--key", models / "text.key", "--probes", spoken, "--json"]
    ordinary, aligned, mixed = (
        cli(*command, "--model", models / model, "--reference", models / reference).json()["reading"]
        for model, reference in (("marked", "plain"), ("marked-other", "plain-other"), ("marked-other", "plain"))
    )
    for one in (aligned, mixed):
        assert one["log10_p"] == pytest.approx(ordinary["log10_p"], rel=0.02)
        assert one["n_tokens"] == ordinary["n_tokens"]
    assert "aligned reading" not in notes_of(ordinary)


def test_under_a_plan_it_stays_exploratory(cli: Cli, models: Path, spoken: Path, tmp_path: Path) -> None:
    """No plan settles what tokens the models share: whoever renames them afterwards would choose the weights."""
    key, tree = models / "text.key", [tmp_path / "commitment.json", tmp_path / "leaves.json"]
    assert cli("key", "commit", key, "-o", tree[0], "--leaves", tree[1]).code == 0
    base = ["--key", key, "--probes", spoken, "--reference", models / "plain"]
    committed = ["--commitment", tree[0], "--leaves", tree[1], "--decoys", 9]
    plan = tmp_path / "plan.json"
    assert cli("plan", "-o", plan, *base, *committed, "--primary", "reading").code == 0
    for model, status in (("marked", "confirmatory"), ("marked-other", "exploratory")):
        found = cli("suspect", "--plan", plan, *base, "--model", models / model, "--json").json()["reading"]
        assert (found["finding"], found["status"]) == ("detected", status)
        assert ("a plan does not settle the models' own tokenizers" in found["notes"][-1]) == (status == "exploratory")


def test_so_do_its_answers(cli: Cli, models: Path, spoken: Path, tmp_path: Path) -> None:
    """Nor does a plan settle what its own tokens spell: whoever changes that would choose what is counted."""
    key, tree = models / "text.key", [tmp_path / "commitment.json", tmp_path / "leaves.json"]
    assert cli("key", "commit", key, "-o", tree[0], "--leaves", tree[1]).code == 0
    base = ["--key", key, "--probes", spoken]
    committed = ["--commitment", tree[0], "--leaves", tree[1], "--decoys", 9]
    plan = tmp_path / "plan.json"
    assert cli("plan", "-o", plan, *base, *committed, "--access", "weights", "--effect", 0.6).code == 0
    for model, status in (("marked", "confirmatory"), ("marked-other", "exploratory")):
        found = cli("suspect", "--plan", plan, *base, "--model", models / model, "--json").json()["sampled"]
        assert found["status"] == status
        assert ("a plan does not settle its tokenizer" in found["notes"][-1]) == (status == "exploratory")


def test_a_model_with_another_tokenizer_altogether(
    cli: Cli, text_key: Path, foreign_model: Path, model: Path, spoken: Path
) -> None:
    command = ["suspect", "--key", text_key, "--model", foreign_model, "--probes", spoken, "--json"]
    for options in ([], ["--reference", model], ["--tokenizer", model]):
        (reading,) = cli(*command, *options).json().values()
        assert "aligned reading" in notes_of(reading)
        assert reading["n_scored"] > 0
        assert reading["finding"] == "inconclusive"
