"""Sealing: every byte under one signature, nothing secret, and the same archive for the same case."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detect.bundles import container
from detect.bundles.case import Case
from detect.bundles.container import read_bundle
from detect.bundles.envelope import unseal
from detect.bundles.opening import opening_of
from detect.bundles.seal import PAYLOAD_TYPE, write_bundle
from detect.bundles.signer import Signer
from tests.detect.bundles.helpers import BEGUN, KEY, events, new_case, refused, sealed_files
from tests.detect.cli.helpers import names
from tests.detect.material import make_key
from watermark.errors import CommitmentError, InputError
from watermark.keys import Commitment, Leaf, Opening, verify_opening


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with new_case(tmp_path / "case") as one:
        run = one.begin(BEGUN)
        (run.directory / "run.json").write_bytes(b"{}")
        run.finish(["text"])
        yield one


def statement(files: dict[str, bytes]) -> Any:
    return json.loads(base64.b64decode(json.loads(files["manifest.json"])["payload"]))


def test_the_manifest_is_of_every_other_file(case: Case) -> None:
    files = sealed_files(case)
    keyid = case.signer.keyid
    assert sorted(files) == [
        "case/runs/0001/run.json", "custody.jsonl", "environment.json", "manifest.json", "mark.json",
        f"signers/{keyid}.pem",
    ]  # fmt: skip
    payload, by = unseal(files["manifest.json"], PAYLOAD_TYPE, {keyid: case.signer.public}, "it")
    said = json.loads(payload)
    assert by == keyid
    assert said == statement(files)
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["predicateType"] == "urn:taggant:bundle:1"
    assert said["subject"] == [
        {"name": name, "digest": {"sha256": hashlib.sha256(files[name]).hexdigest()}}
        for name in sorted(files)
        if name != "manifest.json"
    ]
    last = files["custody.jsonl"].splitlines()[-1]
    assert said["predicate"] == {
        "format": "taggant-bundle/1",
        "case": case.log.case,
        "created": case.log.entries[-1].time,
        "opened": False,
        "custody": {"entries": 4, "last": hashlib.sha256(last).hexdigest()},
        "taggant": case.log.entries[-1].taggant,
    }
    assert case.log.entries[-1].event == "sealed"
    case.log.require_sealed()


def test_both_forms_are_read_again(case: Case, tmp_path: Path) -> None:
    files = sealed_files(case)
    for path in (tmp_path / "bundle", tmp_path / "bundle.zip"):
        write_bundle(files, path)
        assert read_bundle(path) == files
        with pytest.raises(InputError, match="already exists"):
            write_bundle(files, path)
    write_bundle(files, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "bundle.zip").read_bytes()


def test_a_case_goes_on_after_it_was_sealed(case: Case) -> None:
    first = sealed_files(case)
    case.append("noted", {"text": "more"})
    second = sealed_files(case, opening_of(case.held, KEY))
    assert second["custody.jsonl"].startswith(first["custody.jsonl"])
    assert events(case.directory)[-3:] == ["sealed", "noted", "sealed"]
    assert [statement(files)["predicate"]["opened"] for files in (first, second)] == [False, True]


def test_every_signer_of_the_log_is_there(case: Case, tmp_path: Path) -> None:
    case.close()
    Signer.create(tmp_path / "other.pem")
    with Case(case.directory, tmp_path / "other.pem") as again:
        files = sealed_files(again)
    assert sum(name.startswith("signers/") for name in files) == 2


def test_nothing_is_sealed_that_is_not_what_it_was(case: Case) -> None:
    (case.directory / "runs" / "0001" / "run.json").write_bytes(b"[]")
    with refused("subject"):
        sealed_files(case)
    assert events(case.directory)[-1] == "finished"


def test_a_case_without_a_mark_or_too_large_is_not_sealed(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Case(tmp_path / "empty") as empty, pytest.raises(InputError, match="no mark yet"):
        sealed_files(empty)
    monkeypatch.setattr(container, "LARGEST_BUNDLE", 10)
    with pytest.raises(InputError, match="more than a bundle may hold"):
        sealed_files(case)
    assert events(tmp_path / "empty") == ["opened"]
    assert events(case.directory)[-1] == "finished"


def test_an_opened_bundle_is_its_owners_until_it_is_handed_over(case: Case, tmp_path: Path) -> None:
    files = sealed_files(case, opening_of(case.held, KEY))
    write_bundle(files, tmp_path / "b.zip")
    write_bundle(files, tmp_path / "b")
    assert (tmp_path / "b.zip").stat().st_mode & 0o077 == 0
    assert (tmp_path / "b" / "opening.json").stat().st_mode & 0o077 == 0
    opened = Opening.from_json(json.loads(files["opening.json"]))
    assert opened.chacha_key == KEY.chacha_key.hex()
    verify_opening(opened)


def test_nothing_is_left_of_a_bundle_that_cannot_be_written(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sealed_files(case)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = names(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr("detect.bundles.seal.write_zip", full)
    for path in (tmp_path / "b", tmp_path / "b.zip"):
        with pytest.raises(OSError, match="No space left"):
            write_bundle(files, path)
    assert names(tmp_path) == before


def test_a_stamp_is_over_the_manifest(case: Case) -> None:
    files = sealed_files(case, stamp=lambda data: b"stamp of " + hashlib.sha256(data).digest())
    assert files["manifest.tsr"] == b"stamp of " + hashlib.sha256(files["manifest.json"]).digest()
    assert "manifest.tsr" not in {one["name"] for one in statement(files)["subject"]}


# --- which opening ---


def leaves() -> list[Leaf]:
    return [Leaf("a", None, KEY.key_id), Leaf("b", None, make_key(4).key_id)]


def record(case: Case, commitment: Commitment) -> None:
    name = case.free_name("commitment", ".json")
    case.record("committed", {"root": commitment.root, "size": commitment.size}, {name: commitment.canonical})


def test_a_key_is_opened_in_the_commitment_that_was_recorded(case: Case) -> None:
    commitment = Commitment.of(leaves())
    record(case, commitment)
    opening = opening_of(case.held, KEY, leaves())
    verify_opening(opening, commitment)
    assert opening.leaf == leaves()[0]
    with pytest.raises(CommitmentError, match="give its list of leaves"):
        opening_of(case.held, KEY)
    with pytest.raises(CommitmentError, match="no commitment that the case recorded"):
        opening_of(case.held, KEY, leaves()[:1])


def test_a_commitment_to_the_key_alone_needs_no_leaves(case: Case) -> None:
    assert opening_of(case.held, KEY).size == 1  # never committed to: one that is made now
    commitment = Commitment.of([Leaf(None, None, KEY.key_id)])
    record(case, commitment)
    verify_opening(opening_of(case.held, KEY), commitment)


def test_only_the_cases_own_key_is_opened(case: Case) -> None:
    with pytest.raises(CommitmentError, match="give its own key"):
        opening_of(case.held, make_key(4))
    record(case, Commitment.of(leaves()[1:]))
    with pytest.raises(CommitmentError, match="not among the leaves"):
        opening_of(case.held, KEY, leaves()[1:])
