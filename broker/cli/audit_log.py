"""`broker audit monitor | reconcile | match`: a whole log, checked by whoever holds its verifier keys.

Owns these commands' words and exit codes. They read a published log from a folder or over HTTPS, need no broker
of ours to be honest, and write nothing but a monitor's own state.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from broker.cli import audit_database, inputs, output
from broker.errors import SetupError

if TYPE_CHECKING:
    from broker.core.keys import Verifier
    from broker.offline.monitor import Look
    from broker.offline.source import Source

T = TypeVar("T")
UNREADABLE = 6

Where = Annotated[
    str,
    typer.Argument(
        metavar="LOG",
        help="A folder that holds `checkpoint` and `tile/`, or the https address of one, such as "
        "https://localhost:7444/log.",
    ),
]
Ca = Annotated[
    Path | None, typer.Option("--ca", metavar="FILE", help="With an address: whose certificate it has.")
]
Cert = Annotated[Path | None, typer.Option("--cert", metavar="FILE", help="With an address: our certificate.")]
Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="With an address: our private key.")]
Folder = Annotated[Path, typer.Argument(metavar="RECEIPTS", help="A folder of kept receipts (x.tlog-proof).")]


def monitor(
    log: Where,
    vkey: inputs.LogKeys,
    state: Annotated[Path, typer.Option(metavar="FILE", help="Where the last checkpoint believed is kept.")],
    every: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="Look again and again, until interrupted.")
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Metrics of each look, for Prometheus's textfile collector."),
    ] = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Watch that a log only grows: no entry taken back, no second face shown.

    Keeps what it believed last and moves on only over a proof. Exit 0 as it should be; 1 the log shows
    something that is not its own; 4 rollback: entries were taken back; 5 fork: two histories were signed,
    and both signed notes are printed as the evidence; 6 it cannot be read. With --every it goes on after 6,
    and stops at an alarm.
    """
    from broker.offline.monitor import EXITS, Memory, Verdict, look

    source, keys, memory = source_of(log, ca, cert, key), keys_of(vkey), Memory(state)
    while True:
        found = look(source, keys, memory)
        _say(found, as_json)
        if metrics is not None:
            _write_metrics(metrics, found)
        if every is None or found.alarm:
            raise typer.Exit(EXITS[found.verdict])
        if found.verdict is Verdict.UNREADABLE:
            typer.echo(f"the next look comes in {every:g} s", err=True)
        time.sleep(every)


def reconcile(
    receipts: Folder,
    log: Where,
    vkey: inputs.LogKeys,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Look for each receipt that an agency kept in the log as it is now.

    One line for each that is not there at its place, as it was. Exit 0 all of them are; 1 one is not, or there
    are none; 6 the log cannot be read.
    """
    from broker.offline.reconcile import reconcile as compare

    source, keys = source_of(log, ca, cert, key), keys_of(vkey)
    found = reading(lambda: list(compare(receipts, source, keys)))
    bad = [each for each in found if each.problem]
    if as_json:
        rows = [{"file": str(e.path), "entry": e.entry, "index": e.index, "problem": e.problem} for e in found]
        output.emit_json({"receipts": rows, "good": len(found) - len(bad), "bad": len(bad)})
    else:
        for each in bad:
            output.say(f"BAD {each.path}: {each.problem}")
        output.say(f"{len(found) - len(bad)} of {len(found)} receipts stand in the log as they say")
        if not found:
            typer.echo(f"{receipts} holds no receipts (*.tlog-proof)", err=True)
    raise typer.Exit(1 if bad or not found else 0)


def match(
    record: Annotated[Path, typer.Argument(metavar="RECORD", help="As it was saved: a serialised Any.")],
    receipts: Folder,
    vkey: inputs.LogKeys,
    as_json: inputs.AsJson = False,
) -> None:
    """Say whether this is, byte for byte, what somebody was shown, by the receipts that were kept.

    Exit 0 it is, and by which entries; 1 no receipt here says so.
    """
    from broker.offline.reconcile import MAX_RECORD_FILE, matches

    keys = keys_of(vkey)
    found = matches(_bytes(record, MAX_RECORD_FILE), receipts, keys)
    if as_json:
        rows = [{"file": str(e.path), "entry": e.entry, "index": e.index} for e in found]
        output.emit_json({"matches": rows})
    elif found:
        for each in found:
            output.say(
                f"MATCH entry {each.entry}, number {each.index}: this is the record it released ({each.path})"
            )
    else:
        output.say("NO MATCH: no receipt here says that this was released")
    raise typer.Exit(0 if found else 1)


def _say(found: Look, as_json: bool) -> None:
    if as_json:
        notes = {name: getattr(found, name).decode("utf-8", "replace") for name in ("before", "shown")}
        facts = {"verdict": found.verdict.value, "text": found.text, "log": found.origin, "size": found.size}
        output.emit_json({**facts, **(notes if found.alarm else {})})
        return
    output.say(f"{found.verdict.value.upper()} {found.origin + ': ' if found.origin else ''}{found.text}")
    if found.alarm and found.before:
        output.say("\nbelieved before:\n" + found.before.decode("utf-8", "replace"))
        output.say("shown now:\n" + found.shown.decode("utf-8", "replace"))


def _write_metrics(path: Path, found: Look) -> None:
    from broker.offline.monitor import Verdict

    lines = [
        "# TYPE broker_monitor_size gauge",
        f'broker_monitor_size{{log="{found.origin}"}} {found.size}',
        "# TYPE broker_monitor_looked_at gauge",
        f"broker_monitor_looked_at {time.time():.0f}",
        "# TYPE broker_monitor_verdict gauge",
        *(f'broker_monitor_verdict{{verdict="{each}"}} {int(each is found.verdict)}' for each in Verdict),
    ]
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(path)


def reading(check: Callable[[], T]) -> T:
    """What a check found; exit 6 where the log cannot be read."""
    from broker.offline.source import Unreadable

    try:
        return check()
    except Unreadable as e:
        typer.echo(f"cannot be read: {output.clean(str(e))}", err=True)
        raise typer.Exit(UNREADABLE) from e


def source_of(log: str, ca: Path | None, cert: Path | None, key: Path | None) -> Source:
    """The published log that the arguments name. Raises SetupError."""
    from broker.offline.source import Address, Folder

    if audit_database.is_database(log):
        raise SetupError("of a database only fsck is for; this reads a log as it is published")
    if not log.startswith(("https://", "http://")):
        if not Path(log).is_dir():
            raise SetupError(f"{log} is no folder, and no https address")
        return Folder(Path(log))
    if log.startswith("http://"):
        raise SetupError("the address must begin with https://")
    if (cert is None) is not (key is None):
        raise typer.BadParameter("--cert and --key go together")
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert is not None:
            context.load_cert_chain(cert, key)
    except OSError as e:  # ssl.SSLError is one
        raise SetupError(f"--ca, --cert or --key: {e.strerror or e}") from e
    return Address(log, context)


def keys_of(vkey: Path) -> tuple[Verifier, ...]:
    """The verifier keys in a file. Raises SetupError, IntegrityError."""
    from broker.cli.audit_verify import parse_vkeys

    return parse_vkeys(_bytes(vkey, 1 << 20))


def _bytes(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as e:
        raise SetupError(f"{path}: {e.strerror}") from e
    if len(data) > most:
        raise SetupError(f"{path}: longer than {most} bytes")
    return data
