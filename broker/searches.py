"""Use case of searching the log: who may find what, and every search an entry.

An agency finds entries that it is party to, by what stands in its own view or what it said itself; auditors
find all; operators what was refused at the door, which is about nobody's record. Nobody learns how many there
are that they may not see: a page holds what may be seen, and where to go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from msgspec import Struct

from broker.administration import Administration, subject_detail
from broker.core import canonical, vocabulary
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.receipt import Audience
from broker.core.searchterms import CALLS_REFUSED, KINDS, Question, term, terms_of, together
from broker.errors import InvalidRequest, NotAllowed
from broker.incidents import Incidents
from broker.ports import Hit, Hits, LogSearch

PAGE = 200
_CHUNK = 200
# Entries looked at for one page; where few of them may be seen, the page says where to go on.
_MOST = 4000
NEWEST = (1 << 63) - 1
# Seconds: a party's page leaves at a multiple of it after it was asked for.
BUCKET = 0.025
# Looks into the index at a time: each may read far, and requests for records come first.
_LOOKS = 2


class Seen(Struct, frozen=True):
    """An entry that was found, as the caller may see it: `view` are the bytes of the view of that audience."""

    hit: Hit
    audience: Audience
    view: bytes


class Page(Struct, frozen=True):
    """What was found in one log, where to go on in it (None: nothing is left), and up to which entry the index
    reaches. `older` is the log before this one, to be searched next; empty where there is none. `question` is
    the one to go on with: by every number of the incident that was asked for."""

    found: tuple[Seen, ...]
    beyond: int | None
    done: int
    log: str = ""
    older: str = ""
    question: Question = Question()


class Searches:
    """Searches the log for people."""

    def __init__(self, administration: Administration, index: LogSearch) -> None:
        self._administration = administration
        self._index = index
        self.incidents = Incidents(administration, index)
        self._looks = asyncio.Semaphore(_LOOKS)

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
    ) -> Page:
        """The first page, newest entries first. An earlier look ended at `beyond` of `log` (empty: the current
        one).

        That somebody looks is committed before anything is read: for how much (`wanted`; 0: this page), and
        whether they stay for what comes.

        Raises InvalidRequest, NotAllowed, AuditUnavailable.
        """
        check(caller, question, reason)
        begun = asyncio.get_running_loop().time()
        begins = NEWEST if beyond is None else beyond
        noted = await self._note(caller, question, actor, reason, beyond, log, wanted or limit, follow)
        if not log:  # A search does not find itself.
            begins = min(noted, begins)
        question = await self.incidents.widened(caller, question)
        page = await self._read(caller, question, limit, begins, True, log)
        await _evenly(caller, begun)
        return page

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
        begun = asyncio.get_running_loop().time()
        page = await self._read(caller, question, limit, beyond, newest_first, log)
        await _evenly(caller, begun)
        return page

    async def every(self, caller: Caller, question: Question, below: int) -> AsyncIterator[Seen]:
        """Every entry below a place of the current log, and of those before it, that the caller may see, newest
        first, a page in memory at a time. Whoever asks has noted the look."""
        question = await self.incidents.widened(caller, question, below)
        at, log = below, ""
        while True:
            page = await self._read(caller, question, PAGE, at, True, log)
            for seen in page.found:
                yield seen
            if page.beyond is not None:
                at, log = page.beyond, page.log
            elif page.older:
                at, log = NEWEST, page.older
            else:
                return

    async def reach(self) -> int:
        """Entries from the first that a search looks through."""
        hits = await self._index.find(frozenset(), 0, 1, newest_first=True, since=None, until=None)
        return hits.done

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
        looked, found = 0, list[Seen]()
        party = frozenset({term("agency", caller.agency)} if caller.function is Function.PARTNER else ())
        while True:
            hits, more = await self._find(question, party, at, newest_first, log)
            log = hits.log  # should it be rotated meanwhile, this page stays in one
            for hit in hits.found:
                at = hit.index
                if (shown := seen(caller, question, hit)) is not None:
                    found.append(shown)
                    if len(found) == limit:
                        return Page(tuple(found), at, hits.done, hits.log, hits.older, question)
            looked += len(hits.found)
            if not more:
                return Page(tuple(found), None, hits.done, hits.log, hits.older, question)
            if looked >= _MOST:
                return Page(tuple(found), at, hits.done, hits.log, hits.older, question)

    async def _find(
        self, question: Question, party: frozenset[str], at: int, newest_first: bool, log: str
    ) -> tuple[Hits, bool]:
        """The next of them, of one log, and whether there are more. Raises InvalidRequest."""
        looks: list[Hits] = []
        for way in question.ways():
            async with self._looks:
                try:
                    hits = await self._index.find(
                        way | party,
                        at,
                        _CHUNK,
                        newest_first=newest_first,
                        since=question.since,
                        until=question.until,
                        log=log,
                    )
                except KeyError as e:
                    raise InvalidRequest("log", "is no log of this broker") from e
            log = hits.log
            looks.append(hits)
        merged = together([each.found for each in looks], _index, _CHUNK, newest_first=newest_first)
        done = min(each.done for each in looks)
        more = any(len(each.found) >= _CHUNK for each in looks)
        return Hits(tuple(merged), done, looks[0].log, looks[0].older), more

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
    ) -> int:
        detail: dict[str, Json] = {
            "facts": [f"{kind} {value}" for kind, value in question.facts],
            "subject": subject_detail(question.person) if question.person else None,
            "since": question.since.isoformat() if question.since else None,
            "until": question.until.isoformat() if question.until else None,
            "beyond": beyond,
            "log": log or None,
            "limit": wanted,
            "follow": follow,
            "reason": reason.code,
        }
        made = await self._administration.note(caller, "log-searched", detail, actor, words=reason.words)
        return made.receipt.index


async def _evenly(caller: Caller, begun: float) -> None:
    """Until the next moment at which a party's page may leave: what was found and may not be seen takes time to
    be looked at, and would show by it."""
    if caller.function is Function.PARTNER:
        spent = asyncio.get_running_loop().time() - begun
        await asyncio.sleep(BUCKET * (int(spent / BUCKET) + 1) - spent)


def _index(hit: Hit) -> int:
    return hit.index


def check(caller: Caller, question: Question, reason: Reason) -> None:
    """Who may look, for what, and why. Raises InvalidRequest, NotAllowed."""
    if caller.function is Function.OPERATOR and ("event", CALLS_REFUSED) not in question.facts:
        raise NotAllowed(
            "operators run the broker and do not read what it carried; auditors and parties do. What was "
            f"refused at the door operators find with event={CALLS_REFUSED}"
        )
    if not reason.code:
        raise InvalidRequest("reason.code", "say why the log is searched")
    for n, (kind, value) in enumerate(question.facts):
        if kind not in KINDS:
            raise InvalidRequest(f"facts.{n}.kind", f"one of {', '.join(KINDS)}")
        if kind == "rule" and caller.function is Function.PARTNER:
            raise InvalidRequest(f"facts.{n}.kind", "rule is for auditors: no party's view says which it was")
        if not value:
            raise InvalidRequest(f"facts.{n}.value", "is required")
        vocabulary.check(kind, value, f"facts.{n}.value")
    if sum(kind == "incident" for kind, _ in question.facts) > 1:
        raise InvalidRequest(
            "facts", "name one incident: the numbers that are said to be the same are searched too"
        )
    if question.since and question.until and question.until <= question.since:
        raise InvalidRequest("until", "is not after since")


def seen(caller: Caller, question: Question, hit: Hit) -> Seen | None:
    """The entry as this caller may see it, if it may and if it is really what was asked for."""
    audience = audience_of(caller, hit)
    if audience is None or (view := hit.views.get(audience.value)) is None:
        return None
    ways = question.ways()
    if ways == (frozenset(),):
        return Seen(hit, audience, view)
    own = None if audience is Audience.FULL else canonical.decode_object(view)
    known = terms_of(hit.full, audience, own)
    if audience is not Audience.FULL:  # a view does not name the requester, and its parties know each other
        known |= {term("agency", hit.requester)}
    if not any(way <= known for way in ways):
        return None
    return Seen(hit, audience, view)


def audience_of(caller: Caller, hit: Hit) -> Audience | None:
    """Whose view of an entry the caller may see, by who its parties are; None: nobody's."""
    if caller.function is Function.AUDITOR:
        return Audience.FULL
    if caller.function is Function.OPERATOR and hit.full.get("event") == CALLS_REFUSED:
        return Audience.FULL
    if caller.function is not Function.PARTNER:
        return None
    if caller.agency == hit.requester:
        return Audience.REQUESTER
    return Audience.PROVIDER if caller.agency == hit.provider else None
