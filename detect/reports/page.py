"""A report as one HTML page: no script, nothing fetched, and what others wrote is text and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re

from markupsafe import Markup, escape

from detect.reports.blocks import Block, Report, Text
from detect.visible import escaped, is_hidden

_QUOTED, _POWER = re.compile(r"(<bdi[^>]*>.*?</bdi>)", re.DOTALL), re.compile(r"\b10\^(-?\d+)")


def html_of(report: Report) -> bytes:
    """The page, UTF-8; the same report gives the same bytes."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("detect.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(inert=inert, shown=shown, kind=_kind, data=_data)
    style = environment.get_template("report.css.jinja").render(report=report)
    values = {"report": report, "style": Markup(style), "style_hash": _hash(style)}  # noqa: S704 - hex digits and ours
    return environment.get_template("report.html.jinja").render(values).encode("utf-8")


def inert(text: Text) -> Markup:
    """Escaped, and every hidden character spelled out; line feeds stay, for lines of code."""
    shown = str(escape(text))
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(escaped(c) if is_hidden(c) and c != "\n" else c for c in shown)
    return Markup(shown)  # noqa: S704 - escaped above


def shown(text: Text) -> Markup:
    """As `inert`; powers of ten are raised, but not in what others wrote."""
    parts = _QUOTED.split(str(inert(text)))
    parts[::2] = [_POWER.sub(r"10<sup>\1</sup>", part) for part in parts[::2]]
    return Markup("".join(parts))  # noqa: S704 - inert


def _kind(block: Block) -> str:
    return type(block).__name__


def _data(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode('ascii')}"


def _hash(style: str) -> str:
    """As a content security policy names the one style sheet that is allowed."""
    return f"sha256-{base64.b64encode(hashlib.sha256(style.encode('utf-8')).digest()).decode('ascii')}"
