"""Every byte of every file of small bundles, flipped once, under both verifiers: none may be accepted.

    python -m benchmarks.flipped_bytes [BUNDLE…]      names of the tests' good bundles; default: text-closed and stamped

The suite takes every byte of small files and a sample of large ones; this takes all, some 30,000.
A timestamp's bytes go to the first verifier alone: the second asks OpenSSL, which does not mind what nobody signed.
"""

from __future__ import annotations

import random
import sys
import time

from tests.detect.bundles.bad.mutations import good
from tests.detect.bundles.factory import authority
from tests.detect.bundles.verify.both import first_code
from tests.tools.second import check_of


def main() -> None:
    for name in sys.argv[1:] or ["text-closed", "stamped"]:
        flip(name)


def flip(name: str) -> None:
    """Print how many bytes each file has, and how many flips of them were accepted."""
    files, rng = good(name), random.Random(name)
    assert (first_code(files, [authority().root]), check_of(files)) == ("passed", "passed")
    begun, bytes_in_all, accepted_in_all = time.monotonic(), 0, 0
    for file, data in sorted(files.items()):
        accepted = 0
        for at in range(len(data)):
            changed = bytearray(data)
            changed[at] ^= 1 << rng.randrange(8)
            bundle = files | {file: bytes(changed)}
            accepted += first_code(bundle, [authority().root]) == "passed"
            accepted += not file.endswith(".tsr") and check_of(bundle) == "passed"
        print(f"{name}  {file:60} {len(data):7,} bytes, {accepted} accepted", flush=True)
        bytes_in_all, accepted_in_all = bytes_in_all + len(data), accepted_in_all + accepted
    print(f"{name}: {bytes_in_all:,} bytes flipped, {accepted_in_all} accepted, {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
