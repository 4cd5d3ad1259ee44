"""The same job through datatrove: on a Ray of this machine, and on a Slurm that is played by a script."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from detect.corpora.cluster import Ray, Share, checked_arguments, submit
from detect.corpora.job import WORK, opened
from detect.corpora.results import count, judge
from detect.corpora.sources import Shard, plan
from detect.corpora.stages import ERRORS, Stage, run, stages
from detect.evidence import Assessment
from detect.ray import HERE, _in, load_ray
from tests.detect.corpora.corpus import arguments, do, files, of_key, save_key, sentences, write_jsonl
from watermark import Key
from watermark.errors import InputError
from watermark.progress import ignore

pytest.importorskip("datatrove", reason="datatrove is not installed: pip install 'taggant[cluster]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries that this project does not test

ROWS = [{"text": text, "prompt": "Who counted the coins?"} for text in sentences(1, 120)]


@pytest.fixture
def corpus(tmp_path: Path) -> list[Path]:
    save_key(tmp_path / "a.key")
    return [write_jsonl(tmp_path / "a.jsonl", ROWS)]


def described(key: Key) -> dict[str, Any]:
    return {**of_key(key), "taggant": "0", "tokenizer": None}


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One Ray of two processors."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'taggant[ray]'")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    library = load_ray()
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}
    with _in(HERE):
        library.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 << 20)
    yield
    library.shutdown()
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.mark.usefixtures("ray")
def test_ray_gives_the_same_bytes_and_the_first_broken_row(corpus: list[Path], tmp_path: Path) -> None:
    def on_ray(root: Path, inputs: list[Path]) -> None:
        key = Key.load(tmp_path / "a.key")
        shards = plan([str(one) for one in inputs], 2000)
        with opened(root, described(key), shards) as job:
            run(job, shards, arguments(root, tmp_path / "a.key", inputs), Ray(2, {}), lambda _: nullcontext(ignore))
            judge(job, key, count(job, tokenizer=False), Assessment())
            job.clear()

    on_ray(tmp_path / "ray", corpus)
    do(tmp_path / "here", tmp_path / "a.key", corpus)
    assert files(tmp_path / "ray") == files(tmp_path / "here")
    broken = write_jsonl(tmp_path / "b.jsonl", [*ROWS[:70], {"text": 1}, *ROWS[70:100], {"text": 2}])
    with pytest.raises(InputError, match=r"b.jsonl:71: text must be text, not the number 1; fix or remove the line"):
        on_ray(tmp_path / "broken", [broken])


# Slurm

SBATCH = """#!{python}
import os, re, subprocess, sys
from pathlib import Path
place = Path(os.environ["PLAYED_SLURM"])
script = Path(sys.argv[-1]).read_text()
number = len(list(place.glob("job-*"))) + 1
(place / f"job-{{number}}").write_text(script)
print("Submitted batch job", number)
waits = re.findall(r"afterok:(\\d+)", " ".join(sys.argv))
if "merge_stats" in script or any((place / f"failed-{{one}}").exists() for one in waits):
    (place / f"failed-{{number}}").touch()
    sys.exit()
first, last = map(int, re.search(r"--array=(\\d+)-(\\d+)", script).groups())
for task in range(first, last + 1):
    environment = {{**os.environ, "SLURM_ARRAY_TASK_ID": str(task), "SLURM_JOB_ID": str(number),
                   "SLURM_NODELIST": "here", "RUN_OFFSET": "0"}}
    with (place / f"log-{{number}}-{{task}}").open("w") as log:
        done = subprocess.run(["bash", sys.argv[-1]], env=environment, stdout=log, stderr=log)
    if done.returncode:
        (place / f"failed-{{number}}").touch()
"""
OTHERS = {
    "srun": '#!/bin/bash\nwhile [[ $1 == -* ]]; do [[ $1 == -n ]] && shift; shift; done\nexec "$@"\n',
    "scontrol": "#!/bin/bash\necho here\n",
    "squeue": """#!/bin/bash
[ -e $PLAYED_SLURM/down ] && { echo "Unable to contact slurm controller" >&2; exit 1; }
cat $PLAYED_SLURM/queue 2>/dev/null || { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
""",
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm that does everything at once; what it does is kept in a directory."""
    place = tmp_path / "slurm"
    (place / "bin").mkdir(parents=True)
    for name, script in {"sbatch": SBATCH.format(python=sys.executable), **OTHERS}.items():
        path = place / "bin" / name
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{place / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PLAYED_SLURM", str(place))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.chdir(tmp_path)  # it writes logs here
    return place


def on_slurm(root: Path, key_file: Path, inputs: list[Path]) -> tuple[bool, list[str]]:
    key, told = Key.load(key_file), list[str]()
    shards = plan([str(one) for one in inputs], 3000)
    cluster = {"partition": "p", "time": "0:10:00"}
    with opened(root, described(key), shards) as job:
        if job.is_counted:
            judge(job, key, count(job, tokenizer=False), Assessment())
            job.clear()
            return True, told
        return submit(job, shards, arguments(root, key_file, inputs), 1, cluster, told.append), told


def test_slurm_gives_the_same_bytes(corpus: list[Path], tmp_path: Path, slurm: Path) -> None:
    done, told = on_slurm(tmp_path / "job", tmp_path / "a.key", corpus)
    assert (done, len(told)) == (False, 1)
    assert told[0].startswith("Handed to Slurm (last job ")
    assert on_slurm(tmp_path / "job", tmp_path / "a.key", corpus) == (True, [])
    do(tmp_path / "here", tmp_path / "a.key", corpus, shard_bytes=3000)
    assert files(tmp_path / "job") == files(tmp_path / "here")
    scripts = [path.read_text() for path in sorted(slurm.glob("job-*"))]
    assert any("#SBATCH --partition=p" in one and "--kill-on-invalid-dep=yes" in one for one in scripts)


def test_what_fails_on_slurm_is_told_when_asked_again(corpus: list[Path], tmp_path: Path, slurm: Path) -> None:
    broken = write_jsonl(tmp_path / "b.jsonl", [*({"text": row["text"]} for row in ROWS[:50]), {"text": 1}])
    on_slurm(tmp_path / "job", tmp_path / "a.key", [broken])
    with pytest.raises(InputError, match=r"b.jsonl:51: text must be text"):
        on_slurm(tmp_path / "job", tmp_path / "a.key", [broken])
    (slurm / "queue").write_text("7 p taggant\n")
    done, told = on_slurm(tmp_path / "job", tmp_path / "a.key", [broken])
    assert not done
    assert "stages done; ask again later" in told[0]


def test_what_failed_is_told_once_and_done_again(corpus: list[Path], tmp_path: Path, slurm: Path) -> None:
    """As after a disk that was full: the error lies in the job's directory, its cause is gone."""
    on_slurm(tmp_path / "job", tmp_path / "a.key", corpus)
    shutil.rmtree(tmp_path / "job" / WORK / "scoring" / "00001")
    (tmp_path / "job" / "totals.json").unlink()
    (tmp_path / "job" / WORK / ERRORS).mkdir()
    record = tmp_path / "job" / WORK / ERRORS / "scoring-00001.json"
    record.write_text(json.dumps(["OSError", "No space left on device", 28, None]))
    with pytest.raises(OSError, match="No space left"):
        on_slurm(tmp_path / "job", tmp_path / "a.key", corpus)
    assert on_slurm(tmp_path / "job", tmp_path / "a.key", corpus)[0] is False  # handed over again
    assert on_slurm(tmp_path / "job", tmp_path / "a.key", corpus) == (True, [])


def test_asking_leaves_what_tasks_are_writing_alone(corpus: list[Path], tmp_path: Path, slurm: Path) -> None:
    on_slurm(tmp_path / "job", tmp_path / "a.key", corpus)
    (tmp_path / "job" / "totals.json").unlink()
    writing = tmp_path / "job" / WORK / "scoring" / ".00001.abc.tmp"
    writing.mkdir()
    (slurm / "queue").write_text("7 p taggant\n")
    on_slurm(tmp_path / "job", tmp_path / "a.key", corpus)
    assert writing.exists()
    (slurm / "queue").unlink()
    on_slurm(tmp_path / "job", tmp_path / "a.key", corpus)
    assert not writing.exists()  # nobody is at work there any more


def test_a_slurm_that_does_not_answer_is_not_taken_for_idle(corpus: list[Path], tmp_path: Path, slurm: Path) -> None:
    on_slurm(tmp_path / "job", tmp_path / "a.key", corpus)
    (tmp_path / "job" / "totals.json").unlink()
    before = len(list(slurm.glob("job-*")))
    (slurm / "down").touch()
    with pytest.raises(InputError, match=r"cannot be asked whether it still runs \(squeue ended with 1\)"):
        on_slurm(tmp_path / "job", tmp_path / "a.key", corpus)
    assert len(list(slurm.glob("job-*"))) == before


def test_stages_that_were_handed_over_before_a_refusal_are_remembered(
    corpus: list[Path], tmp_path: Path, slurm: Path
) -> None:
    sbatch = slurm / "bin" / "sbatch"
    sbatch.write_text(
        sbatch.read_text().replace(
            "place = ", "if list(Path(os.environ['PLAYED_SLURM']).glob('job-2')): sys.exit(1)\nplace = ", 1
        )
    )
    with pytest.raises(InputError, match="sbatch refused the job"):
        on_slurm(tmp_path / "job", tmp_path / "a.key", corpus)
    (slurm / "queue").write_text("2 p taggant\n")
    done, told = on_slurm(tmp_path / "job", tmp_path / "a.key", corpus)
    assert (done, told[0].startswith("Slurm is at work (job ")) == (False, True)


def test_what_slurm_is_not_given(corpus: list[Path], tmp_path: Path, slurm: Path) -> None:
    (slurm / "bin" / "sbatch").write_text("#!/bin/bash\nexit 1\n")
    with pytest.raises(InputError, match="sbatch refused the job"):
        on_slurm(tmp_path / "job", tmp_path / "a.key", corpus)


def test_an_address_that_holds_a_secret_is_not_written_down(tmp_path: Path) -> None:
    key = save_key(tmp_path / "a.key")
    address = "https://user:secret@host/a.jsonl"
    shards = plan([str(write_jsonl(tmp_path / "a.jsonl", ROWS))], 3000)
    with opened(tmp_path / "job", described(key), shards) as job, pytest.raises(InputError) as refused:
        submit(job, shards, {**arguments(tmp_path / "job", tmp_path / "a.key", []), "inputs": [address]}, 1, {}, print)
    assert "secret" not in str(refused.value)
    assert str(refused.value).startswith("https://host/a.jsonl: the address holds a password")


def test_every_task_is_done_by_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    monkeypatch.setattr("detect.corpora.cluster.perform", lambda values, _: begun.append(values["number"]))
    stage = Stage("scoring", "f", dict.fromkeys(range(10), 1))
    for rank in range(3):
        Share(stage, {"job": str(tmp_path), "inputs": ["https://secret@host"]}, range(10))(None, rank, 3)
    assert sorted(begun) == list(range(10))
    assert "secret" not in repr(Share(stage, {"inputs": ["https://secret@host"]}, range(10)))


def test_stages_have_an_order_and_a_weight() -> None:
    shards = [Shard.from_json({"number": 0, "parts": []}), Shard.from_json({"number": 1, "parts": []})]
    assert [stage.name for stage in stages(shards)] == ["survey", "prompts", "scoring", "pooling"]
    assert json.dumps(checked_arguments("ray", ["cpus_per_task=0.5"])) == '{"cpus_per_task": 0.5}'
