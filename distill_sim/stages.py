"""The steps of a distillation, each a pipeline stage: corpus → student → reading, sampled; and fluency.

Every function takes a StageContext. Observations (readings, answers) are made without a key; only `corpus` opens one,
and only to mark. Judging them under a key is `distill_sim.judge`'s.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from detect.fed import Probe
from distill_sim.corpus import CorpusRow, read_corpus, write_corpus
from distill_sim.pipeline import StageContext
from watermark.errors import InputError, KeyFileError
from watermark.files import write_json
from watermark.keys import Key
from watermark.windows import WindowRule

CORPUS, STUDENT, READING, ANSWERS, FLUENCY = (
    "corpus.parquet",
    "model",
    "reading.npz",
    "answers.json",
    "fluency.json",
)  # fmt: skip


def corpus(context: StageContext) -> None:
    """A teacher answers prompts, marked or not. Kept batch by batch while it lasts.

    Settings: prompts, samples, sampling, seed, key_id and delta (null: unmarked), model. Private: model, key.
    """
    from watermark.engines.answers import Sampling, answer_resumably, chat_prompt_ids
    from watermark.engines.models import load_model, load_tokenizer
    from watermark.journal import Journal

    settings = context.settings
    key = None if settings["key_id"] is None else stage_key(context)
    model, tokenizer = load_model(context.private["model"]), load_tokenizer(context.private["model"])
    sampling = Sampling(**settings["sampling"])
    prompts = [prompt for prompt in settings["prompts"] for _ in range(settings["samples"])]
    ids = [chat_prompt_ids(tokenizer, prompt) for prompt in prompts]
    done = 0

    def advance(answers: int) -> None:
        nonlocal done
        done += answers
        context.report(done, len(ids), f"{done} of {len(ids)} answers")

    with Journal(context.work / "answers.jsonl", {"settings": dict(settings)}) as journal:
        answers = answer_resumably(
            model, tokenizer, ids, sampling, journal,
            seed=settings["seed"], key=key, on_answers=advance,
        )  # fmt: skip
    now = datetime.now(UTC).isoformat(timespec="seconds")
    drawn = {**sampling.to_dict(), "delta": settings["delta"], "gamma": None if key is None else key.gamma}
    rows = [
        CorpusRow(
            id=str(number),
            prompt=prompt,
            prompt_ids=tuple(prompt_ids),
            text=tokenizer.decode(token_ids),
            token_ids=tuple(token_ids),
            marked=key is not None,
            key_id=settings["key_id"],
            seed=settings["seed"],
            model=settings["model"],
            sampling=json.dumps(drawn),
            created=now,
        )
        for number, (prompt, prompt_ids, token_ids) in enumerate(zip(prompts, ids, answers, strict=True))
    ]
    write_corpus(context.output / CORPUS, rows, {"settings": dict(settings)})


def mixed(context: StageContext) -> None:
    """A corpus of which one answer in `every` is marked. Settings: marked, unmarked (needed corpora), every."""
    settings = context.settings
    marked, unmarked = (read_corpus(context.inputs[settings[name]] / CORPUS) for name in ("marked", "unmarked"))
    if [row.prompt for row in marked] != [row.prompt for row in unmarked]:
        raise InputError("only corpora over the same prompts can be mixed")
    pairs = enumerate(zip(marked, unmarked, strict=True))
    rows = [one if number % settings["every"] == 0 else other for number, (one, other) in pairs]
    write_corpus(context.output / CORPUS, rows, {"settings": dict(settings)})


def stage_key(context: StageContext) -> Key:
    """The key in the file `private` names.

    Raises:
        KeyFileError: as `Key.load`; or it is another key than the settings say.
    """
    path = context.private["key"]
    key = Key.load(path)
    if key.key_id != context.settings["key_id"]:
        raise KeyFileError(f"{path} is not the key this run began with; restore it, or choose another directory")
    return key


def student(context: StageContext) -> None:
    """A copy of the base model is trained on the corpus. Settings: recipe, model. Private: model."""
    from distill_sim.recipe import Recipe
    from distill_sim.student import train_student

    (source,) = context.inputs.values()
    train_student(
        context.private["model"],
        read_corpus(source / CORPUS),
        Recipe(**context.settings["recipe"]),
        context.output / STUDENT,
        on_progress=lambda done, total, _: context.report(done, total, f"step {done} of {total}"),
        work=context.work / "training",
    )


def reading(context: StageContext) -> None:
    """A questioned model reads probes beside the reference.

    Settings: probes and questioned (names of needed stages), context_width, special_ids, vocab_size, top, scaled.
    Private: reference.
    """
    from detect.questioned.probes import plain_prompts
    from detect.questioned.reading import read_model
    from watermark.engines.models import load_model, load_tokenizer

    settings = context.settings
    directory = context.inputs[settings["questioned"]] / STUDENT
    rows = read_corpus(context.inputs[settings["probes"]] / CORPUS)
    probes = [Probe(row.prompt_ids, row.token_ids) for row in rows]
    rule = WindowRule(settings["context_width"], tuple(settings["special_ids"]))
    total = sum(max(0, len(probe.answer_ids) - rule.context_width + 1) for probe in probes)
    done = 0

    def advance(positions: int) -> None:
        nonlocal done
        done += positions
        context.report(done, total, f"{done} of {total} positions")

    result = read_model(
        load_model(directory),
        probes,
        rule=rule,
        vocab_size=settings["vocab_size"],
        reference=load_model(context.private["reference"]),
        exclude=plain_prompts((row.prompt for row in rows), load_tokenizer(directory)),
        top=settings["top"],
        scaled=settings["scaled"],
        on_positions=advance,
    )
    result.save(context.output / READING)


def sampled(context: StageContext) -> None:
    """A questioned model answers prompts, up to the answer that makes `n_tokens` tokens full.

    Settings: questioned, prompts, n_tokens, sampling, seed.
    """
    from detect.questioned.probes import plain_prompts
    from detect.questioned.sampled import sample_model
    from watermark.engines.answers import Sampling, chat_prompt_ids
    from watermark.engines.models import load_model, load_tokenizer

    settings = context.settings
    directory = context.inputs[settings["questioned"]] / STUDENT
    tokenizer = load_tokenizer(directory)
    done = 0

    def advance(tokens: int) -> None:
        nonlocal done
        done += tokens
        context.report(min(done, settings["n_tokens"]), settings["n_tokens"], f"{done} tokens")

    answers = sample_model(
        load_model(directory),
        tokenizer,
        [chat_prompt_ids(tokenizer, prompt) for prompt in settings["prompts"]],
        settings["n_tokens"],
        sampling=Sampling(**settings["sampling"]),
        seed=settings["seed"],
        on_tokens=advance,
    )
    prompts = [*answers.prompts, *plain_prompts(settings["prompts"], tokenizer)]
    write_json(context.output / ANSWERS, {"answers": answers.answers, "prompts": prompts, "asked": answers.asked})


def fluency(context: StageContext) -> None:
    """Perplexity of each needed corpus under the unmarked teacher. Settings: max_tokens, model. Private: model."""
    from distill_sim.fluency import fluency as measure
    from watermark.engines.models import load_model

    model = load_model(context.private["model"])
    limit = context.settings["max_tokens"]
    total = limit * len(context.inputs)
    done = 0

    def advance(tokens: int) -> None:
        nonlocal done
        done += tokens
        context.report(min(done, total), total, f"{done} tokens")

    result: dict[str, Any] = {}
    for name, source in context.inputs.items():
        rows = read_corpus(source / CORPUS)
        result[name] = measure(model, rows, max_tokens=limit, on_tokens=advance).to_dict()
    write_json(context.output / FLUENCY, result)


def built_in_prompts() -> list[str]:
    """Prompts over many everyday subjects, written for this project; they depend on no key."""
    text = (Path(__file__).parent / "data" / "prompts.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip()]
