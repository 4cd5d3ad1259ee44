"""How questioned material comes in: files → rows → token ids. Never imports torch; pyarrow only for a Parquet file."""

from detect.readers.collection import Collection, tokenized
from detect.readers.paths import read_rows
from detect.readers.row import Row, refuse_foreign_ids
from detect.readers.seen import FilesSeen

__all__ = ["Collection", "FilesSeen", "Row", "read_rows", "refuse_foreign_ids", "tokenized"]
