"""`taggant case`: look at a case, and add a note to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.casework import at_case, signer_option
from detect.cli.options import FILE, habits, json_option
from detect.cli.output import emit, emit_json, printable
from detect.cli.stamping import authority, timestamp_option
from detect.wording import amount

if TYPE_CHECKING:
    from detect.bundles.entries import Entry
    from detect.bundles.held import Held


@click.group()
def case() -> None:
    """Look at a case that --case made, and add notes to it."""


@case.command(short_help="Print what a case records, and check that nothing in it was changed.")
@click.argument("directory", metavar="DIR", type=FILE)
@json_option
@habits
def show(directory: Path, as_json: bool) -> None:
    """Print what a case records, an entry a line, after every signature and every recorded file was checked.

    Exit 3 when something in it is not what was recorded.
    """
    from detect.bundles.held import Held

    held = Held.read(directory)
    held.files()
    if as_json:
        emit_json(_as_json(held))
    else:
        emit("\n".join(_lines(held)))


@case.command(short_help="Add a note to a case.")
@click.argument("directory", metavar="DIR", type=FILE)
@click.argument("text")
@timestamp_option("Have the note's entry, and with it all before it, timestamped by this RFC 3161 authority.")
@signer_option
@habits
@click.pass_context
def note(ctx: click.Context, directory: Path, text: str, timestamp: str | None, signer_file: Path | None) -> None:
    """Add a note, at most 4,000 characters, to a case's log. What was noted stays.

    taggant case note cases/17 "disk received from the court, seal intact"
    """
    from detect.bundles.entries import digest
    from detect.bundles.events import record_note, record_stamp
    from detect.bundles.held import Held

    Held.read(directory)  # no case is begun by a note
    stamp = authority(timestamp)
    with at_case(ctx, directory, signer_file) as held:
        assert held is not None
        entry = record_note(held, text)
        if stamp is not None:
            line = held.last_line()
            record_stamp(held, stamp(line), "entry", digest(line))
    emit(f"entry {entry.sequence}, {entry.time}")


def _as_json(held: Held) -> dict[str, Any]:
    entries = [
        {
            "sequence": one.sequence,
            "time": one.time,
            "event": one.event,
            "subjects": [{"name": name, "sha256": found} for name, found in one.subjects.items()],
            "details": one.details,
        }
        for one in held.log.entries
    ]
    return {
        "case": held.log.case,
        "mark": None if held.mark is None else held.mark.to_json(),
        "signers": held.log.signers,
        "last": held.log.last,
        "open_run": held.log.open_run,
        "entries": entries,
    }


def _lines(held: Held) -> list[str]:
    mark = "none yet" if held.mark is None else held.mark.key_id
    lines = [f"case     {held.log.case}", f"mark     {mark}"]
    lines += [f"signer   {keyid}" for keyid in held.log.signers]
    for one in held.log.entries:
        lines.append(f"{one.sequence:>4}  {one.time}  {one.event:12} {printable(_words(one))}".rstrip())
    if held.log.open_run is not None:
        lines.append(f"run {held.log.open_run} has not ended: it is at work, or was killed")
    return lines


def _words(entry: Entry) -> str:
    """What an entry says, in a few words."""
    one = entry.details
    match entry.event:
        case "key-checked":
            return f"{'accepted' if one['accepted'] else 'refused'}, corpus {one['corpus_sha256'][:16]}"
        case "committed":
            return f"root {one['root']}, {amount(one['size'], 'mark')}"
        case "planned":
            return f"plan {one['plan']}"
        case "begun":
            questioned = one["questioned"] or {"model": "texts"}
            model = questioned.get("model") or f"{questioned['model_name']} at {questioned['server']}"
            plan = "" if one["plan"] is None else f", plan {one['plan'][:16]}"
            return f"run {one['run']}: {one['command']} of {model}{plan}"
        case "finished":
            return f"run {one['run']}: {', '.join(one['tests'][:6])}{', …' if len(one['tests']) > 6 else ''}"
        case "stopped":
            return f"run {one['run']}: {one['reason']}"
        case "noted":
            return str(one["text"])
        case "stamped":
            return f"{one['what']} {one['of'][:16]}"
        case "sealed":
            return "with the opened key" if one["opened"] else "without the key"
    return ""
