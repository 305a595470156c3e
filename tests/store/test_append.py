"""Appending: durable, dense, proven, by several workers at once."""

from __future__ import annotations

import asyncio
import itertools
import random

import asyncpg
import pytest

from broker.core.merkle import CompactRange, leaf_hash, verify_consistency
from broker.errors import IntegrityError
from broker.ports import Appended
from tests.support.evidence import Node, a_claim, a_draft, entry_root, naive_root, node
from tests.support.postgres import ask


async def _entries(dsn: str) -> list[tuple[int, bytes]]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("select idx, leaf from entry order by idx")
    finally:
        await connection.close()
    return [(r["idx"], bytes(r["leaf"])) for r in rows]


async def test_an_entry_is_committed_before_its_receipt_is_given(worker: Node, dsn: str) -> None:
    """Another session reads the very bytes of a receipt's entry at its index as soon as there is a receipt."""
    receipt = await worker.append()
    assert await ask(dsn, f"select leaf from entry where idx = {receipt.index}") == receipt.entry
    assert worker.check(receipt).size == 1


async def test_appends_of_two_workers_make_one_tree(worker: Node, other: Node, dsn: str) -> None:
    """Indexes are dense, the tree is the entries' own, every receipt verifies and fits every later one."""

    async def caller(n: int) -> list[Appended]:
        by, answers = (worker, other)[n % 2], []
        for _ in range(6):
            answer = await by.log.append(a_draft())
            assert isinstance(answer, Appended)
            answers.append(answer)
        return answers

    answers = await asyncio.gather(*(caller(n) for n in range(40)))
    receipts = [a.receipt for one in answers for a in one]
    stored = await _entries(dsn)
    assert [index for index, _ in stored] == list(range(240))
    entries = [leaf for _, leaf in stored]
    assert {r.index: r.entry for r in receipts} == dict(stored)
    checkpoints = {c.size: c.root for c in (worker.check(r) for r in receipts)}
    assert len(checkpoints) > 2, "the workers met in several batches"
    for size, root in checkpoints.items():
        assert root == entry_root(entries[:size])
    sizes = sorted(checkpoints)
    for old, new in itertools.pairwise(sizes):
        proof, note = await worker.reader.consistency(old, new)
        assert worker.opened(note).root == checkpoints[new]
        verify_consistency(old, checkpoints[old], new, checkpoints[new], proof)


async def test_the_database_extends_the_tree_as_we_do(local_dsn: str) -> None:
    """`log_extend` gives RFC 6962's compact range for every size to 300, one leaf at a time and in batches."""
    chance = random.Random(7)
    leaves = [chance.randbytes(chance.randrange(1, 40)) for _ in range(300)]
    hashes = [leaf_hash(leaf) for leaf in leaves]
    connection = await asyncpg.connect(local_dsn)
    try:
        single: list[bytes] = []
        ours = CompactRange(0, ())
        for size, leaf in enumerate(leaves):
            single = await connection.fetchval("select log_extend($1, $2, $3)", size, single, [leaf])
            ours = ours.append(hashes[size])
            assert tuple(single) == ours.hashes
            assert ours.root() == naive_root(hashes[: size + 1])
        for _ in range(40):
            start = chance.randrange(0, 300)
            end = chance.randrange(start + 1, 301)
            old = CompactRange(0, ())
            for one in hashes[:start]:
                old = old.append(one)
            new = old
            for one in hashes[start:end]:
                new = new.append(one)
            got = await connection.fetchval(
                "select log_extend($1, $2, $3)", start, list(old.hashes), leaves[start:end]
            )
            assert tuple(got) == new.hashes
    finally:
        await connection.close()


async def test_a_batch_travels_together(local: Node) -> None:
    """Callers that come together share statements and signatures, and each has a receipt of its own."""
    receipts = await local.grow(64)
    assert [r.index for r in receipts] == list(range(64))
    assert local.log.appends.batches <= 8  # two or three, where the machine is quiet
    assert local.notary.signatures <= 8
    assert len({r.checkpoint for r in receipts}) == local.log.appends.batches


async def test_each_reader_gets_only_their_view(worker: Node) -> None:
    """A receipt from the reader opens the view of its audience, and the commitments of the entry hold."""
    draft = a_draft(words="a door code", secret="the whole")
    given = await worker.append(draft)
    stored, full = await worker.reader.receipt(draft.id, "requester")
    assert stored.opening == given.opening
    assert worker.check(stored).size == 1
    assert full == {**draft.full, "words": full["words"]}
    provider, _ = await worker.reader.receipt(draft.id, "provider")
    assert provider.opening is not None
    assert b"9000000009" in provider.opening.view
    assert given.opening is not None
    assert b"9000000009" not in given.opening.view
    assert await worker.reader.parties(draft.id) == ("cfrs", "ncic")
    with pytest.raises(KeyError):
        await worker.reader.receipt(a_draft().id, "requester")


BAD = {
    "a NUL in an agency": lambda: a_draft(agency="cf\0rs"),
    "a lone surrogate in an agency": lambda: a_draft(agency="\ud800"),
    "a request id that is none": lambda: a_draft(claim=a_claim("not-a-uuid")),
    "a retry of nothing sensible": lambda: a_draft(claim=a_claim(retry_of="x")),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_item_harms_only_itself(local: Node, kind: str) -> None:
    """What the database cannot take fails for its own caller; the rest of its batch is appended once."""
    bad = BAD[kind]()
    good = [a_draft() for _ in range(6)]
    answers = await asyncio.gather(
        *(local.log.append(d) for d in [*good[:3], bad, *good[3:]]), return_exceptions=True
    )
    failed = answers.pop(3)
    assert isinstance(failed, Exception)
    receipts = [a.receipt for a in answers if isinstance(a, Appended)]
    assert len(receipts) == 6
    for receipt in receipts:
        local.check(receipt)
    assert await local.reader.size() == 6


async def test_what_has_no_canonical_form_never_joins_a_batch(local: Node) -> None:
    """A view that cannot be committed to is refused before anything is sent."""
    answers = await asyncio.gather(
        local.log.append(a_draft()), local.log.append(a_draft(big=1 << 60)), return_exceptions=True
    )
    assert isinstance(answers[0], Appended)
    assert isinstance(answers[1], Exception)
    assert local.log.appends.items == 1


async def test_a_view_of_nearly_a_megabyte_travels_alone(local: Node) -> None:
    """The largest view there may be is appended beside small ones."""
    answers = await asyncio.gather(
        *(local.log.append(a_draft(detail="x" * size)) for size in (1, 300_000, 60_000, 2)),
        return_exceptions=True,
    )
    assert all(isinstance(a, Appended) for a in answers), answers


async def test_a_head_that_was_altered_is_found_by_the_next_append(local: Node, local_dsn: str) -> None:
    """A head that the entries do not make is never signed: its worker stops, and none opens that database
    again, once it has grown past what was signed."""
    await local.append()
    await ask(local_dsn, "update head set range = array[sha256('x')]")
    with pytest.raises(IntegrityError, match="two roots for size 1"):
        await local.append()
    with pytest.raises(IntegrityError, match="does not hold it"):
        async with node(local_dsn, local.guard.path.parent):
            pass
