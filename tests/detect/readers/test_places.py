"""Globs, compressed files and remote storage: which files they stand for, and what is said when they fail."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detect.readers.paths import files_of
from detect.readers.places import File, find, reading
from tests.detect.readers.helpers import refusal, rows_of, write
from watermark.errors import InputError

fsspec = pytest.importorskip("fsspec")

LINES = b"".join(json.dumps({"text": f"row {i}"}).encode() + b"\n" for i in range(5))
TEXTS = [f"row {i}" for i in range(5)]


@pytest.fixture
def memory() -> Iterator[object]:
    """Remote storage inside this process."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


class TestGlobs:
    def test_what_a_pattern_names_in_order(self, tmp_path: Path) -> None:
        for name in ("b/x.txt", "a/y.txt", "a/.hidden.txt", "a/z.md", "c/deep/w.txt"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        assert [row.text for row in rows_of(f"{tmp_path}/*/*.txt")] == ["a/y.txt", "b/x.txt"]
        assert [row.text for row in rows_of(f"{tmp_path}/**/*.txt")] == ["a/y.txt", "b/x.txt", "c/deep/w.txt"]
        assert [row.text for row in rows_of(f"{tmp_path}/[ab]")] == ["a/y.txt", "a/z.md", "b/x.txt"]

    def test_a_file_of_that_very_name_comes_first(self, tmp_path: Path) -> None:
        for name in ("a[1].txt", "a1.txt"):
            (tmp_path / name).write_text(name)
        assert [row.text for row in rows_of(tmp_path / "a[1].txt")] == ["a[1].txt"]

    def test_nothing_of_such_a_name(self, tmp_path: Path) -> None:
        assert f"{tmp_path}/*.txt: no file has such a name" in refusal(f"{tmp_path}/*.txt")
        (tmp_path / "empty.txt").mkdir()
        assert "no file has such a name" in refusal(f"{tmp_path}/*.txt")


class TestCompression:
    @pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstd)])
    def test_jsonl_and_text(self, tmp_path: Path, suffix: str, pack: object) -> None:
        half = LINES.index(b"\n", len(LINES) // 2) + 1
        parts = [pack(LINES[:half]), pack(LINES[half:])]  # type: ignore[operator]
        (tmp_path / f"a.jsonl{suffix}").write_bytes(b"".join(parts))  # of several members, as they are appended
        (tmp_path / f"b.txt{suffix}").write_bytes(pack(b"a text\n"))  # type: ignore[operator]
        rows = rows_of(tmp_path)
        assert [row.text for row in rows] == [*TEXTS, "a text\n"]
        assert rows[2].source == f"{tmp_path}/a.jsonl{suffix}:3"
        (tmp_path / f"a.jsonl{suffix}").write_bytes(b"".join(parts)[:-9])
        assert f"a.jsonl{suffix} cannot be read" in refusal(tmp_path / f"a.jsonl{suffix}")
        (tmp_path / f"b.txt{suffix}").write_bytes(b"no such thing")
        assert f"b.txt{suffix} cannot be read" in refusal(tmp_path / f"b.txt{suffix}")

    def test_parquet_is_compressed_inside(self, tmp_path: Path) -> None:
        (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(b"PAR1"))
        assert "unpack the file" in refusal(tmp_path / "a.parquet.gz")


class TestRemote:
    def test_files_directories_and_globs(self, memory: object, tmp_path: Path) -> None:
        pq.write_table(pa.table({"text": ["one", "two"]}), tmp_path / "t.parquet")
        for name, data in {
            "corpus/b.jsonl": LINES, "corpus/a/c.jsonl.gz": gzip.compress(LINES), "corpus/.hidden": b"x",
            "corpus/t.parquet": (tmp_path / "t.parquet").read_bytes(), "corpus/z.txt": b"a text",
        }.items():  # fmt: skip
            memory.pipe(f"/{name}", data)  # type: ignore[attr-defined]
        rows = rows_of("memory://corpus")
        assert [row.text for row in rows] == [*TEXTS, *TEXTS, "one", "two", "a text"]
        assert [row.source for row in rows][4:6] == ["memory:///corpus/a/c.jsonl.gz:5", "memory:///corpus/b.jsonl:1"]
        assert [row.text for row in rows_of("memory://corpus/*.jsonl")] == TEXTS
        (file,) = files_of(["memory://corpus/z.txt"])
        assert (file.base, file.name, file.kind) == ("z.txt", "memory://corpus/z.txt", "text")

    def test_what_is_not_there(self, memory: object) -> None:
        assert "memory://none.txt does not exist" in refusal("memory://none.txt")
        assert "memory://x/*.txt: no file has such a name" in refusal("memory://x/*.txt")
        assert "no file system is known by that name" in refusal("nowhere://x/a.txt")

    def test_a_broken_row_names_file_and_line(self, memory: object) -> None:
        memory.pipe("/a.jsonl", LINES + b"{")  # type: ignore[attr-defined]
        assert refusal("memory://a.jsonl").startswith("memory://a.jsonl:6: not JSON")

    def test_clients_errors_are_one_line_without_their_words(self, memory: object) -> None:
        class Odd(Exception):
            pass

        class System:
            protocol = "s3"

            def open(self, *_: object) -> object:
                raise Odd("https://host/a?signature=secret")

        with pytest.raises(InputError) as refused, reading(File("a", "s3://a", System())):
            pass
        assert str(refused.value) == "s3://a cannot be read (Odd); check address, rights and network"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://user:secret@host/a/b.jsonl?X-Signature=secret#secret", "https://host/a/b.jsonl"),
        ("ftp://user:secret@host/a%20b.txt", "ftp://host/a%20b.txt"),
        ("zip://a.txt::https://u:secret@host/z.zip?secret", "zip://a.txt::https://host/z.zip"),
        ("s3://bucket/a?b#c.txt", "s3://bucket/a?b#c.txt"),
        ("s3://b/a\x1b[31m.txt", "s3://b/a⟨U+001B⟩[31m.txt"),
    ],
)
def test_names_hold_no_secrets(address: str, name: str) -> None:
    from detect.readers import places

    assert places.without_secrets(address) == name


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    with pytest.raises(InputError, match=r"s3:// needs a package that is not installed; .*'taggant\[remote\]'"):
        find("s3://bucket/a.jsonl")


def test_local_files_need_no_fsspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "fsspec", None)
    write(tmp_path / "a.jsonl", {"text": "a"})
    assert [row.text for row in rows_of(os.fspath(tmp_path / "*.jsonl"))] == ["a"]
