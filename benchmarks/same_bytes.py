"""The same inputs, the same bytes: evidence, bundle, report and validation under several Pythons, with 1 and 4 workers.

    python -m benchmarks.same_bytes /path/to/python3.12 /path/to/python3.13     → results/same_bytes.json

Every Python named, and the one that runs this, makes everything anew in a process of its own, once with one worker
thread and once with four. The times, the case's number, the signer and what environment.json says of the machine are
given, as they are inputs. Each Python needs taggant and what it depends on, but for torch: what is compared needs none.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[1]
WORKERS = (1, 4)
CREATED, CASE = "2026-11-30T01:02:03Z", "0123456789abcdef" * 2
ENVIRONMENT = {
    "format": "taggant-environment/1", "taggant": "0.1.0", "python": "given", "implementation": "given",
    "system": "given", "machine": "given", "libraries": {},
}  # fmt: skip
LIBRARIES = ("numpy", "scipy", "numba", "cryptography", "rfc8785", "click", "transformers", "tokenizers")
LENGTH, SHARE = 2_000, 0.55


def main() -> None:
    from benchmarks.common import save

    results = compare([Path(sys.executable), *map(Path, sys.argv[1:])])
    save("same_bytes", "python -m benchmarks.same_bytes python3.12 python3.13", results)
    if results["differ"]:
        sys.exit(f"not the same: {', '.join(results['differ'])}")


def compare(pythons: list[Path]) -> dict[str, Any]:
    """Every file's digest under every Python and number of workers, and the files that are not the same everywhere."""
    runs = []
    with tempfile.TemporaryDirectory() as directory:
        tokenizer = tiny_tokenizer(Path(directory) / "tokenizer")
        for python in pythons:
            for workers in WORKERS:
                at = Path(directory) / f"run-{len(runs)}"
                at.mkdir()
                runs.append(made_by(python, workers, at, tokenizer))
                print(runs[-1]["python"], workers, "workers:", len(runs[-1]["files"]), "files", flush=True)
    names = sorted({name for one in runs for name in one["files"]})
    found = {name: {one["files"].get(name) for one in runs} for name in names}
    return {
        "runs": [{name: one[name] for name in ("python", "libraries", "workers")} for one in runs],
        "files": {name: sorted(map(str, digests)) for name, digests in found.items()},
        "differ": [name for name, digests in found.items() if len(digests) > 1],
    }


def made_by(python: Path, workers: int, at: Path, tokenizer: Path) -> dict[str, Any]:
    """What one Python makes in a directory of its own."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(workers))
    environment = {**os.environ, **threads, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [str(python), "-m", "benchmarks.same_bytes", "--make", str(workers), str(tokenizer)]
    ran = subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{python}, {workers} workers: {ran.stderr}")
    files = {
        path.relative_to(at).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in at.rglob("*")
        if path.is_file()
    }
    return {**json.loads(ran.stdout), "workers": workers, "files": files}


def tiny_tokenizer(at: Path) -> Path:
    """A tokenizer of a few hundred tokens, made by the Python that runs this: it is an input."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    from detect.readers.builtin import builtin_rows

    whole = Tokenizer(BPE())
    whole.pre_tokenizer = ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    texts = [row.text for row in builtin_rows() if row.text]
    trainer = BpeTrainer(vocab_size=600, special_tokens=["<eos>"], initial_alphabet=ByteLevel.alphabet())
    whole.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=whole, eos_token="<eos>").save_pretrained(at)  # noqa: S106
    return at


# --- under each Python ---


def make(workers: int, tokenizer: str) -> None:
    """Everything, in the current directory, as the command line makes it."""
    key_file, rows = inputs()
    clock = iter(range(1, 100))
    with (
        patch("os.cpu_count", lambda: workers),
        patch("secrets.token_hex", lambda size: CASE),
        patch("detect.bundles.case.now", lambda: f"{CREATED[:-3]}{next(clock):02d}Z"),
        patch("detect.bundles.seal.environment", lambda: ENVIRONMENT),
    ):
        where = ["--case", "case", "--signer", "signer.pem"]
        looking = ["--scan", "--each", "--decoys", "2000", "--highlight", "page.html"]
        told("detect.ndjson", "detect", "--key", key_file, rows, *looking, *where, "--json")
        told("attribute.json", "attribute", "--owner", key_file, "--accounts", "accounts.txt", rows, "--json")
        told("seal.json", "seal", "case", "-o", "bundle.zip", "--signer", "signer.pem", "--json")
        told("seal-open.json", "seal", "case", "-o", "bundle", "--open-key", "--key", key_file, *where[2:], "--json")
        told("verify.json", "verify", "bundle", "--json")
        told("verify-closed.json", "verify", "bundle.zip", "--json")
        told("report.json", "report", "bundle", "-o", "report.html", "--json")
        small = ["--keys", "200", "--length", "50", "--length", "400"]
        told("validate.json", "validate", "-o", "validation", "--tokenizer", tokenizer, *small, "--json")
    versions = {name: metadata.version(name) for name in LIBRARIES}
    print(json.dumps({"python": platform.python_version(), "libraries": versions}))


def inputs() -> tuple[str, str]:
    """A key without a tokenizer, a signer, accounts, and rows of token ids of which a share is green."""
    import numpy as np
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from watermark import Key
    from watermark.greenlist import GreenList
    from watermark.keys import Parameters

    key = Key(bytes(range(32)), Parameters(16384, 2.0, 1, None))
    key.save("owner.key")
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
    Path("signer.pem").touch(mode=0o600)
    Path("signer.pem").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    Path("accounts.txt").write_text("".join(f"acct-{i}\n" for i in range(500)))
    with Path("rows.jsonl").open("w") as file:
        for number, mark in enumerate((GreenList(key), GreenList(key.account("acct-7")))):
            ids, draw = [9], iter(_numbers(f"row {number}", 2 * LENGTH))
            for _ in range(LENGTH):
                green = mark.mask(np.array([[ids[-1]]], dtype=np.uint32), 500)[0]
                chosen = [i for i in range(3, 500) if green[i]] if next(draw) % 100 < 100 * SHARE else range(3, 500)
                ids.append(chosen[next(draw) % len(chosen)])
            file.write(json.dumps({"id": f"row {number}", "token_ids": ids}) + "\n")
    return "owner.key", "rows.jsonl"


def _numbers(label: str, count: int) -> list[int]:
    """The same under every Python."""
    return [int.from_bytes(hashlib.sha256(f"{label} {i}".encode()).digest()[:6]) for i in range(count)]


def told(file: str, *arguments: str) -> None:
    """What a command prints becomes a file."""
    from detect.cli.main import run

    with redirect_stdout(io.StringIO()) as out:
        code = run(["-q", *arguments])
    if code:
        raise SystemExit(f"taggant {' '.join(arguments)}: exit code {code}")
    Path(file).write_text(out.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(int(sys.argv[2]), sys.argv[3])
    else:
        main()
