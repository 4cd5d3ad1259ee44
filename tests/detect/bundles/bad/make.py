"""Writes the committed bad bundles anew: `python -m tests.detect.bundles.bad.make [NAME]...`, all or these.

NAME.zip for every mutation, index.json with the code that each must be refused with, authority.pem for --tsa-root.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.detect.bundles.bad.mutations import BAD, made
from tests.detect.bundles.factory import authority

HERE = Path(__file__).parent
LARGEST = 24_000  # bytes; larger ones are made where they are tested


def main(names: list[str]) -> None:
    if names:
        some(names)
        return
    for old in HERE.glob("*.zip"):
        old.unlink()
    index = {}
    for name, (code, _, _) in sorted(BAD.items()):
        data = made(name)
        if len(data) <= LARGEST:
            (HERE / f"{name}.zip").write_bytes(data)
            index[name] = code
    (HERE / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    (HERE / "authority.pem").write_bytes(authority().pem)


def some(names: list[str]) -> None:
    """These alone, none of which has a timestamp: its authority is made anew with all."""
    index = json.loads((HERE / "index.json").read_text(encoding="utf-8"))
    for name in names:
        (HERE / f"{name}.zip").write_bytes(made(name))
        index[name] = BAD[name][0]
    (HERE / "index.json").write_text(json.dumps(dict(sorted(index.items())), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
