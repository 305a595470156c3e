"""Sealed views: who can open them, for how long, and what is left when the key of their month is gone."""

from __future__ import annotations

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from broker.entryrows import Wanted
from broker.errors import IntegrityError, KeyDestroyed, KeyMissing, KeyUnknown
from broker.keys import KeyRing
from broker.store import seal
from broker.store.entryrows import PostgresEntryRows
from broker.store.past import PastReader
from broker.store.seal import Seals
from broker.store.search import SearchIndex
from tests.support.evidence import ORIGIN, Node, a_draft, node
from tests.support.postgres import ask

AUGUST = datetime(2026, 8, 31, 23, 59, 59, tzinfo=UTC)
BY_HAND = "alter table view_key disable trigger user"
AUDIENCES = ("requester", "provider", "full")


async def _sealed(dsn: str, column: str, index: int = 0) -> bytes:
    value: bytes = await ask(dsn, f"select {column} from view where idx = {index}")
    return value


async def test_a_view_opens_for_its_entry_and_reader_only(worker: Node, dsn: str) -> None:
    """Moved to another entry or audience, changed or cut, a sealed view does not open."""
    first, second = a_draft(), a_draft()
    await worker.append(first)
    await worker.append(second)
    key = await worker.seals.current(first.at)
    sealed = await _sealed(dsn, "views")
    assert key.open(sealed, first.id, "views")
    wrong = [
        (sealed, second.id, "views"),
        (sealed, first.id, "words"),
        (sealed[:-1], first.id, "views"),
        (sealed[:20], first.id, "views"),
        (b"", first.id, "views"),
        (bytes([sealed[0] ^ 1]) + sealed[1:], first.id, "views"),
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), first.id, "views"),
    ]
    for data, entry, audience in wrong:
        with pytest.raises(IntegrityError, match="does not open"):
            key.open(data, entry, audience)


async def test_views_exchanged_in_the_database_are_found(local: Node, local_dsn: str) -> None:
    """A view that somebody put in another's place is an integrity failure, not an answer."""
    drafts = [a_draft(), a_draft()]
    for draft in drafts:
        await local.append(draft)
    await ask(local_dsn, "update view set views = (select views from view where idx = 1)", "select 1")
    with pytest.raises(IntegrityError):
        await local.reader.receipt(drafts[0].id, "requester")
    assert (await local.reader.receipt(drafts[1].id, "requester"))[0].opening is not None


async def test_each_month_has_its_key(worker: Node, dsn: str) -> None:
    """Views of two months are sealed under two keys, and both open."""
    drafts = [a_draft(at=AUGUST), a_draft(at=AUGUST + timedelta(seconds=1)), a_draft(at=AUGUST)]
    for draft in drafts:
        await worker.append(draft)
    assert await ask(dsn, "select string_agg(month, ' ' order by month) from view_key") == "2026-08 2026-09"
    assert await ask(dsn, "select array_agg(key = (select min(key) from view) order by idx) from view") == [
        True,
        False,
        True,
    ]
    for draft in drafts:
        for audience in AUDIENCES:
            assert (await worker.reader.receipt(draft.id, audience))[0].opening is not None


async def test_views_erased_leave_a_receipt_without_opening(worker: Node, dsn: str) -> None:
    """The entry of erased views is still proven; others are untouched."""
    one, two = a_draft(), a_draft()
    await worker.append(one)
    await worker.append(two)
    await ask(dsn, "delete from view where idx = 0", "select 1")
    receipt, full = await worker.reader.receipt(one.id, "requester")
    assert worker.check(receipt).size == 2
    assert (receipt.opening, full) == (None, {})
    receipt, full = await worker.reader.receipt(two.id, "requester")
    assert receipt.opening is not None
    assert full["event"] == "disclosure"
    assert await worker.reader.parties(one.id) == ("", "")


async def test_a_destroyed_month_is_erased_for_good(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key gone, every view of a month counts as erased, in running workers too; nothing makes it anew."""
    old, new = a_draft(at=AUGUST), a_draft()
    key = tmp_path / "state" / "keys" / "views" / "2026-08.standard.key"
    async with node(dsn, tmp_path / "state") as one:
        await one.append(old)
        await one.append(new)
        assert (await one.reader.receipt(old.id, "full"))[0].opening is not None
        await ask(dsn, BY_HAND, "update view_key set wrapped = null where month = '2026-08'", "select 1")
        key.unlink()
        monkeypatch.setattr(seal, "_KEPT", -1.0)
        receipt, full = await one.reader.receipt(old.id, "full")
        assert one.check(receipt).size == 2
        assert (receipt.opening, full) == (None, {})
    async with node(dsn, tmp_path / "state") as one:
        assert (await one.reader.receipt(old.id, "requester"))[0].opening is None
        assert (await one.reader.receipt(new.id, "requester"))[0].opening is not None
        with pytest.raises(KeyDestroyed):
            await one.log.append(a_draft(at=AUGUST))
        await one.append()
    assert not key.exists()


async def test_a_key_that_is_missing_is_not_destroyed(
    worker: Node, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that was not copied whole, or not mounted: nothing counts as erased, and whoever needs the key
    is told which file to bring back; with it, all opens as before."""
    draft, key = a_draft(at=AUGUST), tmp_path / "state" / "keys" / "views" / "2026-08.standard.key"
    await worker.append(draft)
    index = SearchIndex(worker.database, worker.seals, worker.ring.index_key(), worker.reader.log)
    rows = PostgresEntryRows(worker.database, worker.seals, index)
    await ask(dsn, "delete from search", "update search_progress set done = 0", "select 1")
    whole = key.read_bytes()
    key.unlink()
    monkeypatch.setattr(seal, "_KEPT", -1.0)
    for ask_for in (
        lambda: worker.reader.receipt(draft.id, "full"),
        lambda: worker.seals.look(),
        lambda: worker.log.append(a_draft(at=AUGUST)),
        lambda: index.fill(),
        lambda: rows.rows(ORIGIN, Wanted(), 0, 1),
        lambda: PastReader(worker.database, worker.blind, worker.seals).leaves(0, 1),
    ):
        with pytest.raises(KeyMissing, match=r"bring back views/2026-08\.standard\.key"):
            await ask_for()
    assert (await index.progress())[0] == 0, "what could not be read is not called indexed"
    assert not key.exists()
    key.write_bytes(whole)
    key.chmod(0o600)
    await worker.seals.look()
    assert (await worker.reader.receipt(draft.id, "full"))[0].opening is not None
    assert await index.fill() == 1


async def test_a_key_that_is_destroyed_while_it_is_looked_for_is_destroyed(
    worker: Node, dsn: str, tmp_path: Path
) -> None:
    """It goes from the database first: whoever has read the row before and comes too late for the file looks
    again."""
    await worker.append(a_draft(at=AUGUST))
    ring, wrapping = worker.ring, worker.ring.wrapping_key

    class Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(ring, name)

        def wrapping_key(self, month: str, retention: str) -> bytes:
            if not gone:
                gone.append(month)
                ended = ask(dsn, BY_HAND, "update view_key set wrapped = null", "select 1")
                with ThreadPoolExecutor() as elsewhere:
                    elsewhere.submit(asyncio.run, ended).result()
                ring.destroy_wrapping_key(month, retention)
            return wrapping(month, retention)

    gone = list[str]()
    with pytest.raises(KeyDestroyed):
        await Seals(worker.database, cast(KeyRing, Late())).by_id(1)
    assert gone == ["2026-08"]


async def test_a_key_that_never_was_is_no_destroyed_one(worker: Node, dsn: str) -> None:
    """A view whose number of a key was changed by hand does not pass for erased."""
    draft = a_draft()
    await worker.append(draft)
    await ask(dsn, "update view set key = 999", "select 1")
    with pytest.raises(KeyUnknown):
        await worker.reader.receipt(draft.id, "full")


async def test_another_key_ring_is_refused(worker: Node, dsn: str, tmp_path: Path) -> None:
    """A key of the same month from another ring does not unwrap, and the sentence says what may be wrong."""
    draft = a_draft()
    await worker.append(draft)
    views = tmp_path / "state" / "keys" / "views"
    shutil.rmtree(views)
    views.mkdir(0o700)
    worker.ring.make_wrapping_key(f"{draft.at:%Y-%m}", "standard")
    seals = Seals(worker.database, worker.ring)
    for use in (seals.current(draft.at), seals.by_id(1)):
        with pytest.raises(IntegrityError, match="another key ring"):
            await use


async def test_workers_that_meet_at_a_new_month_agree(worker: Node, other: Node, dsn: str) -> None:
    """Both make a month's key at once; one counts, and each opens what the other sealed."""
    drafts = [a_draft(at=AUGUST) for _ in range(8)]
    await asyncio.gather(*((worker, other)[n % 2].append(d) for n, d in enumerate(drafts)))
    assert await ask(dsn, "select count(*) from view_key") == 1
    for n, draft in enumerate(drafts):
        receipt, _ = await (other, worker)[n % 2].reader.receipt(draft.id, "provider")
        assert receipt.opening is not None


async def test_starting_often_uses_up_no_numbers(local: Node, local_dsn: str) -> None:
    """A worker that finds a month's key makes none: its small number would run out."""
    await local.append()
    for _ in range(5):
        await Seals(local.database, local.ring).current(datetime.now(UTC))
    assert await ask(local_dsn, "select last_value from view_key_id_seq") == 1


@pytest.mark.parametrize(("lost", "sentence"), [("log.key", "is signed by"), ("index.key", "index key")])
async def test_a_lost_key_is_not_replaced(dsn: str, tmp_path: Path, lost: str, sentence: str) -> None:
    """A key made anew for a database of the old one is refused: it would find no refusal, or sign a fork."""
    async with node(dsn, tmp_path / "state"):
        pass
    (tmp_path / "state" / "keys" / lost).unlink()
    with pytest.raises(IntegrityError, match=f"{sentence}.*bring back the key folder"):
        async with node(dsn, tmp_path / "state"):
            pass
