"""`broker audit replay`: every recorded decision made again, and what does not come out as it was recorded.

Owns the words of this command, its progress, and how it is taken up again after an interruption.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import AUDITOR, remote

if TYPE_CHECKING:
    from broker.v1 import audit_pb2 as pb

_MISMATCHES = frozenset({"differs", "gone", "tampered"})


@remote(AUDITOR, timeout=None)
def replay(
    link: Link,
    reason: Annotated[str, typer.Option(metavar="CODE", help="Why it is done.")],
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    since: Annotated[int, typer.Option(min=0, metavar="N", help="Begin at this entry, counted from 0.")] = 0,
    log: Annotated[
        str, typer.Option(metavar="LOG", help="Of this log, such as 2026h2; by default the current one.")
    ] = "",
    until: Annotated[
        int, typer.Option(min=0, metavar="N", help="End before this entry; 0: at the end of the log as it is.")
    ] = 0,
    words: inputs.Words = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Make every recorded decision again, on what was true when it was made, and compare.

    Compared are outcome, rules, agreement, law, fields and refusal. Agreements, the directory and what people
    had said are read as at that moment. Where law files have changed, or something was erased since, that is
    said instead. A view that is not the one its entry commits to is a mismatch, and so is what is gone without
    an entry that says so; from the first entry to the last, so are entries that do not make the log's root. The
    whole look is one entry of the log.

    It can be interrupted: it says with which --since to go on. Exit codes: 0 nothing differs; 1 something
    does, or it failed.
    """
    from broker.v1 import audit_pb2, exchange_pb2
    from broker.v1.audit_pb2_grpc import AuditServiceStub

    request = audit_pb2.ReplayDecisionsRequest(
        since=since,
        log=log,
        until=until,
        actor=exchange_pb2.Actor(id=actor_id, role=role),
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
    )
    last = audit_pb2.ReplayDecisionsResponse(index=since, size=since)
    found: list[dict[str, object]] = []
    try:
        for last in link.stream(AuditServiceStub(link.channel).ReplayDecisions, request, forever=True):
            found += [_found(each) for each in last.found]
            _progress(last)
    except BaseException:
        if last.size:
            sys.stderr.write(f"\nstopped: go on with --since {last.index}\n")
            _tell(since, last, found, as_json)
        raise
    _tell(since, last, found, as_json)
    if last.mismatches:
        raise typer.Exit(1)


def _progress(at: pb.ReplayDecisionsResponse) -> None:
    if sys.stderr.isatty():
        end = "\n" if at.index == at.size else ""
        sys.stderr.write(f"\rentry {at.index} of {at.size}, {at.decisions} decisions made again{end}")
        sys.stderr.flush()


def _tell(since: int, last: pb.ReplayDecisionsResponse, found: list[dict[str, object]], as_json: bool) -> None:
    told: dict[str, object] = {
        "since": since,
        "until": last.index,
        "complete": last.index == last.size,
        "decisions": last.decisions,
        "same": last.same,
        "law_differs": last.law_differs,
        "erased": last.erased,
        "mismatches": last.mismatches,
    }
    if as_json:
        output.emit_json({**told, "found": found})
        return
    output.one(told, False)
    if found:
        output.say("")
        output.many(found, ("index", "entry", "verdict", "what", "erased_by"), "")


def _found(each: pb.ReplayedEntry) -> dict[str, object]:
    replay = each.replay
    return {
        "index": each.index,
        "entry": each.event_id,
        "verdict": replay.verdict,
        "mismatch": replay.verdict in _MISMATCHES,
        "law_differs": replay.law_differs,
        "what": "; ".join((*replay.differences, *(f"{gone} was erased" for gone in replay.erased))),
        "erased_by": list(replay.erased_by),
    }
