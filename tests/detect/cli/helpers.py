"""Running the command line: in process, and through the installed executable."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from detect.cli.main import run
from tests import tiny
from watermark import Key
from watermark.keys import Parameters, TokenizerIdentity

EXECUTABLE = Path(sys.executable).with_name("taggant")
SPEECH = Path(__file__).parents[2] / "data" / "state-of-the-union-1963.txt"

EVIDENCE = [
    "schema",
    "test",
    "key_id",
    "scheme",
    "gamma",
    "context_width",
    "n_tokens",
    "n_scored",
    "n_green",
    "green_fraction",
    "ci95",
    "z_score",
    "log10_p",
    "log10_p_adjusted",
    "log10_e",
    "log10_p_saddlepoint",
    "theta",
    "n_contexts",
    "alpha",
    "finding",
    "status",
    "notes",
]  # design.md, in its order
PROGRESS = re.compile(r"[a-z][a-z, -]*: [\d,]+ ((position|token|pair|decoy|answer|key)s?|MB)")  # how long work begins
LINEUP = ["decoys", "seed", "rank", "p_rank", "log10_p_best_decoy", "uniformity_p"]


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def notes(self) -> str:
        """stderr without the lines that say that long work begins."""
        return "".join(line for line in self.err.splitlines(True) if not PROGRESS.fullmatch(line.rstrip("\n")))

    def refused(self, code: int, *fragments: str) -> None:
        """One line on stderr that holds every fragment, nothing on stdout, and the designed exit code.

        Work that had begun may have said so before.
        """
        assert self.code == code, self
        assert self.out == "", self
        assert self.notes.startswith("taggant: "), self
        assert self.err.endswith(self.notes), self
        assert self.notes.endswith("\n"), self
        assert self.notes.count("\n") == 1, self
        assert "Traceback" not in self.err
        for fragment in fragments:
            assert fragment in self.err, self

    def json(self) -> Any:
        """The one object on stdout of a command that ended well."""
        assert self.code == 0, self
        assert self.out.count("\n") == 1, self
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """NDJSON."""
        assert self.code == 0, self
        return [json.loads(line) for line in self.out.splitlines()]


class Cli:
    """`taggant` in process; calls return a Result."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Result:
        self._capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Result(code, *self._capsys.readouterr())


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "100", **changes}


def execute(*arguments: object, stdin: bytes | None = None, **changes: str) -> Result:
    """`taggant` as a user runs it."""
    done = subprocess.run(
        [EXECUTABLE, *map(str, arguments)], input=stdin, capture_output=True, env=environment(**changes), check=False
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def names(directory: Path) -> list[str]:
    """What a directory holds, hidden files included."""
    return sorted(path.name for path in directory.iterdir())


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tiny_identity() -> TokenizerIdentity:
    """The tiny tokenizer under the name it can be loaded by."""
    from tests.watermark.engines.helpers import identity

    found = identity()
    return TokenizerIdentity(str(tiny.shared()), found.sha256, found.vocab_size, found.special_ids)


def save_key(path: Path, number: int = 0, *, delta: float = 2.0, width: int = 1, bare: bool = False) -> Path:
    """A fixed key per number; a `bare` one knows no tokenizer."""
    secret = bytes((number * 37 + i * 11 + 5) % 256 for i in range(32))
    Key(secret, Parameters(16384, delta, width, None if bare else tiny_identity())).save(path)
    return path


def secrets_of(key_file: Path) -> list[str]:
    """The secret and the ChaCha20 key, in hex."""
    return [json.loads(key_file.read_text())["secret"], Key.load(key_file).chacha_key.hex()]
