"""Keys and key files for the tests of this package."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

from watermark.keys import Key, Parameters, TokenizerIdentity

SECRET = bytes(range(0xA0, 0xC0))  # no run of its hex digits occurs in a path or message by chance
TOKENIZER = TokenizerIdentity("smol", "ab" * 32, 1000, (0, 1, 999))


def make_key(secret: bytes = SECRET, tokenizer: TokenizerIdentity | None = TOKENIZER, **changes: Any) -> Key:
    parameters = {"gamma_65536": 16384, "delta": 2.0, "context_width": 1, "tokenizer": tokenizer, **changes}
    return Key(secret, Parameters(**parameters))


def key_document(key: Key | None = None, **changes: Any) -> dict[str, Any]:
    """The JSON of a key file, built by hand rather than by `Key.save`."""
    key = key or make_key()
    document = {
        "format": "taggant-key/1",
        "key_id": key.key_id,
        "secret": SECRET.hex(),
        "scheme": "greenlist/1",
        "gamma_65536": 16384,
        "delta": 2.0,
        "context_width": 1,
        "tokenizer": {"name": "smol", "sha256": "ab" * 32, "vocab_size": 1000, "special_ids": [0, 1, 999]},
        "derived_from": None,
    }
    return {**document, **changes}


def write_private(path: Path, content: bytes | str | dict[str, Any], mode: int = 0o600) -> Path:
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def shown(error: BaseException) -> str:
    """All that an error could show: message, repr, traceback, and the locals of every frame below the test's own.

    Chained exceptions are included even where `from None` keeps them from being printed.
    """
    text = []
    for chained in (error, error.__cause__, error.__context__):
        if chained is None:
            continue
        text += [str(chained), repr(chained), *traceback.format_exception(chained)]
        frames = [frame for frame, _ in traceback.walk_tb(chained.__traceback__)]
        text += [repr(frame.f_locals) for frame in frames if "/tests/" not in frame.f_code.co_filename]
    return "\n".join(text)


def assert_no_secret(text: str, secret: bytes = SECRET) -> None:
    """No run of 8 hex digits or 4 raw bytes of the secret."""
    digits = secret.hex()
    runs = [digits[i : i + 8] for i in range(len(digits) - 8)]
    assert [run for run in runs if run in text.lower()] == []
    assert repr(secret)[2:-1] not in text


def assert_one_line(error: BaseException) -> None:
    assert str(error)
    assert "\n" not in str(error)
    assert "\r" not in str(error)
