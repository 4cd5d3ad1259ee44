"""The torch keystream: the same bits, whatever the integer dtype, and nothing read back to the host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.watermark.rfc8439 import BLOCKS, COUNTING, STREAM, STREAM_NONCE, Block
from watermark import GreenList, chacha, chacha_torch

pytestmark = pytest.mark.usefixtures("one_torch_thread")
GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "golden" / "greenlist.json").read_text())
KEY = bytes(range(7, 39))
TO_HOST = {
    "aten::_local_scalar_dense",
    "aten::item",
    "aten::nonzero",
    "aten::is_nonzero",
    "aten::equal",
    "aten::_unique2",
}


class NoHost(TorchDispatchMode):
    """Fails on operations that wait for the device or move data between devices. The CPU stands in for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition(".")[0]
        self.calls.append(name)
        assert name not in TO_HOST, f"{name} reads a value on the host"
        device = (kwargs or {}).get("device")
        if name == "aten::_to_copy":
            assert device is None or torch.device(device) == args[0].device, "data moves to another device"
        return func(*args, **(kwargs or {}))


@contextmanager
def no_host() -> Iterator[NoHost]:
    with NoHost() as mode:
        yield mode
    assert mode.calls, "nothing was dispatched: the test would show nothing"


@pytest.mark.parametrize("vector", BLOCKS, ids=lambda vector: vector.name)
def test_the_rfcs_blocks(vector: Block) -> None:
    context = torch.from_numpy(vector.nonce_words.astype(np.int64))[None]  # h = 3: the nonce is the context
    tokens = torch.from_numpy(vector.tokens.astype(np.int64))
    assert chacha_torch.pairs(vector.key, context.expand(32, 3), tokens).tolist() == vector.values.tolist()
    row = chacha_torch.rows(vector.key, context, 32 * (vector.counter + 1))[0, 32 * vector.counter :]
    assert row.tolist() == vector.values.tolist()


def test_the_rfcs_keystream() -> None:
    context = torch.tensor([np.frombuffer(STREAM_NONCE, dtype="<u4").tolist()])
    expected = np.frombuffer(STREAM, dtype="<u2").tolist()
    assert chacha_torch.rows(COUNTING, context, 32 + len(expected))[0, 32:].tolist() == expected


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda v: f"h{len(v['context'])}-gamma{v['gamma_65536']}")
def test_the_openssl_programs_values(vector: dict[str, Any]) -> None:
    key, expected = bytes.fromhex(vector["chacha_key"]), vector["values"]
    context = torch.tensor([vector["context"]], dtype=torch.int64)
    assert chacha_torch.rows(key, context, len(expected))[0].tolist() == expected
    far = torch.tensor([entry["token"] for entry in vector["far"]])
    many = context.expand(len(far), -1)
    assert chacha_torch.pairs(key, many, far).tolist() == [entry["value"] for entry in vector["far"]]


@pytest.mark.parametrize("width", range(9))
def test_the_same_bits_as_numpy(width: int) -> None:
    random = np.random.default_rng(width)
    contexts = random.integers(0, 2**32 - 1, (40, width), dtype=np.uint32)
    tokens = random.integers(0, 2**32 - 1, 40, dtype=np.uint32)
    wide = torch.from_numpy(contexts.astype(np.int64))
    assert [n.tolist() for n in chacha_torch.nonces(wide)] == chacha.nonces(contexts).view(np.int32).tolist()
    pairs = chacha_torch.pairs(KEY, wide, torch.from_numpy(tokens.astype(np.int64)))
    assert pairs.dtype == torch.int32
    assert pairs.tolist() == chacha.pairs(KEY, contexts, tokens).tolist()
    rows = chacha_torch.rows(KEY, wide, 77)
    assert rows.shape == (40, 77)
    assert rows.tolist() == [chacha.row(KEY, nonce, 77).tolist() for nonce in chacha.nonces(contexts).T]


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 64])
def test_rows_of_any_length(length: int) -> None:
    whole = chacha_torch.rows(KEY, torch.tensor([[5], [6]]), 100)
    assert torch.equal(chacha_torch.rows(KEY, torch.tensor([[5], [6]]), length), whole[:, :length])


@pytest.mark.parametrize("width", [0, 1, 3, 4, 8])
def test_no_round_trip_to_the_host(width: int) -> None:
    contexts = torch.arange(3 * width).reshape(3, width)
    tokens = torch.tensor([1, 100, 4_000_000_000])
    expected = chacha_torch.rows(KEY, contexts, 200), chacha_torch.pairs(KEY, contexts, tokens)
    with no_host():
        got = chacha_torch.rows(KEY, contexts, 200), chacha_torch.pairs(KEY, contexts, tokens)
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])


def test_the_watch_itself_notices() -> None:
    with pytest.raises(AssertionError, match="reads a value"), no_host():
        torch.arange(3).max().item()
    with pytest.raises(AssertionError, match="another device"), no_host():
        torch.arange(3).to("meta")


@pytest.mark.parametrize("width", [0, 1, 3, 4, 8])
def test_on_a_device_without_data_only_shapes_are_asked(width: int) -> None:
    """The meta device holds no values: anything that looked at one would raise."""
    mark = GreenList.from_chacha_key(KEY, 16384, width)
    contexts = torch.zeros((5, width), dtype=torch.int64, device="meta")
    mask = mark.mask(contexts, 1000)
    assert (mask.shape, mask.dtype, mask.device.type) == ((5, 1000), torch.bool, "meta")
    green = mark.is_green(contexts, torch.zeros(5, dtype=torch.int32, device="meta"))
    assert (green.shape, green.dtype, green.device.type) == ((5,), torch.bool, "meta")
