"""`fsck` of a database: what was done to it is found, named by its index, and what was erased is no fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from broker.core.keys import Signer, Verifier
from broker.keys import FolderKeys
from broker.offline.source import Unreadable
from broker.store.fsck.check import fsck_database
from broker.store.fsck.notes import Kept
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import snapshot
from broker.store.pool import migrate
from broker.store.search import SearchIndex
from tests.support.evidence import ORIGIN, a_draft, an_end, node
from tests.support.postgres import Server, ask
from tests.support.values import replace

SIZE = 700  # two full tiles and a part of one


@dataclass(frozen=True)
class Whole:
    """A log that is good: the database it lies in, its keys, and what was kept outside."""

    template: str
    folder: Path
    verifier: Verifier
    notes: dict[int, bytes]
    root: bytes

    @property
    def ring(self) -> FolderKeys:
        """The key ring."""
        return FolderKeys(self.folder / "keys")

    @property
    def kept(self) -> Kept:
        """The checkpoint of the whole log, as a monitor would have it."""
        return Kept(((f"checkpoint of {SIZE}", self.notes[SIZE]),))


@pytest.fixture(scope="module")
async def whole(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """700 entries with their tiles and their search index, and checkpoints of 300, 600 and 700."""
    dsn, folder = await postgres.create(), tmp_path_factory.mktemp("whole") / "state"
    await migrate(dsn)
    notes: dict[int, bytes] = {}
    async with node(dsn, folder) as one:
        for size in (300, 600, SIZE):
            before = await one.reader.size()
            await one.grow(size - before - 1)
            await one.append(an_end(one.blind, f"words {size}"))
            notes[size] = (await one.reader.head())[1]
        await one.reader.fill_tiles()
        index = SearchIndex(one.database, one.seals, one.ring.index_key(), one.reader.log)
        while await index.fill():
            pass
        return Whole(urlsplit(dsn).path[1:], folder, one.verifier, notes, one.opened(notes[SIZE]).root)


@pytest.fixture
async def copy(postgres: Server, whole: Whole) -> AsyncIterator[str]:
    """A copy of it to be tampered with."""
    async with postgres.fresh(whole.template) as dsn:
        yield dsn


async def look(whole: Whole, dsn: str, *, keys: bool = True, kept: Kept | None = None) -> StoreReport:
    """What fsck says of it."""
    given = whole.kept if kept is None else kept
    return await fsck_database(dsn, [whole.verifier], whole.ring if keys else None, given)


async def test_a_whole_log_is_good(whole: Whole, copy: str) -> None:
    """Everything was looked at, and nothing is left unchecked."""
    told: list[tuple[int, int]] = []
    report = await fsck_database(
        copy, [whole.verifier], whole.ring, whole.kept, lambda done, of: told.append((done, of))
    )
    assert report.good, [str(each) for each in report.problems]
    assert (report.size, report.entries, report.opened, report.erased) == (SIZE, SIZE, SIZE, 0)
    assert (report.tiles, report.claims, report.indexed, report.unchecked) == (2, 3, SIZE, [])
    assert report.root == whole.root
    assert told[-1] == (SIZE, SIZE)


async def test_what_could_not_be_checked_is_said(whole: Whole, copy: str) -> None:
    """Without the key ring the views, without anything signed the tree's root."""
    report = await look(whole, copy, keys=False, kept=Kept())
    assert report.good
    assert [text for text in report.unchecked if "--keys" in text]
    assert [text for text in report.unchecked if "--checkpoint" in text]
    assert report.opened == 0


async def test_it_changes_nothing(whole: Whole, copy: str) -> None:
    """Not even a tile that it could have made."""
    await ask(copy, "delete from tile", "select 1")
    assert (await look(whole, copy)).good
    assert await ask(copy, "select count(*) from tile") == 0


# In SQL: `flip` changes one bit of an entry so that it stays one.
_OTHER = "convert_to(case when substr(convert_from(leaf, 'UTF8'), 40, 1) = 'a' then 'b' else 'a' end, 'UTF8')"
FLIP = "update entry set leaf = overlay(leaf placing " + _OTHER + " from 40) where idx = 300"
TILE_AGAIN = """
create function pg_temp.again() returns void language plpgsql as $$
declare h bytea; l bytea[]; k bytea[];
begin
    for i in 0..1 loop
        select string_agg(sha256('\\x00'::bytea || leaf), ''::bytea order by idx),
               array_agg(sha256('\\x00'::bytea || leaf) order by idx)
          into h, l from entry where idx >= i * 256 and idx < (i + 1) * 256;
        while cardinality(l) > 1 loop
            select array_agg(sha256('\\x01'::bytea || l[n] || l[n + 1]) order by n) into k
              from generate_series(1, cardinality(l), 2) n;
            l := k;
        end loop;
        update tile set hashes = h, root = l[1] where level = 0 and n = i;
    end loop;
end $$;
select pg_temp.again();
"""
HEAD_AGAIN = """
update head set size = (select count(*) from entry),
    range = log_extend(0, '{}', (select array_agg(leaf order by idx) from entry))
"""
DELETE = (
    "delete from entry where idx = 300; delete from view where idx = 300; delete from search where idx = 300"
)
RENUMBER = "; ".join(
    f"update {table} set idx = -idx where idx > 300; update {table} set idx = -idx - 1 where idx < 0"
    for table in ("entry", "view", "search")
)
SWAP = "; ".join(
    f"update {table} set idx = -1 where idx = 300; update {table} set idx = 300 where idx = 301;"
    f"update {table} set idx = 301 where idx = -1"
    for table in ("entry", "view", "search")
)
CUT = "; ".join(f"delete from {table} where idx >= 650" for table in ("entry", "view", "search"))
_MAKE_ROOM = "; ".join(
    f"update {table} set idx = -idx where idx >= 300; update {table} set idx = -idx + 1 where idx < 0"
    for table in ("entry", "view", "search")
)
BACK_DATED = (
    _MAKE_ROOM
    + """;
insert into entry (log, idx, id, leaf)
select log, 300, '0b8f6f6e-6f1c-4d55-9a3b-0d5a3c1f2e4d', convert_to(regexp_replace(regexp_replace(
    convert_from(leaf, 'UTF8'), '"at":"[^"]*"', '"at":"2026-01-01T00:00:00Z"'),
    '"id":"[^"]*"', '"id":"0b8f6f6e-6f1c-4d55-9a3b-0d5a3c1f2e4d"'), 'UTF8') from entry where idx = 299
"""
)


async def tampered(whole: Whole, dsn: str, *statements: str, keys: bool = True) -> StoreReport:
    """What fsck says after these."""
    await ask(dsn, *statements, "select 1")
    report = await look(whole, dsn, keys=keys)
    assert not report.good
    return report


@pytest.mark.parametrize("keys", [True, False], ids=["with-keys", "without-keys"])
@pytest.mark.parametrize(
    ("statements", "index", "kinds"),
    [
        pytest.param([FLIP], 300, {"entry"}, id="bit-flip"),
        pytest.param([DELETE], 300, {"entry"}, id="delete"),
        pytest.param([DELETE, RENUMBER], 300, {"entry"}, id="delete-and-renumber"),
        pytest.param([SWAP], 300, {"entry"}, id="swap"),
        pytest.param([CUT], 650, {"entry"}, id="tail-truncation"),
        pytest.param([CUT, HEAD_AGAIN], 650, {"entry"}, id="tail-truncation-with-head"),
        pytest.param([BACK_DATED], 300, {"entry", "time"}, id="back-dated-insert"),
        pytest.param([BACK_DATED, TILE_AGAIN, HEAD_AGAIN], 300, {"time"}, id="back-dated-and-all-made-again"),
        pytest.param(["update entry set id = gen_random_uuid() where idx = 300"], 300, {"entry"}, id="id"),
        pytest.param(["update entry set leaf = '{}' where idx = 300"], 300, {"entry"}, id="no-entry"),
    ],
)
async def test_what_was_done_to_entries_is_named_by_its_index(
    whole: Whole, copy: str, statements: list[str], index: int, kinds: set[str], *, keys: bool
) -> None:
    """The first entry that is not as it was, with the key ring and without."""
    report = await tampered(whole, copy, *statements, keys=keys)
    assert report.first is not None
    assert report.first.index == index, [str(each) for each in report.problems]
    assert report.first.kind in kinds


@pytest.mark.parametrize("again", [[TILE_AGAIN], [TILE_AGAIN, HEAD_AGAIN]], ids=["tile", "tile-and-head"])
async def test_an_entry_changed_with_all_that_follows_from_it(
    whole: Whole, copy: str, again: list[str]
) -> None:
    """With the key ring it is named by its view; without, by the checkpoints between which it lies."""
    report = await tampered(whole, copy, FLIP, *again)
    assert report.first is not None
    assert (report.first.kind, report.first.index) == ("view", 300)
    notes = tuple((f"checkpoint of {size}", note) for size, note in whole.notes.items())
    report = await look(whole, copy, keys=False, kept=Kept(notes))
    assert report.first is not None
    # Below 300 all is as it was signed: the wrong one lies between that checkpoint and the next.
    assert (report.first.kind, report.first.index) == ("root", 300)
    assert "the first 600 entries do not make the root" in report.first.text


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize(
    "change",
    ["hashes = set_byte(hashes, 32 * 44 + 5, get_byte(hashes, 32 * 44 + 5) # 1)", "root = sha256(root)"],
    ids=["hash", "root"],
)
async def test_a_changed_tile_is_named_as_a_tile(whole: Whole, copy: str, n: int, change: str) -> None:
    """And no entry is accused for it."""
    report = await tampered(whole, copy, f"update tile set {change} where n = {n}")
    assert {(each.kind, each.path) for each in report.problems} == {("tile", f"tile/0/00{n}")}


async def test_a_tile_of_no_tree_is_named(whole: Whole, copy: str) -> None:
    """One beyond the log's end, or of a level that it has not."""
    report = await tampered(
        whole, copy, "insert into tile select log, 0, 2, hashes, root from tile where n = 1"
    )
    assert [(each.kind, each.path) for each in report.problems] == [("tile", "tile/0/2")]


async def test_a_changed_head_is_named(whole: Whole, copy: str) -> None:
    """By the entries whose hash it has otherwise."""
    report = await tampered(whole, copy, "update head set range[2] = sha256(range[2])")
    assert report.first is not None
    assert (report.first.kind, report.first.index) == ("head", 512)
    assert "512 to 639" in report.first.text


async def test_a_changed_checkpoint_and_a_changed_key_are_named(whole: Whole, copy: str) -> None:
    """In the database, in a file, or where another key was given than the log's."""
    note = bytearray(whole.notes[SIZE])
    note[-9] ^= 1
    for kept in (Kept((("x", bytes(note)),)), Kept((("x", whole.notes[SIZE].replace(b"700", b"701")),))):
        report = await look(whole, copy, kept=kept)
        assert [each.kind for each in report.problems] == ["checkpoint"]
    other = Signer.from_seed(whole.verifier.name, bytes(32)).verifier
    report = await fsck_database(copy, [other], whole.ring, whole.kept)
    assert {each.kind for each in report.problems} == {"checkpoint", "key"}
    report = await tampered(whole, copy, f"update log set vkey = '{other.vkey}'")
    assert [each.kind for each in report.problems] == ["key"]


async def test_the_guard_vouches_too(whole: Whole, copy: str) -> None:
    """Its last head is a root that the entries must make, and a size that they must reach."""
    origin = whole.verifier.name
    assert (await look(whole, copy, kept=Kept((), (origin, SIZE, whole.root)))).unchecked == []
    report = await look(whole, copy, kept=Kept((), (origin, SIZE, bytes(32))))
    assert [each.kind for each in report.problems] == ["root"]
    report = await look(whole, copy, kept=Kept((), (origin, SIZE + 9, bytes(32))))
    assert report.first is not None
    assert (report.first.kind, report.first.index) == ("entry", SIZE)


@pytest.mark.parametrize(
    "change",
    [
        "update view set views = set_byte(views, 60, get_byte(views, 60) # 1) where idx = 410",
        "update view v set views = o.views from view o where v.idx = 410 and o.idx = 411",
        "update view set views = '' where idx = 410",
        "update view set words = views where idx = 410",
    ],
    ids=["byte", "of-another", "nothing", "words"],
)
async def test_a_changed_view_is_named_by_its_entry(whole: Whole, copy: str, change: str) -> None:
    """One byte, another entry's, nothing at all, or words that were never said."""
    report = await tampered(whole, copy, change)
    assert [(each.kind, each.index) for each in report.problems] == [("view", 410)]
    assert (await look(whole, copy, keys=False)).good


async def test_what_is_gone_and_nothing_says_so_is_a_loss(whole: Whole, copy: str) -> None:
    """A row, its words alone, or a key of a month: each by its index, and the first of many by its own."""
    await ask(copy, "delete from view where idx in (7, 8, 9, 40)", "update view set words = null", "select 1")
    report = await look(whole, copy)
    named = [(each.kind, each.index) for each in report.problems]
    assert named == [("view", n) for n in (7, 8, 9, 40, 299, 599, 699)]
    assert all("nothing says so" in each.text for each in report.problems)
    assert (report.erased, report.stretches, report.words_erased) == (4, [(7, 9), (40, 40)], 3)
    await ask(copy, "alter table view_key disable trigger key_guard", "delete from view_key", "select 1")
    report = await look(whole, copy)
    assert report.first is not None
    assert (report.first.index, report.erased) == (0, 4)
    assert "which there is not" in report.first.text


async def test_another_key_ring_is_told_from_views_that_were_changed(
    whole: Whole, copy: str, tmp_path: Path
) -> None:
    """The view key that does not open under it is named first."""
    ring = FolderKeys(tmp_path / "keys")
    month = await ask(copy, "select month from view_key")
    ring.make_wrapping_key(month, "standard")
    report = await fsck_database(copy, [whole.verifier], ring, whole.kept)
    first, second = report.problems[:2]
    assert (first.kind, second.kind) == ("key", "key")
    assert "is not the one that this database was written with" in first.text
    assert "another key ring" in second.text


@pytest.mark.parametrize(
    ("change", "kind", "index"),
    [
        ("update claim set entry = gen_random_uuid()", "claim", SIZE),
        ("update view set idx = 7000 where idx = 500", "view", 7000),
        ("delete from search where idx = 500", "index", 500),
        ("update search set idx = 7000 where idx = 500", "index", 500),
        ("update search_progress set done = 900", "index", SIZE),
    ],
    ids=["claim", "orphan", "not-indexed", "index-of-none", "index-beyond"],
)
async def test_what_stands_beside_the_entries_is_checked(
    whole: Whole, copy: str, change: str, kind: str, index: int
) -> None:
    """Claims lead to entries, views belong to one, and the search index covers what it says."""
    report = await tampered(whole, copy, change)
    assert (kind, index) in {(each.kind, each.index) for each in report.problems}


async def test_two_entries_of_one_id_are_found_although_an_index_says_otherwise(
    whole: Whole, copy: str
) -> None:
    """The table itself is looked at."""
    twice = "update entry e set id = o.id, leaf = o.leaf from entry o where o.idx = 20 and e.idx = 300"
    report = await tampered(whole, copy, "alter table entry drop constraint entry_id_key", twice)
    assert (300, "has the id of entry 20") in {(each.index, each.text) for each in report.problems}


async def test_a_restored_database_is_told_by_a_checkpoint_that_was_kept(
    postgres: Server, whole: Whole, tmp_path: Path
) -> None:
    """It is whole by itself; what was signed later is not in it, from that index on."""
    async with postgres.fresh() as dsn:
        await migrate(dsn)
        async with node(dsn, tmp_path / "state") as one:
            await one.grow(10)
            verifier = one.verifier
        async with postgres.fresh(urlsplit(dsn).path[1:]) as backup:
            async with node(dsn, tmp_path / "state") as one:
                await one.grow(5)
                note = (await one.reader.head())[1]
            assert (await fsck_database(backup, [verifier])).good
            report = await fsck_database(backup, [verifier], kept=Kept((("monitor", note),)))
            assert report.first is not None
            assert (report.first.kind, report.first.index) == ("entry", 10)
            assert "the log was cut or set back" in report.first.text


async def test_what_is_no_brokers_database_is_not_readable(database: str) -> None:
    """Nothing is said of whether it is good."""
    with pytest.raises(Unreadable, match="not a broker's database"):
        await fsck_database(database, [])
    with pytest.raises(Unreadable, match="cannot be reached"):
        await fsck_database("postgresql://127.0.0.1:1/none", [])


async def test_it_sees_one_moment_while_others_append(postgres: Server, tmp_path: Path) -> None:
    """A log that grows under it is good: entries, head and tiles are those of one snapshot."""
    async with (
        postgres.fresh(await postgres.template("migrated", migrate)) as dsn,
        node(dsn, tmp_path / "state") as one,
    ):
        await one.grow(300)
        growing = asyncio.create_task(one.grow(300))
        for _ in range(5):
            report = await fsck_database(dsn, [one.verifier], one.ring)
            assert report.good, [str(each) for each in report.problems]
        await growing


async def test_a_role_that_may_only_read_suffices(whole: Whole, copy: str) -> None:
    """And what it does is refused if it would write."""
    connection = await asyncpg.connect(copy)
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute("delete from tile")
    await connection.close()


async def test_the_logs_of_earlier_half_years_are_checked_too(postgres: Server, tmp_path: Path) -> None:
    """Each by what was signed of it; a problem in an old one makes the whole bad."""
    template = await postgres.template("migrated", migrate)
    async with postgres.fresh(template) as dsn:
        async with node(dsn, tmp_path / "old", origin="blue-light.test/log/2026h1") as one:
            await one.grow(300)
            old, note = one.verifier, (await one.reader.head())[1]
            await one.halves.rotate("blue-light.test/log/2026h1", one.halves.prepare(ORIGIN))
            await one.grow(20)
            keys, ring = [old, one.verifier], one.ring
        kept = Kept((("monitor", note),))
        report = await fsck_database(dsn, keys, ring, kept)
        assert report.good, [str(each) for each in (*report.problems, *report.earlier[0].problems)]
        assert (report.size, report.opened) == (21, 20)
        (before,) = report.earlier
        assert (before.origin, before.size, before.opened) == ("blue-light.test/log/2026h1", 301, 300)
        await ask(
            dsn, "update entry set leaf = '{}' where idx = 7 and log = (select min(id) from log)", "select 1"
        )
        report = await fsck_database(dsn, keys, ring, kept)
        (before,) = report.earlier
        assert (report.good, report.problems) == (False, [])
        assert before.first is not None
        assert before.first.index == 7


async def test_an_agency_that_gave_up_its_part_is_no_fault_and_another_in_its_place_is(
    postgres: Server, tmp_path: Path
) -> None:
    """Who may read an entry is what its full view says; or nobody any more, where an erasure says so."""
    template = await postgres.template("migrated", migrate)
    async with postgres.fresh(template) as dsn, node(dsn, tmp_path / "state") as one:
        for _ in range(3):
            await one.append(a_draft(requester="cfrs", decided="permit"))
        await one.append(a_draft())
        await ask(dsn, "update view set requester_agency = null where idx = 1", "select 1")
        report = await fsck_database(dsn, [one.verifier], one.ring)
        assert [(each.kind, each.index) for each in report.problems] == [("view", 1)]
        gone = str(await ask(dsn, "select id from entry where idx = 1"))
        erased = {"entries": [gone], "parts": {"requester": [gone]}}
        said = a_draft(event="erasure", detail=erased)
        await one.append(replace(said, requester=replace(said.requester, event="erasure")))
        assert (await fsck_database(dsn, [one.verifier], one.ring)).good
        await ask(dsn, "update view set requester_agency = 'nwas' where idx = 2", "select 1")
        report = await fsck_database(dsn, [one.verifier], one.ring)
        assert [(each.kind, each.index) for each in report.problems] == [("view", 2)]
        assert "the agency that may read it as its requester" in report.problems[0].text


async def test_what_takes_too_long_is_named_and_ends(whole: Whole, copy: str) -> None:
    """A statement has its limit; somebody's lock on a table is waited for two seconds."""
    with pytest.raises(Unreadable, match="a statement took too long"):
        async with snapshot(copy, 0.2) as connection:
            await connection.execute("select pg_sleep(5)")
    holder = await asyncpg.connect(copy)
    try:
        async with holder.transaction():
            await holder.execute("lock table view in access exclusive mode")
            with pytest.raises(Unreadable, match="LockNotAvailable"):
                await look(whole, copy)
    finally:
        await holder.close()
    assert (await look(whole, copy)).good
