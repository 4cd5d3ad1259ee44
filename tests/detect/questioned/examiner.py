"""An examination in a process of its own that can be killed: it asks, records, counts and writes the evidence.

Run as a program it loads everything once and then examines in a fork, once for each line of its input, so that twenty
examinations take no longer than they must.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

QUESTIONS: dict[str, Any] = {"model": "m", "endpoint": "chat", "prompts": ("why?", "how?", "who?")}
TOKENS = 1500


@contextmanager
def examiner(
    url: str,
    log: Path,
    out: Path,
    *,
    model: str = "m",
    tokenizer: Path | str = "",
    at_a_time: int = 6,
    pairs: int = 0,
) -> Iterator[tuple[Callable[[], int], Callable[[], None]]]:
    """Yield two functions: one starts an examination and returns its process id, one waits until it has ended.

    Args:
        out: where the evidence is written, as JSON.
        tokenizer: a directory; "": each word is a token.
        pairs: at most, in an e-process; 0: a fixed number of tokens.
    """
    module = [sys.executable, "-m", "tests.detect.questioned.examiner"]
    command = [*module, url, log, out, model, tokenizer, at_a_time, pairs]
    with subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
    ) as process:
        asks, says = process.stdin, process.stdout
        assert asks is not None
        assert says is not None
        assert says.readline() == "ready\n"

        def start() -> int:
            asks.write("\n")
            asks.flush()
            return int(says.readline())

        def wait() -> None:
            assert says.readline() == "ended\n"

        try:
            yield start, wait
        finally:
            asks.close()


def numbers(log: Path) -> list[int]:
    """The requests whose answers are in a log; a last line that was cut short does not count."""
    lines = log.read_bytes().splitlines(keepends=True)[1:] if log.exists() else []
    return [json.loads(line)["request"] for line in lines if line.endswith(b"\n")]


def main(url: str, log: str, out: str, model: str, tokenizer: str, at_a_time: str, pairs: str) -> None:
    """Examine once for each line of the standard input."""
    import httpx2
    import openai.resources.chat.completions

    from detect import assess, tally
    from detect.questioned.answer_ids import AnswerReader
    from detect.questioned.api import ask
    from detect.questioned.patience import Patience
    from detect.questioned.questions import ApiSampling, Questions
    from detect.questioned.responses import Response, ResponseLog, responses_sha256
    from detect.sequential import Sequential
    from watermark import Key
    from watermark.engines.models import load_tokenizer
    from watermark.keys import Parameters

    assert httpx2, openai  # loaded before the fork
    reader = AnswerReader(load_tokenizer(tokenizer)) if tokenizer else None
    questions = Questions(url, **{**QUESTIONS, "model": model}, sampling=ApiSampling(max_new_tokens=32))

    def ids(response: Response) -> list[int]:
        if reader is not None:
            return reader.read(response).ids
        return [3 + sum(word.encode()) % 250 for word in response.text.split()]

    def examine() -> None:
        patience = Patience(int(at_a_time), 10, 60)
        key = Key(bytes(range(32)), Parameters(16384, 2.0, 2 if int(pairs) else 1, None))
        test = Sequential(key, [], 1e-6, int(pairs)) if int(pairs) else None
        target = TOKENS if test is None else None
        stop = None if test is None else lambda r: test.add(r.request, ids(r))
        with ResponseLog(Path(log), questions) as responses:
            found = ask(questions, responses, target, length=lambda r: len(ids(r)), stop=stop, patience=patience)
        counted = tally(key, map(ids, found), test="sampled") if test is None else test.result()
        evidence = assess(counted, notes=[responses_sha256(found)])
        Path(out).write_text(evidence.to_json())

    print("ready", flush=True)
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            try:
                examine()
            finally:
                os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
