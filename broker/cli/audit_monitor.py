"""`broker audit monitor`: a watch on one log, by whoever holds its verifier keys.

Owns the command's words and exit codes, and its metrics. Needs no broker of ours to be honest, and writes
nothing but its own state and metrics. With --every nothing but an alarm or a signal ends it.
"""

from __future__ import annotations

import contextlib
import re
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import audit_log, inputs, output

if TYPE_CHECKING:
    from broker.offline.monitor import Look

LOOK = 120.0  # seconds for one look, all its answers together
_SUCCEEDED = re.compile(r"^broker_monitor_succeeded_at ([0-9]{1,12})$", re.ASCII | re.MULTILINE)


def monitor(
    log: audit_log.Where,
    vkey: inputs.LogKeys,
    state: Annotated[
        Path,
        typer.Option(metavar="STATE-FILE", help="The file in which the last checkpoint believed is kept."),
    ],
    every: Annotated[
        float | None,
        typer.Option(min=1, max=86_400, metavar="SECONDS", help="Look again and again, until interrupted."),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Metrics of each look, for Prometheus's textfile collector."),
    ] = None,
    ca: audit_log.Ca = None,
    cert: audit_log.Cert = None,
    key: audit_log.Key = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Watch that a log only grows: no entry taken back, no second face shown.

    Keeps what it believed last and moves on only over a proof. Exit 0 as it should be; 1 the log shows
    something that is not its own; 2 the command line, the keys, the state or the metrics file cannot be used,
    and nothing is said of the log; 4 rollback: entries were taken back; 5 fork: two histories were signed, and
    both signed notes are printed as the evidence; 6 it cannot be read, or not within two minutes. With --every
    it goes on after 2 and 6, and stops at an alarm.
    """
    from broker.offline.memory import Memory
    from broker.offline.monitor import EXITS, look

    with audit_log.ending(as_json):
        source, keys, memory = audit_log.opener(log, ca, cert, key), audit_log.keys_of(vkey), Memory(state)
    while True:
        try:
            found = look(source(time.monotonic() + LOOK), keys, memory)
        except Exception as e:
            if every is None:
                raise
            traceback.print_exc()
            found = _defect(e)
        told = metrics is None or _write_metrics(metrics, found)
        # A screen or a pipe that takes no more is no reason to stop watching.
        with contextlib.suppress(*([OSError] if every else [])):
            _say(found, as_json)
            output.now()
        if every is None or found.alarm:
            raise typer.Exit(EXITS[found.verdict] or (0 if told else audit_log.UNUSABLE))
        if not found.sound:
            with contextlib.suppress(OSError):
                typer.echo(f"the next look comes in {every:g} s", err=True)
        time.sleep(every)


def _defect(error: Exception) -> Look:
    from broker.offline.monitor import Look, Verdict

    return Look(Verdict.FAILED, f"a defect of this program ({type(error).__name__}), printed above")


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


def _write_metrics(path: Path, found: Look) -> bool:
    """Write them; whether that was done. What was true when it last succeeded stays until it does again."""
    from broker.offline.monitor import Verdict

    now = time.time()
    succeeded = f"{now:.0f}" if found.sound else _succeeded(path)
    name = found.origin.replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        *(
            ("# TYPE broker_monitor_size gauge", f'broker_monitor_size{{log="{name}"}} {found.size}')
            if found.origin
            else ()
        ),
        "# HELP broker_monitor_looked_at When it looked last (Unix time).",
        "# TYPE broker_monitor_looked_at gauge",
        f"broker_monitor_looked_at {now:.0f}",
        "# HELP broker_monitor_succeeded_at When it last found the log as it should be; 0: never.",
        "# TYPE broker_monitor_succeeded_at gauge",
        f"broker_monitor_succeeded_at {succeeded}",
        "# HELP broker_monitor_failing Whether the last look did not find the log as it should be.",
        "# TYPE broker_monitor_failing gauge",
        f"broker_monitor_failing {int(not found.sound)}",
        "# TYPE broker_monitor_verdict gauge",
        *(f'broker_monitor_verdict{{verdict="{each}"}} {int(each is found.verdict)}' for each in Verdict),
    ]
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as e:
        with contextlib.suppress(OSError):
            typer.echo(
                f"error: the metrics {output.clean(str(path))} cannot be written: {e.strerror}", err=True
            )
        return False
    return True


def _succeeded(path: Path) -> str:
    """The time of the last success, as the metrics file has it from before."""
    from broker.errors import IntegrityError
    from broker.offline import files

    try:
        found = _SUCCEEDED.search(files.read(path, 64 * 1024).decode("utf-8", "replace"))
    except (OSError, IntegrityError):
        found = None
    return found[1] if found else "0"
