"""The snapshot of agencies, systems, agreements and record types, kept up by what has changed since.

Reads only rows newer than the count it holds; parses an agreement once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import asyncpg
from msgspec import Struct

from broker import law
from broker.catalogue import Approval, Catalogue
from broker.core import agreement as agreements
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
from broker.core.routing import Routing
from broker.core.routing import parse as parse_routing
from broker.core.signingkey import SigningKey
from broker.errors import AuditUnavailable
from broker.law import Law
from broker.store.pool import Database

T = TypeVar("T")
Rows = Sequence[asyncpg.Record]
Newer = Mapping[str, Rows]

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


class _Held(Struct, frozen=True):
    """What stands of each kind, as of one count of changes; approvals are all that there ever were, oldest
    first, and `pins` are by agreement (`id/version`) and record type."""

    agencies: dict[str, Agency] = {}
    systems: dict[str, System] = {}
    agreements: dict[str, Agreement] = {}
    pins: dict[tuple[str, str], dict[str, Pin]] = {}
    signing_keys: dict[str, SigningKey] = {}
    approvals: tuple[Approval, ...] = ()
    routings: dict[str, Routing] = {}
    acting: dict[str, Acting] = {}

    def with_newer(self, newer: Newer, law: Law) -> _Held:
        """With these rows."""
        agreed, pins = _agreed(newer["agreement"], law)
        routed = [parse_routing(bytes(row["file"]), law) for row in newer["routing"]]
        approved = [
            Approval(row["full_name"], row["digest"], row["approved_at"], bytes(row["descriptor"]))
            for row in newer["record_type"]
        ]
        return _Held(
            self.agencies | {each.id: each for each in _formed(agency_from, newer["agency"])},
            self.systems | {each.name: each for each in _formed(system_from, newer["system"])},
            self.agreements | agreed,
            self.pins | pins,
            self.signing_keys | {each.id: each for each in _formed(signing_key_from, newer["agency_key"])},
            (*self.approvals, *approved),
            self.routings | {each.file.id: each for each in routed},
            self.acting | {each.id: each for each in _formed(acting_from, newer["acting"])},
        )


def _formed(form: Callable[[Any], T], rows: Rows) -> list[T]:
    return [form(row["detail"]) for row in rows]


def _agreed(rows: Rows, law: Law) -> tuple[dict[str, Agreement], dict[tuple[str, str], dict[str, Pin]]]:
    """The agreements of these rows, and what each bound of every record type that it names."""
    agreed: dict[str, Agreement] = {}
    pins: dict[tuple[str, str], dict[str, Pin]] = {}
    for row in rows:
        agreement = agreed[row["id"]] = agreements.parse(bytes(row["file"]), law)
        for flow in row["pins"]:
            bound = pins.setdefault((agreement.label, flow["record_type"]), {})
            bound.update({path: Pin(path, tuple(numbers)) for path, numbers in flow["paths"].items()})
    return agreed, pins


class ReferenceReader:
    """Holds the newest snapshot; `at_least` brings it forward when a decision needs it newer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._law = law.load()
        self._lock = asyncio.Lock()
        self._held = _Held()
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
        return self._held.pins.get((agreement, record_type), {})

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
        held = self._held.with_newer(newer, self._law)
        catalogue = Catalogue.load(held.approvals, self.catalogue)
        self.current = Reference.build(
            policy,
            self._law,
            held.agencies.values(),
            held.systems.values(),
            held.agreements.values(),
            {each.full_name: each.digest for each in held.approvals},
            held.signing_keys.values(),
            labels=catalogue.labels,
            routings=held.routings.values(),
            acting=held.acting.values(),
            suspensions=_formed(suspension_from, newer["suspension"]),
            before=self.current,
        )
        self.catalogue, self._held = catalogue, held
        self.changed()
