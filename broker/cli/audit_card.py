"""`broker audit downtime-card`: one page to print, for when the broker cannot be reached.

Owns the command's words, and asking a running broker for what stands on the card.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from broker.cli import output, surroundings
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote
from broker.errors import SetupError


@remote(OPERATOR)
def downtime_card(
    link: Link,
    agency: Annotated[str, typer.Option("--agency", metavar="ID", help="Whose people will use it.")],
    to: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="card.html", dir_okay=False, help="Where it goes; else standard output."
        ),
    ] = None,
    columns: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="downtime.csv",
            dir_okay=False,
            help="Write the empty file with its columns too, for you alone; one that is there is not touched.",
        ),
    ] = None,
) -> None:
    """Make an agency's downtime card: whom to ring, what may be asked under which agreement, a form.

    One side of A4 in HTML, to print before it is needed and again when an agreement or a number changes. Its
    form has the columns of `broker audit record-late --from-file`. It names numbers and posts, nobody.
    """
    from broker import law
    from broker.cli.downtime import as_html, card
    from broker.cli.late_rows import as_csv
    from broker.pki.files import write_new
    from broker.v1 import routing_pb2
    from broker.v1.routing_pb2_grpc import RoutingServiceStub

    around = surroundings.of_broker(link)
    if agency not in around.agencies:
        raise SetupError(f"{output.clean(agency)} is not in the directory; `broker agency list` shows who is")
    files = link.call(RoutingServiceStub(link.channel).ListRoutes, routing_pb2.ListRoutesRequest()).files
    routes = [route for file in files for route in file.routes]
    in_force = [told.terms for told in around.applied if told.message.status == "in force"]
    made = card(
        around.agencies[agency], in_force, around.agencies, routes, law.load(), datetime.now(UTC).date()
    )
    if columns is not None and columns.exists():
        sys.stderr.write(f"{columns} is there already and is not touched\n")
    elif columns is not None:
        write_new(columns, as_csv([]), 0o600)  # what will be written into it is about people
    if not made.fits:
        sys.stderr.write("warning: so many agreements that it takes a second page; look before you print\n")
    if to is None:
        output.raw(as_html(made).encode())
    else:
        _write(to, as_html(made).encode())
        output.say(f"{to}: written")


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from error
