"""Rows of a file become what a model sees: template, plain words, ids as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detect.questioned.probes import apart_notes, fed_words, make_probes, plain_prompts
from detect.readers.row import Row
from tests import tiny
from watermark.engines.chat import chat_prompt_ids
from watermark.engines.models import load_tokenizer

pytestmark = pytest.mark.usefixtures("one_torch_thread")
PROMPT, TEXT = "Where does the moon go?", "Behind the boats, in the morning."


def row(**members: Any) -> Row:
    return Row(id="1", source="it:1", **members)


def plain(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_a_prompt_goes_through_the_chat_template_and_an_answer_does_not(tokenizer: Any) -> None:
    (probe,) = make_probes([row(prompt=PROMPT, text=TEXT)], tokenizer)
    expected = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(probe.prompt_ids) == expected
    assert probe.prompt_ids.count(1) == 2  # the template's marks are special tokens, not spelt out
    assert probe.answer_ids == plain(tokenizer, TEXT)
    assert tokenizer.decode(probe.answer_ids) == TEXT


def test_ids_win_over_text(tokenizer: Any) -> None:
    ids = np.array([5, 6, 7], dtype=np.uint32)
    (probe,) = make_probes([row(prompt=PROMPT, text=TEXT, token_ids=ids, prompt_ids=ids[:2])], tokenizer)
    assert (probe.prompt_ids, probe.answer_ids) == ([5, 6], [5, 6, 7])
    assert all(type(token) is int for token in [*probe.prompt_ids, *probe.answer_ids])


def test_rows_may_lack_prompt_or_answer(tokenizer: Any) -> None:
    text, prompt = make_probes([row(text=TEXT), row(prompt=PROMPT)], tokenizer)
    assert (text.prompt_ids, text.answer_ids) == ([], plain(tokenizer, TEXT))
    assert prompt.answer_ids == []
    assert len(prompt.prompt_ids) > 5


def test_one_probe_a_row_in_order(tokenizer: Any) -> None:
    texts = [TEXT, PROMPT, TEXT]
    assert [p.answer_ids for p in make_probes((row(text=t) for t in texts), tokenizer)] == [
        plain(tokenizer, t) for t in texts
    ]


def test_a_tokenizer_without_template_takes_the_prompt_plain(tokenizer: Any) -> None:
    bare = load_tokenizer(tiny.shared())
    bare.chat_template = None
    (probe,) = make_probes([row(prompt=PROMPT)], bare)
    assert probe.prompt_ids == list(bare(PROMPT)["input_ids"])


def test_plain_prompts_are_the_distinct_words_without_template(tokenizer: Any) -> None:
    rows = [row(prompt=PROMPT), row(prompt=TEXT), row(prompt=PROMPT, text="x"), row(text=TEXT), row(prompt="")]
    found = plain_prompts((one.prompt for one in rows), tokenizer)
    assert found == [plain(tokenizer, PROMPT), plain(tokenizer, TEXT)]
    assert not any(special in ids for ids in found for special in (0, 1, 2))


def test_a_disguised_prompt_is_excluded_as_it_looks_too(tokenizer: Any) -> None:
    """An answer that repeats it may be read so."""
    hidden = PROMPT.replace(" ", "  ")
    assert plain_prompts([hidden, "\u200b"], tokenizer) == [
        plain(tokenizer, text) for text in (hidden, PROMPT, "\u200b")
    ]


def test_a_prompts_words_are_excluded_also_where_its_ids_are_given(tokenizer: Any) -> None:
    (found,) = plain_prompts([PROMPT], tokenizer)
    assert found == plain(tokenizer, PROMPT)


def test_words_that_are_not_those_of_the_ids_beside_them_are_not_fed(tokenizer: Any) -> None:
    """Else whoever writes the rows would leave out what no model was given."""
    own, other = chat_prompt_ids(tokenizer, PROMPT), plain(tokenizer, "Say nothing.")
    rows = [row(prompt=PROMPT, prompt_ids=np.array(ids, dtype=np.uint32)) for ids in (own, plain(tokenizer, PROMPT))]
    odd = row(prompt=PROMPT, prompt_ids=np.array(other, dtype=np.uint32))
    assert fed_words([*rows, odd, row(prompt=PROMPT), row(text=TEXT)], tokenizer) == [
        PROMPT,
        PROMPT,
        None,
        PROMPT,
        None,
    ]
    assert apart_notes(rows, tokenizer, words_sent=True) == []
    (note,) = apart_notes([*rows, odd], tokenizer, words_sent=False)
    assert note.startswith("1 row whose prompt_ids do not hold the words of the prompt beside them (first: ")
    assert note.endswith("the model was given `prompt_ids`, and what `prompt` holds was not left out for it")
    (note,) = apart_notes([odd], tokenizer, words_sent=True)
    assert note.endswith("the model was given `prompt`, and what `prompt_ids` holds was not left out for it")
