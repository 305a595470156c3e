"""`broker directive add`: taking down what somebody said, with who said it and how it was taken.

Owns the options and what is worked out from them here: a birth date leaves this machine only as the day on
which a consent is to be asked for again.
"""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.remote import remote

if TYPE_CHECKING:
    from broker.v1 import directive_pb2 as pb


class Kind(StrEnum):
    """What is put on record. The last three shield somebody, whoever asks."""

    consent = "consent"
    refusal = "refusal"
    objection = "objection"
    restriction = "restriction"
    opt_out = "opt-out"
    protected_identity = "protected-identity"
    staff_conflict = "staff-conflict"
    safe_contact = "safe-contact"


class Standing(StrEnum):
    """In what standing they spoke."""

    myself = "self"
    gillick_child = "gillick-child"
    parental_responsibility = "parental-responsibility"
    attorney = "attorney"
    deputy = "deputy"


class Manner(StrEnum):
    """How they said it."""

    verbal = "verbal"
    written = "written"


class Capacity(StrEnum):
    """Capacity for this decision."""

    presumed = "presumed"
    has = "has"
    lacks = "lacks"


class Company(StrEnum):
    """Who was with them."""

    alone = "alone"
    accompanied = "accompanied"


class Matter(StrEnum):
    """What a consent is to."""

    sharing = "sharing"
    visit = "visit"


Names = list[str] | None
_SPOKE, _TAKEN, _ASSESSED = "Who spoke", "How it was taken", "Assessment"
_COUNTS_NOWHERE = (
    "no agreement in force requires this consent and names your agency as a recorder; it is kept, and changes "
    "nothing. `broker agreement show ID` shows whose record of a consent counts"
)


What = Annotated[Kind, typer.Argument(help="What was said, or what shields somebody.")]
Purposes = Annotated[
    Names, typer.Option("--purpose", metavar="CODE", help="For this purpose; repeatable; all if none.")
]
RecordTypes = Annotated[
    Names, typer.Option("--record-type", metavar="NAME", help="About these records; all if none.")
]
Requesters = Annotated[
    Names, typer.Option("--requester", metavar="AGENCY", help="When this agency asks; any if none.")
]
Providers = Annotated[
    Names, typer.Option("--provider", metavar="AGENCY", help="What this agency holds; any if none.")
]
SaidAt = Annotated[
    datetime | None,
    typer.Option("--said-at", parser=inputs.moment, metavar="TIME", help="When; by default now."),
]
To = Annotated[Matter, typer.Option(help="Of a consent: to sharing, or only that somebody comes.")]
Conflicted = Annotated[
    Names,
    typer.Option("--conflict", metavar="ACTOR", help="Of a staff-conflict: who has it, by actor id."),
]
SpokeAs = Annotated[Standing, typer.Option(rich_help_panel=_SPOKE, help="Who spoke.")]
Speaker = Annotated[
    str,
    typer.Option(
        parser=inputs.words,
        metavar="TEXT",
        rich_help_panel=_SPOKE,
        help='Which of those who may: "mother". `-`: from standard input.',
    ),
]
ByRight = Annotated[
    str,
    typer.Option(
        parser=inputs.words,
        metavar="TEXT",
        rich_help_panel=_SPOKE,
        help="By what right they speak for another: a court order; needed if so. `-`: from standard input.",
    ),
]
BirthDate = Annotated[
    date | None,
    typer.Option(
        parser=inputs.told_day,
        metavar="DATE",
        rich_help_panel=_SPOKE,
        help="Of a child for whom a holder of parental responsibility consents: asked for again at 16 and "
        "at 18. The date itself is not sent. `-`: from standard input.",
    ),
]
ReconsiderAt = Annotated[
    datetime | None,
    typer.Option(
        parser=inputs.moment,
        metavar="TIME",
        rich_help_panel=_SPOKE,
        help="Of a consent: ask again from then on, such as when a child may be competent.",
    ),
]
Said = Annotated[Manner, typer.Option(rich_help_panel=_TAKEN, help="How it was said.")]
TakenBy = Annotated[
    str, typer.Option(rich_help_panel=_TAKEN, help="Who took it down, where that is not the actor.")
]
Explained = Annotated[
    str,
    typer.Option(
        parser=inputs.words,
        metavar="TEXT",
        rich_help_panel=_TAKEN,
        help="What was explained, up to 500 characters; erasable. `-`: from standard input.",
    ),
]
With = Annotated[Company | None, typer.Option(rich_help_panel=_TAKEN, help="Whether somebody was with them.")]
Judged = Annotated[
    Capacity, typer.Option(rich_help_panel=_ASSESSED, help="For this decision; presumed unless assessed.")
]
Assessor = Annotated[
    str, typer.Option(rich_help_panel=_ASSESSED, help="Who assessed capacity, or a child's competence.")
]
AssessedOn = Annotated[
    date | None,
    typer.Option(parser=inputs.day, metavar="DATE", rich_help_panel=_ASSESSED, help="On which day."),
]
AssessedFor = Annotated[
    str, typer.Option(rich_help_panel=_ASSESSED, help="For which decision it was assessed.")
]


@remote(None)
def add(
    link: Link,
    kind: What,
    subject: inputs.Subject,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    purposes: Purposes = None,
    record_types: RecordTypes = None,
    requesters: Requesters = None,
    providers: Providers = None,
    said_at: SaidAt = None,
    valid_until: inputs.Until = None,
    matter: To = Matter.sharing,
    actors: Conflicted = None,
    standing: SpokeAs = Standing.myself,
    speaker: Speaker = "",
    authority: ByRight = "",
    birth_date: BirthDate = None,
    reconsider_at: ReconsiderAt = None,
    manner: Said = Manner.verbal,
    taken_by: TakenBy = "",
    explained: Explained = "",
    company: With = None,
    capacity: Judged = Capacity.presumed,
    assessor: Assessor = "",
    assessed_on: AssessedOn = None,
    assessed: AssessedFor = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Record what somebody said. It counts for every decision from its entry in the log on.

    Any party may record anything. A consent counts only where an agreement requires one and names its
    recorder: which do is printed, and a warning where none does or where it does not stand. The id that is
    printed is what `broker directive withdraw` takes. docs/directives.md says what each kind means.
    """
    from broker.v1 import directive_pb2 as pb

    if birth_date is not None:
        reconsider_at = _asked_again(kind, standing, birth_date, said_at, reconsider_at)
    wanted = pb.Directive(
        kind=kind.value,
        subject=inputs.wire_subject(inputs.subject_of(subject)),
        purposes=purposes or (),
        record_types=record_types or (),
        requesters=requesters or (),
        providers=providers or (),
        standing=standing.value,
        manner=manner.value,
        said_at=inputs.stamp(said_at),
        valid_until=inputs.stamp(valid_until),
        speaker=speaker,
        authority=authority,
        capacity=capacity.value,
        assessor=assessor,
        assessed_on=assessed_on.isoformat() if assessed_on else "",
        assessed=assessed,
        taken_by=taken_by,
        explained=explained,
        company=company.value if company else "",
        reconsider_at=inputs.stamp(reconsider_at),
        matter=matter.value,
        actors=actors or (),
    )
    output.one(record(link, wanted, actor_id, role), as_json)


def record(link: Link, wanted: pb.Directive, actor_id: str, role: str) -> dict[str, object]:
    """Record one directive: its id, its entry, and what a consent is worth; a warning where it is nothing."""
    from broker.v1 import directive_pb2 as pb
    from broker.v1 import exchange_pb2
    from broker.v1.directive_pb2_grpc import DirectiveServiceStub

    request = pb.AddDirectiveRequest(directive=wanted, actor=exchange_pb2.Actor(id=actor_id, role=role))
    reply = link.call(DirectiveServiceStub(link.channel).AddDirective, request)
    made: dict[str, object] = {
        "directive": reply.directive_id,
        **evidence.noted(reply.receipt, link.endpoint.vkey),
    }
    if wanted.kind == "consent":
        made["counts_under"] = list(reply.counts_under)
        if wanted.reconsider_at.seconds:
            made["reconsider_at"] = output.when(wanted, "reconsider_at")
        if reply.lacks:
            made["lacks"] = reply.lacks
            sys.stderr.write(f"warning: this consent does not stand: it {reply.lacks}\n")
        elif not reply.counts_under:
            sys.stderr.write(f"warning: {_COUNTS_NOWHERE}\n")
    return made


def _asked_again(
    kind: Kind, standing: Standing, born: date, said_at: datetime | None, sooner: datetime | None
) -> datetime:
    """When a holder's consent is asked for again, or sooner where that was said too."""
    from broker.core.ages import reconsider

    if kind is not Kind.consent or standing is not Standing.parental_responsibility:
        raise typer.BadParameter(
            "--birth-date is for a consent with --standing parental-responsibility; leave it out"
        )
    at = reconsider(born, said_at or datetime.now(UTC))
    if at is None:
        raise typer.BadParameter(
            "--birth-date: the person was 18 by then, so parental responsibility had ended; they speak for "
            "themselves (--standing self)"
        )
    return at if sooner is None else min(at, sooner)
