"""Where the bytes of an entry are that was dropped after an export, in a sentence for whoever asks."""

from __future__ import annotations

import asyncpg

from broker.core.rotation import split_origin
from broker.core.tiles import PARTITION
from broker.errors import IntegrityError, KeptElsewhere

_PLACE = """
select l.origin, d.place from log l left join dropped d on d.log = l.id and d.first = $2 where l.id = $1
"""


async def kept_elsewhere(
    connection: asyncpg.Connection, log: int, index: int
) -> KeptElsewhere | IntegrityError:
    """Of the entry at this place, whose bytes are not here: where they are, or that nobody says so."""
    row = await connection.fetchrow(_PLACE, log, index - index % PARTITION)
    if row is None or row["place"] is None:
        return IntegrityError(
            f"entry {index} has no bytes, and nothing says that it was dropped after an export"
        )
    return KeptElsewhere(f"{split_origin(row['origin'])[1]}:{index}", row["origin"], row["place"])
