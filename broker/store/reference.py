"""The snapshot of agencies, systems, agreements and record types, kept up by what has changed since.

Reads only rows newer than the count it holds; parses an agreement once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker import law
from broker.catalogue import Approval, Catalogue
from broker.core import agreement as agreements
from broker.core import routing
from broker.core.acting import Acting
from broker.core.agreement import Agreement
from broker.core.directory import Agency, System
from broker.core.forms import (
    acting_from,
    agency_from,
    signing_key_from,
    suspension_from,
    system_from,
)
from broker.core.recordtype import Pin
from broker.core.reference import Reference
from broker.core.signingkey import SigningKey
from broker.errors import AuditUnavailable
from broker.store.pool import Database

_NEWER = {
    "agency": "select detail from agency where policy_until is null and policy_from > $1",
    "system": "select detail from system where policy_until is null and policy_from > $1",
    "routing": "select file from routing where policy_until is null and policy_from > $1",
    "acting": "select detail from acting where policy_until is null and policy_from > $1 order by policy_from",
    "agreement": "select id, file, pins from agreement where policy_until is null and policy_from > $1",
    "agency_key": "select detail from agency_key where policy_until is null and policy_from > $1"
    " order by policy_from",
    # All that stand: one that was lifted leaves no newer row.
    "suspension": "select detail from agreement_suspension"
    " where policy_until is null and $1::bigint is not null order by policy_from",
    # Superseded versions too: what was released under one is still redacted and explained by it.
    "record_type": "select * from record_type where policy_from > $1 order by policy_from",
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
        self._pins: dict[tuple[str, str], dict[str, Pin]] = {}
        self._signing_keys: dict[str, SigningKey] = {}
        self._approvals: list[Approval] = []
        self._routings: dict[str, routing.Routing] = {}
        self._acting: dict[str, Acting] = {}
        # Called whenever `current` has been replaced: who may no longer speak must be stopped, silent or not.
        self.changed: Callable[[], None] = lambda: None
        self.catalogue = Catalogue.load(())
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

    def pins(self, agreement: str, record_type: str) -> dict[str, Pin]:
        """What an agreement (`id/version`) bound of a record type, over all its flows, by path."""
        return self._pins.get((agreement, record_type), {})

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
            newer = {kind: await connection.fetch(sql, since) for kind, sql in _NEWER.items()}
        # Whole or not at all: what fails half-way is read again from the same count.
        agencies = dict(self._agencies)
        for row in newer["agency"]:
            agency = agency_from(row["detail"])
            agencies[agency.id] = agency
        systems = dict(self._systems)
        for row in newer["system"]:
            system = system_from(row["detail"])
            systems[system.name] = system
        agreed = dict(self._agreements)
        pins: dict[tuple[str, str], dict[str, Pin]] = {}
        for row in newer["agreement"]:
            agreement = agreed[row["id"]] = agreements.parse(bytes(row["file"]), self._law)
            for flow in row["pins"]:
                bound = pins.setdefault((agreement.label, flow["record_type"]), {})
                bound.update({path: Pin(path, tuple(numbers)) for path, numbers in flow["paths"].items()})
        signing_keys = dict(self._signing_keys)
        for row in newer["agency_key"]:
            key = signing_key_from(row["detail"])
            signing_keys[key.id] = key
        routings = dict(self._routings)
        for row in newer["routing"]:
            routed = routing.parse(bytes(row["file"]), self._law)
            routings[routed.file.id] = routed
        acting = dict(self._acting)
        for row in newer["acting"]:
            relation = acting_from(row["detail"])
            acting[relation.id] = relation
        approvals = self._approvals + [
            Approval(row["full_name"], row["digest"], row["approved_at"], bytes(row["descriptor"]))
            for row in newer["record_type"]
        ]
        catalogue = Catalogue.load(approvals, self.catalogue)
        self.current = Reference.build(
            policy,
            self._law,
            agencies.values(),
            systems.values(),
            agreed.values(),
            {a.full_name: a.digest for a in approvals},
            signing_keys.values(),
            labels=catalogue.labels,
            routings=routings.values(),
            acting=acting.values(),
            suspensions=[suspension_from(row["detail"]) for row in newer["suspension"]],
            before=self.current,
        )
        self.catalogue = catalogue
        self._agencies, self._systems, self._agreements = agencies, systems, agreed
        self._signing_keys, self._approvals = signing_keys, approvals
        self._routings, self._acting = routings, acting
        self._pins.update(pins)
        self.changed()
