"""Commits whose fate is unknown: "failed" beside "failed but persisted", for entries and for changes."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from broker.core.entry import parse_entry
from broker.errors import AuditUnavailable
from broker.ports import Appended, Change, Draft, NotAppended
from broker.store.kept import KeptStatement, Standby
from broker.store.log import PostgresLog
from broker.store.pool import Database, migrate
from tests.support.cutting_proxy import CuttingProxy, cutting_proxy
from tests.support.evidence import ORIGIN, Node, a_claim, a_draft, node
from tests.support.postgres import ask, open_folder, tcp_server

AGENCY = Change(
    "agency",
    {"detail": {"id": "cfrs", "name": "Fire"}},
    frozenset({"agency:cfrs"}),
    reference=True,
)
Sent = asyncio.Task[Appended | NotAppended]


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[CuttingProxy]:
    """What stands between the worker and its database."""
    with tempfile.TemporaryDirectory() as folder:
        async with cutting_proxy(dsn, Path(folder)) as made:
            yield made


@pytest.fixture
async def cut_off(proxy: CuttingProxy, tmp_path: Path) -> AsyncIterator[Node]:
    """A worker behind the proxy, on one warm connection, so that a statement is one message."""
    async with node(proxy.dsn, tmp_path / "state", size=1) as one:
        await one.append()
        answer = await one.log.change(a_draft(), AGENCY)
        assert isinstance(answer, Appended)
        yield one


def _append(worker: Node, draft: Draft) -> Sent:
    return asyncio.ensure_future(worker.log.append(draft))


def _change(worker: Node, draft: Draft) -> Sent:
    return asyncio.ensure_future(worker.log.change(draft, AGENCY))


async def _persisted(dsn: str, draft: Draft) -> None:
    for _ in range(400):
        if await ask(dsn, f"select count(*) from entry where id = '{draft.id}'"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never committed")


@pytest.mark.parametrize("send", [_append, _change])
async def test_failed_but_persisted(
    cut_off: Node, proxy: CuttingProxy, dsn: str, send: Callable[[Node, Draft], Sent]
) -> None:
    """The reply to a commit is lost: issued again, it is one entry with one receipt, and one change."""
    draft = a_draft(claim=a_claim())
    proxy.lose_replies = True
    sent = send(cut_off, draft)
    await _persisted(dsn, draft)
    proxy.cut()
    answer = await sent
    assert isinstance(answer, Appended)
    assert answer.repeated
    assert cut_off.check(answer.receipt).size == 3
    assert answer.receipt.opening is not None
    assert await ask(dsn, "select size from head") == 3
    assert await ask(dsn, "select policy from head") == (2 if send is _change else 1)


@pytest.mark.parametrize("send", [_append, _change])
async def test_failed(
    cut_off: Node, proxy: CuttingProxy, dsn: str, send: Callable[[Node, Draft], Sent]
) -> None:
    """The statement itself is lost: issued again, it is one entry with one receipt, and one change."""
    draft = a_draft(claim=a_claim())
    proxy.lose_requests = True
    sent = send(cut_off, draft)
    await proxy.lost.wait()
    proxy.cut()
    answer = await sent
    assert isinstance(answer, Appended)
    assert not answer.repeated
    assert cut_off.check(answer.receipt).size == 3
    assert await ask(dsn, "select count(*) from entry") == 3
    assert await ask(dsn, "select policy from head") == (2 if send is _change else 1)


async def test_a_batch_of_which_some_had_been_given_back(cut_off: Node, proxy: CuttingProxy, dsn: str) -> None:
    """Issued again, a batch keeps its verdicts: what stood stands, a duplicate is still a duplicate."""
    claim = a_claim()
    drafts = [a_draft(claim=claim), a_draft(claim=claim), a_draft()]
    proxy.lose_replies = True
    sent = [_append(cut_off, draft) for draft in drafts]
    await _persisted(dsn, drafts[2])
    proxy.cut()
    first, second, third = await asyncio.gather(*sent)
    assert isinstance(first, Appended)
    assert isinstance(third, Appended)
    assert second == NotAppended("claimed")
    for answer in (first, third):
        assert cut_off.check(answer.receipt).size == 4


async def test_a_database_that_stays_away_is_said_so_and_comes_back(
    cut_off: Node, proxy: CuttingProxy, dsn: str
) -> None:
    """Unreachable for every try, an append is AuditUnavailable and nothing more; later ones work."""
    draft = a_draft()
    proxy.lose_replies = True
    sent = _append(cut_off, draft)
    await _persisted(dsn, draft)
    proxy.refuse = True
    proxy.cut()
    with pytest.raises(AuditUnavailable):
        await sent
    proxy.refuse = False
    receipt = await cut_off.append()
    assert receipt.index == 3, "what had persisted stands before it"
    cut_off.check(receipt)


async def test_a_backend_that_is_ended_loses_nothing(worker: Node, dsn: str) -> None:
    """Appends under way while every connection is terminated again and again are all there exactly once."""

    async def killer() -> None:
        # On one connection: an append is tried three times within half a second, and must outlive all of them.
        connection = await asyncpg.connect(dsn)
        try:
            for _ in range(6):
                await asyncio.sleep(0.02)
                await connection.fetchval(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                    " where pid <> pg_backend_pid() and application_name = 'bluelight-broker'"
                    " and datname = current_database()"
                )
        finally:
            await connection.close()

    async def caller() -> list[int]:
        indexes = []
        for _ in range(10):
            answer = await worker.log.append(a_draft(claim=a_claim()))
            assert isinstance(answer, Appended)
            worker.check(answer.receipt)
            indexes.append(answer.receipt.index)
        return indexes

    killed = asyncio.ensure_future(killer())
    indexes = await asyncio.gather(*(caller() for _ in range(16)))
    await killed
    assert sorted(i for one in indexes for i in one) == list(range(160))
    assert await ask(dsn, "select size from head") == 160


class Stumbling(KeptStatement):
    """Commits, and then fails once as a library may."""

    failure: Exception | None = None

    async def commit(self, arguments: Callable[[], list[Any]]) -> asyncpg.Record:
        """As the real one, and then the failure."""
        row = await super().commit(arguments)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return row


class StumblingDatabase(Database):
    """Whose kept statements stumble."""

    def keep(self, sql: str) -> Stumbling:
        """As the real one keeps it."""
        self.stumbling = Stumbling(self._dial, sql)
        self._kept.append(self.stumbling)
        return self.stumbling


async def test_an_error_after_the_commit_is_never_tried_item_by_item(local: Node, local_dsn: str) -> None:
    """Whatever goes wrong once the server has committed, no item is refused for its own claim."""
    stumbling = StumblingDatabase(local_dsn)
    await stumbling.open()
    log = PostgresLog(stumbling, local.seals, local.blind, local.notary, local.reader, local.clock)
    try:
        async with log.appends:
            stumbling.stumbling.failure = RuntimeError("a fault of ours")
            drafts = [a_draft(claim=a_claim()) for _ in range(5)]
            answers = await asyncio.gather(*(log.append(d) for d in drafts), return_exceptions=True)
            assert {type(a) for a in answers} <= {AuditUnavailable, Appended}
            assert any(isinstance(a, AuditUnavailable) for a in answers)
            assert await local.reader.size() == 5
    finally:
        await stumbling.close()


async def test_a_connection_that_ends_as_it_is_given_back_is_a_named_failure(local: Node) -> None:
    """The driver's own confusion over a lost connection is the database being away, and nothing else."""
    with pytest.raises(AuditUnavailable):
        async with local.database.connection():
            raise asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")


@pytest.mark.parametrize("ahead", [-0.7, 0.7])
async def test_a_clock_that_is_off_is_refused(local: Node, ahead: float) -> None:
    """More than 500 ms from the database's clock, nothing is appended; set right, it is."""
    local.clock.ahead = timedelta(seconds=ahead)
    with pytest.raises(AuditUnavailable, match="clock"):
        await local.log.append(a_draft())
    local.clock.ahead = timedelta()
    assert (await local.append()).index == 0


async def test_waiting_for_a_connection_is_no_clock_error(local_dsn: str, tmp_path: Path) -> None:
    """The clocks are compared when the statement is sent, however long it waited for a connection."""
    async with node(local_dsn, tmp_path / "state", size=1) as one:
        await one.append()
        async with one.database.connection():
            sent = _append(one, a_draft())
            await asyncio.sleep(0.8)
        assert isinstance(await sent, Appended)


@pytest.fixture(scope="module")
def lonely_primary() -> AsyncIterator[tuple[str, Callable[[str], None]]]:
    """A server of its own whose commits can be made to wait for a standby that never comes."""
    with open_folder() as folder, tcp_server(folder) as dsn:
        data = folder / "data"
        usual = (data / "postgresql.conf").read_text()

        def await_standby(name: str) -> None:
            (data / "postgresql.conf").write_text(f"{usual}\nsynchronous_standby_names = '{name}'\n")
            os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGHUP)

        asyncio.run(migrate(dsn))
        yield dsn, await_standby


WAITING = "select count(*) from pg_stat_activity where wait_event = 'SyncRep' and datname = current_database()"
CANCEL = (
    "select count(pg_cancel_backend(pid)) from pg_stat_activity"
    " where wait_event = 'SyncRep' and datname = current_database()"
)


async def _until_waiting(dsn: str, many: int = 1) -> None:
    for _ in range(400):
        if await ask(dsn, WAITING) >= many:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits for a standby")


async def test_a_commit_no_standby_acknowledged_is_none(
    lonely_primary: tuple[str, Callable[[str], None]], tmp_path: Path
) -> None:
    """A wait for the standby that is cancelled is not a commit; once one acknowledges, it is one entry."""
    dsn, await_standby = lonely_primary
    async with node(dsn, tmp_path / "state") as one:
        await one.append()
        await_standby("nobody")
        await asyncio.sleep(0.3)
        draft = a_draft()
        sent = _append(one, draft)
        signed = one.notary.signatures
        await _until_waiting(dsn)
        await ask(dsn, CANCEL)
        await _until_waiting(dsn)  # the same append again, which waits too
        assert not sent.done()
        assert one.notary.signatures == signed, "nothing is signed that a failover would take back"
        await_standby("")
        answer = await sent
        assert isinstance(answer, Appended)
        assert answer.repeated
        assert one.check(answer.receipt).size == 2

        await_standby("nobody")
        await asyncio.sleep(0.3)
        sent = _append(one, a_draft())
        for _ in range(3):
            await _until_waiting(dsn)
            await ask(dsn, CANCEL)
            await asyncio.sleep(0.05)
        with pytest.raises(AuditUnavailable):
            await sent
        await_standby("")


async def test_no_reader_signs_a_head_that_no_standby_acknowledged(
    lonely_primary: tuple[str, Callable[[str], None]], tmp_path: Path
) -> None:
    """What another worker's cancelled wait left behind can be read, and is signed for nobody: not as a
    head, nor as a proof, nor for a witness, nor at the end of a half-year. Those who ask together share one
    write, and where no standby is asked for there is none."""
    dsn, await_standby = lonely_primary
    await ask(dsn, "drop schema public cascade", "create schema public", "select 1")
    await migrate(dsn)
    async with node(dsn, tmp_path / "state") as one, node(dsn, tmp_path / "state") as two:
        receipt = await one.append()
        for _ in range(3):
            await two.reader.head()
        assert (two.database.acknowledged.writes, two.notary.signatures) == (0, 3)

        await_standby("nobody")
        await asyncio.sleep(0.3)
        sent = _append(one, a_draft())
        await _until_waiting(dsn)
        await ask(dsn, CANCEL)
        await _until_waiting(dsn)
        assert await two.reader.size() == 2, "it can be read"
        signed = two.notary.signatures
        looks = [
            asyncio.ensure_future(each)
            for each in (
                two.reader.head(),
                two.reader.consistency(1, 2),
                two.reader.consistency(0, 0),
                two.reader.prove(0),
                two.reader.receipt(parse_entry(receipt.entry).id, "requester"),
            )
        ]
        await _until_waiting(dsn, 2)
        await asyncio.sleep(0.2)
        assert await ask(dsn, WAITING) == 2, "one writer, and the one write of all readers"
        assert two.notary.signatures == signed
        await ask(dsn, CANCEL)
        with pytest.raises(AuditUnavailable, match="standby"):
            await looks[0]
        assert two.notary.signatures == signed
        await_standby("")
        assert isinstance(await sent, Appended)
        for each in looks[1:]:
            await each
        assert two.database.acknowledged.writes <= 3


async def test_a_log_is_not_closed_over_what_no_standby_acknowledged(
    lonely_primary: tuple[str, Callable[[str], None]], tmp_path: Path
) -> None:
    """The final checkpoint, which any worker may sign, waits for its own acknowledged write too."""
    dsn, await_standby = lonely_primary
    await ask(dsn, "drop schema public cascade", "create schema public", "select 1")
    await migrate(dsn)
    async with node(dsn, tmp_path / "state") as one, node(dsn, tmp_path / "state") as two:
        await one.append()
        vkey = one.halves.prepare("blue-light.test/log/2027h1")
        await_standby("nobody")
        await asyncio.sleep(0.3)
        closing = asyncio.ensure_future(one.halves.rotate(ORIGIN, vkey))
        await _until_waiting(dsn)
        await ask(dsn, CANCEL)
        with pytest.raises(AuditUnavailable, match="standby"):
            await closing
        signed, finishing = two.notary.signatures, asyncio.ensure_future(two.halves.finish())
        await _until_waiting(dsn)
        assert two.notary.signatures == signed
        await_standby("")
        await finishing
        assert two.notary.signatures == signed + 1
        assert two.reader.log == 2


@pytest.mark.parametrize(
    ("said", "silent"),
    [
        ({"M": "Warten auf synchrone Replikation wird storniert", "R": "SyncRepWaitForLSN"}, True),
        ({"M": "canceling wait for synchronous replication due to user request"}, True),
        ({"M": "there is no transaction in progress", "R": "EndTransactionBlock"}, False),
    ],
    ids=["translated", "words", "other"],
)
def test_a_silent_standby_is_told_in_any_language(said: dict[str, str], *, silent: bool) -> None:
    """The server's function says it, whatever the language of its words."""
    standby = Standby()
    standby.heard(None, asyncpg.PostgresLogMessage.new({"S": "WARNUNG", "V": "WARNING", "C": "01000", **said}))
    if silent:
        with pytest.raises(AuditUnavailable, match="standby"):
            standby.check()
    standby.check()


async def test_an_error_of_a_later_try_is_still_an_unknown_fate(
    cut_off: Node, proxy: CuttingProxy, dsn: str
) -> None:
    """A try that may have committed, then one that is refused: unknown, and never tried one by one."""
    drafts = [a_draft(), a_draft()]
    proxy.lose_replies = True
    sent = [_append(cut_off, draft) for draft in drafts]
    await _persisted(dsn, drafts[1])
    await ask(
        dsn, "alter function log_extend rename to log_extend_away", "drop function log_change", "select 1"
    )
    await ask(
        dsn,
        "do $$ begin execute (select 'drop function '||oid::regprocedure from pg_proc"
        " where proname='log_append'); end $$",
    )
    proxy.cut()
    for one in sent:
        with pytest.raises(AuditUnavailable):
            await one
    assert await ask(dsn, "select size from head") == 4


async def test_statement_arguments_are_no_secret_of_a_crash(local: Node) -> None:
    """A refused statement's error names no value of the batch."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        await local.log.append(a_draft(agency="cf\0rs-canary"))
    assert "canary" not in str(caught.value)
