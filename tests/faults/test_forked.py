"""Two workers under load, somebody with the database in their hands: no second history is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from broker.cli.audit_verify import parse_vkeys
from broker.client.trail import Contradiction
from broker.core.receipt import NOT_AT_HAND, verify_receipt
from broker.errors import BrokerError
from broker.keys import FolderKeys
from broker.store.guard import remembered
from tests.store.test_fork import cutting, rotated_by_hand
from tests.support.fleet import Fleet, Risks, attached, becomes, fleet
from tests.support.insistence import Ledger
from tests.support.postgres import Server, ask

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
ASKERS = 12


async def _cut(dsn: str, _: Path) -> None:
    """Entries are taken away from under the workers."""
    await _at_once(dsn, lambda size: cutting(size - 30))


async def _cut_without_a_guard(dsn: str, state: Path) -> None:
    """The same, a moment after the guard file was emptied where it lies."""
    (state / "guard").write_bytes(b"")
    await asyncio.sleep(1.5)
    await _cut(dsn, state)


async def _rotated(dsn: str, state: Path) -> None:
    """The log is cut, and closed by hand for the next key, which was made ahead of its time."""
    origin = str(await ask(dsn, "select origin from log"))
    domain = origin.partition("/log/")[0]

    def statements(size: int) -> list[str]:
        closed = rotated_by_hand(state, size - 30, f"{origin}\n{size - 29}\n".encode(), domain)
        return [*cutting(size - 30), *closed]

    await _at_once(dsn, statements)


async def _at_once(dsn: str, statements: Callable[[int], list[str]]) -> None:
    """In one transaction, which holds the head: nobody appends meanwhile."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            for statement in statements(await connection.fetchval("select size from head for update")):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("how", [_cut, _cut_without_a_guard, _rotated])
async def test_no_second_history_is_acknowledged(
    postgres: Server, tmp_path: Path, how: Callable[..., object]
) -> None:
    """Every receipt that anybody holds is of one history: for each place one entry, for each size one root.
    Both workers say within seconds that they are not ready."""
    async with postgres.fresh() as dsn, fleet(dsn, tmp_path) as running:
        FolderKeys(running.state.keys).make_log_seed("2027h1")
        ledger = Ledger(timeout=3.0)
        # At their end the clients say themselves that the log denies what it signed.
        with suppress(Contradiction):
            async with attached(running, Risks()), running.client() as one, running.client(unary=True) as two:
                askers = [
                    asyncio.create_task(_ask(ledger, each)) for each in (one, two) for _ in range(ASKERS // 2)
                ]
                await becomes(lambda: len(ledger.answers) > 200, 60)
                done = how(dsn, running.state.folder)
                assert asyncio.iscoroutine(done)
                await done
                await becomes(lambda: _stopped(running), 30)
                held = len(ledger.answers)
                await asyncio.sleep(3)
                ledger.stopping = True
                await asyncio.gather(*askers)
        assert len(ledger.answers) - held < ASKERS
        known = remembered(running.state.guard)
        keys = parse_vkeys(running.state.vkey.read_bytes())
        entries, roots = dict[int, bytes](), dict[int, bytes]()
        for receipt in ledger.receipts:
            checkpoint = verify_receipt(receipt, keys, record=NOT_AT_HAND).checkpoint
            assert entries.setdefault(receipt.index, receipt.entry) == receipt.entry
            assert roots.setdefault(checkpoint.size, checkpoint.root) == checkpoint.root
        assert known is not None
        assert known.size >= max(roots)
        assert known.origin == keys[0].name


async def _ask(ledger: Ledger, client: object) -> None:
    """Until told to stop, or until nothing is answered any more."""
    try:
        await ledger.keep_asking(client)  # type: ignore[arg-type]
    except (BrokerError, AssertionError):
        return


async def _stopped(running: Fleet) -> bool:
    """Whether no worker says that it is ready."""
    for number in range(2):
        async with running.https(number) as https:
            if (await https.get("/readyz")).status_code == 200:
                return False
    return True
