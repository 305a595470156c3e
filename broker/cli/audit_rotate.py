"""`broker audit rotate`: from the log of one half-year to the next. Owns the words of this command.

Shown first and carried out with --yes: a log that is closed stays closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import audit_keys, inputs, output
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote

if TYPE_CHECKING:
    from broker.v1 import rotation_pb2 as pb

NOT_DUE = 3


@remote(OPERATOR, timeout=30.0)
def rotate(
    link: Link,
    early: Annotated[
        bool, typer.Option("--early", help="Although its half-year has not ended: after a key was lost, say.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Carry it out; without, the plan alone is shown.")] = False,
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="CODE", help="Why; needed with --early. By default half-year."),
    ] = "",
    words: inputs.Words = "",
    actor_id: inputs.OperatorId = "",
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """Close the current log and open the next half-year's, under a key of its own; needs an operator.

    The old log's last entry names the new key, the new one's first is the old one's final checkpoint: clients,
    monitors and verifiers follow by themselves, and every receipt stays good. Requests wait for about
    a tenth of a second. May be tried again after any failure.

    Exit 0 done, or planned and due; 3 nothing is due (say --early where it is meant all the same).
    """
    from broker.v1 import rotation_pb2 as pb
    from broker.v1.rotation_pb2_grpc import RotationServiceStub

    stub = RotationServiceStub(link.channel)
    told = link.call(stub.Rotate, pb.RotateRequest(dry_run=True))
    idle = not told.due and not early
    if yes and not told.due and early and not reason:
        raise typer.BadParameter("--early needs --reason CODE, such as key-lost: it stands in the log")
    if yes and not idle:
        told = link.call(stub.Rotate, _request(told.log, early, actor_id, role, reason or "half-year", words))
        _keep(link)
    _tell(told, early, as_json)
    if idle:
        raise typer.Exit(NOT_DUE)


def _request(log: str, early: bool, actor_id: str, role: str, reason: str, words: str) -> pb.RotateRequest:
    from broker.v1 import exchange_pb2
    from broker.v1 import rotation_pb2 as pb

    why = exchange_pb2.ReasonCode(code=reason, words=words)
    return pb.RotateRequest(log=log, early=early, actor=inputs.operating(actor_id, role), reason=why)


def _keep(link: Link) -> None:
    """Where a state folder keeps the keys, the new one is put before them, once it has been followed to."""
    file = link.endpoint.vkey
    if file.exists():
        audit_keys.write(file, audit_keys.followed(link, audit_keys.held_in(file)))


def _tell(told: pb.RotateResponse, early: bool, as_json: bool) -> None:
    done = bool(told.event_id)
    facts: dict[str, object] = {
        "log": told.log,
        "size": told.size,
        "due": told.due,
        "next": told.next,
        "vkey": told.vkey or None,
        "rotated": done,
        "entry": told.event_id or None,
    }
    if as_json:
        output.emit_json({**facts, "lacking": list(told.lacking)})
        return
    output.one(facts, False)
    if done:
        output.say(
            "\nRotated. Give the new key to the witnesses: they cosign no log whose key they were not given."
        )
        output.say("Whoever verifies receipts comes to it from the old one: broker audit keys --update.")
        return
    if told.lacking:
        output.say(f"\nworkers without the next key: {', '.join(told.lacking)}")
        output.say(
            "It is made first, and seen by all that share the key folder; copy it to other nodes' folders."
        )
    if told.due or early:
        output.say("\nNothing was done: carry it out with --yes.")
    else:
        output.say("\nNothing is due: its half-year has not ended. With --early it is rotated all the same.")
