"""A corpus job counts what the computation in memory counts, to the last bit, however it is cut and whoever does it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.corpora import runs, setting
from detect.corpora.sources import plan
from detect.evidence import Assessment
from tests.detect.corpora.corpus import (
    do,
    files,
    in_memory,
    same_as_in_memory,
    save_key,
    sentences,
    write_jsonl,
    write_parquet,
)
from watermark import GreenList, Key
from watermark.errors import InputError

WIDTHS = (0, 1, 2, 5)


@pytest.fixture(params=WIDTHS)
def key(request: pytest.FixtureRequest, tmp_path: Path) -> Key:
    return save_key(tmp_path / "a.key", request.param)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little memory that everything is done in many steps."""
    monkeypatch.setattr(runs, "MOST_WORDS", 64)
    monkeypatch.setattr(setting.Setting, "batch", 300)


def rows(seed: int, count: int = 40, *, prompts: bool = True) -> Iterator[dict[str, Any]]:
    """With ids and without, a prompt for every third, some repeated, some too short."""
    texts = sentences(seed, count)
    for number, text in enumerate([*texts, *texts[:5], "", "a"]):
        row: dict[str, Any] = {"text": text, "other": 1}
        if number % 2:
            row["id"] = f"r{number}"
        if prompts and number % 3 == 0:
            row["prompt"] = texts[-number % count][:20]
        yield row


def corpus(directory: Path) -> Path:
    """Every format, in a directory of directories."""
    (directory / "deep" / "er").mkdir(parents=True)
    write_jsonl(directory / "a.jsonl", [*rows(1)])
    write_jsonl(directory / "deep" / "b.jsonl.gz", [*rows(2, prompts=False)])
    write_jsonl(directory / "deep" / "c.ndjson.zst", [*rows(3)])
    write_parquet(directory / "deep" / "er" / "d.parquet", [*rows(4)])
    write_parquet(directory / "e.parquet", [*rows(5, prompts=False)])
    (directory / "f.txt").write_text(" ".join(sentences(6, 20)))
    (directory / "g.md").write_text("<html>\u200b A page.")
    ids = np.random.default_rng(7).integers(0, 384, size=(30, 50)).tolist()  # special tokens among them
    write_jsonl(directory / "h.jsonl", [{"token_ids": one, "prompt_ids": one[10:15]} for one in ids])
    write_parquet(directory / "i.parquet", [{"id": n, "token_ids": one} for n, one in enumerate(ids)])
    return directory


@pytest.mark.usefixtures("narrow")
def test_all_formats_at_every_width_as_in_memory(key: Key, tmp_path: Path) -> None:
    inputs = [corpus(tmp_path / "corpus")]
    assert len(plan([str(one) for one in inputs], 1000)) > 8
    do(tmp_path / "job", tmp_path / "a.key", inputs, shard_bytes=1000)
    same_as_in_memory(tmp_path / "job", key, inputs)
    pooled = json.loads((tmp_path / "job" / "pooled.json").read_text())
    assert any("touch a special token" in note for note in pooled["notes"])
    assert any("occur in a prompt" in note for note in pooled["notes"])


@pytest.mark.parametrize("shard_bytes", [300, 10**6])
def test_results_do_not_depend_on_how_it_is_cut(tmp_path: Path, shard_bytes: int) -> None:
    key = save_key(tmp_path / "a.key")
    inputs = [corpus(tmp_path / "corpus")]
    do(tmp_path / "job", tmp_path / "a.key", inputs, shard_bytes=shard_bytes)
    same_as_in_memory(tmp_path / "job", key, inputs)


def test_workers_give_the_same_bytes(tmp_path: Path) -> None:
    save_key(tmp_path / "a.key", 2)
    inputs = [corpus(tmp_path / "corpus")]
    for workers in (1, 3):
        do(tmp_path / f"job{workers}", tmp_path / "a.key", inputs, workers=workers)
    one, three = files(tmp_path / "job1"), files(tmp_path / "job3")
    assert sorted(one) == ["documents.parquet", "job.json", "pooled.json", "sources.parquet", "totals.json"]
    assert one == three


def test_duplicates_across_shards_count_once(tmp_path: Path) -> None:
    key = save_key(tmp_path / "a.key")
    texts = [{"text": text} for text in sentences(1, 30)]
    inputs = [write_jsonl(tmp_path / f"{name}.jsonl", texts) for name in "abc"]
    do(tmp_path / "job", tmp_path / "a.key", inputs, shard_bytes=500)
    same_as_in_memory(tmp_path / "job", key, inputs)
    (alone, _), (three, _) = in_memory(key, inputs[:1]), in_memory(key, inputs)
    assert (alone["n_scored"], alone["n_green"]) == (three["n_scored"], three["n_green"])
    assert 3 * alone["n_tokens"] == three["n_tokens"]


def test_a_pair_in_any_prompt_counts_nowhere(tmp_path: Path) -> None:
    """The prompt stands in the last shard, and in a row that is no document itself."""
    key = save_key(tmp_path / "a.key")
    text = sentences(3, 1)[0] + " and so on and on"
    inputs = [
        write_jsonl(tmp_path / "a.jsonl", [{"text": text} for _ in range(20)]),
        write_jsonl(tmp_path / "b.jsonl", [{"text": "", "\\u0070rompt": text} for _ in range(2)]),
    ]
    raw = (tmp_path / "b.jsonl").read_text().replace("\\\\u0070", "\\u0070")  # an escaped name is one, too
    (tmp_path / "b.jsonl").write_text(raw)
    do(tmp_path / "job", tmp_path / "a.key", inputs, shard_bytes=200)
    same_as_in_memory(tmp_path / "job", key, inputs)
    assert json.loads((tmp_path / "job" / "pooled.json").read_text())["n_scored"] == 0


def green_and_red(key: Key, count: int) -> tuple[list[int], list[int]]:
    """Ids whose tokens are all green, and all red."""
    mark = GreenList(key)
    random = np.random.default_rng(5)
    streams = []
    for wanted in (True, False):
        stream = [9]
        while len(stream) < count:
            row = mark.mask(np.array([[stream[-1]]]), 384)[0]
            row[:3] = not wanted
            stream.append(int(random.choice(np.flatnonzero(row == wanted))))
        streams.append(stream)
    return streams[0], streams[1]


def test_claims_are_withdrawn_where_what_was_left_out_is_too_red(tmp_path: Path) -> None:
    key = save_key(tmp_path / "a.key")
    green, red = green_and_red(key, 200)
    rows = [{"token_ids": [*green[:50], *red]}, {"token_ids": green}, {"token_ids": [5, 6, 7], "prompt_ids": red}]
    inputs = [write_jsonl(tmp_path / "a.jsonl", rows)]
    results = do(tmp_path / "job", tmp_path / "a.key", inputs, shard_bytes=200)
    same_as_in_memory(tmp_path / "job", key, inputs)
    assert results.evidence.log10_p is None
    assert results.evidence.finding == "inconclusive"


def test_a_bare_key_and_ids_of_any_size(tmp_path: Path) -> None:
    for width in WIDTHS:
        key = save_key(tmp_path / f"{width}.key", width, bare=True)
        random = np.random.default_rng(width)
        pool = [*random.integers(0, 2**32 - 1, size=20).tolist(), 0, 2**32 - 2]
        rows = [{"token_ids": random.choice(pool, size=60).tolist()} for _ in range(20)]
        rows += [{"token_ids": row["token_ids"], "prompt_ids": row["token_ids"][3:9]} for row in rows[:3]]
        inputs = [write_jsonl(tmp_path / f"{width}.jsonl", rows)]
        do(tmp_path / f"job{width}", tmp_path / f"{width}.key", inputs, shard_bytes=900)
        same_as_in_memory(tmp_path / f"job{width}", key, inputs)


def test_how_it_is_judged(tmp_path: Path) -> None:
    key = save_key(tmp_path / "a.key")
    inputs = [write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in sentences(1, 30)])]
    for how in (Assessment(alpha=0.01, effect=0.4), Assessment(key_check=True, check_corpus="00" * 32),
                Assessment(key_check=False)):  # fmt: skip
        results = do(tmp_path / "job", tmp_path / "a.key", inputs, how=how)  # a finished job is judged again
        same_as_in_memory(tmp_path / "job", key, inputs, how)
        assert (results.selection is None) == (how.key_check is False)


@pytest.mark.parametrize("length", [0, 1, 500])
def test_lines_without_an_end_and_blank_ones(tmp_path: Path, length: int) -> None:
    key = save_key(tmp_path / "a.key")
    text = "x" * length
    data = (
        f'\n\n{{"text": "The rain {text} fell"}}\n \n{{"text": "on the harbour"}}\n{{"text": "and {text} the boats"}}'
    )
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + data.encode())
    for shard_bytes in (1, 40, 41, 42, 100):
        do(tmp_path / f"job{shard_bytes}", tmp_path / "a.key", [tmp_path / "a.jsonl"], shard_bytes=shard_bytes)
        same_as_in_memory(tmp_path / f"job{shard_bytes}", key, [tmp_path / "a.jsonl"])


@pytest.mark.parametrize(
    ("broken", "words", "workers"),
    [
        (b'{"text": 1}\n', "text must be text, not the number 1", 1),
        (b"{\n", "not JSON", 2),
        (b'{"text": "\xff"}\n', "not UTF-8 at byte", 1),
        (b'{"token_ids": [9999]}\n', "token id 9999 is not among the 384 tokens of the key's tokenizer", 1),
    ],
)
def test_the_first_broken_row_is_named(tmp_path: Path, broken: bytes, words: str, workers: int) -> None:
    """Whoever meets which first: rows 61 and 91 are broken, in shards of their own."""
    save_key(tmp_path / "a.key")
    lines = [json.dumps({"text": text, "prompt": "x"}).encode() + b"\n" for text in sentences(1, 120)]
    lines[60] = lines[90] = broken
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(InputError) as refused:
        do(tmp_path / "job", tmp_path / "a.key", [tmp_path / "a.jsonl"], shard_bytes=400, workers=workers)
    message = str(refused.value)
    assert message.startswith(f"{tmp_path}/a.jsonl:61: ")
    assert words in message
    with pytest.raises(InputError) as first:
        in_memory(Key.load(tmp_path / "a.key"), [tmp_path / "a.jsonl"])
    assert str(first.value) == message


def test_broken_parquet_and_files_without_rows(tmp_path: Path) -> None:
    save_key(tmp_path / "a.key")
    good = write_jsonl(tmp_path / "good.jsonl", [{"text": "The rain fell on the harbour"}])
    rows = [{"text": "a long enough text", "prompt_ids": [1, 2]} for _ in range(30)]
    rows[17] = {"text": "a long enough text", "prompt_ids": [1, -2]}
    cases: list[tuple[Path, str]] = [
        (write_parquet(tmp_path / "bad.parquet", rows), "bad.parquet:18: prompt_ids must lie in 0"),
        (write_parquet(tmp_path / "columns.parquet", [{"words": "a"}]), "has no column text"),
        (write_jsonl(tmp_path / "empty.jsonl", []), "empty.jsonl holds no rows"),
    ]
    (tmp_path / "blank.jsonl").write_text("\n" * 5000)
    (tmp_path / "no.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "odd.txt").write_bytes(b"caf\xe9")
    cases += [
        (tmp_path / "blank.jsonl", "blank.jsonl holds no rows"),
        (tmp_path / "no.parquet", "no readable Parquet file"),
        (tmp_path / "odd.txt", "odd.txt: not UTF-8 at byte 3"),
        (tmp_path / "none.jsonl", "none.jsonl does not exist"),
    ]
    for number, (path, words) in enumerate(cases):
        with pytest.raises(InputError, match=words):
            do(tmp_path / f"job{number}", tmp_path / "a.key", [good, path], shard_bytes=1000)


def test_nothing_but_short_documents(tmp_path: Path) -> None:
    key = save_key(tmp_path / "a.key", 5)
    inputs = [write_jsonl(tmp_path / "a.jsonl", [{"id": "x", "text": "The"}, {"text": "rain fell"}])]
    with pytest.raises(InputError) as refused:
        do(tmp_path / "job", tmp_path / "a.key", inputs)
    with pytest.raises(InputError) as first:
        in_memory(key, inputs)
    assert str(refused.value) == str(first.value)
