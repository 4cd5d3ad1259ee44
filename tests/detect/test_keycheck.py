"""The one check of a new key, its record, and that later p-values stay valid because of it."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from detect.counting import tally
from detect.exact.binomial import log10_sf
from detect.keycheck import KeyCheck, check_key, check_path, load_check, on_record
from tests.detect.material import distinct_pairs, is_green, make_key
from watermark.errors import InputError, KeyFileError
from watermark.greenlist import GreenList
from watermark.keys import Key

CORPUS = [np.random.default_rng(60).integers(0, 30, 200), np.random.default_rng(61).integers(0, 30, 100)]


def saved(tmp_path: Path, number: int = 60) -> tuple[Key, Path]:
    key = make_key(number)
    key.save(tmp_path / "owner.key")
    return key, tmp_path / "owner.key"


def green_text(key: Key, share: float = 1.0) -> list[int]:
    """A chain of tokens that are green after each other (the first of each list), at least this share."""
    chain = [5]
    mask = GreenList(key)
    for _ in range(60):
        row = mask.mask(np.array([[chain[-1]]]), 400)[0]
        fresh = [t for t in np.flatnonzero(row).tolist() if t not in chain]
        chain.append(fresh[0])
    return chain[: int(61 * share)]


def test_the_check_is_the_exact_tail_of_the_corpus(tmp_path: Path) -> None:
    key, file = saved(tmp_path)
    found = check_key(key, file, CORPUS)
    pairs = distinct_pairs([list(document) for document in CORPUS], [], 1)
    green = sum(is_green(key, pair) for pair in pairs)
    assert (found.n_scored, found.n_green) == (len(pairs), green)
    assert found.log10_p == pytest.approx(binom.logsf(green - 1, len(pairs), 0.25) / math.log(10), rel=1e-8)
    assert found.accepted == (found.log10_p > -2)
    assert found.key_id == key.key_id
    by_hand = hashlib.sha256(b"".join(np.array([len(one), *one], "<u4").tobytes() for one in CORPUS)).hexdigest()
    assert (found.corpus_sha256, found.n_documents) == (by_hand, 2)
    assert datetime.fromisoformat(found.created).utcoffset() is not None


def test_the_record_lies_beside_the_key_and_comes_back(tmp_path: Path) -> None:
    key, file = saved(tmp_path)
    assert load_check(key, file) is None
    found = check_key(key, file, CORPUS)
    assert check_path(file) == tmp_path / "owner.key.check.json"
    assert load_check(key, file) == found
    written = (tmp_path / "owner.key.check.json").read_text()
    assert json.loads(written) == found.to_dict()
    assert key._secret.hex() not in written
    assert key.chacha_key.hex() not in written


def test_a_green_corpus_refuses_the_key_and_is_recorded_too(tmp_path: Path) -> None:
    key, file = saved(tmp_path)
    found = check_key(key, file, [green_text(key)])
    assert (found.n_green, found.accepted) == (found.n_scored, False)
    assert load_check(key, file) == found


@pytest.mark.parametrize("first", [[green_text(make_key(60))], CORPUS])
def test_a_key_is_checked_once(first: Any, tmp_path: Path) -> None:
    key, file = saved(tmp_path)
    before = check_key(key, file, first)
    with pytest.raises(InputError, match="a key is checked once"):
        check_key(key, file, CORPUS)
    assert load_check(key, file) == before


def test_nor_again_by_a_copy_beside_it(tmp_path: Path) -> None:
    key, file = saved(tmp_path)
    (tmp_path / "odd.key.check.json").write_text("{")
    other = make_key(61)
    other.save(tmp_path / "other.key")
    check_key(other, tmp_path / "other.key", CORPUS)  # another key's record is no hindrance
    check_key(key, file, CORPUS)
    key.save(tmp_path / "copy.key")
    with pytest.raises(InputError, match=r"owner\.key\.check\.json exists: a key is checked once"):
        check_key(key, tmp_path / "copy.key", CORPUS)


def test_what_a_test_must_know_of_it(tmp_path: Path) -> None:
    key, file = saved(tmp_path)
    assert on_record(key, file) == {"key_check": None, "check_corpus": None}
    found = check_key(key, file, CORPUS)
    assert on_record(key, file) == {"key_check": found.accepted, "check_corpus": found.corpus_sha256}


@pytest.mark.parametrize(("tokens", "n"), [(0, 0), (1, 0), (4, 3)])
def test_a_corpus_that_could_refuse_no_key_is_refused(tokens: int, n: int, tmp_path: Path) -> None:
    """3 pairs, all green, have p = 1/64: any key would pass."""
    key, file = saved(tmp_path)
    with pytest.raises(InputError, match=f"^{n} distinct pairs are too few to refuse any key"):
        check_key(key, file, [list(range(tokens))])
    assert not check_path(file).exists()


def test_four_pairs_could(tmp_path: Path) -> None:
    key, file = saved(tmp_path)
    assert check_key(key, file, [green_text(key)[:5]]).accepted is False


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "7",
        "{}",
        "{",
        '{"key_id": 1}',
        '{"accepted": true, "accepted": true}',
        '{"extra": 1, "key_id": "", "accepted": true, "log10_p": 0, "n_scored": 9, "n_green": 1, "created": "", '
        f'"n_documents": 1, "corpus_sha256": "{"ab" * 32}"}}',
        '{"key_id": "", "accepted": true, "log10_p": 0, "n_scored": 9, "n_green": 1, "created": "", "n_documents": 1, '
        '"corpus_sha256": "ab"}',
    ],
)
def test_a_record_that_is_none(content: str, tmp_path: Path) -> None:
    key, file = saved(tmp_path)
    check_path(file).write_text(content)
    with pytest.raises(KeyFileError, match=r"owner\.key\.check\.json is not a key check"):
        load_check(key, file)


def test_an_unreadable_record(tmp_path: Path) -> None:
    key, file = saved(tmp_path)
    check_path(file).mkdir()
    with pytest.raises(KeyFileError, match="is not a key check"):
        load_check(key, file)


@pytest.mark.parametrize(
    "change", [{"key_id": "0" * 64}, {"format": "taggant-key-check/1"}, {"accepted": "true"}, {"accepted": 1}]
)
def test_a_record_of_something_else(change: dict[str, Any], tmp_path: Path) -> None:
    key, file = saved(tmp_path)
    record = KeyCheck(key.key_id, True, -0.5, 90, 20, "ab" * 32, 3, "2026-11-01T00:00:00+00:00").to_dict()
    check_path(file).write_text(json.dumps({**record, **change}))
    with pytest.raises(KeyFileError, match="is the check of another key"):
        load_check(key, file)


@pytest.mark.parametrize(
    ("accepted", "log10_p"), [(True, -2.0), (True, -8.5), (False, -1.999), (False, 0), (True, "0"), (True, True)]
)
def test_a_record_that_contradicts_itself(accepted: bool, log10_p: Any, tmp_path: Path) -> None:
    key, file = saved(tmp_path)
    record = KeyCheck(key.key_id, accepted, log10_p, 90, 32, "ab" * 32, 3, "2026-11-01T00:00:00+00:00").to_dict()
    check_path(file).write_text(json.dumps(record))
    with pytest.raises(KeyFileError, match="contradicts itself: accepted or not"):
        load_check(key, file)


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"n_green": 31}, "its log10_p does not follow from its counts"),
        ({"n_scored": 91}, "its log10_p does not follow from its counts"),
        ({"log10_p": -0.5}, "its log10_p does not follow from its counts"),
        ({"n_green": 91}, "its counts are none"),
        ({"n_green": 32.0}, "its counts are none"),
        ({"n_green": -1}, "its counts are none"),
        ({"n_scored": "90"}, "its counts are none"),
        ({"n_scored": True}, "its counts are none"),
    ],
    ids=str,
)
def test_a_record_says_what_its_counts_say(change: dict[str, Any], fragment: str, tmp_path: Path) -> None:
    key, file = saved(tmp_path)
    made = "2026-11-01T00:00:00+00:00"
    record = KeyCheck(key.key_id, True, log10_sf(32, 90, 0.25), 90, 32, "ab" * 32, 3, made).to_dict()
    check_path(file).write_text(json.dumps(record))
    assert load_check(key, file) is not None
    check_path(file).write_text(json.dumps({**record, **change}))
    with pytest.raises(KeyFileError, match=f"contradicts itself: {fragment}"):
        load_check(key, file)


def test_one_key_in_a_hundred_is_refused() -> None:
    """Over 2,000 keys on one corpus: at most .01 of them, whatever the corpus; and it is no empty check."""
    counts = np.array([tally(make_key(number), CORPUS).n_green for number in range(2000)])
    n = tally(make_key(0), CORPUS).n_scored
    p = binom.sf(counts - 1, n, 0.25)
    refused = int((p <= 0.01).sum())
    assert 4 <= refused <= 39  # of 2,000 at most 20 are expected: each side has chance 1e-4
