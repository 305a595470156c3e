"""`broker audit fsck postgresql://...` and `broker audit index` as they are typed: words and exits."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.store.pool import migrate
from tests.support.evidence import a_draft, node
from tests.support.postgres import Server, ask


@dataclass(frozen=True)
class Deployment:
    """A database with a log, and the folder of its keys, guard and verifier key."""

    dsn: str
    folder: Path

    async def run(self, *args: str, log: str = "") -> subprocess.CompletedProcess[str]:
        """`broker audit fsck` of it, or of another log."""
        line = [sys.executable, "-m", "broker", "audit", "fsck", log or self.dsn]
        vkey = ["--vkey", str(self.folder / "log.vkey")]
        return await asyncio.to_thread(
            subprocess.run, [*line, *vkey, *args], capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture
async def deployment(postgres: Server, tmp_path: Path) -> AsyncIterator[Deployment]:
    """Ten entries."""
    folder = tmp_path / "state"
    async with postgres.fresh(await postgres.template("migrated", migrate)) as dsn:
        async with node(dsn, folder) as one:
            await one.grow(9)
            await one.append(a_draft(words="said"))
            (folder / "log.vkey").write_text(one.notary.vkey + "\n")
            (folder / "note").write_bytes((await one.reader.head())[1])
        yield Deployment(dsn, folder)


async def test_everything_that_is_at_hand_is_checked(deployment: Deployment) -> None:
    """With keys, checkpoint and guard nothing is left; without, what is left is named; for scripts too."""
    keys, note, guard = (str(deployment.folder / name) for name in ("keys", "note", "guard"))
    whole = await deployment.run("--keys", keys, "--checkpoint", note, "--guard", guard)
    assert whole.returncode == 0, whole.stderr
    assert "GOOD blue-light.test/log/2026h2: 10 entries make the root of the head, and 1 signed" in whole.stdout
    assert "NOT CHECKED" not in whole.stdout
    held = "COMPARED: the tree with 1 signed checkpoints and the head of 10 that the guard remembers; "
    assert held in whole.stdout
    guarded = await deployment.run("--guard", guard, "--json")
    told = json.loads(guarded.stdout)
    assert (told["signed_checkpoints"], told["guard_remembers"]) == (0, 10)
    alone = await deployment.run()
    assert "COMPARED: the tree with itself alone; " in alone.stdout
    less = await deployment.run("--json")
    assert less.returncode == 0, less.stderr
    told = json.loads(less.stdout)
    assert (told["good"], told["entries"], told["opened"], told["first"]) == (True, 10, 0, None)
    assert len(told["unchecked"]) == 4


async def test_what_is_wrong_is_named_first_things_first(deployment: Deployment) -> None:
    """Exit 1, and the first bad entry by its index."""
    await ask(deployment.dsn, "update entry set leaf = '{}' where idx in (7, 4)", "select 1")
    done = await deployment.run("--checkpoint", str(deployment.folder / "note"))
    assert done.returncode == 1
    assert "BAD entry 4: " in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("First: entry 4: ")


async def test_what_cannot_be_read_or_makes_no_sense_is_told_apart(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Exit 6 for a database that does not answer; 2 with a sentence for a key folder that is none, which is
    not made, and for options that do not go together."""
    away = await deployment.run(log="postgresql://u:secret@127.0.0.1:1/x")
    assert away.returncode == 6
    assert "postgresql://127.0.0.1:1/x: cannot be reached" in away.stderr
    assert "PGPASSFILE" in away.stderr
    assert "secret" not in away.stderr
    none = await deployment.run("--keys", str(tmp_path / "nowhere"))
    assert none.returncode == 2
    assert "is no key folder" in none.stderr
    assert not (tmp_path / "nowhere").exists()
    folder = await deployment.run("--keys", "x", log=str(tmp_path))
    assert folder.returncode == 2


@pytest.mark.long
async def test_the_index_is_checked_and_made_anew(deployment: Deployment) -> None:
    """Settings from the environment, as the broker's: 0, 1 with the entry named, 0 again; 6: it is away."""

    async def index(*args: str, dsn: str = "") -> subprocess.CompletedProcess[str]:
        settings = {
            **os.environ,
            "BROKER_DATABASE_URL": dsn or deployment.dsn,
            "BROKER_KEYS": str(deployment.folder / "keys"),
        }
        line = [sys.executable, "-m", "broker", "audit", "index", *args]
        return await asyncio.to_thread(
            subprocess.run, line, env=settings, capture_output=True, text=True, timeout=60, check=False
        )

    made = await index("rebuild", "--json")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert (told["indexed"], told["earlier"]) == (10, {})
    assert "10 entries are in the index as they should be" in (await index("check")).stdout
    await ask(deployment.dsn, "delete from search where idx = 6", "select 1")
    found = await index("check", "--json")
    assert found.returncode == 1
    assert [each["index"] for each in json.loads(found.stdout)["problems"]] == [6]
    assert (await index("rebuild")).returncode == 0
    assert (await index("check")).returncode == 0
    assert (await index("check", dsn="postgresql://127.0.0.1:1/x")).returncode == 6
