"""Timestamps from an authority on this machine: over the right bytes, kept in the case, refused when they are none."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from detect.bundles.container import read_bundle
from detect.bundles.stamps import timestamp
from detect.bundles.verify.der import SEQUENCE, elements, encoded, only
from detect.bundles.verify.stamps import read_stamp
from tests.detect.bundles.authority import Authority
from tests.detect.bundles.helpers import events, payloads
from tests.detect.cli.helpers import Cli, names, save_key, write_rows
from watermark.errors import InputError

CASE = Path("case")


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between this machine and itself."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    return Cli(capsys)


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authority")


@pytest.fixture
def authority(root: Path) -> Iterator[Authority]:
    pytest.importorskip("rfc3161_client", reason="needs the extra `timestamp`")
    with Authority(root) as one:
        yield one


def verified(response: bytes, data: bytes, authority: Authority, directory: Path) -> bool:
    """By OpenSSL alone."""
    for name, content in (("response", response), ("data", data), ("root.pem", authority.certificate)):
        (directory / name).write_bytes(content)
    command = ["openssl", "ts", "-verify", "-data", "data", "-in", "response", "-CAfile", "root.pem"]
    return subprocess.run(command, cwd=directory, capture_output=True).returncode == 0


def test_a_timestamp_is_one_by_openssl(authority: Authority, tmp_path: Path) -> None:
    response = timestamp(authority.url, b"some bytes")
    assert verified(response, b"some bytes", authority, tmp_path)
    assert not verified(response, b"other bytes", authority, tmp_path)


def _with_words(request: bytes, right: bytes) -> bytes:
    """As most authorities answer: "granted", and a text about it."""
    granted, token = elements(only(right, SEQUENCE).content, SEQUENCE, SEQUENCE)
    words = encoded(SEQUENCE, encoded(0x0C, b"Operation Okay"))
    return encoded(SEQUENCE, encoded(SEQUENCE, granted.content, words), token.whole)


def test_words_beside_a_token_are_not_kept(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("rfc3161_client", reason="needs the extra `timestamp`")
    with Authority(root, _with_words) as one:
        response = timestamp(one.url, b"data")
    assert b"Okay" not in response
    assert verified(response, b"data", one, tmp_path)
    assert read_stamp(response, hashlib.sha256(b"data").hexdigest(), [], "it").authority == "CN=authority"


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 70_000])
def test_an_element_is_read_as_it_was_written(size: int) -> None:
    assert only(encoded(SEQUENCE, bytes(size)), SEQUENCE).content == bytes(size)


def test_the_authority_sees_a_digest_alone(authority: Authority) -> None:
    timestamp(authority.url, b"canary-5150")
    timestamp(authority.url, b"canary-5150")
    assert all(hashlib.sha256(b"canary-5150").digest() in request for request in authority.requests)
    assert all(b"canary" not in request for request in authority.requests)
    assert len(set(authority.requests)) == 2  # each has a nonce of its own


def _of_something_else(root: Path) -> Callable[[bytes, bytes], bytes]:
    def answer(request: bytes, right: bytes) -> bytes:
        digest = hashlib.sha256(b"data").digest()
        return Authority.right_reply(other, request.replace(digest, hashlib.sha256(b"else").digest()))

    (root / "other").mkdir()
    other = Authority(root / "other")
    return answer


def _earlier(root: Path) -> Callable[[bytes, bytes], bytes]:
    """An answer that was given before: its nonce is another."""
    kept: list[bytes] = []

    def answer(request: bytes, right: bytes) -> bytes:
        kept.append(right)
        return kept[0]

    return answer


REJECTION = bytes.fromhex("30053003020102")  # TimeStampResp {PKIStatusInfo {status 2}}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_of_something_else, "over something else"),
        (_earlier, "over something else"),
        (lambda _: lambda request, right: b"", "no timestamp"),
        (lambda _: lambda request, right: b"<html>no</html>", "no timestamp"),
        (lambda _: lambda request, right: right[:-5], "no timestamp"),
        (lambda _: lambda request, right: REJECTION, "no timestamp"),
        (lambda _: lambda request, right: bytes((1 << 20) + 1), "more than a timestamp may be"),
    ],
)
def test_what_is_no_timestamp_of_it_is_refused(
    make: Callable[[Path], Callable[[bytes, bytes], bytes]], words: str, root: Path
) -> None:
    pytest.importorskip("rfc3161_client", reason="needs the extra `timestamp`")
    with Authority(root, make(root)) as one:
        if make is _earlier:
            timestamp(one.url, b"data")
        with pytest.raises(InputError, match=words) as caught:
            timestamp(one.url, b"data")
    assert "\n" not in str(caught.value)


def test_an_authority_that_is_not_there(authority: Authority) -> None:
    authority.status = 500
    with pytest.raises(InputError, match="500"):
        timestamp(authority.url, b"data")
    with pytest.raises(InputError, match="cannot be reached"):
        timestamp("http://127.0.0.1:9/tsr", b"data")


@pytest.mark.parametrize("address", ["", "ftp://a/", "file:///etc/passwd", "tsa", "http://", "http://me:canary@a/"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(InputError) as caught:
        timestamp(address, b"data")
    assert "canary" not in str(caught.value)


def test_without_the_library_one_line_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = save_key(tmp_path / "key", bare=True)
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    before = names(tmp_path)
    command = ["key", "commit", key, "-o", "c.json", "--timestamp", "http://127.0.0.1:9/"]
    cli(*command).refused(2, "--timestamp is kept in a case: give --case")
    assert names(tmp_path) == before
    result = cli(*command, "--case", CASE, "-q")
    result.refused(3, "rfc3161-client", "pip install 'taggant[timestamp]'")
    assert not Path("c.json").exists()
    assert not CASE.exists()


def test_commitment_plan_note_and_manifest(cli: Cli, authority: Authority, tmp_path: Path) -> None:
    key = save_key(tmp_path / "key", bare=True)
    stamp = ["--case", CASE, "--timestamp", authority.url]
    assert cli("key", "commit", key, "-o", "c.json", "--leaves", "l.json", *stamp).code == 0
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": "Where is the sea?"}])
    known = ["--commitment", "c.json", "--leaves", "l.json", "--effect", 0.5]
    assert cli("plan", "-o", "plan.json", "--key", key, "--probes", prompts, *known, *stamp).code == 0
    assert cli("case", "note", CASE, "now", *stamp[2:]).code == 0
    assert events(CASE) == ["opened", "committed", "stamped", "planned", "stamped", "noted", "stamped"]
    lines = (CASE / "custody.jsonl").read_bytes().splitlines()
    over = {"commitment": Path("c.json").read_bytes(), "plan": Path("plan.json").read_bytes(), "entry": lines[5]}
    stamped = [one for one in payloads((CASE / "custody.jsonl").read_bytes()) if one["event"] == "stamped"]
    assert [one["details"]["what"] for one in stamped] == list(over)
    for one in stamped:
        data = over[one["details"]["what"]]
        assert one["details"]["of"] == hashlib.sha256(data).hexdigest()
        (subject,) = one["subjects"]
        assert verified((CASE / subject["name"]).read_bytes(), data, authority, tmp_path), one
    assert cli("seal", CASE, "-o", "bundle", *stamp[2:]).code == 0
    files = read_bundle("bundle")
    assert verified(files["manifest.tsr"], files["manifest.json"], authority, tmp_path)


def test_nothing_is_done_where_the_timestamp_fails(cli: Cli, authority: Authority, tmp_path: Path) -> None:
    key = save_key(tmp_path / "key", bare=True)
    authority.status = 503
    stamp = ["--case", CASE, "--timestamp", authority.url, "-q"]
    cli("key", "commit", key, "-o", "c.json", *stamp).refused(3, "503")
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": "Where is the sea?"}])
    cli("plan", "-o", "plan.json", "--key", key, "--probes", prompts, "--effect", 0.5, *stamp).refused(3, "503")
    assert not Path("c.json").exists()
    assert names(tmp_path) == ["key", "p.jsonl"]  # no case was begun, and no signer made
    ids = write_rows(tmp_path / "ids.jsonl", [{"token_ids": list(range(3, 300))}])
    assert cli("detect", "--key", key, ids, "--case", CASE, "-q").code == 0
    cli("seal", CASE, "-o", "bundle", "--timestamp", authority.url).refused(3, "503")
    assert not Path("bundle").exists()
    assert cli("seal", CASE, "-o", "bundle").code == 0


def test_a_case_that_is_there_stays_as_it_was_where_the_timestamp_fails(
    cli: Cli, authority: Authority, tmp_path: Path
) -> None:
    key = save_key(tmp_path / "key", bare=True)
    assert cli("key", "commit", key, "-o", "c.json", "--case", CASE).code == 0
    before = {path: path.read_bytes() for path in CASE.rglob("*") if path.is_file()}
    stamp = ["--case", CASE, "--timestamp", authority.url, "-q"]
    cli("key", "commit", key, "-o", "c.json", *stamp).refused(3, "records this commitment already")
    assert not authority.requests  # what the case would refuse is not stamped
    authority.status = 503
    cli("key", "commit", key, "--epoch", "2026-11", "-o", "d.json", *stamp).refused(3, "503")
    assert {path: path.read_bytes() for path in CASE.rglob("*") if path.is_file()} == before
    assert not Path("d.json").exists()
