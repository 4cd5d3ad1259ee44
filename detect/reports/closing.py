"""Sections 13 and 14: how to reproduce what the report says, and who signed."""

from __future__ import annotations

from typing import Any

from detect.bundles import canonical
from detect.bundles.seal import ENVIRONMENT, MANIFEST
from detect.reports import words
from detect.reports.blocks import Block, Code, Heading, Paragraph, Section, Table, Text, digest, filled, rows_of, said
from detect.reports.given import Given


def reproduce(given: Given) -> Section:
    """How anybody checks the bundle, and makes this report again."""
    verified = given.verified
    trust = " --trust SIGNER.pem" if given.trusted else ""
    roots = " --tsa-root AUTHORITY.pem" if given.rooted else ""
    lines = [
        f"sha256sum {MANIFEST}        # in the unpacked bundle: {given.bundle}",
        f"taggant verify BUNDLE{trust}{roots}",
        "python tools/verify_bundle.py BUNDLE",
    ]
    options = "".join(
        option
        for option, there in (
            (" --commission COMMISSION.toml", given.commission.sha256 is not None),
            (" --validation validation.json", given.validation is not None),
            (" --controls CONTROLS.json" * len(given.controls), bool(given.controls)),
        )
        if there
    )
    blocks: list[Block] = [
        Paragraph(words.REPRODUCE),
        Code(tuple(lines)),
        Paragraph(filled(words.SECOND, version=_version(verified.files[ENVIRONMENT]))),
        Paragraph(words.OPEN if verified.marked.opened else words.CLOSED),
        Paragraph(words.REPORT_AGAIN),
        Code((f"taggant report BUNDLE{options}{trust}{roots} -o report.html",)),
        Table(("", ""), _environment(verified.files[ENVIRONMENT]), "The machine that sealed the bundle"),
    ]
    beside = _beside(given)
    if beside:
        blocks.append(Table(("file", "SHA-256"), beside, "Files that were given beside the bundle"))
    return Section("How to reproduce this", tuple(blocks))


def _version(data: bytes) -> Text:
    """Of Taggant on the machine that sealed, behind a sentence; nothing where the bundle does not say it."""
    said_so = canonical.loads(data, ENVIRONMENT).get("taggant")
    return filled(words.MADE_BY, version=said(said_so)) if isinstance(said_so, str) else ""


def _environment(data: bytes) -> tuple[tuple[Text, ...], ...]:
    content: dict[str, Any] = canonical.loads(data, ENVIRONMENT)
    rows: list[tuple[Text, ...]] = []
    for name, value in content.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {one}" for key, one in value.items() if one is not None)
        if name != "format":
            rows.append((said(name), said(value, 600)))
    return tuple(rows)


def _beside(given: Given) -> tuple[tuple[Text, ...], ...]:
    found: list[tuple[Text, ...]] = []
    if given.commission.sha256 is not None:
        found.append(("commission", digest(given.commission.sha256)))
    if given.validation is not None:
        found.append(("validation study", digest(given.validation.sha256)))
    found += [("controls", digest(one.sha256)) for one in given.controls]
    return tuple(found)


def signatures(given: Given) -> Section:
    """Which keys signed, and room for the examiner's own hand."""
    verified = given.verified
    entries: dict[str, str] = {verified.manifest.keyid: "the manifest"}
    for keyid in verified.log.signers:
        entries[keyid] = "the manifest and entries of the log" if keyid in entries else "entries of the log"
    whose = "among the keys given as trusted" if given.trusted else "not checked"
    rows = tuple((digest(keyid), what, whose) for keyid, what in entries.items())
    examiner = given.commission.examiner
    dated = given.commission.dated
    sign: dict[str, Text | None] = {
        "Examiner": said(examiner, 300) if examiner else "",
        "Place and date": said(dated, 300) if dated else "",
        "Signature": "",
    }
    return Section(
        "Signatures",
        (
            Paragraph(words.SIGNED),
            Table(("SHA-256 of the public key", "signed", "whose it is"), rows, "Signatures in the bundle (Ed25519)"),
            Heading("The examiner"),
            Paragraph(words.DECLARATION),
            Table(("", ""), rows_of(sign), "Signed by hand", to_sign=True),
        ),
    )
