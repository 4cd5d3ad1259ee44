"""What options accept, and where output goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from detect.cli import output
from detect.cli.types import ACCOUNT, DIRECTORY_OR_ID, EPOCH, FRACTION, HexSeed, Number
from watermark.errors import InputError


def converted(kind: Any, value: Any) -> Any:
    return kind.convert(value, None, None)


@pytest.mark.parametrize("value", ["0.25", "1e-6", 0.5, ".999"])
def test_fractions(value: Any) -> None:
    assert converted(FRACTION, value) == float(value)


@pytest.mark.parametrize("value", ["0", "1", "nan", "inf", "-inf", "-0.1", "1.5", "x", ""])
def test_no_fractions(value: str) -> None:
    with pytest.raises(click.BadParameter):
        converted(FRACTION, value)


@pytest.mark.parametrize("value", ["nan", "inf", "1e999"])
def test_numbers_are_finite_even_without_an_upper_bound(value: str) -> None:
    assert converted(Number(min=0), "3e8") == 3e8
    with pytest.raises(click.BadParameter, match="not a finite number"):
        converted(Number(min=0), value)


def test_seeds() -> None:
    assert converted(HexSeed(), "ab" * 31 + "0F") == bytes([0xAB] * 31 + [0x0F])
    assert converted(HexSeed(), bytes(32)) == bytes(32)
    for wrong in ("", "ab" * 31, "ab" * 33, "0x" + "ab" * 31, "ag" * 32, "ab" * 31 + "a\n"):
        with pytest.raises(click.BadParameter, match="64 hex digits"):
            converted(HexSeed(), wrong)


def test_labels() -> None:
    assert converted(EPOCH, "2026-11") == "2026-11"
    assert converted(ACCOUNT, "e\u0301") == "\u00e9"
    for wrong in ("2026-13", "2026", "26-01", ""):
        with pytest.raises(click.BadParameter, match="month"):
            converted(EPOCH, wrong)
    for wrong in ("", "a\nb", "x" * 257, "\u202e"):
        with pytest.raises(click.BadParameter, match="account label"):
            converted(ACCOUNT, wrong)


def test_places_are_taken_as_they_are() -> None:
    assert converted(DIRECTORY_OR_ID, "./a dir") == "./a dir"


def test_json_is_one_line_of_ascii_and_never_nan(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_json({"id": "\u202e\x9b31mé\n", "x": [1.5, None]})
    assert capsys.readouterr().out == '{"id": "\\u202e\\u009b31m\\u00e9\\n", "x": [1.5, null]}\n'
    with pytest.raises(ValueError, match="JSON"):
        output.emit_json(float("nan"))


def test_members_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"a": None, "longer": True, "few": [1, 2], "many": list(range(13)), "sub": {"x": "\x1b", "y": False}}
    output.show_members(values, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "a       –",
        "longer  yes",
        "few     1 2",
        "many    13 values",
        "sub     x ⟨U+001B⟩, y no",
    ]


def test_paths_that_are_no_text_are_printed_as_bytes(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    output.emit(b"dir/\xff")
    assert capfdbinary.readouterr().out == b"dir/\xff\n"


def test_outputs_that_could_not_be_written_are_refused_beforehand(tmp_path: Path) -> None:
    output.refuse_output(tmp_path / "new", None)
    taken = tmp_path / "taken"
    taken.touch()
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    for path, reason in (
        (taken, "already exists"),
        (dangling, "already exists"),
        (tmp_path, "already exists"),
        (tmp_path / "no" / "x", "is not a directory; create it first"),
        (taken / "x", "is not a directory; create it first"),
    ):
        with pytest.raises(InputError, match=reason):
            output.refuse_output(None, path)


def test_a_directory_without_permission_is_refused_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output.os, "access", lambda *_: False)  # the tests may run as root, who may do everything
    with pytest.raises(InputError, match="cannot be written to; choose another place"):
        output.refuse_output(tmp_path / "x")


def test_errors_while_writing_name_the_file() -> None:
    with output.writing(Path("x")):
        pass
    expected = r"^x cannot be written \(No space left\); buy a disk$"
    with pytest.raises(InputError, match=expected), output.writing(Path("x"), "buy a disk"):
        raise OSError(28, "No space left")
    with pytest.raises(KeyError), output.writing(Path("x")):
        raise KeyError
