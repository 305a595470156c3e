"""The log goes over from one half-year to the next: nothing is lost, nothing is signed twice, whoever dies."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from broker.core.checkpoint import open_checkpoint
from broker.core.entry import Rotation, parse_entry
from broker.core.keys import Signer, Verifier
from broker.core.merkle import EMPTY_RANGE, leaf_hash
from broker.core.receipt import NOT_AT_HAND, Receipt, verify_receipt
from broker.core.rotation import follow, predecessor, successor
from broker.core.searchterms import term
from broker.errors import AuditUnavailable, IntegrityError
from broker.keys import FolderKeys
from broker.ports import Appended, Claim, Hits
from broker.store.guard import Guard, SignedHead
from broker.store.kept import KeptStatement
from broker.store.log import PostgresLog
from broker.store.onelog import OneLog
from broker.store.past import PastReader
from broker.store.pool import Database, migrate
from broker.store.rotation import HalfYears
from broker.store.search import SearchIndex
from tests.support.evidence import ORIGIN, Node, a_draft, node
from tests.support.postgres import Server, ask, leaves

NEXT = "blue-light.test/log/2027h1"
STEPS = ("prepared", "closed", "signed", "opened", "turned")


class Died(BaseException):
    """What a process that is killed does: nothing more."""


async def rotate(one: Node, origin: str = ORIGIN, later: str = NEXT) -> Verifier:
    """The whole of it, by one worker; the next log's key."""
    vkey = one.halves.prepare(later)
    await one.halves.rotate(origin, vkey)
    return Verifier.from_vkey(vkey)


def keys(one: Node, folder: Path) -> list[Verifier]:
    """The keys of both logs."""
    return [Verifier.from_vkey(one.halves.prepared(NEXT)), first_key(folder)]


def first_key(folder: Path) -> Verifier:
    """The key of the old log."""
    return Signer.from_seed(ORIGIN, FolderKeys(folder / "keys").signing_seed()).verifier


async def check_chain(one: Node, dsn: str, folder: Path) -> dict[str, list[bytes]]:
    """Both logs derived by hand: each leads to the other, and the heads are those of their entries."""
    old_key, found = first_key(folder), await leaves(dsn)
    new_key = keys(one, folder)[0]
    first, last = parse_entry(found[NEXT][0]), parse_entry(found[ORIGIN][-1])
    assert isinstance(first, Rotation)
    assert isinstance(last, Rotation)
    final = open_checkpoint(first.log.encode(), [old_key])
    assert (final.origin, final.size) == (ORIGIN, len(found[ORIGIN]))
    assert final.root == EMPTY_RANGE.extend(map(leaf_hash, found[ORIGIN])).root()
    assert last.log == new_key.vkey
    size, note = await one.reader.head()
    head = open_checkpoint(note, [new_key])
    assert (head.origin, head.size) == (NEXT, size) == (NEXT, len(found[NEXT]))
    assert head.root == EMPTY_RANGE.extend(map(leaf_hash, found[NEXT])).root()
    return found


async def test_the_log_goes_over_to_the_next_half_year(dsn: str, tmp_path: Path) -> None:
    """Old log and new are linked both ways, the policy count goes on, and entries go to the new log."""
    async with node(dsn, tmp_path / "state") as one:
        await one.grow(5)
        await ask(dsn, "update head set policy = 7, reference_policy = 4", "select 1")
        old = one.verifier
        new = await rotate(one)
        assert one.verifier == new != old
        assert (await one.append()).index == 1
        found = await check_chain(one, dsn, tmp_path / "state")
        assert [len(found[each]) for each in (ORIGIN, NEXT)] == [6, 2]
        assert await ask(dsn, "select policy from head") == 7
        assert await ask(dsn, "select reference_policy from head") == 4


async def test_a_receipt_of_the_old_log_verifies_for_ever(dsn: str, tmp_path: Path) -> None:
    """Receipts given before a rotation hold, and an old entry's is made anew to the final checkpoint."""
    folder = tmp_path / "state"
    async with node(dsn, folder) as one:
        draft = a_draft()
        given = await one.append(draft)
        await one.grow(300)
        await rotate(one)
        fresh, _ = await one.reader.receipt(draft.id, "requester")
        believed = [first_key(folder)]
        for receipt in (given, fresh):
            assert verify_receipt(receipt, believed, record=NOT_AT_HAND).entry.id == draft.id
        checkpoint = open_checkpoint(fresh.checkpoint, believed)
        assert (fresh.index, checkpoint.size) == (given.index, 302)


async def test_an_id_claimed_before_answers_with_its_old_entry(dsn: str, tmp_path: Path) -> None:
    """A request id of the old half-year is taken in the new one, by the entry that it was bound to."""
    async with node(dsn, tmp_path / "state") as one:
        claim = Claim("cfrs/mdt", "5d1b2c3a-0f5e-4b7e-9a59-6f0b4f1c0a11", b"c" * 32)
        first = await one.append(a_draft(claim=claim))
        await rotate(one)
        assert await one.given_back(a_draft(claim=claim)) == "claimed"
        entry = await ask(dsn, "select entry::text from claim")
        kept, _ = await one.reader.receipt(entry, "requester")
        assert (kept.index, kept.entry) == (first.index, first.entry)


async def test_a_link_is_followed_from_any_size(dsn: str, tmp_path: Path) -> None:
    """Whoever believes the old key and any checkpoint of the old log comes to the new key."""
    folder = tmp_path / "state"
    async with node(dsn, folder) as one:
        known = []
        for _ in range(3):
            await one.grow(2)
            known.append(one.opened((await one.reader.head())[1]))
        new = await rotate(one)
        for each in known:
            link = await one.halves.link(ORIGIN, each.size)
            followed = follow(link, each, [first_key(folder)])
            assert followed.verifier == new
            assert (followed.final.size, followed.head.origin) == (7, NEXT)
            successor(followed.final, link.last, link.last_proof)
            predecessor(followed.head, link.first, link.first_proof, [first_key(folder)])


@pytest.mark.parametrize("dies_after", STEPS)
async def test_a_rotation_that_was_cut_off_is_finished_by_whoever_appends(
    dsn: str, tmp_path: Path, dies_after: str
) -> None:
    """Cut off after any step, the next append of another worker goes to the right log, and nothing is lost."""
    folder = tmp_path / "state"

    def step(name: str) -> None:
        if name == dies_after:
            raise Died

    async with node(dsn, folder) as one, node(dsn, folder) as two:
        before = await one.grow(3)
        halves = HalfYears(one.database, one.notary, one.reader, one.ring, one.clock, step)
        with pytest.raises(Died):
            await halves.rotate(ORIGIN, halves.prepare(NEXT))
        receipt = await two.append()
        if dies_after == "prepared":
            assert (receipt.index, two.notary.origin) == (3, ORIGIN)
            await rotate(two)
            receipt = await two.append()
        assert (receipt.index, two.notary.origin) == (1, NEXT)
        verify_receipt(receipt, [two.verifier], record=NOT_AT_HAND)
        assert (await one.append()).index == 2
        found = await check_chain(one, dsn, folder)
        for old in before:
            assert found[ORIGIN][old.index] == old.entry


@pytest.mark.parametrize("dies_after", STEPS[1:])
async def test_a_restart_finishes_it(dsn: str, tmp_path: Path, dies_after: str) -> None:
    """Where no worker is left, the next one to start finds the chain whole or makes it so."""
    folder = tmp_path / "state"

    def step(name: str) -> None:
        if name == dies_after:
            raise Died

    async with node(dsn, folder) as one:
        await one.grow(3)
        halves = HalfYears(one.database, one.notary, one.reader, one.ring, one.clock, step)
        with pytest.raises(Died):
            await halves.rotate(ORIGIN, halves.prepare(NEXT))
    async with node(dsn, folder) as one:
        await one.halves.finish()
        assert (await one.append()).index == 1
        await check_chain(one, dsn, folder)


async def test_two_that_rotate_at_once_rotate_once(dsn: str, tmp_path: Path) -> None:
    """Many tries by two workers, while both append: one rotation, and every receipt holds in its own log."""
    folder = tmp_path / "state"
    async with node(dsn, folder) as one, node(dsn, folder) as two:
        receipts: list[Receipt] = []
        stop = False

        async def busy(worker: Node) -> None:
            while not stop:
                receipts.append(await worker.append())

        tasks = [asyncio.create_task(busy(each)) for each in (one, two) for _ in range(8)]
        await asyncio.sleep(0.3)
        vkey = one.halves.prepare(NEXT)
        await asyncio.gather(*(each.halves.rotate(ORIGIN, vkey) for each in (one, two) for _ in range(4)))
        await asyncio.sleep(0.3)
        stop = True
        await asyncio.gather(*tasks)
        found = await check_chain(one, dsn, folder)
        assert len(found) == 2
        every = keys(one, folder)
        for receipt in receipts:
            verified = verify_receipt(receipt, every, record=NOT_AT_HAND)
            assert found[verified.checkpoint.origin][receipt.index] == receipt.entry
        assert len(receipts) == sum(map(len, found.values())) - 2


async def test_every_log_is_searched(local: Node) -> None:
    """The index takes in one log after the other; each is asked by name, and names the one before."""
    await local.grow(3)
    await rotate(local)
    await local.grow(2)
    index = SearchIndex(local.database, local.seals, local.ring.index_key(), local.reader.log)
    assert await index.progress() == (0, 3)
    while await index.fill():
        pass
    assert await index.progress() == (3, 3)

    async def find(log: str) -> Hits:
        terms = frozenset({term("event", "disclosure")})
        return await index.find(terms, 1 << 62, 9, newest_first=True, since=None, until=None, log=log)

    new, old = await find(""), await find(ORIGIN)
    assert (new.log, new.older, [hit.index for hit in new.found]) == (NEXT, ORIGIN, [2, 1])
    assert (old.log, old.older, old.done, [hit.index for hit in old.found]) == (ORIGIN, "", 4, [2, 1, 0])
    assert await find(NEXT) == new
    with pytest.raises(KeyError):
        await find("nobody.test/log/2026h2")


async def test_the_past_is_read_in_every_log(local: Node, local_dsn: str) -> None:
    """Size, root and entries of a closed log by its name or half-year; without one, of the current log."""
    await local.grow(3)
    await rotate(local)
    await local.grow(1)
    past = PastReader(local.database, local.blind, local.seals)
    assert await past.chain() == (NEXT, ORIGIN)
    found = await leaves(local_dsn)
    for name, origin in (("", NEXT), (ORIGIN, ORIGIN), ("2026h2", ORIGIN), ("2027h1", NEXT)):
        size, root = await past.head(name)
        read = [each.entry for each in await past.leaves(0, size, name)]
        assert read == found[origin]
        assert root == EMPTY_RANGE.extend(map(leaf_hash, read)).root()
    with pytest.raises(KeyError):
        await past.head("2020h1")


async def test_tiles_of_both_logs_are_kept(local: Node, local_dsn: str) -> None:
    """Full tiles of the old log are made as those of the new one are, each under its own log."""
    await local.grow(300)
    await rotate(local)
    await local.grow(260)
    for _ in range(2):
        await local.reader.fill_tiles()
    assert await ask(local_dsn, "select count(*) from tile where level = 0") == 2


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from broker.store.rotation import HalfYears
from tests.support.evidence import node

async def main(dsn, folder, origin, later, dies_after):
    def step(name):
        if name == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
    async with node(dsn, Path(folder)) as one:
        halves = HalfYears(one.database, one.notary, one.reader, one.ring, one.clock, step)
        await halves.rotate(origin, halves.prepare(later))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("dies_after", STEPS)
async def test_kill_9_at_every_step(dsn: str, tmp_path: Path, dies_after: str) -> None:
    """A process that rotates is killed after each step; one beside it goes on, and one that starts later."""
    folder = tmp_path / "state"
    async with node(dsn, folder) as one:
        await one.grow(3)
        line = (sys.executable, "-c", KILLED, dsn, str(folder), ORIGIN, NEXT, dies_after)
        process = await asyncio.create_subprocess_exec(*line)
        assert await process.wait() == -signal.SIGKILL
        receipt = await one.append()
        assert (receipt.index, one.notary.origin) == ((3, ORIGIN) if dies_after == "prepared" else (1, NEXT))
    async with node(dsn, folder) as one:
        await one.halves.rotate(ORIGIN, one.halves.prepare(NEXT))
        await one.append()
        await check_chain(one, dsn, folder)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_kill_9_at_every_statement_signature_and_file(any_postgres: Server, tmp_path: Path) -> None:
    """Before and after each, until it comes to its end: who appends next finds one whole log or the other."""
    template = await any_postgres.template("migrated", migrate)
    for step in range(1, 100):
        folder = tmp_path / f"state-{step}"
        async with any_postgres.fresh(template) as dsn:
            async with node(dsn, folder) as one:
                await one.grow(3)
                line = (sys.executable, "-m", "tests.store.killed", dsn, str(folder), str(step), "rotate", "")
                child = await asyncio.create_subprocess_exec(*line, cwd=Path(__file__).parents[2])
                whole = await child.wait() == 0
                receipt = await one.append()
                assert receipt.index in (1, 3), step
            async with node(dsn, folder) as one:
                await one.halves.rotate(ORIGIN, one.halves.prepare(NEXT))
                await one.append()
                await check_chain(one, dsn, folder)
        if whole:
            break
    assert 10 < step < 99


async def test_nothing_of_a_closed_log_is_signed(local: Node, local_dsn: str) -> None:
    """After a rotation the old log answers with its final checkpoint alone, whatever is asked of it."""
    await local.grow(4)
    number = local.notary.log
    await rotate(local)
    signed = local.notary.signatures
    old = OneLog(local.database, local.notary, number)
    size, final = await old.head()
    proof, note = await old.consistency(2, 3)
    assert (size, note) == (5, final)
    assert len(proof) > 0
    assert local.notary.signatures == signed


async def test_a_worker_without_the_next_key_signs_nothing(local_dsn: str, tmp_path: Path) -> None:
    """A node whose key folder has not the new log's key gives no receipt, and says which file to copy."""
    async with node(local_dsn, tmp_path / "state") as one:
        await one.append()
        shutil.copytree(tmp_path / "state", tmp_path / "other")
        async with node(local_dsn, tmp_path / "other") as two:
            await rotate(one)
            for _ in range(3):
                with pytest.raises(AuditUnavailable, match=r"copy logs/2027h1\.key"):
                    await two.append()
            assert await one.reader.size() == 2, "the first try found it out, and nothing more was appended"
            shutil.copytree(tmp_path / "state" / "keys", tmp_path / "other" / "keys", dirs_exist_ok=True)
            await two.halves.finish()
            assert (await two.append()).index == 2
            shutil.rmtree(tmp_path / "other" / "keys" / "logs")
        with pytest.raises(AuditUnavailable, match=r"copy logs/2027h1\.key"):
            async with node(local_dsn, tmp_path / "other"):
                pass
        shutil.copytree(tmp_path / "state" / "keys", tmp_path / "other" / "keys", dirs_exist_ok=True)
        async with node(local_dsn, tmp_path / "other") as two:
            assert (await two.append()).index >= 1


async def test_a_guard_of_the_old_log_knows_the_new_one(local_dsn: str, tmp_path: Path) -> None:
    """A node that was away during the rotation, goes on with its guard of the old log, not with a false one."""
    async with node(local_dsn, tmp_path / "state") as one:
        await one.grow(3)
        shutil.copytree(tmp_path / "state", tmp_path / "away")
        await one.grow(2)
        await rotate(one)
    shutil.copytree(tmp_path / "state" / "keys", tmp_path / "away" / "keys", dirs_exist_ok=True)
    async with node(local_dsn, tmp_path / "away") as two:
        assert (await two.append()).index == 1
    for head in (SignedHead(ORIGIN, 3, b"x" * 32), SignedHead(ORIGIN, 7, b"x" * 32)):
        (tmp_path / "away" / "guard").unlink()
        guard = Guard(tmp_path / "away" / "guard")
        guard.note(head)
        guard.close()
        with pytest.raises(IntegrityError, match="does not hold it"):
            async with node(local_dsn, tmp_path / "away"):
                pass


async def test_a_database_from_before_the_rotation_is_refused(any_postgres: Server, tmp_path: Path) -> None:
    """A backup in which the old log is still open takes entries back that the new log's key has signed."""
    async with any_postgres.fresh() as now:
        await migrate(now)
        async with node(now, tmp_path / "state") as one:
            await one.grow(3)
        async with any_postgres.fresh(urlsplit(now).path[1:]) as backup:
            async with node(now, tmp_path / "state") as one:
                await rotate(one)
                await one.append()
            with pytest.raises(IntegrityError, match="does not hold it"):
                async with node(backup, tmp_path / "state"):
                    pass


class CutOff(KeptStatement):
    """Commits once, and lets nobody know before the log has been rotated."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def commit(self, arguments: Callable[[], list[Any]]) -> asyncpg.Record:
        """As the real one, but for the first time."""
        row = await super().commit(arguments)
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            await meanwhile()
            raise AuditUnavailable("the connection was lost")
        return row


class CutOffDatabase(Database):
    """Whose kept statement is cut off."""

    def keep(self, sql: str) -> CutOff:
        """As the real one keeps it."""
        self.made = CutOff(self._dial, sql)
        self._kept.append(self.made)
        return self.made


async def test_an_append_of_unknown_fate_is_found_in_the_old_log(local: Node, local_dsn: str) -> None:
    """Committed before a rotation and issued again after it, entries are answered from where they stand."""
    old, cut_off = local.verifier, CutOffDatabase(local_dsn)
    await cut_off.open()
    log = PostgresLog(cut_off, local.seals, local.blind, local.notary, local.reader, local.clock)
    try:
        async with log.appends:
            cut_off.made.meanwhile = lambda: rotate(local)
            answer = await log.append(a_draft())
            assert isinstance(answer, Appended)
            assert answer.repeated
            found = verify_receipt(answer.receipt, [old], record=NOT_AT_HAND)
            assert (found.index, found.checkpoint.origin, found.checkpoint.size) == (0, ORIGIN, 2)
    finally:
        await cut_off.close()
