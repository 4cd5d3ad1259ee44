"""JSONL becomes rows; what is wrong is named and refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from detect.readers import Row, read_rows
from tests.detect.readers.helpers import refusal, rows_of, write
from watermark.errors import InputError


def zipped(first: str) -> bytes:
    """A zip archive whose first member has that name."""
    handle = io.BytesIO()
    with zipfile.ZipFile(handle, "w") as archive:
        archive.writestr(first, "content")
    return handle.getvalue()


class TestJsonl:
    def test_members(self, tmp_path: Path) -> None:
        path = write(
            tmp_path / "x.jsonl",
            {"id": "a", "text": "t", "prompt": "p", "score": [1.5], "more": None},
            {"id": 7, "token_ids": [1, 2, 4294967294], "prompt_ids": []},
            b"",
            b"  \t\r",
            {"text": "ü", "token_ids": [], "id": None},
        )
        one, two, three = rows_of(path)
        assert (one.id, one.text, one.prompt, one.source) == ("a", "t", "p", f"{path}:1")
        assert (two.id, two.text, two.source) == ("7", None, f"{path}:2")
        assert two.token_ids is not None
        assert two.token_ids.dtype == np.uint32
        assert two.token_ids.tolist() == [1, 2, 4294967294]
        assert two.prompt_ids is not None
        assert two.prompt_ids.shape == (0,)
        assert (three.id, three.text, three.source) == (f"{path}:5", "ü", f"{path}:5")

    def test_duplicate_ids_ndjson_and_a_byte_order_mark(self, tmp_path: Path) -> None:
        path = tmp_path / "x.NDJSON"
        path.write_bytes(b'\xef\xbb\xbf{"id": "a", "text": "1"}\r\n{"id": "a", "text": "2"}')
        assert [(row.id, row.text) for row in rows_of(path)] == [("a", "1"), ("a", "2")]

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            (b'{"text": "secret words"', "not JSON: Expecting ',' delimiter at column 24"),
            (b"secret words", "not JSON: Expecting value at column 1"),
            (b'["secret words"]', "not a JSON object"),
            (b'{"text": "a", "text": "secret words"}', "names a member twice"),
            (b'{"text": "secret words", "x": NaN}', "NaN"),
            (b'{"text": 5}', "text must be text, not the number 5"),
            (b'{"text": ["secret words"]}', "text must be text, not a list"),
            (b'{"text": "t", "id": true}', "id must be text or an integer, not true"),
            (b'{"text": "t", "id": 1.5}', "id must be text or an integer, not the number 1.5"),
            (b'{"text": "t", "prompt": {}}', "prompt must be text, not an object"),
            (b'{"token_ids": "1 2"}', "token_ids must be a list of token ids, not text"),
            (b'{"token_ids": [1, true]}', "token_ids[1] must be a whole number, not true"),
            (b'{"token_ids": [1, 2.0]}', "token_ids[1] must be a whole number, not the number 2.0"),
            (b'{"token_ids": [null]}', "token_ids[0] must be a whole number, not null"),
            (b'{"token_ids": [[1]]}', "token_ids[0] must be a whole number, not a list"),
            (b'{"token_ids": [3, -1]}', "token_ids must lie in 0 … 4294967294, found -1"),
            (b'{"token_ids": [4294967295]}', "found 4294967295"),
            (b'{"token_ids": [18446744073709551616]}', "token_ids must lie in 0"),
            (b'{"text": "t", "prompt_ids": [-5]}', "prompt_ids must lie in"),
            (b'{"prompt": "secret words"}', "a prompt without text or token_ids"),
            (b'{"answer": "secret words"}', "the row holds no text or token_ids"),
            (b"{}", "the row holds no text or token_ids"),
            (b'{"text": null}', "the row holds no text or token_ids"),
            (b'{"text": "ab\\ud800"}', "text holds half a surrogate pair at character 2"),
            (b'{"text": "t", "x": ' + b"9" * 5000 + b"}", "too many digits"),
            (b"[" * 100_000, "nested too deeply"),
        ],
    )
    def test_a_broken_line_is_numbered_and_not_quoted(self, tmp_path: Path, line: bytes, expected: str) -> None:
        path = write(tmp_path / "broken.jsonl", *[{"text": "fine"}] * 16, line, {"text": "fine"})
        message = refusal(path)
        assert message.startswith(f"{path}:17: ")
        assert expected in message
        assert message.endswith("fix or remove the line")
        assert "secret" not in message
        assert len(message) < 300 + len(str(path))

    def test_invalid_utf8_is_named_with_its_offset_in_the_file(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.jsonl", {"text": "first"}, b'{"text": "\xff"}')
        offset = path.read_bytes().index(b"\xff")
        assert f"{path}:2: not UTF-8 at byte {offset};" in refusal(path)

    @pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
    def test_a_file_without_rows(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.jsonl").write_bytes(content)
        assert "x.jsonl holds no rows" in refusal(tmp_path / "x.jsonl")

    def test_an_archive_is_no_text(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "reading.npz", weights=np.zeros(3))
        reason = refusal(tmp_path / "reading.npz")
        assert "reading.npz is an archive, not a text; what `taggant suspect` saved as .npz goes to" in reason

    @pytest.mark.parametrize(
        ("name", "data", "kind"),
        [
            ("a.docx", zipped("word/document.xml"), "a document of an office program"),
            ("a.odt", zipped("anything"), "a document of an office program"),
            ("unnamed", zipped("[Content_Types].xml"), "a document of an office program"),
            ("unnamed", zipped("mimetype"), "a document of an office program"),
            ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1...", "a document of an office program"),
            ("a.rtf", rb"{\rtf1\ansi Some text.}", "a document of an office program"),
            ("a.pdf", b"%PDF-1.7 in ASCII alone", "a PDF"),
            ("a.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "a PDF"),
        ],
    )
    def test_documents_are_to_be_exported(self, tmp_path: Path, name: str, data: bytes, kind: str) -> None:
        path = tmp_path / name
        path.write_bytes(data)
        assert refusal(path) == f"{path} is {kind}, not a text; export it as plain text (UTF-8)"

    def test_a_damaged_document_is_known_by_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "a.docx").write_bytes(b"\xff")
        assert refusal(tmp_path / "a.docx").endswith("not UTF-8 at byte 0; export it as plain text (UTF-8)")

    def test_prompts_alone_where_they_are_wanted(self, tmp_path: Path) -> None:
        path = write(tmp_path / "p.jsonl", {"prompt": "Why?"}, {"prompt_ids": [3]})
        rows = rows_of(path, prompts_only_ok=True)
        assert [row.prompt for row in rows] == ["Why?", None]
        assert "holds no text, token_ids, prompt or prompt_ids" in refusal(
            write(tmp_path / "q.jsonl", {"id": "a"}), prompts_only_ok=True
        )

    def test_rows_stream(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.jsonl", {"text": "first"}, b"broken")
        rows = read_rows([path])
        assert next(rows).text == "first"
        with pytest.raises(InputError, match=":2: not JSON"):
            next(rows)

    def test_repr_shows_no_content(self) -> None:
        assert "words" not in repr(Row("a", "x:1", text="words", prompt="words"))
