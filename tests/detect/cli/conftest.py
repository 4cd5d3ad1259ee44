"""Keys, texts and answers of the tiny model for the tests of the command line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests import tiny
from tests.detect.cli.helpers import Cli, save_key, write_rows


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, one_torch_thread: None) -> None:
    """No hub, no colours, no settings of the developer's."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("TAGGANT_DEBUG", "_TAGGANT_COMPLETE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a directory of its own, where files may be left."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key without tokenizer: enough for token ids."""
    return save_key(tmp_path / "bare.key", bare=True)


@pytest.fixture
def text_key(tmp_path: Path) -> Path:
    """A key for the tiny tokenizer."""
    return save_key(tmp_path / "text.key")


@pytest.fixture
def ids(tmp_path: Path) -> Path:
    """400 tokens that no key had a part in."""
    stream = [byte + 3 for i in range(13) for byte in hashlib.sha256(bytes([i])).digest()][:400]
    return write_rows(tmp_path / "ids.jsonl", [{"id": "a", "token_ids": stream[:200]}, {"token_ids": stream[200:]}])


@pytest.fixture(scope="session")
def model() -> Path:
    return tiny.shared()


@pytest.fixture(scope="session")
def foreign_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same shape whose tokenizer has other tokens."""
    directory = tmp_path_factory.mktemp("foreign")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "SENTENCES", tuple(sentence.replace("the", "qux") for sentence in tiny.SENTENCES))
        return tiny.build(directory / "model", seed=5)
