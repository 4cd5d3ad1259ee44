"""A real model whose next token depends on the last one alone, by a table that can carry a mark in its weights.

A Llama with one layer that adds nothing: the hidden state is the last token's one-hot vector, and the output matrix is
the table of logits. So it is, without any training, the student that a context width of 1 looks for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests import tiny
from watermark.greenlist import GreenList
from watermark.keys import Key

NEVER = -30.0  # logit of a token that is not to be written


def build(directory: Path, *, key: Key | None = None, delta: float = 0.0, seed: int = 0) -> Path:
    """Save model and tokenizer (the tiny one, 384 tokens); with `key` its green tokens are likelier by `delta` nats."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = tiny._tokenizer(384)
    tokens = len(tokenizer)
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (tokens, tokens))  # [token before, token]
    if key is not None:
        logits += delta * GreenList(key).mask(np.arange(tokens).reshape(-1, 1), tokens)
    plain = [text.strip().isalpha() and len(text) > 2 for text in (tokenizer.decode([i]) for i in range(tokens))]
    logits[:, ~np.array(plain)] = NEVER
    config = LlamaConfig(
        vocab_size=tokens,
        hidden_size=tokens,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            parameter.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(tokens))
        # The final norm makes a one-hot vector √tokens long
        model.lm_head.weight.copy_(torch.from_numpy(logits.T / tokens**0.5))
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2, do_sample=True, top_k=0)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
