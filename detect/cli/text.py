"""`taggant detect`: is this text attributed to the mark of this key?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from detect.cli.options import (
    FILE,
    TokenizerAtHand,
    exit_code,
    habits,
    json_option,
    key_option,
    load_key,
    rows_of,
    test_options,
    tokenizer_option,
)
from detect.cli.output import emit, emit_json, note, progress, refuse_output
from detect.cli.types import ROWS

if TYPE_CHECKING:
    from detect.counting import Tally
    from detect.decoys import Lineup
    from detect.evidence import Assessment, Evidence
    from detect.readers import Collection
    from watermark.keys import Key

POOLED_NOTE = "the pooled test is judged by itself: it is not one of the documents' family"


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
    from detect.counting import tally
    from detect.evidence import Assessment, assess
    from detect.keycheck import accepted
    from detect.readers import tokenized

    refuse_output(highlight)
    key = load_key(key_file)
    at_hand = TokenizerAtHand(key, tokenizer)
    collection = tokenized(
        rows_of(files),
        key.context_width,
        at_hand.load,
        vocab_size=None if key.tokenizer is None else key.tokenizer.vocab_size,
        keep_texts=highlight is not None,
    )
    how = Assessment(alpha=alpha, effect=effect, key_check=accepted(key, key_file))
    if highlight is not None:
        at_hand.try_load()
    counted = tally(key, collection.documents, collection.prompts, tokenizer_checked=at_hand.checked)
    line = _lineup(ctx, counted, decoys, seed)
    pooled = assess(counted, how, lineup=line, notes=[*collection.notes, *([POOLED_NOTE] if each else [])])
    if highlight is not None:
        _highlight(ctx, key, collection, pooled, highlight, at_hand)
    findings: list[str] = [pooled.finding]
    if each:
        for identifier, evidence in _each(key, collection, how, at_hand.checked):
            emit_json({"id": identifier, **evidence.to_dict()})
            findings.append(evidence.finding)
    if each or as_json:
        emit_json(pooled.to_dict())
    else:
        from detect.cli.people import describe

        emit(describe(pooled))
    return exit_code(findings, strict=strict, fail_on_detect=fail_on_detect)


def _lineup(ctx: click.Context, counted: Tally, decoys: int | None, seed: bytes) -> Lineup | None:
    if decoys is None:
        return None
    from detect.decoys import lineup

    with progress(ctx, "line-up", decoys, "decoy") as advance:
        return lineup(counted, decoys, seed=seed, on_decoy=advance)


def _each(key: Key, collection: Collection, how: Assessment, tokenizer_checked: bool) -> list[tuple[str, Evidence]]:
    """Every document on its own, Holm-adjusted over the documents; prompts are excluded from all of them."""
    from detect.counting import tally
    from detect.evidence import assess_family

    tallies = [
        tally(key, [document], collection.prompts, tokenizer_checked=tokenizer_checked)
        for document in collection.documents
    ]
    return list(zip(collection.ids, assess_family(tallies, how), strict=True))


def _highlight(
    ctx: click.Context, key: Key, collection: Collection, pooled: Evidence, path: Path, at_hand: TokenizerAtHand
) -> None:
    """Token ids alone are shown as numbers when no tokenizer can be had."""
    from detect.pages.highlight import highlight_page

    highlight_page(key, collection, pooled, path, tokenizer=at_hand.loaded)
    if not at_hand.checked:
        note(ctx, f"The page shows token ids: {at_hand.problem}")
    note(ctx, f"highlighted page: {path}")
