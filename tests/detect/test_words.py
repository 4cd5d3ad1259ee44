"""What people may read holds no word that claims more than a test can: design.md, *Words* and *Principles*."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from detect.evidence import Finding

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("watermark", "detect", "distill_sim")
BANNED = re.compile(
    r"\b(proves?|proved|proven|match(es|ed|ing)?|guilty?|caught|thief|thieves|theft|certain(ly|ty)?|confidence|"
    r"n-?grams?|hash_key|verdicts?)\b",
    re.IGNORECASE,
)


def literals(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every string in Python source: messages, help texts, docstrings, parts of f-strings."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def sources() -> list[Path]:
    return [path for package in (*PACKAGES, "benchmarks") for path in sorted((ROOT / package).rglob("*.py"))]


def pages() -> list[Path]:
    """Templates and what else is shown as it is."""
    found = [
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*"))
        if path.suffix in (".jinja", ".html", ".js", ".css", ".md", ".svg")
    ]
    documents = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    examples = sorted((ROOT / "docs").rglob("*.html"))
    return [*documents, *examples, *found]


def test_there_is_something_to_look_at() -> None:
    assert len(sources()) > 60
    assert len(pages()) >= 10
    assert sum(len(list(literals(path.read_text(encoding="utf-8")))) for path in sources()) > 1000


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_string_claims_too_much(path: Path) -> None:
    found = [
        (line, hit.group()) for line, text in literals(path.read_text(encoding="utf-8")) if (hit := BANNED.search(text))
    ]
    assert found == []


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_claims_too_much(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [(n, hit.group()) for n, line in enumerate(lines, 1) if (hit := BANNED.search(line))] == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("this proves it", "proves"),
        ("A Match was found", "Match"),
        ("two matching texts", "matching"),
        ("the guilty model", "guilty"),
        ("it was caught", "caught"),
        ("we are certain", "certain"),
        ("95 % confidence", "confidence"),
        ("every n-gram", "n-gram"),
        ("the verdict", "verdict"),
        ("a hash_key here", "hash_key"),
    ],
)
def test_the_search_finds_them(text: str, word: str) -> None:
    assert BANNED.search(text).group() == word
    assert next(literals(f"x = f'{{y}} {text}'")) == (1, f" {text}")


@pytest.mark.parametrize("text", ["uncertain", "improves", "program", "mismatched"])
def test_and_not_their_neighbours(text: str) -> None:
    assert BANNED.search(text) is None


def test_findings_are_the_designs() -> None:
    assert set(Finding.__args__) == {"detected", "inconclusive", "not detected"}
