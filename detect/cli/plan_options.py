"""Options of `taggant plan -o`: everything that a plan's file settles."""

from __future__ import annotations

import click

from detect.cli import choosing
from detect.cli.casework import CASE_OPTIONS
from detect.cli.options import FILE, PROBES_HELP, Command, frequencies_option
from detect.cli.stamping import timestamp_option
from detect.cli.types import DIRECTORY_OR_ID, PROBES, HexSeed, Number

TESTS = ("sampled/distinct", "sampled/excess", "reading/difference", "reading/mass")
_AT_LEAST_1 = click.IntRange(1, 2**53)
_OPTIONS = (
    click.option("--commitment", "commitment_file", type=FILE, help="The published commitment that holds the key."),
    click.option("--leaves", "leaves_file", type=FILE, help="The commitment's list of leaves, from `key commit`."),
    click.option("--probes", "probe_files", multiple=True, type=PROBES,
                 help=PROBES_HELP),
    *choosing.OPTIONS,
    click.option("--reference", "reference_name", type=DIRECTORY_OR_ID,
                 help="A model published before the key's first use, to compare with."),
    frequencies_option,
    click.option("--positive-control", "control_name", type=DIRECTORY_OR_ID,
                 help="A model known to carry the mark at the strength to be detected; with --access weights."),
    click.option("--positive-control-note", "control_note", help="What that model is, in words."),
    click.option("--primary", type=click.Choice(["sampled", "reading"]), help="The primary test.  [default: sampled]"),
    click.option("--weights", type=click.Choice(["distinct", "excess", "difference", "mass"]),
                 help="Of the primary test; mass, of a reading without --reference, is weak.  [default: distinct for "
                 "sampled, difference for reading]"),
    click.option("--also", multiple=True, type=click.Choice(TESTS), help="Another test that will be run; its p is "
                 "adjusted for the number of these, and a detection by it is confirmatory only behind one by the "
                 "primary test: make the strongest the primary one. May be repeated."),
    click.option("--stopping", type=click.Choice(["e-process", "fixed"]),
                 help="Stop as soon as it may, or at a fixed number.  [default: e-process for distinct pairs]"),
    click.option("--max-pairs", type=_AT_LEAST_1,
                 help="Most pairs before the e-process ends, at least 1.6 x the fixed number.  [default: just that]"),
    click.option("--sample", "sample_tokens", type=_AT_LEAST_1,
                 help="Answer tokens, at least; without the e-process needed, with it where answers end."),
    click.option("--max-new-tokens", type=_AT_LEAST_1, help="Longest sampled answer, tokens.  [default: 64]"),
    click.option("--temperature", type=Number(1e-4, 100), help="Of sampling.  [default: 1]"),
    click.option("--top-p", type=Number(1e-6, 1), help="Of sampling; 1: off.  [default: 1]"),
    click.option("--sample-seed", type=click.IntRange(0, 2**31 - 1), help="Seed of the sampling.  [default: 0]"),
    click.option("--access", type=click.Choice(["weights", "chat", "completions"]),
                 help="How the questioned model will be reached: its weights (suspect --model), or that endpoint of a "
                 "server (suspect --api).  [default: weights where it is read, else chat]"),
    click.option("--tokenizer", type=DIRECTORY_OR_ID,
                 help="Makes ids of text, by its template and settings, too; settled by digest.  [default: key's]"),
    click.option("--logprobs", type=click.IntRange(1, 20),
                 help="With sampled/excess behind a server: ask it for the log-probabilities of so many tokens, which "
                 "go into the weights."),
    click.option("--top", type=_AT_LEAST_1, help="Weights kept per context in weighted tests.  [default: 256]"),
    click.option("--decoys", type=click.IntRange(1, 1_000_000), help="Other keys in the line-up.  [default: 1000]"),
    click.option("--seed", type=HexSeed(), help="Seed of the decoys, 64 hex digits.  [default: drawn now]"),
    *CASE_OPTIONS,
    timestamp_option("With --case: have the plan timestamped by this RFC 3161 authority."),
)  # fmt: skip


def plan_options(command: Command) -> Command:
    """Everything that is settled in a plan's file, beyond what the table of pairs needs."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
