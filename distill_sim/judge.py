"""The last stage: what was observed, judged under the key. Everything before it was made without looking at one."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.counting import WeightTally, statistic, tally, weigh
from detect.decoys import DEFAULT_SEED, lineup
from detect.evidence import Evidence, assess
from detect.exact.weighted import CumulantFunction
from detect.observation import Reading
from distill_sim.corpus import read_corpus
from distill_sim.pipeline import StageContext
from distill_sim.stages import ANSWERS, CORPUS, READING, stage_key
from watermark.errors import InputError
from watermark.files import new_file, strict_json, write_json
from watermark.keys import Key, decoy_key

RESULTS, LINEUPS = "results.json", "lineups.npz"


@dataclass(frozen=True)
class Scores:
    """A line-up's statistics in standard deviations under the null. For display: no p comes from them.

    Attributes:
        own: the key's.
        decoys: float64 [M], in the line-up's order.
    """

    own: float
    decoys: NDArray[np.float64]


def judged(context: StageContext) -> None:
    """All tests of both teachers' texts, the student and the control; and the line-ups' scores, for a plot.

    Settings: key_id, decoys. Private: key.
    """
    key = stage_key(context)
    decoys = context.settings["decoys"]
    done = 0

    def advance(scored: int) -> None:
        nonlocal done
        done += scored
        context.report(done, 4 * decoys, f"{done // 2} of {2 * decoys} decoys")  # each is scored twice: see `scores`

    results: dict[str, Any] = {
        "teacher_marked": {"text": judge_text(key, context.inputs["marked"]).to_dict()},
        "teacher_unmarked": {"text": judge_text(key, context.inputs["unmarked"]).to_dict()},
    }
    arrays: dict[str, Any] = {}
    for name in ("student", "control"):
        scored = scores(key, context.inputs[f"reading-{name}"], decoys, advance)
        arrays |= {f"{name}_own": np.array(scored.own), f"{name}_decoys": scored.decoys}
        results[name] = {
            "sampled": judge_sampled(key, context.inputs[f"sampled-{name}"]).to_dict(),
            "reading": judge_reading(key, context.inputs[f"reading-{name}"], decoys, advance).to_dict(),
        }
    write_json(context.output / RESULTS, results)
    with new_file(context.output / LINEUPS) as handle:
        np.savez(handle, **arrays)


def judge_text(key: Key, directory: Path) -> Evidence:
    """The text test of a corpus; its own prompts are excluded."""
    rows = read_corpus(directory / CORPUS)
    return assess(tally(key, [row.token_ids for row in rows], [row.prompt_ids for row in rows]))


def judge_sampled(key: Key, directory: Path) -> Evidence:
    """The sampled test of a questioned model's answers."""
    content: Any = strict_json((directory / ANSWERS).read_bytes())
    return assess(tally(key, content["answers"], content["prompts"], test="sampled"))


def judge_reading(key: Key, directory: Path, decoys: int, on_decoy: Callable[[int], None] | None = None) -> Evidence:
    """The reading test of a questioned model, with a line-up of decoys."""
    weighed = weigh(key, Reading.load(directory / READING))
    return assess(weighed, lineup=lineup(weighed, decoys, on_decoy=on_decoy))


def scores(key: Key, directory: Path, decoys: int, on_decoy: Callable[[int], None] | None = None) -> Scores:
    """Score the decoys of `judge_reading`'s line-up once more: `Lineup` keeps only where the key stands among them."""
    weighed = weigh(key, Reading.load(directory / READING))
    deviation = math.sqrt(CumulantFunction(weighed.weights, weighed.green.gamma).variance) or 1.0
    return Scores(weighed.statistic / deviation, _decoy_statistics(weighed, decoys, on_decoy) / deviation)


def _decoy_statistics(weighed: WeightTally, decoys: int, on_decoy: Callable[[int], None] | None) -> NDArray[np.float64]:
    prepared = weighed.green.prepare(weighed.pairs.contexts, weighed.pairs.tokens)

    def one(index: int) -> float:
        colours = weighed.green.with_chacha_key(decoy_key(DEFAULT_SEED, index)).colour(prepared)
        return statistic(colours, weighed.weights, weighed.green.gamma)

    values = np.empty(decoys)
    with ThreadPoolExecutor() as pool:
        for index, value in enumerate(pool.map(one, range(decoys))):
            values[index] = value
            if on_decoy is not None:
                on_decoy(1)
    return values


def read_scores(directory: Path) -> dict[str, Scores] | None:
    """The scores of "student" and "control" that `judged` wrote; None where an earlier version wrote none.

    Raises:
        InputError: the file is damaged.
    """
    path = directory / LINEUPS
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return {n: Scores(float(file[f"{n}_own"]), file[f"{n}_decoys"]) for n in ("student", "control")}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise InputError(f"{path} is damaged; remove its directory and run the same command again") from None
