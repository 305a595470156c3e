"""A cache of hash tiles that rots, or that somebody changes: no proof is given, and no head signed, that does
not lead to the log's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.core.checkpoint import Checkpoint
from broker.core.merkle import verify_consistency
from broker.core.receipt import Audience
from broker.errors import AuditUnavailable, IntegrityError
from broker.store import proofs
from broker.store.proofs import Broken, Proofs
from tests.support.evidence import Node, a_draft, node
from tests.support.postgres import ask

SIZE = 700
FLIP = "set hashes = set_byte(hashes, {at}, get_byte(hashes, {at}) # 1)"
ROT = {
    "hash": f"update tile {FLIP.format(at=32 * 44 + 3)} where level = 0 and n = 1",
    "root": "update tile set root = sha256(root) where level = 0 and n = 1",
    "both": f"update tile {FLIP.format(at=3)}, root = sha256(root) where level = 0",
}


async def grown(one: Node, dsn: str) -> dict[int, Checkpoint]:
    """A log with its tiles, and what was signed of it at three sizes."""
    await one.grow(SIZE)
    await one.reader.fill_tiles()
    assert await ask(dsn, "select count(*) from tile") == 2
    return {size: one.opened((await one.reader.consistency(1, size))[1]) for size in (300, 512, SIZE)}


@pytest.mark.parametrize("rot", ROT.values(), ids=ROT)
async def test_a_rotten_tile_is_made_anew_before_anything_is_proven(
    local: Node, local_dsn: str, rot: str
) -> None:
    """Consistency, inclusion and the root of an older size are as they were; afterwards the cache is too."""
    signed = await grown(local, local_dsn)
    kept = "select string_agg(hashes || root, ''::bytea order by n) from tile"
    before = await ask(local_dsn, "create table whole as select * from tile", kept)

    async def rotten() -> None:
        again = "delete from tile", "insert into tile select * from whole", rot
        assert await ask(local_dsn, *again, kept) != before

    for old in signed:
        for new in (each for each in signed if each >= old):
            await rotten()
            proof, note = await local.reader.consistency(old, new)
            assert local.opened(note) == signed[new]
            verify_consistency(old, signed[old].root, new, signed[new].root, proof)
    for index in (0, 300, 511, 699):
        await rotten()
        receipt, _ = await local.reader.receipt(await local.reader.id_at(index), Audience.REQUESTER)
        assert local.check(receipt) == signed[SIZE]
    await rotten()
    assert await local.reader.root(512, signed[512].origin) == signed[512].root
    await local.reader.proof_between(300, SIZE)
    assert await ask(local_dsn, kept) == before
    assert local.notary.broken.reasons() == ()


async def test_a_rotten_cache_is_no_rolled_back_database(local: Node, local_dsn: str, tmp_path: Path) -> None:
    """Nobody is told that a backup was restored: a worker that starts finds the tile, and serves."""
    await local.grow(512)
    await local.reader.fill_tiles()
    await local.reader.head()
    await ask(local_dsn, ROT["both"], "select 1")
    local.guard.sync()
    async with node(local_dsn, tmp_path / "state") as other:
        assert (await other.append()).index == 512


async def test_a_root_that_is_not_proven_is_not_signed(
    local: Node, local_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the entries themselves are others, readiness says so, nothing of it is signed, no tile is put in
    the place of a good one, and it is not looked at again at once; put right, all goes on."""
    signed = await grown(local, local_dsn)
    tiles = "select string_agg(hashes || root, ''::bytea order by n) from tile"
    good, bad = await ask(local_dsn, tiles), "overlay(leaf placing 'x'::bytea from 40)"
    leaf = await ask(local_dsn, "select leaf from entry where idx = 600")
    await ask(local_dsn, f"update entry set leaf = {bad} where idx = 600", "select 1")
    signatures = local.notary.signatures
    for _ in range(2):
        with pytest.raises(IntegrityError, match="do not lead to its head"):
            await local.reader.consistency(300, 650)
    assert local.notary.signatures == signatures
    assert await ask(local_dsn, tiles) == good
    assert local.notary.broken.reasons()
    assert not local.notary.broken.due(local.reader.log)
    await local.append(a_draft())  # the record's path reads no tile

    await local.reader.prove_again()
    assert local.notary.broken.reasons(), "not yet"
    monkeypatch.setattr(proofs, "AGAIN", 0.0)
    with pytest.raises(IntegrityError):
        await local.reader.prove_again()
    await ask(local_dsn, f"update entry set leaf = '\\x{leaf.hex()}' where idx = 600", "select 1")
    await local.reader.prove_again()
    assert local.notary.broken.reasons() == ()
    verify_consistency(
        300,
        signed[300].root,
        SIZE,
        signed[SIZE].root,
        (await local.reader.consistency(300, SIZE))[0],
    )


async def test_an_entry_that_is_gone_is_a_loss_and_no_smaller_log(local: Node, local_dsn: str) -> None:
    """Who asks is told that the evidence does not hold, not that there is no such size."""
    await local.grow(40)
    await ask(local_dsn, "delete from entry where idx = 20", "select 1")
    with pytest.raises(IntegrityError):
        await local.reader.consistency(10, 30)
    with pytest.raises(IntegrityError):
        await local.reader.prove(25)


async def test_a_worker_that_starts_is_told_that_entries_are_missing(
    local: Node, local_dsn: str, tmp_path: Path
) -> None:
    """And not that a backup was restored: the log is as long as it was."""
    await local.grow(40)
    await ask(local_dsn, "delete from entry where idx = 20", "select 1")
    with pytest.raises(IntegrityError, match="are not in this database any more"):
        async with node(local_dsn, tmp_path / "state"):
            raise AssertionError("it started")


async def test_one_at_a_time_mends(local: Node, local_dsn: str) -> None:
    """Whoever meets the same rot meanwhile is told to come again, and holds nothing up."""
    signed = await grown(local, local_dsn)
    await ask(local_dsn, ROT["hash"], "select 1")
    broken = Broken()
    async with local.database.connection() as connection:
        asked = Proofs(connection, local.reader.log, SIZE, signed[SIZE].root, broken)
        with broken.mend(99), pytest.raises(AuditUnavailable, match="made anew"):
            await asked.consistency(300, SIZE)
        await asked.consistency(300, SIZE)
