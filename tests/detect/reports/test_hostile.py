"""What others wrote stays text: in the page, in a browser, in PDF, on the terminal."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from detect.bundles.events import record_note
from detect.bundles.verify.check import verify_files
from detect.cli.output import printable
from detect.reports.blocks import floored, quoted, said
from detect.reports.commission import NAMES, Commission
from detect.reports.content import report_of
from detect.reports.given import Given
from detect.reports.page import html_of, inert, shown
from detect.reports.words import FOUND_HEADINGS
from detect.visible import is_hidden, one_line
from tests.detect.bundles.factory import KEY, Made, sealed, text_families
from tests.detect.pages.test_highlight import HOSTILE
from tests.detect.reports.pages import VOID, Parsed, given, page
from tests.detect.reports.pdf import weasyprint_or_skip

FORMULAS = "=cmd|' /C calc'!A0\t@SUM(1)\r+1\r\n-1"
EVIL = (
    f"{HOSTILE}{FORMULAS} <base href=//x><meta http-equiv=refresh content=0;url=//x> <svg/onload=document.title='ran'>"
)
LONG = "x" * (10 << 20)
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "section", "nav", "ol", "ul", "li", "a"),
    *("h1", "h2", "h3", "p", "div", "span", "bdi", "blockquote", "pre", "figure", "figcaption", "img", "sup", "strong"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
}
POPPLERS_OWN = set("\u202a\u202b\u202c")  # it puts them around what runs from right to left
EXAMPLE = Path(__file__).parents[3] / "docs" / "example" / "report.html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def hostile_case(made: Made) -> None:
    record_note(made.case, EVIL[:3900])
    inputs = [{"name": EVIL, "sha256": "0" * 64, "bytes": 1}]
    questioned = {"server": EVIL, "model_name": EVIL}
    details = {"command": EVIL, "key_id": KEY.key_id, "plan": None, "questioned": questioned, "inputs": inputs}
    details["options"] = {EVIL: EVIL}
    made.case.begin(details).stop(EVIL)
    made.case.begin({**details, "command": "detect"}).stop(LONG)
    made.run("detect", text_families(KEY)[:1])


@lru_cache
def hostile_page() -> bytes:
    files = sealed(Path(tempfile.mkdtemp()), KEY, hostile_case)
    told: dict[str, Any] = dict.fromkeys(NAMES, EVIL)
    commission = Commission(**{**told, "qualifications": LONG}, items={"0" * 64: EVIL, EVIL: LONG}, sha256="0" * 64)
    return html_of(report_of(Given(verify_files(files), commission)))


PAGES = {"hostile": hostile_page, "plain": lambda: page("weights"), "example": EXAMPLE.read_bytes}
PAGES["student"] = EXAMPLE.with_name("student.html").read_bytes


@pytest.mark.parametrize("which", PAGES)
def test_no_script_nothing_fetched_one_style(which: str) -> None:
    data = PAGES[which]()
    parsed = Parsed(data)
    assert {tag for tag, _ in parsed.tags} <= TAGS
    assert parsed.open == []
    names = {name for _, attributes in parsed.tags for name in attributes}
    assert names <= {
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "id",
        "scope",
        "href",
        "src",
        "alt",
        "data-label",
    }
    assert all((one["href"] or "").startswith("#") for one in parsed.of("a"))
    assert all((one["src"] or "").startswith("data:image/svg+xml;base64,") for one in parsed.of("img"))
    styles = re.findall(r"<style>(.*?)</style>", data.decode(), re.DOTALL)
    assert len(styles) == 1
    assert "url(" not in styles[0]
    assert "@import" not in styles[0]
    (policy,) = [one["content"] or "" for one in parsed.of("meta") if "http-equiv" in one]
    hashed = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashed}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_nothing_hidden_is_left_and_long_texts_are_cut() -> None:
    text = hostile_page().decode("utf-8")
    assert {char for char in text if not char.isprintable()} == {"\n"}
    assert "⟨U+202E⟩" in text
    assert "⟨U+001B⟩" in text
    assert len(text) < 1 << 20
    assert "more characters are left out" in text or "…" in text


def test_what_others_wrote_is_kept_apart() -> None:
    """Its letters may run from right to left: each piece is isolated from what is around it."""
    pieces = re.findall(r"<bdi[^>]*>(.*?)</bdi>", hostile_page().decode(), re.DOTALL)
    assert any("שלום" in piece for piece in pieces)
    outside = re.sub(r"<bdi[^>]*>.*?</bdi>|alt=\"[^\"]*\"", "", hostile_page().decode(), flags=re.DOTALL)
    assert "שלום" not in outside
    assert "alert(1)" not in outside


def test_inert() -> None:
    assert inert("<b>&\u202e\x1b") == "&lt;b&gt;&amp;⟨U+202E⟩⟨U+001B⟩"
    assert VOID


def seconds(work: Callable[[], object]) -> float:
    """Of this process, however busy the machine is."""
    started = time.process_time()
    work()
    return time.process_time() - started


def test_a_line_of_10_mb_takes_no_longer_than_reading_it() -> None:
    """Whatever shows what others wrote: cut before it is looked at, or looked at once."""
    line = (EVIL + "x") * (len(LONG) // (len(EVIL) + 1))
    for show in (said, quoted, one_line, printable, inert, shown, floored):
        size = len(str(show(line)))
        assert size < 20_000 or show in (inert, shown, floored)
        few, many = seconds(lambda show=show: show(line[: len(line) // 8])), seconds(lambda show=show: show(line))
        assert many < 24 * few + 0.5, show  # eight times as much; 64 times were quadratic


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed; the parsers' checks above have run")
def test_in_a_browser_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_bytes(hostile_page())
    after = Parsed(browsed(tmp_path / "report.html"))
    assert {tag for tag, _ in after.tags} <= TAGS
    assert "Report on an examination" in after.text
    asked = set(re.findall(r'"url":"([a-z]+)://([^/"]*)', (tmp_path / "net.json").read_text()))
    assert not [one for one in asked if one[1] in ("x", "evil.example")]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("which", ["hostile", "plain"])
def test_nothing_is_wider_than_a_narrow_window(which: str, tmp_path: Path) -> None:
    """The page as it is, in a frame of 420 pixels; the frame's owner measures."""
    (tmp_path / "narrow.html").write_text(
        "<!doctype html><iframe style='width:420px;height:900px' srcdoc='"
        + PAGES[which]().decode().replace("&", "&amp;").replace("'", "&#39;")
        + """'></iframe><p>-</p><script>const frame = document.querySelector("iframe");
        frame.onload = () => { const page = frame.contentDocument.documentElement;
        const cells = [...page.querySelectorAll("td")].map(cell => cell.getBoundingClientRect().right);
        document.querySelector("p").textContent = [page.clientWidth, page.scrollWidth, ...cells].join(" ");
        frame.remove(); }</script>"""
    )
    text = Parsed(browsed(tmp_path / "narrow.html")).text
    (found,) = re.findall(r"\d+ \d+ [\d. ]+", text)
    width, *others = map(float, found.split())
    assert len(others) > 20
    assert 380 < width <= 420
    assert max(others) <= width


def test_every_cell_of_a_table_with_headings_names_its_own() -> None:
    """What a narrow screen shows before each cell, as it shows no row of headings."""
    labels = [one.get("data-label") for one in Parsed(page("weights")).of("td")]
    assert set(FOUND_HEADINGS[1:]) <= set(labels)


def browsed(page: Path) -> bytes:
    """What Chromium made of a page; what it did on the network is in net.json beside it."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'profile'}",
               f"--log-net-log={page.parent / 'net.json'}", "--virtual-time-budget=2000", "--dump-dom",
               f"file://{page}"]  # fmt: skip
    return subprocess.run(command, capture_output=True, timeout=300, check=True).stdout


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine: its address without the scheme, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


FETCHES = (
    "<img src=//{0}/img><script src=//{0}/script></script><link rel=stylesheet href=//{0}/link><iframe src=//{0}/frame>"
    "</iframe><style>body{{background:url(//{0}/css)}}@import '//{0}/import';</style><base href=//{0}/><object data="
    "//{0}/object></object><video src=//{0}/video poster=//{0}/poster></video><svg><image href=//{0}/svg /></svg><body "
    "background=//{0}/body><meta http-equiv=refresh content='0;url=//{0}/refresh'><link rel=prefetch href=//{0}/fetch>"
    "<script>fetch('//{0}/run')</script><p style='background:url(//{0}/div)'>\"><img src=x onerror=fetch('//{0}/e')>"
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed; the parsers' checks above have run")
def test_a_browser_asks_nobody_for_anything(tmp_path: Path) -> None:
    """A server that is named in whatever others wrote waits, and is not asked; not even where no policy forbids it."""
    with listening() as (server, asked):
        fetches = (
            FETCHES.format(server).replace("=//", "=http://").replace("'//", "'http://").replace("(//", "(http://")
        )
        bare = f"<!doctype html><html><head><title>x</title></head><body>{fetches}</body></html>"
        (tmp_path / "bare.html").write_text(bare.replace("content='0;url", "data-x='0;url"))
        browsed(tmp_path / "bare.html")
        assert {"/img", "/script", "/link", "/run", "/div"} <= set(asked)  # the trap works
        asked.clear()
        told: dict[str, Any] = dict.fromkeys(NAMES, fetches)
        quoting = html_of(report_of(Given(given("text").verified, Commission(**told, sha256="0" * 64))))
        assert quoting.count(server.encode()) > 10
        open_to_all = re.sub(rb'<meta http-equiv="Content-Security-Policy"[^>]*>', b"", quoting)
        assert len(open_to_all) < len(quoting)
        for name, data in (("report", quoting), ("without-a-policy", open_to_all)):
            (tmp_path / f"{name}.html").write_bytes(data)
            assert b"Report on an examination" in browsed(tmp_path / f"{name}.html")
        assert asked == []


def test_as_pdf() -> None:
    weasyprint_or_skip()
    from detect.reports.printed import pdf_of

    made = pdf_of(hostile_page(), "ab" * 32)
    assert made.startswith(b"%PDF")
    for word in (b"/JavaScript", b"/JS", b"/Launch", b"/EmbeddedFile", b"/URI", b"/OpenAction", b"/SubmitForm"):
        assert word not in made
    assert len(made) < 4 << 20
    assert pdf_of(hostile_page(), "ab" * 32) == made


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="poppler's pdftotext is not installed")
def test_the_text_of_a_pdf_holds_nothing_hidden(tmp_path: Path) -> None:
    weasyprint_or_skip()
    from detect.reports.printed import pdf_of

    (tmp_path / "report.pdf").write_bytes(pdf_of(hostile_page(), "ab" * 32))
    done = subprocess.run(["pdftotext", tmp_path / "report.pdf", "-"], capture_output=True, check=True)
    text = done.stdout.decode("utf-8")
    assert {char for char in text if is_hidden(char)} <= {"\n", "\f"} | POPPLERS_OWN
    assert "⟨U+202E⟩" in text
    assert "⟨U+001B⟩" in text
    assert "<script>alert(1)</script>" in text.replace("\n", "")


def test_the_summary_is_one_page() -> None:
    weasyprint = weasyprint_or_skip()
    told = dict.fromkeys(NAMES, "What is asked here, and by whom, takes many words to say. " * 40)
    longest = Given(given("texts").verified, Commission(**told, sha256="0" * 64))
    pages = weasyprint.HTML(string=html_of(report_of(longest)).decode()).render().pages
    assert "contents" in pages[1].anchors
    assert "s1" not in pages[0].anchors
