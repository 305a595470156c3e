"""From the wire's types to ours. Parse once: past here nothing is a string that might be wrong.

Every refusal is InvalidRequest naming the field; a value that may be personal is never repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from functools import lru_cache
from unicodedata import category

from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.message import Message

from broker.core import actorid, point
from broker.core.model import (
    Actor,
    Assurance,
    Caller,
    Override,
    Place,
    Reason,
    Request,
    SubjectRef,
    Traits,
)
from broker.core.stamp import utc
from broker.core.subject import parse_subject
from broker.errors import InvalidRequest
from broker.v1 import exchange_pb2

MAX_REQUEST = 64 * 1024
DEFAULT_TIMEOUT = 5.0
MAX_TIMEOUT = 30.0

# What is wanted, and where to find it.
_A_RECORD_TYPE = "a record type's full name; `broker records list` shows them"
_A_PURPOSE = "a purpose code; `broker agreement purposes` shows them"
_A_ROLE = (
    "a role code (lower-case letters, digits and hyphens); `broker agreement show ID` shows which roles may ask"
)
_AN_OVERRIDE = "an override code (lower-case letters, digits and hyphens) that the agreement names"
_A_REASON = "a reason code: lower-case letters, digits and hyphens, such as complaint"

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
_FULL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*(?:\.[a-zA-Z_][a-zA-Z0-9_]*)+", re.ASCII)
_INCIDENT = re.compile(r"[a-z0-9-]{1,63}/[0-9]{4}-[0-9]{2}-[0-9]{2}/[A-Za-z0-9-]{1,32}", re.ASCII)
_DISTRICT = re.compile(r"[EWSN][0-9]{8}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_HEX64 = re.compile(r"[0-9a-f]{64}", re.ASCII)
# W3C Trace Context section 3.2; version ff and all-zero ids are invalid.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII
)


def request(message: exchange_pb2.RecordRequest, caller: Caller) -> Request:
    """A request of `caller`, whole and valid."""
    if message.ByteSize() > MAX_REQUEST:
        raise InvalidRequest("request", f"over {MAX_REQUEST // 1024} KiB")
    if message.HasField("subject") == message.HasField("query"):
        raise InvalidRequest("subject", "give exactly one of subject and query")
    subject = (
        parse_subject(message.subject.scheme, message.subject.value) if message.HasField("subject") else None
    )
    record_type, provider, purpose = _kind(message.record_type, message.provider, message.purpose)
    return Request(
        request_id=identifier("request_id", message.request_id),
        requester=caller.agency,
        system=caller.system,
        key_digest=caller.key_digest,
        record_type=record_type,
        provider=provider,
        subject=subject,
        query=_traits(message.query) if message.HasField("query") else None,
        purpose=purpose,
        actor=_actor(message.actor.SerializeToString()),
        reason=reason(message.reason) if message.HasField("reason") else NO_REASON,
        override=_override(message.override) if message.HasField("override") else None,
        incident=incident(message.incident),
        place=_place(message.place) if message.HasField("place") else None,
        retry_of=identifier("retry_of", message.retry_of) if message.retry_of else "",
        timeout=_timeout(message.timeout) if message.HasField("timeout") else DEFAULT_TIMEOUT,
        # W3C Trace Context section 4.3: what does not parse is ignored, and never stops anybody.
        traceparent=_traceparent(message.traceparent),
    )


# A system asks for a few kinds of record for a few purposes, on behalf of those who are on shift: what has been
# found good is not looked at again. Failures are not remembered.
@lru_cache(maxsize=1024)
def _kind(record_type: str, provider: str, purpose: str) -> tuple[str, str, str]:
    return (
        matching("record_type", record_type, _FULL_NAME, _A_RECORD_TYPE, 200),
        # None: whoever holds it for the place.
        matching("provider", provider, _ID, "an agency id; `broker agency list` shows them")
        if provider
        else "",
        matching("purpose", purpose, _CODE, _A_PURPOSE),
    )


@lru_cache(maxsize=1024)
def _actor(data: bytes) -> Actor:
    return actor(exchange_pb2.Actor.FromString(data))


def _traceparent(value: str) -> str:
    return value if value and _TRACEPARENT.fullmatch(value) else ""


def identifier(field: str, value: str) -> str:
    """A UUID in lower case, the only spelling there is of it."""
    if _UUID.fullmatch(value) is None:
        raise InvalidRequest(field, "not a UUID in lower case with hyphens")
    return value


def identifiers(values: Iterable[str]) -> list[str]:
    """Those of these that are UUIDs as `identifier` has them; the others name nothing."""
    return [value for value in values if _UUID.fullmatch(value)]


def matching(field: str, value: str, pattern: re.Pattern[str], what: str, most: int = 64) -> str:
    """A short value of a known form."""
    if not value:
        raise InvalidRequest(field, "is required")
    if len(value) > most or pattern.fullmatch(value) is None:
        raise InvalidRequest(field, f"not {what}")
    return value


def text(field: str, value: str, most: int = 200, *, lines: bool = False) -> str:
    """Text of bounded length, on one line unless `lines`, that shows what it says.

    Refused: control characters, other line ends, and what turns the direction of what follows it (Unicode
    Technical Report 36 section 2.5), since people read these words beside others' in lists and logs.
    """
    if len(value) > most:
        raise InvalidRequest(field, f"over {most} characters")
    if value.isascii() and value.isprintable():  # nearly all are
        return value
    for c in value:
        if c in _TURNS or (category(c) in _CONTROLS and not (lines and c in "\n\t")):
            raise InvalidRequest(field, "has control characters")
    return value


_CONTROLS = frozenset({"Cc", "Zl", "Zp"})
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


_ASSURANCES = frozenset(exchange_pb2.Assurance.values())


def agency_id(field: str, value: str) -> str:
    """An agency's or system's id."""
    return matching(field, value, _ID, "1 to 63 lower-case letters, digits and hyphens")


def key_digest(field: str, value: str) -> str:
    """Hex SHA-256 of a DER SubjectPublicKeyInfo."""
    return matching(field, value, _HEX64, "64 lower-case hex digits (broker certs show prints it)")


NO_REASON = Reason()


def actor(message: exchange_pb2.Actor, field: str = "actor") -> Actor:
    """The person at the keyboard; id and role are required."""
    if not message.id:
        raise InvalidRequest(f"{field}.id", "is required: who is at the keyboard")
    if message.assurance not in _ASSURANCES:
        raise InvalidRequest(f"{field}.assurance", "unknown")
    words = {
        name: text(f"{field}.{name}", getattr(message, name))
        for name in ("name", "callsign", "device", "employer")
    }
    for name in ("id", "on_behalf_of"):
        words[name] = actor_id(f"{field}.{name}", getattr(message, name))
    role = matching(f"{field}.role", message.role, _CODE, _A_ROLE)
    return Actor(role=role, assurance=Assurance(message.assurance), **words)


def actor_id(field: str, value: str) -> str:
    """How a person is named by their system, or empty; nothing that looks like another, or does not show."""
    if wrong := actorid.problem(text(field, value)):
        raise InvalidRequest(field, wrong)
    return value


def reason(message: exchange_pb2.ReasonCode) -> Reason:
    """Why; both parts may be empty."""
    return Reason(
        _optional("reason.code", message.code, _CODE, _A_REASON),
        text("reason.words", message.words, 500, lines=True),
    )


def _override(message: exchange_pb2.EmergencyOverride) -> Override:
    """Break-glass: a code and words; whether the agreement lets it count is for the decision."""
    words = text("override.words", message.words, 500, lines=True)
    if not words.strip():
        raise InvalidRequest("override.words", "say in words why a refusal must not stand in the way here")
    code = matching("override.code", message.code, _CODE, _AN_OVERRIDE)
    return Override(code, words, when("override.until", message, "until"))


def subject(message: exchange_pb2.SubjectRef, field: str = "subject") -> SubjectRef:
    """An identifier in canonical form."""
    return parse_subject(message.scheme, message.value, field)


def when(field: str, message: Message, name: str) -> datetime | None:
    """A time, or None where `name` is not set."""
    if not message.HasField(name):
        return None
    stamp: timestamp_pb2.Timestamp = getattr(message, name)
    try:
        at = utc(stamp.seconds, stamp.nanos)
    except (ValueError, OverflowError) as e:
        raise InvalidRequest(field, "not a time") from e
    if not 1900 <= at.year <= 2200:
        raise InvalidRequest(field, "a year between 1900 and 2200")
    return at


def code(field: str, value: str, what: str = "lower-case letters, digits and hyphens") -> str:
    """A code of ours or of an agency's, such as a role."""
    return matching(field, value, _CODE, what)


def _optional(field: str, value: str, pattern: re.Pattern[str], what: str) -> str:
    return matching(field, value, pattern, what, 128) if value else ""


def incident(value: str, field: str = "incident") -> str:
    """An incident's number, with a date that exists."""
    if value:
        matching(field, value, _INCIDENT, "agency/date/number", 128)
        try:
            date.fromisoformat(value.split("/")[1])
        except ValueError as e:
            raise InvalidRequest(field, "not agency/date/number: no such date") from e
    return value


def _timeout(message: duration_pb2.Duration) -> float:
    seconds = message.seconds + message.nanos / 1e9
    if not 0 <= message.nanos < 1_000_000_000:
        raise InvalidRequest("timeout", "not a duration")
    if not 0 < seconds <= MAX_TIMEOUT:
        raise InvalidRequest("timeout", f"more than 0 and at most {MAX_TIMEOUT:.0f} s")
    return seconds


def _traits(message: exchange_pb2.SubjectQuery) -> Traits:
    values = {name: text(f"query.{name}", getattr(message, name)) for name in _TRAITS}
    if message.birth_date:
        try:
            canonical = date.fromisoformat(message.birth_date).isoformat()
        except ValueError:
            canonical = ""
        if canonical != message.birth_date:
            raise InvalidRequest("query.birth_date", "not YYYY-MM-DD")
    if message.approximate_age > 130:
        raise InvalidRequest("query.approximate_age", "at most 130")
    if sum(bool(v.strip()) for v in values.values()) + bool(message.approximate_age) < 2:
        raise InvalidRequest("query", "give at least two traits")
    return Traits(approximate_age=message.approximate_age, **values)


_TRAITS = ("family_name", "given_name", "birth_date", "sex", "address_line", "postcode", "phone")


def _place(message: exchange_pb2.Place) -> Place:
    latitude = message.latitude if message.HasField("latitude") else None
    longitude = message.longitude if message.HasField("longitude") else None
    if wrong := point.problem(latitude, longitude):
        raise InvalidRequest(f"place.{wrong[0]}", wrong[1])
    if message.uprn:
        try:
            parse_subject("uprn", message.uprn)
        except InvalidRequest as e:
            raise InvalidRequest("place.uprn", e.problem) from e
    district = _optional("place.district", message.district, _DISTRICT, "an ONS code")
    authority = message.responsible_authority
    if authority:
        agency_id("place.responsible_authority", authority)
    return Place(message.uprn, latitude, longitude, district, authority)


def full_name(field: str, value: str) -> str:
    """A record type's full name."""
    return matching(field, value, _FULL_NAME, _A_RECORD_TYPE, 200)


def district(field: str, value: str) -> str:
    """A district's ONS code."""
    return matching(field, value, _DISTRICT, "a district's ONS code, such as E06000063")


def place(message: exchange_pb2.Place) -> Place:
    """A place that is asked about."""
    return _place(message)
