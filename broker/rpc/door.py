"""What stands before the use case: quotas, the emergency lane, and how many streams a system may open.

What is refused here has cost next to nothing and leaves a count, no entry: else refusals would fill the log.
But so much of next to nothing is something: an agency that is refused more than so often is read more slowly.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, suppress

from broker.config import SYSTEM_STREAMS
from broker.core.model import Caller, Request
from broker.errors import Saturated
from broker.lanes import SMALL, Pace, reserve
from broker.limits import Limits
from broker.rpc import parse
from broker.rpc.identity import Identity
from broker.seats import Seats
from broker.v1 import exchange_pb2

# A call that is refused costs as much as so many refusals on a stream.
_CALL = 20
# Requests of one message that are read in one turn of the loop.
STEP = 8
_REST = 0.002  # seconds
# Of one agency: a call that waits to be refused keeps its place on its connection, so that no other comes in
# it.
_MAX_HELD = 4096


class Door:
    """Lets requests in, in their lane."""

    def __init__(self, identity: Identity, limits: Limits, streams: int = SYSTEM_STREAMS) -> None:
        self.limits = limits
        self._identity = identity
        self._pace = Pace()
        self._streams = Seats(streams, "streams")
        self._held = Seats(_MAX_HELD, "refused calls")

    def admit(self, message: exchange_pb2.RecordRequest, caller: Caller) -> Request:
        """The request as it may be started. Raises QuotaExceeded, InvalidRequest, NotYetOffered."""
        now = asyncio.get_running_loop().time()
        self.limits.spend(caller.agency, now)  # before anything is read of it
        asked = parse.request(message, caller)
        asked = self.limits.admit(asked, self._identity.reference, self._identity.now(), now)
        if asked.urgent:
            self._pace.urgent(now)
        return asked

    def consider(self, message: exchange_pb2.RecordRequest, caller: Caller) -> Request:
        """A request that is only asked about: counted like one, but it takes no place in the emergency lane.

        Raises QuotaExceeded, InvalidRequest, NotYetOffered.
        """
        self.limits.spend(caller.agency, asyncio.get_running_loop().time())
        return parse.request(message, caller)

    async def breathe(self, refused: int) -> None:
        """Between `STEP` requests of one message and the next, while emergencies come: let others go on, and
        rest where some were refused, since an emergency takes a dozen turns and may find a step in each."""
        if self.most(2 * SMALL) == SMALL:
            await asyncio.sleep(_REST if refused else 0)

    def most(self, usual: int) -> int:
        """How many items to do in one go where `usual` many would be: few while emergencies come."""
        return self._pace.most(usual, asyncio.get_running_loop().time())

    def stream(self, caller: Caller) -> AbstractContextManager[None]:
        """A stream of this system, for as long as the block lasts. Raises Saturated."""
        return self._streams.one(caller.name)

    async def pause(self, agency: str, refused: int) -> None:
        """Wait before an agency that was just refused so many requests is read on: only where it floods."""
        if refused and (wait := self.limits.patience(agency, refused, asyncio.get_running_loop().time())):
            await asyncio.sleep(wait)

    async def hold(self, agency: str) -> None:
        """Wait before an agency is told that its call was refused; not where too many wait already."""
        with suppress(Saturated), self._held.one(agency):
            await self.pause(agency, _CALL)


def room(most: int, asked: Request) -> int:
    """How many may be under way where `most` ordinary ones may: the rest is kept for what is urgent."""
    return most + reserve(most) if asked.urgent else most
