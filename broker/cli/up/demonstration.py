"""The demonstration: what a crew, a refused officer, a person's word and an auditor see, on the real thing.

Each step says what should happen and is held to it; `broker up --once` fails where one does not.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from broker.cli import evidence
from broker.cli.up.cast import EDITH, EDITHS_HOME
from broker.cli.up.state import State
from broker.client import Actor, Assurance, Broker, Disclosure
from broker.core.facts import Row, Shown, rows
from broker.core.model import Reason
from broker.core.receipt import Audience, Receipt
from broker.errors import BrokerError, Denied
from broker.pki.tls import TlsFiles, channel_credentials
from broker.v1 import directive_pb2, directive_pb2_grpc, exchange_pb2

TIMEOUT = 10.0
PATIENT = "records.nhs.v1.PatientSummary"
PREMISES = "records.fire.v1.PremisesRisk"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened. `lines` are for people; `held` says whether it did what it should."""

    title: str
    lines: tuple[str, ...]
    held: bool


def program() -> str:
    """This command as it was called, so that what is printed can be copied."""
    return shlex.quote(relative(sys.argv[0]))


def relative(text: str) -> str:
    """A path below the working folder as one types it; anything else as it is."""
    path = Path(text)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else text


class Demonstration:
    """Runs the steps against a broker that is up."""

    def __init__(self, state: State, target: str) -> None:
        self._state = state
        self._target = target
        self._saved: Path | None = None

    async def run(self, tell: Callable[[Step], None]) -> bool:
        """Every step in turn, told as it ends; True where all did what they should."""
        steps: tuple[Callable[[], Awaitable[Step]], ...] = (
            self._consent,
            self._crew,
            self._ambulance,
            self._police,
            self._withdrawal,
            self._verify,
        )
        held = True
        for step in steps:
            try:
                done = await step()
            except BrokerError as e:
                done = Step(step.__doc__ or "a step", (f"{type(e).__name__}: {e}",), held=False)
            tell(done)
            held = held and done.held
        return held

    async def _consent(self) -> Step:
        """Edith tells her social worker that the fire service may be told about her oxygen."""
        made = await self._directives().AddDirective(
            directive_pb2.AddDirectiveRequest(
                directive=directive_pb2.Directive(
                    kind="consent",
                    subject=exchange_pb2.SubjectRef(scheme=EDITH[0], value=EDITH[1]),
                    purposes=["home-fire-safety"],
                    standing="self",
                    manner="verbal",
                ),
                actor=_SOCIAL_WORKER,
            ),
            timeout=TIMEOUT,
        )
        receipt = evidence.read(made.receipt)
        evidence.verify(receipt, self._state.vkey, Audience.REQUESTER)
        return Step(
            "Edith Exampleton agrees that the fire service may see her alerts",
            (
                "Recorded by Cumberland Council (cumberland-mash), for home fire safety only.",
                _receipt(receipt),
            ),
            held=True,
        )

    async def _crew(self) -> Step:
        """A fire crew asks the trust for what it may know about Edith."""
        asked, seconds = await self._ask("cfrs-mdt", PATIENT, "ncic", EDITH, "home-fire-safety", _CREW)
        if not isinstance(asked, Disclosure):
            return Step("A fire crew asks the hospital trust about Edith", _refused(asked, seconds), held=False)
        folder = self._state.folder / "receipts"
        if not (folder / f"{asked.request_id}.entry").exists():
            asked.save(folder)
        self._saved = folder / asked.request_id
        return Step(
            "A fire crew (cfrs-mdt) asks the hospital trust about Edith, before a home safety visit",
            _told(asked, seconds),
            held=bool(asked.withheld) and any("allergies" in w.path for w in asked.withheld),
        )

    async def _ambulance(self) -> Step:
        """An ambulance is going to her home: what could hurt the crew?"""
        asked, seconds = await self._ask(
            "nwas-cad", PREMISES, "cfrs", EDITHS_HOME, "emergency-response", _PARAMEDIC
        )
        title = "An ambulance crew (nwas-cad) asks the fire service about the house it is going to"
        if not isinstance(asked, Disclosure):
            return Step(title, _refused(asked, seconds), held=False)
        withheld = {w.path for w in asked.withheld}
        return Step(title, _told(asked, seconds), held="occupier.name" in withheld)

    async def _police(self) -> Step:
        """A police officer asks for the same patient, and nobody has agreed to that."""
        asked, seconds = await self._ask(
            "cumbria-police-control", PATIENT, "ncic", EDITH, "law-enforcement", _OFFICER
        )
        title = "A police control room asks for the same patient, for law enforcement"
        if isinstance(asked, Disclosure):
            return Step(title, _told(asked, seconds), held=False)
        return Step(title, _refused(asked, seconds), held=_code(asked) == "agreement")

    async def _withdrawal(self) -> Step:
        """Edith changes her mind; the very next request is refused."""
        await self._directives().WithdrawDirective(
            directive_pb2.WithdrawDirectiveRequest(
                subject=exchange_pb2.SubjectRef(scheme=EDITH[0], value=EDITH[1]),
                purpose="home-fire-safety",
                actor=_SOCIAL_WORKER,
            ),
            timeout=TIMEOUT,
        )
        asked, seconds = await self._ask("cfrs-mdt", PATIENT, "ncic", EDITH, "home-fire-safety", _CREW)
        title = "Edith withdraws her consent, and the crew asks again"
        if isinstance(asked, Disclosure):
            return Step(title, _told(asked, seconds), held=False)
        return Step(title, _refused(asked, seconds), held=_code(asked) == "person")

    async def _verify(self) -> Step:
        """Another process, without broker, database or network, verifies the crew's receipt."""
        title = "Anyone can check the crew's receipt later, offline, without trusting us"
        if self._saved is None:
            return Step(title, ("There is no receipt to check.",), held=False)
        files = {kind: f"{self._saved}.{kind}" for kind in ("tlog-proof", "entry", "opening", "record")}
        arguments = ["audit", "verify", files["tlog-proof"], "--entry", files["entry"]]
        arguments += [
            "--opening",
            files["opening"],
            "--record",
            files["record"],
            "--vkey",
            str(self._state.vkey),
        ]
        done = subprocess.run(  # noqa: ASYNC221, S603 - a separate process is the point; our own program
            [sys.executable, "-m", "broker", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        shown = f"$ {program()} {shlex.join(relative(each) for each in arguments)}"
        return Step(title, (shown, done.stdout.strip() or done.stderr.strip()), held=done.returncode == 0)

    async def _ask(
        self, member: str, record_type: str, provider: str, subject: tuple[str, str], purpose: str, actor: Actor
    ) -> tuple[Disclosure | BrokerError, float]:
        async with Broker.from_state(self._state.folder, member) as broker:
            started = time.perf_counter()
            try:
                disclosure = await broker.request(
                    record_type=record_type,
                    provider=provider,
                    subject=subject,
                    purpose=purpose,
                    actor=actor,
                    reason=Reason("demonstration"),
                    timeout=TIMEOUT,
                )
            except BrokerError as e:
                return e, time.perf_counter() - started
            return disclosure, time.perf_counter() - started

    def _directives(self) -> directive_pb2_grpc.DirectiveServiceAsyncStub:
        files = TlsFiles.within(self._state.certs, "cumberland-mash")
        channel = grpc.aio.secure_channel(self._target, channel_credentials(files))
        return directive_pb2_grpc.DirectiveServiceStub(channel)


_CREW = Actor(id="cfrs-2207", role="fire-crew", callsign="K30P1", assurance=Assurance.ROSTER)
_PARAMEDIC = Actor(id="nwas-51180", role="ambulance-crew", callsign="AC412", assurance=Assurance.ROSTER)
_OFFICER = Actor(id="cumbria-1432", role="officer", assurance=Assurance.PERSONAL_LOGIN)
_SOCIAL_WORKER = exchange_pb2.Actor(
    id="cumberland-0938", role="social-worker", assurance=exchange_pb2.ASSURANCE_PERSONAL_LOGIN
)


def _told(disclosure: Disclosure, seconds: float) -> tuple[str, ...]:
    withheld = [w.path for w in disclosure.withheld]
    decision = disclosure.decision
    label = f"{decision.agreement}/{decision.agreement_version}"
    record = disclosure.record
    shown = () if isinstance(record, bytes) else rows(record, withheld)
    facts = [f"  {name:<38} {value}" for row in shown for name, value in _fact(row)]
    return (
        f"RELEASED in {seconds * 1000:.0f} ms under {label} ({decision.basis}, {decision.condition}).",
        *facts,
        f"WITHHELD, {len(withheld)} fields that the agreement does not name: {_gathered(withheld)}.",
        f"Obligations: {', '.join(o.code for o in decision.obligations)}." if decision.obligations else "",
        _receipt(disclosure.receipt),
    )


def _fact(row: Row) -> Iterator[tuple[str, str]]:
    """A row as a crew would want it read out: values, and what is known to be absent."""
    parent, _, leaf = row.path.rpartition(".")
    if leaf == "state":
        if row.shown is not None and row.shown is not Shown.WITHHELD:
            yield parent, row.value
    elif row.shown is None and leaf != "as_at":
        yield row.path, row.value


def _refused(error: BrokerError, seconds: float) -> tuple[str, ...]:
    if not isinstance(error, Denied):
        return (f"{type(error).__name__}: {error}",)
    receipt: Receipt | None = error.receipt
    return (
        f"REFUSED in {seconds * 1000:.0f} ms ({error.refusal.code}): {error.refusal.message}",
        f"What to do: {error.refusal.remedy}",
        _receipt(receipt) if receipt else "No evidence came with it.",
    )


def _code(error: BrokerError) -> str:
    return error.refusal.code if isinstance(error, Denied) else ""


def _gathered(paths: list[str]) -> str:
    """Paths by their first part, with how many there are: `allergies (12), contact.phone`."""
    parts: dict[str, list[str]] = {}
    for path in paths:
        parts.setdefault(path.split(".")[0], []).append(path)
    return ", ".join(
        each[0] if len(each) == 1 else f"{name} ({len(each)})" for name, each in sorted(parts.items())
    )


def _receipt(receipt: Receipt) -> str:
    entry = f"entry {receipt.index} of the log, {evidence.entry_id(receipt)}"
    return f"Evidence: {entry}; proof and signature verified before this was shown."
