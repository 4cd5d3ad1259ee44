"""A working model with another tokenizer: SmolLM2 with only the first half of its merges, every token renumbered.

Its embedding rows are SmolLM2's own, so it speaks as well as before, in shorter tokens and under other ids. No hub is
needed, and what changes between this student and SmolLM2's own is the tokenizer alone.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from distill_sim.corpus import CorpusRow
from distill_sim.saving import save_model
from distill_sim.student import TOKENIZER_FILES
from watermark.engines.chat import chat_prompt_ids
from watermark.engines.models import load_model
from watermark.files import new_directory


def make_half_vocabulary(source: Path, output: Path) -> Path:
    """Save the model of `source` with half its merges as `output`, if it is not there yet; returns `output`."""
    if output.is_dir():
        return output
    settings = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    kept = _halve(settings)
    model = load_model(source)
    old = model.get_input_embeddings().weight
    embeddings = torch.nn.Embedding(len(kept), old.shape[1])
    embeddings.weight = torch.nn.Parameter(old.detach()[kept].clone())
    model.set_input_embeddings(embeddings)
    model.config.vocab_size = len(kept)
    model.tie_weights()
    with new_directory(output) as directory:
        save_model(model, directory)
        for name in TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, directory / name)
        text = json.dumps(settings, ensure_ascii=False)
        (directory / "tokenizer.json").write_text(text, encoding="utf-8")
    return output


def _halve(settings: dict[str, Any]) -> list[int]:
    """Cut a tokenizer.json in place; returns the old id of every new one.

    Special tokens keep their ids (the model's configuration names them), all others are counted from the other end.
    """
    model = settings["model"]
    special = {token["id"] for token in settings["added_tokens"]}
    model["merges"] = model["merges"][: len(model["merges"]) // 2]
    made = {"".join(pair) for pair in model["merges"]}
    by_id = {token: name for name, token in model["vocab"].items()}
    ordinary = [i for i, name in by_id.items() if i not in special and (len(name) == 1 or name in made)]
    kept = [*sorted(special), *sorted(ordinary, reverse=True)]
    assert kept[: len(special)] == list(range(len(special)))
    model["vocab"] = {by_id[old]: new for new, old in enumerate(kept)}
    return kept


def in_tokens_of(tokenizer: Any, rows: list[CorpusRow]) -> list[CorpusRow]:
    """A corpus as another model learns it: prompts through its own template, answers tokenised from their text."""
    return [
        replace(
            row,
            prompt_ids=tuple(chat_prompt_ids(tokenizer, row.prompt)),
            token_ids=tuple(tokenizer(row.text, add_special_tokens=False)["input_ids"]),
        )
        for row in rows
    ]


def nats_per_character(model: Any, tokenizer: Any, rows: list[CorpusRow]) -> float:
    """Cross-entropy of the answers, given their prompts, over the characters of the answers."""
    nats, characters = 0.0, 0
    for row in in_tokens_of(tokenizer, rows):
        ids = torch.tensor([row.prompt_ids + row.token_ids])
        with torch.inference_mode():
            logp = torch.log_softmax(model(ids, use_cache=False).logits[0, len(row.prompt_ids) - 1 : -1], dim=-1)
        nats -= float(logp.gather(1, ids[0, len(row.prompt_ids) :, None]).sum())
        characters += len(row.text)
    return nats / characters
