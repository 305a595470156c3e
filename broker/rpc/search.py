"""Searching the log over the wire: pages of what the caller may see, and what comes after, while it stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from broker.core.model import Caller
from broker.core.searchterms import Question
from broker.errors import InvalidRequest
from broker.rpc import parse, wire
from broker.searches import NEWEST, PAGE, Page, Searches
from broker.v1 import audit_pb2 as pb

MOST = 10_000
FOLLOW = 1.0  # seconds between looks for what has come
# Beyond the length of a busy deployment's message.
_MAX_FACTS = 16
_NAME = 512
_MESSAGE = 256 * 1024


def question(request: pb.SearchRequest | pb.ExportRequest) -> Question:
    """What is asked. Raises InvalidRequest."""
    if len(request.facts) > _MAX_FACTS:
        raise InvalidRequest("facts", f"at most {_MAX_FACTS}")
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
    if beyond is not None and beyond > NEWEST:
        raise InvalidRequest("beyond", "is no index of a log")
    done, _ = await searches.progress()
    newest = done - 1
    log = parse.text("log", request.log, _NAME)
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
    )
    current, asked = page.log, page.question
    while True:
        if page.found and page.log == current:
            newest = max(newest, page.found[0].hit.index)
        left -= len(page.found)
        for message in messages(page):
            yield message
        if left <= 0 or (page.beyond is None and not page.older):
            break
        if page.beyond is None:  # on to the log before
            page = await _older(searches, caller, asked, min(left, PAGE), NEWEST, page.older)
        else:
            page = await _older(searches, caller, asked, min(left, PAGE), page.beyond, page.log)
    while request.follow:
        await asyncio.sleep(FOLLOW)
        page = await searches.on(caller, asked, newest, newest_first=False, log=current)
        if page.found:
            newest = page.found[-1].hit.index
            for message in messages(page):
                yield message
        elif not log and (now := await searches.current()) != current:
            newest, current = -1, now


async def _older(
    searches: Searches, caller: Caller, asked: Question, limit: int, beyond: int, log: str
) -> Page:
    return await searches.on(caller, asked, beyond, limit, newest_first=True, log=log)


def messages(page: Page) -> list[pb.SearchPage]:
    """A page in messages of a bounded size, at least one."""
    made, size = [pb.SearchPage(indexed=page.done, log=page.log, incidents=page.question.incidents)], 0
    for seen in page.found:
        if size > _MESSAGE:
            made.append(pb.SearchPage(indexed=page.done, log=page.log))
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
