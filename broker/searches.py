"""Use case of searching the log: a page at a time, and every search an entry.

Nobody learns how many entries there are that they may not see, nor where: a page holds what may be seen, ends
at the last of that or where the log does, and leaves a party at fixed moments.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from broker.administration import Administration, Made
from broker.audience import Seen, seen
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.rotation import split_origin
from broker.core.searchterms import NEWEST, Question, together
from broker.errors import InvalidRequest
from broker.evenly import asked_at, evenly
from broker.heritage import Heritage
from broker.incidents import Incidents
from broker.lanes import by_steps
from broker.ports import Hit, Hits, LogSearch, Remains
from broker.questioning import check, check_agreements, question_detail
from broker.turns import Turns

PAGE = 200
_CHUNK = 200
# Looks into the index at a time, one of an agency: each may read far, and requests for records come first.
_LOOKS = 2


class Page(Struct, frozen=True):
    """What was found in one log of `size` entries, where to go on in it (None: nothing is left), and up to
    which entry the index reaches. `older` is the log before this one, to be searched next; empty where there
    is none. `question` is the one to go on with: by every number of the incident that was asked for."""

    found: tuple[Seen, ...]
    beyond: int | None
    done: int
    size: int
    log: str = ""
    older: str = ""
    question: Question = Question()
    # The entry of the look itself; empty where this is more of one.
    entry: str = ""


class Searches:
    """Searches the log for people."""

    def __init__(self, administration: Administration, index: LogSearch, heritage: Heritage) -> None:
        self._administration = administration
        self._index = index
        self._heritage = heritage
        self.incidents = Incidents(administration, index, heritage.agencies)
        self._looks = Turns(_LOOKS)

    async def page(
        self,
        caller: Caller,
        question: Question,
        actor: Actor,
        reason: Reason,
        *,
        limit: int = PAGE,
        beyond: int | None = None,
        wanted: int = 0,
        follow: bool = False,
        log: str = "",
        in_place_of: str = "",
    ) -> Page:
        """The first page, newest entries first. An earlier look ended at `beyond` of `log` (empty: the current
        one).

        That somebody looks is committed before anything is read: for how much (`wanted`; 0: this page), and
        whether they stay for what comes.

        Raises InvalidRequest, NotAllowed, AuditUnavailable.
        """
        check(caller, question, reason)
        if any(kind == "agreement" for kind, _ in question.facts):
            check_agreements(question, await self._heritage.agreements())
        eyes = await self.eyes(caller, in_place_of)
        asked = asked_at()
        begins = NEWEST if beyond is None else beyond
        noted = await self._note(
            caller, question, actor, reason, beyond, log, wanted or limit, follow, "", in_place_of
        )
        if log in ("", noted.log, split_origin(noted.log)[1]):  # A search does not find itself.
            log, begins = noted.log, min(noted.receipt.index, begins)
        question = await self.incidents.widened(eyes, question)
        page = await self._read(eyes, question, limit, begins, True, log)
        await evenly(caller, asked)
        return replace(page, entry=noted.event_id)

    async def eyes(self, caller: Caller, in_place_of: str) -> Caller:
        """As whom a look is made in another's place: for `on`. Raises NotAllowed."""
        return await self._heritage.eyes(caller, in_place_of)

    async def stays(
        self,
        caller: Caller,
        question: Question,
        actor: Actor,
        reason: Reason,
        since: str,
        in_place_of: str = "",
    ) -> None:
        """That somebody still looks for what comes: an entry again, which names the one that it `since` goes on
        from. Raises AuditUnavailable: nothing more is shown then."""
        await self._note(caller, question, actor, Reason(reason.code), None, "", 0, True, since, in_place_of)

    async def on(
        self,
        caller: Caller,
        question: Question,
        beyond: int,
        limit: int = PAGE,
        *,
        newest_first: bool,
        log: str = "",
    ) -> Page:
        """More of the same look, or what has come since it began: it was noted then."""
        asked = asked_at()
        page = await self._read(caller, question, limit, beyond, newest_first, log)
        await evenly(caller, asked)
        return page

    async def every(
        self,
        caller: Caller,
        question: Question,
        log: str,
        below: int,
        read: Callable[[Page], None] = lambda _: None,
    ) -> AsyncIterator[Seen]:
        """Every entry below a place of a log, and of those before it, that the caller may see, newest first,
        a page in memory at a time. `read` is told of each page. Whoever asks has noted the look."""
        question = await self.incidents.widened(caller, question, log, below)
        at = below
        while True:
            page = await self._read(caller, question, PAGE, at, True, log)
            read(page)
            async for each in by_steps(page.found):
                yield each
            if page.beyond is not None:
                at, log = page.beyond, page.log
            elif page.older:
                at, log = NEWEST, page.older
            else:
                return

    async def reach(self, log: str) -> list[Page]:
        """How far a search reaches in a log and in those before it, newest first: pages with nothing on."""
        pages = list[Page]()
        while not pages or pages[-1].older:
            log = pages[-1].older if pages else log
            hits = await self._index.find(frozenset(), 0, 1, newest_first=True, since=None, until=None, log=log)
            pages.append(Page((), None, hits.done, hits.size, hits.log, hits.older))
        return pages

    async def entry(self, entry: str) -> Hit:
        """An entry by its id, in whichever log; whoever asks owns who may see it. KeyError if there is none."""
        return await self._index.entry(entry)

    async def remains(self, entries: Sequence[str]) -> dict[str, Remains]:
        """What there is of these entries, at most some hundreds, by id."""
        return await self._index.remains(entries)

    async def progress(self) -> tuple[int, int]:
        """Entries in the index, and in the log."""
        return await self._index.progress()

    async def current(self) -> str:
        """The name of the current log."""
        nothing = await self._index.find(frozenset(), NEWEST, 1, newest_first=False, since=None, until=None)
        return nothing.log

    async def _read(
        self, caller: Caller, question: Question, limit: int, at: int, newest_first: bool, log: str
    ) -> Page:
        found = list[Seen]()
        party = caller.agency if caller.function is Function.PARTNER else ""
        while True:
            hits, more = await self._find(caller.agency, question, party, at, newest_first, log)
            log = hits.log  # should it be rotated meanwhile, this page stays in one
            async for hit in by_steps(hits.found):
                at = hit.index
                if (shown := seen(caller, question, hit)) is not None:
                    found.append(shown)
                    if len(found) == limit:
                        return _page(found, at, hits, question)
            if not more:
                return _page(found, None, hits, question)

    async def _find(
        self, agency: str, question: Question, party: str, at: int, newest_first: bool, log: str
    ) -> tuple[Hits, bool]:
        """The next of them, of one log, and whether there are more. Raises InvalidRequest."""
        looks: list[Hits] = []
        for way in question.ways():
            async with self._looks.one(agency):
                try:
                    hits = await self._index.find(
                        way,
                        at,
                        _CHUNK,
                        newest_first=newest_first,
                        since=question.since,
                        until=question.until,
                        log=log,
                        party=party,
                    )
                except KeyError as e:
                    raise InvalidRequest("log", "is no log of this broker") from e
            log = hits.log
            looks.append(hits)
        merged = together([each.found for each in looks], _index, _CHUNK, newest_first=newest_first)
        done = min(each.done for each in looks)
        more = any(len(each.found) >= _CHUNK for each in looks)
        return Hits(tuple(merged), done, looks[0].size, looks[0].log, looks[0].older), more

    async def _note(
        self,
        caller: Caller,
        question: Question,
        actor: Actor,
        reason: Reason,
        beyond: int | None,
        log: str,
        wanted: int,
        follow: bool,
        since: str = "",
        in_place_of: str = "",
    ) -> Made:
        detail: dict[str, Json] = {
            **question_detail(question),
            "beyond": beyond,
            "log": log or None,
            "limit": wanted,
            "follow": follow,
            "goes_on": since or None,
            "in_place_of": in_place_of or None,
        }
        return await self._administration.note_look(
            caller, "log-searched", detail, actor, reason, counted=not since
        )


def _page(found: list[Seen], beyond: int | None, hits: Hits, question: Question) -> Page:
    return Page(tuple(found), beyond, hits.done, hits.size, hits.log, hits.older, question)


def _index(hit: Hit) -> int:
    return hit.index
