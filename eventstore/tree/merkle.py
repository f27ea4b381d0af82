"""Merkle trees as RFC 9162 (2.1) has them: hashes, which of them a proof consists of, and what a proof comes to.

A tree is known by its number of leaves. A range (first, end) stands for the leaves from `first` on, `end` not among them,
and for the hash over them; a subtree (first, height) for those of 2**height leaves, where `first` is a multiple of that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()

Range = tuple[int, int]
Subtree = tuple[int, int]


class ProofInvalid(Exception):
    """The proof does not prove what it is shown for. The message says what is wrong with it."""


def leaf_hash(content: bytes) -> bytes:
    """The hash of a leaf of these bytes."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node with these below."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def inclusion_path(index: int, size: int) -> list[Range]:
    """What proves that the leaf is in the tree, its sibling first."""
    path: list[Range] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _left_leaves(end - first)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((first, middle))
            first = middle
    return path[::-1]


def consistency_path(old: int, new: int) -> list[Range]:
    """What proves that the tree of `new` leaves begins with all of the tree of `old`; 0 < old <= new."""
    path: list[Range] = []
    first, end, is_old_root = 0, new, True
    while old != end:
        middle = first + _left_leaves(end - first)
        if old <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((first, middle))
            first, is_old_root = middle, False
    if not is_old_root:
        path.append((first, end))
    return path[::-1]


def subtrees(whole: Range) -> list[Subtree]:
    """What the range is made of, from left to right and from large to small."""
    first, end = whole
    found = []
    while first < end:
        height = (end - first).bit_length() - 1
        found.append((first, height))
        first += 1 << height
    return found


def hash_of(whole: Range, look_up: Callable[[Subtree], bytes]) -> bytes:
    """The hash over a range, from those of its subtrees."""
    parts = subtrees(whole)
    if not parts:
        return EMPTY_ROOT
    found = look_up(parts[-1])
    for part in reversed(parts[:-1]):
        found = node_hash(look_up(part), found)
    return found


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The hash over a number of hashes that is a power of two."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[n], hashes[n + 1]) for n in range(0, len(hashes), 2)]
    return hashes[0]


class Frontier:
    """A tree that leaves are added to, and that keeps no more of them than it takes to tell its root."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._ending: list[bytes] = []
        self.size = 0

    def add(self, leaf: bytes) -> None:
        """The hash of the next leaf."""
        self.size += 1
        whole, found = self.size, leaf
        self._ending = [leaf]
        while not whole & 1:
            found = node_hash(self._parts.pop(), found)
            self._ending.append(found)
            whole >>= 1
        self._parts.append(found)

    def ending(self, height: int) -> bytes:
        """The hash of the subtree of this height that ends with the last leaf; there has to be one."""
        return self._ending[height]

    def root(self) -> bytes:
        if not self._parts:
            return EMPTY_ROOT
        found = self._parts[-1]
        for part in reversed(self._parts[:-1]):
            found = node_hash(part, found)
        return found


def root_by_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """The root that the path leads to from the leaf's hash. Raises ProofInvalid for one that leads nowhere."""
    if not 0 <= index < size:
        raise ProofInvalid(f"a tree of {size} leaves has none of number {index}")
    shape = inclusion_path(index, size)
    _require_length(path, len(shape))
    found = leaf
    for (first, _), beside in zip(shape, path, strict=True):
        found = node_hash(found, beside) if first > index else node_hash(beside, found)
    return found


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Raises ProofInvalid unless the path proves that the new tree begins with all of the old one."""
    if not 0 < old <= new:
        raise ProofInvalid(f"a tree of {new} leaves does not come after one of {old}")
    shape = consistency_path(old, new)
    _require_length(path, len(shape))
    before = after = old_root
    given = list(zip(shape, path, strict=True))
    # The old tree itself is where the path begins, when it is whole in the new one.
    if not shape or shape[0][1] != old:
        rest = given
    else:
        before = after = path[0]
        rest = given[1:]
    for (first, _), beside in rest:
        if first < old:
            before, after = node_hash(beside, before), node_hash(beside, after)
        else:
            after = node_hash(after, beside)
    if before != old_root:
        raise ProofInvalid("it does not lead to the root of the smaller tree")
    if after != new_root:
        raise ProofInvalid("it does not lead to the root of the larger tree")


def _left_leaves(size: int) -> int:
    """How many of them are below the left of the root's two: the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _require_length(path: Sequence[bytes], length: int) -> None:
    if len(path) != length:
        raise ProofInvalid(f"it has {len(path)} hashes, and ought to have {length}")
    if any(len(one) != HASH_BYTES for one in path):
        raise ProofInvalid("one of its hashes has not 32 bytes")
