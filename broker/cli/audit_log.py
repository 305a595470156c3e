"""What the commands that check a log offline have in common: where it is, which keys are held, how they end.

Owns those options, and one exit for each thing that can be said: 0 good, 1 bad, 2 a command line, or a file or
folder of ours, that is not what it should be, 3 not decided, 6 the log cannot be read. A defect is none of
these.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from broker.cli import audit_database, inputs, output
from broker.errors import IntegrityError, SetupError

if TYPE_CHECKING:
    from broker.core.keys import Verifier
    from broker.offline.source import Source

BAD: Final = 1
UNUSABLE: Final = 2
UNDECIDED: Final = 3
UNREADABLE: Final = 6

Where = Annotated[
    str,
    typer.Argument(
        metavar="LOG",
        help="A folder that holds `checkpoint` and `tile/`, or the https address of one, such as "
        "https://localhost:7444/log.",
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="With an address: the root of its TLS certificate (PEM)."),
]
Cert = Annotated[
    Path | None, typer.Option("--cert", metavar="FILE", help="With an address: our TLS certificate (PEM).")
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="TLS-KEY",
        help="With an address: the TLS private key of --cert (PEM); no key of a log.",
    ),
]


@contextmanager
def ending(as_json: bool) -> Iterator[None]:
    """Whatever hinders a check ends it with its exit and one sentence, and with --json as a JSON object."""
    from broker.offline.source import Unreadable

    try:
        yield
    except Unreadable as e:
        end(UNREADABLE, "unreadable", str(e), as_json, "cannot be read: ")
    except IntegrityError as e:
        end(BAD, "bad", str(e), as_json, "BAD ")
    except SetupError as e:
        end(UNUSABLE, "unusable", str(e), as_json, "error: ")


def end(code: int, verdict: str, text: str, as_json: bool, lead: str) -> NoReturn:
    """End with this exit. Of what was looked at only BAD says anything, and so stands on standard output."""
    if as_json:
        output.emit_json({"verdict": verdict, "good": False if code == BAD else None, "problem": text})
    else:
        line = output.clean(f"{lead}{text}").replace("\n", " ")
        typer.echo(line, err=code != BAD)
    raise typer.Exit(code)


def source_of(log: str, ca: Path | None, cert: Path | None, key: Path | None) -> Source:
    """The published log that the arguments name; it need not be there. Raises SetupError."""
    return opener(log, ca, cert, key)(float("inf"))


def opener(log: str, ca: Path | None, cert: Path | None, key: Path | None) -> Callable[[float], Source]:
    """What gives that log, read up to a moment of the monotonic clock. Raises SetupError."""
    from broker.offline.source import Address, Folder

    if audit_database.is_database(log):
        raise SetupError("of a database only fsck is for; this reads a log as it is published")
    if not log.startswith(("https://", "http://")):
        if not log or "\0" in log:
            raise SetupError("LOG is a folder or an https address")
        return lambda _until: Folder(Path(log))
    if log.startswith("http://"):
        raise SetupError("the address must begin with https://")
    if (cert is None) is not (key is None):
        raise SetupError("--cert and --key go together")
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert is not None:
            context.load_cert_chain(cert, key, password=_no_password)
        Address(log, context)
    except OSError as e:  # ssl.SSLError is one
        raise SetupError(f"--ca, --cert or --key: {e.strerror or e}") from e
    except ValueError as e:
        raise SetupError(f"{log}: {e}") from e
    return lambda until: Address(log, context, until=until)


def _no_password() -> str:
    """Nobody is at hand to be asked. Raises SetupError."""
    raise SetupError(
        "--key: the private key is encrypted; give one that is not, in a file that you alone can read"
    )


def keys_of(vkey: Path) -> tuple[Verifier, ...]:
    """The verifier keys in a file. Raises SetupError: whatever it holds says nothing of a log."""
    from broker.cli.audit_verify import parse_vkeys

    try:
        return parse_vkeys(inputs.read_bounded(vkey, 64 * 1024, "a file of verifier keys"))
    except IntegrityError as e:
        raise SetupError(f"--vkey {vkey}: {e}; give the log's verifier keys, one a line") from e
