"""`broker audit witness` and `broker audit witness-key`: what a partner agency runs to watch a log as it grows.

Owns these commands' words. They need nothing of a broker but the verifier keys of its log, given by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import inputs, output
from broker.errors import IntegrityError, SetupError

if TYPE_CHECKING:
    from broker.core.keys import Cosigner, Verifier

key_app = typer.Typer(help="A witness's key.", no_args_is_help=True)


@key_app.command()
def new(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="What it signs as: a schema-less address of your own, such as cumbria.police.uk/witness.",
        ),
    ],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to put the witness's private key; never replaced.")
    ],
    as_json: inputs.AsJson = False,
) -> None:
    """Make a witness's key: FILE (mode 0600), and print its verifier key for whoever writes a witness policy.

    Every witness has a key of its own, never that of another witness or of a log.
    """
    import secrets

    from broker.core.keys import Cosigner
    from broker.pki.files import write_new

    try:
        made = Cosigner.from_seed(name, secrets.token_bytes(32))
    except IntegrityError as e:
        raise typer.BadParameter(str(e)) from e
    write_new(file, f"{made.skey}\n".encode(), 0o600)
    output.one({"key": str(file), "vkey": made.vkey}, as_json)


def witness(
    state: Annotated[
        Path,
        typer.Option(
            metavar="WITNESS-DIR",
            help="The witness's own folder: what was cosigned last lies here. Never go back to a copy of it.",
        ),
    ],
    key: Annotated[
        Path,
        typer.Option(
            metavar="WITNESS-KEY", help="The witness's private key, from `broker audit witness-key new`."
        ),
    ],
    log: Annotated[
        list[str],
        typer.Option(
            metavar="VKEY", help="Verifier key of a log to witness, or a file of some, one a line. Repeatable."
        ),
    ],
    tls_cert: Annotated[
        Path, typer.Option(metavar="FILE", help="This server's certificate with its issuing certificate (PEM).")
    ],
    tls_key: Annotated[
        Path, typer.Option(metavar="FILE", help="The certificate's TLS private key (PEM, mode 0600).")
    ],
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to serve HTTPS; port 0 takes a free one.")
    ] = ("127.0.0.1:7450"),
    ready_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Written with the port once it serves.", show_default=False),
    ] = None,
) -> None:
    """Run a witness: cosign every checkpoint that is proven to extend the one cosigned before, and no other.

    It answers `POST /add-checkpoint` (C2SP tlog-witness) over HTTPS until SIGTERM. What it cosigns is on the
    disk first. A log's key that signs two histories is refused, and both signed notes are kept in DIR.
    """
    import asyncio

    from broker.diagnostics import configure
    from broker.pki.tls import TlsFiles
    from broker.witness.process import WitnessSettings, serve

    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or not host:
        raise typer.BadParameter("--listen is HOST:PORT, such as 0.0.0.0:7450")
    settings = WitnessSettings(
        state,
        _cosigner(key),
        _logs(log),
        host.strip("[]"),
        int(port),
        # Nobody shows a certificate here, so the authority is asked nothing.
        TlsFiles(tls_cert, tls_cert, tls_key),
        ready_file,
    )
    configure(None)
    asyncio.run(serve(settings))


def _cosigner(file: Path) -> Cosigner:
    from broker.core.keys import Cosigner

    text = inputs.read_bounded(file, 4096, "a witness's key").decode("utf-8", "replace").removesuffix("\n")
    if file.stat().st_mode & 0o077:
        raise SetupError(f"{file} can be read by others; run: chmod 600 {file}")
    try:
        return Cosigner.from_skey(text)
    except IntegrityError as e:
        raise SetupError(f"{file}: {e}; make one with `broker audit witness-key new`") from e


def _logs(given: list[str]) -> dict[str, tuple[Verifier, ...]]:
    """The log keys by origin; several for one origin where its key was changed."""
    from broker.cli.audit_verify import parse_vkeys
    from broker.core.keys import KeyKind

    logs: dict[str, tuple[Verifier, ...]] = {}
    for each in given:
        data = (
            each.encode()
            if "+" in each
            else inputs.read_bounded(Path(each), 64 * 1024, "a file of verifier keys")
        )
        try:
            verifiers = parse_vkeys(data)
        except IntegrityError as e:
            raise SetupError(f"--log {output.clean(each)}: {e}") from e
        for verifier in verifiers:
            if verifier.kind is not KeyKind.LOG:
                raise SetupError(f"--log: {verifier.name} is a witness's key, not a log's")
            logs[verifier.name] = tuple(dict.fromkeys((*logs.get(verifier.name, ()), verifier)))
    return logs
