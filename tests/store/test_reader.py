"""Reading the log: proofs of old entries in newer heads, between any sizes, and the tiles they are made of."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import asyncpg
import pytest

from broker.core.entry import parse_entry
from broker.core.merkle import EMPTY_ROOT, leaf_hash, verify_consistency, verify_inclusion
from broker.core.tiles import Tile, hashes_of, subtree_root, tiles_of
from broker.errors import IntegrityError
from broker.store.pool import migrate
from tests.support.evidence import Node, a_draft, naive_root, node
from tests.support.postgres import Server, ask

LARGE = 65_536 + 300
_FILL = """
with made as (
    insert into entry (log, idx, id, leaf)
    select log.id, n, gen_random_uuid(), convert_to('leaf ' || n, 'UTF8')
    from log, generate_series($1::bigint, $2::bigint - 1) n returning idx, leaf
)
update head
set size = $2::bigint, range = log_extend(size, range, (select array_agg(leaf order by idx) from made))
"""


async def fill(dsn: str, start: int, end: int) -> None:
    """Entries `leaf <n>` straight into the tables, with the head that they make."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(_FILL, start, end, timeout=60)
    finally:
        await connection.close()


def leaves(size: int) -> list[bytes]:
    """The leaf hashes of `fill`."""
    return [leaf_hash(b"leaf %d" % n) for n in range(size)]


async def test_an_old_receipt_is_proven_against_every_newer_head(worker: Node) -> None:
    """The reader's receipt of any entry goes to the newest checkpoint, whatever has been appended since."""
    drafts = [a_draft() for _ in range(7)]
    for size, draft in enumerate(drafts, 1):
        given = await worker.append(draft)
        for index, old in enumerate(drafts[:size]):
            receipt, _ = await worker.reader.receipt(old.id, "requester")
            assert receipt.index == index
            assert worker.check(receipt) == worker.check(given)
    size, note = await worker.reader.head()
    assert (size, worker.opened(note).size) == (7, 7)


@pytest.mark.parametrize(
    "sizes",
    [[*range(12), 31, 32, 33, 64, 127, 128, 129, 130], pytest.param(range(131), marks=pytest.mark.long)],
)
async def test_every_pair_of_sizes_is_consistent(local: Node, local_dsn: str, sizes: Sequence[int]) -> None:
    """Consistency proofs between all sizes to 130 verify against the roots of the entries themselves."""
    await fill(local_dsn, 0, 130)
    hashes = leaves(130)
    roots = [EMPTY_ROOT] + [naive_root(hashes[:n]) for n in range(1, 131)]

    async def pairs(new: int) -> None:
        for old in range(new + 1):
            proof, note = await local.reader.consistency(old, new)
            checkpoint = local.opened(note)
            assert (checkpoint.size, checkpoint.root) == (new or 130, roots[new or 130])
            if new:
                verify_consistency(old, roots[old], new, roots[new], proof)

    for at in range(0, len(sizes), 8):
        await asyncio.gather(*(pairs(n) for n in sizes[at : at + 8]))


@pytest.mark.parametrize(("old", "new"), [(5, 4), (0, 8), (8, 8), (-1, 3), (3, 10**30)])
async def test_sizes_there_are_not_are_refused(local: Node, local_dsn: str, old: int, new: int) -> None:
    """Sizes out of order or past the log are no such sizes, however large."""
    await fill(local_dsn, 0, 7)
    with pytest.raises(KeyError):
        await local.reader.consistency(old, new)


@pytest.fixture(scope="module")
async def large(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    """A log of a little more than 65,536 entries."""
    async with postgres.fresh() as dsn:
        await migrate(dsn)
        async with node(dsn, tmp_path_factory.mktemp("large") / "state") as one:
            await fill(dsn, 0, LARGE)
            yield one


EDGES = [1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, LARGE - 1, LARGE]


async def test_proofs_hold_around_the_edges_of_tiles(large: Node) -> None:
    """Inclusion and consistency around 256, 512 and 65,536 entries verify against the entries' own roots."""
    hashes = leaves(LARGE)
    roots = {size: naive_root(hashes[:size]) for size in EDGES}
    for old in EDGES:
        for new in EDGES:
            if old <= new:
                proof, note = await large.reader.consistency(old, new)
                assert large.opened(note).root == roots[new]
                verify_consistency(old, roots[old], new, roots[new], proof)
    for size in EDGES:
        inclusion, note = await large.reader.prove(size - 1)
        checkpoint = large.opened(note)
        assert checkpoint.size == LARGE
        verify_inclusion(hashes[size - 1], size - 1, LARGE, inclusion, checkpoint.root)


@pytest.mark.parametrize(
    "rot",
    [
        "update tile set hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) where level = 1",
        "update tile set root = sha256(root) where level = 1",
        "update tile set hashes = set_byte(hashes, 40, 0), root = sha256(root) where n = 7",
        "update tile set root = sha256(root) where level = 0 and n in (0, 200, 255, 256)",
        "update tile set hashes = sha256(hashes) || substr(hashes, 33), root = sha256(root)",
    ],
    ids=["hash", "root", "both", "below", "all"],
)
async def test_a_rotten_tile_of_any_level_is_made_anew(large: Node, rot: str) -> None:
    """Proofs between all sizes hold, whatever was done to the cache."""
    await large.reader.fill_tiles()
    hashes = leaves(LARGE)
    roots = {size: naive_root(hashes[:size]) for size in EDGES}
    for old, new in itertools.pairwise(EDGES):
        async with large.database.connection() as connection:
            await connection.execute(rot)
        proof, note = await large.reader.consistency(old, new)
        assert large.opened(note).root == roots[new]
        verify_consistency(old, roots[old], new, roots[new], proof)
    assert large.notary.broken.reasons() == ()


async def test_the_tile_cache_is_what_the_entries_make(large: Node) -> None:
    """Every tile, kept or made when asked for, holds the hashes of the entries; kept ones are full ones."""
    await large.reader.fill_tiles()
    hashes = leaves(LARGE)
    level1 = [naive_root(hashes[n : n + 256]) for n in range(0, 65_536 + 256, 256)]
    expected = {0: hashes, 1: level1, 2: [naive_root(hashes[:65_536])]}
    tiles = list(tiles_of(LARGE))
    assert {tile.level for tile in tiles} == {0, 1, 2}
    for tile in tiles:
        first = tile.index * 256
        want = expected[tile.level][first : first + tile.width]
        for _ in range(2):
            assert hashes_of(tile, await large.reader.tile(tile)) == want
    async with large.database.connection() as connection:
        kept = await connection.fetch("select level, n, hashes, root from tile")
    assert {(r["level"], r["n"]) for r in kept} == {(t.level, t.index) for t in tiles if t.width == 256}
    for row in kept:
        first = row["n"] * 256
        want = expected[row["level"]][first : first + 256]
        assert b"".join(want) == row["hashes"]
        assert naive_root(want) == row["root"] == subtree_root(want)


@pytest.mark.parametrize(
    "tile",
    [
        Tile(0, 257, 45),
        Tile(0, 258, 1),
        Tile(1, 1, 2),
        Tile(1, 2, 256),
        Tile(2, 0, 2),
        Tile(2, 0, 256),
        Tile(5, 0, 1),
        Tile(0, 10**15, 1),
        Tile(0, 2**63 - 1, 256),
        Tile(3, 10**17, 256),
    ],
)
async def test_a_tile_that_the_log_has_not_is_refused(large: Node, tile: Tile) -> None:
    """A tile past the end, wider than the log, or of a number no log can have, is no such tile."""
    with pytest.raises(KeyError):
        await large.reader.tile(tile)


async def test_bundles_hold_the_entries(large: Node) -> None:
    """Full and partial bundles hold the entries' own bytes; past the end there is none."""
    assert await large.reader.bundle(256, 256) == [b"leaf %d" % n for n in range(65_536, 65_792)]
    assert await large.reader.bundle(257, 44) == [b"leaf %d" % n for n in range(65_792, LARGE)]
    for index, width in ((257, 45), (258, 1), (2**63 - 1, 1)):
        with pytest.raises(KeyError):
            await large.reader.bundle(index, width)


async def test_tiles_lost_are_made_again(local: Node, local_dsn: str) -> None:
    """The cache may be dropped, wholly or in part: a worker fills exactly the gaps, and starts meanwhile."""
    await fill(local_dsn, 0, 256 * 6 + 5)
    await local.reader.head()
    await local.reader.fill_tiles()
    before = await ask(local_dsn, "select md5(string_agg(t::text, ',' order by level, n)) from tile t")
    await ask(local_dsn, "delete from tile where n in (1, 4)", "select 1")
    async with node(local_dsn, local.guard.path.parent) as two:
        await two.reader.fill_tiles()
        assert await ask(local_dsn, "select count(*) from tile") == 6
        assert before == await ask(
            local_dsn, "select md5(string_agg(t::text, ',' order by level, n)) from tile t"
        )


@pytest.mark.parametrize("entry", ["", "nonsense", "\0", "5ea93b68-98c7-4b15-85cf-0cdb2efda675", "\ud800"])
async def test_an_id_of_no_entry_is_said_so(local: Node, entry: str) -> None:
    """Whatever is asked for as an entry, it is there or it is not."""
    await local.append()
    with pytest.raises(KeyError):
        await local.reader.receipt(entry, "requester")
    with pytest.raises(KeyError):
        await local.reader.parties(entry)


async def test_each_index_is_one_entrys(local: Node) -> None:
    """From 0 to the end of the log; beyond it, and beyond what an index can be, there is none."""
    made = [await local.append() for _ in range(3)]
    assert [await local.reader.id_at(n) for n in range(3)] == [parse_entry(each.entry).id for each in made]
    for index in (3, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        with pytest.raises(KeyError):
            await local.reader.id_at(index)


Ask = Callable[[Node], Awaitable[object]]


@pytest.mark.parametrize(
    "ask_for",
    [lambda n: n.reader.head(), lambda n: n.reader.prove(0), lambda n: n.reader.consistency(0, 0)],
)
async def test_nothing_is_signed_that_the_guard_knows_otherwise(
    local: Node, local_dsn: str, ask_for: Ask
) -> None:
    """A head altered behind a running worker's back is not signed for any reader."""
    await local.grow(2)
    await ask(local_dsn, "update head set range = array[sha256('x')]", "select 1")
    with pytest.raises(IntegrityError, match="forked"):
        await ask_for(local)
