"""What one decision costs, and what it takes to have ten thousand agreements ready for it."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from broker.catalogue import standard_record_types
from broker.core import agreement as agreements
from broker.core.agreement import Agreement
from broker.core.decision import decide
from broker.core.directive import Directive
from broker.core.directory import Agency, System
from broker.core.model import Actor, Assurance, Function, Outcome, Request, SubjectRef
from broker.core.recordtype import RecordType
from broker.core.reference import Reference
from broker.law import load

LAW = load()
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
RISK = "records.fire.v1.PremisesRisk"
FILE = Path(__file__).resolve().parent.parent / "broker/cli/up/agreements/ambulance-premises.toml"
CONDITION = 'incident.startsWith("nwas/") && now.hour >= 7 && actor.assurance >= assurance.personal_login'
DIRECTIVES = 20
LABELS = {name: RecordType.stored(data, name).labels for name, data in standard_record_types() if name == RISK}


def agreed(n: int, context: str = "") -> Agreement:
    """The demonstration's agreement between crews and premises, for the n-th ambulance service."""
    text = FILE.read_text(encoding="utf-8").replace('"nwas"', f'"ambulance-{n}"')
    text = text.replace("cfrs-nwas-premises-risk", f"premises-{n}").replace('"recorded"', '"respected"')
    if context:
        text = text.replace("roles = ", f"context = '{context}'\nroles = ", 1)
    return agreements.parse(text.encode(), LAW)


def agencies(count: int) -> list[Agency]:
    """So many ambulance services, and the fire service that they ask."""
    crews = [Agency(f"ambulance-{n}", f"Service {n}", "ambulance", "england", SINCE) for n in range(count)]
    return [*crews, Agency("cfrs", "Fire", "fire", "england", SINCE)]


def reference(listed: list[Agreement], known: list[Agency], before: Reference | None = None) -> Reference:
    """A snapshot of these, with the system that asks."""
    systems = [System("ambulance-7", "cad", Function.PARTNER, frozenset({"k"}), SINCE)]
    return Reference.build(1, LAW, known, systems, listed, {RISK: "d"}, labels=LABELS, before=before)


REQUEST = Request(
    request_id="r",
    requester="ambulance-7",
    system="cad",
    key_digest="k",
    record_type=RISK,
    provider="cfrs",
    subject=SubjectRef("uprn", "100062990001"),
    query=None,
    purpose="emergency-response",
    actor=Actor("a.hill", "ambulance-crew", assurance=Assurance.PERSONAL_LOGIN),
    incident="nwas/2026-11-21/0042",
)


def said() -> list[Directive]:
    """Half of it about this use, none of it against; half about something else."""
    until = NOW + timedelta(days=30)
    here = [
        Directive(f"c{n}", "consent", "cfrs", SINCE, valid_until=until + timedelta(days=n))
        for n in range(DIRECTIVES // 2)
    ]
    other = [
        Directive(f"o{n}", "objection", "ncic", SINCE, purposes=frozenset({"audit"}))
        for n in range(DIRECTIVES - len(here))
    ]
    return here + other


def median_us(what: Callable[[], object], rounds: int = 25, each: int = 400) -> float:
    """Median over rounds of the mean of so many calls, in microseconds."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(each):
            what()
        taken.append((time.process_time() - began) / each * 1e6)
    return statistics.median(taken)


def of(count: int, context: str = "") -> float:
    """Microseconds of a decision that permits, with so many agreements."""
    listed = [agreed(n, context if n == 7 else "") for n in range(count)]
    snapshot, directives = reference(listed, agencies(count)), said()
    assert decide(REQUEST, snapshot, directives, NOW).outcome is Outcome.PERMIT
    return median_us(lambda: decide(REQUEST, snapshot, directives, NOW))


def ready(count: int) -> tuple[float, float, float]:
    """Seconds to parse so many and to compile them; milliseconds until one that changed is live."""
    began = time.process_time()
    listed = [agreed(n) for n in range(count)]
    parsed, known = time.process_time(), agencies(count)
    snapshot = reference(listed, known)
    compiled, pauses = time.process_time(), []
    for n in range(20):
        changed = agreed(n).model_copy(update={"version": 2, "review_on": date(2027, 6, 1)})
        listed[n] = changed
        gc.collect()
        start = time.process_time()
        snapshot = reference(listed, known, snapshot)
        pauses.append((time.process_time() - start) * 1000)
        assert snapshot.agreements[changed.id].version == 2
    return parsed - began, compiled - parsed, max(pauses)


def measure(bare_us: float) -> str:
    """The table, in Markdown; `bare_us` is what a unary pass-through takes, one at a time."""
    few, plain, many = of(10), of(1000), of(10_000)
    cel = of(1000, CONDITION)
    parsing, compiling, pause = ready(10_000)
    kinder = 0.05 * bare_us
    rows = (
        ("decide, 1,000 agreements, 20 directives", plain, "us", max(25.0, kinder)),
        ("the same with a condition of context", cel, "us", max(60.0, kinder)),
        ("from 10 to 10,000 agreements", many / few, "times", 1.5),
        ("10,000 agreements compiled", compiling, "s", 3.0),
        ("one changed of 10,000 live: longest pause of 20", pause, "ms", 50.0),
    )
    lines = ["| decision | measured | must | |", "|---|---|---|---|"]
    for name, value, unit, must in rows:
        met = "met" if value <= must else "MISSED"
        lines.append(f"| {name} | {value:.3g} {unit} | {must:.3g} | {met} |")
    lines.append("")
    lines.append(
        f"To a unary bare call of {bare_us:.0f} us: {plain / bare_us:.3f} without and {cel / bare_us:.3f} "
        f"with a condition. Parsing the 10,000 files took {parsing:.1f} s."
    )
    return "\n".join(lines)
