"""`broker audit fsck`: a whole log derived again, as it is published or as it lies in the database.

Owns the command's words and exit codes. Writes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import audit_database, audit_log, inputs, output
from broker.cli.progress import progress

if TYPE_CHECKING:
    from broker.offline.fsck import Problem, Report

Lies = Annotated[
    str,
    typer.Argument(
        metavar="LOG",
        help="A folder that holds `checkpoint` and `tile/`, the https address of one, or the broker's database "
        "(postgresql://...; the password from PGPASSFILE or PGPASSWORD).",
    ),
]


def fsck(
    log: Lies,
    vkey: inputs.LogKeys,
    ring: Annotated[
        Path | None,
        typer.Option(
            "--keys", metavar="DIR", help="With a database: the key folder, so that views are opened."
        ),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="With a database: a checkpoint that was kept elsewhere. Repeatable."),
    ] = None,
    guard: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With a database: a node's guard file.")
    ] = None,
    tsa_cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With a database: root certificates of its time-stamp authority (PEM)."
        ),
    ] = None,
    archive: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="With a database: the folder that a closed log was exported to, for the entries that are kept "
            "there alone. Repeatable.",
        ),
    ] = None,
    ca: audit_log.Ca = None,
    cert: audit_log.Cert = None,
    key: audit_log.Key = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Derive a whole log again from its entries and hold it against every tile and the signed root.

    Names what is wrong, first things first, by the entry's index or the tile's path. Of a database also: its
    head, ids, times, claims, the search index's reach, and with the key folder every view; what has been erased
    is named as that. Exit 0 good; 1 something is wrong; 6 the log cannot be read.
    """
    from broker.core.tiles import PARTITION
    from broker.offline.fsck import fsck as check

    keys = audit_log.keys_of(vkey)
    if audit_database.is_database(log):
        found = audit_log.reading(
            lambda: audit_database.fsck(log, keys, ring, checkpoint or [], guard, tsa_cert, archive or [])
        )
        if as_json:
            output.emit_json({**_told(found), **audit_database.told(found)})
        else:
            audit_database.say(found)
        raise typer.Exit(0 if found.good else 1)
    if ring or checkpoint or guard or tsa_cert or archive:
        raise typer.BadParameter(
            "--keys, --checkpoint, --guard, --tsa-cert and --archive go with a database (postgresql://...)"
        )
    source = audit_log.source_of(log, ca, cert, key)
    with progress("entries") as told:
        report = audit_log.reading(lambda: check(source, keys, told))
    if as_json:
        output.emit_json(_told(report))
    elif report.good:
        output.say(
            f"GOOD {report.origin}: {report.entries} entries and {report.tiles} tiles make the signed root"
        )
        for first in report.dropped:
            last = first + PARTITION - 1
            output.say(f"Entries {first} to {last} are kept in an export alone; their hashes are good.")
    else:
        for problem in report.problems:
            output.say(f"BAD {problem}")
        if report.more:
            output.say(f"and {report.more} more")
        output.say(f"First: {report.first}")
    raise typer.Exit(0 if report.good else 1)


def _told(report: Report) -> dict[str, object]:
    return {
        "log": report.origin,
        "size": report.size,
        "entries": report.entries,
        "tiles": report.tiles,
        "dropped": report.dropped,
        "good": report.good,
        "problems": [_row(each) for each in report.problems],
        "more": report.more,
    }


def _row(problem: Problem) -> dict[str, object]:
    return {"kind": problem.kind, "index": problem.index, "path": problem.path, "text": problem.text}
