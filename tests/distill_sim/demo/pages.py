"""A demo of the tiny model, its page as a reader sees it, and slow second computations of its numbers."""

from __future__ import annotations

import copy
import itertools
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from distill_sim.corpus import read_corpus, write_corpus
from distill_sim.demo.condition import Condition
from distill_sim.demo.page import EXAMPLE_TOKENS, write_page
from distill_sim.pipeline import Finished
from distill_sim.recipe import Recipe
from tests import tiny
from watermark import GreenList, Key

VOID = {"meta", "br", "rect", "path", "use"}
DECOYS = 40
CONDITION = Condition(
    prompts=tiny.SENTENCES[:3],
    samples=2,
    answer_tokens=EXAMPLE_TOKENS + 20,
    probe_prompts=tiny.SENTENCES[3:],
    recipe=Recipe(layers=2, epochs=4, batch_size=2),
    sampled_tokens=120,
    fluency_tokens=100,
    decoys=DECOYS,
)


@dataclass(frozen=True)
class Run:
    """A demo that was run on the tiny model."""

    root: Path
    key: Key
    summary: dict[str, Any]
    finished: dict[str, Finished]

    def page(self, path: Path, **changes: Any) -> Page:
        """Write the page of this run, or of one with `changes`, and read it."""
        values = {"summary": self.summary, "finished": self.finished, "key": self.key} | changes
        write_page(path, values["summary"], values["finished"], key=values["key"])
        return Page(path.read_text(encoding="utf-8"))


class Page(HTMLParser):
    """Tags with their attributes; words by heading; the text of coloured tokens."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[tuple[str, str]] = []
        self.sections: dict[str, str] = {"": ""}
        self.blocks: list[str] = []
        self.documents: list[list[tuple[str, str]]] = []  # (state, text) of each token
        self._heading = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        name = dict(attrs).get("class") or ""
        if tag in VOID:
            return
        self.open.append((tag, name))
        if tag == "h2":
            self._heading = ""
        if tag == "pre":
            self.blocks.append("")
        if (tag, name) == ("div", "text"):
            self.documents.append([])
        elif self.inside("div", "text") and name.startswith("t "):
            self.documents[-1].append((name.split()[1], ""))

    def inside(self, tag: str, name: str) -> bool:
        return (tag, name) in self.open

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return  # an XML end tag of an SVG shape
        assert self.open.pop()[0] == tag
        if tag == "h2":
            self.sections[self._heading] = ""

    def handle_data(self, data: str) -> None:
        data = data + " " if self.open and self.open[-1][0] in ("th", "td") else data  # cells stand apart
        tags = [tag for tag, _ in self.open]
        if "style" in tags or "title" in tags:
            return
        if "h2" in tags:
            self._heading += data
            return
        if "pre" in tags:
            self.blocks[-1] += data
        if self.inside("div", "text"):
            self._token(data)
        else:
            self.sections[self._heading] += data

    def _token(self, data: str) -> None:
        kind = self.open[-1][1]
        if kind == "sr":
            return
        if kind in ("newline", "tab"):
            data = {"↵": "\n", "⇥": ""}[data]
        elif kind == "escape":
            spelled = re.fullmatch(r"⟨U\+([0-9A-F]{4,6})⟩", data)
            assert spelled is not None
            data = chr(int(spelled[1], 16))
        state, text = self.documents[-1][-1]
        self.documents[-1][-1] = (state, text + data)

    def words(self, heading: str | None = None) -> str:
        """Visible words, without coloured text; of one section, or all."""
        text = " ".join(self.sections.values()) if heading is None else self.sections[heading]
        return " ".join(text.split())


def changed(summary: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A copy with members replaced, named by their path: student__reading__log10_p."""
    out = copy.deepcopy(summary)
    for path, value in values.items():
        *parents, last = path.split("__")
        place = out
        for name in parents:
            place = place[name]
        assert last in place
        place[last] = value
    return out


def with_corpus(done: Run, directory: Path, name: str, change: Any) -> dict[str, Finished]:
    """The finished stages with one corpus replaced: every row i becomes change(i, row)."""
    rows = read_corpus(done.finished[name].directory / "corpus.parquet")
    (directory / name).mkdir(parents=True)
    write_corpus(directory / name / "corpus.parquet", [change(i, row) for i, row in enumerate(rows)], {})
    return {**done.finished, name: Finished(directory / name, 1.0)}


def label(page: Page, words: str) -> str:
    """The spoken description of the one drawing that mentions `words`."""
    labels = [attributes["aria-label"] or "" for tag, attributes in page.tags if tag == "svg"]
    (found,) = [each for each in labels if words in each]
    return found


def distinct_pairs(key: Key, documents: list[tuple[int, ...]], prompts: list[tuple[int, ...]]) -> set[tuple[int, int]]:
    """Context width 1, in plain Python: pairs of the documents that no prompt holds, without special tokens."""
    assert key.context_width == 1

    def pairs(ids: tuple[int, ...]) -> set[tuple[int, int]]:
        return {pair for pair in itertools.pairwise(ids) if not set(pair) & set(key.special_ids)}

    return set().union(*map(pairs, documents)) - set().union(*map(pairs, prompts))


def is_green(key: Key, context: int, token: int) -> bool:
    return bool(GreenList(key).is_green(np.array([[context]]), np.array([token]))[0])
