"""`broker up`: a whole deployment on one machine with nothing installed, the demonstration, and then it stays.

Everything is real: PostgreSQL twice, a FHIR server, mutual TLS, adapters as processes of their own. Only the
people are invented.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def up(
    state: Annotated[
        Path, typer.Option("--state", metavar="DIR", help="Where databases, keys, certificates and logs lie.")
    ] = Path(".broker"),
    grpc_port: Annotated[int, typer.Option(help="gRPC port; 0 takes a free one.", min=0, max=65535)] = 7443,
    http_port: Annotated[int, typer.Option(help="HTTPS port; 0 takes a free one.", min=0, max=65535)] = 7444,
    workers: Annotated[
        int,
        typer.Option("--workers", metavar="N", help="Broker processes that share the ports.", min=1, max=64),
    ] = 1,
    once: Annotated[bool, typer.Option("--once", help="Run the demonstration, then stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the demonstration's steps as JSON.")] = False,
) -> None:
    """Start everything on this machine and show what it does.

    Two embedded PostgreSQL servers, development certificates, the broker, a FHIR server with synthetic
    patients, a fire service's risk database, and their adapters; then the demonstration. Nothing needs to be
    installed and nothing outside DIR is written. It stays until Ctrl-C; everything it started ends with it,
    however it ends.

    With --once it stops after the demonstration, and exits 0 only if every step did what it should.
    """
    from broker.cli.up.run import run

    raise typer.Exit(run(state, grpc_port, http_port, workers, once=once, as_json=as_json))
