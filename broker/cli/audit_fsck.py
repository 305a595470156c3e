"""`broker audit fsck`: a whole log derived again, as it is published or as it lies in the database.

Owns the command's words and exit codes. Writes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import audit_database, audit_log, inputs, output
from broker.cli.progress import progress
from broker.errors import SetupError

if TYPE_CHECKING:
    from broker.offline.problems import Problem, Report

Lies = Annotated[
    str,
    typer.Argument(
        metavar="LOG",
        show_default=False,
        help="A folder that holds `checkpoint` and `tile/`, the https address of one, or the broker's database "
        "(postgresql://USER@HOST/DATABASE; the password from PGPASSFILE or PGPASSWORD). Not with --state.",
    ),
]
Vkey = Annotated[
    Path | None,
    typer.Option(
        "--vkey",
        metavar="FILE",
        show_default=False,
        help="The log's verifier keys, one a line. With --state by default DIR/log.vkey.",
    ),
]


StateFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        show_default=False,
        help="Instead of LOG: the state folder of a running `broker up`; its database, keys and guard.",
    ),
]
KeyFolder = Annotated[
    Path | None,
    typer.Option("--keys", metavar="DIR", help="With a database: the key folder, so that views are opened."),
]
Checkpoints = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE", help="A checkpoint that was kept elsewhere: the log must begin with it. Repeatable."
    ),
]
GuardFile = Annotated[Path | None, typer.Option(metavar="FILE", help="With a database: a node's guard file.")]
Authorities = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="With a database: root certificates of its time-stamp authority (PEM)."),
]
ArchiveFolders = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR",
        help="With a database: the folder that a closed log was exported to, for the entries that are kept "
        "there alone. Repeatable.",
    ),
]


def fsck(
    log: Lies = "",
    vkey: Vkey = None,
    state: StateFolder = None,
    ring: KeyFolder = None,
    checkpoint: Checkpoints = None,
    guard: GuardFile = None,
    tsa_cert: Authorities = None,
    archive: ArchiveFolders = None,
    ca: audit_log.Ca = None,
    cert: audit_log.Cert = None,
    key: audit_log.Key = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Derive a whole log again from its entries and hold it against every tile and the signed root.

    Names what is wrong, first things first, by the entry's index or the tile's path. Of a database also: its
    head, ids, times, claims, the search index's reach, and with the key folder every view; what has been erased
    is named as that. Exit 0 good; 1 something is wrong; 2 the command line, or a file that it names, cannot be
    used; 6 the log cannot be read.
    """
    from broker.offline.fsck import fsck as check

    with audit_log.ending(as_json):
        if state is not None:
            log, vkey, ring, guard = _of_state(state, log, vkey, ring, guard)
        if not log or vkey is None:
            raise SetupError("name LOG and --vkey FILE, or --state DIR of a running `broker up`")
        keys = audit_log.keys_of(vkey)
        if audit_database.is_database(log):
            found = audit_database.fsck(log, keys, ring, checkpoint or [], guard, tsa_cert, archive or [])
            if as_json:
                output.emit_json({**_told(found), **audit_database.told(found)})
            else:
                audit_database.say(found)
            raise typer.Exit(0 if found.good else audit_log.BAD)
        if ring or guard or tsa_cert or archive:
            raise SetupError(
                "--keys, --guard, --tsa-cert and --archive go with a database (postgresql://USER@HOST/DATABASE)"
            )
        source, kept = audit_log.source_of(log, ca, cert, key), audit_database.notes_of(checkpoint or [])
        with progress("entries") as told:
            report = check(source, keys, told, kept)
    _say(report, as_json)
    raise typer.Exit(0 if report.good else audit_log.BAD)


def _of_state(
    state: Path, log: str, vkey: Path | None, ring: Path | None, guard: Path | None
) -> tuple[str, Path, Path, Path | None]:
    """Where a state folder has its database, and what is not given: verifier keys, key folder, guard."""
    from broker.cli.up.state import State
    from broker.store.embedded.address import address

    if log:
        raise SetupError("LOG and --state DIR name two logs: give one of them")
    lies = State(state)
    kept = guard or (lies.guard if lies.guard.exists() else None)
    return address(state), vkey or lies.vkey, ring or lies.keys, kept


def _say(report: Report, as_json: bool) -> None:
    from broker.core.tiles import PARTITION

    if as_json:
        output.emit_json(_told(report))
    elif report.good:
        many = "" if report.held == 1 else "s"
        held = f", and begin with {report.held} kept checkpoint{many}" if report.held else ""
        made = f"{report.entries} entries and {report.tiles} tiles make the signed root"
        output.say(f"GOOD {report.origin}: {made}{held}")
        for first in report.dropped:
            last = first + PARTITION - 1
            output.say(f"Entries {first} to {last} are kept in an export alone; their hashes are good.")
    else:
        for problem in report.problems:
            output.say(f"BAD {problem}")
        if report.more:
            output.say(f"and {report.more} more")
        if report.count > 1:
            output.say(f"First: {report.first}")
    if not as_json:
        for each in report.unchecked:
            output.say(f"NOT CHECKED: {each}")


def _told(report: Report) -> dict[str, object]:
    return {
        "log": report.origin,
        "size": report.size,
        "entries": report.entries,
        "tiles": report.tiles,
        "kept_checkpoints": report.held,
        "dropped": report.dropped,
        "good": report.good,
        "problems": [_row(each) for each in report.problems],
        "more": report.more,
        "unchecked": report.unchecked,
        "verdict": "good" if report.good else "bad",
    }


def _row(problem: Problem) -> dict[str, object]:
    return {"kind": problem.kind, "index": problem.index, "path": problem.path, "text": problem.text}
