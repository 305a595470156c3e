"""SIGKILL of workers, of PostgreSQL's first process and of its backends, with 256 requests in flight.

Nothing acknowledged is lost, nothing is said twice, and nothing was released without its entry.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from broker.client import Broker
from broker.core.checkpoint import Checkpoint, open_checkpoint
from broker.core.keys import Verifier
from broker.core.merkle import EMPTY_RANGE, leaf_hash, verify_consistency
from tests.support.fleet import Fleet, becomes, fire_adapter, fleet
from tests.support.insistence import Ledger
from tests.support.naive_log import Tree, ends_of, entries_of
from tests.support.postgres import Server, open_folder
from tests.support.processes import listeners
from tests.support.tcp_postgres import TcpPostgres, tcp_postgres

CLIENTS, EACH = 4, 64
KILLS = {"worker": 20, "postmaster": 5, "backend": 6}
BETWEEN = 200  # answers from one kill to the next
REPEATED = 2000  # ids asked once more at the end

# A backend that works on an append now, if there is one.
_BACKEND = """
select pid from pg_stat_activity where application_name = 'bluelight-broker' and datname = current_database()
order by state = 'active' and query like '%log_append%' desc, random() limit 1
"""


class Killer:
    """Kills one thing after the other, and takes note of who was waiting for an answer then."""

    def __init__(self, running: Fleet, server: TcpPostgres, ledger: Ledger) -> None:
        self._running = running
        self._server = server
        self._ledger = ledger
        self.done: list[tuple[str, set[str], int]] = []

    async def kill(self, what: str) -> None:
        """One kill; the log's size soon after is remembered with those who waited."""
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "worker": self._worker,
            "postmaster": self._postmaster,
            "backend": self._backend,
        }
        waiting: set[str] = set(self._ledger.in_flight)
        await acts[what]()
        self.done.append((what, waiting, await self._size()))

    def between_commit_and_reply(self) -> Counter[str]:
        """How many kills of each kind cut off the answer to a request whose entry stood already."""
        left = {one: receipt.index for one, receipt in self._ledger.replayed.items()}
        found: Counter[str] = Counter()
        for what, waiting, size in self.done:
            cut_off = {one for one in waiting & left.keys() if left[one] < size}
            found[what] += bool(cut_off)
            for one in cut_off:
                del left[one]
        return found

    async def _worker(self) -> None:
        def serving() -> list[int]:
            return listeners(self._running.pids(), self._running.told["grpc"])

        await becomes(lambda: bool(serving()), 60)
        os.kill(random.choice(serving()), signal.SIGKILL)

    async def _postmaster(self) -> None:
        self._server.kill()
        await asyncio.sleep(random.uniform(0, 0.5))
        self._server.start()

    async def _backend(self) -> None:
        pid = await self._ask(_BACKEND)
        os.kill(pid, signal.SIGKILL)

    async def _size(self) -> int:
        size: int = await self._ask("select size from head")
        return size

    async def _ask(self, sql: str) -> int:
        """A single value; tried again while the server recovers."""
        async with asyncio.timeout(60):
            while True:
                try:
                    connection = await asyncpg.connect(self._server.dsn, timeout=10)
                    try:
                        value: int | None = await connection.fetchval(sql)
                    finally:
                        await connection.close(timeout=5)
                    if value is not None:
                        return value
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    pass
                await asyncio.sleep(0.02)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_right_when_anything_is_killed(
    postgres: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Thirty kills under load: every receipt holds, every repeat is the first answer, the tree only grew."""
    ledger = Ledger()
    with open_folder() as folder, tcp_postgres(folder) as server:
        async with postgres.fresh() as premises, fleet(server.dsn, tmp_path) as running:
            killer = Killer(running, server, ledger)
            with fire_adapter(running, premises):
                async with AsyncExitStack() as stack:
                    clients = [await stack.enter_async_context(running.client()) for _ in range(CLIENTS)]
                    askers = [
                        asyncio.create_task(ledger.keep_asking(client))
                        for client in clients
                        for _ in range(EACH)
                    ]
                    await _kill_all(killer, ledger, askers)
                    ledger.stopping = True
                    await asyncio.gather(*askers)
                    cut_off = killer.between_commit_and_reply()
                    with capsys.disabled():
                        print(
                            f"\n{len(killer.done)} kills, between commit and reply: {dict(cut_off)};"
                            f" {len(ledger.answers)} answered, {len(ledger.replayed)} of them committed before"
                            f" they were; asked again after {dict(ledger.failures)}"
                        )
                    assert cut_off.total() > 0, "no kill fell between commit and reply: nothing was tested"
                    first = {**{one: told.receipt for one, told in ledger.answers.items()}, **ledger.replayed}
                    await _repeat(clients[0], ledger, first)
            await asyncio.sleep(5)  # what was received is written down a moment later, as an entry
            entries = await entries_of(server.dsn)
            _every_receipt_stands(ledger, entries)
            _every_record_has_its_entry(ledger, entries)
            await _the_tree_only_grew(running, ledger, entries)
            ends = await ends_of(server.dsn, running.state.keys, entries)
            assert max(map(len, ends.values())) == 1
            for request_id, receipt in first.items():
                assert ends[request_id] == [receipt.index]


async def _kill_all(killer: Killer, ledger: Ledger, askers: list[asyncio.Task[None]]) -> None:
    """Each after enough answers and a moment more, in any order; then as many answers again."""
    todo = [what for what, times in KILLS.items() for _ in range(times)]
    random.shuffle(todo)
    for what in [*todo, ""]:
        enough = len(ledger.answers) + BETWEEN

        def reached(enough: int = enough) -> bool:
            for asker in askers:
                if asker.done():
                    asker.result()
            return len(ledger.answers) >= enough

        await becomes(reached, 120)
        assert len(ledger.in_flight) == CLIENTS * EACH
        await asyncio.sleep(random.uniform(0, 0.5))
        if what:
            await killer.kill(what)


async def _repeat(client: Broker, ledger: Ledger, first: dict[str, object]) -> None:
    """Ids that were answered are asked again: the same entry at the same place, and no other."""
    cut_off = list(ledger.replayed)[:REPEATED]
    ids = [*cut_off, *random.sample(sorted(first), min(REPEATED - len(cut_off), len(first)))]
    again = Ledger(timeout=20.0)
    for start in range(0, len(ids), CLIENTS * EACH):
        await asyncio.gather(*(again.insist(client, one) for one in set(ids[start : start + CLIENTS * EACH])))
    for one in ids:
        repeated, told = again.replayed[one], first[one]
        assert (repeated.index, repeated.entry) == (told.index, told.entry)  # type: ignore[attr-defined]
        assert repeated.opening == told.opening  # type: ignore[attr-defined]


def _every_receipt_stands(ledger: Ledger, entries: list[bytes]) -> None:
    assert len(ledger.receipts) > len(ledger.answers)
    for receipt in ledger.receipts:
        assert entries[receipt.index] == receipt.entry


def _every_record_has_its_entry(ledger: Ledger, entries: list[bytes]) -> None:
    """By hand: the entry in the log commits to the view, and the view to the very bytes of the record."""
    places = set()
    for answer in ledger.answers.values():
        opening, record = answer.receipt.opening, answer.record_any
        assert opening is not None
        committed = hmac.new(opening.salt, opening.view, "sha256").hexdigest()
        assert json.loads(entries[answer.receipt.index])["requester"] == committed
        view = json.loads(opening.view)
        digest = hashlib.sha256(record.type_url.encode() + b"\x00" + record.value).hexdigest()
        assert (view["event"], view["request_id"]) == ("disclosure", answer.request_id)
        assert view["response"] == digest
        places.add(answer.receipt.index)
    assert len(places) == len(ledger.answers), "one entry serves two records"


async def _the_tree_only_grew(running: Fleet, ledger: Ledger, entries: list[bytes]) -> None:
    """Every checkpoint that anybody holds is a prefix of the log as it is, and of what is published."""
    verifiers = [Verifier.from_vkey(running.told["vkey"])]
    notes = {receipt.checkpoint for receipt in ledger.receipts}
    async with running.https() as https:
        notes.add((await https.get("/log/checkpoint")).raise_for_status().content)
    held = {_key(open_checkpoint(note, verifiers)) for note in notes}
    assert len({size for size, _ in held}) == len(held), "two roots were signed for one size"
    newest = max(size for size, _ in held)
    # The broker writes down what was received, too: entries past the newest checkpoint are nobody's lie.
    assert newest <= len(entries)
    tree = Tree(entries)
    ours = EMPTY_RANGE
    roots = {0: ours.root()}
    for size, entry in enumerate(entries, 1):
        ours = ours.append(leaf_hash(entry))
        roots[size] = ours.root()
    for size, root in held:
        assert root == roots[size] == tree.root(size)
        verify_consistency(size, root, newest, roots[newest], tree.consistency(size, newest))


def _key(checkpoint: Checkpoint) -> tuple[int, bytes]:
    return checkpoint.size, checkpoint.root
