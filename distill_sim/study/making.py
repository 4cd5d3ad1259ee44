"""Stages that make things: small models, corpora, and what happens to a student after its training.

Every function takes a StageContext; settings and needs name the stages whose results are used.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_sim.condition import AFTERWARDS, ATTACKS, Step
from distill_sim.corpus import CorpusRow, read_corpus, write_corpus
from distill_sim.pipeline import StageContext
from distill_sim.recipe import Recipe
from distill_sim.saving import save_model
from distill_sim.stages import CORPUS, STUDENT, model_directory, read_corpora
from watermark.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

END, USER, ANSWER = "<|end|>", "<|user|>", "<|answer|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}" + USER + "{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}" + ANSWER + "{% endif %}"
)
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
        intermediate_size=11 * shape["hidden"] // 4,
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
    is_marked = int((number + 1) * share + 1e-9) > int(number * share + 1e-9)
    source = accounts[number % len(accounts)] if is_marked and accounts else unmarked
    if number >= len(source):
        raise InputError(f"a corpus of more than {len(source)} answers was asked for; the text has no more")
    return replace(source[number], id=str(number))


def _attacked(context: StageContext, rows: list[CorpusRow]) -> list[CorpusRow]:
    steps = [Step.parse(text, ATTACKS, "attack") for text in context.settings["attack"]]
    if not steps:
        return rows
    from distill_sim.attacks import Attacker

    attacker = Attacker.load(model_directory(context), context.settings["seed"])
    for step in steps:
        rows = attacker.attack(step, rows)
    return rows


def respelled(context: StageContext) -> None:
    """A corpus in another tokenizer's tokens. Settings: corpus, model (whose). Private: model."""
    from watermark.engines.answers import chat_prompt_ids
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
        on_progress=lambda done, total, _: context.report(done, total, f"step {done} of {total}"),
        work=context.work / "training",
    )


def stretch(rows: list[CorpusRow], skip: int, tokens: int) -> list[CorpusRow]:
    """Rows that hold the answer tokens `skip` … `skip + tokens`, whole but for the last; they begin with a whole one.

    Raises:
        InputError: there are not so many.
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
    return kept
