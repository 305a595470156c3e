"""`broker governance`: what an information-governance lead must be able to show, from the agreements applied.

Owns the words of these commands and how their reports are laid out; what stands in them is
`core.processing`'s and `core.stewardship`'s. A partner reads its own agreements, operators and auditors all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import inputs, output, surroundings
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote
from broker.cli.report import Format, Report, Table, write
from broker.errors import SetupError

if TYPE_CHECKING:
    from broker.cli.surroundings import Told
    from broker.core.processing import Processing
    from broker.core.stewardship import Standing

app = typer.Typer(
    help=(
        "Information governance: the record of processing, reviews that are due, impact assessments; from the "
        "agreements of a running broker, as a page, CSV or JSON.\n\n" + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)
Form = Annotated[Format, typer.Option("--format", help="A page to read, a table to go on with, or JSON.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", dir_okay=False, help="Write it there; by default to standard output."
    ),
]
_ROPA = (
    ("agreement", "Agreement"),
    ("activity", "Processing"),
    ("purpose", "Purpose"),
    ("counterpart", "Other party"),
    ("record_type", "Record type"),
    ("subjects", "People it is about"),
    ("data", "Kinds of data"),
    ("regime", "Regime"),
    ("basis", "Lawful basis"),
    ("condition", "Conditions"),
    ("gateway", "Power or duty to share"),
    ("retention", "Retention"),
    ("transfers_abroad", "Transfers abroad"),
    ("status", "Status"),
    ("lineage", "In whose place"),
)
_REVIEWS = (
    ("agreement", "Agreement"),
    ("title", "Title"),
    ("state", "Review"),
    ("review_on", "Review on"),
    ("days", "Days left"),
    ("last_day", "Last day"),
    ("parties", "Parties"),
    ("answerable", "Who answers"),
    ("status", "Status"),
)
_DPIA = (
    ("agreement", "Agreement"),
    ("title", "Title"),
    ("covered", "Covered"),
    ("dpia", "Assessment"),
    ("dpia_status", "Its state"),
    ("sensitive", "Sensitive data"),
    ("policy_document", "Policy document"),
    ("parties", "Parties"),
    ("status", "Status"),
)


@app.command()
@remote(OPERATOR)
def ropa(
    link: Link,
    controller: Annotated[
        str, typer.Option("--controller", metavar="AGENCY", help="Only this one; by default each in turn.")
    ] = "",
    form: Form = Format.html,
    to: Out = None,
) -> None:
    """Record of processing activities, per controller: UK GDPR Article 30, DPA 2018 section 61.

    A draft of what happens through this broker, from the agreements that are not over; each controller adds
    what it does elsewhere.
    """
    from broker import law
    from broker.core.processing import Processing, processing

    around = surroundings.of_broker(link)
    if controller and controller not in around.agencies:
        raise SetupError(
            f"{output.clean(controller)} is not in the directory; `broker agency list` shows who is"
        )
    standings = [_standing(each) for each in around.applied]
    rows = processing(standings, around.agencies, around.types, law.load(), _today(), controller)
    tables = [_of_controller(list(each)) for _, each in groupby(rows, key=lambda row: row.controller)]
    about = (
        "Under UK GDPR Article 30 and, for law-enforcement purposes, DPA 2018 section 61.",
        "It holds what happens through this broker; each controller adds what it does elsewhere.",
        "Who has taken a party's place has rows of its own from that day on, with in whose place it stands.",
        "The operator of the broker is each controller's processor (UK GDPR Article 28, section 59).",
    )
    none = "There is no agreement under which anything is or will be processed."
    _put(
        Report("Record of processing activities", about, tables, none, _today(), Processing),
        form,
        to,
    )


@app.command()
@remote(OPERATOR)
def reviews(
    link: Link,
    within: Annotated[
        int, typer.Option("--within", metavar="DAYS", min=0, max=3660, help="Due in so many days, or overdue.")
    ] = 90,
    form: Form = Format.html,
    to: Out = None,
) -> None:
    """Agreements whose review is due or overdue, or that end soon, soonest first."""
    from broker.core import stewardship

    rows = stewardship.reviews([_standing(each) for each in surroundings.applied(link)], _today(), within)
    table = Table(f"Overdue, or within {within} days of {_today()}", _REVIEWS, rows)
    none = f"No agreement is to be reviewed, and none ends, within {within} days."
    _put(Report("Reviews of agreements", (), [table], none, _today(), stewardship.Review), form, to)


@app.command()
@remote(OPERATOR)
def dpia(link: Link, form: Form = Format.html, to: Out = None) -> None:
    """Which agreements a data protection impact assessment covers, and which not."""
    from broker import law
    from broker.core import stewardship

    around = surroundings.of_broker(link)
    standings = [_standing(each) for each in around.applied]
    rows = stewardship.assessments(standings, around.agencies, around.types, law.load(), _today())
    lacking = sum(row.covered == "no" for row in rows)
    about = (f"{len(rows) - lacking} of {len(rows)} agreements are covered, or need no assessment.",)
    table = Table("Agreements that are not over, those without cover first", _DPIA, rows)
    title = "Data protection impact assessments"
    _put(Report(title, about, [table], "There are no agreements.", _today(), stewardship.Assessment), form, to)


def _of_controller(rows: Sequence[Processing]) -> Table:
    """The table of one controller, with what is the same in all its rows above it."""
    first = rows[0]
    officers = ", ".join(
        dict.fromkeys(row.data_protection_officer for row in rows if row.data_protection_officer)
    )
    joint = ", ".join(dict.fromkeys(row.joint_controllers for row in rows if row.joint_controllers))
    facts = [
        ("Controller", f"{first.name} ({first.controller})"),
        ("Contact", first.contact or "not in the directory"),
        ("Data protection officer", officers or "not named in the agreements"),
        ("Joint controllers", joint or "none"),
        ("Security", first.security),
    ]
    return Table(f"What {first.name} processes through the broker", _ROPA, rows, first.name, facts)


def _standing(told: Told) -> Standing:
    from broker.core.stewardship import Standing

    last = told.message.valid_until.ToDatetime(UTC) - timedelta(microseconds=1)
    return Standing(told.terms, told.message.status, last.date())


def _today() -> date:
    """By the clock in the United Kingdom: whoever takes an agency's place does so at midnight there."""
    from broker.core.london import local

    return local(datetime.now(UTC)).date()


def _put(report: Report, form: Format, to: Path | None) -> None:
    text = write(report, form)
    if to is None:
        output.raw(text.encode("utf-8"))
        return
    try:
        to.write_bytes(text.encode("utf-8"))
    except OSError as error:
        raise SetupError(f"cannot write {to}: {error.strerror}") from error
    output.say(f"{to}: written")
