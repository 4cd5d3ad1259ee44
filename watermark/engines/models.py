"""Load models and tokenizers without running anything they bring along: safetensors only, no remote code.

What is loaded may be a *questioned* model, given to us by a stranger. So every directory, and every
download from the hub, passes `check_model_directory` before a library opens it; and what the library then opens is a
private directory of links to the checked files alone, so that no file beside them can be named by any setting.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from watermark.errors import InputError, ModelError
from watermark.files import strict_json

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
# What a tokenizer is loaded from, settings of the model included: AutoTokenizer looks at its architecture.
TOKENIZER_PARTS = (
    *TOKENIZER_FILES,
    *("tokenizer_config.json", "config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("merges.txt", "vocab.model", "sentencepiece.bpe.model", "sentencepiece.model", "tiktoken.model", "tekken.json"),
    *("source.spm", "target.spm", "normalizer.json"),
)
SETTINGS = ("tokenizer_config.json", "config.json")  # what a tokenizer is chosen and made by, beside its files
_CHOOSE_TOKENIZER = ("model_type", "tokenizer_class")  # of a model's config.json
_WHERE_IT_LIES = ("name_or_path", "is_local", "local_files_only")  # of tokenizer_config.json
MODEL_SETTINGS = ("config.json", "generation_config.json")
# Settings by which a directory names other files than those that were looked at.
_DETOURS = {"config.json": "transformers_weights", "tokenizer_config.json": "fast_tokenizer_files"}
# What is asked of the hub: nothing that could hold code, and never a pickle.
TOKENIZER_PATTERNS = ("*.json", "*.txt", "*.jinja", "tokenizer.model", "spiece.model")
MODEL_PATTERNS = (*TOKENIZER_PATTERNS, "*.safetensors")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")

_log = logging.getLogger(__name__)


def load_model(path_or_id: str | Path) -> PreTrainedModel:
    """Load a causal language model in float32 on the CPU, in evaluation mode.

    Raises:
        ModelError: not a model, pickled, incomplete, damaged, in need of remote code, or out of the hub's reach.
    """
    directory = local_directory(path_or_id, MODEL_PATTERNS)
    check_model_directory(directory)
    weights = _weight_files(directory)
    names = [*MODEL_SETTINGS, *weights, *([] if weights == ["model.safetensors"] else [INDEX])]
    with _only(directory, names, f"{path_or_id}: the model") as checked, quiet_transformers():
        import torch
        from transformers import AutoModelForCausalLM

        model, report = AutoModelForCausalLM.from_pretrained(
            checked,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    _refuse_gaps(path_or_id, report)
    model.name_or_path = model.config._name_or_path = str(directory)  # not the links, which are gone
    model.eval()
    return model


def load_settings(path_or_id: str | Path) -> tuple[PretrainedConfig, GenerationConfig]:
    """A model's settings, and how it ends and draws answers by default, without its weights.

    Raises:
        ModelError: as `load_model`, as far as it shows without loading.
    """
    directory = local_directory(path_or_id, MODEL_PATTERNS)
    check_model_directory(directory)
    with _only(directory, MODEL_SETTINGS, f"{path_or_id}: the model") as checked, quiet_transformers():
        from transformers import AutoConfig, GenerationConfig

        config = AutoConfig.from_pretrained(checked, trust_remote_code=False, local_files_only=True)
        if not (checked / "generation_config.json").exists():
            return config, GenerationConfig.from_model_config(config)
        return config, GenerationConfig.from_pretrained(checked, local_files_only=True)


def load_tokenizer(path_or_id: str | Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer (the fast one where there is one).

    Raises:
        ModelError: no tokenizer there, damaged, in need of remote code, or out of the hub's reach.
    """
    directory = local_directory(path_or_id, TOKENIZER_PATTERNS)
    check_tokenizer_directory(directory)
    with _only(directory, TOKENIZER_PARTS, f"{path_or_id}: the tokenizer") as checked, quiet_transformers():
        if is_plain_fast(directory):
            from transformers import PreTrainedTokenizerFast

            tokenizer = PreTrainedTokenizerFast.from_pretrained(checked, local_files_only=True)
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(checked, trust_remote_code=False, local_files_only=True)
        for values in (vars(tokenizer), tokenizer.init_kwargs):
            _back_to(directory, checked, values)
    return tokenizer


@contextmanager
def _only(directory: Path, names: Iterable[str], what: str) -> Iterator[Path]:
    """A private directory of links to those of `names` that are regular files in `directory`, and to nothing else.

    Whatever a library raises about an odd file inside the block becomes one line.
    """
    with tempfile.TemporaryDirectory(prefix="taggant-") as place:
        for name in names:
            if (directory / name).is_file():
                (Path(place) / name).symlink_to((directory / name).resolve())
        try:
            yield Path(place)
        except (ModelError, MemoryError):
            raise
        except Exception as error:
            reason = first_line(error).replace(place, str(directory))
            raise ModelError(f"{what} cannot be loaded: {reason}") from None


def _back_to(directory: Path, links: Path, values: MutableMapping[str, Any]) -> None:
    """Where a tokenizer remembers paths among the links, they become those of the files themselves."""
    for name, value in values.items():
        if isinstance(value, str) and (value == str(links) or value.startswith(f"{links}/")):
            values[name] = str(directory) + value.removeprefix(str(links))


def is_plain_fast(directory: Path) -> bool:
    """True where AutoTokenizer would end at the plain fast class anyway, but import torch first (1.7 s)."""
    if not all((directory / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        return False
    if (directory / "config.json").exists():  # without one, the tokenizer's own setting decides
        if not (directory / "config.json").is_file():
            return False
        if read_object(directory / "config.json").get("model_type") != "llama":
            return False
    named = read_object(directory / "tokenizer_config.json").get("tokenizer_class")
    return named in ("TokenizersBackend", "PreTrainedTokenizerFast")


def model_digest(path_or_id: str | Path) -> str:
    """Identify a model by content: SHA-256 over the names and SHA-256 digests of its settings and its weights.

    The settings are config.json and, where there is one, generation_config.json, which says where answers end. (Digests
    that were made before it was included are others: make such a plan again.)

    Raises:
        ModelError: as `load_model`, as far as it shows without loading.
    """
    directory = local_directory(path_or_id, MODEL_PATTERNS)
    check_model_directory(directory)
    settings = [name for name in MODEL_SETTINGS if (directory / name).is_file()]
    files = {name: file_sha256(directory / name) for name in [*settings, *_weight_files(directory)]}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def tokenizer_fingerprint(path_or_id: str | Path) -> str:
    """Identify a tokenizer by content: SHA-256 over the names and SHA-256 digests of its files and settings.

    Covers what a key's `tokenizer.sha256` does not: merges, normaliser, pre-tokeniser, chat template and every setting,
    known to us or not, as any may decide what ids a text becomes. Left out is what a saved copy says of where it lies.

    Raises:
        ModelError: as `load_tokenizer`, as far as it shows without loading.
    """
    directory = local_directory(path_or_id, TOKENIZER_PATTERNS)
    check_tokenizer_directory(directory)
    files = {name: file_sha256(directory / name) for name in TOKENIZER_PARTS if (directory / name).is_file()}
    for name, settings in _tokenizer_settings(directory).items():
        files[name] = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _tokenizer_settings(directory: Path) -> dict[str, dict[str, Any]]:
    """Of the files that hold settings: those by which a tokenizer is chosen and made."""
    own, models = (read_object(path) if path.is_file() else {} for path in (directory / name for name in SETTINGS))
    return {
        SETTINGS[0]: {name: value for name, value in own.items() if name not in _WHERE_IT_LIES},
        SETTINGS[1]: {name: models.get(name) for name in _CHOOSE_TOKENIZER},
    }


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def local_directory(path_or_id: str | Path, patterns: tuple[str, ...] = MODEL_PATTERNS) -> Path:
    """Return the directory itself, or the local snapshot of a hub id (fetched unless HF_HUB_OFFLINE is set).

    Raises:
        ModelError: neither a directory nor a hub id that can be reached.
    """
    path = Path(path_or_id)
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{path} is a file; give the model's directory")
    if isinstance(path_or_id, Path) or not _HUB_ID.fullmatch(path_or_id):
        raise ModelError(f"{path} does not exist; give a model directory or a Hugging Face hub id")
    return _snapshot(path_or_id, patterns)


def check_tokenizer_directory(directory: Path) -> None:
    """Refuse a directory without a tokenizer, or whose tokenizer needs remote code.

    Raises:
        ModelError: with the reason.
    """
    if not any((directory / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(f"{directory} holds no tokenizer ({TOKENIZER_FILES[0]}); give a directory that does")
    for name in SETTINGS:
        if (directory / name).is_file():
            _checked_settings(directory / name)


def check_model_directory(directory: Path) -> None:
    """Refuse whatever is not a complete safetensors model, before any library opens it.

    Raises:
        ModelError: with the reason.
    """
    if (directory / "adapter_config.json").is_file():
        raise ModelError(f"{directory} holds a LoRA adapter; merge it into its base model and save that first")
    if not (directory / "config.json").is_file():
        raise ModelError(f"{directory} is not a model directory: it holds no config.json{_one_below(directory)}")
    config = _checked_settings(directory / "config.json")
    if any("/" in str(config.get(name)) for name in ("attn_implementation", "_attn_implementation")):
        raise ModelError(f"{directory}/config.json asks for attention code from the hub; remove attn_implementation")
    for name in _weight_files(directory):
        _check_safetensors(directory / name)


def _one_below(directory: Path) -> str:
    """The advice to give the one directory in it that looks like a model's, if there is one."""
    try:
        found = [child for child in directory.iterdir() if (child / "config.json").is_file()]
    except OSError:
        found = []
    return f"; did you mean {found[0]}?" if len(found) == 1 else ""


def _weight_files(directory: Path) -> list[str]:
    """The weight files a loader would open, sorted by name."""
    if (directory / "model.safetensors").is_file():
        return ["model.safetensors"]
    if (directory / INDEX).is_file():
        shards = read_object(directory / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards or not all(map(_is_shard_name, shards.values())):
            raise ModelError(f"{directory / INDEX} does not map weights to safetensors files beside it")
        return sorted(set(shards.values()))
    pickles = sorted(file.name for pattern in PICKLES for file in directory.glob(pattern))
    if pickles:
        raise ModelError(
            f"{directory} holds its weights as pickle ({pickles[0]}), which can run code; convert it to safetensors"
        )
    raise ModelError(f"{directory} holds no model.safetensors; give a directory with weights")


def _is_shard_name(name: object) -> bool:
    """True for a plain file name: an index must not lead out of its directory, nor to a pickle."""
    return isinstance(name, str) and name.endswith(".safetensors") and PurePosixPath(name).name == name


def _check_safetensors(path: Path) -> None:
    """Open the header only; safetensors compares it with the file's length, so truncation shows here."""
    from safetensors import SafetensorError, safe_open

    if path.exists() and not path.is_file():  # opening a FIFO would wait for ever
        raise ModelError(f"{path} is not a regular file; fetch the model again")
    try:
        with safe_open(path, framework="numpy"):
            pass
    except FileNotFoundError:
        raise ModelError(f"{path} is missing though the index names it; fetch the model again") from None
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged or truncated ({first_line(error)}); fetch it again") from None


def _checked_settings(path: Path) -> dict[str, Any]:
    config = read_object(path)
    if "auto_map" in config:
        raise ModelError(f"{path} asks for code of its own (auto_map), which is never run; use a model without it")
    detour = _DETOURS.get(path.name)
    if detour is not None and config.get(detour) is not None:
        raise ModelError(f"{path} names other files to load ({detour}), which were not looked at; remove that setting")
    return config


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of settings (ModelError: there is none)."""
    try:
        value = strict_json(path.read_bytes())
    except InputError as error:
        raise ModelError(f"{path}: {error}") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} is not a JSON object")
    return value


def _refuse_gaps(path_or_id: str | Path, report: dict[str, Any]) -> None:
    """A library fills missing weights with random numbers; a test of such a model would mean nothing."""
    missing = sorted(report["missing_keys"])
    mismatched = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"])
    for names, what in ((missing, "are missing"), (mismatched, "have another shape than config.json says")):
        if names:
            raise ModelError(f"{path_or_id}: {len(names)} weights {what} (first: {names[0]}); fetch the model again")
    if report["unexpected_keys"]:
        unused = sorted(report["unexpected_keys"])
        _log.warning("%s: %d weights are not used (first: %s)", path_or_id, len(unused), unused[0])


def _snapshot(repo: str, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(repo, allow_patterns=list(patterns), ignore_patterns=["*/*"]))
    except RepositoryNotFoundError:
        raise ModelError(f"{repo} is neither a directory here nor a public model on the Hugging Face hub") from None
    except LocalEntryNotFoundError:
        raise ModelError(
            f"{repo} is not a directory here, not in the hub's cache, and the hub cannot be reached"
            + ("; `taggant model pull smollm2` prints its directory" if repo == "smollm2" else "")
        ) from None
    except Exception as error:  # the hub's client raises its own, its HTTP library's, and the system's errors
        raise ModelError(f"{repo} cannot be fetched from the hub: {first_line(error)}") from None


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' bars and notes inside the block; its errors still come as exceptions."""
    from transformers.utils import logging as chatter

    verbosity, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(verbosity)
        if bars:
            chatter.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """The beginning of an error's message, control and invisible characters spelled out: it may quote a stranger."""
    lines = str(error).strip().splitlines()
    text = (lines[0] if lines else type(error).__name__)[:200]
    return "".join(char if char.isprintable() else f"⟨U+{ord(char):04X}⟩" for char in text)
