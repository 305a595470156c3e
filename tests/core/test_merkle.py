"""The Merkle tree against RFC 6962's public vectors and a naive reading of the RFC."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.merkle import (
    EMPTY_RANGE,
    EMPTY_ROOT,
    CompactRange,
    extend_to_root,
    extend_with_proofs,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from broker.errors import IntegrityError

VECTOR_ENTRIES = (
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)
VECTOR_ROOTS = (
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


@pytest.mark.parametrize("size", range(9))
def test_public_vectors(size: int) -> None:
    """The eight entries that Certificate Transparency implementations share give the published roots."""
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in VECTOR_ENTRIES[:size]]
    assert EMPTY_RANGE.extend(leaves).root().hex() == VECTOR_ROOTS[size]


def test_every_inclusion_proof_to_300(naive) -> None:
    """For every tree up to 300 leaves, every leaf's proof is the RFC's, and verifies."""
    for size in range(1, 301):
        _, proofs = extend_with_proofs(EMPTY_RANGE, [naive.leaf(i) for i in range(size)])
        root = naive.root(size)
        for index, proof in enumerate(proofs):
            verify_inclusion(naive.leaf(index), index, size, proof, root)
            assert list(proof) == naive.path(index, 0, size)


@given(st.integers(0, 400), st.integers(0, 300))
def test_a_batch_gets_its_proofs_from_the_old_range_alone(naive, before: int, count: int) -> None:
    """Old range and new leaves give the new range and the RFC's proof of each new leaf."""
    old = EMPTY_RANGE.extend(naive.leaf(i) for i in range(before))
    grown, root, proofs = extend_to_root(old, [naive.leaf(i) for i in range(before, before + count)])
    assert root == grown.root()
    assert grown == old.extend(naive.leaf(i) for i in range(before, before + count))
    assert grown.root() == naive.root(before + count)
    assert len(proofs) == count
    for i, proof in enumerate(proofs):
        assert list(proof) == naive.path(before + i, 0, before + count)


def test_ranges_grow_alike_one_by_one_and_together(naive) -> None:
    """Appending one by one, extending, and the bytes there and back give the same range and root."""
    one_by_one = EMPTY_RANGE
    for size in range(200):
        assert one_by_one.root() == naive.root(size)
        assert CompactRange.from_bytes(size, one_by_one.to_bytes()) == one_by_one
        one_by_one = one_by_one.append(naive.leaf(size))


def test_bytes_hold_the_largest_subtree_first(naive) -> None:
    """A range of 7 is written as the roots of 4, 2 and 1 leaves."""
    written = EMPTY_RANGE.extend(naive.leaf(i) for i in range(7)).to_bytes()
    assert written == naive.mth(0, 4) + naive.mth(4, 6) + naive.mth(6, 7)


@pytest.mark.parametrize(
    ("size", "data"),
    [
        (0, bytes(32)),
        (1, b""),
        (1, bytes(31)),
        (1, bytes(33)),
        (3, bytes(32)),
        (4, bytes(64)),
        (-1, b""),
        (1 << 63, bytes(32)),
    ],
)
def test_a_range_of_the_wrong_count_is_refused(size: int, data: bytes) -> None:
    """A compact range has one hash of 32 bytes for each bit of its size, and nothing else."""
    with pytest.raises(IntegrityError):
        CompactRange.from_bytes(size, data)


def test_hashes_of_another_length_are_refused() -> None:
    """An entry handed over in place of a leaf hash does not enter the tree."""
    with pytest.raises(IntegrityError):
        extend_with_proofs(EMPTY_RANGE, [leaf_hash(b"a"), b"an entry"])
    with pytest.raises(IntegrityError):
        EMPTY_RANGE.extend([b"an entry"])
    with pytest.raises(IntegrityError):
        verify_inclusion(b"x", 0, 1, (), b"x")


def test_every_consistency_pair_to_200(naive) -> None:
    """Every earlier tree up to 200 leaves proves to be a prefix of every later one, with the RFC's proof."""
    for size2 in range(201):
        for size1 in range(size2 + 1):
            verify_consistency(size1, naive.root(size1), size2, naive.root(size2), naive.proof(size1, size2))


def test_an_inclusion_proof_proves_one_thing_only(naive) -> None:
    """Any other leaf, index, size, root, hash, or number of hashes is refused, for every leaf to size 33."""
    for size in range(1, 34):
        root = naive.root(size)
        for index in range(size):
            leaf, proof = naive.leaf(index), naive.path(index, 0, size)
            wrong: list[tuple] = [
                (leaf_hash(b"other"), index, size, proof, root),
                (leaf, index, size, proof, leaf_hash(b"other")),
                (leaf, index, size, [*proof, root], root),
                (leaf, index, size, [root, *proof], root),
                (leaf, -1, size, proof, root),
                (leaf, size, size, proof, root),
            ]
            wrong += [(leaf, other, size, proof, root) for other in range(size) if other != index]
            wrong += [(leaf, index, size, proof[:i] + proof[i + 1 :], root) for i in range(len(proof))]
            wrong += [
                (leaf, index, size, [*proof[:i], leaf_hash(proof[i]), *proof[i + 1 :]], root)
                for i in range(len(proof))
            ]
            for case in wrong:
                with pytest.raises(IntegrityError):
                    verify_inclusion(*case)


def test_a_consistency_proof_proves_one_thing_only(naive) -> None:
    """Another root, another hash, or a hash too few or too many is refused, for every pair to size 20."""
    other = leaf_hash(b"other")
    for size2 in range(1, 21):
        for size1 in range(1, size2 + 1):
            root1, root2, proof = naive.root(size1), naive.root(size2), naive.proof(size1, size2)
            wrong = [
                (size1, other, size2, root2, proof),
                (size1, root1, size2, other, proof),
                (size1, root1, size2, root2, [*proof, other]),
                (size1, root1, size2, root2, [other, *proof]),
                (size2, root2, size1, root1, proof),
            ]
            wrong += [(size1, root1, size2, root2, proof[:i] + proof[i + 1 :]) for i in range(len(proof))]
            wrong += [
                (size1, root1, size2, root2, [*proof[:i], other, *proof[i + 1 :]]) for i in range(len(proof))
            ]
            for case in wrong[: 4 if size1 == size2 else None]:
                with pytest.raises(IntegrityError):
                    verify_consistency(*case)


def test_the_empty_tree_has_one_root(naive) -> None:
    """Nothing is a prefix of every tree, but only under the root of nothing and without a proof."""
    verify_consistency(0, EMPTY_ROOT, 5, naive.root(5), ())
    for case in (
        (0, naive.root(5), 5, naive.root(5), ()),
        (0, EMPTY_ROOT, 5, naive.root(5), (EMPTY_ROOT,)),
        (0, EMPTY_ROOT, 0, naive.root(5), ()),
        (0, naive.root(5), 0, naive.root(5), ()),
    ):
        with pytest.raises(IntegrityError):
            verify_consistency(*case)
