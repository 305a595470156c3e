"""The chain of half-years: which log comes after which, and links that hold both ways or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.core.checkpoint import Checkpoint, Signer, open_checkpoint, sign_checkpoint
from broker.core.keys import Cosigner
from broker.core.merkle import EMPTY_ROOT
from broker.core.rotation import (
    follow,
    half_year,
    is_due,
    may_follow,
    next_origin,
    predecessor,
    split_origin,
    successor,
)
from broker.errors import IntegrityError
from tests.support.chain import AFTER, NEXT, ORIGIN, MemoryChain, OneTree, linking


def at(text: str) -> datetime:
    """A time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def chain() -> MemoryChain:
    """Two logs, of nine entries and of four."""
    made = MemoryChain()
    made.current.grow(8)
    made.turn()
    made.current.grow(3)
    return made


def checkpoint(tree: OneTree, size: int) -> Checkpoint:
    """A verified checkpoint of a log."""
    return open_checkpoint(tree.note(size), [tree.signer.verifier])


def test_a_half_year_ends_at_midnight_utc() -> None:
    """The first of January and the first of July begin one."""
    assert half_year(at("2026-12-31T23:59:59")) == "2026h2"
    assert half_year(at("2027-01-01T00:00:00")) == "2027h1"
    assert half_year(at("2027-06-30T23:59:59")) == "2027h1"
    assert half_year(at("2027-07-01T00:00:00")) == "2027h2"


def test_the_next_log_is_that_of_now_or_else_the_one_after() -> None:
    """A rotation that is late skips half-years nobody logged in; an early one goes on by one."""
    assert next_origin(ORIGIN, at("2027-02-01T00:00:00")) == NEXT
    assert next_origin(ORIGIN, at("2028-02-01T00:00:00")) == "blue-light.test/log/2028h1"
    assert next_origin(ORIGIN, at("2026-11-22T00:00:00")) == NEXT
    assert next_origin(NEXT, at("2027-03-01T00:00:00")) == AFTER
    assert not is_due(ORIGIN, at("2026-12-31T23:59:59"))
    assert is_due(ORIGIN, at("2027-01-01T00:00:00"))


@pytest.mark.parametrize("name", ["", "x", "x/log/2026", "x/log/2026h3", "a/b/log/2026h1", "x/log/2026h2/"])
def test_a_name_that_is_no_logs_is_refused(name: str) -> None:
    """Only <trust-domain>/log/<year>h<1 or 2> is the name of a log."""
    with pytest.raises(IntegrityError):
        split_origin(name)


def test_a_log_follows_an_earlier_one_of_its_own_domain() -> None:
    """Not itself, not an earlier one, not another deployment's."""
    assert may_follow(ORIGIN, NEXT)
    assert not may_follow(ORIGIN, ORIGIN)
    assert not may_follow(NEXT, ORIGIN)
    assert not may_follow(ORIGIN, NEXT.replace("blue", "green"))


@pytest.mark.parametrize("size", [0, 1, 4, 8, 9])
def test_a_link_leads_from_any_size_to_the_next_key(chain: MemoryChain, size: int) -> None:
    """Whoever believes the old key, and any size of the old log or none, comes to the new key."""
    old, new = chain.logs
    known = checkpoint(old, size) if size else Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    followed = follow(chain.linked(ORIGIN, size), known, [old.signer.verifier])
    assert followed.verifier == new.signer.verifier
    assert (followed.final.size, followed.head.origin, followed.head.size) == (9, NEXT, 4)


def test_a_key_already_held_must_be_the_one_that_is_linked(chain: MemoryChain) -> None:
    """The new key, known from elsewhere too, changes nothing; another under its name is refused."""
    old, new = chain.logs
    link, known = chain.linked(ORIGIN, 4), checkpoint(old, 4)
    follow(link, known, [old.signer.verifier, new.signer.verifier])
    stranger = Signer.from_seed(NEXT, bytes(32)).verifier
    with pytest.raises(IntegrityError, match="another key"):
        follow(link, known, [old.signer.verifier, stranger])


def _forged(chain: MemoryChain, how: str) -> dict[str, Any]:
    """One part of a link, replaced by something that looks like it."""
    old, new = chain.logs
    stranger = Signer.from_seed(NEXT, bytes(32))
    other = MemoryChain(OneTree(old.signer))
    other.current.grow(8, "other")
    other.turn()
    another = other.linked(ORIGIN, 4)
    own_head = OneTree(stranger)
    own_head.tree.entries.append(chain.linked(ORIGIN, 4).first)
    return {
        "another end of the old log": {"final": another.final},
        "another last entry": {"last": linking(stranger.vkey)},
        "an entry that is not the last": {
            "last": old.tree.entries[3],
            "last_proof": tuple(old.tree.path(3, 0, 9)),
        },
        "no consistency": {"consistency": ()},
        "another consistency": {"consistency": another.consistency},
        "a first entry that is not the first": {
            "first": new.tree.entries[2],
            "first_proof": tuple(new.tree.path(2, 0, 4)),
        },
        "another first entry": {"first": another.first},
        "a stranger's log": {"head": own_head.note(), "first_proof": ()},
        "the head of another log": {"head": another.head},
        "a final checkpoint of the stranger": {
            "final": sign_checkpoint(
                Checkpoint(ORIGIN, 9, old.tree.root(9)), Signer.from_seed(ORIGIN, bytes(32))
            )
        },
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "another end of the old log",
        "another last entry",
        "an entry that is not the last",
        "no consistency",
        "another consistency",
        "a first entry that is not the first",
        "another first entry",
        "a stranger's log",
        "the head of another log",
        "a final checkpoint of the stranger",
    ],
)
def test_a_forged_link_is_refused(chain: MemoryChain, how: str) -> None:
    """Each part of a link is held against the others; none can be taken from elsewhere."""
    old = chain.logs[0]
    link = chain.linked(ORIGIN, 4, **_forged(chain, how))
    with pytest.raises(IntegrityError):
        follow(link, checkpoint(old, 4), [old.signer.verifier])


@pytest.mark.parametrize("names", ["nothing", "a witness", "an earlier log", "another deployment", "itself"])
def test_a_last_entry_names_a_later_log_of_this_deployment(names: str) -> None:
    """A last entry that names anything else leads nowhere, although it stands in the log."""
    seed = bytes(range(1, 33))
    named = {
        "nothing": "no key",
        "a witness": Cosigner.from_seed(NEXT, seed).vkey,
        "an earlier log": Signer.from_seed("blue-light.test/log/2026h1", seed).vkey,
        "another deployment": Signer.from_seed("green.test/log/2027h1", seed).vkey,
        "itself": Signer.from_seed(ORIGIN, seed).vkey,
    }[names]
    old = OneTree(Signer.from_seed(ORIGIN, bytes(range(32))))
    old.grow(3)
    old.tree.entries.append(linking(named))
    with pytest.raises(IntegrityError):
        successor(checkpoint(old, 4), old.tree.entries[-1], old.tree.path(3, 0, 4))


def test_whoever_begins_at_the_new_log_is_led_back(chain: MemoryChain) -> None:
    """The first entry is the old log's final checkpoint, for who holds the old key."""
    old, new = chain.logs
    head, proof = checkpoint(new, 4), new.tree.path(0, 0, 4)
    assert predecessor(head, new.tree.entries[0], proof, [old.signer.verifier]) == checkpoint(old, 9)
    with pytest.raises(IntegrityError):
        predecessor(head, new.tree.entries[0], proof, [new.signer.verifier])
    with pytest.raises(IntegrityError):
        predecessor(head, new.tree.entries[1], new.tree.path(1, 0, 4), [old.signer.verifier])


def test_an_empty_log_leads_nowhere() -> None:
    """There is no last and no first entry of nothing."""
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    with pytest.raises(IntegrityError, match="no last entry"):
        successor(empty, b"", ())
    with pytest.raises(IntegrityError, match="no first entry"):
        predecessor(empty, b"", (), ())
