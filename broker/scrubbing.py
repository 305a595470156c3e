"""Use case of scrubbing: an operator removes erased bytes from the database's files; the log says so."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.administration import Administration, named
from broker.core.model import Actor, Caller, Function, Reason
from broker.errors import InvalidRequest
from broker.keeping import Scrubbed, Scrubbing
from broker.registry import require
from broker.seats import Seats


class Scrubs:
    """One at a time."""

    def __init__(self, administration: Administration, scrubbing: Scrubbing) -> None:
        self._administration = administration
        self._scrubbing = scrubbing
        self._seats = Seats(1, "scrubs")

    async def scrub(self, caller: Caller, actor: Actor, reason: Reason) -> AsyncIterator[Scrubbed]:
        """Every step as it is done. Its entry comes first: nothing can be appended meanwhile. Raises
        AuditUnavailable; it can be done again."""
        require(caller, Function.OPERATOR)
        named(actor)
        if not reason.code:
            raise InvalidRequest("reason.code", "say why it is done now")
        with self._seats.one("scrub"):
            await self._administration.note(
                caller, "scrubbed", {"reason": reason.code}, actor, words=reason.words
            )
            async for step in self._scrubbing.scrub():
                yield step
