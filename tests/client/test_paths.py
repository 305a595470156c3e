"""Proofs that share what was verified once are held against the root as strictly as each by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from broker.client.paths import Paths
from broker.core.merkle import EMPTY_RANGE, extend_with_proofs, verify_inclusion
from broker.errors import IntegrityError


def _leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % n).digest() for n in range(count)]


@given(st.integers(1, 70), st.data())
def test_good_proofs_hold_in_any_order(size: int, data: st.DataObject) -> None:
    """Every proof of a tree is taken, whichever were before it, and taken again."""
    leaves = _leaves(size)
    tree, proofs = extend_with_proofs(EMPTY_RANGE, leaves)
    paths = Paths(size, tree.root())
    for index in data.draw(st.lists(st.integers(0, size - 1), max_size=30)):
        paths.verify(leaves[index], index, proofs[index])


@given(st.integers(1, 70), st.data())
def test_what_one_proof_alone_would_not_bear_is_refused_among_others(size: int, data: st.DataObject) -> None:
    """A proof is refused, with what was verified at hand, exactly where it is refused by itself."""
    leaves = _leaves(size)
    tree, proofs = extend_with_proofs(EMPTY_RANGE, leaves)
    paths = Paths(size, tree.root())
    for index in range(0, size, data.draw(st.integers(1, 4))):
        paths.verify(leaves[index], index, proofs[index])
    index = data.draw(st.integers(0, size - 1))
    leaf, wrong = leaves[index], list(proofs[index])
    kind = data.draw(st.sampled_from(("leaf", "index", "change", "cut", "more", "short", "swap", "none")))
    if kind == "leaf":
        leaf = data.draw(st.sampled_from((b"\0" * 32, b"", leaves[(index + 1) % size])))
    elif kind == "index":
        index = data.draw(st.integers(-2, size + 2))
    elif kind == "more":
        wrong.append(data.draw(st.sampled_from((b"\0" * 32, *wrong))))
    elif wrong:
        at = data.draw(st.integers(0, len(wrong) - 1))
        if kind == "change":
            wrong[at] = b"\1" * 32
        elif kind == "cut":
            del wrong[at]
        elif kind == "short":
            wrong[at] = wrong[at][:31]
        elif kind == "swap":
            wrong.reverse()
    alone = _refusal(lambda: verify_inclusion(leaf, index, size, wrong, tree.root()))
    assert _refusal(lambda: paths.verify(leaf, index, tuple(wrong))) == alone


def _refusal(check: Callable[[], None]) -> str:
    try:
        check()
    except IntegrityError as e:
        return str(e)
    return ""
