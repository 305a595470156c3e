"""What happens when one agency becomes another, or two: who takes its place, where, and from when.

Owns who is whose heir. An agency with successors ends at its `valid_until`; from that moment what was agreed
with it holds for each of them, and what it held in a district is held by the one that has that district. What
waits for its humans waits for that one's; where no district is known, or none of them has it, for any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from broker.core.directory import Agency


class Heir(Struct, frozen=True):
    """An agency in the place of another, directly or through some between them, from a moment on."""

    old: str
    new: str
    since: datetime

    def __str__(self) -> str:
        """As it stands in views: who took whose place, and when (UTC)."""
        return f"{self.new} in the place of {self.old} since {self.since.isoformat()}"


def heirs(agencies: Mapping[str, Agency]) -> dict[str, tuple[Heir, ...]]:
    """By agency that ends: everybody who takes its place, those of its successors too."""
    return {
        each.id: tuple(found.values())
        for each in agencies.values()
        if each.successors and (found := _heirs(agencies, each))
    }


def _heirs(agencies: Mapping[str, Agency], old: Agency) -> dict[str, Heir]:
    found: dict[str, Heir] = {}
    waiting = [(old, old.valid_from)]
    while waiting:
        agency, since = waiting.pop()
        if agency.valid_until is None:
            continue
        since = max(since, agency.valid_until)
        for successor in agency.successors:
            known = found.get(successor.agency)
            if successor.agency == old.id or (known is not None and known.since <= since):
                continue
            found[successor.agency] = Heir(old.id, successor.agency, since)
            if (there := agencies.get(successor.agency)) is not None:
                waiting.append((there, since))
    return found


def replaced(agency: Agency, at: datetime) -> bool:
    """Whether others have taken its place by then."""
    return bool(agency.successors) and agency.valid_until is not None and agency.valid_until <= at


class Holding(Struct, frozen=True):
    """Who holds what an agency held: empty where nobody or more than one does. `passed` are all agencies that
    were looked at, the first one included."""

    holder: str
    passed: tuple[str, ...]


def holding(agencies: Mapping[str, Agency], holder: str, district: str, at: datetime) -> Holding:
    """Who holds in a district (may be empty) what `holder` held, at this moment."""
    passed = [holder]
    while (agency := agencies.get(passed[-1])) is not None and replaced(agency, at):
        there = [s.agency for s in agency.successors if not s.districts or district in s.districts]
        if len(there) != 1 or there[0] in passed:
            return Holding("", tuple(passed))
        passed.append(there[0])
    return Holding(passed[-1], tuple(passed))


class Share(Struct, frozen=True):
    """What waits for an agency's humans of what was asked of `of`: all but in the districts `but`, which others
    have that took its place too."""

    of: str
    but: frozenset[str] = frozenset()

    def holds(self, provider: str, district: str) -> bool:
        """Whether what was asked of a provider in a district (may be empty) is in it."""
        return provider == self.of and district not in self.but


def shares(agencies: Mapping[str, Agency], name: str, at: datetime) -> tuple[Share, ...]:
    """What waits for an agency's humans at this moment: its own, and its part of what is left to it."""
    agency = agencies.get(name)
    if agency is not None and replaced(agency, at):
        return ()
    found, waiting = [Share(name)], [(name, frozenset[str](), frozenset({name}))]
    while waiting:
        new, but, passed = waiting.pop()
        for old in agencies.values():
            own = next((s for s in old.successors if s.agency == new), None)
            if own is None or old.id in passed or not replaced(old, at):
                continue
            others = frozenset(d for s in old.successors if s.agency != new for d in s.districts)
            left = but | (others - own.districts if own.districts else frozenset())
            found.append(Share(old.id, left))
            waiting.append((old.id, left, passed | {old.id}))
    return tuple(found)


def takers(agencies: Mapping[str, Agency], provider: str, district: str, at: datetime) -> tuple[str, ...]:
    """Whose humans decide at this moment what was asked of a provider in a district (may be empty)."""
    found: dict[str, None] = {}
    passed, waiting = {provider}, [provider]
    while waiting:
        agency = agencies.get(name := waiting.pop(0))
        if agency is None or not replaced(agency, at):
            found[name] = None
            continue
        there = [s.agency for s in agency.successors if not s.districts or district in s.districts]
        for each in there or [s.agency for s in agency.successors]:
            if each not in passed:
                passed.add(each)
                waiting.append(each)
    return tuple(found)
