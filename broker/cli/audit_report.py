"""`broker audit report`: what the log holds, for people: breaches, signs of snooping, overrides, and more.

Owns the words of these commands. Each report is an entry with who made it and why. Requests for access are in
`audit_access`.
"""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import document, evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.document import AsJson, Form, Out
from broker.cli.progress import progress
from broker.cli.remote import AUDITOR, OPERATOR, remote
from broker.cli.report import Format

if TYPE_CHECKING:
    from broker.v1 import report_pb2 as pb

TIMEOUT = 300.0  # of what is about one person
app = typer.Typer(
    help=(
        "Reports of what the log holds. An agency's are about its own side, in its own view; auditors' about "
        "everything; operators make performance alone. Every report is itself an entry.\n\n" + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)
Why = Annotated[str, typer.Option("--reason", metavar="CODE", help="Why it is made, such as complaint.")]
Words = Annotated[
    str,
    typer.Option(
        "--words",
        parser=inputs.words,
        metavar="TEXT",
        help="The reason in words; kept apart, and erasable. `-`: from standard input.",
    ),
]
Since = Annotated[
    datetime | None, typer.Option(parser=inputs.moment, metavar="TIME", help="Entries made then or later.")
]
Until = Annotated[
    datetime | None, typer.Option(parser=inputs.moment, metavar="TIME", help="Entries made before then.")
]
Agency = Annotated[
    str,
    typer.Option(
        "--agency",
        metavar="AGENCY",
        help="For auditors: of this one; by default of all. For an agency: of one whose place it has taken.",
    ),
]
_BREACH = ("id", "provider", "requester", "system", "used_at", "aware_at", "due_at")


def asked(report: str, who: tuple[str, str], why: tuple[str, str], **more: object) -> pb.MakeReportRequest:
    """A report's request. `who` is id and role, `why` code and words."""
    from broker.v1 import exchange_pb2
    from broker.v1 import report_pb2 as pb

    given = {name: inputs.stamp(at) if isinstance(at, datetime) else at for name, at in more.items()}
    return pb.MakeReportRequest(
        report=report,
        actor=exchange_pb2.Actor(id=who[0], role=who[1]),
        reason=exchange_pb2.ReasonCode(code=why[0], words=why[1]),
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )


def make(link: Link, request: pb.MakeReportRequest, form: Format, as_json: bool, to: Path | None) -> None:
    """Ask for a report and write it."""
    from broker.v1.report_pb2_grpc import ReportServiceStub

    # As long as it takes: a large log takes minutes, and it is said how far it is.
    parts = link.stream(ReportServiceStub(link.channel).MakeReport, request, forever=True)
    with progress("entries") as tell:
        made = document.read(link, document.after(parts, tell))
    document.put(made, form, as_json, to)


@app.command()
@remote(AUDITOR, timeout=None)
def breach(
    link: Link,
    reason: Why,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    since: Since = None,
    until: Until = None,
    breach_id: Annotated[
        str, typer.Option("--breach", metavar="ID", help="A suspected breach, as `breaches` lists it.")
    ] = "",
    key_digest: Annotated[
        str,
        typer.Option(
            "--key-digest", metavar="DIGEST", help="By the key of a certificate: broker certs show prints it."
        ),
    ] = "",
    system: Annotated[str, typer.Option("--system", metavar="AGENCY/SYSTEM", help="By this system.")] = "",
    agreement: Annotated[str, typer.Option("--agreement", metavar="ID", help="Under this agreement.")] = "",
    agency: Agency = "",
    aware_at: Annotated[
        datetime | None,
        typer.Option(
            "--aware-at",
            parser=inputs.moment,
            metavar="TIME",
            help="When you became aware: 72 hours run from it.",
        ),
    ] = None,
    people: Annotated[
        bool, typer.Option("--people", help="List each request with whom it was about, to tell them (Art. 34).")
    ] = False,
    words: Words = "",
    form: Form = Format.html,
    as_json: AsJson = False,
    to: Out = None,
) -> None:
    """Draft a breach notification: who and what was affected between two times (Art. 33, DPA 2018 s.67).

    By a stolen certificate's key, a system, an agreement; or from a suspected breach that a wrong-person review
    began.
    """
    request = asked(
        "breach",
        (actor_id, role),
        (reason, words),
        since=since,
        until=until,
        breach_id=breach_id,
        key_digest=key_digest,
        system=system,
        agreement=agreement,
        agency=agency,
        aware_at=aware_at,
        people=people,
    )
    make(link, request, form, as_json, to)


@app.command()
@remote(AUDITOR)
def breaches(
    link: Link,
    reason: Why,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: Words = "",
    as_json: inputs.AsJson = False,
) -> None:
    """List suspected breaches that a review began, with the end of their 72 hours."""
    from broker.v1 import report_pb2 as pb
    from broker.v1.report_pb2_grpc import ReportServiceStub

    request = pb.ListBreachesRequest(**inputs.looking(actor_id, role, reason, words))
    reply = link.call(ReportServiceStub(link.channel).ListBreaches, request)
    noted = evidence.noted(reply.receipt, link.endpoint.vkey)
    found: list[dict[str, object]] = [
        {
            **{name: getattr(each, name) for name in _BREACH[:4]},
            **{name: output.when(each, name) for name in _BREACH[4:]},
        }
        for each in reply.breaches
    ]
    if as_json:
        output.emit_json({"breaches": found, "doubts": list(reply.doubts), **noted})
        return
    for each in reply.doubts:
        typer.echo(output.clean(f"DOES NOT FIT THE LOG: {each}"), err=True)
    output.many(found, _BREACH, "no review of an override has said that it was the wrong person")


@app.command()
@remote(AUDITOR, timeout=None)
def overrides(
    link: Link,
    reason: Why,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    since: Since = None,
    until: Until = None,
    agency: Agency = "",
    words: Words = "",
    form: Form = Format.html,
    as_json: AsJson = False,
    to: Out = None,
) -> None:
    """Overrides: used by whom, reviewed in time or overdue, with which verdict."""
    times = {"since": since, "until": until, "agency": agency}
    request = asked("overrides", (actor_id, role), (reason, words), **times)
    make(link, request, form, as_json, to)


@app.command("agency")
@remote(AUDITOR, timeout=None)
def of_agency(
    link: Link,
    reason: Why,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    since: Since = None,
    until: Until = None,
    agency: Agency = "",
    words: Words = "",
    form: Form = Format.html,
    as_json: AsJson = False,
    to: Out = None,
) -> None:
    """What an agency asked for and gave: by purpose, record type, agreement and outcome."""
    times = {"since": since, "until": until, "agency": agency}
    make(link, asked("agency", (actor_id, role), (reason, words), **times), form, as_json, to)


@app.command()
@remote(OPERATOR, timeout=None)
def performance(
    link: Link,
    month: Annotated[
        str, typer.Option("--month", metavar="2026-10", help="Which month: a whole one, and one that is over.")
    ],
    reason: Why,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: Words = "",
    form: Form = Format.html,
    as_json: AsJson = False,
    to: Out = None,
) -> None:
    """A page for a scrutiny board: volumes, time, refusals, overrides, availability; no small count shows.

    Without law-enforcement processing (DPA 2018 Part 3), whose log is not for statistics.
    """
    from broker.core.reports.performance import bounds

    try:
        begins, _ = bounds(date.fromisoformat(f"{month}-01"))
    except ValueError as error:
        raise typer.BadParameter("--month is a month, such as 2026-10") from error
    make(link, asked("performance", (actor_id, role), (reason, words), since=begins), form, as_json, to)


@app.command()
@remote(AUDITOR, timeout=None)
def complaints(
    link: Link,
    reason: Why,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    since: Since = None,
    until: Until = None,
    agency: Agency = "",
    words: Words = "",
    form: Form = Format.html,
    as_json: AsJson = False,
    to: Out = None,
) -> None:
    """Complaints: received, acknowledged within 30 days or overdue, and what came of them."""
    times = {"since": since, "until": until, "agency": agency}
    make(link, asked("complaints", (actor_id, role), (reason, words), **times), form, as_json, to)
