"""The demo's keys: only those the run began with, and none half-made."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from distill_sim.demo import keys
from distill_sim.demo.keys import demo_keys
from distill_sim.demo.run import run_demo
from tests import tiny
from tests.distill_sim.demo.outcome import evidence, nobody, secrets
from tests.distill_sim.processes import eventually
from tests.distill_sim.small import CONDITION
from watermark.errors import KeyFileError
from watermark.keys import Key

pytestmark = pytest.mark.usefixtures("one_torch_thread")
linux = pytest.mark.skipif(sys.platform != "linux", reason="forks")


def other_account(root: Path) -> None:
    """Another key of the same owner."""
    (root / "keys" / "account.key").unlink()
    Key.load(root / "keys" / "owner.key").account("account-0043").epoch("2026-11").save(root / "keys" / "account.key")


def other_month(root: Path) -> None:
    (root / "keys" / "account.key").unlink()
    Key.load(root / "keys" / "owner.key").account(keys.ACCOUNT).epoch("1999-01").save(root / "keys" / "account.key")


def unrelated(root: Path) -> None:
    (root / "keys" / "account.key").unlink()
    Key.generate().save(root / "keys" / "account.key")


def unrelated_of_the_same_kind(root: Path) -> None:
    (root / "keys" / "account.key").unlink()
    Key.generate().account(keys.ACCOUNT).epoch("2026-11").save(root / "keys" / "account.key")


def other_delta(root: Path) -> None:
    """The same secret and key id: the id does not bind delta."""
    path = root / "keys" / "account.key"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "delta": 3.0}))


def both_keys(root: Path) -> None:
    """A whole new pair that fits together, but not the commitment."""
    shutil.move(root / "keys" / "commitment.json", root / "commitment.json")
    for name in ("owner.key", "account.key"):
        (root / "keys" / name).unlink()
    demo_keys(root / "keys", tiny.shared(), used=False)
    shutil.move(root / "commitment.json", root / "keys" / "commitment.json")


REPLACED = [other_account, other_month, unrelated, unrelated_of_the_same_kind, other_delta, both_keys]


@pytest.mark.usefixtures("unstarted")
@pytest.mark.parametrize("replaced", REPLACED)
def test_another_account_key_is_refused(replaced: Callable[[Path], None], copy: Path) -> None:
    replaced(copy)
    results = evidence(copy)
    with pytest.raises(KeyFileError, match="is not the key this run began with; restore it") as caught:
        run_demo(copy, CONDITION, model=tiny.shared(), on_event=nobody)
    assert str(copy / "keys" / "account.key") in str(caught.value)
    assert not any(secret.decode("latin-1") in str(caught.value) for secret in secrets(copy))
    assert evidence(copy) == results


@pytest.mark.usefixtures("unstarted")
@pytest.mark.parametrize("name", ["owner.key", "account.key", "commitment.json"])
def test_a_key_file_that_went_missing_is_not_made_anew(name: str, copy: Path) -> None:
    (copy / "keys" / name).unlink()
    with pytest.raises(KeyFileError, match=f"{name} is missing from this run; restore it"):
        run_demo(copy, CONDITION, model=tiny.shared(), on_event=nobody)
    assert not (copy / "keys" / name).exists()


@pytest.mark.usefixtures("unstarted")
def test_a_key_that_others_can_read_is_refused(copy: Path) -> None:
    (copy / "keys" / "account.key").chmod(0o640)
    with pytest.raises(KeyFileError, match="open to group or others"):
        run_demo(copy, CONDITION, model=tiny.shared(), on_event=nobody)


# --- keys in the making ---


def make_keys_until(directory: Path, number: int, flag: Path) -> None:
    """In a forked process: stand still where the number-th key file is whole, but not yet in its place."""
    from watermark import files

    calls = 0
    rename = files._rename_exclusively

    def stand_still(temporary: str, path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            flag.touch()
            time.sleep(600)
        rename(temporary, path)

    files._rename_exclusively = stand_still
    demo_keys(directory, tiny.shared(), used=False)


@linux
@pytest.mark.parametrize("number", [1, 2, 3])
def test_killed_while_the_keys_are_made(number: int, tmp_path: Path) -> None:
    tiny.shared()
    directory, flag = tmp_path / "keys", tmp_path / "flag"
    process = multiprocessing.get_context("fork").Process(target=make_keys_until, args=(directory, number, flag))
    process.start()
    eventually(flag.exists, 60, "a key file is being written")
    process.kill()
    process.join()
    names = ["owner.key", "account.key", "commitment.json"]
    assert sorted(path.name for path in directory.glob("[!.]*")) == sorted(names[: number - 1])
    (leftover,) = directory.glob(".*.tmp")
    assert number == 3 or leftover.stat().st_mode & 0o077 == 0  # a key; the commitment is public
    owner = (directory / "owner.key").read_bytes() if number > 1 else None
    made = demo_keys(directory, tiny.shared(), used=False)
    assert sorted(path.name for path in directory.iterdir()) == sorted(names)  # the leftover held a secret: gone
    assert owner is None or (directory / "owner.key").read_bytes() == owner
    assert demo_keys(directory, tiny.shared(), used=True) == made
