"""`taggant report`: a verified bundle as a page for people, and as PDF."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from detect.cli.options import FILE, habits, json_option
from detect.cli.output import emit_json, note, printable, refuse_output, writing
from detect.cli.verify import EXIT_FAILED, certificate, public_key


@click.command(short_help="Write a report of an evidence bundle, as HTML and PDF.")
@click.argument("bundle", type=FILE)
@click.option("-o", "--output", required=True, type=FILE, help="The page to write (HTML).")
@click.option("--pdf", type=FILE, help="Write it as PDF, too (takes taggant[report] and the library pango).")
@click.option(
    "--commission",
    "commission_file",
    type=FILE,
    help="TOML: question, commissioned_by, examiner, qualifications, reference, dated, and [[items]], each with sha256 "
    "and description. Quoted, and nothing else. An example: docs/example/commission.toml.",
)
@click.option(
    "--validation", "validation_file", type=FILE, help="validation.json of `taggant validate`: error rates to cite."
)
@click.option(
    "--controls",
    "controls_files",
    multiple=True,
    type=FILE,
    help="Controls of disjoint sources, for a likelihood ratio (docs/legal.md). May be repeated.",
)
@click.option("--trust", "trust_files", multiple=True, type=FILE, metavar="PEM", help="As for `taggant verify`.")
@click.option("--tsa-root", "root_files", multiple=True, type=FILE, metavar="PEM", help="As for `taggant verify`.")
@json_option
@habits
@click.pass_context
def report(
    ctx: click.Context,
    bundle: Path,
    output: Path,
    pdf: Path | None,
    commission_file: Path | None,
    validation_file: Path | None,
    controls_files: tuple[Path, ...],
    trust_files: tuple[Path, ...],
    root_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Write a report of an evidence bundle that passes `taggant verify`, from the verified bytes alone.

    A summary on one page, then numbered sections: question, items and custody, plan and deviations, propositions, the
    method, every test, controls, error rates, multiplicity, likelihood ratio, limitations, how to reproduce it,
    signatures. No script, and nothing is fetched. The same inputs give the same bytes: no clock is read. A bundle that
    fails: exit 1, and nothing is written.

    \b
    taggant report case-17.zip -o report.html --pdf report.pdf --commission commission.toml --validation validation.json
    """
    from detect.bundles.refused import Refused
    from detect.bundles.verify.check import verify_bundle
    from detect.reports.blocks import plain
    from detect.reports.commission import Commission
    from detect.reports.content import report_of
    from detect.reports.controls import Controls
    from detect.reports.given import Given
    from detect.reports.page import html_of
    from detect.reports.printed import pdf_of, require_printer
    from detect.reports.validation import Validation
    from watermark.files import new_file

    refuse_output(output, pdf)
    if pdf is not None:
        require_printer()
    trusted, roots = [public_key(path) for path in trust_files], [certificate(path) for path in root_files]
    commission = Commission() if commission_file is None else Commission.load(commission_file)
    validation = None if validation_file is None else Validation.load(validation_file)
    controls = tuple(Controls.load(path) for path in controls_files)
    try:
        verified = verify_bundle(bundle, trusted=trusted, roots=roots)
    except Refused as refused:
        click.echo(f"FAILED: {refused.code} {printable(refused)}; nothing was written", err=True)
        return EXIT_FAILED
    made = report_of(Given(verified, commission, validation, controls, rooted=bool(roots), trusted=bool(trusted)))
    page = html_of(made)
    files = {output: page} if pdf is None else {output: page, pdf: pdf_of(page, made.bundle)}
    for path, data in files.items():
        with writing(path), new_file(path) as handle:
            handle.write(data)
    if as_json:
        emit_json(
            {**plain(made), "files": {str(path): hashlib.sha256(data).hexdigest() for path, data in files.items()}}
        )
    note(ctx, f"report of case {made.case[:16]}: {', '.join(map(str, files))}")
    return 0
