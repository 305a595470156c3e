"""Agencies, what systems are enrolled as, and who operates, from the wire's types to ours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from broker import law
from broker.core.directory import Agency
from broker.core.model import Actor, Function
from broker.errors import InvalidRequest
from broker.rpc.parse import actor, agency_id, code, text, when
from broker.v1 import directory_pb2

_JURISDICTIONS = ("england", "wales", "scotland", "northern-ireland")
_FUNCTIONS = {
    directory_pb2.SYSTEM_FUNCTION_PARTNER: Function.PARTNER,
    directory_pb2.SYSTEM_FUNCTION_AUDITOR: Function.AUDITOR,
    directory_pb2.SYSTEM_FUNCTION_OPERATOR: Function.OPERATOR,
}


def agency(message: directory_pb2.Agency, now: datetime) -> Agency:
    """An agency to be entered in the directory."""
    kinds = law.load().kinds
    if message.kind not in kinds:
        raise InvalidRequest("agency.kind", f"one of {', '.join(kinds)}")
    if message.jurisdiction and message.jurisdiction not in _JURISDICTIONS:
        raise InvalidRequest("agency.jurisdiction", f"one of {', '.join(_JURISDICTIONS)}")
    if not message.name:
        raise InvalidRequest("agency.name", "is required")
    valid_from = when("agency.valid_from", message, "valid_from") or now
    valid_until = when("agency.valid_until", message, "valid_until")
    if valid_until is not None and valid_until <= valid_from:
        raise InvalidRequest("agency.valid_until", "ends before it begins")
    return Agency(
        id=agency_id("agency.id", message.id),
        name=text("agency.name", message.name),
        kind=message.kind,
        jurisdiction=message.jurisdiction or "england",
        valid_from=valid_from,
        valid_until=valid_until,
        code=text("agency.code", message.code, 32),
        contact=text("agency.contact", message.contact),
        phone=text("agency.phone", message.phone, 32),
    )


def somebody(request: Any) -> Actor:
    """The operator at the keyboard: no change is nobody's. Raises InvalidRequest."""
    return actor(request.actor)


def roles(given: Sequence[str]) -> frozenset[str]:
    """The roles in which an auditor's system may act; none named: none given."""
    return frozenset(code(f"roles.{n}", each) for n, each in enumerate(given))


def function(value: directory_pb2.SystemFunction.ValueType) -> Function:
    """What a system is to be enrolled as."""
    if value not in _FUNCTIONS:
        raise InvalidRequest("function", f"one of {', '.join(Function)}")
    return _FUNCTIONS[value]
