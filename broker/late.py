"""Use case of writing down what was shared while the broker was down: `recorded-late` entries.

A partner records what its own agency gave or took, many at once: every one is looked at before the first is
written, and each is named by its place and field. An id stands for one sharing: a repeat gets the same entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from msgspec import Struct

from broker.core.acted import LATE
from broker.core.canonical import Json
from broker.core.late import Late, check, content, outside, views
from broker.core.model import Actor, Caller, Function
from broker.core.receipt import Receipt
from broker.core.reference import Reference
from broker.errors import AuditUnavailable, InvalidRequest, KeptElsewhere, NotAllowed, Unsettled
from broker.ids import entry_id
from broker.lanes import by_steps
from broker.ports import Appended, Asked, Claim, Claimed, Clock, Draft, FactsSource, Log, ReferenceSource

MOST = 100  # in one call
TRIES = 3


class Recorded(Struct, frozen=True):
    """The entry of one sharing; `replayed` where it stood already."""

    id: str
    event_id: str
    receipt: Receipt
    replayed: bool = False


class LateRecords:
    """Writes down what was shared without us. `digest` makes a keyed digest of what is said (32 bytes)."""

    def __init__(
        self,
        log: Log,
        facts: FactsSource,
        reference: ReferenceSource,
        clock: Clock,
        digest: Callable[[dict[str, Json]], bytes],
    ) -> None:
        self._log = log
        self._facts = facts
        self._reference = reference
        self._clock = clock
        self._digest = digest

    async def check(self, caller: Caller, lates: Sequence[Late]) -> list[str]:
        """Look at all of them and write nothing: what may be a mistake, `records.N.field: why`.

        Raises InvalidRequest (`records.N.field`), NotAllowed.
        """
        reference, types = await self._checked(caller, lates), self._reference.catalogue.types
        return [
            f"records.{n}.fields: {', '.join(more)}: {late.agreement} gives nothing of it; look again"
            async for n, late in by_steps(enumerate(lates))
            if (more := outside(late, reference, types))
        ]

    async def record(self, caller: Caller, lates: Sequence[Late], actor: Actor) -> list[Recorded]:
        """The entries, in the same order. Raises as `check`, and AuditUnavailable: then ask again, the same."""
        reference = await self._checked(caller, lates)
        claims = [Claim(caller.name, late.id, self._digest(content(late))) async for late in by_steps(lates)]
        done: dict[str, Recorded] = {}
        for _ in range(TRIES):
            known = (await self._facts.read(Asked((), caller.name, tuple(c.request_id for c in claims)))).claims
            for n, claim in enumerate(claims):
                if (stands := known.get(claim.request_id)) is not None and claim.request_id not in done:
                    done[claim.request_id] = await self._again(n, claim, stands)
            left = [n for n, late in enumerate(lates) if late.id not in done]
            made = [self._draft(lates[n], claims[n], caller, actor, reference) async for n in by_steps(left)]
            for draft, committed in zip(made, await asyncio.gather(*map(self._log.append, made)), strict=True):
                if isinstance(committed, Appended) and draft.claim is not None:
                    name = draft.claim.request_id
                    done[name] = Recorded(name, draft.id, committed.receipt)
            if len(done) == len(lates):
                return [done[late.id] for late in lates]
        raise Unsettled("one of these ids is in use elsewhere at this moment; try again")

    async def _checked(self, caller: Caller, lates: Sequence[Late]) -> Reference:
        if caller.function is not Function.PARTNER:
            raise NotAllowed("agencies record what they shared; auditors and operators shared nothing")
        if not 1 <= len(lates) <= MOST:
            raise InvalidRequest("records", f"1 to {MOST} at once")
        reference, now, seen = await self._reference.refresh(), self._clock.now(), dict[str, int]()
        types = self._reference.catalogue.types
        async for n, late in by_steps(enumerate(lates)):
            if (first := seen.setdefault(late.id, n)) != n:
                raise InvalidRequest(f"records.{n}.id", f"stands at records.{first} already")
            try:
                check(late, caller, reference, types, now)
            except InvalidRequest as e:
                raise InvalidRequest(f"records.{n}.{e.field}", e.problem) from None
        return reference

    async def _again(self, n: int, claim: Claim, known: Claimed) -> Recorded:
        if known.content != claim.content or not known.settled:
            raise InvalidRequest(
                f"records.{n}.id", "was used before for something else; give this one a fresh id"
            )
        try:
            receipt, full = await self._log.receipt(known.entry, "requester")
        except KeyError as e:
            raise AuditUnavailable("the entry of an earlier try cannot be read at the moment") from e
        except KeptElsewhere as e:
            raise e.asked_as(f"records.{n}.id", "was recorded before, and stands: ") from e
        if full and full.get("event") != LATE:
            raise InvalidRequest(f"records.{n}.id", "was used before for a request; give this one a fresh id")
        return Recorded(claim.request_id, known.entry, receipt, replayed=True)

    def _draft(self, late: Late, claim: Claim, caller: Caller, actor: Actor, reference: Reference) -> Draft:
        now = self._clock.now()
        requester, provider, full = views(late, caller, actor, reference, now)
        return Draft(
            id=entry_id(),
            at=now,
            requester=requester,
            provider=provider,
            full=full,
            requester_agency=late.took.agency,
            provider_agency=late.gave.agency,
            words=late.why,
            claim=claim,
        )
