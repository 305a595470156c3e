"""Owns the Merkle tree: RFC 6962 section 2.1 hashing, compact ranges, and proofs and their verification.

Every hash is 32 bytes of SHA-256; a *leaf* here is a leaf hash, never an entry. A tree is held as its
`CompactRange`, from which a batch of new leaves gets all its inclusion proofs without reading anything.
Refused: hashes of another length, a compact range of the wrong count, sizes of 2^63 and more, and proofs with
a hash too few or too many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from broker.errors import IntegrityError

HASH_BYTES = 32
MAX_SIZE = (1 << 63) - 1
EMPTY_ROOT = hashlib.sha256(b"").digest()

_sha256 = hashlib.sha256


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(0x00 || entry), RFC 6962 section 2.1."""
    return _sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right), RFC 6962 section 2.1."""
    return _sha256(b"\x01" + left + right).digest()


def _check_size(size: int) -> None:
    if not 0 <= size <= MAX_SIZE:
        raise IntegrityError(f"tree size {size} is not between 0 and 2^63 - 1")


def _check_hashes(hashes: Iterable[bytes]) -> None:
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise IntegrityError(f"a hash of {len(value)} bytes, not {HASH_BYTES}")


@dataclass(frozen=True, slots=True)
class CompactRange:
    """The roots of the perfect subtrees of a tree of `size` leaves, largest first.

    There is one for each bit set in `size`, so `hashes` grows with the logarithm of the log.
    """

    size: int
    hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _check_size(self.size)
        if len(self.hashes) != self.size.bit_count():
            raise IntegrityError(
                f"compact range: a tree of {self.size} leaves has {self.size.bit_count()} subtrees,"
                f" not {len(self.hashes)}"
            )
        _check_hashes(self.hashes)

    def append(self, leaf: bytes) -> CompactRange:
        """Return the range with one more leaf hash."""
        return self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> CompactRange:
        """Return the range with these leaf hashes after its own."""
        hashes, size = list(self.hashes), self.size
        for leaf in leaves:
            node, merging = leaf, size
            while merging & 1:
                node = node_hash(hashes.pop(), node)
                merging >>= 1
            hashes.append(node)
            size += 1
        return CompactRange(size, tuple(hashes))

    def root(self) -> bytes:
        """Return the Merkle Tree Hash; of no leaves, SHA-256 of nothing."""
        if not self.hashes:
            return EMPTY_ROOT
        node = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            node = node_hash(left, node)
        return node

    def to_bytes(self) -> bytes:
        """Return the hashes one after the other, largest subtree first."""
        return b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> CompactRange:
        """Return the range of `size` leaves written as `data`; refuses any other number of bytes."""
        if len(data) % HASH_BYTES:
            raise IntegrityError("compact range: not a whole number of hashes")
        return cls(size, tuple(data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)))


EMPTY_RANGE = CompactRange(0, ())


def extend_with_proofs(
    old: CompactRange, leaves: Sequence[bytes]
) -> tuple[CompactRange, list[tuple[bytes, ...]]]:
    """As `extend_to_root`, without the root."""
    new, _, proofs = extend_to_root(old, leaves)
    return new, proofs


def extend_to_root(
    old: CompactRange, leaves: Sequence[bytes]
) -> tuple[CompactRange, bytes, list[tuple[bytes, ...]]]:
    """Append leaf hashes; return the new range, its root and each new leaf's inclusion proof in the new tree.

    Proof i is that of leaf `old.size + i`, sibling first (RFC 6962 section 2.1.1). Nothing is read: every
    node left of the batch that a proof needs is a subtree root of `old`. Nodes and proof tails are shared.
    """
    if not leaves:
        return old, old.root(), []
    _check_hashes(leaves)
    size = old.size + len(leaves)
    _check_size(size)
    levels = _levels(old, leaves)
    proofs: list[tuple[bytes, ...]] = [()]
    for height in range(len(levels) - 2, -1, -1):
        proofs = _proofs_below(levels[height], old.size >> height, proofs)
    hashes = tuple(
        levels[height][(size >> height) - 1 - _first(old.size, height)]
        for height in reversed(range(size.bit_length()))
        if size >> height & 1
    )
    return CompactRange(size, hashes), levels[-1][0], proofs


def _first(old_size: int, height: int) -> int:
    """The index of the first node kept at a height: always even, so that pairs never straddle it."""
    return (old_size >> height) & ~1


def _levels(old: CompactRange, leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Every node of the new tree from the first new leaf rightward, by height, up to the root.

    A level begins with the old subtree root of that height if the first new node is a right child. The last
    node of a level with an odd count is moved up as it is: that is the right edge of RFC 6962's tree.
    """
    size, old_size = old.size + len(leaves), old.size
    peaks = list(old.hashes)
    level = [peaks.pop(), *leaves] if old_size & 1 else list(leaves)
    levels = [level]
    height = 0
    while (size - 1) >> height:
        height += 1
        above = [peaks.pop()] if old_size >> height & 1 else []
        # Most levels of a large tree have one or two nodes that are new or beside one.
        if len(level) == 2:
            above.append(node_hash(*level))
        elif len(level) > 2:
            pairs = iter(level)
            above += [
                _sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)
            ]
        if len(level) & 1:
            above.append(level[-1])
        level = above
        levels.append(level)
    return levels


def _proofs_below(
    level: list[bytes], first_new: int, above: list[tuple[bytes, ...]]
) -> list[tuple[bytes, ...]]:
    """Given the proofs of the nodes one level up, the proofs of this level's new nodes."""
    skip = first_new & 1
    last = len(level) - 1
    if last == skip:  # one new node: alone, or beside an old one
        return [(level[0], *above[-1])] if skip else above[-1:]
    proofs = []
    for position in range(skip, len(level)):
        tail = above[position >> 1]
        sibling = position ^ 1
        proofs.append((level[sibling], *tail) if sibling <= last else tail)
    return proofs


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that leaf hash `leaf` is number `index` of the tree of `size` leaves with `root`.

    RFC 9162 section 2.1.3.2.

    Raises:
        IntegrityError: the proof does not lead to the root, or has a hash too few or too many.
    """
    _check_size(size)
    _check_hashes((leaf, root, *proof))
    if not 0 <= index < size:
        raise IntegrityError(f"inclusion: index {index} is not in a tree of {size} leaves")
    node, position, last = leaf, index, size - 1
    for sibling in proof:
        if not last:
            raise IntegrityError("inclusion: the proof has more hashes than the tree has levels")
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise IntegrityError("inclusion: the proof has fewer hashes than the tree has levels")
    if node != root:
        raise IntegrityError(f"inclusion: the proof of leaf {index} does not lead to the root at size {size}")


def verify_consistency(size1: int, root1: bytes, size2: int, root2: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `size1` leaves with `root1` is a prefix of that of `size2` with `root2`.

    RFC 9162 section 2.1.4.2. Equal sizes need equal roots and no proof; so does the empty tree, whose root
    must be SHA-256 of nothing.

    Raises:
        IntegrityError: the trees contradict each other, or the proof is not the one for these sizes.
    """
    _check_size(size1)
    _check_size(size2)
    _check_hashes((root1, root2, *proof))
    if size1 > size2:
        raise IntegrityError(f"consistency: the later tree has {size2} leaves, the earlier one {size1}")
    if size1 in (0, size2):
        if proof:
            raise IntegrityError("consistency: a proof where none is needed")
        if (size1 == 0 and root1 != EMPTY_ROOT) or (size2 == 0 and root2 != EMPTY_ROOT):
            raise IntegrityError("consistency: an empty tree with another root than that of nothing")
        if size1 == size2 and root1 != root2:
            raise IntegrityError(f"consistency: two roots for one size, {size1}")
        return
    _fold_consistency(size1, root1, size2, root2, proof)


def _fold_consistency(size1: int, root1: bytes, size2: int, root2: bytes, proof: Sequence[bytes]) -> None:
    # A power of two is itself a node of the later tree, so its root is left out of the proof.
    if not proof:
        raise IntegrityError("consistency: an empty proof")
    path = [root1, *proof] if size1 & (size1 - 1) == 0 else proof
    position, last = size1 - 1, size2 - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if not last:
            raise IntegrityError("consistency: the proof has more hashes than the tree has levels")
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise IntegrityError("consistency: the proof has fewer hashes than the tree has levels")
    if old != root1 or new != root2:
        raise IntegrityError(f"consistency: the tree of {size1} leaves is not a prefix of that of {size2}")
