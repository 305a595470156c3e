"""What a system is once it has been enrolled, or a key added to it, and by whose hand. Changes nothing.

Refuses a key that is another system's or was revoked, another function, and dates the wrong way round. What one
person alone has proposed says nothing of a system.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from msgspec import Struct

from broker.core.canonical import Json
from broker.core.directory import Awaited, System, acts_in
from broker.core.model import Actor, Caller, Function
from broker.core.reference import Reference
from broker.errors import InvalidRequest
from broker.secondperson import ask


class Enrolment(Struct, frozen=True):
    """As it is asked for: dates and roles that are not given are those of the system so far."""

    agency: str
    system: str
    function: Function
    key_digest: str
    valid_from: datetime | None
    valid_until: datetime | None
    roles: frozenset[str]

    @property
    def name(self) -> str:
        """`agency/system`."""
        return f"{self.agency}/{self.system}"

    @property
    def as_json(self) -> dict[str, Json]:
        """What two people must ask for alike."""
        return {
            "system": self.name,
            "function": self.function.value,
            "key_digest": self.key_digest,
            "valid_from": self.valid_from.isoformat() if self.valid_from else None,
            "valid_until": self.valid_until.isoformat() if self.valid_until else None,
            "roles": [*sorted(self.roles)],
        }


def enrolled(reference: Reference, asked: Enrolment, now: datetime) -> System:
    """The system as it will be. Raises InvalidRequest."""
    if asked.agency not in reference.agencies:
        raise InvalidRequest("agency", "is not in the directory; add it first with `broker agency add`")
    _refuse_taken(reference, asked.name, asked.key_digest)
    known = _before(reference, asked.name)
    if known is not None and known.function is not asked.function:
        raise InvalidRequest("function", f"the system is enrolled as {known.function.value}")
    begins = asked.valid_from or (known.valid_from if known else now)
    ends = asked.valid_until or (known.valid_until if known else None)
    if ends is not None and ends <= begins:
        raise InvalidRequest("valid_until", "ends before it begins")
    new = known or System(asked.agency, asked.system, asked.function, frozenset(), begins)
    new = replace(
        new,
        key_digests=new.key_digests | {asked.key_digest},
        valid_from=begins,
        valid_until=ends,
        roles=asked.roles or new.roles or acts_in(new),
        awaited=None,
    )
    return new if asked.valid_until is None else replace(new, ends_with_agency=False, own_end=None)


def agreed(
    reference: Reference, asked: Enrolment, new: System, caller: Caller, actor: Actor | None, now: datetime
) -> tuple[System, dict[str, Json] | None]:
    """The system as it is to be stored, and how that was agreed; None where it waits for a second person.

    Raises InvalidRequest.
    """
    before = reference.systems.get(asked.name)
    said = ask(reference, before.awaited if before else None, asked.as_json, caller, actor, now)
    if isinstance(said, Awaited):
        known = _before(reference, asked.name) or replace(new, key_digests=frozenset())
        return replace(known, awaited=said), None
    if said["how"] == "two people":
        return founded(new, asked.key_digest), said
    return _of_hand(new, asked.key_digest, reference.hand(caller.name, caller.key_digest)), said


def founded(new: System, key_digest: str) -> System:
    """With a key that came by nobody's hand but its own."""
    return _of_hand(new, key_digest, key_digest)


def wanted_key(system: System) -> str:
    """The key of an enrolment that waits for a second person; empty where none does."""
    return str(json.loads(system.awaited.asked)["key_digest"]) if system.awaited else ""


def _of_hand(new: System, key_digest: str, hand: str) -> System:
    if new.function is not Function.OPERATOR or not hand:
        return new
    hands: Mapping[str, str] = {**new.hands, key_digest: hand}
    return replace(new, hands=hands)


def _before(reference: Reference, name: str) -> System | None:
    """The system, if it ever was one."""
    known = reference.systems.get(name)
    return known if known is not None and (known.key_digests or known.revoked) else None


def _refuse_taken(reference: Reference, name: str, key_digest: str) -> None:
    for other in reference.systems.values():
        if key_digest in other.revoked:
            raise InvalidRequest("key_digest", "this key was revoked and never comes back; make a new one")
        if other.name != name and key_digest in other.key_digests:
            raise InvalidRequest("key_digest", "this key is enrolled for another system; make a new one")
