"""Whether the log itself says that a month of a class was ended: before its key is destroyed for good.

The table `destroyed` says what is left to do, and can be written by whoever has the database; the key lies
outside it, and what it opened lies in backups too. So the entry that a row names is opened, held against its
leaf, and must say the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from broker.core.canonical import Json
from broker.core.entry import Entry, parse_entry
from broker.errors import IntegrityError, KeyDestroyed
from broker.keeping import Unfinished
from broker.store.packed import unpack
from broker.store.pool import Database
from broker.store.seal import Seals

_EVENT = "retention"
_SAYS = """
select e.id, e.leaf, v.key, v.views, k.month, k.class
from entry e join view v using (log, idx) join view_key k on k.id = $2 where e.id = $1
"""


async def require_said(database: Database, seals: Seals, end: Unfinished) -> None:
    """Raises IntegrityError where no entry says that this month and class, under that key, were ended."""
    async with database.connection() as connection:
        row = await connection.fetchrow(_SAYS, end.id, end.view.key)
    if row is not None and (row["month"], row["class"]) == (end.view.month, end.view.name):
        try:
            key, entry = await seals.by_id(row["key"]), parse_entry(bytes(row["leaf"] or b""))
            opened = unpack(key.open(row["views"], str(row["id"]), "views"))
            good = isinstance(entry, Entry) and opened.full.commitment() == entry.full
            if good and _names(opened.view, end):
                return
        except (IntegrityError, KeyDestroyed, LookupError, TypeError):
            pass
    raise IntegrityError(
        f"the table `destroyed` says that {end.view.month}, {end.view.name} was ended by {end.id}, and no "
        "entry of the log does: nothing is destroyed by it. `broker audit fsck` with --keys names what was "
        "changed by hand"
    )


def _names(full: Mapping[str, Json], end: Unfinished) -> bool:
    detail = full.get("detail")
    if full.get("event") != _EVENT or not isinstance(detail, dict):
        return False
    return (detail.get("month"), detail.get("class")) == (end.view.month, end.view.name)
