"""Prompts into another model's tokens, its answers into the key's."""

from __future__ import annotations

import pytest

from detect.questioned.retokenised import Retokeniser
from tests import tiny
from tests.detect.questioned.tokenizers import byte_level, fast, other, sentencepiece

TEXT = "The rain fell on the harbour, é 🙂"


@pytest.mark.parametrize("make", [other, sentencepiece])
def test_what_is_said_comes_back_in_the_keys_tokens(make: object) -> None:
    own, keys = make(), byte_level()  # type: ignore[operator]
    words = Retokeniser(own, keys)
    said = own(TEXT, add_special_tokens=False)["input_ids"]
    expected = keys(TEXT, add_special_tokens=False)["input_ids"]
    assert words.again(said) == expected != said
    assert words.again([*said, 2]) == expected  # an end-of-text says nothing
    assert words.again([]) == words.again([2]) == []


def test_prompts_in_words_and_in_ids() -> None:
    own, keys = fast(other().backend_tokenizer), byte_level()
    own.chat_template = tiny.CHAT_TEMPLATE
    words = Retokeniser(own, keys)
    ids = [1, *keys(TEXT, add_special_tokens=False)["input_ids"], 2]
    templated = words.prompt(TEXT, ids)
    assert own.decode(templated) == f"<|im_start|>user\n{TEXT}<|im_end|>\n<|im_start|>assistant\n"
    assert words.prompt(None, ids) == own(TEXT)["input_ids"]
    assert words.prompt(None, []) == []
