"""Whose view of an entry somebody may see, and find it by: the rule of searches and exports, entry by entry.

An agency finds entries that it is party to, by what stands in its own view or what it said itself; auditors
find all; operators what was refused at the door, which is about nobody's record.
"""

from __future__ import annotations

from msgspec import Struct

from broker.core import canonical
from broker.core.model import Caller, Function
from broker.core.receipt import Audience
from broker.core.searchterms import CALLS_REFUSED, Question, term
from broker.core.sights import terms_of
from broker.heritage import district_of
from broker.ports import Hit


class Seen(Struct, frozen=True):
    """An entry that was found, as the caller may see it: `view` are the bytes of the view of that audience."""

    hit: Hit
    audience: Audience
    view: bytes


def seen(caller: Caller, question: Question, hit: Hit) -> Seen | None:
    """The entry as this caller may see it, if it may and if it is really what was asked for."""
    audience = audience_of(caller, hit)
    if audience is None or (view := hit.views.get(audience.value)) is None:
        return None
    ways = question.ways()
    if ways == (frozenset(),):
        return Seen(hit, audience, view)
    own = None if audience is Audience.FULL else canonical.decode_object(view)
    known = terms_of(hit.full, audience, own)
    if audience is not Audience.FULL:  # a view does not name the requester, and its parties know each other
        known |= {term("agency", hit.requester)}
    if not any(way <= known for way in ways):
        return None
    return Seen(hit, audience, view)


def audience_of(caller: Caller, hit: Hit) -> Audience | None:
    """Whose view of an entry the caller may see, by who its parties are; None: nobody's."""
    if caller.function is Function.AUDITOR:
        return Audience.FULL
    if caller.function is Function.OPERATOR and hit.full.get("event") == CALLS_REFUSED:
        return Audience.FULL
    if caller.function is not Function.PARTNER:
        return None
    if caller.but and district_of(hit.full) in caller.but:
        return None
    if caller.agency == hit.requester:
        return Audience.REQUESTER
    return Audience.PROVIDER if caller.agency == hit.provider else None
