"""Keys that requests name: by file, within what the server allows, and never a word of their content."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.watermark.engines.helpers import key_for
from watermark.engines.key_ring import ENVIRONMENT, KeyRing
from watermark.errors import KeyFileError
from watermark.keys import Key


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A directory with two keys, and one beside it."""
    directory = tmp_path / "keys"
    directory.mkdir()
    for number, name in ((1, "april.key"), (2, "may.key"), (3, "../outside.key")):
        key_for(number=number).save(directory / name)
    return directory


def named(name: Any) -> Mapping[str, Any]:
    return {"taggant_key": name, "other": 5}


@pytest.mark.parametrize("arguments", [None, {}, {"other": 1}, {"taggant_key": None}], ids=str)
def test_a_request_that_names_no_key_is_unmarked(arguments: Any, keys: Path) -> None:
    assert KeyRing(None).key_for(arguments) is None
    assert KeyRing(str(keys)).key_for(arguments) is None


def test_where_nothing_is_said_a_request_names_a_path(keys: Path) -> None:
    ring = KeyRing(None)
    assert ring.key_for(named(str(keys / "may.key"))) == key_for(number=2)
    assert ring.known() == []
    with pytest.raises(KeyFileError, match=r"none\.key"):
        ring.key_for(named(str(keys / "none.key")))


def test_a_directory_holds_all_that_can_be_named(keys: Path) -> None:
    ring = KeyRing(str(keys))
    assert ring.key_for(named("april.key")) == key_for(number=1)
    assert ring.known() == [key_for(number=1), key_for(number=2)]


@pytest.mark.parametrize(
    "name", ["none.key", "../outside.key", "/etc/passwd", "april", ".april.key", "", "..", "a\0.key", "x/april.key"]
)
def test_other_names_are_refused_without_a_word_about_the_server(
    name: str, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (keys / ".april.key").symlink_to(keys / "april.key")
    with caplog.at_level(logging.WARNING), pytest.raises(KeyFileError) as caught:
        KeyRing(str(keys)).key_for(named(name))
    assert str(keys) not in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.__cause__ is caught.value.__context__ is None
    if name:
        (record,) = caplog.records  # whoever runs the server can see why
        assert record.levelno == logging.WARNING


@pytest.mark.parametrize("name", [5, True, ["april.key"], {}], ids=str)
def test_a_name_is_a_string(name: Any, keys: Path) -> None:
    for ring in (KeyRing(None), KeyRing(str(keys))):
        with pytest.raises(KeyFileError, match="must be a string"):
            ring.key_for(named(name))


def test_a_file_marks_every_request_and_none_can_choose(keys: Path) -> None:
    ring = KeyRing(str(keys / "april.key"))
    assert ring.key_for(None) == ring.key_for({"other": 1}) == key_for(number=1)
    assert ring.known() == [key_for(number=1)]
    for name in ("april.key", "may.key", str(keys / "may.key"), ""):
        with pytest.raises(KeyFileError, match="server's own key; leave it out"):
            ring.key_for(named(name))


def test_a_place_that_holds_no_usable_key_is_refused_at_the_start(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(KeyFileError, match=r"holds no key files .*TAGGANT_KEYS"):
        KeyRing(str(tmp_path / "empty")).known()
    with pytest.raises(KeyFileError, match="nowhere"):
        KeyRing(str(tmp_path / "nowhere")).known()
    with pytest.raises(KeyFileError, match="nowhere"):
        KeyRing(str(tmp_path / "nowhere")).key_for(None)  # never unmarked by mistake
    (keys / "may.key").chmod(0o644)
    with pytest.raises(KeyFileError, match=r"may\.key"):
        KeyRing(str(keys)).known()


def test_a_key_is_read_once_and_again_when_its_file_is_another(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring, read, load = KeyRing(str(keys)), [], Key.load
    monkeypatch.setattr(Key, "load", lambda path: (read.append(path), load(path))[1])
    for _ in range(3):
        assert ring.key_for(named("april.key")) == key_for(number=1)
    assert len(read) == 1
    (keys / "april.key").unlink()
    with pytest.raises(KeyFileError):
        ring.key_for(named("april.key"))  # what was withdrawn marks nothing any more
    key_for(number=5).save(keys / "april.key")
    assert ring.key_for(named("april.key")) == key_for(number=5)


def test_the_environment_says_where(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(keys / "may.key"))
    assert KeyRing.of_environment().key_for(None) == key_for(number=2)
    for nothing in (None, ""):
        monkeypatch.setenv(ENVIRONMENT, "") if nothing == "" else monkeypatch.delenv(ENVIRONMENT)
        assert KeyRing.of_environment().key_for(None) is None
    assert "secret" not in repr(KeyRing(str(keys)))
