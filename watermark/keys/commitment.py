"""Committing to many marks by one hash, and opening one of them without showing the others.

The owner publishes a Commitment before first use and has it timestamped by someone else. Later an Opening hands an
expert one mark's ChaCha20 key, and shows that this key is one of those committed to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rfc8785

from watermark.errors import CommitmentError, KeyFileError
from watermark.files import new_file
from watermark.keys.key import Key
from watermark.keys.members import hex_digits, integer, members, one_of, read_document
from watermark.keys.merkle import inclusion_path, levels, root_of_path
from watermark.keys.opening import MAX_LEAVES, Leaf, Opening
from watermark.keys.parameters import key_id

COMMITMENT_FORMAT = "taggant-commitment/1"
CREATED_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

UNTIMESTAMPED_NOTE = (
    "The commitment's date is the owner's own statement. Without a timestamp from outside, an owner who could have "
    "tried 2^40 keys gains 12 decades."
)


@dataclass(frozen=True)
class Commitment:
    """A Merkle root over marks. Holds no secret: made to be published and timestamped before first use.

    Attributes:
        root: 64 hex digits.
        size: number of leaves.
        created: UTC, by the owner's own clock (see UNTIMESTAMPED_NOTE).
        leaves: in tree order; empty when only root and size are known, as after `load` without leaves.
    """

    root: str
    size: int
    created: str
    leaves: tuple[Leaf, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse values of the wrong type or out of range (KeyFileError)."""
        hex_digits(self.root, "root")
        integer(self.size, "size", 1, MAX_LEAVES)
        if not is_created(self.created):
            raise KeyFileError("'created' must be a UTC time such as \"2026-11-24T08:00:00Z\"")

    @classmethod
    def of(cls, leaves: Iterable[Leaf], *, created: datetime | None = None) -> Commitment:
        """Commit to `leaves`, in any order: they are sorted by their canonical bytes.

        Args:
            leaves: one for every mark.
            created: an aware time; now, by default.

        Raises:
            CommitmentError: no leaf, one that occurs twice, or a key listed for two accounts or months: its mark could
                be attributed to either.
        """
        ordered = sorted(leaves, key=lambda leaf: leaf.canonical)
        of_key: dict[str, Leaf] = {}
        for leaf in ordered:
            if of_key.get(leaf.key_id) == leaf:
                raise CommitmentError(f"the mark {leaf.key_id[:16]} is given twice; list every mark once")
            if leaf.key_id in of_key:
                raise CommitmentError(
                    f"the key {leaf.key_id[:16]} is listed under two labels; give every account and month its own key"
                )
            of_key[leaf.key_id] = leaf
        root = levels([leaf.canonical for leaf in ordered])[-1][0].hex()
        moment = (created or datetime.now(UTC)).astimezone(UTC)
        return cls(root, len(ordered), moment.strftime(CREATED_FORMAT), tuple(ordered))

    def open(self, key: Key, account: str | None = None, epoch: str | None = None) -> Opening:
        """Open the mark of `key`, committed to under `account` and `epoch`.

        Raises:
            CommitmentError: the leaves are not at hand, or this mark is not among them.
        """
        if not self.leaves:
            raise CommitmentError("this commitment holds only its root; load it with its leaves to open a mark")
        leaf = Leaf(account, epoch, key.key_id)
        if leaf not in self.leaves:
            raise CommitmentError(
                f"key {key.short_id} with this account and epoch is not in the commitment; check all three"
            )
        index, path = self.place(leaf)
        return opened(key, leaf, index, path, root=self.root, size=self.size)

    def place(self, leaf: Leaf) -> tuple[int, tuple[str, ...]]:
        """Where one of `leaves` stands, and its path to the root: sibling hashes, 64 hex digits each, upwards."""
        index = self.leaves.index(leaf)
        tree = levels([each.canonical for each in self.leaves])
        return index, tuple(sibling.hex() for sibling in inclusion_path(tree, index))

    def to_json(self) -> dict[str, Any]:
        """Return the public file's content: no leaves, since they list accounts."""
        return {"format": COMMITMENT_FORMAT, "root": self.root, "size": self.size, "created": self.created}

    @property
    def canonical(self) -> bytes:
        """The RFC 8785 bytes of the public file: `sha256sum` gives the digest that is timestamped."""
        return rfc8785.dumps(self.to_json())  # type: ignore[no-any-return]

    def save(self, path: str | Path) -> None:
        """Write the public file, never over something that exists (InputError)."""
        with new_file(path) as handle:
            handle.write(self.canonical)

    @classmethod
    def from_json(cls, value: object) -> Commitment:
        """Read what `to_json` gave.

        Raises:
            KeyFileError: malformed.
        """
        content = members(value, ("format", "root", "size", "created"), "the commitment")
        one_of(content["format"], "format", [COMMITMENT_FORMAT])
        return cls(content["root"], content["size"], content["created"])

    @classmethod
    def load(cls, path: str | Path, leaves: Iterable[Leaf] = ()) -> Commitment:
        """Read a commitment; with its leaves it can open marks.

        Raises:
            CommitmentError: missing, unreadable or malformed, or the leaves lead to another root.
        """
        advice = "get the commitment again from where it was published"
        read = read_document(path, cls.from_json, private=False, advice=advice, error=CommitmentError)
        leaves = tuple(leaves)
        if not leaves:
            return read
        rebuilt = cls.of(leaves)
        if (rebuilt.root, rebuilt.size) != (read.root, read.size):
            raise CommitmentError(
                f"{path} commits to other marks than the {rebuilt.size} given; give the leaves that were written with "
                "it, their labels unchanged"
            )
        return cls(read.root, read.size, read.created, rebuilt.leaves)


def opened(key: Key, leaf: Leaf, index: int, path: Iterable[str], *, root: str, size: int) -> Opening:
    """Open the mark of `key` at its place in a commitment; whether it stands there is `verify_opening`'s to say."""
    return Opening(
        leaf=leaf,
        chacha_key=key.chacha_key.hex(),
        index=index,
        path=tuple(path),
        root=root,
        size=size,
        gamma_65536=key.gamma_65536,
        context_width=key.context_width,
        scheme=key.scheme,
        tokenizer_sha256=key.tokenizer.sha256 if key.tokenizer else None,
        special_ids=key.special_ids,
        vocab_size=key.tokenizer.vocab_size if key.tokenizer else None,
    )


def verify_opening(opening: Opening, commitment: Commitment | None = None) -> None:
    """Check that an opened key is the committed one. Returns nothing: a failure raises.

    1. SHA-256 of the ChaCha20 key, with scheme, gamma, context width and tokenizer hash, gives a key id.
    2. That key id is the leaf's.
    3. The leaf's hash and the path lead to the root.
    4. With `commitment`, root and size are the published ones. Without it an opening only agrees with itself, so
       give it wherever there is one: the root is what a timestamp vouches for.

    It shows that this mark was committed to, not that no other was. Nothing here checks `special_ids` and `vocab_size`:
    compare them with the tokenizer whose hash the opening names.

    Raises:
        CommitmentError: which step failed.
    """
    recomputed = key_id(
        hashlib.sha256(bytes.fromhex(opening.chacha_key)).hexdigest(),
        scheme=opening.scheme,
        gamma_65536=opening.gamma_65536,
        context_width=opening.context_width,
        tokenizer_sha256=opening.tokenizer_sha256,
    )
    if recomputed != opening.leaf.key_id:
        raise CommitmentError("the opened key and its parameters do not give the leaf's key id; the opening is refused")
    if root_from(opening.leaf, opening.index, opening.size, opening.path) != opening.root:
        raise CommitmentError("the leaf and its path do not lead to the root; the opening is refused")
    if commitment and (opening.root, opening.size) != (commitment.root, commitment.size):
        raise CommitmentError("the opening belongs to another commitment; the opening is refused")


def root_from(leaf: Leaf, index: int, size: int, path: Iterable[str]) -> str:
    """The root, 64 hex digits, to which a leaf at `index` of `size` and its path lead."""
    return root_of_path(leaf.canonical, index, size, [bytes.fromhex(sibling) for sibling in path]).hex()


def is_created(value: object) -> bool:
    """Whether it is a UTC time in CREATED_FORMAT, spelled as that spells it."""
    try:
        # strptime also takes one-digit fields and other spellings: the text must come back as it was
        return isinstance(value, str) and datetime.strptime(value, CREATED_FORMAT).strftime(CREATED_FORMAT) == value
    except ValueError:
        return False
