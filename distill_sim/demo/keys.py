"""The demo's keys: an owner's, one account's for this month, and a commitment to it, made once and before first use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from watermark.engines.models import load_tokenizer
from watermark.errors import KeyFileError
from watermark.keys import Commitment, Key, Leaf

ACCOUNT = "account-0042"
OWNER_FILE, ACCOUNT_FILE, COMMITMENT_FILE = "owner.key", "account.key", "commitment.json"


@dataclass(frozen=True)
class Keys:
    """The demo's keys and where they lie."""

    account: Key
    account_file: Path
    commitment: Commitment
    epoch: str


def demo_keys(directory: Path, teacher: Path, *, used: bool) -> Keys:
    """The keys in `directory`; what is missing is made, in the order owner, account, commitment.

    Args:
        teacher: directory of the model whose tokenizer the keys are made for.
        used: something was marked already; then nothing may be missing any more.

    Raises:
        KeyFileError: a file is missing or malformed, or is not the one the run began with.
        InputError: a key cannot be written.
    """
    directory.mkdir(exist_ok=True)
    _sweep(directory)
    owner_file, account_file, committed = (directory / name for name in (OWNER_FILE, ACCOUNT_FILE, COMMITMENT_FILE))
    if _is_wanted(owner_file, used or account_file.exists() or committed.exists()):
        Key.generate(tokenizer=load_tokenizer(teacher)).save(owner_file)
    owner = Key.load(owner_file)
    if _is_wanted(account_file, used or committed.exists()):
        owner.account(ACCOUNT).epoch(f"{datetime.now(UTC):%Y-%m}").save(account_file)
    account = Key.load(account_file)
    epoch = "" if account.derived_from is None else account.derived_from.label
    if account.derived_from is None or owner.account(ACCOUNT).epoch(epoch) != account:
        raise _replaced(account_file)
    fresh = Commitment.of([Leaf(ACCOUNT, epoch, account.key_id)])
    if _is_wanted(committed, used):
        fresh.save(committed)
    commitment = Commitment.load(committed)
    if (commitment.root, commitment.size) != (fresh.root, fresh.size):
        raise _replaced(account_file)
    return Keys(account, account_file, commitment, epoch)


def _is_wanted(path: Path, too_late: bool) -> bool:
    """Whether `path` is still to be made."""
    if path.exists():
        return False
    if too_late:
        raise KeyFileError(f"{path} is missing from this run; restore it, or choose another directory with -o")
    return True


def _replaced(path: Path) -> KeyFileError:
    return KeyFileError(f"{path} is not the key this run began with; restore it, or choose another directory with -o")


def _sweep(directory: Path) -> None:
    """Remove what a kill left of a key file in the making: it holds a secret."""
    for name in (OWNER_FILE, ACCOUNT_FILE, COMMITMENT_FILE):
        for leftover in directory.glob(f".{name}.*.tmp"):
            leftover.unlink()
