"""The process in which vLLM runs for `watermark.engines.vllm_answers`: a line of JSON in, a line of JSON out.

It ends when its standard input does, also in the middle of an answer.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from typing import Any, TextIO

LONGEST = 4096  # positions, where a model knows as many: its cache is laid out for them


def main(directory: str) -> None:
    """Load the model, say so, and answer until nobody asks any more."""
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # whatever else is printed here is no answer
        try:
            import vllm

            model = _load(directory)
            _tell(answers, {"vllm": vllm.__version__})
            while True:
                _tell(answers, {"answers": _answered(model, json.loads(requests.get()))})
        except Exception as error:
            traceback.print_exc()
            _tell(answers, {"error": f"{type(error).__name__}: {error}"})
            answers.flush()
            os._exit(1)


def _listen(requests: queue.SimpleQueue[bytes]) -> None:
    with os.fdopen(os.dup(0), "rb") as lines:
        for line in lines:
            requests.put(line)
    os._exit(0)


def _tell(answers: TextIO, what: dict[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def _load(directory: str) -> Any:
    from vllm import LLM
    from vllm.platforms import current_platform

    from watermark.engines.models import load_settings
    from watermark.engines.vllm import GreenListLogitsProcessor

    is_cpu = current_platform.is_cpu()
    config, _ = load_settings(directory)
    known = getattr(config.get_text_config(), "max_position_embeddings", None) or LONGEST
    return LLM(
        directory,
        skip_tokenizer_init=True,
        trust_remote_code=False,
        load_format="safetensors",
        dtype=str(config.dtype or "float32").removeprefix("torch."),
        max_model_len=min(known, LONGEST),
        generation_config="vllm",  # only what is asked for says how tokens are drawn, not the model's own defaults
        enforce_eager=is_cpu,  # compiling takes longer there than the answers
        # vLLM 0.32 takes back a draw from a seeded request whose prompt came in part, which a CPU's generator can't
        enable_chunked_prefill=False if is_cpu else None,
        logits_processors=[GreenListLogitsProcessor],
        disable_log_stats=True,
    )


def _answered(model: Any, request: dict[str, Any]) -> list[list[int]]:
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt

    from watermark.engines.key_ring import ARGUMENT

    how = request["sampling"]
    parameters = [
        SamplingParams(
            max_tokens=how["max_new_tokens"],
            temperature=how["temperature"],
            top_k=how["top_k"],
            top_p=how["top_p"],
            seed=seed,
            stop_token_ids=request["stops"],
            ignore_eos=True,  # the stops are all there are
            detokenize=False,
            extra_args=None if request["key"] is None else {ARGUMENT: request["key"]},
        )
        for seed in request["seeds"]
    ]
    prompts = [TokensPrompt(prompt_token_ids=ids) for ids in request["prompts"]]
    outputs = model.generate(prompts, parameters, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


if __name__ == "__main__":
    main(sys.argv[1])
