"""`broker agreement plan`: what applying agreements would change, before anybody signs.

Owns the words of this command. Files are judged by the broker, as `apply` does, but for their signatures.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote
from broker.errors import InvalidRequest

if TYPE_CHECKING:
    from broker.v1 import agreement_pb2 as pb


@remote(OPERATOR, timeout=None)
def plan(
    link: Link,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="TOML files.", exists=True, dir_okay=False, readable=True),
    ],
    reason: Annotated[str, typer.Option(metavar="CODE", help="What the plan is for.")],
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    entries: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="N", help="Look at so many of the log's newest entries.")
    ] = 10_000,
    days: Annotated[
        int, typer.Option(min=1, max=3660, metavar="N", help="Look at none that is older than so many days.")
    ] = 30,
    list_flips: Annotated[
        bool, typer.Option("--list", help="Name each decision that would come out otherwise, by its entry.")
    ] = False,
    words: inputs.Words = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Say what applying these files together would change; nothing is applied, and no signature is needed yet.

    First the flows that are new, changed or ended. Then, for the flows touched, which decisions of the last
    days would have come out otherwise: each is made twice, by today's agreements and by these, as if they had
    been in force then, with the directory and what people had said as they were. That somebody looked is an
    entry of the log.
    """
    from broker.core.agreement import MAX_FILE
    from broker.v1 import agreement_pb2, exchange_pb2
    from broker.v1.agreement_pb2_grpc import AgreementServiceStub

    request = agreement_pb2.PlanAgreementRequest(
        files=[inputs.read_bounded(file, MAX_FILE, "an agreement") for file in files],
        entries=entries,
        days=days,
        list=list_flips,
        actor=exchange_pb2.Actor(id=actor_id, role=role),
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
    )
    changes: list[dict[str, object]] = []
    flips: list[dict[str, object]] = []
    last = agreement_pb2.PlanAgreementResponse()
    try:
        for last in link.stream(AgreementServiceStub(link.channel).PlanAgreement, request, forever=True):
            changes += [_change(each) for each in last.changes]
            flips += [_flip(each) for each in last.flips]
            _progress(last)
    except InvalidRequest as error:
        raise InvalidRequest(_blamed(files, error.field), error.problem) from None
    _tell(changes, last, flips if list_flips else None, as_json)


def _progress(at: pb.PlanAgreementResponse) -> None:
    if sys.stderr.isatty():
        end = "\n" if at.done else ""
        sys.stderr.write(f"\r{at.read} of at most {at.size} entries, {at.decisions} decisions tried{end}")
        sys.stderr.flush()


def _blamed(files: list[Path], field: str) -> str:
    """Where the broker's `field` stands in our files."""
    first, _, rest = field.partition(".")
    number, _, key = rest.partition(".")
    if first == "files" and number.isdecimal() and int(number) < len(files):
        return f"{files[int(number)]}: {key or 'file'}"
    return field


def _tell(
    changes: list[dict[str, object]],
    last: pb.PlanAgreementResponse,
    flips: list[dict[str, object]] | None,
    as_json: bool,
) -> None:
    tried: dict[str, object] = {
        "entries_read": last.read,
        "decisions": last.decisions,
        "would_flip": sum(each.count for each in last.counts),
        "other_than_recorded_already": last.moved,
        "not_judged": last.unread,
        "entry": last.event_id,
    }
    counts = {each.kind: each.count for each in last.counts}
    if as_json:
        listed = {} if flips is None else {"flips": flips}
        output.emit_json({"changes": changes, **tried, "counts": counts, **listed})
        return
    columns = (
        "change",
        "agreement",
        "purpose",
        "requester",
        "provider",
        "record_type",
        "gained",
        "lost",
        "terms",
    )
    output.many(changes, columns, "no flow changes")
    output.say("")
    output.one(tried, False, [(kind.replace("-", " "), count) for kind, count in counts.items()])
    if flips:
        output.say("")
        output.many(flips, ("entry", "kind", "rule", "code", "gained", "lost"), "")


def _change(each: pb.FlowChange) -> dict[str, object]:
    return {
        "change": each.change,
        "agreement": each.agreement,
        "purpose": each.purpose,
        "requester": each.requester,
        "provider": each.provider,
        "record_type": each.record_type,
        "gained": list(each.paths_gained),
        "lost": list(each.paths_lost),
        "terms": list(each.terms),
    }


def _flip(each: pb.Flip) -> dict[str, object]:
    return {
        "entry": each.event_id,
        "kind": each.kind,
        "rule": each.rule,
        "code": each.code,
        "gained": list(each.paths_gained),
        "lost": list(each.paths_lost),
    }
