"""`broker audit`: entries of the log with their proofs, for whoever may have them, and their verification.

Owns the words of these commands. Refuses to write a proof that does not verify, and to open a view without a
named person and a reason. `verify` needs no broker, no network and no certificate.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli import (
    audit_access,
    audit_anchor,
    audit_card,
    audit_complaint,
    audit_erasure,
    audit_export,
    audit_fetch,
    audit_fsck,
    audit_hold,
    audit_incident,
    audit_index,
    audit_keys,
    audit_late,
    audit_monitor,
    audit_partition,
    audit_receipts,
    audit_report,
    audit_retention,
    audit_search,
    audit_signs,
    audit_witness,
    evidence,
    inputs,
    output,
)
from broker.cli.audit_replay import replay
from broker.cli.audit_rotate import rotate
from broker.cli.connection import Link
from broker.cli.remote import AUDITOR, remote
from broker.errors import NotAllowed

if TYPE_CHECKING:
    from broker.core.receipt import Audience, VerifiedReceipt

app = typer.Typer(
    help=(
        "The log: every entry can be proven to anybody, and is opened only for who may see it. Every opening "
        "is itself an entry.\n\nExit codes of verify: 0 good; 1 bad, files that cannot be parsed included; 2 a "
        "missing file or a command line that cannot be read; 3 not yet witnessed, only with "
        "--witness-policy. fsck, monitor, reconcile, match and export say theirs in "
        "their own help. Of the others: " + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)

app.command("replay")(replay)
app.command("rotate")(rotate)
app.command("keys")(audit_keys.keys)
app.command("scrub")(audit_retention.scrub)
app.add_typer(audit_hold.app, name="hold")
app.add_typer(audit_erasure.app, name="erasure")
app.add_typer(audit_retention.app, name="retention")

EventId = Annotated[
    str,
    typer.Argument(
        metavar="ENTRY",
        help="The entry's id, or its index in the current log, or in another as 2026h2:INDEX.",
    ),
]
ReasonCode = Annotated[str, typer.Option("--reason", metavar="CODE", help="Why it is opened.")]
Words = Annotated[
    str,
    typer.Option(
        "--words",
        parser=inputs.words,
        metavar="TEXT",
        help="The same in words, up to 500 characters; kept apart, and erasable. `-`: from standard input.",
    ),
]


Out = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="x.tlog-proof", help="Where the proof goes; the ending may be left out."
    ),
]
Witnessed = Annotated[
    bool,
    typer.Option(
        "--witnessed",
        help="To a checkpoint that a quorum of witnesses has cosigned; waits some seconds for it.",
    ),
]
Timestamped = Annotated[
    bool,
    typer.Option(
        "--timestamped",
        help="To the first checkpoint with the entry that was time-stamped; writes x.tsr too.",
    ),
]
Opened = Annotated[
    bool, typer.Option("--open", help="Write x.opening too; needs --reason, --actor-id and --role.")
]


@app.command()
@remote(AUDITOR)
def prove(
    link: Link,
    event_id: EventId,
    out: Out,
    vkey: inputs.OwnLogKeys = None,
    archive: inputs.Archives = None,
    witnessed: Witnessed = False,
    timestamped: Timestamped = False,
    opened: Opened = False,
    reason: ReasonCode = "",
    words: Words = "",
    actor_id: inputs.ActorId = "",
    role: inputs.ActorRole = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Write an entry's proof as files that `broker audit verify` and other people's tools verify offline.

    x.tlog-proof is a C2SP tlog-proof, x.entry the entry's exact bytes: these show nobody anything but a time,
    and any enrolled system may have them. x.opening opens the view that is yours: the requester's, the
    provider's, or for an auditor the full one. Nothing is written that does not verify.
    """
    if opened and not (reason and actor_id and role):
        raise typer.BadParameter("--open needs --reason, --actor-id and --role: the look is itself an entry")
    if witnessed and timestamped:
        raise typer.BadParameter(
            "--witnessed and --timestamped lead to different checkpoints: give one of them"
        )
    receipt, audience, stamp = audit_fetch.fetch(
        link,
        event_id,
        opened,
        reason,
        words,
        actor_id,
        role,
        audit_fetch.archive_of(archive, vkey or link.endpoint.vkey),
        witnessed=witnessed,
        timestamped=timestamped,
    )
    verified = evidence.verify(receipt, vkey or link.endpoint.vkey, audience)
    files = evidence.save(receipt, out, stamp)
    place: dict[str, object] = {
        "entry": verified.entry.id,
        "index": verified.index,
        "log": verified.checkpoint.origin,
        "size": verified.checkpoint.size,
        "opened": None if audience is None else audience.value,
    }
    if as_json:
        output.emit_json({**place, "files": [str(each) for each in files]})
        return
    output.one(place, False, [("written", each) for each in files])


@app.command()
@remote(AUDITOR)
def show(
    link: Link,
    event_id: EventId,
    reason: ReasonCode,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: Words = "",
    vkey: inputs.OwnLogKeys = None,
    archive: inputs.Archives = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Open an entry and print the view that is yours: requester's, provider's, or an auditor's full one.

    Who looked and why is committed to the log before anything is shown. What is printed has been verified
    against the log's keys. The id of a request, by which receipts are named, is searched for first.
    """
    from broker.core import canonical

    held = audit_fetch.archive_of(archive, vkey or link.endpoint.vkey)
    try:
        receipt, audience, _ = audit_fetch.fetch(link, event_id, True, reason, words, actor_id, role, held)
    except NotAllowed:
        entry = audit_fetch.of_request(link, event_id, actor_id, role, reason)
        if not entry:
            raise
        receipt, audience, _ = audit_fetch.fetch(link, entry, True, reason, words, actor_id, role, held)
    verified = evidence.verify(receipt, vkey or link.endpoint.vkey, audience)
    if receipt.opening is None or audience is None:
        raise NotAllowed("this entry's view has been erased: what is left is its proof (broker audit prove)")
    view = canonical.decode_object(receipt.opening.view)
    _print(verified, audience, view, as_json)


app.command()(audit_receipts.verify)
app.command()(audit_search.search)
app.command()(audit_incident.incident)
for late in (audit_late.record_late, audit_card.downtime_card):
    app.command()(late)
app.command()(audit_anchor.anchor)
for check in (
    audit_fsck.fsck,
    audit_monitor.monitor,
    audit_receipts.reconcile,
    audit_receipts.match,
    audit_witness.witness,
):
    app.command()(check)
app.add_typer(
    audit_export.app,
    name="export",
    help="Entries as a file, each row with what proves it. `export verify FILE` checks one offline, `export "
    "send FILE` takes one to a collector.",
)
app.add_typer(audit_witness.key_app, name="witness-key")
app.add_typer(audit_index.app, name="index")
# Each module adds its own commands to it.
REPORTS = (audit_report, audit_signs, audit_access)
app.add_typer(audit_report.app, name="report")
app.add_typer(audit_complaint.app, name="complaint")
app.add_typer(audit_partition.app, name="partition")


def _print(verified: VerifiedReceipt, audience: Audience, view: dict[str, Any], as_json: bool) -> None:
    from broker.core.entry import format_time

    place: dict[str, object] = {
        "entry": verified.entry.id,
        "at": format_time(verified.entry.at),
        "index": verified.index,
        "log": verified.checkpoint.origin,
        "audience": audience.value,
    }
    if as_json:
        output.emit_json({**place, "view": view})
        return
    output.one(place, False)
    output.say("")
    output.fields(_flat(view))


def _flat(value: Any, path: str = "") -> list[tuple[str, object]]:
    """A view as rows of dotted path and value; what is null is left out."""
    if isinstance(value, dict):
        return [row for key, each in value.items() for row in _flat(each, f"{path}.{key}" if path else key)]
    if isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        return [row for at, each in enumerate(value) for row in _flat(each, f"{path}[{at}]")]
    return [(path, output.plain(value))]
