"""A tokenizer for text alone, without transformers where that changes nothing: it takes 0.7 s to import.

A tokenizer of the plain class is its tokenizer.json: transformers opens that file with the library `tokenizers` and
adds what tokenizer_config.json names and the file lacks. Where the settings are all known and add nothing, the file is
opened here; in every other case transformers decides. Ids, tokens and key ids are the same either way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watermark.engines.models import (
    TOKENIZER_PATTERNS,
    check_tokenizer_directory,
    is_plain_fast,
    load_tokenizer,
    local_directory,
    read_object,
)

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerBase

# Settings that have no part in how text becomes ids or ids become text.
_ELSEWHERE = frozenset((
    *("backend", "tokenizer_class", "model_max_length", "chat_template", "model_input_names", "processor_class"),
    *("padding_side", "truncation_side", "name_or_path", "is_local", "local_files_only"),
    *("add_bos_token", "add_eos_token"),  # transformers drops them beside a tokenizer.json
))  # fmt: skip
_OFF = frozenset(("clean_up_tokenization_spaces", "split_special_tokens", "add_prefix_space"))  # known where not set
_LISTS = ("extra_special_tokens", "additional_special_tokens")
_LEGACY = ("special_tokens_map.json", "added_tokens.json")  # files that may name further tokens


class TextTokenizer:
    """What is needed of a fast tokenizer to read text: as a transformers tokenizer, but without templates or padding.

    Attributes:
        backend_tokenizer: of the library `tokenizers`; it neither truncates nor pads.
        name_or_path: where it lies.
    """

    def __init__(self, backend: Tokenizer, name_or_path: str) -> None:
        backend.no_truncation()
        backend.no_padding()
        self.backend_tokenizer = backend
        self.name_or_path = name_or_path

    @property
    def added_tokens_decoder(self) -> Mapping[int, AddedToken]:
        """Added tokens by id, special ones among them."""
        return self.backend_tokenizer.get_added_tokens_decoder()

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str | None]:
        """The token of each id; None: there is none."""
        return [self.backend_tokenizer.id_to_token(token) for token in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Ids → text, special tokens included."""
        return self.backend_tokenizer.decode(list(ids), skip_special_tokens=False)


def load_text_tokenizer(path_or_id: str | Path) -> TextTokenizer | PreTrainedTokenizerBase:
    """Load a tokenizer for text: a light one where it is the same, else as `load_tokenizer`.

    Raises:
        ModelError: as `load_tokenizer`.
    """
    directory = local_directory(path_or_id, TOKENIZER_PATTERNS)
    check_tokenizer_directory(directory)
    return plain_tokenizer(directory) or load_tokenizer(path_or_id)


def plain_tokenizer(directory: Path) -> TextTokenizer | None:
    """The tokenizer of a checked directory, if tokenizer.json is all of it; None: transformers has to decide."""
    if not is_plain_fast(directory) or any((directory / name).exists() for name in _LEGACY):
        return None
    from tokenizers import Tokenizer

    try:
        backend = Tokenizer.from_file(str(directory / "tokenizer.json"))
    except Exception:  # whatever is wrong with it, transformers' way has the words for it
        return None
    settings = read_object(directory / "tokenizer_config.json")
    return TextTokenizer(backend, str(directory)) if _adds_nothing(settings, backend) else None


def _adds_nothing(settings: Mapping[str, Any], backend: Tokenizer) -> bool:
    """Whether every setting is known, and every token it names is one of the file's with the same properties."""
    added = {i: dict(token.__getstate__()) for i, token in backend.get_added_tokens_decoder().items()}
    special = {state["content"]: state for state in added.values() if state["special"]}
    for name, value in settings.items():
        if name in _ELSEWHERE or (name in _OFF and not value):
            continue
        if name == "added_tokens_decoder":
            same = isinstance(value, dict) and all(added.get(_id(i)) == token for i, token in value.items())
        else:
            same = (name in _LISTS or name.endswith("_token")) and _are_among(value, special)
        if not same:
            return False
    return True


def _id(key: str) -> int:
    return int(key) if key.isdecimal() else -1


def _are_among(value: Any, special: Mapping[str, Any]) -> bool:
    """Whether what a setting names are special tokens of the file, in the forms that are written for them."""
    if value is None:
        return True
    if isinstance(value, str):
        return value in special
    if isinstance(value, list):
        return all(_are_among(one, special) for one in value)
    if isinstance(value, dict) and value.get("__type") == "AddedToken":
        return {name: part for name, part in value.items() if name != "__type"} == special.get(
            str(value.get("content"))
        )
    return False
