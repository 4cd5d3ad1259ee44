"""Rounding, pruning and merging of a tiny model, against plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distill_sim.examples import collate, make_examples
from distill_sim.optimise import keep_zeros, linear_layers, merged, pruned, quantised
from distill_sim.recipe import Recipe
from distill_sim.saving import save_model
from distill_sim.student import prepare
from distill_sim.trainer import answer_loss, make_trainer
from tests import tiny
from tests.distill_sim.test_fluency import rows
from watermark.engines.models import load_model
from watermark.errors import InputError

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(tiny.shared())


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_model(tiny.build(tmp_path_factory.mktemp("other"), seed=1))


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def linear(model: Any) -> dict[str, np.ndarray]:
    return {f"{name}.weight": layer.weight.detach().numpy() for name, layer in linear_layers(model)}


def plain(row: np.ndarray, bits: int) -> np.ndarray:
    """One group of 32 weights, rounded by what ggml's documentation says of Q8_0 and Q4_0."""
    if bits == 8:
        scale = np.float32(np.abs(row).max() / 127)
        levels = np.round(row / scale)
    else:
        scale = np.float32(row[np.abs(row).argmax()] / -8)
        levels = np.clip(np.floor(row / scale + np.float32(8.5)), 0, 15) - 8
    return np.float32(np.float16(scale)) * levels


# --- what is a linear layer ---


def test_linear_layers_are_all_but_the_tied_head(model: Any) -> None:
    names = [name for name, _ in linear_layers(model)]
    assert len(names) == 3 * 7  # q, k, v, o, gate, up, down
    assert not [name for name in names if "lm_head" in name or "norm" in name or "embed" in name]


def test_a_head_of_its_own_is_a_linear_layer(tmp_path: Path) -> None:
    from tests.detect.questioned import table_model

    assert "lm_head" in dict(linear_layers(load_model(table_model.build(tmp_path / "t"))))


# --- rounding ---


@pytest.mark.parametrize("bits", [8, 4])
def test_every_group_is_rounded_as_its_format_says(model: Any, bits: int) -> None:
    before, after = linear(model), linear(quantised(model, bits))
    for name in before:
        groups = before[name].reshape(-1, 32)
        expected = np.stack([plain(group, bits) for group in groups])
        wrong = np.abs(after[name].reshape(-1, 32) - expected) > 1e-6
        assert wrong.mean() < 1e-3, name  # a weight in the middle of two levels may go either way
        assert len(np.unique(after[name].reshape(-1, 32)[0])) <= min(32, 2**bits)


def test_fewer_bits_are_coarser_and_the_rest_is_untouched(model: Any) -> None:
    before, kept = state(model), set(state(model)) - set(linear(model))
    errors = {}
    for bits in (8, 4):
        after = quantised(model, bits).state_dict()
        assert all(torch.equal(before[name], after[name]) for name in kept)
        assert all(tensor.dtype == torch.float32 for tensor in after.values())
        errors[bits] = np.mean([float((before[n] - after[n]).square().mean() / before[n].var()) for n in linear(model)])
    assert 0 < errors[8] < 1e-4
    assert 2e-3 < errors[4] < 3e-2
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())


def test_what_was_rounded_is_saved_and_read_again(model: Any, tmp_path: Path) -> None:
    small = quantised(model, 4)
    save_model(small, tmp_path / "small")
    again = load_model(tmp_path / "small")
    assert all(torch.equal(tensor, small.state_dict()[name]) for name, tensor in again.state_dict().items())
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight


def test_rounding_refuses_other_bits_and_odd_widths(model: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="8 or 4 bits, not 3"):
        quantised(model, 3)
    odd = load_model(tiny.build(tmp_path / "odd", hidden=24))
    with pytest.raises(InputError, match="has 24 inputs; rounding to 8 bits needs a multiple of 32"):
        quantised(odd, 8)


# --- pruning and healing ---


@pytest.mark.parametrize("bits", [8, 4])
def test_what_was_pruned_is_still_zero_when_rounded(model: Any, bits: int) -> None:
    small = pruned(model, 0.5)
    after = linear(quantised(small, bits))
    assert all((after[name][weight == 0] == 0).all() for name, weight in linear(small).items())


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_smallest_weights_of_every_matrix_are_gone(model: Any, share: float) -> None:
    before, after = linear(model), linear(pruned(model, share))
    for name in before:
        gone = after[name] == 0
        assert gone.sum() == round(share * gone.size)
        assert np.abs(before[name][gone]).max() <= np.abs(before[name][~gone]).min()
        assert np.array_equal(after[name][~gone], before[name][~gone])
    rest = {name: tensor for name, tensor in state(model).items() if name not in before}
    assert all(torch.equal(tensor, pruned(model, share).state_dict()[name]) for name, tensor in rest.items())


def test_a_pruned_model_is_saved_under_the_same_names(model: Any, tmp_path: Path) -> None:
    save_model(pruned(model, 0.5), tmp_path / "p")
    assert load_model(tmp_path / "p").state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_a_share_lies_between_0_and_1(model: Any, share: float) -> None:
    for refused in (lambda: pruned(model, share), lambda: merged(model, model, share)):
        with pytest.raises(InputError, match="share lies between 0 and 1"):
            refused()


def healed(model: Any, tmp_path: Path, method: str = "full") -> Any:
    """Trained for a few steps by the student's own trainer."""
    recipe = Recipe(method=method, layers=1, batch_size=4, learning_rate=1e-2)
    examples = make_examples(rows(12), 256, 384)
    trainable = prepare(model, recipe)
    make_trainer(trainable, examples, recipe, tmp_path / f"work-{method}", 1e9, lambda *_: None).train()
    return trainable


@pytest.mark.parametrize("method", ["full", "top"])
def test_zeros_stay_zero_while_the_rest_heals(model: Any, tmp_path: Path, method: str) -> None:
    batch = collate(make_examples(rows(12), 256, 384))
    small = keep_zeros(pruned(model, 0.5))
    before = {name: weight.copy() for name, weight in linear(small).items()}
    loss = float(answer_loss(small, batch["input_ids"], batch["labels"]).detach())
    after = linear(healed(small, tmp_path, method))
    for name, weight in after.items():
        assert np.array_equal(weight == 0, before[name] == 0), name
    moved = [name for name in before if not np.array_equal(before[name], after[name])]
    assert len(moved) == (21 if method == "full" else 7)
    assert float(answer_loss(small, batch["input_ids"], batch["labels"]).detach()) < loss


def test_without_it_zeros_do_not_stay(model: Any, tmp_path: Path) -> None:
    after = linear(healed(pruned(model, 0.5), tmp_path))
    assert all((weight == 0).mean() < 0.01 for weight in after.values())


def test_weights_that_are_not_trained_need_no_hook(model: Any) -> None:
    frozen = pruned(model, 0.5).requires_grad_(False)
    assert keep_zeros(frozen) is frozen


# --- merging ---


def test_merged_is_the_weighted_mean(model: Any, other: Any) -> None:
    result = merged(model, other, 0.25)
    for name, tensor in result.state_dict().items():
        expected = 0.75 * model.state_dict()[name].double() + 0.25 * other.state_dict()[name].double()
        assert torch.allclose(tensor.double(), expected, atol=1e-6), name
    assert result.get_output_embeddings().weight is result.get_input_embeddings().weight


def test_weights_that_agree_stay_as_they_are(model: Any) -> None:
    result = merged(model, model, 0.3)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in result.state_dict().items())


def test_models_of_other_shapes_are_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"embed_tokens\.weight is \[384, 32\] in one and \[384, 64\]"):
        merged(model, load_model(tiny.build(tmp_path / "wide", hidden=64)), 0.5)
    with pytest.raises(InputError, match=r"only one of them has model\.layers\.2"):
        merged(model, load_model(tiny.build(tmp_path / "short", layers=2)), 0.5)
