"""Whose eyes a controller reads with that has taken another's place: the other's, but for what others took.

Owns who may read what an agency that has ended was party to: from the day on those that took its place, each
what was about its own districts, and what names none or one that nobody has; by their own certificates, and in
the other's own views. Refuses everybody else, and before that day. Auditors need none of this: they see all.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from broker.core.canonical import Json
from broker.core.model import Caller, Function
from broker.core.succession import Share, shares
from broker.errors import NotAllowed
from broker.ports import Clock, ReferenceSource


class Heritage:
    """What is left to whom."""

    def __init__(self, reference: ReferenceSource, clock: Clock) -> None:
        self._reference = reference
        self._clock = clock

    def agencies(self) -> frozenset[str]:
        """Every agency that there is or was."""
        return frozenset(self._reference.current.agencies)

    async def agreements(self) -> frozenset[str]:
        """The id of every agreement that there is or was."""
        return frozenset((await self._reference.refresh()).agreements)

    async def left_to(self, caller: Caller) -> tuple[Share, ...]:
        """The shares of agencies whose place the caller's has taken by now; of its own there is none here."""
        if caller.function is not Function.PARTNER:
            return ()
        reference = await self._reference.refresh()
        found = shares(reference.agencies, caller.agency, self._clock.now())
        return tuple(each for each in found if each.of != caller.agency)

    async def eyes(self, caller: Caller, in_place_of: str) -> Caller:
        """The caller as it reads in another's place; itself where that is empty. Raises NotAllowed."""
        if not in_place_of or in_place_of == caller.agency:
            return caller
        for share in await self.left_to(caller):
            if share.of == in_place_of:
                return as_left(caller, share)
        raise NotAllowed(f"{caller.agency} has not taken the place of {in_place_of}, or not yet")


def as_left(caller: Caller, share: Share) -> Caller:
    """The caller as who has this share reads."""
    return replace(caller, agency=share.of, but=share.but)


def district_of(full: Mapping[str, Json]) -> str:
    """The ONS code of the place that an entry is about, by its full view; empty where it names none."""
    place = full.get("place")
    return str(place.get("district") or "") if isinstance(place, dict) else ""
