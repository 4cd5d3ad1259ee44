"""`taggant detect -o` on corpora that are made on the spot: time, memory, equality, kills, workers, executors.

    python -m benchmarks.corpus [PART …] [-o runs/corpus] [--megabytes 100 200 500 1000]

sizes    each size once: seconds, CPU seconds, peak memory of all processes together, what was found; the exponents
pairs    a file of random token ids, so that next to no pair repeats: what is counted against one sort of all pairs in
         memory, and the room that the job takes on disk
speed    scoring against the bare tokenizer (the file read, its JSON parsed, its texts made into ids) on 60 MB, one
         thread each, alternating, imports and kernels aside
equal    100 MB: pooled object and every document against the computation in memory
workers  the largest size: two workers against one
kill     the largest size: killed outright at random moments, and gone on with; the same bytes as an undisturbed job's,
         that of `workers` if it is there
ray      the largest size through Ray's executor; the same bytes as the same job's

The text is cut from a few megabytes again and again, so its pairs repeat as no real crawl's do: `pairs` is for those.
Corpora and jobs lie in the directory of -o; a corpus that is there already is taken. Results: results/corpus.json, part
by part, each with its command, machine and load.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import re
import resource
import shlex
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import kept, machine, revision, save

PARTS = ("sizes", "pairs", "speed", "equal", "workers", "kill", "ray")
BUSY = 500  # MB: four shards for each of two workers
SMALL, SPEED, PAIRS = 100, 60, 500  # MB
ROW = 200  # random ids
KILLS, ROUNDS = 5, 5
SECRET = hashlib.sha256(b"benchmarks.corpus").digest()
PROGRAM = "import sys; sys.argv[0] = 'taggant'; from detect.cli.entry import main; main()"
RESULTS = ("documents.parquet", "sources.parquet", "pooled.json", "totals.json")


@dataclass
class Place:
    """Where corpora and jobs of this run lie."""

    root: Path
    megabytes: list[int]
    workers: int

    def key(self) -> Path:
        path = self.root / "corpus.key"
        if not path.exists():
            from watermark import Key
            from watermark.keys import Parameters, TokenizerIdentity

            identity = TokenizerIdentity.of(tokenizer())
            Key(SECRET, Parameters(16384, 2.0, 1, identity)).save(path)
        return path

    def corpus(self, megabytes: int) -> Path:
        from benchmarks.corpus_text import write
        from watermark import Key

        path = self.root / f"{megabytes}.jsonl"
        if not path.exists():
            print(f"making {path}", file=sys.stderr, flush=True)
            made = path.with_suffix(".part")
            told = write(made, megabytes, Key.load(self.key()), tokenizer())
            path.with_suffix(".json").write_text(json.dumps(told))
            made.rename(path)
        return path

    def command(self, megabytes: int, job: str, *more: object) -> list[str]:
        options = ["-o", self.root / job, "--json", *more]
        return [
            sys.executable, "-c", PROGRAM, "detect", "--key", *map(str, [self.key(), self.corpus(megabytes), *options])
        ]  # fmt: skip

    def run(self, megabytes: int, job: str, *more: object) -> dict[str, Any]:
        """A job from nothing to its end: what it cost."""
        self.corpus(megabytes)
        subprocess.run(["rm", "-rf", str(self.root / job)], check=True)
        return measured(self.command(megabytes, job, *more), self.root / job)


def tokenizer() -> Any:
    from distill_sim.teacher import pull_smollm2
    from watermark.engines.text_tokenizer import load_text_tokenizer

    return load_text_tokenizer(pull_smollm2())


def measured(command: list[str], job: Path) -> dict[str, Any]:
    """Seconds, CPU seconds of all its processes, their peak memory together and of the largest, and of disk (MB).

    Processes that others start for it, as Ray does, are not among them.
    """
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    together = largest = disk = 0.0
    with job.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
        for turn in itertools.count():
            if process.poll() is not None:
                break
            sizes = [_megabytes(pid) for pid in _session(process.pid)]
            together, largest = max(together, sum(sizes)), max([largest, *sizes])
            disk = max(disk, _on_disk(job)) if turn % 10 == 0 else disk
            time.sleep(0.2)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.returncode == 0, f"exit code {process.returncode}: see {log.name}"
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "peak_mb_together": round(together),
        "peak_mb_largest": round(largest), "peak_mb_on_disk": round(disk),
    }  # fmt: skip


def _on_disk(directory: Path) -> float:
    found = subprocess.run(["du", "-sk", str(directory)], capture_output=True, text=True).stdout.split()
    return int(found[0]) / 1000 if found else 0.0


def _session(leader: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader:
                found.append(int(entry.name))
    return found


def _megabytes(pid: int) -> float:
    """Resident memory, shared pages by halves, thirds … as the kernel has it."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def sizes(place: Place) -> dict[str, Any]:
    points = []
    for megabytes in place.megabytes:
        job = f"job-{megabytes}"
        cost = place.run(megabytes, job, "--workers", place.workers)
        points.append({"megabytes": megabytes, **cost, **_found(place.root / job, place.corpus(megabytes))})
        print(points[-1], file=sys.stderr, flush=True)
    return {"workers": place.workers, "points": points, "exponents": _exponents(points)}


def _exponents(points: list[dict[str, Any]]) -> dict[str, float]:
    """b of cost = a · size^b, by least squares in logs; sizes that do not keep all workers busy are left out."""
    points = [one for one in points if one["megabytes"] >= BUSY]
    if len(points) < 2:
        return {}
    size = np.log([one["megabytes"] for one in points])
    costs = ("seconds", "cpu_seconds", "peak_mb_together")
    return {name: round(float(np.polyfit(size, np.log([one[name] for one in points]), 1)[0]), 3) for name in costs}


def _found(job: Path, corpus: Path) -> dict[str, Any]:
    """What a job found, and how right that is: e-BH over its documents at 10^-6."""
    import pyarrow.parquet as pq

    from benchmarks.corpus_text import MARK
    from detect.exact.multiplicity import e_bh

    pooled = json.loads((job / "pooled.json").read_text())
    table = pq.read_table(job / "documents.parquet", columns=["id", "n_tokens", "log10_e"])
    marked = np.array([one.startswith(MARK) for one in table.column("id").to_pylist()])
    selected = e_bh(table.column("log10_e").to_numpy(), 1e-6)
    made = json.loads(corpus.with_suffix(".json").read_text())
    assert (len(marked), int(marked.sum())) == (made["rows"], made["marked"])
    return {
        "documents": len(marked), "tokens": pooled["n_tokens"], "pairs": pooled["n_scored"],
        "green_fraction": round(pooled["green_fraction"], 4), "log10_p": round(pooled["log10_p"], 1),
        "marked": int(marked.sum()), "marked_selected": int((selected & marked).sum()),
        "unmarked_selected": int((selected & ~marked).sum()),
    }  # fmt: skip


def pairs(place: Place) -> dict[str, Any]:
    from watermark import GreenList, Key

    key, path = Key.load(place.key()), place.root / f"ids-{PAIRS}.jsonl"
    vocabulary, codes = key.tokenizer.vocab_size, []  # type: ignore[union-attr]
    plain = np.setdiff1d(np.arange(vocabulary, dtype=np.uint32), key.special_ids)  # pairs with those count nowhere
    draw, size = np.random.default_rng(0), 0
    with path.open("wb") as handle:
        while size < PAIRS * 1e6:
            ids = draw.choice(plain, (5000, ROW))
            codes.append((ids[:, :-1].astype(np.uint64) * np.uint64(vocabulary) + ids[:, 1:]).ravel())
            size += handle.write(b"".join(b'{"token_ids": %s}\n' % json.dumps(row).encode() for row in ids.tolist()))
    distinct = np.unique(np.concatenate(codes))
    del codes
    contexts, tokens = np.divmod(distinct, np.uint64(vocabulary))
    green = int(
        np.count_nonzero(GreenList(key).is_green(contexts.astype(np.uint32)[:, None], tokens.astype(np.uint32)))
    )
    subprocess.run(["rm", "-rf", str(place.root / "job-pairs")], check=True)
    command = place.command(PAIRS, "job-pairs", "--workers", place.workers)
    command[command.index(str(place.root / f"{PAIRS}.jsonl"))] = str(path)
    cost = measured(command, place.root / "job-pairs")
    pooled = json.loads((place.root / "job-pairs" / "pooled.json").read_text())
    expected = (distinct.size, green)
    assert (pooled["n_scored"], pooled["n_green"]) == expected, (pooled["n_scored"], pooled["n_green"], expected)
    return {"megabytes": PAIRS, "pairs": distinct.size, "green": green, "as_by_sorting": True, **cost}


def speed(place: Place) -> dict[str, Any]:
    corpus, kinds = place.corpus(SPEED), ("bare", "taggant")
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    for number in range(ROUNDS):
        for kind in kinds[:: 1 if number % 2 == 0 else -1]:
            command = [sys.executable, "-m", "benchmarks.corpus", "--once", kind, str(corpus), str(place.key())]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            runs[kind].append(json.loads(done.stdout.splitlines()[-1]))
    result: dict[str, Any] = {"megabytes": SPEED, "rounds": ROUNDS, "tokens": int(runs["bare"][0]["tokens"])}
    for kind in kinds:
        for clock in ("wall", "cpu"):
            values = [one[clock] for one in runs[kind]]
            result[f"{kind}_{clock}"] = {
                "median": round(statistics.median(values), 2), "least": round(min(values), 2),
                "most": round(max(values), 2),
            }  # fmt: skip
    for clock in ("wall", "cpu"):
        ratio = result[f"bare_{clock}"]["median"] / result[f"taggant_{clock}"]["median"]
        result[f"{clock}_of_bare"] = round(ratio, 3)
    shares = [one["encode"] / one["cpu"] for one in runs["taggant"]]
    result["share_of_encode_batch_in_cpu"] = round(statistics.median(shares), 3)
    return result


def once(kind: str, corpus: Path, key_file: Path) -> dict[str, float]:
    """One run in this process, all imports and kernels loaded beforehand."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        short = Path(directory) / "short.jsonl"
        with corpus.open("rb") as handle:
            short.write_bytes(b"".join(handle.readline() for _ in range(600)))
        work = {"bare": _bare, "taggant": _taggant}[kind]
        work(short, key_file, Path(directory) / "first")
        wall, cpu = time.perf_counter(), time.process_time()
        found = work(corpus, key_file, Path(directory) / "second")
        return {**found, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def _bare(corpus: Path, _: Path, __: Path) -> dict[str, float]:
    core, count, held = _shared().backend_tokenizer, 0, list[str]()
    characters = 0
    with corpus.open("rb") as lines:
        for line in lines:
            held.append(json.loads(line)["text"])
            characters += len(held[-1])
            if characters >= 1 << 20:
                count += sum(len(one.ids) for one in core.encode_batch_fast(held, add_special_tokens=False))
                held, characters = [], 0
    count += sum(len(one.ids) for one in core.encode_batch_fast(held, add_special_tokens=False))
    return {"tokens": count}


def _taggant(corpus: Path, key_file: Path, root: Path) -> dict[str, float]:
    from contextlib import nullcontext

    from detect.corpora.job import opened
    from detect.corpora.local import Local
    from detect.corpora.results import count, judge
    from detect.corpora.sources import plan
    from detect.corpora.stages import run
    from detect.evidence import Assessment
    from watermark import Key
    from watermark.engines import text_tokenizer
    from watermark.progress import ignore

    timed = _Timed(_shared().backend_tokenizer)
    _shared().backend_tokenizer = timed
    text_tokenizer.load_text_tokenizer = lambda _: _shared()  # it was loaded before
    key, shards = Key.load(key_file), plan([str(corpus)])
    tokenizer = {"name": "it", "problem": None, "verified": False}
    arguments = {"job": str(root), "key": str(key_file), "inputs": [str(corpus)], "tokenizer": tokenizer}
    described = {"taggant": "", "key_id": key.key_id, "context_width": 1, "tokenizer": None}
    described["special_ids"] = key.special_ids_digest
    with opened(root, described, shards) as job:
        run(job, shards, arguments, Local(1), lambda _: nullcontext(ignore))
        results = judge(job, key, count(job, tokenizer=True), Assessment())
    _shared().backend_tokenizer = timed.core
    return {"tokens": results.evidence.n_tokens, "encode": timed.seconds}


class _Timed:
    """The tokenizer's Rust part with a clock around it."""

    def __init__(self, core: Any) -> None:
        self.core, self.seconds = core, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.core, name)

    def encode_batch_fast(self, *arguments: Any, **options: Any) -> Any:
        begun = time.process_time()
        try:
            return self.core.encode_batch_fast(*arguments, **options)
        finally:
            self.seconds += time.process_time() - begun


_SHARED: list[Any] = []


def _shared() -> Any:
    if not _SHARED:
        _SHARED.append(tokenizer())
    return _SHARED[0]


def equal(place: Place) -> dict[str, Any]:
    import pyarrow.parquet as pq

    cost = place.run(SMALL, "job-equal", "--workers", 2)
    job = place.root / "job-equal"
    command = [sys.executable, "-c", PROGRAM, "detect", "--key", str(place.key()), str(place.corpus(SMALL)), "--each"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    *each, last = map(json.loads, done.stdout.splitlines())
    rows = pq.read_table(job / "documents.parquet").to_pylist()
    names = ("id", "n_tokens", "n_scored", "n_green", "log10_p", "log10_e")
    assert len(rows) == len(each)
    differ = sum(any(row[name] != one[name] for name in names) for row, one in zip(rows, each, strict=True))
    pooled = json.loads((job / "pooled.json").read_text())
    last["notes"] = [one for one in last["notes"] if "documents' family" not in one]
    return {
        "megabytes": SMALL, "documents": len(rows), "documents_that_differ": differ,
        "pooled_differs": pooled != last, **cost,
    }  # fmt: skip


def kill(place: Place) -> dict[str, Any]:
    size, chance = max(place.megabytes), random.Random(7)
    whole, undisturbed = _undisturbed(place, size)
    subprocess.run(["rm", "-rf", str(place.root / "job-killed")], check=True)
    command = place.command(size, "job-killed", "--workers", 2)
    moments, scored, again = [], [], 0
    before: dict[Path, int] = {}
    for _ in range(KILLS):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        moments.append(round(chance.uniform(0.05, 0.25) * undisturbed["seconds"], 1))
        try:
            process.wait(moments[-1])
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        there = {path: path.stat().st_ino for path in (place.root / "job-killed").glob("work/scoring/0*")}
        again += sum(there.get(path) != inode for path, inode in before.items())
        before, scored = there, [*scored, len(there)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = re.findall(r"(\d+) of (\d+) shards are scored already", done.stderr)
    killed = place.root / "job-killed"
    differ = [name for name in RESULTS if (whole / name).read_bytes() != (killed / name).read_bytes()]
    return {
        "megabytes": size, "killed_after_seconds": moments, "shards_scored_at_each": scored,
        "scored_again": again, "last_run_found": told, "files_that_differ": differ, "undisturbed": undisturbed,
    }  # fmt: skip


def _undisturbed(place: Place, size: int) -> tuple[Path, dict[str, Any]]:
    """A job by two workers, that of `workers` if it is there, and what it cost."""
    whole = place.root / "job-2-workers"
    earlier = kept("corpus").get("workers", {})
    if earlier.get("megabytes") == size and whole.exists():
        return whole, earlier["two"]
    return whole, place.run(size, whole.name, "--workers", 2)


def workers(place: Place) -> dict[str, Any]:
    size = max(place.megabytes)
    costs = {count: place.run(size, f"job-{count}-workers", "--workers", count) for count in (1, 2)}
    one, two = (place.root / f"job-{count}-workers" for count in (1, 2))
    differ = [name for name in RESULTS if (one / name).read_bytes() != (two / name).read_bytes()]
    ratio = round(costs[1]["seconds"] / costs[2]["seconds"], 2)
    return {"megabytes": size, "one": costs[1], "two": costs[2], "ratio": ratio, "files_that_differ": differ}


def ray(place: Place) -> dict[str, Any]:
    size = max(place.megabytes)
    local, undisturbed = _undisturbed(place, size)
    cost = place.run(size, "job-ray", "--workers", 2, "--executor", "ray")
    del cost["cpu_seconds"]  # Ray's own processes do the work
    differ = [name for name in RESULTS if (local / name).read_bytes() != (place.root / "job-ray" / name).read_bytes()]
    return {"megabytes": size, "local": undisturbed, "ray": cost, "files_that_differ": differ}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="part", help=", ".join(PARTS))
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/corpus"))
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100, 200, 500, 1000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--once", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once:
        kind, corpus, key_file = asked.once
        print(json.dumps(once(kind, Path(corpus), Path(key_file))))
        return
    asked.output.mkdir(parents=True, exist_ok=True)
    place = Place(asked.output.absolute(), asked.megabytes, asked.workers)
    result = kept("corpus")
    for name in asked.parts:
        load = os.getloadavg()[0]
        result[name] = globals()[name](place)
        about = {
            "command": shlex.join(["python", "-m", "benchmarks.corpus", *sys.argv[1:]]), "revision": revision(),
            "date": f"{datetime.now(UTC):%Y-%m-%d}", "load_before": round(load, 1), "machine": machine(),
        }  # fmt: skip
        result["measured"] = {**result.get("measured", {}), name: about}
        save("corpus", "python -m benchmarks.corpus", result)


if __name__ == "__main__":
    main()
