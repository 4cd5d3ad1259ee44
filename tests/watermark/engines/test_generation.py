"""The mark in real `generate` and continuous batching of a tiny model: what comes back is green when recounted."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessorList

from tests.watermark.engines.helpers import SPECIALS, VOCABULARY, green_of_scored, key_for, model, tokenizer
from tests.watermark.keys.helpers import assert_no_secret
from watermark import GreenList, GreenListProcessor, Key, MarkConfig
from watermark.errors import TokenizerMismatchError, UnsupportedError
from watermark.keys import Parameters

pytestmark = pytest.mark.usefixtures("one_torch_thread")
HOT = 40.0  # nats: hardly anything red is left to be drawn
PROMPTS = ["What is the moon?", "Count the coins.", "The rain fell on the harbour and the boats were still."]
WAYS = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "temperature": 1.3, "top_k": 200},
    "beams": {"do_sample": False, "num_beams": 3},
    "sampled beams": {"do_sample": True, "num_beams": 2},
    "several": {"do_sample": True, "num_return_sequences": 3},
}


def marked(key: Key | None, route: str, **options: Any) -> tuple[torch.Tensor, int]:
    """Returned ids, prompts included, and the width of the prompts (padded on the left)."""
    batch = tokenizer()(PROMPTS, return_tensors="pt", padding=True, padding_side="left")
    routes: dict[str, Any] = {}
    if key is not None and route == "processor":
        routes = {"logits_processor": [GreenListProcessor(key, VOCABULARY, tokenizer=tokenizer())]}
    elif key is not None:
        routes = {"watermarking_config": MarkConfig(key, tokenizer=tokenizer())}
    settings = {"max_new_tokens": 40, "min_new_tokens": 20, "pad_token_id": 2, **options}
    torch.manual_seed(1)
    out = model().generate(**batch, **settings, **routes)
    ids = out if isinstance(out, torch.Tensor) else out.sequences
    return ids, batch.input_ids.shape[1]


@pytest.mark.parametrize("route", ["processor", "config"])
@pytest.mark.parametrize("way", WAYS)
def test_hot_text_is_green_when_recounted(way: str, route: str) -> None:
    key = key_for(1, HOT)
    ids, width = marked(key, route, **WAYS[way])
    green = green_of_scored(key, ids.tolist(), skip=width)
    assert len(green) > 50
    assert green.mean() > 0.97
    other = green_of_scored(key_for(1, number=1), ids.tolist(), skip=width)
    assert other.mean() < 0.6


@pytest.mark.parametrize("route", ["processor", "config"])
@pytest.mark.parametrize("h", range(9))
def test_every_context_width(h: int, route: str) -> None:
    key = key_for(h, HOT)
    ids, width = marked(key, route, do_sample=True)
    green = green_of_scored(key, ids.tolist(), skip=width)
    assert len(green) > 40
    assert green.mean() > 0.97
    plain, _ = marked(None, route, do_sample=True)
    assert green_of_scored(key, plain.tolist(), skip=width).mean() < 0.6


def test_unmarked_text_has_gamma_green_over_keys() -> None:
    """The recount itself: over 300 keys the green fraction of one unmarked text is γ."""
    ids, width = marked(None, "processor", do_sample=True)
    means = [green_of_scored(key_for(2, number=n), ids.tolist(), skip=width).mean() for n in range(300)]
    assert stats.ttest_1samp(means, 0.25).pvalue > 1e-3


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_delta_is_divided_by_the_temperature_for_the_processor_only(temperature: float) -> None:
    """First step's scores with and without the mark: they differ by δ after `watermarking_config`, by δ/T before it."""
    key = key_for(1, delta=2.0)
    options = {"do_sample": True, "temperature": temperature, "top_k": 0, "max_new_tokens": 1, "min_new_tokens": None}
    first = {}
    for route, used in (("plain", None), ("config", key), ("processor", key)):
        batch = tokenizer()(PROMPTS[0], return_tensors="pt")
        how: dict[str, Any] = {}
        if route == "config":
            how = {"watermarking_config": MarkConfig(key)}
        elif used is not None:
            how = {"logits_processor": [GreenListProcessor(key, VOCABULARY)]}
        out = model().generate(
            **batch, **options, **how, pad_token_id=2, return_dict_in_generate=True, output_scores=True
        )
        first[route] = out.scores[0][0]
    green = torch.from_numpy(GreenList(key).mask(batch.input_ids[:, -1:].numpy(), VOCABULARY)[0])
    green[list(SPECIALS)] = False
    assert green.any()
    for route, delta in (("config", 2.0), ("processor", 2.0 / temperature)):
        torch.testing.assert_close(first[route] - first["plain"], delta * green, atol=1e-4, rtol=0)


def test_the_config_marks_what_top_k_has_left() -> None:
    """After top-k a removed token stays removed: −inf + δ."""
    key = key_for(1, HOT)
    batch = tokenizer()(PROMPTS[0], return_tensors="pt")
    out = model().generate(
        **batch, do_sample=True, top_k=5, max_new_tokens=6, pad_token_id=2, watermarking_config=MarkConfig(key),
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    assert all(torch.isfinite(step).sum() == 5 for step in out.scores)


def test_the_cache_lives_as_long_as_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    fill_bits = GreenList.fill_bits
    monkeypatch.setattr(GreenList, "fill_bits", lambda *a: (calls.append(1), fill_bits(*a))[1])
    batch = tokenizer()(PROMPTS[0], return_tensors="pt")
    config = MarkConfig(key_for(1))
    for _ in range(3):
        model().generate(**batch, do_sample=False, max_new_tokens=8, pad_token_id=2, watermarking_config=config)
        assert 0 < len(calls) <= 8  # greedy: the second and third time every context has been seen


def test_a_model_narrower_than_the_keys_tokenizer_is_refused_by_generate() -> None:
    from watermark.keys import TokenizerIdentity

    wide = Key(bytes(32), Parameters(16384, 2.0, 1, TokenizerIdentity("wide", "ab" * 32, VOCABULARY + 1, ())))
    batch = tokenizer()(PROMPTS[0], return_tensors="pt")
    with pytest.raises(TokenizerMismatchError, match="384 logits"):
        model().generate(**batch, max_new_tokens=2, watermarking_config=MarkConfig(wide))


# --- a config that holds a key is copied, printed, logged and saved ---


def test_a_mark_config_shows_six_public_things() -> None:
    key = key_for(2, 1.5).account("acct-17")
    assert MarkConfig(key).to_dict() == {
        "watermark": "taggant",
        "key_id": key.key_id,
        "scheme": "greenlist/1",
        "gamma_65536": 16384,
        "delta": 1.5,
        "context_width": 2,
    }
    assert dict(MarkConfig(key)) == json.loads(MarkConfig(key).to_json_string()) == MarkConfig(key).to_dict()


def test_no_representation_of_a_config_holds_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = bytes(range(0xA0, 0xC0))
    key = Key(secret, key_for(1).parameters).account("acct-17")
    mark = MarkConfig(key)
    config = GenerationConfig(watermarking_config=mark, max_new_tokens=3, do_sample=True, pad_token_id=2)
    mark.to_json_file(tmp_path / "mark.json")
    config.save_pretrained(tmp_path)
    config.to_json_file(tmp_path / "all.json", use_diff=False)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("someone").warning("generating with %s and %r and %s", config, mark, vars(mark))
    mark.construct_processor(VOCABULARY)
    shown = [repr(mark), str(mark), f"{mark}", str(vars(mark)), str(list(mark)), caplog.text]
    shown += [
        repr(config),
        str(config),
        config.to_json_string(use_diff=False),
        str(config.to_dict()),
        str(vars(config)),
    ]
    saved = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert sorted(saved) == ["all.json", "generation_config.json", "mark.json"]
    shown.append(saved.pop("mark.json"))
    private = {"secret": secret, "derived": key._secret, "chacha key": key.chacha_key}
    for text in shown:
        assert key.key_id[:16] in text
        assert "acct-17" not in text
        for content in private.values():
            assert_no_secret(text, content)
    for text in saved.values():
        assert json.loads(text)["watermarking_config"] is None
        for content in (key.key_id, "acct-17", *(content.hex() for content in private.values())):
            assert content[:16] not in text


def test_a_copied_generation_config_still_marks() -> None:
    key = key_for(1, HOT)
    config = GenerationConfig(
        watermarking_config=MarkConfig(key), max_new_tokens=20, do_sample=True, pad_token_id=2, eos_token_id=2
    )
    twin = copy.deepcopy(config)
    assert twin == config
    assert twin.watermarking_config.construct_processor(VOCABULARY) is not None
    batch = tokenizer()(PROMPTS[0], return_tensors="pt")
    ids = model().generate(**batch, generation_config=twin)
    green = green_of_scored(key, ids.tolist(), skip=batch.input_ids.shape[1])
    assert len(green) > 5
    assert green.all()


def test_configs_are_equal_when_their_keys_are() -> None:
    assert MarkConfig(key_for(1)) == MarkConfig(key_for(1))
    assert MarkConfig(key_for(1)) != MarkConfig(key_for(1, number=1))
    assert MarkConfig(key_for(1)) != MarkConfig(key_for(1, delta=3.0))
    assert MarkConfig(key_for(1)) != "x"
    assert len({MarkConfig(key_for(1)), MarkConfig(key_for(1)), MarkConfig(key_for(2))}) == 2
    with pytest.raises(UnsupportedError, match="does not change"):
        MarkConfig(key_for(1)).update(delta=3.0)


def test_a_saved_config_loads_without_its_mark_and_saving_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file must not hold the key. What is read back is no mark at all, rather than another one or an error."""
    config = GenerationConfig(watermarking_config=MarkConfig(key_for(1)), max_new_tokens=7)
    with caplog.at_level(logging.WARNING):
        config.save_pretrained(tmp_path)
    assert "saved without its mark" in caplog.text
    loaded = GenerationConfig.from_pretrained(tmp_path)
    assert (loaded.watermarking_config, loaded.max_new_tokens) == (None, 7)
    assert config.watermarking_config == MarkConfig(key_for(1))  # saving takes nothing away
    caplog.clear()
    assert key_for(1).key_id in repr(config)
    assert caplog.text == ""


def test_a_model_saved_with_its_mark_in_the_generation_config_loads(tmp_path: Path) -> None:
    from watermark.engines.models import load_model

    twin = copy.deepcopy(model())
    twin.generation_config = GenerationConfig(
        watermarking_config=MarkConfig(key_for(1)), eos_token_id=2, pad_token_id=2
    )
    twin.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.generation_config.watermarking_config is None
    assert loaded.generation_config.eos_token_id == 2


# --- continuous batching, really run (on the CPU; its cache is made small) ---


def continuously(key: Key | None, processors: list[Any] | None = None, **options: Any) -> Any:
    twin = copy.deepcopy(model())  # the manager changes the attention of the model it is given
    torch.manual_seed(3)
    return twin.generate_batch(
        list(tokenizer()(PROMPTS).input_ids),
        generation_config=GenerationConfig(
            do_sample=True,
            max_new_tokens=20,
            eos_token_id=-1,
            pad_token_id=2,
            watermarking_config=None if key is None else MarkConfig(key),
        ),
        continuous_batching_config=ContinuousBatchingConfig(
            num_blocks=16, page_size=32, max_batch_tokens=64, **options
        ),
        progress_bar=False,
        **({} if processors is None else {"logits_processor": processors}),
    )


@pytest.mark.parametrize("h", [0, 1])
def test_continuous_batching_is_marked(h: int) -> None:
    key = key_for(h, HOT)
    outputs = continuously(key).values()
    assert [len(out.generated_tokens) for out in outputs] == [20, 20, 20]
    documents = [out.prompt_ids + out.generated_tokens for out in outputs]
    green = np.concatenate([green_of_scored(key, [document], skip=len(document) - 20) for document in documents])
    assert len(green) > 40
    assert green.mean() > 0.97


def test_continuous_batching_swallows_a_logits_processor() -> None:
    """As our docstrings warn. Where this fails, transformers has learnt to take it: say so there."""
    key = key_for(1, HOT)
    outputs = continuously(None, [GreenListProcessor(key, VOCABULARY)]).values()
    documents = [out.prompt_ids + out.generated_tokens for out in outputs]
    green = np.concatenate([green_of_scored(key, [document], skip=len(document) - 20) for document in documents])
    assert 0 < green.mean() < 0.6


def test_unmarked_continuous_batching_is_not_green() -> None:
    key = key_for(1, HOT)
    documents = [out.prompt_ids + out.generated_tokens for out in continuously(None).values()]
    green = np.concatenate([green_of_scored(key, [document], skip=len(document) - 20) for document in documents])
    assert 0 < green.mean() < 0.6


@pytest.mark.parametrize("drop", [True, False])
def test_continuous_batching_refuses_wider_contexts_with_the_reason(drop: bool) -> None:
    for h in (2, 8):
        with pytest.raises(UnsupportedError, match=f"only the last token, and this key needs {h}"):
            continuously(key_for(h), drop_unsupported_processors=drop)
        with pytest.raises(UnsupportedError, match=r"use model\.generate"):
            ContinuousBatchingLogitsProcessorList(
                LogitsProcessorList([GreenListProcessor(key_for(h), VOCABULARY)]), drop_unsupported_processors=drop
            )


def test_the_managers_own_list_keeps_the_mark() -> None:
    key = key_for(1)
    processors = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([GreenListProcessor(key, VOCABULARY)]))
    scores = torch.zeros(4, VOCABULARY)
    last = torch.tensor([5, 9, 2, 5])
    out = processors(last, scores, torch.zeros(0, 4, dtype=torch.int32))
    green = GreenList(key).mask(last.numpy()[:, None], VOCABULARY)
    green[:, list(SPECIALS)] = False
    green[2] = False  # after a special token
    assert np.array_equal(out.numpy(), green * np.float32(key.delta))
