"""Run by test_chacha_triton in processes of their own: Triton reads TRITON_INTERPRET when it is imported.

python -m tests.watermark.triton_golden interpreted | compiled
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from watermark import chacha_torch, chacha_triton

GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "golden" / "greenlist.json").read_text())
WIDTHS = (0, 1, 3, 4, 8)


def nonces_of(vector: dict[str, Any], count: int) -> list[torch.Tensor]:
    contexts = torch.tensor([vector["context"]] * count, dtype=torch.int64)
    return chacha_torch.nonces(contexts.reshape(count, len(vector["context"])))


def interpreted() -> str:
    """One golden vector of each of some widths; lengths that leave a program idle lanes, and empty ones."""
    vectors = {len(vector["context"]): vector for vector in GOLDEN if len(vector["context"]) in WIDTHS}
    for width, vector in vectors.items():
        words = chacha_torch._key_words(bytes.fromhex(vector["chacha_key"]))
        green = [colour == "1" for colour in vector["green"]]
        mask = chacha_triton.green_rows(words, nonces_of(vector, 2), len(green), vector["gamma_65536"])
        assert (mask.shape, mask.dtype) == ((2, len(green)), torch.bool)
        assert mask.tolist() == [green, green], width
        far = torch.tensor([entry["token"] for entry in vector["far"]])
        found = chacha_triton.green_pairs(words, nonces_of(vector, len(far)), far, vector["gamma_65536"])
        assert found.tolist() == [entry["green"] for entry in vector["far"]], width
    vector, none = vectors[1], [torch.zeros(0, dtype=torch.int32)] * 3
    words, one = chacha_torch._key_words(bytes.fromhex(vector["chacha_key"])), nonces_of(vector, 1)
    expected = chacha_torch.rows(bytes.fromhex(vector["chacha_key"]), torch.tensor([vector["context"]]), 2500) < 40_000
    assert torch.equal(chacha_triton.green_rows(words, one, 2500, 40_000), expected)  # two programs, the last not full
    assert chacha_triton.green_rows(words, none, 10, 9).shape == (0, 10)
    assert chacha_triton.green_rows(words, one, 0, 9).shape == (1, 0)
    assert chacha_triton.green_pairs(words, none, torch.zeros(0, dtype=torch.int64), 9).shape == (0,)
    return str(sorted(vectors))


def compiled() -> str:
    """Both kernels down to machine code of a GPU that need not be there; the state stays in registers."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    shared = {"threshold": "i32", **{f"k{i}": "i32" for i in range(8)}, "BLOCK": "constexpr"}
    rows = {"nonces": "*i32", "out": "*i64", "batch": "i32", "blocks": "i32"}
    pairs = {"nonces": "*i32", "tokens": "*i32", "out": "*i1", "count": "i32"}
    for kernel, arguments in ((chacha_triton._rows_kernel, rows), (chacha_triton._pairs_kernel, pairs)):
        source = ASTSource(fn=kernel, signature={**arguments, **shared}, constexprs={"BLOCK": chacha_triton._BLOCKS})
        built = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": chacha_triton._WARPS})
        assert len(built.asm["cubin"]) > 1000
        assert ".local" not in built.asm["ptx"]
    return "built"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print({"interpreted": interpreted, "compiled": compiled}[sys.argv[1]]())
