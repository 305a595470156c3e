"""Rows of the queues of humans, opened: referrals, overrides, and restrictions of overrides.

What was erased, or whose key has been destroyed, reads as empty: the row still says that there was something.
"""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec

from broker.core.canonical import Json
from broker.errors import KeyDestroyed
from broker.queues import Notice, StoredOverride, StoredReferral, StoredRestriction
from broker.store.pool import Database
from broker.store.seal import Seals

# Under what each part is sealed.
REFERRAL, OVERRIDE = "referral", "override"
REFERRAL_DECISION, OVERRIDE_REVIEW = "referral-decision", "override-review"
OVERRIDE_RESTRICTION = "override-restriction"
MOST = 500  # rows that are listed
MAX_NOTICES = 12  # tries to tell the owner's software of one override
_FORGET = "72 hours"
# In rounds of one of each requester, so that the many of one hide nobody's few.
_LISTED = """
select * from {table} where provider = $1
order by status <> 'open', row_number() over (partition by requester, status <> 'open' order by due_at), due_at
limit $2
"""
_RESTRICTIONS = """
select * from override_restriction where provider = $1 order by lifted_at is not null, made_at desc limit $2
"""
_CLAIM = f"""
update override_use u
set notices = u.notices + 1,
    notice_at = clock_timestamp() + $2::float8 * least(power(2, u.notices), 512) * interval '1 s'
from (
    select id from override_use
    where noticed_at is null and notice_at <= clock_timestamp() and notices < {MAX_NOTICES}
      and used_at > clock_timestamp() - interval '{_FORGET}'
    order by notice_at limit $1 for update skip locked
) due
where u.id = due.id
returning u.*
"""  # noqa: S608 - ours


async def opened(seals: Seals, key: int | None, sealed: bytes | None, row: str, what: str) -> dict[str, Any]:
    """A sealed part of a row; empty where it, or its key, is gone."""
    text = await _text(seals, key, sealed, row, what)
    found: dict[str, Any] = msgspec.json.decode(text) if text else {}
    return found


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

    async def of(self, provider: str) -> list[StoredReferral]:
        """As `ReferralStore.of`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LISTED.format(table="referral"), provider, MOST)
        return [await self._read(row) for row in rows]

    async def by_id(self, referral: str) -> StoredReferral | None:
        """One of them."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow("select * from referral where id = $1", referral)
        return await self._read(row) if row is not None else None

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
        )


class OverrideRows:
    """Implements `queues.OverrideStore` and `queues.NoticeTable`."""

    def __init__(self, database: Database, seals: Seals) -> None:
        self._database = database
        self._seals = seals

    async def of(self, provider: str) -> list[StoredOverride]:
        """As `OverrideStore.of`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LISTED.format(table="override_use"), provider, MOST)
        return [await self._read(row) for row in rows]

    async def by_id(self, override: str) -> StoredOverride | None:
        """One of them."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow("select * from override_use where id = $1", override)
        return await self._read(row) if row is not None else None

    async def restrictions(self, provider: str) -> list[StoredRestriction]:
        """As `OverrideStore.restrictions`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_RESTRICTIONS, provider, MOST)
        found = []
        for row in rows:
            detail: dict[str, Json] = await opened(
                self._seals, row["key"], row["detail"], str(row["id"]), OVERRIDE_RESTRICTION
            )
            ids = (str(row["id"]), str(row["override"]))
            who = (row["provider"], row["requester"], row["what"])
            when = (row["made_at"], row["until"], row["lifted_at"])
            found.append(StoredRestriction(*ids, *who, *when, detail))
        return found

    async def claim(self, most: int, again_after: float) -> list[Notice]:
        """Some of which nobody has told the owner's software, nobody else's for a while."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_CLAIM, most, again_after)
        return [
            Notice(str(r["id"]), r["provider"], r["requester"], r["code"], r["used_at"], r["due_at"])
            for r in rows
        ]

    async def told(self, override: str) -> None:
        """It has been told."""
        async with self._database.connection() as connection:
            await connection.execute(
                "update override_use set noticed_at = clock_timestamp() where id = $1", override
            )

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
        )
