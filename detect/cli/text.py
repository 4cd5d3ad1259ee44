"""`taggant detect`: is this text attributed to the mark of this key?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.options import exit_code, json_option, load_key, note, progress, test_options, tokenizer_for

if TYPE_CHECKING:
    from detect.evidence import Assessment, Evidence
    from detect.readers import Collection
    from watermark.keys import Key


@click.command()
@click.option("--key", "key_file", required=True, type=click.Path(path_type=Path), help="The key file.")
@click.argument("files", nargs=-1, required=True)
@click.option("--tokenizer", help="Directory or hub id; default: the tokenizer the key names.")
@json_option
@click.option("--each", is_flag=True, help="Print NDJSON: an object a document, the pooled one last.")
@click.option("--highlight", type=click.Path(path_type=Path), help="Write a page with every token coloured.")
@test_options
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

    FILES are text files, directories, JSONL or Parquet with rows {id?, text?, token_ids?, prompt?, prompt_ids?}, or
    `-` for stdin. What was in a prompt counts nowhere.
    """
    from detect.readers import read_rows, tokenized
    from watermark.files import refuse_existing

    if highlight is not None:
        refuse_existing(highlight)
    key = load_key(key_file)
    rows = read_rows(files, stdin=sys.stdin.buffer)
    collection = tokenized(
        rows, key.context_width, lambda: tokenizer_for(key, tokenizer), keep_texts=highlight is not None
    )
    how = _assessment(key, key_file, alpha, effect)
    pooled = _pooled(ctx, key, collection, how, decoys, seed)
    if highlight is not None:
        _highlight(ctx, key, collection, pooled, highlight, tokenizer)
    if each:
        for identifier, evidence in _each(key, collection, how):
            click.echo(_with_id(identifier, evidence))
        click.echo(pooled.to_json())
    elif as_json:
        click.echo(pooled.to_json())
    else:
        from detect.cli.people import describe

        click.echo(describe(pooled))
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
    return assess(counted, how, lineup=line, notes=collection.notes)


def _each(key: Key, collection: Collection, how: Assessment) -> list[tuple[str, Evidence]]:
    """Every document on its own, Holm-adjusted over the documents; prompts are excluded from all of them."""
    from detect.counting import tally
    from detect.evidence import assess_family

    tallies = [tally(key, [document], collection.prompts) for document in collection.documents]
    return list(zip(collection.ids, assess_family(tallies, how), strict=True))


def _highlight(
    ctx: click.Context, key: Key, collection: Collection, pooled: Evidence, path: Path, tokenizer: str | None
) -> None:
    """Token ids alone are shown as numbers when no tokenizer can be had."""
    from detect.pages.highlight import highlight_page
    from watermark.errors import InputError

    loaded: Any = collection.tokenizer
    if loaded is None:
        try:
            loaded = tokenizer_for(key, tokenizer)
        except InputError as error:
            if tokenizer is not None:
                raise
            note(ctx, f"The page shows token ids: {error}")
    highlight_page(key, collection, pooled, path, tokenizer=loaded)
    note(ctx, f"highlighted page: {path}")


def _with_id(identifier: str, evidence: Evidence) -> str:
    import json

    return json.dumps({"id": identifier, **evidence.to_dict()}, ensure_ascii=False, allow_nan=False)
