"""`broker audit partition`: a log taken over into a folder, proofs from there, and what may then be dropped.

Owns the words of these commands. They read what is published, and believe none of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from broker.cli import audit_log, evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.progress import progress
from broker.cli.remote import OPERATOR, remote
from broker.errors import SetupError

app = typer.Typer(
    help="Logs as folders: a mirror that anybody can check, and an archive of what is no longer kept.",
    no_args_is_help=True,
)

Dir = Annotated[Path, typer.Argument(metavar="DIR", help="The folder; made if it is not there.")]
_INDEX = re.compile(r"[0-9]{1,18}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@app.command()
def export(
    folder: Dir,
    log: Annotated[
        str,
        typer.Option(
            "--log", metavar="LOG", help="The published log: https://HOST:PORT/log/2026h2, or a folder."
        ),
    ],
    vkey: inputs.LogKeys,
    ca: audit_log.Ca = None,
    cert: audit_log.Cert = None,
    key: audit_log.Key = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Take a published log over into a folder, as it stands now: C2SP tlog-tiles, one file after the other.

    It reveals nothing but volume and time: leaves, hashes and the signed checkpoint. May be interrupted and run
    again at any time: it goes on where it was. `broker audit fsck DIR --vkey FILE` checks what stands there.
    Exit 0 done; 1 something is not what was signed; 2 the command line, the keys or DIR cannot be used; 5 DIR
    holds another history that the same key signed: nothing is written over, and both signed notes are there
    (checkpoint, checkpoint.fork); 6 the log cannot be read.
    """
    from broker.offline.partition import Forked
    from broker.offline.partition import export as take_over

    with audit_log.ending(as_json):
        source, keys = audit_log.source_of(log, ca, cert, key), audit_log.keys_of(vkey)
        try:
            with progress("entries") as told:
                done = take_over(source, keys, folder, told)
        except Forked as e:
            audit_log.end(audit_log.FORK, "fork", str(e), as_json, "FORK ")
    facts = {"log": done.origin, "entries": done.size, "partitions": done.partitions, "files": done.written}
    output.one(facts, as_json)


@app.command()
def prove(
    folder: Dir,
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="The entry's id, or its index in that log.")],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="x.tlog-proof", help="Where the proof goes.")],
    vkey: inputs.LogKeys,
    as_json: inputs.AsJson = False,
) -> None:
    """Write an entry's proof from a folder alone, without any broker: x.tlog-proof and x.entry.

    Exit 0 written; 1 the folder is not what was signed, or has no such entry; 2 the command line or a file that
    it names cannot be used; 6 the folder cannot be read.
    """
    from broker.core.checkpoint import open_checkpoint
    from broker.core.receipt import Receipt
    from broker.offline.rotation import entry_of, find
    from broker.offline.source import Folder

    with audit_log.ending(as_json):
        if not _UUID.fullmatch(entry) and not _INDEX.fullmatch(entry):
            raise SetupError("ENTRY is an entry's id or its index")
        source, keys = Folder(folder), audit_log.keys_of(vkey)
        note = source.checkpoint()
        checkpoint = open_checkpoint(note, keys)
        index = int(entry) if _INDEX.fullmatch(entry) else find(source, checkpoint, entry)
        leaf, proof = entry_of(source, checkpoint, index)
        receipt = Receipt(leaf, index, proof, note, None)
        verified = evidence.verify(receipt, vkey)
        files = evidence.save(receipt, out)
    place: dict[str, object] = {"entry": verified.entry.id, "index": index, "log": checkpoint.origin}
    if as_json:
        output.emit_json({**place, "files": [str(each) for each in files]})
        return
    output.one(place, False, [("written", each) for each in files])


@app.command()
@remote(OPERATOR, timeout=120.0)
def drop(
    link: Link,
    folder: Dir,
    place: Annotated[
        str, typer.Option(metavar="WORDS", help="Where the export is, for whoever looks for an entry.")
    ],
    vkey: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="The log's keys. By default DIR/log.vkey."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Carry it out; without, it is only read again.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="CODE", help="Why; kept in the log.")] = "exported",
    words: inputs.Words = "",
    actor_id: inputs.OperatorId = "",
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """Have the broker drop the entries of a closed log that an export holds; needs an operator.

    Each partition of 65,536 entries is read again from the export, from its entries up to the signed root; the
    broker drops it only if its own are the same, byte for byte. Hashes, ids and places stay, so that old
    receipts verify and every entry can be proven from the export. The rest of a log below 65,536 entries stays,
    and so do its first 256. May be run again after any failure.
    """
    from broker.offline.partition import digest
    from broker.offline.source import Folder
    from broker.v1.exchange_pb2 import ReasonCode
    from broker.v1.rotation_pb2 import DropPartitionRequest
    from broker.v1.rotation_pb2_grpc import RotationServiceStub

    source, made = Folder(folder), list[dict[str, object]]()
    actor, why = inputs.operating(actor_id, role), ReasonCode(code=reason, words=words)
    with audit_log.ending(as_json):
        keys = audit_log.keys_of(evidence.require_keys(vkey or link.endpoint.vkey))
    while True:
        number = len(made)
        try:
            with audit_log.ending(as_json):
                checkpoint, read = digest(source, keys, number)
        except IndexError:
            break
        row: dict[str, object] = {"log": checkpoint.origin, "partition": number, "digest": read, "entry": None}
        if yes:
            asked = DropPartitionRequest(
                log=checkpoint.origin, partition=number, digest=read, place=place, actor=actor, reason=why
            )
            stub = RotationServiceStub(link.channel)
            row["entry"] = link.call(stub.DropPartition, asked).event_id
        made.append(row)
    if as_json:
        output.emit_json({"partitions": made, "dropped": yes})
        return
    for row in made:
        output.one(row, False)
    if not made:
        output.say(f"{folder} holds no whole partition of 65,536 entries: nothing is to be dropped.")
    elif not yes:
        output.say("\nRead again, and good. Nothing was dropped: carry it out with --yes.")
