"""Writes tests/golden/vllm-batches.json: what a real vLLM tells a logits processor of its batch, and what was in it.

    python -m tests.watermark.engines.record_vllm OUTPUT        (with an interpreter that has vLLM)

The tiny model answers requests of many lengths in a batch of five rows: prompts come in chunks and share beginnings,
the cache is too small for all of them at once, and two requests are given up on the way. Beside every update stands
what the rows really held when their logits were changed, read off vLLM's own batch; at the same time it is checked
that `GreenListLogitsProcessor` sees the very same tokens.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
}

from vllm import SamplingParams, __version__
from vllm.inputs import TokensPrompt

from tests import tiny
from watermark.engines import vllm as engine
from watermark.engines.key_ring import ARGUMENT

KEYS = (None, "h0", "h1", "h3")
ROWS, CHUNK, BLOCKS = 5, 40, 9
ABORTED = {7: 12, 11: 20}  # request: after how many tokens
LENGTHS = (1, 90, 3, 45, 17, 60, 2, 33, 130, 5, 21, 70, 4, 52, 8, 27)
ANSWERS = (70, 4, 80, 9, 40, 12, 75, 60, 66, 33, 85, 20, 22, 90, 36, 7)

updates: list[Any] = []  # since the last logits
steps: list[Any] = []
runner: Any = None  # vLLM's, once it is there


class Recording(engine.GreenListLogitsProcessor):
    """Writes down what it is told and what is there."""

    def update_state(self, batch_update: Any) -> None:
        updates.append(_told(batch_update))
        super().update_state(batch_update)

    def apply(self, logits: Any) -> Any:
        if runner is not None:
            _record(self)
        return super().apply(logits)


def _told(update: Any) -> Any:
    if update is None:
        return None
    return {
        "removed": list(update.removed),
        "added": [[row, how.extra_args["number"], len(answer)] for row, how, _, answer in update.added],
        "moved": [[start, end, direction.name] for start, end, direction in update.moved],
    }


def _record(processor: Recording) -> None:
    batch = [runner.requests[name] for name in runner.input_batch.req_ids]
    rows = []
    for row, request in enumerate(batch):
        answer = list(request.output_token_ids)
        rows.append([request.sampling_params.extra_args["number"], answer])
        known = processor._requests._requests.get(row)
        asked = request.sampling_params.extra_args.get(ARGUMENT)
        assert (known is None) == (asked is None), (row, known, asked)
        if known is not None:
            width = known.bias.context_width
            whole = [*request.prompt_token_ids, *answer]
            expected = whole[len(whole) - width :] if len(whole) >= width else None
            assert known.context() == expected, (row, known.context(), expected)
    (told,) = updates or [None]  # one update a step
    updates.clear()
    steps.append({"update": told, "rows": rows})


def main(output: Path) -> None:
    """Answer all requests, then write."""
    global runner
    from tests.watermark.engines.test_vllm_batch import KEYS as NAMED

    with tempfile.TemporaryDirectory() as place:
        for name, key in NAMED.items():
            key.save(Path(place) / f"{name}.key")
        llm = _engine(tiny.build(Path(place) / "model", hidden=128))  # heads of 32: the least on a CPU
        updates.clear()
        runner = llm.llm_engine.model_executor.driver_worker.worker.model_runner
        prompts = [list(range(3, 3 + length)) for length in LENGTHS]  # one is the beginning of another
        for number, prompt in enumerate(prompts):
            key = KEYS[number % len(KEYS)]
            named = {"number": number} | ({} if key is None else {ARGUMENT: f"{place}/{key}.key"})
            how = SamplingParams(max_tokens=ANSWERS[number], ignore_eos=True, extra_args=named)
            how.min_tokens = 3 if number % 2 else 0
            llm.llm_engine.add_request(str(number), TokensPrompt(prompt_token_ids=prompt), how)
        answers = _run(llm.llm_engine)
    requests = [
        {"key": KEYS[number % len(KEYS)], "prompt": prompt, "answer": answers[number]}
        for number, prompt in enumerate(prompts)
    ]
    for step in steps:
        for row in step["rows"]:
            assert answers[row[0]][: len(row[1])] == row[1]
            row[1] = len(row[1])
    recorded = {"vllm": __version__, "requests": requests, "steps": steps}
    output.write_text(json.dumps(recorded, separators=(",", ":")) + "\n", encoding="utf-8")
    print(len(steps), "steps;", sum(step["update"] is not None for step in steps), "updates")


def _engine(model: Path) -> Any:
    from vllm import LLM

    return LLM(
        str(model),
        skip_tokenizer_init=True,
        dtype="float32",
        enforce_eager=True,
        max_model_len=256,
        max_num_seqs=ROWS,
        max_num_batched_tokens=CHUNK,
        enable_chunked_prefill=True,
        enable_prefix_caching=True,
        num_gpu_blocks_override=BLOCKS,
        block_size=32,
        generation_config="vllm",
        logits_processors=[Recording],
        disable_log_stats=True,
    )


def _run(llm_engine: Any) -> dict[int, list[int]]:
    answers: dict[int, list[int]] = {}
    while llm_engine.has_unfinished_requests():
        for output in llm_engine.step():
            answers[int(output.request_id)] = list(output.outputs[0].token_ids)
        for number, answer in steps[-1]["rows"]:
            if len(answer) == ABORTED.get(number):
                llm_engine.abort_request([str(number)])
    for step in steps:  # what an aborted request had said when it was last seen
        for number, answer in step["rows"]:
            if len(answer) > len(answers.get(number, [])):
                answers[number] = answer
    return answers


if __name__ == "__main__":
    main(Path(sys.argv[1]))
