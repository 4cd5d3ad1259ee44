"""The response log: what was answered is there again, whole, and is never thrown away."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detect.questioned.questions import Questions
from detect.questioned.responses import Response, ResponseLog, UnusableAnswer, responses_sha256
from watermark import lines
from watermark.errors import InputError

CHAT = Questions("http://h/v1", "m", "chat", ("why?", "how?"))
PLAIN = replace(CHAT, endpoint="completions")
CHAT_LOGPROBS = {
    "content": [
        {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "a", "logprob": -0.5, "bytes": []}]},
        {"token": "b", "logprob": -1, "top_logprobs": []},
    ]
}
PLAIN_LOGPROBS = {
    "tokens": ["a", "b"],
    "token_logprobs": [-0.5, -1],
    "top_logprobs": [{"a": -0.5}, None],
    "text_offset": [0, 1],
}
POSITIONS = ({"token": "a", "logprob": -0.5, "top": [["a", -0.5]]}, {"token": "b", "logprob": -1.0, "top": []})


def chat(content: Any = "because", **choice: Any) -> dict[str, Any]:
    return {
        "id": "r1",
        "created": 12,
        "model": "m-7b",
        "system_fingerprint": "fp",
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "other": {}},
        "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop", **choice}],
        "surprise": [1],
    }


def some(request: int, text: str = "since") -> Response:
    return Response.read(request, CHAT, chat(text))


# What a server says


def test_everything_worth_keeping_is_read() -> None:
    assert Response.read(3, CHAT, chat(token_ids=[5, 6], logprobs=CHAT_LOGPROBS)) == Response(
        3, 1, "because", (5, 6), "stop", POSITIONS, 3, 4, "r1", 12, "m-7b", "fp"
    )
    body = {"choices": [{"text": "so", "finish_reason": "length", "logprobs": PLAIN_LOGPROBS}]}
    assert Response.read(0, PLAIN, body) == Response(0, 0, "so", None, "length", POSITIONS)
    assert Response.read(0, CHAT, chat(None)).text == ""


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "no",
        {},
        {"error": {"message": "overloaded"}},
        {"choices": []},
        {"choices": [3]},
        {"choices": [{}]},
        {"choices": [{"message": "x"}]},
        {"choices": [{"message": {"content": 3}}]},
        chat(logprobs={"content": [{"token": "a"}]}),
        chat(logprobs={"content": [{"token": 3, "logprob": 0, "top_logprobs": []}]}),
        chat(logprobs={"content": [{"token": "a", "logprob": "x", "top_logprobs": []}]}),
        chat(logprobs={"content": [{"token": "a", "logprob": True, "top_logprobs": []}]}),
        chat(logprobs={"content": [{"token": "a", "logprob": 0, "top_logprobs": 7}]}),
    ],
    ids=str,
)
def test_what_is_no_answer(body: Any) -> None:
    with pytest.raises(UnusableAnswer):
        Response.read(0, CHAT, body)


@pytest.mark.parametrize(
    "logprobs",
    [
        {"tokens": ["a"], "token_logprobs": [0, 0], "top_logprobs": [{}]},
        {"tokens": ["a"], "token_logprobs": [None], "top_logprobs": [{}]},
        {"tokens": ["a"], "token_logprobs": [0], "top_logprobs": [[]] * 2},
        {"tokens": ["a"], "token_logprobs": [0], "top_logprobs": ["x"]},
    ],
    ids=str,
)
def test_log_probabilities_that_cannot_be_read(logprobs: Any) -> None:
    with pytest.raises(UnusableAnswer):
        Response.read(0, PLAIN, {"choices": [{"text": "x", "logprobs": logprobs}]})


@pytest.mark.parametrize("odd", [[-1], [2**32], [True], [1.0], ["1"], "12", {}, 3], ids=str)
def test_odd_members_are_left_out(odd: Any) -> None:
    assert Response.read(0, CHAT, chat(token_ids=odd)).token_ids is None
    body = chat() | {"id": 3, "created": "x", "model": [], "usage": {"completion_tokens": -1}}
    found = Response.read(0, CHAT, body)
    assert (found.response_id, found.created, found.model, found.completion_tokens) == (None, None, None, None)


def test_half_characters_and_controls_can_be_written_and_read_again(tmp_path: Path) -> None:
    body = json.loads(json.dumps(chat("a\ud83d\ude00b\ud800c\x00\u2028\r\n\u202e")))
    response = Response.read(0, CHAT, body)
    assert response.text == "a😀b\ufffdc\x00\u2028\r\n\u202e"
    with ResponseLog(tmp_path / "log", CHAT) as log:
        log.record(response)
    with ResponseLog(tmp_path / "log", CHAT) as log:
        assert log.answered == {0: response}


# The log


def test_what_was_recorded_is_there_again_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    full = Response.read(2, CHAT, chat("x", token_ids=[1], logprobs=CHAT_LOGPROBS))
    with ResponseLog(path, CHAT) as log:
        for response in (some(5), full, some(0)):
            log.record(response)
            assert json.loads(path.read_bytes().splitlines()[-1]) == response.to_entry()  # on disk by now
        with pytest.raises(ValueError, match="answered already"):
            log.record(some(2))
    with ResponseLog(path, CHAT) as log:
        assert log.answered == {0: some(0), 2: full, 5: some(5)}
    first = json.loads(path.read_bytes().splitlines()[0])
    assert first["work"] == CHAT.identity()


@pytest.mark.parametrize("other", [replace(CHAT, seed=1), replace(CHAT, model="n"), PLAIN], ids=["seed", "model", "e"])
def test_a_log_of_other_questions_is_kept_and_refused(other: Questions, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with ResponseLog(path, CHAT) as log:
        log.record(some(0))
    before = path.read_bytes()
    with pytest.raises(InputError, match="of other work, and is kept; choose another place"):
        ResponseLog(path, other)
    assert path.read_bytes() == before


def test_cut_anywhere_the_whole_lines_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after SIGKILL or a power cut in the middle of a write: every length the file can have."""
    monkeypatch.setattr(lines.os, "fsync", lambda _: None)
    path = tmp_path / "log"
    answers = [some(0), some(2, "é\n"), some(1)]
    with ResponseLog(path, CHAT) as log:
        for response in answers:
            log.record(response)
    whole = path.read_bytes()
    for cut in range(0, len(whole) + 1, 3):
        path.write_bytes(whole[:cut])
        survived = answers[: max(0, whole[:cut].count(b"\n") - 1)]
        with ResponseLog(path, CHAT) as log:
            assert list(log.answered.values()) == survived
            for response in answers[len(survived) :]:
                log.record(response)
        assert path.read_bytes() == whole


def damaged(line: bytes) -> list[bytes]:
    entry = json.loads(line)
    changes: list[Any] = [
        {**entry, "prompt": 0},
        {**entry, "request": 6},
        {**entry, "request": -1},
        {**entry, "text": None},
        {**entry, "token_ids": "x"},
        {**entry, "logprobs": [{"token": "a"}]},
        {**entry, "logprobs": [3]},
        {**entry, "new": 1},
        {name: entry[name] for name in entry if name != "usage"},
        [entry],
        None,
    ]
    return [json.dumps(change).encode() + b"\n" for change in changes] + [line[:-5] + b"\n", b"\xff\n", b"\n", b"NaN\n"]


def test_a_damaged_line_in_the_middle_is_refused_and_the_file_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with ResponseLog(path, CHAT) as log:
        for request in range(3):
            log.record(some(request))
    lines = path.read_bytes().splitlines(keepends=True)
    for bad in [*damaged(lines[2]), lines[1]]:
        path.write_bytes(b"".join([*lines[:2], bad, *lines[3:]]))
        before = path.read_bytes()
        with pytest.raises(InputError, match=r"log(:3|: line 3).*(restore the file|choose another)") as caught:
            ResponseLog(path, CHAT)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == before


def test_one_process_at_a_time_and_a_log_without_answers_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "WAIT_SECONDS", 0.1)
    path = tmp_path / "log"
    with ResponseLog(path, CHAT), pytest.raises(InputError, match="another process is at this work"):
        ResponseLog(path, CHAT)
    assert not path.exists()


# The digest


def test_the_digest_is_of_what_counts_in_the_order_asked() -> None:
    answers = [Response.read(i, CHAT, chat("é\n", token_ids=[1, 2], logprobs=CHAT_LOGPROBS)) for i in range(2)]
    lines = b""
    for number, answer in enumerate(answers):
        lines += (
            f'{{"finish_reason":"stop","logprobs":[{{"logprob":-0.5,"token":"a","top":[["a",-0.5]]}},'
            f'{{"logprob":-1,"token":"b","top":[]}}],"prompt":{number},"request":{number},'
            '"text":"é\\n","token_ids":[1,2]}\n'
        ).encode()
        assert answer.text == "é\n"
    assert responses_sha256(answers) == hashlib.sha256(lines).hexdigest()
    assert responses_sha256(answers[::-1]) != responses_sha256(answers)
    assert responses_sha256([replace(a, response_id="z", created=9, model=None) for a in answers]) == responses_sha256(
        answers
    )


@pytest.mark.parametrize("value", [-(10**400), 10**400, float("nan"), float("-inf"), 1e31])
def test_numbers_that_are_none_are_no_log_probabilities(value: float) -> None:
    content = [{"token": "a", "logprob": value, "top_logprobs": []}]
    with pytest.raises(UnusableAnswer, match="no number"):
        Response.read(0, CHAT, chat(logprobs={"content": content}))


@pytest.mark.parametrize("logged", [[["a", 1.0, 2]], "ab", [["a"]], [7], None])
def test_a_log_with_other_log_probabilities_is_refused(logged: Any) -> None:
    entry = {**some(0).to_entry(), "logprobs": [{"token": "a", "logprob": -1.0, "top": logged}]}
    with pytest.raises(UnusableAnswer):
        Response.from_entry(entry, len(CHAT.prompts))
    with pytest.raises(UnusableAnswer):
        Response.from_entry({**entry, "logprobs": ["a"]}, len(CHAT.prompts))
