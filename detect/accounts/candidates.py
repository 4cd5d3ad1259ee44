"""Whose marks are asked about: key files in a directory, or keys derived on the spot from their owner's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detect.keycheck import accepted, check_path
from detect.visible import one_line
from detect.wording import amount
from watermark.errors import InputError
from watermark.keys import DerivedFrom, Key

_CHECK_SUFFIX = check_path(Path("key")).name.removeprefix("key")


@dataclass(frozen=True)
class Candidate:
    """A mark that may have been used, and whose it would be.

    Attributes:
        account: the account's id; the key file's name where the key names no account.
        epoch: the month, for a key of one.
        key: shows nothing secret.
        key_check: True: the key passed its check on human text before first use. False: it was refused there, and
            nothing is claimed under it. None: no check is on record.
    """

    account: str
    epoch: str | None
    key: Key
    key_check: bool | None = None

    @property
    def name(self) -> str:
        """The account, and the month where there is one: one line, safe to show."""
        return one_line(self.account if self.epoch is None else f"{self.account} {self.epoch}")

    @property
    def rule(self) -> tuple[int, tuple[int, ...], str | None]:
        """What decides which pairs count under this key; candidates with the same rule are scored on the same pairs."""
        tokenizer = self.key.tokenizer
        return self.key.context_width, self.key.special_ids, None if tokenizer is None else tokenizer.sha256


def key_files(directory: Path) -> list[Path]:
    """Every file below `directory` that should be a key: all but hidden files and the records of key checks, sorted.

    Raises:
        InputError: no directory, or nothing in it.
    """
    if not directory.is_dir():
        raise InputError(f"{directory} is not a directory; give the one that holds the accounts' key files")
    found = []
    for folder, folders, names in os.walk(directory, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    files = sorted(path for path in found if not path.name.endswith(_CHECK_SUFFIX))
    if not files:
        raise InputError(f"{directory} holds no key files; `taggant key derive` writes them, or use --owner")
    return files


def load_candidates(files: Iterable[Path], on_key: Callable[[int], None] | None = None) -> list[Candidate]:
    """Load key files and the records of their checks; a key is named by what it was derived from.

    A file that is no key is refused rather than skipped: an account left out unnoticed could not be attributed.

    Args:
        files: as from `key_files`.
        on_key: called with 1 for each key loaded.

    Raises:
        KeyFileError: a file is no key, open to others, or its check is not its own.
    """
    loaded = []
    for path in files:
        key = Key.load(path)
        loaded.append((path, key, accepted(key, path)))
        if on_key is not None:
            on_key(1)
    own = {key.key_id: key.derived_from for _, key, _ in loaded}
    return [_named(path, key, outcome, own) for path, key, outcome in loaded]


def derived_candidates(
    owner: Key, accounts: Sequence[str], epochs: Sequence[str] = (), on_key: Callable[[int], None] | None = None
) -> Iterator[Candidate]:
    """The keys of accounts, or of each account for each month, derived from `owner`. No check is on record for them.

    Raises:
        KeyFileError: a label that derivation refuses.
    """
    for account in accounts:
        key = owner.account(account)
        if not epochs:
            yield Candidate(account, None, key)
        for epoch in epochs:
            yield Candidate(account, epoch, key.epoch(epoch))
        if on_key is not None:
            on_key(max(1, len(epochs)))


def refuse_doubles(candidates: Iterable[Candidate]) -> None:
    """Raise InputError where a key stands under two names, or twice: its mark could be attributed to either."""
    seen: dict[str, Candidate] = {}
    for candidate in candidates:
        first = seen.get(candidate.key.key_id)
        if first is not None:
            names = f"{first.name} and {candidate.name}" if first.name != candidate.name else f"{first.name}, twice"
            raise InputError(f"key {candidate.key.short_id} is listed for {names}; list every key once")
        seen[candidate.key.key_id] = candidate


def same_rule(candidates: Iterable[Candidate]) -> list[list[Candidate]]:
    """Candidates grouped by what decides which pairs count, groups and members in the order they came."""
    groups: dict[object, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.rule, []).append(candidate)
    return list(groups.values())


def what_is_listed(candidates: Sequence[Candidate]) -> list[str]:
    """What must be known about the list of keys: which months it covers, and whether an owner's key is in it."""
    months = sorted({candidate.epoch for candidate in candidates if candidate.epoch is not None})
    without = sum(candidate.epoch is None for candidate in candidates)
    notes = []
    if not months:
        notes.append(
            "no key is a month's: what an account's key of some month marked is not found under these; list the "
            "months' keys (with --owner: --epoch)"
        )
    else:
        named = f"{months[0]} to {months[-1]}, {amount(len(months), 'month')}" if len(months) > 1 else months[0]
        also = f", and {amount(without, 'key')} of no month" if without else ""
        notes.append(f"months of the keys: {named}{also}; what another month's key marked is not found under these")
    roots = [candidate for candidate in candidates if candidate.key.derived_from is None]
    if 0 < len(roots) < len(candidates):
        notes.append(
            f"{amount(len(roots), 'key')} (first: {roots[0].name}) {'was' if len(roots) == 1 else 'were'} derived from "
            "no other, unlike the rest: what an owner's key marked is no account's"
        )
    return notes


def _named(path: Path, key: Key, key_check: bool | None, own: Mapping[str, DerivedFrom | None]) -> Candidate:
    """By `derived_from`; a month's key knows its account only if that account's key is at hand, too."""
    source = key.derived_from
    parent = None if source is None else own.get(source.key_id)
    labels = {one.kind: one.label for one in (parent, source) if one is not None}  # its own label last: it wins
    return Candidate(labels.get("account", path.stem), labels.get("epoch"), key, key_check)


def _raise(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read ({error.strerror}); check its permissions")
