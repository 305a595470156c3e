"""Whose humans decide what waits for a provider's: its own, or those of whoever has taken its place.

Owns what a row of their queues (`queues.py`) means today, as the directory has it: whose it is to decide, whom
to tell when it is late, whether anybody is left to fetch what is granted, and what the requester may learn.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec.structs import replace

from broker.core.canonical import Json
from broker.core.directory import agency_key
from broker.core.flow import FlowKey
from broker.core.granting import ruling_key
from broker.core.model import Request
from broker.core.reference import Reference
from broker.core.succession import holding, takers
from broker.errors import InvalidRequest
from broker.handed import request_from
from broker.queues import StoredOverride, StoredReferral

Row = StoredReferral | StoredOverride


def may_decide(row: Row, agency: str, reference: Reference, now: datetime) -> bool:
    """Whether its humans decide it: of several that may, the first to decide counts."""
    return agency in takers(reference.agencies, row.provider, row.district, now)


def in_place_of(row: Row, agency: str) -> str:
    """The agency that was asked, where this one decides in its place; else empty."""
    return row.provider if row.provider != agency else ""


def standing_key(row: Row, agency: str) -> frozenset[str | bytes]:
    """What a decision in another's place reads of the directory."""
    return frozenset({agency_key(row.provider)}) if row.provider != agency else frozenset()


def said_in_place(row: Row, agency: str) -> dict[str, str]:
    """The old agency, for an entry of a decision in its place."""
    old = in_place_of(row, agency)
    return {"in_place_of": old} if old else {}


def asked(row: StoredReferral, agency: str) -> Request:
    """What was asked, of the agency whose humans decide it. Raises KeyError where it has been erased."""
    detail: Any = row.asked["request"]
    return replace(request_from(detail, row.words), provider=agency)


def flow_key(request: Request) -> FlowKey:
    """What agreements are looked up by for a request."""
    return FlowKey(request.requester, request.provider, request.record_type, request.purpose)


def escalation(agency: str, asked: dict[str, Json], reference: Reference) -> str:
    """Who is to hear of what is overdue: the agency's Caldicott guardian, else its SIRO, as agreed."""
    label = str(asked.get("agreement") or "")
    agreement = reference.agreements.get(label.partition("/")[0])
    if agreement is not None:
        for party in agreement.parties:
            if party.agency == agency and (who := party.caldicott_guardian or party.siro):
                return who
    return f"the Caldicott guardian or SIRO of {agency}"


def silent(asked: dict[str, Json], reference: Reference) -> bool:
    """Whether the requester may not learn that a human looked at what is sealed here of its request: an
    agreement neither confirms nor denies. What cannot be told any more is not told."""
    if not asked:
        return True
    detail: Any = asked["request"]
    flows = reference.flows(flow_key(request_from(detail)))
    return any(flow.agreement.ncnd for flow in flows)


def hidden(row: StoredOverride, reference: Reference) -> bool:
    """Whether the requester may not learn of the review of an override: as agreements have it, or, once what
    was asked is erased, as it was when the review was made."""
    return silent(row.used, reference) if row.used else not row.told


def ended(row: StoredReferral, reference: Reference, now: datetime) -> str:
    """Who of those that asked has ended, so that nobody could fetch what is granted; empty where none has."""
    system = reference.systems.get(row.system)
    if system is not None and system.valid_until is not None and system.valid_until <= now:
        return row.system
    for name in (row.requester, row.system.partition("/")[0]):
        agency = reference.agencies.get(name)
        if agency is not None and agency.valid_until is not None and agency.valid_until <= now:
            return name
    return ""


def lock_of(row: Row) -> frozenset[str | bytes]:
    """What a human's decision of it reads and writes: two of them at the same moment must not both stand."""
    if isinstance(row, StoredOverride):
        return frozenset({f"override-use:{row.id}"})
    return frozenset({ruling_key(row.system, row.request)})


def check_fetchable(row: StoredReferral, agency: str, reference: Reference, now: datetime) -> None:
    """InvalidRequest where a grant would lie there for nobody: the asker has ended, or the request, repeated
    as it must be, would not come to this agency."""
    if who := ended(row, reference, now):
        raise InvalidRequest("referral_id", f"{who} has ended, so nobody could fetch it: refuse it")
    if row.provider == agency:
        return
    if row.asked.get("asked_of"):
        why = f"names {row.provider}, which has ended"
    elif holding(reference.agencies, row.provider, row.district, now).holder != agency:
        why = "does not say in which district, so that nobody is found for it"
    else:
        return
    raise InvalidRequest(
        "referral_id",
        f"the request {why}, so a grant could not be fetched: refuse it, and have {row.requester} ask {agency} "
        "anew",
    )
