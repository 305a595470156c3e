"""A broker that serves: from settings to parts to servers, and back down in the other order.

Everything else receives what it needs; only here is it decided what that is.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from broker import __version__
from broker.clock import SystemClock
from broker.compose.ground import Ground, open_ground
from broker.compose.jobs import REFRESH, Beside, Job, begin, kept, remind
from broker.compose.served import Served
from broker.compose.stored import Stored
from broker.config import Settings
from broker.console.app import Parts, build_app
from broker.core.model import Caller
from broker.edge import Edge
from broker.errors import UnknownSystem
from broker.exchange import Exchange
from broker.limits import Limits
from broker.links import Links
from broker.pki.tls import TlsFiles
from broker.ports import Clock, FactsSource
from broker.readiness import Readiness
from broker.release import CatalogueReleases
from broker.rotations import Rotations
from broker.rpc.identity import Identity
from broker.scraped import LogCounts
from broker.store.workers import WorkerRows
from broker.telemetry import Telemetry
from broker.tracing import Tracing, from_environment
from broker.upkeep import Upkeep
from broker.witnesschain import WitnessChain
from broker.workers import Worker, Workers

# A worker that joins others waits so long, in seconds, for the adapters before it takes requests all the same.
COVER = 10.0

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
        ground = await open_ground(settings, clock, stack)
        store, links = ground.store, Links()
        beside = Beside.of(ground, own.id, stack)
        ground.telemetry.watch_second_stage(beside.second_stage)
        workers = Workers(own, WorkerRows(store.database), links.attached)
        rotations = Rotations(ground.administration, store.halves, workers.holding, clock)
        workers.held = rotations.held
        workers.changed = _told(links, ground.limits)
        exchange = _exchange(ground, facts(store.facts), links, tracing, beside.witnessing)
        served = Served(ground, beside, exchange, rotations, links, workers)
        _watch(ground.telemetry, store, links, rotations)

        upkeep = Upkeep()
        edge, readiness = _front(ground, served, workers, links, upkeep, beside)
        stack.push_async_callback(edge.stop)
        own_ports = await _open_own(settings, edge)
        await workers.beat()
        jobs: list[Job] = [
            ("the workers' table", workers.watch, REFRESH),
            ("readiness", readiness.watch, REFRESH),
            *kept(store),
            ("the search index", store.index.watch, REFRESH),
            ("reminders", lambda: remind(rotations), REFRESH),
            *beside.jobs(),
        ]
        begin(stack, upkeep, jobs)
        ports = await _open_shared(settings, edge, workers) or own_ports
        await readiness.look()
        await edge.say(readiness()[0])
        stack.push_async_callback(edge.drain, settings.drain_seconds)
        notary, vkeys = store.notary, tuple(store.chain.vkeys)
        yield Running(*ports, notary.vkey, notary.origin, workers.own, own_ports[1], vkeys)


def _exchange(
    ground: Ground,
    facts: FactsSource,
    links: Links,
    tracing: Tracing,
    witnessing: WitnessChain | None,
) -> Exchange:
    store, reference = ground.store, ground.store.reference
    releases = CatalogueReleases(lambda: reference.catalogue, reference.pins)
    return Exchange(
        store.log, facts, reference, links, releases, ground.clock, store.blind.content, tracing, witnessing
    )


def _front(
    ground: Ground,
    served: Served,
    workers: Workers,
    links: Links,
    upkeep: Upkeep,
    beside: Beside,
) -> tuple[Edge, Readiness]:
    """The ports of this worker, and whether it is ready, which is said at them."""
    settings, store = ground.settings, ground.store
    besides = _besides(workers, store, upkeep)
    readiness = Readiness(
        store.database, ground.clock, lambda ready: edge.say(ready), besides, store.notary.look, beside.told
    )
    edge = Edge(
        TlsFiles(settings.ca, settings.cert, settings.key),
        settings.host,
        served.add,
        build_app(_parts(ground, readiness, beside.witnessing)),
        workers,
        links,
        served.exchange,
        settings.connection_seconds,
    )
    return edge, readiness


def _told(links: Links, limits: Limits) -> Callable[[tuple[Worker, ...]], None]:
    """Who hears that workers came or went."""

    def changed(live: tuple[Worker, ...]) -> None:
        links.tell(live)
        limits.shared_by(len(live))

    return changed


def _besides(workers: Workers, store: Stored, upkeep: Upkeep) -> Callable[[], tuple[str, ...]]:
    """What else keeps a worker from being ready, each reason once."""

    def reasons() -> tuple[str, ...]:
        trouble = (store.notary.stopped,) if store.notary.stopped else ()
        found = (*workers.reasons(), *trouble, *store.notary.broken.reasons(), *upkeep.reasons())
        return tuple(dict.fromkeys(found))

    return reasons


def _parts(ground: Ground, readiness: Readiness, witnessing: WitnessChain | None) -> Parts:
    """What the console and the published log are made of."""
    return Parts(
        version=__version__,
        logs=ground.store.chain.logs,
        vkeys=ground.store.chain.vkeys,
        identify=lambda der: _identified(ground.identity, der),
        ready=readiness,
        telemetry=ground.telemetry,
        now=ground.clock.now,
        published=witnessing.newest if witnessing else None,
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


async def _open_shared(settings: Settings, edge: Edge, workers: Workers) -> tuple[int, int] | None:
    """The ports that workers share, once there is somebody here to ask; None where this one is alone."""
    if settings.worker is None:
        return None
    await workers.covered(COVER)
    return await edge.listen(settings.grpc_port, settings.http_port, shared=True)


def _watch(telemetry: Telemetry, store: Stored, links: Links, rotations: Rotations) -> None:
    appends, reads = store.log.appends, store.facts.reads
    telemetry.watch_log(
        lambda: LogCounts(
            appends.items, appends.batches, store.notary.signatures, reads.batches, bool(rotations.due())
        )
    )
    telemetry.watch_links(links.attached)
    telemetry.watch_queue("append", lambda: appends.waiting)
    telemetry.watch_queue("ask", lambda: links.waiting)
    telemetry.watch_queue("facts", lambda: store.facts.reads.waiting)


def _identified(identity: Identity, der: bytes) -> Caller | None:
    try:
        return identity.of_certificate(der)
    except UnknownSystem:
        return None
