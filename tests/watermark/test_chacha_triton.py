"""The Triton kernels under Triton's interpreter, and through its compiler down to a GPU's machine code."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from watermark import GreenList, chacha_torch

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is not installed (it has wheels for Linux alone)"
)
PROJECT = Path(__file__).parents[2]


def run(check: str, **environment: str) -> str:
    """What `tests.watermark.triton_golden` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.watermark.triton_golden", check], cwd=PROJECT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@needs_triton
def test_the_golden_vectors_under_the_interpreter() -> None:
    assert run("interpreted", TRITON_INTERPRET="1") == "[0, 1, 3, 4, 8]"


@needs_triton
def test_both_kernels_compile_for_a_gpu_with_the_state_in_registers() -> None:
    assert run("compiled", TRITON_INTERPRET="0") == "built"


def test_triton_is_asked_for_on_its_own_devices_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chacha_torch, "find_spec", lambda name: object())
    assert chacha_torch._has_triton(torch.device("cuda:0"))
    assert not chacha_torch._has_triton(torch.device("cpu"))
    assert not chacha_torch._has_triton(torch.device("meta"))
    monkeypatch.setattr(chacha_torch, "find_spec", lambda name: None)
    assert not chacha_torch._has_triton(torch.device("cuda:0"))


def test_both_ways_go_through_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the kernels, on the CPU: what they would be given makes the same colours."""
    import types

    mark = GreenList.from_chacha_key(bytes(range(32)), 20_000, 1)
    contexts, tokens = torch.tensor([[5], [6]]), torch.tensor([7, 4_000_000_000])
    expected = mark.mask(contexts, 70), mark.is_green(contexts, tokens)
    asked: list[str] = []

    def green_rows(key_words: list[int], nonces: list[torch.Tensor], length: int, threshold: int) -> torch.Tensor:
        asked.append("rows")
        assert (len(key_words), len(nonces), threshold) == (8, 3, 20_000)
        return chacha_torch.rows(bytes(range(32)), nonces[2][:, None], length) < threshold

    def green_pairs(
        key_words: list[int], nonces: list[torch.Tensor], given: torch.Tensor, threshold: int
    ) -> torch.Tensor:
        asked.append("pairs")
        return chacha_torch.pairs(bytes(range(32)), nonces[2][:, None], given) < threshold

    stand_in = types.ModuleType("watermark.chacha_triton")
    stand_in.__dict__.update(green_rows=green_rows, green_pairs=green_pairs)
    monkeypatch.setitem(sys.modules, "watermark.chacha_triton", stand_in)
    monkeypatch.setattr("watermark.chacha_triton", stand_in, raising=False)
    monkeypatch.setattr(chacha_torch, "_has_triton", lambda device: True)
    assert torch.equal(mark.mask(contexts, 70), expected[0])
    assert torch.equal(mark.is_green(contexts, tokens), expected[1])
    assert asked == ["rows", "pairs"]
