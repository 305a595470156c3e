"""The evidence store as a worker has it: every real part, on a database and a folder of the test's own.

Two `node`s on one database and one folder are two workers; the guard and the keys are shared as they would be.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from broker.core.canonical import Json
from broker.core.checkpoint import Checkpoint, open_checkpoint
from broker.core.keys import Signer, Verifier
from broker.core.merkle import leaf_hash, node_hash
from broker.core.model import Actor, Assurance, Reason, SubjectRef
from broker.core.receipt import NOT_AT_HAND, Receipt, verify_receipt
from broker.core.views import ProviderView, RequesterView
from broker.keys import FolderKeys
from broker.ports import Appended, Claim, Draft, NotAppended, Reads
from broker.store.blind import Blind
from broker.store.facts import FactsReader
from broker.store.guard import Guard
from broker.store.log import PostgresLog
from broker.store.notary import Notary
from broker.store.pool import Database
from broker.store.reader import LogReader, current_signer
from broker.store.reference import ReferenceReader
from broker.store.rotation import HalfYears
from broker.store.seal import Seals
from tests.support import world
from tests.support.values import replace

ORIGIN = "blue-light.test/log/2026h2"


@dataclass
class TestClock:
    """The machine's clock, set off by `ahead`."""

    __test__ = False
    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        """UTC, aware."""
        return datetime.now(UTC) + self.ahead

    def loop_time(self) -> float:
        """The event loop's seconds."""
        return asyncio.get_running_loop().time()

    async def until(self, loop_time: float) -> None:
        """Wait until then."""
        await asyncio.sleep(loop_time - self.loop_time())


@dataclass
class Node:
    """One worker's store."""

    database: Database
    ring: FolderKeys
    guard: Guard
    notary: Notary
    seals: Seals
    blind: Blind
    reader: LogReader
    log: PostgresLog
    facts: FactsReader
    reference: ReferenceReader
    clock: TestClock
    halves: HalfYears
    drafts: list[Draft] = field(default_factory=list)

    @property
    def verifier(self) -> Verifier:
        """The key that partners pin."""
        return Verifier.from_vkey(self.notary.vkey)

    async def append(self, draft: Draft | None = None) -> Receipt:
        """Append; the receipt. Fails the test where it is given back."""
        answer = await self.log.append(draft or a_draft())
        assert isinstance(answer, Appended), answer
        return answer.receipt

    async def given_back(self, draft: Draft) -> str:
        """Append; why it was given back. Fails the test where it is not."""
        answer = await self.log.append(draft)
        assert isinstance(answer, NotAppended), answer
        return answer.why

    async def grow(self, count: int) -> list[Receipt]:
        """Append this many at once; receipts in the order of the log."""
        receipts = await asyncio.gather(*(self.append() for _ in range(count)))
        return sorted(receipts, key=lambda r: r.index)

    def check(self, receipt: Receipt) -> Checkpoint:
        """Verify a receipt offline against the vkey; its checkpoint."""
        return verify_receipt(receipt, [self.verifier], record=NOT_AT_HAND).checkpoint

    def opened(self, note: bytes) -> Checkpoint:
        """A signed checkpoint, verified."""
        return open_checkpoint(note, [self.verifier])


@asynccontextmanager
async def node(dsn: str, folder: Path, *, origin: str = "", size: int = 8) -> AsyncIterator[Node]:
    """A worker on a migrated database; keys and guard lie in `folder`. `origin` only where it is
    not what stands there."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - a test may wait
    ring, clock = FolderKeys(folder / "keys"), TestClock()
    database, guard = Database(dsn, size=size), Guard(folder / "guard")
    await database.open()
    try:
        if origin:
            signer = Signer.from_seed(origin, ring.signing_seed())
        else:
            signer = await current_signer(database, ring, ORIGIN)
        notary = Notary(signer, guard, ring.log_seed, ring.signing_seed)
        seals, blind = Seals(database, ring), Blind(ring.index_key())
        reader = LogReader(database, seals, notary)
        await reader.open()
        async with database.connection() as connection:
            await blind.check(connection)
        log = PostgresLog(database, seals, blind, notary, reader, clock)
        facts = FactsReader(database, blind, seals)
        async with log.appends, facts.reads:
            yield Node(
                database,
                ring,
                guard,
                notary,
                seals,
                blind,
                reader,
                log,
                facts,
                ReferenceReader(database),
                clock,
                HalfYears(database, notary, reader, ring, clock),
            )
    finally:
        guard.close()
        await database.close()


def a_draft(
    *,
    reads: Reads | None = None,
    claim: Claim | None = None,
    at: datetime | None = None,
    words: str = "",
    agency: str = "cfrs",
    **full: Json,
) -> Draft:
    """A disclosure by ncic to `agency`."""
    view = RequesterView("disclosure", request_id=str(uuid.uuid4()), outcome="permit", provider="ncic")
    provider = ProviderView(view, {"id": "x"}, (("nhs-number", "9000000009"),))
    whole: dict[str, Json] = {
        **provider.as_json(),
        "policy": 0,
        "now": "x",
        "requester": agency,
        **full,
    }
    now = at or datetime.now(UTC)
    return Draft(
        str(uuid.uuid4()), now, view, provider, whole, agency, "ncic", words=words, reads=reads, claim=claim
    )


def an_end(blind: Blind, words: str = "") -> Draft:
    """The end of a request of cfrs/mdt, with its claim."""
    asked = world.ask(
        requester="cfrs", system="mdt", provider="ncic", subject=SubjectRef("nhs-number", "9000000009")
    )
    asked = replace(asked, reason=Reason("", words))
    nothing = ("place", "retry_of", "processor", "overridden", "reason", "incident", "lane")
    full: dict[str, Json] = {
        **dict.fromkeys(nothing),
        "request_id": asked.request_id,
        "system": asked.system,
        "key": asked.key_digest,
        "record_type": asked.record_type,
        "asked_of": asked.provider,
        "asked_by": {"scheme": "nhs-number", "value": "9000000009"},
        "purpose": asked.purpose,
        "actor": {"id": asked.actor.id, "role": asked.actor.role, "assurance": "personal-login"},
    }
    actor = Actor(asked.actor.id, asked.actor.role, assurance=Assurance.PERSONAL_LOGIN)
    claim = Claim(asked.caller, asked.request_id, blind.content(replace(asked, actor=actor)))
    return a_draft(words=words, claim=claim, **full)


def a_claim(request: str | None = None, content: bytes = b"c" * 32, **fields: Any) -> Claim:
    """A request id of cfrs/mdt bound to `content`."""
    return Claim("cfrs/mdt", request or str(uuid.uuid4()), content, **fields)


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1 over leaf hashes, straight from its definition (one leaf at least)."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def entry_root(entries: Sequence[bytes]) -> bytes:
    """The root of a log of these entries."""
    return naive_root([leaf_hash(e) for e in entries])
