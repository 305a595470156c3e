"""The hourly time stamp: whose turn it is, what is kept, and that an authority's moods hurt nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from broker.anchor.authority import Authority, NotStamped
from broker.anchor.hourly import OURS, Anchoring, Published
from broker.anchor.token import Stamp, certificates
from broker.core.receipt import NOT_AT_HAND, verify_receipt
from broker.errors import IntegrityError
from broker.store.anchors import AnchorRows
from broker.store.fsck.check import fsck_database
from broker.store.fsck.notes import Kept
from broker.store.onelog import OneLog
from broker.store.pool import migrate
from tests.support.authority import TestAuthority
from tests.support.evidence import ORIGIN, Node, a_draft, node
from tests.support.postgres import Server, ask

HOUR = 3600.0
NEXT = "blue-light.test/log/2027h1"


@dataclass
class Scripted:
    """An authority by hand: each answer is a time stamp, or why there is none."""

    why: list[str] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)

    async def stamp(self, data: bytes) -> tuple[bytes, Stamp]:
        """As `Stamps`."""
        self.asked.append(data)
        if self.why:
            raise NotStamped(self.why.pop(0))
        return b"response over " + data[:40], Stamp(datetime.now(UTC), "CN=By hand")


@dataclass
class Deployment:
    """Two workers on one database, and one authority."""

    dsn: str
    one: Node
    authority: Scripted
    counted: list[bool] = field(default_factory=list)

    def worker(self, name: str = "a", every: float = HOUR) -> Anchoring:
        """A worker's part."""
        rows = AnchorRows(self.one.database)
        reader = self.one.reader
        return Anchoring(
            name,
            rows,
            self.published,
            reader,
            self.authority,
            every,
            lambda stamped: self.counted.append(stamped),
        )

    async def published(self) -> list[tuple[str, int, bytes]]:
        """The newest checkpoint of each log, the current one last."""
        halves = reversed(await self.one.reader.chain())
        logs = [(each.origin, OneLog(self.one.database, self.one.notary, each.number)) for each in halves]
        return [(origin, *await log.head()) for origin, log in logs]

    async def tries(self) -> int:
        """How many turns have failed one after the other."""
        return int(await ask(self.dsn, "select coalesce(max(tries), 0) from anchoring"))

    async def an_hour_later(self) -> None:
        """What the next look meets then."""
        await ask(self.dsn, "update anchoring set due = due - interval '1 hour'", "select 1")


@pytest.fixture
async def deployment(any_postgres: Server, tmp_path: Path) -> AsyncIterator[Deployment]:
    """Five entries, no time stamp yet."""
    template = await any_postgres.template("migrated", migrate)
    async with any_postgres.fresh(template) as dsn, node(dsn, tmp_path / "state") as one:
        await one.grow(5)
        yield Deployment(dsn, one, Scripted())


async def test_once_an_hour_by_one_of_the_workers(deployment: Deployment) -> None:
    """The newest checkpoint, whoever looks first; nobody asks twice, and all see what came of it."""
    workers = [deployment.worker(name) for name in "abc"]
    await asyncio.gather(*(each.look() for each in workers))
    await asyncio.gather(*(each.look() for each in workers))
    assert len(deployment.authority.asked) == 1
    assert {(each.counts().size, each.counts().up) for each in workers} == {(5, True)}
    await deployment.one.grow(3)
    await workers[1].look()
    assert len(deployment.authority.asked) == 1
    await deployment.an_hour_later()
    await workers[2].look()
    assert [deployment.one.opened(note).size for note in deployment.authority.asked] == [5, 8]
    assert deployment.counted == [True, True]


async def test_a_log_that_has_not_grown_is_not_stamped_again(deployment: Deployment) -> None:
    """There would be nothing new to say."""
    worker = deployment.worker()
    await worker.look()
    await deployment.an_hour_later()
    await worker.look()
    assert len(deployment.authority.asked) == 1


async def test_a_failure_is_named_and_tried_again_less_and_less_often(deployment: Deployment) -> None:
    """After one minute, two, four; then it is forgotten."""
    deployment.authority.why = ["it answers 503", "it does not answer in time", "it answers 503"]
    worker, pauses = deployment.worker(), []
    for _ in range(3):
        await worker.look()
        assert not worker.counts().up
        pauses.append(await ask(deployment.dsn, "select round(extract(epoch from due - until)) from anchoring"))
        await worker.look()  # not yet
        await deployment.an_hour_later()
    assert pauses == [60, 120, 240]
    assert await ask(deployment.dsn, "select problem from anchoring") == "it answers 503"
    await worker.look()
    assert (worker.counts().size, worker.counts().up) == (5, True)
    assert deployment.counted == [False, False, False, True]


async def test_a_log_that_was_closed_is_stamped_to_its_end(deployment: Deployment) -> None:
    """Before the next one is, at once; each entry leads to the first stamp of its own log, dated or proven."""
    one, draft, last = deployment.one, a_draft(), a_draft()
    await one.append(draft)
    worker = deployment.worker()
    await worker.look()
    await one.append(last)
    old = one.verifier
    await one.halves.rotate(ORIGIN, one.halves.prepare(NEXT))
    await one.grow(20)
    await deployment.an_hour_later()
    await worker.look()
    await worker.look()
    sizes = [
        (each.partition(b"\n")[0].decode(), int(each.split(b"\n")[1])) for each in deployment.authority.asked
    ]
    assert sizes == [(ORIGIN, 6), (ORIGIN, 8), (NEXT, 21)]
    for each, size in ((draft, 6), (last, 8)):
        receipt, _ = await one.reader.receipt(each.id, "requester")
        stamped = await worker.timestamped(receipt)
        assert stamped is not None
        verified = verify_receipt(stamped[0], [old], record=NOT_AT_HAND)
        assert (verified.checkpoint.origin, verified.checkpoint.size) == (ORIGIN, size)
    assert (worker.counts().size, worker.counts().up) == (21, True)


async def test_a_worker_that_dies_as_it_asks_leaves_it_to_another(deployment: Deployment) -> None:
    """When its lease is over, not before."""
    rows = AnchorRows(deployment.one.database)
    assert await rows.claim("dead", 60) == 0
    worker = deployment.worker()
    await worker.look()
    assert deployment.authority.asked == []
    await ask(deployment.dsn, "update anchoring set until = until - interval '1 minute'", "select 1")
    await worker.look()
    assert len(deployment.authority.asked) == 1


async def test_an_authority_that_never_answers_holds_up_nothing(deployment: Deployment) -> None:
    """Appends, receipts and checkpoints go on while it is waited for."""
    forever = asyncio.Event()

    async def stamp(data: bytes) -> tuple[bytes, Stamp]:
        await forever.wait()
        raise AssertionError(data)

    deployment.authority.stamp = stamp  # type: ignore[method-assign]
    task = asyncio.create_task(deployment.worker().run())
    await asyncio.sleep(0.1)
    async with asyncio.timeout(5):
        deployment.one.check(await deployment.one.append())
        assert (await deployment.one.reader.head())[0] == 6
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_flaw_does_not_end_it(deployment: Deployment) -> None:
    """Whatever an answer makes of us, the next time stamp is asked for when it is due."""
    asked = 0

    async def stamp(data: bytes) -> tuple[bytes, Stamp]:
        nonlocal asked
        asked += 1
        raise ZeroDivisionError(data)

    deployment.authority.stamp = stamp  # type: ignore[method-assign]
    task = asyncio.create_task(deployment.worker(every=0.05).run())
    async with asyncio.timeout(10):
        while asked < 2:
            await ask(deployment.dsn, "update anchoring set until = until - interval '1 hour'", "select 1")
            await asyncio.sleep(0.05)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_evidence_that_does_not_hold_is_said_and_does_not_end_it(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No time stamp is asked for over what cannot be believed; that is no silence."""

    async def published() -> list[Published]:
        raise IntegrityError("the published checkpoint is not ours")

    worker = deployment.worker(every=0.05)
    good = worker._published
    monkeypatch.setattr(worker, "_published", published)
    why = f"{OURS}the published checkpoint is not ours"
    with capture_logs() as logs:
        task = asyncio.create_task(worker.run())
        try:
            async with asyncio.timeout(10):
                while (await deployment.tries()) < 3:
                    await ask(deployment.dsn, "update anchoring set until = due", "select 1")
                    await asyncio.sleep(0.02)
            assert [each["why"] for each in logs if each["log_level"] == "error"] == [why]
            assert worker.reasons() == (f"no time stamp: {why}",)
            assert not worker.counts().up
            # Another worker has not met it, and tells it all the same: it is not its turn.
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await ask(deployment.dsn, "update anchoring set due = due + interval '1 hour'", "select 1")
            other = deployment.worker("b")
            looking = asyncio.create_task(other.run())
            async with asyncio.timeout(10):
                while not other.reasons():  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.02)
            assert other.reasons() == worker.reasons()
            looking.cancel()
            assert deployment.authority.asked == []
            monkeypatch.setattr(worker, "_published", good)
            await deployment.an_hour_later()
            task = asyncio.create_task(worker.run())
            async with asyncio.timeout(10):
                while worker.reasons():  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.02)
            assert len(deployment.authority.asked) == 1
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_log_that_cannot_be_believed_holds_up_no_other(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are time-stamped; why one is not stands for every worker, and it is tried again later."""
    worker = deployment.worker()
    good = worker._published

    async def published() -> list[Published | IntegrityError]:
        return [IntegrityError("the final checkpoint of old.test/log is not its own"), *await good()]

    monkeypatch.setattr(worker, "_published", published)
    with pytest.raises(IntegrityError, match=r"of old\.test/log is not its own"):
        await worker.look()
    assert len(deployment.authority.asked) == 1
    await worker.look()  # not before it is due
    standing = await AnchorRows(deployment.one.database).standing()
    assert (standing.size, standing.problem.startswith(OURS)) == (await deployment.one.reader.size(), True)


async def test_a_receipt_is_proven_to_the_first_stamped_checkpoint_with_it(deployment: Deployment) -> None:
    """The earliest time that can be shown; none where there is no such checkpoint yet."""
    worker, one = deployment.worker(), deployment.one
    draft = a_draft()
    await one.append(draft)
    receipt, _ = await one.reader.receipt(draft.id, "requester")
    assert await worker.timestamped(receipt) is None
    await worker.look()
    await one.grow(4)
    await deployment.an_hour_later()
    await worker.look()
    found = await worker.timestamped(receipt)
    assert found is not None
    proven, response = found
    assert verify_receipt(proven, [one.verifier], record=NOT_AT_HAND).checkpoint.size == 6
    assert response == b"response over " + proven.checkpoint[:40]


async def test_fsck_holds_the_log_against_what_was_stamped(
    deployment: Deployment, authority: TestAuthority
) -> None:
    """Each kept checkpoint is one more that the entries must make, and each time stamp is over its own."""
    one, roots = deployment.one, certificates(authority.root.read_bytes())
    deployment.authority = asked = Authority(authority.url, roots)  # type: ignore[assignment]
    worker = deployment.worker()
    await worker.look()
    await one.grow(3)
    await deployment.an_hour_later()
    await worker.look()
    await asked.close()

    async def named(kept: Kept) -> list[str]:
        report = await fsck_database(deployment.dsn, [one.verifier], one.ring, kept)
        assert report.signed == 2 - (len(report.problems) and "checkpoint of" in report.problems[0].path)
        assert len(report.unchecked) == (not kept.authorities)
        return [f"{each.kind} {each}" for each in report.problems]

    believed = Kept(authorities=roots)
    assert await named(believed) == await named(Kept()) == []
    stranger = Kept(authorities=certificates(TestAuthority(authority.folder / "other").root.read_bytes()))
    assert len(await named(stranger)) == 2
    await ask(
        deployment.dsn,
        "update anchor set stamped_at = stamped_at - interval '1 day' where size = 5",
        "select 1",
    )
    (said,) = await named(believed)
    assert "the time stamp of 5: states" in said
    await ask(
        deployment.dsn,
        "update anchor a set response = o.response from anchor o where o.size <> a.size",
        "select 1",
    )
    assert [each.count("it is over other bytes") for each in await named(Kept())] == [1, 1]


async def test_fsck_names_a_stamped_checkpoint_that_was_changed(deployment: Deployment) -> None:
    """By its size."""
    await deployment.worker().look()
    one = deployment.one
    await ask(deployment.dsn, "update anchor set note = set_byte(note, 30, get_byte(note, 30) # 1)", "select 1")
    report = await fsck_database(deployment.dsn, [one.verifier], one.ring)
    assert "the time-stamped checkpoint of 5" in {each.path for each in report.problems}
