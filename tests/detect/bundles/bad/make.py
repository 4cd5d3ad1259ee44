"""Writes the committed bad bundles anew: `python -m tests.detect.bundles.bad.make`.

NAME.zip for every mutation, index.json with the code that each must be refused with, authority.pem for --tsa-root.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.detect.bundles.bad.mutations import BAD, made
from tests.detect.bundles.factory import authority

HERE = Path(__file__).parent
LARGEST = 20_000  # bytes; larger ones are made where they are tested


def main() -> None:
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


if __name__ == "__main__":
    main()
