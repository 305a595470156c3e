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
    page = await searches.page(
        caller,
        asked,
        actor,
        reason,
        limit=min(left, PAGE),
        beyond=beyond,
        wanted=left,
        follow=request.follow,
    )
    while True:
        if page.found:
            newest = max(newest, page.found[0].hit.index)
        left -= len(page.found)
        last = page.beyond is None or left <= 0
        for message in messages(page):
            yield message
        if last:
            break
        page = await searches.on(caller, asked, page.beyond or 0, min(left, PAGE), newest_first=True)
    while request.follow:
        await asyncio.sleep(FOLLOW)
        page = await searches.on(caller, asked, newest, newest_first=False)
        if page.found:
            newest = page.found[-1].hit.index
            for message in messages(page):
                yield message


def messages(page: Page) -> list[pb.SearchPage]:
    """A page in messages of a bounded size, at least one."""
    made, size = [pb.SearchPage(indexed=page.done)], 0
    for seen in page.found:
        if size > _MESSAGE:
            made.append(pb.SearchPage(indexed=page.done))
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
    return made
