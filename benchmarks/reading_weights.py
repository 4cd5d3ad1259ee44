"""Which weights read a mark best?

    python -m benchmarks.reading_weights RUN        RUN: a finished `benchmarks.strong_students`

Three students under each key: of marked answers, of one marked answer in four, and the first one merged half and half
with the base model. Each reads the same small sets of unmarked probes, and every kind of weight is judged by its
median log10 p over students and sets:

    form        what a position says of a token: D, and others
    reference   the base model, the control (a student of the unmarked teacher), both
    scale       f^a · n^b · u^c: f, u how often context and token occur in unmarked text of the teacher, or as the
                reference expects them; n the positions of the context
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import save, stage_directory, vocab_size
from benchmarks.power import part_of
from benchmarks.remembered import Remembered
from detect import Probe, window_rule
from detect.exact.weighted import CumulantFunction, chernoff, statistic
from detect.questioned.positions import CHUNK, batch_logits, exclude_cells, kept_pairs, plan_positions
from detect.questioned.usage import Usage
from distill_sim.corpus import read_corpus
from distill_sim.stages import CORPUS, STUDENT
from distill_sim.teacher import pull_smollm2
from watermark import GreenList, Key
from watermark.engines.models import load_model

SIZES = (200, 800)  # positions
SETS = 1
TOP = 256

FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {  # log p_s, log p_r, both less their mean under m; m
    "D": lambda s, r, m: _centred(s - r, m) * m.sqrt(),
    "D, m^0.6": lambda s, r, m: _centred(s - r, m) * m**0.6,
    "D, sqrt of p_r": lambda s, r, m: _centred(s - r, m) * (r / 2).exp(),
    "D, log ratio cut at 1": lambda s, r, m: _centred(s - r, m).clamp(-1, 1) * m.sqrt(),
    "sqrt(p_s) - sqrt(p_r)": lambda s, r, m: (s / 2).exp() - (r / 2).exp(),
    "p_s - p_r": lambda s, r, m: s.exp() - r.exp(),
}
PLAIN = (0.0, 0.0, 0.0)
CHOSEN = (0.5, -0.5, 0.125)
SCALES = (PLAIN, (0.5, 0.0, 0.0), (0.5, -0.5, 0.0), (0.35, -0.5, 0.125), CHOSEN, (0.65, -0.5, 0.125),
          (0.5, -0.25, 0.125), (0.5, -0.5, 0.25), (0.0, -0.5, 0.0))  # fmt: skip
EXPECTED = (PLAIN, (0.5, -0.5, 0.0), CHOSEN, (0.65, -0.5, 0.0))


def _centred(difference: Tensor, mean: Tensor) -> Tensor:
    return difference - (mean * difference).sum(dim=-1, keepdim=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--keys", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keys = [Key.load(arguments.run / "keys" / f"{number}.key") for number in range(arguments.keys)]
    bench = Bench.of(arguments.run, keys[0])
    found: dict[tuple[str, int, str], list[float]] = {}
    for number, key in enumerate(keys):
        for kind, model in bench.students(number):
            for (n, weights), values in bench.judged(model, [key], kind == "student").items():
                found.setdefault((kind, n, weights), []).extend(values)
        print(number, flush=True)
    control = Remembered(load_model(bench.directory("control")), bench.texts)
    smallest = min(min(values) for values in bench.judged(control, keys, False).values())
    kinds = sorted({kind for kind, _, _ in found})
    names = list(dict.fromkeys(name for _, _, name in found))
    save(
        "reading_weights",
        "python -m benchmarks.reading_weights runs/strong",
        {
            "keys": len(keys),
            "sets": SETS,
            "chosen": dict(zip("fnu", CHOSEN, strict=True)),
            "median_log10_p": {
                name: {str(n): _median([v for kind in kinds for v in found.get((kind, n, name), [])]) for n in SIZES}
                for name in names
            },
            "median_log10_p_by_student": {
                f"{kind}: {name}": {str(n): _median(found.get((kind, n, name), [])) for n in SIZES}
                for kind in kinds
                for name in names
                if (kind, SIZES[0], name) in found
            },
            "control_smallest_of_all": round(smallest, 2),
        },
    )


def _median(values: Sequence[float]) -> float | None:
    return round(float(np.median(values)), 2) if values else None


@dataclass
class Bench:
    """What every student reads, and what it is compared with."""

    run: Path
    key: Key  # any of them: for what they have in common
    sets: dict[int, list[list[Probe]]]
    texts: list[Probe]
    base: Remembered
    control: Remembered
    corpus: list[Any]

    @classmethod
    def of(cls, run: Path, key: Key) -> Bench:
        rows = read_corpus(stage_directory(run, "probes") / CORPUS)
        probes = [Probe(rows[i].prompt_ids, rows[i].token_ids) for i in np.random.default_rng(0).permutation(len(rows))]
        half = len(probes) // SETS
        sets = {n: [part_of(probes[s * half : (s + 1) * half], n) for s in range(SETS)] for n in SIZES}
        texts = [probe for one in sets[SIZES[-1]] for probe in one]
        corpus = [row.token_ids for row in read_corpus(stage_directory(run, "unmarked") / CORPUS)]
        base = Remembered(load_model(pull_smollm2()), texts)
        control = Remembered(load_model(stage_directory(run, "control") / STUDENT), texts)
        return cls(run, key, sets, texts, base, control, corpus)

    def directory(self, stage: str) -> Path:
        return stage_directory(self.run, stage) / STUDENT

    def students(self, number: int) -> list[tuple[str, Remembered]]:
        """By kind; the merged one has the mean of the student's and the base model's weights."""
        student, base = load_model(self.directory(f"student-{number}")), load_model(pull_smollm2())
        found = [("student", Remembered(student, self.texts))]
        found.append(("diluted", Remembered(load_model(self.directory(f"diluted-{number}")), self.texts)))
        with torch.no_grad():
            for mine, theirs in zip(student.parameters(), base.parameters(), strict=True):
                mine.lerp_(theirs, 0.5)
        return [*found, ("merged", Remembered(student, self.texts))]

    def judged(self, model: Remembered, keys: list[Key], references: bool) -> dict[tuple[int, str], list[float]]:
        """log10 p by number of positions and weights, over sets and keys.

        Args:
            references: compare with other references, too.
        """
        found: dict[tuple[int, str], list[float]] = {}
        for n, parts in self.sets.items():
            for part in parts:
                tables = self._tables(model, [self.base], part, FORMS)
                for name, weights in tables.weights(self.corpus, self.key).items():
                    found.setdefault((n, name), []).extend(bound(key, weights) for key in keys)
                for name, others in self._other_references().items() if references else ():
                    tables = self._tables(model, others, part, {"D": FORMS["D"]})
                    weights = tables.scaled("D", CHOSEN, tables.usage(self.corpus, self.key))
                    found.setdefault((n, f"reference: {name}"), []).extend(bound(key, weights) for key in keys)
        return found

    def _other_references(self) -> dict[str, list[Remembered]]:
        return {"control": [self.control], "base and control, mean of logits": [self.base, self.control]}

    def _tables(
        self, model: Remembered, references: list[Remembered], probes: list[Probe], forms: dict[str, Any]
    ) -> Tables:
        rule, size = window_rule(self.key), vocab_size(self.key)
        plan = plan_positions(probes, rule, [model], size)  # type: ignore[list-item]
        sums = {name: torch.zeros((len(plan.contexts), size)) for name in forms}
        n, expected = np.zeros(len(plan.contexts)), torch.zeros(size, dtype=torch.float64)
        for batch in plan.batches():
            own, *others = [batch_logits(one, batch, size) for one in (model, *references)]  # type: ignore[arg-type]
            for start in range(0, len(batch.rows), CHUNK):
                part = slice(start, start + CHUNK)
                index = batch.context_index[part]
                s = torch.log_softmax(own(part), dim=-1)
                r = torch.log_softmax(torch.stack([other(part) for other in others]).mean(dim=0), dim=-1)
                m = (s.exp() + r.exp()) / 2
                for name, form in forms.items():
                    sums[name].index_add_(0, index, form(s, r, m))
                expected += r.exp().double().sum(dim=0)
                np.add.at(n, index.numpy(), 1)
        prompts = [probe.prompt_ids for probe in probes]
        for table in sums.values():
            exclude_cells(table, plan.contexts, rule, prompts)
        return Tables(sums, plan.contexts, n, (expected / n.sum()).numpy())


Weights = tuple[Any, Any]  # pairs and their weights


@dataclass
class Tables:
    """Sums over the positions of each context, by form.

    Attributes:
        sums: float32 [C, V] each.
        positions: float64 [C].
        expected: float64 [V], the references' mean prediction.
    """

    sums: dict[str, Tensor]
    contexts: Any
    positions: Any
    expected: Any

    def usage(self, corpus: list[Any], key: Key) -> Usage:
        return Usage.counted(corpus, self.contexts, window_rule(key), vocab_size(key))

    def weights(self, corpus: list[Any], key: Key) -> dict[str, Weights]:
        """Every form on the chosen scale, and D on every scale."""
        counted, tokens = self.usage(corpus, key), self.expected + 1e-4
        expected = Usage(Usage.expected(self.expected, self.contexts).contexts, tokens)
        found = {f"form: {form}": self.scaled(form, CHOSEN, counted) for form in self.sums}
        found |= {f"scale: {_scale(s)}": self.scaled("D", s, counted) for s in SCALES}
        return found | {f"scale by the reference: {_scale(s)}": self.scaled("D", s, expected) for s in EXPECTED}

    def scaled(self, form: str, exponents: tuple[float, float, float], usage: Usage) -> Weights:
        a, b, c = exponents
        of_context = torch.from_numpy(usage.contexts**a * self.positions**b).float()
        table = self.sums[form] * of_context[:, None] * torch.from_numpy(usage.tokens**c).float()
        return kept_pairs(table, self.contexts, TOP)


def _scale(exponents: tuple[float, float, float]) -> str:
    return " ".join(f"{name}^{value:g}" for name, value in zip("fnu", exponents, strict=True))


def bound(key: Key, weights: Weights) -> float:
    """log10 p, the reported bound (see `detect.exact.weighted.chernoff` for its null)."""
    (pairs, values), green = weights, GreenList(key)
    s = statistic(green.is_green(pairs.contexts, pairs.tokens), values, green.gamma)
    return chernoff(CumulantFunction(values, green.gamma), s).log10_p


if __name__ == "__main__":
    main()
