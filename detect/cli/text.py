"""`taggant detect`: is this text attributed to the mark of this key?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.options import (
    FILE,
    exit_code,
    habits,
    json_option,
    key_option,
    load_key,
    rows_of,
    test_options,
    tokenizer_for,
    tokenizer_option,
)
from detect.cli.output import emit, emit_json, note, progress, refuse_output
from detect.cli.types import ROWS

if TYPE_CHECKING:
    from detect.evidence import Assessment, Evidence
    from detect.readers import Collection
    from watermark.keys import Key


@click.command(short_help="Test texts for the mark of a key.")
@key_option
@click.argument("files", nargs=-1, required=True, type=ROWS)
@tokenizer_option
@json_option
@click.option("--each", is_flag=True, help="Print NDJSON: an object a document, the pooled one last.")
@click.option("--highlight", type=FILE, help="Write a self-contained HTML page with every token coloured.")
@test_options
@habits
@click.pass_context
def detect(
    ctx: click.Context,
    key_file: Path,
    files: tuple[str, ...],
    tokenizer: str | None,
    as_json: bool,
    each: bool,
    highlight: Path | None,
    decoys: int | None,
    seed: bytes,
    alpha: float,
    effect: float | None,
    strict: bool,
    fail_on_detect: bool,
) -> int:
    """Test texts for the mark of a key: all FILES pooled, every distinct pair counted once.

    FILES are UTF-8 text files, directories, JSONL or Parquet with rows {id?, text?, token_ids?, prompt?,
    prompt_ids?}, or `-` for stdin. text and token_ids are the answer only; token_ids win and need no tokenizer. What
    was in a prompt counts nowhere. How many distinct pairs a test needs is what `taggant plan` computes.

    \b
    taggant detect --key owner.key essay.txt --highlight essay.html
    taggant detect --key owner.key answers.jsonl --each > results.ndjson
    curl -s https://example.org/page.txt | taggant detect --key owner.key - --json
    """
    from detect.readers import tokenized

    refuse_output(highlight)
    key = load_key(key_file)
    collection = tokenized(
        rows_of(files), key.context_width, lambda: tokenizer_for(key, tokenizer), keep_texts=highlight is not None
    )
    how = _assessment(key, key_file, alpha, effect)
    pooled = _pooled(ctx, key, collection, how, decoys, seed)
    if highlight is not None:
        _highlight(ctx, key, collection, pooled, highlight, tokenizer)
    if each:
        for identifier, evidence in _each(key, collection, how):
            emit_json({"id": identifier, **evidence.to_dict()})
    if each or as_json:
        emit_json(pooled.to_dict())
    else:
        from detect.cli.people import describe

        emit(describe(pooled))
    return exit_code([pooled.finding], strict=strict, fail_on_detect=fail_on_detect)


def _assessment(key: Key, key_file: Path, alpha: float, effect: float | None) -> Assessment:
    from detect.evidence import Assessment
    from detect.keycheck import load_check

    record = load_check(key, key_file)
    return Assessment(alpha=alpha, effect=effect, key_check=None if record is None else record.accepted)


def _pooled(
    ctx: click.Context, key: Key, collection: Collection, how: Assessment, decoys: int | None, seed: bytes
) -> Evidence:
    from detect.counting import tally
    from detect.decoys import lineup
    from detect.evidence import assess

    counted = tally(key, collection.documents, collection.prompts)
    line = None
    if decoys is not None:
        with progress(ctx, "line-up", decoys, "decoy") as advance:
            line = lineup(counted, decoys, seed=seed, on_decoy=advance)
    special_ids = key.special_ids_note(verified=collection.tokenizer is not None)
    return assess(counted, how, lineup=line, notes=[*collection.notes, special_ids])


def _each(key: Key, collection: Collection, how: Assessment) -> list[tuple[str, Evidence]]:
    """Every document on its own, Holm-adjusted over the documents; prompts are excluded from all of them."""
    from detect.counting import tally
    from detect.evidence import assess_family

    tallies = [tally(key, [document], collection.prompts) for document in collection.documents]
    special_ids = key.special_ids_note(verified=collection.tokenizer is not None)
    notes = [[special_ids]] * len(tallies)
    return list(zip(collection.ids, assess_family(tallies, how, notes=notes), strict=True))


def _highlight(
    ctx: click.Context, key: Key, collection: Collection, pooled: Evidence, path: Path, tokenizer: str | None
) -> None:
    """Token ids alone are shown as numbers when no tokenizer can be had."""
    from detect.pages.highlight import highlight_page
    from watermark.errors import InputError

    loaded: Any = collection.tokenizer
    without = "give --tokenizer to see text"
    if loaded is None and (tokenizer is not None or key.tokenizer is not None):
        try:
            loaded = tokenizer_for(key, tokenizer)
        except InputError as error:
            if tokenizer is not None:
                raise
            without = str(error)
    highlight_page(key, collection, pooled, path, tokenizer=loaded)
    if loaded is None:
        note(ctx, f"The page shows token ids: {without}")
    note(ctx, f"highlighted page: {path}")
