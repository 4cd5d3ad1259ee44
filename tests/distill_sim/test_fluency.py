"""Perplexity against a plain loop over tokens, one row at a time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from distill_sim.corpus import CorpusRow
from distill_sim.fluency import BATCH_ROWS, Fluency, fluency
from tests import tiny
from tests.distill_sim.test_corpus import ROW
from watermark.engines.models import load_model
from watermark.errors import InputError

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(tiny.shared())


def rows(count: int) -> list[CorpusRow]:
    """Prompts and answers of many lengths."""
    generator = torch.Generator().manual_seed(5)
    result = []
    for i in range(count):
        ids = torch.randint(3, 384, (30,), generator=generator).tolist()
        prompt = 1 + i % 5
        result.append(
            replace(ROW, id=str(i), prompt_ids=tuple(ids[:prompt]), token_ids=tuple(ids[prompt : prompt + 1 + i]))
        )
    return result


def plain(model: Any, several: list[CorpusRow]) -> tuple[float, int]:
    """Summed −log p of every answer token, predicted from everything before it, and their number."""
    total, count = 0.0, 0
    for row in several:
        ids = row.prompt_ids + row.token_ids
        for position in range(len(row.prompt_ids), len(ids)):
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([ids[:position]])).logits[0, -1].double()
            total -= float(torch.log_softmax(logits, dim=-1)[ids[position]])
            count += 1
    return total, count


def test_it_is_the_mean_over_tokens_and_its_exponential(model: Any) -> None:
    several = rows(BATCH_ROWS + 3)  # two batches of unequal size and length: a mean of means would differ
    total, count = plain(model, several)
    found = fluency(model, several)
    assert found.n_tokens == count == sum(len(row.token_ids) for row in several)
    assert found.nats_per_token == pytest.approx(total / count, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(total / count), rel=1e-4)
    assert found.to_dict() == {
        "n_tokens": count,
        "nats_per_token": found.nats_per_token,
        "perplexity": found.perplexity,
    }


def test_a_model_of_equal_chances_has_the_perplexity_of_its_vocabulary(model: Any) -> None:
    class Uniform:
        def __call__(self, *, input_ids: torch.Tensor, logits_to_keep: torch.Tensor, use_cache: bool) -> Any:
            return type("Output", (), {"logits": torch.zeros(int(logits_to_keep.sum()), 384)})

    found = fluency(Uniform(), rows(9))  # type: ignore[arg-type]
    assert found.perplexity == pytest.approx(384)


def test_rows_without_prompt_or_answer_say_nothing(model: Any) -> None:
    several = rows(3)
    silent = [replace(ROW, id="e", token_ids=()), replace(ROW, id="p", prompt_ids=())]
    assert fluency(model, [silent[0], *several, silent[1]]) == fluency(model, several)
    with pytest.raises(InputError, match="no row of the corpus"):
        fluency(model, silent)


def test_it_stops_after_the_batch_that_reaches_the_limit(model: Any) -> None:
    several = rows(3 * BATCH_ROWS)
    first = sum(len(row.token_ids) for row in several[:BATCH_ROWS])
    second = sum(len(row.token_ids) for row in several[BATCH_ROWS : 2 * BATCH_ROWS])
    steps: list[int] = []
    assert fluency(model, several, max_tokens=first + 1, on_tokens=steps.append).n_tokens == first + second
    assert steps == [first, second]
    assert fluency(model, several, max_tokens=first) == fluency(model, several[:BATCH_ROWS])


def test_text_the_model_wrote_is_more_fluent_than_noise(model: Any) -> None:
    written = []
    for row in rows(6):
        ids = torch.tensor([row.prompt_ids])
        with torch.inference_mode():
            for _ in range(20):
                ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], dim=1)
        written.append(replace(row, token_ids=tuple(ids[0, len(row.prompt_ids) :].tolist())))
    noise = [replace(row, token_ids=tuple((7 * t + 11) % 380 + 3 for t in row.token_ids)) for row in written]
    assert fluency(model, written).perplexity < fluency(model, noise).perplexity / 2


def test_it_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Fluency(1, 1.0, 1.0).n_tokens = 2  # type: ignore[misc]
