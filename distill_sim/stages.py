"""The steps of a distillation, each a pipeline stage: corpus → student → reading, sampled; and fluency.

Every function takes a StageContext; settings and needs name the stages whose results are used. Observations (readings,
answers) are made without a key; only `corpus` opens one, and only to mark. Judging them under a key is
`distill_sim.judge`'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_sim.corpus import CorpusRow, read_corpus, write_corpus
from distill_sim.kept import keep
from distill_sim.pipeline import StageContext
from watermark.errors import InputError, KeyFileError
from watermark.files import strict_json, write_json
from watermark.keys import Key
from watermark.progress import Progress
from watermark.windows import WindowRule

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from distill_sim.metrics import Metrics
    from watermark.engines.answers import Sampling

TRANSFORMERS, VLLM = "transformers", "vllm"  # engines that draw a teacher's answers
CORPUS, STUDENT, READING, ANSWERS, EXCESS, FLUENCY = (
    "corpus.parquet",
    "model",
    "reading.npz",
    "answers.json",
    "excess.npz",
    "fluency.json",
)


def corpus(context: StageContext) -> None:
    """A teacher answers prompts, marked or not. Kept batch by batch while it lasts.

    Settings: prompts, samples, sampling, seed, key_id and delta (null: unmarked), model, engine (what draws the
    answers; missing: transformers). Private: model, key.
    """
    from watermark.engines.answers import Sampling, resumed
    from watermark.engines.chat import chat_prompt_ids
    from watermark.engines.models import load_tokenizer
    from watermark.journal import Journal

    settings = context.settings
    key = None if settings["key_id"] is None else stage_key(context)
    tokenizer = load_tokenizer(model_directory(context))
    sampling = Sampling(**settings["sampling"])
    prompts = [prompt for prompt in settings["prompts"] for _ in range(settings["samples"])]
    ids = [chat_prompt_ids(tokenizer, prompt) for prompt in prompts]
    done = 0

    def advance(answers: int) -> None:
        nonlocal done
        done += answers
        context.report(done, len(ids), f"{done} of {len(ids)} answers")

    draw, version = _drawing(context, tokenizer, ids, sampling, key)
    with Journal(context.work / "answers.jsonl", {"settings": dict(settings)}) as journal:
        answers = resumed(draw, journal, advance)
    drawn = {**sampling.to_dict(), **version, "delta": settings["delta"], "gamma": None if key is None else key.gamma}
    rows = answer_rows(settings, tokenizer, prompts, ids, answers, drawn, key_id=settings["key_id"])
    write_corpus(context.output / CORPUS, rows, {"settings": dict(settings)})


def _drawing(
    context: StageContext,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    key: Key | None,
) -> tuple[Callable[[int], Iterator[list[list[int]]]], dict[str, str]]:
    """What draws the answers from a prompt on, by the engine that the settings name; and its version where it tells."""
    directory, seed = model_directory(context), context.settings["seed"]
    engine = context.settings.get("engine", TRANSFORMERS)
    if engine == VLLM:
        from watermark.engines.vllm_answers import VllmEngine

        model = keep(f"{__name__}:corpus", str(directory), lambda: VllmEngine(directory))
        key_file = None if key is None else Path(context.private["key"])
        return (
            lambda first: model.answer(tokenizer, prompts, sampling, seed=seed, key_file=key_file, first=first),
            {VLLM: model.version},
        )
    if engine != TRANSFORMERS:
        raise ValueError(f"no engine is called {engine!r}")
    from watermark.engines.answers import answer
    from watermark.engines.models import load_model

    loaded = load_model(directory)
    return lambda first: answer(loaded, tokenizer, prompts, sampling, seed=seed, key=key, first=first), {}


def answer_rows(
    settings: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    prompt_ids: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    drawn: Mapping[str, Any],
    *,
    key_id: str | None,
) -> list[CorpusRow]:
    """What a model wrote, numbered in the order of the prompts.

    Args:
        settings: names `model` and `seed`.
        drawn: how.
        key_id: of the mark; None: there is none.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return [
        CorpusRow(
            id=str(number),
            prompt=prompt,
            prompt_ids=tuple(asked),
            text=tokenizer.decode(token_ids),
            token_ids=tuple(token_ids),
            marked=key_id is not None,
            key_id=key_id,
            seed=settings["seed"],
            model=settings["model"],
            sampling=json.dumps(drawn),
            created=now,
        )
        for number, (prompt, asked, token_ids) in enumerate(zip(prompts, prompt_ids, answers, strict=True))
    ]


def mixed(context: StageContext) -> None:
    """A corpus of which one answer in `every` is marked. Settings: marked, unmarked (needed corpora), every."""
    settings = context.settings
    marked, unmarked = (read_corpus(context.inputs[settings[name]] / CORPUS) for name in ("marked", "unmarked"))
    if [row.prompt for row in marked] != [row.prompt for row in unmarked]:
        raise InputError("only corpora over the same prompts can be mixed")
    pairs = enumerate(zip(marked, unmarked, strict=True))
    rows = [one if number % settings["every"] == 0 else other for number, (one, other) in pairs]
    write_corpus(context.output / CORPUS, rows, {"settings": dict(settings)})


def model_directory(context: StageContext, role: str = "model") -> Path:
    """Where the model in `role` lies: setting and need name the stage that made it; else `private` says where."""
    maker = context.settings[role]
    return context.inputs[maker] / STUDENT if maker in context.inputs else Path(context.private[role])


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
    """A copy of a model is trained on a corpus.

    Settings: recipe, model, corpus (a needed stage), processes (that train it together; missing: one). Private: model,
    metrics (tool and directory; missing: none).
    """
    from distill_sim.recipe import Recipe
    from distill_sim.training import train

    train(
        model_directory(context),
        read_corpus(context.inputs[context.settings["corpus"]] / CORPUS),
        Recipe(**context.settings["recipe"]),
        context.output / STUDENT,
        steps(context),
        work=context.work / "training",
        processes=context.settings.get("processes", 1),
        metrics=metrics_of(context),
    )


def steps(context: StageContext) -> Progress:
    """Progress of a training."""
    return lambda done, total, _: context.report(done, total, f"step {done} of {total}")


def metrics_of(context: StageContext) -> Metrics | None:
    """Where a training's metrics go, if anyone asked for them."""
    if "metrics" not in context.private:
        return None
    from distill_sim.metrics import Metrics

    return Metrics(**context.private["metrics"])


def reading(context: StageContext) -> None:
    """A questioned model reads probes beside the reference.

    Settings: questioned, probes (needed corpora), positions (at most so many; null: all), frequencies (needed corpora
    of unmarked answers; none: as the reference expects), reference, model (whose tokenizer is the key's),
    context_width, special_ids, top, scaled. Private: reference, model.
    """
    from distill_sim.questioning import read, witness
    from watermark.engines.models import load_tokenizer

    settings = context.settings
    frequencies = read_corpora(context, "frequencies")
    with (
        witness(model_directory(context, "questioned")) as questioned,
        witness(model_directory(context, "reference")) as reference,
    ):
        found = read(
            questioned,
            reference,
            key_tokenizer=load_tokenizer(model_directory(context)),
            rows=read_corpora(context, "probes"),
            rule=_rule(settings),
            positions=settings["positions"],
            corpus=[row.token_ids for row in frequencies] or None,
            top=settings["top"],
            scaled=settings["scaled"],
            report=context.report,
        )
    found.save(context.output / READING)


def sampled(context: StageContext) -> None:
    """A questioned model answers prompts, up to the answer that makes `n_tokens` tokens full.

    Settings: questioned, prompts, n_tokens, sampling, seed, model (whose tokenizer is the key's). Private: model.
    """
    from distill_sim.questioning import ask, witness
    from watermark.engines.answers import Sampling
    from watermark.engines.models import load_tokenizer

    settings = context.settings
    with witness(model_directory(context, "questioned")) as questioned:
        answers = ask(
            questioned,
            key_tokenizer=load_tokenizer(model_directory(context)),
            prompts=settings["prompts"],
            n_tokens=settings["n_tokens"],
            sampling=Sampling(**settings["sampling"]),
            seed=settings["seed"],
            report=context.report,
        )
    write_json(context.output / ANSWERS, answers)


def excess(context: StageContext) -> None:
    """A reference reads what a questioned model answered.

    Settings: answers (a needed `sampled`), reference, frequencies (as `reading`), temperature, context_width,
    special_ids, vocab_size, top. Private: reference.
    """
    from distill_sim.questioning import weigh_answers
    from watermark.engines.models import load_model

    settings = context.settings
    content: Any = strict_json((context.inputs[settings["answers"]] / ANSWERS).read_bytes())
    weigh_answers(
        load_model(model_directory(context, "reference")),
        content,
        rule=_rule(settings),
        vocab_size=settings["vocab_size"],
        temperature=settings["temperature"],
        corpus=[row.token_ids for row in read_corpora(context, "frequencies")] or None,
        top=settings["top"],
        report=context.report,
    ).save(context.output / EXCESS)


def read_corpora(context: StageContext, role: str) -> list[CorpusRow]:
    """The rows of all needed corpora that a setting lists, in its order."""
    return [row for name in context.settings[role] for row in read_corpus(context.inputs[name] / CORPUS)]


def _rule(settings: Mapping[str, Any]) -> WindowRule:
    return WindowRule(settings["context_width"], tuple(settings["special_ids"]))


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
