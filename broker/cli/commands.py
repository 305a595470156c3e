"""Every command there is, as one typer application.

A noun's module imports at its top what its signatures need and nothing heavier (no grpc, no asyncpg, no
cryptography): `broker --help` imports them all, and a command line that names one that alone.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import lru_cache
from importlib import import_module
from typing import Annotated

import typer
from typer.main import get_command_name
from typer.models import CommandInfo

from broker import __version__
from broker.cli.missing import AllMissing

# Everything there is, in the order of `broker --help`: add yours here. What is a single command is the function
# of that name in the module of that name; a noun's module has an `app` with its verbs.
COMMANDS = ("up", "serve", "request", "explain")
NOUNS = (
    "agency",
    "system",
    "certs",
    "records",
    "agreement",
    "directive",
    "route",
    "governance",
    "referral",
    "override",
    "audit",
)


def build(first: str = "", second: str = "") -> typer.Typer:
    """The command line as one typer application: whole, unless `first` names the one command or noun of it
    that is wanted, and `second` that noun's verb."""
    app = typer.Typer(
        name="broker",
        no_args_is_help=True,
        rich_markup_mode="markdown",  # joins the lines of a paragraph; write no <angles> in help
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    known = (*COMMANDS, *NOUNS)
    for name in [first] if first in known else known:
        module = import_module(f"broker.cli.{name}")
        if name in COMMANDS:
            app.command(name)(getattr(module, name))
        else:
            app.add_typer(_only(second, module.app) if name == first else module.app, name=name)
    _tell_all_that_is_missing(app)
    return app


@lru_cache(maxsize=256)
def command_line(first: str = "", second: str = "") -> Callable[..., object]:
    """What runs it, given `args`; as `build`, and made once."""
    return typer.main.get_command(build(first, second))


def _only(verb: str, noun: typer.Typer) -> typer.Typer:
    """The noun with this verb alone; whole where it has none of that name."""
    one = copy(noun)
    one.registered_commands = [each for each in noun.registered_commands if _name_of(each) == verb]
    one.registered_groups = [each for each in noun.registered_groups if each.name == verb]
    return one if one.registered_commands or one.registered_groups else noun


def _name_of(command: CommandInfo) -> str:
    return command.name or get_command_name(getattr(command.callback, "__name__", ""))


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
