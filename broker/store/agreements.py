"""Agreements as their files, every version."""

from __future__ import annotations

from broker.ports import StoredAgreement
from broker.store.pool import Database


class AgreementReader:
    """Implements `ports.AgreementStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stored(self, *, all_versions: bool) -> list[StoredAgreement]:
        """By id, newest version first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "select file, digest, policy_until is not null as superseded from agreement"
                " where $1 or policy_until is null order by id, version desc",
                all_versions,
            )
        return [StoredAgreement(bytes(r["file"]), r["digest"], r["superseded"]) for r in rows]
