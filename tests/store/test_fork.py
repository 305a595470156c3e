"""A database whose log was changed by hand while workers run: their key never signs a second history of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from broker.core.checkpoint import Checkpoint, sign_checkpoint
from broker.core.entry import Rotation
from broker.core.keys import Signer
from broker.core.merkle import EMPTY_RANGE, leaf_hash
from broker.core.receipt import Receipt
from broker.errors import AuditUnavailable, IntegrityError, SetupError
from broker.keys import FolderKeys
from broker.store.guard import Ahead, Forked, Guard, SignedHead
from broker.store.history import _NEAR
from tests.support.evidence import ORIGIN, Node, a_draft, node
from tests.support.postgres import ask

_HEAD_BACK = """
update head set size = (select count(*) from entry),
    range = log_extend(0, '{}', (select array_agg(leaf order by idx) from entry))
"""


def cutting(size: int) -> list[str]:
    """Statements that take the entries from `size` on away, and put the head back to match."""
    beside = [f"delete from {name} where idx >= {size}" for name in ("entry", "view", "search")]
    triggers = [
        f"alter table {name} {how} trigger user"
        for how in ("disable", "enable")
        for name in ("view", "search", "claim")
    ]
    return [
        *triggers[:3],
        f"delete from claim c using entry e where e.id = c.entry and e.idx >= {size}",
        *beside,
        _HEAD_BACK,
        *triggers[3:],
    ]


async def cut(dsn: str, size: int) -> None:
    """Do so."""
    await ask(dsn, *cutting(size), "select 1")


async def plant(dsn: str, leaf: bytes, identifier: str) -> None:
    """One entry more, by hand."""
    await ask(
        dsn,
        f"insert into entry (log, idx, id, leaf) select log, size, '{identifier}', '\\x{leaf.hex()}' from head",
        f"update head set size = size + 1, range = log_extend(size, range, array['\\x{leaf.hex()}'::bytea])",
        "select 1",
    )


def a_link() -> Rotation:
    """What names a stranger's key as the next log's."""
    key = Signer.from_seed(ORIGIN.replace("2026h2", "2027h1"), b"\x07" * 32).vkey
    return Rotation(datetime.now(UTC).replace(microsecond=0), str(uuid.uuid4()), key)


async def look(worker: Node) -> str:
    """What a worker says after its look of every second; empty: nothing."""
    async with worker.database.connection() as connection:
        await worker.notary.look(connection)
    return worker.notary.stopped


@pytest.fixture
async def two(local: Node, local_dsn: str, tmp_path: Path) -> AsyncIterator[Node]:
    """Another worker beside `local`."""
    async with node(local_dsn, tmp_path / "state") as made:
        yield made


@pytest.mark.parametrize("taken", [1, 3])
async def test_a_log_that_was_cut_is_not_signed_again(local: Node, local_dsn: str, taken: int) -> None:
    """Entries that were signed are taken away: the next append stops its worker, and a start is refused."""
    await local.grow(4)
    before = [await local.append() for _ in range(6)]
    signed, known = local.notary.signatures, local.guard.load()
    await cut(local_dsn, 10 - taken)
    with pytest.raises(Forked):
        await local.append()
    for _ in range(6):
        with pytest.raises(AuditUnavailable, match="is not the log that was signed"):
            await local.append()
    with pytest.raises(AuditUnavailable, match="is not the log that was signed"):
        await local.reader.head()
    assert await local.reader.size() == 11 - taken, "nothing is appended once it is known"
    assert (local.notary.signatures, local.guard.load()) == (signed, known)
    assert local.check(before[-1]).size == 10
    with pytest.raises(IntegrityError, match="does not hold it"):
        async with node(local_dsn, local.guard.path.parent):
            pass


async def test_every_worker_sees_that_the_log_was_cut(local: Node, two: Node, local_dsn: str) -> None:
    """A worker that appends nothing says within a second or so that it is not ready, and why."""
    await local.grow(9)
    await two.append()
    assert (await look(local), await look(two)) == ("", "")
    await cut(local_dsn, 7)
    assert "some were taken back" in await look(local)
    with pytest.raises(Forked):
        await two.append()
    assert await look(two) == two.notary.stopped != ""


@pytest.mark.parametrize("again", [False, True])
async def test_a_log_that_was_rewritten_is_not_signed_again(local: Node, local_dsn: str, again: bool) -> None:
    """An old entry is altered and the head made to match: seen by the look, or by the next append."""
    await local.grow(9)
    await ask(
        local_dsn,
        "update entry set leaf = overlay(leaf placing 'x'::bytea from 60) where idx = 3",
        _HEAD_BACK,
        "select 1",
    )
    if again:
        with pytest.raises(Forked, match="two roots for size 9"):
            await local.append()
    else:
        assert "are not those that were signed" in await look(local)
    with pytest.raises(AuditUnavailable, match="is not the log that was signed"):
        await local.append()


async def test_what_another_worker_signed_counts(local: Node, two: Node, local_dsn: str) -> None:
    """A worker that has not signed what was taken away itself: what the guard remembers counts."""
    await two.append()
    await local.grow(8)
    await cut(local_dsn, 7)
    with pytest.raises(Forked, match="taken back"):
        await two.append()
    assert two.guard.load() == SignedHead(ORIGIN, 9, local.guard.load().root)  # type: ignore[union-attr]


async def test_workers_that_append_in_turn_and_at_once_are_of_one_history(local: Node, two: Node) -> None:
    """Each signs on from what the other appended, noted yet or not; every receipt holds."""
    for _ in range(5):
        for one in (local, two):
            local.check(await one.append())
    for _ in range(20):
        receipts = await asyncio.gather(*(each.append() for each in (local, two) for _ in range(17)))
        for receipt in receipts:
            local.check(receipt)
        await asyncio.gather(look(local), look(two), two.reader.head(), local.reader.head())
    assert (local.notary.stopped, two.notary.stopped) == ("", "")
    assert sorted({local.guard.load().size, two.guard.load().size}) == [690]  # type: ignore[union-attr]


async def test_answers_that_cross_are_of_one_history(local: Node, two: Node) -> None:
    """A later head of ours or of another is signed first; the earlier one is proven to begin it."""
    held = local.guard.note
    waiting: list[SignedHead] = []

    def note(head: SignedHead, over: SignedHead | None = None) -> None:
        if not waiting:
            waiting.append(head)
            raise AuditUnavailable("the guard file cannot be read and written")
        held(head, over)

    local.guard.note = note  # type: ignore[method-assign]
    with pytest.raises(AuditUnavailable):
        await local.append()
    for one in (two, two, local, two):
        await one.append()
    late = await local.reader.consistency(0, 1)
    assert local.opened(late[1]).root == waiting[0].root
    assert (local.notary.stopped, two.notary.stopped) == ("", "")


async def test_a_worker_that_was_idle_for_long_signs_on(
    local: Node, two: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too far from what it knows for leaves: the tiles prove it."""
    monkeypatch.setattr("broker.store.history._NEAR", 8)
    assert _NEAR > 8
    await two.append()
    for _ in range(30):
        await local.append()
    local.check(await two.append())
    await local.grow(300)
    local.check(await two.append())
    assert two.notary.stopped == ""


async def test_a_failed_read_stops_nothing(local: Node, two: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be proven for want of the database is no fork."""
    await local.append()
    await two.append()
    with monkeypatch.context() as patch:
        patch.setattr(local.guard, "load", lambda: (_ for _ in ()).throw(AuditUnavailable("gone")))
        with pytest.raises(AuditUnavailable, match="gone"):
            await local.append()
    local.check(await local.append())


async def test_a_link_that_no_rotation_made_is_not_signed(local: Node, two: Node, local_dsn: str) -> None:
    """An entry that names a stranger's key as the next log's, by hand: nobody's signature stands over it."""
    await local.grow(4)
    link = a_link()
    await plant(local_dsn, link.to_bytes(), link.id)
    with pytest.raises(Forked, match="entry 4 names a later log's key"):
        await two.reader.head()
    with pytest.raises(Forked, match="entry 4 names a later log's key"):
        await local.append()
    assert local.guard.load().size == 4  # type: ignore[union-attr]


async def test_a_log_closed_by_hand_for_a_strangers_key_is_not_signed(local: Node, local_dsn: str) -> None:
    """Closed by hand over such a link: this node has no such key, and stops."""
    await local.grow(4)
    link = a_link()
    await plant(local_dsn, link.to_bytes(), link.id)
    await ask(local_dsn, "update head set closed = true", "select 1")
    with pytest.raises(AuditUnavailable, match="key folder holds no key"):
        await local.reader.head()
    with pytest.raises(AuditUnavailable):
        await local.log.append(a_draft())
    assert local.guard.load().size == 4  # type: ignore[union-attr]


async def test_a_look_that_a_rotation_crosses_stops_nobody(local: Node) -> None:
    """Another task of the same worker goes over to the next log while a look waits for its answer: what is read
    is of the one, what was signed of the other, and neither is a fork."""
    await local.grow(5)
    vkey = local.halves.prepare(ORIGIN.replace("2026h2", "2027h1"))

    class Crossed:
        """A connection that answers after the rotation."""

        def __init__(self, real: asyncpg.Connection) -> None:
            self._real = real

        async def fetchrow(self, *asked: Any) -> Any:
            await local.halves.rotate(ORIGIN, vkey)
            return await self._real.fetchrow(*asked)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    async with local.database.connection() as connection:
        await local.notary.look(Crossed(connection))  # type: ignore[arg-type]
    assert (local.notary.stopped, local.notary.origin) == ("", ORIGIN.replace("2026h2", "2027h1"))
    assert await look(local) == ""
    await local.append()


async def test_rotations_among_looks_and_appends_stop_nobody(local: Node, two: Node) -> None:
    """Two workers that append, look and go over all at once, through four half-years: one history of each."""
    going, receipts = True, list[Receipt]()

    async def appends(worker: Node) -> None:
        while going:
            receipts.append(await worker.append())

    async def looks(worker: Node) -> None:
        while going:
            assert await look(worker) == ""
            await worker.notary.remember()
            async with worker.database.connection() as connection:
                await worker.notary.turn(connection)

    async def reads(worker: Node) -> None:
        while going:
            await worker.reader.head()

    tasks = [
        asyncio.create_task(each(worker))
        for worker in (local, two)
        for each in (appends, appends, looks, looks, reads)
    ]
    origin = ORIGIN
    for n, half in enumerate(("2027h1", "2027h2", "2028h1", "2028h2")):
        await asyncio.sleep(0.3)
        later = ORIGIN.replace("2026h2", half)
        worker = (local, two)[n % 2]
        await worker.halves.rotate(origin, worker.halves.prepare(later))
        origin = later
    await asyncio.sleep(0.3)
    going = False
    await asyncio.gather(*tasks)
    assert (local.notary.stopped, two.notary.stopped) == ("", "")
    assert local.notary.origin == two.notary.origin == origin
    assert len({each.entry for each in receipts}) == len(receipts) > 20


@pytest.mark.parametrize("older", [False, True], ids=["emptied", "older-copy"])
async def test_a_guard_file_that_forgot_is_written_again(
    local: Node, two: Node, local_dsn: str, tmp_path: Path, older: bool
) -> None:
    """In its place, under running workers: whoever signed writes within a second what they did, and one that
    lags behind signs no second history."""
    await local.grow(3)
    await two.reader.head()
    path = tmp_path / "state" / "guard"
    kept = path.read_bytes()
    for _ in range(3):
        await local.append()
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(kept if older else b"")
    await local.notary.remember()
    await cut(local_dsn, 3)
    with pytest.raises(IntegrityError):
        await two.append()
    assert await look(local)
    known = local.guard.load()
    assert known is not None
    assert known.size == 6


def rotated_by_hand(
    folder: Path, at: int, final: bytes | Callable[[Rotation], bytes], domain: str = "blue-light.test"
) -> list[str]:
    """Statements that close the log over its first `at` entries and open the next one, whose key is in the
    folder already: as a rotation does, but for what only the old log's key could sign. `final` is the closed
    log's last checkpoint, or what makes it of that log's last entry."""
    seed = FolderKeys(folder / "keys").make_log_seed("2027h1")
    later = f"{domain}/log/2027h1"
    vkey = Signer.from_seed(later, seed).vkey
    now = datetime.now(UTC).replace(microsecond=0)
    last = Rotation(now, str(uuid.uuid4()), vkey)
    final = final if isinstance(final, bytes) else final(last)
    first = Rotation(now, str(uuid.uuid4()), final.decode())
    leaf, begun = f"'\\x{last.to_bytes().hex()}'::bytea", f"'\\x{first.to_bytes().hex()}'::bytea"
    head = f"range = log_extend(0, '{{}}', array[{begun}])"
    return [
        f"insert into entry (log, idx, id, leaf) values (1, {at}, '{last.id}', {leaf})",
        f"update log set closed_at = now(), entries = {at + 1}, final = '\\x{final.hex()}' where id = 1",
        f"insert into log (origin, vkey) values ('{later}', '{vkey}')",
        f"insert into entry (log, idx, id, leaf) select max(id), 0, '{first.id}', {begun} from log",
        f"update head set log = (select max(id) from log), size = 1, {head}",
        "select 1",
    ]


@pytest.mark.parametrize(("at", "note"), [(5, 4), (5, 5), (8, 7)], ids=["cut", "of-its-length", "whole"])
async def test_a_log_that_was_closed_by_hand_is_not_followed(
    local: Node, two: Node, local_dsn: str, tmp_path: Path, at: int, note: int
) -> None:
    """The next key was made ahead of its time, and somebody closes the log over fewer entries than were signed,
    or over a checkpoint that its key made of fewer: nothing of the next log is signed, nothing goes into it."""
    receipts = [await local.append() for _ in range(8)]
    await two.reader.head()
    if at < 8:
        await cut(local_dsn, at)
    await ask(local_dsn, *rotated_by_hand(tmp_path / "state", at, receipts[note].checkpoint))
    for worker in (two, local):
        with pytest.raises((Forked, AuditUnavailable)):
            await worker.reader.head()
        assert "was closed over" in worker.notary.stopped or "was closed with" in worker.notary.stopped
        with pytest.raises((AuditUnavailable, IntegrityError)):
            await worker.append()
        with pytest.raises((Forked, AuditUnavailable)):
            await worker.halves.finish()
    assert await ask(local_dsn, "select size from head") == 1
    known = local.guard.load()
    assert known is not None
    assert (known.origin, known.size) == (ORIGIN, 8)
    with pytest.raises((SetupError, IntegrityError, AuditUnavailable)):
        async with node(local_dsn, tmp_path / "state"):
            pass


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "at-a-start"])
async def test_a_log_that_strangers_signed_to_its_end_is_not_followed(
    local_dsn: str, tmp_path: Path, stopped: bool
) -> None:
    """The whole log, closed by hand over a right last checkpoint that another key signed: no worker goes over,
    and while none ran, the next start is refused."""
    folder = tmp_path / "state"
    async with node(local_dsn, folder) as worker:
        leaves = [(await worker.append()).entry for _ in range(5)]

        def final(last: Rotation) -> bytes:
            root = EMPTY_RANGE.extend([leaf_hash(leaf) for leaf in (*leaves, last.to_bytes())]).root()
            return sign_checkpoint(Checkpoint(ORIGIN, 6, root), Signer.from_seed(ORIGIN, b"\x07" * 32))

        if not stopped:
            await ask(local_dsn, *rotated_by_hand(folder, 5, final))
            with pytest.raises((Forked, AuditUnavailable)):
                await worker.reader.head()
            assert "a checkpoint that its key did not sign" in worker.notary.stopped
    if stopped:
        await ask(local_dsn, *rotated_by_hand(folder, 5, final))
    with pytest.raises(IntegrityError, match="does not hold it") as e:
        async with node(local_dsn, folder):
            pass
    assert "a checkpoint that its key did not sign" in str(e.value.__cause__)


def test_a_guard_asks_for_what_others_noted(tmp_path: Path) -> None:
    """A head beyond what the noted one was held against is named; nothing is remembered until then."""
    path = tmp_path / "guard"
    one, other = Guard(path), Guard(path)
    three, five, nine = (SignedHead("x/log/2026h2", n, bytes([n]) * 32) for n in (3, 5, 9))
    one.note(three)
    other.note(nine, three)
    with pytest.raises(Ahead) as e:
        one.note(five, three)
    assert (e.value.head, one.load()) == (nine, nine)
    one.note(five, nine)
    with pytest.raises(Forked, match="two roots for size 9"):
        one.note(SignedHead(nine.origin, 12, bytes(32)), SignedHead(nine.origin, 9, bytes(32)))


def test_of_two_that_note_at_once_one_is_told(tmp_path: Path) -> None:
    """Another writes between the look and the note: it is named, and ours is taken back."""
    path = tmp_path / "guard"
    three, five, nine = (SignedHead("x/log/2026h2", n, bytes([n]) * 32) for n in (3, 5, 9))

    class Late(Guard):
        """Takes its lane only when another has written."""

        def _own_lane(self) -> int:
            if self._lane is None:
                Guard(path).note(five)
            return super()._own_lane()

    late = Late(path)
    with pytest.raises(Ahead) as e:
        late.note(nine, three)
    assert (e.value.head, Guard(path).load()) == (five, five)
