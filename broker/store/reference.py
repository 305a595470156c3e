"""The snapshot of agencies, systems, agreements and record types, kept up by what has changed since.

Reads only rows newer than the count it holds; parses an agreement once.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from broker import law
from broker.core import agreement as agreements
from broker.core.agreement import Agreement
from broker.core.model import Function
from broker.core.reference import Agency, Reference, System
from broker.errors import AuditUnavailable
from broker.store.pool import Database

_NEWER = {
    "agency": "select detail from agency where policy_until is null and policy_from > $1",
    "system": "select detail from system where policy_until is null and policy_from > $1",
    "agreement": "select id, file from agreement where policy_until is null and policy_from > $1",
    "record_type": "select full_name, digest from record_type where policy_until is null and policy_from > $1",
}


class ReferenceReader:
    """Holds the newest snapshot; `at_least` brings it forward when a decision needs it newer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._law = law.load()
        self._lock = asyncio.Lock()
        self._agencies: dict[str, Agency] = {}
        self._systems: dict[str, System] = {}
        self._agreements: dict[str, Agreement] = {}
        self._types: dict[str, str] = {}
        self.current = Reference.build(-1, self._law, (), (), (), {})

    async def at_least(self, policy: int) -> Reference:
        """A snapshot with every change up to `policy`. Raises AuditUnavailable."""
        if self.current.policy < policy:
            async with self._lock:
                if self.current.policy < policy:
                    await self._load()
        if self.current.policy < policy:
            raise AuditUnavailable("the primary does not have what was already read from it")
        return self.current

    async def refresh(self) -> Reference:
        """The snapshot as of now: for callers whose question has no policy count yet."""
        async with self._database.connection() as connection:
            policy = await connection.fetchval("select reference_policy from head")
        return await self.at_least(policy)

    async def _load(self) -> None:
        since = self.current.policy
        async with (
            self._database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            policy = await connection.fetchval("select reference_policy from head")
            for row in await connection.fetch(_NEWER["agency"], since):
                agency = agency_from(row["detail"])
                self._agencies[agency.id] = agency
            for row in await connection.fetch(_NEWER["system"], since):
                system = system_from(row["detail"])
                self._systems[system.name] = system
            for row in await connection.fetch(_NEWER["agreement"], since):
                self._agreements[row["id"]] = agreements.parse(bytes(row["file"]), self._law)
            for row in await connection.fetch(_NEWER["record_type"], since):
                self._types[row["full_name"]] = row["digest"]
        self.current = Reference.build(
            policy,
            self._law,
            self._agencies.values(),
            self._systems.values(),
            self._agreements.values(),
            dict(self._types),
        )


def _when(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def agency_from(detail: dict[str, Any]) -> Agency:
    """An agency from its stored form."""
    times = {"valid_from": _when(detail["valid_from"]), "valid_until": _when(detail["valid_until"])}
    return Agency(**{**detail, **times})


def agency_detail(agency: Agency) -> dict[str, Any]:
    """The stored form of an agency."""
    detail = {name: getattr(agency, name) for name in Agency.__dataclass_fields__}
    for name in ("valid_from", "valid_until"):
        detail[name] = detail[name].isoformat() if detail[name] else None
    return detail


def system_from(detail: dict[str, Any]) -> System:
    """A system from its stored form."""
    return System(
        agency=detail["agency"],
        system=detail["system"],
        function=Function(detail["function"]),
        key_digests=frozenset(detail["key_digests"]),
        valid_from=datetime.fromisoformat(detail["valid_from"]),
        valid_until=_when(detail["valid_until"]),
        suspended=detail["suspended"],
    )


def system_detail(system: System) -> dict[str, Any]:
    """The stored form of a system."""
    return {
        "agency": system.agency,
        "system": system.system,
        "function": system.function.value,
        "key_digests": sorted(system.key_digests),
        "valid_from": system.valid_from.isoformat(),
        "valid_until": system.valid_until.isoformat() if system.valid_until else None,
        "suspended": system.suspended,
    }
