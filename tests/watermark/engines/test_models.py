"""Loading: what is accepted computes the right thing; what could run code, or lie, is refused in one line."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import tiny
from tests.hub import serve
from watermark.engines import models
from watermark.engines.models import load_model, load_tokenizer, model_digest, tokenizer_fingerprint
from watermark.errors import ModelError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.shared(), tmp_path / "model"))


def edit(path: Path, **members: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def refused(load: Callable[[Path], object], directory: Path, *words: str) -> None:
    """`load` raises ModelError: one line, naming the place and the words."""
    with pytest.raises(ModelError) as caught:
        load(directory)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(directory), *words):
        assert word in message


def test_the_model_is_float32_in_evaluation_mode_with_the_files_own_weights(directory: Path) -> None:
    model = load_model(directory)
    assert not model.training
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    saved = load_file(directory / "model.safetensors")
    assert len(saved) > 10
    for name, weight in saved.items():
        assert torch.equal(model.get_parameter(name), weight), name
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_half_precision_weights_become_float32(directory: Path) -> None:
    halves = {name: weight.bfloat16() for name, weight in load_file(directory / "model.safetensors").items()}
    save_file(halves, directory / "model.safetensors", metadata={"format": "pt"})
    edit(directory / "config.json", dtype="bfloat16")
    model = load_model(directory)
    assert torch.equal(model.model.norm.weight, halves["model.norm.weight"].float())
    assert model.lm_head.weight.dtype == torch.float32


def test_the_tokenizer_is_the_saved_one_with_its_template(directory: Path) -> None:
    tokenizer = load_tokenizer(directory)
    text = "héllo wörld, the rain <|im_end|> x"
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    assert 2 in ids
    turn = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert turn == "<|im_start|>user\nhi<|im_end|>\n"


def test_the_short_way_to_a_plain_tokenizer_gives_what_auto_tokenizer_gives(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert models.is_plain_fast(directory)
    short = load_tokenizer(directory)
    monkeypatch.setattr(models, "is_plain_fast", lambda _: False)
    long = load_tokenizer(directory)
    assert type(short) is type(long)
    assert short.get_vocab() == long.get_vocab()
    assert short.added_tokens_decoder == long.added_tokens_decoder
    assert short.chat_template == long.chat_template
    for text in (*tiny.SENTENCES, "  two  spaces\n\n", "naïve 東京 <|im_start|>"):
        assert short(text).input_ids == long(text).input_ids


def test_a_tokenizer_alone_does_not_import_torch(directory: Path) -> None:
    load = f"from watermark.engines.models import load_tokenizer; load_tokenizer({str(directory)!r})"
    code = f"import sys; {load}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_sharded_weights_load_alike(directory: Path) -> None:
    whole = load_model(directory)
    logits = whole(torch.arange(8)[None]).logits
    (directory / "model.safetensors").unlink()
    whole.save_pretrained(directory, max_shard_size="20KB")
    assert len(list(directory.glob("model-*.safetensors"))) > 1
    assert torch.equal(load_model(directory)(torch.arange(8)[None]).logits, logits)
    next(iter(directory.glob("model-*.safetensors"))).unlink()
    with pytest.raises(ModelError, match="is missing though the index names it"):
        load_model(directory)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "pytorch_model.bin", 7])
def test_an_index_may_not_lead_elsewhere(directory: Path, name: object) -> None:
    (directory / "model.safetensors").rename(directory.parent / "model.safetensors")
    (directory / models.INDEX).write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    refused(load_model, directory, "does not map weights to safetensors")


def test_a_directory_that_is_no_model(tmp_path: Path) -> None:
    refused(load_model, tmp_path, "no config.json")
    refused(load_tokenizer, tmp_path, "no tokenizer")
    refused(model_digest, tmp_path, "no config.json")


def test_a_directory_one_level_too_high_names_the_model_in_it(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    for call in (load_model, model_digest):
        refused(call, tmp_path, f"no config.json; did you mean {tmp_path / 'model'}?")
    (tmp_path / "logs" / "config.json").write_text("{}")  # which one?
    with pytest.raises(ModelError, match=r"no config.json$"):
        load_model(tmp_path)


def test_a_path_that_is_not_there_and_one_that_is_a_file(tmp_path: Path) -> None:
    refused(load_model, tmp_path / "absent", "does not exist")
    with pytest.raises(ModelError, match="does not exist"):
        load_model("./absent/model/directory")
    (tmp_path / "weights").write_bytes(b"x")
    refused(load_model, tmp_path / "weights", "is a file")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt", "model.pkl"])
def test_pickled_weights_are_refused_and_never_opened(directory: Path, name: str) -> None:
    canary = directory / "ran"
    (directory / "model.safetensors").unlink()
    (directory / name).write_bytes(f"cos\nsystem\n(S'touch {canary}'\ntR.".encode())
    refused(load_model, directory, "pickle", name, "convert it to safetensors")
    assert not canary.exists()


def test_a_pickle_beside_safetensors_is_ignored(directory: Path) -> None:
    (directory / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert load_model(directory).config.hidden_size == 32


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_refused_and_never_run(directory: Path, file: str) -> None:
    (directory / "evil.py").write_text(f"open({str(directory / 'ran')!r}, 'w')\nclass Evil: pass\n")
    edit(directory / file, auto_map={"AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]})
    load = load_model if file == "config.json" else load_tokenizer
    refused(load, directory, "auto_map", file)
    assert not (directory / "ran").exists()


def test_attention_code_from_the_hub_is_refused(directory: Path) -> None:
    edit(directory / "config.json", attn_implementation="kernels-community/flash-attn")
    refused(load_model, directory, "attention code")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "other.safetensors", "../outside/model.safetensors", ""])
def test_a_config_may_not_name_other_weights(directory: Path, name: str) -> None:
    """transformers would load them instead of those that were checked and digested: pickles and other directories."""
    canary = directory / "ran"
    (directory / "pytorch_model.bin").write_bytes(f"cos\nsystem\n(S'touch {canary}'\ntR.".encode())
    shutil.copy(directory / "model.safetensors", directory / "other.safetensors")
    edit(directory / "config.json", transformers_weights=name)
    refused(load_model, directory, "config.json", "transformers_weights")
    refused(model_digest, directory, "transformers_weights")
    assert not canary.exists()


def test_a_tokenizers_settings_may_not_name_other_files(directory: Path) -> None:
    shutil.copy(directory / "tokenizer.json", directory / "tokenizer.4.0.0.json")
    edit(directory / "tokenizer_config.json", fast_tokenizer_files=["tokenizer.4.0.0.json"])
    refused(load_tokenizer, directory, "tokenizer_config.json", "fast_tokenizer_files")


def seen_by_the_library(
    monkeypatch: pytest.MonkeyPatch, kind: type, load: Callable[[Path], object], directory: Path
) -> dict[str, Path]:
    """Names and targets in the directory that transformers is given."""
    seen: dict[str, Path] = {}
    original = kind.from_pretrained

    def spy(place: Path, **how: object) -> object:
        seen.update({path.name: path.resolve() for path in place.iterdir()})
        return original(place, **how)

    monkeypatch.setattr(kind, "from_pretrained", spy)
    load(directory)
    return seen


def test_the_library_sees_the_checked_files_only(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    (directory / "custom_generate").mkdir()
    for name in ("pytorch_model.bin", "modeling_evil.py", "adapter_model.safetensors", "model.safetensors.index.json"):
        (directory / name).write_bytes(b"x")
    os.mkfifo(directory / "added_tokens.json")
    seen = seen_by_the_library(monkeypatch, AutoModelForCausalLM, load_model, directory)
    assert seen == {name: directory / name for name in ("config.json", "generation_config.json", "model.safetensors")}
    seen = seen_by_the_library(monkeypatch, PreTrainedTokenizerFast, load_tokenizer, directory)
    named = {"tokenizer.json", "tokenizer_config.json", "config.json", "chat_template.jinja"}
    assert seen == {name: directory / name for name in named if (directory / name).is_file()}
    assert {"tokenizer.json", "tokenizer_config.json", "config.json"} <= set(seen)


def test_what_is_loaded_remembers_where_it_came_from_not_the_links(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(directory)
    assert model.name_or_path == model.config._name_or_path == str(directory)
    for plain in (True, False):
        monkeypatch.setattr(models, "is_plain_fast", lambda _, answer=plain: answer)
        tokenizer = load_tokenizer(directory)
        assert tokenizer.name_or_path == str(directory)
        remembered = (*vars(tokenizer).values(), *tokenizer.init_kwargs.values())
        assert not [value for value in remembered if "taggant-" in str(value)]
    tokenizer.save_pretrained(directory / "again")
    assert load_tokenizer(directory / "again")("the rain").input_ids == tokenizer("the rain").input_ids


def test_errors_name_the_directory_not_the_links(directory: Path) -> None:
    (directory / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(ModelError) as caught:
        load_model(directory)
    assert "taggant-" not in str(caught.value)
    edit(directory / "config.json", model_type="a\x1b[2Jb\u202ec")
    with pytest.raises(ModelError) as caught:
        load_model(directory)
    assert str(caught.value).isprintable()
    assert "⟨U+001B⟩[2J" in str(caught.value)


@pytest.mark.parametrize("kind", ["fifo", "socket", "directory"])
def test_shards_that_are_no_regular_files(directory: Path, tmp_path: Path, kind: str) -> None:
    """Opening a FIFO would wait for ever."""
    whole = load_model(directory)
    (directory / "model.safetensors").unlink()
    whole.save_pretrained(directory, max_shard_size="20KB")
    shard = min(directory.glob("model-*.safetensors"))
    shard.unlink()
    if kind == "fifo":
        os.mkfifo(shard)
    elif kind == "directory":
        shard.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(directory):
            server.bind(shard.name)  # a path may have 108 characters only
    refused(load_model, directory, "not a regular file")


def test_the_fingerprint_covers_what_makes_ids_of_a_text(directory: Path, tmp_path: Path) -> None:
    before = tokenizer_fingerprint(directory)
    assert len(before) == 64
    assert before == tokenizer_fingerprint(shutil.copytree(directory, tmp_path / "elsewhere"))
    edit(directory / "tokenizer_config.json", name_or_path="elsewhere", is_local=False, local_files_only=True)
    edit(directory / "config.json", unrelated=1)
    assert tokenizer_fingerprint(directory) == before
    seen = {before}
    file = directory / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["merges"] = content["model"]["merges"][:-1]  # the vocabulary, and so the key's hash, stays
    file.write_text(json.dumps(content))
    seen.add(tokenizer_fingerprint(directory))
    edit(directory / "tokenizer_config.json", chat_template="{{ 'x' }}")
    seen.add(tokenizer_fingerprint(directory))
    (directory / "chat_template.jinja").write_text("{{ 'y' }}")
    seen.add(tokenizer_fingerprint(directory))
    edit(directory / "config.json", model_type="gpt2")  # which class is loaded
    seen.add(tokenizer_fingerprint(directory))
    assert len(seen) == 5
    refused(tokenizer_fingerprint, directory / "absent", "does not exist")


@pytest.mark.parametrize("setting", ["add_prefix_space", "clean_up_tokenization_spaces", "of_a_later_version"])
def test_the_fingerprint_covers_every_setting(directory: Path, setting: str) -> None:
    seen = set()
    for value in (True, False):
        edit(directory / "tokenizer_config.json", **{setting: value})
        seen.add(tokenizer_fingerprint(directory))
    assert len(seen) == 2


def test_an_adapter_is_refused(directory: Path) -> None:
    (directory / "adapter_config.json").write_text("{}")
    refused(load_model, directory, "LoRA adapter", "merge")


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b[:5], lambda b: b"", lambda b: b"\xff" * 64])
def test_damaged_weights(directory: Path, damage: Callable[[bytes], bytes]) -> None:
    file = directory / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    refused(load_model, directory, "model.safetensors", "damaged or truncated")


def test_missing_and_misshapen_weights_are_not_filled_with_random_numbers(directory: Path) -> None:
    file = directory / "model.safetensors"
    weights = load_file(file)
    norm = weights.pop("model.norm.weight")
    save_file(weights, file, metadata={"format": "pt"})
    refused(load_model, directory, "1 weights are missing", "model.norm.weight")
    save_file({**weights, "model.norm.weight": norm[:-1].clone()}, file, metadata={"format": "pt"})
    refused(load_model, directory)


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1, "a": 2}', '{"model_type": "no-such-model"}', "{}"])
def test_a_config_that_is_malformed_or_unknown(directory: Path, text: str) -> None:
    (directory / "config.json").write_text(text)
    refused(load_model, directory)


@pytest.mark.parametrize("text", ["{", "{}", ""])
def test_a_malformed_tokenizer(directory: Path, text: str) -> None:
    (directory / "tokenizer.json").write_text(text)
    refused(load_tokenizer, directory)


def test_loading_is_silent_and_restores_what_it_silenced(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging as chatter

    before = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    capfd.readouterr()
    load_model(directory)
    load_tokenizer(directory)
    assert capfd.readouterr() == ("", "")
    assert (chatter.get_verbosity(), chatter.is_progress_bar_enabled()) == before


def test_the_digest_is_of_content(directory: Path, tmp_path: Path) -> None:
    before = model_digest(directory)
    assert before == model_digest(shutil.copytree(directory, tmp_path / "elsewhere"))
    edit(directory / "tokenizer_config.json", unrelated=1)
    assert model_digest(directory) == before
    (directory / "generation_config.json").write_text('{"eos_token_id": 2}')  # says where answers end
    assert model_digest(directory) != before
    before = model_digest(directory)
    file = directory / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert model_digest(directory) != before


# --- the hub, played by a local server ---

LOAD = """
import sys
from watermark.engines.models import load_model, load_tokenizer
from watermark.errors import ModelError
try:
    print(load_model(sys.argv[1]).config.hidden_size, len(load_tokenizer(sys.argv[1])))
except ModelError as error:
    print("refused:", error)
"""


def from_hub(repo: str, home: Path, endpoint: str, **environment: str) -> str:
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, repo], env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_hub_id_is_fetched_then_cached_and_never_with_its_pickle(directory: Path, tmp_path: Path) -> None:
    (directory / "pytorch_model.bin").write_bytes(b"pickle")
    (directory / "evil.py").write_bytes(b"raise SystemExit")
    with serve({"owner/tiny": directory}) as hub:
        assert from_hub("owner/tiny", tmp_path / "home", hub.url) == "32 384"
        fetched = [path for path in hub.requests if "/resolve/" in path]
        assert any(path.endswith("model.safetensors") for path in fetched)
        assert not any(path.endswith((".bin", ".py")) for path in fetched)
        seen = len(hub.requests)
        assert from_hub("owner/tiny", tmp_path / "home", hub.url, HF_HUB_OFFLINE="1") == "32 384"
        assert len(hub.requests) == seen  # offline means offline


def test_what_comes_from_the_hub_passes_the_same_checks(directory: Path, tmp_path: Path) -> None:
    edit(directory / "config.json", auto_map={"AutoModelForCausalLM": "evil.Evil"})
    with serve({"owner/evil": directory}) as hub:
        assert "auto_map" in from_hub("owner/evil", tmp_path / "home", hub.url)
        assert "neither a directory here nor a public model" in from_hub("owner/none", tmp_path / "home", hub.url)


def test_an_unreachable_hub_is_one_line(tmp_path: Path) -> None:
    answer = from_hub("owner/tiny", tmp_path, "http://127.0.0.1:9")
    assert answer.startswith("refused: owner/tiny")
    assert "\n" not in answer
    answer = from_hub("owner/tiny", tmp_path, "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert answer.startswith("refused: owner/tiny")
