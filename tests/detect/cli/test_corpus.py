"""`detect -o`: a corpus job from the command line, what it writes and says, and what it refuses."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests import tiny
from tests.detect.cli.helpers import SPEECH, Cli, environment, names, write_rows
from tests.detect.cli.test_detect import green_stream

RESULTS = ["documents.parquet", "job.json", "pooled.json", "sources.parquet", "totals.json"]


@pytest.fixture
def corpus(tmp_path: Path, text_key: Path) -> Path:
    """Unmarked texts in two files, marked ids in a third."""
    directory = tmp_path / "corpus"
    directory.mkdir()
    speech = SPEECH.read_text(encoding="utf-8")
    rows = [{"id": f"s{i}", "text": speech[500 * i : 500 * i + 500]} for i in range(20)]
    write_rows(directory / "a.jsonl", rows[:10])
    (directory / "b.jsonl.gz").write_bytes(gzip.compress(b"".join(json.dumps(r).encode() + b"\n" for r in rows[10:])))
    marked = [{"id": f"m{i}", "token_ids": green_stream(text_key, 80, seed=i)} for i in range(5)]
    write_rows(directory / "c.jsonl", [*marked, {"id": "plain", "text": speech[:300]}])
    return directory


def test_the_same_object_as_without_and_a_row_for_every_document(
    cli: Cli, text_key: Path, corpus: Path, tmp_path: Path
) -> None:
    command = ["detect", "--key", text_key, corpus]
    job = tmp_path / "job"
    result = cli(*command, "-o", job, "--workers", 1, "--json")
    assert result.out == cli(*command, "--json").out == (job / "pooled.json").read_text()
    assert result.err == "survey: 1 MB\nscoring: 1 MB\npooling: 1 MB\n"
    assert names(job) == RESULTS
    rows = pq.read_table(job / "documents.parquet").to_pylist()
    *each, _ = cli(*command, "--each").lines()
    assert [row["id"] for row in rows] == [one["id"] for one in each]
    for row, one in zip(rows, each, strict=True):
        assert {name: row[name] for name in row if name in one} == {name: one[name] for name in row if name in one}
    assert {(row["source"], row["row"]) for row in rows} == {
        *((f"{corpus}/{name}", number) for name in ("a.jsonl", "b.jsonl.gz") for number in range(1, 11)),
        *((f"{corpus}/c.jsonl", number) for number in range(1, 7)),
    }


def test_once_more_it_says_the_same_and_other_levels_cost_nothing(
    cli: Cli, text_key: Path, corpus: Path, tmp_path: Path
) -> None:
    command = ["detect", "--key", text_key, corpus, "-o", tmp_path / "job", "--workers", 1]
    first, again = cli(*command, "--json"), cli(*command, "--json")
    assert again.out == first.out
    assert again.err == ""
    assert cli(*command, "--json", "--alpha", 0.01).json()["alpha"] == 0.01
    assert json.loads((tmp_path / "job" / "pooled.json").read_text())["alpha"] == 0.01


def test_which_sources_carry_the_mark(cli: Cli, text_key: Path, corpus: Path, tmp_path: Path) -> None:
    result = cli("-q", "detect", "--key", text_key, corpus, "-o", tmp_path / "job", "--workers", 1)
    assert result.err == ""
    assert "  documents    5 of 26 selected by e-BH, 5 by Holm\n" in result.out
    assert "  files        1 of 3 selected by e-BH, each by the mean of its documents' e-values\n" in result.out
    assert f"  {corpus}/c.jsonl: 5 of 6 documents, e-value above 10^30\n"[-50:] in result.out
    assert f"  written      {tmp_path}/job: documents.parquet, sources.parquet, pooled.json" in result.out
    sources = pq.read_table(tmp_path / "job" / "sources.parquet").to_pylist()
    assert [(row["documents"], row["documents_e_bh"], row["e_bh"]) for row in sources] == [
        (10, 0, False),
        (10, 0, False),
        (6, 5, True),
    ]
    for word in ("proves", "match", "guilty", "certain", "confidence"):
        assert word not in result.out.lower()


def test_findings_decide_the_exit_code(cli: Cli, text_key: Path, corpus: Path, tmp_path: Path) -> None:
    few = write_rows(tmp_path / "few.jsonl", [{"token_ids": [5, 6, 7, 8]}])

    def code(path: Path, *options: object) -> int:
        return cli("detect", "--key", text_key, path, "-o", tmp_path / path.stem, "--workers", 1, *options).code

    assert [code(corpus / "c.jsonl"), code(corpus / "c.jsonl", "--fail-on-detect")] == [0, 1]
    assert [code(few), code(few, "--strict"), code(few, "--fail-on-detect")] == [0, 4, 0]


def test_what_a_corpus_job_does_not_take(cli: Cli, text_key: Path, corpus: Path, tmp_path: Path) -> None:
    command = ["detect", "--key", text_key, corpus, "-o", tmp_path / "job"]
    for options, words in (
        (["--each"], "--each"), (["--scan", "--normalise"], "--scan, --normalise"), (["--decoys", 5], "--decoys"),
        (["--highlight", tmp_path / "p.html"], "--highlight"), (["--case", tmp_path / "case"], "--case"),
        (["--seed", "00" * 32], "--seed"),
    ):  # fmt: skip
        cli(*command, *options).refused(2, f"a corpus job (-o) takes no {words}: it counts each document and all")
    cli("detect", "--key", text_key, "-", "-o", tmp_path / "job").refused(2, "not standard input (-)")
    for options, name in (
        (["--workers", 2], "--workers"), (["--executor", "ray"], "--executor"), (["--shard-mb", 2], "--shard-mb"),
        (["--cluster", "time=1"], "--cluster"),
    ):  # fmt: skip
        cli("detect", "--key", text_key, corpus, *options).refused(2, f"{name} is for a corpus job: give -o DIR")
    cli(*command, "--cluster", "time=1").refused(2, "--cluster is for --executor slurm or ray")
    cli(*command, "--executor", "slurm").refused(2, "--executor slurm needs --cluster partition=…")
    given = ("--cluster", "partition=p", "--cluster", "time=1:00:00")
    cli(*command, "--executor", "slurm", *given).refused(2, "--executor slurm needs --workers: how many processes")
    cli(*command, "--executor", "ray", "--cluster", "partition=x").refused(2, "NAME one of cpus_per_task")
    cli(*command, "--executor", "ray", "--cluster", "cpus_per_task=x").refused(2, "must be a number")
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize(("option", "code"), [("-q", 0), ("--json", 4), ("--strict", 4), ("--fail-on-detect", 4)])
def test_what_is_only_handed_over_is_not_taken_for_a_result(
    option: str, code: int, cli: Cli, text_key: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detect.cli.text.run_corpus", lambda *_: None)
    result = cli("detect", "--key", text_key, corpus, "-o", tmp_path / "job", option)
    assert (result.code, result.out) == (code, "")


def test_another_size_of_shards_is_another_job_and_nothing_that_changed(
    cli: Cli, text_key: Path, corpus: Path, tmp_path: Path
) -> None:
    command = ["detect", "--key", text_key, corpus, "-o", tmp_path / "job", "--workers", 1]
    assert cli(*command).code == 0
    cli(*command, "--shard-mb", 2).refused(3, "holds a job with --shard-mb 64; give that, or choose another directory")


def test_what_is_refused_in_one_line(cli: Cli, text_key: Path, key: Path, corpus: Path, tmp_path: Path) -> None:
    def refused(code: int, *fragments: str, using: Path = text_key, inputs: Path = corpus, to: str = "job") -> None:
        cli("detect", "--key", using, inputs, "-o", tmp_path / to, "--workers", 1).refused(code, *fragments)

    refused(3, "nowhere is not a directory; create it first", to="nowhere/job")
    refused(
        3, "is not empty, and no corpus job's", to="corpus", inputs=write_rows(tmp_path / "x.jsonl", [{"text": "a"}])
    )
    refused(3, "none does not exist", inputs=tmp_path / "none")
    refused(3, "corpus/job lies in an input, or an input in it", to="corpus/job")
    (tmp_path / "holds").mkdir()
    inside = write_rows(tmp_path / "holds" / "a.jsonl", [{"text": "a"}])
    refused(3, "holds lies in an input, or an input in it", to="holds", inputs=inside)
    refused(5, "none.key", using=tmp_path / "none.key")
    refused(3, "text needs a tokenizer: the key names none; give --tokenizer", using=key)
    broken = write_rows(tmp_path / "broken.jsonl", [{"text": "a"}, {"text": 5}])
    refused(3, "broken.jsonl:2: text must be text, not the number 5; fix or remove the line", inputs=broken, to="job2")
    refused(3, "/proc/job cannot be written (No such file or directory)", to="/proc/job")


def test_a_foreign_tokenizer_is_refused(
    cli: Cli, text_key: Path, corpus: Path, foreign_model: Path, tmp_path: Path
) -> None:
    command = ["detect", "--key", text_key, corpus, "-o", tmp_path / "job", "--workers", 1]
    cli(*command, "--tokenizer", foreign_model).refused(5, "tokenizer")
    assert cli(*command, "--tokenizer", tiny.shared()).code == 0


def test_ids_need_no_tokenizer(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    command = ["detect", "--key", key, ids, "--json"]
    assert cli(*command, "-o", tmp_path / "job", "--workers", 1).out == cli(*command).out


def test_remote_storage(cli: Cli, text_key: Path, corpus: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    try:
        for path in corpus.iterdir():
            system.pipe(f"/corpus/{path.name}", path.read_bytes())
        command = ["detect", "--key", text_key, "memory://corpus/*.jsonl*", "--json"]
        found = cli(*command, "-o", tmp_path / "job", "--workers", 4).json()  # memory of this process alone
        assert found == cli("detect", "--key", text_key, corpus, "--json").json()
        sources = pq.read_table(tmp_path / "job" / "sources.parquet").column("source").to_pylist()
        assert sources == [f"memory:///corpus/{name}" for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl")]
    finally:
        system.store.clear()


def test_interrupted_it_says_where_it_goes_on(
    cli: Cli, text_key: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    command = ["detect", "--key", text_key, corpus, "-o", tmp_path / "job", "--workers", 1]
    monkeypatch.setattr("detect.corpora.tasks.pool_share", interrupt)
    result = cli(*command)
    assert result.code == 130
    assert f"What is finished is kept in {tmp_path}/job: the same command goes on from there." in result.err
    monkeypatch.undo()
    result = cli(*command)
    assert result.code == 0
    assert "1 of 1 shards are scored already; going on\n" in result.err


def test_a_worker_that_cannot_write(
    cli: Cli, text_key: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> Iterator[Any]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("detect.corpora.runs.write_run", full)
    command = ["detect", "--key", text_key, corpus, "-o", tmp_path / "job", "--workers", 1]
    cli(*command).refused(3, f"{tmp_path}/job cannot be written (No space left on device); free space")
    monkeypatch.undo()
    assert cli(*command).code == 0


def test_neither_torch_nor_transformers_are_needed(corpus: Path, text_key: Path, tmp_path: Path) -> None:
    program = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None  # importing either fails
from detect.cli.main import run
sys.exit(run(sys.argv[1:]))
"""
    arguments = ["detect", "--key", text_key, corpus, "-o", tmp_path / "job", "--workers", 1, "--json"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n_scored"] > 0
