"""A partition of a closed log, exported and dropped: nothing that was said of it stops being true."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from broker.administration import Administration
from broker.core.bundles import Bundle
from broker.core.checkpoint import open_checkpoint
from broker.core.keys import Signer
from broker.core.merkle import verify_consistency
from broker.core.model import Caller, Function
from broker.core.receipt import NOT_AT_HAND, Receipt, verify_receipt
from broker.core.rotation import successor
from broker.core.tiles import PARTITION, Tile
from broker.errors import InvalidRequest, NotAllowed
from broker.offline.fsck import fsck
from broker.offline.partition import digest, export
from broker.offline.source import Folder
from broker.partitions import Partitions
from broker.store.dropped import DroppedRows
from broker.store.onelog import OneLog
from broker.store.pool import migrate
from tests.store.killed import OPERATOR
from tests.support.evidence import ORIGIN, Node, a_draft, node
from tests.support.postgres import Server, ask
from tests.support.static_log import StaticLog

NEXT = "blue-light.test/log/2027h1"
_FILL = """
with ids as (
    select n, gen_random_uuid() as id, encode(sha256(n::text::bytea), 'hex') as h
    from generate_series($1::bigint, $2::bigint - 1) n
), made as (
    insert into entry (log, idx, id, leaf)
    select head.log, n, ids.id, convert_to(format(
        '{"at":"2026-11-22T10:00:00Z","full":"%s","id":"%s","provider":"%s","requester":"%s","v":1}',
        h, ids.id, h, h), 'UTF8')
    from head, ids returning idx, leaf
)
update head
set size = $2::bigint, range = log_extend(size, range, (select array_agg(leaf order by idx) from made))
"""


class Closed:
    """A log of one partition and some entries, closed; what was given of it before; and a mirror of it."""

    def __init__(self, one: Node, dsn: str, folder: Path, size: int = PARTITION + 301) -> None:
        self.size = size
        self.one = one
        self.dsn = dsn
        self.folder = folder
        self.key = Signer.from_seed(ORIGIN, one.ring.signing_seed()).verifier
        self.draft = a_draft()
        self.receipt: Receipt | None = None
        self.log = OneLog(one.database, one.notary, one.notary.log)
        self.rows = DroppedRows(one.database, one.reader, one.notary)
        self.partitions = Partitions(Administration(one.log, one.clock), self.rows)

    async def make(self) -> Closed:
        """Fill, close, and mirror it."""
        connection = await asyncpg.connect(self.dsn, timeout=10)
        try:
            await connection.execute(_FILL, 0, 400, timeout=60)
            self.receipt = await self.one.append(self.draft)
            await connection.execute(_FILL, 401, self.size - 1, timeout=60)
            await self.one.halves.rotate(ORIGIN, self.one.halves.prepare(NEXT))
            rows = await connection.fetch(
                "select e.leaf from entry e join log l on l.id = e.log where l.origin = $1 order by e.idx",
                ORIGIN,
            )
        finally:
            await connection.close()
        _, final = await self.log.head()
        StaticLog(self.folder / "mirror").write([bytes(row["leaf"]) for row in rows], checkpoint=final)
        return self

    def export(self) -> str:
        """Export it; the digest of its partition as it is read again."""
        export(Folder(self.folder / "mirror"), [self.key], self.folder / "out")
        return digest(Folder(self.folder / "out"), [self.key], 0)[1]


@pytest.fixture
async def closed(postgres: Server, tmp_path: Path) -> AsyncIterator[Closed]:
    """A closed log."""
    async with postgres.fresh() as dsn:
        await migrate(dsn)
        async with node(dsn, tmp_path / "state") as one:
            yield await Closed(one, dsn, tmp_path).make()


@pytest.mark.long
async def test_what_is_dropped_stays_proven(closed: Closed) -> None:
    """Only what was exported is dropped; receipts, proofs, tiles and the published log hold on without it."""
    one, made, before = closed.one, closed.export(), closed.receipt
    assert before is not None
    tiles = [await closed.log.tile(tile) for tile in (Tile(0, 1), Tile(0, 1, 100), Tile(1, 0), Tile(1, 0, 7))]
    old, _ = await closed.log.consistency(300, 30_000)
    for wrong in ("0" * 64, made.upper(), ""):
        with pytest.raises(InvalidRequest, match="digest"):
            await closed.partitions.drop(OPERATOR, ORIGIN, 0, wrong, "vault 3")
    for log, partition in ((ORIGIN, 1), (NEXT, 0), ("x", 0)):
        with pytest.raises(InvalidRequest, match="partition"):
            await closed.partitions.drop(OPERATOR, log, partition, made, "vault 3")
    partner = Caller("cfrs", "mdt", Function.PARTNER, "k" * 64)
    with pytest.raises(NotAllowed):
        await closed.partitions.drop(partner, ORIGIN, 0, made, "vault 3")
    assert await ask(closed.dsn, "select count(*) from entry where leaf is null") == 0
    await closed.partitions.drop(OPERATOR, ORIGIN, 0, made, "vault 3")
    assert await ask(closed.dsn, "select count(*) from entry where leaf is null") == PARTITION - 256

    verify_receipt(before, [closed.key], record=NOT_AT_HAND)
    assert [await closed.log.tile(t) for t in (Tile(0, 1), Tile(0, 1, 100), Tile(1, 0), Tile(1, 0, 7))] == tiles
    again, note = await closed.log.consistency(300, 30_000)
    assert again == old
    final = open_checkpoint(note, [closed.key])
    proof = await closed.log.proof_between(30_000, final.size)
    half = open_checkpoint(before.checkpoint, [closed.key])
    whole = await closed.log.proof_between(half.size, final.size)
    verify_consistency(half.size, half.root, final.size, final.root, whole)
    assert proof
    with pytest.raises(KeyError):
        await closed.log.bundle(1, 256)
    assert len(await closed.log.bundle(0, 256)) == 256
    with pytest.raises(InvalidRequest, match=r"entry 2026h2:400 is kept in an export alone \(vault 3\)"):
        await one.reader.receipt(closed.draft.id, "requester")
    assert (await one.reader.place(closed.draft.id))[0] == 400
    assert await closed.log.dropped() == [(0, made)]
    link = await one.halves.link(ORIGIN, 0)
    assert link.first == (await OneLog(one.database, one.notary, one.notary.log).bundle(0, 1))[0]
    await closed.partitions.drop(OPERATOR, ORIGIN, 0, made, "vault 3")


@pytest.mark.long
async def test_what_is_not_said_is_not_dropped(closed: Closed) -> None:
    """Bytes go after the entry that says so, never without it; what it says is decided with the log's row."""
    await closed.rows.keep_hashes(ORIGIN, 0)
    await closed.rows.drop(ORIGIN, 0)
    assert await ask(closed.dsn, "select count(*) from entry where leaf is null") == 0
    made = await closed.partitions.drop(OPERATOR, ORIGIN, 0, closed.export(), "vault 3")
    assert await ask(closed.dsn, "select count(*) from entry where leaf is null") == PARTITION - 256
    of = "from view_key k join view v on v.key = k.id join entry e using (log, idx)"
    kept = await ask(closed.dsn, f"select class {of} where e.id = '{made.event_id}'")
    assert kept == "changes", "as long as what else was changed"


@pytest.mark.long
async def test_fsck_says_what_was_dropped(closed: Closed) -> None:
    """The log as it is published then is good, and names what lies elsewhere; undeclared, it is a loss."""
    made, folder = closed.export(), closed.folder / "published"
    shutil.copytree(closed.folder / "mirror", folder)
    for n in range(1, 256):
        (folder / Bundle(n).path).unlink()
    assert not fsck(Folder(folder), [closed.key]).good
    (folder / "dropped").write_text(f"0 {PARTITION} {made}\n")
    report = fsck(Folder(folder), [closed.key])
    assert (report.good, report.dropped) == (True, [0]), report.problems
    assert report.entries == report.size - (PARTITION - 256)
    first = folder / Bundle(0).path
    first.rename(folder / "aside")
    report = fsck(Folder(folder), [closed.key])
    assert [each.path for each in report.problems] == [Bundle(0).path], "the first entries are never dropped"
    (folder / "aside").rename(first)
    StaticLog(folder).spoil("tile/0/009")
    report = fsck(Folder(folder), [closed.key])
    assert not report.good
    assert report.first is not None
    assert report.first.index == 9 * 256


@pytest.mark.long
async def test_the_entries_that_link_a_log_to_its_neighbours_are_never_dropped(
    postgres: Server, tmp_path: Path
) -> None:
    """Of a log that ends with its partition neither the first 256 nor the last: by these others are found."""
    async with postgres.fresh() as dsn:
        await migrate(dsn)
        async with node(dsn, tmp_path / "state") as one:
            closed = await Closed(one, dsn, tmp_path, PARTITION).make()
            await closed.partitions.drop(OPERATOR, ORIGIN, 0, closed.export(), "vault 3")
            assert await ask(dsn, "select count(*) from entry where leaf is null") == PARTITION - 512
            link = await one.halves.link(ORIGIN, 300)
            final = open_checkpoint(link.final, [closed.key])
            assert final.size == PARTITION
            assert successor(final, link.last, link.last_proof).name == NEXT
            assert len(await closed.log.bundle(255, 256)) == 256


# As it is read and its hashes are made; as it is said; and once it is, when it is not read again.
STEPS = (1, 520, 1036, 1039, 1040, 1041, 1042, 534, 538, 546, 900, 1040)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_drop_that_was_killed_is_told_from_a_loss_and_finished(closed: Closed) -> None:
    """Killed as its hashes are made, as it is written down, at each statement that drops: nothing is gone that
    is not said, and the same drop again goes on."""
    made, state, gone, seen = closed.export(), str(closed.folder / "state"), 0, set[int]()
    for step in STEPS:
        line = (sys.executable, "-m", "tests.store.killed", closed.dsn, state, str(step), "drop", made)
        process = await asyncio.create_subprocess_exec(*line, cwd=Path(__file__).parents[2])
        assert await process.wait() == -signal.SIGKILL, step
        before, gone = gone, await ask(closed.dsn, "select count(*) from entry where leaf is null")
        assert gone >= before
        assert gone % 256 == 0
        assert not gone or await closed.log.dropped() == [(0, made)]
        hashes = await ask(
            closed.dsn,
            f"select count(*) from tile t join log l on l.id = t.log where l.origin = '{ORIGIN}' and level = 0",
        )
        assert not gone or hashes >= PARTITION // 256
        seen.add(gone)
    assert len(seen) >= 4
    await closed.partitions.drop(OPERATOR, ORIGIN, 0, made, "vault 3")
    assert await ask(closed.dsn, "select count(*) from entry where leaf is null") == PARTITION - 256
