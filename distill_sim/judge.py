"""The last stage: what was observed, judged under the key. Everything before it was made without looking at one."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.counting import tally, weigh
from detect.decoys import lineup
from detect.evidence import Evidence, assess
from detect.exact.weighted import CumulantFunction
from detect.observation import Reading
from distill_sim.corpus import read_corpus
from distill_sim.pipeline import StageContext
from distill_sim.stages import ANSWERS, CORPUS, READING, stage_key
from watermark.errors import InputError
from watermark.files import new_file, strict_json, write_json
from watermark.keys import Key

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

    Settings: key_id, decoys, label (of the stages that depend on the key). Private: key.
    """
    key = stage_key(context)
    decoys, label = context.settings["decoys"], context.settings["label"]
    done = 0

    def advance(scored: int) -> None:
        nonlocal done
        done += scored
        context.report(done, 2 * decoys, f"{done} of {2 * decoys} decoys")

    results: dict[str, Any] = {
        "teacher_marked": {"text": judge_text(key, context.inputs[f"marked{label}"]).to_dict()},
        "teacher_unmarked": {"text": judge_text(key, context.inputs["unmarked"]).to_dict()},
    }
    arrays: dict[str, Any] = {}
    for name, stage in (("student", f"student{label}"), ("control", "control")):
        evidence, scored = read_and_scored(key, context.inputs[f"reading-{stage}"], decoys, advance)
        arrays |= {f"{name}_own": np.array(scored.own), f"{name}_decoys": scored.decoys}
        results[name] = {
            "sampled": judge_sampled(key, context.inputs[f"sampled-{stage}"]).to_dict(),
            "reading": evidence.to_dict(),
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
    return read_and_scored(key, directory, decoys, on_decoy)[0]


def read_and_scored(
    key: Key, directory: Path, decoys: int, on_decoy: Callable[[int], None] | None = None
) -> tuple[Evidence, Scores]:
    """As `judge_reading`, with the scores of its line-up."""
    weighed = weigh(key, Reading.load(directory / READING))
    line = lineup(weighed, decoys, on_decoy=on_decoy)
    deviation = math.sqrt(CumulantFunction(weighed.weights, weighed.green.gamma).variance) or 1.0
    return assess(weighed, lineup=line), Scores(weighed.statistic / deviation, np.array(line.scores) / deviation)


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
