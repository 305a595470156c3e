"""A month's figures as they were first published: from then on they are the figures of that month.

Owns that two reports of one month are never two counts: what has been erased between them could be worked out
from the difference. The figures stand in the entry that publishes them, and in a row of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date, datetime
from typing import Any, Protocol

from msgspec import Struct, convert, json

from broker.administration import Administration, Plan
from broker.core.canonical import Json
from broker.core.model import Actor, Caller
from broker.core.reports import performance
from broker.core.reports.document import Document, Table
from broker.core.reports.times import in_words
from broker.errors import AuditUnavailable
from broker.ids import entry_id
from broker.ports import Asked, Change, Clock, FactsSource, Reads

EVENT = "figures-published"
KIND = "figures"


class StoredFigures(Struct, frozen=True):
    """A month (its first day), the entry that published it, and what was published: facts and tables."""

    month: date
    id: str
    at: datetime
    page: dict[str, Json]


class FiguresStore(Protocol):
    """Months that were published. Raises AuditUnavailable."""

    async def month(self, month: date) -> StoredFigures | None:
        """One of them, by its first day."""


class _AlreadyError(Exception):
    """Somebody else was first."""


class Figures:
    """Publishes a month once."""

    def __init__(
        self, administration: Administration, store: FiguresStore, facts: FactsSource, clock: Clock
    ) -> None:
        self._administration = administration
        self._store = store
        self._facts = facts
        self._clock = clock

    async def published(
        self,
        caller: Caller,
        month: date,
        actor: Actor,
        count: Callable[[], Awaitable[Document]],
        said: StoredFigures | None = None,
    ) -> Document:
        """The page of a month: counted now if nobody has had it before, else as it was then. What the first
        entry `said` that can be found counts, whatever its row says now. Raises AuditUnavailable."""
        found = await self._store.month(month)
        if said is not None:
            return _as_published(said, _unlike(found, said))
        if found is not None:
            unsaid = f"entry {found.id} cannot be found, so nothing shows that this row is what it said"
            return _as_published(found, (("Not held against the log", unsaid),))
        if found is None:
            with suppress(_AlreadyError):
                await self._publish(caller, month, actor, await count())
            found = await self._store.month(month)
        if found is None:
            raise AuditUnavailable("the month was published and is not there")
        return _as_published(found)

    async def _publish(self, caller: Caller, month: date, actor: Actor, document: Document) -> None:
        new = entry_id()
        page: dict[str, Json] = {
            "facts": [[name, value] for name, value in document.facts],
            "tables": json.decode(json.encode(document.tables)),
        }
        key = f"{KIND}:{month.isoformat()}"

        async def plan() -> Plan:
            policy = (await self._facts.read(Asked((), caller.name, ()))).policy
            if await self._store.month(month) is not None:
                raise _AlreadyError
            stored: dict[str, Json] = {
                "id": new,
                "month": month.isoformat(),
                "at": self._clock.now().isoformat(),
                "page": page,
            }
            change = Change(KIND, stored, frozenset({key}), reference=False)
            return Plan(EVENT, stored, change, Reads(policy, frozenset({key})), id=new)

        await self._administration.make(caller, plan, actor)


def _unlike(row: StoredFigures | None, said: StoredFigures) -> tuple[tuple[str, str], ...]:
    """Where the row is not what its entry says."""
    if row is not None and (row.id, row.at, row.page) == (said.id, said.at, said.page):
        return ()
    problem = "has no row" if row is None else "is not what its row says"
    return (("DOES NOT FIT THE LOG", f"entry {said.id} {problem}: these are the figures of the entry"),)


def _as_published(figures: StoredFigures, more: tuple[tuple[str, str], ...] = ()) -> Document:
    page: Any = figures.page
    facts = tuple((name, value) for name, value in page["facts"])
    first = ("First published", f"{in_words(figures.at)}, by entry {figures.id}: these are the figures of then")
    return performance.page((*facts, first, *more), convert(page["tables"], tuple[Table, ...]))
