"""The guard: a rolled-back, forked or foreign database is never signed on from."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.core.merkle import EMPTY_ROOT
from broker.errors import AuditUnavailable, IntegrityError, SetupError
from broker.store.guard import Guard, SignedHead
from broker.store.pool import migrate
from broker.store.reader import LogReader
from tests.support.evidence import ORIGIN, a_draft, node
from tests.support.postgres import Server, ask

ROLLED_BACK = "restored from a backup or failed over to a replica that lagged"


def _head(size: int, origin: str = ORIGIN, salt: str = "") -> SignedHead:
    return SignedHead(origin, size, hashlib.sha256(f"{size}{salt}".encode()).digest())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the guard's file lies."""
    return tmp_path / "guard"


def test_it_remembers_the_greatest(path: Path) -> None:
    """Noted in any order, the greatest head is remembered, by another process too."""
    guard = Guard(path)
    assert guard.load() is None
    for size in (3, 9, 4, 9, 12, 1):
        guard.note(_head(size))
    assert guard.load() == Guard(path).load() == _head(12)
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_two_roots_for_one_size_stop_signing(path: Path) -> None:
    """A second root for the newest size is a fork."""
    guard = Guard(path)
    guard.note(_head(5))
    with pytest.raises(IntegrityError, match="forked"):
        guard.note(_head(5, salt="other"))
    assert guard.load() == _head(5)


@pytest.mark.parametrize("torn", range(0, 200, 7))
def test_a_torn_write_costs_at_most_one_batch(path: Path, torn: int) -> None:
    """Whatever part of a slot was written when the machine died, the head before it is remembered."""
    guard = Guard(path)
    for size in range(1, 7):
        guard.note(_head(size))
        before = path.read_bytes()
        guard.note(_head(size + 1))
        after = path.read_bytes()
        first = next(n for n in range(len(after)) if before[n : n + 1] != after[n : n + 1])
        path.write_bytes((after[: first + torn] + before[first + torn :])[: len(after)])
        seen = Guard(path).load()
        assert seen in (_head(size), _head(size + 1))
        path.write_bytes(after)


def test_a_torn_write_in_a_new_half_year_costs_no_more(path: Path) -> None:
    """The greatest head is never written over, though an older log's is larger."""
    guard = Guard(path)
    guard.note(_head(100_000, "x/log/2026h1"))
    guard.note(_head(99_999, "x/log/2026h1"))
    guard.note(_head(0, "x/log/2026h2"))
    for size in range(1, 5):
        before = path.read_bytes()
        guard.note(_head(size, "x/log/2026h2"))
        after = path.read_bytes()
        for slot in range(0, len(before), 512):
            if after[slot : slot + 512] != before[slot : slot + 512]:
                path.write_bytes(after[:slot] + b"\0" * 512 + after[slot + 512 :])
        assert Guard(path).load() == _head(size - 1, "x/log/2026h2")
        path.write_bytes(after)


def test_a_closed_log_is_not_signed_again(path: Path) -> None:
    """Once a later half-year's log has been signed, an earlier one is refused."""
    guard = Guard(path)
    guard.note(_head(3, "x/log/2026h2"))
    with pytest.raises(IntegrityError, match="closed"):
        guard.note(_head(50, "x/log/2026h1"))
    assert guard.load() == _head(3, "x/log/2026h2")


@pytest.mark.parametrize("junk", [b"", b"\0" * 1024, b"\xff" * 1024, b"a\nb\nc\nd\ne\n" * 90])
def test_junk_is_nothing_remembered(path: Path, junk: bytes) -> None:
    """A file without a whole slot remembers nothing, and can be written."""
    path.write_bytes(junk)
    guard = Guard(path)
    assert guard.load() is None
    guard.note(_head(2))
    assert guard.load() == _head(2)


def _note_many(path: str, start: int) -> None:
    guard = Guard(Path(path))
    for size in range(start, 3000, 2):
        guard.note(_head(size))
    guard.close()


def test_processes_share_it(path: Path) -> None:
    """Two processes note in turn, and it never goes back."""
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_note_many, args=(str(path), n)) for n in (1, 2)]
    for one in both:
        one.start()
    guard, last = Guard(path), -1
    while any(one.is_alive() for one in both):
        size = known.size if (known := guard.load()) else -1
        assert size >= last
        last = size
    for one in both:
        one.join(30)
        assert one.exitcode == 0
    assert guard.load() == _head(2999)


_HOLDER = """
import fcntl, hashlib, os, signal, sys
from pathlib import Path
from broker.store.guard import Guard, SignedHead

class Stopping(Guard):
    def _own_lane(self):
        lane = super()._own_lane()
        os.kill(os.getpid(), signal.SIGSTOP)
        return lane

guard = Stopping(Path(sys.argv[1]))
fcntl.flock(guard._file, fcntl.LOCK_EX)
guard.note(SignedHead(sys.argv[2], 2, hashlib.sha256(b"2").digest()))
"""


def test_a_process_that_is_stopped_as_it_writes_holds_nobody(path: Path) -> None:
    """One stopped between its look and its write, whatever it has locked: others note meanwhile, at once, and
    its late write takes nothing back."""
    process = subprocess.Popen([sys.executable, "-c", _HOLDER, str(path), ORIGIN])
    try:
        assert os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT) is not None
        guard = Guard(path)
        for size in range(1, 6):
            started = time.monotonic()
            guard.note(_head(size))
            assert time.monotonic() - started < 3
        process.send_signal(signal.SIGCONT)
        assert process.wait(10) == 0
        assert guard.load() == Guard(path).load() == _head(5)
    finally:
        process.kill()
        process.wait(10)


def test_two_roots_written_at_once_stop_signing(path: Path) -> None:
    """Of two processes that write different roots for one size together, one at least does not sign."""

    class Late(Guard):
        """Takes its lane only when another has written."""

        def _own_lane(self) -> int:
            Guard(path).note(_head(5, salt="other"))
            return super()._own_lane()

    with pytest.raises(IntegrityError, match="forked"):
        Late(path).note(_head(5))
    with pytest.raises(IntegrityError, match="forked"):
        Guard(path).note(_head(5))


def test_what_an_earlier_release_wrote_counts(path: Path) -> None:
    """The one lane that all processes shared before is read, and never written over."""
    old = _head(8).to_slot() + _head(9).to_slot()
    path.write_bytes(old)
    guard = Guard(path)
    assert guard.load() == _head(9)
    with pytest.raises(IntegrityError, match="forked"):
        guard.note(_head(9, salt="other"))
    guard.note(_head(10))
    assert guard.load() == _head(10)
    assert path.read_bytes()[:1024] == old


def test_a_lane_is_taken_up_by_the_next_process(path: Path) -> None:
    """Restarts do not use lanes up."""
    for size in range(1, 300):
        guard = Guard(path)
        guard.note(_head(size))
        guard.close()
    assert Guard(path).load() == _head(299)
    assert path.stat().st_size <= 3 * 1024


def test_a_disk_that_refuses_is_a_named_failure() -> None:
    """A write that fails says so under a name, since what was appended must not be tried again."""
    with pytest.raises(AuditUnavailable, match="guard"):
        Guard(Path("/dev/full")).note(_head(1))


def test_no_place_for_it_is_said(tmp_path: Path) -> None:
    """A folder that is not there is the operator's to fix."""
    with pytest.raises(SetupError, match="guard file"):
        Guard(tmp_path / "nowhere" / "guard")


async def test_an_empty_log_is_remembered_before_its_first_entry(local_dsn: str, tmp_path: Path) -> None:
    """Killed between the first commit and its note, the next start is not refused."""
    async with node(local_dsn, tmp_path / "state") as one:
        assert one.guard.load() == SignedHead(ORIGIN, 0, EMPTY_ROOT)
        kept = (tmp_path / "state" / "guard").read_bytes()
        await one.append()
    (tmp_path / "state" / "guard").write_bytes(kept)
    async with node(local_dsn, tmp_path / "state") as one:
        assert (await one.append()).index == 1


async def test_a_restored_database_is_refused_at_start(any_postgres: Server, tmp_path: Path) -> None:
    """A copy of the database from before the last signed head is refused, with what to do."""
    async with any_postgres.fresh() as now:
        await migrate(now)
        async with node(now, tmp_path / "state") as one:
            await one.grow(3)
        async with any_postgres.fresh(urlsplit(now).path[1:]) as backup:
            async with node(now, tmp_path / "state") as one:
                await one.append()
            with pytest.raises(IntegrityError, match=ROLLED_BACK):
                async with node(backup, tmp_path / "state"):
                    pass
        async with any_postgres.fresh() as wiped:
            await migrate(wiped)
            with pytest.raises(IntegrityError, match="does not hold it"):
                async with node(wiped, tmp_path / "state"):
                    pass


async def test_a_backup_grown_past_what_was_signed_is_refused(any_postgres: Server, tmp_path: Path) -> None:
    """A restored log that others appended to has another root at the remembered size, however long it is."""
    async with any_postgres.fresh() as now:
        await migrate(now)
        async with node(now, tmp_path / "state") as one:
            await one.grow(3)
        async with any_postgres.fresh(urlsplit(now).path[1:]) as backup:
            shutil.copytree(tmp_path / "state", tmp_path / "elsewhere")
            async with node(now, tmp_path / "state") as one:
                await one.grow(2)
            for size in (5, 9):
                async with node(backup, tmp_path / "elsewhere") as fork:
                    while await fork.reader.size() < size:
                        await fork.append()
                with pytest.raises(IntegrityError, match="does not hold it"):
                    async with node(backup, tmp_path / "state"):
                        pass


async def test_a_missing_guard_is_refused(local_dsn: str, tmp_path: Path) -> None:
    """A log that is not empty is not signed by a node that remembers nothing."""
    async with node(local_dsn, tmp_path / "state") as one:
        await one.append()
    (tmp_path / "state" / "guard").unlink()
    with pytest.raises(IntegrityError, match="remembers none: bring back this node's guard"):
        async with node(local_dsn, tmp_path / "state"):
            pass


async def test_a_failover_under_way_is_noticed(any_postgres: Server, tmp_path: Path) -> None:
    """A database that is swapped for an older copy while we run is refused by the first new connection."""
    now = await any_postgres.create()
    name = urlsplit(now).path[1:]
    await migrate(now)
    async with node(now, tmp_path / "state"):
        pass
    old = await any_postgres.create(name)
    async with node(now, tmp_path / "state") as one:
        await one.append()
        await any_postgres.drop(now)
        await ask(any_postgres.dsn, f"alter database {urlsplit(old).path[1:]} rename to {name}", "select 1")
        signed = one.notary.signatures
        with pytest.raises(IntegrityError, match=ROLLED_BACK):
            await one.log.append(a_draft())
        with pytest.raises(IntegrityError, match=ROLLED_BACK):
            await one.reader.head()
        assert one.notary.signatures == signed
        assert await ask(now, "select size from head") == 0
    await any_postgres.drop(now)


async def test_new_connections_are_not_refused_while_others_append(local_dsn: str, tmp_path: Path) -> None:
    """A head signed by another worker between the two looks of the check is no rollback."""
    async with node(local_dsn, tmp_path / "state") as one, node(local_dsn, tmp_path / "state") as two:
        await one.append()
        async with two.database.connection() as connection:

            class Interrupted:
                """The connection; its first answer arrives after another worker's append."""

                late = False

                def __getattr__(self, name: str) -> object:
                    return getattr(connection, name)

                async def fetchrow(self, *args: str) -> object:
                    row = await connection.fetchrow(*args)
                    if not self.late:
                        self.late = True
                        await one.append()
                    return row

            interrupted = Interrupted()
            await two.notary.check(interrupted)  # type: ignore[arg-type]
            assert interrupted.late


async def test_another_logs_key_is_refused(local_dsn: str, tmp_path: Path) -> None:
    """A key of another origin does not open this database's log."""
    async with node(local_dsn, tmp_path / "state"):
        pass
    with pytest.raises(IntegrityError, match="the database holds the log"):
        async with node(local_dsn, tmp_path / "other", origin="blue-light.test/log/2027h1"):
            pass


async def test_workers_may_open_a_new_log_together(local_dsn: str, tmp_path: Path) -> None:
    """Workers that meet at the first start agree on one log."""
    async with node(local_dsn, tmp_path / "state") as one:
        one.database.check = None
        for _ in range(10):
            await ask(local_dsn, "delete from head", "delete from log", "select 1")
            readers = [LogReader(one.database, one.seals, one.notary) for _ in range(6)]
            await asyncio.gather(*(r.open() for r in readers))
            one.database.check = None
            assert await ask(local_dsn, "select count(*) from log") == 1
        await readers[3].head()


@pytest.mark.parametrize("how", ["gone", "another", "garbage"])
def test_a_file_that_was_taken_away_is_written_again(path: Path, how: str) -> None:
    """By the process that still remembers: its end must not be the end of what it knew."""
    guard = Guard(path)
    guard.note(_head(7))
    assert not guard.restore()
    if how == "garbage":
        path.write_bytes(os.urandom(4096))
    else:
        path.unlink()
        if how == "another":
            path.write_bytes(b"")
        assert guard.restore()
        assert Guard(path).load() == _head(7)
    guard.note(_head(9))
    assert not guard.restore()
    guard.close()
    assert Guard(path).load() == _head(9)


def test_a_file_of_another_log_in_its_place_is_not_believed(path: Path) -> None:
    """Refused each time it is looked at, and what this process remembers stays."""
    guard = Guard(path)
    guard.note(_head(7))
    path.unlink()
    other = Guard(path)
    other.note(_head(7, salt="fork"))
    for _ in range(2):
        with pytest.raises(IntegrityError, match="two roots for size 7"):
            guard.restore()
        assert guard.load() == _head(7)


def test_a_sync_that_fails_is_named_and_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be made durable is not forgotten, and is written once more: after a failed sync the kernel
    takes it for written."""
    guard, writes, synced = Guard(path), list[int](), list[int]()
    guard.note(SignedHead(ORIGIN, 1, bytes(32)))
    pwrite, fail = os.pwrite, True

    def fdatasync(file: int) -> None:
        if fail:
            raise OSError(errno.EIO, "the disk")
        synced.append(file)

    def counted(file: int, data: bytes, at: int) -> int:
        writes.append(at)
        return pwrite(file, data, at)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    monkeypatch.setattr(os, "pwrite", counted)
    with pytest.raises(AuditUnavailable, match="guard file"):
        guard.sync()
    assert not writes
    fail = False
    guard.sync()
    assert (len(writes), len(synced)) == (1, 1)
    guard.sync()
    assert len(synced) == 1, "nothing new was noted"
    assert guard.load() == SignedHead(ORIGIN, 1, bytes(32))
    guard.close()
