"""Files that are given beside a bundle: read strictly, identified by their digests, never trusted with more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detect.bundles.entries import digest
from watermark.errors import InputError
from watermark.files import strict_json


def read_object(path: Path, form: str, command: str) -> tuple[dict[str, Any], str]:
    """The JSON object of a file in this format, and the file's SHA-256.

    Args:
        form: value of its member `format`.
        command: what makes such files, for the error.

    Raises:
        InputError: not there, no JSON, or in another format.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from None
    try:
        value = strict_json(data)
    except (InputError, RecursionError) as error:
        raise InputError(f"{path} is no JSON that is read ({error or 'nested too deeply'}); give {command}") from None
    if not isinstance(value, dict) or value.get("format") != form:
        raise InputError(f"{path} is not in the format {form}; give {command}")
    return value, digest(data)
