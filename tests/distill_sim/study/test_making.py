"""Stages that make things, each alone: what goes into a corpus, and what becomes of a student."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from detect.fed import Probe
from distill_sim import attacks, optimise, texts
from distill_sim.bias import Bias, biased
from distill_sim.corpus import CorpusRow, read_corpus, write_corpus
from distill_sim.neutralise import estimate_bias
from distill_sim.neutralise import imitation as learn
from distill_sim.pipeline import StageContext
from distill_sim.questioning import BIAS_OF_WIDTH, HOW, INFERENCE, witness
from distill_sim.recipe import Recipe
from distill_sim.stages import CORPUS, STUDENT
from distill_sim.student import train_student
from distill_sim.study import making
from distill_sim.study.making import BIAS, stretch
from tests import tiny
from tests.detect.questioned import tokenizers
from tests.distill_sim.test_corpus import ROW
from tests.watermark.engines.helpers import model, tokenizer
from tests.watermark.keys.helpers import assert_one_line
from watermark.engines.answers import Sampling, answer
from watermark.engines.chat import chat_prompt_ids
from watermark.engines.models import load_model, load_tokenizer
from watermark.errors import InputError
from watermark.windows import WindowRule

pytestmark = pytest.mark.usefixtures("one_torch_thread")

RECIPE = Recipe(layers=1, batch_size=4, learning_rate=1e-2)
RULE = WindowRule(1, (0, 1, 2))


class Bench:
    """Runs stages alone, and holds what they gave under a name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inputs: dict[str, Path] = {}

    def corpus(self, name: str, rows: Sequence[CorpusRow]) -> str:
        (self.root / name).mkdir()
        write_corpus(self.root / name / CORPUS, rows, {})
        self.inputs[name] = self.root / name
        return name

    def run(self, name: str, function: Any, settings: Mapping[str, Any], **private: Path) -> Path:
        output, work = self.root / name, self.root / f"work of {name}"
        output.mkdir()
        work.mkdir()
        paths = {role: str(path) for role, path in private.items()}
        function(StageContext(settings, paths, self.inputs, output, work, lambda done, total, what: None))
        self.inputs[name] = output
        return output


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


def assert_same_weights(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def row(number: int, who: str, length: int = 4) -> CorpusRow:
    """An answer whose every token says who wrote it."""
    key_id = None if who == "nobody" else who * 32
    first = {"nobody": 100, "aa": 200, "bb": 300}[who]
    return replace(
        ROW, id=f"{who}-{number}", prompt=f"prompt {number}", prompt_ids=(5, number), key_id=key_id,
        marked=key_id is not None, token_ids=(first + number,) * length, text=f"{who} {number}",
    )  # fmt: skip


# --- what a student is given ---


def composed(bench: Bench, name: str, answers: int, share: float, accounts: int = 1, **changes: Any) -> list[CorpusRow]:
    """Two chunks of 12 of each of `accounts` and of nobody."""
    whose = ["aa", "bb"][:accounts]
    for who in [*whose, "nobody"]:
        for chunk in (0, 1):
            if f"{who}-{chunk}" not in bench.inputs:
                bench.corpus(f"{who}-{chunk}", [row(12 * chunk + i, who) for i in range(12)])
    settings = {
        "answers": answers,
        "share": share,
        "marked": [[f"{who}-0", f"{who}-1"] for who in whose],
        "unmarked": ["nobody-0", "nobody-1"],
        "attack": [],
        "seed": 1,
        "model": "digest",
        **changes,
    }
    return read_corpus(bench.run(name, making.composed, settings, model=tiny.shared()) / CORPUS)


@pytest.mark.parametrize(
    ("share", "pattern"),
    [
        (0.0, "........................"),
        (0.1, ".........x.........x...."),
        (0.25, "...x...x...x...x...x...x"),
        (0.5, ".x.x.x.x.x.x.x.x.x.x.x.x"),
        (0.75, ".xxx.xxx.xxx.xxx.xxx.xxx"),
        (1.0, "xxxxxxxxxxxxxxxxxxxxxxxx"),
    ],
)
def test_the_share_is_exact_at_every_length(share: float, pattern: str, bench: Bench) -> None:
    rows = composed(bench, "c", 24, share)
    assert "".join("x" if row.marked else "." for row in rows) == pattern
    for number, found in enumerate(rows):
        assert found == replace(row(number, "aa" if pattern[number] == "x" else "nobody"), id=str(number))


@pytest.mark.parametrize("share", [0.1, 0.3, 1 / 3, 0.7, 0.9])
def test_so_many_are_marked(share: float, bench: Bench) -> None:
    rows = composed(bench, "c", 24, share)
    for many in range(1, 25):
        assert sum(row.marked for row in rows[:many]) == int(many * share + 1e-9)


def test_a_larger_dose_holds_the_smaller(bench: Bench) -> None:
    for share in (0.3, 1.0):
        larger, smaller = (composed(bench, f"{share} {answers}", answers, share) for answers in (24, 7))
        assert larger[:7] == smaller


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25, 1 / 3])
def test_accounts_take_turns_whatever_the_share(share: float, bench: Bench) -> None:
    rows = composed(bench, "c", 24, share, accounts=2)
    whose = [found.key_id[:2] for found in rows if found.key_id]
    assert whose == ["aa", "bb"] * (len(whose) // 2)
    assert len(whose) == int(24 * share + 1e-9)
    assert [found.prompt for found in rows] == [f"prompt {number}" for number in range(24)]


def test_more_answers_than_there_are(bench: Bench) -> None:
    with pytest.raises(InputError, match="more than 24 answers was asked for") as caught:
        composed(bench, "c", 25, 1.0)
    assert_one_line(caught.value)


def test_attacks_come_one_after_the_other(bench: Bench) -> None:
    plain = [
        replace(ROW, id=str(i), text=text, token_ids=tuple(tokenizer()(text, add_special_tokens=False)["input_ids"]))
        for i, text in enumerate(tiny.SENTENCES)
    ]
    bench.corpus("plain", plain)
    settings = {
        "answers": 5, "share": 1.0, "marked": [["plain"]], "unmarked": [], "attack": ["delete:0.3", "resample:0.4"],
        "seed": 3, "model": "digest",
    }  # fmt: skip
    found = read_corpus(bench.run("c", making.composed, settings, model=tiny.shared()) / CORPUS)
    expected = attacks.delete(plain, 0.3, tokenizer=tokenizer(), seed=3)
    expected = attacks.resample(expected, 0.4, model=model(), tokenizer=tokenizer(), seed=3)
    assert found == expected
    assert found != plain
    assert [one.key_id for one in found] == [one.key_id for one in plain]  # the mark's answers stay the mark's


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12), skip=st.integers(0, 30), tokens=st.integers(1, 40))
def test_a_stretch_of_text(lengths: list[int], skip: int, tokens: int) -> None:
    starts = np.cumsum([0, *lengths])
    rows = [
        replace(ROW, id=str(i), token_ids=tuple(range(start, start + length)))
        for i, (start, length) in enumerate(zip(starts.tolist(), lengths, strict=False))
    ]
    if sum(lengths) < skip + tokens:
        with pytest.raises(InputError, match=f"{skip + tokens} tokens of human text were asked for") as caught:
            stretch(rows, skip, tokens)
        assert_one_line(caught.value)
        return
    first = next(start for start in starts.tolist() if start >= skip)  # of the first whole row
    if first >= skip + tokens:
        with pytest.raises(InputError, match="no passage begins within"):
            stretch(rows, skip, tokens)
        return
    found = stretch(rows, skip, tokens)
    ids = [token for one in found for token in one.token_ids]
    assert ids == list(range(first, skip + tokens))
    assert all(one.token_ids == rows[int(one.id)].token_ids for one in found[:-1])


def test_a_stretch_from_the_beginning_is_exact() -> None:
    rows = [replace(ROW, id=str(i), token_ids=(i,) * 10) for i in range(5)]
    assert sum(len(one.token_ids) for one in stretch(rows, 0, 37)) == 37
    assert stretch(rows, 0, 50) == rows


def test_human_text_as_a_corpus(bench: Bench) -> None:
    settings = {"texts": "digest", "part": "clean", "domains": ["novel"], "tokenizer": "digest"}
    rows = read_corpus(bench.run("h", making.human, settings, tokenizer=tiny.shared()) / CORPUS)
    assert [one.text for one in rows] == [one.text for one in texts.passages("clean") if one.domain == "novel"]
    assert all(one.model == "human" and not one.marked for one in rows)


def test_a_corpus_in_another_tokenizers_tokens(bench: Bench, tmp_path: Path) -> None:
    own = tokenizers.other()
    own.chat_template = tiny.CHAT_TEMPLATE
    own.save_pretrained(tmp_path / "own")
    own = load_tokenizer(tmp_path / "own")
    text = "The rain fell on the harbour.<|im_end|>"
    given_rows = [replace(ROW, id="a", prompt="Why?", text=text), replace(ROW, id="b", prompt="When?", text="Now.")]
    bench.corpus("plain", given_rows)
    output = bench.run("r", making.respelled, {"corpus": ["plain"], "model": "digest"}, model=tmp_path / "own")
    for before, after in zip(given_rows, read_corpus(output / CORPUS), strict=True):
        assert own.decode(after.token_ids) == before.text
        assert list(after.prompt_ids) == chat_prompt_ids(own, before.prompt)
        assert replace(after, token_ids=before.token_ids, prompt_ids=before.prompt_ids) == before
    assert 2 in read_corpus(output / CORPUS)[0].token_ids  # the end is a token, no seven characters


# --- small models ---


SHAPE = {"hidden": 32, "layers": 2, "heads": 4, "vocab_size": 320, "epochs": 1}


def test_a_blank_model_is_the_same_every_time_and_another_under_another_seed(bench: Bench) -> None:
    settings = {"shape": SHAPE, "seed": 0, "texts": "digest", "tokenizer": None}
    state = torch.random.get_rng_state()
    one, two, other = (
        bench.run(name, making.blank, {**settings, "seed": seed}) / STUDENT
        for name, seed in (("one", 0), ("two", 0), ("other", 1))
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_same_weights(weights(one), weights(two))
    assert (one / "tokenizer.json").read_bytes() == (two / "tokenizer.json").read_bytes()
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(weights(one)[name], weights(other)[name])
    made, words = load_model(one), load_tokenizer(one)
    assert made.config.vocab_size == len(words) == 320
    assert made.config.intermediate_size % 32 == 0
    ids = chat_prompt_ids(words, "Call me Ishmael.")
    assert words.decode(ids) == "<|user|>Call me Ishmael.<|answer|>"
    assert words.decode(words("naïve – ☃")["input_ids"]) == "naïve – ☃"  # any text, byte by byte
    assert words.eos_token_id == made.config.eos_token_id


def test_a_blank_model_may_have_anothers_tokenizer(bench: Bench) -> None:
    settings = {"shape": {**SHAPE, "vocab_size": None}, "seed": 0, "texts": "digest", "tokenizer": "digest"}
    made = bench.run("made", making.blank, settings, tokenizer=tiny.shared()) / STUDENT
    assert load_model(made).config.vocab_size == 384
    assert load_tokenizer(made).get_vocab() == tokenizer().get_vocab()


# --- what happens to a student ---


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("student"), seed=6)


@pytest.mark.parametrize("step", ["int8", "int4", "prune:0.3", "merge:0.25"])
def test_a_step_without_training(step: str, student: Path, bench: Bench) -> None:
    settings = {"questioned": "student", "step": step, "model": "digest"}
    made = bench.run("made", making.altered, settings, questioned=student, model=tiny.shared()) / STUDENT
    before = load_model(student)
    expected = {
        "int8": lambda: optimise.quantised(before, 8),
        "int4": lambda: optimise.quantised(before, 4),
        "prune:0.3": lambda: optimise.pruned(before, 0.3),
        "merge:0.25": lambda: optimise.merged(before, model(), 0.25),
    }[step]()
    ids = torch.arange(3, 40).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(load_model(made)(ids).logits, expected(ids).logits)
        assert not torch.equal(load_model(made)(ids).logits, load_model(student)(ids).logits)
    assert load_tokenizer(made).get_vocab() == tokenizer().get_vocab()


def test_a_step_that_is_no_alteration(student: Path, bench: Bench) -> None:
    settings = {"questioned": "student", "step": "heal:9", "model": "digest"}
    with pytest.raises(ValueError, match="heal:9 is not an alteration"):
        bench.run("made", making.altered, settings, questioned=student, model=tiny.shared())


def learnt(count: int = 6, length: int = 9) -> list[CorpusRow]:
    return [
        replace(ROW, id=str(i), prompt_ids=(5, 6 + i), token_ids=tuple(range(50, 50 + length))) for i in range(count)
    ]


def test_a_student_is_trained_further(student: Path, bench: Bench) -> None:
    bench.corpus("a", learnt())
    bench.corpus("b", [replace(one, id=f"b{one.id}") for one in learnt(3, 5)])
    settings: dict[str, Any] = {
        "questioned": "student", "recipe": asdict(RECIPE), "corpus": ["a", "b"], "skip": 0, "tokens": None,
    }  # fmt: skip
    made = bench.run("all", making.tuned, settings, questioned=student) / STUDENT
    rows = [*read_corpus(bench.inputs["a"] / CORPUS), *read_corpus(bench.inputs["b"] / CORPUS)]
    train_student(student, rows, RECIPE, bench.root / "expected")
    assert_same_weights(weights(made), weights(bench.root / "expected"))
    part = bench.run("part", making.tuned, {**settings, "skip": 9, "tokens": 20}, questioned=student) / STUDENT
    train_student(student, stretch(rows, 9, 20), RECIPE, bench.root / "expected part")
    assert_same_weights(weights(part), weights(bench.root / "expected part"))


def test_healing_keeps_the_zeros(student: Path, bench: Bench) -> None:
    settings = {"questioned": "student", "step": "prune:0.5", "model": "digest"}
    pruned = bench.run("pruned", making.altered, settings, questioned=student, model=tiny.shared()) / STUDENT
    bench.corpus("a", learnt())
    recipe = asdict(replace(RECIPE, method="full", keep_zeros=True))
    settings = {"questioned": "pruned", "recipe": recipe, "corpus": ["a"], "skip": 0, "tokens": None}
    healed = bench.run("healed", making.tuned, settings) / STUDENT
    name = "model.layers.0.mlp.up_proj.weight"
    zeros, after = weights(pruned)[name] == 0, weights(healed)[name]
    assert 0.4 < float(zeros.float().mean()) < 0.6
    assert torch.equal(after[zeros], torch.zeros(int(zeros.sum())))
    assert not torch.equal(after, weights(pruned)[name])


@pytest.mark.parametrize(("step", "widths"), [("neutralise:2.5", [1]), ("neutralise-blind:2.5", [0, 1, 2])])
def test_a_student_that_is_neutralised_whenever_it_speaks(
    student: Path, bench: Bench, step: str, widths: list[int]
) -> None:
    rows = learnt(8, 20)
    bench.corpus("a", rows)
    settings = {
        "questioned": "student", "model": "digest", "step": step, "corpus": ["a"], "context_widths": widths,
        "special_ids": [0, 1, 2],
    }  # fmt: skip
    made = bench.run("made", making.neutralised, settings, questioned=student, model=tiny.shared()) / STUDENT
    texts = [Probe(one.prompt_ids, one.token_ids) for one in rows]
    expected = []
    for width in widths:
        rule, name = WindowRule(width, (0, 1, 2)), BIAS_OF_WIDTH.format(width)
        expected.append(estimate_bias(model(), load_model(student), texts, rule=rule, vocab_size=384))
        expected[-1].save(bench.root / name)
        assert (made / INFERENCE / name).read_bytes() == (bench.root / name).read_bytes()
    names = [BIAS_OF_WIDTH.format(width) for width in widths]
    assert json.loads((made / INFERENCE / HOW).read_text()) == {"strength": 2.5, "biases": names}
    assert_same_weights(weights(made), weights(student))
    assert (made / "model.safetensors").samefile(student / "model.safetensors")  # no weight is copied
    assert not (student / INFERENCE).exists()
    ids = torch.tensor([[5, 6, 50, 51]])
    by_hand = load_model(student)
    with torch.no_grad(), witness(made) as changed, ExitStack() as blocks:
        for one in expected:
            blocks.enter_context(biased(by_hand, one, -2.5))
        assert torch.equal(changed.model(ids).logits, by_hand(ids).logits)
        assert not torch.equal(by_hand(ids).logits, load_model(student)(ids).logits)


# --- an imitator ---


def test_an_imitator_learns_and_writes(bench: Bench) -> None:
    prompts = list(tiny.SENTENCES)
    sampling = {"max_new_tokens": 10, "batch_size": 8}
    own = [chat_prompt_ids(tokenizer(), prompt) for prompt in prompts]
    seen = [replace(row(i, "aa"), token_ids=(60, 70 + i % 3, 60, 70, 61)) for i in range(8)]
    other = [replace(row(i, "nobody"), token_ids=(60, 80 + i, 61, 60, 61)) for i in range(8)]
    bench.corpus("seen", seen)
    bench.corpus("other", other)
    rule = {"context_width": 1, "special_ids": [0, 1, 2]}
    output = bench.run("imitation", making.imitation, {"marked": ["seen"], "unmarked": ["other"], **rule})
    bias = learn(seen, other, rule=RULE)
    bias.save(bench.root / BIAS)
    assert (output / BIAS).read_bytes() == (bench.root / BIAS).read_bytes()
    assert len(Bias.load(output / BIAS)) > 0

    settings = {
        "model": "digest", "bias": "imitation", "prompts": prompts, "sampling": sampling, "delta": 3.0, "seed": 4,
    }  # fmt: skip
    written = read_corpus(bench.run("imitated", making.imitated, settings, model=tiny.shared()) / CORPUS)
    with biased(load_model(tiny.shared()), bias, 3.0) as changed:
        batches = answer(changed, tokenizer(), own, Sampling(**sampling), seed=4)
        expected = [ids for batch in batches for ids in batch]
    assert [list(one.token_ids) for one in written] == expected
    assert [(one.prompt, list(one.prompt_ids)) for one in written] == list(zip(prompts, own, strict=True))
    assert all(one.key_id is None and not one.marked and one.model == "digest" for one in written)
