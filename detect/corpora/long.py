"""A text that is too long to be held: one document, read, cut and counted piece by piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detect.corpora.documents import DocumentWriter
from detect.corpora.pooling import pool
from detect.corpora.prompts import PromptPairs
from detect.corpora.runs import Run
from detect.corpora.scoring import DOCUMENTS, Scored
from detect.corpora.setting import Setting
from detect.corpora.sources import Shard
from detect.corpora.tallying import Account, PairCounter
from detect.readers import Row
from detect.readers.collection import first_look
from detect.readers.encoding import LazyEncoder, batches, stream_pieces
from detect.readers.lines import long_text
from detect.readers.remarks import Remarks, Skipped, too_short
from watermark.progress import Progress, ignore


def score_long_text(shard: Shard, prompts: PromptPairs, setting: Setting, directory: Path, report: Progress) -> Scored:
    """As `scoring.score`, of a shard that is one long text.

    Raises:
        InputError: it is no text.
    """
    (part,) = shard.parts
    encoder = LazyEncoder(setting.tokenizer)
    counter = PairCounter(setting, prompts, directory)
    account, before = Account(), np.zeros(0, dtype=np.uint32)  # the last h ids
    html = disguised = False
    read = 0
    with part.reading(setting.inputs) as handle:
        for batch in batches(stream_pieces(long_text(handle, part.name), part.name), len, setting.batch):
            if not read:
                html, disguised = first_look("".join(batch))
            ids = np.concatenate([before, *encoder.encode(batch)])
            again = Account(tokens=before.size, no_context=before.size)  # they were in the last batch, too
            account = account.plus(counter.count([ids]).account).plus(again, -1)
            before = ids[max(0, ids.size - setting.mark.context_width) :]
            read += sum(map(len, batch))
            report(min(read, part.weight), part.weight, "")
    counted, excluded = counter.finish()
    writer = DocumentWriter(directory / DOCUMENTS, setting.green.gamma)
    if account.tokens <= setting.mark.context_width:  # compressed, it looked long
        writer.close()
        skipped = {too_short(setting.mark.context_width): Skipped(1, part.name)}
        remarks = Remarks(skipped=skipped, longest=account.tokens, longest_id=part.name)
        return Scored(Account(), remarks, (1,), len(counted), len(excluded), True)
    pooled = pool(_runs(counted, setting), _runs(excluded, setting), 0, 1, setting, ignore)
    counts = [account.tokens, pooled.counted, pooled.green, pooled.excluded, pooled.excluded_green]
    writer.add([Row(id=part.name, source=part.name)], np.array([counts], dtype=np.int64))
    writer.close()
    remarks = Remarks(documents=1, html=int(html), disguised=int(disguised))
    return Scored(account, remarks, (1,), len(counted), len(excluded), True)


def _runs(paths: list[Path], setting: Setting) -> list[Run]:
    return [Run(path, setting.packing) for path in paths]
