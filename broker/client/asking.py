"""Owns the wire form of a request, and what can be seen to be wrong with one before it leaves.

Refuses what the broker would refuse as bad input, naming the same fields: ids that are not lower-case UUIDs,
identifiers that are not canonical, times out of bounds, requests past 64 KiB.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from broker.core.model import Actor, Override, Place, Reason, Traits
from broker.core.subject import SubjectRef, parse_subject
from broker.errors import InvalidRequest
from broker.v1 import exchange_pb2 as wire

DEFAULT_TIMEOUT = 5.0
MAX_TIMEOUT = 30.0
MAX_REQUEST_BYTES = 64 * 1024
MAX_WORDS = 500

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
# Room for the request id, the retry id and the timeout, which are set afterwards.
_OVERHEAD = 128


@dataclass(frozen=True, slots=True)
class Asked:
    """What an answer is held against. `provider` is empty where the broker was to find the holder."""

    request_id: str
    record_type: str
    provider: str


def check_request_id(field: str, text: str) -> str:
    """Return `text` if it is a lower-case UUID (RFC 9562); raises InvalidRequest naming `field`."""
    if _UUID.fullmatch(text) is None:
        raise InvalidRequest(field, "must be a UUID in lower case")
    return text


def check_timeout(seconds: float) -> float:
    """Return `seconds` if the contract allows it (above 0, at most 30); raises InvalidRequest."""
    if not 0 < seconds <= MAX_TIMEOUT:
        raise InvalidRequest("timeout", f"must be above 0 and at most {MAX_TIMEOUT:.0f} seconds")
    return seconds


def write_request(
    *,
    record_type: str,
    provider: str,
    subject: SubjectRef | tuple[str, str] | None,
    query: Traits | None,
    purpose: str,
    actor: Actor,
    reason: Reason | None,
    override: Override | None,
    incident: str,
    place: Place | None,
    traceparent: str,
) -> wire.RecordRequest:
    """A request but for its id, what it retries and its timeout. Raises InvalidRequest naming the field."""
    for field, text in (
        ("record_type", record_type),
        ("purpose", purpose),
        ("actor.id", actor.id),
        ("actor.role", actor.role),
    ):
        if not text:
            raise InvalidRequest(field, "is required")
    if (subject is None) == (query is None):
        raise InvalidRequest("subject", "exactly one of subject and query is required")
    request = wire.RecordRequest(
        record_type=record_type,
        provider=provider,
        purpose=purpose,
        actor=_actor(actor),
        incident=incident,
        traceparent=traceparent,
    )
    if subject is not None:
        request.subject.CopyFrom(_subject(subject))
    if query is not None:
        request.query.CopyFrom(_traits(query))
    if reason is not None:
        _check_words("reason.words", reason.words)
        request.reason.CopyFrom(wire.ReasonCode(code=reason.code, words=reason.words))
    if override is not None:
        request.override.CopyFrom(_override(override))
    if place is not None:
        request.place.CopyFrom(_place(place))
    if request.ByteSize() + _OVERHEAD > MAX_REQUEST_BYTES:
        raise InvalidRequest("request", f"larger than {MAX_REQUEST_BYTES // 1024} KiB")
    return request


def _subject(subject: SubjectRef | tuple[str, str]) -> wire.SubjectRef:
    scheme, value = subject if isinstance(subject, tuple) else (subject.scheme, subject.value)
    parsed = parse_subject(scheme, value)
    return wire.SubjectRef(scheme=parsed.scheme, value=parsed.value)


def _actor(actor: Actor) -> wire.Actor:
    return wire.Actor(
        id=actor.id,
        role=actor.role,
        name=actor.name,
        on_behalf_of=actor.on_behalf_of,
        callsign=actor.callsign,
        device=actor.device,
        employer=actor.employer,
        assurance=wire.Assurance.ValueType(int(actor.assurance)),
    )


def _traits(query: Traits) -> wire.SubjectQuery:
    return wire.SubjectQuery(
        family_name=query.family_name,
        given_name=query.given_name,
        birth_date=query.birth_date,
        approximate_age=query.approximate_age,
        sex=query.sex,
        address_line=query.address_line,
        postcode=query.postcode,
        phone=query.phone,
    )


def _override(override: Override) -> wire.EmergencyOverride:
    _check_words("override.words", override.words)
    written = wire.EmergencyOverride(code=override.code, words=override.words)
    if override.until is not None:
        if override.until.tzinfo is None:
            raise InvalidRequest("override.until", "needs a time zone")
        written.until.FromDatetime(override.until)
    return written


def _place(place: Place) -> wire.Place:
    if (place.latitude is None) != (place.longitude is None):
        raise InvalidRequest("place", "latitude and longitude go together")
    written = wire.Place(uprn=place.uprn, district=place.district)
    if place.latitude is not None and place.longitude is not None:
        written.latitude, written.longitude = place.latitude, place.longitude
    return written


def _check_words(field: str, words: str) -> None:
    if len(words) > MAX_WORDS:
        raise InvalidRequest(field, f"longer than {MAX_WORDS} characters")
