"""Archives that hold something else than a bundle."""

from __future__ import annotations

import io
import re
import stat
import zipfile

from tests.detect.bundles.bad.registry import (
    bad,
)
from tests.detect.bundles.draft import Draft, zipped, zipped_with
from tests.detect.bundles.factory import Files


@bad("zip")
def truncated(d: Draft) -> bytes:
    return zipped(d.build())[:-200]


@bad("zip")
def no_archive(d: Draft) -> bytes:
    return b"this is no bundle\n" * 9


@bad("zip")
def something_before_the_archive(d: Draft) -> bytes:
    return b"#!/bin/sh\n" + zipped(d.build())


@bad("zip")
def something_behind_the_archive(d: Draft) -> bytes:
    return zipped(d.build()) + b"and more"


@bad("name")
def path_traversal(d: Draft) -> bytes:
    return zipped_with(d.build(), ("../outside.txt", b"x"))


@bad("name")
def absolute_path(d: Draft) -> bytes:
    return zipped_with(d.build(), ("/tmp/outside.txt", b"x"))


@bad("name")
def traversal_within(d: Draft) -> bytes:
    return zipped_with(d.build(), ("case/../../outside.txt", b"x"))


@bad("name")
def backslash(d: Draft) -> bytes:
    return zipped_with(d.build(), ("case\\outside.txt", b"x"))


@bad("name")
def hidden_file(d: Draft) -> bytes:
    return zipped_with(d.build(), ("case/.hidden", b"x"))


@bad("name")
def nul_in_a_name(d: Draft) -> bytes:
    return zipped_with(d.build(), ("case/a~b", b"x")).replace(b"case/a~b", b"case/a\0b")


@bad("name")
def too_deep(d: Draft) -> bytes:
    return zipped_with(d.build(), ("/".join("abcdefghi"), b"x"))


@bad("twice")
def file_twice(d: Draft) -> bytes:
    files = d.build()
    return zipped_with(files, ("mark.json", files["mark.json"]))


@bad("link")
def symbolic_link(d: Draft) -> bytes:
    def link(info: zipfile.ZipInfo) -> None:
        info.external_attr = (stat.S_IFLNK | 0o777) << 16

    return zipped_with(d.build(), ("case/link", b"/etc/passwd"), change=link)


@bad("size")
def zip_bomb(d: Draft) -> bytes:
    return zipped_with(d.build(), ("case/bomb", bytes(5_000_000)))


@bad("size")
def too_many_files(d: Draft) -> bytes:
    return zipped_with(d.build(), *((f"case/{i}", b"") for i in range(10_000)), method=zipfile.ZIP_STORED)


@bad("zip")
def encrypted(d: Draft) -> bytes:
    data = bytearray(zipped(d.build()))
    for at in (m.start() for m in re.finditer(b"PK\1\2", data)):
        data[at + 8] |= 1
    return bytes(data)


@bad("zip")
def other_compression(d: Draft) -> bytes:
    return zipped_with(d.build(), ("case/x", b"x" * 99), method=zipfile.ZIP_BZIP2)


@bad("zip")
def wrong_checksum(d: Draft) -> bytes:
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(d.build().items()):
            archive.writestr(name, data)
    return handle.getvalue().replace(b'"format":"taggant-mark/1"', b'"format":"taggant-mark/2"', 1)


@bad("missing")
def no_mark(d: Draft) -> None:
    del d.files["mark.json"]


@bad("missing")
def no_environment(d: Draft) -> None:
    del d.files["environment.json"]


@bad("missing")
def no_manifest(d: Draft) -> Files:
    return {name: data for name, data in d.build().items() if name != "manifest.json"}


@bad("missing")
def no_log(d: Draft) -> Files:
    return {name: data for name, data in d.build().items() if name != "custody.jsonl"}


@bad("link")
def symbolic_link_of_another_system(d: Draft) -> bytes:
    """An entry that says it was made elsewhere is a link all the same where it is unpacked."""

    def link(info: zipfile.ZipInfo) -> None:
        info.create_system, info.external_attr = 0, (stat.S_IFLNK | 0o777) << 16

    return zipped_with(d.build(), ("case/link", b"/etc/passwd"), change=link)


@bad("name")
def directory_with_two_slashes(d: Draft) -> bytes:
    return zipped_with(d.build(), ("case//", b""))
