"""The store opened: everything that rests on the database, its keys, its guard and its witnesses."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from broker.anchor.authority import authority_of
from broker.anchor.hourly import Anchoring, Published
from broker.clock import SystemClock
from broker.config import Settings
from broker.core.quorum import WitnessPolicy
from broker.core.retention import RetentionPolicy
from broker.core.retention import parse as parse_retention
from broker.core.rotation import half_year
from broker.errors import IntegrityError, InvalidRequest, SetupError
from broker.keys import FolderKeys
from broker.ports import Clock
from broker.store.anchors import AnchorRows
from broker.store.blind import Blind
from broker.store.cases import AccessRows, BreachRows, ComplaintRows, FiguresRows
from broker.store.chain import Chain
from broker.store.destroying import DestroyingRows
from broker.store.entryrows import PostgresEntryRows
from broker.store.escalated import EscalationRows
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
from broker.store.seal import Seals
from broker.store.search import SearchIndex
from broker.store.shared_guard import confirm, vouch
from broker.store.witnessed import WitnessedRows
from broker.telemetry import Telemetry
from broker.witness.client import WitnessClient, witnesses_of
from broker.witnesschain import WitnessChain
from broker.witnessing import Witnessing

Asked = tuple[WitnessPolicy, WitnessClient]
"""Which witnesses make a quorum, and how they are spoken to."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What waits for named humans, and what they work on after the fact."""

    referrals: ReferralRows
    overrides: OverrideRows
    accesses: AccessRows
    breaches: BreachRows
    complaints: ComplaintRows
    figures: FiguresRows
    escalations: EscalationRows

    @classmethod
    def of(cls, database: Database, seals: Seals) -> Self:
        """Those of this database."""
        return cls(
            ReferralRows(database, seals),
            OverrideRows(database, seals),
            AccessRows(database, seals),
            BreachRows(database),
            ComplaintRows(database, seals),
            FiguresRows(database),
            EscalationRows(database),
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """Everything that rests on the database."""

    database: Database
    blind: Blind
    notary: Notary
    seals: Seals
    reader: LogReader
    halves: HalfYears
    chain: Chain
    log: PostgresLog
    facts: FactsReader
    reference: ReferenceReader
    index: SearchIndex
    entries: PostgresEntryRows
    past: PastReader
    rows: Rows
    keeping: KeepingRows
    destroying: DestroyingRows
    asked: Asked | None


async def open_store(settings: Settings, stack: AsyncExitStack) -> Stored:
    """Migrated, vouched for by guard and witnesses, and open until the stack ends. Raises SetupError."""
    await migrate(settings.database_url)
    clock = SystemClock()
    ring = FolderKeys(settings.keys)
    database = Database(settings.database_url, size=settings.pool_size)
    await database.open()
    stack.push_async_callback(database.close)
    notary, asked = await _vouched(settings, database, ring, stack)
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
    if asked is not None:
        await confirm(reader, *asked)
    chain = Chain(database, notary, reader)
    await chain.refresh()
    index = SearchIndex(database, seals, ring.index_key(), reader.log)
    return Stored(
        database=database,
        blind=blind,
        notary=notary,
        seals=seals,
        reader=reader,
        halves=halves,
        chain=chain,
        log=log,
        facts=facts,
        reference=ReferenceReader(database),
        index=index,
        entries=PostgresEntryRows(database, seals, index),
        past=PastReader(database, blind, seals),
        rows=Rows.of(database, seals),
        keeping=KeepingRows(database, blind, index.terms),
        destroying=DestroyingRows(database, seals, ring),
        asked=asked,
    )


async def _vouched(
    settings: Settings, database: Database, ring: FolderKeys, stack: AsyncExitStack
) -> tuple[Notary, Asked | None]:
    """Who signs the log, once the guard and the witnesses that are asked say that it is the one they know."""
    guard = Guard(settings.guard)
    stack.callback(guard.close)
    fresh = f"{settings.trust_domain}/log/{half_year(SystemClock().now())}"
    signer = await current_signer(database, ring, fresh)
    asked = None
    if settings.witness_policy is not None:
        asked = witnesses_of(settings.witness_policy, settings.witness_ca or settings.ca)
        stack.push_async_callback(asked[1].close)
        await vouch(database, signer, guard, *asked)
    return Notary(signer, guard, ring.log_seed, ring.signing_seed), asked


def retention_policy(file: Path | None) -> RetentionPolicy:
    """The deployment's policy. Raises SetupError."""
    if file is None:
        return RetentionPolicy()
    try:
        return parse_retention(file.read_bytes())
    except OSError as e:
        raise SetupError(f"cannot read the retention policy {file}: {e.strerror}") from e
    except InvalidRequest as e:
        raise SetupError(f"{file}: {e}; `broker audit retention check {file}` says the same") from e


def witnessing_of(store: Stored, own: str, clock: Clock, telemetry: Telemetry) -> WitnessChain | None:
    """Who has the log witnessed; None where nobody was asked to."""
    if store.asked is None:
        return None
    policy, client = store.asked
    chain = store.chain

    def of(origin: str) -> Witnessing:
        rows = WitnessedRows(store.database, origin)
        return Witnessing(own, policy, rows, chain.logs[origin], client, clock, store.notary.stop)

    made = WitnessChain(of, lambda: chain.halves, lambda origin: chain.logs[origin].size())
    telemetry.watch_witnesses(made.counts)
    return made


def anchoring_of(
    settings: Settings,
    store: Stored,
    own: str,
    witnessing: WitnessChain | None,
    telemetry: Telemetry,
    stack: AsyncExitStack,
) -> Anchoring | None:
    """Who has the log time-stamped; None where no authority is set."""
    if not settings.timestamp_url:
        return None
    authority = authority_of(settings.timestamp_url, settings.timestamp_cert)
    stack.push_async_callback(authority.close)
    rows, reader, chain = AnchorRows(store.database), store.reader, store.chain

    async def published() -> list[Published | IntegrityError]:
        found: list[Published | IntegrityError] = []
        for half in reversed(chain.halves):
            head = chain.logs[half.origin].head
            try:
                newest = await (witnessing.newest(half.origin) if witnessing else head())
            except IntegrityError as e:
                found.append(e)
                continue
            found += [(half.origin, *newest)] if newest else []
        return found

    every = settings.timestamp_seconds
    made = Anchoring(own, rows, published, reader, authority, every, telemetry.stamped)
    telemetry.watch_anchors(made.counts)
    return made
