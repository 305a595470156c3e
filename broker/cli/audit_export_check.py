"""`broker audit export verify | send`: an exported file checked offline, and log records sent to a collector.

Owns their words and exit codes. Refuses to send a file that does not verify, or over a line that others read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import audit_log, evidence, inputs, output
from broker.cli.progress import progress
from broker.errors import SetupError

if TYPE_CHECKING:
    from broker.core.keys import Verifier
    from broker.offline.export.verify import Report

UNLISTED, UNREADABLE = 3, 6
# By the ending that a file of it usually has; of others --format says it.
_FORMS = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet"}
File = Annotated[Path, typer.Argument(metavar="FILE", help="As it was exported.")]


def verify(
    file: File,
    vkey: inputs.LogKeys,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="Its format, where FILE.manifest.json is not there and its ending does not say.",
            show_default=False,
        ),
    ] = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Check every row of an exported file against the log's keys, and the file against its manifest. Offline.

    The first row that is not as the log has it is named. Exit 0 good; 1 bad; 2 the command line or the keys
    cannot be used; 3 every row is good, and there is no manifest to say whether any is missing; 6 it cannot be
    read.
    """
    report = _checked(file, vkey, form, as_json)
    if as_json:
        output.emit_json({"file": str(file), **_report(report)})
    else:
        output.say(_verdict(file, report))
    raise typer.Exit(1 if not report.good else 0 if report.listed else UNLISTED)


def send(
    file: File,
    vkey: inputs.LogKeys,
    endpoint: Annotated[
        str,
        typer.Option(
            "--endpoint",
            metavar="URL",
            help="The collector's OTLP/HTTP address of logs, such as https://siem.example:4318/v1/logs. "
            "Headers that it wants are read from OTEL_EXPORTER_OTLP_HEADERS.",
        ),
    ],
    ca: Annotated[
        Path | None,
        typer.Option("--ca", metavar="FILE", help="Whose certificate it has; by default the system's."),
    ] = None,
    skip: Annotated[
        int, typer.Option("--skip", min=0, metavar="ROWS", help="Go on after so many, as it was said.")
    ] = 0,
    as_json: inputs.AsJson = False,
) -> None:
    """Send an export of --format otlp to a collector. The whole file is verified first.

    Interrupted, or refused, it says how many rows were taken: go on with --skip. A record may come twice; its
    entry's id says so. Exit 0 all were taken; 1 not, or the file is bad; 2 a command line that cannot be read;
    6 the file cannot be read.
    """
    from broker.cli.otlp_http import Collector

    collector = Collector(endpoint, ca)
    report = _checked(file, vkey, "", as_json)
    if not report.good:
        if as_json:
            output.emit_json({"file": str(file), **_report(report)})
        else:
            output.say(_verdict(file, report))
        raise typer.Exit(1)
    if not report.form.startswith("otlp"):
        raise SetupError(f"{file} is of the form {report.form}: only exports of --format otlp are sent")
    taken = skip
    try:
        with progress("rows") as told:
            for taken in collector.send(file, skip):
                told(taken, report.rows)
    except BaseException:
        typer.echo(f"stopped: {taken} rows were taken; go on with --skip {taken}", err=True)
        raise
    if as_json:
        output.emit_json({"file": str(file), "rows": report.rows, "sent": taken - skip})
    else:
        output.say(f"{taken - skip} rows sent to {endpoint}")


def _checked(file: Path, vkey: Path, form: str, as_json: bool) -> Report:
    """What verifying a file comes to; exit 6 where it cannot be read."""
    from broker.offline.export.manifest import beside
    from broker.offline.export.verify import verify as check

    with audit_log.ending(as_json):
        keys = keys_of(vkey)
        if not form and not beside(file).exists() and file.is_file():
            raise SetupError(f"{beside(file)} is not there: say with --format which form {file} has")
    try:
        with progress("rows") as told:
            return check(file, keys, form or _FORMS.get(file.suffix, ""), told)
    except SetupError as error:
        audit_log.end(UNREADABLE, "unreadable", str(error), as_json, "cannot be read: ")


def keys_of(vkey: Path) -> tuple[Verifier, ...]:
    """The log's verifier keys."""
    return audit_log.keys_of(evidence.require_keys(vkey))


def _report(report: Report) -> dict[str, object]:
    return {
        "verdict": "bad" if not report.good else "good" if report.listed else "unlisted",
        "good": report.good,
        "format": report.form,
        "rows": report.rows,
        "complete": report.good and report.listed,
        "log": report.log or None,
        "size": report.size or None,
        "row": report.row or None,
        "index": None if report.index < 0 else report.index,
        "problem": report.problem or None,
    }


def _verdict(file: Path, report: Report) -> str:
    if report.good and report.listed:
        what = "every entry of its range" if report.whole else "all that its manifest lists"
        return f"GOOD {file}: {report.rows} rows, {what}, proven in the {report.size} entries of {report.log}"
    if report.good:
        return f"GOOD {file}: {report.rows} rows; without its manifest nothing says whether any is missing"
    where = f"row {report.row}" if report.row else ""
    where += f" (entry {report.index})" if report.index >= 0 else ""
    return f"BAD {file}{': ' if where else ''}{where}: {report.problem}"
