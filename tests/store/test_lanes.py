"""What is urgent is read for and appended before what waits: on the real database."""

from __future__ import annotations

import asyncio
from pathlib import Path

from broker.core.model import SubjectRef
from broker.ports import Asked
from broker.store.pool import migrate
from tests.support.evidence import a_draft, node
from tests.support.postgres import Server
from tests.support.values import replace

WAITING = 1000
HOME = SubjectRef("uprn", "100062990001")


async def test_an_urgent_read_and_append_wait_for_one_batch(postgres: Server, tmp_path: Path) -> None:
    """Behind a thousand ordinary ones of the same agency each is done while most of those still wait."""
    async with postgres.fresh() as dsn:
        await migrate(dsn)
        async with node(dsn, tmp_path / "node") as one:
            asked = Asked((HOME,), "wf/mash", ())
            reads = [asyncio.create_task(one.facts.read(asked)) for _ in range(WAITING)]
            await asyncio.sleep(0)
            await one.facts.read(replace(asked, urgent=True))
            assert sum(read.done() for read in reads) <= WAITING / 2
            await asyncio.gather(*reads)
            await one.append()  # the keys are made by now
            appends = [asyncio.create_task(one.append(a_draft(agency="wf"))) for _ in range(WAITING)]
            while not one.log.appends.waiting:  # noqa: ASYNC110 - that they queue is the point
                await asyncio.sleep(0)
            await one.append(replace(a_draft(agency="wf"), urgent=True))
            assert sum(append.done() for append in appends) <= WAITING / 2
            await asyncio.gather(*appends)


async def test_another_agency_waits_for_one_round(postgres: Server, tmp_path: Path) -> None:
    """Behind a thousand reads and appends of one agency, another's are done while most of those still wait."""
    async with postgres.fresh() as dsn:
        await migrate(dsn)
        async with node(dsn, tmp_path / "node") as one:
            asked = Asked((HOME,), "wf/mash", ())
            reads = [asyncio.create_task(one.facts.read(asked)) for _ in range(WAITING)]
            await asyncio.sleep(0)
            await one.facts.read(replace(asked, system="nwas/cad"))
            assert sum(read.done() for read in reads) <= WAITING / 2
            await asyncio.gather(*reads)
            await one.append()  # the keys are made by now
            appends = [asyncio.create_task(one.append(a_draft(agency="wf"))) for _ in range(WAITING)]
            while not one.log.appends.waiting:  # noqa: ASYNC110 - that they queue is the point
                await asyncio.sleep(0)
            await one.append(a_draft(agency="nwas"))
            assert sum(append.done() for append in appends) <= WAITING / 2
            await asyncio.gather(*appends)


async def test_large_entries_travel_in_more_appends(postgres: Server, tmp_path: Path) -> None:
    """Entries count by their bytes: of so many as fill an append the next one takes the rest."""
    async with postgres.fresh() as dsn:
        await migrate(dsn)
        async with node(dsn, tmp_path / "node") as one:
            await one.append()  # the keys are made by now
            one.log.appends._max_bytes = 2 * 1024
            before = one.log.appends.batches
            await asyncio.gather(*(one.append(a_draft()) for _ in range(32)))
            assert one.log.appends.batches - before >= 4
