"""Text written by people: parts that share nothing, and always the same ones."""

from __future__ import annotations

import hashlib
import json
import lzma
import subprocess
import sys
from collections import Counter
from itertools import combinations

import pytest

from distill_sim import texts
from distill_sim.texts import DOMAINS, FILE, PROMPT_WORDS, SHARES, human_rows, passages
from tests.watermark.engines.helpers import tokenizer
from watermark.engines.chat import chat_prompt_ids

EVERY = [passage for part in SHARES for passage in passages(part)]


def test_no_passage_is_in_two_parts() -> None:
    assert len({passage.id for passage in EVERY}) == len(EVERY)
    assert sum(SHARES.values()) == pytest.approx(1)
    for one, other in combinations(SHARES, 2):
        assert not {p.prompt + p.text for p in passages(one)} & {p.prompt + p.text for p in passages(other)}


def test_hardly_a_prompt_is_in_two_parts() -> None:
    """Speeches open alike ("Thank you very much …"), no more than that."""
    for one, other in combinations(SHARES, 2):
        assert len({p.prompt for p in passages(one)} & {p.prompt for p in passages(other)}) <= 2


def test_a_part_is_as_large_as_its_share() -> None:
    """Parts are drawn by a hash: five standard deviations around the share."""
    for part, share in SHARES.items():
        expected, deviation = share * len(EVERY), (share * (1 - share) * len(EVERY)) ** 0.5
        assert abs(len(passages(part)) - expected) < 5 * deviation, part


def test_every_part_mixes_both_kinds() -> None:
    for part in SHARES:
        kinds = Counter(passage.domain for passage in passages(part))
        assert set(kinds) == set(DOMAINS)
        first = Counter(passage.domain for passage in passages(part)[: len(passages(part)) // 4])
        assert abs(first["novel"] / first.total() - kinds["novel"] / kinds.total()) < 0.2


def test_a_passage_is_whole_sentences_of_at_least_so_many_words() -> None:
    for passage in EVERY[::50]:
        assert len(passage.prompt.split()) == PROMPT_WORDS
        assert passage.text.startswith(" ")
        assert len((passage.prompt + passage.text).split()) >= texts.PASSAGE_WORDS
        assert passage.text[-1] in ".!?"
        assert "\n" not in passage.prompt + passage.text


def test_a_passage_stands_in_the_shipped_file() -> None:
    documents = {}
    for line in lzma.decompress(FILE.read_bytes()).decode().splitlines():
        document = json.loads(line)
        documents[document["title"]] = document["text"]
    for passage in passages("probes"):
        title, _, _ = passage.id.rpartition("-")
        assert passage.prompt + passage.text in documents[title]


def test_another_process_draws_the_same_parts_in_the_same_order() -> None:
    code = (
        "from distill_sim.texts import SHARES, digest, passages\n"
        "for part in SHARES: print(part, *(one.id.encode().hex() for one in passages(part)))\n"
        "print(digest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *parts, digest = done.stdout.splitlines()
    here = [" ".join([part, *(one.id.encode().hex() for one in passages(part))]) for part in SHARES]
    assert parts == here
    assert digest == texts.digest() == hashlib.sha256(FILE.read_bytes()).hexdigest()


def test_passages_as_rows() -> None:
    chosen = passages("probes")[:3]
    rows = human_rows(chosen, tokenizer())
    for passage, row in zip(chosen, rows, strict=True):
        assert list(row.prompt_ids) == chat_prompt_ids(tokenizer(), passage.prompt)
        assert tokenizer().decode(row.token_ids) == passage.text == row.text
        assert (row.id, row.marked, row.key_id, row.model) == (passage.id, False, None, "human")


def test_the_licence_of_the_text_is_stated_beside_it() -> None:
    said = (FILE.parent / "README.md").read_text(encoding="utf-8")
    assert f"`{FILE.name}`" in said
    assert "CC0 1.0" in said
    assert "Public Domain Dedication" in said
    assert all(f"`{domain}`" in said for domain in DOMAINS)
