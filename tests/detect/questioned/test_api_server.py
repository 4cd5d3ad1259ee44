"""A real server, `transformers serve`, with a model that carries the mark in its weights, and one that does not.

The model is small (`table_model`), the server is not ours. Its own log tells how many questions it answered.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.detect.cli.helpers import execute, save_key, write_rows
from tests.detect.questioned import table_model
from tests.detect.questioned.examiner import examiner, numbers
from watermark import Key

PROMPTS = ("Where is the sea?", "Who counted the coins?", "What fell?", "When goes the moon?")


class Server:
    """`transformers serve` on a model directory.

    It draws from one generator for all requests, so answers repeat only where one request is under way at a time.
    """

    def __init__(self, model: Path, log: Path) -> None:
        self.model, self._log = model, log
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", self.model, "--device", "cpu"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*map(str, command), "--host", "127.0.0.1", "--port", str(self.port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            )
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return
            except OSError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(30)

    def received(self) -> int:
        """Questions it began to answer."""
        return self._log.read_text().count("[Request received]")

    def settle(self) -> None:
        """Wait until it has dealt with what is under way: it answers one request after the other."""
        body = {"model": str(self.model), "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            answer.read()


@contextmanager
def serving(model: Path, log: Path) -> Iterator[Server]:
    server = Server(model, log)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def key(place: Path) -> Path:
    return save_key(place / "key")


@pytest.fixture(scope="module")
def student(place: Path, key: Path) -> Path:
    return table_model.build(place / "student", key=Key.load(key), delta=2.0)


def suspect(server: Server, key: Path, tmp_path: Path, *options: object) -> dict[str, Any]:
    probes = tmp_path / "prompts.jsonl"
    write_rows(probes, [{"prompt": prompt} for prompt in PROMPTS])
    asked = ["--api", server.url, "--model-name", server.model, "--max-new-tokens", 48, "--log", tmp_path / "log"]
    result = execute("suspect", "--key", key, "--probes", probes, "--sample", 2500, "--json", *asked, *options)
    evidence: dict[str, Any] = result.json()["sampled"]
    return evidence


def test_the_mark_is_found_in_the_student_and_not_in_the_control(
    place: Path, key: Path, student: Path, tmp_path: Path
) -> None:
    control = table_model.build(place / "control")
    for model, wanted in ((student, "detected"), (control, "inconclusive")):
        directory = tmp_path / model.name
        directory.mkdir()
        with serving(model, directory / "serve.log") as server:
            evidence = suspect(server, key, directory)
            foreign = suspect(server, save_key(directory / "foreign", 3), directory)  # from the log: nothing is asked
            assert server.received() == len(numbers(directory / "log"))
        assert evidence["finding"] == wanted, evidence
        assert foreign["finding"] == "inconclusive"
        assert min(foreign["log10_p"], 0 if wanted == "detected" else evidence["log10_p"]) > -4
        assert (foreign["n_scored"], foreign["n_tokens"]) == (evidence["n_scored"], evidence["n_tokens"])
        assert any("tokenised again: as many tokens as the server counted" in note for note in evidence["notes"])


def test_server_killed_and_examiner_killed_the_evidence_is_that_of_the_undisturbed_run(
    student: Path, tmp_path: Path
) -> None:
    """Answered means recorded, as in `test_api`. The server's own log: nothing that was recorded is asked again."""
    rng = random.Random(4)
    how: dict[str, Any] = {"model": str(student), "tokenizer": student, "at_a_time": 1}
    with serving(student, tmp_path / "serve.log") as server:
        with examiner(server.url, tmp_path / "calm", tmp_path / "calm.json", **how) as (start, wait):
            start()
            wait()
        undisturbed = (tmp_path / "calm.json").read_bytes()
        asked = server.received()
        assert asked == len(numbers(tmp_path / "calm")) > 30

        log, out = tmp_path / "log", tmp_path / "out.json"
        with examiner(server.url, log, out, **how) as (start, wait):
            for kill in range(20):
                seen = server.received()
                process = start()
                deadline = time.monotonic() + 30
                while server.received() == seen:
                    assert time.monotonic() < deadline
                    time.sleep(0.002)
                time.sleep(rng.uniform(0, 0.06))
                os.kill(process, signal.SIGKILL)
                wait()
                assert not out.exists(), f"the run ended before kill {kill}"
                server.settle()
            start()
            threading.Timer(0.3, server.kill).start()
            time.sleep(1.0)
            assert not out.exists(), "the run ended before the server was killed"
            server.start()
            wait()
        under_way = server.received() - asked - 20 - len(numbers(log))  # 20 questions of `settle`
    assert out.read_bytes() == undisturbed
    assert len(numbers(log)) == len(set(numbers(log)))
    assert 0 <= under_way <= 21
