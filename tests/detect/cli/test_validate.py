"""`taggant validate`: the files, the same bytes every time, going on after a stop, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from detect.cli.main import run
from detect.pages.validation import validation_page
from detect.validation.nulls import NullRow
from detect.validation.record import table
from tests import tiny
from tests.detect.cli.helpers import SPEECH, Cli, Result, names, write_rows
from watermark import GreenList, Key

FILES = ["index.html", "validation.csv", "validation.json"]
SMALL = ["--keys", "100", "--length", "30", "--length", "120"]
MODEL = ["--answers", "6", "--max-new-tokens", "32", "--delta", "1.5", "--delta", "6"]


@pytest.fixture(autouse=True)
def _compiled(compiled_colours: None) -> None:
    pass


@pytest.fixture
def tokenizer() -> Path:
    return tiny.shared()


def study(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "validation.json").read_bytes())
    return found


class TestTexts:
    def test_the_files_and_the_same_bytes_again(self, cli: Cli, tokenizer: Path, tmp_path: Path) -> None:
        out, again = tmp_path / "a", tmp_path / "b"
        result = cli("validate", "-o", out, "--tokenizer", tokenizer, *SMALL)
        assert result.code == 0, result
        assert names(out) == FILES
        assert "counts of small p lie within the limits" in result.out
        assert "prose, count" in result.out
        assert result.err.endswith(f"the whole table: {out / 'index.html'}\n")
        assert cli("validate", "-o", again, "--tokenizer", tokenizer, *SMALL).code == 0
        for name in FILES:
            assert (out / name).read_bytes() == (again / name).read_bytes()
        found = study(out)
        assert (out / "validation.json").read_bytes() == rfc8785.dumps(found)
        assert found["format"] == "taggant-validation/1"
        assert [one["name"] for one in found["populations"]] == ["prose", "code", "languages", "repetitive"]
        assert len(found["nulls"]) == 8
        assert found["limits"] == {"checked": 180, "within": 180, "outside": []}
        lines = list(csv.DictReader((out / "validation.csv").read_text().splitlines()))
        assert len(lines) == 8 * 3 * 5
        assert {line["population"] for line in lines} == {"prose", "code", "languages", "repetitive"}
        other = cli("validate", "-o", tmp_path / "c", "--tokenizer", tokenizer, *SMALL, "--seed", "1" * 64, "--json")
        assert other.json()["seed"] == "1" * 64
        assert other.json() == study(tmp_path / "c")
        assert study(tmp_path / "c")["nulls"][0]["green_fraction"] != found["nulls"][0]["green_fraction"]

    def test_ones_own_population_and_key(self, cli: Cli, text_key: Path, tmp_path: Path) -> None:
        one, two = tmp_path / "one.txt", tmp_path / "two.txt"
        one.write_text("The rain fell on the harbour. " * 8)
        two.write_text(SPEECH.read_text(encoding="utf-8")[:4000])
        texts = ["--texts", f"case 7={one}", "--texts", f"case 7={two}"]
        assert cli("key", "check", text_key, two).code in (0, 5)
        found = cli("validate", "-o", tmp_path / "v", "--key", text_key, *texts, *SMALL, "--json").json()
        own = found["populations"][-1]
        assert (own["name"], own["documents"]) == ("case 7", 2)
        rows = [row for row in found["nulls"] if row["population"] == "case 7"]
        assert [row["tokens"] for row in rows] == [30, 120]
        assert all(row["pairs"]["least"] > 5 for row in rows)
        key = Key.load(text_key)
        assert found["mark"]["special_ids_digest"] == key.special_ids_digest
        assert found["key_check"]["key_id"] == key.key_id
        assert found["key_check"]["factor"] == pytest.approx(1 / 0.99, rel=1e-11)
        assert "1/.99" in found["key_check"]["rule"]
        everything = b"".join((tmp_path / "v" / name).read_bytes() for name in FILES)
        assert json.loads(text_key.read_text())["secret"].encode() not in everything
        assert str(tmp_path).encode() not in everything

    def test_ones_own_marked_texts(self, cli: Cli, text_key: Path, tmp_path: Path) -> None:
        key, ids = Key.load(text_key), [[20 + number] for number in range(5)]
        green = GreenList(key)
        for number, row in enumerate(ids):
            while len(row) < 60:
                colours = green.mask([[row[-1]]], 384)[0]
                row.append(next(t for t in range(30 + 7 * number + len(row), 384) if colours[t] and t not in row))
        marked = write_rows(tmp_path / "m.jsonl", [{"token_ids": row} for row in ids])
        found = cli(
            "validate", "-o", tmp_path / "v", "--key", text_key, "--marked", f"mine={marked}", *SMALL, "--json"
        ).json()
        (row,) = found["marked"]
        assert (row["population"], row["delta"], row["tokens"], row["texts"]) == ("mine", None, 30, 5)
        assert row["green_fraction"] == 1.0
        assert [rate["count"] for rate in row["tests"]["count"]["rates"]] == [5] * 5
        assert any("share one key" in note for note in found["notes"])
        assert found["given"][0]["key_id"] == key.key_id


def with_model(out: Path) -> list[object]:
    return ["validate", "-o", out, "--model", tiny.shared(), *SMALL, *MODEL]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, compiled_colours: None) -> Path:
    """A study of the tiny model against another one."""
    out = tmp_path_factory.mktemp("model") / "v"
    reference = tiny.build(tmp_path_factory.mktemp("reference"), seed=4)
    assert run([str(one) for one in [*with_model(out), "--reference", reference, "-q"]]) == 0
    return out


class TestModel:
    def test_answers_unmarked_and_marked(self, done: Path) -> None:
        found = study(done)
        assert found["populations"][-1]["name"] == "answers"
        assert {(row["delta"], row["tokens"]) for row in found["marked"]} == {(1.5, 30), (6.0, 30)}
        weak, strong = (row for row in found["marked"])
        assert strong["green_fraction"] > 0.8 > weak["green_fraction"] > 0.3
        assert strong["tests"]["count"]["rates"][-1]["count"] > weak["tests"]["count"]["rates"][-1]["count"]
        null = [row for row in found["nulls"] if row["population"] == "answers"]
        assert null
        assert all(0.2 < row["green_fraction"] < 0.3 for row in null)
        assert found["made_with"].keys() == {"torch", "transformers", "threads"}

    def test_the_page_is_made_of_the_json_alone(self, done: Path, tmp_path: Path) -> None:
        validation_page(study(done), tmp_path / "again.html")
        assert (tmp_path / "again.html").read_bytes() == (done / "index.html").read_bytes()
        assert table(study(done)) == (done / "validation.csv").read_bytes()

    def test_the_model_is_read_under_fresh_keys(self, done: Path) -> None:
        (row,) = study(done)["models"]
        assert row["reference"] not in (None, row["model"])
        assert row["probes"]["rows"] == 35
        assert row["positions"] > 10_000
        assert set(row["tests"]) == {"reading", "argmax"}
        assert study(done)["limits"]["outside"] == []

    def test_a_reference_that_is_the_model_itself(self, cli: Cli, tmp_path: Path) -> None:
        probes = write_rows(tmp_path / "p.jsonl", [{"text": "The rain fell."}])
        cli(*with_model(tmp_path / "v"), "--reference", tiny.shared(), "--probes", probes).refused(
            3, "predict the same everywhere"
        )

    def test_another_tokenizer(self, cli: Cli, foreign_model: Path, text_key: Path, tmp_path: Path) -> None:
        cli("validate", "-o", tmp_path / "v", "--key", text_key, "--model", foreign_model).refused(
            3, "has another tokenizer than the texts"
        )


class TestStopped:
    def test_it_goes_on_where_it_was(
        self, cli: Cli, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        score, scored = NullRow.score, list[str]()

        def counted(self: NullRow, *arguments: Any) -> dict[str, Any]:
            if len(scored) == 3:
                raise KeyboardInterrupt
            scored.append(self.name)
            return score(self, *arguments)

        out, whole = tmp_path / "a", tmp_path / "b"
        monkeypatch.setattr(NullRow, "score", counted)
        command: list[object] = ["validate", "--tokenizer", tokenizer, *SMALL]
        stopped: Result = cli(*command, "-o", out)
        assert (stopped.code, stopped.out) == (130, "")
        assert stopped.err.endswith("what was finished is kept, and the same command goes on from there\n")
        assert names(out) == [".validation.journal"]
        scored.append("")  # no longer three: on to the end
        result = cli(*command, "-o", out)
        assert result.code == 0
        assert "3 steps are done already; going on" in result.err
        assert len(set(scored[4:]) & set(scored[:3])) == 0
        assert len(scored) == 9
        monkeypatch.setattr(NullRow, "score", score)
        assert cli(*command, "-o", whole).code == 0
        assert names(out) == names(whole) == FILES
        for name in FILES:
            assert (out / name).read_bytes() == (whole / name).read_bytes()

    def test_other_work_begins_anew(self, cli: Cli, tokenizer: Path, tmp_path: Path) -> None:
        out = tmp_path / "a"
        out.mkdir()
        (out / ".validation.journal").write_text(
            '{"format": "taggant-journal/1", "work": {"keys": 1}}\n{"step": "text/prose/30", "found": {"counts": 1}}\n'
        )
        assert cli("validate", "-o", out, "--tokenizer", tokenizer, *SMALL).code == 0
        assert names(out) == FILES


class TestRefused:
    def test_results_are_never_replaced(self, cli: Cli, tokenizer: Path, tmp_path: Path) -> None:
        for name in FILES:
            out = tmp_path / name
            out.mkdir()
            (out / name).write_text("mine")
            cli("validate", "-o", out, "--tokenizer", tokenizer, *SMALL).refused(3, f"{out / name} already exists")
            assert (out / name).read_text() == "mine"

    @pytest.mark.parametrize(
        ("options", "fragments"),
        [
            ([], ["give --key, --tokenizer or --model"]),
            (["--marked", "a=b"], ["--marked needs the --key"]),
            (["--texts", "a"], ["must be NAME=FILE"]),
            (["--texts", "=x=y"], ["a name has 1 to 40"]),
            (["--texts", "a="], ["must be NAME=FILE"]),
            (["--tokenizer", "x", "--delta", "1"], ["--delta is for a model: give --model"]),
            (["--tokenizer", "x", "--reference", "y"], ["--reference is for a model: give --model"]),
            (["--tokenizer", "x", "--keys", "5"], ["--keys"]),
            (["--tokenizer", "x", "--length", "1"], ["--length"]),
            (["--tokenizer", "x", "--seed", "12"], ["64 hex digits"]),
        ],
    )
    def test_bad_options(self, options: list[str], fragments: list[str], cli: Cli, tmp_path: Path) -> None:
        cli("validate", "-o", tmp_path / "v", *options).refused(2, *fragments, "taggant validate --help")
        assert names(tmp_path) == []

    def test_a_name_that_is_taken(self, cli: Cli, tokenizer: Path, tmp_path: Path) -> None:
        cli("validate", "-o", tmp_path / "v", "--tokenizer", tokenizer, "--texts", f"prose={SPEECH}").refused(
            2, "that name is taken"
        )

    def test_a_key_without_a_tokenizer(self, cli: Cli, key: Path, tmp_path: Path) -> None:
        cli("validate", "-o", tmp_path / "v", "--key", key).refused(3, "texts need a tokenizer")

    def test_no_such_place(self, cli: Cli, tokenizer: Path, tmp_path: Path) -> None:
        out = tmp_path / "no" / "v"
        cli("validate", "-o", out, "--tokenizer", tokenizer, *SMALL).refused(3, str(out))
