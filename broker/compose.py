"""The only composition root: from settings to parts to servers, and back down in the other order.

Everything else receives what it needs; only here is it decided what that is.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from broker import __version__
from broker.access import Accesses
from broker.acknowledge import Acknowledgements
from broker.administration import Administration
from broker.agreements import Agreements
from broker.anchor.authority import authority_of
from broker.anchor.hourly import Anchoring
from broker.audits import Audits
from broker.bootstrap import enrol_first_operator
from broker.clock import SystemClock
from broker.complaints import Complaints
from broker.config import Settings
from broker.console.app import Parts, build_app
from broker.core.model import Caller
from broker.core.quorum import WitnessPolicy
from broker.core.retention import RetentionPolicy
from broker.core.retention import parse as parse_retention
from broker.core.rotation import half_year
from broker.directives import Directives
from broker.edge import Edge
from broker.erasable import Finder
from broker.erasures import Erasures
from broker.errors import BrokerError, InvalidRequest, SetupError, UnknownSystem
from broker.exchange import Exchange
from broker.explanations import Explanations
from broker.exports import Exports
from broker.holds import Holds
from broker.keys import FolderKeys
from broker.late import LateRecords
from broker.limits import Limits
from broker.links import Links
from broker.notices import Notices
from broker.overrides import Overrides
from broker.partitions import Partitions
from broker.pki.identity import server_uri
from broker.pki.tls import TlsFiles
from broker.plans import Plans
from broker.ports import Clock, FactsSource
from broker.readiness import Readiness
from broker.referrals import Referrals
from broker.referring import Referring
from broker.refusals import Refusals
from broker.registry import Registry
from broker.release import CatalogueReleases
from broker.replays import Replays
from broker.reports import Reports
from broker.retention import Retention
from broker.rotations import Rotations
from broker.routes import RouteBook
from broker.rpc.adapter import AdapterServicer
from broker.rpc.adapter import add_to as add_adapter
from broker.rpc.agreement import AgreementServicer
from broker.rpc.audit import AuditServicer
from broker.rpc.directive import DirectiveServicer
from broker.rpc.directory import DirectoryServicer
from broker.rpc.door import Door
from broker.rpc.exchange import ExchangeServicer
from broker.rpc.exchange import add_to as add_exchange
from broker.rpc.identity import Identity
from broker.rpc.keeping import KeepingServicer
from broker.rpc.override import OverrideServicer
from broker.rpc.referral import ReferralServicer
from broker.rpc.report import ReportServicer
from broker.rpc.rotation import RotationServicer
from broker.rpc.routing import RoutingServicer
from broker.rpc.standing import StandingServicer
from broker.scrubbing import Scrubs
from broker.searches import Searches
from broker.signing import SigningKeys
from broker.standing import Standing
from broker.store.agreements import AgreementReader
from broker.store.anchors import AnchorRows
from broker.store.blind import Blind
from broker.store.cases import AccessRows, BreachRows, ComplaintRows
from broker.store.chain import Chain
from broker.store.destroying import DestroyingRows
from broker.store.directives import DirectiveReader
from broker.store.dropped import DroppedRows
from broker.store.entryrows import PostgresEntryRows
from broker.store.facts import FactsReader
from broker.store.guard import Guard
from broker.store.keeping import KeepingRows
from broker.store.log import PostgresLog
from broker.store.notary import Notary
from broker.store.past import PastReader
from broker.store.pool import Database, migrate
from broker.store.queued import OverrideRows, ReferralRows
from broker.store.reader import LogReader, current_signer
from broker.store.reference import ReferenceReader
from broker.store.rotation import HalfYears
from broker.store.scrub import Scrubber
from broker.store.seal import Seals
from broker.store.search import SearchIndex
from broker.store.shared_guard import vouch
from broker.store.witnessed import WitnessedRows
from broker.store.workers import WorkerRows
from broker.suspensions import Suspensions
from broker.telemetry import LogCounts, Telemetry
from broker.tracing import from_environment
from broker.v1 import (
    agreement_pb2_grpc,
    audit_pb2_grpc,
    directive_pb2_grpc,
    directory_pb2_grpc,
    keeping_pb2_grpc,
    override_pb2_grpc,
    referral_pb2_grpc,
    report_pb2_grpc,
    rotation_pb2_grpc,
    routing_pb2_grpc,
    standing_pb2_grpc,
)
from broker.witness.client import WitnessClient, witnesses_of
from broker.witnesschain import WitnessChain
from broker.witnessing import Witnessing
from broker.workers import Worker, Workers

REFRESH = 1.0  # seconds between looks for what other processes have changed
# A worker that joins others waits so long, in seconds, for the adapters before it takes requests all the same.
COVER = 10.0
REMIND = 24 * 3600.0  # seconds between two words about a rotation that is due

_diagnostics = structlog.get_logger("broker")


Facts = Callable[[FactsSource], FactsSource]
_CLOCK: Clock = SystemClock()


def as_read(facts: FactsSource) -> FactsSource:
    """Nothing between the requests and what the database says."""
    return facts


@dataclass(frozen=True, slots=True)
class Running:
    """A broker that serves, and where. `vkeys` are those of all logs, newest first; `direct_http_port` is the
    worker's own, where it shares the other."""

    grpc_port: int
    http_port: int
    vkey: str
    origin: str
    worker: Worker
    direct_http_port: int
    vkeys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rows:
    """What waits for named humans, and what they work on after the fact."""

    referrals: ReferralRows
    overrides: OverrideRows
    accesses: AccessRows
    breaches: BreachRows
    complaints: ComplaintRows


@dataclass(frozen=True, slots=True)
class _Store:
    """Everything that rests on the database."""

    database: Database
    blind: Blind
    notary: Notary
    reader: LogReader
    halves: HalfYears
    chain: Chain
    log: PostgresLog
    facts: FactsReader
    reference: ReferenceReader
    index: SearchIndex
    entries: PostgresEntryRows
    past: PastReader
    rows: _Rows
    keeping: KeepingRows
    destroying: DestroyingRows
    asked: tuple[WitnessPolicy, WitnessClient] | None


@asynccontextmanager
async def running(settings: Settings, facts: Facts = as_read, clock: Clock = _CLOCK) -> AsyncIterator[Running]:
    """A broker that serves from entry to exit. Raises SetupError with the sentence that says what to do.

    `facts` gives what requests read by, made of the real one, and `clock` is theirs: ports of their own, so
    that a test can show what becomes of a broker that reads, or waits, in another way.
    """
    async with AsyncExitStack() as stack:
        number = "" if settings.worker is None else f"{settings.worker}-"
        own = Worker(f"{number}{secrets.token_hex(4)}", "")
        tracing = from_environment("broker", own.id)
        stack.push_async_callback(asyncio.to_thread, tracing.close)
        kept_for = _retention(settings.retention)
        store = await _open_store(settings, stack)
        administration = Administration(store.log, clock)
        registry = Registry(administration, store.reference, clock)
        if settings.bootstrap_operator is not None:
            await enrol_first_operator(settings.bootstrap_operator, registry, store.reference, clock)
        await store.reference.refresh()

        telemetry = Telemetry(__version__, lambda name: name in store.reference.current.record_types)
        identity = Identity(settings.trust_domain, store.reference, clock.now)
        store.reference.changed = identity.review
        links = Links()
        witnessing = _witnessing(store, own.id, clock, telemetry)
        anchoring = _anchoring(settings, store, own.id, witnessing, telemetry, stack)
        acknowledgements = Acknowledgements(administration, store.facts)
        stack.push_async_callback(acknowledgements.drain)
        refusals = Refusals(store.log, telemetry.refused, clock, own.id)
        stack.push_async_callback(refusals.drain)
        exchange = Exchange(
            store.log,
            facts(store.facts),
            store.reference,
            links,
            CatalogueReleases(lambda: store.reference.catalogue, store.reference.pins),
            clock,
            store.blind.content,
            tracing,
            witnessing,
        )
        signing = SigningKeys(administration, store.reference, clock)
        stored = AgreementReader(store.database)
        agreements = Agreements(administration, store.reference, stored, clock, kept_for.classes)
        suspensions = Suspensions(administration, store.reference, clock)
        said = DirectiveReader(store.database, store.blind)
        directives = Directives(administration, store.facts, said, store.reference, clock)
        book = RouteBook(administration, store.reference, clock)
        past, reference, rows = store.past, store.reference, store.rows
        standing = Standing(administration, store.reference, clock, rows.referrals, rows.overrides)
        audits = Audits(administration, store.reader, clock, witnessing, anchoring)
        searches = Searches(administration, store.index)
        exports = Exports(administration, store.reader, store.entries, clock)
        late = LateRecords(store.log, store.facts, store.reference, clock, store.blind.said)
        replays = Replays(administration, past)
        explanations = Explanations(
            administration, audits, store.reader, store.facts, reference, past, replays, clock
        )
        plans = Plans(administration, agreements, reference, past, clock)
        queues = (store.facts, store.reference, clock)
        referrals = Referrals(administration, rows.referrals, *queues)
        referring = Referring(store.log, *queues, store.blind.content)
        overrides = Overrides(administration, rows.overrides, *queues)
        reports = Reports(
            administration,
            searches,
            rows.overrides,
            rows.breaches,
            rows.complaints,
            reference,
            clock,
            telemetry.took,
        )
        accesses = Accesses(administration, rows.accesses, searches, store.reader, *queues)
        complaints = Complaints(administration, rows.complaints, store.facts, clock)
        holds = Holds(administration, store.keeping, *queues)
        finder = Finder(store.index, store.keeping, holds, store.reader, clock)
        erasures = Erasures(administration, finder, holds, store.facts)
        retention = Retention(administration, store.destroying, store.facts, clock, kept_for)
        scrubs = Scrubs(administration, Scrubber(settings.database_url))
        notices = Notices(rows.overrides, settings.override_webhook, telemetry.noticed, reference, clock)
        stack.push_async_callback(notices.close)
        workers = Workers(own, WorkerRows(store.database), links.attached)
        rotations = Rotations(administration, store.halves, workers.holding, clock)
        workers.held = rotations.held
        partitions = Partitions(administration, DroppedRows(store.database, store.reader, store.notary))
        limits = Limits(settings.agency_per_second)

        def changed(live: tuple[Worker, ...]) -> None:
            links.tell(live)
            limits.shared_by(len(live))

        workers.changed = changed
        door = Door(identity, limits, settings.system_streams)
        served = ExchangeServicer(exchange, acknowledgements, identity, telemetry, door, explanations)

        def add(server: grpc.aio.Server) -> None:
            add_exchange(server, served)
            add_adapter(
                server,
                AdapterServicer(
                    links,
                    store.reference,
                    identity,
                    telemetry,
                    server_uri(settings.trust_domain, "broker"),
                    workers,
                ),
            )
            directory_pb2_grpc.add_DirectoryServiceServicer_to_server(
                DirectoryServicer(registry, store.reference, clock, identity, telemetry, signing), server
            )
            agreement_pb2_grpc.add_AgreementServiceServicer_to_server(
                AgreementServicer(agreements, suspensions, identity, telemetry, plans), server
            )
            directive_pb2_grpc.add_DirectiveServiceServicer_to_server(
                DirectiveServicer(directives, clock, identity, telemetry, limits), server
            )
            routing_pb2_grpc.add_RoutingServiceServicer_to_server(
                RoutingServicer(book, store.reference, clock, identity, telemetry), server
            )
            standing_pb2_grpc.add_StandingServiceServicer_to_server(
                StandingServicer(standing, clock, identity, telemetry), server
            )
            rotation_pb2_grpc.add_RotationServiceServicer_to_server(
                RotationServicer(rotations, partitions, identity, telemetry), server
            )
            audit_pb2_grpc.add_AuditServiceServicer_to_server(
                AuditServicer(
                    audits,
                    searches,
                    rotations,
                    identity,
                    telemetry,
                    explanations,
                    replays,
                    exports,
                    late,
                    limits,
                ),
                server,
            )

            referral_pb2_grpc.add_ReferralServiceServicer_to_server(
                ReferralServicer(referrals, referring, clock, identity, telemetry, limits), server
            )
            keeping_pb2_grpc.add_KeepingServiceServicer_to_server(
                KeepingServicer(holds, erasures, retention, scrubs, identity, telemetry), server
            )
            override_pb2_grpc.add_OverrideServiceServicer_to_server(
                OverrideServicer(overrides, identity, telemetry), server
            )
            report_pb2_grpc.add_ReportServiceServicer_to_server(
                ReportServicer(reports, accesses, complaints, clock, identity, telemetry), server
            )

        _watch(telemetry, store, links, rotations)

        def besides() -> tuple[str, ...]:
            return (*workers.reasons(), *([store.notary.trouble] if store.notary.trouble else []))

        readiness = Readiness(store.database, clock, lambda ready: edge.say(ready), besides)
        app = build_app(
            Parts(
                version=__version__,
                logs=store.chain.logs,
                vkeys=store.chain.vkeys,
                identify=lambda der: _identified(identity, der),
                ready=readiness,
                telemetry=telemetry,
                now=clock.now,
                published=witnessing.newest if witnessing else None,
            )
        )
        files = TlsFiles(settings.ca, settings.cert, settings.key)
        edge = Edge(files, settings.host, add, app, workers, links, served)
        stack.push_async_callback(edge.stop)
        own_ports = await _open_own(settings, edge)
        await workers.beat()
        upkeep = [
            _keep_fresh(store),
            _keep_tiles(store),
            store.index.watch(),
            notices.run(),
            refusals.run(),
            _remind(rotations),
        ]
        if witnessing is not None:
            upkeep.append(witnessing.run())
        if anchoring is not None:
            upkeep.append(anchoring.run())
        for work in (workers.watch(), readiness.watch(), *upkeep):
            task = asyncio.get_running_loop().create_task(work)
            stack.push_async_callback(_cancel, task)
        ports = own_ports
        if settings.worker is not None:
            # Requests come through the shared ports: only once there is somebody here to ask.
            await workers.covered(COVER)
            ports = await edge.listen(settings.grpc_port, settings.http_port, shared=True)
        await readiness.look()
        await edge.say(readiness()[0])
        stack.push_async_callback(edge.drain, settings.drain_seconds)
        yield Running(
            *ports,
            store.notary.vkey,
            store.notary.origin,
            workers.own,
            own_ports[1],
            tuple(store.chain.vkeys),
        )


async def _open_own(settings: Settings, edge: Edge) -> tuple[int, int]:
    """The ports at which this worker alone is reached: without others to share with, those of the settings."""
    if settings.worker is None:
        ports = await edge.listen(settings.grpc_port, settings.http_port, shared=False)
    else:
        direct = settings.direct_port
        ports = await edge.listen(direct, direct + 1 if direct else 0, shared=False)
    edge.reachable_at(settings.reachable, ports[0])
    return ports


async def _open_store(settings: Settings, stack: AsyncExitStack) -> _Store:
    await migrate(settings.database_url)
    clock = SystemClock()
    ring = FolderKeys(settings.keys)
    database = Database(settings.database_url, size=settings.pool_size)
    await database.open()
    stack.push_async_callback(database.close)
    guard = Guard(settings.guard)
    stack.callback(guard.close)
    fresh = f"{settings.trust_domain}/log/{half_year(clock.now())}"
    signer = await current_signer(database, ring, fresh)
    asked = None
    if settings.witness_policy is not None:
        asked = witnesses_of(settings.witness_policy, settings.witness_ca or settings.ca)
        stack.push_async_callback(asked[1].close)
        await vouch(database, signer, guard, *asked)
    notary = Notary(signer, guard, ring.log_seed)
    seals = Seals(database, ring)
    blind = Blind(ring.index_key())
    reader = LogReader(database, seals, notary)
    await reader.open()
    async with database.connection() as connection:
        await blind.check(connection)
    log = PostgresLog(database, seals, blind, notary, reader, clock)
    facts = FactsReader(database, blind, seals)
    for coalescer in (log.appends, facts.reads):
        await stack.enter_async_context(coalescer)
    halves = HalfYears(database, notary, reader, ring, clock)
    await halves.finish()
    chain = Chain(database, notary, reader)
    await chain.refresh()
    index = SearchIndex(database, seals, ring.index_key(), reader.log)
    entries = PostgresEntryRows(database, seals, index, lambda: reader.log)
    past = PastReader(database, blind, seals)
    rows = _Rows(
        ReferralRows(database, seals),
        OverrideRows(database, seals),
        AccessRows(database, seals),
        BreachRows(database),
        ComplaintRows(database, seals),
    )
    kept = KeepingRows(database, blind, index.terms), DestroyingRows(database, seals, ring)
    reference = ReferenceReader(database)
    return _Store(
        database,
        blind,
        notary,
        reader,
        halves,
        chain,
        log,
        facts,
        reference,
        index,
        entries,
        past,
        rows,
        *kept,
        asked,
    )


def _retention(file: Path | None) -> RetentionPolicy:
    """The deployment's policy. Raises SetupError."""
    if file is None:
        return RetentionPolicy()
    try:
        return parse_retention(file.read_bytes())
    except OSError as e:
        raise SetupError(f"cannot read the retention policy {file}: {e.strerror}") from e
    except InvalidRequest as e:
        raise SetupError(f"{file}: {e}; `broker audit retention check {file}` says the same") from e


def _witnessing(store: _Store, own: str, clock: Clock, telemetry: Telemetry) -> WitnessChain | None:
    if store.asked is None:
        return None
    policy, client = store.asked
    chain = store.chain

    def of(origin: str) -> Witnessing:
        rows = WitnessedRows(store.database, origin)
        return Witnessing(own, policy, rows, chain.logs[origin], client, clock)

    made = WitnessChain(of, lambda: chain.halves, lambda origin: chain.logs[origin].size())
    telemetry.watch_witnesses(made.counts)
    return made


def _anchoring(
    settings: Settings,
    store: _Store,
    own: str,
    witnessing: WitnessChain | None,
    telemetry: Telemetry,
    stack: AsyncExitStack,
) -> Anchoring | None:
    if not settings.timestamp_url:
        return None
    authority = authority_of(settings.timestamp_url, settings.timestamp_cert)
    stack.push_async_callback(authority.close)
    rows, reader = AnchorRows(store.database, lambda: store.reader.log), store.reader

    async def published() -> tuple[int, bytes] | None:
        return await (witnessing.newest(store.notary.origin) if witnessing else reader.head())

    every = settings.timestamp_seconds
    made = Anchoring(own, rows, published, reader, authority, every, telemetry.stamped)
    telemetry.watch_anchors(made.counts)
    return made


def _watch(telemetry: Telemetry, store: _Store, links: Links, rotations: Rotations) -> None:
    appends, reads = store.log.appends, store.facts.reads
    telemetry.watch_log(
        lambda: LogCounts(
            appends.items, appends.batches, store.notary.signatures, reads.batches, bool(rotations.due())
        )
    )
    telemetry.watch_links(links.attached)
    telemetry.watch_queue("append", lambda: appends.waiting)
    telemetry.watch_queue("facts", lambda: store.facts.reads.waiting)


def _identified(identity: Identity, der: bytes) -> Caller | None:
    try:
        return identity.of_certificate(der)
    except UnknownSystem:
        return None


async def _keep_fresh(store: _Store) -> None:
    """See what other processes change even while nobody asks: a suspension must reach silent streams."""
    while True:
        await asyncio.sleep(REFRESH)
        with suppress(BrokerError):  # readiness says why
            await store.reference.refresh()


async def _keep_tiles(store: _Store) -> None:
    """Make full tiles as the log grows, so that readers of it cost little, and what was signed last outlast us;
    notice a rotation, also one that nobody has finished."""
    while True:
        await asyncio.sleep(REFRESH)
        with suppress(BrokerError):  # readiness says why
            await store.halves.finish()
            await store.chain.refresh()
            await store.notary.remember()
            await store.reader.fill_tiles()


async def _remind(rotations: Rotations) -> None:
    """Say once a day that the log is to be rotated, while it is: nothing waits for it, so nobody is woken."""
    while True:
        if due := rotations.due():
            _diagnostics.warning("rotation is due", why=due)
        await asyncio.sleep(REMIND if due else REMIND / 24)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
