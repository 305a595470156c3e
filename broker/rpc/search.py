"""Searching the log over the wire: pages of what the caller may see, and what comes after, while it stays.

Staying is an entry again each hour, before anything more is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from broker.core.model import Caller
from broker.core.searchterms import NEWEST, Question
from broker.errors import InvalidRequest
from broker.rpc import parse, wire
from broker.searches import PAGE, Page, Searches
from broker.v1 import audit_pb2 as pb

MOST = 10_000
FOLLOW = 1.0  # seconds between looks for what has come
AGAIN = 3600.0  # seconds after which staying is an entry again
# Beyond the length of a busy deployment's message.
_NAME = 512
_AGENCY = 64
_LARGEST = 1 << 53  # no entry can say that it was looked from there
_MESSAGE = 256 * 1024


def question(request: pb.SearchRequest | pb.ExportRequest) -> Question:
    """What is asked. Raises InvalidRequest."""
    facts = tuple(
        (parse.text(f"facts.{n}.kind", fact.kind, 32), parse.text(f"facts.{n}.value", fact.value, 256))
        for n, fact in enumerate(request.facts)
    )
    person = parse.subject(request.person, "person") if request.HasField("person") else None
    return Question(facts, person, parse.when("since", request, "since"), parse.when("until", request, "until"))


async def search(searches: Searches, request: pb.SearchRequest, caller: Caller) -> AsyncIterator[pb.SearchPage]:
    """Pages until enough was found; then, if the caller stays, what comes."""
    asked, left = question(request), request.limit or PAGE
    if left > MOST:
        raise InvalidRequest("limit", f"at most {MOST}")
    actor, reason = parse.actor(request.actor), parse.reason(request.reason)
    beyond = request.beyond if request.HasField("beyond") else None
    if beyond is not None and beyond >= _LARGEST:
        raise InvalidRequest("beyond", "is no index of a log")
    done, _ = await searches.progress()
    newest = done - 1
    log = parse.text("log", request.log, _NAME)
    in_place_of = parse.text("in_place_of", request.in_place_of, _AGENCY)
    eyes = await searches.eyes(caller, in_place_of)
    page = await searches.page(
        caller,
        asked,
        actor,
        reason,
        limit=min(left, PAGE),
        beyond=beyond,
        wanted=left,
        follow=request.follow,
        log=log,
        in_place_of=in_place_of,
    )
    current, asked, look = page.log, page.question, page.entry
    noted = asyncio.get_running_loop().time()
    while True:
        if page.found and page.log == current:
            newest = max(newest, page.found[0].hit.index)
        left -= len(page.found)
        for message in messages(page):
            yield message
        if left <= 0 or (page.beyond is None and not page.older):
            break
        if page.beyond is None:  # on to the log before
            page = await _older(searches, eyes, asked, min(left, PAGE), NEWEST, page.older)
        else:
            page = await _older(searches, eyes, asked, min(left, PAGE), page.beyond, page.log)
    more = False
    while request.follow:
        await asyncio.sleep(0 if more else FOLLOW)
        if asyncio.get_running_loop().time() - noted >= AGAIN:
            await searches.stays(caller, asked, actor, reason, look, in_place_of)
            eyes = await searches.eyes(caller, in_place_of)
            noted = asyncio.get_running_loop().time()
        # Asked before the look: what was appended to a log until it was closed is found by a look after that.
        then = current if log else await searches.current()
        page = await searches.on(eyes, asked, newest, newest_first=False, log=current)
        more = page.beyond is not None
        if page.beyond is not None:  # also where nothing of what was looked at may be seen
            newest = page.beyond
        if page.found:
            newest = max(newest, page.found[-1].hit.index)
            for message in messages(page):
                yield message
        elif not more and then != current:
            newest, current = -1, then


async def _older(
    searches: Searches, caller: Caller, asked: Question, limit: int, beyond: int, log: str
) -> Page:
    return await searches.on(caller, asked, beyond, limit, newest_first=True, log=log)


def messages(page: Page) -> list[pb.SearchPage]:
    """A page in messages of a bounded size, at least one."""
    made, size = [_message(page)], 0
    for seen in page.found:
        if size > _MESSAGE:
            made.append(_message(page))
            size = 0
        hit = seen.hit
        made[-1].hits.append(
            pb.SearchHit(
                index=hit.index,
                event_id=hit.id,
                at=wire.timestamp(hit.at),
                audience=seen.audience.value,
                view=seen.view,
            )
        )
        size += len(seen.view)
    if page.beyond is not None:
        made[-1].beyond = page.beyond
    elif page.older:  # what is left of this log is nothing, and then comes the one before
        made[-1].beyond = 0
    return made


def _message(page: Page) -> pb.SearchPage:
    asked = page.question
    return pb.SearchPage(
        indexed=page.done, log=page.log, size=page.size, incidents=asked.incidents, incidents_cut=asked.cut
    )
