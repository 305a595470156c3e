"""Where two people are needed: the second is another human, on a system with a certificate of its own.

An actor is what a system says of who is at the keyboard, so two names from one system may be one person. Owns
how long what the first has asked for waits.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from broker.core.model import Actor, Caller
from broker.core.signingkey import Proposal

LASTS = timedelta(days=7)


def first_person(caller: Caller, actor: Actor, now: datetime) -> Proposal:
    """Who asks, for the second to be compared with."""
    return Proposal(caller.name, actor.id, caller.key_digest, now)


def is_second(first: Proposal, caller: Caller, actor: Actor) -> bool:
    """Whether this is somebody else: neither the same actor, nor the same system or certificate under
    whatever name."""
    return (
        actor.id.strip().casefold() != first.actor.strip().casefold()
        and caller.name != first.system
        and caller.key_digest != first.key_digest
    )


def waits(first: Proposal, now: datetime) -> bool:
    """Whether it can still be confirmed."""
    return now - first.at <= LASTS
