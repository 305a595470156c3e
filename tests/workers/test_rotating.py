"""The log is rotated while workers serve: nobody who asks notices, nothing is lost, and both logs hold."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from broker.cli.audit_verify import parse_vkeys
from broker.core.checkpoint import open_checkpoint
from broker.core.merkle import EMPTY_RANGE, leaf_hash
from broker.core.receipt import NOT_AT_HAND, verify_receipt
from tests.support.fleet import Fleet, Risks, attached, becomes, fleet
from tests.support.insistence import Ledger
from tests.support.postgres import Server, leaves
from tests.support.running import command

ASKERS = 24
FSCK = ("audit", "fsck")


async def rotate(running: Fleet, *more: str) -> dict[str, object]:
    """`broker audit rotate`, as an operator types it."""
    line = ("audit", "rotate", *more, "--json", "--state", running.state.folder, "--target", running.target)
    done = await asyncio.to_thread(command, *line)
    while done.returncode != 0:  # the worker that was asked may be the one that was killed
        assert "try again" in done.stderr or "is ahead of its time" in done.stderr, done.stderr
        if "ahead" in done.stderr:
            line = tuple(word for word in line if word != "--yes")
        done = await asyncio.to_thread(command, *line)
    told: dict[str, object] = json.loads(done.stdout)
    return told


async def fsck(running: Fleet, path: str) -> tuple[int, str]:
    """`broker audit fsck` of a published log."""
    files, port = running.files("operator-cli"), running.told["http"]
    line = (*FSCK, f"https://localhost:{port}{path}", "--vkey", running.state.vkey)
    more = ("--ca", files.ca, "--cert", files.cert, "--key", files.key)
    done = await asyncio.to_thread(command, *line, *more)
    return done.returncode, done.stdout


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_rotation_under_load_loses_nothing(postgres: Server, tmp_path: Path) -> None:
    """Two workers under load, one killed as the log is rotated: every answer's receipt stands in its log."""
    async with postgres.fresh() as dsn, fleet(dsn, tmp_path) as running:
        given = running.state.vkey.read_text()
        ledger = Ledger()
        async with attached(running, Risks()), running.client() as one, running.client(unary=True) as two:
            askers = [
                asyncio.create_task(ledger.keep_asking(c)) for c in (one, two) for _ in range(ASKERS // 2)
            ]
            await becomes(lambda: len(ledger.answers) > 200, 60)
            planned = await rotate(running, "--early")
            assert (planned["rotated"], planned["lacking"]) == (False, running_ids(planned))
            killing = asyncio.create_task(kill_soon(running))
            told = await rotate(running, "--early", "--reason", "key-lost", "--yes")
            await killing
            enough = len(ledger.answers) + 300
            await becomes(lambda: len(ledger.answers) > enough, 60)
            ledger.stopping = True
            await asyncio.gather(*askers)
        found = await leaves(dsn)
        old, new = str(planned["log"]), str(planned["next"])
        assert list(found) == [old, new]
        if told["rotated"]:
            assert running.state.vkey.read_text() == f"{told['vkey']}\n{given}"
        assert await asyncio.to_thread(keys_of, running) == 0
        keys = parse_vkeys(running.state.vkey.read_bytes())
        by_log = {old: 0, new: 0}
        for receipt in ledger.receipts:
            verified = verify_receipt(receipt, keys, record=NOT_AT_HAND)
            assert found[verified.checkpoint.origin][receipt.index] == receipt.entry
            checkpoint = verified.checkpoint
            entries = found[checkpoint.origin][: checkpoint.size]
            by_log[checkpoint.origin] += 1
            if by_log[checkpoint.origin] <= 5:
                assert EMPTY_RANGE.extend(map(leaf_hash, entries)).root() == checkpoint.root
        assert min(by_log.values()) > 100
        await becomes(lambda: published(running, new), 30)
        for path in ("/log", f"/log/{half_year_of(old)}", f"/log/{half_year_of(new)}"):
            code, said = await fsck(running, path)
            assert (code, said.startswith("GOOD")) == (0, True), said


def keys_of(running: Fleet) -> int:
    """`broker audit keys`: the exit."""
    line = ("audit", "keys", "--update", "--state", running.state.folder, "--target", running.target)
    return command(*line).returncode


def running_ids(planned: dict[str, object]) -> object:
    """Before a rotation no worker holds the next key, and the plan says so of both."""
    lacking = planned["lacking"]
    assert isinstance(lacking, list)
    assert len(lacking) == 2
    return lacking


def half_year_of(origin: str) -> str:
    """The last part of a log's name."""
    return origin.rpartition("/")[2]


async def kill_soon(running: Fleet) -> None:
    """A worker is killed a moment into the rotation; its supervisor starts another."""
    await asyncio.sleep(1.2)
    os.kill(running.pids()[0], signal.SIGKILL)


async def published(running: Fleet, origin: str) -> bool:
    """Whether every worker publishes the new log at /log/ by now."""
    keys = parse_vkeys(running.state.vkey.read_bytes())
    for number in range(2):
        async with running.https(number) as https:
            try:
                note = (await https.get("/log/checkpoint")).raise_for_status().content
                vkeys = (await https.get("/log/vkey")).raise_for_status().text
            except httpx.TransportError:  # the one that was killed is not back yet
                return False
            if open_checkpoint(note, keys).origin != origin:
                return False
            assert vkeys.split() == [each.vkey for each in keys]
    return True
