"""Folding: what is undone, what stays as it is, and where each character came from."""

from __future__ import annotations

import random
import re
import string
import time
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detect.lookalikes import ALPHABETS, PHONETIC, TABLES, script, undisguised
from detect.normalise import KINDS, MOST_MARKS, looks_disguised, normalise
from tests.detect.material import docstrings, speech

# What attackers use: a Cyrillic or Greek letter for a Latin one.
CYRILLIC = dict(zip("aceopxyijsABCEHIJKMOPSTX", "асеорхуіјѕАВСЕНІЈКМОРЅТХ", strict=True))
GREEK = dict(zip("oivABEHIKMNOPTXYZ", "οινΑΒΕΗΙΚΜΝΟΡΤΧΥΖ", strict=True))
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u180e\u034f\ufe0f\u2063\U000e0061"

GENUINE = [
    "Съешь же ещё этих мягких французских булок, да выпей чаю. А о чём он? Группа A или B. Вектор X, цех CO.",
    "Всё смешалось в доме Облонских: за́мок и замо́к — iPhone 15 и Samsung.",
    "Їжак біг і сів. Ґанок, п'ять, єдність.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Και ο Άδωνις είπε: ναι, το νέον.",
    "می‌خواهم کتاب‌ها را بخوانم",
    "क्‍ष और क्‌ष, श्री",
    "שָׁלוֹם עֲלֵיכֶם ‏(שלום)",
    "你好，世界！\u3000全角。（括号）１２３は数字ではない"[:-11],
    "일본어 한국어 中文 カタカナ ﾊﾝｶｸ",
    "Tiếng Việt có dấu: ắ ằ ẵ ặ; naïve café, Straße, œuvre, Łódź, İstanbul ısı, ğ",
    "👩‍💻 ❤️ 👨‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🇩🇪 👍🏽 1️⃣ ☎️",
    "H₂O, x² + y² = ½, 5 µm, 20 °C, № 7, ①, ™, 3 × 4 ≤ 12 — so – or «so»; ‚tief‘"[:-7],
    "let ρ be the density, ν the frequency, Δx and λ",
    "əˈlaɪv ʃ ŋ",
]

UNDONE = [
    ("zero_width", "H\u200be\u200dl\u2060l\u00ado", "Hello", 4),
    ("zero_width", "\ufeffa\u202eb\u202c\x00c\x1bd", "abcd", 5),
    ("zero_width", "a\ufe0fb\u034fc\u115fd\u3164", "abcd", 4),
    ("zero_width", "1\ufe0f 2", "1 2", 1),
    ("space", "a\u00a0b\u2003c\u202fd\u205fe\u2800f", "a b c d e f", 5),
    ("space", "one\r\ntwo\rthree\u2028four\x85five", "one\ntwo\nthree\nfour\nfive", 4),
    ("space", "a\u3000b", "a b", 1),
    ("space", "\n  the  sea   is\n    grey  é ", "\n  the sea is\n    grey é ", 4),
    ("space", "a \u00a0b", "a b", 2),
    ("zero_width", "a\u2065b\ufff0c\U000e0000d\U000e0fffe 1\ufe01\U000e01ef", "abcde 1", 6),
    ("zero_width", "你\u200d好\ufe00，\U000e01ef世\u200c界 か\u200dな 한\u3164국", "你好，世界 かな 한국", 6),
    ("compatibility", "“Hi” it’s ‘so’… a‑b", "\"Hi\" it's 'so'... a-b", 7),
    ("compatibility", "Ｆｕｌｌ１", "Full1", 5),
    ("compatibility", "𝐁𝒐𝓁𝔡 𝟙 ﬁ ﬄ ⓐ Ⅷ", "Bold 1 fi ffl a VIII", 9),
    ("compatibility", "cafe\u0301 A\u030a", "café Å", 2),
    ("compatibility", "m\u0336a\u0335r\u20d2k\u0489 é\u0336", "mark é", 5),
    ("compatibility", "\u1112\u1161\u11ab", "한", 1),
    ("homoglyph", "рayment оf thе bіll", "payment of the bill", 4),
    ("homoglyph", "\u039d\u0391M\u0395S l\u0430t\u0435r", "NAMES later", 5),
    ("homoglyph", "we saw а cat and со on", "we saw a cat and co on", 3),
    ("homoglyph", "ɡreat ɑpple օne Ꭺlso", "great apple one Also", 4),
    ("homoglyph", "пpивeт, миp", "привет, мир", 3),
    ("homoglyph", "κaλημέρa", "καλημέρα", 2),
    ("homoglyph", "hοtel", "hotel", 1),
]


class TestUndone:
    @pytest.mark.parametrize(("kind", "attacked", "expected", "count"), UNDONE)
    def test_each_trick_and_its_count(self, kind: str, attacked: str, expected: str, count: int) -> None:
        result = normalise(attacked)
        assert result.text == expected
        assert result.changes == {**dict.fromkeys(KINDS, 0), kind: count}

    def test_tricks_on_top_of_each_other(self) -> None:
        result = normalise("р\u200bа\u00adу\u2003Ｍｅ\u0301\u200c ‘nоw’\r\n")
        assert result.text == "pay Mé 'now'\n"
        assert set(result.changes) == set(KINDS)
        assert all(result.changes.values())

    @pytest.mark.parametrize("rate", [0.1, 0.3, 0.6])
    @pytest.mark.parametrize("table", [CYRILLIC, GREEK])
    def test_lookalikes_in_human_text(self, table: dict[str, str], rate: float) -> None:
        rng, text = random.Random(1), speech()[:20_000]
        attacked = "".join(table[c] if c in table and rng.random() < rate else c for c in text)
        changed = sum(a != b for a, b in zip(text, attacked, strict=True))
        result = normalise(attacked).text
        words = zip(re.findall(r"\w+", text), re.findall(r"\w+", result), strict=True)
        wrong = sum(a != b for a, b in words)
        assert changed > 200
        assert wrong < 0.01 * len(re.findall(r"\w+", text))

    def test_zero_width_characters_in_human_text(self) -> None:
        rng = random.Random(2)
        for text in ("\n".join(docstrings()[:20]), speech()):
            text = normalise(text).text
            attacked = "".join(c + (rng.choice(ZERO_WIDTH) if rng.random() < 0.2 else "") for c in text)
            result = normalise(attacked)
            assert result.text == text
            assert result.changes["zero_width"] == len(attacked) - len(text) > 100


class TestMarks:
    """One character can carry any number of them, and a hostile answer does."""

    @pytest.mark.parametrize("base", ["a", "я", "あ", "\u0995"])
    @pytest.mark.parametrize("marks", ["\u0301", "\u0316\u0301\u0334", "\u0316\u302a"])
    def test_time_is_linear(self, base: str, marks: str) -> None:
        began = time.process_time()
        result = normalise(f"so {base}{marks * 100_000} on")
        assert time.process_time() - began < 20  # quadratic: hours
        assert result.is_disguise
        assert len(result.text) <= 6 + 1 + MOST_MARKS

    def test_what_is_too_many_is_counted_and_leaves_the_places_right(self) -> None:
        result = normalise("あ" + "\u3099\u0316" * 40 + " い")
        assert result.text[-2:] == " い"
        assert result.changes["compatibility"] >= 80 - MOST_MARKS
        assert result.original_range(len(result.text) - 1, len(result.text)) == (82, 83)

    def test_as_many_as_anyone_writes_stay(self) -> None:
        text = "ก" + "\u0e34\u0e48" * (MOST_MARKS // 2) + " Z"
        assert normalise(text).text == text


class TestGenuine:
    @pytest.mark.parametrize("text", GENUINE)
    def test_it_stays_as_it_is(self, text: str) -> None:
        text = unicodedata.normalize("NFC", text)
        result = normalise(text)
        assert result.text == text
        assert result.text is text
        assert not any(result.changes.values())

    @given(st.text(alphabet=string.printable.replace("\r", ""), max_size=200))
    @settings(max_examples=200, deadline=None)
    def test_plain_ascii(self, text: str) -> None:
        whole = re.sub(r"(?<=[0-9A-Za-z])[\v\f]+(?=[0-9A-Za-z])", "", text)
        single = re.sub(r"(?<=\S) +(?=\S)", " ", whole)
        assert normalise(text).text == single
        gone = {"zero_width": len(text) - len(whole), "space": len(whole) - len(single)}
        assert normalise(text).changes == {**dict.fromkeys(KINDS, 0), **gone}


class TestDisguise:
    @pytest.mark.parametrize("char", ["\v", "\f", "\v\f\v", "\U0001d159", "\ufffc", "\U00013441", "\U00013442"])
    def test_what_draws_nothing_inside_a_word_is(self, char: str) -> None:
        result = normalise(f"re{char}mem{char}ber")
        assert (result.text, result.is_disguise) == ("remember", True)
        assert result.changes["zero_width"] == 2 * len(char)

    @pytest.mark.parametrize("text", ["end.\fNext page", "one\n\fTwo", "a \v b", "\f", "\fword", "word\v"])
    def test_feeds_between_words_stay(self, text: str) -> None:
        assert normalise(text).text == text

    @pytest.mark.parametrize(
        "word", ["sⲟme", "ꮯalm", "ꮪaid", "wⲅote", "fꮁom", "wꭰy", "nⲟ", "hოme", "wဝrd", "wഠrd", "f𐑈st", "lەt", "ⲟf"]
    )
    def test_a_word_of_two_scripts_is_though_no_table_has_the_letter(self, word: str) -> None:
        result = normalise(f"and {word} it was")
        assert (result.is_disguise, result.mixed) == (True, 1)

    @pytest.mark.parametrize(
        "text",
        [
            "TNFα and Δx, 5 μm, IFNγR1", "Tシャツ、AI는 좋다、用Python写", "ใช้Pythonกับ", "الـPDF و Wi-Fi", "iPhone से",
            "1ª vez, 2º, naïve Łódź", "x𝔸, ℝ, Ⅷ", "В VIP-зале",
        ],
    )  # fmt: skip
    def test_scripts_side_by_side_are_none(self, text: str) -> None:
        assert normalise(text).mixed == 0

    TEXT = "The rain fell on the harbour, and the boats were still. He counted the coins twice.\n"

    @pytest.mark.parametrize("text", [*GENUINE, TEXT, "", speech()[:5000], f"“{TEXT}” – it’s", f"    {TEXT}  \r\n"])
    def test_what_people_write_is_none(self, text: str) -> None:
        assert not normalise(unicodedata.normalize("NFC", text)).is_disguise

    @pytest.mark.parametrize("old", [" ", "e", "the"])
    @pytest.mark.parametrize("new", ["{}\u200b", "{}\ufe0f", "{}\u2065", "{}\U000e0fff"])
    def test_anything_invisible_is(self, old: str, new: str) -> None:
        assert normalise(self.TEXT.replace(old, new.format(old))).is_disguise
        assert normalise(self.TEXT.replace(old, new.format(old), 1)).is_disguise

    @pytest.mark.parametrize(("old", "new"), [(" ", "  "), (" ", "\u00a0"), ("e", "\uff45"), ("e", "е"), ("t", "𝐭")])
    def test_so_are_many_odd_ones(self, old: str, new: str) -> None:
        assert normalise(self.TEXT.replace(old, new)).is_disguise

    @pytest.mark.parametrize(("count", "told"), [(5, False), (6, True)])
    def test_what_many_are(self, count: int, told: bool) -> None:
        """One in twenty characters, of 100."""
        text = "\u00a0b" * count + "a" * (100 - 2 * count)
        assert normalise(text).is_disguise == told


class TestLaws:
    MIXED = st.text(
        alphabet=st.one_of(
            st.sampled_from("abcehmnoprstuxyABEKO .,\n0\r\u00a0\u200b\u200d\ufe0f\u0301\u0336\u0301ﬁ“’…👍क्ש你"),
            st.sampled_from("аеорсухіӏньАВЕКОοανικΑΒΕΚΟɡօ"),
            st.characters(blacklist_categories=["Cs"]),
        ),
        max_size=60,
    )

    @given(MIXED)
    @settings(max_examples=1000, deadline=None)
    def test_origins(self, text: str) -> None:
        result = normalise(text)
        assert result.origin.shape == (len(result.text) + 1,)
        assert (np.diff(result.origin) >= 0).all()
        assert result.origin[-1] == len(text)
        for at, char in enumerate(result.text):
            start, end = result.original_range(at, at + 1)
            assert 0 <= start < end <= len(text)
            if char in string.ascii_letters and text[start] in string.ascii_letters:
                assert char == text[start]
        assert result.original_range(0, len(result.text))[1] == len(text) or not result.text
        if result.text == text:
            assert not any(result.changes.values())
            assert (result.origin == np.arange(len(text) + 1)).all()

    @given(MIXED)
    @settings(max_examples=1000, deadline=None)
    def test_nothing_invisible_is_left_between_plain_letters(self, text: str) -> None:
        assert not re.search("[a-z][\u200b\u200c\u200d\u2060\ufe0f\xad][a-z]", normalise(text).text)

    @pytest.mark.parametrize("text", [*(one[1] for one in UNDONE), *GENUINE, speech()])
    def test_twice_is_once(self, text: str) -> None:
        once = normalise(text).text
        assert normalise(once).text == once

    @given(MIXED)
    @settings(max_examples=1000, deadline=None)
    def test_twice_is_once_whatever_comes(self, text: str) -> None:
        once = normalise(text)
        again = normalise(once.text)
        assert again.text == once.text
        assert not any(again.changes.values())

    PIECES = st.one_of(st.sampled_from(["plain words ", "a  b", "   ", "\n", "\r\n", "é", "…"]), MIXED)

    @given(st.lists(PIECES, max_size=30))
    def test_a_look_tells_a_disguise_as_the_whole_does(self, parts: list[str]) -> None:
        for text in ("".join(parts), "".join(parts) + 30 * "plain words, "):
            assert looks_disguised(text) == normalise(text).is_disguise

    def test_a_range_covers_what_was_removed_inside(self) -> None:
        result = normalise("xx a\u200bb ﬁn\u200b yy")
        at = result.text.index("ab")
        assert result.original_range(at, at + 2) == (3, 6)
        at = result.text.index("in")
        assert result.original_range(at, at + 1) == (7, 8)  # the ligature whole
        assert result.original_range(at, at) == (7, 7)
        spaced = normalise("the   sea")
        assert spaced.text == "the sea"
        assert [spaced.original_range(*at) for at in ((2, 4), (3, 4), (4, 5))] == [(2, 6), (3, 6), (6, 7)]


class TestTables:
    def test_each_letter_belongs_to_another_script_and_stands_for_one_of_the_target(self) -> None:
        assert {name: len(table) > 30 for name, table in TABLES.items()} == dict.fromkeys(TABLES, True)
        for target, table in TABLES.items():
            for char, plain in table.items():
                assert script(plain) == target, (char, plain)
                assert script(char) != target, (char, plain)
                assert script(char) in ALPHABETS | {PHONETIC}
                assert len(char) == len(plain) == 1
                assert normalise(char).text == char
                assert normalise(plain).text == plain

    def test_case_is_kept(self) -> None:
        for table in TABLES.values():
            for char, plain in table.items():
                if script(char) in ("CYRILLIC", "GREEK", "LATIN") and char != "ӏ":
                    assert char.islower() == plain.islower(), (char, plain)

    def test_plain_text_is_not_even_searched(self) -> None:
        text = "plain text"
        assert undisguised(text) == (text, 0)
        assert undisguised(text)[0] is text
