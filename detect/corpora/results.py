"""What is left when a job is done: the documents, the totals, and what they mean."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detect.corpora.documents import join
from detect.corpora.findings import Selection, Source, select, write_sources
from detect.corpora.job import DOCUMENTS, FOUND, JOB, POOLED, SOURCES, TOTALS, Job, read_json, write_json
from detect.corpora.pooling import Pooled, Totals, add_up, corpus_tally
from detect.corpora.scoring import DOCUMENTS as SHARD_DOCUMENTS
from detect.corpora.tallying import Account
from detect.corpora.tasks import number_of_shares, scored
from detect.counting import ScoredMark
from detect.evidence import Assessment, Evidence, assess
from detect.readers.remarks import Remarks
from watermark.errors import InputError
from watermark.files import new_file
from watermark.progress import Progress


@dataclass(frozen=True)
class Results:
    """What a corpus says.

    Attributes:
        selection: None: nothing is claimed under the key, or of this corpus.
        sources: in their order; none where nothing is claimed.
    """

    evidence: Evidence
    selection: Selection | None
    sources: list[Source] = field(repr=False)


def bring_together(arguments: Mapping[str, Any], report: Progress) -> None:
    """`count`, as a task."""
    count(Job(Path(arguments["job"])), tokenizer=bool(arguments["tokenizer"]["verified"]))


def count(job: Job, *, tokenizer: bool) -> Totals:
    """Bring together what was found in all shards and shares: documents.parquet, then totals.json.

    Args:
        tokenizer: whether one was at hand and checked, needed or not.

    Raises:
        InputError: there is no document, or a file without rows; or documents.parquet is not the job's any more.
    """
    if job.is_counted:
        totals = Totals.from_json(read_json(job.root / TOTALS))
        if not (job.root / DOCUMENTS).exists() or _sha256(job.root / DOCUMENTS) != totals.documents_sha256:
            raise InputError(f"{job.root / DOCUMENTS} is not what this job wrote; remove {job.root} and start again")
        return totals
    shards = int(read_json(job.root / JOB)["shards"])
    account, remarks, rows = Account(), Remarks(), dict[tuple[int, str], int]()
    for number in range(shards):
        found = scored(job, number)
        account, remarks = account.plus(found.account), remarks.plus(found.remarks)
        tokenizer = tokenizer or found.tokenizer
        for part, held in zip(job.shard(number).parts, found.rows, strict=True):
            rows[part.given, part.name] = rows.get((part.given, part.name), 0) + held
    empty = next((name for (_, name), held in rows.items() if not held), None)
    if empty is not None:
        raise InputError(f"{empty} holds no rows; leave it out")
    if not remarks.documents:
        raise InputError(remarks.nothing_left(int(read_json(job.root / JOB)["context_width"])))
    tokenizer = tokenizer or bool(read_json(job.prompts / FOUND)["tokenizer"])
    pooled = add_up(Pooled(**read_json(job.share(number))) for number in range(number_of_shares(shards)))
    parts = (job.stage("scoring", number) / SHARD_DOCUMENTS for number in range(shards))
    with new_file(job.root / DOCUMENTS, overwrite=True) as handle:
        join(parts, handle)
    totals = Totals(pooled, account, remarks, tokenizer, _sha256(job.root / DOCUMENTS))
    write_json(job.root / TOTALS, totals.to_json())
    return totals


def judge(job: Job, mark: ScoredMark, totals: Totals, how: Assessment) -> Results:
    """Say what the counts mean: sources.parquet, then pooled.json."""
    evidence = assess(corpus_tally(mark, totals), how, notes=totals.remarks.notes)
    selection, sources = None, list[Source]()
    # No p of the whole: prompts chosen under the key, maybe, which no document would show by itself
    if evidence.log10_p is not None and how.key_check is not False:
        selection, sources = select(job.root / DOCUMENTS, how.level)
    with new_file(job.root / SOURCES, overwrite=True) as handle:
        write_sources(handle, sources, how.level)
    write_json(job.root / POOLED, evidence.to_dict())
    return Results(evidence, selection, sources)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
