"""RFC 6962 trees: known roots, and agreement with its recursive definition."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.watermark.keys import reference
from watermark.errors import CommitmentError
from watermark.keys.merkle import inclusion_path, leaf_hash, levels, node_hash, root_of_path

# The leaves and roots of the Certificate Transparency reference implementation's tests.
CT_LEAVES = [
    bytes.fromhex(digits)
    for digits in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
MAX_SIZE = 40


def data(size: int) -> list[bytes]:
    return [b"leaf %d" % i for i in range(size)]


def verified(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> bool:
    try:
        return root_of_path(leaf, index, size, path) == root
    except CommitmentError:
        return False


@pytest.mark.parametrize("size", range(1, 9))
def test_known_roots(size: int) -> None:
    root = CT_ROOTS[size - 1]
    assert levels(CT_LEAVES[:size])[-1][0].hex() == root
    assert reference.merkle_root(CT_LEAVES[:size]).hex() == root


def test_the_prefixes() -> None:
    assert leaf_hash(b"x") == hashlib.sha256(b"\0x").digest()
    assert node_hash(b"l", b"r") == hashlib.sha256(b"\1lr").digest()


@pytest.mark.parametrize("size", range(1, MAX_SIZE + 1))
def test_every_leaf_of_every_size(size: int) -> None:
    leaves = data(size)
    tree = levels(leaves)
    root = reference.merkle_root(leaves)
    assert tree[-1] == [root]
    for index, leaf in enumerate(leaves):
        path = inclusion_path(tree, index)
        assert path == reference.audit_path(index, leaves)
        assert root_of_path(leaf, index, size, path) == root


@pytest.mark.parametrize("size", range(1, MAX_SIZE + 1))
def test_a_path_belongs_to_one_index(size: int) -> None:
    leaves = data(size)
    tree = levels(leaves)
    for index, leaf in enumerate(leaves):
        path = inclusion_path(tree, index)
        accepted = [i for i in range(-1, size + 1) if verified(leaf, i, size, path, tree[-1][0])]
        assert accepted == [index]


@given(st.data())
def test_every_tampering_is_refused(draw: st.DataObject) -> None:
    size = draw.draw(st.integers(1, MAX_SIZE))
    index = draw.draw(st.integers(0, size - 1))
    leaves = data(size)
    tree = levels(leaves)
    path, root = inclusion_path(tree, index), tree[-1][0]
    assert verified(leaves[index], index, size, path, root)

    extra = draw.draw(st.binary(min_size=32, max_size=32))
    assert not verified(leaves[index] + b"x", index, size, path, root)
    assert not verified(leaves[index], index, size, [*path, extra], root)
    assert not verified(leaves[index], index, size, [extra, *path], root)
    if path:
        at = draw.draw(st.integers(0, len(path) - 1))
        bit = draw.draw(st.integers(0, 255))
        flipped = bytes(b ^ (1 << bit % 8 if i == bit // 8 else 0) for i, b in enumerate(path[at]))
        assert not verified(leaves[index], index, size, [*path[:at], flipped, *path[at + 1 :]], root)
        assert not verified(leaves[index], index, size, path[:at] + path[at + 1 :], root)
    if len(path) > 1:
        assert not verified(leaves[index], index, size, path[::-1], root)


def test_an_inner_node_is_no_leaf() -> None:
    """Without prefixes, two hashes put together would pass as a leaf of a shorter tree."""
    tree = levels(data(4))
    left, right = tree[0][:2]
    assert not verified(left + right, 0, 2, [tree[1][1]], tree[-1][0])


def test_the_size_alone_is_not_bound_by_a_path() -> None:
    """Why an opening is compared with the commitment's size too: leaf 0 has one path in trees of 5 … 8 leaves."""
    leaves = data(5)
    tree = levels(leaves)
    path = inclusion_path(tree, 0)
    assert [n for n in range(1, 17) if verified(leaves[0], 0, n, path, tree[-1][0])] == [5, 6, 7, 8]


def test_an_empty_tree_is_refused() -> None:
    with pytest.raises(CommitmentError, match="nothing"):
        levels([])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 3), (3, 3)])
def test_an_index_outside_is_refused(index: int, size: int) -> None:
    with pytest.raises(CommitmentError, match="outside"):
        root_of_path(b"", index, size, [])


def test_a_path_of_another_length_is_refused_as_such() -> None:
    leaves = data(5)
    path = inclusion_path(levels(leaves), 4)
    with pytest.raises(CommitmentError, match="longer"):
        root_of_path(leaves[4], 4, 5, [*path, bytes(32)])
    with pytest.raises(CommitmentError, match="shorter"):
        root_of_path(leaves[4], 4, 5, path[:-1])
