"""Stage two at a broker: real witnesses over HTTPS, a real log on PostgreSQL, one sender for all workers."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from broker.core.checkpoint import open_checkpoint
from broker.core.keys import Signer
from broker.core.merkle import CompactRange
from broker.core.quorum import WitnessPolicy
from broker.core.receipt import NOT_AT_HAND, verify_receipt
from broker.errors import AuditUnavailable, IntegrityError
from broker.keys import FolderKeys
from broker.store.chain import Chain
from broker.store.guard import Guard, SignedHead
from broker.store.history import History
from broker.store.pool import Database, migrate
from broker.store.shared_guard import confirm, vouch
from broker.store.witnessed import WitnessedRows
from broker.witness.client import WitnessClient
from broker.witnesschain import WitnessChain
from broker.witnessing import Witnessing
from tests.support.evidence import ORIGIN, Node, node
from tests.support.postgres import Server
from tests.support.witnesses import Quorum, quorum

WITHIN = 12.0


@dataclasses.dataclass(frozen=True)
class Half:
    """A log of the chain, as far as its witnessing looks at it."""

    origin: str
    closed: bool


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round without its quorum ends sooner, so that nobody waits for it here."""
    monkeypatch.setattr("broker.witnessing.ROUND", 1.0)


@pytest.fixture
async def one(postgres: Server, tmp_path: Path) -> AsyncIterator[tuple[str, Node]]:
    """A database and a worker on it."""
    async with postgres.fresh() as dsn:
        await migrate(dsn)
        async with node(dsn, tmp_path / "node") as made:
            yield dsn, made


@pytest.fixture
def three(one: tuple[str, Node], tmp_path: Path) -> Iterator[Quorum]:
    """Three witnesses of its log; two must cosign."""
    with quorum(tmp_path, one[1].notary.vkey) as made:
        yield made


@asynccontextmanager
async def sending(
    of: Node, by: Quorum, name: str = "a", policy: WitnessPolicy | None = None, *, stops: bool = False
) -> AsyncIterator[Witnessing]:
    """A worker's part, running."""
    client = WitnessClient(by.authority.ca)
    rows, heard = WitnessedRows(of.database, ORIGIN), of.notary.stop if stops else lambda _: None
    made = Witnessing(name, policy or by.policy, rows, of.reader, client, of.clock, heard)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


async def until(true: Callable[[], object], within: float = WITHIN) -> None:
    """Wait for a condition; fails the test where it does not come."""
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


def soon(of: Node, seconds: float = WITHIN) -> float:
    """A moment of the event loop."""
    return of.clock.loop_time() + seconds


async def test_what_is_appended_is_witnessed_about_a_second_later(one: tuple[str, Node], three: Quorum) -> None:
    """The receipt leads to a checkpoint that the quorum cosigned, and is the same evidence."""
    made = one[1]
    async with sending(made, three) as witnessing:
        for _ in range(3):
            receipt = await made.append()
            witnessed = await witnessing.witnessed(receipt, soon(made))
            assert witnessed is not None
            opened, met = three.policy.open(witnessed.checkpoint, (made.verifier,))
            assert met
            assert opened.checkpoint.size > receipt.index
            verify_receipt(witnessed, [made.verifier], record=NOT_AT_HAND)
            assert (witnessed.entry, witnessed.opening) == (receipt.entry, receipt.opening)
        await until(lambda: all(s.size == 3 for s in witnessing.progress.values()))
        await witnessing.newest()
        opened, _ = three.policy.open(witnessing.published.published, (made.verifier,))
        assert three.policy.signed(opened) == ("w0", "w1", "w2")
        counts = witnessing.counts()
        assert (counts.witnessed, counts.witnesses["w1"]) == (3, (3, True))


async def test_every_worker_sees_it_and_a_restart_keeps_it(one: tuple[str, Node], three: Quorum) -> None:
    """It lies in the database: a worker that never sent serves the same checkpoint, and so does a later one."""
    made = one[1]
    async with sending(made, three) as first, sending(made, three, "b") as second:
        receipt = await made.append()
        assert await second.witnessed(receipt, soon(made)) is not None
        seen = [await each.newest() for each in (first, second)]
        assert [each and each[0] for each in seen] == [1, 1]  # cosignatures may still be joining
        assert bool(first._followers) is not bool(second._followers)
    client = WitnessClient(three.authority.ca)
    later = Witnessing("c", three.policy, WitnessedRows(made.database, ORIGIN), made.reader, client, made.clock)
    newest = await later.newest()
    assert newest is not None
    assert newest[0] == 1
    await client.close()


@pytest.mark.long
async def test_a_sender_that_goes_is_replaced_at_once_and_one_that_dies_soon(
    one: tuple[str, Node], three: Quorum
) -> None:
    """One that stops says so; another's silence says it when the lease has run out."""
    made = one[1]
    async with sending(made, three) as going:
        assert await going.witnessed(await made.append(), soon(made)) is not None
    async with sending(made, three, "b") as next_:
        assert await next_.witnessed(await made.append(), soon(made, 3.0)) is not None
        assert next_._followers
    rows = WitnessedRows(made.database, ORIGIN)
    assert await rows.lead("dead", 3.0)
    assert not await rows.lead("c", 3.0)
    async with sending(made, three, "c") as last:
        receipt = await made.append()
        assert await last.witnessed(receipt, soon(made, 1.0)) is None
        assert await last.witnessed(receipt, soon(made)) is not None


@pytest.mark.long
async def test_without_a_quorum_nothing_is_witnessed(one: tuple[str, Node], three: Quorum) -> None:
    """One of three cosigns: stage two never comes, the log is published all the same, until another is back."""
    made = one[1]
    three.witnesses[0].stop()
    three.witnesses[1].kill()
    async with sending(made, three) as witnessing:
        receipt = await made.append()
        assert await witnessing.witnessed(receipt, soon(made, 4.0)) is None
        newest = await witnessing.newest()
        assert newest is not None
        opened, met = three.policy.open(newest[1], (made.verifier,))
        assert (opened.checkpoint.size, met, three.policy.signed(opened)) == (1, False, ("w2",))
        assert witnessing.progress["w0"].problem.startswith("it cannot be reached")
        assert witnessing.counts().witnesses["w0"] == (0, False)
        three.witnesses[1].start()
        assert await witnessing.witnessed(receipt, soon(made, 25.0)) is not None
        await until(lambda: not witnessing.progress["w1"].problem)


async def test_what_is_published_never_goes_back(one: tuple[str, Node]) -> None:
    """A late sender with a smaller checkpoint, or fewer cosignatures, changes nothing that readers see."""
    rows = WitnessedRows(one[1].database, ORIGIN)
    await rows.publish(5, b"five", 1, witnessed=False)
    await rows.publish(4, b"four, witnessed", 2, witnessed=True)
    await rows.publish(5, b"five, bare", 0, witnessed=False)
    found, _ = await rows.read()
    assert (found.published_size, found.published) == (5, b"five")
    assert (found.size, found.note) == (4, b"four, witnessed")
    await rows.publish(5, b"five, witnessed", 2, witnessed=True)
    await rows.publish(3, b"three", 3, witnessed=True)
    found, _ = await rows.read()
    assert (found.published_size, found.published) == (found.size, found.note) == (5, b"five, witnessed")


async def test_two_brokers_on_one_key_are_refused_by_the_witnesses(
    postgres: Server, one: tuple[str, Node], three: Quorum, tmp_path: Path
) -> None:
    """The second history gets no cosignature, whatever its size, and both notes are kept as proof."""
    made = one[1]
    async with sending(made, three) as witnessing:
        await made.grow(3)
        receipt = await made.append()
        assert await witnessing.witnessed(receipt, soon(made)) is not None
        await until(lambda: all(s.size == 4 for s in witnessing.progress.values()))
    async with postgres.fresh() as dsn:
        await migrate(dsn)
        twin = tmp_path / "twin"
        _copy_keys(tmp_path / "node", twin)
        async with node(dsn, twin) as second, sending(second, three, "twin") as also:
            await second.grow(4)
            await until(lambda: any("another root" in s.problem for s in also.progress.values()))
            await second.grow(2)
            await until(lambda: any("422" in s.problem for s in also.progress.values()), 20)
            assert also.published.size == -1
    kept = [each for w in three.witnesses for each in (w.folder / "state").glob("*.fork")]
    assert kept


async def test_a_database_that_was_set_back_is_told_of(one: tuple[str, Node], three: Quorum) -> None:
    """The witnesses are ahead of the log: that is no small thing to be tried again in silence."""
    made = one[1]
    async with sending(made, three) as witnessing:
        await made.grow(5)
        await until(lambda: witnessing.published.size == 5)
        async with made.database.connection() as connection:
            # As a restored backup would have it, on a connection that is not looked at anew.
            await connection.execute("update head set size = 0, range = '{}'")
        # The guard, and what the worker has signed itself, would stop it even before.
        made.guard.note = lambda *_: None  # type: ignore[method-assign]
        made.guard.load = lambda: None  # type: ignore[method-assign]
        made.notary._history = History(made.notary.origin)
        await until(lambda: any("taken back" in s.problem for s in witnessing.progress.values()))


@pytest.mark.long
async def test_a_quorum_that_says_so_stops_the_log(
    one: tuple[str, Node], three: Quorum, postgres: Server, tmp_path: Path
) -> None:
    """Another history under the same key, and a guard of its own: what the witnesses answer stops it. One alone
    does not."""
    made = one[1]
    async with sending(made, three, stops=True) as witnessing:
        await made.grow(5)
        await until(lambda: all(s.size == 5 for s in witnessing.progress.values()) and witnessing.progress)
    assert made.notary.stopped == ""
    async with postgres.fresh() as dsn:
        await migrate(dsn)
        _copy_keys(tmp_path / "node", tmp_path / "twin")
        async with node(dsn, tmp_path / "twin") as second:
            await second.grow(2)
            first, *others = three.witnesses
            for each in others:
                each.stop()
            async with sending(second, three, "twin", stops=True) as also:
                await until(lambda: any("taken back" in s.problem for s in also.progress.values()))
                assert second.notary.stopped == ""
                for each in others:
                    each.start()
                await until(lambda: second.notary.stopped, 30)
            with pytest.raises(AuditUnavailable, match="some were taken back"):
                await second.append()
            assert await second.reader.size() == 2
            assert first.folder.is_dir()


def _copy_keys(old: Path, new: Path) -> None:
    import shutil

    new.mkdir()
    shutil.copytree(old / "keys", new / "keys")


@pytest.fixture
async def lost_guard(one: tuple[str, Node], three: Quorum, tmp_path: Path) -> _Start:
    """A log of seven entries, five of them witnessed, and another node without a guard file."""
    dsn, made = one
    async with sending(made, three) as witnessing:
        await made.grow(5)
        await until(lambda: witnessing.published.size == 5)
        await until(lambda: all(s.size == 5 for s in witnessing.progress.values()))
    await made.grow(2)
    return _Start(dsn, made, three, tmp_path)


@dataclasses.dataclass
class _Start:
    """A node that starts on a log."""

    dsn: str
    first: Node
    witnesses: Quorum
    folder: Path

    async def vouch(self, policy: WitnessPolicy | None = None) -> Guard:
        """The guard of a node that had none, once the witnesses were asked."""
        database, client = Database(self.dsn, size=2), WitnessClient(self.witnesses.authority.ca, 2.0)
        guard = Guard(self.folder / "fresh-guard")
        await database.open()
        try:
            signer = Signer.from_seed(ORIGIN, FolderKeys(self.folder / "node" / "keys").signing_seed())
            await vouch(database, signer, guard, policy or self.witnesses.policy, client)
        finally:
            await client.close()
            await database.close()
        return guard


async def test_a_node_without_a_guard_file_asks_the_witnesses(lost_guard: _Start) -> None:
    """They find the log to extend what they cosigned: the guard begins with its head, and the node starts."""
    guard = await lost_guard.vouch()
    known = guard.load()
    assert known is not None
    assert known.size == 7
    guard.close()
    (lost_guard.folder / "second").mkdir()
    _copy_keys(lost_guard.folder / "node", lost_guard.folder / "third")
    (lost_guard.folder / "fresh-guard").rename(lost_guard.folder / "third" / "guard")
    async with node(lost_guard.dsn, lost_guard.folder / "third") as third:
        assert open_checkpoint((await third.reader.head())[1], (third.verifier,)).size == 7


@pytest.mark.long
async def test_a_guard_that_was_put_back_with_its_database_is_refused(lost_guard: _Start) -> None:
    """Witnesses are asked at every start, guard or not; those who do not answer hold nothing up."""
    whole, client = lost_guard.first, WitnessClient(lost_guard.witnesses.authority.ca, 2.0)
    policy = lost_guard.witnesses.policy
    try:
        await confirm(whole.reader, policy, client)
        async with whole.database.connection() as connection:
            await connection.execute("delete from entry where idx >= 4")
            row = await connection.fetchrow(
                "update head set size = 4, range = trim_array(range, 2) returning size, range"
            )
        assert row is not None
        _copy_keys(lost_guard.folder / "node", lost_guard.folder / "back")
        guard = Guard(lost_guard.folder / "back" / "guard")
        guard.note(SignedHead(ORIGIN, 4, CompactRange(4, tuple(row["range"])).root()))
        guard.close()
        async with node(lost_guard.dsn, lost_guard.folder / "back") as back:
            with pytest.raises(IntegrityError, match="has cosigned 7 entries, and this database holds 4"):
                await confirm(back.reader, policy, client)
            lost_guard.witnesses.witnesses[0].stop()
            with pytest.raises(IntegrityError, match="has cosigned 7 entries, and this database holds 4"):
                await confirm(back.reader, policy, client)
            for each in lost_guard.witnesses.witnesses[1:]:
                each.stop()
            await confirm(back.reader, policy, client)
    finally:
        await client.close()


async def test_a_node_without_a_guard_file_does_not_start_alone(lost_guard: _Start) -> None:
    """Two of three must answer: with one, somebody of an earlier quorum may be missing."""
    lost_guard.witnesses.witnesses[0].stop()
    (await lost_guard.vouch()).close()
    (lost_guard.folder / "fresh-guard").unlink()
    lost_guard.witnesses.witnesses[1].stop()
    with pytest.raises(IntegrityError, match="bring back this node's guard file"):
        await lost_guard.vouch()


async def test_a_node_without_a_guard_file_refuses_a_database_that_is_behind(lost_guard: _Start) -> None:
    """One witness that has seen more is enough to know it."""
    async with lost_guard.first.database.connection() as connection:
        await connection.execute("delete from entry where idx >= 4")
        await connection.execute("update head set size = 4, range = trim_array(range, 2)")
    for each in lost_guard.witnesses.witnesses[1:]:
        each.stop()
    with pytest.raises(IntegrityError, match=r"has cosigned 5 entries, and this database holds 4"):
        await lost_guard.vouch()


async def test_a_node_without_a_guard_file_refuses_another_history(
    postgres: Server, lost_guard: _Start, tmp_path: Path
) -> None:
    """A longer log of the same key that does not hold what they cosigned, or an empty one."""
    async with postgres.fresh() as dsn:
        await migrate(dsn)
        twin = _Start(dsn, lost_guard.first, lost_guard.witnesses, tmp_path)
        with pytest.raises(IntegrityError, match="has cosigned 5 entries"):
            await twin.vouch()
        (tmp_path / "fresh-guard").unlink()
        _copy_keys(tmp_path / "node", tmp_path / "twin")
        async with node(dsn, tmp_path / "twin") as second:
            await second.grow(9)
        with pytest.raises(IntegrityError, match="has cosigned another history"):
            await twin.vouch()


async def test_a_new_log_needs_no_witness_to_answer(
    postgres: Server, one: tuple[str, Node], three: Quorum, tmp_path: Path
) -> None:
    """Its key is made at the first start, so nobody can know it yet; an old log must be known to somebody."""
    for each in three.witnesses:
        each.stop()
    guard = await _Start(one[0], one[1], three, tmp_path).vouch()
    assert guard.load() is not None
    guard.close()
    (tmp_path / "fresh-guard").unlink()
    for each in three.witnesses:
        each.start()
    await one[1].grow(2)
    with pytest.raises(IntegrityError, match="answered that they know it"):
        await _Start(one[0], one[1], three, tmp_path).vouch()


async def test_a_flaw_in_asking_one_witness_ends_nothing(one: tuple[str, Node], three: Quorum) -> None:
    """What follows the witnesses begins anew where it ended in a way that nobody has named."""
    made = one[1]
    async with sending(made, three) as witnessing:
        assert await witnessing.witnessed(await made.append(), soon(made)) is not None
        for each in witnessing._followers:
            each.cancel()
        assert await witnessing.witnessed(await made.append(), soon(made)) is not None


async def test_a_log_that_cannot_be_believed_holds_up_no_other(
    one: tuple[str, Node], three: Quorum, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why it is not sent to the witnesses is said once, and told for as long as it is so; the current log goes
    on being witnessed."""
    made = one[1]
    closed = Half("old.test/log", closed=True)
    client = WitnessClient(three.authority.ca)

    def of(origin: str) -> Witnessing:
        rows = WitnessedRows(made.database, origin)
        return Witnessing("a", three.policy, rows, made.reader, client, made.clock)

    looks, broken = list[str](), [True]

    async def size(origin: str) -> int:
        looks.append(origin)
        if broken[0]:
            raise IntegrityError(f"the final checkpoint of {origin} is not its own")
        return 0

    monkeypatch.setattr("broker.witnesschain.EVERY", 0.1)
    witnesses = WitnessChain(of, lambda: (closed, Half(ORIGIN, closed=False)), size)
    with capture_logs() as logs:
        task = asyncio.create_task(witnesses.run())
        try:
            assert await witnesses.witnessed(await made.append(), soon(made)) is not None
            await until(lambda: len(looks) > 3)
            assert witnesses.reasons() == (
                "a log is not sent to the witnesses: the final checkpoint of old.test/log is not its own",
            )
            broken[0] = False
            await until(lambda: not witnesses.reasons())
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()
    said = [each for each in logs if each.get("log") == closed.origin and each["log_level"] == "error"]
    assert [each["why"] for each in said] == ["the final checkpoint of old.test/log is not its own"]


async def test_a_head_that_does_not_hold_is_told_until_it_does(
    one: tuple[str, Node], three: Quorum, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds that cannot be made are said once however often they are tried; records are served meanwhile."""
    made = one[1]
    monkeypatch.setattr("broker.witnesschain.EVERY", 0.1)
    monkeypatch.setattr("broker.witnessing.EVERY", 0.1)
    client, real, tried = WitnessClient(three.authority.ca), made.reader.head, list[int]()

    async def head() -> tuple[int, bytes]:
        tried.append(1)
        raise IntegrityError("the head is not the one that was signed")

    def of(origin: str) -> Witnessing:
        rows = WitnessedRows(made.database, origin)
        return Witnessing("a", three.policy, rows, made.reader, client, made.clock)

    monkeypatch.setattr(made.reader, "head", head)
    witnesses = WitnessChain(of, lambda: (Half(ORIGIN, closed=False),), lambda _: made.reader.size())
    with capture_logs() as logs:
        task = asyncio.create_task(witnesses.run())
        try:
            await until(lambda: len(tried) > 3)
            await until(lambda: bool(witnesses.reasons()))
            (why,) = witnesses.reasons()
            assert "the head is not the one that was signed" in why
            monkeypatch.setattr(made.reader, "head", real)
            assert await witnesses.witnessed(await made.append(), soon(made)) is not None
            await until(lambda: not witnesses.reasons())
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()
    assert len([each for each in logs if each["event"] == "a log is not sent to the witnesses"]) == 1


@pytest.mark.long
async def test_the_rounds_go_over_a_rotation(one: tuple[str, Node], tmp_path: Path) -> None:
    """The old log is witnessed to its end, the new one from its first entry; each receipt in its own log."""
    made, next_log = one[1], "blue-light.test/log/2027h1"
    vkey, first = made.halves.prepare(next_log), made.verifier
    chain = Chain(made.database, made.notary, made.reader)
    await chain.refresh()
    with quorum(tmp_path, made.notary.vkey, vkey) as three:
        client = WitnessClient(three.authority.ca)

        def of(origin: str) -> Witnessing:
            rows = WitnessedRows(made.database, origin)
            return Witnessing("a", three.policy, rows, chain.logs[origin], client, made.clock)

        witnesses = WitnessChain(of, lambda: chain.halves, lambda origin: chain.logs[origin].size())
        task = asyncio.create_task(witnesses.run())
        try:
            assert await witnesses.witnessed(await made.append(), soon(made)) is not None
            last = await made.append()
            await made.halves.rotate(ORIGIN, vkey)
            await chain.refresh()
            for receipt, key in ((await made.append(), made.verifier), (last, first)):
                witnessed = await witnesses.witnessed(receipt, soon(made))
                assert witnessed is not None
                assert three.policy.open(witnessed.checkpoint, (key,))[1]
                verify_receipt(witnessed, [key], record=NOT_AT_HAND)
            await until(lambda: witnesses._done == {ORIGIN})
            old, new = await witnesses.newest(ORIGIN), await witnesses.newest(next_log)
            assert old is not None
            assert new is not None
            assert (old[0], new[0]) == (3, 2)
            assert open_checkpoint(old[1], [first]).size == 3
            assert witnesses.counts().witnessed == 2
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()
