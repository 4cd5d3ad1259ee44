"""Key files: what is written, what is refused, and that no refusal quotes the file."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from tests.watermark.keys import reference
from tests.watermark.keys.helpers import (
    SECRET,
    TOKENIZER,
    assert_no_secret,
    assert_one_line,
    key_document,
    make_key,
    shown,
    write_private,
)
from watermark.errors import InputError, KeyFileError
from watermark.keys import Key, members

TEXT = json.dumps(key_document())
PARENT = {"key_id": "12" * 32, "kind": "account", "label": "a"}
SMOL = {"name": "smol", "sha256": "ab" * 32, "vocab_size": 1000, "special_ids": [0, 1, 999]}


def without(name: str) -> dict:
    return {key: value for key, value in key_document().items() if key != name}


def tokenizer(**changes: object) -> dict:
    return key_document(tokenizer={**SMOL, **changes})


def parent(**changes: object) -> dict:
    return key_document(derived_from={**PARENT, **changes})


MALFORMED: dict[str, bytes | str | dict] = {
    "empty": "",
    "not JSON": "secret = " + SECRET.hex(),
    "the bare secret": SECRET.hex(),
    "cut short": TEXT[:-20],
    "cut inside the secret": TEXT[: TEXT.index(SECRET.hex()) + 40],
    "two documents": TEXT + TEXT,
    "a list": f"[{TEXT}]",
    "a string": json.dumps(SECRET.hex()),
    "null": "null",
    "a number": "7",
    "invalid UTF-8": TEXT.encode()[:-1] + b"\xff}",
    "UTF-16": TEXT.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "a member twice": TEXT[:-1] + f', "secret": "{SECRET.hex()}"}}',
    "NaN": TEXT.replace('"delta": 2.0', '"delta": NaN'),
    "Infinity": TEXT.replace('"delta": 2.0', '"delta": Infinity'),
    "overflowing delta": TEXT.replace('"delta": 2.0', '"delta": 1e999'),
    "an endless integer": TEXT.replace("16384", "1" * 5000),
    "nested too deeply": TEXT[:-1] + ', "x": ' + "[" * 100_000,
    "an extra member": key_document(comment="hello"),
    "the secret as a member's name": key_document(**{SECRET.hex(): 1}),
    **{f"no {name}": without(name) for name in key_document()},
    "another format": key_document(format="taggant-key/2"),
    "the secret as format": key_document(format=SECRET.hex()),
    "format null": key_document(format=None),
    "another scheme": key_document(scheme="greenlist/2"),
    "the secret as scheme": key_document(scheme=SECRET.hex()),
    "secret null": key_document(secret=None),
    "secret a number": key_document(secret=int(SECRET.hex(), 16)),
    "secret too short": key_document(secret=SECRET.hex()[:-2]),
    "secret odd": key_document(secret=SECRET.hex()[:-1]),
    "secret too long": key_document(secret=SECRET.hex() + "00"),
    "secret spaced": key_document(secret=" ".join(SECRET.hex()[i : i + 2] for i in range(0, 64, 2))),
    "secret of wide digits": key_document(secret="\uff11" * 64),
    "secret with a letter": key_document(secret=SECRET.hex()[:-1] + "g"),
    "secret ending in a newline": key_document(secret=SECRET.hex() + "\n"),
    "key id of another": key_document(key_id="0" * 64),
    "the secret as key id": key_document(key_id=SECRET.hex()),
    "key id short": key_document(key_id=make_key().short_id),
    "key id upper case": key_document(key_id=make_key().key_id.upper()),
    "key id null": key_document(key_id=None),
    "another secret": key_document(secret=SECRET[::-1].hex()),
    "gamma changed": key_document(gamma_65536=16385),
    "gamma 0": key_document(gamma_65536=0),
    "gamma 65536": key_document(gamma_65536=65536),
    "gamma true": key_document(gamma_65536=True),
    "gamma a float": key_document(gamma_65536=16384.0),
    "gamma text": key_document(gamma_65536="16384"),
    "delta negative": key_document(delta=-1),
    "delta huge": key_document(delta=51),
    "delta beyond floats": key_document(delta=10**400),
    "delta true": key_document(delta=True),
    "delta text": key_document(delta="2"),
    "delta null": key_document(delta=None),
    "width changed": key_document(context_width=2),
    "width negative": key_document(context_width=-1),
    "width 9": key_document(context_width=9),
    "width true": key_document(context_width=True),
    "width a float": key_document(context_width=1.0),
    "tokenizer dropped": key_document(tokenizer=None),
    "tokenizer text": key_document(tokenizer="smol"),
    "tokenizer a list": key_document(tokenizer=[]),
    "tokenizer without hash": key_document(tokenizer={"name": "smol", "vocab_size": 1000, "special_ids": []}),
    "tokenizer with more": tokenizer(more=1),
    "tokenizer hash changed": tokenizer(sha256="ac" * 32),
    "tokenizer hash short": tokenizer(sha256="ab"),
    "tokenizer hash a number": tokenizer(sha256=7),
    "tokenizer name a number": tokenizer(name=7),
    "tokenizer name with a newline": tokenizer(name="a\nb"),
    "tokenizer name a surrogate": tokenizer(name="\ud800"),
    "tokenizer name long": tokenizer(name="n" * 4097),
    "vocabulary 0": tokenizer(vocab_size=0),
    "vocabulary true": tokenizer(vocab_size=True),
    "vocabulary huge": tokenizer(vocab_size=2**32),
    "special ids an object": tokenizer(special_ids={}),
    "special ids null": tokenizer(special_ids=None),
    "special ids text": tokenizer(special_ids="01"),
    "special ids unsorted": tokenizer(special_ids=[1, 0]),
    "special ids twice": tokenizer(special_ids=[1, 1]),
    "special ids negative": tokenizer(special_ids=[-1, 0]),
    "special ids beyond": tokenizer(special_ids=[1000]),
    "special ids true": tokenizer(special_ids=[0, True]),
    "special ids floats": tokenizer(special_ids=[0.0]),
    "parent text": key_document(derived_from="12" * 32),
    "parent without label": key_document(derived_from={"key_id": "12" * 32, "kind": "account"}),
    "parent with more": parent(more=1),
    "parent of another kind": parent(kind="scheme"),
    "parent kind a list": parent(kind=["account"]),
    "parent id short": parent(key_id="12"),
    "parent label empty": parent(label=""),
    "parent label null": parent(label=None),
    "parent label control": parent(label="a\x1b[31m"),
    "parent label surrogate": parent(label="\udc80"),
    "parent label not NFC": parent(label="e\u0301"),
    "parent epoch no month": parent(kind="epoch", label="November"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "owner.key"


def refused(path: Path) -> KeyFileError:
    with pytest.raises(KeyFileError) as caught:
        Key.load(path)
    assert_one_line(caught.value)
    assert str(path) in str(caught.value)
    assert_no_secret(shown(caught.value))
    return caught.value


# Round trip


@pytest.mark.parametrize(
    "key",
    [
        make_key(),
        make_key(tokenizer=None),
        make_key(delta=0, gamma_65536=1, context_width=0),
        make_key(delta=0.1 + 0.2, gamma_65536=65535, context_width=8),
        make_key().account("étoile \U0001f600").epoch("2026-11"),
    ],
    ids=repr,
)
def test_round_trip(key: Key, path: Path) -> None:
    key.save(path)
    loaded = Key.load(path)
    assert loaded == key
    assert loaded.chacha_key == key.chacha_key
    assert loaded.public() == key.public()


def test_the_file_is_the_designed_one(path: Path) -> None:
    make_key().account("a").save(path)
    document = json.loads(path.read_text())
    secret = reference.child(SECRET, "account", "a")
    assert document == {
        "format": "taggant-key/1",
        "key_id": reference.key_id(reference.chacha(secret), 16384, 1, "ab" * 32),
        "secret": secret.hex(),
        "scheme": "greenlist/1",
        "gamma_65536": 16384,
        "delta": 2.0,
        "context_width": 1,
        "tokenizer": SMOL,
        "derived_from": {"key_id": make_key().key_id, "kind": "account", "label": "a"},
    }
    assert list(document)[:3] == ["format", "key_id", "secret"]


def test_a_file_written_by_hand_is_read(path: Path) -> None:
    assert Key.load(write_private(path, key_document())) == make_key()
    upper = write_private(path, key_document(secret=SECRET.hex().upper(), delta=2))
    assert Key.load(upper) == make_key()
    assert Key.load(str(path)).tokenizer == TOKENIZER


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_file_is_private_under_any_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_key().save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# Malformed files


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_malformed_files_are_refused_without_a_word_of_them(content: bytes | str | dict, path: Path) -> None:
    error = refused(write_private(path, content))
    assert "keygen" in str(error)
    assert error.__context__ is None  # nothing to be printed by those who ignore `from None`


def test_the_malformed_documents_differ_from_a_good_one_only_in_their_fault(path: Path) -> None:
    assert Key.load(write_private(path, tokenizer())) == make_key()
    assert Key.load(write_private(path, parent())).derived_from is not None
    assert Key.load(write_private(path, TEXT)) == make_key()


# Files that are not opened


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o606, 0o620, 0o602, 0o644, 0o444, 0o777, 0o610])
def test_files_open_to_others_are_refused(path: Path, mode: int) -> None:
    error = refused(write_private(path, key_document(), mode))
    assert f"chmod 600 {path}" in str(error)
    assert f"{mode:04o}" in str(error)


@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize(
    "content",
    [b"", b"A letter.", b'{"prompt": "x", "text": "a key"}', b"PK\x03\x04\xff", b"[7]"],
)
def test_what_is_no_key_is_called_so_whatever_its_mode(path: Path, content: bytes, mode: int) -> None:
    """No chmod, and no new key, makes a key of a text that was given by mistake."""
    error = str(refused(write_private(path, content, mode)))
    assert "holds no key; give a file that `taggant keygen`" in error
    assert "chmod" not in error
    assert "make a new key" not in error


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_files_open_to_their_owner_only_are_read(path: Path, mode: int) -> None:
    assert Key.load(write_private(path, key_document(), mode)) == make_key()


def test_missing(path: Path) -> None:
    assert "does not exist" in str(refused(path))
    assert "does not exist" in str(refused(path.parent / "none" / "owner.key"))


def test_below_a_file(path: Path) -> None:
    write_private(path, key_document())
    refused(path / "owner.key")


def test_a_directory(path: Path) -> None:
    path.mkdir(mode=0o700)
    assert "not a regular file" in str(refused(path))


def test_a_fifo_is_refused_at_once(path: Path) -> None:
    os.mkfifo(path, 0o600)
    assert "not a regular file" in str(refused(path))


def test_a_nul_in_the_path() -> None:
    with pytest.raises(KeyFileError):
        Key.load("a\0b")


def test_unreadable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(path, key_document())

    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(members.os, "open", denied)
    assert "Permission denied" in str(refused(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_by_mode(path: Path) -> None:
    refused(write_private(path, key_document(), 0o000))


def test_a_file_that_is_far_too_large_is_not_read(path: Path) -> None:
    write_private(path, b"")
    os.truncate(path, members.MAX_BYTES + 1)
    assert "bytes" in str(refused(path))


def test_no_descriptor_is_left_open(path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    for content, mode in ((key_document(), 0o600), (key_document(), 0o644), ("{", 0o600)):
        write_private(path, content, mode)
        try:
            Key.load(path)
        except KeyFileError:
            continue
    assert open_files() == before


# Symbolic links


def test_a_link_to_a_private_key_is_followed(path: Path, tmp_path: Path) -> None:
    write_private(path, key_document())
    link = tmp_path / "link.key"
    link.symlink_to(path)
    assert Key.load(link) == make_key()


def test_a_link_does_not_hide_the_mode_of_its_target(path: Path, tmp_path: Path) -> None:
    write_private(path, key_document(), 0o644)
    link = tmp_path / "link.key"
    link.symlink_to(path)
    assert "0644" in str(refused(link))


def test_links_to_nothing_and_to_themselves(tmp_path: Path) -> None:
    dangling, loop = tmp_path / "dangling", tmp_path / "loop"
    dangling.symlink_to(tmp_path / "nothing")
    loop.symlink_to(loop)
    refused(dangling)
    refused(loop)


# Saving


def existing(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    elif kind == "link":
        (path.parent / "target").write_text("precious")
        path.symlink_to(path.parent / "target")
    else:
        path.symlink_to(path.parent / "nothing")


@pytest.mark.parametrize("kind", ["file", "directory", "link", "dangling link"])
def test_nothing_that_exists_is_replaced(path: Path, kind: str) -> None:
    existing(path, kind)
    before = sorted(p.name for p in path.parent.iterdir())
    with pytest.raises(InputError, match="already exists") as caught:
        make_key().save(path)
    assert_one_line(caught.value)
    assert_no_secret(shown(caught.value))
    assert sorted(p.name for p in path.parent.iterdir()) == before
    if kind in ("file", "link"):
        assert path.read_text() == "precious"


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a directory") as caught:
        make_key().save(tmp_path / "none" / "owner.key")
    assert_no_secret(shown(caught.value))


def test_a_full_disk_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left") as caught:
        make_key().save(path)
    assert_one_line(caught.value)
    assert_no_secret(shown(caught.value))
    assert list(path.parent.iterdir()) == []


def test_the_search_for_leaks_finds_one() -> None:
    """A plain json.loads keeps the whole document in its frames and on its exception."""
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(TEXT[:-20])
    with pytest.raises(AssertionError):
        assert_no_secret(shown(caught.value))
