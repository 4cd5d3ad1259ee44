"""Answers: the same for the same seed, resumable at a batch, marked when there is a key, free of padding and stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from tests.watermark.engines.helpers import VOCABULARY, green_of_scored, key_for, model, tokenizer
from watermark import Key
from watermark.engines import answers as answers_module
from watermark.engines.answers import Sampling, answer, answer_resumably
from watermark.engines.chat import chat_prompt_ids
from watermark.engines.transformers import EachItsOwn, GreenListProcessor
from watermark.errors import InputError, ModelError, TokenizerMismatchError
from watermark.journal import Journal
from watermark.keys import TokenizerIdentity

pytestmark = pytest.mark.usefixtures("one_torch_thread")
SAMPLING = Sampling(max_new_tokens=12, batch_size=3)
PROMPTS = [[5, 6, 7, 8], [9], [10, 11, 12], [13, 14], [15, 16, 17, 18, 19, 20, 21], [22], [23, 24], [25] * 30]
EOS = 2


def all_answers(
    prompts: Sequence[Sequence[int]] = PROMPTS, sampling: Sampling = SAMPLING, **how: Any
) -> list[list[int]]:
    return [ids for batch in answer(model(), tokenizer(), prompts, sampling, **{"seed": 1, **how}) for ids in batch]


def test_one_answer_a_prompt_in_their_order() -> None:
    batches = list(answer(model(), tokenizer(), PROMPTS, SAMPLING, seed=1))
    assert [len(batch) for batch in batches] == [3, 3, 2]
    lengths = {len(ids) for batch in batches for ids in batch}
    assert max(lengths) == 12
    assert all(isinstance(token, int) for batch in batches for ids in batch for token in ids)


def test_no_prompts_no_answers() -> None:
    assert list(answer(model(), tokenizer(), [], SAMPLING, seed=1)) == []


def test_the_same_seed_gives_the_same_answers_and_another_one_others() -> None:
    assert all_answers(seed=7) == all_answers(seed=7)
    assert all_answers(seed=7) != all_answers(seed=8)


def test_batches_differ_even_when_their_prompts_do_not() -> None:
    batches = list(answer(model(), tokenizer(), [[5, 6]] * 9, SAMPLING, seed=1))
    assert len({str(batch) for batch in batches}) == 3


@pytest.mark.parametrize("first", [0, 3, 6])
def test_resuming_at_a_batch_gives_what_the_undisturbed_run_gives(first: int) -> None:
    whole = all_answers(key=key_for(1))
    torch.manual_seed(first)  # whatever the state of the generator is then
    assert all_answers(key=key_for(1), first=first) == whole[first:]


def test_resuming_after_the_end_gives_nothing_and_between_batches_is_refused() -> None:
    assert all_answers(first=len(PROMPTS)) == []
    for first in (1, 4, -3):
        with pytest.raises(ValueError, match=f"no batch of 3 begins at prompt {first}"):
            all_answers(first=first)


def test_a_journal_makes_it_whole_again(tmp_path: Path) -> None:
    whole = all_answers(seed=4)
    with Journal(tmp_path / "journal", "this work") as journal:
        for batch in answer(model(), tokenizer(), PROMPTS[:3], SAMPLING, seed=4):
            journal.append(batch)
    added: list[int] = []
    with Journal(tmp_path / "journal", "this work") as journal:
        assert journal.entries == [whole[:3]]
        got = answer_resumably(model(), tokenizer(), PROMPTS, SAMPLING, journal, seed=4, on_answers=added.append)
    assert got == whole
    assert added == [3, 3, 2]


def test_seeds_of_batches_do_not_collide() -> None:
    """Also in the 32 bits that torch's CPU generator looks at. Linear mixing collides: (0, 1000003) and (1, 0)."""
    seeds = {answers_module.drawing_seed(s, n) for s in range(100) for n in (*range(0, 3200, 32), 1_000_003)}
    assert len({seed & 0xFFFFFFFF for seed in seeds}) == 100 * 101
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert answers_module.drawing_seed(1, 23) != answers_module.drawing_seed(12, 3)


def test_the_callers_random_numbers_are_the_callers() -> None:
    """Between batches and after them, drawn on or abandoned, the global generator is as the caller left it."""
    undisturbed = torch.Generator().manual_seed(5)
    torch.manual_seed(5)
    got = []
    run = answer(model(), tokenizer(), PROMPTS, SAMPLING, seed=1)
    for _ in range(2):
        next(run)
        got.append(torch.rand(3))
    run.close()
    got.append(torch.rand(3))
    assert torch.equal(torch.stack(got), torch.stack([torch.rand(3, generator=undisturbed) for _ in range(3)]))
    torch.manual_seed(99)
    drawn_on = []
    for batch in answer(model(), tokenizer(), PROMPTS, SAMPLING, seed=1):
        torch.rand(1)
        drawn_on += batch
    assert drawn_on == all_answers()


def test_marked_answers_are_green_and_unmarked_ones_are_not() -> None:
    key = key_for(1, delta=40.0)
    sampling = replace(SAMPLING, max_new_tokens=30)

    def green(used: Key | None) -> np.ndarray:
        answers = all_answers(PROMPTS, sampling, key=used)
        documents = [prompt + ids for prompt, ids in zip(PROMPTS, answers, strict=True)]
        return np.concatenate([green_of_scored(key, [d], skip=len(p)) for d, p in zip(documents, PROMPTS, strict=True)])

    assert len(green(key)) > 50
    assert green(key).mean() > 0.97
    assert 0.05 < green(None).mean() < 0.6


def test_a_prompts_answer_does_not_depend_on_the_padding_beside_it() -> None:
    """Greedy (a tiny temperature): alone, beside a short and beside a long prompt, at every place of the batch."""
    greedy = Sampling(max_new_tokens=8, temperature=1e-4, batch_size=4)
    key = key_for(3, delta=4.0)
    for prompt in ([9], [5, 6, 7, 8], [30, 31]):
        (alone,) = all_answers([prompt], greedy, key=key)
        together = all_answers([[40], prompt, [41] * 25, prompt], greedy, key=key)
        assert together[1] == together[3] == alone
        assert alone


def test_answers_stop_at_the_first_stop_and_nothing_after_it_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many answers, so that several stop early; finished rows are padded with the stop token."""
    sampling = Sampling(max_new_tokens=40, batch_size=32)
    prompts = [[5 + i % 300] for i in range(96)]
    raw: list[list[int]] = []
    until = answers_module.until_stop
    monkeypatch.setattr(answers_module, "until_stop", lambda ids, stops: (raw.append(ids), until(ids, stops))[1])
    answers = all_answers(prompts, sampling)
    stopped = [(ids, full) for ids, full in zip(answers, raw, strict=True) if EOS in full]
    assert len(stopped) > 3
    assert len({len(ids) for ids, _ in stopped}) > 2
    assert not any(EOS in ids for ids in answers)
    for ids, full in stopped:
        assert ids == full[: full.index(EOS)]
        assert set(full[len(ids) :]) == {EOS}
    assert all(len(ids) == len(full) for ids, full in zip(answers, raw, strict=True) if EOS not in full)


def test_the_models_and_the_tokenizers_stops_both_count(monkeypatch: pytest.MonkeyPatch) -> None:
    frequent = next(token for ids in all_answers() for token in ids)
    own = GenerationConfig(eos_token_id=[frequent, 300], pad_token_id=7)
    monkeypatch.setattr(model(), "generation_config", own)
    answers = all_answers()
    assert not {EOS, frequent, 300} & {token for ids in answers for token in ids}
    assert answers[0] == []
    assert model().generation_config is own


def test_only_the_sampling_decides_how_tokens_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = all_answers()
    odd = GenerationConfig(
        eos_token_id=2,
        pad_token_id=2,
        num_beams=2,
        num_return_sequences=2,
        repetition_penalty=9.0,
        min_new_tokens=11,
        suppress_tokens=list(range(100, 300)),
        temperature=0.01,
        max_length=20,
    )
    monkeypatch.setattr(model(), "generation_config", odd)
    assert all_answers() == plain
    assert model().generation_config is odd


def test_the_models_defaults_come_back_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    own = model().generation_config
    with pytest.raises(IndexError):
        all_answers([[VOCABULARY + 5]])
    assert model().generation_config is own


@pytest.mark.parametrize("count", [1, 3, 8])
def test_tokens_are_counted_step_by_step(count: int) -> None:
    seen: list[int] = []
    batches = list(answer(model(), tokenizer(), PROMPTS[:count], SAMPLING, seed=1, on_tokens=seen.append))
    rows = [len(batch) for batch in batches]
    assert set(seen) <= set(rows)
    longest = [min(max(map(len, batch)) + 1, 12) for batch in batches]  # a step more for the stop, where there was room
    assert sum(seen) == sum(row * steps for row, steps in zip(rows, longest, strict=True))
    assert [ids for batch in batches for ids in batch] == all_answers(PROMPTS[:count])


@pytest.mark.parametrize("change", [{"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-6}], ids=str)
def test_temperature_top_k_and_top_p_have_their_effect(change: dict[str, Any]) -> None:
    """At their extremes all three are greedy: two seeds then agree, which they don't otherwise."""
    narrow = replace(SAMPLING, **change)
    assert all_answers(PROMPTS, narrow, seed=1) == all_answers(PROMPTS, narrow, seed=2)
    assert all_answers(seed=1) != all_answers(seed=2)


def test_prompts_without_tokens_and_foreign_keys_are_refused_before_anything_is_generated() -> None:
    with pytest.raises(InputError, match=r"prompt 2 \(from 0\) has no tokens"):
        next(answer(model(), tokenizer(), [[5], [6], []], SAMPLING, seed=1))
    key = Key.generate(tokenizer=TokenizerIdentity("other", "ab" * 32, VOCABULARY, (0, 1, 2)))
    with pytest.raises(TokenizerMismatchError):
        next(answer(model(), tokenizer(), PROMPTS, SAMPLING, seed=1, key=key))


@pytest.mark.parametrize(
    "wrong",
    [{"max_new_tokens": 0}, {"batch_size": 0}, {"temperature": 0.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}],
    ids=str,
)
def test_ways_to_sample_that_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not a way to sample|top_p must lie"):
        Sampling(**wrong)


def test_sampling_as_json() -> None:
    assert Sampling(top_k=5).to_dict() == {
        "max_new_tokens": 64,
        "temperature": 1.0,
        "top_k": 5,
        "top_p": 1.0,
        "batch_size": 32,
    }


def test_prompts_go_through_the_chat_template_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    templated = chat_prompt_ids(tokenizer(), "the rain")
    assert tokenizer().decode(templated) == "<|im_start|>user\nthe rain<|im_end|>\n<|im_start|>assistant\n"
    monkeypatch.setattr(tokenizer(), "chat_template", None)
    assert chat_prompt_ids(tokenizer(), "the rain") == tokenizer()("the rain").input_ids


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no\x1b[2J\u202e users\nhere') }}", "no⟨U+001B⟩[2J⟨U+202E⟩ users"),
        ("{% for", "chat template cannot be used"),
        ("{{ messages[7].content }}", "chat template cannot be used"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 'Say something else.' }}", "leaves the prompt out"),
        ("", "leaves the prompt out"),
        ("{{ messages[0].content | upper }}", "leaves the prompt out"),
    ],
    ids=range(7),
)
def test_a_hostile_template_is_one_line(template: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer(), "chat_template", template)
    with pytest.raises(ModelError) as caught:
        chat_prompt_ids(tokenizer(), "the rain")
    message = str(caught.value)
    assert reason in message
    assert message.isprintable()
    assert message.endswith("; give prompt_ids")
    assert tokenizer().name_or_path in message


def test_a_template_may_strip_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer(), "chat_template", "{{ messages[0].content | trim }}")
    assert chat_prompt_ids(tokenizer(), "  the rain\n") == tokenizer()("the rain").input_ids


@pytest.mark.parametrize("stop", ["x", [2, "x"], 2.0, [None, True], {"a": 1}], ids=str)
def test_stops_that_are_no_ids_are_refused(stop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model().generation_config, "eos_token_id", stop)
    with pytest.raises(ModelError, match="eos_token_id must be a token id") as caught:
        all_answers(PROMPTS[:1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stop", [-1, VOCABULARY, 10**20, [2, -7]], ids=str)
def test_stops_that_no_token_has_end_nothing(stop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = all_answers(PROMPTS[:3])
    monkeypatch.setattr(model().generation_config, "eos_token_id", stop)
    assert all_answers(PROMPTS[:3]) == whole  # the tokenizer's own stop is EOS, too


def test_padding_that_the_model_does_not_know_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = all_answers(PROMPTS[:3])
    monkeypatch.setattr(type(tokenizer()), "pad_token_id", VOCABULARY + 5, raising=False)
    assert all_answers(PROMPTS[:3]) == whole


# --- every answer with a key of its own ---


def test_each_row_is_marked_with_its_own_key() -> None:
    """Row by row what one processor alone does, whatever the batch."""
    keys = [key_for(number=number) for number in range(3)]
    ids = torch.tensor([[5, 9], [5, 9], [7, 11]])
    scores = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(0))
    found = EachItsOwn(keys, VOCABULARY)(ids, scores)
    for at, key in enumerate(keys):
        alone = GreenListProcessor(key, VOCABULARY)(ids[at : at + 1], scores[at : at + 1])
        assert torch.equal(found[at : at + 1], alone)
    assert not torch.equal(found[0] - scores[0], found[1] - scores[1])  # the same context, other colours
    with pytest.raises(ValueError, match="2 sequences for 3 keys"):
        EachItsOwn(keys, VOCABULARY)(ids[:2], scores[:2])


def test_answers_under_keys_of_their_own() -> None:
    """Each is green under its key, across batches, and not under the next one's."""
    keys = [key_for(delta=8.0, number=number) for number in range(len(PROMPTS))]
    answers = all_answers(sampling=replace(SAMPLING, max_new_tokens=40), key=keys)
    for at, ids in enumerate(answers):
        own, other = (green_of_scored(one, [ids]) for one in (keys[at], keys[(at + 1) % len(keys)]))
        assert own.size > 15
        assert own.mean() > 0.75
        assert other.mean() < 0.6
    with pytest.raises(ValueError, match="7 keys for 8 prompts"):
        all_answers(key=keys[:7])


def test_keys_of_another_tokenizer_are_refused() -> None:
    foreign = Key(bytes(32), replace(key_for().parameters, tokenizer=TokenizerIdentity("", "0" * 64, VOCABULARY, ())))
    with pytest.raises(TokenizerMismatchError):
        all_answers(key=[foreign] * len(PROMPTS))
