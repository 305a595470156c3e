"""Whether the systems that may speak are those that the log's entries enrolled: function, keys, roles, dates.

A look at the start and then hourly, by the search index, over the entries that changed a system alone. It is
cheap, and so a first look: it believes that the index left nothing out, and asks of systems alone; `broker
audit fsck` with the key folder believes neither. What it finds is told, and stops nobody: a row that somebody
wrote must not take every worker out of service.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import structlog

from broker.core.canonical import Json
from broker.core.directory import System
from broker.core.forms import system_from
from broker.core.retention import CHANGES, is_held
from broker.core.searchterms import NEWEST, term
from broker.errors import AuditUnavailable, BrokerError
from broker.lanes import by_steps
from broker.ports import Clock, Hit, LogSearch, ReferenceSource
from broker.upkeep import Troubles

EVERY = 3600.0  # seconds
MOST = 20_000  # entries of one look; where there are more, no more is said than that
_PAGE = 200
_TRIES = 3
_EVENTS = (
    *("system-enrolled", "system-proposed", "system-attached", "system-suspended", "suspension-lifted"),
    *("key-revoked", "agency-left", "agency-succeeded", "agency-succession-corrected"),
    "agency-succession-taken-back",
)
_RETENTION = "retention"
_ALL = "systems"

_diagnostics = structlog.get_logger("broker.vouching")


class Vouching:
    """One worker's looks."""

    def __init__(self, index: LogSearch, reference: ReferenceSource, clock: Clock) -> None:
        self._index = index
        self._reference = reference
        self._clock = clock
        self._due = float("-inf")
        self._troubles = Troubles("the directory is not what the log says")
        self._named: tuple[str, ...] = ()

    def reasons(self) -> tuple[str, ...]:
        """What is wrong, without a name, for readiness to tell."""
        return self._troubles.reasons()

    async def step(self) -> None:
        """A look, if one is due. Raises AuditUnavailable."""
        if self._clock.loop_time() < self._due:
            return
        try:
            if not await self._look():
                return  # the index is behind, or changes came in between: soon again
        except AuditUnavailable:
            raise
        except BrokerError as e:
            self._troubles.fails(_ALL, f"it was not looked at: {e}")
        self._due = self._clock.loop_time() + EVERY

    async def _look(self) -> bool:
        """Whether a look came to its end."""
        for _ in range(_TRIES):
            before = await self._reference.refresh()
            said = await self._said()
            if said is None:
                return False
            now = await self._reference.refresh()
            if now.policy == before.policy:
                self._tell(tuple(sorted(_unlike(now.systems, *said))))
                return True
        return False

    def _tell(self, wrong: tuple[str, ...]) -> None:
        if wrong and wrong != self._named:
            _diagnostics.error("systems are not what the log says", systems=wrong)
        self._named = wrong
        if wrong:
            who = "1 system" if len(wrong) == 1 else f"{len(wrong)} systems"
            self._troubles.fails(_ALL, f"{who}, which broker audit fsck with --keys names")
        else:
            self._troubles.well(_ALL)

    async def _said(self) -> tuple[dict[str, Json], bool] | None:
        """The last that was said of each system, and whether some of it may be gone; None where the index does
        not hold all yet."""
        last: dict[str, tuple[tuple[int, int], Json]] = {}
        gone, seen = False, 0
        for event in (*_EVENTS, _RETENTION):
            async for place, hit in self._entries(event):
                if hit is None:
                    return None
                seen += 1
                gone = gone or seen > MOST or _takes_changes(hit.full)
                for name, detail in _systems(hit.full) if event != _RETENTION else ():
                    if name not in last or last[name][0] < place:
                        last[name] = place, detail
            if seen > MOST:
                return {}, True
        return {name: detail for name, (_, detail) in last.items()}, gone

    async def _entries(self, event: str) -> AsyncIterator[tuple[tuple[int, int], Hit | None]]:
        """Entries of one kind in all logs, newest first, each with its place; None: the index is behind."""
        beyond, log, age, seen = NEWEST, "", 0, 0
        while seen <= MOST:
            page = await self._index.find(
                frozenset({term("event", event)}),
                beyond,
                _PAGE,
                newest_first=True,
                since=None,
                until=None,
                log=log,
            )
            if page.done < page.size:
                yield (0, 0), None
                return
            async for hit in by_steps(page.found):
                seen += 1
                yield (-age, hit.index), hit
            log = page.log
            if len(page.found) == _PAGE:
                beyond = page.found[-1].index
            elif page.older:
                beyond, log, age = NEWEST, page.older, age + 1
            else:
                return


def _unlike(systems: Mapping[str, System], said: Mapping[str, Json], gone: bool) -> set[str]:
    """Systems that are not as they were said to be. Of one of which nothing is said any more, nothing is
    known."""
    found = set[str]()
    for name in systems.keys() | said.keys():
        if name not in said:
            if not gone:
                found.add(name)
        elif systems.get(name) != _system(said[name]):
            found.add(name)
    return found


def _system(detail: Any) -> System | None:
    try:
        return system_from(detail)
    except (LookupError, TypeError, ValueError):
        return None


def _systems(full: dict[str, Json]) -> list[tuple[str, Json]]:
    """What an entry says of systems, by name."""
    detail: Any = full.get("detail")
    if not isinstance(detail, dict):
        return []
    listed = detail.get("systems") if str(full.get("event")).startswith("agency-") else [detail]
    return [(str(each.get("name")), each.get("detail")) for each in listed or () if isinstance(each, dict)]


def _takes_changes(full: dict[str, Json]) -> bool:
    """Whether a retention ended entries of changes of some month."""
    detail: Any = full.get("detail")
    name = str(detail.get("class")) if full.get("event") == _RETENTION and isinstance(detail, dict) else ""
    return name == CHANGES or is_held(name)
