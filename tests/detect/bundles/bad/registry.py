"""How a bad bundle is registered and made: a good one that was changed, and signed anew."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

from tests.detect.bundles.draft import Draft, zipped
from tests.detect.bundles.factory import GOOD, KEY, Files, Made, sealed

Changed = Callable[[Draft], Files | bytes | None]  # None: the draft as it is now
BAD: dict[str, tuple[str, str, Changed]] = {}  # name → code, the good bundle that it is made from, and how

TEXT = "case/runs/0001/text.json"
RUN = "case/runs/0001/run.json"
DOCUMENTS = "case/runs/0001/text.documents.jsonl"
SAMPLED = "case/runs/0001/sampled-distinct.json"
READING = "case/runs/0001/reading-difference.json"
WEIGHTS = "case/runs/0001/reading-difference.npz"


@lru_cache
def good(name: str) -> dict[str, bytes]:
    directory = Path(tempfile.mkdtemp())
    try:
        return GOOD[name](directory)
    finally:
        shutil.rmtree(directory)


def made(name: str) -> bytes:
    """A bad bundle, as the bytes of its zip archive."""
    _, source, change = BAD[name]
    draft = Draft.of(deepcopy(good(source)))
    found = change(draft)
    found = draft.build() if found is None else found
    return found if isinstance(found, bytes) else zipped(found)


def case_of(make: Callable[[Made], None], *, opened: bool = True) -> Files:
    """A bundle of a case that no change to a good one gives."""
    with tempfile.TemporaryDirectory() as directory:
        return sealed(Path(directory), KEY, make, opened=opened)


def bad(code: str, source: str = "text") -> Callable[[Changed], Changed]:
    def named(change: Changed) -> Changed:
        BAD[change.__name__.replace("_", "-")] = (code, source, change)
        return change

    return named
