"""The one check of a new key on human text, and the record of it that later tests must account for.

Accept iff the one-sided p on a human corpus is above 0.01, before first use and never after. Under the null that
keeps 99 % of keys, so a later p under an accepted key is at most p / 0.99.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from detect.counting import tally
from detect.exact.binomial import log10_sf
from watermark.errors import InputError, KeyFileError
from watermark.files import refuse_existing, strict_json, write_json
from watermark.keys import Key
from watermark.keys.members import hex_digits, members
from watermark.windows import Document

FORMAT = "taggant-key-check/2"
THRESHOLD = 0.01


@dataclass(frozen=True)
class KeyCheck:
    """Outcome of the check.

    Attributes:
        log10_p: Null: the corpus does not depend on the key. Exact, one-sided (upper).
        accepted: log10_p is above log10 0.01.
        corpus_sha256: of each document in turn, its length and its token ids, all little-endian uint32.
        n_documents: in the corpus.
    """

    key_id: str
    accepted: bool
    log10_p: float
    n_scored: int
    n_green: int
    corpus_sha256: str
    n_documents: int
    created: str
    format: str = FORMAT

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_path(key_file: Path) -> Path:
    """Where the record of a key's check lies: beside the key."""
    return key_file.with_name(f"{key_file.name}.check.json")


def check_key(key: Key, key_file: Path, corpus: Sequence[Document]) -> KeyCheck:
    """Check `key` on a human corpus and keep the outcome beside its file (InputError: as `look`)."""
    result = look(key, key_file, corpus)
    keep(result, key_file)
    return result


def keep(check: KeyCheck, key_file: Path) -> None:
    """Write a check beside its key, where there is none (InputError)."""
    write_json(check_path(key_file), check.to_dict())


def look(key: Key, key_file: Path, corpus: Sequence[Document]) -> KeyCheck:
    """What the check of `key` says; whoever is shown it must `keep` it.

    Null: as `KeyCheck`.

    Raises:
        InputError: the key was checked before, by this file or a copy beside it: a second look would make later
            p-values too small. Or the corpus is so short that no key could be refused: only a check that could fail
            counts.
    """
    path = check_path(key_file)
    for earlier in [path, *sorted(path.parent.glob(check_path(Path("*")).name))]:
        if earlier.exists() and (earlier == path or _names(earlier, key)):
            raise InputError(f"{earlier} exists: a key is checked once; make another key if this one was refused")
    refuse_existing(path)
    counted = tally(key, corpus)
    n, gamma = counted.n_scored, counted.green.gamma
    if log10_sf(n, n, gamma) > math.log10(THRESHOLD):
        raise InputError(f"{n} distinct pairs are too few to refuse any key: give more human text")
    log10_p = log10_sf(counted.n_green, n, gamma)
    return KeyCheck(
        key_id=key.key_id,
        accepted=log10_p > math.log10(THRESHOLD),
        log10_p=log10_p,
        n_scored=n,
        n_green=counted.n_green,
        corpus_sha256=_digest(corpus),
        n_documents=len(corpus),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def load_check(key: Key, key_file: Path) -> KeyCheck | None:
    """The record beside the key file, or None.

    Raises:
        KeyFileError: the record is unreadable, malformed, contradicts itself or belongs to another key.
    """
    path = check_path(key_file)
    if not path.exists():
        return None
    try:
        content = strict_json(path.read_bytes())
    except (InputError, OSError):
        content = None
    return check_of(content, key.key_id, key.gamma, str(path))


def check_of(content: object, key_id: str, gamma: float, what: str) -> KeyCheck:
    """Read what `KeyCheck.to_dict` gave.

    Raises:
        KeyFileError: it is malformed, contradicts itself or belongs to another key than that of this id and gamma.
    """
    try:
        members(content, [one.name for one in fields(KeyCheck)], what)
        result = KeyCheck(**content)  # type: ignore[arg-type]
        hex_digits(result.corpus_sha256, "corpus_sha256")
    except (KeyFileError, TypeError):
        raise KeyFileError(f"{what} is not a key check; remove it if the key was never checked") from None
    if result.format != FORMAT or result.key_id != key_id or not isinstance(result.accepted, bool):
        raise KeyFileError(f"{what} is the check of another key; it should lie beside its own key")
    if type(result.log10_p) not in (int, float) or result.accepted != (result.log10_p > math.log10(THRESHOLD)):
        raise KeyFileError(f"{what} contradicts itself: accepted or not does not follow from its log10_p; restore it")
    counts = (result.n_green, result.n_scored)
    if not all(type(one) is int for one in counts) or not 0 <= result.n_green <= result.n_scored:
        raise KeyFileError(f"{what} contradicts itself: its counts are none; restore it")
    if not math.isclose(result.log10_p, log10_sf(*counts, gamma), rel_tol=1e-9, abs_tol=1e-12):
        raise KeyFileError(f"{what} contradicts itself: its log10_p does not follow from its counts; restore it")
    return result


def check_on(key: Key, key_file: Path, corpus: Sequence[Document]) -> KeyCheck | None:
    """The record beside the key file, of a check on this corpus; None: the key was not checked.

    Raises:
        KeyFileError: as `load_check`.
        InputError: it was checked on another corpus.
    """
    record = load_check(key, key_file)
    if record is not None and record.corpus_sha256 != _digest(corpus):
        raise InputError(
            f"{check_path(key_file)} is of another text than this: a key is checked once; give the same text to record "
            "that check in a case"
        )
    return record


def accepted(key: Key, key_file: Path) -> bool | None:
    """What the record beside the key file says (KeyFileError as `load_check`); None: there is none."""
    record = load_check(key, key_file)
    return None if record is None else record.accepted


def on_record(key: Key, key_file: Path) -> dict[str, Any]:
    """What of it a test must account for, by the names that `detect.evidence.Assessment` has for it.

    Raises:
        KeyFileError: as `load_check`.
    """
    record = load_check(key, key_file)
    if record is None:
        return {"key_check": None, "check_corpus": None}
    return {"key_check": record.accepted, "check_corpus": record.corpus_sha256}


def _names(path: Path, key: Key) -> bool:
    """Whether a file is the record of a check of `key`; one that cannot be read is not known to be."""
    try:
        record = strict_json(path.read_bytes())
    except (InputError, OSError):
        return False
    return isinstance(record, dict) and record.get("key_id") == key.key_id


def _digest(corpus: Sequence[Document]) -> str:
    digest = hashlib.sha256()
    for document in corpus:
        digest.update(np.array([len(document), *map(int, document)], dtype="<u4").tobytes())
    return digest.hexdigest()
