"""Small corpora, jobs on them without the command line, and the same in memory."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from detect.corpora.job import DOCUMENTS, POOLED, opened
from detect.corpora.local import Local
from detect.corpora.results import Results, count, judge
from detect.corpora.sources import plan
from detect.corpora.stages import run
from detect.counting import tally
from detect.evidence import Assessment, assess, assess_family
from detect.readers import read_rows, tokenized
from tests import tiny
from watermark import Key
from watermark.engines.text_tokenizer import load_text_tokenizer
from watermark.keys import Parameters, TokenizerIdentity
from watermark.progress import ignore

SECRET = bytes(range(32))
DEFAULT = Assessment()


def save_key(path: Path, width: int = 1, *, bare: bool = False) -> Key:
    """A key of a context width; a `bare` one knows no tokenizer."""
    identity = None if bare else TokenizerIdentity.of(load_text_tokenizer(tiny.shared()))
    key = Key(SECRET, Parameters(16384, 2.0, width, identity))
    key.save(path)
    return key


def arguments(root: Path, key_file: Path, inputs: Sequence[Path | str]) -> dict[str, Any]:
    tokenizer = {"name": str(tiny.shared()), "problem": None, "verified": False}
    return {"job": str(root), "key": str(key_file), "inputs": [str(one) for one in inputs], "tokenizer": tokenizer}


def of_key(key: Key) -> dict[str, Any]:
    """What a job's file says of its key."""
    return {"key_id": key.key_id, "context_width": key.context_width, "special_ids": key.special_ids_digest}


def do(
    root: Path,
    key_file: Path,
    inputs: Sequence[Path | str],
    *,
    shard_bytes: int = 2000,
    workers: int = 1,
    how: Assessment = DEFAULT,
) -> Results:
    """Begin a job or go on with it, to its end."""
    key = Key.load(key_file)
    shards = plan([str(one) for one in inputs], shard_bytes)
    described = {**of_key(key), "taggant": "0", "tokenizer": None}
    with opened(root, described, shards) as job:
        if not job.is_counted:
            run(job, shards, arguments(root, key_file, inputs), Local(workers), lambda stage: nullcontext(ignore))
        results = judge(job, key, count(job, tokenizer=False), how)
        job.clear()
        return results


def in_memory(
    key: Key, inputs: Sequence[Path | str], how: Assessment = DEFAULT
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What `detect --json` and `--each` make of the same inputs: the pooled object, and what a document's row holds."""
    loads: list[Any] = []

    def load() -> Any:
        loads.append(load_text_tokenizer(tiny.shared()))
        return loads[-1]

    size = None if key.tokenizer is None else key.tokenizer.vocab_size
    found = tokenized(read_rows([str(one) for one in inputs]), key.context_width, load, vocab_size=size)
    pooled = tally(key, found.documents, found.prompts, tokenizer_checked=bool(loads))
    each = [tally(key, [one], found.prompts) for one in found.documents]
    rows = [
        {
            "id": name, "n_tokens": one.n_tokens, "n_scored": one.n_scored, "n_green": one.n_green,
            "n_excluded": one.n_excluded, "log10_p": judged.log10_p, "log10_e": judged.log10_e,
        }
        for name, one, judged in zip(found.ids, each, assess_family(each, how), strict=True)
    ]  # fmt: skip
    return assess(pooled, how, notes=found.notes).to_dict(), rows


def same_as_in_memory(root: Path, key: Key, inputs: Sequence[Path | str], how: Assessment = DEFAULT) -> None:
    pooled, rows = in_memory(key, inputs, how)
    assert json.loads((root / POOLED).read_text()) == json.loads(json.dumps(pooled))
    assert (root / POOLED).read_text() == json.dumps(pooled) + "\n"
    table = pq.read_table(root / DOCUMENTS)
    assert table.select(list(rows[0])).to_pylist() == rows


def files(root: Path) -> dict[str, bytes]:
    """Every file of a job, what was needed on the way aside."""
    return {path.name: path.read_bytes() for path in root.iterdir() if path.is_file() and path.name[0] != "."}


def sentences(seed: int, count: int) -> list[str]:
    """Texts of a few words to some hundred, many of them alike."""
    random = np.random.default_rng(seed)
    words = " ".join(tiny.SENTENCES).split()
    return [" ".join(random.choice(words, size=random.integers(1, 60))) for _ in range(count)]


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    if path.suffix == ".gz":
        data = gzip.compress(data)
    if path.suffix == ".zst":
        data = bytes(pa.compress(data, codec="zstd", asbytes=True))
    path.write_bytes(data)
    return path


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], group: int = 7) -> Path:
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path, row_group_size=group)
    return path
