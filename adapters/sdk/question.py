"""What an adapter is asked: the wire's `Ask`, read once into types that refuse.

Owns reading and refusing a malformed ask. Values that name somebody stay out of every `repr`, so a question
can be logged or stand in a traceback without giving anyone away.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field

from broker.core.model import Signed
from broker.errors import InvalidRequest
from broker.v1 import adapter_pb2, exchange_pb2

# Kept back from the time that is left, so that the answer is at the broker before it stops waiting.
_MARGIN_SHARE = 0.1
_MARGIN_CAP = 0.1
_LONGEST = 30.0


@dataclass(frozen=True, slots=True, order=True)
class SubjectRef:
    """An identifier of a person or premises, in its scheme's canonical form."""

    scheme: str
    value: str = field(repr=False)

    def wire(self) -> exchange_pb2.SubjectRef:
        """The message that goes into an answer."""
        return exchange_pb2.SubjectRef(scheme=self.scheme, value=self.value)


@dataclass(frozen=True, slots=True, repr=False)
class Traits:
    """What is known of somebody without a number; empty text or 0 where it is not."""

    family_name: str
    given_name: str
    birth_date: str
    approximate_age: int
    sex: str
    address_line: str
    postcode: str
    phone: str


@dataclass(frozen=True, slots=True)
class Asker:
    """The person at the keyboard, as the asking system names them."""

    id: str = field(repr=False)
    role: str
    name: str = field(repr=False, default="")
    on_behalf_of: str = ""
    callsign: str = ""
    device: str = ""
    employer: str = ""
    assurance: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Place:
    """Where the incident is. Coordinates are WGS 84 degrees, both or neither."""

    uprn: str
    latitude: float | None
    longitude: float | None
    district: str


@dataclass(frozen=True, slots=True)
class Question:
    """One request that the broker has checked and permitted. Exactly one of `subject` and `traits` is set."""

    record_type: str
    digest: str
    subject: SubjectRef | None
    traits: Traits | None
    purpose: str
    requester: str
    requester_system: str
    actor: Asker
    agreement: str
    agreement_version: int
    permitted_paths: tuple[str, ...]
    # Seconds of `time.monotonic`; an answer after it is not sent.
    deadline: float
    traceparent: str = ""
    incident: str = ""
    # Whose record it is: our own agency, or one that we act for. Empty: our own.
    provider: str = ""
    # The agency whose system asks, where it acts for the requester.
    processor: str = ""
    place: Place | None = None
    effect_key: str = ""
    reason_code: str = ""
    # The code of an override that was used, and our own agency's word that let this through.
    override: str = ""
    grant: Signed | None = field(repr=False, default=None)

    def remaining(self) -> float:
        """Seconds left, never below 0. Give it to every wait."""
        return max(0.0, self.deadline - time.monotonic())

    def wants(self, part: str) -> bool:
        """Whether the field `part`, or any leaf under it, will be released: all else may be left out."""
        return any(path == part or path.startswith(f"{part}.") for path in self.permitted_paths)


def read(ask: adapter_pb2.Ask, schemes: Collection[str], matches_queries: bool, arrived: float) -> Question:
    """A question from an `Ask` that arrived at `arrived` (monotonic seconds).

    `schemes` are those the provider answers for. Raises InvalidRequest naming the field that is wrong.
    """
    timeout = ask.timeout.seconds + ask.timeout.nanos / 1e9
    if timeout <= 0:
        raise InvalidRequest("timeout", "must be longer than nothing")
    timeout = min(timeout, _LONGEST)
    if not ask.requester or not ask.purpose:
        raise InvalidRequest("requester" if not ask.requester else "purpose", "is missing")
    return Question(
        record_type=ask.record_type,
        digest=ask.digest,
        subject=_subject(ask, schemes),
        traits=_traits(ask, matches_queries),
        purpose=ask.purpose,
        requester=ask.requester,
        requester_system=ask.requester_system,
        actor=_asker(ask.actor),
        agreement=ask.agreement,
        agreement_version=ask.agreement_version,
        permitted_paths=tuple(ask.permitted_paths),
        deadline=arrived + timeout - min(_MARGIN_CAP, timeout * _MARGIN_SHARE),
        traceparent=ask.traceparent,
        incident=ask.incident,
        place=_place(ask.place) if ask.HasField("place") else None,
        effect_key=ask.effect_key,
        reason_code=ask.reason_code,
        provider=ask.provider,
        processor=ask.processor,
        override=ask.override,
        grant=_grant(ask.grant) if ask.HasField("grant") else None,
    )


def _grant(message: adapter_pb2.Grant) -> Signed:
    return Signed(message.statement, message.key_id, message.signature)


def _subject(ask: adapter_pb2.Ask, schemes: Collection[str]) -> SubjectRef | None:
    if ask.HasField("subject") == ask.HasField("query"):
        raise InvalidRequest("subject", "exactly one of subject and query is needed")
    if not ask.HasField("subject"):
        return None
    if ask.subject.scheme not in schemes:
        raise InvalidRequest("subject.scheme", "is not one this adapter answers for")
    if not ask.subject.value:
        raise InvalidRequest("subject.value", "is empty")
    return SubjectRef(ask.subject.scheme, ask.subject.value)


def _traits(ask: adapter_pb2.Ask, matches_queries: bool) -> Traits | None:
    if not ask.HasField("query"):
        return None
    if not matches_queries:
        raise InvalidRequest("query", "this adapter matches no traits")
    q = ask.query
    return Traits(
        q.family_name,
        q.given_name,
        q.birth_date,
        q.approximate_age,
        q.sex,
        q.address_line,
        q.postcode,
        q.phone,
    )


def _asker(a: exchange_pb2.Actor) -> Asker:
    return Asker(a.id, a.role, a.name, a.on_behalf_of, a.callsign, a.device, a.employer, int(a.assurance))


def _place(p: exchange_pb2.Place) -> Place:
    both = p.HasField("latitude") and p.HasField("longitude")
    return Place(p.uprn, p.latitude if both else None, p.longitude if both else None, p.district)
