"""Controls for a likelihood ratio, for `taggant report --controls`: students without seed, answers, probes or key in
common."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from detect.bundles.material import WEIGHTS
from detect.evidence import DEFAULT_ALPHA
from detect.reports.controls import FORMAT, Controls, Design
from distill_sim.study.laboratory import Laboratory
from watermark.files import write_json
from watermark.keys.parameters import GAMMA_UNITS, gamma_units

CONTROLS_FILE = "controls.json"


def write_controls(path: Path, laboratory: Laboratory) -> None:
    """Write what was found in the finished ones, in place of an earlier file; nothing without one of each kind."""
    found = list(laboratory.examined())
    kinds = {
        kind: [
            {"source": f"{one.source}, key {row['key_id'][:16]}", "detected": row["finding"] == "detected"}
            for one, row in found
            if one.marked is marked
        ]
        for kind, marked in (("positives", True), ("negatives", False))
    }
    if not all(kinds.values()):
        return
    base = laboratory.study.base
    design = Design(
        test="reading",
        kind=WEIGHTS,
        weights="difference",
        reference=True,
        gamma=gamma_units(base.gamma) / GAMMA_UNITS,
        context_width=base.context_width,
        alpha=DEFAULT_ALPHA,
    )
    content = {"format": FORMAT, **asdict(design), "what": population(laboratory)}
    write_json(path, {**content, **kinds}, overwrite=True)
    Controls.load(path)


def population(laboratory: Laboratory) -> str:
    """What the controls are, and for what they can stand."""
    study, teacher = laboratory.study, laboratory.foundation.teacher
    base = study.base
    return (
        f"Students that Taggant's simulator distilled (scale {study.scale.name}, teacher with digest "
        f"{teacher.id[:16]}, owner's key {laboratory.keys.owner_key_id[:16]}). Each learned from "
        f"{base.answers} answers of at most {base.answer_tokens} tokens, drawn for it alone, was trained with a seed "
        "of its own, and was read on "
        f"{base.probe_tokens:,} positions of probes drawn for it alone, against the model that it started from. A "
        f"positive one learned from answers under a mark of its own (delta {base.delta:g}, gamma {base.gamma:g}, "
        f"context width {base.context_width}, share of marked answers {base.share:g}), and was tested for that; a "
        "negative one learned from unmarked answers, and was tested for a mark of its own that nobody had used. What "
        "they share, so that they are no independent sources in this: the teacher, from which all of them start or "
        "whose text they learned, the list of prompts, how they were trained, the model that they are read against, "
        "and the unmarked answers from which frequencies of contexts were taken. They "
        "stand for students of this teacher that were made in this way, and for no others."
    )
