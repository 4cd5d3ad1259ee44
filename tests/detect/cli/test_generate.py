"""`generate`: what it writes, that an interruption costs nothing, and what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from detect.exact.binomial import log10_sf
from tests.detect.cli.helpers import EXECUTABLE, Cli, environment, names, read_rows, save_key, write_rows
from tests.watermark.engines.helpers import green_of_scored, tokenizer
from watermark import Key

PROMPTS = [{"id": "first", "prompt": "The rain fell"}, {"prompt": "He counted"}, {"prompt_ids": [5, 6, 7], "x": 1}]
SHORT = ["--max-new-tokens", "20", "--batch-size", "2"]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "prompts.jsonl", PROMPTS)


def journal_of(output: Path) -> Path:
    return output.with_name(f".{output.name}.journal")


def test_rows_hold_prompt_answer_and_key(cli: Cli, model: Path, text_key: Path, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = cli(
        "generate", "--model", model, "--key", text_key, "--prompts", prompts, "-o", out, "--samples", 2, *SHORT
    )
    assert (result.code, result.out) == (0, "")
    rows = read_rows(out)
    assert result.notes == f"6 answers, {sum(len(row['token_ids']) for row in rows)} tokens: {out}\n"
    for row in rows:
        assert list(row) == ["id", "prompt", "prompt_ids", "text", "token_ids", "marked", "key_id"]
        assert row["text"] == tokenizer().decode(row["token_ids"])
        assert 0 < len(row["token_ids"]) <= 20
        assert (row["marked"], row["key_id"]) == (True, Key.load(text_key).key_id)
    source = f"{prompts}:2"
    assert [row["id"] for row in rows] == ["first#0", "first#1", f"{source}#0", f"{source}#1", *(
        f"{prompts}:3#{i}" for i in range(2))]  # fmt: skip
    assert [row["prompt"] for row in rows] == ["The rain fell"] * 2 + ["He counted"] * 2 + [None] * 2
    assert rows[4]["prompt_ids"] == [5, 6, 7]
    assert tokenizer().decode(rows[0]["prompt_ids"]).startswith("<|im_start|>user\nThe rain fell<|im_end|>")
    assert rows[0]["token_ids"] != rows[1]["token_ids"]
    assert names(tmp_path) == ["out.jsonl", "prompts.jsonl", "text.key"]


def test_unmarked_answers_need_no_key_and_carry_none(cli: Cli, model: Path, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert cli("generate", "--model", model, "--no-mark", "--prompts", prompts, "-o", out, *SHORT, "-q") == (0, "", "")
    assert {(row["marked"], row["key_id"]) for row in read_rows(out)} == {(False, None)}
    assert [row["id"] for row in read_rows(out)] == ["first", f"{prompts}:2", f"{prompts}:3"]


def test_the_mark_is_in_the_marked_answers_only(cli: Cli, model: Path, prompts: Path, tmp_path: Path) -> None:
    hot = save_key(tmp_path / "hot", delta=20.0)
    fractions = []
    for name, options in (("marked", ["--key", hot]), ("plain", ["--no-mark"])):
        out = tmp_path / name
        cli("generate", "--model", model, *options, "--prompts", prompts, "-o", out, "--samples", 4, *SHORT)
        documents = [row["token_ids"] for row in read_rows(out)]
        colours = green_of_scored(Key.load(hot), documents)
        assert len(colours) > 100
        fractions.append(colours.mean())
    assert fractions[0] > 0.95
    assert fractions[1] < 0.6


def test_seeds_and_sampling_matter_and_repeat(cli: Cli, model: Path, prompts: Path, tmp_path: Path) -> None:
    def texts(*options: object) -> list[str]:
        out = tmp_path / f"out{len(names(tmp_path))}"
        cli("generate", "--model", model, "--no-mark", "--prompts", prompts, "-o", out, *SHORT, *options)
        return [row["text"] for row in read_rows(out)]

    assert texts("--sample-seed", 3) == texts("--sample-seed", 3) != texts("--sample-seed", 4)
    assert texts("--sample-seed", 3, "--temperature", "0.0001") == texts("--sample-seed", 4, "--top-k", 1)


def test_prompts_from_stdin(cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    stream = io.TextIOWrapper(io.BytesIO(b'{"prompt": "rain"}\n'))
    monkeypatch.setattr("sys.stdin", stream)
    out = tmp_path / "out"
    assert cli("generate", "--model", model, "--no-mark", "--prompts", "-", "-o", out, *SHORT).code == 0
    assert read_rows(out)[0]["prompt"] == "rain"


# Refusals


def test_a_key_or_no_mark_but_not_both(cli: Cli, model: Path, key: Path, prompts: Path, tmp_path: Path) -> None:
    base = ["generate", "--model", model, "--prompts", prompts, "-o", tmp_path / "out"]
    cli(*base).refused(2, "give --key, or --no-mark")
    cli(*base, "--key", key, "--no-mark").refused(2, "give --key, or --no-mark")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--temperature", "0"], "--temperature"),
        (["--temperature", "nan"], "--temperature"),
        (["--top-p", "0"], "--top-p"),
        (["--top-p", "1.1"], "--top-p"),
        (["--top-k", "-1"], "--top-k"),
        (["--samples", "0"], "--samples"),
        (["--batch-size", "0"], "--batch-size"),
        (["--sample-seed", "-1"], "--sample-seed"),
    ],
    ids=str,
)
def test_ways_to_sample_that_are_bad_options(options: list[str], named: str, cli: Cli, tmp_path: Path) -> None:
    base = ["generate", "--model", "m", "--no-mark", "--prompts", "p", "-o", tmp_path / "o"]
    cli(*base, *options).refused(2, named, "taggant generate --help")


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ('{"prompt": "a"}\n{"text": "b"}\n', (":2", "no prompt or prompt_ids")),
        ('{"prompt": "a"}\n{broken\n', (":2", "not JSON")),
        ('{"prompt": 7}\n', (":1", "prompt must be text")),
        ('{"prompt_ids": [1, 384]}\n', (":1", "prompt id 384 is not among the model's 384 tokens")),
        ('{"prompt_ids": []}\n', (":1", "the prompt has no tokens")),
        ("\n", ("holds no rows",)),
    ],
    ids=str,
)
def test_prompts_that_are_refused(
    content: str, fragments: tuple[str, ...], cli: Cli, model: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "p.jsonl"
    prompts.write_text(content)
    result = cli("generate", "--model", model, "--no-mark", "--prompts", prompts, "-o", tmp_path / "out")
    result.refused(3, str(prompts), *fragments)
    assert names(tmp_path) == ["p.jsonl"]


def test_a_text_file_is_no_list_of_prompts(cli: Cli, model: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Write a letter.")
    result = cli("generate", "--model", model, "--no-mark", "--prompts", tmp_path / "p.txt", "-o", tmp_path / "out")
    result.refused(3, "p.txt: the row holds no prompt or prompt_ids; give JSONL rows that do")


def test_a_model_of_another_tokenizer_is_refused(
    cli: Cli, foreign_model: Path, text_key: Path, prompts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = cli("generate", "--model", foreign_model, "--key", text_key, "--prompts", prompts, "-o", out)
    result.refused(5, "was made for tokenizer", "keygen --tokenizer")
    assert names(tmp_path) == ["prompts.jsonl", "text.key"]


def test_models_that_are_refused(cli: Cli, model: Path, prompts: Path, tmp_path: Path) -> None:
    import shutil

    pickled, empty = tmp_path / "pickled", tmp_path / "empty"
    empty.mkdir()
    shutil.copytree(model, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    before = names(tmp_path)
    for name, reason in (
        (pickled, "safetensors"),
        (empty, "holds no tokenizer"),
        (prompts, "is a file; give the model's directory"),
        (tmp_path / "none", "does not exist"),
        ("some/model", "hub cannot be reached"),
    ):
        result = cli("generate", "--model", name, "--no-mark", "--prompts", prompts, "-o", tmp_path / "out")
        result.refused(3, str(name), reason)
    assert names(tmp_path) == before


def test_outputs_that_are_refused(cli: Cli, prompts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    base = ["generate", "--model", "never/loaded", "--no-mark", "--prompts", prompts, "-o"]
    cli(*base, out).refused(3, f"{out} already exists")
    cli(*base, tmp_path / "no" / "out").refused(3, "is not a directory; create it first")
    assert out.read_text() == "mine"


def test_a_key_that_its_check_refused_marks_nothing(
    cli: Cli, model: Path, text_key: Path, prompts: Path, tmp_path: Path
) -> None:
    key_id, refused, accepted = Key.load(text_key).key_id, log10_sf(9, 9, 0.25), log10_sf(4, 9, 0.25)
    record = {"key_id": key_id, "accepted": False, "log10_p": refused, "n_scored": 9, "n_green": 9}
    check = tmp_path / "text.key.check.json"
    check.write_text(
        json.dumps(
            {
                **record,
                "corpus_sha256": "ab" * 32,
                "n_documents": 1,
                "created": "2026-11-24T00:00:00+00:00",
                "format": "taggant-key-check/2",
            }
        )
    )
    out = tmp_path / "out"
    command = ["generate", "--model", model, "--key", text_key, "--prompts", prompts, "-o", out, *SHORT]
    cli(*command).refused(5, str(text_key), "refused by its key check", "taggant keygen")
    assert not out.exists()
    told = {**json.loads(check.read_text()), "accepted": True, "log10_p": accepted, "n_green": 4}
    check.write_text(json.dumps(told))
    assert cli(*command).code == 0


# Interruption


def long_command(model: Path, key: Path, prompts: Path, output: Path) -> list[Any]:
    return ["generate", "--model", model, "--key", key, "--prompts", prompts, "-o", output,
            "--samples", 10, "--max-new-tokens", 40, "--batch-size", 2]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, 130, "taggant: interrupted; what was finished is kept"), (signal.SIGKILL, -9, "")],
    ids=["SIGINT", "SIGKILL"],
)
def test_interrupted_the_same_command_goes_on(
    number: int, code: int, words: str, cli: Cli, model: Path, text_key: Path, prompts: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    command = [str(EXECUTABLE), *map(str, long_command(model, text_key, prompts, out))]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, env=environment(), start_new_session=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if journal_of(out).exists() and journal_of(out).read_bytes().count(b"\n") >= 2:
            break
        time.sleep(0.005)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (code, b"")
    began, _, said = stderr.decode().partition("\n")
    assert began == "answering: 30 answers"
    assert said.startswith(words)
    assert said.count("\n") == bool(words)
    assert not out.exists()
    kept = len(journal_of(out).read_bytes().splitlines()) - 1
    assert 1 <= kept < 15

    result = cli(*long_command(model, text_key, prompts, out))
    assert result.code == 0
    assert f"{2 * kept} of 30 answers are there already; going on" in result.err
    assert cli(*long_command(model, text_key, prompts, whole)).code == 0
    assert out.read_bytes() == whole.read_bytes()
    assert [name for name in names(tmp_path) if name.startswith(".")] == []


def test_what_was_kept_for_other_work_is_not_used(
    cli: Cli, model: Path, text_key: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from watermark.journal import Journal

    def interrupt(self: Journal, entry: Any) -> None:
        self._write(entry)
        self.entries.append(entry)
        raise KeyboardInterrupt

    out = tmp_path / "out"
    command = long_command(model, text_key, prompts, out)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", interrupt)
        cli(*command).refused(130, "the same command goes on from there")
    assert journal_of(out).exists()
    result = cli(*command, "--sample-seed", 1)
    assert result.code == 0
    assert "already" not in result.err
    other = tmp_path / "other"
    cli(*long_command(model, text_key, prompts, other), "--sample-seed", 1)
    assert out.read_bytes() == other.read_bytes()


def test_interrupted_before_the_first_answers_nothing_stays(
    cli: Cli, model: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("watermark.engines.answers.answer", interrupt)
    cli("generate", "--model", model, "--no-mark", "--prompts", prompts, "-o", tmp_path / "out").refused(130)
    assert names(tmp_path) == ["prompts.jsonl"]


@pytest.mark.parametrize(
    ("file", "member", "value", "reason"),
    [
        ("generation_config.json", "eos_token_id", "x", "eos_token_id must be a token id"),
        ("tokenizer_config.json", "chat_template", "{{ raise_exception('no\x1b[2J') }}", "no⟨U+001B⟩[2J"),
        ("tokenizer_config.json", "chat_template", "{% if", "chat template cannot be used"),
        ("tokenizer_config.json", "chat_template", "{{ 'Say yes.' }}", "leaves the prompt out"),
        ("config.json", "transformers_weights", "pytorch_model.bin", "transformers_weights"),
        ("tokenizer_config.json", "fast_tokenizer_files", ["tokenizer.4.0.json"], "fast_tokenizer_files"),
    ],
    ids=range(6),
)
def test_a_hostile_model_is_refused_in_one_line(
    file: str, member: str, value: object, reason: str, cli: Cli, model: Path, prompts: Path, tmp_path: Path
) -> None:
    hostile = Path(shutil.copytree(model, tmp_path / "hostile"))
    (hostile / "chat_template.jinja").unlink(missing_ok=True)  # it would go before the member
    (hostile / file).write_text(json.dumps({**json.loads((hostile / file).read_text()), member: value}))
    out = tmp_path / "out"
    result = cli("generate", "--model", hostile, "--no-mark", "--prompts", prompts, "-o", out, *SHORT, "-q")
    result.refused(3, str(hostile), reason)
    assert names(tmp_path) == ["hostile", "prompts.jsonl"]
