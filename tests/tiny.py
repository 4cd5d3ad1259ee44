"""A tiny but complete model for tests: Llama architecture, byte-level BPE, chat template; built in a moment."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # ids 0, 1, 2, as in SmolLM2
SENTENCES = (
    "What is the capital of the old country by the sea?",
    "Write a short letter to the keeper of the lighthouse.",
    "The rain fell on the harbour and the boats were still.",
    "He counted the coins twice, then he counted them again.",
    "How do I explain to a child where the moon goes in the morning?",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build(
    directory: Path, *, seed: int = 0, layers: int = 3, hidden: int = 32, tokens: int = 384, surplus: int = 0
) -> Path:
    """Save a tiny LlamaForCausalLM (float32 safetensors) and its tokenizer into `directory`; returns it.

    The tokenizer has exactly `tokens` ids, the model `tokens + surplus` (real models are often wider).
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(tokens)
    assert len(tokenizer) == tokens, len(tokenizer)
    config = LlamaConfig(
        vocab_size=tokens + surplus,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,  # large enough for distributions that are far from uniform
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@functools.cache
def shared() -> Path:
    """The default tiny model, built once per process. Read only: copy it before changing anything."""
    directory = Path(tempfile.mkdtemp(prefix="taggant-tiny-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return build(directory)


def _tokenizer(tokens: int):  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=tokens,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
