"""Texts that are not held in memory as a whole: the same document, cut at the same places."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detect.corpora import runs, setting, sources
from detect.readers import collection, encoding, lines
from detect.readers.encoding import pieces, stream_pieces
from tests import tiny
from tests.detect.corpora.corpus import do, same_as_in_memory, save_key, write_jsonl
from watermark.errors import InputError


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is long, and how much of it is held, in hundreds."""
    for module, name, value in (
        (sources, "LONG_TEXT", 2000), (encoding, "CUT_ABOVE", 400), (encoding, "PIECE", 150), (encoding, "_SEARCH", 40),
        (encoding, "LONGEST_LINE", 3000), (lines, "_CHUNK", 61), (runs, "MOST_WORDS", 64),
        (collection, "LOOKED_AT", 300), (sources, "LONG_PACKED", 100),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(setting.Setting, "batch", 500)


def text(seed: int, words: int = 3000) -> str:
    random = np.random.default_rng(seed)
    known = [*" ".join(tiny.SENTENCES).split(), "naïve", "中文", "✓"]
    ends = random.choice([" ", " ", " ", "\n", "\n\n", " \n"], size=words)
    return "".join(word + end for word, end in zip(random.choice(known, size=words), ends, strict=True))


@pytest.mark.parametrize("width", [0, 1, 5])
def test_as_in_memory_with_prompts_and_other_documents(tmp_path: Path, width: int) -> None:
    key = save_key(tmp_path / "a.key", width)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.txt").write_bytes(b"\xef\xbb\xbf" + text(1).encode())
    (tmp_path / "c" / "b.txt").write_text("<html>" + text(2) + "\u200b" + "end")
    (tmp_path / "c" / "c.txt.gz").write_bytes(gzip.compress(text(1).encode()))
    (tmp_path / "c" / "d.txt").write_text("a short text")
    (tmp_path / "c" / "d.txt.gz").write_bytes(gzip.compress(text(4, 25).encode()))
    write_jsonl(tmp_path / "c" / "e.jsonl", [{"text": text(3, 20), "prompt": text(1)[:200]}])
    shards = sources.plan([str(tmp_path / "c")], 10**6)
    assert [shard.is_long_text for shard in shards] == [True, True, True, False, True, False]
    results = do(tmp_path / "job", tmp_path / "a.key", [tmp_path / "c"], shard_bytes=10**6)
    same_as_in_memory(tmp_path / "job", key, [tmp_path / "c"])
    assert any("1 text in HTML" in note for note in results.evidence.notes)


def whole(data: bytes, name: str = "a.txt") -> Iterator[str]:
    import io

    return lines.long_text(io.BytesIO(data), name)


@pytest.mark.parametrize("end", [b"", b"\xc3", b"\xff and more"])
def test_bytes_that_are_no_text_are_named_as_of_short_ones(end: bytes) -> None:
    data = 40 * "naïve ✓ ".encode() + end
    told = []
    for read in (lambda: lines.text_row(data, "a.txt"), lambda: list(whole(data))):
        try:
            read()
            told.append("")
        except InputError as error:
            told.append(str(error))
    assert told[0] == told[1]
    assert bool(told[0]) == bool(end)


def test_what_is_no_text_is_refused_by_its_beginning() -> None:
    row = json.dumps({"text": "a"}).encode()
    for data, name, words in (
        (b"PK\x03\x04" + 99 * b"x", "a.txt", "is an archive"),
        (b"%PDF-1.7 " + 99 * b"x", "a.txt", "is a PDF, not a text; export it as plain text"),
        (row + b"\n" + row, "a.txt", "line 1 is a row of JSON"),
        (b"[\n" + row + b",\n" + row + b"]", "a.json", "write one row a line"),
        ("a text".encode("utf-16"), "a.txt", "looks like UTF-16"),
    ):
        with pytest.raises(InputError, match=words):
            list(whole(data, name))


@given(
    st.lists(st.sampled_from([*"ab \n", "word", "\n\n", 60 * "x", "é"]), max_size=800),
    st.integers(1, 300),
)
def test_pieces_of_a_stream_are_those_of_the_whole(parts: list[str], chunk: int) -> None:
    text = "".join(parts)
    chunks = (text[start : start + chunk] for start in range(0, len(text), chunk))
    assert list(stream_pieces(chunks, "a")) == pieces(text)


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(InputError, match=r"a.txt holds a line of more than 3,000 characters; break it"):
        list(stream_pieces(("x" * 100 for _ in range(100)), "a.txt"))


def test_a_compressed_file_that_holds_next_to_nothing_is_skipped_as_in_memory(tmp_path: Path) -> None:
    key = save_key(tmp_path / "a.key", 5)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.txt.gz").write_bytes(gzip.compress(b"", mtime=0) * 20)
    (tmp_path / "c" / "b.txt.gz").write_bytes(gzip.compress(b"", mtime=0) * 20 + gzip.compress(b"Hi"))
    (tmp_path / "c" / "c.txt").write_text(text(1))
    assert all(shard.is_long_text for shard in sources.plan([str(tmp_path / "c")], 10**6))
    do(tmp_path / "job", tmp_path / "a.key", [tmp_path / "c"], shard_bytes=10**6)
    same_as_in_memory(tmp_path / "job", key, [tmp_path / "c"])
