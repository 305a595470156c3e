"""`broker agency act`, `succeed`, `leave`: how agencies stand to each other. Owns the words of these commands.

A succession or a leaving is shown first and carried out with --yes. Only a succession can be taken back, until
its day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.v1 import standing_pb2 as pb

On = Annotated[
    str, typer.Option("--on", metavar="DATE", help="The first day without it, by the clock in the UK.")
]
_TITLES = {
    "into": "in its place",
    "warnings": "look at this again",
    "systems": "systems that end",
    "agreements": "agreements",
    "routes": "routes",
    "waiting": "what waits for humans",
    "acting": "acting for others, or others for it: ends",
    "to_do": "to do",
}
Yes = Annotated[bool, typer.Option("--yes", help="Carry it out; without, the plan alone is shown.")]


@remote(OPERATOR)
def act(
    link: Link,
    processor: Annotated[str, typer.Argument(metavar="PROCESSOR", help="The agency that acts.")],
    controller: Annotated[str, typer.Option("--for", metavar="AGENCY", help="The agency that it acts for.")],
    contract: Annotated[str, typer.Option(metavar="REF", help="The contract or mutual-aid request.")],
    record_type: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only such records; may be given again.")
    ] = None,
    purpose: Annotated[
        list[str] | None, typer.Option(metavar="CODE", help="Only for such a purpose; may be given again.")
    ] = None,
    crew: Annotated[
        list[str] | None,
        typer.Option(metavar="CALLSIGN", help="Mutual aid: only this attached crew asks; may be given again."),
    ] = None,
    valid_from: inputs.From = None,
    valid_until: inputs.Until = None,
    actor_id: inputs.OperatorId = "",
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """Enter that one agency acts for another; needs an operator.

    Its systems may then ask as the other's (actor.on_behalf_of), and its adapters answer for the other where
    that has none attached: what the other may have and give, and nothing more. With --crew neither its other
    crews nor its adapters may.
    """
    from broker.v1 import standing_pb2 as pb
    from broker.v1.standing_pb2_grpc import StandingServiceStub

    wanted = pb.Acting(
        processor=processor,
        controller=controller,
        contract=contract,
        record_types=record_type or [],
        purposes=purpose or [],
        crews=crew or [],
        valid_from=inputs.stamp(valid_from),
        valid_until=inputs.stamp(valid_until),
    )
    request = pb.ActRequest(acting=wanted, actor=inputs.operating(actor_id, role))
    made = link.call(StandingServiceStub(link.channel).Act, request)
    output.one({"id": made.acting.id, "status": made.acting.status, "entry": made.event_id}, as_json)


@remote(OPERATOR)
def act_list(
    link: Link,
    every: Annotated[bool, typer.Option("--all", help="Those that have ended too.")] = False,
    as_json: inputs.AsJson = False,
) -> None:
    """List who acts for whom. A partner sees its own agency's, operators and auditors see all."""
    from broker.v1 import standing_pb2 as pb
    from broker.v1.standing_pb2_grpc import StandingServiceStub

    reply = link.call(StandingServiceStub(link.channel).ListActing, pb.ListActingRequest(all=every))
    found = [
        {
            "id": each.id,
            "processor": each.processor,
            "controller": each.controller,
            "contract": each.contract,
            "record_types": list(each.record_types),
            "purposes": list(each.purposes),
            "crews": list(each.crews),
            "valid_from": output.when(each, "valid_from"),
            "valid_until": output.when(each, "valid_until"),
            "status": each.status,
        }
        for each in reply.acting
    ]
    columns = ("id", "processor", "controller", "contract", "crews", "valid_from", "valid_until", "status")
    output.listed(
        "acting", found, columns, as_json, "nobody acts for another: `broker agency act` enters who does"
    )


@remote(OPERATOR)
def act_end(
    link: Link,
    relation: Annotated[str, typer.Argument(metavar="ID", help="As `broker agency act-list` shows it.")],
    reason: Annotated[str, typer.Option(help="Why; auditors can read it.")] = "",
    actor_id: inputs.OperatorId = "",
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """End such a relation now; needs an operator."""
    from broker.v1 import standing_pb2 as pb
    from broker.v1.standing_pb2_grpc import StandingServiceStub

    request = pb.EndActingRequest(id=relation, reason=reason, actor=inputs.operating(actor_id, role))
    made = link.call(StandingServiceStub(link.channel).EndActing, request)
    output.one({"id": relation, "entry": made.event_id}, as_json)


@remote(OPERATOR)
def succeed(
    link: Link,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The agency that ends.")],
    into: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NEW[=DISTRICT,...]",
            help="Who takes its place, with --by district in which ONS codes; may be given again.",
        ),
    ] = None,
    on: On = "",
    by: Annotated[
        str, typer.Option(metavar="district", help="Part it by district; needed where there are several.")
    ] = "",
    correct: Annotated[
        bool, typer.Option("--correct", help="Instead of what was planned before, until the day of that.")
    ] = False,
    take_back: Annotated[
        bool, typer.Option("--take-back", help="Take back what was planned, until its day: OLD goes on.")
    ] = False,
    yes: Yes = False,
    actor_id: inputs.OperatorId = "",
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """Put other agencies in an agency's place from a day on; needs an operator. Shows the plan first.

    Flows of its agreements hold for each of them from that day, as lineage; the signed files stay as they are.
    Its routes lead to whoever has the district, and so does what waits for its humans. Its systems end. What
    was decided before still names it. Until that day --correct puts it right and --take-back takes it back.
    Where two people operate the broker it takes both: the second gives the same command within seven days.

    `broker agency succeed cumbria --into cumberland=E07000026,E07000028,E07000029,E06000063 --into
    westmorland-furness=E07000027,E07000030,E07000031,E06000064 --by district --on 2023-04-01`
    """
    from broker.v1 import standing_pb2 as pb
    from broker.v1.standing_pb2_grpc import StandingServiceStub

    if by not in ("", "district"):
        raise typer.BadParameter("--by is district")
    if take_back and (into or on or by or correct):
        raise typer.BadParameter("--take-back goes alone: it names nobody and no day")
    if not take_back and not (into and on):
        raise typer.BadParameter("give --into NEW and --on DATE, or --take-back")
    successors = _successors(into or (), by)
    request = pb.SucceedRequest(
        agency=old,
        into=successors,
        on=on,
        dry_run=not yes,
        correct=correct,
        take_back=take_back,
        actor=inputs.operating(actor_id, role),
    )
    told = link.call(StandingServiceStub(link.channel).Succeed, request)
    # What was typed stands in the plan: a slip in a code must be seen.
    places = [f"{s.agency}: {', '.join(s.districts) or 'everywhere'}" for s in successors]
    undo = "Until its day it can be put right (--correct) or taken back (--take-back), and not from then on."
    undo = "" if take_back else undo
    _tell(old, told.plan, told.event_id, as_json, undo, places, proposed=told.proposed)


def _successors(into: Sequence[str], by: str) -> list[pb.Successor]:
    from broker.v1 import standing_pb2 as pb

    found = []
    for each in into:
        new, _, districts = each.partition("=")
        if bool(districts) is not (by == "district"):
            raise typer.BadParameter("--by district and --into NEW=DISTRICT,... go together")
        found.append(pb.Successor(agency=new, districts=districts.split(",") if districts else ()))
    return found


@remote(OPERATOR)
def leave(
    link: Link,
    agency: Annotated[str, typer.Argument(metavar="AGENCY", help="The agency that leaves.")],
    on: On,
    reason: Annotated[str, typer.Option(help="Why; auditors can read it.")] = "",
    yes: Yes = False,
    actor_id: inputs.OperatorId = "",
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """End an agency's part from a day on, its systems with it; needs an operator. Shows the plan first."""
    from broker.v1 import standing_pb2 as pb
    from broker.v1.standing_pb2_grpc import StandingServiceStub

    request = pb.LeaveRequest(
        agency=agency, on=on, reason=reason, dry_run=not yes, actor=inputs.operating(actor_id, role)
    )
    told = link.call(StandingServiceStub(link.channel).Leave, request)
    _tell(agency, told.plan, told.event_id, as_json, "It cannot be taken back.")


def _tell(
    agency: str,
    plan: pb.SuccessionPlan,
    event_id: str,
    as_json: bool,
    undo: str,
    places: Sequence[str] = (),
    *,
    proposed: bool = False,
) -> None:
    facts = {
        "agency": agency,
        "carried_out": bool(event_id) and not proposed,
        "proposed": proposed,
        "ends_at": output.when(plan, "ends_at"),
        "entry": event_id,
    }
    lists = {
        "into": list(places),
        **{name: list(getattr(plan, name)) for name in _TITLES if name != "into"},
    }
    if proposed:
        inputs.note_proposed()
    if as_json:
        output.emit_json({**facts, **lists})
        return
    output.one(facts, False)
    for name, title in _TITLES.items():
        if lists[name]:
            output.say(f"\n{title}")
            for line in lists[name]:
                output.say(f"  {line}")
    if not event_id:
        output.say(f"\nNothing was changed. Give --yes to carry it out. {undo}".rstrip())
