"""`suspect --api`: from the command line to evidence, interrupted and gone on, with no secret anywhere."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect import tally
from detect.questioned.questions import Questions
from detect.questioned.responses import Response, responses_sha256
from tests.detect.cli.helpers import EVIDENCE, EXECUTABLE, LINEUP, Cli, environment, names, save_key, write_rows
from tests.detect.questioned.fake_server import FakeServer, Handler, Question
from tests.watermark.engines.helpers import tokenizer
from watermark import Key
from watermark.engines.chat import chat_prompt_ids
from watermark.greenlist import GreenList

SENTINEL = "sk-sentinel-77ab03ee91"
pytestmark = pytest.mark.usefixtures("here", "unconfigured")
PROMPTS = ("Where is the sea?", "Who counted the coins?", "What fell on the harbour?")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in (*PROMPTS, PROMPTS[0])])


def command(key: Path, server: FakeServer | str, probes: Path, *more: object) -> list[object]:
    url = server if isinstance(server, str) else server.url
    return ["suspect", "--key", key, "--api", url, "--model-name", "m", "--probes", probes, "--sample", 600, *more]


def entries(log: Path) -> list[dict[str, Any]]:
    return sorted((json.loads(line) for line in log.read_bytes().splitlines()[1:]), key=lambda entry: entry["request"])


def counted(log: Path, target: int) -> list[dict[str, Any]]:
    """Worked out from the log alone: the smallest run of requests that reaches the target."""
    total, found = 0, []
    for number, entry in enumerate(entries(log)):
        assert entry["request"] == number
        if total >= target:
            break
        found.append(entry)
        total += len(tokenizer()(entry["text"], add_special_tokens=False)["input_ids"])
    assert total >= target
    return found


def marked(key_file: Path, share: float = 1.0) -> Any:
    """Text that a marked model might write: green tokens, each a plain word or part of one."""
    mask = GreenList(Key.load(key_file)).mask(np.arange(384).reshape(-1, 1), 384)
    plain = [i for i in range(3, 384) if tokenizer().decode([i]).strip().isalpha() and len(tokenizer().decode([i])) > 2]

    def text(question: Question) -> str:
        rng = np.random.default_rng(question[1])
        ids = [int(rng.choice(plain))]
        while len(ids) < 30:
            green = [i for i in plain if mask[ids[-1], i]] if rng.random() < share else []
            ids.append(int(rng.choice(green or plain)))
        return str(tokenizer().decode(ids))

    return text


def test_the_answers_are_counted_as_any_text(cli: Cli, text_key: Path, prompts: Path, tmp_path: Path) -> None:
    with FakeServer() as server:
        result = cli(*command(text_key, server, prompts, "--decoys", 9, "--json"))
        people = cli(*command(text_key, server, prompts))
        assert server.repeated() == {}
    found = result.json()
    assert list(found) == ["sampled"]
    evidence = found["sampled"]
    assert list(evidence) == [*EVIDENCE, "lineup"]
    assert list(evidence["lineup"]) == LINEUP
    (log,) = tmp_path.glob("responses-*.jsonl")
    used = counted(log, 600)
    documents = [tokenizer()(entry["text"], add_special_tokens=False)["input_ids"] for entry in used]
    exclude = [chat_prompt_ids(tokenizer(), prompt) for prompt in PROMPTS]
    exclude += [tokenizer()(prompt, add_special_tokens=False)["input_ids"] for prompt in PROMPTS]
    by_hand = tally(Key.load(text_key), documents, exclude, test="sampled")
    for name in ("n_tokens", "n_scored", "n_green"):
        assert evidence[name] == getattr(by_hand, name)
    assert evidence["log10_e"] is not None
    assert f"{len(entries(log))} answers, of which {len(used)} count: {log.name}\n" in result.err
    assert "Sampled test" in people.out
    assert f"{len(entries(log))} answers are in {log.name} already; going on" in people.err


def test_the_notes_say_how_to_see_the_same(cli: Cli, text_key: Path, prompts: Path, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    options = ["--log", log, "--temperature", 0.9, "--top-p", 0.8, "--max-new-tokens", 12, "--sample-seed", 8]
    with FakeServer() as server:
        evidence = cli(*command(text_key, server, prompts, *options, "--json")).json()["sampled"]
        header = json.loads(log.read_bytes().splitlines()[0])["work"]
        what = Questions.distinct(server.url, "m", "chat", PROMPTS)
    notes = "\n".join(evidence["notes"])
    used = [Response.from_entry(entry, len(PROMPTS)) for entry in counted(log, 600)]
    cut = sum(one.finish_reason == "length" for one in used)
    assert f"questioned server {server.url}, model m, endpoint chat" in evidence["notes"]
    assert f"prompts: 3, SHA-256 {what.prompts_sha256} over" in notes
    assert f"{len(used)} requests answered, {len(used)} answers counted, {cut} cut at the longest answer" in notes
    assert "sampling: temperature 0.9, top_p 0.8, at most 12 tokens an answer; request i asks prompt i mod 3" in notes
    assert "at least 600 tokens, fixed when the command was given; " in notes
    assert f"response log: SHA-256 {responses_sha256(used)} over" in notes
    assert f"token ids: the server's own in 0 answers; in {len(used)} the text was tokenised again" in notes
    assert re.search(
        rf"as many tokens as the server counted .* of {len(used)} answers; in all \d+ of \d+ tokens", notes
    )
    assert "100.0% of their windows are there again" in notes
    assert "verified against the tokenizer" in notes
    assert all("\n" not in note and len(note) <= 400 for note in evidence["notes"])
    assert header["sampling"] == {"max_new_tokens": 12, "temperature": 0.9, "top_p": 0.8, "logprobs": None}


def test_a_marked_model_is_detected_and_an_unmarked_one_is_not(cli: Cli, prompts: Path, tmp_path: Path) -> None:
    hot, foreign = save_key(tmp_path / "hot"), save_key(tmp_path / "foreign", 3)
    cases = (
        (marked(hot), hot, "detected"),
        (marked(hot), foreign, "inconclusive"),
        (marked(hot, 0), hot, "inconclusive"),
    )
    for number, (text, key, wanted) in enumerate(cases):
        options = ["--sample", 3000, "--json", "-q", "--log", tmp_path / f"{number}.log"]  # a port may come again
        with FakeServer(text=text) as server:
            evidence = cli(*command(key, server, prompts, *options)).json()["sampled"]
        assert evidence["finding"] == wanted
        assert wanted == "detected" or evidence["log10_p"] > -3


def test_returned_ids_are_counted_as_they_are(cli: Cli, text_key: Path, prompts: Path, tmp_path: Path) -> None:
    """With an end-of-text behind each, which the text does not show."""

    def more(chosen: list[str]) -> dict[str, Any]:
        return {"token_ids": [*tokenizer()(" ".join(chosen), add_special_tokens=False).input_ids, 2]}

    log = tmp_path / "log"
    with FakeServer(more=more) as server:
        evidence = cli(*command(text_key, server, prompts, "--json", "--log", log)).json()["sampled"]
    assert any("the server's own; the key's tokenizer decodes all" in note for note in evidence["notes"])
    assert any("100.0% of their windows are the tokenizer's own" in note for note in evidence["notes"])
    sizes = np.cumsum([len(entry["token_ids"]) for entry in entries(log)])
    assert evidence["n_tokens"] == sizes[np.searchsorted(sizes, 600)]


def test_ids_that_spell_the_text_out_hide_nothing(cli: Cli, tmp_path: Path, prompts: Path) -> None:
    """Byte by byte, as the tokenizer would never write it: the same text says the same without them."""
    hot = save_key(tmp_path / "hot")

    def more(chosen: list[str]) -> dict[str, Any]:
        return {"token_ids": [t for c in " ".join(chosen) for t in tokenizer()(c, add_special_tokens=False).input_ids]}

    found = []
    for name, extra in (("plain", None), ("spelled", more)):
        with FakeServer(text=marked(hot), **({} if extra is None else {"more": extra})) as server:
            options = ["--sample", 3000, "--json", "-q", "--log", tmp_path / name]
            found.append(cli(*command(hot, server, prompts, *options)).json()["sampled"])
    assert [one["finding"] for one in found] == ["detected", "detected"]
    assert found[0]["log10_p"] == found[1]["log10_p"]
    assert any("spelled the text otherwise than its tokenizer does" in note for note in found[1]["notes"])


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        (" ", "  ", r"in \d+ of \d+ answers \(100%\); \d+ of them hide their tokens so .* [\d,]+ places in them"),
        ("e", "e\U000e0000", r"; \d+ of them hide their tokens so"),
        ("in the", "in\u00a0the", "none invisible or lookalike, and at most 5% of any answer; read as they came"),
    ],
)
def test_characters_hide_nothing(cli: Cli, tmp_path: Path, prompts: Path, old: str, new: str, note: str) -> None:
    """A server that puts them into every answer hides no mark, and is spoken of."""
    hot = save_key(tmp_path / "hot")
    found = []
    for name, attack in (("plain", False), ("hidden", True)):

        def text(question: Question, attack: bool = attack) -> str:
            words = " ".join(f"{marked(hot)(question)} in the {marked(hot)(question)}".split())
            return words.replace(old, new) if attack else words

        with FakeServer(text=text) as server:
            options = ["--sample", 3000, "--json", "-q", "--log", tmp_path / name]
            found.append(cli(*command(hot, server, prompts, *options)).json()["sampled"])
    assert [one["finding"] for one in found] == ["detected", "detected"]
    told = [re.search(note, "\n".join(one["notes"])) is not None for one in found]
    assert told == [False, True]
    if "as they came" not in note:
        assert found[0]["log10_p"] == found[1]["log10_p"]


def test_completions_with_token_ids_and_their_exclusion(cli: Cli, text_key: Path, tmp_path: Path) -> None:
    ids = tokenizer()("The rain", add_special_tokens=False)["input_ids"]
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt_ids": ids}, {"prompt": "The moon", "prompt_ids": [40, 41]}])
    with FakeServer() as server:
        plain = cli(*command(text_key, server, rows, "--endpoint", "completions", "--json"))
        assert {json.dumps(body["prompt"]) for body in server.bodies} == {json.dumps(ids), "[40, 41]"}
        assert plain.json()["sampled"]["n_scored"] > 0
        cli(*command(text_key, server, rows)).refused(3, "rows.jsonl:1: chat takes words", "--endpoint completions")


def test_probes_with_drawn_ids_say_what_text_costs(cli: Cli, text_key: Path, tmp_path: Path) -> None:
    drawn = [t for c in "the rain fell" for t in tokenizer()(c, add_special_tokens=False).input_ids]
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": "why?", "token_ids": drawn}])
    with FakeServer(usage=False) as server:
        notes = cli(*command(text_key, server, rows, "--json")).json()["sampled"]["notes"]
    assert any(
        re.match(r"the probes' own token ids, decoded and tokenised again: \d+\.\d% of windows", n) for n in notes
    )
    assert any("the server counted no tokens, so what share of pairs this cost is unknown" in note for note in notes)


def test_budgets(cli: Cli, text_key: Path, prompts: Path) -> None:
    with FakeServer() as server:
        evidence = cli(*command(text_key, server, prompts, "--max-requests", 4, "--json")).json()["sampled"]
        assert len(server.sent) == 4
        cli(*command(text_key, server, prompts, "--max-tokens", 9)).refused(2, "--max-tokens 9 is less than one answer")
    assert any(f"given; the budget ended it at {evidence['n_tokens']};" in n for n in evidence["notes"])


# Refusals


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ([], "give --model where the weights are at hand, or --api and --model-name; not both"),
        (["--model", "x", "--api", "http://h", "--model-name", "m"], "not both"),
        (["--api", "http://h"], "--api needs --model-name"),
        (["--api", "http://me:hunter2@h/", "--model-name", "m"], "holds a user or a password"),
        (["--api", "hunter2", "--model-name", "m"], "must begin with http"),
        (["--api", "http://h", "--model-name", "m", "--top", "5"], "--top has no meaning with --api"),
        (["--api", "http://h", "--model-name", "m", "--save-reading", "x"], "--save-reading has no meaning with --api"),
        (["--model", "x", "--concurrency", "4"], "--concurrency has no meaning with --model"),
        (["--model", "x", "--model-name", "m"], "--model-name has no meaning with --model"),
        (["--api", "http://h", "--model-name", "m", "--logprobs", "99"], "--logprobs"),
        (["--api", "http://h", "--model-name", "m", "--endpoint", "x"], "--endpoint"),
    ],
    ids=str,
)
def test_bad_options(options: list[str], fragment: str, cli: Cli) -> None:
    result = cli("suspect", "--key", "k", "--probes", "p", *options)
    result.refused(2, fragment, "suspect --help")
    assert "hunter2" not in result.err


def test_what_is_refused_before_anything_is_asked(
    cli: Cli, key: Path, text_key: Path, prompts: Path, tmp_path: Path
) -> None:
    answers = write_rows(tmp_path / "answers.jsonl", [{"text": "no prompt"}])
    foreign = write_rows(tmp_path / "foreign.jsonl", [{"prompt_ids": [384]}])
    with FakeServer() as server:
        cli(*command(text_key, server, answers)).refused(3, "the probes hold no prompts, which --api needs")
        cli(*command(text_key, server, foreign)).refused(
            3, ":1: token id 384 is not among the 384 tokens of the key's tokenizer"
        )
        cli(*command(key, server, prompts)).refused(3, "text needs a tokenizer")
        assert server.asked == []
    assert not list(tmp_path.glob("responses-*"))


def test_a_log_of_other_questions_is_kept(cli: Cli, text_key: Path, prompts: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with FakeServer() as server:
        cli(*command(text_key, server, prompts, "--log", log))
        before = log.read_bytes()
        cli(*command(text_key, server, prompts, "--log", log, "--sample-seed", 5)).refused(3, f"{log} holds", "is kept")
        assert log.read_bytes() == before
        cli(*command(text_key, server, prompts, "--sample-seed", 5, "-q"))
        cli(*command(text_key, server, prompts, "-q"))
    assert len(list(tmp_path.glob("responses-*.jsonl"))) == 2  # a name for each set of questions


# Interrupted


def started(arguments: list[object], server: FakeServer, answers: int) -> subprocess.Popen[bytes]:
    """`taggant` as a user runs it, once the server has answered so often."""
    process = subprocess.Popen(
        [EXECUTABLE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    deadline = time.monotonic() + 300  # a busy machine takes a minute to import what it needs
    while len(server.sent) < answers:
        if time.monotonic() > deadline:
            process.kill()
            raise AssertionError(process.communicate())
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_interrupted_it_says_how_to_go_on_and_the_evidence_is_the_same(
    number: signal.Signals, code: int, cli: Cli, text_key: Path, prompts: Path, tmp_path: Path
) -> None:
    with FakeServer(delay=0.02) as server:
        arguments = command(text_key, server, prompts, "--sample", 2500, "--json")
        calm = cli(*arguments, "--log", tmp_path / "calm").json()
        server.sent.clear()
        server.asked.clear()
        log = tmp_path / "log"
        process = started([*arguments, "--log", log], server, 8)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (code, b"")
        if number != signal.SIGKILL:
            lines = err.decode().splitlines()
            assert lines[-2] == f"The answers so far are in {log}; the same command goes on from there."
            assert lines[-1].startswith("taggant: interrupted")
        recorded = len(entries(log)) if number != signal.SIGKILL else log.read_bytes().count(b"\n") - 1
        assert recorded >= 4
        result = cli(*arguments, "--log", log)
        assert f"{recorded} answers are in {log} already; going on" in result.err
        assert result.json() == calm


def test_a_second_process_at_the_same_log_is_refused(cli: Cli, text_key: Path, prompts: Path, tmp_path: Path) -> None:
    with FakeServer(delay=0.05) as server:
        arguments = command(text_key, server, prompts, "--sample", 10**6, "--log", tmp_path / "log")
        process = started(arguments, server, 1)
        cli(*arguments).refused(3, "another process is at this work")
        process.kill()
        process.communicate()


# Secrets


def test_the_api_key_is_nowhere(cli: Cli, text_key: Path, prompts: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """In no output and no file, though the server repeats it and a developer asks for tracebacks."""
    monkeypatch.setenv("TAGGANT_DEBUG", "1")
    monkeypatch.setenv("OPENAI_API_KEY", SENTINEL)

    def misbehave(handler: Handler, body: dict[str, Any]) -> bool:
        if body["model"] == "bad":
            handler.reply(400, {"error": {"message": f"no {handler.headers['Authorization']}"}})
        elif body["model"] == "down":
            handler.reply(503, {"error": {"message": f"busy {handler.headers['Authorization']}"}})
        else:
            return False
        return True

    with FakeServer(misbehave, key=SENTINEL, text=lambda q: f"my key is {SENTINEL}, {q[1]} times over") as server:
        base = command(text_key, server, prompts, "-v", "--give-up-after", 0.2)
        results = [
            cli(*base, "--json"),
            cli(*base),
            cli(*base, "--model-name", "bad"),
            cli(*base, "--model-name", "down"),
        ]
        monkeypatch.setenv("TAGGANT_API_KEY", SENTINEL + "-wrong")
        results.append(cli(*base, "--sample-seed", 3))
        assert {one["authorization"] for one in server.headers} == {f"Bearer {SENTINEL}", f"Bearer {SENTINEL}-wrong"}
    assert [result.code for result in results] == [0, 0, 3, 3, 3]
    assert "API key: OPENAI_API_KEY" in results[0].err
    assert "refuses the API key in TAGGANT_API_KEY (401" in results[4].err
    for result in results:
        assert SENTINEL not in result.out + result.err
    for name in names(tmp_path):
        if (tmp_path / name).is_file():
            assert SENTINEL.encode() not in (tmp_path / name).read_bytes(), name
    (log,) = tmp_path.glob("responses-*.jsonl")
    assert "my key is [API key], " in entries(log)[0]["text"]


def test_what_a_hostile_server_writes_cannot_steer_a_terminal(cli: Cli, text_key: Path, prompts: Path) -> None:
    hostile = {"error": {"message": "\x1b]0;owned\x07\u202e\nsecond line"}}
    with FakeServer(lambda handler, _: handler.reply(400, hostile) or True) as server:
        result = cli(*command(text_key, server, prompts))
    result.refused(3, "⟨U+001B⟩]0;owned", "⟨U+202E⟩ second line")
    assert "\x1b" not in result.err


def test_ids_that_are_not_sent_leave_nothing_out(cli: Cli, text_key: Path, prompts: Path, tmp_path: Path) -> None:
    """With a chat endpoint the words are sent; ids beside them could hold any pair that is not wanted in the count."""
    answer = "the rain fell on the harbour and the boats were still"
    ids = tokenizer()(answer, add_special_tokens=False)["input_ids"]
    rows = [{"prompt": prompt} for prompt in PROMPTS]
    rows[0]["prompt_ids"] = ids
    odd = write_rows(tmp_path / "odd.jsonl", rows)
    with FakeServer(text=lambda _: answer) as server:
        plain = cli(*command(text_key, server, prompts, "--log", "a", "--json")).json()["sampled"]
        beside = cli(*command(text_key, server, odd, "--log", "b", "--json")).json()["sampled"]
    assert beside["n_scored"] == plain["n_scored"] == 10
    (note,) = [note for note in beside["notes"] if "prompt_ids do not hold the words" in note]
    assert note.endswith("the model was given `prompt`, and what `prompt_ids` holds was not left out for it")
