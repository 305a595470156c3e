"""`broker audit search`: entries of the log by what stands in them, for parties and auditors.

Owns the command's words. Whom it is about can be read from standard input, so that nobody else on the machine
sees it among the processes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import AUDITOR, remote
from broker.errors import InvalidRequest

if TYPE_CHECKING:
    from broker.v1 import audit_pb2 as pb

Given = TypeVar("Given")
_OF_A_FACT = re.compile(r"facts\.([0-9]{1,3})\.(?:kind|value)", re.ASCII)
FACTS = (
    "event",
    "agency",
    "system",
    "actor",
    "callsign",
    "record-type",
    "purpose",
    "agreement",
    "outcome",
    "code",
    "rule",
    "override",
    "incident",
    "trace",
    "request",
    "key",
)

# What the log can be searched, and exported, by.
Reason = Annotated[str, typer.Option("--reason", metavar="CODE", help="Why the log is read.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="KIND=VALUE",
        help=f"What must stand in an entry; repeat for more. Kinds: {', '.join(FACTS)}.",
    ),
]
Person = Annotated[
    str,
    typer.Option(
        "--person",
        metavar="SCHEME:VALUE",
        help="About one person or premises. A person's is read from standard input only, where nobody else "
        "sees it: give `-`.",
    ),
]


Since = Annotated[
    datetime | None, typer.Option(parser=inputs.moment, metavar="TIME", help="Made then or later.")
]
Until = Annotated[datetime | None, typer.Option(parser=inputs.moment, metavar="TIME", help="Made before then.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="Most entries to show.")]
Beyond = Annotated[
    int | None,
    typer.Option(min=0, metavar="INDEX", help="Go on below it, as a search said."),
]
Log = Annotated[str, typer.Option(metavar="LOG", help="Begin at this log, not at the current one: 2026h2.")]
Follow = Annotated[bool, typer.Option("--follow", help="Stay, and show what comes.")]
AsJsonLines = Annotated[
    bool,
    typer.Option("--json", help="A JSON object a line, with the view; the last says where to go on, as `end`."),
]


@remote(AUDITOR, timeout=None)
def search(
    link: Link,
    reason: Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    facts: Where = None,
    person: Person = "",
    since: Since = None,
    until: Until = None,
    words: inputs.Words = "",
    limit: Limit = 50,
    beyond: Beyond = None,
    log: Log = "",
    in_place_of: inputs.InPlaceOf = "",
    follow: Follow = False,
    as_json: AsJsonLines = False,
) -> None:
    """Find entries by what stands in them, newest first. The search is itself an entry.

    An agency finds the entries that it is party to, in its own view; an auditor finds all, in full. An incident
    is looked for by every number that it is said to have (`broker audit incident`). At the end it is said how
    far the index reaches: entries made after that are not found yet.
    """
    from broker.v1 import audit_pb2 as pb
    from broker.v1 import exchange_pb2
    from broker.v1.audit_pb2_grpc import AuditServiceStub

    request = pb.SearchRequest(
        facts=[fact(each) for each in facts or ()],
        limit=limit,
        follow=follow,
        beyond=beyond,
        log=log,
        in_place_of=in_place_of,
        actor=exchange_pb2.Actor(id=actor_id, role=role),
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
    )
    for name, at in (("since", since), ("until", until)):
        if at is not None:
            getattr(request, name).FromDatetime(at)
    if person:
        subject = inputs.person_of(person)
        request.person.CopyFrom(exchange_pb2.SubjectRef(scheme=subject.scheme, value=subject.value))
    found, reached, numbers, cut = 0, dict[str, pb.SearchPage](), list[str](), False
    pages = link.stream(AuditServiceStub(link.channel).Search, request, forever=follow)
    for page in as_given(pages, request.facts):
        found += len(page.hits)
        numbers, cut = numbers or list(page.incidents), cut or page.incidents_cut
        newest = next(iter(reached), page.log)
        read(reached, page)
        for hit in page.hits:
            _show(hit, page.log, newest, as_json)
        output.now()
    _end(found, list(reached.values()), numbers, cut, as_json)


def read(reached: dict[str, pb.SearchPage], page: pb.SearchPage) -> None:
    """The newest page of each log stands for it, with how far its index was when that reached least: what was
    read then may lack what it lacked."""
    if (before := reached.get(page.log)) is not None:
        page.indexed = min(page.indexed, before.indexed)
    reached[page.log] = page


def fact(text: str) -> pb.SearchFact:
    """A fact for the wire."""
    from broker.v1 import audit_pb2 as pb

    kind, equals, value = text.partition("=")
    if not equals or kind not in FACTS or not value:
        raise typer.BadParameter(f"--where is KIND=VALUE, with one of {', '.join(FACTS)}")
    return pb.SearchFact(kind=kind, value=value)


def as_given(pages: Iterator[Given], facts: Sequence[pb.SearchFact]) -> Iterator[Given]:
    """The same; where the broker refuses a fact by its place among them, that is named as it was given."""
    try:
        yield from pages
    except InvalidRequest as error:
        place = _OF_A_FACT.fullmatch(error.field)
        if place is None or int(place[1]) >= len(facts):
            raise
        named = facts[int(place[1])]
        raise InvalidRequest(output.clean(f"--where {named.kind}={named.value}"), error.problem) from None


def _show(hit: pb.SearchHit, log: str, newest: str, as_json: bool) -> None:
    """A line. Indices are each log's own: those of another than the newest that is shown are named with it."""
    from broker.core.acted import acted_for
    from broker.core.rotation import split_origin

    view = json.loads(hit.view)
    at = hit.at.ToJsonString()
    if as_json:
        line = {
            "log": log,
            "index": hit.index,
            "entry": hit.event_id,
            "at": at,
            "audience": hit.audience,
            "view": view,
        }
        output.say(json.dumps(line, ensure_ascii=True))
        return
    told = [view.get(key) for key in ("event", "outcome", "code", "record_type", "provider", "agreement")]
    who, actor = view.get("requester") or "", view.get("actor") or {}
    by = f" by {actor['id']} ({actor.get('role') or 'no role'})" if actor.get("id") else ""
    by += f" of {acted_for(view)}" if by and acted_for(view) != who else ""
    by += f", override {view['override']}" if view.get("override") else ""
    place = str(hit.index) if log == newest else f"{split_origin(log)[1]}:{hit.index}"
    output.say(f"{place:>8}  {at}  {who:<12} {' '.join(str(each) for each in told if each)}{by}")


def _end(found: int, reached: list[pb.SearchPage], incidents: list[str], cut: bool, as_json: bool) -> None:
    last = reached[-1]
    beyond = last.beyond if last.HasField("beyond") else None
    if as_json:
        end = {
            "found": found,
            "log": last.log,
            "beyond": beyond,
            "indexed": last.indexed,
            "incidents": incidents,
            "incidents_cut": cut,
            "logs": [{"log": page.log, "size": page.size, "indexed": page.indexed} for page in reached],
        }
        output.say(json.dumps({"end": end}, ensure_ascii=True))
        return
    if incidents[1:]:
        output.say(f"Looked for {incidents[0]} also as {', '.join(incidents[1:])}.")
    if cut:
        output.say(
            "More was said of its numbers than is looked at: search by itself for any other that you know."
        )
    more = f"; more below: --log {last.log} --beyond {beyond}" if beyond is not None else ""
    told = [f"{page.indexed} of {page.log}" for page in reached]
    output.say(f"{found} found{more}. The index reaches entry {', '.join(told)}.")
    for page in reached:
        if page.indexed < page.size:
            missing = page.size - page.indexed
            output.say(f"Not looked at: {missing} entries of {page.log}, which the index does not hold yet.")
