"""Answers by vLLM in a process of its own: the protocol on a stand-in, the statistics (`test_vllm_real`) on vLLM."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.distill_sim.processes import REPOSITORY, eventually
from tests.watermark.engines.helpers import VOCABULARY, green_of_scored, key_for, tokenizer
from watermark.engines import vllm_answers
from watermark.engines.answers import Sampling, resumed
from watermark.engines.vllm_answers import VllmEngine, require_vllm
from watermark.errors import InputError, ModelError, TokenizerMismatchError
from watermark.journal import Journal
from watermark.keys import Key, TokenizerIdentity

STUB = Path(__file__).parent / "stub"
SAMPLING = Sampling(max_new_tokens=12, batch_size=3)
PROMPTS = [[5, 6, 7, 8], [9], [10, 11, 12], [13, 14], [15, 16, 17, 18, 19, 20, 21], [22], [23, 24], [25] * 30]
EOS = 2


@pytest.fixture(scope="module")
def stub() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(STUB)
        patch.setenv("TAGGANT_KEYS", "/nowhere")  # a server's: no engine of ours heeds it
        patch.delenv("TAGGANT_DEBUG", raising=False)
        patch.delenv("TAGGANT_VLLM_PYTHON", raising=False)
        yield


@pytest.fixture(scope="module")
def engine(stub: None) -> Iterator[VllmEngine]:
    made = VllmEngine(tiny.shared())
    yield made
    made.close()


def all_answers(
    engine: VllmEngine, prompts: Sequence[Sequence[int]] = PROMPTS, sampling: Sampling = SAMPLING, **how: Any
) -> list[list[int]]:
    how = {"seed": 1, **how}
    return [ids for batch in engine.answer(tokenizer(), prompts, sampling, **how) for ids in batch]


def test_the_engine_says_what_it_is(engine: VllmEngine) -> None:
    assert engine.version == "0.0.stub"
    assert engine.is_open


def test_one_answer_a_prompt_in_their_order_whatever_the_batch(engine: VllmEngine) -> None:
    batches = list(engine.answer(tokenizer(), PROMPTS, SAMPLING, seed=1))
    assert [len(batch) for batch in batches] == [3, 3, 2]
    together = all_answers(engine)
    assert together == [ids for batch in batches for ids in batch]
    assert together == all_answers(engine, sampling=replace(SAMPLING, batch_size=8))
    assert len({str(ids) for ids in together}) == len(PROMPTS)
    assert together != all_answers(engine, seed=2)


def test_resuming_gives_what_the_undisturbed_run_gives(engine: VllmEngine, tmp_path: Path) -> None:
    whole = all_answers(engine)
    assert all_answers(engine, first=3) == whole[3:]
    assert all_answers(engine, first=8) == []
    with Journal(tmp_path / "journal", "this work") as journal:
        journal.append(whole[:3])
    added: list[int] = []
    with Journal(tmp_path / "journal", "this work") as journal:
        got = resumed(
            lambda first: engine.answer(tokenizer(), PROMPTS, SAMPLING, seed=1, first=first), journal, added.append
        )
    assert got == whole
    assert added == [3, 3, 2]
    with pytest.raises(ValueError, match="no batch of 3 begins at prompt 4"):
        all_answers(engine, first=4)


def test_answers_end_before_their_stop(engine: VllmEngine) -> None:
    sampling = Sampling(max_new_tokens=150, batch_size=16, temperature=1.5)
    answers = all_answers(engine, [[5 + i] for i in range(32)], sampling)
    assert not any(EOS in ids for ids in answers)
    assert 3 < sum(len(ids) < 150 for ids in answers) < 32


def test_a_key_file_marks_the_answers(engine: VllmEngine, tmp_path: Path) -> None:
    key = key_for(2, delta=40.0)
    key.save(tmp_path / "a.key")

    def green(key_file: Path | None) -> np.ndarray:
        answers = all_answers(engine, sampling=replace(SAMPLING, max_new_tokens=30), key_file=key_file)
        documents = [prompt + ids for prompt, ids in zip(PROMPTS, answers, strict=True)]
        return np.concatenate([green_of_scored(key, [d], skip=len(p)) for d, p in zip(documents, PROMPTS, strict=True)])

    assert green(tmp_path / "a.key").mean() > 0.97
    assert 0.1 < green(None).mean() < 0.45


def test_what_is_refused_before_anything_is_asked(engine: VllmEngine, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"prompt 1 \(from 0\) has no tokens"):
        all_answers(engine, [[5], []])
    other = Key.generate(tokenizer=TokenizerIdentity("other", "ab" * 32, VOCABULARY, (0, 1, 2)))
    other.save(tmp_path / "other.key")
    with pytest.raises(TokenizerMismatchError):
        all_answers(engine, key_file=tmp_path / "other.key")
    assert len(all_answers(engine)) == len(PROMPTS)


def test_what_vllm_cannot_start_is_one_line(
    stub: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STUB_VLLM_FAILS", "start")
    with pytest.raises(
        ModelError, match=r"vLLM cannot answer with .*: RuntimeError: no such; TAGGANT_DEBUG=1"
    ) as caught:
        VllmEngine(tiny.shared())
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("TAGGANT_DEBUG", "1")
    with pytest.raises(ModelError):
        VllmEngine(tiny.shared())
    assert "no such\nattention backend" in capfd.readouterr().err


def test_what_vllm_cannot_answer_is_one_line_and_the_engine_is_closed(
    stub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_VLLM_FAILS", "answer")
    engine = VllmEngine(tiny.shared())
    with pytest.raises(ModelError, match="ValueError: the prompt is too long"):
        all_answers(engine)
    eventually(lambda: not engine.is_open, 10, "the engine ends")
    with pytest.raises(ModelError, match="it ended"):
        all_answers(engine)
    engine.close()


def test_a_killed_engine_is_told_of(stub: None) -> None:
    engine = VllmEngine(tiny.shared())
    engine._process.send_signal(signal.SIGKILL)
    engine._process.wait()
    with pytest.raises(ModelError, match="it ended"):
        all_answers(engine)
    engine.close()
    engine.close()  # twice is no harm
    assert not engine.is_open


def test_it_ends_with_whoever_started_it_also_in_the_middle_of_an_answer(
    stub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_VLLM_SLEEPS", "60")
    engine = VllmEngine(tiny.shared())
    stdin = engine._process.stdin
    assert stdin is not None
    stdin.write(b'{"prompts": [], "seeds": [], "sampling": {}, "stops": [], "key": null}\n')
    stdin.flush()
    time.sleep(0.3)
    stdin.close()  # as the system does for a process that was killed
    began = time.monotonic()
    engine._process.wait(20)
    assert time.monotonic() - began < 20
    engine.close()


def test_no_secret_is_in_arguments_or_environment_of_the_engine(engine: VllmEngine) -> None:
    place = Path(f"/proc/{engine._process.pid}")
    if not place.exists():
        pytest.skip("no /proc here")
    shown = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
    assert str(tiny.shared()).encode() in shown
    assert b"TAGGANT_KEYS" not in shown
    assert key_for(2, delta=40.0)._secret.hex().encode() not in shown
    assert os.getpgid(engine._process.pid) == engine._process.pid  # a Ctrl-C does not reach it


def test_without_vllm_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_answers, "find_spec", lambda name: None)
    monkeypatch.delenv("TAGGANT_VLLM_PYTHON", raising=False)
    for call in (require_vllm, lambda: VllmEngine(tiny.shared())):
        with pytest.raises(InputError, match=r"pip install 'taggant\[vllm\]'"):
            call()


def test_another_python_may_have_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is given none of our module path: its packages are its own. Here it is ours, under another name."""
    monkeypatch.setattr(vllm_answers, "find_spec", lambda name: None)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(STUB), str(REPOSITORY)]))
    monkeypatch.setenv("TAGGANT_VLLM_PYTHON", str(tmp_path / "python"))
    with pytest.raises(InputError, match=r"TAGGANT_VLLM_PYTHON is .*, which is no program"):
        require_vllm()
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "python").chmod(0o755)
    engine = VllmEngine(tiny.shared())
    assert engine.version == "0.0.stub"
    environment = vllm_answers._environment(require_vllm())
    assert environment["PYTHONPATH"] == os.environ["PYTHONPATH"]
    engine.close()
