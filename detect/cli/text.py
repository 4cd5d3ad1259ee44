"""`taggant detect`: is this text attributed to the mark of this key?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.casework import Inputs, at_case, at_run, case_options, refuse_lost_check, shown_options
from detect.cli.corpus import AskedCorpus, corpus_options, describe_corpus, refuse_mixed, run_corpus
from detect.cli.options import (
    FILE,
    INCONCLUSIVE,
    TokenizerAtHand,
    exit_code,
    habits,
    json_option,
    key_option,
    load_key,
    test_options,
    tokenizer_option,
)
from detect.cli.output import detail, emit, emit_json, is_verbose, note, progress, refuse_output
from detect.cli.types import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from detect.cli.beside import Results
    from detect.corpora.results import Results as CorpusResults
    from detect.counting import Tally
    from detect.decoys import Lineup
    from detect.evidence import Assessment
    from detect.readers import FilesSeen, Row
    from watermark.keys import Key

POOLED_NOTE = "the pooled test is judged by itself: it is not one of the documents' family"


@dataclass(frozen=True)
class Asked:
    """The options that say how texts are tested, under the names of `detect`'s parameters."""

    tokenizer: str | None
    each: bool
    scan: bool
    normalise: bool
    highlight: Path | None
    decoys: int | None
    seed: bytes
    alpha: float
    effect: float | None

    def recorded(self) -> dict[str, Any]:
        """What of it a case records."""
        return shown_options({name: value for name, value in vars(self).items() if name != "highlight"})


@dataclass(frozen=True)
class Found:
    """What the tests gave.

    Attributes:
        read: the files that the texts came from.
        documents: with --each, the object of every document, behind its id.
    """

    results: Results
    read: FilesSeen
    documents: Sequence[tuple[str, dict[str, Any]]]
    how: Assessment

    @property
    def findings(self) -> list[str]:
        """Of every test."""
        both = [(judged, judged.get("normalised")) for _, judged in self.documents]
        each = [one["finding"] for pair in both for one in pair if one is not None]
        return [*self.results.findings, *each]


@click.command(short_help="Test texts for the mark of a key.")
@key_option
@click.argument("files", nargs=-1, required=True, type=ROWS)
@tokenizer_option
@json_option
@click.option("--each", is_flag=True, help="Print NDJSON: an object a document, the pooled one last.")
@click.option(
    "--scan", is_flag=True, help="Look in each document for spans that carry the mark where the whole may not."
)
@click.option(
    "--normalise", is_flag=True, help="Test the text also with hidden, disguised and lookalike letters undone."
)
@click.option("--highlight", type=FILE, help="Write a self-contained HTML page with every token coloured.")
@corpus_options
@test_options
@case_options
@habits
@click.pass_context
def detect(
    ctx: click.Context,
    /,
    key_file: Path,
    files: tuple[str, ...],
    as_json: bool,
    strict: bool,
    fail_on_detect: bool,
    case_directory: Path | None,
    signer_file: Path | None,
    **options: Any,
) -> int:
    """Test texts for the mark of a key: all FILES pooled, every distinct pair counted once.

    FILES are UTF-8 text files, directories, globs, JSONL or Parquet with rows {id?, text?, token_ids?, prompt?,
    prompt_ids?}, or `-` for stdin; .gz and .zst are read as they are, and so are addresses such as s3://…, hf://… and
    https://…. text and token_ids are the answer only; token_ids win and need no tokenizer. What was in a prompt counts
    nowhere. How many distinct pairs a test needs is what `taggant plan` computes.

    With -o DIR the inputs may have any size: they are scored in shards, in constant memory, by --workers processes or
    on a cluster, and DIR gets a row for every document and for every file, and the pooled result.

    --scan and --normalise add tests beside the plain one; all of them are Holm-adjusted as one family. With --each,
    spans are in the pooled object, which comes last.

    \b
    taggant detect --key owner.key essay.txt --highlight essay.html
    taggant detect --key owner.key answers.jsonl --each > results.ndjson
    taggant detect --key owner.key thesis.txt --scan --normalise --highlight thesis.html
    curl -s https://example.org/page.txt | taggant detect --key owner.key - --json
    taggant detect --key owner.key essay.txt --case cases/17
    taggant detect --key owner.key crawl/ 'more/*.jsonl.zst' -o crawl-job --workers 8
    """
    from detect.evidence import Assessment
    from detect.keycheck import on_record

    output = options["output"]
    refuse_mixed(ctx, files, output)
    corpus = AskedCorpus(**{name: options.pop(name) for name in AskedCorpus.__dataclass_fields__})
    asked = Asked(**options)
    refuse_output(asked.highlight)
    key = load_key(key_file)
    if output is not None:
        how = Assessment(asked.alpha, asked.effect, **on_record(key, key_file))
        counted = run_corpus(ctx, key, key_file, files, asked.tokenizer, how, corpus)
        if counted is None:  # a cluster is at work: whoever acts on the exit code must not take that for "not detected"
            return INCONCLUSIVE if as_json or strict or fail_on_detect else 0
        return _show_corpus(ctx, counted, output, as_json, strict, fail_on_detect)
    with at_case(ctx, case_directory, signer_file, key) as case:
        checked = on_record(key, key_file)
        refuse_lost_check(case, checked["key_check"])
        inputs = Inputs.of(case, files)
        with at_run(case, "detect", key, inputs, asked.recorded()) as run:
            found = _examine(ctx, key, inputs.rows(files), asked, Assessment(asked.alpha, asked.effect, **checked))
            if run is not None:
                from detect.bundles.material import write_run
                from detect.cli.recorded import text_families

                write_run(run, "detect", text_families(found))
    for identifier, judged in found.documents:
        emit_json({"id": identifier, **judged})
    if asked.each or as_json:
        emit_json(found.results.to_dict())
    else:
        from detect.cli.beside import describe_more
        from detect.cli.people import describe, summary

        results = found.results
        verbose = is_verbose(ctx)
        read = found.read.summary if len(found.read) > 1 else None
        emit(
            "\n".join(
                [
                    *summary(results.named),
                    describe(results.raw.whole, read=read, verbose=verbose),
                    *describe_more(results, verbose=verbose),
                ]
            )
        )
    return exit_code(found.findings, strict=strict, fail_on_detect=fail_on_detect)


def _show_corpus(
    ctx: click.Context, found: CorpusResults, output: Path, as_json: bool, strict: bool, fail_on_detect: bool
) -> int:
    if as_json:
        emit_json(found.evidence.to_dict())
    else:
        emit(describe_corpus(found, output, verbose=is_verbose(ctx)))
    return exit_code([found.evidence.finding], strict=strict, fail_on_detect=fail_on_detect)


def _examine(ctx: click.Context, key: Key, rows: Iterable[Row], asked: Asked, how: Assessment) -> Found:
    from detect.cli.beside import each_document, judge
    from detect.counting import tally
    from detect.readers import FilesSeen, tokenized

    at_hand = TokenizerAtHand(key, asked.tokenizer)
    read = FilesSeen()
    rows = read.watch(rows)
    if asked.normalise:  # prompts are read a second time
        rows = list(rows)
    collection = tokenized(
        rows,
        key.context_width,
        at_hand.load,
        vocab_size=None if key.tokenizer is None else key.tokenizer.vocab_size,
        keep_texts=asked.scan or asked.normalise or asked.highlight is not None,
    )
    for name in read.names:
        detail(ctx, name)
    if asked.highlight is not None:
        at_hand.try_load()
    again = None
    if asked.normalise:
        from detect.reread import reread

        again = reread(collection, list(rows))
    counted = tally(key, collection.documents, collection.prompts, tokenizer_checked=at_hand.checked)
    line = _lineup(ctx, counted, asked.decoys, asked.seed)
    notes = [*collection.notes, *([POOLED_NOTE] if asked.each else [])]
    results = judge(key, collection, again, counted, how, scan=asked.scan, lineup=line, notes=notes)
    if asked.highlight is not None:
        _highlight(ctx, key, results, asked.highlight, at_hand)
    documents = each_document(key, collection, again, how, at_hand.checked) if asked.each else []
    return Found(results, read, documents, how)


def _lineup(ctx: click.Context, counted: Tally, decoys: int | None, seed: bytes) -> Lineup | None:
    if decoys is None:
        return None
    from detect.decoys import lineup

    with progress(ctx, "line-up", decoys, "decoy") as advance:
        return lineup(counted, decoys, seed=seed, on_decoy=advance)


def _highlight(ctx: click.Context, key: Key, results: Results, path: Path, at_hand: TokenizerAtHand) -> None:
    """Token ids alone are shown as numbers when no tokenizer can be had."""
    from detect.pages.highlight import Look, highlight_page

    looks = [Look(collection, judged.whole, judged.scan) for collection, judged in results.looks]
    highlight_page(
        key, looks[0], path, normalised=looks[1] if len(looks) > 1 else None, tokenizer=at_hand.loaded,
        detected_by=results.detected_by,
    )  # fmt: skip
    if not at_hand.checked:
        note(ctx, f"The page shows token ids: {at_hand.problem}")
    note(ctx, f"highlighted page: {path}")
