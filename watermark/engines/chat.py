"""A prompt as a model is fed it: through its chat template. Without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watermark.engines.models import first_line
from watermark.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def chat_prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Ids of a prompt as the model expects it: through its chat template, or plain where it has none.

    Raises:
        ModelError: the template, which may be a questioned model's, cannot be used or leaves the prompt out.
    """
    if tokenizer.chat_template is None:
        return list(tokenizer(prompt)["input_ids"])
    return list(tokenizer(_rendered(tokenizer, prompt), add_special_tokens=False)["input_ids"])


def _rendered(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # a template is a program: it can raise whatever it likes
        where = tokenizer.name_or_path
        raise ModelError(f"{where}: the chat template cannot be used: {first_line(error)}; give prompt_ids") from None
    if not isinstance(text, str) or prompt.strip() not in text:  # many templates strip
        raise ModelError(f"{tokenizer.name_or_path}: the chat template leaves the prompt out; give prompt_ids")
    return text
