"""Sampling a questioned model: whom is asked what, how much is kept, and that no key comes in."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from detect.counting import tally
from detect.questioned import sampled as module
from detect.questioned.probes import make_probes, plain_prompts
from detect.questioned.sampled import Answers, sample_model
from detect.readers.row import Row
from tests import tiny
from tests.detect.material import as_set, key_for, windows
from watermark.engines.answers import Sampling
from watermark.engines.models import load_model
from watermark.errors import InputError

pytestmark = pytest.mark.usefixtures("one_torch_thread")
PROMPTS = [[1, 10, 11], [1, 20], [1, 30, 31, 32]]
SHORT = Sampling(max_new_tokens=6, batch_size=4)


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(tiny.shared())


class Asked:
    """Stands in for `answer`: notes what is asked, answers with a given number of tokens."""

    def __init__(self, *lengths: int) -> None:
        self.lengths, self.batches, self.seeds = lengths, [], []

    def __call__(
        self, model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], sampling: Sampling, *, seed: int
    ) -> Iterator[list[list[int]]]:
        length = self.lengths[len(self.batches) % len(self.lengths)]
        self.batches.append([list(prompt) for prompt in prompts])
        self.seeds.append(seed)
        yield [[7] * length for _ in prompts]


def asked(monkeypatch: pytest.MonkeyPatch, *lengths: int) -> Asked:
    stand_in = Asked(*lengths)
    monkeypatch.setattr(module, "answer", stand_in)
    return stand_in


# --- whom is asked what ---


def test_prompts_are_asked_in_turn_round_after_round(
    model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = asked(monkeypatch, 5)
    found = sample_model(model, tokenizer, PROMPTS, 100, sampling=SHORT)
    sequence = [prompt for batch in stand_in.batches for prompt in batch]
    assert len(sequence) == 20 == len(found.answers)
    assert sequence == [PROMPTS[i % 3] for i in range(20)]
    assert all(len(batch) == 4 for batch in stand_in.batches)


def test_a_prompt_given_twice_is_asked_as_one_and_empty_ones_not_at_all(
    model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = asked(monkeypatch, 5)
    given = [PROMPTS[0], [], np.array(PROMPTS[1]), tuple(PROMPTS[0])]
    found = sample_model(model, tokenizer, given, 20, sampling=SHORT)
    assert found.prompts == PROMPTS[:2]
    assert stand_in.batches == [[PROMPTS[0], PROMPTS[1]] * 2]


@pytest.mark.parametrize(("sampling", "rows"), [(SHORT, 4), (Sampling(max_new_tokens=6), 25), (None, 25)])
def test_a_batch_has_one_size_however_many_tokens_are_wanted(
    sampling: Sampling | None, rows: int, model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    for n_tokens in (1, 7, 300, 900):
        stand_in = asked(monkeypatch, 5)
        sample_model(model, tokenizer, PROMPTS, n_tokens, sampling=sampling)
        assert {len(batch) for batch in stand_in.batches} == {rows}
        batches.append((stand_in.batches, stand_in.seeds))
    longest, seeds = batches[-1]
    for some, of in batches:  # a larger run begins as a smaller one
        assert (some, of) == (longest[: len(some)], seeds[: len(some)])


@pytest.mark.parametrize(("n_tokens", "batches"), [(1, 1), (5, 1), (6, 1), (19, 1), (20, 1), (21, 2), (40, 2), (41, 3)])
def test_counted_are_the_first_answers_that_reach_the_number_and_the_rest_of_the_batch_is_dropped(
    n_tokens: int, batches: int, model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in, reported = asked(monkeypatch, 5), []
    found = sample_model(model, tokenizer, PROMPTS, n_tokens, sampling=SHORT, on_tokens=reported.append)
    assert len(stand_in.batches) == batches == len(reported)
    answers = -(-n_tokens // 5)
    assert len(found.answers) == answers
    assert found.asked == [i % 3 for i in range(answers)]
    assert sum(reported) == 5 * answers  # of what counts


class ByNumber(Asked):
    """Answers request i with `lengths[i]` tokens, all of them i + 3, whatever the batch size."""

    def __call__(
        self, model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], sampling: Sampling, *, seed: int
    ) -> Iterator[list[list[int]]]:
        first = sum(map(len, self.batches))
        self.batches.append([list(prompt) for prompt in prompts])
        numbers = range(first, first + len(prompts))
        yield [[i + 3] * self.lengths[i % len(self.lengths)] for i in numbers]


@pytest.mark.parametrize(
    "stop", [None, lambda number, _: number == 23, lambda *_: False], ids=["no stop", "stops at 23", "never stops"]
)
@pytest.mark.parametrize("n_tokens", [1, 2, 30, 31, 32, 33, 34, 35, 36, 100])
def test_what_counts_does_not_depend_on_how_many_are_asked_at_a_time(
    n_tokens: int, stop: Any, model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = (0, 3, 1, 0, 6, 2, 2)
    found = []
    for size in (1, 4, 7, 25, 32):
        monkeypatch.setattr(module, "answer", ByNumber(*lengths))
        how = Sampling(max_new_tokens=6, batch_size=size)
        found.append(sample_model(model, tokenizer, PROMPTS, n_tokens, sampling=how, stop=stop))
    assert all(one == found[0] for one in found)
    by_hand: list[tuple[int, list[int]]] = []  # by a plain loop
    while sum(len(ids) for _, ids in by_hand) < n_tokens and not (stop and by_hand and stop(len(by_hand) - 1, [])):
        by_hand.append((len(by_hand) % 3, [len(by_hand) + 3] * lengths[len(by_hand) % 7]))
    assert list(zip(found[0].asked, found[0].answers, strict=True)) == [one for one in by_hand if one[1]]


def test_a_model_that_cannot_choose_gives_the_same_answers_in_batches_of_any_size(model: Any, tokenizer: Any) -> None:
    """At temperature ~0 no random number matters: not only what counts, but the answers themselves are the same."""
    cold = {"max_new_tokens": 6, "temperature": 1e-4}
    found = [
        sample_model(model, tokenizer, PROMPTS, 40, sampling=Sampling(**cold, batch_size=size)) for size in (1, 4, 25)
    ]
    assert found[0] == found[1] == found[2]
    assert 40 <= sum(map(len, found[0].answers)) < 46


def test_no_two_runs_share_a_batch_seed(model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds 0 … 39 at 10 batches each; with seed + number of prompts asked, run 4 would repeat run 0."""
    stand_in = asked(monkeypatch, 5)
    for seed in range(40):
        sample_model(model, tokenizer, PROMPTS, 200, sampling=SHORT, seed=seed)
    assert len(stand_in.seeds) == 400 == len(set(stand_in.seeds))


# --- a real, if tiny, model ---


def test_the_smallest_run_of_answers_that_holds_the_tokens(model: Any, tokenizer: Any) -> None:
    reported: list[int] = []
    found = sample_model(model, tokenizer, PROMPTS, 60, sampling=SHORT, on_tokens=reported.append)
    total = sum(map(len, found.answers))
    assert 60 <= total < 60 + 6
    assert sum(map(len, found.answers[:-1])) < 60
    assert sum(reported) == total
    assert sum(reported[:-1]) < 60
    assert isinstance(found, Answers)
    assert all(found.answers)
    assert all(2 not in answer for answer in found.answers)  # the end of a turn is no part of an answer


def test_the_same_seed_gives_the_same_answers(model: Any, tokenizer: Any) -> None:
    runs = [sample_model(model, tokenizer, PROMPTS, 60, sampling=SHORT, seed=seed) for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0].answers != runs[2].answers


def test_answers_do_not_depend_on_how_many_follow(model: Any, tokenizer: Any) -> None:
    few, many = (sample_model(model, tokenizer, PROMPTS, n, sampling=SHORT) for n in (4, 90))
    assert many.answers[: len(few.answers)] == few.answers


# --- a rule that stops it ---


@pytest.mark.parametrize("n_tokens", [None, 1000])
def test_a_rule_is_shown_every_answer_until_it_stops(n_tokens: int | None, model: Any, tokenizer: Any) -> None:
    """Those it was shown are what is kept, and they are the answers of any other run."""
    shown: list[list[int]] = []

    def stop(number: int, ids: list[int]) -> bool:
        assert number == len(shown)
        shown.append(ids)
        return number == 9

    reported: list[int] = []
    found = sample_model(model, tokenizer, PROMPTS, n_tokens, sampling=SHORT, stop=stop, on_tokens=reported.append)
    assert len(shown) == 10
    assert found.answers == [ids for ids in shown if ids]
    assert found.asked == [i % 3 for i, ids in enumerate(shown) if ids]
    assert len(reported) == 3  # batches of 4
    whole = sample_model(model, tokenizer, PROMPTS, 15 * 6, sampling=SHORT)
    assert whole.answers[: len(found.answers)] == found.answers


def test_a_number_of_tokens_ends_it_where_the_rule_does_not(
    model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(monkeypatch, 5)
    found = sample_model(model, tokenizer, PROMPTS, 41, sampling=SHORT, stop=lambda *_: False)
    assert len(found.answers) == 9
    with pytest.raises(ValueError, match="would never end"):
        sample_model(model, tokenizer, PROMPTS, None)


def test_empty_answers_keep_their_place_and_a_run_of_them_ends_it(
    model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(monkeypatch, 5, *[0] * 20)
    shown: list[int] = []
    found = sample_model(
        model, tokenizer, PROMPTS, None, sampling=SHORT, stop=lambda i, ids: shown.append(len(ids)) or False
    )
    assert shown == [5] * 4 + [0] * 50  # as many as end it behind a server
    assert (len(found.answers), found.asked) == (4, [0, 1, 2, 0])
    asked(monkeypatch, 0)
    with pytest.raises(InputError, match="50 empty answers in a row"):
        sample_model(model, tokenizer, PROMPTS, None, sampling=SHORT, stop=lambda *_: False)


# --- refusals ---


@pytest.mark.parametrize("prompts", [[], [[]], [[], []]])
def test_no_prompt_is_refused(prompts: list[list[int]], model: Any, tokenizer: Any) -> None:
    with pytest.raises(InputError, match="there is no prompt to ask"):
        sample_model(model, tokenizer, prompts, 10)


def test_empty_answers_are_refused(model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, 5, *[0] * 20)
    with pytest.raises(InputError, match="50 empty answers in a row"):
        sample_model(model, tokenizer, PROMPTS, 21, sampling=SHORT)


@pytest.mark.parametrize("prompt", [[384], [5, 10**7], [-1]])
def test_token_ids_the_model_does_not_have_are_refused(prompt: list[int], model: Any, tokenizer: Any) -> None:
    with pytest.raises(InputError, match="token id outside 0 … 383"):
        sample_model(model, tokenizer, [[5], prompt], 10)


def test_there_is_no_key_to_depend_on() -> None:
    assert "key" not in inspect.signature(sample_model).parameters


# --- what is excluded ---


def test_planned_prompts_are_excluded_asked_or_not(model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, 5)
    many = [[1, 100 + i, 7, 7] for i in range(9)]
    found = sample_model(model, tokenizer, many, 1, sampling=SHORT)
    assert found.prompts == many  # five of them were never asked, as a batch has four
    assert tally(key_for(80, tokenizer), found.answers, found.prompts, test="sampled").n_scored == 0
    assert tally(key_for(80, tokenizer), found.answers, test="sampled").n_scored == 1


def test_a_quoted_page_in_the_prompt_counts_nowhere(tokenizer: Any) -> None:
    """Marked words in a prompt, handed back by the model: through the template or as plain text, none counts."""
    page = "The keeper of the lighthouse counted the coins twice"
    rows = [Row(id="1", source="it:1", prompt=f"Repeat: {page}"), Row(id="2", source="it:2", prompt=page)]
    probes, plain = make_probes(rows, tokenizer), plain_prompts((row.prompt for row in rows), tokenizer)
    echo = tokenizer(page, add_special_tokens=False)["input_ids"]
    answers = [[*echo, 300, 301]]
    found = tally(key_for(81, tokenizer), answers, [*(p.prompt_ids for p in probes), *plain], test="sampled")
    assert as_set(found.pairs) == {((echo[-1],), 300), ((300,), 301)}
    assert set(windows(echo, 1)) <= {pair for ids in plain for pair in windows(ids, 1)}
