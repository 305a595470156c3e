"""Where two people are needed: the second is another human, on a system with a certificate of its own.

An actor is what a system says of who is at the keyboard, so two names from one system may be one person. A
certificate may be anybody's too: whoever enrols a second operator alone may hold its key. So each operator's
key is of a *hand*, and two keys of one hand are one person's. A founder's key is its own hand; one that people
of two hands enrolled is of the hand of its system, or whose they both say (`enrolling`); a key that one person
enrolled is of that person's hand. Once this broker has had operators of two hands, it takes both to enrol a
system and to put an agency in another's place; until then one does it, and the entry says `one person`. Owns
also how long what the first has asked for waits.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from broker.core import canonical
from broker.core.actorid import same_person
from broker.core.canonical import Json
from broker.core.directory import Awaited
from broker.core.model import Actor, Caller
from broker.core.reference import Reference
from broker.core.signingkey import Proposal
from broker.errors import InvalidRequest, NotAllowed

LASTS = timedelta(days=7)


def first_person(caller: Caller, actor: Actor, now: datetime) -> Proposal:
    """Who asks, for the second to be compared with."""
    return Proposal(caller.name, actor.id, caller.key_digest, now)


def is_second(first: Proposal, caller: Caller, actor: Actor) -> bool:
    """Whether this is somebody else: neither the same actor, nor the same system or certificate under
    whatever name."""
    return (
        not same_person(actor.id, first.actor)
        and caller.name != first.system
        and caller.key_digest != first.key_digest
    )


def at_a_desk(caller: Caller) -> None:
    """Raises NotAllowed for an adapter's certificate: a program holds it, and whoever has its machine."""
    if caller.adapter:
        raise NotAllowed(
            f"{caller.name} is an adapter's: confirm on a system at which people work, with its own certificate"
        )


def waits(first: Proposal, now: datetime) -> bool:
    """Whether it can still be confirmed."""
    return now - first.at <= LASTS


def second_person(reference: Reference, first: Proposal, caller: Caller, actor: Actor) -> dict[str, Json]:
    """Who asked first, for the entry of an operator's confirmation. Raises InvalidRequest where this operator
    is no second person, or not by another hand."""
    if not is_second(first, caller, actor):
        raise InvalidRequest(
            "actor", "the very same must be asked for by a second person, on another operator system"
        )
    theirs, ours = (
        reference.hand(first.system, first.key_digest),
        reference.hand(caller.name, caller.key_digest),
    )
    if not theirs or not ours or theirs == ours:
        raise InvalidRequest(
            "actor",
            f"{caller.name} and {first.system} count as one person: one operator enrolled both, or one of them "
            "the other, and nobody else agreed; docs/operations.md says how a second operator comes to count",
        )
    return {"system": first.system, "actor": first.actor, "entry_at": first.at.isoformat()}


def ask(
    reference: Reference,
    before: Awaited | None,
    asked: dict[str, Json],
    caller: Caller,
    actor: Actor | None,
    now: datetime,
) -> Awaited | dict[str, Json]:
    """What an operator asks for that takes two: how it is agreed, for its entry, or that it waits for a second.

    `before` is what waits already; asked for otherwise, or too late, it begins anew. Raises InvalidRequest.
    """
    if len(reference.hands) < 2:
        return {"how": "one person"}
    if actor is None:
        raise InvalidRequest("actor", "is required: this takes two people, so say who is at the keyboard")
    text = canonical.encode(asked).decode()
    if before is None or before.asked != text or not waits(before.proposal, now):
        return Awaited(text, first_person(caller, actor, now))
    return {"how": "two people", "by": second_person(reference, before.proposal, caller, actor)}
