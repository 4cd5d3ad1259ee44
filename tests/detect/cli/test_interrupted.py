"""Ctrl-C while a questioned model is asked: what is said of the answers is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detect.questioned.responses import Response, ResponseLog
from tests.detect.cli.helpers import Cli, names, write_rows


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "asked.jsonl", [{"prompt": "The rain"}])


def behind_api(key: Path, asked: Path, log: Path) -> list[object]:
    where = ["--api", "http://127.0.0.1:9/v1", "--model-name", "m", "--log", log]
    return ["suspect", "--key", key, "--probes", asked, *where]


@pytest.mark.parametrize("answers", [0, 2])
def test_where_the_answers_are_is_said_where_there_are_any(
    answers: int, cli: Cli, text_key: Path, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(questions: Any, log: ResponseLog, *_: object, **__: object) -> None:
        for request in range(len(log.answered), answers):
            log.record(Response(request, questions.prompt_of(request), "and the sea"))
        raise KeyboardInterrupt

    monkeypatch.setattr("detect.questioned.api.ask", stopped)
    monkeypatch.delenv("TAGGANT_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    log = tmp_path / "log"
    for again in range(2):
        result = cli(*behind_api(text_key, asked, log))
        assert (result.code, result.out) == (130, "")
        lines = result.notes.splitlines()
        assert lines[-1] == "taggant: interrupted; nothing is left half-written"
        said = [f"The answers so far are in {log}; the same command goes on from there."] if answers else []
        assert lines[:-1] == [*([f"2 answers are in {log} already; going on"] if answers and again else []), *said]
        assert log.exists() == bool(answers)


def test_a_model_at_hand_is_asked_from_the_start_again(
    cli: Cli, text_key: Path, model: Path, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("detect.questioned.sampled.sample_model", stopped)
    before = names(tmp_path)
    result = cli("suspect", "--key", text_key, "--model", model, "--probes", asked, "--sample", 90)
    assert (result.code, result.out) == (130, "")
    assert result.notes.splitlines()[-2:] == [
        "No answers of a model at hand are kept: the same command asks from the start, with the same seed.",
        "taggant: interrupted; nothing is left half-written",
    ]
    assert names(tmp_path) == before
