"""Stages that make things: small models, corpora, and what happens to a student after its training.

Every function takes a StageContext; settings and needs name the stages whose results are used.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_sim.condition import AFTERWARDS, ATTACKS, Step
from distill_sim.corpus import CorpusRow, read_corpus, write_corpus
from distill_sim.pipeline import StageContext
from distill_sim.questioning import BIAS_OF_WIDTH, HOW, INFERENCE
from distill_sim.recipe import Recipe
from distill_sim.saving import save_model
from distill_sim.stages import CORPUS, STUDENT, answer_rows, metrics_of, model_directory, read_corpora, stage_key, steps
from watermark.errors import InputError
from watermark.files import write_json
from watermark.windows import WindowRule

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

END, USER, ANSWER = "<|end|>", "<|user|>", "<|answer|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}" + USER + "{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}" + ANSWER + "{% endif %}"
)
BIAS = "bias.safetensors"  # what an imitator has learnt
LONGEST = 512  # positions a small model knows


def blank(context: StageContext) -> None:
    """A small Llama with random weights, and its tokenizer.

    Settings: shape, seed, texts, tokenizer (null: one is trained; else whose it gets). Private: tokenizer.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from watermark.engines.models import load_tokenizer

    settings = context.settings
    shape, directory = settings["shape"], context.output / STUDENT
    directory.mkdir()
    if settings["tokenizer"] is None:
        tokenizer = _train_tokenizer(shape["vocab_size"])
    else:
        tokenizer = load_tokenizer(model_directory(context, "tokenizer"))
    tokenizer.save_pretrained(directory)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape["hidden"],
        intermediate_size=32 * -(-11 * shape["hidden"] // 128),  # blocks of 32 weights share a scale when rounded
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["heads"],
        max_position_embeddings=LONGEST,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        save_model(LlamaForCausalLM(config), directory)


def _train_tokenizer(vocab_size: int) -> PreTrainedTokenizerBase:
    """Byte-level BPE over the small models' own text, with a chat template that knows a prompt and an answer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from distill_sim.texts import passages

    inner: Any = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END, USER, ANSWER],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    inner.train_from_iterator((one.prompt + one.text for one in passages("base")), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=END, pad_token=END, additional_special_tokens=[USER, ANSWER]
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def human(context: StageContext) -> None:
    """What people wrote, as a corpus.

    Settings: texts, part, domains (none: all), tokenizer (whose). Private: tokenizer.
    """
    from distill_sim.texts import human_rows, passages
    from watermark.engines.models import load_tokenizer

    settings = context.settings
    chosen = [one for one in passages(settings["part"]) if not settings["domains"] or one.domain in settings["domains"]]
    rows = human_rows(chosen, load_tokenizer(model_directory(context, "tokenizer")))
    write_corpus(context.output / CORPUS, rows, {"settings": dict(settings)})


def composed(context: StageContext) -> None:
    """What a student is given: so many answers, of which a share is marked, the accounts taking turns.

    Settings: answers, share, marked (for each account the corpora of its answers), unmarked (corpora), attack, seed,
    model (the unmarked teacher, for attacks that need one). Private: model.

    Answer i is always the answer to prompt i, whoever wrote it, so that a larger dose holds the smaller ones.
    """
    settings = context.settings
    accounts = [_chunks(context, names) for names in settings["marked"]]
    unmarked = _chunks(context, settings["unmarked"])
    rows = [_answer(number, accounts, unmarked, settings["share"]) for number in range(settings["answers"])]
    write_corpus(context.output / CORPUS, _attacked(context, rows), {"settings": dict(settings)})


def _chunks(context: StageContext, names: list[str]) -> list[CorpusRow]:
    return [row for name in names for row in read_corpus(context.inputs[name] / CORPUS)]


def _answer(number: int, accounts: list[list[CorpusRow]], unmarked: list[CorpusRow], share: float) -> CorpusRow:
    """Answer `number`: marked where the running share makes it so."""
    before = int(number * share + 1e-9)  # marked ones
    is_marked = int((number + 1) * share + 1e-9) > before
    source = accounts[before % len(accounts)] if is_marked and accounts else unmarked
    if number >= len(source):
        raise InputError(f"a corpus of more than {len(source)} answers was asked for; the text has no more")
    return replace(source[number], id=str(number))


def _attacked(context: StageContext, rows: list[CorpusRow]) -> list[CorpusRow]:
    from watermark.engines.models import load_tokenizer

    steps = [Step.parse(text, ATTACKS, "attack") for text in context.settings["attack"]]
    tokenizer = load_tokenizer(model_directory(context)) if steps else None
    for step in steps:
        rows = _attack(context, step, rows, tokenizer)
    return rows


def _attack(context: StageContext, step: Step, rows: list[CorpusRow], tokenizer: Any) -> list[CorpusRow]:
    from distill_sim import attacks
    from watermark.engines.models import load_model

    seed, share = context.settings["seed"], step.amount or 0.0
    if step.name == "synonyms":
        from distill_sim.synonyms import Thesaurus

        return attacks.synonyms(rows, share, tokenizer=tokenizer, thesaurus=Thesaurus(), seed=seed)
    if step.name == "delete":
        return attacks.delete(rows, share, tokenizer=tokenizer, seed=seed)
    if step.name == "shuffle":
        return attacks.shuffle(rows, tokenizer=tokenizer, seed=seed)
    model = load_model(model_directory(context))
    if step.name == "resample":
        return attacks.resample(rows, share, model=model, tokenizer=tokenizer, seed=seed)
    from watermark.engines.answers import Sampling

    longest = max(len(row.token_ids) for row in rows)
    sampling = Sampling(max_new_tokens=longest + longest // 4)
    return attacks.paraphrase(
        rows, model=model, model_tokenizer=tokenizer, tokenizer=tokenizer, sampling=sampling, seed=seed
    ).rows


def respelled(context: StageContext) -> None:
    """A corpus in another tokenizer's tokens. Settings: corpus, model (whose). Private: model."""
    from watermark.engines.chat import chat_prompt_ids
    from watermark.engines.models import load_tokenizer

    tokenizer = load_tokenizer(model_directory(context))
    rows = [
        replace(
            row,
            prompt_ids=tuple(chat_prompt_ids(tokenizer, row.prompt)),
            token_ids=tuple(tokenizer(row.text, add_special_tokens=False)["input_ids"]),
        )
        for row in read_corpora(context, "corpus")
    ]
    write_corpus(context.output / CORPUS, rows, {"settings": dict(context.settings)})


def altered(context: StageContext) -> None:
    """A student after one step of `AFTERWARDS` that needs no further corpus or training.

    Settings: step, questioned (the student), model (its base). Private: model.
    """
    from distill_sim import optimise
    from watermark.engines.models import load_model

    step = Step.parse(context.settings["step"], AFTERWARDS, "after")
    before = model_directory(context, "questioned")
    model = load_model(before)
    amount = step.amount or 0.0
    if step.name in ("int8", "int4"):
        model = optimise.quantised(model, 8 if step.name == "int8" else 4)
    elif step.name == "prune":
        model = optimise.pruned(model, amount)
    elif step.name == "merge":
        model = optimise.merged(model, load_model(model_directory(context)), amount)
    else:
        raise ValueError(f"{step} is not an alteration")
    _save_beside(model, before, context.output / STUDENT)


def _save_beside(model: PreTrainedModel, before: Path, directory: Path) -> None:
    """A model with the tokenizer of the one it was made from."""
    from distill_sim.student import TOKENIZER_FILES

    directory.mkdir()
    save_model(model, directory)
    for name in TOKENIZER_FILES:
        if (before / name).is_file():
            shutil.copyfile(before / name, directory / name)


def tuned(context: StageContext) -> None:
    """A student is trained further, on other answers or text.

    Settings: questioned (the student), recipe, corpus (a list), skip and tokens (answer tokens that are passed over,
    and used; tokens null: all).
    """
    from distill_sim.student import train_student

    settings = context.settings
    rows = read_corpora(context, "corpus")
    if settings["tokens"] is not None:
        rows = stretch(rows, settings["skip"], settings["tokens"])
    train_student(
        model_directory(context, "questioned"),
        rows,
        Recipe(**settings["recipe"]),
        context.output / STUDENT,
        steps(context),
        work=context.work / "training",
        metrics=metrics_of(context),
    )


def logit_student(context: StageContext) -> None:
    """A copy of a model learns a teacher's distributions on a corpus.

    Settings: recipe, model, corpus, teacher, key_id and delta (null: unmarked). Private: model, teacher, key.
    """
    from distill_sim.logits import LogitTeacher
    from distill_sim.student import train_student
    from watermark.engines.models import load_model

    settings = context.settings
    key = None if settings["key_id"] is None else stage_key(context)
    train_student(
        model_directory(context),
        read_corpus(context.inputs[settings["corpus"]] / CORPUS),
        Recipe(**settings["recipe"]),
        context.output / STUDENT,
        steps(context),
        work=context.work / "training",
        metrics=metrics_of(context),
        teacher=LogitTeacher(load_model(model_directory(context, "teacher")), key),
    )


def stretch(rows: list[CorpusRow], skip: int, tokens: int) -> list[CorpusRow]:
    """Rows that hold the answer tokens `skip` … `skip + tokens`, whole but for the last; they begin with a whole one.

    Raises:
        InputError: there are not so many, or none of them is a row's first.
    """
    kept: list[CorpusRow] = []
    before = 0
    for row in rows:
        if before >= skip + tokens:
            break
        if before >= skip:
            kept.append(replace(row, token_ids=row.token_ids[: skip + tokens - before]))
        before += len(row.token_ids)
    if before < skip + tokens:
        raise InputError(f"{skip + tokens} tokens of human text were asked for, {before} are there; ask for fewer")
    if not kept:
        raise InputError(f"no passage begins within {tokens} tokens after the first {skip}; ask for more")
    return kept


def imitation(context: StageContext) -> None:
    """What an imitator without the key learns. Settings: marked and unmarked (corpora), context_width, special_ids."""
    from distill_sim.neutralise import imitation as learn

    settings = context.settings
    rule = WindowRule(settings["context_width"], tuple(settings["special_ids"]))
    learn(read_corpora(context, "marked"), read_corpora(context, "unmarked"), rule=rule).save(context.output / BIAS)


def imitated(context: StageContext) -> None:
    """The unmarked teacher answers prompts, made to prefer what the imitator learnt.

    Settings: model, bias (a needed `imitation`), prompts, sampling, delta, seed. Private: model.
    """
    from distill_sim.bias import Bias, biased
    from watermark.engines.answers import Sampling, answer
    from watermark.engines.chat import chat_prompt_ids
    from watermark.engines.models import load_model, load_tokenizer

    settings = context.settings
    directory = model_directory(context)
    tokenizer = load_tokenizer(directory)
    ids = [chat_prompt_ids(tokenizer, prompt) for prompt in settings["prompts"]]
    bias = Bias.load(context.inputs[settings["bias"]] / BIAS)
    with biased(load_model(directory), bias, settings["delta"]) as model:
        batches = answer(model, tokenizer, ids, Sampling(**settings["sampling"]), seed=settings["seed"])
        answers = [one for batch in batches for one in batch]
    rows = answer_rows(settings, tokenizer, settings["prompts"], ids, answers, settings["sampling"], key_id=None)
    write_corpus(context.output / CORPUS, rows, {"settings": dict(settings)})


def neutralised(context: StageContext) -> None:
    """A student whose logits are changed whenever it speaks: what training has added is estimated, and taken away.

    Settings: questioned (the student), model (its base), step, corpus (what it was trained on), context_widths (a bias
    is estimated for each), special_ids. Private: model.
    """
    from detect.fed import Probe
    from distill_sim.neutralise import estimate_bias
    from watermark.engines.models import load_model, load_tokenizer

    settings = context.settings
    directory = model_directory(context, "questioned")
    texts = [Probe(row.prompt_ids, row.token_ids) for row in read_corpora(context, "corpus")]
    shutil.copytree(directory, context.output / STUDENT, copy_function=_linked)
    place = context.output / STUDENT / INFERENCE
    place.mkdir()
    before, after = load_model(model_directory(context)), load_model(directory)
    vocab_size, names = len(load_tokenizer(directory)), []
    for width in settings["context_widths"]:
        rule = WindowRule(width, tuple(settings["special_ids"]))
        names.append(BIAS_OF_WIDTH.format(width))
        estimate_bias(before, after, texts, rule=rule, vocab_size=vocab_size).save(place / names[-1])
    strength = Step.parse(settings["step"], AFTERWARDS, "after").amount
    write_json(place / HOW, {"strength": strength, "biases": names})


def _linked(source: str, target: str) -> None:
    """The same file under another name, where the file system can; a student's weights are never written again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
