"""The keys of a study: fresh for every trial, derived from a public seed, so that anyone repeats the table.

    seed of a row = SHA-256(lp("taggant-validation/1") ‖ seed ‖ lp(name of the row))
    key i's secret = derive(seed of the row, "decoy", str(i))

No two trials of a study have a key in common.
"""

from __future__ import annotations

import hashlib

from watermark.keys import Key, decoy_key, lp
from watermark.keys.parameters import Parameters

FORMAT = "taggant-validation/1"


def row_seed(seed: bytes, name: str) -> bytes:
    """The 32 bytes that the keys of one row of the table are derived from."""
    return hashlib.sha256(lp(FORMAT) + seed + lp(name)).digest()


def fresh_key(seed: bytes, index: int, parameters: Parameters) -> Key:
    """Key `index` (from 0) of the row with this seed. Public, so it must mark nothing but what is made for a study."""
    return Key(decoy_key(seed, index), parameters)
