"""One worker's store, and entries for it: the log's own path with views, claims and index, without gRPC.

Run as `python -m bench.log_worker append|paced|fill|search|mirror ...`; `log.py` starts it and reads its line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from msgspec.structs import replace

from bench.decisions import NOW, REQUEST, agencies, agreed, reference, said
from broker.administration import Administration
from broker.case import Case, Said
from broker.clock import SystemClock
from broker.core.bundles import bundle_in, encode_bundle
from broker.core.decision import decide
from broker.core.keys import Signer
from broker.core.model import Caller, Function, Reason, Request, SubjectRef
from broker.core.record import Record
from broker.core.redaction import Withheld
from broker.core.searchterms import Question
from broker.core.tiles import TILE_WIDTH, tiles_of
from broker.drafts import draft
from broker.errors import AuditUnavailable, Saturated
from broker.heritage import Heritage
from broker.ids import entry_id, request_id
from broker.keys import FolderKeys
from broker.ports import Appended, Claim, Draft, Found, Reads, Release
from broker.searches import Searches
from broker.store.blind import Blind
from broker.store.guard import Guard
from broker.store.log import PostgresLog
from broker.store.notary import Notary
from broker.store.pool import Database
from broker.store.reader import LogReader
from broker.store.reference import ReferenceReader
from broker.store.seal import Seals
from broker.store.search import SearchIndex

ORIGIN = "blue-light.test/log/2026h2"
PEOPLE = 100_000
FIRST_UPRN = 100_000_000_000
ACTORS, CALLSIGNS = 2_000, 300
IN_FLIGHT = 512


@dataclass(frozen=True)
class Store:
    """What is measured."""

    database: Database
    log: PostgresLog
    index: SearchIndex
    reader: LogReader
    vkey: str


@asynccontextmanager
async def store(dsn: str, folder: Path) -> AsyncIterator[Store]:
    """A worker's log and index, put together as the composition root does."""
    async with AsyncExitStack() as stack:
        ring, database = FolderKeys(folder / "keys"), Database(dsn)
        await database.open()
        stack.push_async_callback(database.close)
        guard = Guard(folder / "guard")
        stack.callback(guard.close)
        notary = Notary(Signer.from_seed(ORIGIN, ring.signing_seed()), guard)
        seals, blind = Seals(database, ring), Blind(ring.index_key())
        reader = LogReader(database, seals, notary)
        await _opened(reader)
        async with database.connection() as connection:
            await blind.check(connection)
        log = PostgresLog(database, seals, blind, notary, reader, SystemClock())
        await stack.enter_async_context(log.appends)
        yield Store(
            database, log, SearchIndex(database, seals, ring.index_key(), reader.log), reader, notary.vkey
        )


async def _opened(reader: LogReader) -> None:
    """Open it, on a machine that others use as well: a wait that was too long is waited again."""
    for _ in range(10):
        with suppress(AuditUnavailable):
            return await reader.open()
    raise AuditUnavailable("ten waits for the database were too long")


class Made:
    """Entries of disclosures as the benchmark of requests has them, each of somebody else."""

    def __init__(self) -> None:
        snapshot, heard = reference([agreed(n) for n in range(10)], agencies(10)), said()
        self._decision = decide(REQUEST, snapshot, heard, NOW)
        self._said = (entry_id(),)
        self._law, self._key = os.urandom(32).hex(), os.urandom(32).hex()
        self._random = random.Random(os.getpid())
        record = Record("type.googleapis.com/records.fire.v1.PremisesRisk", os.urandom(400))
        self._release = Release(record, (Withheld("crew_notes", "agreement"),))
        self._found = Found(record, "d", (), datetime.now(UTC), (), "")

    def entry(self) -> Draft:
        """The next one."""
        someone = SubjectRef("uprn", str(FIRST_UPRN + self._random.randrange(PEOPLE)))
        n = self._random.randrange(ACTORS)
        actor = replace(REQUEST.actor, id=f"actor.{n}", callsign=f"NW{n % CALLSIGNS}", name=f"Actor Number {n}")
        request: Request = replace(
            REQUEST,
            request_id=request_id(),  # as our client makes them
            subject=someone,
            actor=actor,
            key_digest=self._key,
            incident=f"nwas/2026-11-21/{self._random.randrange(100_000):05d}",
            traceparent=f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01",
        )
        now = datetime.now(UTC)
        keys = self._decision.reads | {f"subject:uprn|{someone.value}"}
        case = Case(request, self._decision, 0, now, Reads(0, frozenset(keys)), said=self._said, law=self._law)
        claim = Claim(request.caller, request.request_id, os.urandom(32))
        return draft(entry_id(), case, Said("disclosure", "permit", self._release), self._found, claim)


async def append(log: PostgresLog, total: int, begin: float) -> dict[str, Any]:
    """So many, `IN_FLIGHT` at a time, from a moment of the wall clock on."""
    made, left, unavailable = Made(), iter(range(total)), 0
    await asyncio.sleep(max(0.0, begin - time.time()))

    async def one() -> None:
        nonlocal unavailable
        for _ in left:
            try:
                assert isinstance(await log.append(made.entry()), Appended)
            except AuditUnavailable:  # others had the processors for longer than a statement may take
                unavailable += 1

    began, cpu, at = time.perf_counter(), time.process_time(), time.time()
    await asyncio.gather(*(one() for _ in range(min(IN_FLIGHT, total))))
    return {
        "begun": at,
        "ended": time.time(),
        "seconds": time.perf_counter() - began,
        "cpu_us": (time.process_time() - cpu) / total * 1e6,
        "unavailable": unavailable,
        "batch": log.appends.items / max(1, log.appends.batches),
    }


async def paced(log: PostgresLog, total: int, per_second: float, begin: float) -> dict[str, Any]:
    """Open loop: one is due every so often, whether or not those before have been answered. From when it was
    due to when its proof was there."""
    made, took = Made(), list[float]()
    await asyncio.sleep(max(0.0, begin - time.time()))
    loop = asyncio.get_running_loop()
    started, tasks = loop.time(), set[asyncio.Task[None]]()

    refused = 0

    async def one(due: float) -> None:
        nonlocal refused
        try:
            assert isinstance(await log.append(made.entry()), Appended)
        except (Saturated, AuditUnavailable):  # more wait than may: as bad as any time there is
            refused += 1
        took.append(loop.time() - due)

    for n in range(total):
        due = started + n / per_second
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        task = loop.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    # Some of them, evenly: a line of output stays within what a pipe takes at once.
    told = [round(each, 5) for each in sorted(took)[:: -(-total // 2000)]]
    return {"seconds": loop.time() - started, "latencies": told, "refused": refused}


async def fill(index: SearchIndex) -> dict[str, Any]:
    """The index brought up to the log's end, as fast as it goes."""
    began, cpu, taken = time.perf_counter(), time.process_time(), 0
    while more := await index.fill():
        taken += more
    seconds = time.perf_counter() - began
    return {"entries": taken, "seconds": seconds, "cpu_us": (time.process_time() - cpu) / max(1, taken) * 1e6}


async def search(made: Store, times: int) -> dict[str, Any]:
    """First pages by person as an auditor asks for them, each of somebody else: milliseconds, from the entry
    that says so to the last view that was looked at, and how many entries were found."""
    took, found, chosen = list[float](), list[int](), random.Random(7)
    clock, index = SystemClock(), made.index
    heritage = Heritage(ReferenceReader(made.database), clock)
    searches = Searches(Administration(made.log, clock), index, heritage)
    auditor = Caller("cumberland", "audit", Function.AUDITOR, REQUEST.key_digest)
    await index.fill()  # notes how far it reaches, as a worker's upkeep does twice a second
    for _ in range(times):
        someone = SubjectRef("uprn", str(FIRST_UPRN + chosen.randrange(PEOPLE)))
        question = Question((("event", "disclosure"),), someone)
        began = time.perf_counter()
        page = await searches.page(auditor, question, REQUEST.actor, Reason("bench"), limit=50)
        took.append((time.perf_counter() - began) * 1000)
        found.append(len(page.found))
    took.sort()
    return {"p50_ms": took[times // 2], "p99_ms": took[int(times * 0.99)], "found": sum(found) / times}


async def mirror(made: Store, folder: Path) -> dict[str, Any]:
    """The log as anybody may copy it: checkpoint, tiles, bundles and key in files."""
    size, note = await made.reader.head()

    def put(path: str, data: bytes) -> None:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    put("checkpoint", note)
    put("vkey", made.vkey.encode() + b"\n")
    for tile in tiles_of(size):
        put(tile.path, await made.reader.tile(tile))
    for n in range(-(-size // TILE_WIDTH)):
        bundle = bundle_in(n, size)
        put(bundle.path, encode_bundle(await made.reader.bundle(n, bundle.width)))
    return {"size": size}


async def run(args: argparse.Namespace) -> dict[str, Any]:
    """What was asked for; with `--watch` the index is filled meanwhile, as in a worker."""
    async with store(args.dsn, args.folder) as made:
        log, index = made.log, made.index
        watching = asyncio.create_task(index.watch()) if args.watch else None
        doing: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
            "append": lambda: append(log, args.total, args.begin),
            "paced": lambda: paced(log, args.total, args.per_second, args.begin),
            "fill": lambda: fill(index),
            "search": lambda: search(made, args.total),
            "mirror": lambda: mirror(made, args.folder / "mirror"),
        }
        told = await doing[args.what]()
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return told


def main() -> None:
    """One line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.log_worker", description=__doc__)
    parser.add_argument("what", choices=("append", "paced", "fill", "search", "mirror"))
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--total", type=int, default=1000)
    parser.add_argument("--per-second", type=float, default=1000.0)
    parser.add_argument("--begin", type=float, default=0.0)
    parser.add_argument("--watch", action="store_true")
    print(json.dumps(uvloop.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
