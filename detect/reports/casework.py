"""Sections 1 to 3: the question, the items and their custody, what was settled beforehand and what deviated from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detect.bundles.entries import Entry
from detect.bundles.order import ANOTHER_RUN, shortcomings
from detect.plans.content import COUNTED
from detect.plans.plan import Plan
from detect.reports import words
from detect.reports.blocks import (
    Block,
    Heading,
    Paragraph,
    Picture,
    Points,
    Section,
    Table,
    Text,
    digest,
    filled,
    joined,
    kept,
    number,
    percent,
    quoted,
    rows_of,
    said,
    stripped,
)
from detect.reports.effects import planned_cautions
from detect.reports.given import Given
from detect.reports.pictures import order_picture
from detect.wording import amount

SHORT = 16  # hex digits that people are shown of an id
MOST_ROWS, MOST_UNREAD = 400, 20
_LONG_HEX = re.compile(r"\b([0-9a-f]{16})[0-9a-f]{48}\b")


def question(given: Given) -> Section:
    """What was asked, by whom, and who answers."""
    commission, mark = given.commission, given.verified.marked.mark
    blocks: list[Block] = []
    if commission.question is None:
        blocks.append(Paragraph(words.NO_QUESTION))
    else:
        blocks += [Paragraph("The question, word for word as it was put:"), quoted(commission.question)]
    blocks.append(Paragraph(filled(words.TECHNICAL, key=digest(mark.key_id), gamma=percent(mark.gamma))))
    told = {
        "Commissioned by": commission.commissioned_by,
        "Reference of the matter": commission.reference,
        "Examiner": commission.examiner,
        "Qualifications, in the examiner's words": commission.qualifications,
    }
    rows = {name: said(text, 1200) for name, text in told.items() if text is not None}
    if rows:
        blocks.append(Table(("", ""), rows_of(rows), "Commission and examiner"))
    if commission.sha256 is not None:
        blocks.append(Paragraph(filled(words.COMMISSION_SOURCE, digest=digest(commission.sha256))))
    return Section("Question and commission", tuple(blocks))


# --- items and custody ---


def items(given: Given) -> Section:
    """What was examined, and everything that was done, in order."""
    blocks: list[Block] = [Paragraph(words.ITEMS)]
    rows: list[tuple[Text, ...]] = []
    seen = set()
    for _, entry, _ in given.runs():
        for name, sha, size in items_of(entry):
            seen.add(sha)
            description = said(given.commission.items[sha], 600) if sha in given.commission.items else "–"
            rows.append((kept(entry.details["run"]), name, description, size, digest(sha) if sha else "–"))
    if rows:
        blocks += _tables(("run", "item", "description", "bytes", "SHA-256"), rows, "Items by run")
    else:
        blocks.append(Paragraph(words.NO_ITEMS))
    unread = [sha for sha in given.commission.items if sha not in seen]
    if unread:
        blocks.append(
            Paragraph(filled(words.NOT_DESCRIBED, names=joined([said(sha[:64]) for sha in unread[:MOST_UNREAD]])))
        )
    blocks += [Heading("Custody"), Paragraph(words.CUSTODY), _order(given)]
    log = given.verified.log
    entries: list[tuple[Text, ...]] = [
        (str(entry.sequence), kept(entry.time), kept(entry.event), _details(entry), digest(sha))
        for entry, sha in zip(log.entries, log.digests, strict=True)
    ]
    headings = ("entry", "time (UTC)", "event", "what", "SHA-256 of the signed line")
    blocks += _tables(headings, entries, "The log, every entry")
    blocks += [Heading("Timestamps"), *_stamps(given)]
    return Section("Items and custody", tuple(blocks))


def items_of(entry: Entry) -> Iterator[tuple[Text, str, str]]:
    """(name, SHA-256, size in bytes) of what a run read; of a server there is no digest."""
    questioned = entry.details["questioned"]
    if questioned is not None and "model" in questioned:
        yield "questioned model (digest over its files)", questioned["model"], "–"
    elif questioned is not None:
        name = filled("questioned model {} at server {}", said(questioned["model_name"]), said(questioned["server"]))
        yield name, "", "–"
    for one in entry.details["inputs"]:
        yield said(one["name"]), one["sha256"], number(one["bytes"])


def _details(entry: Entry) -> Text:
    """What an entry says, in words."""
    one = entry.details
    if entry.event == "begun":
        options = ", ".join(f"{name} {_option(value)}" for name, value in sorted(one["options"].items()))
        return filled("{}; options {}", _begun(entry), said(_LONG_HEX.sub(r"\1…", options), 400))
    if entry.event == "finished":
        names = [said(name) for name in one["tests"][:12]]
        more = f" and {len(one['tests']) - 12:,} more" if len(one["tests"]) > 12 else ""
        return filled("run {}: {}{}", one["run"], joined(names), more)
    if entry.event == "stopped":
        return filled("run {}: {}", one["run"], said(one["reason"], 400))
    if entry.event == "noted":
        return filled("“{}”", said(one["text"], 1200))
    short = {
        "key-checked": lambda: (
            f"{'accepted' if one['accepted'] else 'refused'} on human text {one['corpus_sha256'][:SHORT]}…"
        ),
        "committed": lambda: f"root {one['root'][:SHORT]}…, {amount(one['size'], 'mark')}",
        "planned": lambda: f"plan {one['plan'][:SHORT]}…",
        "stamped": lambda: f"{one['what']} {one['of'][:SHORT]}…",
        "sealed": lambda: f"the key {'opened' if one['opened'] else 'not opened'}",
    }
    return short[entry.event]() if entry.event in short else ""


def _option(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _begun(entry: Entry) -> Text:
    """Which run, what was done, and by which plan."""
    one = entry.details
    plan = f", plan {one['plan'][:SHORT]}…" if one["plan"] else ""
    return filled("run {}: {}{}", one["run"], said(one["command"]), plan)


def _order(given: Given) -> Picture:
    entries = given.verified.log.entries
    told = [_begun(entry) if entry.event == "begun" else _details(entry) for entry in entries]
    events = [(entry.time, f"{entry.event} {stripped(what)}") for entry, what in zip(entries, told, strict=True)]
    said_so = "; ".join(f"{time} {what}" for time, what in events[:60])
    return Picture(order_picture(events), "The order of events, as the log has it", said_so)


def _stamps(given: Given) -> list[Block]:
    stamps = given.verified.stamps
    if not stamps:
        return [Paragraph(words.NO_STAMPS)]
    rooted = "was checked" if given.rooted else "was not checked, as no roots were given"
    rows = [
        (one.what, digest(one.of), kept(f"{one.stamp.time:%Y-%m-%dT%H:%M:%SZ}"), said(one.stamp.authority))
        for one in stamps
    ]
    table = Table(("what", "SHA-256", "time", "authority, by its certificate"), tuple(rows), "Timestamps from outside")
    return [Paragraph(filled(words.STAMPS, rooted=rooted)), table]


# --- plan ---


def plan(given: Given) -> Section:
    """What was settled beforehand, and what deviated from it."""
    blocks: list[Block] = []
    log, marked = given.verified.log, given.verified.marked
    if marked.plans:
        blocks.append(Paragraph(words.PLAN))
        for sha, planned in marked.plans.items():
            blocks.append(Table(("", ""), rows_of(_plan_rows(sha, planned)), "A plan that was recorded"))
            blocks += [Paragraph(text) for text in planned_cautions(planned)]
    else:
        blocks.append(Paragraph(words.NO_PLAN))
    committed = [entry for _, entry in log.of("committed")]
    blocks.append(Paragraph(words.COMMITMENT if committed else words.NO_COMMITMENT))
    if committed:
        rows = tuple((kept(one.time), digest(one.details["root"]), number(one.details["size"])) for one in committed)
        blocks.append(Table(("recorded", "root", "marks"), rows, "Commitments"))
    checks = [entry for _, entry in log.of("key-checked")]
    for one in checks:
        outcome = words.KEY_ACCEPTED if one.details["accepted"] else words.KEY_REFUSED
        corpus = digest(one.details["corpus_sha256"])
        blocks.append(Paragraph(filled(words.KEY_CHECKED, corpus=corpus, outcome=outcome)))
    blocks += [] if checks else [Paragraph(words.KEY_UNCHECKED)]
    blocks += [Heading("Deviations, and what was not planned"), *_deviations(given)]
    return Section("The plan, and deviations from it", tuple(blocks))


def _plan_rows(sha: str, one: Plan) -> dict[str, Text | None]:
    control = one.positive_control
    inclusion = one.inclusion
    sampling = one.sampling
    return {
        "digest (SHA-256)": digest(sha),
        "made, by the planner's clock": one.created,
        "key": digest(one.key_id),
        "committed to": "no" if inclusion is None else filled("yes, root {}", digest(inclusion.commitment.root)),
        "level α": number(one.alpha),
        "primary test": one.primary,
        "all tests": ", ".join(one.tests),
        "effect to be found, power": f"green fraction {number(one.effect)}, {number(one.power)}"
        if COUNTED in one.tests
        else None,
        "stopping": one.stopping,
        "pairs that a fixed number would need": None if one.fixed_pairs is None else number(one.fixed_pairs),
        "maximum of pairs": None if one.maximum_pairs is None else number(one.maximum_pairs),
        "access to the model": one.access,
        "probes": filled("{}, SHA-256 {}", amount(one.probes.rows, "row"), digest(one.probes.sha256)),
        "reference model": None if one.reference is None else digest(one.reference),
        "frequencies of contexts": None if one.frequencies is None else digest(one.frequencies),
        "positive control": "none"
        if control is None
        else filled("{} {}", digest(control.digest), said(control.note, 400)),
        "weights kept per context": None if set(one.tests) <= {COUNTED} else number(one.top),
        "sampling": None if sampling is None else _sampling(sampling),
        "decoys": f"{one.lineup.decoys:,}, seed {one.lineup.seed[:SHORT]}…",
    }


def _sampling(sampling: Any) -> str:
    fields = ("tokens", "max_new_tokens", "temperature", "top_p", "top_k", "seed", "logprobs")
    values = {name: getattr(sampling, name) for name in fields}
    return ", ".join(f"{name} {number(value)}" for name, value in values.items() if value is not None)


def _deviations(given: Given) -> list[Block]:
    log, plans = given.verified.log, given.verified.marked.plans
    found: list[Text] = []
    used = set()
    deviates = False
    found += _before_plans(given)
    for at, entry, end in given.runs():
        one = entry.details
        run: dict[str, Text] = {"run": one["run"], "command": said(one["command"])}
        if end is not None and end.event == "stopped":
            found.append(_stopped(given, one, end))
            deviates = deviates or one["plan"] is not None
        elif one["plan"] is None:
            found.append(filled(words.UNPLANNED_RUN, **run))
            continue
        reasons = shortcomings(log, at, given.verified.read)
        if one["plan"] is not None:
            used.add(one["plan"])
            run["plan"] = f"{one['plan'][:SHORT]}…"
            if reasons:
                found.append(filled(words.LATE_RUN, **run, reasons="; ".join(reasons)))
                deviates = True
            elif end is not None and end.event == "finished":
                found.append(filled(words.PLANNED_RUN, **run))
            earlier = [f"run {before.details['run']}" for number, before in log.of("begun")
                       if number < at and before.details["plan"] == one["plan"]]  # fmt: skip
            recorded = any(number < at for number, other in log.of("planned") if other.details["plan"] == one["plan"])
            if earlier and recorded and not any(reason.startswith(ANOTHER_RUN) for reason in reasons):
                found.append(filled(words.GOES_ON, run=one["run"], earlier=" and ".join(earlier)))
    unused = [sha for sha in plans if sha not in used]
    found += [filled(words.PLAN_UNUSED, plan=f"{sha[:SHORT]}…") for sha in unused]
    blocks: list[Block] = []
    if plans and not deviates and not unused:
        blocks.append(Paragraph(words.NO_DEVIATIONS))
    else:
        blocks.append(Paragraph("By the log, run by run:"))
    return [*blocks, Points(tuple(found))] if found else blocks


def _before_plans(given: Given) -> Iterator[Text]:
    """Of every plan, the runs that had begun before it was recorded, with what they examined."""
    log, told = given.verified.log, set()
    for place, planned in log.of("planned"):
        sha = planned.details["plan"]
        runs = [
            filled("run {} ({}, {})", one.details["run"], said(one.details["command"]), _examined(one))
            for number, one in log.of("begun")
            if number < place
        ]
        if runs and sha not in told:
            yield filled(words.BEFORE_PLAN, plan=f"{sha[:SHORT]}…", runs=joined(runs, "; "))
        told.add(sha)


def _examined(begun: Entry) -> Text:
    questioned = begun.details["questioned"]
    if questioned is None:
        return "texts"
    if "model" in questioned:
        return filled("model with digest {}", digest(questioned["model"]))
    return filled("model {} at server {}", said(questioned["model_name"]), said(questioned["server"]))


def _stopped(given: Given, begun: Mapping[str, Any], end: Entry) -> Text:
    """A run that was stopped: under which plan, and how much had been answered by then."""
    plan = words.NO_PLAN_CARRIED if begun["plan"] is None else f"the plan {begun['plan'][:SHORT]}…"
    logged: Text = words.NOT_LOGGED
    if end.subjects:
        (name,) = end.subjects
        lines = given.verified.read(name).count(b"\n")
        logged = filled(words.LOGGED, answers=amount(max(0, lines - 1), "answer"))  # the first line says what was asked
    reason = said(end.details["reason"], 400)
    return filled(
        words.STOPPED_RUN, run=begun["run"], command=said(begun["command"]), plan=plan, reason=reason, logged=logged
    )


def _tables(headings: tuple[str, ...], rows: Sequence[tuple[Text, ...]], caption: str) -> list[Block]:
    """A table, cut where it would fill the report; what is left out is said."""
    table = Table(headings, tuple(rows[:MOST_ROWS]), caption)
    if len(rows) <= MOST_ROWS:
        return [table]
    return [table, Paragraph(f"{len(rows) - MOST_ROWS:,} more rows are in the bundle.")]
