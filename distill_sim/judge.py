"""The last stage: what was observed, judged under the key. Everything before it was made without looking at one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from detect.counting import tally, weigh
from detect.decoys import lineup
from detect.evidence import Evidence, assess
from detect.observation import Reading
from distill_sim.corpus import read_corpus
from distill_sim.pipeline import StageContext
from distill_sim.stages import ANSWERS, CORPUS, READING
from watermark.files import strict_json, write_json
from watermark.keys import Key

RESULTS = "results.json"


def judged(context: StageContext) -> None:
    """All tests of both teachers' texts, the student and the control. Settings: key_id, decoys. Private: key."""
    key = Key.load(context.private["key"])
    decoys = context.settings["decoys"]
    done = 0

    def advance(scored: int) -> None:
        nonlocal done
        done += scored
        context.report(done, 2 * decoys, f"{done} of {2 * decoys} decoys")

    results: dict[str, Any] = {
        "teacher_marked": {"text": judge_text(key, context.inputs["marked"]).to_dict()},
        "teacher_unmarked": {"text": judge_text(key, context.inputs["unmarked"]).to_dict()},
    }
    for name in ("student", "control"):
        results[name] = {
            "sampled": judge_sampled(key, context.inputs[f"sampled-{name}"]).to_dict(),
            "reading": judge_reading(key, context.inputs[f"reading-{name}"], decoys, advance).to_dict(),
        }
    write_json(context.output / RESULTS, results)


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
