"""`broker audit report subject` and what follows it: who saw what about one person, cleared by each controller.

Owns the words of these commands. Identifiers come from standard input alone, so that nobody else on the machine
sees them among the processes.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import document, evidence, inputs, output
from broker.cli.audit_report import TIMEOUT, Since, Until, Why, Words, app
from broker.cli.connection import Link
from broker.cli.document import AsJson, Form, Out
from broker.cli.remote import remote
from broker.cli.report import Format

if TYPE_CHECKING:
    from broker.core.model import SubjectRef
    from broker.v1 import report_pb2 as pb

MOST = 8  # identifiers of one person
NOT_GIVEN = 3
AccessId = Annotated[str, typer.Argument(metavar="ID", help="As `subject` and `drafts` print it.")]


@app.command()
@remote(None)
def subject(
    link: Link,
    reason: Why,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    received: Annotated[
        datetime | None,
        typer.Option(
            "--received", parser=inputs.moment, metavar="TIME", help="When the request came; by default now."
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    deceased: Annotated[
        bool, typer.Option("--deceased", help="The person has died: there is no such right, and it is said.")
    ] = False,
    words: Words = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Begin the answer to a request for access (UK GDPR Art. 15, DPA 2018 s.45): who saw what about a person.

    The person's identifiers are read from standard input, SCHEME:VALUE a line. Every controller then sees
    its own entries (draft) and clears them (clear); `answer` holds what every controller concerned has cleared.
    """
    from broker.v1 import exchange_pb2
    from broker.v1 import report_pb2 as pb
    from broker.v1.report_pb2_grpc import ReportServiceStub

    request = pb.StartAccessRequest(
        subjects=[inputs.wire_subject(each) for each in _people()],
        received_at=inputs.stamp(received),
        since=inputs.stamp(since),
        until=inputs.stamp(until),
        deceased=deceased,
        actor=exchange_pb2.Actor(id=actor_id, role=role),
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
    )
    reply = link.call(ReportServiceStub(link.channel).StartAccess, request)
    made = {"access": reply.access_id, "due_at": output.when(reply, "due_at")}
    output.one({**made, **evidence.noted(reply.receipt, link.endpoint.vkey)}, as_json)


def _people() -> list[SubjectRef]:
    from broker.core.subject import parse_subject

    if sys.stdin.isatty():
        sys.stderr.write("SCHEME:VALUE of the person, one a line, then end of file:\n")
    lines = [line.strip() for line in sys.stdin.read(4096).splitlines() if line.strip()]
    if not 1 <= len(lines) <= MOST or not all(":" in line for line in lines):
        raise typer.BadParameter(f"standard input has 1 to {MOST} lines SCHEME:VALUE, all of the one person")
    return [parse_subject(*line.split(":", 1)) for line in lines]


@app.command()
@remote(None)
def drafts(
    link: Link,
    reason: Why,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: Words = "",
    as_json: inputs.AsJson = False,
) -> None:
    """List requests for access that are open, what is due first, and how many entries you have to decide."""
    from broker.v1 import report_pb2 as pb
    from broker.v1.report_pb2_grpc import ReportServiceStub

    request = pb.ListAccessesRequest(**inputs.looking(actor_id, role, reason, words))
    reply = link.call(ReportServiceStub(link.channel).ListAccesses, request)
    noted = evidence.noted(reply.receipt, link.endpoint.vkey)
    found: list[dict[str, object]] = [
        {
            "access": each.id,
            "agency": each.agency,
            "due_at": output.when(each, "due_at"),
            "started_at": output.when(each, "started_at"),
            "left": "not counted: see its draft" if each.many else each.left,
        }
        for each in reply.accesses
    ]
    if as_json:
        output.emit_json({"accesses": found, "more": reply.more, **noted})
        return
    output.many(found, ("access", "agency", "due_at", "left"), "no request for access is open")
    if reply.more:
        output.say("More are open than are listed: of each controller those that are due first.")


@app.command()
@remote(None, timeout=TIMEOUT)
def draft(
    link: Link,
    access: AccessId,
    reason: Why,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: Words = "",
    in_place_of: inputs.InPlaceOf = "",
    form: Form = Format.html,
    as_json: AsJson = False,
    to: Out = None,
) -> None:
    """Your agency's own entries for a request for access, each as the person would be told of it."""
    from broker.v1 import exchange_pb2
    from broker.v1 import report_pb2 as pb
    from broker.v1.report_pb2_grpc import ReportServiceStub

    request = pb.DraftAccessRequest(
        access_id=access,
        in_place_of=in_place_of,
        actor=exchange_pb2.Actor(id=actor_id, role=role),
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
    )
    parts = link.stream(ReportServiceStub(link.channel).DraftAccess, request)
    document.put(document.read(link, parts), form, as_json, to)


Entries = Annotated[
    list[str] | None,
    typer.Option("--entry", metavar="ENTRY", help="One of yours, as draft shows it; repeat."),
]
Everything = Annotated[
    bool, typer.Option("--all", help="All of yours that are not decided yet, 500 at a time.")
]
Exemption = Annotated[
    str,
    typer.Option(
        "--leave-out",
        metavar="EXEMPTION",
        help=(
            "Leave them out, under: third-party, serious-harm-health, serious-harm-social-work, "
            "child-abuse, crime-prevention, legal-privilege, police-restriction, neither-confirm-nor-deny."
        ),
    ),
]
Reasons = Annotated[
    str,
    typer.Option(
        "--words",
        parser=inputs.words,
        metavar="TEXT",
        help="The reasons for leaving them out (s.45(7)); erasable. `-`: from standard input.",
    ),
]
Opinion = Annotated[
    str,
    typer.Option(
        "--opinion",
        parser=inputs.words,
        metavar="TEXT",
        help="Which health professional gave their opinion, and when; erasable. `-`: from standard input.",
    ),
]


@app.command()
@remote(None, timeout=60.0)
def clear(
    link: Link,
    access: AccessId,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    entries: Entries = None,
    everything: Everything = False,
    code: Exemption = "",
    words: Reasons = "",
    opinion: Opinion = "",
    in_place_of: inputs.InPlaceOf = "",
    assurance: inputs.Named = inputs.Assurance.asserted,
    as_json: inputs.AsJson = False,
) -> None:
    """Decide, as a named human of a controller, that entries of yours are told; or left out, and why.

    It may be decided again until the answer is given. What is not decided is not told.
    """
    from broker.v1 import report_pb2 as pb
    from broker.v1.report_pb2_grpc import ReportServiceStub

    if bool(entries) == everything:
        raise typer.BadParameter("give --entry, once for each, or --all")
    request = pb.ClearAccessRequest(
        access_id=access,
        in_place_of=in_place_of,
        entries=entries or [],
        code=code,
        words=words,
        opinion=opinion,
        actor=inputs.acting(actor_id, role, assurance),
    )
    reply = link.call(ReportServiceStub(link.channel).ClearAccess, request)
    done = {"access": access, "cleared": reply.cleared, "left_out": code or None}
    output.one({**done, **evidence.noted(reply.receipt, link.endpoint.vkey)}, as_json)


@app.command()
@remote(None, timeout=TIMEOUT)
def answer(
    link: Link,
    access: AccessId,
    reason: Why,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Give it, for good; without, it is shown how your own entries stand."),
    ] = False,
    words: Words = "",
    form: Form = Format.html,
    as_json: AsJson = False,
    to: Out = None,
) -> None:
    """The answer to the person: what every controller concerned has cleared. Nothing is cleared after it.

    Its words are the same whether or not something is left out, and whether or not anything is held. What it
    holds when it is first given it holds for ever, but for what is erased. One that was given is given again
    without --yes. Exit 3: nothing was given, --yes does it.
    """
    from broker.v1 import exchange_pb2
    from broker.v1 import report_pb2 as pb
    from broker.v1.report_pb2_grpc import ReportServiceStub

    stub = ReportServiceStub(link.channel)
    actor = exchange_pb2.Actor(id=actor_id, role=role)
    why = exchange_pb2.ReasonCode(code=reason, words=words)
    preview = pb.PreviewAccessRequest(access_id=access, actor=actor, reason=why)
    stands = link.call(stub.PreviewAccess, preview)
    if not stands.answered:
        _stands(access, stands, given=yes)
        if not yes:
            raise typer.Exit(NOT_GIVEN)
    request = pb.IssueAccessRequest(access_id=access, actor=actor, reason=why)
    document.put(document.read(link, link.stream(stub.IssueAccess, request)), form, as_json, to)


def _stands(access: str, stands: pb.PreviewAccessResponse, *, given: bool) -> None:
    """To standard error: standard output is the answer's."""
    counts = f"{stands.told} to be told, {stands.left_out} left out, {stands.undecided} undecided"
    undecided = ". What is undecided is not told, now or later" if stands.undecided else ""
    sys.stderr.write(f"your own entries: {counts}{undecided}.\n")
    if not given:
        sys.stderr.write(
            f"Nothing was given. What it holds is fixed once it is: decide the rest (broker audit report draft "
            f"{access}), then give it with --yes.\n"
        )
