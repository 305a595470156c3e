"""Rows of the queues of humans, opened: referrals, overrides, and restrictions of overrides.

What was erased, or whose key has been destroyed, reads as empty: the row still says that there was something.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import asyncpg
import msgspec

from broker.core.canonical import Json
from broker.core.succession import Share
from broker.errors import KeyDestroyed
from broker.queues import Notice, StoredOverride, StoredReferral, StoredRestriction
from broker.store.pool import Database
from broker.store.seal import Seals
from broker.store.untold import Untold

# Under what each part is sealed.
REFERRAL, OVERRIDE = "referral", "override"
REFERRAL_DECISION, OVERRIDE_REVIEW = "referral-decision", "override-review"
OVERRIDE_RESTRICTION = "override-restriction"
MOST = 500  # rows that are listed
# Of a table: rows in one of the shares of `_of`.
_SHARED = """
provider = any($1::text[]) and exists (
    select from unnest($1::text[]) with ordinality s(provider, n)
    where s.provider = {table}.provider and not exists (
        select from unnest($2::bigint[], $3::text[]) other(n, district)
        where other.n = s.n and other.district = {table}.district
    )
)
"""
# In rounds of one of each requester, so that the many of one hide nobody's few.
_LISTED = f"""
select * from {{table}} where {_SHARED}
order by status <> 'open', row_number() over (partition by requester, status <> 'open' order by due_at), due_at
limit $4
"""  # noqa: S608 - ours
_OPEN = f"""
select district, count(*) as waiting from {{table}} where status = 'open' and {_SHARED} group by district
"""  # noqa: S608 - ours
_ASKED = "select count(*) from referral where requester = $1 and status = 'open'"
_RESTRICTIONS = """
select each.* from unnest($1::text[]) whose (provider)
cross join lateral (
    select * from override_restriction r where r.provider = whose.provider
    order by r.lifted_at is not null, r.made_at desc limit $2
) each
order by each.lifted_at is not null, each.made_at desc
"""


async def opened(seals: Seals, key: int | None, sealed: bytes | None, row: str, what: str) -> dict[str, Any]:
    """A sealed part of a row; empty where it, or its key, is gone."""
    text = await _text(seals, key, sealed, row, what)
    found: dict[str, Any] = msgspec.json.decode(text) if text else {}
    return found


def _of(shares: Sequence[Share]) -> tuple[list[str], list[int], list[str]]:
    """Arguments of `_SHARED`: whose, and by which of them not in which district."""
    others = [(n, district) for n, share in enumerate(shares, 1) for district in sorted(share.but)]
    return [share.of for share in shares], [n for n, _ in others], [district for _, district in others]


async def _text(seals: Seals, key: int | None, sealed: bytes | None, row: str, what: str) -> bytes:
    if key is None or sealed is None:
        return b""
    try:
        return (await seals.by_id(key)).open(bytes(sealed), row, what)
    except KeyDestroyed:
        return b""


class ReferralRows:
    """Implements `queues.ReferralStore`."""

    def __init__(self, database: Database, seals: Seals) -> None:
        self._database = database
        self._seals = seals

    async def of(self, shares: Sequence[Share]) -> list[StoredReferral]:
        """As `ReferralStore.of`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LISTED.format(table="referral"), *_of(shares), MOST)
        return [await self._read(row) for row in rows]

    async def by_id(self, referral: str) -> StoredReferral | None:
        """One of them."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow("select * from referral where id = $1", referral)
        return await self._read(row) if row is not None else None

    async def open(self, shares: Sequence[Share]) -> dict[str, int]:
        """As `ReferralStore.open`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_OPEN.format(table="referral"), *_of(shares))
        return {row["district"]: row["waiting"] for row in rows}

    async def asked(self, agency: str) -> int:
        """As `ReferralStore.asked`."""
        async with self._database.connection() as connection:
            waiting: int = await connection.fetchval(_ASKED, agency)
        return waiting

    async def _read(self, row: asyncpg.Record) -> StoredReferral:
        seals, name, key = self._seals, str(row["id"]), row["key"]
        asked = await opened(seals, key, row["asked"], name, REFERRAL)
        words = await _text(seals, key, row["words"], name, f"{REFERRAL}-words")
        decision = await opened(seals, row["decision_key"], row["decision"], name, REFERRAL_DECISION)
        return StoredReferral(
            name,
            row["provider"],
            row["requester"],
            row["system"],
            str(row["request"]),
            row["opened_at"],
            row["due_at"],
            row["status"],
            asked,
            words.decode(),
            row["decided_at"],
            row["until"],
            decision,
            row["district"],
        )


class OverrideRows:
    """Implements `queues.OverrideStore` and `queues.NoticeTable`."""

    def __init__(self, database: Database, seals: Seals) -> None:
        self._database = database
        self._seals = seals
        self._untold = Untold(database, "override_use", "used_at")

    async def of(self, shares: Sequence[Share]) -> list[StoredOverride]:
        """As `OverrideStore.of`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LISTED.format(table="override_use"), *_of(shares), MOST)
        return [await self._read(row) for row in rows]

    async def by_id(self, override: str) -> StoredOverride | None:
        """One of them."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow("select * from override_use where id = $1", override)
        return await self._read(row) if row is not None else None

    async def open(self, shares: Sequence[Share]) -> dict[str, int]:
        """As `OverrideStore.open`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_OPEN.format(table="override_use"), *_of(shares))
        return {row["district"]: row["waiting"] for row in rows}

    async def restrictions(self, providers: Collection[str]) -> list[StoredRestriction]:
        """As `OverrideStore.restrictions`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_RESTRICTIONS, sorted(providers), MOST)
        found = []
        for row in rows:
            detail: dict[str, Json] = await opened(
                self._seals, row["key"], row["detail"], str(row["id"]), OVERRIDE_RESTRICTION
            )
            ids = (str(row["id"]), str(row["override"]))
            who = (row["provider"], row["requester"], row["what"])
            when = (row["made_at"], row["until"], row["lifted_at"])
            found.append(StoredRestriction(*ids, *who, *when, detail, row["district"]))
        return found

    async def claim(self, most: int, again_after: float) -> list[Notice]:
        """Some of which nobody has told the owner's software, nobody else's for a while."""
        return [
            Notice(
                *(str(r["id"]), r["provider"], r["requester"], r["code"], r["used_at"], r["due_at"]),
                r["district"],
            )
            for r in await self._untold.claim(most, again_after)
        ]

    async def told(self, override: str) -> None:
        """It has been told."""
        await self._untold.told(override)

    async def _read(self, row: asyncpg.Record) -> StoredOverride:
        seals, name, key = self._seals, str(row["id"]), row["key"]
        used = await opened(seals, key, row["used"], name, OVERRIDE)
        words = await _text(seals, key, row["words"], name, f"{OVERRIDE}-words")
        review = await opened(seals, row["review_key"], row["review"], name, OVERRIDE_REVIEW)
        return StoredOverride(
            name,
            row["provider"],
            row["requester"],
            row["system"],
            str(row["request"]),
            row["code"],
            row["used_at"],
            row["due_at"],
            row["status"],
            used,
            words.decode(),
            row["reviewed_at"],
            review,
            row["district"],
            row["reviewed_by"] or "",
        )
