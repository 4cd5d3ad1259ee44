"""`suspect`: reading and sampled from the command line, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.cli.examination import ONE_MODEL
from detect.counting import weigh
from detect.exact.weighted import evaluate_bound
from detect.fed import Probe, probes_digest
from detect.observation import Reading
from tests import tiny
from tests.detect.cli.helpers import EVIDENCE, LINEUP, SPEECH, Cli, read_rows, save_key, write_rows
from tests.watermark.engines.helpers import tokenizer
from watermark import Key
from watermark.engines.chat import chat_prompt_ids
from watermark.greenlist import GreenList

COMPARED = [*EVIDENCE, "comparisons"]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model with the same tokenizer."""
    return tiny.build(tmp_path_factory.mktemp("other") / "model", seed=1)


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    sentences = SPEECH.read_text().split(". ")[:8]
    return write_rows(tmp_path / "probes.jsonl", [{"prompt": f"Say {i}", "text": s} for i, s in enumerate(sentences)])


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "asked.jsonl", [{"prompt": "The rain"}, {"prompt_ids": [40, 41, 42]}])


def weighted(evidence: dict[str, Any]) -> None:
    """The fields that a reading leaves empty, and those it fills."""
    for name in ("n_green", "green_fraction", "ci95", "log10_e"):
        assert evidence[name] is None, name
    for name in ("z_score", "log10_p", "log10_p_adjusted", "log10_p_saddlepoint", "theta"):
        assert isinstance(evidence[name], float), name


def test_reading_alone(cli: Cli, text_key: Path, model: Path, other: Path, probes: Path) -> None:
    command = ["suspect", "--key", text_key, "--model", other, "--reference", model, "--probes", probes, "--json"]
    found = cli(*command).json()
    assert list(found) == ["reading"]
    evidence = found["reading"]
    assert list(evidence) == COMPARED
    weighted(evidence)
    assert evidence["test"] == "reading"
    ids = [tokenizer()(row["text"], add_special_tokens=False).input_ids for row in read_rows(probes)]
    assert evidence["n_tokens"] == sum(map(len, ids))
    assert evidence["n_contexts"] == len({token for document in ids for token in document})
    assert evidence["finding"] == "inconclusive"
    assert set(evidence["comparisons"]) == {"argmax", "green_mass"}


def test_both_tests_with_line_ups(cli: Cli, text_key: Path, model: Path, other: Path, probes: Path) -> None:
    command = ["suspect", "--key", text_key, "--model", other, "--reference", model, "--probes", probes]
    options = ["--sample", 100, "--max-new-tokens", 20, "--decoys", 9, "--seed", "ab" * 32]
    found = cli(*command, *options, "--json").json()
    assert list(found) == ["reading", "sampled"]
    reading, sampled = found["reading"], found["sampled"]
    assert list(sampled) == [*EVIDENCE, "lineup", "comparisons"]
    for one in (reading, sampled):
        assert list(one["lineup"]) == LINEUP
        assert (one["lineup"]["decoys"], one["lineup"]["seed"]) == (9, "ab" * 32)
        assert any("Holm over 2 tests" in note for note in one["notes"])
        assert one["log10_p_adjusted"] >= one["log10_p"]
    assert 100 <= sampled["n_tokens"] < 100 + 20  # up to the answer that makes it full, none of its batch beyond
    weighted(sampled)
    people = cli(*command, *options)
    assert (people.code, people.notes) == (0, "")
    assert [line.partition(": ")[0] for line in people.err.splitlines()] == [
        "reading", "audit of the reference", "sampling", "reference", "line-up, reading", "line-up, sampled",
    ]  # fmt: skip
    for part in ("Reading test", "Sampled test", "valid bound", "distinct pairs", "argmax", "green mass", "of 10"):
        assert part in people.out
    assert "without a positive control this test cannot say that a mark is absent" in people.out


def test_results_repeat_and_seeds_matter(cli: Cli, text_key: Path, other: Path, asked: Path) -> None:
    command = ["suspect", "--key", text_key, "--model", other, "--probes", asked, "--sample", 60, "--json"]
    first = cli(*command)
    assert first.out == cli(*command).out
    assert first.out != cli(*command, "--sample-seed", 1).out


def test_prompts_alone_are_sampled_only(cli: Cli, text_key: Path, model: Path, asked: Path) -> None:
    command = ["suspect", "--key", text_key, "--model", model, "--probes", asked]
    cli(*command).refused(3, "the probes hold prompts only", "or add --sample")
    result = cli(*command, "--sample", 50, "--json")
    assert list(result.json()) == ["sampled"]
    assert result.notes == "The probes hold no answers: only the sampled test is run.\n"


def test_probes_that_are_plain_text(cli: Cli, text_key: Path, model: Path, tmp_path: Path) -> None:
    text = tmp_path / "natural.txt"
    text.write_text(SPEECH.read_text()[:600])
    command = ["suspect", "--key", text_key, "--model", model, "--probes", text]
    assert cli(*command, "--json").json()["reading"]["n_tokens"] > 100
    cli(*command, "--sample", 50).refused(3, "the probes hold no prompts, which --sample needs")


def test_marked_probes_claim_no_p(cli: Cli, text_key: Path, model: Path, other: Path, probes: Path) -> None:
    command = ["suspect", "--key", text_key, "--model", other, "--reference", model, "--probes", probes]
    evidence = cli(*command, "--probes-marked", "--json").json()["reading"]
    assert evidence["log10_p"] is evidence["log10_p_adjusted"] is None
    assert evidence["finding"] == "inconclusive"
    assert any("no p is claimed" in note for note in evidence["notes"])
    assert "p            not claimed" in cli(*command, "--probes-marked").out
    assert cli(*command, "--probes-marked", "--strict").code == 4
    assert "lineup" not in cli(*command, "--probes-marked", "--decoys", 5, "--json").json()["reading"]


def test_probes_that_carry_the_mark_are_noticed_whatever_the_rows_say(
    cli: Cli, model: Path, other: Path, tmp_path: Path
) -> None:
    """Prompts from the key's green lists, answers as anybody writes: rows' other fields are ignored by design."""
    key = save_key(tmp_path / "k")
    green = GreenList(Key.load(key)).mask(np.arange(384).reshape(-1, 1), 384)
    rng = np.random.default_rng(7)
    rows = []
    for sentence in SPEECH.read_text().split(". ")[:6]:
        ids = [50]
        while len(ids) < 20:
            ids.append(int(rng.choice(np.flatnonzero(green[ids[-1]])[5:])))
        rows.append({"prompt_ids": ids, "text": sentence[:60], "marked": False})
    marked = write_rows(tmp_path / "marked.jsonl", rows)
    command = ["suspect", "--key", key, "--model", other, "--reference", model, "--probes", marked, "--sample", 60]
    found = cli(*command, "--decoys", 5, "--json").json()
    for one in found.values():
        assert (one["log10_p"], one["log10_p_adjusted"], one["finding"]) == (None, None, "inconclusive")
        assert "lineup" not in one
        assert any("text tests of them under this key: log10_p -" in note for note in one["notes"])
    foreign = cli(*command, "--key", save_key(tmp_path / "foreign", 3), "--json").json()
    assert all(one["log10_p"] is not None for one in foreign.values())
    text = cli("suspect", "--help").out
    assert "Prompts or answers of the probes carry the mark" in " ".join(text.split())


def test_a_refused_key_detects_nothing(cli: Cli, text_key: Path, model: Path, other: Path, probes: Path) -> None:
    from detect.exact.binomial import log10_sf
    from detect.keycheck import KeyCheck, check_path

    key_id, made = Key.load(text_key).key_id, "2026-11-01T00:00:00+00:00"
    record = KeyCheck(key_id, False, log10_sf(60, 90, 0.25), 90, 60, "ab" * 32, 3, made)
    check_path(text_key).write_text(json.dumps(record.to_dict()))
    command = ["suspect", "--key", text_key, "--model", other, "--reference", model, "--probes", probes]
    evidence = cli(*command, "--json").json()["reading"]
    assert (evidence["finding"], evidence["log10_p_adjusted"]) == ("inconclusive", None)
    assert evidence["log10_p"] is not None
    people = cli(*command).out
    assert "adjusted: not claimed" in people
    assert "nothing is claimed under this key" in people
    assert "the key was refused by its own check" in people


def test_a_saved_reading_gives_the_same_evidence_again(
    cli: Cli, text_key: Path, model: Path, other: Path, probes: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "reading.npz"
    command = ["suspect", "--key", text_key, "--model", other, "--reference", model, "--probes", probes]
    result = cli(*command, "--save-reading", saved, "--top", 30, "--json")
    evidence = result.json()["reading"]
    assert result.notes == f"reading: {saved}\n"
    again = weigh(Key.load(text_key), Reading.load(saved))
    (s,) = [float(note.split()[2].rstrip(",")) for note in evidence["notes"] if note.startswith("S = ")]
    assert again.statistic == s
    bound = evaluate_bound(again.weights, 0.25, s, evidence["theta"])
    assert evidence["log10_p"] == pytest.approx(bound, rel=1e-12)
    cli(*command, "--save-reading", saved).refused(3, f"{saved} already exists")
    cli(*command, "--save-reading", tmp_path / "gone" / "r.npz").refused(3, "is not a directory")
    asked = write_rows(tmp_path / "asked.jsonl", [{"prompt": "The rain"}])
    only = ["suspect", "--key", text_key, "--model", other, "--probes", asked, "--sample", 9]
    cli(*only, "--save-reading", tmp_path / "r.npz").refused(3, "nothing to read: leave out --save-reading")
    assert not (tmp_path / "r.npz").exists()


def test_the_notes_say_how_to_see_the_same(cli: Cli, text_key: Path, model: Path, other: Path, probes: Path) -> None:
    import torch

    from watermark.engines.models import model_digest

    command = ["suspect", "--key", text_key, "--model", other, "--reference", model, "--probes", probes]
    options = ["--sample", 50, "--temperature", 0.9, "--max-new-tokens", 12, "--sample-seed", 8, "--top", 30]
    found = cli(*command, *options, "--json").json()
    rows = [
        Probe(chat_prompt_ids(tokenizer(), row["prompt"]), tokenizer()(row["text"], add_special_tokens=False).input_ids)
        for row in read_rows(probes)
    ]
    for one in found.values():
        notes = "\n".join(one["notes"])
        assert f"questioned model: digest {model_digest(other)}; torch {torch.__version__}, threads 1" in notes
        assert f"probes: 8 rows, SHA-256 {probes_digest(rows)} over" in notes
        assert all("\n" not in note and len(note) <= 400 for note in one["notes"])
    scaled = "contexts scaled by what the reference expects (ADR 0005)"
    of_reference = f"reference: digest {model_digest(model)}; {scaled}; K = 30 weights kept"
    assert of_reference in "\n".join(found["reading"]["notes"])
    assert (
        "sampling: at least 50 tokens, temperature 0.9, at most 12 new tokens an answer, seed 8, 25 prompts at a time; "
        "the smallest run of requests 0, 1, 2 … that holds them counts" in found["sampled"]["notes"]
    )
    assert any("a second, larger look is a second test" in note for note in found["sampled"]["notes"])
    people = cli(*command, *options).out
    assert people.count("for comparison; not adjusted") == 3
    alone = [one for one in command if one not in ("--reference", model)]
    counted = cli(*alone, *options).out
    assert "a second, larger look must be judged by the e-value" in counted
    assert "(of this test alone, not adjusted)" in counted


def test_a_model_that_carries_the_mark_is_detected_by_sampling_and_by_reading(
    cli: Cli, model: Path, probes: Path, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for a student: the model whose every logit row is biased by the key."""
    from tests.watermark.engines.helpers import VOCABULARY
    from watermark import GreenListProcessor
    from watermark.engines import models

    hot = save_key(tmp_path / "hot", delta=3.0)
    processor = GreenListProcessor(Key.load(hot), VOCABULARY)

    def student(name: str | Path) -> Any:
        loaded = load(name)
        if str(name) != str(tmp_path / "student"):
            return loaded
        forward = loaded.forward

        def biased(*args: Any, **kwargs: Any) -> Any:
            output = forward(*args, **kwargs)
            ids = kwargs["input_ids"]
            keep = kwargs.get("logits_to_keep")
            columns = list(range(ids.shape[1]))
            if keep is not None:
                columns = keep.tolist() if hasattr(keep, "tolist") else columns[-keep:] if keep else columns
            for place, column in enumerate(columns):
                output.logits[:, place] = processor(ids[:, : column + 1], output.logits[:, place])
            return output

        biased.__signature__ = __import__("inspect").signature(forward)  # type: ignore[attr-defined]
        monkeypatch.setattr(loaded, "forward", biased)
        return loaded

    load = models.load_model
    shutil.copytree(model, tmp_path / "student")
    monkeypatch.setattr(models, "load_model", student)
    command = ["suspect", "--model", tmp_path / "student", "--reference", model, "--probes", probes, "--json"]
    sampling = ["--sample", 500, "--decoys", 50]
    found = cli(*command, "--key", hot, *sampling).json()
    for test in ("reading", "sampled"):
        assert found[test]["finding"] == "detected", test
        assert found[test]["lineup"]["rank"] == 1
    assert cli(*command, "--key", hot, "--fail-on-detect").code == 1
    foreign = cli(*command, "--key", save_key(tmp_path / "foreign", 3), *sampling).json()
    assert [foreign[test]["finding"] for test in foreign] == ["inconclusive", "inconclusive"]
    assert min(foreign[test]["log10_p"] for test in foreign) > -3
    untouched = cli("suspect", "--model", model, "--probes", asked, "--key", hot, "--sample", 500, "--json").json()
    assert untouched["sampled"]["finding"] != "detected"


def test_a_model_that_equals_its_reference_is_noticed(cli: Cli, text_key: Path, model: Path, probes: Path) -> None:
    command = ["suspect", "--key", text_key, "--model", model, "--reference", model, "--probes", probes, "--json"]
    result = cli(*command)
    assert "they seem to be one model" in result.err
    assert ONE_MODEL in result.json()["reading"]["notes"]
    assert result.json()["reading"]["n_scored"] == 0
    assert cli("-q", *command).err == ""


def test_more_is_said_when_asked_for(cli: Cli, text_key: Path, model: Path, probes: Path) -> None:
    from watermark.engines.models import model_digest

    command = ["suspect", "--key", text_key, "--model", model, "--probes", probes, "--json"]
    assert cli(*command).notes == ""
    assert f"questioned model {model}, digest {model_digest(model)}" in cli(*command, "-v").err
    assert cli(*command, "-v", "-q").err == ""


# Refusals


def test_the_questioned_models_own_tokenizer_files_do_not_drive_the_test(
    cli: Cli, text_key: Path, model: Path, other: Path, probes: Path, tmp_path: Path
) -> None:
    """Its merges and its template are not covered by the key's hash: a changed copy changes nothing but a note."""
    changed = tmp_path / "changed"
    shutil.copytree(other, changed)
    content = json.loads((changed / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Replace", "pattern": {"Regex": ".+"}, "content": "a"}
    (changed / "tokenizer.json").write_text(json.dumps(content))
    command = ["suspect", "--key", text_key, "--reference", model, "--probes", probes, "--json", "--model"]
    honest, hostile = (cli(*command, name).json()["reading"] for name in (other, changed))
    assert hostile["log10_p"] == honest["log10_p"]
    assert hostile["n_scored"] == honest["n_scored"] > 0
    assert any("tokenizer files differ" in note for note in hostile["notes"])
    assert not any("tokenizer files differ" in note for note in honest["notes"])
    assert any("verified against the tokenizer" in note for note in honest["notes"])


def test_models_that_are_refused(cli: Cli, text_key: Path, model: Path, probes: Path, tmp_path: Path) -> None:
    empty, pickled, coded, truncated = (tmp_path / name for name in ("empty", "pickled", "coded", "truncated"))
    empty.mkdir()
    for copy in (pickled, coded, truncated):
        shutil.copytree(model, copy)
    (pickled / "model.safetensors").unlink()
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    config = json.loads((coded / "config.json").read_text())
    (coded / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    os.truncate(truncated / "model.safetensors", 1000)
    base = ["suspect", "--key", text_key, "--probes", probes]
    for name, reason in (
        (empty, "holds no config.json"),
        (pickled, "safetensors"),
        (coded, "auto_map"),
        (truncated, "damaged or truncated"),
        (probes, "is a file"),
        (tmp_path / "gone", "does not exist"),
        ("some/model", "hub cannot be reached"),
    ):
        cli(*base, "--model", name).refused(3, str(name), reason)
        if name != coded:
            cli(*base, "--model", model, "--reference", name).refused(3, str(name))


@pytest.mark.parametrize(
    ("row", "fragments"),
    [
        ({"token_ids": [1, 384, 2]}, (":1: token id 384 is not among the 384 tokens of the key's tokenizer",)),
        ({"prompt_ids": [5000], "token_ids": [5, 6]}, (":1: token id 5000",)),
        ({"id": 1}, (":1", "holds no text, token_ids, prompt or prompt_ids")),
        ({"text": 5}, (":1", "text must be text")),
        ({"text": ""}, ("the probes' answers are all empty",)),
    ],
    ids=str,
)
def test_probes_that_are_refused(
    row: dict[str, Any], fragments: tuple[str, ...], cli: Cli, text_key: Path, model: Path, tmp_path: Path
) -> None:
    probes = write_rows(tmp_path / "p.jsonl", [row])
    cli("suspect", "--key", text_key, "--model", model, "--probes", probes).refused(3, *fragments)


@pytest.mark.parametrize(
    "options", [["--sample", "0"], ["--top", "0"], ["--temperature", "0"], ["--decoys", "x"]], ids=str
)
def test_bad_options(options: list[str], cli: Cli) -> None:
    cli("suspect", "--key", "k", "--model", "m", "--probes", "p", *options).refused(2, options[0], "suspect --help")
