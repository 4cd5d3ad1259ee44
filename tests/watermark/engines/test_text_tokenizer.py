"""The light tokenizer is the one that transformers loads, token for token; where it might not be, it stands back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tests import tiny
from watermark.engines.models import load_tokenizer
from watermark.engines.text_tokenizer import TextTokenizer, load_text_tokenizer, plain_tokenizer
from watermark.errors import ModelError
from watermark.keys import TokenizerIdentity

TEXTS = (*tiny.SENTENCES, "", " ", "  two  spaces\n\n", "naïve 東京 <|im_start|>user x<|im_end|>", "\x00\u200b 🏳️‍🌈")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.shared(), tmp_path / "model"))


def edit(path: Path, **members: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def assert_same(light: TextTokenizer, directory: Path, texts: tuple[str, ...] = TEXTS) -> None:
    """Every token, every property and the ids of texts, against what AutoTokenizer makes of the directory."""
    full = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    assert len(light) == len(full)
    assert light.convert_ids_to_tokens(range(len(full))) == full.convert_ids_to_tokens(list(range(len(full))))
    states = [{i: t.__getstate__() for i, t in one.added_tokens_decoder.items()} for one in (light, full)]
    assert states[0] == states[1]
    assert TokenizerIdentity.of(light) == TokenizerIdentity.of(full)
    for text in texts:
        ids = full(text, add_special_tokens=False).input_ids
        found = light.backend_tokenizer.encode(text, add_special_tokens=False)
        assert found.ids == ids, text
        assert found.offsets == full.backend_tokenizer.encode(text, add_special_tokens=False).offsets
        assert light.decode(ids) == full.decode(ids)


def drop(path: Path, name: str) -> None:
    members = json.loads(path.read_text())
    del members[name]
    path.write_text(json.dumps(members))


def plain(directory: Path) -> None:
    """As it is saved today."""


def without_a_model(directory: Path) -> None:
    for path in directory.iterdir():
        if not path.name.startswith("tokenizer"):
            path.unlink()


def older_class(directory: Path) -> None:
    edit(directory / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def older_and_alone(directory: Path) -> None:
    without_a_model(directory)
    older_class(directory)


def truncating_and_padding(directory: Path) -> None:
    edit(
        directory / "tokenizer.json",
        truncation={"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        padding={"strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 2,
                 "pad_type_id": 0, "pad_token": "<|im_end|>"},
    )  # fmt: skip


def tokens_repeated_in_settings(directory: Path) -> None:
    added = json.loads((directory / "tokenizer.json").read_text())["added_tokens"]
    listed = {str(token.pop("id")): token for token in added}
    edit(
        directory / "tokenizer_config.json",
        added_tokens_decoder=listed,
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
        image_token="<|endoftext|>",
        cls_token={"__type": "AddedToken", **listed["1"]},
        sep_token=None,
        add_bos_token=True,
    )


@pytest.mark.parametrize("change", [plain, without_a_model, older_class, older_and_alone, tokens_repeated_in_settings])
def test_the_light_tokenizer_is_transformers_own(directory: Path, change: Callable[[Path], None]) -> None:
    change(directory)
    light = plain_tokenizer(directory)
    assert light is not None
    assert_same(light, directory)
    assert light.name_or_path == load_tokenizer(directory).name_or_path == str(directory)


def test_truncation_and_padding_in_the_file_are_switched_off(directory: Path) -> None:
    before = {text: load_tokenizer(directory)(text, add_special_tokens=False).input_ids for text in TEXTS}
    truncating_and_padding(directory)
    light = plain_tokenizer(directory)
    assert light is not None
    assert max(map(len, before.values())) > 4
    assert {text: light.backend_tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS} == before


SETTINGS: list[dict[str, Any]] = [
    {"pad_token": "<pad>"},  # not in the file: transformers adds it
    {"extra_special_tokens": ["<tool>"]},
    {"extra_special_tokens": {"image": "<image>"}},
    {"audio_token": "<audio>"},
    {"eos_token": {"__type": "AddedToken", "content": "<|im_end|>", "lstrip": True, "rstrip": False,
                   "normalized": False, "single_word": False, "special": True}},
    {"added_tokens_decoder": {"2": {"content": "<|im_end|>", "lstrip": True, "rstrip": False, "normalized": False,
                                    "single_word": False, "special": True}}},
    {"added_tokens_decoder": {"400": {"content": "<new>", "lstrip": False, "rstrip": False, "normalized": False,
                                      "single_word": False, "special": True}}},
    {"tokenizer_class": "GPT2Tokenizer"},
    {"split_special_tokens": True},
    {"add_prefix_space": True},
    {"clean_up_tokenization_spaces": True},
    {"something_new": 1},
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: "-".join(one))
def test_settings_that_may_change_something_are_left_to_transformers(directory: Path, settings: dict[str, Any]) -> None:
    edit(directory / "tokenizer_config.json", **settings)
    assert plain_tokenizer(directory) is None
    assert not isinstance(load_text_tokenizer(directory), TextTokenizer)


@pytest.mark.parametrize("name", ["special_tokens_map.json", "added_tokens.json"])
def test_so_are_files_that_may_name_further_tokens(directory: Path, name: str) -> None:
    (directory / name).write_text("{}")
    assert plain_tokenizer(directory) is None


def test_and_other_architectures_and_files_of_other_kinds(directory: Path) -> None:
    edit(directory / "config.json", model_type="qwen2")
    assert plain_tokenizer(directory) is None
    without_a_model(directory)
    (directory / "config.json").mkdir()
    assert plain_tokenizer(directory) is None


def test_a_damaged_file_is_refused_in_transformers_words(directory: Path) -> None:
    (directory / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(ModelError) as light:
        load_text_tokenizer(directory)
    with pytest.raises(ModelError) as full:
        load_tokenizer(directory)
    assert str(light.value) == str(full.value)
    assert "\n" not in str(light.value)


def test_a_directory_that_wants_its_own_code_is_refused(directory: Path) -> None:
    edit(directory / "tokenizer_config.json", auto_map={"AutoTokenizer": "evil.Tokenizer"})
    with pytest.raises(ModelError, match="auto_map"):
        load_text_tokenizer(directory)


@given(text=st.text())
def test_any_text_becomes_the_same_ids(text: str) -> None:
    directory = tiny.shared()
    light, full = load_text_tokenizer(directory), _full(directory)
    assert isinstance(light, TextTokenizer)
    ids = full(text, add_special_tokens=False).input_ids
    assert light.backend_tokenizer.encode(text, add_special_tokens=False).ids == ids


_loaded: dict[Path, Any] = {}


def _full(directory: Path) -> Any:
    if directory not in _loaded:
        _loaded[directory] = load_tokenizer(directory)
    return _loaded[directory]


@pytest.mark.real
def test_the_real_smollm2_tokenizer_is_the_same() -> None:
    from benchmarks.common import docstrings
    from distill_sim.teacher import pull_smollm2

    directory = pull_smollm2()
    light = load_text_tokenizer(directory)
    assert isinstance(light, TextTokenizer)
    assert_same(light, directory, (*TEXTS, *docstrings(200_000)))


HEAVY = ("torch", "transformers", "pyarrow", "matplotlib", "numba", "huggingface_hub")


def test_detecting_in_text_and_making_a_key_load_neither_torch_nor_transformers(tmp_path: Path) -> None:
    directory = str(tiny.shared())
    (tmp_path / "letter.txt").write_text(" ".join(tiny.SENTENCES))
    program = (
        "import sys\nfrom detect.cli.main import run\n"
        "assert run(['keygen', '-o', 'a.key', '--tokenizer', sys.argv[1]]) == 0\n"
        "assert run(['detect', '--key', 'a.key', 'letter.txt', '--json', '--tokenizer', sys.argv[1]]) == 0\n"
        "assert run(['detect', '--key', 'a.key', 'letter.txt', '--highlight', 'page.html', '--scan']) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], 'tokenizers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, directory], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[] True"
