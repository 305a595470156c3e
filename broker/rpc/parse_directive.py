"""A directive from the wire. What must be on record of one is `core.directive_form`'s to say."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from broker.core.directive import Directive
from broker.core.directive_form import MAX_EXPLAINED, MAX_NAMES, MAX_TEXT, check
from broker.core.london import local
from broker.core.model import Caller
from broker.errors import InvalidRequest
from broker.rpc.parse import actor_id, text, when
from broker.v1 import directive_pb2

# A recorder's clock may be ahead by so much.
_AHEAD = timedelta(minutes=5)


def directive(message: directive_pb2.Directive, caller: Caller, now: datetime) -> Directive:
    """What somebody said, as recorded by `caller`'s agency. Raises InvalidRequest naming the field."""
    said_at = when("directive.said_at", message, "said_at") or now
    if said_at > now + _AHEAD:
        raise InvalidRequest("directive.said_at", "lies in the future")
    # A clock that is ahead must not leave an objection without force for minutes.
    made = _made(message, str(uuid.uuid4()), caller.agency, min(said_at, now))
    check(made, local(now).date())
    return made


def recorded(message: directive_pb2.Directive) -> Directive:
    """One that the broker has on record, as it lists it."""
    return _made(message, message.id, message.recorder, message.said_at.ToDatetime(UTC))


def _made(message: directive_pb2.Directive, directive_id: str, recorder: str, said_at: datetime) -> Directive:
    return Directive(
        id=directive_id,
        kind=message.kind,
        recorder=recorder,
        said_at=said_at,
        standing=message.standing or "self",
        manner=message.manner or "verbal",
        purposes=_names("purposes", message.purposes),
        record_types=_names("record_types", message.record_types),
        requesters=_names("requesters", message.requesters),
        providers=_names("providers", message.providers),
        valid_until=when("directive.valid_until", message, "valid_until"),
        matter=message.matter or "sharing",
        speaker=_line("speaker", message.speaker),
        authority=_line("authority", message.authority),
        capacity=message.capacity or "presumed",
        assessor=_line("assessor", message.assessor),
        assessed_on=_day(message.assessed_on),
        assessed=_line("assessed", message.assessed),
        taken_by=_line("taken_by", message.taken_by),
        explained=text("directive.explained", message.explained, MAX_EXPLAINED, lines=True),
        company=message.company,
        reconsider_at=when("directive.reconsider_at", message, "reconsider_at"),
        actors=frozenset(actor_id("directive.actors", each) for each in _names("actors", message.actors)),
    )


def _names(name: str, values: Sequence[str]) -> frozenset[str]:
    if len(values) > MAX_NAMES:  # before any is looked at: a message may hold a million
        raise InvalidRequest(f"directive.{name}", f"over {MAX_NAMES} names")
    return frozenset(_line(name, each) for each in values)


def _line(name: str, value: str) -> str:
    return text(f"directive.{name}", value, MAX_TEXT)


def _day(value: str) -> date | None:
    """A day in its one spelling, or none."""
    if not value:
        return None
    try:
        day = date.fromisoformat(value)
    except ValueError:
        day = None
    if day is None or day.isoformat() != value:
        raise InvalidRequest("directive.assessed_on", "not YYYY-MM-DD")
    return day
