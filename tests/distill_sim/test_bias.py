"""A bias on logits: the same as adding it by hand, whatever way the model is called; and its file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LogitsProcessor

from detect.fed import Probe
from detect.questioned.positions import batch_logits, plan_positions
from distill_sim.bias import Bias, biased
from distill_sim.examples import collate, make_examples
from distill_sim.trainer import answer_loss
from tests import tiny
from tests.distill_sim.test_fluency import rows
from watermark.engines.answers import Sampling, answer
from watermark.engines.models import load_model, load_tokenizer
from watermark.errors import InputError
from watermark.windows import WindowRule

pytestmark = pytest.mark.usefixtures("one_torch_thread")

V, STRENGTH = 384, 3.0
SMALL = range(10, 16)  # texts of few tokens: nearly every context has a bias
Cells = dict[tuple[int, ...], dict[int, float]]


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(tiny.shared())


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(tiny.shared())


def random_cells(width: int, seed: int = 0, share: float = 0.8) -> Cells:
    """Values for a share of the contexts of the few tokens, and a strong push towards those few tokens."""
    rng = np.random.default_rng(seed)
    contexts = np.stack(np.meshgrid(*[list(SMALL)] * width), -1).reshape(-1, width) if width else np.zeros((1, 0), int)
    result: Cells = {}
    for context in contexts[: 1 if not width else None]:
        if width == 0 or rng.random() < share:
            tokens = rng.choice(V, size=int(rng.integers(1, 9)), replace=False)
            result[tuple(map(int, context))] = {int(t): float(np.float32(rng.normal(0, 2))) for t in tokens}
            result[tuple(map(int, context))] |= dict.fromkeys(SMALL, 4.0)
    return result


def bias_of(cells: Cells, width: int) -> Bias:
    flat = [(i, token, value) for i, row in enumerate(cells.values()) for token, value in row.items()]
    number, tokens, values = (np.array(column) for column in zip(*flat, strict=True))
    return Bias.of_cells(np.array(list(cells), dtype=np.uint32).reshape(len(cells), width), number, tokens, values)


def by_hand(logits: torch.Tensor, ids: Sequence[int], cells: Cells, width: int) -> torch.Tensor:
    """Logits [vocab] behind `ids`, with the bias."""
    result = logits.clone()
    if len(ids) >= width:
        for token, value in cells.get(tuple(ids[len(ids) - width :]), {}).items():
            result[token] += STRENGTH * value
    return result


def whole(model: Any, ids: torch.Tensor, cells: Cells, width: int) -> torch.Tensor:
    """[batch, length, vocab]."""
    with torch.inference_mode():
        logits = model(input_ids=ids).logits
        positions = [[by_hand(logits[r, i], ids[r, : i + 1].tolist(), cells, width) for i in range(ids.shape[1])]
                     for r in range(len(ids))]  # fmt: skip
        return torch.stack([torch.stack(row) for row in positions])


def some_ids(batch: int = 3, length: int = 12) -> torch.Tensor:
    return torch.randint(SMALL[0], SMALL[-1] + 1, (batch, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("width", [0, 1, 2, 3])
def test_logits_are_those_with_the_bias_added_by_hand(model: Any, width: int) -> None:
    ids, cells = some_ids(), random_cells(width)
    expected = whole(model, ids, cells, width)
    with torch.inference_mode(), biased(model, bias_of(cells, width), STRENGTH) as changed:
        assert changed is model
        found = model(input_ids=ids).logits
        assert torch.allclose(found, expected, atol=1e-5)
        assert torch.equal(model(ids).logits, found)
        for keep in (1, 4, torch.arange(2, 7)):
            columns = slice(-keep, None) if isinstance(keep, int) else keep
            assert torch.allclose(model(input_ids=ids, logits_to_keep=keep).logits, expected[:, columns], atol=1e-5)
        mask = torch.zeros(ids.shape, dtype=torch.bool)
        mask[0, 3] = mask[2, 5] = mask[2, 11] = True
        assert torch.allclose(model(input_ids=ids, logits_to_keep=mask).logits, expected[mask], atol=1e-5)
    with torch.inference_mode():
        after = model(input_ids=ids).logits
    assert (after - expected).abs().max() > 1  # the block is over
    assert not model._forward_hooks


@pytest.mark.parametrize("width", [0, 1, 2, 3])
@pytest.mark.parametrize("pieces", [[12], [1] * 12, [5, 1, 3, 2, 1]])
def test_a_cache_changes_nothing(model: Any, width: int, pieces: list[int]) -> None:
    ids, cells = some_ids(), random_cells(width)
    expected, cache = whole(model, ids, cells, width), None
    with torch.inference_mode(), biased(model, bias_of(cells, width), STRENGTH):
        for part in ids.split(pieces, dim=1):
            output = model(input_ids=part, past_key_values=cache, use_cache=True)
            at = output.past_key_values.get_seq_length()
            assert torch.allclose(output.logits, expected[:, at - part.shape[1] : at], atol=1e-5)
            cache = output.past_key_values


class ByHand(LogitsProcessor):
    def __init__(self, cells: Cells, width: int) -> None:
        self.cells, self.width = cells, width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        together = zip(scores, input_ids.tolist(), strict=True)
        return torch.stack([by_hand(row, ids, self.cells, self.width) for row, ids in together])


@pytest.mark.parametrize("width", [0, 1, 2, 3])
def test_generating_is_the_same_as_by_a_logits_processor(
    model: Any, tokenizer: Any, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of unequal lengths, padded on the left, sampled with transformers' own cache."""
    cells = random_cells(width, share=1)
    prompts = [ids[: 4 + i].tolist() for i, ids in enumerate(some_ids(5))]
    sampling = Sampling(max_new_tokens=20, batch_size=5)
    with biased(model, bias_of(cells, width), STRENGTH):
        (found,) = answer(model, tokenizer, prompts, sampling, seed=1)
    (plain,) = answer(model, tokenizer, prompts, sampling, seed=1)
    generate = model.generate
    given = {"logits_processor": [ByHand(cells, width)]}
    monkeypatch.setattr(model, "generate", lambda **named: generate(**(named | given)))
    (expected,) = answer(model, tokenizer, prompts, sampling, seed=1)
    assert found == expected
    assert found != plain
    assert sum(token in SMALL for ids in found for token in ids) > 50  # contexts with a bias went on occurring


def test_readers_and_losses_see_it(model: Any) -> None:
    cells = random_cells(2)
    probes = [Probe(ids[:3].tolist(), ids[3:].tolist()) for ids in some_ids()]
    plan = plan_positions(probes, WindowRule(2, ()), [model], V)
    (batch,) = plan.batches()
    expected = whole(model, batch.ids, cells, 2)[batch.rows, batch.columns]
    with biased(model, bias_of(cells, 2), STRENGTH):
        assert torch.allclose(batch_logits(model, batch, V)(slice(None)), expected, atol=1e-5)
    examples = collate(make_examples(rows(3), 256, V))
    with biased(model, bias_of({(): {7: 1.0}}, 0), 50.0):
        assert float(answer_loss(model, examples["input_ids"], examples["labels"]).detach()) > 30


def test_blocks_add_up_and_negative_strength_takes_away(model: Any) -> None:
    ids, one, two = some_ids(), bias_of(random_cells(1), 1), bias_of(random_cells(2, seed=1), 2)
    with torch.inference_mode():
        plain = model(input_ids=ids).logits
        with biased(model, one, 2.0), biased(model, two, 1.0):
            both = model(input_ids=ids).logits
        with biased(model, one, 2.0), biased(model, two, 1.0), biased(model, one, -2.0), biased(model, two, -1.0):
            none = model(input_ids=ids).logits
        with biased(model, one, 2.0):
            first = model(input_ids=ids).logits
        with biased(model, two, 1.0):
            second = model(input_ids=ids).logits
    assert torch.allclose(none, plain, atol=1e-4)
    assert torch.allclose(both - plain, first + second - 2 * plain, atol=1e-4)


def test_what_cannot_be_right_is_refused(model: Any) -> None:
    ids, bias = some_ids(), bias_of(random_cells(2), 2)
    with (
        pytest.raises(InputError, match="names token 400, but the model has only 384"),
        biased(model, bias_of({(): {400: 1.0}}, 0), 1.0),
    ):
        pass
    with torch.inference_mode():
        elsewhere = model(input_ids=ids, use_cache=True).past_key_values
        with biased(model, bias, 1.0):
            with pytest.raises(
                InputError, match="width 2 needs the tokens before, and this cache was filled elsewhere"
            ):
                model(input_ids=ids[:, :1], past_key_values=elsewhere)
            cache = model(input_ids=ids, use_cache=True).past_key_values
            cache.crop(-7)
            with pytest.raises(InputError, match="filled elsewhere"):
                model(input_ids=ids[:, 5:6], past_key_values=cache)
            with pytest.raises(InputError, match="needs a call with input_ids"):
                model(inputs_embeds=torch.zeros(1, 2, 32))
        with biased(model, bias_of(random_cells(1), 1), 1.0):  # one token of context needs no memory
            model(input_ids=ids[:, :1], past_key_values=elsewhere)


# --- on disk ---


@pytest.mark.parametrize("width", [0, 1, 4])
def test_a_bias_is_read_as_it_was_written(tmp_path: Path, width: int) -> None:
    contexts = {tuple(range(i, i + width)): {5 + i: 1.5, 3: -0.25} for i in range(1 if not width else 9)}
    bias = bias_of(contexts, width)
    bias.save(tmp_path / "a.safetensors")
    bias.save(tmp_path / "b.safetensors")
    again = Bias.load(tmp_path / "a.safetensors")
    for name in ("contexts", "starts", "tokens", "values"):
        assert np.array_equal(getattr(again, name), getattr(bias, name))
    assert again.context_width == width
    assert len(again) == sum(map(len, contexts.values()))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    with pytest.raises(InputError, match="exists"):
        bias.save(tmp_path / "a.safetensors")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Bias.load(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(InputError, match=r"damaged or not taggant-bias/1"):
        Bias.load(tmp_path / "text")
    with pytest.raises(InputError, match="another format"):
        Bias.load(tiny.shared() / "model.safetensors")


def test_tables_that_contradict_themselves_are_refused() -> None:
    good = {
        "contexts": np.array([[1], [2]], dtype=np.uint32),
        "starts": np.array([0, 1, 3]),
        "tokens": np.array([7, 7, 8], dtype=np.uint32),
        "values": np.ones(3, dtype=np.float32),
    }
    assert len(Bias(**good)) == 3
    for name, wrong in (
        ("contexts", np.array([[1], [1]], dtype=np.uint32)),
        ("contexts", np.array([[1], [2], [3]], dtype=np.uint32)),
        ("starts", np.array([0, 2, 2])),
        ("starts", np.array([0, 4, 3])),
        ("tokens", np.array([7, 8, 8], dtype=np.uint32)),
        ("tokens", np.array([7, 7, 8])),
        ("values", np.array([1, np.nan, 1], dtype=np.float32)),
    ):
        with pytest.raises(ValueError, match=r"of type|do not belong|not of one|twice|not finite"):
            Bias(**(good | {name: wrong}))


def test_a_bias_of_nothing_changes_nothing(model: Any, tmp_path: Path) -> None:
    none = np.zeros(0)
    Bias.of_cells(np.zeros((0, 2), dtype=np.uint32), none.astype(int), none, none).save(tmp_path / "empty.safetensors")
    empty, ids = Bias.load(tmp_path / "empty.safetensors"), some_ids()
    assert (len(empty), empty.context_width) == (0, 2)
    with torch.inference_mode():
        plain = model(input_ids=ids).logits
        with biased(model, empty, STRENGTH):
            assert torch.equal(model(input_ids=ids).logits, plain)
