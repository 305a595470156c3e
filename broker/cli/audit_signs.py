"""`broker audit report snooping`: signs of looking without need, by what the reader says is one.

Owns the command's words, and the staff list's form: a CSV file whose first line names its columns.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import inputs
from broker.cli.audit_report import Agency, Since, Until, Why, Words, app, asked, make
from broker.cli.connection import Link
from broker.cli.document import AsJson, Form, Out
from broker.cli.remote import AUDITOR, remote
from broker.cli.report import Format
from broker.errors import SetupError

if TYPE_CHECKING:
    from broker.v1 import report_pb2 as pb

MAX_STAFF_FILE = 1024 * 1024


Repeated = Annotated[
    int, typer.Option("--repeated", min=2, max=10_000, help="So often about one person by one actor.")
]
Expects = Annotated[
    list[str] | None,
    typer.Option(
        "--expects-incident",
        metavar="PURPOSE",
        help="A purpose that goes with an incident; repeat. By default those on which a life may depend.",
    ),
]
Shifts = Annotated[
    list[str] | None,
    typer.Option(
        "--hours",
        metavar="[ROLE=]07:00-19:00",
        help="Working hours by UK clocks, of a role or of all; repeat. Without it hours are not looked at.",
    ),
]
Staff = Annotated[
    Path | None,
    typer.Option(
        "--staff",
        metavar="FILE",
        help=(
            "CSV of your staff with the heads actor, name, address_line, postcode, uprn, and agency where "
            "they are of several: used for this report and not kept."
        ),
    ),
]


@app.command()
@remote(AUDITOR, timeout=None)
def snooping(
    link: Link,
    reason: Why,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    since: Since = None,
    until: Until = None,
    agency: Agency = "",
    repeated: Repeated = 5,
    expects: Expects = None,
    shifts: Shifts = None,
    staff: Staff = None,
    words: Words = "",
    form: Form = Format.html,
    as_json: AsJson = False,
    to: Out = None,
) -> None:
    """Show signs of looking without need, for a human to look at. A sign is no proof."""
    from broker.v1 import report_pb2 as pb

    signs = pb.SnoopingSigns(
        repeated_from=repeated,
        expects_incident=expects or [],
        shifts=shifts or [],
        staff=_staff(staff) if staff is not None else [],
    )
    request = asked(
        "snooping",
        (actor_id, role),
        (reason, words),
        since=since,
        until=until,
        agency=agency,
        signs=signs,
    )
    make(link, request, form, as_json, to)


def _staff(file: Path) -> list[pb.StaffMember]:
    from broker.v1 import report_pb2 as pb

    names = ("actor", "name", "address_line", "postcode", "uprn", "agency")
    text = inputs.read_bounded(file, MAX_STAFF_FILE, "a staff list").decode("utf-8-sig", "replace")
    rows = csv.DictReader(text.splitlines())
    if "actor" not in (rows.fieldnames or ()):
        raise SetupError(f"{file}: the first line names the columns, actor at least: {', '.join(names)}")
    return [pb.StaffMember(**{name: (row.get(name) or "").strip() for name in names}) for row in rows]
