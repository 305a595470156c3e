"""Rows of cases, opened: requests for access, suspected breaches, complaints."""

from __future__ import annotations

from datetime import date, datetime

import asyncpg

from broker.cases import StoredAccess, StoredBreach, StoredClearing, StoredComplaint
from broker.figures import StoredFigures
from broker.store.pool import Database
from broker.store.queued import opened
from broker.store.seal import Seals

# Under what each is sealed: the kind of the change that made it.
ACCESS, COMPLAINT = "access-start", "complaint"
_ACCESS = """
select a.*, e.idx, l.origin from access_request a join entry e using (id) join log l on l.id = e.log where
"""
# In rounds of one of each controller, so that the many of one hide nobody's few.
_OPEN = f"""
{_ACCESS} a.issued_at is null
order by row_number() over (partition by a.agency order by a.due_at), a.due_at limit $1
"""
_BREACHES = "select * from breach where $1 in ('', provider, requester) order by aware_at desc limit $2"
_COMPLAINTS = """
select * from complaint
where $1 in ('', agency) and ($2::timestamptz is null or received_at >= $2)
  and ($3::timestamptz is null or received_at < $3)
order by received_at desc limit $4
"""


class AccessRows:
    """Implements `cases.AccessStore`."""

    def __init__(self, database: Database, seals: Seals) -> None:
        self._database = database
        self._seals = seals

    async def open(self, most: int) -> list[StoredAccess]:
        """As `AccessStore.open`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_OPEN, most)
        return [await self._read(row) for row in rows]

    async def waiting(self, agency: str) -> int:
        """As `AccessStore.waiting`."""
        async with self._database.connection() as connection:
            found = await connection.fetchval(
                "select count(*) from access_request where agency = $1 and issued_at is null", agency
            )
        return int(found)

    async def by_id(self, access: str) -> StoredAccess | None:
        """One of them."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"{_ACCESS} a.id = $1", access)
        return await self._read(row) if row is not None else None

    async def cleared(self, access: str, agency: str) -> list[StoredClearing]:
        """What one controller has decided."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "select * from access_clearing where access = $1 and agency = $2", access, agency
            )
        return [_clearing(row) for row in rows]

    async def rulings(self, access: str) -> list[StoredClearing]:
        """What every controller has decided."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("select * from access_clearing where access = $1", access)
        return [_clearing(row) for row in rows]

    async def told(self, access: str) -> list[str]:
        """The entries that the answer held when it was first given."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "select distinct entry from access_clearing where access = $1 and told", access
            )
        return [str(row["entry"]) for row in rows]

    async def _read(self, row: asyncpg.Record) -> StoredAccess:
        asked = await opened(self._seals, row["key"], row["asked"], str(row["id"]), ACCESS)
        when = (row["started_at"], row["due_at"])
        place = (row["origin"], row["idx"])
        return StoredAccess(str(row["id"]), row["agency"], *when, *place, asked, row["issued_at"])


def _clearing(row: asyncpg.Record) -> StoredClearing:
    return StoredClearing(str(row["entry"]), row["agency"], row["code"], row["cleared_at"], row["cleared_by"])


class BreachRows:
    """Implements `cases.BreachStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, agency: str, most: int) -> list[StoredBreach]:
        """Those in which this agency is the owner or asked, newest first."""
        async with self._database.connection() as connection:
            return [_breach(row) for row in await connection.fetch(_BREACHES, agency, most)]

    async def by_id(self, breach: str) -> StoredBreach | None:
        """One of them."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow("select * from breach where id = $1", breach)
        return _breach(row) if row is not None else None


def _breach(row: asyncpg.Record) -> StoredBreach:
    who = (row["provider"], row["requester"], row["system"])
    return StoredBreach(str(row["id"]), *who, row["used_at"], row["aware_at"], row["due_at"])


class FiguresRows:
    """Implements `figures.FiguresStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def month(self, month: date) -> StoredFigures | None:
        """One of them, by its first day."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow("select * from published_month where month = $1", month)
        return None if row is None else StoredFigures(month, str(row["id"]), row["at"], row["page"])


class ComplaintRows:
    """Implements `cases.ComplaintStore`."""

    def __init__(self, database: Database, seals: Seals) -> None:
        self._database = database
        self._seals = seals

    async def of(
        self, agency: str, since: datetime | None, until: datetime | None, most: int
    ) -> list[StoredComplaint]:
        """Those received in that time, newest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_COMPLAINTS, agency, since, until, most)
        return [await self._read(row) for row in rows]

    async def waiting(self, agency: str) -> int:
        """As `ComplaintStore.waiting`."""
        async with self._database.connection() as connection:
            found = await connection.fetchval(
                "select count(*) from complaint where agency = $1 and closed_at is null", agency
            )
        return int(found)

    async def by_id(self, complaint: str) -> StoredComplaint | None:
        """One of them."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow("select * from complaint where id = $1", complaint)
        return await self._read(row) if row is not None else None

    async def _read(self, row: asyncpg.Record) -> StoredComplaint:
        detail = await opened(self._seals, row["key"], row["detail"], str(row["id"]), COMPLAINT)
        times = (row["received_at"], row["due_at"])
        ends = (row["acknowledged_at"], row["closed_at"], row["outcome"])
        return StoredComplaint(str(row["id"]), row["agency"], *times, detail, *ends)
