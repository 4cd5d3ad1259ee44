"""The mark in vLLM: a custom logits processor for its V1 engine.

    vllm serve MODEL --logits-processors watermark.engines.vllm:GreenListLogitsProcessor
    LLM(MODEL, logits_processors=[GreenListLogitsProcessor])

A request is marked when its extra arguments name a key file (`SamplingParams(extra_args={"taggant_key": FILE})`, or
`vllm_xargs` in a request to the server), or when the environment variable TAGGANT_KEYS names one for all; see
`watermark.engines.key_ring`. δ is added before temperature, top-k and top-p, as `GreenListProcessor` does it.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from typing import TYPE_CHECKING, Any

from vllm.v1.sample.logits_processor import LogitsProcessor

from watermark.engines.bias import GreenBias
from watermark.engines.key_ring import KeyRing
from watermark.engines.vllm_batch import MarkedRequests
from watermark.errors import UnsupportedError
from watermark.keys import Key

if TYPE_CHECKING:
    import torch

MARKS = 32  # that are kept when no request needs them
CACHE_BYTES = 32 << 20  # of coloured rows, for each of them


@cache
def _ring() -> KeyRing:
    return KeyRing.of_environment()


class GreenListLogitsProcessor(LogitsProcessor):
    """Adds δ (nats) to the logits of green tokens, each request under the key it names.

    Context tokens are the prompt's and the answer's own. What `GreenListProcessor` leaves alone is left alone here.

    Raises:
        UnsupportedError: with speculative decoding, whose rows are drafts of several tokens.
        KeyFileError: a key in TAGGANT_KEYS cannot be used.
        TokenizerMismatchError: a key in TAGGANT_KEYS was made for a tokenizer of another size.
    """

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        if vllm_config.speculative_config is not None:
            raise UnsupportedError("speculative decoding cannot be marked; start vLLM without it")
        self._vocab_size = int(vllm_config.model_config.get_vocab_size())
        self._biases: OrderedDict[Key, GreenBias] = OrderedDict()
        self._requests = MarkedRequests(lambda parameters: self._bias_of(_ring().key_for(parameters.extra_args)))
        for key in _ring().known():
            self._bias_of(key)

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Called where a request arrives: a key it cannot have is refused there, and not in the engine.

        Raises:
            KeyFileError: as `KeyRing.key_for`.
        """
        _ring().key_for(sampling_params.extra_args)

    @classmethod
    def needs_output_token_ids(cls) -> bool:
        """Also under asynchronous scheduling the answer's last token is to be filled in before `apply`."""
        return True

    def is_argmax_invariant(self) -> bool:
        """False: δ changes which token is the likeliest."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow the persistent batch; `batch_update` is a BatchUpdate or None."""
        self._requests.update(batch_update)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """`logits` + δ on green in the rows of marked requests.

        Args:
            logits: [requests, V].
        """
        return self._requests.marked(logits)

    def _bias_of(self, key: Key | None) -> GreenBias | None:
        if key is None:
            return None
        if key not in self._biases:
            self._biases[key] = GreenBias(key, self._vocab_size, cache_bytes=CACHE_BYTES)
            if len(self._biases) > MARKS:
                self._biases.popitem(last=False)
        self._biases.move_to_end(key)
        return self._biases[key]
