"""Plans of erasures, and what speaks against one, read: implements `erasureplans.ErasurePlanStore`.

What is done to rows is done by migrations 0012 and 0015.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import asyncpg

from broker.core.model import SubjectRef
from broker.core.signingkey import Proposal
from broker.erasureplans import Disputed, ErasurePlan
from broker.store.blind import Blind
from broker.store.pool import Database

_PLANNED = "select * from erasure_plan where agency = any ($1) and ($2::uuid is null or id = $2) order by at"
_DISPUTED = """
with asked as materialized (
    select a.id, a.agency, a.subjects, b.log, b.idx from access_request a join entry b using (id)
    where a.issued_at is null and a.subjects && $6::bytea[]
)
select case u.status when 'open' then 'review' else 'finding' end as kind, u.id, u.provider, u.requester, 1 as n
from override_use u
where u.id = any ($1::uuid[]) and (u.status = 'open' or u.status <> 'justified' and u.requester = any ($3))
union all
select 'restriction', r.override, r.provider, r.requester, 1 from override_restriction r
where r.override = any ($1::uuid[]) and r.lifted_at is null and (r.until is null or r.until > $4)
union all
select 'breach', b.id, b.provider, b.requester, 1 from breach b where b.id = any ($1::uuid[])
union all
select 'complaint', null, c.agency, '', count(*) from complaint c
where c.agency = any ($3) and c.closed_at is null and (c.subject is null or c.subject = any ($2::bytea[]))
group by c.agency
union all
select 'access', null, a.agency, '', count(distinct a.id)
from unnest($5::uuid[], $6::bytea[]) p(entry, subject)
join entry e on e.id = p.entry
join asked a on p.subject = any (a.subjects) and (e.log, e.idx) < (a.log, a.idx)
group by a.agency
"""


class ErasurePlanRows:
    """Reads them."""

    def __init__(self, database: Database, blind: Blind) -> None:
        self._database = database
        self._blind = blind

    def subject(self, subject: SubjectRef) -> bytes:
        """As `ErasurePlanStore.subject`."""
        return self._blind.subject(subject)

    async def planned(self, agencies: Collection[str], plan: str = "") -> list[ErasurePlan]:
        """As `ErasurePlanStore.planned`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_PLANNED, sorted(agencies), plan or None)
        return [_plan(row) for row in rows]

    async def disputed(
        self,
        entries: Mapping[str, Collection[SubjectRef]],
        subjects: Collection[SubjectRef],
        agencies: Collection[str],
        now: datetime,
    ) -> list[Disputed]:
        """As `ErasurePlanStore.disputed`."""
        about = [self._blind.subject(each) for each in subjects]
        known = [(entry, self._blind.subject(each)) for entry, every in entries.items() for each in every]
        pairs = [entry for entry, _ in known], [subject for _, subject in known]
        async with self._database.connection() as connection:
            rows = await connection.fetch(_DISPUTED, list(entries), about, sorted(agencies), now, *pairs)
        return [Disputed(r["kind"], str(r["id"] or ""), r["provider"], r["requester"], r["n"]) for r in rows]


def _plan(row: asyncpg.Record) -> ErasurePlan:
    return ErasurePlan(
        str(row["id"]),
        row["agency"],
        Proposal(row["system"], row["actor"], row["key_digest"], row["at"]),
        row["ground"],
        row["subject"] or b"",
        tuple(map(str, row["asked"])),
        row["words_only"],
        tuple(map(str, row["entries"])),
        tuple(map(str, row["directives"])),
    )
