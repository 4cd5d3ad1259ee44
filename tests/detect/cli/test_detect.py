"""`detect`: inputs, results, what they look like, and what is refused."""

from __future__ import annotations

import inspect
import io
import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from detect.cli.main import run
from detect.exact.power import pairs_needed
from tests import tiny
from tests.detect.cli.helpers import EVIDENCE, LINEUP, SPEECH, Cli, environment, execute, names, save_key, write_rows
from tests.watermark.engines.helpers import tokenizer
from watermark import GreenList, Key
from watermark.engines.models import load_tokenizer


def green_stream(key_file: Path, length: int, wanted: bool = True, seed: int = 0) -> list[int]:
    """Ids whose every token is green (or red) for the key."""
    mark, random, stream = GreenList(Key.load(key_file)), np.random.default_rng(seed), [9]
    while len(stream) < length:
        row = mark.mask(np.array([[stream[-1]]]), 384)[0]
        row[:3] = not wanted  # no special tokens
        stream.append(int(random.choice(np.flatnonzero(row == wanted))))
    return stream


def recount(key_file: Path, documents: list[list[int]], prompts: list[list[int]] = []) -> tuple[int, int]:  # noqa: B006
    """n and k by plain sets."""
    mark = GreenList(Key.load(key_file))
    excluded = {pair for prompt in prompts for pair in itertools.pairwise(prompt)}
    pairs = {pair for document in documents for pair in itertools.pairwise(document)} - excluded
    colours = mark.is_green(np.array([[c] for c, _ in pairs]), np.array([t for _, t in pairs]))
    return len(pairs), int(colours.sum())


def documents_of(path: Path) -> list[list[int]]:
    return [json.loads(line)["token_ids"] for line in path.read_text().splitlines()]


# Results


def test_one_object_with_exactly_the_designs_fields(cli: Cli, key: Path, ids: Path) -> None:
    evidence = cli("detect", "--key", key, ids, "--json").json()
    assert list(evidence) == EVIDENCE
    n, k = recount(key, documents_of(ids))
    assert (evidence["n_tokens"], evidence["n_scored"], evidence["n_green"]) == (400, n, k)
    assert evidence["log10_p"] == pytest.approx(binom.logsf(k - 1, n, 0.25) / math.log(10), rel=1e-9)
    assert evidence["log10_p_adjusted"] == evidence["log10_p"]
    assert evidence["green_fraction"] == k / n
    assert (evidence["test"], evidence["status"]) == ("text", "exploratory")
    assert (evidence["gamma"], evidence["context_width"], evidence["alpha"]) == (0.25, 1, 1e-6)
    assert evidence["key_id"] == Key.load(key).key_id
    assert evidence["theta"] is evidence["log10_p_saddlepoint"] is None
    assert evidence["finding"] == "not detected"


def test_each_document_then_the_pooled_one(cli: Cli, key: Path, ids: Path) -> None:
    first, second, pooled = cli("detect", "--key", key, ids, "--each").lines()
    assert [list(first), list(second), list(pooled)] == [["id", *EVIDENCE], ["id", *EVIDENCE], EVIDENCE]
    assert [first["id"], second["id"]] == ["a", f"{ids}:2"]
    by_itself = [note for note in pooled["notes"] if "not one of the documents' family" in note]
    assert len(by_itself) == 1
    pooled["notes"].remove(by_itself[0])
    assert pooled == cli("detect", "--key", key, ids, "--json").json()
    for one, document in zip((first, second), documents_of(ids), strict=True):
        assert (one["n_scored"], one["n_green"]) == recount(key, [document])
    smaller, larger = sorted((first, second), key=lambda one: one["log10_p"])
    assert smaller["log10_p_adjusted"] == pytest.approx(min(0.0, smaller["log10_p"] + math.log10(2)), abs=1e-12)
    assert larger["log10_p_adjusted"] == pytest.approx(max(larger["log10_p"], smaller["log10_p_adjusted"]), abs=1e-12)
    assert any("Holm over 2 tests" in note for note in first["notes"])


def test_each_wins_over_json_and_both_are_fine(cli: Cli, key: Path, ids: Path) -> None:
    assert cli("detect", "--key", key, ids, "--each", "--json").out == cli("detect", "--key", key, ids, "--each").out


def test_words_for_people(cli: Cli, key: Path, ids: Path) -> None:
    result = cli("detect", "--key", key, ids, "--decoys", 5)
    assert (result.code, result.err) == (0, "line-up: 5 decoys\n")
    assert cli("-q", "detect", "--key", key, ids, "--decoys", 5).err == ""
    n, k = recount(key, documents_of(ids))
    for part in ("finding", "not detected", f"{k} of {n} pairs", "exact, one-sided", "of 6", Key.load(key).short_id):
        assert part in result.out
    for word in ("proves", "match", "guilty", "certain", "confidence"):
        assert word not in result.out.lower()


def test_people_are_never_told_less_than_ten_to_minus_thirty(cli: Cli, key: Path, tmp_path: Path) -> None:
    marked = write_rows(tmp_path / "m.jsonl", [{"token_ids": green_stream(key, 600)}])
    result = cli("detect", "--key", key, marked)
    assert "detected: what was observed depends on the secret key" in result.out
    assert "p            below 10^-30 (exact, one-sided); adjusted: below 10^-30" in result.out
    assert "e-value      above 10^30 (of this test alone, not adjusted)\n" in result.out
    evidence = cli("detect", "--key", key, marked, "--json").json()
    assert evidence["log10_p"] == pytest.approx(evidence["n_scored"] * math.log10(0.25), rel=1e-9)
    assert evidence["log10_p"] < -300


def test_a_lineup_of_decoys(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    from tests.watermark.keys import reference

    evidence = cli("detect", "--key", key, ids, "--decoys", 40, "--json").json()
    assert list(evidence) == [*EVIDENCE, "lineup"]
    line = evidence["lineup"]
    assert list(line) == LINEUP
    assert (line["decoys"], line["seed"]) == (40, "00" * 32)
    contexts = np.array([[c] for d in documents_of(ids) for c in d[:-1]])
    tokens = np.array([t for d in documents_of(ids) for t in d[1:]])
    pairs = np.unique(np.column_stack((contexts, tokens)), axis=0)
    counts = []
    for i in range(40):
        decoy = reference.child(bytes(32), "decoy", str(i))
        counts.append(int(GreenList.from_chacha_key(decoy, 16384, 1).is_green(pairs[:, :1], pairs[:, 1]).sum()))
    assert line["rank"] == 1 + sum(count >= evidence["n_green"] for count in counts)
    assert line["p_rank"] == line["rank"] / 41
    other = cli("detect", "--key", key, ids, "--decoys", 40, "--seed", "5A" * 32, "--json").json()["lineup"]
    assert other["seed"] == "5a" * 32
    assert other != line


def test_strict_and_fail_on_detect(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    few = write_rows(tmp_path / "few.jsonl", [{"token_ids": [5, 6, 7, 8]}])
    marked = write_rows(tmp_path / "marked.jsonl", [{"token_ids": green_stream(key, 100)}])

    def code(*arguments: object) -> int:
        result = cli("detect", "--key", key, "--json", *arguments)
        assert json.loads(result.out)["finding"] in ("detected", "inconclusive", "not detected")
        return result.code

    assert [code(few), code(few, "--strict"), code(few, "--fail-on-detect")] == [0, 4, 0]
    assert [code(ids), code(ids, "--strict"), code(ids, "--fail-on-detect")] == [0, 0, 0]
    assert [code(marked), code(marked, "--strict"), code(marked, "--fail-on-detect")] == [0, 0, 1]
    assert cli("detect", "--key", key, few, "--strict", "--each").code == 4


def test_alpha_and_effect_decide_the_finding(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    n = recount(key, documents_of(ids))[0]
    assert pairs_needed(0.5, 0.25) < n < pairs_needed(0.35, 0.25)

    def finding(path: Path, *options: object) -> str:
        evidence = cli("detect", "--key", key, path, "--json", *options).json()
        return str(evidence["finding"])

    assert finding(ids) == "not detected"
    assert finding(ids, "--effect", "0.35") == "inconclusive"
    assert finding(ids, "--effect", "0.2") == "inconclusive"  # at or below gamma nothing has power
    marked = write_rows(tmp_path / "marked.jsonl", [{"token_ids": green_stream(key, 16)}])
    assert finding(marked) == "detected"
    assert finding(marked, "--alpha", "1e-100") == "inconclusive"


# Inputs


def test_the_same_material_in_every_form_gives_the_same_evidence(
    cli: Cli, text_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [SPEECH.read_text()[:3000], SPEECH.read_text()[3000:5000]]
    ids = [tokenizer()(text, add_special_tokens=False).input_ids for text in texts]
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text(texts[0])
    (folder / "deep" / "b.md").write_text(texts[1])
    (folder / ".hidden").write_text("left out")
    pq.write_table(pa.table({"text": texts, "ignored": [1, 2]}), tmp_path / "t.parquet")
    pq.write_table(pa.table({"token_ids": ids}), tmp_path / "i.parquet")
    rows = write_rows(tmp_path / "t.jsonl", [{"text": text, "other": 1} for text in texts])
    forms: list[list[Any]] = [
        [folder],
        [folder / "a.txt", folder / "deep"],
        [rows],
        [write_rows(tmp_path / "i.jsonl", [{"token_ids": i, "text": "ids win"} for i in ids])],
        [tmp_path / "t.parquet"],
        [tmp_path / "i.parquet"],
        ["-"],
    ]
    results = []
    for form in forms:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(rows.read_bytes())))
        results.append(cli("detect", "--key", text_key, *form, "--json").json())
    told = [sum("token_ids are not the text beside them" in note for note in result["notes"]) for result in results]
    assert told == [0, 0, 0, 1, 0, 0, 0]
    for result in results:  # whether the special ids were checked depends on the form, and what stands beside them
        result["notes"] = [note for note in result["notes"] if "special ids" not in note and "token_ids" not in note]
    assert all(result == results[0] for result in results)
    assert (results[0]["n_scored"], results[0]["n_green"]) == recount(text_key, ids)


def test_prompts_count_nowhere(cli: Cli, key: Path, tmp_path: Path) -> None:
    stream = green_stream(key, 300)
    rows = [{"token_ids": stream, "prompt_ids": stream[:200]}, {"token_ids": stream[50:150]}]
    evidence = cli("detect", "--key", key, write_rows(tmp_path / "r.jsonl", rows), "--json").json()
    assert (evidence["n_scored"], evidence["n_green"]) == recount(key, [stream, stream[50:150]], [stream[:200]])
    assert evidence["n_scored"] < 120
    assert "occur in a prompt" in evidence["notes"][0]


def test_short_texts_are_refused_alone_and_skipped_among_others(cli: Cli, tmp_path: Path, ids: Path) -> None:
    wide = save_key(tmp_path / "wide", width=3, bare=True)
    alone = write_rows(tmp_path / "alone.jsonl", [{"id": "tiny", "token_ids": [1, 2, 3]}])
    cli("detect", "--key", wide, alone).refused(
        3, "tiny has 3 tokens", "at least 4 are needed (the 3 tokens of context, and one more)"
    )
    result = cli("detect", "--key", wide, alone, ids, "--json").json()
    assert result["n_tokens"] == 400
    assert any("1 document skipped: shorter than 4 tokens (first: tiny)" in note for note in result["notes"])
    assert [one.get("id") for one in cli("detect", "--key", wide, alone, ids, "--each").lines()] == [
        "a",
        f"{ids}:2",
        None,
    ]


def test_empty_texts(cli: Cli, text_key: Path, ids: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    cli("detect", "--key", text_key, empty).refused(3, f"{empty} has 0 tokens", "at least 2 are needed")
    notes = cli("detect", "--key", text_key, empty, ids, "--json").json()["notes"]
    assert any(f"1 document skipped: shorter than 2 tokens (first: {empty})" in note for note in notes)


@pytest.mark.parametrize(
    ("name", "content", "fragments"),
    [
        ("a.txt", b"good \xff bad", ("not UTF-8 at byte 5",)),
        ("a.txt", "text".encode("utf-16"), ("UTF-16",)),
        ("a.jsonl", b'{"token_ids": [1, 2]}\n{"token_ids": [1, 2\n', (":2:", "not JSON", "fix or remove the line")),
        ("a.jsonl", b'{"token_ids": [1, 2]}\n\n["x"]\n', (":3:", "not a JSON object")),
        ("a.jsonl", b'{"token_ids": [1, -2]}\n', (":1:", "found -2")),
        ("a.jsonl", b'{"token_ids": [1, 2.5]}\n', (":1:", "token_ids[1]")),
        ("a.jsonl", b'{"prompt": "only"}\n', (":1:", "nothing to test")),
        ("a.jsonl", b'{"id": 1}\n', (":1:", "holds no text or token_ids")),
        ("a.jsonl", b'{"text": "a", "text": "b"}\n', (":1:", "twice")),
        ("a.jsonl", b'{"text": "\xff"}\n', (":1:", "not UTF-8 at byte 10")),
        ("a.jsonl", b"", ("holds no rows",)),
        ("a.parquet", b"PAR1 but not really", ("no readable Parquet file",)),
    ],
    ids=str,
)
def test_files_that_are_refused(
    name: str, content: bytes, fragments: tuple[str, ...], cli: Cli, key: Path, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    cli("detect", "--key", key, path).refused(3, str(path), *fragments)
    cli("detect", "--key", key, path, "--each", "--highlight", tmp_path / "h").refused(3, str(path), *fragments)
    assert not (tmp_path / "h").exists()


def test_paths_that_are_refused(cli: Cli, key: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    cli("detect", "--key", key, tmp_path / "none.txt").refused(3, "none.txt does not exist")
    cli("detect", "--key", key, tmp_path / "empty").refused(3, "holds no files to read")
    cli("detect", "--key", key, "-", "-").refused(3, "given twice")


def test_hostile_ids_cannot_steer_a_terminal(cli: Cli, key: Path, tmp_path: Path) -> None:
    name = "x\u202e\x1b[2J\x9b1m"
    rows = write_rows(tmp_path / "r.jsonl", [{"id": name, "token_ids": [1]}, {"id": name, "token_ids": [3, 4, 5]}])
    for options in ([], ["--each"], ["--json"]):
        result = cli("detect", "--key", key, rows, *options)
        assert result.code == 0
        assert not {"\u202e", "\x1b", "\x9b"} & set(result.out + result.err)
    assert cli("detect", "--key", key, rows, "--each").lines()[0]["id"] == name


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--alpha", "0"], "--alpha"),
        (["--alpha", "1"], "--alpha"),
        (["--alpha", "nan"], "--alpha"),
        (["--alpha", "1e-300"], "--alpha"),
        (["--effect", "1"], "--effect"),
        (["--effect", "nan"], "--effect"),
        (["--decoys", "0"], "--decoys"),
        (["--decoys", "1000001"], "--decoys"),
        (["--seed", "abc"], "--seed"),
    ],
    ids=str,
)
def test_bad_options(options: list[str], named: str, cli: Cli, key: Path, ids: Path) -> None:
    cli("detect", "--key", key, ids, *options).refused(2, named, "taggant detect --help")


# Tokenizers


def test_text_needs_a_tokenizer_and_ids_none(cli: Cli, key: Path, model: Path, ids: Path, tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("The rain fell on the harbour.")
    cli("detect", "--key", key, text).refused(3, "text needs a tokenizer", "--tokenizer", "token_ids")
    assert cli("detect", "--key", key, text, "--tokenizer", model, "--json").json()["n_scored"] > 2
    assert cli("detect", "--key", key, ids, "--tokenizer", "never/needed").code == 0


def test_another_tokenizer_is_refused(cli: Cli, text_key: Path, foreign_model: Path, tmp_path: Path) -> None:
    text = tmp_path / "t.txt"
    text.write_text("The rain fell on the harbour.")
    result = cli("detect", "--key", text_key, text, "--tokenizer", foreign_model)
    result.refused(5, "was made for tokenizer", "give the tokenizer of the marked model")


def test_a_tokenizer_that_cannot_be_had(cli: Cli, text_key: Path, tmp_path: Path) -> None:
    text, empty = tmp_path / "t.txt", tmp_path / "empty"
    text.write_text("The rain fell on the harbour.")
    empty.mkdir()
    for name, reason in (
        ("some/hub-id", "some/hub-id is not a directory here, not in the hub's cache, and the hub cannot be reached"),
        (empty, "holds no tokenizer"),
        (text, "is a file"),
        (tmp_path / "gone", "does not exist"),
    ):
        cli("detect", "--key", text_key, text, "--tokenizer", name).refused(3, str(name), reason)


def test_a_key_whose_tokenizer_has_moved_says_what_to_give(cli: Cli, tmp_path: Path, model: Path) -> None:
    import shutil

    text, place = tmp_path / "t.txt", tmp_path / "place"
    text.write_text("The rain fell on the harbour.")
    shutil.copytree(model, place)
    assert cli("keygen", "-o", tmp_path / "k", "--tokenizer", place).code == 0
    expected = cli("detect", "--key", tmp_path / "k", text, "--json").json()
    place.rename(tmp_path / "moved")
    result = cli("detect", "--key", tmp_path / "k", text)
    result.refused(3, "the key's tokenizer cannot be had; give --tokenizer", str(place))
    assert cli("detect", "--key", tmp_path / "k", text, "--tokenizer", tmp_path / "moved", "--json").json() == expected


def test_the_tokenizers_place_is_in_no_evidence(cli: Cli, text_key: Path, model: Path) -> None:
    for options in ([], ["--json"], ["--each"]):
        assert str(model) not in cli("detect", "--key", text_key, SPEECH, *options).out


# Human text


def test_human_text_carries_no_mark(cli: Cli, tmp_path: Path) -> None:
    docstrings = tmp_path / "docstrings.txt"
    modules = (subprocess, inspect, json, io)
    docstrings.write_text("\n\n".join(doc for m in modules for f in vars(m).values() if (doc := inspect.getdoc(f))))
    assert docstrings.stat().st_size > 20_000
    for number in range(3):
        key = save_key(tmp_path / f"k{number}", number)
        for text in (SPEECH, docstrings):
            evidence = cli("detect", "--key", key, text, "--json").json()
            assert evidence["n_scored"] > 2000
            assert evidence["finding"] == "not detected"
            assert evidence["log10_p"] > -3


# The page, the executable


def test_the_highlighted_page(cli: Cli, text_key: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = cli("detect", "--key", text_key, SPEECH, "--highlight", page, "--json")
    assert result.err == f"highlighted page: {page}\n"
    assert list(result.json()) == EVIDENCE
    html = page.read_text()
    text = "".join(re.sub(r"<[^>]*>|\[[^]]*\]", "", html).split())  # without tags and spoken states
    assert "Mr.VicePresident,Mr.Speaker" in text
    assert "http://" not in html.replace("http://www.w3.org", "")
    cli("detect", "--key", text_key, SPEECH, "--highlight", page).refused(3, f"{page} already exists")
    assert page.read_text() == html


def test_a_page_of_token_ids_alone_says_so(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    result = cli("detect", "--key", key, ids, "--highlight", tmp_path / "page")
    assert "The page shows token ids: give --tokenizer to see text\n" in result.err
    assert (tmp_path / "page").is_file()
    assert cli("-q", "detect", "--key", key, ids, "--highlight", tmp_path / "quiet").err == ""
    result = cli("detect", "--key", key, ids, "--highlight", tmp_path / "third", "--tokenizer", "some/where")
    result.refused(3, "some/where")
    assert not (tmp_path / "third").exists()


def test_the_executable_reads_a_pipe(key: Path, ids: Path) -> None:
    result = execute("detect", "--key", key, "-", "--json", stdin=ids.read_bytes())
    assert result.err == ""
    assert result.json()["n_tokens"] == 400


def test_an_interrupted_line_up_ends_with_130(key: Path, ids: Path) -> None:
    code = (
        "import sys, detect.decoys\nfrom detect.cli.main import main\n"
        "def interrupt(*_, **__):\n    raise KeyboardInterrupt\n"
        "detect.decoys.lineup = interrupt\n"
        f"sys.argv[1:] = ['detect', '--key', {str(key)!r}, {str(ids)!r}, '--decoys', '9']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "line-up: 9 decoys\ntaggant: interrupted; nothing is left half-written\n"


def test_nothing_is_written_beside_the_inputs(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    before = names(tmp_path)
    cli("detect", "--key", key, ids, "--decoys", 3)
    assert names(tmp_path) == before


def test_it_says_whether_the_special_ids_were_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key id binds them through the tokenizer's hash alone: a test of bare ids rests on the key file."""
    key = tmp_path / "k.key"
    Key.generate(tokenizer=load_tokenizer(tiny.shared())).save(key)
    ids, text = tmp_path / "ids.jsonl", tmp_path / "text.txt"
    ids.write_text('{"token_ids": [40, 41, 42, 43, 44]}\n')
    text.write_text("one two three four five six seven")
    for path, words in ((ids, "not verified against a tokenizer"), (text, "verified against the tokenizer")):
        assert run(["-q", "detect", "--key", str(key), str(path), "--json"]) == 0
        notes = json.loads(capsys.readouterr().out)["notes"]
        assert any("special ids" in note and words in note for note in notes)


# What a hostile reviewer tried


def test_a_tokenizer_that_is_given_is_checked_though_ids_need_none(
    cli: Cli, text_key: Path, ids: Path, model: Path, foreign_model: Path
) -> None:
    """The key id binds the special ids only through the tokenizer's hash."""
    cli("detect", "--key", text_key, ids, "--tokenizer", foreign_model).refused(5, "was made for tokenizer")
    notes = cli("detect", "--key", text_key, ids, "--tokenizer", model, "--json").json()["notes"]
    assert any("verified against the tokenizer." in note for note in notes)
    notes = cli("detect", "--key", text_key, ids, "--json").json()["notes"]
    assert any("not verified against a tokenizer." in note for note in notes)


def test_altered_special_ids_are_refused_where_a_tokenizer_is_given(
    cli: Cli, text_key: Path, ids: Path, model: Path
) -> None:
    content = json.loads(text_key.read_text())
    content["tokenizer"]["special_ids"].append(200)
    text_key.write_text(json.dumps(content))
    cli("detect", "--key", text_key, ids, "--tokenizer", model).refused(5, "special")


def test_ids_beyond_the_keys_vocabulary_are_another_tokenizers(cli: Cli, text_key: Path, tmp_path: Path) -> None:
    size = Key.load(text_key).tokenizer.vocab_size  # type: ignore[union-attr]
    for row in ({"token_ids": [5, 6, size]}, {"token_ids": [5, 6], "prompt_ids": [size]}):
        rows = write_rows(tmp_path / f"{len(row)}.jsonl", [{"token_ids": [5, 6, size - 1]}, row])
        cli("detect", "--key", text_key, rows).refused(3, f"{rows}:2: token id {size} is not among the {size} tokens")


def test_fail_on_detect_looks_at_every_document_that_is_printed(cli: Cli, key: Path, tmp_path: Path) -> None:
    documents = [green_stream(key, 60), *(green_stream(key, 60, wanted=False, seed=seed) for seed in range(1, 9))]
    rows = write_rows(tmp_path / "mixed.jsonl", [{"token_ids": document} for document in documents])
    *each, pooled = cli("detect", "--key", key, rows, "--each").lines()
    assert [one["finding"] == "detected" for one in each] == [True] + [False] * 8
    assert pooled["finding"] != "detected"
    assert cli("detect", "--key", key, rows, "--each", "--fail-on-detect").code == 1
    assert cli("detect", "--key", key, rows, "--fail-on-detect").code == 0


@pytest.mark.parametrize("name", ["rows.json", "rows.txt"])
def test_rows_are_never_taken_for_text(cli: Cli, key: Path, model: Path, tmp_path: Path, name: str) -> None:
    """Their prompts, which the examiner fed in, would count."""
    file = tmp_path / name
    file.write_text('{"prompt": "The rain fell on the harbour.", "text": "A"}\n')
    cli("detect", "--key", key, file, "--tokenizer", model).refused(3, f"{file}: line 1 is a row of JSON", ".jsonl")
    if name.endswith(".json"):
        file.write_text('[\n {"prompt": "The rain fell on the harbour.",\n "text": "A"}]\n')
        cli("detect", "--key", key, file, "--tokenizer", model).refused(3, "rows as one JSON value", ".jsonl")
    file.write_text('{"name": "a package", "version": "1"}\nThe rain fell on the harbour.\n')
    assert cli("detect", "--key", key, file, "--tokenizer", model).code == 0  # JSON that holds no row is a text


def test_what_was_read_is_told(cli: Cli, key: Path, ids: Path, tmp_path: Path) -> None:
    other = write_rows(tmp_path / "more.jsonl", [{"token_ids": list(range(3, 60))}])
    assert "  read  " not in cli("detect", "--key", key, ids).out
    assert "  read         2 files: 2 JSONL files\n" in cli("detect", "--key", key, ids, other).out
    told = [f"read {ids} (JSONL file, 2 rows)", f"read {other} (JSONL file, 1 row)"]
    for options in ((), ("--json",)):
        assert cli("-v", "detect", "--key", key, ids, other, *options).notes.splitlines()[:2] == told
    assert cli("detect", "--key", key, ids, other).notes == ""


def test_a_directory_with_bad_files_is_refused_in_one_line(cli: Cli, key: Path, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    write_rows(folder / "a.jsonl", [{"token_ids": list(range(3, 60))}])
    (folder / "b.docx").write_bytes(b"PK\x03\x04...")
    (folder / "c.txt").write_bytes(b"\xff\xfe")
    cli("detect", "--key", key, folder).refused(
        3, "2 of 3 files cannot be read", "b.docx is a document", "(UTF-8), (2)", "looks like UTF-16"
    )
