"""No byte of a bundle can be another one: flipped, it is refused by both verifiers, whichever file it is in."""

from __future__ import annotations

import random

import pytest

from tests.detect.bundles.bad.mutations import good
from tests.detect.bundles.factory import authority
from tests.detect.bundles.verify.both import first_code
from tests.tools.second import check_of

SMALL, SAMPLE = 300, 60  # bytes: of a larger file a sample; benchmarks/flipped_bytes.py takes them all


def flips(files: dict[str, bytes], seed: int) -> list[tuple[str, int, int]]:
    """(file, byte, bit): every byte of small files, some of large ones."""
    rng = random.Random(seed)
    found = []
    for name, data in sorted(files.items()):
        places = range(len(data)) if len(data) <= SMALL else sorted(rng.sample(range(len(data)), SAMPLE))
        found += [(name, at, 1 << rng.randrange(8)) for at in places]
    return found


@pytest.mark.parametrize("name", ["stamped", "text-closed"])
def test_flipped_bytes_are_refused(name: str) -> None:
    files = good(name)
    roots = [authority().root], [authority().pem]
    assert (first_code(files, roots[0]), check_of(files, [], roots[1])) == ("passed", "passed")
    accepted = []
    for file, at, bit in flips(files, seed=len(files)):
        data = bytearray(files[file])
        data[at] ^= bit
        changed = files | {file: bytes(data)}
        if first_code(changed, roots[0]) == "passed":
            accepted.append(("first", file, at, bit))
        if file != "manifest.tsr" and check_of(changed) == "passed":
            accepted.append(("second", file, at, bit))
    assert accepted == []


def test_flipped_bytes_of_a_timestamp_are_refused_by_the_second_where_it_matters() -> None:
    """It hands what is signed to OpenSSL; what nobody signed, such as the words of a status, OpenSSL does not mind."""
    files = good("stamped")
    response = files["manifest.tsr"]
    of = response.index(b"\x04\x20")  # the imprint; the time stands behind it
    time = response.index(b"\x18\x0f2026")
    for at in (*range(of, of + 34), *range(time, time + 17), len(response) - 1):
        data = bytearray(response)
        data[at] ^= 1
        assert check_of(files | {"manifest.tsr": bytes(data)}, [], [authority().pem]) == "timestamps", at
