"""Hidden characters are spelled out wherever text is shown."""

from __future__ import annotations

from pathlib import Path

from detect.visible import is_hidden, is_ignorable, one_line, segments


class TestVisible:
    HIDDEN = (
        "\0\t\n\r\x1b\x7f\x85\u00a0\u00ad\u034f\u061c\u115f\u180e\u2009\u200b\u200d\u200e\u2028\u202e"
        "\u2066\u2800\u3164\ufe0f\ufeff\ue000\udc80\U000e0041"
    )

    def test_hidden_characters(self) -> None:
        assert [char for char in self.HIDDEN if not is_hidden(char)] == []
        assert [char for char in " aZ~é中ש😀✓\u0301" if is_hidden(char)] == []

    def test_default_ignorable_characters(self) -> None:
        """The code points that Unicode 17 lists: 4,174."""
        ignorable = [number for number in range(0x110000) if is_ignorable(chr(number))]
        assert len(ignorable) == 4174
        assert {0xAD, 0x2065, 0xFFF0, 0xFFF8, 0xE0000, 0xE01EF, 0xE0FFF} < set(ignorable)
        assert not {0x20, 0x2800, 0xFFF9, 0xFE10, 0xE1000} & set(ignorable)
        assert all(is_hidden(chr(number)) for number in ignorable)

    def test_segments_join_to_the_text(self) -> None:
        text = f"ab{self.HIDDEN}cd\n\tüx"
        parts = list(segments(text))
        assert "".join(part for _, part in parts) == text
        assert parts[0] == ("text", "ab")
        assert parts[-3:] == [("newline", "\n"), ("tab", "\t"), ("text", "üx")]
        assert all(is_hidden(part) == (kind != "text") for kind, part in parts if len(part) == 1)
        assert list(segments("")) == []

    def test_one_line(self) -> None:
        assert one_line("plain words") == "plain words"
        assert one_line(Path("a/b")) == "a/b"
        assert one_line("ü\u202e\n") == "ü⟨U+202E⟩⟨U+000A⟩"
        assert one_line("a" * 100 + "b" * 100, limit=10) == "aaaaa…bbbbb"
        assert one_line(self.HIDDEN, limit=100).isprintable()
