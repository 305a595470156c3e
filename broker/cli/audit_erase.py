"""`broker audit erase`: what your agency holds about one person here, planned and then erased.

Owns the command's words. Never takes or prints whom it is about: the identifier comes from standard input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.remote import remote

if TYPE_CHECKING:
    from broker.v1 import keeping_pb2 as pb

BACKUPS = (
    "Backups hold what was erased until they are deleted themselves: 30 days at most. Until `broker audit "
    "scrub` has run, bytes of it lie in the database's own files."
)


@remote(None, timeout=120.0)
def erase(
    link: Link,
    reason: Annotated[str, typer.Option("--reason", metavar="CODE", help="Why, such as art-17.")],
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    person: Annotated[
        str,
        typer.Option(
            "--person",
            metavar="SCHEME:VALUE",
            help="Who; - (the default) reads it from standard input, where no one else sees it.",
        ),
    ] = "",
    entries: Annotated[
        list[str] | None,
        typer.Option(
            "--entry", metavar="ENTRY_ID", help="Instead of a person: this entry; repeat for more, up to 100."
        ),
    ] = None,
    words_only: Annotated[
        bool, typer.Option("--words-only", help="Of those entries only the words of your own people.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it: without, only the plan is shown.")] = False,
    words: inputs.Words = "",
    assurance: inputs.Named = inputs.Assurance.personal_login,
    as_json: inputs.AsJson = False,
) -> None:
    """Erase what your agency holds about one person here: views, words, rows of your queues, directives.

    Of an entry your part goes; it ends as a whole once no party keeps its own. Left alone are what is under
    legal hold, what a human of yours has yet to decide or review, and directives that stand (withdraw them
    first). Entries stay, and every proof stays good. The entry that says so names ids and never whom.

    Only the plan is shown without --yes.
    """
    from broker.v1 import exchange_pb2, keeping_pb2
    from broker.v1.keeping_pb2_grpc import KeepingServiceStub

    if person and entries:
        raise typer.BadParameter("give --person or --entry, not both")
    if words_only and not entries:
        raise typer.BadParameter("--words-only goes with --entry")
    request = keeping_pb2.ErasePersonRequest(
        event_ids=entries or (),
        words_only=words_only,
        actor=inputs.acting(actor_id, role, assurance),
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
        confirmed=yes,
    )
    if not entries:
        request.person.CopyFrom(inputs.wire_subject(inputs.person_of(person or "-")))
    reply = link.call(KeepingServiceStub(link.channel).ErasePerson, request)
    noted = [evidence.noted(each, link.endpoint.vkey) for each in reply.receipts]
    told = _told(reply, yes)
    if as_json:
        output.emit_json({**told, "evidence": noted, "backups": BACKUPS})
        return
    output.one(told, False, [("entry", each["entry"]) for each in noted])
    output.say("")
    output.say(BACKUPS if yes else "Nothing has been erased: give --yes to do it.")


def _told(reply: pb.ErasePersonResponse, done: bool) -> dict[str, object]:
    return {
        "erased": done,
        "entries": reply.entries,
        "words": reply.words,
        "directives": reply.directives,
        "kept_under_hold": reply.held,
        "kept_for_a_human": reply.waiting,
        "directives_to_withdraw_first": reply.standing,
        "others_may_keep": [f"{agency} {count}" for agency, count in sorted(reply.others.items())],
        "also_known_by": [f"{scheme} {count}" for scheme, count in sorted(reply.known_by.items())],
    }
