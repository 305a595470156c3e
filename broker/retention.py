"""Use case of retention: months and classes of views whose period has ended are destroyed, key and all.

Operators run it, as each controller's processor, by the deployment's policy file; counts are all they see. What
outlives its class is sealed anew first, under the key of a class of its own: what is under legal hold, and what
humans still work with. Then one statement commits the entry and takes the wrapped key; rows, and the key
outside the database, follow. Killed anywhere, it goes on when it is run again.

The entry says how many lose their views by it, exactly: whoever finds that more are gone knows that it was
something else. They are counted last, and again where an erasure took any in between.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime

from msgspec import Struct

from broker.administration import Administration, Made, Plan, named
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.retention import RetentionPolicy, held_after, is_held, month_after
from broker.errors import AuditUnavailable, InvalidRequest
from broker.ids import entry_id
from broker.keeping import ENDINGS, ERASURES, HOLDS, LAST_LOOK, Counted, Destroying, Unfinished, ViewClass
from broker.ports import Asked, Change, Clock, FactsSource, Reads
from broker.registry import require
from broker.seats import Seats

EVENT = "retention"


class Due(Struct, frozen=True):
    """A month and class as the policy has it. `due` is when it ends (None: no class of the policy is named so,
    and it is kept); `state` is kept, due, held (nothing to destroy: all of it is kept longer) or ending."""

    view: ViewClass
    counted: Counted
    due: datetime | None
    schedule: str
    state: str


class Ended(Struct, frozen=True):
    """A month and class that was destroyed: by which entry, how many entries lost their views, and how many
    were set aside before."""

    view: ViewClass
    entry: str
    entries: int
    set_aside: int


class Retention:
    """Plans, and applies."""

    def __init__(
        self,
        administration: Administration,
        destroying: Destroying,
        facts: FactsSource,
        clock: Clock,
        policy: RetentionPolicy,
    ) -> None:
        self._administration = administration
        self._destroying = destroying
        self._facts = facts
        self._clock = clock
        self._policy = policy
        self._seats = Seats(1, "retention runs")

    @property
    def policy(self) -> RetentionPolicy:
        """The deployment's."""
        return self._policy

    async def plan(self, caller: Caller, policy: RetentionPolicy | None = None) -> list[Due]:
        """Every month and class that still has a key, or of whose end something is left; by another policy, as
        it would be. Operators only."""
        require(caller, Function.OPERATOR)
        return await self._look(policy or self._policy)

    async def apply(self, caller: Caller, actor: Actor, reason: Reason) -> AsyncIterator[Ended]:
        """Destroy what is due, oldest first, each told as it is done. Raises InvalidRequest,
        AuditUnavailable."""
        require(caller, Function.OPERATOR)
        named(actor)
        if not reason.code:
            raise InvalidRequest("reason.code", "say why it is done")
        with self._seats.one(caller.name):
            for left in await self._destroying.unfinished():
                yield Ended(left.view, left.id, await self._destroying.finish(left), 0)
            # What other classes leave behind first: a key that was made for it may stand empty still.
            for held in (False, True):
                for each in await self._look(self._policy):
                    if each.state == "due" and is_held(each.view.name) is held:
                        yield await self._end(caller, each, actor, reason)

    async def _look(self, policy: RetentionPolicy) -> list[Due]:
        counted = await self._destroying.counted()
        left = {each.view.key for each in await self._destroying.unfinished()}
        views = [v for v in await self._destroying.classes() if not v.destroyed or v.key in left]
        return [self._due(view, counted.get(view.key, Counted()), view.key in left, policy) for view in views]

    def _due(self, view: ViewClass, counted: Counted, ending: bool, policy: RetentionPolicy) -> Due:
        now = self._clock.now()
        due, schedule = policy.due(view.month, view.name), ""
        if is_held(view.name):
            due, schedule = month_after(view.month, 1), "as soon as nothing keeps it"
        elif view.name in policy.classes:
            schedule = policy.classes[view.name].schedule
        kept = counted.held + counted.in_use
        if ending:
            state = "ending"
        elif due is None or now < due:
            state = "kept"
        elif is_held(view.name) and kept and counted.held == counted.entries:
            state = "held"
        else:
            state = "due"
        return Due(view, counted, due, schedule, state)

    async def _end(self, caller: Caller, each: Due, actor: Actor, reason: Reason) -> Ended:
        view, new, moved = each.view, entry_id(), 0

        async def set_aside() -> None:
            nonlocal moved
            gone = {v.name for v in await self._destroying.classes() if v.month == view.month and v.destroyed}
            if view.name in gone:
                raise InvalidRequest(
                    "retention", f"{view.month}, {view.name} is ended by another run; look again"
                )
            moved += await self._destroying.set_aside(view, _held_beside(view.name, gone))

        async def plan() -> Plan:
            # Before anything is looked at: a hold, or an erasure, from here on has the plan made again.
            count = (await self._facts.read(Asked((), caller.name, ()))).policy
            await set_aside()
            stored: dict[str, Json] = {
                "id": new,
                "key": view.key,
                "month": view.month,
                "class": view.name,
                "at": self._clock.now().isoformat(),
            }
            detail: dict[str, Json] = {
                "month": view.month,
                "class": view.name,
                "schedule": each.schedule,
                "policy": self._policy.digest or None,
                "set_aside": moved,
                "entries": await self._destroying.under(view),
                "holds": [*await self._destroying.standing()],
                "reason": reason.code,
            }
            key = f"{EVENT}:{view.month}.{view.name}"
            change = Change(EVENT, stored, frozenset({ENDINGS, key}), reference=False)
            reads = Reads(count, frozenset({HOLDS, ERASURES, key}))
            return Plan(EVENT, detail, change, reads, reason.words, id=new)

        # Most of it first, which may take long: what anybody holds or erases meanwhile spends no try. Then they
        # wait, or could keep it from ever ending.
        await set_aside()
        await self._destroying.last_look(LAST_LOOK)
        try:
            made: Made = await self._administration.make(caller, plan, actor)
        finally:
            with suppress(AuditUnavailable):  # it ends by itself
                await self._destroying.last_look(0)
        removed = await self._destroying.finish(
            Unfinished(made.event_id, ViewClass(view.key, view.month, view.name, True))
        )
        return Ended(view, made.event_id, removed, moved)


def _held_beside(name: str, gone: set[str]) -> str:
    """The class into which goes what outlives this one: one that has not been destroyed itself."""
    held = held_after(name)
    while held in gone:
        held = held_after(held)
    return held
