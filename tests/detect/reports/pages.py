"""Reports of the bundles' factory, and a page taken apart by a parser of its own."""

from __future__ import annotations

from functools import lru_cache
from html.parser import HTMLParser
from typing import Any

from detect.bundles.verify.check import verify_files
from detect.reports.blocks import Report
from detect.reports.content import report_of
from detect.reports.given import Given
from detect.reports.page import html_of
from tests.detect.bundles.bad.mutations import good

VOID = {"meta", "img", "br"}


@lru_cache
def given(name: str) -> Given:
    return Given(verify_files(good(name)))


@lru_cache
def whole(name: str) -> Report:
    return report_of(given(name))


@lru_cache
def page(name: str) -> bytes:
    return html_of(whole(name))


class Parsed(HTMLParser):
    """Tags with their attributes, and the visible text by the tags it stands in."""

    def __init__(self, data: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.headings: list[str] = []
        self.numbers: list[str] = []
        self.feed(data.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "h2":
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if "h2" in self.open:
            self.headings[-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def words_of(value: Any) -> list[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [one for member in value.values() for one in words_of(member)]
    return [one for item in value for one in words_of(item)] if isinstance(value, list) else []
