"""What a study found, as tables: a row per condition × seed × key × test, and what the mark cost.

survival.parquet   the tests of the questioned models and of the corpora
fresh.parquet      the controls' p under keys that marked nothing: a row per control × seed × test × key
quality.parquet    what the mark costs readers and students: a row per condition × seed × key

The same rows give the same bytes, whatever order they come in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from distill_sim.condition import Condition
from watermark.errors import InputError
from watermark.files import new_file

SURVIVAL, FRESH, QUALITY = "survival.parquet", "fresh.parquet", "quality.parquet"
TESTS = {
    "reading": "the model's distributions against the reference (D, Chernoff bound)",
    "argmax": "argmax reading with deduplication (Sander et al. 2024)",
    "green_mass": "green mass with Hoeffding's bound",
    "sampled": "answers against the reference (n - e, Chernoff bound)",
    "distinct_pairs": "distinct pairs of the answers (exact binomial)",
    "text": "distinct pairs of what the student was trained on (exact binomial)",
}
LOOKED_FOR = ("account", "licensed", "owner")  # whose key a row is about

_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string(), tuple[str, ...]: pa.list_(pa.string())}
_OF_CONDITION = [
    pa.field(one.name, _ARROW[get_type_hints(Condition)[one.name]], nullable=False) for one in fields(Condition)
]
_WHERE = [
    pa.field("condition", pa.string(), nullable=False),
    pa.field("seed", pa.int64(), nullable=False),
    pa.field("key", pa.int64(), nullable=False),
]
SCHEMAS = {
    SURVIVAL: pa.schema(
        [
            *_WHERE,
            *_OF_CONDITION,
            pa.field("exposed", pa.bool_(), nullable=False),  # the student met the owner's mark
            pa.field("licensed", pa.bool_(), nullable=False),  # and was allowed to learn from it
            pa.field("marked_tokens", pa.int64(), nullable=False),  # dose: marked answer tokens, each counted once
            pa.field("trained_tokens", pa.int64(), nullable=False),  # all answer tokens, times epochs
            pa.field("looked_for", pa.string(), nullable=False),  # LOOKED_FOR
            pa.field("key_id", pa.string(), nullable=False),
            pa.field("test", pa.string(), nullable=False),  # TESTS
            pa.field("n_tokens", pa.int64(), nullable=False),
            pa.field("n_scored", pa.int64(), nullable=False),
            pa.field("green_fraction", pa.float64()),
            pa.field("z_score", pa.float64()),
            pa.field("log10_p", pa.float64()),  # this test alone; null: no p is claimed
            pa.field("log10_p_adjusted", pa.float64()),  # Holm over the tests of one model
            pa.field("finding", pa.string()),
        ]
    ),
    FRESH: pa.schema(
        [
            pa.field("condition", pa.string(), nullable=False),
            pa.field("seed", pa.int64(), nullable=False),
            pa.field("test", pa.string(), nullable=False),
            pa.field("number", pa.int64(), nullable=False),  # of the fresh key
            pa.field("log10_p", pa.float64(), nullable=False),
        ]
    ),
    QUALITY: pa.schema(
        [
            *_WHERE,
            pa.field("measure", pa.string(), nullable=False),
            pa.field("value", pa.float64(), nullable=False),
            pa.field("low", pa.float64()),  # 95% interval of the value, where the measure has one
            pa.field("high", pa.float64()),
            pa.field("unmarked", pa.float64()),  # the same of the counterpart, where there is one (docs/simulator.md)
        ]
    ),
}
_ORDER = {
    SURVIVAL: ("condition", "seed", "key", "looked_for", "test"),
    FRESH: ("condition", "seed", "test", "number"),
    QUALITY: ("condition", "seed", "key", "measure"),
}


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], *, overwrite: bool = True) -> None:
    """Write one of the tables, named by `path.name`, sorted; whole or not at all.

    Raises:
        InputError: a row lacks a column, has one too many, or stands there twice.
    """
    schema, order = SCHEMAS[path.name], _ORDER[path.name]
    rows = list(rows)
    for row in rows:
        if set(row) != set(schema.names):
            odd = sorted(set(row) ^ set(schema.names))
            raise InputError(f"{path.name}: column {odd[0]} is missing or unknown in a row of {row.get('condition')}")
    sorted_rows = sorted(rows, key=lambda row: [row[name] for name in order])
    places = [tuple(row[name] for name in order) for row in sorted_rows]
    twice = [one for one, following in pairwise(places) if one == following]
    if twice:
        raise InputError(f"{path.name}: two rows of {', '.join(map(str, twice[0]))}")
    columns = {name: [row[name] for row in sorted_rows] for name in schema.names}
    with new_file(path, overwrite=overwrite) as handle:
        pq.write_table(pa.table(columns, schema=schema), handle)


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows that `write_table` wrote.

    Raises:
        InputError: not such a table, or not readable.
    """
    schema = SCHEMAS.get(Path(path).name)
    if schema is None:
        raise InputError(f"{path} is none of {', '.join(SCHEMAS)}")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0][:200]}") from None
    if table.schema.names != schema.names:
        raise InputError(f"{path} has other columns than this version writes; run the study again")
    return list(table.to_pylist())
