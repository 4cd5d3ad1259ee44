"""The corpus on disk: what a teacher answered, one Parquet row an answer, each row with its provenance."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from watermark.errors import InputError
from watermark.files import new_file, refuse_existing, strict_json

__all__ = ["SCHEMA", "CorpusRow", "read_corpus", "read_provenance", "write_corpus"]

FORMAT = "taggant-corpus/1"
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("prompt_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("token_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("marked", pa.bool_(), nullable=False),
        pa.field("key_id", pa.string(), nullable=True),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("sampling", pa.string(), nullable=False),
        pa.field("created", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class CorpusRow:
    """One answer, with everything needed to say where it came from.

    Raises:
        InputError: a marked row without key_id (or the reverse), an id out of range, sampling that is no object.
    """

    id: str
    prompt: str
    prompt_ids: tuple[int, ...]  # what the model was given: the prompt inside its chat template
    text: str
    token_ids: tuple[int, ...]  # the answer alone
    marked: bool
    key_id: str | None
    seed: int
    model: str  # watermark.engines.models.model_digest of the teacher
    sampling: str  # a JSON object: temperature, top_k, max_new_tokens, delta, gamma, …
    created: str  # ISO 8601 with offset

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt_ids", tuple(map(int, self.prompt_ids)))
        object.__setattr__(self, "token_ids", tuple(map(int, self.token_ids)))
        if self.marked != (self.key_id is not None):
            raise InputError(f"corpus row {self.id!r}: a marked answer names its key_id, an unmarked one none")
        if not all(0 <= token < 2**31 for token in self.prompt_ids + self.token_ids):
            raise InputError(f"corpus row {self.id!r}: a token id is outside 0 … 2^31 − 1")
        if not isinstance(strict_json(self.sampling), dict):
            raise InputError(f"corpus row {self.id!r}: sampling is not a JSON object")


def write_corpus(path: Path, rows: Iterable[CorpusRow], provenance: Mapping[str, Any]) -> None:
    """Write `rows` as Parquet, whole or not at all; `provenance` (JSON values, no secrets) goes into its metadata.

    The same rows and provenance give the same bytes.

    Raises:
        InputError: no rows, two rows of one id, or something is at `path` already.
    """
    refuse_existing(Path(path))
    rows = list(rows)
    if not rows:
        raise InputError(f"{path}: a corpus without rows is not written")
    if len({row.id for row in rows}) != len(rows):
        raise InputError(f"{path}: two rows of the corpus have the same id")
    stamp = {"format": FORMAT, **provenance}
    metadata = {"taggant": json.dumps(stamp, sort_keys=True, ensure_ascii=False, allow_nan=False)}
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(CorpusRow)}
    table = pa.table(columns, schema=SCHEMA.with_metadata(metadata))
    with new_file(path) as handle:
        pq.write_table(table, handle)


def read_corpus(path: Path) -> list[CorpusRow]:
    """Read what `write_corpus` wrote, in its order.

    Raises:
        InputError: not Parquet, not a corpus, or a row that contradicts itself.
    """
    with _parquet(path) as file:
        missing = [name for name in SCHEMA.names if name not in file.schema_arrow.names]
        if missing:
            raise InputError(f"{path} is not a corpus: it has no column {missing[0]}")
        try:
            table = file.read(columns=SCHEMA.names).cast(SCHEMA)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{path} is damaged or not a corpus: {str(error).splitlines()[0][:200]}") from None
    return [CorpusRow(**row) for row in table.to_pylist()]


def read_provenance(path: Path) -> dict[str, Any]:
    """The provenance that was given to `write_corpus`, with the format's name.

    Raises:
        InputError: not Parquet, or not written by `write_corpus`.
    """
    with _parquet(path) as file:
        stamp = (file.schema_arrow.metadata or {}).get(b"taggant")
    value = strict_json(stamp) if stamp else None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(f"{path} does not say it is {FORMAT}")
    return value


def _parquet(path: Path) -> pq.ParquetFile:
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist or is not a file")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} is not Parquet: {str(error).splitlines()[0][:200]}") from None
