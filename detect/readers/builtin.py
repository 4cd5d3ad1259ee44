"""The built-in probes: prompts and answers over many domains, written for this project. No key had a part in them.

Their content never changes under one name: a plan that was made with them means the same rows for ever. A changed set
gets a new name, and this one stays. ADR 0011.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from detect.readers.lines import jsonl_rows
from detect.readers.row import Row
from watermark.errors import InputError

BUILTIN = "builtin"  # what stands for them where probes are given; a file of that name is ./builtin
SHA256 = "7a486ebb14f162c29d494ac58ade27266459ffad887440f99267e406870cde38"  # of the file
FILE = Path(__file__).parents[1] / "data" / "probes.jsonl"


def builtin_rows() -> Iterator[Row]:
    """The rows {id, domain, prompt, text}, in the order of the file.

    Raises:
        InputError: the file is missing, or is not the one that was written.
    """
    try:
        content = FILE.read_bytes()
    except OSError:
        content = b""
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise InputError(f"the built-in probes are missing or were changed ({FILE}); install Taggant again")
    return jsonl_rows(content.splitlines(keepends=True), BUILTIN)
