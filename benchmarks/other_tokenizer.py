"""Students with another tokenizer than the key's: is the mark read at aligned offsets, and at what cost?

    python -m benchmarks.other_tokenizer RUN [-o runs/other-tokenizer] [--keys 2]

RUN is a finished run of `benchmarks.ten_keys`. Its corpora are learnt by students with half of SmolLM2's vocabulary
(`benchmarks.half_vocabulary`), each from its text; its probes are read by them. Beside each stands what the ordinary
reading found in SmolLM2's own student of the same corpus. About 4 CPU minutes a key.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import RESULTS, save, stage_directory
from benchmarks.half_vocabulary import in_tokens_of, make_half_vocabulary, nats_per_character
from benchmarks.ten_keys import FRESH_SEED
from detect.colouring import under_every_key
from detect.counting import CountTally, tally, weigh, window_rule
from detect.exact.binomial import log10_sf
from detect.exact.validity import LEVELS, largest_expected
from detect.exact.weighted import CumulantFunction, chernoff, statistic
from detect.fed import Probe
from detect.observation import Reading
from detect.questioned.aligned import Coverage, Reader, TextProbe, read_aligned
from detect.questioned.alignment import Vocabulary
from detect.questioned.answer_ids import surviving_share
from detect.questioned.probes import plain_prompts
from detect.questioned.retokenised import Retokeniser
from detect.questioned.sampled import sample_model
from distill_sim.corpus import CorpusRow, read_corpus
from distill_sim.demo.condition import Condition
from distill_sim.stages import CORPUS
from distill_sim.student import train_student
from distill_sim.teacher import pull_smollm2
from watermark.engines.answers import Sampling
from watermark.engines.models import load_model, load_tokenizer
from watermark.files import strict_json
from watermark.greenlist import GreenList
from watermark.keys import Key

CONTROL_KEYS = 1000
SAMPLED_TOKENS = 2000  # as in ten_keys
PERPLEXITY_ROWS = 16
ORDINARY = "as benchmarks/results/ten_keys.json had it at the time: where that holds sum D unscaled, compare with care"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/other-tokenizer"))
    parser.add_argument("--keys", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(arguments.run, arguments.output)
    keys = [Key.load(arguments.run / "keys" / f"{number}.key") for number in range(arguments.keys)]
    rows = [bench.row(number, key) for number, key in enumerate(keys)]
    control, coverage = bench.reading("control", bench.student("control", "unmarked", 0), keys[0])
    found = [row["aligned_reading"] for row in rows]
    save(
        "other_tokenizer",
        "python -m benchmarks.other_tokenizer runs/ten-keys",
        {
            "vocabulary": {"key's": len(bench.vocabulary), "student's": len(bench.half.vocabulary)},
            "nats_per_character": bench.fluency(),
            "ordinary_reading": ORDINARY,
            "aligned_log10_p": {"worst": max(found), "median": float(np.median(found)), "best": min(found)},
            "control_log10_p": [round(_log10_p(control, key), 2) for key in keys],
            "control_coverage": _shown(coverage),
            "control_under_fresh_keys": _under_fresh_keys(control, keys[0]),
            "reference_with_the_key's_tokenizer": bench.own_reference(keys[0]),
            "sampled": bench.sampled(keys[0]),
            "keys": rows,
        },
    )


class Bench:
    """Students and readings of one run; what is finished is kept in `output`."""

    def __init__(self, run: Path, output: Path) -> None:
        self.run, self.output, teacher = run, output, pull_smollm2()
        self.vocabulary = Vocabulary.of(load_tokenizer(teacher))
        self.base = Reader(load_model(teacher), self.vocabulary)
        self.half_directory = make_half_vocabulary(teacher, output / "half")
        self.half = self._reader(self.half_directory)
        self.rows = self._corpus("probes")
        texts = (row.prompt for row in self.rows)
        self.plain = plain_prompts(texts, self.vocabulary.tokenizer)
        self.probes = [
            TextProbe.of(Probe(row.prompt_ids, row.token_ids), row.prompt, self.vocabulary) for row in self.rows
        ]

    def row(self, number: int, key: Key) -> dict[str, Any]:
        """One key: both readings."""
        reading, coverage = self.reading(f"student-{number}", self._student(number), key)
        known: Any = strict_json((RESULTS / "ten_keys.json").read_bytes())
        ordinary = [row["student_reading"] for row in known["keys"] if row["key_id"] == key.key_id]
        return {
            "key_id": key.key_id,
            "aligned_reading": round(_log10_p(reading, key), 2),
            "ordinary_reading_of_smollm2s_student": ordinary[0] if ordinary else None,
            "coverage": _shown(coverage),
        }

    def student(self, name: str, stage: str, seed: int) -> Path:
        """A student with half the vocabulary, of the corpus that `stage` wrote."""
        directory = self.output / name
        if not directory.is_dir():
            rows = in_tokens_of(self.half.vocabulary.tokenizer, self._corpus(stage))
            recipe = replace(Condition().recipe, seed=seed)
            train_student(self.half_directory, rows, recipe, directory)
            print(f"{name} trained", flush=True)
        return directory

    def reading(
        self, name: str, directory: Path, key: Key, reference: Reader | None = None
    ) -> tuple[Reading, Coverage]:
        """Read with the untrained model as reference, or another; the key gives no more than its rule for pairs."""
        found = read_aligned(
            self._reader(directory),
            self.probes,
            rule=window_rule(key),
            vocabulary=self.vocabulary,
            reference=reference or self.half,
            exclude=self.plain,
        )
        print(name, found.coverage, flush=True)
        return found.reading, found.coverage

    def own_reference(self, key: Key) -> dict[str, Any]:
        reading, coverage = self.reading("student-0, SmolLM2 as reference", self._student(0), key, self.base)
        return {"aligned_reading": round(_log10_p(reading, key), 2), "coverage": _shown(coverage)}

    def sampled(self, key: Key) -> dict[str, Any]:
        """The first key's student answers; its text is tokenised again."""
        student, ours = self._reader(self._student(0)), self.vocabulary.tokenizer
        words = Retokeniser(student.vocabulary.tokenizer, ours)
        asked = [words.prompt(row.prompt, row.prompt_ids) for row in self.rows]
        sampling = Sampling(max_new_tokens=Condition().answer_tokens)
        answers = sample_model(student.model, student.vocabulary.tokenizer, asked, SAMPLED_TOKENS, sampling=sampling)
        excluded = [*(row.prompt_ids for row in self.rows), *self.plain, *map(words.again, asked)]
        counted = tally(key, map(words.again, answers.answers), excluded, test="sampled")
        return {
            "tokens_drawn": sum(map(len, answers.answers)),
            "tokens_counted": counted.n_tokens,
            "pairs": counted.n_scored,
            "green_fraction": round(counted.n_green / counted.n_scored, 4),
            "log10_p": round(_count_log10_p(counted), 2),
            "windows_of_probes_surviving_the_detour": round(
                surviving_share(ours, [row.token_ids for row in self.rows], key.context_width + 1) or 0, 4
            ),
        }

    def fluency(self) -> dict[str, float]:
        """Of the unmarked teacher's answers, under both untrained models."""
        pairs = {"smollm2": self.base, "half_vocabulary": self.half}
        return {
            name: round(nats_per_character(one.model, one.vocabulary.tokenizer, self.rows[:PERPLEXITY_ROWS]), 4)
            for name, one in pairs.items()
        }

    def _student(self, number: int) -> Path:
        return self.student(f"student-{number}", f"marked-{number}", number)

    def _corpus(self, stage: str) -> list[CorpusRow]:
        return read_corpus(stage_directory(self.run, stage) / CORPUS)

    def _reader(self, directory: Path) -> Reader:
        return Reader(load_model(directory), Vocabulary.of(load_tokenizer(directory)))


def _log10_p(reading: Reading, key: Key) -> float:
    """The valid bound."""
    weighed = weigh(key, reading)
    return chernoff(CumulantFunction(weighed.weights, weighed.green.gamma), weighed.statistic).log10_p


def _count_log10_p(counted: CountTally) -> float:
    return log10_sf(counted.n_green, counted.n_scored, counted.green.gamma)


def _under_fresh_keys(reading: Reading, key: Key) -> dict[str, Any]:
    """How often the control's bound falls at or below .1 … 1e-4 under keys that marked nothing, always the same."""
    rng = np.random.default_rng(FRESH_SEED)
    cumulant = CumulantFunction(reading.weights, key.gamma)
    greens = [GreenList(Key(rng.bytes(32), key.parameters)) for _ in range(CONTROL_KEYS)]
    statistics = under_every_key(
        reading.pairs,
        CONTROL_KEYS,
        greens.__getitem__,
        lambda colours, gamma: statistic(colours, reading.weights, gamma),
    )
    bounds = np.array([chernoff(cumulant, float(one)).log10_p for one in statistics])
    found = {level: int((bounds <= np.log10(level)).sum()) for level in LEVELS}
    limits = {level: largest_expected(CONTROL_KEYS, level) for level in LEVELS}
    return {
        "keys": CONTROL_KEYS,
        "seed": FRESH_SEED,
        "at_or_below": {str(level): number for level, number in found.items()},
        "limits": {str(level): number for level, number in limits.items()},
        "within_limits": all(found[level] <= limits[level] for level in LEVELS),
        "smallest": round(float(bounds.min()), 2),
    }


def _shown(coverage: Coverage) -> dict[str, Any]:
    return {**asdict(coverage), "mass": round(coverage.mass, 6)}


if __name__ == "__main__":
    main()
