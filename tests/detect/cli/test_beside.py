"""`detect --scan` and `detect --normalise`: what they add, and that nothing changes without them."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.exact.multiplicity import holm
from detect.exact.scan import FAMILY
from tests.detect.cli.helpers import EVIDENCE, SPEECH, Cli, save_key, write_rows
from tests.detect.cli.test_detect import green_stream
from tests.detect.material import docstrings
from tests.detect.pages.test_highlight import FORBIDDEN, HOSTILE, Page
from tests.watermark.engines.helpers import tokenizer
from watermark import GreenList, Key

SCAN = ["log10_p", "log10_p_adjusted", "family", "intervals", "finding", "spans", "notes"]
SPAN = ["document", "document_index", "start_token", "end_token", "start_char", "end_char", "n_scored", "n_green"]
SPAN += ["log10_p", "log10_p_adjusted"]
NORMALISED_NOTE = "normalisation changes no token: both readings are one and the same test, counted once"


def stranger(length: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(3, 384, length).tolist()


def marked_text(key_file: Path, words: int, seed: int = 0) -> str:
    """ASCII text in which every second token or so is green, whatever its sense."""
    mark, rng = GreenList(Key.load(key_file)), random.Random(seed)
    letters = tokenizer()
    pool = [i for i in range(3, 384) if re.fullmatch(r" ?[a-z]+", letters.decode([i]))]
    text, ids = "The", letters("The", add_special_tokens=False)["input_ids"]
    for _ in range(words):
        row = mark.mask(np.array([[ids[-1]]]), 384)[0]
        green = [i for i in pool if row[i]]
        text += letters.decode([rng.choice(green or pool)])
        ids = letters(text[-60:], add_special_tokens=False)["input_ids"]
    return text


def disguised(text: str, rate: float = 0.3) -> str:
    """Half of the tricks: lookalikes and zero-width characters."""
    rng, table = random.Random(4), dict(zip("aceopxy", "асеорху", strict=True))
    result = ""
    for char in text:
        result += table.get(char, char) if rng.random() < rate else char
        result += "\u200b" if rng.random() < 0.05 else ""
    return result


@pytest.fixture
def partly(key: Path, tmp_path: Path) -> Path:
    """Two documents of 3,000 tokens; tokens 1,000 to 1,060 of the second are marked."""
    second = [*stranger(1000, 1), *green_stream(key, 61)[1:], *stranger(1940, 2)]
    rows = [{"id": "first", "token_ids": stranger(3000, 0)}, {"id": "second", "token_ids": second}]
    return write_rows(tmp_path / "partly.jsonl", rows)


class TestScan:
    def test_a_span_that_the_whole_hides(self, cli: Cli, key: Path, partly: Path) -> None:
        plain = cli("detect", "--key", key, partly, "--json").json()
        found = cli("detect", "--key", key, partly, "--json", "--scan").json()
        assert list(found) == [*EVIDENCE, "scan"]
        scan = found["scan"]
        assert list(scan) == SCAN
        assert scan["family"] == FAMILY
        assert scan["intervals"] > 1000
        assert found["log10_p"] == plain["log10_p"] > -3
        assert (found["finding"], scan["finding"]) == ("not detected", "detected")
        assert [found["log10_p_adjusted"], scan["log10_p_adjusted"]] == holm(
            [found["log10_p"], scan["log10_p"]]
        ).tolist()
        (span,) = scan["spans"]
        assert list(span) == SPAN
        assert (span["document"], span["document_index"]) == ("second", 1)
        assert 980 <= span["start_token"] < 1010
        assert 1040 < span["end_token"] <= 1080
        assert span["start_char"] is span["end_char"] is None
        assert span["log10_p"] == scan["log10_p"] < -15
        assert span["log10_p_adjusted"] == pytest.approx(span["log10_p"] + math.log10(2))

    def test_a_span_in_a_text_is_named_in_characters(self, cli: Cli, text_key: Path, tmp_path: Path) -> None:
        before, marked, after = SPEECH.read_text()[:4000], marked_text(text_key, 150), SPEECH.read_text()[4000:8000]
        (tmp_path / "t.txt").write_text(before + marked + after)
        found = cli("detect", "--key", text_key, tmp_path / "t.txt", "--json", "--scan").json()
        spans = found["scan"]["spans"]
        assert spans
        inside = sum(max(0, min(one["end_char"], 4000 + len(marked)) - max(one["start_char"], 4000)) for one in spans)
        assert inside > 0.7 * len(marked)
        assert inside > 0.7 * sum(one["end_char"] - one["start_char"] for one in spans)

    def test_words_for_people(self, cli: Cli, key: Path, partly: Path) -> None:
        plain, found = (cli("detect", "--key", key, partly, *more).out for more in ([], ["--scan"]))
        assert re.search(r"Scan: [\d,]+ intervals", found)
        assert "finding      detected: what was observed depends on the secret key" in found
        assert re.search(
            r"span         second, tokens [\d,]+ to 1,\d+: \d+ of \d+ green, p below 10\^-\d+ \(adjusted\)", found
        )
        assert "its ends are those of the scan's grid, not of the marked passage" in found
        assert "Holm over 2 tests" not in found
        told = cli("-v", "detect", "--key", key, partly, "--scan").out
        assert "Holm over 2 tests: the text as it came and a scan of the text as it came" in told
        title, headline = plain.split("\n")[0], found.split("\n")[:2]
        assert headline == ["Summary of 2 tests: detected by the scan (1 not detected)", title]
        assert not re.search(FORBIDDEN.replace("|steal|", "|"), found, re.IGNORECASE)

    def test_exit_codes_count_every_test(self, cli: Cli, key: Path, partly: Path, tmp_path: Path) -> None:
        assert cli("detect", "--key", key, partly, "--fail-on-detect").code == 0
        assert cli("detect", "--key", key, partly, "--fail-on-detect", "--scan").code == 1
        short = write_rows(tmp_path / "short.jsonl", [{"token_ids": stranger(60, seed)} for seed in range(6)])
        assert cli("detect", "--key", key, short, "--strict").code == 0
        assert cli("detect", "--key", key, short, "--strict", "--scan").code == 4  # none of them could hold a span

    def test_names_cannot_steer_a_terminal(self, cli: Cli, key: Path, tmp_path: Path) -> None:
        rows = [{"id": "a\x1b[31m\u202e", "token_ids": green_stream(key, 300)}]
        result = cli("detect", "--key", key, write_rows(tmp_path / "r.jsonl", rows), "--scan")
        assert "⟨U+001B⟩" in result.out
        assert "\x1b" not in result.out + result.err

    def test_each_has_the_spans_in_the_last_object(self, cli: Cli, key: Path, partly: Path) -> None:
        first, second, pooled = cli("detect", "--key", key, partly, "--each", "--scan").lines()
        plain = cli("detect", "--key", key, partly, "--each").lines()
        assert [first, second] == plain[:2]
        assert pooled["scan"]["spans"][0]["document"] == "second"

    def test_decoys_are_those_of_the_plain_count(self, cli: Cli, key: Path, partly: Path) -> None:
        plain, found = (
            cli("detect", "--key", key, partly, "--json", "--decoys", 9, *more).json() for more in ([], ["--scan"])
        )
        assert found["lineup"] == plain["lineup"]


class TestNormalise:
    @pytest.fixture
    def texts(self, text_key: Path, tmp_path: Path) -> tuple[Path, Path, str]:
        text = marked_text(text_key, 250)
        (tmp_path / "clean.txt").write_text(text)
        (tmp_path / "attacked.txt").write_text(disguised(text))
        return tmp_path / "clean.txt", tmp_path / "attacked.txt", text

    def test_raw_and_normalised_are_two_tests(self, cli: Cli, text_key: Path, texts: tuple[Path, Path, str]) -> None:
        clean, attacked, text = texts
        wanted = cli("detect", "--key", text_key, clean, "--json").json()
        raw = cli("detect", "--key", text_key, attacked, "--json").json()
        found = cli("detect", "--key", text_key, attacked, "--json", "--normalise").json()
        assert list(found) == [*EVIDENCE, "normalised"]
        second = found["normalised"]
        assert list(second) == [*EVIDENCE, "changes"]
        for name in ("log10_p", "n_scored", "n_green", "z_score", "log10_e"):
            assert found[name] == raw[name]
            assert second[name] == wanted[name]
        assert second["log10_p"] < found["log10_p"] - 10
        alone = [found["log10_p"], second["log10_p"]]
        assert [found["log10_p_adjusted"], second["log10_p_adjusted"]] == holm(alone).tolist()
        changed = disguised(text)
        assert second["changes"] == {
            "zero_width": changed.count("\u200b"),
            "homoglyph": sum(ord(char) > 0x400 and char != "\u200b" for char in changed),
            "space": 0,
            "compatibility": 0,
        }
        for one in (found, second):
            assert any(
                "Holm over 2 tests: the text as it came and the normalised text" in note for note in one["notes"]
            )

    def test_where_nothing_is_folded_one_test_is_counted(
        self, cli: Cli, text_key: Path, texts: tuple[Path, Path, str]
    ) -> None:
        plain = cli("detect", "--key", text_key, texts[0], "--json").json()
        found = cli("detect", "--key", text_key, texts[0], "--json", "--normalise").json()
        second = found.pop("normalised")
        assert not any(second.pop("changes").values())
        assert found == second
        assert NORMALISED_NOTE in found["notes"]
        assert found["log10_p_adjusted"] == plain["log10_p_adjusted"] == plain["log10_p"]
        assert [note for note in found["notes"] if note != NORMALISED_NOTE] == plain["notes"]
        out = cli("detect", "--key", text_key, texts[0], "--normalise").out
        assert "folded       nothing" in out
        assert "as above: the same tokens, the same test" in out
        assert "Summary" not in out  # of one test
        with_scan = cli("detect", "--key", text_key, texts[0], "--normalise", "--scan").out
        assert with_scan.startswith("Summary of 2 tests: detected by all of them\n")

    def test_with_a_scan_there_are_four(self, cli: Cli, text_key: Path, texts: tuple[Path, Path, str]) -> None:
        found = cli("detect", "--key", text_key, texts[1], "--json", "--normalise", "--scan").json()
        second = found["normalised"]
        tests = [found, second, found["scan"], second["scan"]]
        expected = holm([one["log10_p"] for one in tests]).tolist()
        assert [one["log10_p_adjusted"] for one in tests] == pytest.approx(expected)
        attacked = texts[1].read_text()
        spans = second["scan"]["spans"]
        assert spans
        assert all(0 <= one["start_char"] < one["end_char"] <= len(attacked) for one in spans)
        assert max(one["end_char"] for one in spans) > 0.8 * len(attacked)  # of the text as it came: that is longer
        out = cli("detect", "--key", text_key, texts[1], "--normalise", "--scan").out
        assert "Scan of the normalised text" in out
        assert [one["finding"] for one in tests] == ["detected"] * 4
        assert out.splitlines()[0] == "Summary of 4 tests: detected by all of them"
        assert re.search(r"folded       [\d,]+ invisible, [\d,]+ lookalike \(characters\)", out)

    def test_token_ids_have_nothing_to_normalise(self, cli: Cli, key: Path, ids: Path) -> None:
        plain = cli("detect", "--key", key, ids, "--json").json()
        found = cli("detect", "--key", key, ids, "--json", "--normalise").json()
        assert found["log10_p_adjusted"] == plain["log10_p_adjusted"]
        assert "normalised: 2 of 2 documents came as token ids, with no text to normalise" in found["notes"]

    def test_each(self, cli: Cli, text_key: Path, tmp_path: Path) -> None:
        text = marked_text(text_key, 100)
        rows = [{"id": "a", "text": text}, {"id": "b", "text": disguised(text)}, {"id": "c", "token_ids": [5, 6, 7, 8]}]
        path = write_rows(tmp_path / "rows.jsonl", rows)
        a, b, c, pooled = cli("detect", "--key", text_key, path, "--each", "--normalise").lines()
        assert list(a) == ["id", *EVIDENCE, "normalised"]
        for one in (a, c):
            assert one["normalised"]["log10_p"] == one["log10_p"]
        assert b["normalised"]["n_green"] == a["n_green"]
        assert b["normalised"]["log10_p"] == a["log10_p"] < b["log10_p"]
        alone = [a["log10_p"], b["log10_p"], c["log10_p"], b["normalised"]["log10_p"]]
        adjusted = [a["log10_p_adjusted"], b["log10_p_adjusted"], c["log10_p_adjusted"]]
        assert [*adjusted, b["normalised"]["log10_p_adjusted"]] == pytest.approx(holm(alone).tolist())
        assert any("Holm over 4 tests" in note for note in a["notes"])
        assert "normalised" in pooled

    def test_a_prompt_that_is_quoted_in_disguise_counts_nowhere(self, cli: Cli, text_key: Path, tmp_path: Path) -> None:
        text = marked_text(text_key, 150)
        path = write_rows(tmp_path / "rows.jsonl", [{"text": disguised(text), "prompt": text}])
        found = cli("detect", "--key", text_key, path, "--json", "--normalise").json()
        assert found["normalised"]["n_scored"] == 0
        assert found["normalised"]["log10_p_adjusted"] == 0


class TestPage:
    def page(self, cli: Cli, key: Path, path: Path, out: Path, *more: str) -> tuple[Page, str]:
        result = cli("detect", "--key", key, path, "--highlight", out, *more)
        assert result.code == 0, result
        html = out.read_text(encoding="utf-8")
        return Page(html), html

    def test_spans_are_framed(self, cli: Cli, key: Path, partly: Path, tmp_path: Path) -> None:
        plain, _ = self.page(cli, key, partly, tmp_path / "a.html")
        page, html = self.page(cli, key, partly, tmp_path / "b.html", "--scan")
        (span,) = cli("detect", "--key", key, partly, "--json", "--scan").json()["scan"]["spans"]
        frames = [attributes for tag, attributes in page.tags if attributes.get("class") == "frame"]
        (frame,) = frames
        assert re.fullmatch(
            rf"marked span 1: tokens {span['start_token']:,} to {span['end_token']:,}, {span['n_green']} of "
            rf"{span['n_scored']} counted pairs green, probability below 10\^-\d+",
            frame["title"] or "",
        )
        assert page.open == []
        assert [page.states(i) for i in range(2)] == [plain.states(i) for i in range(2)]
        assert [page.text(i) for i in range(2)] == [plain.text(i) for i in range(2)]
        assert any(said.startswith("[marked span 1: tokens") for said in page.announced)
        framed = html[html.index('<span class="frame"') :]
        assert framed.count('<span class="t ', 0, self._end_of_frame(framed)) == span["end_token"] - span["start_token"]
        assert "Spans found: 1." in page.visible
        links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
        assert links == [f"#{frame['id']}"]
        assert html.index('<a href="#') < html.index("What the colours mean") < html.index('<span class="frame"')
        assert "probability below" in html[html.index('<a href="#') : html.index("</a>")]
        assert frame["title"] in page.visible
        assert not re.search(FORBIDDEN, page.visible, re.IGNORECASE)

    @staticmethod
    def _end_of_frame(html: str) -> int:
        depth = 0
        for found in re.finditer(r"<(/?)span", html):
            depth += -1 if found[1] else 1
            if depth == 0:
                return found.start()
        raise AssertionError("the frame is never closed")

    def test_without_the_option_the_page_knows_nothing_of_it(
        self, cli: Cli, key: Path, partly: Path, tmp_path: Path
    ) -> None:
        page, html = self.page(cli, key, partly, tmp_path / "a.html")
        assert "frame" not in html
        assert "Scan for" not in page.visible

    def test_a_span_beyond_what_is_shown(self, cli: Cli, key: Path, tmp_path: Path) -> None:
        rows = [{"token_ids": [*stranger(19_980, 5), *green_stream(key, 60)]}, {"token_ids": green_stream(key, 300)}]
        page, _ = self.page(cli, key, write_rows(tmp_path / "r.jsonl", rows), tmp_path / "a.html", "--scan")
        assert page.open == []
        assert page.visible.count("marked span") >= 1
        ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
        assert {attributes["href"] for tag, attributes in page.tags if tag == "a"} <= {f"#{one}" for one in ids}
        assert page.visible.count("(not shown)") >= 1  # those of the second document
        assert len(page.documents) == 1

    def test_questioned_text_in_a_frame_stays_text(self, cli: Cli, text_key: Path, tmp_path: Path) -> None:
        text = marked_text(text_key, 120)
        hostile = text[:200] + HOSTILE + text[200:] + " " + SPEECH.read_text()[:1000]
        path = write_rows(tmp_path / "r.jsonl", [{"id": HOSTILE, "text": hostile}])
        page, html = self.page(cli, text_key, path, tmp_path / "a.html", "--scan", "--normalise")
        assert page.text(0) == hostile
        assert page.open == []
        assert "<script" not in html
        names = {name for _, attributes in page.tags for name in attributes}
        assert names <= {"lang", "charset", "http-equiv", "content", "name", "class", "title", "scope", "id", "href"}
        assert all((a["href"] or "").startswith("#span") for tag, a in page.tags if "href" in a)
        (policy,) = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
        assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_a_refused_key_names_no_spans(cli: Cli, key: Path, partly: Path, tmp_path: Path) -> None:
    marked = write_rows(tmp_path / "human.jsonl", [{"token_ids": green_stream(key, 200)}])
    assert cli("key", "check", key, marked).code == 5
    found = cli("detect", "--key", key, partly, "--json", "--scan").json()
    assert found["log10_p_adjusted"] is found["scan"]["log10_p_adjusted"] is None
    assert found["scan"]["spans"] == []
    assert found["scan"]["finding"] == "inconclusive"


def test_the_summary_tells_the_readings_apart(cli: Cli, text_key: Path, tmp_path: Path) -> None:
    """So much disguised that only what is folded shows the mark."""
    text = tmp_path / "text.txt"
    text.write_text(disguised(marked_text(text_key, 150), 1.0))
    command = ["detect", "--key", text_key, text, "--normalise", "--scan"]
    found = cli(*command, "--json").json()
    tests = [found, found["normalised"], found["scan"], found["normalised"]["scan"]]
    assert [one["finding"] == "detected" for one in tests] == [False, True, False, True]
    (others,) = {found["finding"], found["scan"]["finding"]}
    line = "Summary of 4 tests: detected by the normalised text and the scan of the normalised text"
    assert cli(*command).out.splitlines()[0] == f"{line} (2 {others})"


def test_help_names_both(cli: Cli) -> None:
    out = cli("detect", "--help").out
    assert "--scan" in out
    assert "--normalise" in out


def test_results_are_plain_json(cli: Cli, key: Path, partly: Path) -> None:
    result: Any = cli("detect", "--key", key, partly, "--json", "--scan", "--normalise")
    assert json.loads(result.out, parse_constant=lambda _: pytest.fail("not JSON"))


def test_the_page_shows_both_readings(cli: Cli, text_key: Path, tmp_path: Path) -> None:
    """The colours of the reading in which the mark is seen, not of the disguised one alone."""
    text, first, second = tmp_path / "t.txt", tmp_path / "a.html", tmp_path / "b.html"
    plain = marked_text(text_key, 250)
    text.write_text(disguised(plain), encoding="utf-8")
    command = ["detect", "--key", text_key, text, "--normalise", "--scan", "--json"]
    found = cli(*command, "--highlight", first).json()
    page = Page(first.read_text(encoding="utf-8"))
    assert [page.text(0), page.text(1)] == [disguised(plain), plain]
    greens = [page.states(number).count("green") for number in range(2)]
    assert greens == [found["n_green"], found["normalised"]["n_green"]]
    assert greens[1] > greens[0] + 50
    assert "The text as it looks" in page.visible
    assert "scan of the text as it looks: " in page.visible
    frames = [attributes for tag, attributes in page.tags if attributes.get("class") == "frame"]
    assert len(frames) == len(found["scan"]["spans"]) + len(found["normalised"]["scan"]["spans"]) > 0
    anchors = [f"#{frame['id']}" for frame in frames]
    assert len(set(anchors)) == len(anchors)
    assert [attributes["href"] for tag, attributes in page.tags if tag == "a"] == anchors
    text.write_text(plain, encoding="utf-8")
    cli(*command, "--highlight", second)
    assert "The text as it looks" not in second.read_text(encoding="utf-8")  # one and the same reading


def test_bare_keys_on_text_fail_as_before(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("text")
    key = save_key(tmp_path / "k.key", bare=True)
    cli("detect", "--key", key, tmp_path / "t.txt", "--scan", "--normalise").refused(3, "text needs a tokenizer")


def test_the_pages_headline_knows_of_every_test(cli: Cli, text_key: Path, tmp_path: Path) -> None:
    """What only the scan finds is not headed by what the whole did not show."""
    human = "\n".join(docstrings()[:6])[:9000]
    text = tmp_path / "partly.txt"
    text.write_text(f"{human[:4500]}\n{marked_text(text_key, 120)}\n{human[4500:]}", encoding="utf-8")
    page = tmp_path / "page.html"
    found = cli("detect", "--key", text_key, text, "--scan", "--highlight", page, "--json").json()
    assert found["finding"] != "detected"
    assert found["scan"]["finding"] == "detected"
    heading = page.read_text(encoding="utf-8").partition("<h1>")[2].partition("</h1>")[0]
    assert (
        heading
        == "The mark of this key was detected by the scan of the text as it came; by the count of the whole, not."
    )
