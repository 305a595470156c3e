"""A store that fails on demand and the use cases on it: one implementation, with agencies and an agreement.

Everything is reached through the ports, so that what is tried on one implementation is tried on each.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.access import Accesses
from broker.administration import Administration
from broker.agreements import Agreements, Listed
from broker.anchor.hourly import AnchorTable, ProvableLog
from broker.audits import Audits
from broker.cases import AccessStore, BreachStore, ComplaintStore
from broker.clock import SystemClock
from broker.complaints import Complaints
from broker.core.directive import Directive
from broker.core.directory import Agency
from broker.core.keys import Signer
from broker.core.model import Function, Request, SubjectRef
from broker.directives import Directives
from broker.disputes import Disputes
from broker.entryrows import EntryRows
from broker.erasable import Finder
from broker.erasing import ErasurePlans
from broker.erasureplans import ErasurePlanStore
from broker.erasures import Erasures
from broker.escalations import Desks, Escalations, EscalationTable
from broker.exchange import Exchange
from broker.figures import Figures, FiguresStore
from broker.heritage import Heritage
from broker.holds import Holds
from broker.keeping import Destroying, Keeping
from broker.overrides import Overrides
from broker.past import Past
from broker.ports import (
    AgreementStore,
    Asked,
    DirectiveStore,
    FactsSource,
    Found,
    Log,
    LogSearch,
    LogView,
    ReferenceSource,
)
from broker.queues import NoticeTable, OverrideStore, ReferralStore
from broker.referrals import Referrals
from broker.referring import Referring
from broker.registry import Registry
from broker.release import CatalogueReleases
from broker.reports import Reports
from broker.routes import RouteBook
from broker.searches import Searches
from broker.signing import SigningKeys
from broker.standing import Standing
from broker.store.rotation import HalfYears
from broker.suspensions import Suspensions
from broker.workers import Beat, WorkerTable
from tests.support import postgres
from tests.support.anchors import MemoryAnchors
from tests.support.durable import durable
from tests.support.exported import MemoryRows
from tests.support.faults import Faulted, Faults, FaultyDatabase, FaultyGuard
from tests.support.memory import MemorySearch, MemoryStore, ScriptedProviders
from tests.support.past import MemoryPast, Why
from tests.support.postgres import Server, open_folder
from tests.support.signing import Signatory
from tests.support.world import (
    ACTOR,
    KINDS,
    OPERATOR,
    RISK,
    WATCHED,
    ask,
    caller,
    flow,
    key_of,
    record_of,
    risk_set,
    terms,
    toml,
    watched_set,
)

SINCE = datetime(2020, 1, 1, tzinfo=UTC)
COUNCIL = caller("cumberland", "cad")


@dataclass
class Stage:
    """One implementation. `log` to `workers` are its ports, whose calls fail as `faults` says."""

    kind: str
    faults: Faults
    log: Log
    view: LogView
    facts: FactsSource
    reference: ReferenceSource
    directives: DirectiveStore
    agreements: AgreementStore
    workers: WorkerTable
    referred: ReferralStore
    overridden: OverrideStore
    notices: NoticeTable
    signer: Signer
    content: Callable[[Request], bytes]
    pins: Callable[[str, str], Any]
    past: Past
    search: LogSearch
    # Take into the index what stands: nothing to do where it is found at once.
    indexed: Callable[[], Awaitable[object]]
    # Whether a notice has been claimed, or told: (1 or 0) by override.
    claimed: Callable[[str], Awaitable[int]]
    told: Callable[[str], Awaitable[int]]
    # The same of an escalation.
    late_claimed: Callable[[str], Awaitable[int]]
    late_told: Callable[[str], Awaitable[int]]
    accesses: AccessStore
    breaches: BreachStore
    complained: ComplaintStore
    published: FiguresStore
    late: EscalationTable
    keeping: Keeping
    erasure_plans: ErasurePlanStore
    entries: EntryRows
    anchors: AnchorTable
    provable: ProvableLog
    destroying: Destroying | None = None
    halves: HalfYears | None = None
    dsn: str = ""
    # Where keys and guard lie.
    folder: Path = Path()
    clock: SystemClock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self.calls: list[str] = []
        self.signatories: dict[str, Signatory] = {}
        self.providers = ScriptedProviders(self.clock, self.calls)
        self.exchange = Exchange(
            self.log,
            self.facts,
            self.reference,
            self.providers,
            CatalogueReleases(lambda: self.reference.catalogue, self.pins),
            self.clock,
            self.content,
        )
        self.administration = Administration(self.log, self.clock)
        self.registry = Registry(self.administration, self.reference, self.clock)
        self.signing = SigningKeys(self.administration, self.reference, self.clock)
        self.route_book = RouteBook(self.administration, self.reference, self.clock)
        self.standing = Standing(
            self.administration, self.reference, self.clock, self.referred, self.overridden
        )
        self.agreed = Agreements(self.administration, self.reference, self.agreements, self.clock)
        self.suspensions = Suspensions(self.administration, self.reference, self.clock)
        self.said = Directives(self.administration, self.facts, self.directives, self.reference, self.clock)
        self.why = Why.of(
            self.administration, self.agreed, self.view, self.facts, self.reference, self.past, self.clock
        )
        queues = (self.facts, self.reference, self.clock)
        self.referrals = Referrals(self.administration, self.referred, *queues)
        self.referring = Referring(self.log, *queues, self.content)
        self.overrides = Overrides(self.administration, self.overridden, *queues)
        desks = Desks(self.referred, self.overridden, self.complained)
        self.escalations = Escalations(self.log, self.late, desks, *queues)
        self.heritage = Heritage(self.reference, self.clock)
        self.searches = Searches(self.administration, self.search, self.heritage)
        self.audits = Audits(self.administration, self.view, self.heritage, self.clock)
        self.access = Accesses(
            self.administration, self.accesses, self.searches, self.view, *queues, bucket=0.01
        )
        self.complaints = Complaints(
            self.administration, self.complained, self.facts, self.clock, self.heritage
        )
        self.figures = Figures(self.administration, self.published, self.facts, self.clock)
        self.reports = Reports(
            self.administration,
            self.searches,
            self.overridden,
            self.breaches,
            self.complained,
            self.reference,
            self.clock,
            self.figures,
            lambda: (("half", "5 ms"),),
        )
        self.holds = Holds(self.administration, self.keeping, *queues, self.searches)
        self.finder = Finder(self.search, self.keeping, self.holds, self.clock)
        self.erasures = Erasures(self.administration, self.finder, self.holds, self.facts)
        self.disputes = Disputes(self.erasure_plans, self.overridden, self.reference, self.clock)
        self.erasing = ErasurePlans(
            self.administration,
            self.erasures,
            self.finder,
            self.holds,
            self.erasure_plans,
            self.disputes,
            self.facts,
            self.clock,
        )

    async def furnish(self) -> None:
        """Agencies, systems, record types, and one agreement for a type without effects and one with."""
        for agency, kind in KINDS.items():
            await self.registry.add_agency(OPERATOR, Agency(agency, agency.upper(), kind, "england", SINCE))
            function = Function.OPERATOR if kind == "operator" else Function.PARTNER
            name = "cli" if kind == "operator" else "cad"
            digest = key_of(f"{agency}/{name}")
            first = kind == "operator"
            await self.registry.enrol(OPERATOR, agency, name, function, digest, SINCE, None, at_start=first)
        await self.registry.approve(OPERATOR, RISK, risk_set())
        await self.registry.approve(OPERATOR, WATCHED, watched_set())
        for name in ("nwas", "cfrs"):
            await self.may_sign(name)
        await self.agree(flows=[flow(), flow(record_type=WATCHED)])

    async def may_sign(self, agency: str) -> None:
        """Give an agency a signing key."""
        signatory = self.signatories[agency] = Signatory(agency)
        await self.signing.enrol(OPERATOR, signatory.enrolled(date(2020, 1, 1)), None, ACTOR)

    async def agree(self, **changes: Any) -> Listed:
        """Put an agreement in force, signed by its parties, for as long as anybody looks ahead."""
        days = {"valid_from": date(2020, 1, 1), "valid_until": date(2099, 12, 31)}
        made = terms(**{**days, **changes})
        file, on = toml(made), self.clock.now().date()
        signatures = [self.signatories[p["agency"]].sign(file, on) for p in made["parties"]]
        listed, _ = await self.agreed.apply(OPERATOR, file, signatures)
        return listed

    def person(self) -> SubjectRef:
        """Somebody nobody has heard of."""
        return SubjectRef("uprn", str(10**9 + uuid.uuid4().int % 10**9))

    def asks(self, **changes: Any) -> Request:
        """A request of its own about somebody of its own."""
        return ask(subject=changes.pop("subject", None) or self.person(), **changes)

    def finds(self, request: Request) -> None:
        """From now on the provider has the record that is asked for."""
        digest = self.reference.catalogue.newest(request.record_type).digest
        assert request.subject is not None
        self.providers.answers(Found(record_of(request.record_type), digest, (request.subject,)))

    def objection(self) -> Directive:
        """Words of the council's to record."""
        return Directive(str(uuid.uuid4()), "objection", "cumberland", self.clock.now())

    async def policy(self) -> int:
        """The count of changes."""
        return (await self.facts.read(Asked((), "nwas/cad", ()))).policy

    async def since(self, index: int) -> list[dict[str, Any]]:
        """The full views of the entries from this place on."""
        fulls: list[dict[str, Any]] = []
        while True:
            try:
                entry = await self.view.id_at(index + len(fulls))
            except KeyError:
                return fulls
            _, full = await self.view.receipt(entry, "full")
            fulls.append(dict(full))

    async def size(self) -> int:
        """How many entries there are."""
        low, high = 0, 1
        while await self._has(high - 1):
            low, high = high, high * 2
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if await self._has(middle - 1) else (low, middle)
        return low

    async def _has(self, index: int) -> bool:
        try:
            await self.view.id_at(index)
        except KeyError:
            return False
        return True


class _Beats:
    """A table of workers in memory, for as long as a test takes."""

    def __init__(self) -> None:
        self._beats: dict[str, Beat] = {}

    async def beat(self, own: Beat, gone_after: float) -> tuple[Beat, ...]:
        self._beats[own.worker.id] = own
        return tuple(each for each in self._beats.values() if each.worker.id != own.worker.id)

    async def leave(self, worker: str) -> None:
        self._beats.pop(worker, None)


async def _at_once() -> None:
    """Nothing to wait for."""


async def _in(override: str, those: set[str]) -> int:
    return int(override in those)


async def _so(dsn: str, what: str, row: str, table: str = "override_use") -> int:
    """Whether something is so of a row."""
    return int(await postgres.ask(dsn, f"select count(*) from {table} where id = '{row}' and {what}"))


@asynccontextmanager
async def memory_stage() -> AsyncIterator[Stage]:
    """Over the memory store."""
    faults = Faults()
    store = MemoryStore(SystemClock())

    def port(real: Any) -> Any:
        return Faulted(real, faults)

    log, kept = port(store.log), port(store)
    stage = Stage(
        "memory",
        faults,
        log,
        log,
        port(store.facts),
        port(store.reference),
        kept,
        kept,
        port(_Beats()),
        port(store.queues.referrals),
        port(store.queues.overrides),
        port(store.queues.overrides),
        store.signer,
        store.content,
        store.reference.pins,
        port(MemoryPast(store)),
        port(MemorySearch(store)),
        _at_once,
        lambda override: _in(override, store.queues.overrides.claimed),
        lambda override: _in(override, store.queues.overrides.noticed),
        lambda escalation: _in(escalation, store.escalations.claimed),
        lambda escalation: _in(escalation, store.escalations.noticed),
        port(store.cases.accesses),
        port(store.cases.breaches),
        port(store.cases.complaints),
        port(store.cases.figures),
        port(store.escalations),
        port(store.keeping),
        port(store.erasure_plans),
        port(MemoryRows(store)),
        port(MemoryAnchors(store.clock)),
        log,
    )
    await stage.furnish()
    yield stage


@asynccontextmanager
async def postgres_stage(server: Server, folder: Path) -> AsyncIterator[Stage]:
    """Over an empty database of a server."""
    async with server.fresh() as dsn, stage_on(dsn, folder) as stage:
        yield stage


@asynccontextmanager
async def stage_of(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Over the store that a fixture's parameter names: `memory`, or the fixture of a server."""
    if request.param == "memory":
        async with memory_stage() as stage:
            yield stage
        return
    with open_folder() as folder:
        async with postgres_stage(request.getfixturevalue(request.param), folder) as stage:
            yield stage


@asynccontextmanager
async def stage_on(dsn: str, folder: Path) -> AsyncIterator[Stage]:
    """Over the empty database at `dsn`, with one connection to it."""
    faults = Faults()
    async with (
        durable(
            dsn,
            folder,
            lambda to: FaultyDatabase(to, faults, size=1),
            lambda path: FaultyGuard(path, faults),
        ) as made,
    ):
        stage = Stage(
            "postgres",
            faults,
            made.log,
            made.reader,
            made.facts,
            made.reference,
            made.directives,
            made.agreements,
            made.workers,
            made.rows.referrals,
            made.rows.overrides,
            made.rows.overrides,
            made.signer,
            made.blind.content,
            made.reference.pins,
            made.past,
            made.search,
            made.search.fill,
            lambda override: _so(dsn, "notices > 0", override),
            lambda override: _so(dsn, "noticed_at is not null", override),
            lambda escalation: _so(dsn, "notices > 0", escalation, "escalation"),
            lambda escalation: _so(dsn, "noticed_at is not null", escalation, "escalation"),
            made.rows.accesses,
            made.rows.breaches,
            made.rows.complaints,
            made.rows.figures,
            made.rows.escalations,
            made.keeping,
            made.erasure_plans,
            made.entries,
            made.anchors,
            made.reader,
            made.destroying,
            made.halves,
            dsn,
        )
        await stage.furnish()
        yield stage
