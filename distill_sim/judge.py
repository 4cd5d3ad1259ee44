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

from detect.counting import WeightTally, tally, weigh
from detect.decoys import Lineup, lineup
from detect.evidence import Evidence, assess, assess_family
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
        reading, sampled = context.inputs[f"reading-{stage}"], context.inputs[f"sampled-{stage}"]
        family, scored = judge_model(key, reading, sampled, decoys, advance)
        arrays |= {f"{name}_own": np.array(scored.own), f"{name}_decoys": scored.decoys}
        results[name] = {test: one.to_dict() for test, one in family.items()}
    write_json(context.output / RESULTS, results)
    with new_file(context.output / LINEUPS) as handle:
        np.savez(handle, **arrays)


def judge_text(key: Key, directory: Path) -> Evidence:
    """The text test of a corpus; its own prompts are excluded."""
    rows = read_corpus(directory / CORPUS)
    return assess(tally(key, [row.token_ids for row in rows], [row.prompt_ids for row in rows]))


def judge_model(
    key: Key, reading: Path, sampled: Path, decoys: int, on_decoy: Callable[[int], None] | None = None
) -> tuple[dict[str, Evidence], Scores]:
    """Both tests of one questioned model, one family as in `taggant suspect`; and the scores of the reading's line-up.

    Args:
        reading: directory of its stage.
        sampled: directory of its stage.
        decoys: in the line-up of the reading.
    """
    content: Any = strict_json((sampled / ANSWERS).read_bytes())
    counted = tally(key, content["answers"], content["prompts"], test="sampled")
    weighed = weigh(key, Reading.load(reading / READING))
    line, scores = scored_lineup(weighed, decoys, on_decoy)
    read, asked = assess_family([weighed, counted], lineups=[line, None])
    return {"sampled": asked, "reading": read}, scores


def scored_lineup(
    weighed: WeightTally, decoys: int, on_decoy: Callable[[int], None] | None = None
) -> tuple[Lineup, Scores]:
    """A line-up, and its scores in standard deviations."""
    line = lineup(weighed, decoys, on_decoy=on_decoy)
    deviation = math.sqrt(CumulantFunction(weighed.weights, weighed.green.gamma).variance) or 1.0
    return line, Scores(weighed.statistic / deviation, np.array(line.scores) / deviation)


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
