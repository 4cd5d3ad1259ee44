"""Files, standard input, JSONL and Parquet become rows, rows become token ids; what is wrong is named and refused."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detect.readers import Collection, Row, encoding, read_rows, tokenized
from detect.visible import is_hidden, one_line, segments
from tests import tiny
from watermark.engines.models import load_tokenizer
from watermark.errors import InputError


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(tiny.shared())


def never() -> Any:
    raise AssertionError("no row needs a tokenizer")


def write(path: Path, *lines: Any) -> Path:
    """A JSONL file of objects, or of raw bytes."""
    path.write_bytes(b"".join((x if isinstance(x, bytes) else json.dumps(x).encode()) + b"\n" for x in lines))
    return path


def rows_of(*paths: Any, **options: Any) -> list[Row]:
    return list(read_rows(paths, **options))


def refusal(*paths: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        rows_of(*paths, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None  # causes may hold the content
    return message


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


class TestParquet:
    @staticmethod
    def write(path: Path, **columns: Any) -> Path:
        pq.write_table(pa.table(columns), path)
        return path

    def test_the_same_rows_as_jsonl(self, tmp_path: Path) -> None:
        objects = [
            {"id": "a", "text": "eins", "token_ids": None, "prompt": "p", "prompt_ids": [5]},
            {"id": None, "text": None, "token_ids": [1, 2, 70000], "prompt": None, "prompt_ids": None},
            {"id": "c", "text": "", "token_ids": [], "prompt": "", "prompt_ids": []},
        ] * 700  # more than a batch
        columns = {name: [item[name] for item in objects] for name in objects[0]} | {"score": [0.5] * len(objects)}
        parquet = rows_of(self.write(tmp_path / "x.parquet", **columns))
        jsonl = rows_of(write(tmp_path / "x.jsonl", *objects))
        assert len(parquet) == len(jsonl) == 2100
        for ours, theirs in zip(parquet, jsonl, strict=True):
            assert (ours.text, ours.prompt) == (theirs.text, theirs.prompt)
            assert ours.id.replace(".parquet", ".jsonl") == theirs.id
            for name in ("token_ids", "prompt_ids"):
                mine, other = getattr(ours, name), getattr(theirs, name)
                assert (mine is None) == (other is None)
                if mine is not None:
                    assert mine.dtype == np.uint32
                    assert mine.tolist() == other.tolist()

    @pytest.mark.parametrize(
        "ids",
        [
            pa.array([[1, 2], [3, 4]], pa.list_(pa.int32())),
            pa.array([[1, 2], [3, 4]], pa.large_list(pa.uint64())),
            pa.array([[1, 2], [3, 4]], pa.list_(pa.uint16(), 2)),
        ],
    )
    def test_list_types(self, tmp_path: Path, ids: pa.Array) -> None:
        rows = rows_of(self.write(tmp_path / "x.parquet", token_ids=ids))
        assert [row.token_ids.tolist() for row in rows if row.token_ids is not None] == [[1, 2], [3, 4]]

    def test_other_types_of_strings_and_ids(self, tmp_path: Path) -> None:
        text = pa.array(["a", "a"]).dictionary_encode()
        path = self.write(tmp_path / "x.parquet", text=text, id=pa.array([1, 2]), prompt=pa.nulls(2))
        assert [(row.id, row.text, row.prompt) for row in rows_of(path)] == [("1", "a", None), ("2", "a", None)]

    @pytest.mark.parametrize(
        ("columns", "expected"),
        [
            ({"answer": ["x"], "n": [1]}, "has no column text, token_ids, prompt or prompt_ids; it has: answer, n"),
            ({"id": ["x"]}, "it has: id"),
            ({"text": [1.5]}, "column text must hold strings, not double"),
            ({"text": [b"x"]}, "column text must hold strings, not binary"),
            ({"token_ids": [[1.0, 2.0]]}, "column token_ids must hold a list of integers, not list"),
            ({"token_ids": [[True]]}, "column token_ids must hold a list of integers"),
            ({"token_ids": ["1 2"]}, "column token_ids must hold a list of integers, not string"),
            ({"id": [1.5], "text": ["x"]}, "column id must hold strings, not double"),
            ({"text": pa.array([], pa.string())}, "holds no rows"),
            ({"token_ids": [[1], [2, None]]}, "x.parquet:2: token_ids holds a null; fix or remove the row"),
            ({"token_ids": [[1], [-2]]}, "x.parquet:2: token_ids must lie in 0 … 4294967294, found -2"),
            ({"text": ["a", None, "b"]}, "x.parquet:2: the row holds no text or token_ids"),
            ({"prompt": ["a"]}, "x.parquet:1: a prompt without text or token_ids"),
        ],
    )
    def test_refused(self, tmp_path: Path, columns: dict[str, Any], expected: str) -> None:
        assert expected in refusal(self.write(tmp_path / "x.parquet", **columns))

    def test_a_string_that_is_not_utf8(self, tmp_path: Path) -> None:
        broken = pa.array([b"ab\xff"], pa.binary()).view(pa.string())
        assert "x.parquet:1: text is not UTF-8 at byte 2" in refusal(self.write(tmp_path / "x.parquet", text=broken))

    def test_columns_of_one_name(self, tmp_path: Path) -> None:
        table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
        pq.write_table(table, tmp_path / "x.parquet")
        assert "names a column twice" in refusal(tmp_path / "x.parquet")

    @pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1" + b"\0" * 50 + b"PAR1"])
    def test_damaged_files(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.parquet").write_bytes(content)
        assert "x.parquet is no readable Parquet file" in refusal(tmp_path / "x.parquet")

    def test_damaged_data_below_a_sound_footer(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "x.parquet", text=[f"row {i}" for i in range(500)])
        data = bytearray(path.read_bytes())
        data[4:400] = b"\xff" * 396
        path.write_bytes(data)
        assert "x.parquet is no readable Parquet file" in refusal(path)


class TestTokenized:
    @staticmethod
    def count_loads(tokenizer: Any) -> tuple[Callable[[], Any], list[int]]:
        loads: list[int] = []

        def load() -> Any:
            loads.append(1)
            return tokenizer

        return load, loads

    def test_text_becomes_plain_ids(self, tokenizer: Any) -> None:
        texts = [*tiny.SENTENCES, "naïve ✓ 中文", "a\n\nb"]
        collection = tokenized((Row(str(i), "", text) for i, text in enumerate(texts)), 1, lambda: tokenizer)
        assert [tokenizer.decode(ids.tolist()) for ids in collection.documents] == texts
        for ids, text in zip(collection.documents, texts, strict=True):
            assert ids.dtype == np.uint32
            assert ids.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]
        assert collection.ids == [str(i) for i in range(len(texts))]
        assert collection.prompts == collection.skipped == []
        assert collection.tokenizer is tokenizer
        assert collection.texts is None

    def test_no_special_tokens_are_added(self) -> None:
        from tokenizers import processors

        adding = load_tokenizer(tiny.shared())
        adding.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
        )
        assert adding("The boats")["input_ids"][0] == 1
        (ids,) = tokenized([Row("a", "", "The boats")], 1, lambda: adding).documents
        assert adding.decode(ids.tolist()) == "The boats"

    def test_ids_win_and_need_no_tokenizer(self) -> None:
        rows = [Row("a", "", "text", np.array([1, 2], np.uint32), "prompt", np.array([3], np.uint32))]
        collection = tokenized(rows, 1, never)
        assert [ids.tolist() for ids in collection.documents] == [[1, 2]]
        assert [ids.tolist() for ids in collection.prompts] == [[3]]
        assert collection.tokenizer is None

    def test_a_mixture_keeps_its_order(self, tokenizer: Any) -> None:
        def ids_of(text: str) -> list[int]:
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])

        given = np.array([9, 8, 7], np.uint32)
        rows = [
            Row("a", "", "The rain fell", prompt="What is"),
            Row("b", "", token_ids=given, prompt="the moon"),
            Row("c", "", "the boats", prompt_ids=given),
            Row("d", "", "the coins"),
        ]
        load, loads = self.count_loads(tokenizer)
        collection = tokenized(rows, 1, load, keep_texts=True)
        expected = [ids_of("The rain fell"), [9, 8, 7], ids_of("the boats"), ids_of("the coins")]
        assert [ids.tolist() for ids in collection.documents] == expected
        prompts = [ids_of("What is"), ids_of("the moon"), [9, 8, 7], []]
        assert [ids.tolist() for ids in collection.document_prompts] == prompts
        assert [ids.tolist() for ids in collection.prompts] == prompts[:3]
        assert collection.texts == ["The rain fell", None, "the boats", "the coins"]
        assert loads == [1]

    def test_many_rows_in_several_batches(self, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = [Row(str(i), "", f"{i} coins and boats", prompt=f"count {i}" if i % 3 else None) for i in range(500)]
        whole = tokenized(rows, 1, lambda: tokenizer)
        monkeypatch.setattr(encoding, "BATCH", 300)
        monkeypatch.setattr(encoding, "BATCH_ITEMS", 7)
        load, loads = self.count_loads(tokenizer)
        batched = tokenized(iter(rows), 1, load)
        assert loads == [1]
        for one, other in ((whole.documents, batched.documents), (whole.prompts, batched.prompts)):
            assert [ids.tolist() for ids in one] == [ids.tolist() for ids in other]
        assert len(batched.documents) == 500
        assert tokenizer.decode(batched.documents[321].tolist()) == "321 coins and boats"

    @pytest.mark.parametrize("limit", ["truncation", "padding"])
    def test_limits_in_the_tokenizer_file_do_not_act(self, tokenizer: Any, limit: str) -> None:
        limited = load_tokenizer(tiny.shared())
        if limit == "truncation":
            limited.backend_tokenizer.enable_truncation(4)
        else:
            limited.backend_tokenizer.enable_padding(length=200)
        rows = [Row("a", "", " ".join(tiny.SENTENCES)), Row("b", "", "The coins")]
        expected = tokenized(rows, 1, lambda: tokenizer)
        assert len(expected.documents[0]) > 10
        for ids, other in zip(tokenized(rows, 1, lambda: limited).documents, expected.documents, strict=True):
            assert ids.tolist() == other.tolist()

    def test_a_slow_tokenizer(self, tokenizer: Any) -> None:
        class Slow:
            def __call__(self, texts: list[str], **options: Any) -> Any:
                assert options["add_special_tokens"] is False
                return {"input_ids": [[ord(char) for char in text] for text in texts]}

        (ids,) = tokenized([Row("a", "", "abc")], 1, Slow).documents
        assert ids.tolist() == [97, 98, 99]


class TestSkipping:
    @staticmethod
    def rows(*lengths: int) -> list[Row]:
        return [Row(f"d{i}", "", token_ids=np.arange(n, dtype=np.uint32)) for i, n in enumerate(lengths)]

    @pytest.mark.parametrize("width", range(9))
    def test_h_plus_one_tokens_are_needed(self, width: int) -> None:
        collection = tokenized(self.rows(width + 1, width, 20, 0), width, never)
        assert [len(ids) for ids in collection.documents] == [width + 1, 20]
        assert collection.ids == ["d0", "d2"]
        least = "1 token" if width == 0 else f"{width + 1} tokens"
        assert collection.skipped == [("d1", f"shorter than {least}"), ("d3", f"shorter than {least}")]
        assert collection.notes == (f"2 documents skipped: shorter than {least} (first: d1)",)

    def test_nothing_skipped_no_notes(self) -> None:
        assert tokenized(self.rows(5), 1, never).notes == ()
        assert Collection().notes == ()

    def test_prompts_of_skipped_rows_are_still_excluded(self) -> None:
        prompt = np.array([4, 5], np.uint32)
        rows = [
            *self.rows(5),
            Row("short", "", token_ids=prompt[:1], prompt_ids=prompt),
            Row("p", "", prompt_ids=prompt),
        ]
        collection = tokenized(rows, 1, never)
        assert [ids.tolist() for ids in collection.prompts] == [[4, 5], [4, 5]]
        assert [ids.tolist() for ids in collection.document_prompts] == [[]]
        assert collection.notes == (
            "1 document skipped: shorter than 2 tokens (first: short)",
            "1 document skipped: no text or token_ids (first: p)",
        )

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            ([], "there are no documents"),
            (rows(1), "d0 has 1 token; at least h + 1 = 2 are needed"),
            (rows(0), "d0 has 0 tokens; at least h + 1 = 2 are needed"),
            (rows(0, 1), "all 2 documents are too short: the longest, d1, has 1 token; at least h + 1 = 2 are needed"),
            ([Row("p", "", prompt_ids=np.array([1], np.uint32))], "none of 1 row holds text or token_ids"),
        ],
    )
    def test_nothing_left_is_refused(self, rows: list[Row], expected: str) -> None:
        with pytest.raises(InputError) as caught:
            tokenized(rows, 1, never)
        assert expected in str(caught.value)

    def test_an_empty_text(self, tokenizer: Any) -> None:
        with pytest.raises(InputError, match=r"^empty.txt has 0 tokens"):
            tokenized([Row("empty.txt", "", "")], 0, lambda: tokenizer)

    def test_hostile_ids_in_notes(self) -> None:
        rows = [*self.rows(5), Row("x\n\x1b[2J\u202e" + "y" * 5000, "", token_ids=np.zeros(0, np.uint32))]
        (note,) = tokenized(rows, 1, never).notes
        assert "x⟨U+000A⟩⟨U+001B⟩[2J⟨U+202E⟩yyy" in note
        assert note.isprintable()
        assert len(note) < 300


class TestLongTexts:
    @staticmethod
    def prose(lines: int) -> str:
        rng = np.random.default_rng(1)
        ends = ["\n", "\n", "\n\n", "\n    ", " \n", "\r\n"]
        return "".join(tiny.SENTENCES[rng.integers(5)] + ends[rng.integers(6)] for _ in range(lines))

    def test_pieces_join_to_the_text_and_end_at_line_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encoding, "CUT_ABOVE", 4000)
        monkeypatch.setattr(encoding, "PIECE", 1000)
        text = self.prose(400)
        pieces = encoding.pieces(text)
        assert "".join(pieces) == text
        assert len(pieces) > 15
        assert all(piece.endswith("\n") and 1000 <= len(piece) < 2500 for piece in pieces[:-1])
        assert all(not piece[-2].isspace() and not after[0].isspace() for piece, after in itertools.pairwise(pieces))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a" * 50, ["a" * 50]),  # no line end: never cut inside a line
            ("a" * 50 + "\n", ["a" * 50 + "\n"]),
            ("a" * 15 + "\n\n" + "b" * 30, ["a" * 15 + "\n", "\n" + "b" * 30]),  # only a poor cut to be had
            ("x" * 20, ["x" * 20]),
            ("xxx\n" * 5, ["xxx\n" * 5]),
        ],
    )
    def test_edges(self, text: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encoding, "CUT_ABOVE", 20)
        monkeypatch.setattr(encoding, "PIECE", 10)
        assert encoding.pieces(text) == expected

    def test_default_sizes(self) -> None:
        line = "x" * 99 + "\n"
        assert encoding.pieces(line * 10_000) == [line * 10_000]  # 1 MB
        lengths = [len(piece) for piece in encoding.pieces(line * 20_000)]
        assert sum(lengths) == 2_000_000
        assert max(lengths) < 1.1 * 2**18

    def test_good_cuts_change_no_token(self, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        text = self.prose(400)
        (whole,) = tokenized([Row("a", "", text)], 1, lambda: tokenizer).documents
        monkeypatch.setattr(encoding, "CUT_ABOVE", 4000)
        monkeypatch.setattr(encoding, "PIECE", 1000)
        monkeypatch.setattr(encoding, "BATCH", 2500)
        (cut,) = tokenized([Row("a", "", text)], 1, lambda: tokenizer).documents
        assert len(encoding.pieces(text)) > 15
        assert np.array_equal(whole, cut)


class TestVisible:
    HIDDEN = (
        "\0\t\n\r\x1b\x7f\x85\u00a0\u00ad\u034f\u061c\u115f\u180e\u2009\u200b\u200d\u200e\u2028\u202e"
        "\u2066\u2800\u3164\ufe0f\ufeff\ue000\udc80\U000e0041"
    )

    def test_hidden_characters(self) -> None:
        assert [char for char in self.HIDDEN if not is_hidden(char)] == []
        assert [char for char in " aZ~é中ש😀✓\u0301" if is_hidden(char)] == []

    def test_segments_join_to_the_text(self) -> None:
        text = f"ab{self.HIDDEN}cd\n\tüx"
        parts = list(segments(text))
        assert "".join(part for _, part in parts) == text
        assert parts[0] == ("text", "ab")
        assert parts[-3:] == [("newline", "\n"), ("tab", "\t"), ("text", "üx")]
        assert all(is_hidden(part) == (kind != "text") for kind, part in parts if len(part) == 1)
        assert list(segments("")) == []

    def test_one_line(self) -> None:
        assert one_line("plain words") == "plain words"
        assert one_line(Path("a/b")) == "a/b"
        assert one_line("ü\u202e\n") == "ü⟨U+202E⟩⟨U+000A⟩"
        assert one_line("a" * 100 + "b" * 100, limit=10) == "aaaaa…bbbbb"
        assert one_line(self.HIDDEN, limit=100).isprintable()


def test_ids_are_read_without_torch_transformers_or_pyarrow(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"token_ids": [1, 2, 3]})
    program = (
        "import sys; from detect.readers import read_rows, tokenized\n"
        f"collection = tokenized(read_rows([{str(path)!r}]), 1, None)\n"
        "print(len(collection.documents), {'torch', 'transformers', 'pyarrow', 'scipy', 'numba'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1 set()"


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


def test_markup_is_noted() -> None:
    """A marked text in HTML may be missed: markup is counted, too."""
    texts = (" <!DOCTYPE html><p>words", "<HTML>words", "a < b")
    rows = [Row(name, name, text=text) for name, text in zip("abc", texts, strict=True)]
    tokenizer = load_tokenizer(tiny.shared())
    found = tokenized(rows, 1, lambda: tokenizer)
    assert [note for note in found.notes if "HTML" in note] == [
        "2 texts in HTML: the markup was counted, too, and can hide a mark; give text alone"
    ]
    assert not any("HTML" in note for note in tokenized(rows[2:], 1, lambda: tokenizer).notes)
