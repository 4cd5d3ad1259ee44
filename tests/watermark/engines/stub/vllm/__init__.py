"""In place of vLLM, where there is none: as much of it as Taggant uses, on a model whose logits are made up.

Requests share a batch of three rows, join it when there is room, and the last one takes the place of one that leaves.
What a test wants besides is said by environment variables: STUB_VLLM_FAILS, "start" or "answer", and STUB_VLLM_SLEEPS,
seconds before an answer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

__version__ = "0.0.stub"
ROWS = 3


@dataclass
class SamplingParams:
    """How one request is answered."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    stop_token_ids: list[int]
    ignore_eos: bool = False
    detokenize: bool = True
    extra_args: dict[str, Any] | None = None


class Move(Enum):
    """As vLLM's MoveDirectionality."""

    UNIDIRECTIONAL = auto()
    SWAP = auto()


@dataclass
class Request:
    """One in the batch."""

    number: int
    prompt: list[int]
    parameters: SamplingParams
    answer: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.parameters.seed)

    def is_done(self) -> bool:
        return len(self.answer) == self.parameters.max_tokens or self.answer[-1] in self.parameters.stop_token_ids


class LLM:
    """A model that says anything."""

    def __init__(self, model: str, *, logits_processors: list[Any], **others: Any) -> None:
        print("this is no answer")
        print("some warning", file=sys.stderr)
        if os.environ.get("STUB_VLLM_FAILS") == "start":
            raise RuntimeError("no such\nattention backend")
        assert others["trust_remote_code"] is False
        self.vocab_size = json.loads((Path(model) / "config.json").read_text())["vocab_size"]
        settings = SimpleNamespace(get_vocab_size=lambda: self.vocab_size)
        config = SimpleNamespace(model_config=settings, speculative_config=None)
        self._processors = [made(config, torch.device("cpu"), False) for made in logits_processors]

    def generate(self, prompts: list[dict[str, Any]], parameters: list[SamplingParams], use_tqdm: bool) -> list[Any]:
        """Answers, stops included."""
        if os.environ.get("STUB_VLLM_FAILS") == "answer":
            raise ValueError("the prompt is too long")
        time.sleep(float(os.environ.get("STUB_VLLM_SLEEPS", 0)))
        for processor in self._processors:
            for one in parameters:
                processor.validate_params(one)
        pairs = enumerate(zip(prompts, parameters, strict=True))
        waiting = [Request(number, prompt["prompt_token_ids"], how) for number, (prompt, how) in pairs]
        done: dict[int, Request] = {}
        batch: list[Request] = []
        while waiting or batch:
            while waiting and len(batch) < ROWS:
                batch.append(waiting.pop(0))
                one = batch[-1]
                self._tell(added=[(len(batch) - 1, one.parameters, one.prompt, one.answer)])
            self._step(batch)
            for row in range(len(batch) - 1, -1, -1):
                if batch[row].is_done():
                    done[batch[row].number] = batch[row]
                    self._leave(batch, row)
        return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=done[n].answer)]) for n in range(len(prompts))]

    def _leave(self, batch: list[Request], row: int) -> None:
        last = batch.pop()
        self._tell(removed=[row])
        if row < len(batch):
            batch[row] = last
            self._tell(moved=[(len(batch), row, Move.UNIDIRECTIONAL)])

    def _tell(self, **what: Any) -> None:
        update = SimpleNamespace(**{"removed": [], "added": [], "moved": [], **what})
        for processor in self._processors:
            processor.update_state(update)

    def _step(self, batch: list[Request]) -> None:
        for processor in self._processors:
            processor.update_state(None)
        logits = torch.stack([self._logits([*one.prompt, *one.answer][-1]) for one in batch])
        for processor in self._processors:
            logits = processor.apply(logits)
        for request, row in zip(batch, logits, strict=True):
            probabilities = torch.softmax(row / request.parameters.temperature, dim=0)
            request.answer.append(int(torch.multinomial(probabilities, 1, generator=request.generator)))

    def _logits(self, last: int) -> torch.Tensor:
        return torch.randn(self.vocab_size, generator=torch.Generator().manual_seed(last))
