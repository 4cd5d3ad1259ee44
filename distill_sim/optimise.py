"""What is done to a student's weights for speed, memory and deployment: rounding, pruning, merging.

Each gives a float32 model that `save_model` writes and every test reads: the weights are those that the smaller form
stands for, so what is tested is what would be served.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from distill_sim.shares import check_share
from watermark.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FORMATS = {8: "Q8_0", 4: "Q4_0"}  # of llama.cpp: groups of 32 weights, each with one 16-bit scale
GROUP = 32


def linear_layers(model: PreTrainedModel) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers with their names; an output layer that shares its weights with the embeddings is none of them.

    Raises:
        InputError: the model has none.
    """
    embedding = model.get_input_embeddings().weight
    found = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and layer.weight is not embedding
    ]
    if not found:
        raise InputError(f"{model.name_or_path or 'the model'} has no linear layer that could be made smaller")
    yield from found


def quantised(model: PreTrainedModel, bits: int) -> PreTrainedModel:
    """A copy whose linear layers are rounded to `bits` bits and written out in float32 again.

    The formats are llama.cpp's Q8_0 and Q4_0, by its own Python package `gguf`: along the input dimension, every 32
    weights share one float16 scale (4 bits: its sign is that of the largest weight). Embeddings, norms and biases stay
    as they are. Weights only: activations are not rounded.

    Measured by `benchmarks.quantisation` (SmolLM2, human text, 2.95 nats a token): int8 −0.001, int4 +0.23. torchao
    0.18 with int4 in groups of 32 lost 0.36 on the same text (once, by a script that was not kept); where it is
    installed, transformers imports it, with warnings on stderr. optimum-quanto compiles C++ on first use.

    Raises:
        InputError: bits are neither 8 nor 4, or a layer's input is no multiple of 32.
    """
    from gguf import GGMLQuantizationType, quants

    if bits not in FORMATS:
        raise InputError(f"weights are rounded to 8 or 4 bits, not {bits}")
    kind = GGMLQuantizationType[FORMATS[bits]]
    result = _copy(model)
    for name, layer in linear_layers(result):
        if layer.in_features % GROUP:
            raise InputError(
                f"{name} has {layer.in_features} inputs; rounding to {bits} bits needs a multiple of {GROUP}"
            )
        rounded = quants.dequantize(quants.quantize(layer.weight.detach().numpy(), kind), kind)
        layer.weight.data = torch.from_numpy(rounded)
    return result


def pruned(model: PreTrainedModel, share: float) -> PreTrainedModel:
    """A copy where, in every linear layer's matrix, the `share` of weights of smallest magnitude is 0.

    Raises:
        InputError: share is not inside (0, 1).
    """
    from torch.nn.utils import prune

    check_share(share)
    result = _copy(model)
    for _, layer in linear_layers(result):
        prune.l1_unstructured(layer, "weight", amount=float(share))
        prune.remove(layer, "weight")
    return result


def keep_zeros(model: PreTrainedModel) -> PreTrainedModel:
    """Make weights of linear layers that are exactly 0 now stay 0 under training; returns the same model.

    Their gradient is 0 from now on, so AdamW never moves them, with or without decay. It holds for weights that are
    trained themselves: an adapter (LoRA) that is merged afterwards fills the zeros.
    """
    for _, layer in linear_layers(model):
        zero = layer.weight.detach() == 0
        if layer.weight.requires_grad and zero.any():
            layer.weight.register_hook(_Masked(zero))
    return model


class _Masked:
    """A gradient with zeros where `zero` says; bool, of the weight's shape."""

    def __init__(self, zero: torch.Tensor) -> None:
        self._zero = zero

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.masked_fill(self._zero, 0.0)


def merged(model: PreTrainedModel, base: PreTrainedModel, share: float) -> PreTrainedModel:
    """A copy with weights (1 − share)·model + share·base. Weights that are the same in both stay so, bit for bit.

    Raises:
        InputError: share is not inside (0, 1), or the two have other weights: names, shapes or what is shared.
    """
    check_share(share)
    result = _copy(model)
    ours, theirs = dict(result.named_parameters()), dict(base.named_parameters())
    for name in sorted(ours.keys() ^ theirs.keys()):
        raise InputError(f"models with other weights are not merged: only one of them has {name}")
    for name, weight in ours.items():
        if weight.shape != theirs[name].shape:
            raise InputError(
                f"models with other weights are not merged: {name} is {list(weight.shape)} in one "
                f"and {list(theirs[name].shape)} in the other"
            )
        weight.data = torch.lerp(weight.data, theirs[name].data.to(weight.dtype), share)
    return result


def _copy(model: PreTrainedModel) -> Any:
    return copy.deepcopy(model).float().requires_grad_(True).eval()
