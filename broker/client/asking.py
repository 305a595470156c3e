"""Owns the wire form of a request, and what can be seen to be wrong with one before it leaves.

Refuses what the broker would refuse as bad input, naming the same fields: ids that are not lower-case UUIDs,
identifiers that are not canonical, times out of bounds, requests past 64 KiB. A value of the wrong kind (a
number for a text) is refused the same way, since a caller need not use a type checker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

from google.protobuf.message import Message

from broker.core.model import Actor, Assurance, Override, Place, Reason, Traits
from broker.core.subject import SubjectRef, parse_subject
from broker.errors import InvalidRequest
from broker.v1 import exchange_pb2 as wire

DEFAULT_TIMEOUT = 5.0
MAX_TIMEOUT = 30.0
MAX_REQUEST_BYTES = 64 * 1024
MAX_WORDS = 500

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
# Room for the request id, the retry id, the timeout and the traceparent, which are set afterwards.
_OVERHEAD = 192

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an answer is held against. `provider` is empty where the broker was to find the holder.

    `trace` is the trace id that was sent. It is not held against anything: an answer that says the same is only
    verified sooner.
    """

    request_id: str
    record_type: str
    provider: str
    trace: str = ""


def check_request_id(field: str, text: str) -> str:
    """Return `text` if it is a lower-case UUID (RFC 9562); raises InvalidRequest naming `field`."""
    if not _is_a(text, str) or _UUID.fullmatch(text) is None:
        raise InvalidRequest(field, "must be a UUID in lower case")
    return text


def check_timeout(seconds: float) -> float:
    """Return `seconds` if the contract allows it (above 0, at most 30); raises InvalidRequest."""
    if not _is_a(seconds, int, float) or not 0 < seconds <= MAX_TIMEOUT:
        raise InvalidRequest("timeout", f"must be above 0 and at most {MAX_TIMEOUT:.0f} seconds")
    return seconds


def write_request(
    *,
    record_type: str,
    provider: str,
    subject: SubjectRef | tuple[str, str] | str | None,
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
    for field, value, kind in (
        ("actor", actor, Actor),
        ("query", query, Traits),
        ("reason", reason, Reason),
        ("override", override, Override),
        ("place", place, Place),
    ):
        if not (_is_a(value, kind) or (value is None and field != "actor")):
            raise InvalidRequest(field, f"must be a broker.client.{kind.__name__}")
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
    request = _made(
        wire.RecordRequest,
        "",
        record_type=record_type,
        provider=provider,
        purpose=purpose,
        incident=incident,
        traceparent=traceparent,
    )
    request.actor.CopyFrom(_actor_of(actor))
    if subject is not None:
        request.subject.CopyFrom(_subject(subject))
    if query is not None:
        request.query.CopyFrom(_traits(query))
    if reason is not None:
        _check_words("reason.words", reason.words)
        request.reason.CopyFrom(_made(wire.ReasonCode, "reason.", code=reason.code, words=reason.words))
    if override is not None:
        request.override.CopyFrom(_override(override))
    if place is not None:
        request.place.CopyFrom(_place(place))
    if request.ByteSize() + _OVERHEAD > MAX_REQUEST_BYTES:
        raise InvalidRequest("request", f"larger than {MAX_REQUEST_BYTES // 1024} KiB")
    return request


def _subject(subject: object) -> wire.SubjectRef:
    match subject:
        case SubjectRef(scheme, value) | (str(scheme), str(value)):
            pass
        case str():
            scheme, _, value = subject.partition(":")
        case _:
            raise InvalidRequest("subject", "must be a SubjectRef, a pair of texts, or text such as uprn:100")
    for field, text in (("subject.scheme", scheme), ("subject.value", value)):
        if not _is_a(text, str):
            raise InvalidRequest(field, "must be text")
    parsed = parse_subject(scheme, value)
    return wire.SubjectRef(scheme=parsed.scheme, value=parsed.value)


def _actor_of(actor: Actor) -> wire.Actor:
    try:
        return _remembered(actor)
    except TypeError:  # of no hash: something in it is of the wrong kind, and is named
        return _actor(actor)


@lru_cache(maxsize=256)  # who is on shift asks many times
def _remembered(actor: Actor) -> wire.Actor:
    return _actor(actor)


def _actor(actor: Actor) -> wire.Actor:
    return _made(
        wire.Actor,
        "actor.",
        id=actor.id,
        role=actor.role,
        name=actor.name,
        on_behalf_of=actor.on_behalf_of,
        callsign=actor.callsign,
        device=actor.device,
        employer=actor.employer,
        assurance=int(_assurance(actor.assurance)),
    )


def _assurance(given: object) -> Assurance:
    """The level itself, its number, or its name as agreements write it (`roster`, `personal-login`)."""
    try:
        if isinstance(given, str):
            return Assurance[given.upper().replace("-", "_")]
        return Assurance(given)  # type: ignore[arg-type]  # whatever it is, this is what says so
    except (KeyError, ValueError):
        names = ", ".join(level.name.lower().replace("_", "-") for level in Assurance if level)
        raise InvalidRequest(
            "actor.assurance", f"must be a broker.client.Assurance, or one of {names}"
        ) from None


def _traits(query: Traits) -> wire.SubjectQuery:
    return _made(
        wire.SubjectQuery,
        "query.",
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
    written = _made(wire.EmergencyOverride, "override.", code=override.code, words=override.words)
    if override.until is not None:
        if not _is_a(override.until, datetime) or override.until.tzinfo is None:
            raise InvalidRequest("override.until", "must be a datetime with a time zone")
        written.until.FromDatetime(override.until)
    return written


def _place(place: Place) -> wire.Place:
    if (place.latitude is None) != (place.longitude is None):
        raise InvalidRequest("place", "latitude and longitude go together")
    return _made(
        wire.Place,
        "place.",
        uprn=place.uprn,
        district=place.district,
        latitude=place.latitude,
        longitude=place.longitude,
        responsible_authority=place.responsible_authority,
    )


def _check_words(field: str, words: str) -> None:
    if not _is_a(words, str):
        raise InvalidRequest(field, "must be text")
    if len(words) > MAX_WORDS:
        raise InvalidRequest(field, f"longer than {MAX_WORDS} characters")


def _is_a(value: object, *kinds: type) -> bool:
    """As isinstance, for values whose annotation promises it already."""
    return isinstance(value, kinds)


def _made(kind: type[M], prefix: str, **values: object) -> M:
    """A message of these fields, None left out. Raises InvalidRequest naming one that cannot hold its value."""
    try:
        return kind(**values)
    except (TypeError, ValueError):
        for name, value in values.items():
            try:
                kind(**{name: value})
            except (TypeError, ValueError):
                raise InvalidRequest(f"{prefix}{name}", f"cannot be this {type(value).__name__}") from None
        raise
