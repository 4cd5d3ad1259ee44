"""The hot paths against what bounds them: `python -m benchmarks.hot_paths [colouring|rows|lineup|attribution|dedup …]`.

colouring    pairs per CPU second under one key and many; cycles per ChaCha block, and where they go
rows         a row of 128k tokens: compiled, by OpenSSL, and the pass that adds it to logits
lineup       1,000 decoys over 100,000 pairs, counted and weighed
attribution  10,000 accounts, derived from an owner's key, over 100,000 pairs
dedup        token ids to distinct pairs

Parts that are not asked for stay in the results as they were.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from benchmarks.common import cpu_seconds, docstrings, kept, save
from detect.counting import weigh
from detect.decoys import lineup
from detect.fed import Probe, ProbePairs
from detect.observation import ContextMass, Reading
from watermark import Key, chacha
from watermark.chacha_numba import (
    _TOGETHER,
    _WIDTH,
    LANES,
    _tile_words,
    _Vectors,
    count_below,
    green_bits,
    lay_out,
    values,
)
from watermark.greenlist import GreenList
from watermark.windows import Pairs, WindowRule

VOCABULARY = 50_000
OPERATIONS = 10 * 8 * 4 * 3  # a block: ten double rounds of eight quarters, each four times add, xor and rotate
_GREEN = GreenList.from_chacha_key(bytes(range(32)), 16384, 1)


@njit(nogil=True)
def _chain(steps: int) -> int:  # type: ignore[no-untyped-def]
    x = np.uint64(1)
    for i in range(steps):
        x = (x * np.uint64(6364136223846793005)) ^ np.uint64(i)
    return x


def clock() -> float:
    """GHz, from a chain of multiplications (3 cycles on every processor of the last ten years) and xors (1)."""
    steps = 20_000_000
    return 4 * steps / cpu_seconds(lambda: _chain(steps)) / 1e9


@njit(nogil=True)
def _words_alone(head, blocks, words, repeats):  # type: ignore[no-untyped-def]
    for _ in range(repeats):
        _tile_words(head, blocks, 0, words)


@intrinsic
def _independent(typing_context, start):  # type: ignore[no-untyped-def]
    """Additions, xors and rotations as many as 32 blocks have, in chains of vectors; a word that depends on all."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = _Vectors(builder)
        first = code.everywhere(arguments[0])
        cells = [
            cgutils.alloca_once_value(builder, builder.add(first, ir.Constant(code.kind, [i + 1] * _WIDTH)))
            for i in range(_CHAINS)
        ]
        with cgutils.for_range(builder, ir.Constant(ir.IntType(64), OPERATIONS // 3 * _TOGETHER // _CHAINS // 8)):
            found = [builder.load(cell) for cell in cells]
            for _ in range(8):
                for i, value in enumerate(found):
                    mixed = builder.xor(builder.add(value, first), first)
                    turn = ir.Constant(code.kind, [7] * _WIDTH)
                    found[i] = builder.call(code.rotate, [mixed, mixed, turn])
            for cell, value in zip(cells, found, strict=True):
                builder.store(value, cell)
        total = builder.load(cells[0])
        for cell in cells[1:]:
            total = builder.xor(total, builder.load(cell))
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.uint32(types.uint32), generate


_CHAINS = 20  # independent of each other: more than any unit's latency times their number, fewer than registers


@njit(nogil=True)
def _without_waiting(repeats: int) -> int:  # type: ignore[no-untyped-def]
    found = np.uint32(1)
    for _ in range(repeats):
        found = _independent(found)
    return found


def uniform_pairs(count: int, width: int = 1) -> Pairs:
    """Distinct ones, hardly two of which share a block: what costs most."""
    ids = np.random.default_rng(0).integers(0, VOCABULARY, count + count // 100)
    return _first(WindowRule(width).extract([ids]).pairs, count)


def text_pairs() -> Pairs:
    """Of the standard library's docstrings, by SmolLM2's tokenizer."""
    from distill_sim.teacher import pull_smollm2
    from watermark.engines.text_tokenizer import load_text_tokenizer

    core = load_text_tokenizer(pull_smollm2()).backend_tokenizer
    encodings = core.encode_batch_fast(docstrings(4_000_000), add_special_tokens=False)
    return WindowRule(1, tuple(range(17))).extract([one.ids for one in encodings]).pairs


def _first(pairs: Pairs, count: int) -> Pairs:
    contexts = pairs.contexts[:count]
    return Pairs(contexts, pairs.tokens[:count], len(np.unique(contexts)))


def colouring() -> dict[str, Any]:
    ghz, key = clock(), chacha.key_words(bytes(range(32)))
    result: dict[str, Any] = {"gigahertz": round(ghz, 2), "operations_a_block": OPERATIONS}
    for name, pairs in (("no_block_shared", uniform_pairs(1_000_000)), ("text", text_pairs())):
        nonces = chacha.nonces(pairs.contexts)
        tokens = np.ascontiguousarray(pairs.tokens)
        layout, count = lay_out(nonces, tokens), len(pairs)
        out, keys = np.empty(count, dtype=np.uint16), np.random.default_rng(1).integers(0, 2**32, (16, 8), np.uint32)
        counts, thresholds = np.empty(16, dtype=np.int64), np.full(16, 16384, dtype=np.uint16)
        seconds = {
            "from_ids_one_key": cpu_seconds(lambda: _GREEN.is_green(pairs.contexts, pairs.tokens)),  # noqa: B023
            "laying_out": cpu_seconds(lambda: lay_out(nonces, tokens)),  # noqa: B023
            "laid_out_one_key": cpu_seconds(lambda: values(key, *layout, out)),  # noqa: B023
            "laid_out_16_keys_counted": cpu_seconds(lambda: count_below(keys, thresholds, *layout, counts)) / 16,  # noqa: B023
        }
        result[name] = {
            "pairs": count,
            "blocks_a_pair": round(layout.n_blocks / count, 3),
            "million_pairs_per_cpu_second": {part: round(count / took / 1e6, 1) for part, took in seconds.items()},
            "cycles_a_block": round(ghz * 1e9 * seconds["laid_out_one_key"] / layout.n_blocks, 1),
        }
    head = np.zeros(12, dtype=np.uint32)
    blocks, words = np.zeros((1, 4, LANES), dtype=np.uint32), np.empty(16 * LANES, dtype=np.uint32)
    alone = cpu_seconds(lambda: _words_alone(head, blocks, words, 2000)) / (2000 * LANES)
    result["cycles_a_block_without_picking"] = round(ghz * 1e9 * alone, 1)
    waitless = cpu_seconds(lambda: _without_waiting(20_000)) / (20_000 * _WIDTH * _TOGETHER)
    result["cycles_a_block_without_waiting"] = round(ghz * 1e9 * waitless, 1)
    result["word_operations_a_cycle"] = round(OPERATIONS / (ghz * 1e9 * alone), 1)
    result["vector_operations_a_block"] = OPERATIONS // _WIDTH
    return result


def rows() -> dict[str, Any]:
    import torch

    from watermark.engines.bias_numba import add_biases

    vocabulary, key = 128_000, bytes(range(32))
    nonce, words, out = chacha.nonce_of([5]), chacha.key_words(key), np.empty(vocabulary // 32, dtype=np.uint32)
    logits = torch.randn(1, vocabulary).numpy()
    marked, slots, delta = np.empty_like(logits), np.zeros(1, dtype=np.int64), np.float32(2)
    threshold = np.uint16(16384)

    def by_openssl() -> None:
        out[:] = np.packbits(chacha.scratch_row(key, nonce, vocabulary) < threshold, bitorder="little").view("<u4")

    seconds = {
        "compiled": cpu_seconds(lambda: green_bits(words, nonce, threshold, out), 50),
        "by_openssl": cpu_seconds(by_openssl, 50),
        "added_to_logits": cpu_seconds(lambda: add_biases(logits, out[None], slots, vocabulary, delta, marked), 50),
        "copy_of_the_logits": cpu_seconds(lambda: np.copyto(marked, logits), 50),
    }
    cycles = clock() * 1e9 * seconds["compiled"] / (vocabulary / 32)
    return {
        "vocabulary": vocabulary,
        "cpu_microseconds": {name: round(1e6 * value, 1) for name, value in seconds.items()},
        "cycles_a_block_compiled": round(cycles, 1),
    }


def _clocked(work: Callable[[], Any]) -> dict[str, float]:
    """Wall and CPU seconds, the kernels compiled before."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
    }


def _reading(pairs: Pairs, weights: NDArray[np.float64]) -> Reading:
    nothing = Pairs(pairs.contexts[:0], pairs.tokens[:0], 0)
    mass = ContextMass(pairs.contexts[:1], pairs.tokens[:1, None], np.full((1, 1), 0.5, dtype=np.float32))
    return Reading(
        pairs=pairs, weights=weights, n_positions=len(pairs), with_reference=True, argmax=nothing,
        mass=mass, probes=ProbePairs.of(WindowRule(1), [Probe([], [1, 2, 3])]), excluded=None,
    )  # fmt: skip


def line_ups() -> dict[str, Any]:
    from detect import tally

    key, decoys, size = Key.generate(gamma=0.25, delta=2.0, context_width=1), 1000, 100_000
    ids = np.random.default_rng(2).integers(0, VOCABULARY, size + 1)
    counted = tally(key, [ids])
    weighed = weigh(key, _reading(counted.pairs, np.random.default_rng(3).standard_normal(len(counted.pairs))))
    lineup(counted, 20)
    lineup(weighed, 20)
    return {
        "decoys": decoys,
        "pairs": len(counted.pairs),
        "threads": os.cpu_count(),
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "counted": _clocked(lambda: lineup(counted, decoys)),
        "weighed": _clocked(lambda: lineup(weighed, decoys)),
    }


def attribution() -> dict[str, Any]:
    from benchmarks.attribution import speed

    return speed(10_000, 100_000)


def dedup() -> dict[str, Any]:
    rng, count = np.random.default_rng(4), 4_000_000
    rule = WindowRule(1, (0, 1, 2))
    texts = {
        "all_distinct": rng.integers(0, VOCABULARY, count),
        "zipf": np.minimum(rng.zipf(1.2, count), VOCABULARY - 1),  # repeats as natural text does
    }
    return {
        name: {
            "tokens": count,
            "million_tokens_per_cpu_second": round(count / cpu_seconds(lambda: rule.extract([ids])) / 1e6, 1),  # noqa: B023
        }
        for name, ids in texts.items()
    }


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "colouring": colouring,
    "rows": rows,
    "lineup": line_ups,
    "attribution": attribution,
    "dedup": dedup,
}


def main(names: list[str]) -> None:
    import torch

    torch.set_num_threads(1)
    result = kept("hot_paths")
    for name in names or PARTS:
        result[name] = PARTS[name]()
        result["measured"][name] = {"date": f"{datetime.now(UTC):%Y-%m-%d}"}
    save("hot_paths", "python -m benchmarks.hot_paths", result)


if __name__ == "__main__":
    main(sys.argv[1:])
