"""The store's ports on PostgreSQL, put together as the composition root does, for suites over both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.clock import SystemClock
from broker.compose.stored import Rows
from broker.core.keys import Signer
from broker.keys import FolderKeys
from broker.store.agreements import AgreementReader
from broker.store.anchors import AnchorRows
from broker.store.blind import Blind
from broker.store.destroying import DestroyingRows
from broker.store.directives import DirectiveReader
from broker.store.dropped import DroppedRows
from broker.store.entryrows import PostgresEntryRows
from broker.store.erasureplans import ErasurePlanRows
from broker.store.facts import FactsReader
from broker.store.guard import Guard
from broker.store.keeping import KeepingRows
from broker.store.log import PostgresLog
from broker.store.notary import Notary
from broker.store.past import PastReader
from broker.store.pool import Database, migrate
from broker.store.reader import LogReader, current_signer
from broker.store.reference import ReferenceReader
from broker.store.rotation import HalfYears
from broker.store.seal import Seals
from broker.store.search import SearchIndex
from broker.store.workers import WorkerRows
from tests.support.memory import ORIGIN


@dataclass(frozen=True, slots=True)
class Durable:
    """The ports over one database."""

    log: PostgresLog
    reader: LogReader
    facts: FactsReader
    reference: ReferenceReader
    directives: DirectiveReader
    signer: Signer
    agreements: AgreementReader
    workers: WorkerRows
    blind: Blind
    past: PastReader
    search: SearchIndex
    rows: Rows
    keeping: KeepingRows
    erasure_plans: ErasurePlanRows
    destroying: DestroyingRows
    entries: PostgresEntryRows
    anchors: AnchorRows
    seals: Seals
    halves: HalfYears
    dropped: DroppedRows


@asynccontextmanager
async def durable(
    dsn: str,
    folder: Path,
    pool: Callable[[str], Database] = Database,
    guarded: Callable[[Path], Guard] = Guard,
) -> AsyncIterator[Durable]:
    """A new store in an empty database; keys and guard lie in `folder`. Pool and guard may be failing ones."""
    await migrate(dsn)
    async with AsyncExitStack() as stack:
        ring, database = FolderKeys(folder / "keys"), pool(dsn)
        await database.open()
        stack.push_async_callback(database.close)
        guard = guarded(folder / "guard")
        stack.callback(guard.close)
        signer = await current_signer(database, ring, ORIGIN)
        notary = Notary(signer, guard, ring.log_seed, ring.signing_seed)
        seals, blind = Seals(database, ring), Blind(ring.index_key())
        reader = LogReader(database, seals, notary)
        await reader.open()
        log = PostgresLog(database, seals, blind, notary, reader, SystemClock())
        facts = FactsReader(database, blind, seals)
        for coalescer in (log.appends, facts.reads):
            await stack.enter_async_context(coalescer)
        search = SearchIndex(database, seals, ring.index_key(), reader.log)
        yield Durable(
            log,
            reader,
            facts,
            ReferenceReader(database),
            DirectiveReader(database, blind),
            signer,
            AgreementReader(database),
            WorkerRows(database),
            blind,
            PastReader(database, blind, seals),
            search,
            Rows.of(database, seals),
            KeepingRows(database, blind, search.terms),
            ErasurePlanRows(database, blind),
            DestroyingRows(database, seals, ring),
            PostgresEntryRows(database, seals, search),
            AnchorRows(database),
            seals,
            HalfYears(database, notary, reader, ring, SystemClock()),
            DroppedRows(database, reader, notary),
        )
