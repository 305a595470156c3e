"""What a large database costs: no statement of a request reads a whole table, however the plans were made."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import asyncpg

from broker.core.model import SubjectRef
from broker.ports import Asked, Reads
from tests.support.evidence import a_claim, a_draft, node

_GROW = """
insert into directive (id, subject, recorder, detail, recorded_at, policy_from)
    select gen_random_uuid(), substr(sha256(n::text::bytea), 1, 16), 'ncic', '{}', now(), 0
    from generate_series(1, 100000) n;
insert into policy_change (key, policy)
    select substr(sha256(n::text::bytea), 1, 16), n from generate_series(1, 100000) n;
insert into claim (system, request, content, entry, settled)
    select 'cfrs/mdt', gen_random_uuid(), 'x', gen_random_uuid(), true from generate_series(1, 50000);
insert into entry (log, idx, id, leaf)
    select log.id, n + 1000000, gen_random_uuid(), 'x' from log, generate_series(1, 50000) n;
update head set policy = 100000;
analyze;
"""
_SCANS = """
select relname, seq_tup_read from pg_stat_user_tables
where relname in ('directive', 'policy_change', 'claim', 'entry', 'view')
"""


async def test_no_request_reads_a_whole_table(local_dsn: str, tmp_path: Path) -> None:
    """Plans made while the tables were small still go by index when they hold 100,000 rows."""
    async with node(local_dsn, tmp_path / "state", size=1) as one:

        async def use() -> None:
            reads = Reads(0, frozenset({f"subject:nhs-number|{uuid.uuid4()}", "agreement:x"}))
            drafts = [a_draft(reads=reads, claim=a_claim()) for _ in range(8)]
            await asyncio.gather(*(one.append(d) for d in drafts))
            subjects = tuple(SubjectRef("nhs-number", str(uuid.uuid4())) for _ in range(4))
            await one.facts.read(Asked(subjects, "cfrs/mdt", (str(uuid.uuid4()),)))
            await one.reader.receipt(drafts[0].id, "requester")

        async def scans() -> dict[str, int]:
            async with one.database.connection() as connection:
                await connection.execute("select pg_stat_force_next_flush()")
                await connection.execute("select pg_stat_clear_snapshot()")
                return {r["relname"]: r["seq_tup_read"] for r in await connection.fetch(_SCANS)}

        for _ in range(12):
            await use()
        connection = await asyncpg.connect(local_dsn)
        try:
            await connection.execute("update head set policy = 1")
            for _ in range(12):  # with keys to check, too
                await use()
            await connection.execute(_GROW)
        finally:
            await connection.close()
        before = await scans()
        for _ in range(8):
            await use()
        assert await scans() == before
