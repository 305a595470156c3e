"""Inclusion proofs of one checkpoint, each verified whole; what two of them have in common, once.

Owns how far a proof has to be followed: from a node on, a proof that says what a verified one said from there
leads where that one led. So every proof is held against the root to its last hash, as `verify_inclusion` does,
and what fails here fails there, which says how.
"""

from __future__ import annotations

from functools import lru_cache

from broker.core.merkle import HASH_BYTES, node_hash, verify_inclusion

_MOST = 4096  # nodes remembered of one checkpoint

# The two numbers with which RFC 9162 section 2.1.3.2 goes on; the node there, and what is left of the proof.
_At = tuple[int, int]
_Rest = tuple[bytes, tuple[bytes, ...]]


class Paths:
    """The verified paths to one root."""

    def __init__(self, size: int, root: bytes) -> None:
        self._size = size
        self._root = root
        self._known: dict[_At, _Rest] = {}

    def verify(self, leaf: bytes, index: int, proof: tuple[bytes, ...]) -> None:
        """As `verify_inclusion` in this tree. Raises IntegrityError."""
        passed = self._follow(leaf, index, proof) if 0 <= index < self._size else None
        if passed is None:
            verify_inclusion(leaf, index, self._size, proof, self._root)  # raises, and says which step fails
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known.update(passed)

    def _follow(self, leaf: bytes, index: int, proof: tuple[bytes, ...]) -> dict[_At, _Rest] | None:
        """What was passed on the way to the root or to a verified path; None where it leads to neither."""
        node, position, last = leaf, index, self._size - 1
        passed: dict[_At, _Rest] = {}
        for n, sibling in enumerate(proof):
            at, rest = (position, last), (node, proof[n:])
            if self._known.get(at) == rest:
                return passed
            if not last or len(sibling) != HASH_BYTES:
                return None
            passed[at] = rest
            if position & 1 or position == last:
                node = node_hash(sibling, node)
                while not position & 1 and position:
                    position >>= 1
                    last >>= 1
            else:
                node = node_hash(node, sibling)
            position >>= 1
            last >>= 1
        return passed if not last and node == self._root else None


@lru_cache(maxsize=8)
def paths_to(size: int, root: bytes) -> Paths:
    """Those of one checkpoint: the records of a reply share it."""
    return Paths(size, root)
