"""How a study's models are questioned: as `read_model` and `sample_model` do it, whatever tokenizer they have."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detect.fed import Probe
from detect.questioned.aligned import Reader, TextProbe, read_aligned
from detect.questioned.alignment import Vocabulary
from detect.questioned.excess import excess_of
from detect.questioned.probes import plain_prompts
from detect.questioned.reading import read_model
from detect.questioned.sampled import sample_model
from distill_sim.bias import Bias
from distill_sim.corpus import CorpusRow
from distill_sim.questioning import (
    BIAS_OF_WIDTH,
    HOW,
    INFERENCE,
    Witness,
    ask,
    first_positions,
    read,
    weigh_answers,
    witness,
)
from tests import tiny
from tests.detect.questioned import tokenizers
from tests.distill_sim.test_corpus import ROW
from tests.watermark.engines.helpers import model, tokenizer
from watermark.engines.answers import Sampling
from watermark.engines.chat import chat_prompt_ids
from watermark.engines.models import load_model, load_tokenizer
from watermark.files import write_json
from watermark.windows import WindowRule

pytestmark = pytest.mark.usefixtures("one_torch_thread")

RULE = WindowRule(1, (0, 1, 2))
PROMPTS = ["What is the sea?", "Who is the keeper?", "Where does the moon go?", "What is the sea?"]
SAMPLING = Sampling(max_new_tokens=12, batch_size=4)


def quiet(done: int, total: int, what: str) -> None:
    assert 0 <= done <= total


# --- how much is read ---


def positions(probe: Probe, rule: WindowRule) -> int:
    """Those whose whole context lies in the answer, and the one after its end."""
    return sum(1 for end in range(len(probe.answer_ids) + 1) if end >= rule.context_width)


lengths = st.lists(st.integers(0, 12), max_size=8)


@given(lengths=lengths, width=st.integers(0, 4), wanted=st.integers(1, 60))
def test_no_more_positions_are_read_than_asked_for_and_no_fewer_than_there_are(
    lengths: list[int], width: int, wanted: int
) -> None:
    rule = WindowRule(width, ())
    probes = [Probe((7, 8), tuple(range(10 * i, 10 * i + length))) for i, length in enumerate(lengths)]
    kept = first_positions(probes, rule, wanted)
    assert sum(positions(probe, rule) for probe in kept) == min(wanted, sum(positions(p, rule) for p in probes))
    for one, whole in zip(kept[:-1], probes, strict=False):
        assert one == whole
    for one, whole in zip(kept, probes, strict=False):
        assert one.prompt_ids == whole.prompt_ids
        assert one.answer_ids == whole.answer_ids[: len(one.answer_ids)]


def test_all_positions() -> None:
    probes = [Probe((1,), (2, 3)), Probe((1,), ())]
    assert first_positions(probes, RULE, None) == probes


# --- a model with the key's tokenizer ---


def rows(answers: Sequence[Sequence[int]], prompts: Sequence[str]) -> list[CorpusRow]:
    return [
        replace(
            ROW, id=str(i), prompt=prompt, prompt_ids=tuple(chat_prompt_ids(tokenizer(), prompt)), token_ids=tuple(ids)
        )
        for i, (prompt, ids) in enumerate(zip(prompts, answers, strict=True))
    ]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("student"), seed=5)


@pytest.fixture(scope="module")
def probes() -> list[CorpusRow]:
    own = [chat_prompt_ids(tokenizer(), prompt) for prompt in PROMPTS[:3]]
    found = sample_model(model(), tokenizer(), own, 36, sampling=SAMPLING, seed=3)
    return rows(found.answers, [PROMPTS[i] for i in found.asked])


def saved(observed: Any, path: Path) -> bytes:
    observed.save(path)
    return path.read_bytes()


def test_a_reading_is_read_models(student: Path, probes: list[CorpusRow], tmp_path: Path) -> None:
    corpus = [row.token_ids for row in probes]
    with witness(student) as questioned, witness(tiny.shared()) as reference:
        found = read(
            questioned, reference, key_tokenizer=tokenizer(), rows=probes, rule=RULE, positions=20, corpus=corpus,
            top=32, scaled=True, report=quiet,
        )  # fmt: skip
    taken = first_positions([Probe(row.prompt_ids, row.token_ids) for row in probes], RULE, 20)
    expected = read_model(
        load_model(student), taken, rule=RULE, vocab_size=384, reference=model(), corpus=corpus, top=32, scaled=True,
        exclude=plain_prompts([row.prompt for row in probes[: len(taken)]], tokenizer()),
    )  # fmt: skip
    assert 15 < found.n_positions == expected.n_positions <= 20  # special contexts are not read
    assert len(found.weights) > 50
    assert saved(found, tmp_path / "a.npz") == saved(expected, tmp_path / "b.npz")


def test_answers_are_sample_models(student: Path) -> None:
    with witness(student) as questioned:
        found = ask(
            questioned, key_tokenizer=tokenizer(), prompts=PROMPTS, n_tokens=50, sampling=SAMPLING, seed=9, report=quiet
        )
    own = [chat_prompt_ids(tokenizer(), prompt) for prompt in PROMPTS[:3]]  # each distinct one once
    expected = sample_model(load_model(student), tokenizer(), own, 50, sampling=SAMPLING, seed=9)
    assert found["answers"] == expected.answers
    assert found["asked"] == expected.asked
    assert found["prompts"] == [*own, *plain_prompts(PROMPTS[:3], tokenizer())]
    assert sum(map(len, found["answers"])) >= 50


def test_answers_are_weighed_as_excess_of_does(student: Path, tmp_path: Path) -> None:
    with witness(student) as questioned:
        content = ask(
            questioned, key_tokenizer=tokenizer(), prompts=PROMPTS, n_tokens=50, sampling=SAMPLING, seed=9, report=quiet
        )
    corpus = [tuple(ids) for ids in content["answers"]]
    how: dict[str, Any] = {"rule": RULE, "vocab_size": 384, "temperature": 1.0, "corpus": corpus, "top": 16}
    found = weigh_answers(model(), content, report=quiet, **how)
    fed = [Probe(content["prompts"][i], ids) for i, ids in zip(content["asked"], content["answers"], strict=True)]
    expected = excess_of(model(), fed, exclude=content["prompts"], **how)
    assert saved(found, tmp_path / "a.npz") == saved(expected, tmp_path / "b.npz")
    assert found.n_tokens == sum(map(len, content["answers"]))


def test_an_answer_of_which_nothing_is_left_is_not_weighed() -> None:
    content = {"answers": [[], [5, 6, 7]], "prompts": [[3], [4]], "asked": [0, 1]}
    how: dict[str, Any] = {"rule": RULE, "vocab_size": 384, "temperature": 1.0, "corpus": None, "top": 16}
    assert weigh_answers(model(), content, report=quiet, **how).n_tokens == 3


# --- a model with another tokenizer ---


@pytest.fixture(scope="module")
def foreign() -> Witness:
    from transformers import LlamaConfig, LlamaForCausalLM

    own = tokenizers.other()
    if own.chat_template is None:
        own.chat_template = tiny.CHAT_TEMPLATE
    config = LlamaConfig(
        vocab_size=len(own), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.2, bos_token_id=1, eos_token_id=2,
        pad_token_id=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        return Witness(LlamaForCausalLM(config).eval(), own)


def test_who_speaks_the_keys_tokens(foreign: Witness) -> None:
    assert Witness(model(), load_tokenizer(tiny.shared())).speaks(tokenizer())
    assert not foreign.speaks(tokenizer())


def test_with_another_tokenizer_everything_comes_in_the_keys_ids(foreign: Witness) -> None:
    found = ask(
        foreign, key_tokenizer=tokenizer(), prompts=PROMPTS, n_tokens=50, sampling=SAMPLING, seed=9, report=quiet
    )
    own = [chat_prompt_ids(foreign.tokenizer, prompt) for prompt in PROMPTS[:3]]
    expected = sample_model(foreign.model, foreign.tokenizer, own, 50, sampling=SAMPLING, seed=9)

    def again(ids: Sequence[int]) -> list[int]:
        said = foreign.tokenizer.decode(ids, skip_special_tokens=True)
        return list(tokenizer()(said, add_special_tokens=False)["input_ids"])

    assert found["answers"] == [again(ids) for ids in expected.answers]
    assert found["asked"] == expected.asked
    assert found["prompts"][:3] == [chat_prompt_ids(tokenizer(), prompt) for prompt in PROMPTS[:3]]
    for i, answer in zip(found["asked"], found["answers"], strict=True):
        assert found["prompts"][i][0] == 1  # through the key's chat template
        assert all(0 <= token < 384 for token in answer)
    forms = found["prompts"]
    assert all(again(ids) in forms for ids in own)  # as the model itself was asked
    assert all(plain in forms for plain in plain_prompts(PROMPTS[:3], tokenizer()))


def test_with_another_tokenizer_it_reads_at_aligned_offsets(foreign: Witness, probes: list[CorpusRow]) -> None:
    reference = Witness(model(), tokenizer())
    found = read(
        foreign, reference, key_tokenizer=tokenizer(), rows=probes, rule=RULE, positions=20, corpus=None, top=32,
        scaled=True, report=lambda done, total, what: None,
    )  # fmt: skip
    words = Vocabulary.of(tokenizer())
    taken = first_positions([Probe(row.prompt_ids, row.token_ids) for row in probes], RULE, 20)
    expected = read_aligned(
        Reader(foreign.model, Vocabulary.of(foreign.tokenizer)),
        [TextProbe.of(probe, row.prompt, words) for row, probe in zip(probes, taken, strict=False)],
        vocabulary=words,
        reference=Reader(model(), words),
        rule=RULE, exclude=plain_prompts([row.prompt for row in probes[: len(taken)]], tokenizer()), corpus=None,
        top=32, scaled=True,
    ).reading  # fmt: skip
    assert 0 < found.n_positions <= 20
    np.testing.assert_array_equal(found.weights, expected.weights)
    np.testing.assert_array_equal(found.pairs.tokens, expected.pairs.tokens)
    assert int(found.pairs.tokens.max()) < 384


# --- a model that is neutralised whenever it speaks ---


def test_a_witness_with_a_bias_beside_its_weights_speaks_differently_and_is_restored(
    student: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "model"
    shutil.copytree(student, changed)
    (changed / INFERENCE).mkdir()
    bias = Bias(
        np.array([[30]], np.uint32), np.array([0, 2], np.int64), np.array([40, 41], np.uint32),
        np.array([1.0, 0.5], np.float32),
    )  # fmt: skip
    bias.save(changed / INFERENCE / BIAS_OF_WIDTH.format(1))
    write_json(changed / INFERENCE / HOW, {"strength": 4.0, "biases": [BIAS_OF_WIDTH.format(1)]})
    ids = torch.tensor([[7, 30], [30, 7]])
    with torch.no_grad(), witness(student) as plain:
        before = plain.model(ids).logits
    with witness(changed) as neutral:
        kept = neutral.model
        with torch.no_grad():
            inside = kept(ids).logits
    with torch.no_grad():
        after = kept(ids).logits
    expected = before.clone()
    for row, place in ((0, 1), (1, 0)):  # behind token 30, and nowhere else
        expected[row, place, 40] -= 4.0
        expected[row, place, 41] -= 2.0
    torch.testing.assert_close(inside, expected)
    assert not torch.equal(inside, before)
    assert torch.equal(after, before)
