"""Asking a server that fails in every way: each answer is recorded once, and the same ones count."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from detect.questioned import api
from detect.questioned.api import ask
from detect.questioned.api_key import ApiKey
from detect.questioned.patience import Patience
from detect.questioned.questions import ApiSampling, Prompt, Questions
from detect.questioned.responses import Response, ResponseLog, responses_sha256
from detect.questioned.schedule import Budget
from tests.detect.questioned.examiner import QUESTIONS, examiner, numbers
from tests.detect.questioned.fake_server import FakeServer, Handler, words
from watermark.errors import InputError

SENTINEL = "sk-sentinel-5f1c09d2a7"
TARGET = 150
PATIENT = Patience(timeout=5, give_up_after=20)

pytestmark = pytest.mark.usefixtures("unconfigured")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def questions(server: FakeServer | str, *prompts: Prompt, **changes: Any) -> Questions:
    url = server if isinstance(server, str) else server.url
    return Questions(url, "m", changes.pop("endpoint", "chat"), prompts or ("why?", "how?", "who?"), **changes)


def length(response: Response) -> int:
    return len(response.text.split())


def asked(what: Questions, path: Path, target: int = TARGET, **how: Any) -> list[Response]:
    with ResponseLog(path, what) as log:
        return ask(what, log, target, length=length, **{"patience": PATIENT, **how})


def expected(what: Questions, target: int = TARGET) -> list[str]:
    """The answers that count, worked out without any server."""
    texts: list[str] = []
    while sum(len(text.split()) for text in texts) < target:
        number = len(texts)
        prompt = what.prompts[number % len(what.prompts)]
        shown = prompt if isinstance(prompt, str) else json.dumps(list(prompt))
        texts.append(" ".join(words((shown, what.seed_of(number)), what.sampling.max_new_tokens)[0]))
    return texts


def texts(responses: list[Response]) -> list[str]:
    assert [one.request for one in responses] == list(range(len(responses)))
    return [one.text for one in responses]


def now_and_then(trouble: Any, share: float = 0.4) -> Any:
    """Trouble for a share of the attempts."""
    rng, lock = random.Random(5), threading.Lock()

    def misbehave(handler: Handler, body: dict[str, Any]) -> bool:
        with lock:
            bad = rng.random() < share
        if bad:
            trouble(handler)
        return bad

    return misbehave


# An undisturbed run


@pytest.mark.parametrize("concurrency", [1, 2, 7])
def test_what_counts_is_fixed_beforehand_however_many_are_under_way(concurrency: int, path: Path) -> None:
    rng = random.Random(concurrency)
    with FakeServer(lambda *_: time.sleep(rng.uniform(0, 0.02)) or False) as server:
        what = questions(server)
        found = asked(what, path, patience=Patience(concurrency, 5, 20))
        assert texts(found) == expected(what)
        assert min(2, concurrency) <= server.busiest <= concurrency
        assert len(found) <= len(server.sent) < len(found) + 4 * concurrency
        assert server.repeated() == {}
        assert sorted(server.asked) == sorted(server.sent)
    recorded = [json.loads(line)["request"] for line in path.read_bytes().splitlines()[1:]]
    assert len(recorded) == len(server.sent)


def test_the_settings_are_sent_with_every_request(path: Path) -> None:
    with FakeServer() as server:
        what = questions(server, sampling=ApiSampling(7, 0.5, 0.9, 3), seed=4)
        found = asked(what, path)
        assert texts(found) == expected(what)
        assert all(length(one) <= 7 for one in found)
        assert {one.finish_reason for one in found} == {"length", "stop"}
        for number, body in enumerate(server.bodies[:1]):
            assert body == {
                "model": "m",
                "messages": [{"role": "user", "content": "why?"}],
                "temperature": 0.5,
                "top_p": 0.9,
                "max_tokens": 7,
                "seed": what.seed_of(number),
                "logprobs": True,
                "top_logprobs": 3,
                "return_token_ids": True,
                "return_tokens_as_token_ids": True,
            }


def test_completions_take_words_and_token_ids(path: Path) -> None:
    with FakeServer() as server:
        what = questions(server, "why?", (5, 6), endpoint="completions")
        assert texts(asked(what, path)) == expected(what)
        assert [body["prompt"] for body in server.bodies[:2]] == ["why?", [5, 6]]


def test_a_longer_run_begins_with_the_same_answers_and_asks_only_for_more(path: Path) -> None:
    with FakeServer() as server:
        what = questions(server)
        first = asked(what, path)
        before = len(server.sent)
        assert asked(what, path) == first
        assert len(server.sent) == before
        longer = asked(what, path, 2 * TARGET)
        assert longer[: len(first)] == first
        assert texts(longer) == expected(what, 2 * TARGET)
        assert server.repeated() == {}


def test_progress_counts_what_is_there_already(path: Path) -> None:
    with FakeServer() as server:
        what = questions(server)
        seen: list[list[int]] = [[], []]
        for one in seen:
            asked(what, path, on_tokens=one.append)
    assert sum(seen[0]) == sum(seen[1]) >= TARGET


# Budgets


def test_budgets_end_a_run_at_the_same_place_whatever_the_order(path: Path) -> None:
    ends = set()
    for number, concurrency in enumerate((1, 3, 6)):
        with FakeServer() as server:
            what = questions(server, sampling=ApiSampling(max_new_tokens=30))
            limits = Patience(concurrency, 5, 20)
            found = asked(what, path.with_name(str(number)), 10**6, budget=Budget(tokens=200), patience=limits)
            ends.add(len(found))
            assert 200 - 30 < sum(map(length, found)) <= 200
            assert texts(found) == expected(what, sum(map(length, found)))
            again = asked(what, path.with_name(str(number)), 10**6, budget=Budget(requests=5), patience=limits)
            assert len(again) == len(found)  # what is there is used; nothing new is asked
            other = asked(what, path.with_name(f"{number}r"), 10**6, budget=Budget(requests=5), patience=limits)
            assert len(other) == 5
    assert len(ends) == 1


# Trouble that passes


TROUBLES = {
    "500": lambda handler: handler.reply(500, {"error": {"message": "oops"}}),
    "503 in HTML": lambda handler: handler.reply(503, b"<html>busy</html>"),
    "408": lambda handler: handler.reply(408, {}),
    "429": lambda handler: handler.reply(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.02"}),
    "broken JSON": lambda handler: handler.reply(200, b'{"choices": [{"mess'),
    "JSON that is no answer": lambda handler: handler.reply(200, {"error": {"message": "overloaded"}}),
    "twice the same member": lambda handler: handler.reply(200, b'{"id": 1, "id": 2}'),
    "nothing": lambda handler: handler.reply(200, b""),
    "NaN": lambda handler: handler.reply(200, b'{"choices": [NaN]}'),
    "half an answer": lambda handler: handler.half(),
    "hung up": lambda handler: handler.hang_up(),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_that_passes_changes_nothing(trouble: str, path: Path) -> None:
    with FakeServer(now_and_then(TROUBLES[trouble])) as server:
        what = questions(server)
        assert texts(asked(what, path)) == expected(what)
        assert len(server.asked) > len(server.sent)  # there was trouble
        assert server.repeated() == {}


def test_all_troubles_at_once(path: Path) -> None:
    rng = random.Random(1)
    troubles = list(TROUBLES.values())
    with FakeServer(now_and_then(lambda handler: rng.choice(troubles)(handler), 0.6)) as server:
        what = questions(server)
        assert texts(asked(what, path, patience=Patience(8, 5, 30))) == expected(what)


def test_an_attempt_that_takes_too_long_is_given_up_and_made_again(path: Path) -> None:
    slow = now_and_then(lambda handler: time.sleep(0.5), 0.15)
    with FakeServer(slow) as server:
        what = questions(server)
        assert texts(asked(what, path, patience=Patience(4, 0.2, 20))) == expected(what)
        assert len(server.asked) > len(server.sent)


def test_an_answer_that_drips_is_given_up_too(path: Path) -> None:
    """Every single byte comes in time, the answer does not."""

    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(12):
            handler.wfile.write(b" ")
            time.sleep(0.05)
        handler.hang_up()

    with FakeServer(now_and_then(drip, 0.15)) as server:
        what = questions(server)
        assert texts(asked(what, path, patience=Patience(4, 0.3, 20))) == expected(what)


def test_retry_after_is_honoured_by_everybody(path: Path) -> None:
    told: list[float] = []
    arrivals: list[float] = []

    def misbehave(handler: Handler, body: dict[str, Any]) -> bool:
        arrivals.append(time.monotonic())
        if len(arrivals) == 6:
            told.append(time.monotonic())
            handler.reply(429, {}, {"Retry-After": "1"})
            return True
        return False

    with FakeServer(misbehave) as server:
        what = questions(server)
        assert texts(asked(what, path)) == expected(what)
    later = [at - told[0] for at in arrivals if at > told[0] + 0.2]  # what was sent before the answer came may arrive
    assert min(later) >= 0.99


def test_a_server_that_is_killed_and_comes_back_is_waited_for(path: Path) -> None:
    allowed = 2  # answers; raised once the server has been away, so that the run cannot end before

    def misbehave(handler: Handler, body: dict[str, Any]) -> bool:
        if len(server.sent) < allowed:
            return False
        handler.reply(503, {"error": {"message": "not now"}})
        return True

    server = FakeServer(misbehave).start()
    what = questions(server)
    found: list[Response] = []
    thread = threading.Thread(target=lambda: found.extend(asked(what, path)))
    thread.start()
    for following in (8, 10**6):
        while len(server.sent) < allowed:
            assert thread.is_alive()
            time.sleep(0.005)
        server.stop()
        time.sleep(0.1)
        allowed = following
        server.start()
    thread.join(30)
    server.stop()
    assert texts(found) == expected(what)


def test_giving_up_keeps_what_was_answered_and_the_next_run_goes_on(path: Path) -> None:
    dead = threading.Event()

    def misbehave(handler: Handler, body: dict[str, Any]) -> bool:
        if dead.is_set() or len(server.sent) >= 4:
            handler.reply(503, {"error": {"message": "we \x1b[31mclosed"}})
            return True
        return False

    with FakeServer(misbehave) as server:
        what = questions(server)
        with pytest.raises(InputError) as caught:
            asked(what, path, patience=Patience(2, 5, 0.4))
        assert re.search(
            r"no answer for \d+ s \(last: 503 we ⟨U\+001B⟩\[31mclosed\); is the server up", str(caught.value)
        )
        assert f". Answers so far are in {path}: the same command goes on" in str(caught.value)
        assert "\n" not in str(caught.value)
        kept = len(server.sent)
        server.misbehave = None
        assert texts(asked(what, path)) == expected(what)
        assert kept >= 4
        assert server.repeated() == {}


def test_nobody_there(path: Path) -> None:
    with FakeServer() as server:
        pass
    with pytest.raises(InputError, match=r"no answer for 0 s \(last: .*[Cc]onnect.*\)"):
        asked(questions(server), path, patience=Patience(4, 5, 0.1))
    assert not path.exists()


def test_patience_bounds_an_attempt_that_hangs_however_long_the_time_out(path: Path) -> None:
    """One that is under way counts no more than one that failed; nothing is recorded, and remedies are named."""
    with FakeServer(lambda *_: time.sleep(6) or False) as server:
        began = time.monotonic()
        with pytest.raises(InputError) as caught:
            asked(questions(server), path, patience=Patience(4, 100, 0.5))
        assert 0.5 <= time.monotonic() - began < 4
    for fragment in (server.url, "no answer for 2 s (requests are under way, and nothing comes back)",
                     "is the server up at that address", "--concurrency", "--timeout"):  # fmt: skip
        assert fragment in str(caught.value)
    assert "so far" not in str(caught.value)


def test_patience_begins_anew_with_every_answer(path: Path) -> None:
    """A slow request outlasts it as long as others are answered meanwhile."""
    lock, slow = threading.Lock(), ["second"]

    def misbehave(_: Handler, body: dict[str, Any]) -> bool:
        with lock:
            late = bool(body["messages"][0]["content"] == "how?" and slow and slow.pop())
        time.sleep(2.5 if late else 0.02)
        return False

    with FakeServer(misbehave) as server:
        what = questions(server)
        assert texts(asked(what, path, 900, patience=Patience(2, 100, 1.0))) == expected(what, 900)
        assert server.repeated() == {}


def test_without_patience_nothing_is_tried_again_and_an_attempt_takes_its_time(path: Path) -> None:
    with FakeServer(lambda *_: time.sleep(1.5) or False) as server:
        what = questions(server)
        assert texts(asked(what, path, 5, patience=Patience(1, 100, 0))) == expected(what, 5)


def test_a_pause_that_is_too_long_is_not_waited_for(path: Path) -> None:
    with FakeServer(lambda handler, _: handler.reply(429, {}, {"Retry-After": "3600"}) or True) as server:
        began = time.monotonic()
        with pytest.raises(InputError, match="asks to wait 3600 s, longer than --give-up-after allows"):
            asked(questions(server), path)
        assert time.monotonic() - began < 3


# A server that does not sample


def test_a_server_that_repeats_itself_is_spoken_of_once_and_asked_on(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And once more by the run that goes on from its log; a server that samples never is."""
    with FakeServer(text=lambda question: f"the answer to {question[0]}") as server:
        what = questions(server)
        with caplog.at_level("WARNING", "detect"):
            assert len(asked(what, path, 50)) == 13
            asked(what, path, 60)
    said = [record.getMessage() for record in caplog.records]
    assert [one.split(":")[0] for one in said] == ["Answers repeat", "Answers repeat"]
    assert "all 3 to prompts" in said[0]
    assert str(path) in said[0]
    caplog.clear()
    with FakeServer() as server, caplog.at_level("WARNING", "detect"):
        asked(questions(server), path.with_name("other"), 150)
    assert caplog.records == []


# Trouble that does not pass


@pytest.mark.parametrize(
    ("status", "body", "fragments"),
    [
        (401, {"error": {"message": "no"}}, ("wants an API key (401 no)", "set TAGGANT_API_KEY or OPENAI_API_KEY")),
        (403, {}, ("refuses the API key in (none is set",)),
        (404, {"detail": "unknown"}, ("no such model or endpoint there (404 unknown); check --model-name",)),
        (400, {"message": "too long"}, ("refuses request 0, prompt 1 of 3 (400 too long); leave the prompt out",)),
        (422, {"detail": [{"msg": "bad"}]}, ("refuses request 0", "bad")),
        (409, {}, ("409 Conflict",)),
        (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, ("429 pay",)),
        (307, {}, ("redirects elsewhere (307), which is not followed",)),
    ],
    ids=str,
)  # fmt: skip
def test_refusals_end_the_run_in_one_line(status: int, body: Any, fragments: tuple[str, ...], path: Path) -> None:
    with FakeServer(
        lambda handler, _: handler.reply(status, body, {"Location": "http://127.0.0.1:9/"}) or True
    ) as server:
        with pytest.raises(InputError) as caught:
            asked(questions(server), path)
        assert len(server.asked) <= 2
    for fragment in (server.url, *fragments):
        assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


def test_token_ids_that_a_server_does_not_take(path: Path) -> None:
    refuse = lambda handler, _: handler.reply(400, {"detail": "prompt must be a string."}) or True  # noqa: E731
    said = r"prompt must be a string\.\); if it takes no token ids, give rows"
    with FakeServer(refuse) as server, pytest.raises(InputError, match=said):
        asked(questions(server, (4, 5), endpoint="completions"), path)


def test_nothing_but_empty_answers(path: Path) -> None:
    with FakeServer(text=lambda _: "") as server:
        what = questions(server)
        with pytest.raises(InputError, match="50 empty answers in a row"):
            asked(what, path)
        asked_before = len(server.sent)
        with pytest.raises(InputError, match="50 empty answers in a row"):
            asked(what, path)
        assert len(server.sent) == asked_before < 60


def test_an_endless_answer_is_not_kept_in_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "LARGEST_ANSWER", 2000)
    with FakeServer(text=lambda _: "x" * 5000) as server, pytest.raises(InputError, match="an answer larger than"):
        asked(questions(server), path)


# What a server understands


def strict(unknown: set[str], status: int = 400) -> Any:
    def misbehave(handler: Handler, body: dict[str, Any]) -> bool:
        surplus = sorted(unknown & body.keys())
        if surplus:
            advice = "use 'max_completion_tokens' instead" if "max_tokens" in surplus else f"unknown: {surplus}"
            handler.reply(status, {"error": {"message": advice}})
        return bool(surplus)

    return misbehave


@pytest.mark.parametrize("status", [400, 422])
def test_what_only_some_servers_know_is_tried_once(status: int, path: Path) -> None:
    with FakeServer(strict({"return_token_ids"}, status)) as server:
        what = questions(server)
        assert texts(asked(what, path)) == expected(what)
        assert len(server.asked) == len(server.sent) + 1
        assert "return_token_ids" in server.bodies[0]
        assert not any("return_token_ids" in body for body in server.bodies[1:])


def test_the_newer_name_of_the_limit_is_used_where_it_is_wanted(path: Path) -> None:
    with FakeServer(strict({"return_token_ids", "max_tokens"})) as server:
        what = questions(server, sampling=ApiSampling(max_new_tokens=6))
        assert texts(asked(what, path)) == expected(what)
        assert server.bodies[-1]["max_completion_tokens"] == 6
        assert len(server.asked) == len(server.sent) + 2


def test_token_ids_and_log_probabilities_are_recorded(path: Path) -> None:
    def more(chosen: list[str]) -> dict[str, Any]:
        top = [{"token": "x", "logprob": -1.5}]
        content = [{"token": word, "logprob": -0.5, "top_logprobs": top} for word in chosen]
        return {"token_ids": [len(word) for word in chosen], "logprobs": {"content": content}}

    with FakeServer(more=more) as server:
        found = asked(questions(server, sampling=ApiSampling(logprobs=1)), path)
    for one in found:
        assert one.token_ids == tuple(map(len, one.text.split()))
        assert one.logprobs is not None
        assert [position["token"] for position in one.logprobs] == one.text.split()
        assert all(position["top"] == [["x", -1.5]] for position in one.logprobs)


# The API key


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ApiKey.from_environment() == ApiKey(None, None)
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    assert ApiKey.from_environment() == ApiKey("OPENAI_API_KEY", "other")
    monkeypatch.setenv("TAGGANT_API_KEY", f" {SENTINEL}\n")
    key = ApiKey.from_environment()
    assert key == ApiKey("TAGGANT_API_KEY", SENTINEL)
    assert SENTINEL not in repr(key)
    for bad in ("sk-é-secret", "two words", "tab\tsecret", "line\nsecret"):
        monkeypatch.setenv("TAGGANT_API_KEY", bad)
        with pytest.raises(InputError, match="TAGGANT_API_KEY holds characters") as caught:
            ApiKey.from_environment()
        assert "secret" not in str(caught.value)
        assert "words" not in str(caught.value)


def test_the_key_is_sent_as_a_header_and_kept_nowhere_else(path: Path) -> None:
    """The server repeats it in its answers, as a hostile one might."""
    with FakeServer(key=SENTINEL, text=lambda q: f"you said {SENTINEL} {q[1]}") as server:
        what = questions(server)
        found = asked(what, path, api_key=ApiKey("TAGGANT_API_KEY", SENTINEL))
        assert {one["authorization"] for one in server.headers} == {f"Bearer {SENTINEL}"}
        assert found[0].text == f"you said [API key] {what.seed_of(0)}"
        with pytest.raises(InputError) as caught:
            asked(what, path.with_name("2"), api_key=ApiKey("TAGGANT_API_KEY", SENTINEL + "x"))
    assert "refuses the API key in TAGGANT_API_KEY (401 wrong key: Bearer [API key])" in str(caught.value)
    for file in path.parent.iterdir():
        assert SENTINEL.encode() not in file.read_bytes()


def test_an_answer_that_spells_the_key_is_kept_without_its_tokens(path: Path) -> None:
    """Token ids and single tokens may spell it out where the text as a whole shows it, or does not."""
    pieces = [SENTINEL[i : i + 4] for i in range(0, len(SENTINEL), 4)]
    lists = {"content": [{"token": piece, "logprob": -0.1, "top_logprobs": []} for piece in pieces]}
    for number, (said, kept) in enumerate(((f"it is {SENTINEL}", False), ("nothing", False), ("nothing", True))):
        given = {"token_ids": [7, 8], **({} if kept else {"logprobs": lists})}
        log = path.with_name(f"spelled-{number}")
        with FakeServer(key=SENTINEL, text=lambda _, said=said: said, more=lambda _, given=given: given) as server:
            found = asked(questions(server), log, 5, api_key=ApiKey("TAGGANT_API_KEY", SENTINEL))
        assert {one.token_ids for one in found} == {(7, 8) if kept else None}
        assert {one.logprobs for one in found} == {None}
        assert SENTINEL.encode() not in log.read_bytes()
        assert pieces[1].encode() not in log.read_bytes()


def test_without_a_key_no_credentials_of_the_environment_are_sent(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, SENTINEL)
    with FakeServer() as server:
        asked(questions(server), path)
    for headers in server.headers:
        assert "authorization" not in headers
        assert SENTINEL not in str(headers)


def test_a_redirect_does_not_carry_the_key_away(path: Path) -> None:
    with FakeServer() as elsewhere:
        to = {"Location": f"{elsewhere.url}/chat/completions"}
        for status in (301, 302, 303, 307, 308):
            with FakeServer(lambda handler, _, s=status: handler.reply(s, {}, to) or True) as server:  # type: ignore[misc]
                with pytest.raises(InputError, match=f"redirects elsewhere \\({status}\\)"):
                    asked(questions(server), path, api_key=ApiKey("TAGGANT_API_KEY", SENTINEL))
                assert server.headers[0]["authorization"] == f"Bearer {SENTINEL}"
        assert elsewhere.asked == []


# Our process is killed


@pytest.mark.parametrize("pairs", [0, 1200], ids=["a fixed number of tokens", "an e-process"])
def test_killed_at_twenty_random_moments_the_evidence_is_that_of_the_undisturbed_run(
    pairs: int, tmp_path: Path
) -> None:
    """*Answered* means recorded: on disk, in our log. Every line there is from one request of the server's log.

    No question is asked again once its answer is recorded: the server never sees it after that. Of those that were
    under way when we were killed, at most as many as are asked at a time, the server may have sent an answer that
    never got to our disk; those, and only those, are asked again.
    """
    rng = random.Random(20)
    with FakeServer(delay=0.004) as calm:
        with examiner(calm.url, tmp_path / "calm.log", tmp_path / "calm.json", pairs=pairs) as (start, wait):
            start()
            wait()
        undisturbed = (tmp_path / "calm.json").read_bytes()
    log, out = tmp_path / "log", tmp_path / "out.json"
    kills = again = 0
    with FakeServer(delay=0.004) as server:
        what = Questions(server.url, **QUESTIONS)
        with examiner(server.url, log, out, pairs=pairs) as (start, wait):
            while kills < 20:
                recorded = [what.seed_of(number) for number in numbers(log)]
                seen = len(server.asked)
                process = start()
                deadline = time.monotonic() + 20
                while len(server.asked) == seen:
                    assert time.monotonic() < deadline
                    time.sleep(0.001)
                time.sleep(rng.uniform(0, 0.05))
                os.kill(process, signal.SIGKILL)
                wait()
                kills += 1
                time.sleep(0.02)  # what the server still has in hand
                new = [seed for _, seed in server.asked[seen:]]
                assert set(new).isdisjoint(recorded)
                assert len(set(new)) == len(new)
                again += len(new) - (len(numbers(log)) - len(recorded))
                assert not out.exists(), "the run ended before it was killed: ask for more tokens"
            start()
            wait()
    assert out.read_bytes() == undisturbed
    assert any(len(note) == 64 for note in json.loads(undisturbed)["notes"])  # the digest of the answers
    assert ("sequential" in json.loads(undisturbed)) == bool(pairs)
    assert len(numbers(log)) == len(set(numbers(log)))
    assert sum(server.repeated().values()) - len(server.repeated()) <= again <= 20 * 6
    assert again > 0  # at least one was under way when we were killed: the test sees such moments


# A rule that stops it


@pytest.mark.parametrize("concurrency", [1, 7])
def test_a_rule_is_shown_every_answer_in_the_order_asked_until_it_stops(concurrency: int, path: Path) -> None:
    """Whatever the order of arrival; an empty answer is shown in its place; a second run shows the same."""
    rng = random.Random(concurrency)
    late = lambda *_: time.sleep(rng.uniform(0, 0.03)) or False  # noqa: E731
    with FakeServer(late, text=lambda q: "" if q[1] % 3 == 0 else f"answer {q[1]}") as server:
        what = questions(server)
        for _ in range(2):
            shown: list[str] = []

            def stop(one: Response, shown: list[str] = shown) -> bool:
                assert one.request == len(shown)
                shown.append(one.text)
                return len(shown) == 23

            found = asked(what, path, None, stop=stop, patience=Patience(concurrency, 5, 20))
            seeds = [what.seed_of(i) for i in range(23)]
            assert shown == texts(found) == ["" if seed % 3 == 0 else f"answer {seed}" for seed in seeds]
            assert "" in shown
        assert server.repeated() == {}
        assert len(server.sent) < 23 + 2 * concurrency + 1
    arrived = [json.loads(line)["request"] for line in path.read_bytes().splitlines()[1:]]
    assert (arrived == sorted(arrived)) == (concurrency == 1)


def test_a_rule_beside_a_number_of_tokens_and_a_budget(path: Path) -> None:
    """Whichever comes first; nothing is asked where nothing would end it."""
    with FakeServer() as server:
        what = questions(server)
        assert texts(asked(what, path, stop=lambda _: False)) == expected(what)
        assert len(asked(what, path, stop=lambda one: one.request == 2)) == 3
        assert len(asked(what, path, None, stop=lambda _: False, budget=Budget(requests=30))) == 30
        with pytest.raises(ValueError, match="would never end"):
            asked(what, path, None)


def test_only_empty_answers_end_a_run_that_a_rule_would_go_on_with(path: Path) -> None:
    with FakeServer(text=lambda q: "") as server:
        what = questions(server)
        with pytest.raises(InputError, match="nothing to count"):
            asked(what, path, None, stop=lambda _: False)
        first = what.seed_of(0)
        server.text = lambda q: "one two" if q[1] == first else ""
        path.unlink()
        found = asked(what, path, None, stop=lambda _: False)
    assert texts(found) == ["one two", *[""] * 50]


def test_the_fake_server_itself() -> None:
    """It answers alike in every process, and says so when it does not."""
    with FakeServer() as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        answers = []
        for _ in range(2):
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "why?"}], "seed": 3})
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            answers.append(json.loads(connection.getresponse().read())["choices"])
        connection.close()
        assert answers[0] == answers[1]
        assert answers[0][0]["message"]["content"] == " ".join(words(("why?", 3), 99)[0])
        assert server.repeated() == {("why?", 3): 2}


def test_the_digest_of_a_run_is_that_of_its_answers(path: Path) -> None:
    with FakeServer() as server:
        what = questions(server)
        found = asked(what, path)
    entries = sorted((json.loads(line) for line in path.read_bytes().splitlines()[1:]), key=lambda e: e["request"])
    assert responses_sha256(
        Response.from_entry(e, len(what.prompts)) for e in entries[: len(found)]
    ) == responses_sha256(found)
