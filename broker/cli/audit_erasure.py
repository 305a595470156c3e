"""`broker audit erasure`: what your agency holds about one person here, looked at, planned, confirmed, ended.

Owns these commands' words. Never takes or prints whom it is about: the identifier comes from standard input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import erasable, evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.remote import remote

if TYPE_CHECKING:
    from broker.v1 import exchange_pb2
    from broker.v1 import keeping_pb2 as pb

BACKUPS = (
    "Backups hold what was erased until they are deleted themselves: 30 days at most. Until `broker audit "
    "scrub` has run, bytes of it lie in the database's own files."
)
HELD = (
    "What is under hold was left alone. Where it was planned, the plan stays for it (`broker audit erasure "
    "list`), to be confirmed again once it is released."
)
app = typer.Typer(
    help=(
        "Erasure of what your agency holds about one person here: views, words, rows of your queues, "
        "directives. It takes two named humans of the agency, each on a system of its own: one plans it, "
        "another confirms it within seven days.\n\n"
        "Of an entry your part goes; it ends as a whole once no party keeps its own. Entries stay, and "
        "every proof stays good. Left alone are what is under legal hold, what a human of yours has yet to "
        "decide or review, and directives that stand (withdraw them first). Refused is what is evidence in "
        "an open matter: overrides under review or found at fault, breaches, complaints, requests for "
        "access.\n\n" + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)
Person = Annotated[
    str,
    typer.Option(
        "--person",
        metavar="SCHEME:VALUE",
        help="Who; - (the default) reads it from standard input, where no one else sees it.",
    ),
]
Entries = Annotated[
    list[str] | None,
    typer.Option(
        "--entry", metavar="ENTRY_ID", help="Instead of a person: this entry; repeat for more, up to 100."
    ),
]
WordsOnly = Annotated[
    bool, typer.Option("--words-only", help="Of those entries only the words of your own people.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="CODE", help="Why, such as art-17.")]
PlanId = Annotated[str, typer.Argument(metavar="PLAN_ID", help="As plan and list print it.")]
_COLUMNS = ("plan", "ground", "planned_at", "until", "planned_by", "system", "entries", "directives", "about")


@app.command()
@remote(None, timeout=120.0)
def look(
    link: Link,
    reason: Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    person: Person = "",
    entries: Entries = None,
    words_only: WordsOnly = False,
    words: inputs.Words = "",
    assurance: inputs.Named = inputs.Assurance.asserted,
    as_json: inputs.AsJson = False,
) -> None:
    """Look at what could be erased. Nothing is, and nothing waits; the look is an entry that names nobody."""
    from broker.v1 import exchange_pb2, keeping_pb2
    from broker.v1.keeping_pb2_grpc import KeepingServiceStub

    _check(person, entries, words_only)
    request = keeping_pb2.ErasePersonRequest(
        event_ids=entries or (),
        words_only=words_only,
        actor=inputs.acting(actor_id, role, assurance),
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
    )
    if not entries:
        request.person.CopyFrom(inputs.wire_subject(inputs.person_of(person or "-")))
    reply = link.call(KeepingServiceStub(link.channel).ErasePerson, request)
    _show(link, {}, reply, as_json, "Nothing has been erased: `broker audit erasure plan` asks for it.")


@app.command()
@remote(None, timeout=120.0)
def plan(
    link: Link,
    ground: Annotated[
        str,
        typer.Option(
            "--ground",
            metavar="CODE",
            help=(
                "Which law wants it: not-needed, consent-withdrawn, objection, unlawful, legal-duty (a court's "
                "or the Commissioner's order included), child-online, part-3."
            ),
        ),
    ],
    reason: Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    person: Person = "",
    entries: Entries = None,
    words_only: WordsOnly = False,
    words: inputs.Words = "",
    assurance: inputs.Named = inputs.Assurance.asserted,
    as_json: inputs.AsJson = False,
) -> None:
    """Ask for an erasure, as a named human. Somebody else confirms it within seven days, or it lapses.

    It takes what is found now, at most 5,000 entries, and nothing that comes later.
    """
    from broker.v1 import exchange_pb2, keeping_pb2
    from broker.v1.keeping_pb2_grpc import KeepingServiceStub

    _check(person, entries, words_only)
    request = keeping_pb2.PlanErasureRequest(
        event_ids=entries or (),
        words_only=words_only,
        ground=ground,
        actor=inputs.acting(actor_id, role, assurance),
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
    )
    if not entries:
        request.person.CopyFrom(inputs.wire_subject(inputs.person_of(person or "-")))
    reply = link.call(KeepingServiceStub(link.channel).PlanErasure, request)
    facts: dict[str, object] = {"plan": reply.plan_id, "until": output.when(reply, "until"), "erased": False}
    then = (
        "Nothing has been erased: somebody else of your agency gives `broker audit erasure confirm "
        f"{reply.plan_id}`, on another system, and names the person again."
    )
    _show(link, facts, reply.would, as_json, then)


@app.command()
@remote(None, timeout=120.0)
def confirm(
    link: Link,
    plan: PlanId,
    reason: Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    person: Person = "",
    by_entry: Annotated[
        bool, typer.Option("--by-entry", help="The plan names entries by id and nobody: read no identifier.")
    ] = False,
    words: inputs.Words = "",
    assurance: inputs.Named = inputs.Assurance.asserted,
    yes: Annotated[bool, typer.Option("--yes", help="Needed: what is erased never comes back.")] = False,
    as_json: inputs.AsJson = False,
) -> None:
    """Carry out what somebody else of your agency planned; you name the person again. Interrupted, do it again.

    Neither who planned it nor who made one of the entries may confirm it.
    """
    from broker.v1 import exchange_pb2, keeping_pb2
    from broker.v1.keeping_pb2_grpc import KeepingServiceStub

    if not yes:
        raise typer.BadParameter("look at `broker audit erasure list` first, then give --yes")
    request = keeping_pb2.ConfirmErasureRequest(
        plan_id=plan,
        actor=inputs.acting(actor_id, role, assurance),
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
    )
    if not by_entry:
        request.person.CopyFrom(inputs.wire_subject(inputs.person_of(person or "-")))
    reply = link.call(KeepingServiceStub(link.channel).ConfirmErasure, request)
    then = f"{HELD}\n{BACKUPS}" if reply.held else BACKUPS
    _show(link, {"plan": plan, "erased": True}, reply, as_json, then)


@app.command()
@remote(None)
def withdraw(
    link: Link,
    plan: PlanId,
    reason: Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: inputs.Words = "",
    assurance: inputs.Named = inputs.Assurance.asserted,
    as_json: inputs.AsJson = False,
) -> None:
    """Withdraw a plan of your agency: nothing is erased by it any more."""
    _end(link, plan, "", reason, words, inputs.acting(actor_id, role, assurance), as_json)


@app.command()
@remote(None)
def refuse(
    link: Link,
    plan: PlanId,
    exemption: Annotated[
        str,
        typer.Option(
            "--exemption",
            metavar="CODE",
            help="expression, public-task, public-health, archiving, legal-claims, or evidence (Part 3).",
        ),
    ],
    reason: Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: inputs.Words = "",
    assurance: inputs.Named = inputs.Assurance.asserted,
    as_json: inputs.AsJson = False,
) -> None:
    """End a plan since the law keeps it (UK GDPR Art. 17(3), DPA 2018 s.47(2)); tell the person within a month.

    The entry holds the exemption and who decided; the words are for what the person is told.
    """
    _end(link, plan, exemption, reason, words, inputs.acting(actor_id, role, assurance), as_json)


@app.command("list")
@remote(None)
def list_(
    link: Link,
    reason: inputs.Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: inputs.Words = "",
    as_json: inputs.AsJson = False,
) -> None:
    """List the plans of your own agency that wait. Whom one is about, whoever planned it tells you."""
    from broker.v1 import keeping_pb2
    from broker.v1.keeping_pb2_grpc import KeepingServiceStub

    request = keeping_pb2.ListErasuresRequest(**inputs.looking(actor_id, role, reason, words))
    reply = link.call(KeepingServiceStub(link.channel).ListErasures, request)
    found: list[dict[str, object]] = [
        {
            "plan": each.id,
            "ground": each.ground,
            "planned_at": output.when(each, "planned_at"),
            "until": output.when(each, "until"),
            "planned_by": each.actor,
            "system": each.system,
            "entries": each.entries,
            "directives": each.directives,
            "about": "a person" if each.by_person else "words of entries" if each.words_only else "entries",
            "agency": each.agency,
        }
        for each in reply.plans
    ]
    noted = evidence.noted(reply.receipt, link.endpoint.vkey)
    output.listed("plans", found, _COLUMNS, as_json, "no erasure waits", noted)


def _check(person: str, entries: list[str] | None, words_only: bool) -> None:
    if person and entries:
        raise typer.BadParameter("give --person or --entry, not both")
    if words_only and not entries:
        raise typer.BadParameter("--words-only goes with --entry")


def _end(
    link: Link, plan: str, exemption: str, reason: str, words: str, actor: exchange_pb2.Actor, as_json: bool
) -> None:
    from broker.v1 import exchange_pb2, keeping_pb2
    from broker.v1.keeping_pb2_grpc import KeepingServiceStub

    request = keeping_pb2.EndErasureRequest(
        plan_id=plan,
        exemption=exemption,
        actor=actor,
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
    )
    reply = link.call(KeepingServiceStub(link.channel).EndErasure, request)
    facts = {"plan": plan, "ended": "refused" if exemption else "withdrawn"}
    output.one({**facts, **evidence.noted(reply.receipt, link.endpoint.vkey)}, as_json)


def _show(
    link: Link, facts: dict[str, object], reply: pb.ErasePersonResponse, as_json: bool, then: str
) -> None:
    noted = [evidence.noted(each, link.endpoint.vkey) for each in reply.receipts]
    told = {**facts, **erasable.told(reply)}
    if as_json:
        output.emit_json({**told, "evidence": noted, "backups": BACKUPS})
        return
    output.one(told, False, [("entry", each["entry"]) for each in noted])
    output.say("")
    output.say(then)
