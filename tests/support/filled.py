"""A log that is as long as a test wants it: entries of random commitments, which open to nothing.

They stand in the index as the broker's own do whose views are gone, so that nothing waits for them.
"""

from __future__ import annotations

import asyncpg

from broker.core.tiles import Tile
from broker.store.tiles import TileReader

_FILL = """
with ids as (
    select n, gen_random_uuid() as id, encode(sha256(n::text::bytea), 'hex') as h
    from head, generate_series(head.size, $1::bigint - 1) n
), made as (
    insert into entry (log, idx, id, leaf)
    select head.log, n, ids.id, convert_to(format(
        '{"at":"%s","full":"%s","id":"%s","provider":"%s","requester":"%s","v":1}',
        to_char(now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), h, ids.id, h, h), 'UTF8')
    from head, ids returning log, idx, leaf
), found as (
    insert into search (log, idx, at, terms, rare)
    select log, idx, date_trunc('second', now()), '{}', '{}' from made
)
update head
set size = $1::bigint, range = log_extend(size, range, (select array_agg(leaf order by idx) from made))
"""


async def fill(dsn: str, size: int) -> None:
    """Entries until the current log has so many."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        async with connection.transaction():
            await connection.execute("select from head for update")
            await connection.execute(_FILL, size, timeout=120)
    finally:
        await connection.close()


async def thin_out(dsn: str, log: str) -> None:
    """As a drop leaves a closed log, but of the second 256 entries alone, so that it may be short."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        number = await connection.fetchval(
            "select id from log where origin = $1 and closed_at is not null", log
        )
        assert await connection.fetchval("select entries from log where id = $1", number) > 512
        await TileReader(connection, number).read([Tile(0, 1)])
        await connection.execute("insert into dropped values ($1, 0, $2, 'vault 3', now())", number, "0" * 64)
        await connection.execute(
            "update entry set leaf = null where log = $1 and idx >= 256 and idx < 512", number
        )
    finally:
        await connection.close()
