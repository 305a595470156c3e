"""The fire service's risk system: a PostgreSQL database of its own, read in one statement per question.

Owns the connections, bounded in number and in time. It refuses to write: every session is read-only. What
PostgreSQL says of an error may quote a row, so only its SQLSTATE goes further.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources

import asyncpg

from adapters.fire import mapping
from adapters.fire.mapping import Premises
from adapters.sdk import Answer, Found, NotFound, ProviderTimeout, ProviderUnavailable, Question, SubjectRef

SCHEME = "uprn"
# The server gives up by itself too, should the adapter be gone.
_STATEMENT_LIMIT = 30.0
_CONNECT_WITHIN = 5.0

# One statement, so one snapshot and one round trip. Rows come as JSON to keep their columns' names.
_HELD = """
SELECT statement_timestamp() AS read_at,
       p.uprn, p.address_lines, p.postcode, p.crew_notes,
       (SELECT coalesce(json_agg(f), '[]') FROM risk.fact f
         WHERE f.uprn = p.uprn AND f.superseded_at IS NULL) AS facts,
       (SELECT coalesce(json_agg(h ORDER BY h.code, h.id), '[]') FROM risk.hazard h
         WHERE h.uprn = p.uprn AND h.removed_at IS NULL) AS hazards,
       (SELECT row_to_json(o) FROM risk.occupier o
         WHERE o.uprn = p.uprn AND o.until IS NULL) AS occupier
  FROM risk.premises p
 WHERE p.uprn = $1 AND p.removed_on IS NULL
"""


class RiskSystem:
    """Answers for `records.fire.v1.PremisesRisk`."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def answer(self, question: Question) -> Answer:
        """The premises asked for. Raises ProviderUnavailable or ProviderTimeout in the question's time."""
        if question.subject is None:
            raise ProviderUnavailable("premises are found by UPRN only")
        subject = SubjectRef(SCHEME, mapping.uprn(question.subject.value))
        held = await self._held(subject.value, question.remaining())
        if held is None:
            return NotFound((subject,))
        return Found(mapping.premises_risk(held, question.wants), (subject,), held.read_at)

    async def _held(self, uprn: str, within: float) -> Premises | None:
        try:
            async with asyncio.timeout(within), self._pool.acquire(timeout=within) as connection:
                row = await connection.fetchrow(_HELD, uprn, timeout=within)
        except (TimeoutError, asyncpg.QueryCanceledError) as e:
            raise ProviderTimeout("the risk system did not answer in time") from e
        except asyncpg.PostgresError as e:
            raise ProviderUnavailable(f"the risk system answers with SQLSTATE {e.sqlstate}") from e
        except (OSError, asyncpg.InterfaceError) as e:
            raise ProviderUnavailable("the risk system cannot be reached") from e
        if row is None:
            return None
        facts = {fact["kind"]: fact for fact in json.loads(row["facts"])}
        occupier = None if row["occupier"] is None else json.loads(row["occupier"])
        return Premises(row["read_at"], dict(row), facts, tuple(json.loads(row["hazards"])), occupier)


@asynccontextmanager
async def risk_system(database_url: str, connections: int = 8) -> AsyncIterator[RiskSystem]:
    """A risk system read over at most `connections` connections, made when first needed."""
    pool = await asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=connections,
        timeout=_CONNECT_WITHIN,
        max_inactive_connection_lifetime=300,
        server_settings={
            "application_name": "fire-adapter",
            "default_transaction_read_only": "on",
            "statement_timeout": str(int(_STATEMENT_LIMIT * 1000)),
        },
    )
    try:
        yield RiskSystem(pool)
    finally:
        pool.terminate()


async def load_demo(database_url: str) -> None:
    """Make the schema where it is missing and put the synthetic premises in, in one transaction.

    Raises ProviderUnavailable when the database cannot be reached or refuses.
    """
    folder = resources.files("adapters.fire")
    try:
        connection = await asyncpg.connect(database_url, timeout=_CONNECT_WITHIN)
        try:
            async with connection.transaction():
                for name in ("schema.sql", "demo.sql"):
                    await connection.execute(folder.joinpath(name).read_text("utf-8"), timeout=30)
        finally:
            await connection.close(timeout=_CONNECT_WITHIN)
    except asyncpg.PostgresError as e:
        raise ProviderUnavailable(f"the risk system answers with SQLSTATE {e.sqlstate}") from e
    except (OSError, TimeoutError, asyncpg.InterfaceError) as e:
        raise ProviderUnavailable("the risk system cannot be reached") from e
