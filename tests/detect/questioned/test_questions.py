"""The questions: fixed beforehand, each with its own seed, told apart by what is asked and by nothing secret."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from detect.questioned.questions import ApiSampling, Questions, is_this_machine, server_address, shown_address
from watermark.errors import InputError

CHAT = Questions("http://h/v1", "m", "chat", ("why?", "how?", "who?"))
PLAIN = replace(CHAT, endpoint="completions", prompts=("why?", (5, 6)))


def test_prompts_are_asked_in_turn_each_request_with_a_seed_of_its_own() -> None:
    assert [CHAT.body(i)["messages"][0]["content"] for i in range(5)] == ["why?", "how?", "who?", "why?", "how?"]
    seeds = [CHAT.body(i)["seed"] for i in range(2000)]
    assert len(set(seeds)) == 2000
    assert 0 <= min(seeds) <= max(seeds) < 2**31
    assert set(seeds).isdisjoint(replace(CHAT, seed=1).seed_of(i) for i in range(2000))
    assert seeds[7] == int.from_bytes(hashlib.sha256(b"taggant api 0 7").digest()[:4], "little") // 2


def test_bodies_of_both_endpoints() -> None:
    assert CHAT.body(0) == {
        "model": "m",
        "messages": [{"role": "user", "content": "why?"}],
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": CHAT.seed_of(0),
    }
    assert [PLAIN.body(i)["prompt"] for i in range(3)] == ["why?", [5, 6], "why?"]
    wanted = ApiSampling(logprobs=3)
    assert {k: v for k, v in replace(CHAT, sampling=wanted).body(0).items() if "logprobs" in k} == {
        "logprobs": True,
        "top_logprobs": 3,
    }
    assert replace(PLAIN, sampling=wanted).body(0)["logprobs"] == 3


@pytest.mark.parametrize(
    "change",
    [
        {"server": "http://other/v1"},
        {"model": "n"},
        {"endpoint": "completions"},
        {"prompts": ("why?", "how?")},
        {"prompts": ("how?", "why?", "who?")},
        {"sampling": ApiSampling(temperature=0.9)},
        {"sampling": ApiSampling(top_p=0.9)},
        {"sampling": ApiSampling(max_new_tokens=9)},
        {"sampling": ApiSampling(logprobs=1)},
        {"seed": 1},
    ],
    ids=str,
)
def test_whatever_changes_the_questions_changes_their_digest(change: dict[str, Any]) -> None:
    assert replace(CHAT, **change).sha256 != CHAT.sha256
    assert replace(CHAT).sha256 == CHAT.sha256


def test_ids_and_words_are_not_confused() -> None:
    assert replace(PLAIN, prompts=("[5, 6]",)).prompts_sha256 != replace(PLAIN, prompts=((5, 6),)).prompts_sha256
    assert PLAIN.prompts_sha256 == hashlib.sha256(b'["why?",[5,6]]').hexdigest()
    assert json.loads(json.dumps(CHAT.identity())) == CHAT.identity()


def test_every_distinct_prompt_once_and_at_least_one() -> None:
    found = Questions.distinct("http://h/v1", "m", "completions", ["a", "", (1, 2), "a", (), (1, 2), "b"])
    assert found.prompts == ("a", (1, 2), "b")
    with pytest.raises(InputError, match="no prompt to ask"):
        Questions.distinct("http://h/v1", "m", "chat", ["", ""])


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        (" https://API.example.com/v1/ ", "https://api.example.com/v1"),
        ("https://example.com/llm/V2", "https://example.com/llm/V2"),
        ("http://[::1]:80/v1", "http://[::1]:80/v1"),
    ],
)
def test_addresses(given: str, address: str) -> None:
    assert server_address(given) == address
    assert server_address(address) == address


@pytest.mark.parametrize(
    "given",
    [
        "http://me:hunter2@h/v1",
        "http://hunter2@h/v1",
        "https://h/v1?api-key=hunter2",
        "https://h/v1#hunter2",
        "ftp://h/hunter2",
        "hunter2",
        "http://",
        "http://h:hunter2/v1",
        "http://[hunter2/v1",
        "http://h/v1/chat/completions",
        "http://h/v1/completions/",
        "http://h/hunter2\x1b[2J",
        "http://h/hunter2 v1",
        "http://h/hunter2\u202e",
        "http://h\u00e9/hunter2",
        "",
    ],
)
def test_addresses_that_are_refused_and_never_quoted(given: str) -> None:
    with pytest.raises(InputError) as caught:
        server_address(given)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1/v1", True),
        ("http://127.8.8.8:80/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://127.evil.example/v1", False),
        ("http://localhost.evil.example/v1", False),
        ("http://10.0.0.1/v1", False),
        ("http://example.org/v1", False),
    ],
)
def test_which_addresses_stay_on_this_machine(address: str, here: bool) -> None:
    assert is_this_machine(server_address(address)) is here


def test_a_key_in_the_path_is_never_written() -> None:
    secret = "sk-0123456789abcdefghij"
    for path, kept in ((f"/v1/{secret}/openai", False), ("/openai/deployments/smollm2-135m/v1", True), ("/v1", True)):
        server = server_address(f"https://gateway.example{path}")
        one = Questions.distinct(server, "m", "chat", ["why?"])
        assert one.server == f"https://gateway.example{path}"
        assert (one.shown_server == one.server) == kept
        assert secret not in json.dumps(one.identity())
        assert secret not in repr(one)
    digest = hashlib.sha256(secret.encode()).hexdigest()[:16]
    assert shown_address(f"https://h/{secret}/v1") == f"https://h/sha256-{digest}/v1"


def test_under_another_plan_the_questions_are_others() -> None:
    """So the log has another name, and one that was there before the plan is refused."""
    planned = replace(CHAT, plan="ab" * 32)
    assert "plan" not in CHAT.identity()
    assert planned.identity() == {**CHAT.identity(), "plan": "ab" * 32}
    assert len({one.sha256 for one in (CHAT, planned, replace(CHAT, plan="cd" * 32))}) == 3
