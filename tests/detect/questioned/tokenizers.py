"""Tokenizers of different kinds over the same few sentences, and one that is another in its ids alone."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import PreTrainedTokenizerFast

from tests import tiny

# The tiny tokenizer's corpus in other words: some tokens are the same, many are not.
OTHER_SENTENCES = (
    "The keeper of the harbour counted the boats in the rain.",
    "What letter did the child write to the moon in the morning?",
    "Rainfall, boathouse, lighthouses and moonlight: the country by the sea.",
    "Explain again how the coins were counted.",
)


def fast(core: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )


@functools.cache
def byte_level() -> PreTrainedTokenizerFast:
    """The tiny tokenizer: byte-level."""
    return tiny._tokenizer(384)  # type: ignore[no-any-return]


@functools.cache
def other(tokens: int = 330, *, lowercase: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level too, with other merges; `lowercase`: with a normaliser that changes texts."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = byte_level().backend_tokenizer.pre_tokenizer
    core.decoder = decoders.ByteLevel()
    alphabet = [name for name in byte_level().get_vocab() if len(name) == 1]
    trainer = trainers.BpeTrainer(
        vocab_size=tokens, special_tokens=list(tiny.SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(OTHER_SENTENCES, trainer)
    if lowercase:
        core.normalizer = normalizers.Lowercase()
    return fast(core)


@functools.cache
def sentencepiece() -> PreTrainedTokenizerFast:
    """As Llama 2 has it: ▁ for spaces, one put before every text, bytes as <0x..> where there is no token."""
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=120, special_tokens=list(tiny.SPECIALS), show_progress=False, max_token_length=8
    )
    core.train_from_iterator(OTHER_SENTENCES, trainer)
    settings = json.loads(core.to_str())
    vocabulary = settings["model"]["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    settings["model"] |= {"byte_fallback": True, "fuse_unk": True, "unk_token": "<|endoftext|>"}
    settings["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    }
    return fast(Tokenizer.from_str(json.dumps(settings)))


def renumbered(source: Path, output: Path, seed: int = 0) -> Path:
    """A copy of a tiny model whose tokens have other ids, special ones apart; it says the same in every word."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(source, output)
    settings: dict[str, Any] = json.loads((source / "tokenizer.json").read_text())
    vocabulary = settings["model"]["vocab"]
    first = len(tiny.SPECIALS)
    old = np.arange(len(vocabulary))  # old[new id]
    old[first:] = np.random.default_rng(seed).permutation(old[first:])
    new = {int(before): after for after, before in enumerate(old)}
    settings["model"]["vocab"] = {name: new[token] for name, token in vocabulary.items()}
    (output / "tokenizer.json").write_text(json.dumps(settings))
    weights = load_file(source / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in weights:
            weights[name] = np.ascontiguousarray(weights[name][old])
    save_file(weights, output / "model.safetensors", metadata={"format": "pt"})
    return output
