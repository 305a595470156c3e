"""`broker audit search`: entries of the log by what stands in them, for parties and auditors.

Owns the command's words. Whom it is about can be read from standard input, so that nobody else on the machine
sees it among the processes.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import AUDITOR, remote

if TYPE_CHECKING:
    from broker.v1 import audit_pb2 as pb

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


@remote(AUDITOR, timeout=None)
def search(
    link: Link,
    reason: Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    facts: Where = None,
    person: Person = "",
    since: Annotated[
        datetime | None, typer.Option(parser=inputs.moment, metavar="TIME", help="Made then or later.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=inputs.moment, metavar="TIME", help="Made before then.")
    ] = None,
    words: inputs.Words = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most entries to show.")] = 50,
    beyond: Annotated[
        int | None,
        typer.Option(min=0, metavar="INDEX", help="Go on below it, as a search said."),
    ] = None,
    log: Annotated[
        str, typer.Option(metavar="LOG", help="Begin at this log, not at the current one: 2026h2.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Stay, and show what comes.")] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="A JSON object a line, with the view; the last says where to go on, as `end`."
        ),
    ] = False,
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
        actor=exchange_pb2.Actor(id=actor_id, role=role),
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
    )
    for name, at in (("since", since), ("until", until)):
        if at is not None:
            getattr(request, name).FromDatetime(at)
    if person:
        subject = inputs.person_of(person)
        request.person.CopyFrom(exchange_pb2.SubjectRef(scheme=subject.scheme, value=subject.value))
    found, page, numbers = 0, pb.SearchPage(), list[str]()
    for page in link.stream(AuditServiceStub(link.channel).Search, request, forever=follow):
        found += len(page.hits)
        numbers = numbers or list(page.incidents)
        for hit in page.hits:
            _show(hit, page.log, as_json)
    _end(found, page, numbers, as_json)


def fact(text: str) -> pb.SearchFact:
    """A fact for the wire."""
    from broker.v1 import audit_pb2 as pb

    kind, equals, value = text.partition("=")
    if not equals or kind not in FACTS or not value:
        raise typer.BadParameter(f"--where is KIND=VALUE, with one of {', '.join(FACTS)}")
    return pb.SearchFact(kind=kind, value=value)


def _show(hit: pb.SearchHit, log: str, as_json: bool) -> None:
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
    by += f", override {view['override']}" if view.get("override") else ""
    output.say(f"{hit.index:>8}  {at}  {who:<12} {' '.join(str(each) for each in told if each)}{by}")


def _end(found: int, page: pb.SearchPage, incidents: list[str], as_json: bool) -> None:
    beyond = page.beyond if page.HasField("beyond") else None
    if as_json:
        end = {
            "found": found,
            "log": page.log,
            "beyond": beyond,
            "indexed": page.indexed,
            "incidents": incidents,
        }
        output.say(json.dumps({"end": end}, ensure_ascii=True))
        return
    if incidents[1:]:
        output.say(f"Looked for {incidents[0]} also as {', '.join(incidents[1:])}.")
    more = f"; more below: --log {page.log} --beyond {beyond}" if beyond is not None else ""
    output.say(f"{found} found{more}. The index reaches entry {page.indexed} of {page.log}.")
