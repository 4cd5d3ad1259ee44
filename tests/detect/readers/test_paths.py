"""Text files, directories and standard input become rows; what is wrong is named and refused."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from detect.readers import Row, read_rows
from tests.detect.readers.helpers import refusal, rows_of, write
from watermark.errors import InputError


class TestTextFiles:
    def test_a_file_is_one_document_with_its_line_ends(self, tmp_path: Path) -> None:
        path = tmp_path / "letter.txt"
        path.write_bytes("Ein Brief.\r\nZwei ✓ Zeilen.\n".encode())
        (row,) = rows_of(path)
        assert (row.text, row.id, row.source) == ("Ein Brief.\r\nZwei ✓ Zeilen.\n", str(path), str(path))
        assert row.token_ids is None
        assert row.prompt is None
        assert row.prompt_ids is None

    def test_a_byte_order_mark_goes(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfhello")
        assert rows_of(tmp_path / "a.txt")[0].text == "hello"

    @pytest.mark.parametrize("head", [b"", b"\xef\xbb\xbf"])
    def test_invalid_utf8_is_named_with_its_offset(self, tmp_path: Path, head: bytes) -> None:
        (tmp_path / "a.txt").write_bytes(head + b"caf\xe9 noir")
        message = refusal(tmp_path / "a.txt")
        assert f"a.txt: not UTF-8 at byte {len(head) + 3}" in message
        assert "caf" not in message

    def test_utf16_is_recognised(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes("hello".encode("utf-16"))
        assert "UTF-16" in refusal(tmp_path / "a.txt")

    def test_missing_files_and_nothing_at_all(self, tmp_path: Path) -> None:
        assert f"{tmp_path / 'no.txt'} does not exist" in refusal(tmp_path / "no.txt")
        assert "does not exist" in refusal(tmp_path / "no.parquet")
        assert "does not exist" in refusal(tmp_path / "no.jsonl")
        assert "nothing to read" in refusal()

    @pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet"])
    def test_unreadable_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        def denied(path: Path, *_: Any, **__: Any) -> Any:  # chmod would not stop root
            raise PermissionError(13, "Permission denied", str(path))

        (tmp_path / name).write_text("x")
        monkeypatch.setattr(Path, "open", denied)
        assert f"{tmp_path / name} cannot be read (Permission denied)" in refusal(tmp_path / name)

    def test_unreadable_directories(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def denied(_: Any, onerror: Any) -> Any:
            onerror(PermissionError(13, "Permission denied", str(tmp_path / "locked")))

        monkeypatch.setattr(os, "walk", denied)
        assert f"{tmp_path / 'locked'} cannot be read (Permission denied)" in refusal(tmp_path)

    def test_a_path_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("x")
        assert "cannot be read" in refusal(tmp_path / "a.txt" / "b.txt")

    def test_odd_file_names_are_spelled_out(self, tmp_path: Path) -> None:
        path = tmp_path / "a\u202e\x1b[31m.txt"
        path.write_text("x")
        assert rows_of(path)[0].id == f"{tmp_path}/a⟨U+202E⟩⟨U+001B⟩[31m.txt"
        undecodable = os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.txt")
        Path(undecodable).write_text("x")
        assert rows_of(undecodable)[0].id == f"{tmp_path}/b⟨U+DCFF⟩.txt"


class TestDirectories:
    def test_all_files_below_sorted_hidden_ones_left_out(self, tmp_path: Path) -> None:
        for name in ("b.txt", "a/z.md", "a/a.txt", ".hidden", ".git/c.txt", "a/.d", "a-b.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(name)
        write(tmp_path / "a" / "m.jsonl", {"text": "one"}, {"text": "two"})
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
        (tmp_path / "loop").symlink_to(tmp_path)
        assert [row.text for row in rows_of(tmp_path)] == ["a/a.txt", "one", "two", "a/z.md", "a-b.txt", "b.txt"]

    def test_without_files(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / ".hidden").write_text("x")
        assert "holds no files to read" in refusal(tmp_path)

    def test_one_bad_file_ends_everything(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("fine")
        (tmp_path / "b.txt").write_bytes(b"\xff")
        assert "b.txt: not UTF-8 at byte 0" in refusal(tmp_path)

    def test_all_bad_files_are_counted_and_the_first_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("fine")
        (tmp_path / "b.txt").write_bytes(b"\xff")
        write(tmp_path / "c.jsonl", {"text": "fine"}, b"broken")
        (tmp_path / "d.txt").write_text("fine")
        assert refusal(tmp_path, tmp_path / "none.txt") == (
            "3 of 5 files cannot be read, so nothing was done: "
            f"(1) {tmp_path}/b.txt: not UTF-8 at byte 0; convert the file to UTF-8 or leave it out, "
            f"(2) {tmp_path}/c.jsonl:2: not JSON: Expecting value at column 1; fix or remove the line, "
            f"(3) {tmp_path}/none.txt does not exist; check the path"
        )

    def test_of_many_bad_files_the_first_five_are_named(self, tmp_path: Path) -> None:
        for number in range(7):
            (tmp_path / f"{number}.txt").write_bytes(b"\xff")
        found = refusal(tmp_path)
        assert found.startswith("7 of 7 files cannot be read")
        assert [f"{number}.txt" in found for number in range(7)] == [True] * 5 + [False] * 2
        assert found.endswith(", and 2 more")

    def test_behind_a_bad_file_no_row_comes_and_nothing_is_fetched(self, tmp_path: Path) -> None:
        import fsspec

        (tmp_path / "a.txt").write_bytes(b"\xff")
        (tmp_path / "b.txt").write_text("fine")
        for name in "cd":
            fsspec.filesystem("memory").pipe(f"/far/{name}.txt", b"fine")
        rows = read_rows([tmp_path, "memory://far"])
        with pytest.raises(InputError) as caught:
            next(rows)
        assert str(caught.value).startswith(
            "1 of 2 files cannot be read (2 more in remote storage were not looked at), so nothing was done: (1) "
        )


class TestStandardInput:
    @staticmethod
    def read(data: bytes, **options: Any) -> list[Row]:
        return rows_of("-", stdin=io.BytesIO(data), **options)

    def test_text(self) -> None:
        (row,) = self.read(b"\n\nA text.\nMore.\n")
        assert (row.text, row.id) == ("\n\nA text.\nMore.\n", "stdin")

    def test_jsonl(self) -> None:
        rows = self.read(b'\n \n{"text": "a"}\n{"id": "z", "token_ids": [1]}\n')
        assert [(row.text, row.id) for row in rows] == [("a", "stdin:3"), (None, "z")]

    def test_jsonl_with_a_byte_order_mark(self) -> None:
        assert self.read(b'\xef\xbb\xbf{"text": "a"}')[0].text == "a"

    @pytest.mark.parametrize("data", [b"[1, 2]\nx", b"not {json}\n", b'"text"\n', b"12\n", b""])
    def test_what_does_not_open_with_an_object_is_text(self, data: bytes) -> None:
        assert [row.text for row in self.read(data)] == [data.decode()]

    @pytest.mark.parametrize("line", [b"{not json}", b'  {"text": "a"', b'{"prompt": "p", "text": "a"}}'])
    def test_a_first_line_that_is_a_broken_row_is_refused(self, line: bytes) -> None:
        """Else a prompt, which the examiner fed in, would be tested as if it were the answer."""
        refused = refusal("-", stdin=io.BytesIO(b"\n" + line + b'\n{"text": "b"}\n'))
        assert "stdin:2: begins like a row of JSON" in refused

    def test_a_first_line_cut_short_at_its_beginning_is_refused_too(self) -> None:
        data = b'mpt": "p", "text": "a"}\n{"prompt": "p", "text": "b"}\n'
        assert "line 2 is a row of JSON, though its first is none" in refusal("-", stdin=io.BytesIO(data))

    def test_once_open_as_jsonl_every_line_must_be(self) -> None:
        assert "stdin:2: not JSON" in refusal("-", stdin=io.BytesIO(b'{"text": "a"}\nplain\n'))

    def test_the_process_own_by_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from outside")))
        assert rows_of("-")[0].text == "from outside"

    def test_beside_files_but_only_once(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("file")
        rows = rows_of(tmp_path / "a.txt", "-", stdin=io.BytesIO(b"stream"))
        assert [row.text for row in rows] == ["file", "stream"]
        assert "given twice" in refusal("-", Path("-"))


@pytest.mark.parametrize("name", ["owner.key", "a.txt", "k.json"])
@pytest.mark.parametrize(
    "content",
    [
        {"format": "taggant-key/1", "secret": "5e" * 32},
        {"format": "taggant-commitment/1", "root": "0"},
        [{"account": "a", "epoch": None, "key_id": "0"}],
    ],
)
def test_taggants_own_files_are_never_text(tmp_path: Path, name: str, content: Any) -> None:
    """They lie beside texts, and a page of theirs would show a secret."""
    (tmp_path / name).write_text(json.dumps(content, indent=2))
    for given in (tmp_path / name, tmp_path):
        refused = refusal(given)
        assert f"{tmp_path / name} is a file of Taggant's own" in refused
        assert "5e5e" not in refused
