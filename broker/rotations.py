"""Use case of rotation: closing the log of a half-year and opening the next, when an operator says so.

Not by itself: it is no matter of the minute (a log may outlast its half-year by days and is no worse for it),
and somebody should look on. `due` says when. Refused: a rotation that is not due, unless it is said to be early
on purpose; one of a log that is no longer current; and one while a live worker does not hold the next log's
key, since that one could append and prove nothing.

Who ordered it and why (`log-rotated`) is committed first, as before every act here: nothing is appended to a
log that is closed, and one that nobody closed would be worse than an order that was not carried out. That it
was is proven by the links alone, in clear at the end of the one log and the beginning of the other; an order
without them was cut off before anything was closed. After that any worker goes on by itself. Before, the
operator's command failed, each worker still says what is due, and the same command again makes an order of its
own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from broker.administration import Administration
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.rotation import Link, half_year, is_due, next_origin, split_origin
from broker.errors import AuditUnavailable, InvalidRequest
from broker.ports import Clock
from broker.registry import require

# Workers that share a key folder say within a beat or two that they hold what was just made.
HELD_WITHIN = 4.0
_LOOK = 0.1


class Chain(Protocol):
    """The logs, and how one leads to the next. Each raises AuditUnavailable."""

    @property
    def origin(self) -> str:
        """The current log, as this worker knows it."""

    def prepared(self, origin: str) -> str:
        """The verifier key of a log that is to come, if this worker holds its key; empty where it does not."""

    def prepare(self, origin: str) -> str:
        """The same; the key is made, and on the disk, where it was not there."""

    async def size(self) -> int:
        """Entries of the current log."""

    async def rotate(self, origin: str, vkey: str) -> None:
        """Close the log of this name, if it still is the current one, and open the one of that key."""

    async def link(self, origin: str, size: int) -> Link:
        """How the log after this one is reached, from `size` entries on. Raises InvalidRequest."""

    async def consistency(self, origin: str, old: int, new: int) -> tuple[tuple[bytes, ...], bytes]:
        """As `LogView.consistency`, of the log of this name; empty: the current one. Raises InvalidRequest."""


class Planned(Struct, frozen=True):
    """What a rotation would do, or has done: `lacking` are live workers that do not hold the next log's key."""

    log: str
    size: int
    due: bool
    next: str
    vkey: str
    lacking: tuple[str, ...]
    event_id: str = ""


# By each live worker's id, the key that it holds for the next log.
Holding = Callable[[], dict[str, str]]


class Rotations:
    """Rotates the log for operators, and shows anybody how to follow."""

    def __init__(self, administration: Administration, chain: Chain, holding: Holding, clock: Clock) -> None:
        self._administration = administration
        self._chain = chain
        self._holding = holding
        self._clock = clock

    def due(self) -> str:
        """What there is to do, in a sentence; empty where there is nothing."""
        origin, now = self._chain.origin, self._clock.now()
        if not is_due(origin, now):
            return ""
        return f"the half-year of {origin} is over: run `broker audit rotate` when it suits"

    def held(self) -> str:
        """The verifier key that this worker holds for the next log; empty where it holds none."""
        return self._chain.prepared(next_origin(self._chain.origin, self._clock.now()))

    async def plan(self, caller: Caller) -> Planned:
        """What would be done now."""
        require(caller, Function.OPERATOR)
        origin, now = self._chain.origin, self._clock.now()
        later = next_origin(origin, now)
        vkey = self._chain.prepared(later)
        return Planned(origin, await self._chain.size(), is_due(origin, now), later, vkey, self._lacking(vkey))

    async def rotate(
        self,
        caller: Caller,
        log: str,
        *,
        early: bool,
        actor: Actor | None = None,
        reason: Reason | None = None,
    ) -> Planned:
        """Close `log` and open the next. Whoever tries again after a failure comes to the same end.

        Raises InvalidRequest where it is refused, AuditUnavailable.
        """
        planned = await self.plan(caller)
        if log != planned.log:
            raise InvalidRequest("log", f"is not the current one, which is {planned.log}")
        if not planned.due and not early:
            raise InvalidRequest(
                "early", f"the half-year of {log} is not over; say that it is meant to be early"
            )
        if split_origin(log)[1] > half_year(self._clock.now()):
            raise InvalidRequest("log", "is ahead of its time already; it is rotated after its half-year")
        vkey = self._chain.prepare(planned.next)
        await self._all_hold(vkey)
        said = reason or Reason()
        detail: dict[str, Json] = {
            "log": log,
            "next": planned.next,
            "vkey": vkey,
            "early": not planned.due,
            "reason": said.code or None,
        }
        made = await self._administration.note(caller, "log-rotated", detail, actor, said.words)
        await self._chain.rotate(log, vkey)
        return Planned(log, await self._size(log), planned.due, planned.next, vkey, (), made.event_id)

    async def follow(self, log: str, size: int) -> Link:
        """How the log after `log` is reached from `size` of its entries. Raises InvalidRequest."""
        return await self._chain.link(log, size)

    async def consistency(self, log: str, old: int, new: int) -> tuple[tuple[bytes, ...], bytes]:
        """As `Chain.consistency`."""
        return await self._chain.consistency(log, old, new)

    async def _size(self, log: str) -> int:
        link = await self._chain.link(log, 0)
        return int(link.final.split(b"\n", 2)[1])

    def _lacking(self, vkey: str) -> tuple[str, ...]:
        return tuple(sorted(worker for worker, held in self._holding().items() if not vkey or held != vkey))

    async def _all_hold(self, vkey: str) -> None:
        until = self._clock.loop_time() + HELD_WITHIN
        while lacking := self._lacking(vkey):
            if self._clock.loop_time() >= until:
                half = split_origin(vkey.partition("+")[0])[1]
                raise AuditUnavailable(
                    f"nothing was closed: {len(lacking)} live worker(s) do not hold the next log's key "
                    f"({', '.join(lacking)}): copy logs/{half}.key to their key folders and try again"
                )
            await asyncio.sleep(_LOOK)
