"""What is kept and what ends: legal holds, erasures, months and classes of views. Shapes, and ports over them.

Owns the shapes only. A hold, an erasure and the end of a month's key are changes like any other: they are made
through `Administration.make`, which commits the entry that says so in the same statement.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from broker.core.model import SubjectRef

# Under this key stand all holds: whoever ends a month for everybody read them, and is asked again where one was
# placed. Whoever erases something of its own reads those of its parties and of all (`holds_key`): nobody else's
# can stop it.
HOLDS = "holds"
HOLDS_OF_ALL = "holds:*"
# Under these, that somebody's erasure or a month's end took views. Each reads the other's: both say what they
# took, and neither may say it of what the other took meanwhile. An answer to a person reads the erasures by its
# own parties (`erasure_key`).
ERASURES, ENDINGS = "erasure", "retention"
# Seconds for which whoever ends a month has others wait, who place holds or erase: its last look at all that it
# destroys may be long, and each of these would have it made again.
LAST_LOOK = 10.0


def holds_key(agency: str) -> str:
    """Key of the holds that cover what this agency is party to, beside those of all."""
    return f"{HOLDS}:{agency}"


def erasure_key(agency: str) -> str:
    """Key of what this agency, or who has taken its place, gave up of its part of entries."""
    return f"{ERASURES}:{agency}"


class Hold(Struct, frozen=True):
    """One legal hold. `what` is person, incident or agreement; `everything` says that an auditor placed it, so
    that it covers the entries of all parties. `agreement` is empty but for those."""

    id: str
    agency: str
    everything: bool
    what: str
    agreement: str
    reference: str
    placed_at: datetime
    released_at: datetime | None = None


class Attached(Struct, frozen=True):
    """What hangs on some entries, or on a person, beside the entries' own views.

    `held` are the entries under hold. `waiting` are those with which humans of these agencies have work still:
    a row of their queues that is open, or a grant that runs. `rulings` are the (system, request) of referrals
    among them. Of what one agency, and those whose place it took, recorded about the person: `directives` are
    the ids of what is over, `standing` of what is not, `held_directives` of what is over and under hold.
    `worded` are the entries of which somebody's words are there.
    """

    held: frozenset[str]
    waiting: frozenset[str]
    rulings: frozenset[tuple[str, str]]
    directives: tuple[str, ...]
    standing: tuple[str, ...]
    held_directives: tuple[str, ...]
    worded: frozenset[str]


class Keeping(Protocol):
    """Holds and erasures."""

    def blind(self, terms: frozenset[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Search terms as the index has them: those that many entries have, and those that few have."""

    async def holds(self, hold: str = "") -> list[Hold]:
        """Those that stand, oldest first; or one by id, released or not. Raises AuditUnavailable."""

    async def attached(
        self, entries: Sequence[str], subject: SubjectRef | None, agencies: frozenset[str], now: datetime
    ) -> Attached:
        """What hangs on these entries, a bounded number, and on this person, if any. Raises
        AuditUnavailable."""

    async def waiting(self) -> float:
        """Seconds for which a month that is being ended has holds and erasures wait; 0: none is. Raises
        AuditUnavailable."""

    async def missed(self) -> tuple[str, int] | None:
        """The first entry that the search index has left out although it is further; None: there is none.

        Raises AuditUnavailable.
        """


class ViewClass(Struct, frozen=True):
    """A month's views of one class: its key's number, and whether the key has been `destroyed`."""

    key: int
    month: str
    name: str
    destroyed: bool = False


class Counted(Struct, frozen=True):
    """What is sealed under one key: entries in all, and those under hold; rows of humans' queues that are held
    or in use still, and so outlive it."""

    entries: int = 0
    held: int = 0
    in_use: int = 0


class Unfinished(Struct, frozen=True):
    """A month and class whose key was destroyed by the entry `id`, and of which something is left."""

    id: str
    view: ViewClass


class Destroying(Protocol):
    """Months and classes, from the first look to the last byte."""

    async def classes(self) -> list[ViewClass]:
        """Every month and class there has been, by month. Raises AuditUnavailable."""

    async def standing(self) -> list[str]:
        """The ids of the holds that stand. Raises AuditUnavailable."""

    async def counted(self) -> dict[int, Counted]:
        """What is sealed under each key, by its number. Raises AuditUnavailable."""

    async def set_aside(self, view: ViewClass, to: str) -> int:
        """Seal what outlives this class (held, or in use) under the key of the class `to` of its month; how
        many entries. May be interrupted and done again. Raises AuditUnavailable."""

    async def under(self, view: ViewClass) -> int:
        """How many entries are sealed under a key now. Raises AuditUnavailable."""

    async def last_look(self, seconds: float) -> None:
        """From now on, and for so many seconds at most, holds and erasures wait; 0: no longer. Raises
        AuditUnavailable."""

    async def unfinished(self) -> list[Unfinished]:
        """Ends that were begun. Raises AuditUnavailable."""

    async def finish(self, end: Unfinished) -> int:
        """Remove what can be opened no more, then the key outside the database; how many entries. May be
        interrupted and done again. Raises AuditUnavailable."""


class Scrubbed(Struct, frozen=True):
    """One step: `what` was done, in how many seconds, and its bytes on disk after it. `problem` says what only
    the server's administrator can do."""

    what: str
    seconds: float
    size: int = 0
    problem: str = ""


class Scrubbing(Protocol):
    """What removes erased bytes from the database's own files."""

    def scrub(self) -> AsyncIterator[Scrubbed]:
        """Every step as it is done. Raises AuditUnavailable."""
