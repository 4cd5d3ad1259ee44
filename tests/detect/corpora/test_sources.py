"""How inputs are cut: everything once, in order, in units of about one size."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from detect.corpora import sources
from detect.corpora.job import plan_digest
from detect.corpora.reading import line_start, lines_until, part_rows
from detect.corpora.sources import Shard, plan
from detect.readers import read_rows
from detect.readers.places import find
from tests.detect.corpora.corpus import write_jsonl, write_parquet
from watermark.errors import InputError


def rows(count: int) -> list[dict[str, str]]:
    return [{"text": f"row {number} " + "x" * (number % 90)} for number in range(count)]


def read(inputs: list[str], shards: list[Shard]) -> list[tuple[str, str | None]]:
    lines, found = 1, []
    for shard in shards:
        for part in shard.parts:
            lines = lines if part.start else 1
            for row in part_rows(part, inputs, lines):
                found.append((row.source, row.text))
                lines = (row.number or 0) + 1
    return found


@pytest.mark.parametrize("shard_bytes", [1, 50, 500, 10**6])
def test_every_row_once_and_in_order(tmp_path: Path, shard_bytes: int) -> None:
    write_jsonl(tmp_path / "a.jsonl", rows(40))
    write_parquet(tmp_path / "b.parquet", rows(30), group=4)
    for number in range(20):
        (tmp_path / f"c{number:02}.txt").write_text(f"text {number}")
    write_jsonl(tmp_path / "d.jsonl.gz", rows(20))
    inputs = [str(tmp_path)]
    shards = plan(inputs, shard_bytes)
    assert [shard.number for shard in shards] == list(range(len(shards)))
    assert read(inputs, shards) == [(row.source, row.text) for row in read_rows(inputs)]
    large = [shard for shard in shards if shard.weight >= shard_bytes]
    assert len(large) >= len(shards) - 1  # all but the last are full


def test_parts_of_a_file_begin_where_the_last_ended(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", rows(100))
    parts = [part for shard in plan([str(path)], 777) for part in shard.parts]
    assert parts[0].start == 0
    assert parts[-1].stop == path.stat().st_size
    assert all(one.stop == other.start for one, other in pairwise(parts))
    assert all(shard.needs_survey for shard in plan([str(path)], 777))


def test_lines_belong_where_they_begin(tmp_path: Path) -> None:
    data = b"one\ntwo\n\nthree"
    (tmp_path / "a").write_bytes(data)
    for cut in range(len(data) + 1):
        halves = []
        for start, stop in ((0, cut), (cut, len(data))):
            with (tmp_path / "a").open("rb") as handle:
                halves += list(lines_until(handle, line_start(handle, start), stop))
        assert halves == [b"one\n", b"two\n", b"\n", b"three"]


def test_a_shard_goes_through_json_and_tells_of_changes(tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.txt")
    Path(odd).write_text("a text")
    write_jsonl(tmp_path / "a.jsonl", rows(9))
    shards = plan([str(tmp_path)], 100)
    assert [Shard.from_json(json.loads(json.dumps(shard.to_json()))) for shard in shards] == shards
    before = plan_digest(shards)
    assert plan_digest(plan([str(tmp_path)], 100)) == before
    os.utime(tmp_path / "a.jsonl", ns=(1, 1))
    assert plan_digest(plan([str(tmp_path)], 100)) != before


def test_what_needs_a_look_beforehand(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", rows(2))
    write_parquet(tmp_path / "b.parquet", rows(2))
    write_parquet(tmp_path / "c.parquet", [{"text": "a", "prompt": "b"}])
    (tmp_path / "d.txt").write_text("a text")
    needed = {Path(shard.parts[0].name).name: shard.needs_survey for shard in plan([str(tmp_path)], 1)}
    assert needed == {"a.jsonl": True, "b.parquet": False, "c.parquet": True, "d.txt": False}


def test_many_small_files_are_one_shard_but_not_without_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_PARTS", 4)
    for number in range(10):
        (tmp_path / f"{number}.txt").write_text("x")
    assert [len(shard.parts) for shard in plan([str(tmp_path)])] == [4, 4, 2]


def test_web_addresses_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written down of a file on the web is its name: the address may hold a signature."""
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFileSystem

    class Web(MemoryFileSystem):
        protocol = "https"

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path

        def info(self, path: str, **_: object) -> dict[str, object]:
            return {"name": path, "size": len(LINE), "type": "file", "ETag": "e1"}

        def _open(self, path: str, *_: object, **__: object) -> object:
            assert path == ADDRESS
            import io

            return io.BytesIO(LINE)

    LINE = b'{"text": "from afar"}\n'
    ADDRESS = "https://user:secret@host/a.jsonl?signature=secret"
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda address: (Web(), address))
    shards = plan([ADDRESS])
    assert "secret" not in json.dumps(shards[0].to_json())
    again = [Shard.from_json(json.loads(json.dumps(shard.to_json()))) for shard in shards]
    assert read([ADDRESS], again) == [("https://host/a.jsonl:1", "from afar")]
    assert shards[0].parts[0].stamp == "e1"


def test_two_addresses_that_differ_in_what_may_not_be_shown_are_refused() -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe("/twice/a.jsonl", b'{"text": "a"}\n')
    same = "memory://twice/a.jsonl"
    assert len(plan([same, same])) == 1
    found = find(same)[0]
    others = iter([[found], [replace(found, path="/twice/b.jsonl")]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "find", lambda _: next(others))
        patch.setattr(sources, "_state", lambda _: (1, ""))
        with pytest.raises(InputError, match="given twice, with other queries or passwords"):
            plan([same, same])


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "txt"])
def test_a_file_that_is_not_what_it_was_is_refused_before_and_after_it_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    write = {"jsonl": write_jsonl, "parquet": write_parquet}.get(kind, lambda to, _: to.write_text("a text"))
    write(path, rows(9))
    part = plan([str(path)])[0].parts[0]
    assert len(list(part_rows(part, [str(path)]))) == (1 if kind == "txt" else 9)
    reading = part_rows(part, [str(path)])
    next(reading)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match=rf"a.{kind} changed since the job began"):
        list(reading)
    with pytest.raises(InputError, match=rf"a.{kind} changed since the job began"):
        next(part_rows(part, [str(path)]))
