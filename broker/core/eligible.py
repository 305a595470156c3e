"""Whether an agency may end, and whether others may take its place.

Refuses a successor of another kind or jurisdiction, what is no district, a place left without a holder, an
agency that has ended already, and a change of what has come to pass.
"""

from __future__ import annotations

from datetime import datetime

from broker.core.directory import Agency, Successor, valid
from broker.core.districts import FORM, nation
from broker.core.model import Caller
from broker.core.reference import Reference
from broker.core.succession import replaced
from broker.errors import InvalidRequest, NotAllowed


def check_ends(caller: Caller, name: str, at: datetime, reference: Reference) -> Agency:
    """The agency, if it may end then. Raises InvalidRequest, NotAllowed."""
    agency = reference.agencies.get(name)
    if agency is None:
        raise InvalidRequest("agency", "is not in the directory; `broker agency list` shows what is")
    if caller.agency == name:
        raise NotAllowed("an operator's own agency cannot be ended by itself; another operator must do it")
    if at <= agency.valid_from:
        raise InvalidRequest("on", f"{name} takes part only from {agency.valid_from.isoformat()}")
    if agency.successors:
        names = ", ".join(s.agency for s in agency.successors)
        raise InvalidRequest("agency", f"was replaced by {names} already")
    return agency


def check_successors(
    caller: Caller, name: str, into: tuple[Successor, ...], at: datetime, reference: Reference
) -> None:
    """These may take its place then. Raises InvalidRequest, NotAllowed."""
    agency = check_ends(caller, name, at, reference)
    if not into:
        raise InvalidRequest(
            "into", "name at least one agency; `broker agency leave` ends one without successor"
        )
    taken: dict[str, str] = {}
    for n, each in enumerate(into):
        there, field = reference.agencies.get(each.agency), f"into.{n}"
        if there is None:
            raise InvalidRequest(field, f"{each.agency} is not in the directory; add it first")
        if each.agency == name or each.agency in taken.values() or each.agency in [e.agency for e in into[:n]]:
            raise InvalidRequest(field, f"{each.agency} is named twice, or is the old agency")
        if not valid(there, at) or replaced(there, at):
            raise InvalidRequest(field, f"{each.agency} does not take part {_when(there, at)}")
        if there.kind != agency.kind:
            raise InvalidRequest(
                field,
                f"{each.agency} is a {there.kind} agency, and cannot hold the records of a {agency.kind} one",
            )
        if len(into) > 1 and not each.districts:
            raise InvalidRequest(field, "more than one takes its place: say which districts each has")
        for district in sorted(each.districts):
            _check_district(field, district, there)
            if district in taken:
                raise InvalidRequest(field, f"{district} goes to {taken[district]} already")
            taken[district] = each.agency
    if any(heir.new == name for each in into for heir in reference.heirs.get(each.agency, ())):
        raise InvalidRequest("into", "would make an agency take its own place")
    _check_covered(reference, name, into, at, frozenset(taken))


def check_pending(caller: Caller, name: str, reference: Reference, now: datetime) -> Agency:
    """The agency, if somebody is to take its place and has not yet. Raises InvalidRequest, NotAllowed."""
    agency = reference.agencies.get(name)
    if agency is None:
        raise InvalidRequest("agency", "is not in the directory; `broker agency list` shows what is")
    if caller.agency == name:
        raise NotAllowed("an operator's own agency: another operator must do it")
    if not agency.successors or agency.valid_until is None:
        raise InvalidRequest("agency", "nobody is to take its place: there is nothing to correct or take back")
    if agency.valid_until <= now:
        names = ", ".join(s.agency for s in agency.successors)
        raise InvalidRequest(
            "agency",
            f"was replaced by {names} on {agency.valid_until.isoformat()}: from then on that can neither be "
            "corrected nor taken back",
        )
    return agency


def _check_district(field: str, district: str, successor: Agency) -> None:
    there = nation(district)
    if not there:
        raise InvalidRequest(field, f"{district!r} is not the ONS code of a district: those are {FORM}")
    if successor.jurisdiction not in ("", there):
        raise InvalidRequest(
            field, f"{district} is in {there}, and {successor.id} is under the law of {successor.jurisdiction}"
        )


def _when(agency: Agency, at: datetime) -> str:
    """From when and until when it does, beside the first moment that was asked about: hours matter here, since
    a day in summer begins at 23:00 UTC."""
    until = f" until {agency.valid_until.isoformat()}" if agency.valid_until else ""
    since = agency.valid_from.isoformat()
    return f"on that day: it does from {since}{until}, and the day begins {at.isoformat()}"


def _check_covered(
    reference: Reference, name: str, into: tuple[Successor, ...], at: datetime, taken: frozenset[str]
) -> None:
    """No place that has a holder may be left without one."""
    if any(not each.districts for each in into):
        return
    for route in reference.routes.to(name):
        left = sorted(route.districts - taken)
        if left and (route.ends is None or route.ends > at):
            raise InvalidRequest(
                "into",
                f"route {route.name} of {route.file} has {', '.join(left[:3])}, which nobody would take over; "
                "give it to somebody, or apply routes without it first",
            )
