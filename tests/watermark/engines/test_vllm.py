"""The logits processor as vLLM loads it: here beside a stand-in for vLLM's own class."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.watermark.engines.helpers import VOCABULARY, key_for
from watermark import GreenListProcessor
from watermark.errors import KeyFileError, TokenizerMismatchError, UnsupportedError

STUB = Path(__file__).parent / "stub"
PLACE = "watermark.engines.vllm"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`watermark.engines.vllm`, over the stand-in."""
    loaded = [name for name in sys.modules if name == PLACE or name.partition(".")[0] == "vllm"]
    for name in loaded:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(STUB)
    monkeypatch.delenv("TAGGANT_KEYS", raising=False)
    yield importlib.import_module(PLACE)
    for name in [name for name in sys.modules if name == PLACE or name.partition(".")[0] == "vllm"]:
        del sys.modules[name]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for number in range(3):
        key_for(number=number).save(tmp_path / f"{number}.key")
    return tmp_path


def processor(module: Any, vocab_size: int = VOCABULARY, speculative: Any = None) -> Any:
    model = SimpleNamespace(get_vocab_size=lambda: vocab_size)
    config = SimpleNamespace(model_config=model, speculative_config=speculative)
    return module.GreenListLogitsProcessor(config, torch.device("cpu"), False)


def asking(path: Any) -> Any:
    return SimpleNamespace(extra_args=None if path is None else {"taggant_key": str(path)})


def added(*rows: tuple[Any, list[int], list[int]]) -> Any:
    return SimpleNamespace(removed=[], moved=[], added=[(row, *one) for row, one in enumerate(rows)])


def test_vllm_takes_it_for_a_logits_processor(module: Any) -> None:
    from vllm.v1.sample.logits_processor import LogitsProcessor

    assert issubclass(module.GreenListLogitsProcessor, LogitsProcessor)
    made = processor(module)
    assert made.is_argmax_invariant() is False
    assert made.needs_output_token_ids() is True


def test_each_request_has_the_mark_it_names(module: Any, keys: Path) -> None:
    made = processor(module)
    made.update_state(None)
    logits = torch.randn(3, VOCABULARY)
    assert made.apply(logits.clone()).equal(logits)
    answer: list[int] = []
    rows = (asking(keys / "0.key"), [5, 6], answer), (asking(None), [5, 6], []), (asking(keys / "1.key"), [7], [8])
    made.update_state(added(*rows))
    answer.append(9)
    got = made.apply(logits.clone())
    for row, key, last in ((0, key_for(number=0), 9), (2, key_for(number=1), 8)):
        assert got[row].equal(GreenListProcessor(key, VOCABULARY)(torch.tensor([[last]]), logits[row, None])[0])
    assert got[1].equal(logits[1])
    assert got.equal(logits) is False


def test_a_key_that_a_request_cannot_have_is_refused_where_it_arrives(module: Any, keys: Path) -> None:
    module.GreenListLogitsProcessor.validate_params(asking(None))
    module.GreenListLogitsProcessor.validate_params(asking(keys / "1.key"))
    with pytest.raises(KeyFileError, match=r"none\.key") as caught:
        module.GreenListLogitsProcessor.validate_params(asking(keys / "none.key"))
    assert isinstance(caught.value, ValueError)  # what vLLM answers with "bad request"


def test_a_servers_keys_are_looked_at_when_it_starts(module: Any, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGGANT_KEYS", str(keys))
    assert len(processor(module)._biases) == 3
    with pytest.raises(TokenizerMismatchError, match=f"{VOCABULARY - 1} logits"):
        processor(module, VOCABULARY - 1)
    module.GreenListLogitsProcessor.validate_params(asking("2.key"))
    with pytest.raises(KeyFileError, match="no key of that name"):
        module.GreenListLogitsProcessor.validate_params(asking(keys / "2.key"))


def test_a_servers_own_key_marks_every_request(module: Any, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGGANT_KEYS", str(keys / "2.key"))
    made = processor(module)
    made.update_state(added((asking(None), [5], [])))
    logits = torch.randn(1, VOCABULARY)
    expected = GreenListProcessor(key_for(number=2), VOCABULARY)(torch.tensor([[5]]), logits)
    assert made.apply(logits.clone()).equal(expected)
    assert not expected.equal(logits)


def test_speculative_decoding_is_refused(module: Any) -> None:
    with pytest.raises(UnsupportedError, match="speculative decoding"):
        processor(module, speculative=object())


def test_marks_that_nobody_needs_are_forgotten(module: Any, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MARKS", 2)
    made = processor(module)
    for number in (0, 1, 0, 2):
        made.update_state(added((asking(keys / f"{number}.key"), [5], [])))
    assert list(made._biases) == [key_for(number=0), key_for(number=2)]
    logits = torch.randn(1, VOCABULARY)
    made.update_state(added((asking(keys / "1.key"), [5], [])))
    expected = GreenListProcessor(key_for(number=1), VOCABULARY)(torch.tensor([[5]]), logits)
    assert made.apply(logits.clone()).equal(expected)


def test_nothing_shows_a_key(module: Any, keys: Path) -> None:
    made = processor(module)
    made.update_state(added((asking(keys / "0.key"), [5], [])))
    shown = repr(made) + repr(vars(made)) + repr(module._ring()) + repr(vars(module._ring()))
    for secret in (key_for(number=0).chacha_key, key_for(number=0)._secret):
        assert secret.hex() not in shown
        assert repr(secret) not in shown
