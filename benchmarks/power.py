"""How much must be read or asked? Every test of a questioned model, side by side, on the same students.

    python -m benchmarks.power RUN        RUN: a finished `benchmarks.strong_students`

Each test looks at growing numbers of tokens, in orders fixed by a seed, until its log10 p stays at or below −6.

    reading              this toolkit's, against the base model
    argmax               distinct (context, likeliest token) pairs, exact binomial tail: Sander et al. 2024, 2402.14904
    ADFP                 mean probability of green tokens, one position of each distinct context, Hoeffding's bound: the
                         authors' own form (`mass_of_contexts`)
    green mass           the same with the mean over all positions of a context, as `reading` shows it beside; and over
                         all positions as if they were independent, which no bound allows: kinder than the authors are
    sampled, excess      the answers' n - e against the base model
    sampled, distinct    distinct pairs of the answers, exact binomial tail

In pieces that are kept: killed and started again, it goes on. The curves are drawn into
docs/power.svg.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import save, stage_directory, vocab_size
from benchmarks.green_mass import mass_of_contexts, mass_of_positions
from benchmarks.remembered import Remembered
from benchmarks.strong_students import MARKED_EVERY
from detect import Probe, read_model, window_rule
from detect.counting import WeightTally, tally, weigh
from detect.exact.binomial import log10_sf
from detect.exact.weighted import CumulantFunction, chernoff, statistic
from detect.observation import Excess, Reading
from detect.questioned.excess import excess_of
from distill_sim.corpus import read_corpus
from distill_sim.stages import ANSWERS, CORPUS, STUDENT
from distill_sim.teacher import pull_smollm2
from watermark import GreenList, Key
from watermark.engines.models import load_model
from watermark.files import strict_json, write_json

GOAL = -6.0
READ = (12, 25, 50, 100, 200, 400, 800, 1600, 3000, 6000, 12_000)  # positions
READ_DILUTED = (1600, 3000, 6000, 12_000)
WEIGHED = (100, 200, 400, 800, 1600, 3200, 6400)  # answer tokens
COUNTED = (*WEIGHED, 9_000, 12_800, 20_000, 28_000, 36_000, 48_000)
ORDERS = 3  # up to MANY tokens; beyond, one
MANY = 400
WRONG_KEYS = 100

TESTS = (*("reading", "argmax", "ADFP", "green_mass", "green_mass, all positions"),
         *("sampled, excess", "sampled, distinct"))  # fmt: skip
Curve = dict[int, list[float]]  # tokens → log10 p in each order


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--keys", type=int, default=5)
    parser.add_argument("--pieces", nargs="+", help="only these, such as student-0, diluted-0 or control; in parallel")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    numbers = range(arguments.keys)
    names = [*(f"student-{n}" for n in numbers), *(f"diluted-{n}" for n in numbers), "control"]
    wanted = [name for name in names if not is_there(arguments.run / "power" / f"{name}.json")]
    if arguments.pieces:
        wanted = [name for name in wanted if name in arguments.pieces]
    if wanted:
        bench = Bench.of(arguments.run, [arguments.run / "keys" / f"{number}.key" for number in numbers])
        (arguments.run / "power").mkdir(exist_ok=True)
        for name in wanted:
            (arguments.run / "power" / f"{name}.json").unlink(missing_ok=True)  # of fewer tests
            write_json(arguments.run / "power" / f"{name}.json", bench.piece(name))
            print(name, flush=True)
    if arguments.pieces:
        return
    found = {name: strict_json((arguments.run / "power" / f"{name}.json").read_bytes()) for name in names}
    students: Any = [found[f"student-{number}"] for number in numbers]
    record = {
        "keys": arguments.keys,
        "goal_log10_p": GOAL,
        "tokens_needed": summary(students),
        "students": students,
        "diluted": {
            "marked_answers_in": f"1 of {MARKED_EVERY}",
            "students": [found[f"diluted-{number}"] for number in numbers],
        },
        "control": found["control"],
    }
    from benchmarks.power_plot import draw

    save("power", "python -m benchmarks.power runs/strong", record)
    draw(students, Path("docs/power.svg"))


def is_there(piece: Path) -> bool:
    """Whether a piece was finished, by a program that ran all of today's tests."""
    if not piece.exists():
        return False
    content: Any = strict_json(piece.read_bytes())
    return "curves" not in content or set(content["curves"]) == set(TESTS)


@dataclass
class Bench:
    """What all students are asked and read on."""

    run: Path
    keys: list[Key]
    probes: list[Probe]
    texts: list[Probe]  # what the orders need of them
    base: Remembered
    plain_base: Any
    usual: list[Any]

    @classmethod
    def of(cls, run: Path, files: list[Path]) -> Bench:
        def probes(stage: str) -> list[Probe]:
            rows = read_corpus(stage_directory(run, stage) / CORPUS)
            return [Probe(row.prompt_ids, row.token_ids) for row in rows]

        base, read = load_model(pull_smollm2()), probes("probes")
        usual = [probe.answer_ids for probe in probes("unmarked")]
        needed = [part_of(in_order(read, 1 + order), MANY if order else READ[-1]) for order in range(ORDERS)]
        texts = [probe for one in needed for probe in one]
        return cls(run, [Key.load(file) for file in files], read, texts, Remembered(base, texts), base, usual)

    def piece(self, name: str) -> dict[str, Any]:
        """student-N, diluted-N or control."""
        kind, _, number = name.partition("-")
        if kind == "control":
            return self.control()
        return self.student(int(number)) if kind == "student" else self.diluted(int(number))

    def student(self, number: int) -> dict[str, Any]:
        """Every test of one key's student, and the reading of 3,000 positions under keys that marked nothing."""
        key, model = self.keys[number], self._model(f"student-{number}")
        curves = self._read_curves(key, model) | self._asked_curves(key, f"student-{number}")
        reading = self._read(model, part_of(self._order(0), 3000))
        return {"key_id": key.key_id, "curves": curves, "needed": {name: needed(c) for name, c in curves.items()},
                "wrong_keys": self._wrong_keys(reading)}  # fmt: skip

    def diluted(self, number: int) -> dict[str, Any]:
        """The reading of a student with few marked answers."""
        key, model = self.keys[number], self._model(f"diluted-{number}")
        readings = {n: self._read(model, part_of(self._order(0), n)) for n in READ_DILUTED}
        curve = {n: log10_p(key, reading) for n, reading in readings.items()}
        return {"key_id": key.key_id, "reading": curve, "wrong_keys": self._wrong_keys(readings[READ_DILUTED[-1]])}

    def control(self) -> dict[str, Any]:
        """The student of the unmarked teacher under the same keys, and under keys that marked nothing."""
        model = self._model("control")
        reading = self._read(model, part_of(self._order(0), READ_DILUTED[-1]))
        asked = self._excess(*answers_of(self.run, "control"))
        return {
            "reading": [log10_p(key, reading) for key in self.keys],
            "excess": [log10_p(key, asked) for key in self.keys],
            "wrong_keys": {"reading": self._wrong_keys(reading), "excess": self._wrong_keys(asked)},
        }

    def _model(self, stage: str) -> Remembered:
        return Remembered(load_model(stage_directory(self.run, stage) / STUDENT), self.texts)

    def _order(self, order: int) -> list[Probe]:
        return in_order(self.probes, 1 + order)  # never as they were written: answers to one prompt stand together

    def _read(self, model: Remembered, probes: Sequence[Probe]) -> Reading:
        return read_model(
            model, probes, rule=window_rule(self.keys[0]), vocab_size=vocab_size(self.keys[0]),
            reference=self.base, corpus=self.usual,
        )  # type: ignore[arg-type]  # fmt: skip

    def _read_curves(self, key: Key, model: Remembered) -> dict[str, Curve]:
        """Reading, and what published tests make of the same positions."""
        curves: dict[str, Curve] = {}
        for n in READ:
            for order in range(ORDERS if n <= MANY else 1):
                part = part_of(self._order(order), n)
                weighed = weigh(key, self._read(model, part))
                beside = {name: one.log10_p for name, one in weighed.comparisons.items()}
                beside["ADFP"] = mass_of_contexts(key, model, part)
                beside["green_mass, all positions"] = mass_of_positions(key, model, part)
                for name, value in {"reading": bound(weighed), **beside}.items():
                    curves.setdefault(name, {}).setdefault(n, []).append(value)
        return curves

    def _excess(self, answers: Sequence[Probe], prompts: Sequence[list[int]], n: int = WEIGHED[-1]) -> Excess:
        part = part_of(answers, n)
        return self._excess_of(Remembered(self.plain_base, part), part, prompts)

    def _excess_of(self, base: Remembered, part: Sequence[Probe], prompts: Sequence[list[int]]) -> Excess:
        return excess_of(
            base, part, rule=window_rule(self.keys[0]), vocab_size=vocab_size(self.keys[0]), exclude=prompts
        )  # type: ignore[arg-type]  # fmt: skip

    def _asked_curves(self, key: Key, who: str) -> dict[str, Curve]:
        """The answers weighed against the base model, and their distinct pairs."""
        answers, prompts = answers_of(self.run, who)
        orders = [in_order(answers, order) for order in range(ORDERS)]
        known = Remembered(self.plain_base, [text for one in orders for text in part_of(one, WEIGHED[-1])])
        curves: dict[str, Curve] = {"sampled, excess": {}, "sampled, distinct": {}}
        there = sum(len(answer.answer_ids) for answer in answers)
        for n in (n for n in COUNTED if n <= there):
            for one in orders[: ORDERS if n <= MANY else 1]:
                part = part_of(one, n)
                if n in WEIGHED:
                    value = log10_p(key, self._excess_of(known, part, prompts))
                    curves["sampled, excess"].setdefault(n, []).append(value)
                count = tally(key, [text.answer_ids for text in part], prompts, test="sampled")
                value = log10_sf(count.n_green, count.n_scored, key.gamma)
                curves["sampled, distinct"].setdefault(n, []).append(value)
        return curves

    def _wrong_keys(self, observed: Reading | Excess) -> dict[str, float]:
        rng = np.random.default_rng(1)
        values = [log10_p(Key(rng.bytes(32), self.keys[0].parameters), observed) for _ in range(WRONG_KEYS)]
        return {"keys": WRONG_KEYS, "smallest": min(values), "median": float(np.median(values))}


def answers_of(run: Path, who: str) -> tuple[list[Probe], list[list[int]]]:
    """What a model answered, each answer behind its prompt, and everything that it was planned to be asked."""
    content: Any = strict_json((stage_directory(run, f"sampled-{who}") / ANSWERS).read_bytes())
    given = zip(content["asked"], content["answers"], strict=True)
    return [Probe(content["prompts"][i], ids) for i, ids in given], content["prompts"]


def in_order(texts: Sequence[Probe], order: int) -> list[Probe]:
    """Order 0 is the given one."""
    if order == 0:
        return list(texts)
    return [texts[i] for i in np.random.default_rng(order).permutation(len(texts))]


def part_of(texts: Sequence[Probe], tokens: int) -> list[Probe]:
    """The first texts, the last one cut, with this many answer tokens together (or all there are)."""
    found: list[Probe] = []
    for text in texts:
        if tokens <= 0:
            break
        found.append(Probe(text.prompt_ids, list(text.answer_ids)[:tokens]))
        tokens -= len(found[-1].answer_ids)
    return found


def log10_p(key: Key, observed: Reading | Excess) -> float:
    """The reported bound (see `detect.exact.weighted.chernoff` for its null)."""
    green = GreenList(key)
    colours = green.is_green(observed.pairs.contexts, observed.pairs.tokens)
    cumulant = CumulantFunction(observed.weights, green.gamma)
    return chernoff(cumulant, statistic(colours, observed.weights, green.gamma)).log10_p


def bound(tally: WeightTally) -> float:
    return chernoff(CumulantFunction(tally.weights, tally.green.gamma), tally.statistic).log10_p


def needed(curve: Curve) -> float | None:
    """Tokens from which the median log10 p stays at or below the goal; between two sizes, log-linear. None: never."""
    sizes = sorted(curve)
    medians = [float(np.median(curve[n])) for n in sizes]
    if medians[-1] > GOAL:
        return None
    last = max((i for i, value in enumerate(medians) if value > GOAL), default=-1)
    if last < 0:
        return float(sizes[0])
    low, high = math.log(sizes[last]), math.log(sizes[last + 1])
    share = (GOAL - medians[last]) / (medians[last + 1] - medians[last])
    return round(math.exp(low + share * (high - low)))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Median over the keys of the tokens each test needs, and of the ratios to reading and to excess, key by key."""
    needs = {name: [row["needed"][name] for row in rows] for name in rows[0]["needed"]}
    most = {
        name: min(max(map(int, row["curves"][name])) for row in rows) for name in needs
    }  # a test that never got there needs more than that
    ratios = {}
    for name, ours in (("argmax", "reading"), ("ADFP", "reading"), ("green_mass", "reading"),
                       ("green_mass, all positions", "reading"), ("sampled, distinct", "sampled, excess"),
                       ("sampled, excess", "reading")):  # fmt: skip
        sizes = [max(map(int, row["curves"][name])) for row in rows]
        both = zip(needs[name], sizes, needs[ours], strict=True)
        each = [(theirs or size) / mine for theirs, size, mine in both if mine]
        ratios[f"{name} / {ours}"] = {"median": round(float(np.median(each)), 1), "smallest": round(min(each), 1)}
    return {
        "each_key": needs,
        "median": {name: _median(values) for name, values in needs.items()},
        "never_within": {
            name: f"{values.count(None)} of {len(values)} keys, {most[name]} tokens"
            for name, values in needs.items()
            if None in values
        },
        "ratios_at_least": ratios,
    }


def _median(values: list[float | None]) -> float | None:
    """None: more than half never got there."""
    middle = float(np.median([math.inf if value is None else value for value in values]))
    return middle if math.isfinite(middle) else None


if __name__ == "__main__":
    main()
