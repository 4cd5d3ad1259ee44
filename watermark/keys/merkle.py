"""RFC 6962's Merkle tree over SHA-256: root, inclusion path, and the check of one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from watermark.errors import CommitmentError


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256(0x00 ‖ data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256(0x01 ‖ left ‖ right). The prefixes keep leaves and nodes apart."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return all levels of the tree, leaf hashes first, the root alone in the last.

    A level's odd last node moves up unchanged, which gives the same tree as RFC 6962's split at the largest
    power of two below n. `leaves` are the leaves' data, at least one.
    """
    if not leaves:
        raise CommitmentError("there is nothing to commit to; give at least one leaf")
    tree = [[leaf_hash(leaf) for leaf in leaves]]
    while len(tree[-1]) > 1:
        below = tree[-1]
        paired = [node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        tree.append(paired + below[len(below) - len(below) % 2 :])
    return tree


def inclusion_path(tree: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    """Return the sibling hashes from leaf `index` up to the root; a node that moves up unchanged has none."""
    path = []
    for level in tree[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index >>= 1
    return path


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root to which a leaf's data and its path lead. Source: RFC 9162, section 2.1.3.2.

    The length of the path is checked against index and size. Several sizes can share a path's length: compare
    the size with the committed one as well as the root.

    Raises:
        CommitmentError: the index is outside the tree, or the path has not the length it must have.
    """
    if not 0 <= index < size:
        raise CommitmentError(f"index {index} is outside a tree of {size} leaves")
    node, last, result = index, size - 1, leaf_hash(leaf)
    for sibling in path:
        if last == 0:
            raise CommitmentError("the path is longer than its tree is high")
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:  # levels at which this node moved up unchanged
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise CommitmentError("the path is shorter than its tree is high")
    return result
