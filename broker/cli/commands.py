"""Every command there is, as one typer application.

A noun's module imports at its top what its signatures need and nothing heavier (no grpc, no asyncpg, no
cryptography): `broker --help` imports them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from broker import __version__
from broker.cli import (
    agency,
    agreement,
    audit,
    certs,
    directive,
    explain,
    governance,
    override,
    records,
    referral,
    route,
    serve,
    system,
    up,
)
from broker.cli import request as ask
from broker.cli.missing import AllMissing

# Everything there is, in the order of `broker --help`: add yours here. A noun's module has an `app` with its
# verbs; what is a single command (`up`) is a function, and goes into `COMMANDS`.
NOUNS: dict[str, typer.Typer] = {
    "agency": agency.app,
    "system": system.app,
    "certs": certs.app,
    "records": records.app,
    "agreement": agreement.app,
    "directive": directive.app,
    "route": route.app,
    "governance": governance.app,
    "referral": referral.app,
    "override": override.app,
    "audit": audit.app,
}
COMMANDS: dict[str, Callable[..., None]] = {
    "up": up.up,
    "serve": serve.serve,
    "request": ask.request,
    "explain": explain.explain,
}


def build() -> typer.Typer:
    """The whole command line as one typer application."""
    app = typer.Typer(
        name="broker",
        no_args_is_help=True,
        rich_markup_mode="markdown",  # joins the lines of a paragraph; write no <angles> in help
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name, command in COMMANDS.items():
        app.command(name)(command)
    for name, noun in NOUNS.items():
        app.add_typer(noun, name=name)
    _tell_all_that_is_missing(app)
    return app


def _tell_all_that_is_missing(app: typer.Typer) -> None:
    """In this application and below it."""
    for each in app.registered_commands:
        each.cls = AllMissing
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _tell_all_that_is_missing(group.typer_instance)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"broker {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and stop."),
    ] = False,
) -> None:
    """Blue Light Broker: consent-checked records between agencies, with evidence before release."""
