"""The options that every command has which talks to a running broker, and `remote`, which adds them.

Owns their words, defaults and environment variables, so that they are the same everywhere.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

from broker.cli.connection import Link, endpoint

P = ParamSpec("P")

OPERATOR = "operator-cli"
AUDITOR = "auditor-console"
DEFAULT_STATE = Path(".broker")
_PANEL = "Connection"

State = Annotated[
    Path,
    typer.Option(
        "--state",
        envvar="BROKER_STATE",
        metavar="DIR",
        rich_help_panel=_PANEL,
        help="State folder of `broker up`: certs/, ports.json and log.vkey are looked for in it.",
    ),
]
Identity = Annotated[
    str | None,
    typer.Option(
        "--as",
        envvar="BROKER_AS",
        metavar="NAME",
        rich_help_panel=_PANEL,
        help="Speak as this system: a folder of DIR/certs, AGENCY-SYSTEM, such as cfrs-mdt.",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        envvar="BROKER_TARGET",
        metavar="HOST:PORT",
        rich_help_panel=_PANEL,
        show_default=False,
        help="The broker's gRPC address. By default 127.0.0.1 and the port in DIR/ports.json.",
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        envvar="BROKER_CLIENT_CA",
        metavar="FILE",
        rich_help_panel=_PANEL,
        show_default=False,
        help="With --cert and --key, instead of --as: the root certificate to trust.",
    ),
]
Cert = Annotated[
    Path | None,
    typer.Option(
        "--cert",
        envvar="BROKER_CLIENT_CERT",
        metavar="FILE",
        rich_help_panel=_PANEL,
        show_default=False,
        help="The certificate to show, with its issuing certificate.",
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        envvar="BROKER_CLIENT_KEY",
        metavar="TLS-KEY",
        rich_help_panel=_PANEL,
        show_default=False,
        help="The TLS private key of --cert (PEM).",
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0.1,
        max=300,
        metavar="SECONDS",
        rich_help_panel=_PANEL,
        help="The longest that one call may take.",
    ),
]
_OPTIONS: dict[str, tuple[Any, object]] = {
    "state": (State, DEFAULT_STATE),
    "identity": (Identity, None),
    "target": (Target, None),
    "ca": (Ca, None),
    "cert": (Cert, None),
    "key": (Key, None),
}


def remote(
    speaks_as: str | None, *, timeout: float | None = 10.0, offline: bool = False
) -> Callable[[Callable[Concatenate[Link, P], None]], Callable[..., None]]:
    """Make a command of a function whose first argument is a Link, adding the options that find the broker.

    `speaks_as` is the identity where --as is not given; None: it must be. `timeout` is --timeout's default in
    seconds; with None there is no such option here, and the command bounds its own calls. With `offline` the
    command works without a broker too: none is looked for before the Link is used, and `Link.asked` says
    whether one of these options was given.
    """
    options = {**_OPTIONS, "identity": (Identity, speaks_as)}
    if offline:
        options |= {"state": (State, None), "identity": (Identity, None)}
    if timeout is not None:
        options["timeout"] = (Timeout, timeout)

    def decorate(body: Callable[Concatenate[Link, P], None]) -> Callable[..., None]:
        @functools.wraps(body)
        def command(**given: Any) -> None:
            limit = given.pop("timeout") if timeout is not None else 0.0
            where = {name: given.pop(name) for name in _OPTIONS}
            asked = any(each is not None for each in where.values())
            if offline:
                defaults = {"state": DEFAULT_STATE, "identity": speaks_as}
                where |= {name: each for name, each in defaults.items() if where[name] is None}
            found = None if offline else endpoint(**where)
            run: Callable[..., None] = body
            with Link(lambda: found or endpoint(**where), limit, asked=asked) as link:
                run(link, **given)

        hints = get_type_hints(body, include_extras=True)
        own = list(inspect.signature(body).parameters.values())[1:]
        parameters = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[each.name]) for each in own
        ] + [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default) in options.items()
        ]
        # What typer reads: both must say the same, in types rather than in text.
        vars(command)["__signature__"] = inspect.Signature(parameters)
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate
