"""`sampled` against a reference: no false alarm under random keys, whatever was asked; and a mark is found.

The models are tiny. The one that carries a mark is a table (tests/detect/questioned/table_model.py): its next token
depends on the last one alone, as far as h = 1 can see.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.counting import WeightTally, tally, weigh, window_rule
from detect.decoys import lineup
from detect.evidence import assess
from detect.fed import Probe
from detect.observation import Excess
from detect.questioned.answer_ids import Listed
from detect.questioned.excess import excess_of
from detect.questioned.sampled import Answers, sample_model
from tests import tiny
from tests.detect.material import docstrings, key_for
from tests.detect.questioned import table_model
from tests.detect.questioned.slow import V, log_softmax, logits_of
from tests.detect.test_validity import assert_bound_is_valid, perturbed
from watermark.engines.answers import Sampling
from watermark.engines.models import load_model
from watermark.keys import Key

pytestmark = pytest.mark.usefixtures("compiled_colours")
ASKED = {
    "repetitive": ["ha ha ha ha ha ha ha", "one, one, one, one, one", "row row row row your boat"],
    "multilingual": ["Wo ist der Bahnhof?", "Où est la gare?", "駅はどこですか", "Где вокзал?", "¿Dónde está?"],
    "code": ["def f(x):\n    return x + 1\n", "for (int i = 0; i < n; i++) {", "SELECT a, b FROM t WHERE a = b;"],
}
PLAIN = [text[:20] for text in docstrings()[:6]]


@pytest.fixture(scope="module")
def base() -> Any:
    return load_model(tiny.shared())


@pytest.fixture(scope="module")
def student(base: Any) -> Any:
    """Of an unmarked teacher: the base model moved a little, by nothing that knows a key."""
    return perturbed(base, 0.3)


def answers_of(model: Any, tokenizer: Any, prompts: Sequence[str], n_tokens: int, longest: int = 40) -> Answers:
    asked = [[1, *tokenizer(text, add_special_tokens=False)["input_ids"]] for text in prompts]
    return sample_model(model, tokenizer, asked, n_tokens, sampling=Sampling(max_new_tokens=longest), seed=4)


def probes_of(answers: Answers) -> list[Probe]:
    return [Probe(answers.prompts[i], ids) for i, ids in zip(answers.asked, answers.answers, strict=True)]


def listed_by(model: Any, probes: Sequence[Probe], k: int) -> list[list[Listed]]:
    """What a server would list: the k likeliest tokens at each place, and what was said."""
    found = []
    for probe, logits in logits_of(model, probes):
        table, lists = log_softmax(logits), []
        for place, said in enumerate(probe.answer_ids):
            row = table[len(probe.prompt_ids) + place - 1]
            best = np.argsort(-row)[:k].tolist()
            lists.append(Listed({token: float(row[token]) for token in {*best, said}}, float(row[best[-1]])))
        found.append(lists)
    return found


def seen(reference: Any, key: Key, answers: Answers, **how: Any) -> Excess:
    return excess_of(reference, probes_of(answers), rule=window_rule(key), vocab_size=V, exclude=answers.prompts, **how)


# --- under the null ---


@pytest.mark.parametrize("kind", ASKED)
def test_the_bound_under_10_000_keys(kind: str, student: Any, base: Any, tokenizer: Any) -> None:
    key = key_for(70, tokenizer)
    found = seen(base, key, answers_of(student, tokenizer, ASKED[kind], 500), top=5)
    assert_bound_is_valid(found, key, seed=170)


@pytest.mark.parametrize("with_reference", [True, False])
def test_the_bound_on_listed_log_probabilities(with_reference: bool, student: Any, base: Any, tokenizer: Any) -> None:
    key, answers = key_for(71, tokenizer), answers_of(student, tokenizer, ASKED["code"], 500)
    lists = listed_by(student, probes_of(answers), 5)
    found = seen(base if with_reference else None, key, answers, listed=lists, top=5)
    assert found.n_listed == found.n_positions
    assert_bound_is_valid(found, key, seed=171)


# --- a mark that is there ---

OWNER = 72


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> dict[str, Any]:
    """A marked model, the same without the mark, and one that has nothing to do with either."""
    key, directory = key_for(OWNER, tokenizer), tmp_path_factory.mktemp("tables")
    built: dict[str, Path] = {
        "marked": table_model.build(directory / "marked", key=key, delta=0.6, seed=1),
        "base": table_model.build(directory / "base", seed=1),
        "other": table_model.build(directory / "other", seed=2),
    }
    return {name: load_model(path) for name, path in built.items()}


@pytest.fixture(scope="module")
def marked_answers(tables: dict[str, Any], tokenizer: Any) -> Answers:
    return answers_of(tables["marked"], tokenizer, PLAIN, 4000, longest=80)


def log10_p(tally: WeightTally) -> float:
    found = assess(tally).log10_p
    assert found is not None
    return found


def test_a_mark_is_found_and_far_sooner_than_by_counting(
    tables: dict[str, Any], marked_answers: Answers, tokenizer: Any
) -> None:
    key = key_for(OWNER, tokenizer)
    found = seen(tables["base"], key, marked_answers)
    own = weigh(key, found)
    evidence = assess(own, lineup=lineup(own, 200))
    counted = assess(tally(key, marked_answers.answers, marked_answers.prompts, test="sampled"))
    assert (evidence.test, evidence.finding, evidence.lineup.rank) == ("sampled", "detected", 1)
    assert evidence.log10_p < 2 * counted.log10_p < -6
    beside = {name: getattr(counted, name) for name in ("n_scored", "n_green", "log10_p")}
    assert evidence.comparisons == {"distinct_pairs": beside}
    for number in range(80, 100):
        assert log10_p(weigh(key_for(number, tokenizer), found)) > -4


def test_the_unmarked_model_is_not_detected(tables: dict[str, Any], tokenizer: Any) -> None:
    key = key_for(OWNER, tokenizer)
    answers = answers_of(tables["base"], tokenizer, PLAIN, 1500, longest=80)
    evidence = assess(weigh(key, seen(tables["base"], key, answers)))
    assert (evidence.finding, evidence.log10_p > -3) == ("inconclusive", True)


def test_listed_log_probabilities_say_more(tables: dict[str, Any], marked_answers: Answers, tokenizer: Any) -> None:
    key = key_for(OWNER, tokenizer)
    few = Answers(marked_answers.answers[:12], marked_answers.prompts, marked_answers.asked[:12])
    lists = listed_by(tables["marked"], probes_of(few), 5)
    plain, listed = (log10_p(weigh(key, seen(tables["base"], key, few, listed=one))) for one in (None, lists))
    assert listed < 2 * plain
    assert listed < -6


def test_a_poorer_reference_is_valid_and_weaker(
    tables: dict[str, Any], base: Any, marked_answers: Answers, tokenizer: Any
) -> None:
    key = key_for(OWNER, tokenizer)
    good, poor = (log10_p(weigh(key, seen(tables[name], key, marked_answers))) for name in ("base", "other"))
    assert good < poor < -3
    control = answers_of(tables["base"], tokenizer, PLAIN, 500, longest=80)
    assert_bound_is_valid(seen(tables["other"], key, control, top=5), key, seed=172)
