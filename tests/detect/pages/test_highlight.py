"""The highlighted page: right colours, right words, and questioned text that stays text."""

from __future__ import annotations

import errno
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.counting import tally
from detect.evidence import Evidence, assess
from detect.pages.highlight import Look, highlight_page
from detect.pages.spelling import Spelling, decoder, spell
from detect.readers import Collection, Row, tokenized
from detect.wording import probability_words
from tests import tiny
from watermark import GreenList, Key
from watermark.engines.models import load_tokenizer
from watermark.errors import InputError

VOID = {"meta", "br", "link"}
HOSTILE = (
    "<script>alert(1)</script> \"><img src=x onerror=alert(1)> ' onmouseover='x </span></div></title>\n"
    "<style>*{display:none}</style><iframe src=//x></iframe> {{ 7*7 }} {% raw %} &lt;b&gt; &#60; <!-- ]]> --> "
    "a\u202eb\u2066c\u200bd\u00ade\x00f\x1b[31m\u2028 \ufeff\u00a0\ttab\r\n✓ 😀 👩\u200d💻 中文 שלום é\u0301\n\n"
)
FORBIDDEN = (
    "proves|proof|match|guilty|caught|thief|certain|confidence|ngram|n-gram|hash_key|verdict|steal|stolen|copied from"
)


class Page(HTMLParser):
    """Every tag with its attributes, and the text of the tokens as a reader would get it back."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.documents: list[list[tuple[dict[str, str | None], str]]] = []  # per document: (attributes, text)
        self.announced: list[str] = []
        self.visible = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag in VOID:
            return
        self.open.append((tag, attributes))
        if tag == "div":
            self.documents.append([])
        elif self.documents and self.is_token(attributes):
            self.documents[-1].append((attributes, ""))

    def is_token(self, attributes: dict[str, str | None]) -> bool:
        return any(tag == "div" for tag, _ in self.open) and (attributes.get("class") or "").startswith("t ")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        classes = [attributes.get("class") for _, attributes in self.open]
        if "style" not in [tag for tag, _ in self.open]:
            self.visible += data
        if not any(tag == "div" for tag, _ in self.open):
            return
        kind = classes[-1]
        if kind == "sr":
            self.announced.append(data)
            return
        if kind == "newline":
            data = {"↵": "\n"}[data]
        elif kind == "tab":
            data = {"⇥": ""}[data]  # the tab itself follows
        elif kind == "escape":
            data = chr(int(re.fullmatch(r"⟨U\+([0-9A-F]{4,6})⟩", data)[1], 16))  # type: ignore[index]
        attributes, text = self.documents[-1][-1]
        self.documents[-1][-1] = (attributes, text + data)

    def text(self, document: int = 0) -> str:
        return "".join(text for _, text in self.documents[document])

    def states(self, document: int = 0) -> list[str]:
        return [(attributes["class"] or "").split()[1] for attributes, _ in self.documents[document]]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(tiny.shared())


@pytest.fixture(scope="module")
def key(tokenizer: Any) -> Key:
    return fixed_key(tokenizer)


def fixed_key(tokenizer: Any, width: int = 1, first_byte: int = 0) -> Key:
    """The same key in every run: what these tests expect must not depend on luck."""
    parameters = Key.generate(tokenizer=tokenizer, context_width=width).parameters
    return Key(bytes(range(first_byte, first_byte + 32)), parameters)


def evidence_of(key: Key, collection: Collection, notes: tuple[str, ...] = ()) -> Evidence:
    return assess(tally(key, collection.documents, collection.prompts), notes=[*collection.notes, *notes])


def page_of(key: Key, collection: Collection, path: Path, **options: Any) -> Page:
    highlight_page(key, Look(collection, evidence_of(key, collection, options.pop("notes", ()))), path, **options)
    return Page(path.read_text(encoding="utf-8"))


def collect(tokenizer: Any, *texts: str, prompt: str | None = None, width: int = 1) -> Collection:
    return tokenized([Row(f"d{i}", "", text, None, prompt) for i, text in enumerate(texts)], width, lambda: tokenizer)


def ids_collection(*documents: Any, prompts: tuple[Any, ...] = ()) -> Collection:
    arrays = [np.asarray(document, dtype=np.uint32) for document in documents]
    return Collection(arrays, [f"d{i}" for i in range(len(arrays))], [], [np.asarray(p, np.uint32) for p in prompts])


class TestColours:
    @pytest.mark.parametrize("width", [0, 1, 2, 5])
    def test_every_state_by_the_rule_in_slow_motion(self, tokenizer: Any, tmp_path: Path, width: int) -> None:
        key = fixed_key(tokenizer, width)
        rng = np.random.default_rng(width)
        common = {0: 60, 1: 9, 2: 5, 5: 2}[width]  # few enough that windows recur
        pool = [*range(3, 3 + common)] * (40 // common + 1) + [0, 1, 2]
        documents = [rng.choice(pool, size=150).tolist() for _ in range(3)]
        prompts = ([5, 6, 7, 3, 3, 5, 6, 3], documents[1][20:30])
        collection = ids_collection(*documents, prompts=prompts)
        page = page_of(key, collection, tmp_path / "p.html", tokenizer=tokenizer)

        green = GreenList(key)
        in_prompt = {tuple(p[i - width : i + 1]) for p in prompts for i in range(width, len(p))}
        seen: set[tuple[int, ...]] = set()
        for number, ids in enumerate(documents):
            expected = []
            for i in range(len(ids)):
                window = tuple(ids[i - width : i + 1])
                if i < width:
                    expected.append("start")
                elif set(window) & {0, 1, 2}:
                    expected.append("special")
                elif window in in_prompt:
                    expected.append("prompt")
                elif window in seen:
                    expected.append("repeated")
                else:
                    seen.add(window)
                    row = green.mask(np.array([window[:-1]], dtype=np.int64).reshape(1, width), len(tokenizer))
                    expected.append("green" if row[0, ids[i]] else "red")
            assert page.states(number) == expected
        everything = {state for number in range(3) for state in page.states(number)}
        assert everything == {"green", "red", "repeated", "special", "prompt"} | ({"start"} if width else set())

    def test_numbers_on_the_page_are_those_of_the_evidence(self, key: Key, tokenizer: Any, tmp_path: Path) -> None:
        collection = collect(tokenizer, *tiny.SENTENCES, tiny.SENTENCES[0], prompt="The boats were still.")
        evidence = evidence_of(key, collection)
        page = page_of(key, collection, tmp_path / "p.html", tokenizer=tokenizer)
        states = [state for number in range(6) for state in page.states(number)]
        assert len(states) == evidence.n_tokens
        assert states.count("green") == evidence.n_green
        assert states.count("green") + states.count("red") == evidence.n_scored
        assert f"{evidence.n_green} of {evidence.n_scored}" in page.visible
        assert f"{evidence.green_fraction:.1%}" in page.visible
        html = (tmp_path / "p.html").read_text()
        for state in ("green", "red", "repeated", "prompt", "special", "start"):
            (count,) = re.findall(rf'<span class="t {state}">[a-z ]+</span></th>\s*<td class="number">(\d+)</td>', html)
            assert int(count) == states.count(state)

    def test_reasons_on_hover_and_for_screen_readers(self, key: Key, tokenizer: Any, tmp_path: Path) -> None:
        page = page_of(key, ids_collection([9, 9, 9, 9, 1, 9], prompts=([50, 51],)), tmp_path / "p.html")
        titles = [attributes["title"] for attributes, _ in page.documents[0]]
        assert titles[0] == "not counted: too few tokens come before it in its document; token id 9"
        assert titles[1] in ("green; token id 9", "red; token id 9")
        assert titles[2] == titles[3] == "not counted: the same pair was counted earlier; token id 9"
        assert titles[4] == "not counted: it, or its context, holds a special token; token id 1"
        assert [said.strip() for said in page.announced] == [
            f"[{title.split(';')[0]}]" for title in (titles[0], titles[1], titles[2], titles[4]) if title
        ]

    def test_colours_differ_by_more_than_hue(self, key: Key, tmp_path: Path) -> None:
        page_of(key, ids_collection(range(3, 40)), tmp_path / "p.html")
        html = (tmp_path / "p.html").read_text()
        (green,) = re.findall(r"^\.green \{.*border-bottom: 3px (\w+)", html, re.MULTILINE)
        (red,) = re.findall(r"^\.red \{.*border-bottom: 3px (\w+)", html, re.MULTILINE)
        assert (green, red) == ("solid", "dotted")
        assert "prefers-color-scheme: dark" in html

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_contrast(self, key: Key, tmp_path: Path, scheme: str) -> None:
        page_of(key, ids_collection(range(3, 40)), tmp_path / "p.html")
        blocks = re.findall(r":root \{(.*?)\}", (tmp_path / "p.html").read_text(), re.DOTALL)
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", blocks[scheme == "dark"]))

        def luminance(name: str) -> float:
            parts = [int(colours[name][i : i + 2], 16) / 255 for i in (1, 3, 5)]
            linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
            return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

        def contrast(one: str, other: str) -> float:
            low, high = sorted((luminance(one), luminance(other)))
            return (high + 0.05) / (low + 0.05)

        text = [("ink", "green"), ("ink", "red"), ("ink", "page"), ("soft", "page"), ("grey", "card")]
        text += [("mark", ground) for ground in ("card", "green", "red")]
        assert {pair: contrast(*pair) for pair in text if contrast(*pair) < 4.5} == {}
        assert contrast("green-line", "green") > 3
        assert contrast("red-line", "red") > 3


class TestHostileText:
    def test_it_stays_text(self, key: Key, tokenizer: Any, tmp_path: Path) -> None:
        rows = [Row(HOSTILE, "", HOSTILE), Row("plain", "", "The boats")]
        collection = tokenized(rows, 1, lambda: tokenizer)
        page = page_of(key, collection, tmp_path / "p.html", tokenizer=tokenizer, notes=(HOSTILE,))
        tags = {tag for tag, _ in page.tags}
        assert tags <= {
            *("html", "head", "meta", "title", "style", "body", "main", "section", "h1", "h2", "h3", "p", "strong"),
            *("table", "tr", "th", "td", "span", "div", "br", "bdi", "ul", "li", "footer"),
        }
        assert sum(tag == "style" for tag, _ in page.tags) == 1
        names = {name for _, attributes in page.tags for name in attributes}
        assert names <= {"lang", "charset", "http-equiv", "content", "name", "class", "title", "scope"}
        assert page.text(0) == HOSTILE
        assert page.text(1) == "The boats"
        assert page.open == []

    def test_nothing_in_the_file_steers_the_reader(self, key: Key, tokenizer: Any, tmp_path: Path) -> None:
        rows = [Row(HOSTILE, "", HOSTILE)]
        page_of(key, tokenized(rows, 1, lambda: tokenizer), tmp_path / "p.html", tokenizer=tokenizer, notes=(HOSTILE,))
        html = (tmp_path / "p.html").read_text(encoding="utf-8")
        odd = {char for char in html if not char.isprintable() and char != "\n"}
        assert odd == set()  # the one tab of the text is written &#9;
        assert "&#9;" in html
        assert "49" not in re.findall(r">([^<>]*7\*7[^<>]*)<", html)

    def test_random_text_comes_back(self, key: Key, tokenizer: Any, tmp_path: Path) -> None:
        rng = np.random.default_rng(5)
        pool = [chr(c) for c in range(0x3000) if not 0xD800 <= c < 0xE000] + list("😀𐍈�<>&\"'⟨⟩")
        text = "".join(rng.choice(pool, size=4000))
        page = page_of(key, collect(tokenizer, text), tmp_path / "p.html", tokenizer=tokenizer)
        assert page.text() == text

    def test_no_network_no_script(self, key: Key, tokenizer: Any, tmp_path: Path) -> None:
        page = page_of(key, collect(tokenizer, *tiny.SENTENCES), tmp_path / "p.html", tokenizer=tokenizer)
        policies = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
        html = (tmp_path / "p.html").read_text()
        assert not re.search(r"https?:|//|url\(|@import|javascript:|src=|href=", html)


class TestWords:
    def test_no_secret_and_no_path(self, key: Key, tokenizer: Any, tmp_path: Path) -> None:
        key.save(tmp_path / "k.key")
        secret = re.search(r'"secret": "([0-9a-f]{64})"', (tmp_path / "k.key").read_text())[1]  # type: ignore[index]
        page_of(key, collect(tokenizer, *tiny.SENTENCES), tmp_path / "p.html", tokenizer=tokenizer)
        html = (tmp_path / "p.html").read_text()
        assert key.key_id in html
        for hidden in (secret, key.chacha_key.hex(), str(tiny.shared()), tiny.shared().name):
            assert hidden not in html

    @pytest.mark.parametrize("finding", ["detected", "inconclusive", "not detected"])
    def test_each_finding_in_plain_words(self, key: Key, tmp_path: Path, finding: str) -> None:
        rng = np.random.default_rng(3)
        green = GreenList(key).mask(np.arange(384).reshape(-1, 1), 384)
        ids = [10]
        for _ in range(60 if finding == "inconclusive" else 600):
            allowed = np.flatnonzero(green[ids[-1]]) if finding == "detected" else np.arange(384)
            ids.append(int(rng.choice(allowed[allowed > 2])))
        collection = ids_collection(ids)
        assert evidence_of(key, collection).finding == finding
        page = page_of(key, collection, tmp_path / "p.html")
        words = " ".join(page.visible.split())
        expected = {
            "detected": "The mark of this key was detected.",
            "inconclusive": "Inconclusive: too little was counted to tell.",
            "not detected": "The mark of this key was not detected.",
        }
        assert [finding for finding, text in expected.items() if text in words] == [finding]
        assert ("probability below 10^-30." in words) == (finding == "detected")
        assert ("nothing follows from not finding one" in words) == (finding == "inconclusive")
        assert ("which green fraction would have been found" in words) == (finding == "not detected")
        assert not re.search("usual|very likely|planned size", words)
        assert "It does not say who wrote, copied or passed on the text" in words
        assert not re.search(FORBIDDEN, words, re.IGNORECASE)

    @pytest.mark.parametrize(
        ("log10_p", "words"),
        [
            (0.0, "about 1"),
            (-0.5, "about 0.32"),
            (-1.99, "about 0.01"),
            (-2.0, "below 10^-1"),
            (-2.01, "below 10^-2"),
            (-12.9, "below 10^-12"),
            (-29.5, "below 10^-29"),
            (-30.0, "below 10^-29"),
            (-30.5, "below 10^-30"),
            (-4000.0, "below 10^-30"),
        ],
    )
    def test_probabilities(self, log10_p: float, words: str) -> None:
        assert probability_words(log10_p) == words

    def test_no_p_where_none_is_claimed(self, key: Key, tmp_path: Path) -> None:
        from detect.evidence import Assessment

        collection = ids_collection(range(3, 40))
        evidence = assess(tally(key, collection.documents), Assessment(probes_marked=True))
        assert evidence.log10_p_adjusted is None
        highlight_page(key, Look(collection, evidence), tmp_path / "p.html")
        page = Page((tmp_path / "p.html").read_text())
        assert "No probability is claimed" in page.visible
        assert "10^-" not in page.visible.split("Notes")[0]


class TestShortening:
    def test_the_first_tokens_are_shown_all_are_counted(self, key: Key, tokenizer: Any, tmp_path: Path) -> None:
        collection = collect(tokenizer, *tiny.SENTENCES)
        first, second = len(collection.documents[0]), len(collection.documents[1])
        whole = page_of(key, collection, tmp_path / "whole.html", tokenizer=tokenizer)
        total = sum(map(len, collection.documents))
        page = page_of(key, collection, tmp_path / "p.html", tokenizer=tokenizer, max_tokens=first + 3)
        assert [len(document) for document in page.documents] == [first, 3]
        assert page.states(0) + page.states(1) == whole.states(0) + whole.states(1)[:3]
        assert f"{total - first - 3} of {total} tokens are not shown" in page.visible
        assert f"{second} tokens, the first 3 shown" in page.visible
        assert "Documents not shown: 3." in page.visible
        assert "not shown" not in whole.visible
        counted = re.findall(r"(\d+) of (\d+) counted", page.visible.replace("\n", " "))
        assert counted == re.findall(r"(\d+) of (\d+) counted", whole.visible.replace("\n", " "))

    def test_default_limit(self, key: Key, tmp_path: Path) -> None:
        page = page_of(key, ids_collection(np.arange(25_000) % 300 + 3), tmp_path / "p.html")
        assert len(page.documents[0]) == 20_000
        assert "5,000 of 25,000 tokens are not shown" in page.visible


class TestIds:
    def test_without_a_tokenizer_the_ids_are_shown(self, key: Key, tmp_path: Path) -> None:
        page = page_of(key, ids_collection([9, 70000, 4]), tmp_path / "p.html")
        assert page.text() == "9 70000 4 "
        assert "token ids are shown instead of text" in page.visible

    def test_an_id_beyond_the_vocabulary(self, key: Key, tokenizer: Any, tmp_path: Path) -> None:
        collection = ids_collection([9, 70000, 4])
        highlight_page(key, Look(collection, evidence_of(key, collection)), tmp_path / "p.html", tokenizer=tokenizer)
        assert '<span class="escape">⟨id 70000⟩</span>' in (tmp_path / "p.html").read_text()


class TestRefusals:
    def test_evidence_of_another_collection_or_key(self, key: Key, tokenizer: Any, tmp_path: Path) -> None:
        collection, other = ids_collection(range(3, 40)), ids_collection(range(3, 50))
        for evidence in (evidence_of(key, other), evidence_of(fixed_key(tokenizer, first_byte=1), collection)):
            with pytest.raises(ValueError, match="not the count of this collection"):
                highlight_page(key, Look(collection, evidence), tmp_path / "p.html")
        assert list(tmp_path.iterdir()) == []

    def test_never_over_something(self, key: Key, tmp_path: Path) -> None:
        (tmp_path / "p.html").write_text("mine")
        with pytest.raises(InputError, match="already exists"):
            page_of(key, ids_collection(range(3, 40)), tmp_path / "p.html")
        assert (tmp_path / "p.html").read_text() == "mine"

    def test_a_full_disk(self, key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(InputError, match=r"p\.html cannot be written \(No space left on device\)"):
            page_of(key, ids_collection(range(3, 40)), tmp_path / "p.html")
        assert list(tmp_path.iterdir()) == []


def byte_level(tokenizer: Any, data: bytes) -> list[int]:
    """Ids of single bytes in a byte-level vocabulary: how a model writes what no tokenizer would."""
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2's alphabet: these stand for themselves
    others = [byte for byte in range(256) if byte not in letters]
    alphabet = {byte: chr(byte) for byte in letters} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [tokenizer.convert_tokens_to_ids(alphabet[byte]) for byte in data]


class TestSpelling:
    @staticmethod
    def spelled(tokenizer: Any, ids: list[int]) -> list[Spelling]:
        return spell(ids, decoder(tokenizer), len(tokenizer))

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (b"ab", ["a", "b"]),
            ("a✓b".encode(), ["a", "✓", None, None, "b"]),
            ("😀😀".encode(), ["😀", None, None, None, "😀", None, None, None]),
            (b"\xe2\x9ca", ["\ufffd", None, "a"]),  # two bytes of three, then another letter
            (b"\xe2\xe2\x9c\x93", ["\ufffd", "✓", None, None]),
            (b"\xffa", ["\ufffd", "a"]),
            (b"\xff\xff", ["\ufffd", "\ufffd"]),
            (b"a\xe2\x9c", ["a", "\ufffd", None]),  # the text ends inside a character
            ("�a".encode(), ["�", None, None, "a"]),  # the replacement character itself, quoted
            (b"\x80" * 20 + b"a", ["\ufffd"] * 20 + ["a"]),
        ],
    )
    def test_bytes(self, tokenizer: Any, data: bytes, expected: list[str | None]) -> None:
        ids = byte_level(tokenizer, data)
        assert tokenizer.decode(ids) == data.decode("utf-8", "replace")
        spelled = self.spelled(tokenizer, ids)
        assert [None if token.continues else token.text for token in spelled] == expected
        assert "".join(token.text for token in spelled) == tokenizer.decode(ids)

    def test_random_bytes_join_to_the_decoded_text(self, tokenizer: Any) -> None:
        rng = np.random.default_rng(2)
        for _ in range(300):
            valid = "".join(chr(c) for c in rng.choice([0x61, 0xE9, 0x2713, 0x1F600, 0x20], size=6)).encode()
            ids = byte_level(tokenizer, bytes(rng.choice(list(valid), size=8)) + valid)
            spelled = self.spelled(tokenizer, ids)
            assert len(spelled) == len(ids)
            assert "".join(token.text for token in spelled) == tokenizer.decode(ids)

    def test_special_tokens_are_spelled_out(self, tokenizer: Any) -> None:
        ids = [1, *byte_level(tokenizer, b"a b"), 2]
        assert [token.text for token in self.spelled(tokenizer, ids)] == ["<|im_start|>", "a", " ", "b", "<|im_end|>"]

    def test_an_id_without_text_keeps_its_place(self, tokenizer: Any) -> None:
        ids = [*byte_level(tokenizer, b"a\xe2"), 10**6, *byte_level(tokenizer, b"b")]
        assert [token.text for token in self.spelled(tokenizer, ids)] == ["a", "\ufffd", "", "b"]
        assert self.spelled(tokenizer, []) == []

    def test_spaces_where_the_decoder_strips_the_first(self) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        bytes_ = {f"<0x{byte:02X}>": byte for byte in range(256)}
        words = {"▁the": 256, "▁boats": 257, "s": 258, "▁": 259, "<unk>": 260}
        core = Tokenizer(models.BPE(vocab=bytes_ | words, merges=[], unk_token="<unk>", byte_fallback=True))
        core.pre_tokenizer = pre_tokenizers.Metaspace()
        core.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        sentencepiece = PreTrainedTokenizerFast(tokenizer_object=core)
        ids = [256, 257, 258, 0xE2, 0x9C, 0x93, 259, 256]
        assert sentencepiece.decode(ids) == "the boatss✓  the"
        spelled = self.spelled(sentencepiece, ids)
        assert [token.text for token in spelled] == ["the", " boats", "s", "✓", "", "", " ", " the"]
        assert [token.continues for token in spelled] == [False] * 4 + [True, True, False, False]

    def test_a_slow_tokenizer(self) -> None:
        class Slow:
            def decode(self, ids: list[int], **options: Any) -> str:
                assert options == {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
                return bytes(ids).decode("utf-8", "replace")

        spelled = spell(list("né".encode()), decoder(Slow()), 256)
        assert [token.text for token in spelled] == ["n", "é", ""]
