"""A connection that is cut during the commit of a disclosure, from the client's side of the whole broker."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.client import Disclosure
from broker.errors import AuditUnavailable
from tests.support.cutting_proxy import CuttingProxy, cutting_proxy
from tests.support.fleet import Fleet, Risks, ask, attached, becomes, fleet
from tests.support.postgres import Server
from tests.support.postgres import ask as told_by

pytestmark = pytest.mark.long
TRIES = 10


@dataclass
class Cut:
    """A broker whose connections to its database can be cut, and that database itself."""

    running: Fleet
    risks: Risks
    proxy: CuttingProxy
    dsn: str

    async def entries_of(self, request_id: str) -> int:
        """How many entries a request id is bound to."""
        sql = f"select count(*) from claim c join entry e on e.id = c.entry where c.request = '{request_id}'"
        found: int = await told_by(self.dsn, sql)
        return found


@pytest.fixture(scope="module")
async def cut(external_postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cut]:
    """Two workers behind the proxy, over TCP, and the fire service's adapter."""
    state = tmp_path_factory.mktemp("cut")
    with tempfile.TemporaryDirectory() as folder:
        async with (
            external_postgres.fresh() as dsn,
            cutting_proxy(dsn, Path(folder)) as proxy,
            fleet(proxy.dsn, state, POOL_SIZE=2) as running,
        ):
            risks = Risks()
            async with attached(running, risks):
                yield Cut(running, risks, proxy, dsn)


async def _cut_off(
    cut: Cut, *, replies: bool, then_refuse: bool = False
) -> tuple[str, asyncio.Task[Disclosure]]:
    """A request whose append, sent after the provider's answer, is cut off on its way there or back."""
    for _ in range(TRIES):
        await asyncio.gather(*(_answers(cut) for _ in range(8)))  # statements are known on every connection
        request_id = str(uuid.uuid4())
        asking = asyncio.create_task(_ask_cut_off(cut, request_id, replies))
        try:
            await becomes(lambda one=request_id: _reached(cut, one, replies), 2)
        except AssertionError:
            # Another message was lost before it: nothing that this is about.
            cut.proxy.cut()
            await asyncio.gather(asking, return_exceptions=True)
            continue
        assert not asking.done()
        cut.proxy.refuse = then_refuse
        cut.proxy.cut()
        return request_id, asking
    raise AssertionError("no append was cut off")


async def _ask_cut_off(cut: Cut, request_id: str, replies: bool) -> Disclosure:
    """Ask; from the provider's answer on, what is said to the database or by it is lost."""

    def lose(_: object) -> float:
        cut.proxy.lose_replies, cut.proxy.lose_requests = replies, not replies
        cut.risks.takes = lambda _: 0.0
        return 0.0

    async with cut.running.client() as client:
        cut.risks.takes = lose
        return await ask(client, 10.0, request_id=request_id)


async def _reached(cut: Cut, request_id: str, replies: bool) -> bool:
    """Whether it is committed and not heard of, or on its way and lost."""
    return await _bound(cut, request_id) if replies else cut.proxy.lost_append


async def _bound(cut: Cut, request_id: str) -> bool:
    return await cut.entries_of(request_id) == 1


@pytest.mark.parametrize("replies", [True, False], ids=["failed-but-persisted", "failed"])
async def test_the_same_append_is_issued_again(cut: Cut, replies: bool) -> None:
    """The caller gets its record once, in its own time, and knows nothing of it: one entry, no replay."""
    request_id, asking = await _cut_off(cut, replies=replies)
    answer = await asking
    assert answer.record is not None
    assert (answer.request_id, answer.earlier) == (request_id, None)
    assert await cut.entries_of(request_id) == 1
    leaf = await told_by(cut.dsn, f"select leaf from entry where idx = {answer.receipt.index}")
    assert leaf == answer.receipt.entry


async def test_an_append_that_stays_unknown_is_found_by_its_request_id(cut: Cut) -> None:
    """Committed, and the database gone before anybody heard: UNAVAILABLE, no record. Asked again under the same
    id, the entry is the one that was committed, and the record comes under a new one."""
    request_id, asking = await _cut_off(cut, replies=True, then_refuse=True)
    with pytest.raises(AuditUnavailable):
        await asking
    cut.proxy.refuse = False
    await becomes(lambda: _answers(cut), 15)
    async with cut.running.client() as client:
        again = await ask(client, 10.0, request_id=request_id)
    assert again.record is not None
    assert again.earlier is not None
    assert again.request_id != request_id
    leaf = await told_by(cut.dsn, f"select leaf from entry where idx = {again.earlier.index}")
    assert leaf == again.earlier.entry
    assert await cut.entries_of(request_id) == 1


async def _answers(cut: Cut) -> bool:
    try:
        async with cut.running.client() as client:
            await ask(client, 2.0)
    except AuditUnavailable:
        return False
    return True
