"""Runs `broker up` from the first line to the last."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from broker.cli.output import clean, emit_json
from broker.cli.up.cast import EDITHS_HOME
from broker.cli.up.demonstration import Demonstration, Step, program, relative
from broker.cli.up.provision import provision
from broker.cli.up.stack import HOST, Stack, running
from broker.cli.up.state import State, require_free
from broker.errors import SetupError

WATCH = 0.5  # seconds between looks at the processes


class _Stopped(BaseException):
    """SIGTERM or SIGINT: unwinds everything, each part stopped in turn."""


def run(folder: Path, grpc_port: int, http_port: int, workers: int, *, once: bool, as_json: bool) -> int:
    """Exit code: 0 done, 1 where a step did not do what it should. Raises SetupError.

    Call it from the main thread.
    """
    say = _say_nothing if as_json else _say
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        if grpc_port and grpc_port == http_port:
            raise SetupError("--grpc-port and --http-port are the same; choose two")
        require_free(HOST, grpc_port, "--grpc-port")
        require_free(HOST, http_port, "--http-port")
        state = State(folder.absolute())
        say(f"Blue Light Broker, in {state.folder}")
        with running(state, grpc_port, http_port, provision, say, workers) as stack:
            held = _demonstrate(stack, say, as_json=as_json)
            if once:
                return 0 if held else 1
            _stay(stack, say)
    except _Stopped:
        say("Stopped; nothing is left running.")
    return 0


def _demonstrate(stack: Stack, say: Callable[[str], None], *, as_json: bool) -> bool:
    steps: list[Step] = []

    def tell(step: Step) -> None:
        steps.append(step)
        say(f"\n{len(steps)}. {step.title}" + ("" if step.held else "   <-- THIS IS NOT WHAT SHOULD HAPPEN"))
        for line in filter(None, step.lines):
            say(f"   {line}")

    target = f"localhost:{stack.grpc_port}"
    held = asyncio.run(Demonstration(stack.state, target).run(tell))
    if as_json:
        emit_json({"steps": [{"title": s.title, "lines": list(s.lines), "held": s.held} for s in steps]})
    return held


def _stay(stack: Stack, say: Callable[[str], None]) -> None:
    certs = stack.state.certs
    say(
        f"\nIt stays up until Ctrl-C. gRPC localhost:{stack.grpc_port}, HTTPS https://localhost:{stack.http_port}/"
        f"\nCertificates: {certs}/<agency>-<system>/; the log's key: {stack.state.vkey}"
        f"\nTry:\n  {program()} agreement list{_state_option(stack)}"
        f"\n  {program()} request --as nwas-cad --provider cfrs --record-type records.fire.v1.PremisesRisk"
        f" \\\n    --subject {':'.join(EDITHS_HOME)} --purpose emergency-response --actor-id nwas-51180"
        f" \\\n    --role ambulance-crew --assurance roster{_state_option(stack)}"
    )
    while True:
        time.sleep(WATCH)
        if (problem := stack.problem()) is not None:
            raise SetupError(problem)


def _state_option(stack: Stack) -> str:
    """What a command needs to find a deployment that is not where it looks by itself."""
    here = Path(".broker").absolute()
    return "" if stack.state.folder == here else f" --state {shlex.quote(relative(str(stack.state.folder)))}"


def _stop(_number: int, _frame: FrameType | None) -> None:
    # A second signal must not interrupt the stopping.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise _Stopped


def _say(text: str) -> None:
    sys.stdout.write(clean(text) + "\n")
    sys.stdout.flush()


def _say_nothing(_text: str) -> None:
    pass
