"""Every test and every weight of a questioned model that saw no mark, under 10,000 keys each, on awkward probes.

    python -m benchmarks.validity RUN        RUN: a finished `benchmarks.strong_students`

Two innocent models: a student of the unmarked teacher (reference: the base model), and the base model itself
(reference: a poorer copy of it, its weights rounded to a sixteenth of their largest). Probes: unmarked answers of the
teacher, the same answers of one prompt again and again, one sentence repeated, several languages, code. What is
observed is fixed and the keys are drawn: the experiment that the null speaks of. The limits are the design's.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import save, stage_directory
from benchmarks.power import part_of, vocab_size
from detect.colouring import under_every_key
from detect.counting import window_rule
from detect.exact.binomial import log10_sf
from detect.exact.validity import LEVELS, largest_expected
from detect.exact.weighted import CumulantFunction, TailCurve, chernoff, statistic
from detect.fed import Probe
from detect.observation import Excess, Reading
from detect.questioned.answer_ids import Listed
from detect.questioned.excess import excess_of
from detect.questioned.probes import make_probes
from detect.questioned.reading import read_model
from detect.questioned.sampled import sample_model
from detect.readers.builtin import builtin_rows
from distill_sim.corpus import read_corpus
from distill_sim.stages import CORPUS, STUDENT
from distill_sim.teacher import pull_smollm2
from watermark import GreenList, Key
from watermark.engines.answers import Sampling
from watermark.engines.chat import chat_prompt_ids
from watermark.engines.models import load_model, load_tokenizer
from watermark.windows import Pairs

KEYS = 10_000
LIMITS = {level: largest_expected(KEYS, level) for level in LEVELS}  # design.md, How validity is tested
SEED = 5
POSITIONS = 200
ASKED = 250  # answer tokens
TOP = 32
LISTED = 5
LANGUAGES = ("german", "french", "spanish", "chinese", "italian", "portuguese")
CODE = ("python", "sql", "shell", "web", "code")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    key = Key.load(arguments.run / "keys" / "0.key")
    base, tokenizer = load_model(pull_smollm2()), load_tokenizer(pull_smollm2())
    control = load_model(stage_directory(arguments.run, "control") / STUDENT)
    cases = (
        ("student of the unmarked teacher", control, base),
        ("base model", base, coarse(load_model(pull_smollm2()))),
    )
    corpus = [row.token_ids for row in read_corpus(stage_directory(arguments.run, "unmarked") / CORPUS)]
    rows = []
    for who, model, reference in cases:
        for kind, probes in probe_kinds(arguments.run, tokenizer).items():
            here = Here(key, model, reference, tokenizer, probes, corpus)
            for test, values in here.judged():
                found = {str(level): int((values <= math.log10(level)).sum()) for level in LIMITS}
                within = all(found[str(level)] <= limit for level, limit in LIMITS.items())
                rows.append({"model": who, "probes": kind, "test": test, "at_or_below": found,
                             "smallest": round(float(values.min()), 2), "within_limits": within})  # fmt: skip
                print(rows[-1], flush=True)
    save(
        "validity",
        "python -m benchmarks.validity runs/strong",
        {
            "keys": KEYS,
            "limits": {str(level): limit for level, limit in LIMITS.items()},
            "all_within": all(row["within_limits"] for row in rows),
            "rows": rows,
        },
    )


def coarse(model: Any) -> Any:
    """The same model with every matrix rounded: another one, published by nobody, that saw no mark either."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                step = parameter.abs().amax(dim=1, keepdim=True) / 16
                parameter.copy_((parameter / step).round() * step)
    return model


def probe_kinds(run: Path, tokenizer: Any) -> dict[str, list[Probe]]:
    """Probes by kind, each with prompts and answers."""
    rows = read_corpus(stage_directory(run, "probes") / CORPUS)
    teacher = [Probe(row.prompt_ids, row.token_ids) for row in rows]
    sentence = tokenizer(" The rain fell on the harbour and the boats were still.", add_special_tokens=False)
    once = chat_prompt_ids(tokenizer, "Say one sentence again and again.")
    built_in = [row for row in builtin_rows() if row.id is not None]

    def of(domains: Sequence[str]) -> list[Probe]:
        return make_probes([row for row in built_in if str(row.id).rsplit("-", 1)[0] in domains], tokenizer)

    return {
        "unmarked answers of the teacher": teacher[::5],
        "correlated: five answers to each of a few prompts": teacher[:40],
        "repetitive: one sentence 40 times": [Probe(once, sentence["input_ids"] * 40)],
        "multilingual": of(LANGUAGES),
        "code": of(CODE),
    }


@dataclass
class Here:
    """One model on one kind of probes."""

    key: Key
    model: Any
    reference: Any
    tokenizer: Any
    probes: list[Probe]
    corpus: list[Any]

    def judged(self) -> Iterator[tuple[str, Any]]:
        """log10 p under every key, float64 [KEYS], of each test."""
        common: dict[str, Any] = {"rule": window_rule(self.key), "vocab_size": vocab_size(self.key), "top": TOP}
        part = part_of(self.probes, POSITIONS)
        readings: dict[str, Reading | Excess] = {
            "reading, D": read_model(self.model, part, reference=self.reference, scaled=False, **common),
            "reading": read_model(self.model, part, reference=self.reference, **common),
            "reading with frequencies": read_model(
                self.model, part, reference=self.reference, corpus=self.corpus, **common
            ),
            "reading without a reference": read_model(self.model, part, **common),
        }
        plain = readings["reading"]
        assert isinstance(plain, Reading)
        answers, prompts = self._answers()
        lists = [self._lists(probe) for probe in answers]
        asked: dict[str, Any] = {**common, "exclude": prompts}
        readings |= {
            "sampled, n - e": excess_of(self.reference, answers, scaled=False, **asked),
            "sampled, excess": excess_of(self.reference, answers, **asked),
            "sampled, excess with frequencies": excess_of(self.reference, answers, corpus=self.corpus, **asked),
            f"sampled, excess with {LISTED} listed": excess_of(self.reference, answers, listed=lists, **asked),
            f"sampled, {LISTED} listed, no reference": excess_of(None, answers, listed=lists, **asked),
        }
        for name, observed in readings.items():
            yield name, self._bounds(observed)
        excess = readings["sampled, excess"]
        assert isinstance(excess, Excess)
        yield "argmax", self._counts(plain.argmax)
        yield "sampled, distinct", self._counts(excess.distinct)

    def _answers(self) -> tuple[list[Probe], list[list[int]]]:
        prompts = [list(probe.prompt_ids) for probe in self.probes]
        found = sample_model(self.model, self.tokenizer, prompts, ASKED, sampling=Sampling(max_new_tokens=40), seed=3)
        given = zip(found.asked, found.answers, strict=True)
        return [Probe(found.prompts[i], ids) for i, ids in given], found.prompts

    def _lists(self, probe: Probe) -> list[Listed | None]:
        """What a server would list at each token of an answer."""
        ids = torch.tensor([[*probe.prompt_ids, *probe.answer_ids]])
        with torch.inference_mode():
            logits = self.model(input_ids=ids, use_cache=False).logits[0, len(probe.prompt_ids) - 1 : -1]
        found: list[Listed | None] = []
        for row, said in zip(torch.log_softmax(logits, dim=-1), probe.answer_ids, strict=True):
            best = row.topk(LISTED).indices.tolist()
            found.append(Listed({t: float(row[t]) for t in {*best, int(said)}}, float(row[best[-1]])))
        return found

    def _bounds(self, observed: Reading | Excess) -> Any:
        """The reported bound; its null: see `detect.exact.weighted.chernoff`."""
        cumulant = CumulantFunction(observed.weights, self.key.gamma)
        s = self._measured(observed.pairs, lambda colours, gamma: float(statistic(colours, observed.weights, gamma)))
        log10_p = TailCurve(cumulant).chernoff_log10_p(s)
        for i in np.flatnonzero(log10_p <= -0.9):  # the curve is wider by up to 1e-5: judge by the one reported
            log10_p[i] = chernoff(cumulant, float(s[i])).log10_p
        return log10_p

    def _counts(self, pairs: Pairs) -> Any:
        green = self._measured(pairs, lambda colours, gamma: float(np.count_nonzero(colours)))
        table = np.array([log10_sf(k, len(pairs), self.key.gamma) for k in range(len(pairs) + 1)])
        return table[green.astype(int)]

    def _measured(self, pairs: Pairs, measure: Any) -> Any:
        rng = np.random.default_rng(SEED)
        secrets, parameters = [rng.bytes(32) for _ in range(KEYS)], self.key.parameters
        return under_every_key(pairs, KEYS, lambda i: GreenList(Key(secrets[i], parameters)), measure)


if __name__ == "__main__":
    main()
