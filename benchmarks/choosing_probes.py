"""Do chosen probes tell more? `python -m benchmarks.choosing_probes RUN`, RUN a finished `benchmarks.ten_keys`.

Two pools: the run's unmarked answers of the teacher, and the first built-in probe of every domain. Again and again a
random part of a pool is what an examiner has. From it probes are taken up to a number of answer tokens, at random or by
`detect.questioned.information`, and `reading` of each student on them is judged under the key that marked its training.

Every student reads a pool once: the largest |D| of every position are kept (--keep, two files of 80 MB), and summed
over the positions of the probes that were taken. `read_model`, `weigh` and `assess` themselves read one choice for
comparison. About 7 CPU minutes for the readings, 10 for the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import save, stage_directory
from detect import Probe, assess, read_model, weigh, window_rule
from detect.exact.weighted import CumulantFunction, chernoff
from detect.observation import DEFAULT_TOP
from detect.questioned.information import Information, choose, expected_information
from detect.questioned.positions import CHUNK, batch_logits, plan_positions
from detect.questioned.probes import make_probes
from detect.questioned.usage import READINGS, Usage
from detect.readers import Row
from detect.readers.builtin import builtin_rows
from distill_sim.corpus import read_corpus
from distill_sim.stages import CORPUS, STUDENT
from distill_sim.teacher import pull_smollm2
from watermark import GreenList, Key
from watermark.engines.models import load_model, load_tokenizer

STUDENTS = 5
KEPT = 512  # |D| kept of each position
PART = {"teacher": 0.5, "builtin": 0.6}
Array = np.ndarray[Any, Any]
Rule = Callable[[Information, int], list[int]]
Measure = Callable[[int, list[int]], tuple[float, float]]


@dataclass(frozen=True)
class Pool:
    """Probes, and what every student said at each of their positions."""

    probes: list[Probe]
    probe: Array  # [P], number of the probe
    context: Array  # [P], token before the position
    tokens: Array  # [students, P, K]
    values: Array  # [students, P, K], D of these tokens
    green: Array  # [students, P, K], under the key of the student

    def log10_p(self, student: int, chosen: list[int], usage: Usage, special: list[int]) -> tuple[float, float]:
        """The bound of `reading` on the chosen probes, its weights scaled by `usage` (of all tokens), and plain."""
        mine = np.isin(self.probe, chosen)
        width = self.tokens.shape[2]
        pair = np.repeat(self.context[mine].astype(np.int64) << 32, width) + self.tokens[student][mine].reshape(-1)
        pairs, first, index = np.unique(pair, return_index=True, return_inverse=True)
        weights = np.bincount(index, self.values[student][mine].reshape(-1))
        weights[np.isin(pairs & 0xFFFFFFFF, special) | np.isin(pairs, self._in_prompts(chosen))] = 0
        green, context, token = self.green[student][mine].reshape(-1)[first], pairs >> 32, pairs & 0xFFFFFFFF
        positions = np.bincount(self.context[mine], minlength=len(usage.contexts))
        scale = np.sqrt(usage.contexts[context] / positions[context]) * usage.tokens[token] ** READINGS.tokens
        return _bound(weights * scale, green, context), _bound(weights, green, context)

    def _in_prompts(self, chosen: list[int]) -> Array:
        prompts = [np.asarray(self.probes[number].prompt_ids, dtype=np.int64) for number in chosen]
        return np.concatenate([(ids[:-1] << 32) + ids[1:] for ids in prompts])


def _bound(weights: Array, green: Array, context: Array) -> float:
    """log10 p, with the 256 largest weights of each context; pairs are ordered by context."""
    order = np.lexsort((-np.abs(weights), context))
    rank = np.arange(len(order)) - np.searchsorted(context, context[order])
    kept = order[rank < DEFAULT_TOP]
    kept = kept[weights[kept] != 0]
    return chernoff(CumulantFunction(weights[kept], 0.25), float(weights[kept] @ (green[kept] - 0.25))).log10_p


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--keep", type=Path, default=Path("runs/choosing-probes"))
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--tokens", type=int, nargs="+", default=[400, 800, 1200])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    teacher = pull_smollm2()
    keys = [Key.load(arguments.run / "keys" / f"{number}.key") for number in range(STUDENTS)]
    corpus = [row.token_ids for row in read_corpus(stage_directory(arguments.run, "unmarked") / CORPUS)]
    reference, results = load_model(teacher), {}
    for name, probes in _pools(arguments.run, teacher).items():
        pool = _read(arguments.keep / f"{name}.npz", probes, arguments.run, keys, reference)
        known = expected_information(
            reference, probes, rule=window_rule(keys[0]), vocab_size=len_of(keys[0]), corpus=corpus
        )
        everything = np.arange(len_of(keys[0]), dtype=np.uint32).reshape(-1, 1)
        usage = Usage.counted(corpus, everything, window_rule(keys[0]), len(everything))
        measure = partial(pool.log10_p, usage=usage, special=list(window_rule(keys[0]).special_ids))
        results[name] = _compare(measure, len(probes), _rules(known), arguments.parts, PART[name], arguments.tokens)
        results[name] |= {"probes": len(probes), "answer_tokens": int(known.tokens.sum()), "part": PART[name]}
        results[name]["agreement"] = _agreement(
            measure, probes, choose(known, 400), arguments.run, keys[0], reference, corpus
        )
    save("choosing_probes", "python -m benchmarks.choosing_probes runs/ten-keys",
         {"students": STUDENTS, "parts": arguments.parts, **results})  # fmt: skip


def len_of(key: Key) -> int:
    assert key.tokenizer is not None
    return key.tokenizer.vocab_size


def _pools(run: Path, teacher: Path) -> dict[str, list[Probe]]:
    answers = read_corpus(stage_directory(run, "probes") / CORPUS)
    firsts: dict[str, Row] = {}
    for row in builtin_rows():
        firsts.setdefault(row.id.rpartition("-")[0], row)
    return {
        "teacher": [Probe(row.prompt_ids, row.token_ids) for row in answers],
        "builtin": make_probes(firsts.values(), load_tokenizer(teacher)),
    }


def _read(file: Path, probes: list[Probe], run: Path, keys: list[Key], reference: Any) -> Pool:
    """What was kept, or else what is read now."""
    if not file.exists():
        students = [load_model(stage_directory(run, f"student-{n}") / STUDENT) for n in range(STUDENTS)]
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **_positions(probes, students, reference, keys[0]))
    arrays = np.load(file)
    probe, context, tokens, values = (arrays[name] for name in ("probe", "context", "tokens", "values"))
    before = np.repeat(context, tokens.shape[2]).reshape(-1, 1).astype(np.uint32)
    colours = [GreenList(k).is_green(before, t.reshape(-1)) for k, t in zip(keys, tokens, strict=True)]
    return Pool(probes, probe, context, tokens, values, np.array(colours).reshape(tokens.shape))


def _positions(probes: list[Probe], students: list[Any], reference: Any, key: Key) -> dict[str, Array]:
    plan, vocabulary, parts = plan_positions(probes, window_rule(key), [reference], len_of(key)), len_of(key), []
    for batch in plan.batches():
        logits = [batch_logits(model, batch, vocabulary) for model in (reference, *students)]
        found = []
        for start in range(0, len(batch.rows), CHUNK):
            base, *others = (torch.log_softmax(take(slice(start, start + CHUNK)), dim=-1) for take in logits)
            found.append([_largest(base, other) for other in others])
        tokens, values = (
            np.array([np.concatenate([f[s][i] for f in found]) for s in range(len(students))]) for i in (0, 1)
        )
        contexts = plan.contexts[batch.context_index.numpy(), 0]
        parts.append({"probe": batch.probes, "context": contexts, "tokens": tokens, "values": values})
    return {name: np.concatenate([part[name] for part in parts], axis=-1 if name in ("probe", "context") else 1)
            for name in parts[0]}  # fmt: skip


def _largest(reference: torch.Tensor, student: torch.Tensor) -> tuple[Array, Array]:
    """D as in `detect.questioned.reading`, its KEPT largest entries a position: tokens and values."""
    mean = (reference.exp() + student.exp()) / 2
    difference = student - reference
    difference -= (mean * difference).sum(dim=-1, keepdim=True)
    difference *= mean.sqrt()
    tokens = difference.abs().topk(KEPT, dim=-1).indices
    return tokens.numpy().astype(np.uint32), difference.gather(-1, tokens).numpy()


# --- rules ---


def _rules(known: Information) -> dict[str, tuple[Information, Rule]]:
    def flat(one: Information) -> Information:
        """Every position says as much."""
        return replace(one, values=[np.ones_like(values) for values in one.values])

    candidates = np.bincount(np.concatenate(known.contexts), minlength=len(known.weights))
    unknown = replace(known, weights=np.sqrt(candidates + 0.5))  # as `expected_information` without a corpus
    return {
        "information × √f": (known, choose),
        "information × √f, f of the candidates": (unknown, choose),
        "information alone": (replace(known, weights=np.ones_like(known.weights)), choose),
        "information × f": (replace(known, weights=known.weights**2), choose),
        "√f alone": (flat(known), choose),
        "information × √f, repeats at full value": (known, _repeats_at_full_value),
    }


def _repeats_at_full_value(information: Information, tokens: int) -> list[int]:
    sums = [information.weights[c] @ v for c, v in zip(information.contexts, information.values, strict=True)]
    return _first_that_fit(information, np.argsort(-np.array(sums) / information.tokens, kind="stable"), tokens)


def _first_that_fit(information: Information, order: Array, tokens: int) -> list[int]:
    chosen: list[int] = []
    for number in order.tolist():
        if information.tokens[number] <= tokens:
            tokens -= int(information.tokens[number])
            chosen.append(number)
    return chosen


def _compare(
    measure: Measure,
    size: int,
    rules: dict[str, tuple[Information, Rule]],
    parts: int,
    share: float,
    budgets: list[int],
) -> dict[str, Any]:
    """log10 p of every student by rule and number of tokens, on the same random parts of the pool."""
    rng = np.random.default_rng(1)
    found: dict[str, dict[int, list[Array]]] = {name: {} for name in ("random", *rules)}
    for _ in range(parts):
        part = rng.permutation(size)[: round(share * size)]
        for tokens in budgets:
            for name in found:
                information, rule = rules.get(name, (rules["√f alone"][0], _in_their_order))
                chosen = part[rule(_of(part, information), tokens)].tolist()
                line = np.array([measure(student, chosen) for student in range(STUDENTS)])  # [students, 2]
                found[name].setdefault(tokens, []).append(line)
        print(".", end="", flush=True)
    return {kind: _summary({name: {t: np.array(v)[:, :, i] for t, v in by.items()} for name, by in found.items()})
            for i, kind in enumerate(("scaled weights", "plain weights"))}  # fmt: skip


def _in_their_order(information: Information, tokens: int) -> list[int]:
    return _first_that_fit(information, np.arange(len(information.tokens)), tokens)


def _summary(found: dict[str, dict[int, Array]]) -> dict[str, Any]:
    """Of log10 p by rule and tokens, [parts, students] each."""
    random = found["random"]
    return {
        "median_log10_p": {name: {t: _round(np.median(v)) for t, v in by.items()} for name, by in found.items()},
        "gain_over_random": {
            name: {t: _gain(v, random[t]) for t, v in by.items()} for name, by in found.items() if name != "random"
        },
    }


def _of(part: Array, information: Information) -> Information:
    """The same of some of the probes."""
    return replace(
        information,
        tokens=information.tokens[part],
        contexts=[information.contexts[number] for number in part],
        values=[information.values[number] for number in part],
    )


def _gain(chosen: Array, random: Array) -> dict[str, float]:
    """Decades won, mean over students and parts, with its standard error over parts."""
    won = (random - chosen).mean(axis=1)
    return {"decades": _round(won.mean()), "standard_error": _round(won.std(ddof=1) / len(won) ** 0.5)}


def _agreement(
    measure: Measure, all_probes: list[Probe], chosen: list[int], run: Path, key: Key, reference: Any, corpus: Any
) -> dict[str, Any]:
    """One choice, student 0, scaled and plain: as computed here, and by `read_model`, `weigh` and `assess`."""
    student, probes = load_model(stage_directory(run, "student-0") / STUDENT), [all_probes[n] for n in chosen]
    library = []
    for scaled in (True, False):
        reading = read_model(student, probes, rule=window_rule(key), vocab_size=len_of(key), reference=reference,
                             corpus=corpus, scaled=scaled)  # fmt: skip
        library.append(_round(assess(weigh(key, reading)).log10_p))
    return {"here": [_round(value) for value in measure(0, chosen)], "by_the_library": library}


def _round(value: Any) -> float:
    return round(float(value), 2)


if __name__ == "__main__":
    main()
