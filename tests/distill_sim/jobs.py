"""Tasks and stages for tests; they run in worker processes, which import this module and little else."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from watermark.errors import InputError, KeyFileError, ModelError, TokenizerMismatchError, UnsupportedError

Report = Callable[[int, int, str], None]

ERRORS: dict[str, Callable[[], BaseException]] = {
    "input": lambda: InputError("the corpus is empty"),
    "model": lambda: ModelError("no model there"),
    "key": lambda: KeyFileError("no key there"),
    "tokenizer": lambda: TokenizerMismatchError("another tokenizer", expected="a", found="b"),
    "unsupported": lambda: UnsupportedError("not like this"),
    "full": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "denied": lambda: PermissionError(errno.EACCES, "Permission denied", "/some/file"),
    "pipe": lambda: BrokenPipeError(errno.EPIPE, "Broken pipe"),
    "vague": lambda: OSError("something with a disk"),
    "other": lambda: ZeroDivisionError("by zero"),
    "hostile": lambda: InputError("layer \x1b]0;owned\x07 of the model"),
    "leave": lambda: SystemExit(3),
}


def note(path: str | Path, line: str) -> None:
    """Append one line; a single write, so that lines of several processes don't mix."""
    with Path(path).open("a") as file:
        file.write(line + "\n")


def log(arguments: Mapping[str, Any], report: Report) -> float:
    """Note begin and end with the clock; sleep in between."""
    note(arguments["log"], json.dumps(["begin", arguments["name"], time.monotonic(), os.getpid()]))
    report(1, 4, "a quarter")
    time.sleep(arguments.get("sleep", 0.0))
    note(arguments["log"], json.dumps(["end", arguments["name"], time.monotonic(), os.getpid()]))
    return float(arguments.get("result", 1.5))


def threads(arguments: Mapping[str, Any], report: Report) -> float:
    assert os.environ["OMP_NUM_THREADS"] == os.environ["THREADS_OF_THE_STUB"]
    return float(os.environ["OMP_NUM_THREADS"])


def interruptible(arguments: Mapping[str, Any], report: Report) -> float:
    """1 when Ctrl-C could reach this process."""
    return float(signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def fail(arguments: Mapping[str, Any], report: Report) -> float:
    raise ERRORS[arguments["error"]]()


def die(arguments: Mapping[str, Any], report: Report) -> float:
    if arguments["how"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(7)


def elsewhere(arguments: Mapping[str, Any], report: Report) -> float:
    """1 when the current directory is not where modules are looked for."""
    return float(not {"", str(Path.cwd())} & set(sys.path))


def hang(arguments: Mapping[str, Any], report: Report) -> float:
    """Report once, then never come back."""
    report(0, 1, "hanging")
    if "log" in arguments:
        note(arguments["log"], str(os.getpid()))
    time.sleep(600)
    return 0.0


def chatter(arguments: Mapping[str, Any], report: Report) -> float:
    """Report as fast as possible for a while."""
    end = time.monotonic() + 0.7
    count = 0
    while time.monotonic() < end:
        count += 1
        report(count, 10**9, "chatting")
    return float(count)


# --- stages ---


def add(context: Any) -> None:
    """Sum of the inputs and the setting; counts its runs in a file that `private` names."""
    note(context.private["log"], context.work.name)
    value = context.settings["value"]
    for directory in context.inputs.values():
        value += json.loads((directory / "value.json").read_text())
    (context.output / "value.json").write_text(json.dumps(value))


def half(context: Any) -> None:
    """Write half of a result, count the tries in `work`, and stop until the third."""
    (context.output / "value.json").write_text("half")
    tries = context.work / "tries"
    tries.write_text(f"{len(tries.read_text()) * '.' if tries.exists() else ''}.")
    context.report(1, 2, "half")
    if len(tries.read_text()) < 3:
        raise InputError(f"try {len(tries.read_text())}")
    (context.output / "value.json").write_text("3")


def two_files(context: Any) -> None:
    (context.output / "deep").mkdir()
    (context.output / "deep" / "a.bin").write_bytes(bytes(100))
    (context.output / "b.txt").write_text("b")


def stuck(context: Any) -> None:
    (context.output / "value.json").write_text("half")
    hang(context.private, context.report)


def stuck_until(context: Any) -> None:
    """Hang before the result is there, as long as the file `go` is not."""
    note(context.private["log"], context.work.name)
    (context.work / "pid").write_text(str(os.getpid()))
    if not Path(context.private["go"]).exists():
        (context.output / "value.json").write_text("half")
        hang({}, context.report)
    (source,) = context.inputs.values()
    value = context.settings["value"] + json.loads((source / "value.json").read_text())
    (context.output / "value.json").write_text(json.dumps(value))
