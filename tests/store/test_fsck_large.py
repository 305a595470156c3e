"""`fsck` of a database past the third level of tiles: what was changed with its tile, and the memory."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from broker.core.keys import Verifier
from broker.core.tiles import Tile
from broker.offline.problems import Problem
from broker.store.fsck.check import fsck_database
from broker.store.fsck.notes import Kept
from broker.store.pool import migrate
from tests.store.test_fsck import FLIP, TILE_AGAIN
from tests.support.evidence import node
from tests.support.postgres import Server, ask

pytestmark = pytest.mark.long
SIZE = 65_536 + 300
# Entries as a broker's, made by the server: commitments of anything, a random id.
_FILL = """
with made as (
    insert into entry (log, idx, id, leaf)
    select log.id, n, made_id, convert_to(format(
        '{"at":"2026-11-21T09:00:00Z","full":"%s","id":"%s","provider":"%s","requester":"%s","v":1}',
        encode(sha256(convert_to('f' || n, 'UTF8')), 'hex'), made_id,
        encode(sha256(convert_to('p' || n, 'UTF8')), 'hex'),
        encode(sha256(convert_to('r' || n, 'UTF8')), 'hex')), 'UTF8')
    from log, (select n, gen_random_uuid() as made_id from generate_series(0, $1::bigint - 1) n) rows
    returning idx, leaf
)
update head set size = $1, range = log_extend(0, '{}', (select array_agg(leaf order by idx) from made))
"""


@pytest.fixture(scope="module")
async def large(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Verifier, Kept]:
    """A log of 65,836 entries with all its full tiles: its database, its key, its checkpoint."""
    dsn = await postgres.create()
    await migrate(dsn)
    async with node(dsn, tmp_path_factory.mktemp("large") / "state") as one:
        connection = await asyncpg.connect(dsn)
        await connection.execute(_FILL, SIZE, timeout=90)
        await connection.close()
        await one.reader.fill_tiles()
        await one.reader.tile(Tile(1, 0))
        note = (await one.reader.head())[1]
        return urlsplit(dsn).path[1:], one.verifier, Kept((("checkpoint", note),))


@pytest.fixture
async def copy(postgres: Server, large: tuple[str, Verifier, Kept]) -> AsyncIterator[str]:
    """A copy of it to be tampered with."""
    async with postgres.fresh(large[0]) as dsn:
        yield dsn


async def first(large: tuple[str, Verifier, Kept], dsn: str) -> Problem:
    """What comes first of what is wrong."""
    report = await fsck_database(dsn, [large[1]], None, large[2])
    assert report.first is not None
    return report.first


async def test_a_large_log_is_read_in_bounded_memory(large: tuple[str, Verifier, Kept], copy: str) -> None:
    """Every tile of every level is compared, a few thousand rows at a time."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = await fsck_database(copy, [large[1]], None, large[2])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert report.good, [str(each) for each in report.problems]
    assert (report.entries, report.tiles, report.erased) == (SIZE, 257 + 1, SIZE)
    assert grown < 60 * 1024  # KiB; the entries alone are 20 MB, with what Python makes of them five times that


async def test_an_entry_changed_with_its_tile_is_named_among_256_by_the_tile_above(
    large: tuple[str, Verifier, Kept], copy: str
) -> None:
    """The tile above still has the hash of the right ones."""
    await ask(copy, FLIP, TILE_AGAIN, "select 1")
    found = await first(large, copy)
    assert (found.kind, found.index, found.path) == ("entry", 256, "tile/1/000")
    assert "it or another up to 511 was changed" in found.text


@pytest.mark.parametrize(
    ("level", "n", "place", "index"),
    [(0, 200, 7, 51_207), (1, 0, 200, 51_200)],
    ids=["leaf-tile", "tile-above"],
)
async def test_a_tile_of_any_level_is_named(
    large: tuple[str, Verifier, Kept], copy: str, level: int, n: int, place: int, index: int
) -> None:
    """By its path, and the first entry below the hash that is wrong."""
    at = 32 * place + 3
    change = f"set hashes = set_byte(hashes, {at}, get_byte(hashes, {at}) # 1)"
    await ask(copy, f"update tile {change} where level = {level} and n = {n}", "select 1")
    found = await first(large, copy)
    assert (found.kind, found.index) == ("tile", index)
    assert found.path == Tile(level, n).path


@pytest.mark.parametrize("index", [0, 4095, 4096, 65_535, 65_536, SIZE - 1])
async def test_an_entry_is_named_wherever_it_stands(
    large: tuple[str, Verifier, Kept], copy: str, index: int
) -> None:
    """At the edges of what is read together, of tiles, and at the end."""
    await ask(copy, f"delete from entry where idx = {index}", "select 1")
    found = await first(large, copy)
    assert (found.kind, found.index) == ("entry", index)
