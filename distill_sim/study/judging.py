"""Stages that judge: a cell under the keys looked for, its controls under fresh keys, and what the mark cost."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detect.colouring import under_every_key
from detect.counting import WeightTally, tally, weigh
from detect.evidence import Evidence, assess, assess_family
from detect.exact.binomial import log10_sf_table
from detect.exact.weighted import CumulantFunction, TailCurve, statistic
from detect.observation import Excess, Reading
from distill_sim.corpus import CorpusRow, read_corpus
from distill_sim.pipeline import StageContext
from distill_sim.questioning import witness
from distill_sim.stages import ANSWERS, CORPUS, EXCESS, READING, model_directory
from watermark.errors import KeyFileError
from watermark.files import strict_json, write_json
from watermark.greenlist import GreenList
from watermark.keys import Key, decoy_key
from watermark.keys.parameters import gamma_units
from watermark.windows import Pairs

ROWS = "rows.json"
FRESH_SEED = hashlib.sha256(b"taggant study: fresh keys").digest()


def judged(context: StageContext) -> None:
    """All tests of one cell, as rows of survival.parquet without the condition.

    Settings: keys (role → key id), corpus, epochs, reading, excess. Private: a key file for each role.
    """
    settings = context.settings
    corpus = read_corpus(context.inputs[settings["corpus"]] / CORPUS)
    reading = Reading.load(context.inputs[settings["reading"]] / READING)
    excess = Excess.load(context.inputs[settings["excess"]] / EXCESS)
    rows = []
    for role, key_id in settings["keys"].items():
        key = Key.load(context.private[role])
        if key.key_id != key_id:
            raise KeyFileError(f"{context.private[role]} is not the key this study began with; restore it")
        dose = {
            "marked_tokens": sum(len(row.token_ids) for row in corpus if row.key_id == key_id),
            "trained_tokens": settings["epochs"] * sum(len(row.token_ids) for row in corpus),
        }
        common = {"looked_for": role, "key_id": key_id, **dose}
        rows += [{**common, **row} for row in _tests(key, corpus, reading, excess)]
    write_json(context.output / ROWS, rows)


def examined(context: StageContext) -> None:
    """A reading by itself under one key, as one row. Settings: key_id, reading. Private: key."""
    settings = context.settings
    key = Key.load(context.private["key"])
    if key.key_id != settings["key_id"]:
        raise KeyFileError(f"{context.private['key']} is not the key this study began with; restore it")
    reading = Reading.load(context.inputs[settings["reading"]] / READING)
    found = assess(weigh(key, reading))
    write_json(context.output / ROWS, [{**_row("reading", found), "key_id": key.key_id, "alpha": found.alpha}])


def _tests(key: Key, corpus: Sequence[CorpusRow], reading: Reading, excess: Excess) -> list[dict[str, Any]]:
    weighed, asked = weigh(key, reading), weigh(key, excess)
    text = assess(tally(key, [row.token_ids for row in corpus], [row.prompt_ids for row in corpus]))
    read, sampled = assess_family([weighed, asked])
    rows = [_row("text", text), _row("reading", read), _row("sampled", sampled)]
    for test, weights in (("argmax", weighed), ("green_mass", weighed), ("distinct_pairs", asked)):
        rows.append(_comparison(test, weights, excess.n_tokens if weights is asked else reading.n_positions))
    return rows


def _row(test: str, evidence: Evidence) -> dict[str, Any]:
    return {
        "test": test,
        "n_tokens": evidence.n_tokens,
        "n_scored": evidence.n_scored,
        "green_fraction": evidence.green_fraction,
        "z_score": evidence.z_score,
        "log10_p": evidence.log10_p,
        "log10_p_adjusted": evidence.log10_p_adjusted,
        "finding": evidence.finding,
    }


def _comparison(test: str, weighed: WeightTally, n_tokens: int) -> dict[str, Any]:
    """A published test of the same observation, alone: no family, no finding."""
    found = weighed.comparisons[test].to_dict()
    scored, green = found.get("n_scored", found.get("n_contexts")), found.get("n_green")
    return {
        "test": test,
        "n_tokens": n_tokens,
        "n_scored": scored,
        "green_fraction": found.get("mean") if green is None else green / scored if scored else None,
        "z_score": None,
        "log10_p": found["log10_p"],
        "log10_p_adjusted": None,
        "finding": None,
    }


def fresh(context: StageContext) -> None:
    """The p-values of one control under keys that marked nothing: always the same keys, known to everybody.

    Settings: keys (how many), gamma, context_width, reading, excess. Each p as its test has it.
    """
    settings = context.settings
    reading = Reading.load(context.inputs[settings["reading"]] / READING)
    excess = Excess.load(context.inputs[settings["excess"]] / EXCESS)
    count, units = settings["keys"], gamma_units(settings["gamma"])
    greens = [
        GreenList.from_chacha_key(decoy_key(FRESH_SEED, i), units, settings["context_width"]) for i in range(count)
    ]
    rows = []
    for test, observed in (("reading", reading), ("sampled", excess)):
        rows += _as_rows(test, weighted_log10_p(observed.pairs, observed.weights, greens))
    for test, pairs in (("argmax", reading.argmax), ("distinct_pairs", excess.distinct)):
        rows += _as_rows(test, counted_log10_p(pairs, greens))
    write_json(context.output / ROWS, rows)


def weighted_log10_p(pairs: Pairs, weights: NDArray[np.float64], greens: Sequence[GreenList]) -> NDArray[np.float64]:
    """log10 p of S under each key, float64 [keys].

    Null: colours do not depend on the weights (i.i.d. Bernoulli(γ)). Valid bound, one-sided (upper).
    """
    gamma = greens[0].gamma
    scores = under_every_key(
        pairs, len(greens), greens.__getitem__, lambda colours, _: statistic(colours, weights, gamma)
    )
    return TailCurve(CumulantFunction(weights, gamma)).chernoff_log10_p(scores)


def counted_log10_p(pairs: Pairs, greens: Sequence[GreenList]) -> NDArray[np.float64]:
    """log10 p of the green among distinct pairs under each key, float64 [keys].

    Null: colours do not depend on the pairs (i.i.d. Bernoulli(γ)). Exact, one-sided (upper).
    """
    counts = under_every_key(pairs, len(greens), greens.__getitem__, lambda colours, _: int(np.count_nonzero(colours)))
    return log10_sf_table(len(pairs), greens[0].gamma)[counts.astype(np.intp)]


def _as_rows(test: str, log10_p: NDArray[np.float64]) -> list[dict[str, Any]]:
    return [{"test": test, "number": number, "log10_p": float(p)} for number, p in enumerate(log10_p)]


def quality(context: StageContext) -> None:
    """What the mark cost, as rows of quality.parquet without the condition.

    Settings: corpus, unmarked (its counterpart), unmarked_again (the same drawn once more; null: no classifier tries to
    tell them apart), questioned (the student), started (the ability of the model it started from), human (text nobody
    trained on), wrote and reference_wrote (needed `sampled`: what the student answered, and the reference of its
    reading), model (the unmarked teacher). Private: model.
    """
    from distill_sim.study.costs import costs_of_student, costs_of_text, costs_of_writing
    from watermark.engines.models import load_model

    settings = context.settings
    text, other, again, human = (
        None if settings[name] is None else read_corpus(context.inputs[settings[name]] / CORPUS)
        for name in ("corpus", "unmarked", "unmarked_again", "human")
    )
    assert text is not None
    assert human is not None
    counterpart = None if settings["corpus"] == settings["unmarked"] else other
    teacher = load_model(model_directory(context))
    rows = costs_of_text(teacher, text, counterpart, again)
    rows += costs_of_writing(teacher, *(_written(context, role) for role in ("wrote", "reference_wrote")))
    started: Any = strict_json((context.inputs[settings["started"]] / ROWS).read_bytes())
    with witness(model_directory(context, "questioned")) as questioned:
        rows += costs_of_student(questioned.model, human, started)
    write_json(context.output / ROWS, rows)


def _written(context: StageContext, role: str) -> list[CorpusRow]:
    """The answers of a needed `sampled`, in the key's token ids."""
    content: Any = strict_json((context.inputs[context.settings[role]] / ANSWERS).read_bytes())
    asked = zip(content["asked"], content["answers"], strict=True)
    return [
        CorpusRow(
            id=str(number), prompt="", prompt_ids=content["prompts"][which], text="", token_ids=ids, marked=False,
            key_id=None, seed=0, model="", sampling="{}", created="",
        )
        for number, (which, ids) in enumerate(asked)
    ]  # fmt: skip


def started(context: StageContext) -> None:
    """How able a model is that students start from. Settings: model, human. Private: model."""
    from distill_sim.study.costs import ability
    from watermark.engines.models import load_model

    human = read_corpus(context.inputs[context.settings["human"]] / CORPUS)
    write_json(context.output / ROWS, ability(load_model(model_directory(context)), human))
