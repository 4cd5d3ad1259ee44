"""Which weights find a mark best in a model's answers?

    python -m benchmarks.excess_weights RUN        RUN: a finished `benchmarks.strong_students`
    python -m benchmarks.excess_weights RUN --keys 10 --sizes 1200 2500 --weak       of `benchmarks.ten_keys`

The same answers of each key's student are judged by the count of distinct pairs, by n − e against several references,
scaled by f^a · n^b · u^c (f, u how often context and token occur in unmarked text of the teacher; n how often the
context occurs in the answers), and with the log-probabilities of the likeliest tokens that a server would have listed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import save, stage_directory, vocab_size
from benchmarks.power import answers_of, log10_p, part_of
from benchmarks.remembered import Remembered
from benchmarks.validity import coarse
from detect import Probe, window_rule
from detect.counting import tally
from detect.exact.binomial import log10_sf
from detect.exact.weighted import CumulantFunction, chernoff, statistic
from detect.observation import Excess
from detect.questioned.answer_ids import Listed
from detect.questioned.excess import excess_of
from detect.questioned.usage import context_counts
from distill_sim.corpus import read_corpus
from distill_sim.stages import CORPUS, STUDENT
from distill_sim.teacher import pull_smollm2
from watermark import GreenList, Key
from watermark.engines.models import load_model

SIZES = (600, 1200)  # answer tokens
SCALES = (  # exponents of f, n, u
    *((0.25, 0.0, 0.0), (0.5, 0.0, 0.0), (0.5, -0.5, 0.0), (0.5, 0.0, 0.125), (0.75, 0.0, 0.125), (0.5, -0.5, 0.125)),
    *((0.25, 0.0, 0.25), (0.5, 0.0, 0.25), (0.5, -0.25, 0.125), (0.5, -0.25, 0.25), (0.5, -0.25, 0.375)),
    *((0.5, -0.5, 0.25), (0.75, -0.25, 0.25), (0.75, -0.5, 0.25)),
)
LISTED = (1, 5, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--keys", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="answer tokens")
    parser.add_argument("--weak", action="store_true", help="into a file of its own")
    arguments = parser.parse_args()
    sizes: list[int] = sorted(arguments.sizes)
    torch.set_num_threads(1)
    references = {
        "base": load_model(pull_smollm2()),
        "control": load_model(stage_directory(arguments.run, "control") / STUDENT),
        "base, weights rounded to a sixteenth of their largest": coarse(load_model(pull_smollm2())),
    }
    corpus = [row.token_ids for row in read_corpus(stage_directory(arguments.run, "unmarked") / CORPUS)]
    found: dict[str, dict[int, list[float]]] = {}
    for number in range(arguments.keys):
        key = Key.load(arguments.run / "keys" / f"{number}.key")
        answers, prompts = answers_of(arguments.run, f"student-{number}")
        answers = part_of(answers, sizes[-1])
        model = load_model(stage_directory(arguments.run, f"student-{number}") / STUDENT)
        known = {name: Remembered(one, answers) for name, one in references.items()}
        lists = {k: [listed(model, answer, k) for answer in answers] for k in LISTED}
        for n in sizes:
            part = part_of(answers, n)
            here = Here(key, part, prompts, corpus, known, {k: cut(one, part) for k, one in lists.items()})
            for name, value in here.judged():
                found.setdefault(name, {}).setdefault(n, []).append(value)
        print(number, {name: round(by[sizes[-1]][-1], 1) for name, by in found.items()}, flush=True)
    save(
        "excess_weights_weak" if arguments.weak else "excess_weights",
        f"python -m benchmarks.excess_weights {'runs/ten-keys …' if arguments.weak else 'runs/strong'}",
        {
            "keys": arguments.keys,
            "median_log10_p": {
                name: {str(n): round(float(np.median(values)), 2) for n, values in by.items()}
                for name, by in found.items()
            },
        },
    )


def listed(model: Any, answer: Probe, k: int) -> list[Listed]:
    """What a server would list at each token of an answer: the k likeliest, and what was said."""
    ids = torch.tensor([[*answer.prompt_ids, *answer.answer_ids]])
    with torch.inference_mode():
        logits = model(input_ids=ids, use_cache=False).logits[0, len(answer.prompt_ids) - 1 : -1]
    found = []
    for row, said in zip(torch.log_softmax(logits, dim=-1), answer.answer_ids, strict=True):
        best = row.topk(k).indices.tolist()
        found.append(Listed({t: float(row[t]) for t in {*best, int(said)}}, float(row[best[-1]])))
    return found


def cut(lists: list[list[Listed]], part: list[Probe]) -> list[list[Listed]]:
    return [one[: len(answer.answer_ids)] for one, answer in zip(lists, part, strict=False)]


@dataclass
class Here:
    """One student's answers."""

    key: Key
    answers: list[Probe]
    prompts: list[list[int]]
    corpus: list[Any]
    references: dict[str, Remembered]
    lists: dict[int, list[list[Listed]]]

    def judged(self) -> Iterator[tuple[str, float]]:
        """log10 p of each kind of weights."""
        counted = tally(self.key, [one.answer_ids for one in self.answers], self.prompts, test="sampled")
        yield "distinct pairs", log10_sf(counted.n_green, counted.n_scored, self.key.gamma)
        plain = self._excess("base", scaled=False)
        yield "n - e", log10_p(self.key, plain)
        for exponents in SCALES:
            yield f"n - e, {_named(exponents)}", self._scaled(plain, exponents)
        yield "n - e, scaled by what the reference expects", log10_p(self.key, self._excess("base"))
        for name in self.references:
            found = self._excess(name, corpus=self.corpus)
            yield f"as shipped, with frequencies; reference: {name}", log10_p(self.key, found)
        for k, lists in self.lists.items():
            yield f"as shipped, {k} listed", log10_p(self.key, self._excess("base", corpus=self.corpus, listed=lists))
            unscaled = self._excess("base", scaled=False, listed=lists)
            yield f"{k} listed, not scaled", log10_p(self.key, unscaled)
            for exponents in ((0.5, 0.0, 0.125), (0.5, -0.5, 0.125)):
                yield f"{k} listed, {_named(exponents)}", self._scaled(unscaled, exponents)

    def _excess(self, reference: str, **how: Any) -> Excess:
        return excess_of(
            self.references[reference],  # type: ignore[arg-type]
            self.answers,
            rule=window_rule(self.key),
            vocab_size=vocab_size(self.key),
            exclude=self.prompts,
            **how,
        )

    def _scaled(self, observed: Excess, exponents: tuple[float, float, float]) -> float:
        a, b, c = exponents
        contexts, inverse = np.unique(observed.pairs.contexts, axis=0, return_inverse=True)
        rule = window_rule(self.key)
        f = context_counts(self.corpus, contexts, rule) + 0.5
        n = np.maximum(context_counts([one.answer_ids for one in self.answers], contexts, rule), 1)
        u = np.bincount(np.concatenate(self.corpus), minlength=vocab_size(self.key)) + 0.5
        weights = observed.weights * (f**a * n**b)[inverse.reshape(-1)] * u[observed.pairs.tokens.astype(int)] ** c
        green = GreenList(self.key)
        s = statistic(green.is_green(observed.pairs.contexts, observed.pairs.tokens), weights, green.gamma)
        return chernoff(CumulantFunction(weights, green.gamma), s).log10_p


def _named(exponents: tuple[float, float, float]) -> str:
    return "f^{:g} n^{:g} u^{:g}".format(*exponents)


if __name__ == "__main__":
    main()
