"""`fsck` and the index's check of a database with a log that was thinned out: a drop is told from a loss."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.administration import Administration
from broker.core.canonical import Json
from broker.core.keys import Verifier
from broker.core.tiles import PARTITION
from broker.keys import FolderKeys
from broker.offline.archive import Archive
from broker.offline.partition import digest, export
from broker.offline.source import Folder
from broker.partitions import Partitions
from broker.store.dropped import DroppedRows
from broker.store.fsck.check import fsck_database
from broker.store.fsck.index import check_index
from broker.store.fsck.report import StoreReport
from broker.store.onelog import OneLog
from broker.store.pool import migrate
from broker.store.search import SearchIndex
from tests.store.killed import OPERATOR
from tests.support.evidence import ORIGIN, Node, a_draft, node
from tests.support.filled import fill
from tests.support.postgres import Server, ask
from tests.support.static_log import StaticLog
from tests.support.values import replace

pytestmark = pytest.mark.long
NEXT = "blue-light.test/log/2027h1"
SIZE = PARTITION + 301


@dataclass
class Thinned:
    """A database with such a log, the keys of both its logs, and the export that was made of the first."""

    dsn: str
    folder: Path
    verifiers: tuple[Verifier, ...]

    @property
    def archive(self) -> Archive:
        """The export."""
        return Archive(self.folder / "out", self.verifiers)

    async def check(self, *archives: Archive, keys: bool = True) -> StoreReport:
        """What fsck says of the first log, but that entries which were filled in never had views."""
        ring = FolderKeys(self.folder / "state" / "keys") if keys else None
        report = await fsck_database(self.dsn, self.verifiers, ring, archives=archives)
        assert report.problems == []
        (old,) = report.earlier
        old.problems = [each for each in old.problems if "its views are gone" not in each.text]
        return old


async def _made(one: Node, dsn: str, folder: Path) -> None:
    verifiers = [one.verifier]
    await fill(dsn, 300)
    await one.append(a_draft(words="words"))
    await fill(dsn, SIZE - 1)
    await one.halves.rotate(ORIGIN, one.halves.prepare(NEXT))
    await one.append()
    index = SearchIndex(one.database, one.seals, one.ring.index_key(), one.reader.log)
    while await index.fill():
        pass
    number = await ask(dsn, f"select id from log where origin = '{ORIGIN}'")
    old = OneLog(one.database, one.notary, number)
    widths = [min(256, SIZE - at) for at in range(0, SIZE, 256)]
    leaves = [leaf for n, width in enumerate(widths) for leaf in await old.bundle(n, width)]
    StaticLog(folder / "mirror").write(leaves, checkpoint=(await old.head())[1])
    export(Folder(folder / "mirror"), verifiers, folder / "out")
    partitions = Partitions(
        Administration(one.log, one.clock), DroppedRows(one.database, one.reader, one.notary)
    )
    made = digest(Folder(folder / "out"), verifiers, 0)[1]
    await partitions.drop(OPERATOR, ORIGIN, 0, made, "vault 3")


@pytest.fixture(scope="module")
async def dropped(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Thinned:
    """As a drop leaves it."""
    dsn, folder = await postgres.create(), tmp_path_factory.mktemp("dropped")
    await migrate(dsn)
    async with node(dsn, folder / "state") as one:
        first = one.verifier
        await _made(one, dsn, folder)
        return Thinned(urlsplit(dsn).path[1:], folder, (one.verifier, first))


@pytest.fixture
async def thinned(postgres: Server, dropped: Thinned, tmp_path: Path) -> AsyncIterator[Thinned]:
    """A copy of it to be tampered with."""
    async with postgres.fresh(dropped.dsn) as dsn:
        shutil.copytree(dropped.folder / "state", tmp_path / "state")
        (tmp_path / "out").symlink_to(dropped.folder / "out")
        yield Thinned(dsn, tmp_path, dropped.verifiers)


async def test_what_was_dropped_is_no_fault(thinned: Thinned) -> None:
    """Its hashes make the root; what only its bytes can show is said not to have been checked without them."""
    old = await thinned.check()
    assert (old.good, old.dropped, old.places) == (True, [0], {0: "vault 3"}), old.problems
    assert old.entries == old.size - (PARTITION - 256)
    assert any(f"the bytes of {PARTITION - 256} entries" in each for each in old.unchecked)
    whole = await thinned.check(thinned.archive)
    assert (whole.good, whole.entries) == (True, whole.size), whole.problems
    assert not any("the bytes of" in each for each in whole.unchecked)
    assert old.opened == whole.opened == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("delete from dropped", "nothing says that it was dropped"),
        (
            f"update entry set leaf = null where log = 1 and idx = {PARTITION}",
            "nothing says that it was dropped",
        ),
        ("update entry set leaf = null where log = 1 and idx = 255", "nothing says that it was dropped"),
        ("delete from tile where level = 0 and n = 1", "its hash was not kept"),
        ("update tile set hashes = set_byte(hashes, 40, 1) where level = 0 and n = 1", "or another up to 511"),
        ("update dropped set digest = repeat('0', 64)", "no entry of the log says that they were dropped"),
        ("update dropped set place = 'the skip'", "no entry of the log says that they were dropped"),
        (
            f"insert into dropped select log, {PARTITION}, digest, place from dropped",
            "and are no whole partition of this log",
        ),
    ],
    ids=[
        *("undeclared", "one-more", "first-bundle", "hash-gone", "hash-changed", "another-digest"),
        *("another-place", "no-partition"),
    ],
)
async def test_a_loss_is_no_drop(thinned: Thinned, change: str, said: str) -> None:
    """Bytes that are gone where nothing says so, or whose hash is gone or another's, are named."""
    await ask(thinned.dsn, change, "select 1")
    old = await thinned.check()
    assert not old.good
    assert said in str(old.first), [str(each) for each in old.problems]


async def test_without_the_keys_it_is_said_that_nobody_vouches_for_the_list(thinned: Thinned) -> None:
    """What the log says of a drop stands in a view; without the keys the table alone does."""
    old = await thinned.check(keys=False)
    assert (old.good, old.dropped) == (True, [0]), old.problems
    assert any("whether the log itself says what was dropped" in each for each in old.unchecked)


async def test_an_erasure_of_an_entry_that_was_dropped_is_no_loss_of_another(thinned: Thinned) -> None:
    """With the export at hand its month is known, and what an erasure took is counted for nothing else."""
    entry = await ask(thinned.dsn, "select id::text from entry where log = 1 and idx = 300")
    async with node(thinned.dsn, thinned.folder / "state") as one:
        named: dict[str, Json] = {"entries": [entry], "parts": {}, "words": [entry]}
        said = a_draft(event="erasure", detail=named)
        await one.append(replace(said, requester=replace(said.requester, event="erasure")))
    await ask(thinned.dsn, "delete from view where log = 1 and idx = 300", "select 1")
    ring = FolderKeys(thinned.folder / "state" / "keys")
    report = await fsck_database(thinned.dsn, thinned.verifiers, ring, archives=(thinned.archive,))
    (old,) = report.earlier
    # Those that were filled in never had views, and are named first: never the one that was erased.
    assert old.erased == SIZE - 1
    assert 300 not in {each.index for each in old.problems}


async def test_a_view_of_an_entry_that_was_dropped_is_checked(thinned: Thinned) -> None:
    """That it opens, without the bytes; that it is the one that was committed to, with them."""
    await ask(
        thinned.dsn,
        "update view set views = set_byte(views, 20, get_byte(views, 20) # 1) where log = 1 and idx = 300",
        "select 1",
    )
    for archives in ((), (thinned.archive,)):
        old = await thinned.check(*archives)
        assert [(each.kind, each.index) for each in old.problems] == [("view", 300)]


async def test_a_false_copy_is_found(thinned: Thinned) -> None:
    """The export at hand is held against the root like everything else."""
    out = thinned.folder / "out"
    whole = out.readlink()
    out.unlink()
    shutil.copytree(whole, out)
    bundle = out / "tile/entries/001"
    bundle.write_bytes(bundle.read_bytes().replace(b'"v":1', b'"v":2'))
    old = await thinned.check(thinned.archive)
    assert not old.good
    assert 256 <= old.problems[0].index < 512


async def test_the_index_of_a_log_that_was_thinned_out_is_checked(thinned: Thinned) -> None:
    """By its views: a term that is missing is named, with the log; made anew, no time is lost."""
    ring = FolderKeys(thinned.folder / "state" / "keys")
    at = await ask(thinned.dsn, "select at from search where log = 1 and idx = 300")
    report = await check_index(thinned.dsn, ring, lambda *_: None)
    assert (report.good, [each.origin for each in report.before]) == (True, [ORIGIN])
    await ask(
        thinned.dsn, "update search set terms = '{}', rare = '{}' where log = 1 and idx = 300", "select 1"
    )
    report = await check_index(thinned.dsn, ring, lambda *_: None)
    assert [each.index for each in report.before[0].problems] == [300]
    assert not report.good
    await ask(thinned.dsn, "delete from search where log = 1 and idx = 301", "select 1")
    async with node(thinned.dsn, thinned.folder / "state") as one:
        index = SearchIndex(one.database, one.seals, one.ring.index_key(), 1)
        await index.filling.begin_again()
        while await index.fill():
            pass
    assert (await check_index(thinned.dsn, ring, lambda *_: None)).good
    assert await ask(thinned.dsn, "select at from search where log = 1 and idx = 300") == at
    assert await ask(thinned.dsn, "select at from search where log = 1 and idx = 301") == at
