"""Killed at every step: what was destroyed is said in the log, and what was begun is gone on with."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from broker.core.merkle import EMPTY_RANGE, leaf_hash
from broker.core.model import Reason
from broker.ports import Appended, Queued
from tests.keeping.killed import OFFICER, PERSON, erase, retain
from tests.support.durable import durable
from tests.support.evidence import a_draft
from tests.support.postgres import Server, open_folder
from tests.support.stage import stage_on
from tests.support.values import replace
from tests.support.world import caller

OLD = datetime(2020, 1, 31, 12, tzinfo=UTC)
HELD, OPEN, PLAIN = (str(uuid.uuid4()) for _ in range(3))
# Past the last step: it comes to its end.
ALL = 400


@pytest.fixture
def folder() -> Iterator[Path]:
    """Somewhere to keep keys."""
    with open_folder() as made:
        yield made


async def _made(server: Server, folder: Path) -> str:
    """A database with an entry under hold, one with an open referral and one more, all due; its name."""
    dsn = await server.create()
    async with stage_on(dsn, folder) as stage:
        for entry, number in ((HELD, PERSON.value), (OPEN, "9000000017"), (PLAIN, "9000000017")):
            draft = replace(a_draft(at=OLD, words="own words"), id=entry)
            provider = replace(draft.provider, identifiers=(("nhs-number", number),))
            asked = {"requester": "cfrs", "asked_by": {"scheme": "nhs-number", "value": number}}
            full: Any = {**draft.full, **provider.as_json(), **asked}
            draft = replace(draft, provider=provider, full=full)
            if entry == OPEN:
                whose = ("ncic", "cfrs", "cfrs/mdt", str(uuid.uuid4()), OLD, OLD)
                draft = replace(draft, queued=Queued("referral", *whose, {"why": []}, "own words"))
            assert isinstance(await stage.log.append(draft), Appended)
        officer = replace(OFFICER, name="Pat Moss")
        await stage.holds.place(caller("ncic"), PERSON, "CASE-1", officer, Reason("litigation"))
        while await stage.indexed():
            pass
    return urlsplit(dsn).path.removeprefix("/")


def _child(dsn: str, folder: Path, step: int, what: str) -> bool:
    """Run it; whether it came to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.keeping.killed", dsn, str(folder), str(step), what],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, -9), done.stderr
    return done.stdout == "whole\n"


async def _state(dsn: str) -> dict[str, Any]:
    """What is left of the entries, what the log says of it, and whether the tree is whole."""
    connection = await asyncpg.connect(dsn)
    try:
        left = await connection.fetch("select e.id::text, v.key from entry e join view v using (log, idx)")
        leaves = await connection.fetch("select leaf from entry order by idx")
        head = await connection.fetchrow("select size, range from head")
        assert head is not None
        tree = EMPTY_RANGE.extend(leaf_hash(bytes(row["leaf"])) for row in leaves)
        assert (tree.size, list(tree.hashes)) == (head["size"], [bytes(h) for h in head["range"]])
        return {
            "left": {row["id"] for row in left} & {HELD, OPEN, PLAIN},
            "said": await connection.fetchval(
                "select count(*) from destroyed d join entry e on e.id = d.id where month = '2020-01'"
            ),
            "begun": await connection.fetchval("select count(*) from destroyed where done_at is null"),
            "erased": await connection.fetchval("select count(*) from erased r join entry e on e.id = r.by"),
            "taken": await connection.fetchval(
                "select count(*) from view_key where wrapped is null and month = '2020-01'"
            ),
            "parties": await connection.fetchval(
                "select count(*) from view v join entry e using (log, idx)"
                " where requester_agency = 'cfrs' and e.id = any ($1::uuid[])",
                [HELD, OPEN, PLAIN],
            ),
        }
    finally:
        await connection.close()


async def _case(server: Server, name: str, folder: Path, step: int) -> tuple[str, Path]:
    """A copy of the database and of its keys."""
    dsn = await server.create(name)
    own = folder / f"step-{step}"
    shutil.copytree(folder / "state", own)
    return dsn, own


def _steps(few: bool, last: int) -> list[int]:
    return [1, 13, 24, 33] if few else list(range(1, last))


async def _retention(server: Server, folder: Path, *, few: bool) -> int:
    name = await _made(server, folder / "state")
    step = reached = 0
    for step in _steps(few, ALL):
        dsn, own = await _case(server, name, folder, step)
        whole = await asyncio.to_thread(_child, dsn, own, step, "retention")
        after = await _state(dsn)
        if after["taken"] or after["left"] != {HELD, OPEN, PLAIN}:
            assert after["said"] == 1, "nothing is gone of which the log says nothing"
        async with durable(dsn, own) as made:
            await retain(made)
            await retain(made)
            end = await _state(dsn)
            assert (end["left"], end["said"], end["begun"]) == ({HELD}, 1, 0), step
            assert (await made.reader.receipt(HELD, "provider"))[0].opening is not None
            row = await made.rows.referrals.by_id(OPEN)
            assert row is not None
            assert row.asked == {"why": []}
        (kept,) = {p.stem for p in (own / "keys" / "views").iterdir() if p.stem[:7] == "2020-01"}
        assert kept.startswith("2020-01.hold")
        await server.drop(dsn)
        shutil.rmtree(own)
        if whole:
            break
        reached = step
    return reached


@pytest.mark.long
async def test_retention_killed_now_and_then(postgres: Server, folder: Path) -> None:
    """At some of its steps: entry first, and the next run ends what was begun."""
    assert await _retention(postgres, folder, few=True) >= 20


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_retention_killed_at_every_step(postgres: Server, folder: Path) -> None:
    """At each of its steps, until it comes to its end."""
    assert 30 < await _retention(postgres, folder, few=False) < ALL - 1


@pytest.mark.parametrize(
    "every",
    [False, pytest.param(True, marks=[pytest.mark.long, pytest.mark.timeout(600)])],
    ids=["some", "every"],
)
async def test_an_erasure_killed_at_a_step(postgres: Server, folder: Path, every: bool) -> None:
    """It was done, and the log says so, or nothing was; the next run does it, or finds nothing to do."""
    name = await _made(postgres, folder / "state")
    dsn = await postgres.create(name)
    connection = await asyncpg.connect(dsn)
    await connection.execute("alter table hold disable trigger user")
    await connection.execute("update hold set released_at = now(), released_by = id")
    await connection.execute("alter table hold enable trigger user")
    await connection.close()
    name = urlsplit(dsn).path.removeprefix("/")
    seen = set[bool]()
    for step in range(1, ALL) if every else (1, 12, ALL):
        dsn, own = await _case(postgres, name, folder, step)
        whole = await asyncio.to_thread(_child, dsn, own, step, "erasure")
        after = await _state(dsn)
        seen.add(after["parties"] == 2)
        assert after["parties"] in (2, 3)
        async with durable(dsn, own) as made:
            said = [row for row in await made.past.leaves(0, 500) if _is_erasure(row)]
            assert len(said) == (after["parties"] == 2)
            while await made.search.fill():
                pass
            await erase(made)
        assert (await _state(dsn))["parties"] == 2
        await postgres.drop(dsn)
        shutil.rmtree(own)
        if whole:
            break
    assert seen == {True, False}


def _is_erasure(leaf: Any) -> bool:
    return leaf.opening is not None and b'"event":"erasure"' in leaf.opening.view
