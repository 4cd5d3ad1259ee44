"""What is done in a worker, wherever that runs: a task that is not done yet is done, and its result is there whole.

Arguments of all of them, JSON-like values: `job`, its directory; `key`, where the key file lies; `inputs`, as they were
given; `tokenizer`, how to have it; `number`, which part of the stage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from detect.corpora.job import FOUND, JOB, Job, json_line, read_json, write_json
from detect.corpora.long import score_long_text
from detect.corpora.pooling import pool
from detect.corpora.prompts import PromptPairs, write_prompts
from detect.corpora.runs import Run
from detect.corpora.scoring import Scored, score
from detect.corpora.setting import Setting
from detect.corpora.survey import PROMPTS, Surveyed, survey
from detect.corpora.tallying import COUNTED, EXCLUDED
from detect.readers.encoding import Tokenizer
from watermark.errors import InputError, KeyFileError
from watermark.files import new_directory
from watermark.keys import Key
from watermark.progress import Progress

SHARES = 32  # into which all pairs are divided to be counted, at most


def survey_shard(arguments: Mapping[str, Any], report: Progress) -> None:
    """Number a shard's lines and read its prompts, before anything is scored."""
    job, setting = _at_work(arguments)
    target = job.stage("survey", arguments["number"])
    if target.exists():
        return
    with new_directory(target) as directory:
        found = survey(job.shard(arguments["number"]), setting, directory, report)
        (directory / FOUND).write_bytes(json_line(found.to_json()))


def merge_prompts(arguments: Mapping[str, Any], report: Progress) -> None:
    """Bring the prompts of all shards together."""
    job, setting = _at_work(arguments)
    if job.prompts.exists():
        return
    runs, firsts, tokenizer, next_line = [], [], False, 1
    for number in range(number_of_shards(job)):
        shard = job.shard(number)
        firsts.append(next_line if shard.parts[0].start else 1)
        if not shard.needs_survey:
            continue
        directory = job.stage("survey", number)
        found = Surveyed.from_json(read_json(directory / FOUND))
        runs += _runs(directory, PROMPTS, found.runs, setting)
        tokenizer = tokenizer or found.tokenizer
        last = shard.parts[-1]  # a file's lines go on in the next shard from here alone
        next_line = (found.lines[-1] or 0) + (firsts[-1] if len(shard.parts) == 1 and last.start else 1)
    with new_directory(job.prompts) as directory:
        count = write_prompts(runs, setting.packing, directory)
        merged = {"count": count, "tokenizer": tokenizer, "first_lines": firsts}
        (directory / FOUND).write_bytes(json_line(merged))


def score_shard(arguments: Mapping[str, Any], report: Progress) -> None:
    """Score a shard: its documents, and its pairs."""
    job, setting = _at_work(arguments)
    number = arguments["number"]
    target = job.stage("scoring", number)
    if target.exists():
        return
    shard, merged = job.shard(number), read_json(job.prompts / FOUND)
    prompts = PromptPairs(setting.packing, job.prompts, merged["count"])
    with new_directory(target) as directory:
        if shard.is_long_text:
            found = score_long_text(shard, prompts, setting, directory, report)
        else:
            found = score(shard, merged["first_lines"][number], prompts, setting, directory, report)
        (directory / FOUND).write_bytes(json_line(found.to_json()))


def pool_share(arguments: Mapping[str, Any], report: Progress) -> None:
    """Count the distinct pairs of one share of all."""
    job, setting = _at_work(arguments)
    target = job.share(arguments["number"])
    if target.exists():
        return
    counted, excluded = list[Run](), list[Run]()
    shards = number_of_shards(job)
    for number in range(shards):
        found, directory = scored(job, number), job.stage("scoring", number)
        counted += _runs(directory, COUNTED, found.counted, setting)
        excluded += _runs(directory, EXCLUDED, found.excluded, setting)
    pooled = pool(counted, excluded, arguments["number"], number_of_shares(shards), setting, report)
    target.parent.mkdir(exist_ok=True)
    write_json(target, vars(pooled))


def number_of_shards(job: Job) -> int:
    return int(read_json(job.root / JOB)["shards"])


def number_of_shares(shards: int) -> int:
    return min(shards, SHARES)


def scored(job: Job, number: int) -> Scored:
    """What the scoring of a shard found."""
    return Scored.from_json(read_json(job.stage("scoring", number) / FOUND))


def _at_work(arguments: Mapping[str, Any]) -> tuple[Job, Setting]:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread a worker
    job = Job(Path(arguments["job"]))
    tokenizer = arguments["tokenizer"]
    problem = tokenizer["problem"]
    setting = _setting(
        Path(arguments["key"]),
        tuple(arguments["inputs"]),
        tokenizer["name"],
        None if problem is None else (str(problem[0]), str(problem[1])),
    )
    begun = read_json(job.root / JOB)
    if (setting.mark.key_id, setting.special_ids) != (begun["key_id"], begun.get("special_ids")):
        raise KeyFileError(f"{arguments['key']} is not the key this job began with; put that back")
    return job, setting


@lru_cache(maxsize=1)
def _setting(key_file: Path, inputs: tuple[str, ...], name: str | None, problem: tuple[str, str] | None) -> Setting:
    key = Key.load(key_file)
    return Setting(
        mark=key,
        vocab_size=None if key.tokenizer is None else key.tokenizer.vocab_size,
        special_ids=key.special_ids_digest,
        inputs=inputs,
        tokenizer=_loader(key, name, problem),
    )


def _loader(key: Key, name: str | None, problem: tuple[str, str] | None) -> Callable[[], Tokenizer]:
    """Gives the tokenizer, loaded once; or raises why there is none."""

    @lru_cache(maxsize=1)
    def load() -> Tokenizer:
        from watermark.engines.text_tokenizer import load_text_tokenizer

        if problem is not None or name is None:
            kind, words = problem or ("InputError", "text needs a tokenizer")
            raise KeyFileError(words) if kind == "KeyFileError" else InputError(words)
        tokenizer = load_text_tokenizer(name)
        key.check_tokenizer(tokenizer)
        return tokenizer

    return load


def _runs(directory: Path, name: str, count: int, setting: Setting) -> list[Run]:
    return [Run(directory / f"{name}-{number}.run", setting.packing) for number in range(count)]
