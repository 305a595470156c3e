"""What a system is once it has been enrolled, or a key added to it, and by whose hand. Changes nothing.

Refuses a key that is another system's or was revoked, another function, dates the wrong way round, and a new
operator's system of which two people do not say whose it is. What one person alone has proposed says nothing of
a system.
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

# Whose an operator's system is: nobody's who has operated this broker before.
ANOTHER_PERSON = "another-person"


class Enrolment(Struct, frozen=True):
    """As it is asked for: dates and roles that are not given are those of the system so far. `whose` is of an
    operator's: another system (`agency/system`) of the same person, or ANOTHER_PERSON; empty: as it was."""

    agency: str
    system: str
    function: Function
    key_digest: str
    valid_from: datetime | None
    valid_until: datetime | None
    roles: frozenset[str]
    whose: str = ""

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
            "whose": self.whose,
        }


def enrolled(reference: Reference, asked: Enrolment, now: datetime) -> System:
    """The system as it will be. Raises InvalidRequest."""
    if asked.agency not in reference.agencies:
        raise InvalidRequest("agency", "is not in the directory; add it first with `broker agency add`")
    _refuse_taken(reference, asked.name, asked.key_digest)
    known = _before(reference, asked.name)
    if asked.whose and asked.function is not Function.OPERATOR:
        raise InvalidRequest("whose", "is said of an operator's system")
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
    hand = _hand(reference, asked, new, caller)
    said = ask(reference, before.awaited if before else None, asked.as_json, caller, actor, now)
    if isinstance(said, Awaited):
        known = _before(reference, asked.name) or replace(new, key_digests=frozenset())
        return replace(known, awaited=said), None
    made = _of_hand(new, asked.key_digest, hand)
    if asked.function is Function.OPERATOR:
        said = {**said, "whose": asked.whose or "as before", "people": [*people(reference, made)]}
    return made, said


def founded(new: System, key_digest: str) -> System:
    """With a key of a founder's, who is a person of their own; a further key of theirs makes nobody else."""
    own = sorted(hand for hand in new.hands.values() if hand in new.hands)
    return _of_hand(new, key_digest, own[0] if own else key_digest)


def people(reference: Reference, system: System) -> list[str]:
    """As whom an operator's keys count: of each person the system on which their first key was enrolled."""
    first = {key: each.name for each in (*reference.systems.values(), system) for key in each.hands}
    return sorted({first[hand] for hand in _hands(system) if hand in first})


def wanted_key(system: System) -> str:
    """The key of an enrolment that waits for a second person; empty where none does."""
    return str(json.loads(system.awaited.asked)["key_digest"]) if system.awaited else ""


def _hand(reference: Reference, asked: Enrolment, new: System, caller: Caller) -> str:
    """Whose the key is to be, by the key that they first had here. Raises InvalidRequest where it must be said,
    or cannot be."""
    if asked.function is not Function.OPERATOR:
        return ""
    ours = reference.hand(caller.name, caller.key_digest)
    if len(reference.hands) < 2:
        if asked.whose == ANOTHER_PERSON:
            raise InvalidRequest(
                "whose",
                "one operator alone enrols nobody else: whoever runs this broker names a second at its start "
                "(BROKER_SECOND_OPERATOR)",
            )
        return ours
    if asked.whose == ANOTHER_PERSON:
        return asked.key_digest
    if not asked.whose and asked.key_digest in new.hands:
        return new.hands[asked.key_digest]
    of = reference.systems.get(asked.whose) if asked.whose else new
    hands = _hands(of) if of is not None and of.function is Function.OPERATOR else frozenset[str]()
    if len(hands) == 1:
        return next(iter(hands))
    unclear = f"keys of {asked.whose or asked.name} are of several people" if hands else ""
    unknown = f"{asked.whose} is no operator's system" if asked.whose else "this one is new"
    raise InvalidRequest(
        "whose",
        "say of which operator it is, by another system of the same person's such as "
        f"{caller.name}, or {ANOTHER_PERSON}: {unclear or unknown}",
    )


def _hands(system: System) -> frozenset[str]:
    """Of those keys that may speak for it, and where none may, of all that did."""
    speak = frozenset(system.hands[key] for key in system.key_digests if key in system.hands)
    return speak or frozenset(system.hands.values())


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
