"""Answers of a model or a server, as the reference is to read them; and what is noted of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from detect.cli.weighing import AUDITED, SERVER_NOTE, Answered, Weighing
from detect.counting import reference_log10_p, weigh, window_rule
from detect.fed import Probe
from detect.observation import Excess
from detect.questioned.answer_ids import AnswerReader, Listed
from detect.questioned.excess import excess_of
from detect.questioned.expectation import expectation_of
from detect.questioned.probes import make_probes
from detect.questioned.prompts import Prompts
from detect.questioned.responses import Response
from detect.questioned.sampled import Answers
from detect.readers.builtin import builtin_rows
from tests import tiny
from tests.watermark.engines.helpers import tokenizer
from watermark import Key
from watermark.engines.models import load_model, model_digest
from watermark.errors import InputError
from watermark.greenlist import GreenList

PROMPTS, PLAIN = [[1, 10, 11], [1, 20], [1, 30]], [[10, 11], [20], [30]]
WORDS = "The rain fell on the harbour"


def context() -> click.Context:
    return click.Context(click.Command("suspect"), obj={"quiet": True})


def begin(key_file: Path, reference: Path, **how: Any) -> Weighing:
    how = {"temperature": 1.0, **how}
    return Weighing.begin(context(), Key.load(key_file), tokenizer(), str(reference), **how)


def encoded(text: str) -> list[int]:
    return list(tokenizer()(text, add_special_tokens=False)["input_ids"])


def test_a_models_answers_stand_behind_the_prompts_they_answer() -> None:
    found = Answered.of_model(Answers([[5, 6], [7], [8, 9]], PROMPTS, [0, 2, 0]), PLAIN)
    assert found.probes == [Probe([1, 10, 11], [5, 6]), Probe([1, 30], [7]), Probe([1, 10, 11], [8, 9])]
    assert found.prompts == [*PROMPTS, *PLAIN]  # the one that was never asked, too
    assert (found.listed, found.notes) == (None, ())


def test_a_servers_answers_bring_what_it_listed() -> None:
    names = [tokenizer().decode([token]) for token in encoded(WORDS)]
    position = tuple({"token": name, "logprob": -0.5, "top": [[name, -0.5]]} for name in names)
    responses = [Response(0, 1, WORDS), Response(1, 2, ""), Response(2, 0, WORDS, logprobs=position)]
    found = Answered.of_server(responses, AnswerReader(tokenizer()), Prompts(PROMPTS, PLAIN), lists_wanted=True)
    unasked = Answered.of_server(responses, AnswerReader(tokenizer()), Prompts(PROMPTS, PLAIN), lists_wanted=False)
    assert unasked.listed == [None] * len(found.probes)
    assert found.probes == [Probe([1, 20], encoded(WORDS)), Probe([1, 10, 11], encoded(WORDS))]
    assert found.listed == [None, [Listed({token: -0.5}, -0.5) for token in encoded(WORDS)]]
    assert found.prompts == [*PROMPTS, *PLAIN]
    assert found.notes == (SERVER_NOTE,)


def test_the_weights_are_the_excess_under_the_settings_given(text_key: Path, model: Path) -> None:
    ids = encoded(WORDS)
    lists = [[None, *(Listed({token: -0.5}, -1.0) for token in ids[1:])]]
    answered = Answered([Probe(PROMPTS[0], ids)], [*PROMPTS, ids[1:3]], lists, ("a note",))
    weighing = begin(text_key, model, temperature=0.7, top=9)
    found, key = weighing.weigh(answered).tally, Key.load(text_key)
    by_hand = excess_of(
        load_model(model),
        answered.probes,
        rule=window_rule(key),
        vocab_size=384,
        exclude=answered.prompts,
        listed=lists,
        temperature=0.7,
        top=9,
        expectation=weighing.expectation,
    )
    expected = weigh(key, by_hand, tokenizer_checked=True)
    np.testing.assert_array_equal(found.weights, expected.weights)
    assert (found.statistic, found.notes, found.test) == (expected.statistic, expected.notes, "sampled")
    assert weighing.notes(answered) == [
        f"reference: digest {model_digest(model)}; contexts scaled by what the reference expects (ADR 0005); "
        "K = 9 weights kept per context; what it expected is that of "
        "temperature 0.7",
        "a note",
    ]
    assert begin(text_key, model).notes(Answered([], []))[0].endswith("K = 256 weights kept per context")


def test_the_reference_is_audited_on_built_in_texts(text_key: Path, model: Path) -> None:
    """And not on the answers, which may follow the key."""
    found, key = begin(text_key, model), Key.load(text_key)
    texts = make_probes(list(builtin_rows())[::AUDITED], tokenizer())
    by_hand = expectation_of(load_model(model), texts, rule=window_rule(key), vocab_size=384)
    assert found.expectation is not None
    assert by_hand is not None
    assert found.expectation.n_positions == by_hand.n_positions > 9_000
    np.testing.assert_array_equal(found.expectation.weights, by_hand.weights)
    weighed = found.weigh(Answered([Probe(PROMPTS[0], encoded(WORDS))], [PROMPTS[0]])).tally
    assert weighed.reference_log10_p == reference_log10_p(GreenList(key), by_hand)


def test_the_weights_are_saved_and_those_of_a_control_are_not(text_key: Path, model: Path, tmp_path: Path) -> None:
    answered, key, path = (
        Answered([Probe(PROMPTS[0], encoded(WORDS))], [PROMPTS[0]]),
        Key.load(text_key),
        tmp_path / "e",
    )
    weighing = begin(text_key, model, save_to=path)
    weighing.weigh(answered, of_control=True)
    assert not path.exists()
    found = weighing.weigh(answered).tally
    assert weigh(key, Excess.load(path), tokenizer_checked=True).statistic == found.statistic
    assert key.chacha_key not in path.read_bytes()
    with pytest.raises(InputError, match="already exists"):
        weighing.weigh(answered)
    begin(text_key, model).weigh(answered)
    assert [one.name for one in tmp_path.iterdir() if one.suffix != ".key"] == ["e"]


def test_positions_without_log_probabilities_are_told(
    text_key: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weighing = begin(text_key, model)
    weighing.ctx.obj["quiet"] = False
    probes = [Probe([1], encoded(WORDS)), Probe([1], encoded(WORDS))]
    n = len(encoded(WORDS)) - 1
    lists: list[Any] = [None, [Listed({token: -0.5}, None) for token in encoded(WORDS)]]
    weighing.weigh(Answered(probes, [], lists))
    assert f"{n} of {2 * n} positions have no usable log-probabilities." in capsys.readouterr().err
    weighing.weigh(Answered(probes, [], [None, None]))  # none were asked for
    assert "usable" not in capsys.readouterr().err


def test_a_reference_with_another_tokenizer_is_refused(text_key: Path, foreign_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has another tokenizer than the key"):
        begin(text_key, foreign_model)
    bare = tiny.build(tmp_path / "bare", seed=3)
    for file in bare.glob("tokenizer*"):
        file.unlink()
    assert begin(text_key, bare).vocab_size == 384


def test_no_key_in_what_is_shown(text_key: Path, model: Path) -> None:
    weighing = begin(text_key, model)
    for secret in (weighing.key.chacha_key, weighing.key._secret):
        assert secret.hex() not in repr(weighing)
