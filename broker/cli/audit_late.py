"""`broker audit record-late`: what was shared by telephone while the broker was down.

Owns the command's words. Names and words can be read from standard input or a file, so that nobody else on the
machine sees them among the processes.
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import evidence, inputs, late_rows, output
from broker.cli.connection import Link
from broker.cli.late_rows import Row
from broker.cli.progress import progress
from broker.cli.remote import remote
from broker.errors import InvalidRequest, SetupError

if TYPE_CHECKING:
    from broker.v1 import audit_pb2 as pb
    from broker.v1 import exchange_pb2

_AT_ONCE = 100
_PROBLEMS = 50
_MAX_LINE = 1024
LABEL = "not evidence before release"
_ONE = "One sharing"
_SAID = "; - reads it from standard input"


def _option(column: str, more: str = "", **named: object) -> typer.models.OptionInfo:
    made: typer.models.OptionInfo = typer.Option(
        f"--{column.replace('_', '-')}",
        help=late_rows.COLUMNS[column][1].rstrip(".") + more + ".",
        rich_help_panel=_ONE,
        show_default=False,
        **named,  # type: ignore[arg-type]
    )
    return made


FromFile = Annotated[
    Path | None,
    typer.Option(
        "--from-file",
        metavar="downtime.csv",
        help="Many: a CSV with the columns of `broker audit downtime-card`; - reads standard input.",
    ),
]
Number = Annotated[
    bool,
    typer.Option("--number", help="First give an id to each row of the file that has none, and save it."),
]
OnlyCheck = Annotated[
    bool, typer.Option("--check", help="Say whether all of it would be taken; write nothing.")
]
Id = Annotated[
    str,
    typer.Option(
        "--id",
        metavar="UUID",
        rich_help_panel=_ONE,
        help="Of an earlier try, so that it is not said twice.",
    ),
]


@remote(None)
def record_late(
    link: Link,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    from_file: FromFile = None,
    number: Number = False,
    check: OnlyCheck = False,
    id_: Id = "",
    occurred: Annotated[str, _option("occurred")] = "",
    channel: Annotated[str, _option("channel")] = "telephone",
    gave_agency: Annotated[str, _option("gave_agency")] = "",
    gave_role: Annotated[str, _option("gave_role")] = "",
    gave_name: Annotated[str, _option("gave_name", _SAID)] = "",
    took_agency: Annotated[str, _option("took_agency")] = "",
    took_role: Annotated[str, _option("took_role")] = "",
    took_name: Annotated[str, _option("took_name", _SAID)] = "",
    about: Annotated[str, _option("about", ", read from standard input by default")] = "-",
    record_type: Annotated[str, _option("record_type")] = "",
    fields: Annotated[str, _option("fields")] = "",
    purpose: Annotated[str, _option("purpose")] = "",
    agreement: Annotated[str, _option("agreement")] = "",
    incident: Annotated[str, _option("incident")] = "",
    why: Annotated[str, _option("why", ", read from standard input by default")] = "-",
    as_json: inputs.AsJson = False,
) -> None:
    """Write down what was given or taken by telephone while the broker was down, once it is back.

    Your own agency gave it or took it; the other reads the entry in its own view and can search for it. Such an
    entry is labelled, wherever it is shown, as NOT evidence before release: it proves when it was written down
    and by whom, and nothing about what came before. A repeat with the same id gets the same entry. Of a file
    every row is checked before the first is written.
    """
    if from_file is None:
        cells = {
            "id": id_ or str(uuid.uuid4()),
            "occurred": occurred,
            "channel": channel,
            "gave_agency": gave_agency,
            "gave_role": gave_role,
            "gave_name": gave_name,
            "took_agency": took_agency,
            "took_role": took_role,
            "took_name": took_name,
            "about": about,
            "record_type": record_type,
            "fields": fields,
            "purpose": purpose,
            "agreement": agreement,
            "incident": incident,
            "why": why,
        }
        rows = [_one(cells, told=bool(id_) or check)]
    else:
        rows = _from_file(from_file, number)
    found = _record(link, rows, actor_id, role, check)
    none = f"{len(rows)} would be taken; nothing was written"
    output.listed("recorded", found, ("row", "id", "entry", "index", "status"), as_json, none)
    if found and not as_json:
        output.say(f"{len(found)} recorded late: {LABEL}.")


def _one(cells: dict[str, str], *, told: bool) -> Row:
    """One sharing; its id is printed unless it is `told` already."""
    for name in ("about", "gave_name", "took_name", "why"):
        cells[name] = _typed(name, cells[name])
    if not told:
        sys.stderr.write(f"id {cells['id']}: give it with --id to repeat this\n")
    return Row(0, cells)


def _typed(name: str, text: str) -> str:
    """A value, from one line of standard input where it is `-`."""
    if text != "-":
        return text
    if sys.stdin.isatty():
        sys.stderr.write(f"{name.replace('_', ' ')}: ")
    return sys.stdin.readline(_MAX_LINE).strip()


def _from_file(path: Path, number: bool) -> list[Row]:
    if str(path) == "-":
        if number:
            raise typer.BadParameter("--number saves the file, and standard input is none")
        return late_rows.read(sys.stdin.read(late_rows.MAX_BYTES).encode())
    rows = late_rows.read(inputs.read_bounded(path, late_rows.MAX_BYTES, "a file of rows"))
    if number:
        from broker.pki.files import replace

        rows = late_rows.numbered(rows)
        replace(path, late_rows.as_csv(rows), path.stat().st_mode & 0o700)
    return rows


def _record(link: Link, rows: list[Row], actor_id: str, role: str, check: bool) -> list[dict[str, object]]:
    """Check every row, then write all of them; one line each."""
    from broker.v1 import exchange_pb2

    actor = exchange_pb2.Actor(id=actor_id, role=role)
    # Only looked at, rows need no ids of their own.
    rows = late_rows.numbered(rows) if check else rows
    messages = _checked(link, rows, actor)
    if check:
        return []
    found: list[dict[str, object]] = []
    with progress("Recording") as told:
        for part in late_rows.parts(rows, _AT_ONCE):
            reply = _call(link, part, messages, actor, check_only=False)
            for row, made in zip(part, reply.recorded, strict=True):
                noted = evidence.noted(made.receipt, link.endpoint.vkey)
                status = "stood already" if made.replayed else "recorded"
                found.append(
                    {"row": row.number or None, "id": made.id, **noted, "status": status, "evidence": LABEL}
                )
            told(len(found), len(rows))
    return found


def _checked(link: Link, rows: list[Row], actor: exchange_pb2.Actor) -> dict[int, pb.LateRecord]:
    """What is sent of each row, once all would be taken; else everything that is wrong is said, a line each.

    Of a row the first thing that is. Raises the problem where there is one, SetupError where there are several.
    """
    messages: dict[int, pb.LateRecord] = {}
    problems, first = list[InvalidRequest](), dict[str, int]()
    for row in rows:
        try:
            if (before := first.setdefault(row.cells["id"] or str(row.number), row.number)) != row.number:
                raise row.problem("id", f"stands in row {before} already")
            messages[row.number] = row.message()
        except InvalidRequest as error:
            problems.append(error)
    left = [row for row in rows if row.number in messages]
    for part in late_rows.parts(left, _AT_ONCE):
        while part and len(problems) < _PROBLEMS:
            try:
                warnings = _call(link, part, messages, actor, check_only=True).warnings
            except InvalidRequest as error:
                at = late_rows.row_of(error, part)
                if at is None:
                    raise
                problems.append(late_rows.located(error, part))
                part = [row for row in part if row is not at]
            else:
                for each in warnings:
                    sys.stderr.write(f"warning: {late_rows.warned(each, part)}\n")
                break
    if len(problems) == 1:
        raise problems[0]
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if problems:
        more = ", and perhaps more" if len(problems) >= _PROBLEMS else ""
        raise SetupError(f"{len(problems)} rows would not be taken{more}; nothing was written")
    return messages


def _call(
    link: Link,
    rows: list[Row],
    messages: dict[int, pb.LateRecord],
    actor: exchange_pb2.Actor,
    *,
    check_only: bool,
) -> pb.RecordLateResponse:
    from broker.v1 import audit_pb2 as pb
    from broker.v1.audit_pb2_grpc import AuditServiceStub

    request = pb.RecordLateRequest(
        records=[messages[row.number] for row in rows],
        actor=actor,
        check_only=check_only,
    )
    try:
        return link.call(AuditServiceStub(link.channel).RecordLate, request)
    except InvalidRequest as error:
        if check_only:
            raise
        raise late_rows.located(error, rows) from None
