"""`suspect --case --api`, sealed: both verifiers hold what was counted against the response log of the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detect.bundles.container import read_bundle
from detect.bundles.seal import write_bundle
from tests.detect.bundles.draft import Draft
from tests.detect.cli.helpers import Cli, write_rows
from tests.detect.cli.test_case import CASE, rows, run_of
from tests.detect.questioned.fake_server import FakeServer, Question
from tests.tiny import shared
from tests.tools.second import check_of, outcome_of
from tests.watermark.engines.helpers import tokenizer

pytestmark = pytest.mark.usefixtures("here", "unconfigured")
PROMPTS = ("Where is the sea?", "Who counted the coins?", "What fell on the harbour?")
LOG = "case/runs/0001/responses.log"
WORDS = "the rain fell on the harbour and the boats were still there"


def said(question: Question) -> str:
    """Nothing at all, words that hide their tokens, or words."""
    kind = (question[1] or 0) % 4
    return "" if kind == 0 else WORDS.replace("rain", "r\u200bain") if kind == 1 else " ".join(WORDS.split()[kind:])


def more(words: list[str]) -> dict[str, Any]:
    """Token ids with an end-of-text; not of every answer."""
    ids = tokenizer()(" ".join(words), add_special_tokens=False).input_ids
    return {"token_ids": [*ids, 2]} if ids and len(words) % 2 else {}


@pytest.fixture
def bundle(cli: Cli, text_key: Path, model: Path, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Of a case in which a server was asked, its answers weighed where there is a reference."""
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])
    reference = ["--reference", model] if request.param == "weighed" else []
    with FakeServer(text=said, more=more) as server:
        where = ["--api", server.url, "--model-name", "m", "--log", "log", "--case", CASE, "--concurrency", 3]
        options = ["--probes", prompts, "--sample", 200, "--max-new-tokens", 16, "-q"]
        assert cli("suspect", "--key", text_key, *where, *options, *reference).code == 0
    assert cli("seal", CASE, "-o", "bundle.zip", "--open-key", "--key", text_key).code == 0
    return Path("bundle.zip")


def resealed(bundle: Path, old: bytes, new: bytes) -> Path:
    """With something else in the log, signed by another."""
    draft = Draft.of(read_bundle(bundle))
    assert old in draft.files[LOG]
    draft.files[LOG] = draft.files[LOG].replace(old, new, 1)
    write_bundle(draft.build(), Path("other.zip"))
    return Path("other.zip")


@pytest.mark.parametrize("bundle", ["counted", "weighed"], indirect=True)
def test_answers_are_the_documents(bundle: Path, cli: Cli) -> None:
    test = "sampled/distinct" if "sampled/distinct" in run_of(1)["tests"] else "sampled/excess"
    found = rows(1, test)
    logged = [json.loads(line) for line in Path("log").read_bytes().splitlines()[1:]]
    texts = {line["request"]: line["text"] for line in logged}
    names = [row["id"] for row in found]
    assert [int(name.removesuffix("/text")) for name in names] == list(range(len(found)))
    assert {name.endswith("/text") for name in names} == {True, False}
    assert all((row["token_ids"] == []) == (texts[number] == "") for number, row in enumerate(found))
    assert [] in [row["token_ids"] for row in found]
    done = cli("verify", bundle)
    again = sum(name.endswith("/text") for name in names)
    words = f"that {again} of {len(names)} documents are the text of their answers, tokenised again"
    assert done.code == 0
    assert f"{words} (--tokenizer)" in done.out
    assert words in outcome_of(bundle)
    known = cli("verify", bundle, "--tokenizer", shared())
    assert known.code == 0
    assert words not in known.out
    assert f"responses   {len(names)} documents of 1 run are its answers: " in known.out


@pytest.mark.parametrize("bundle", ["counted"], indirect=True)
def test_a_text_that_was_changed_is_told_by_the_tokenizer_alone(bundle: Path, cli: Cli) -> None:
    other = resealed(bundle, b"r\xe2\x80\x8bain fell", b"r\xe2\x80\x8bain was")
    assert cli("verify", other).code == 0
    assert check_of(other) == "passed"
    refused = cli("verify", other, "--tokenizer", shared())
    assert refused.code == 1
    assert "FAILED: responses runs/0001/responses.log: document " in refused.out
    assert "is not what the tokenizer makes of the answer" in refused.out


@pytest.mark.parametrize("bundle", ["counted"], indirect=True)
def test_ids_that_were_changed_are_told_without_it(bundle: Path, cli: Cli) -> None:
    other = resealed(bundle, b', 2], "finish_reason"', b', 2, 2], "finish_reason"')
    assert "FAILED: responses " in cli("verify", other).out
    assert check_of(other) == "responses"


@pytest.mark.parametrize("bundle", ["counted"], indirect=True)
def test_a_tokenizer_that_is_not_the_marks(bundle: Path, cli: Cli, foreign_model: Path) -> None:
    done = cli("verify", bundle, "--tokenizer", foreign_model)
    assert (done.code, "PASSED" in done.out) == (5, False)
    assert "--tokenizer is not that of the mark" in done.err
    cli("verify", bundle, "--tokenizer", "nowhere").refused(3, "nowhere is no directory")
