"""Our trees and proofs against RFC 9162 as a textbook has it, and against the vectors of Certificate Transparency."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from eventstore.tree.merkle import (
    EMPTY_ROOT,
    Frontier,
    ProofInvalid,
    Range,
    check_consistency,
    consistency_path,
    inclusion_path,
    leaf_hash,
    root_by_inclusion,
    root_of,
)
from tests.eventstore.tree import textbook

# Those of certificate-transparency's merkletree tests: the leaves, the root of each size, and some proofs.
ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
INCLUSIONS = {
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
}
CONSISTENCIES = {
    (1, 1): (),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}


def hashes(ranges: list[Range], entries: list[bytes]) -> list[bytes]:
    return [textbook.tree_hash(entries[first:end]) for first, end in ranges]


def frontier(entries: list[bytes]) -> Frontier:
    found = Frontier()
    for entry in entries:
        found.add(leaf_hash(entry))
    return found


class TestVectors:
    @pytest.mark.parametrize("size", range(9))
    def test_of_roots(self, size: int) -> None:
        assert frontier(ENTRIES[:size]).root().hex() == ROOTS[size]
        assert textbook.tree_hash(ENTRIES[:size]).hex() == ROOTS[size]

    @pytest.mark.parametrize(("index", "size"), INCLUSIONS)
    def test_of_inclusion(self, index: int, size: int) -> None:
        found = hashes(inclusion_path(index, size), ENTRIES)

        assert [one.hex() for one in found] == list(INCLUSIONS[index, size])

    @pytest.mark.parametrize(("old", "new"), CONSISTENCIES)
    def test_of_consistency(self, old: int, new: int) -> None:
        found = hashes(consistency_path(old, new), ENTRIES)

        assert [one.hex() for one in found] == list(CONSISTENCIES[old, new])

    def test_of_nothing(self) -> None:
        assert EMPTY_ROOT.hex() == ROOTS[0]


@given(some.integers(1, 70), some.data())
def test_proofs_of_inclusion_are_the_textbook_s(size: int, data: some.DataObject) -> None:
    entries = [b"%d" % n for n in range(size)]
    index = data.draw(some.integers(0, size - 1))
    path, root = hashes(inclusion_path(index, size), entries), textbook.tree_hash(entries)
    leaf = leaf_hash(entries[index])

    assert textbook.proves_inclusion(index, size, leaf, path, root)
    assert root_by_inclusion(index, size, leaf, path) == root
    assert root_by_inclusion(index, size, leaf_hash(b"another"), path) != root


@given(some.integers(1, 70), some.data())
def test_proofs_of_consistency_are_the_textbook_s(new: int, data: some.DataObject) -> None:
    entries = [b"%d" % n for n in range(new)]
    old = data.draw(some.integers(1, new))
    path = hashes(consistency_path(old, new), entries)
    before, after = textbook.tree_hash(entries[:old]), textbook.tree_hash(entries)

    assert textbook.proves_consistency(old, before, new, after, path)
    check_consistency(old, before, new, after, path)
    for other in ((b"x" * 32, after), (before, b"x" * 32)):
        with pytest.raises(ProofInvalid):
            check_consistency(old, other[0], new, other[1], path)
    with pytest.raises(ProofInvalid):
        check_consistency(old, before, new, after, [*path, before])


@pytest.mark.parametrize(("index", "size", "length"), [(3, 3, 0), (0, 4, 1), (0, 4, 3), (-1, 4, 2)])
def test_a_path_of_another_length_is_none(index: int, size: int, length: int) -> None:
    with pytest.raises(ProofInvalid):
        root_by_inclusion(index, size, b"x" * 32, [b"x" * 32] * length)


def test_a_frontier_knows_the_subtrees_that_end_with_its_last_leaf() -> None:
    leaves = [leaf_hash(b"%d" % n) for n in range(8)]
    found = Frontier()
    for number, leaf in enumerate(leaves, 1):
        found.add(leaf)
        for height in range((number & -number).bit_length()):
            assert found.ending(height) == root_of(leaves[number - (1 << height) : number])
