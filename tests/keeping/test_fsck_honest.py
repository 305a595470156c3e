"""A busy and honest deployment is GOOD after each step of its work: no check cries wolf.

What its people do, and in which order, chance decides (`honest`).
"""

from __future__ import annotations

import pytest

from broker.core.checkpoint import Verifier
from broker.core.directory import Agency
from broker.keys import FolderKeys
from broker.store.fsck.check import fsck_database
from broker.store.fsck.index import check_index
from broker.store.fsck.notes import Kept
from broker.store.guard import remembered
from broker.vouching import Vouching
from tests.keeping.conftest import furnished
from tests.keeping.honest import Honest
from tests.support.postgres import Server, ask, open_folder
from tests.support.stage import SINCE, Stage, postgres_stage
from tests.support.world import OPERATOR

INDEX = 20  # steps between two looks at the search index, and at what workers hold of systems


async def look(stage: Stage) -> list[str]:
    """What fsck names in all logs, with keys and guard. What is dated back by these tests is theirs."""
    vkeys = await ask(stage.dsn, "select array_agg(vkey) from log")
    known = remembered(stage.folder / "guard")
    assert known is not None
    kept, ring = Kept(guard=(known.origin, known.size, known.root)), FolderKeys(stage.folder / "keys")
    report = await fsck_database(stage.dsn, [Verifier.from_vkey(each) for each in vkeys], ring, kept)
    return [str(p) for each in (*report.earlier, report) for p in each.problems if p.kind != "time"]


async def index(stage: Stage) -> list[str]:
    """What the search index has wrong."""
    report = await check_index(stage.dsn, FolderKeys(stage.folder / "keys"), lambda _done, _of: None)
    return [str(problem) for each in (*report.before, report) for problem in each.problems]


@pytest.mark.parametrize(
    ("seed", "steps"),
    [(1, 25), *(pytest.param(seed, 110, marks=pytest.mark.long) for seed in (2, 3, 5, 7))],
)
@pytest.mark.timeout(300)
async def test_an_honest_deployment_is_good_after_each_step(postgres: Server, seed: int, steps: int) -> None:
    """Requests, humans' work, cases, holds, erasures, the directory, agreements, rotations; where the seed is
    odd over months, which end."""
    with open_folder() as folder:
        async with postgres_stage(postgres, folder) as stage:
            stage.folder = folder
            await furnished(stage)
            for name in ("west-fire", "east-fire"):
                await stage.registry.add_agency(OPERATOR, Agency(name, name, "fire", "england", SINCE))
            honest = Honest(stage, seed, months=bool(seed % 2))
            for step in range(steps):
                await honest.step()
                assert await look(stage) == [], honest.done
                if step % INDEX == INDEX - 1:
                    assert await index(stage) == [], honest.done
                    vouching = Vouching(stage.search, stage.reference, stage.clock)
                    await vouching.step()
                    assert seed % 2 or vouching.reasons() == (), honest.done
            await honest.end()
            assert await look(stage) == []
