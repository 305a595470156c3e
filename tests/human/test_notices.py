"""The owner's own software is told of each override: without personal data, later, and at least once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from broker.config import Settings
from broker.notices import MOST, Notices
from tests.human.conftest import OVERRIDDEN
from tests.human.test_overrides import WORDS, used
from tests.support import postgres
from tests.support.stage import Stage


@dataclass
class Receiver:
    """Somebody's HTTP endpoint. `status` is what it answers; 0 hangs up."""

    status: int = 204
    port: int = 0
    heard: list[dict[str, Any]] = field(default_factory=list)
    counted: list[bool] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/overrides"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.split("content-length: ")[1].split("\r\n")[0])
        self.heard.append(json.loads(await reader.readexactly(size)))
        if self.status:
            writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()

    def count(self, *, told: bool) -> None:
        self.counted.append(told)


@asynccontextmanager
async def receiving(status: int = 204) -> AsyncIterator[Receiver]:
    """A receiver as long as the block lasts."""
    made = Receiver(status)
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


@asynccontextmanager
async def sending(stage: Stage, to: Receiver) -> AsyncIterator[Notices]:
    """What a worker sends with."""
    notices = Notices(stage.notices, to.url, to.count, stage.reference, stage.clock)
    try:
        yield notices
    finally:
        await notices.close()


async def dry(stage: Stage) -> None:
    """Nothing is left of the tests before."""
    while await stage.notices.claim(1000, 1e9):
        pass


def about(receiver: Receiver, override: str) -> list[dict[str, Any]]:
    """What was heard of one."""
    return [each for each in receiver.heard if each["override"] == override]


async def test_the_owner_hears_of_it_without_anything_about_a_person(stage: Stage) -> None:
    """Which override, of whose record, by whom and on what code: no subject, no actor, no words."""
    await dry(stage)
    disclosed, row = await used(stage)
    async with receiving() as receiver, sending(stage, receiver) as notices:
        assert await notices.look() == 1
        (notice,) = receiver.heard
        assert notice == {
            "event": "override-used",
            "override": row.id,
            "provider": "cfrs",
            "requester": "nwas",
            "code": "life-at-risk",
            "used_at": notice["used_at"],
            "review_due": notice["review_due"],
            "reviewed_by": ["cfrs"],
        }
        subject = disclosed.request.subject
        assert subject is not None
        for hidden in (subject.value, "a.hill", WORDS, OVERRIDDEN):
            assert hidden not in json.dumps(notice)
        assert await notices.look() == 0, "once it has arrived it is not sent again"
        assert receiver.counted == [True]


@pytest.mark.parametrize("status", [500, 302, 0])
async def test_a_receiver_that_is_away_is_asked_again_later_and_less_often(stage: Stage, status: int) -> None:
    """A failure, a redirect or a hang-up is no arrival; the row keeps when to try next."""
    await dry(stage)
    await used(stage)
    async with receiving(status) as receiver, sending(stage, receiver) as notices:
        assert await notices.look() == 0
        assert await notices.look() == 0, "not at once"
        assert (len(receiver.heard), receiver.counted) == (1, [False])


async def test_what_a_dead_worker_had_claimed_is_sent_by_another(stage: Stage) -> None:
    """A claim is for a while: after it the notice is anybody's, at most so often, and not for ever."""
    if stage.kind != "postgres":
        pytest.skip("memory does not outlive a worker")
    await dry(stage)
    _, row = await used(stage)
    assert [n.override for n in await stage.notices.claim(MOST, 2)] == [row.id]  # and here it dies
    assert await stage.notices.claim(MOST, 2) == []
    await asyncio.sleep(2.5)
    async with receiving() as receiver, sending(stage, receiver) as notices:
        assert await notices.look() == 1
        assert len(about(receiver, row.id)) == 1


async def test_two_workers_share_what_waits(stage: Stage) -> None:
    """Claims never overlap, however many claim at once."""
    await dry(stage)
    rows = {(await used(stage))[1].id for _ in range(6)}
    claimed = await asyncio.gather(*(stage.notices.claim(2, 60) for _ in range(8)))
    ids = [notice.override for each in claimed for notice in each]
    assert sorted(ids) == sorted(set(ids))
    assert set(ids) <= rows
    rest = {n.override for n in await stage.notices.claim(100, 60)}
    assert rest | set(ids) == rows


async def test_old_and_often_tried_ones_are_given_up(stage: Stage) -> None:
    """After three days, or a dozen tries, the queue alone has it."""
    if stage.kind != "postgres":
        pytest.skip("what is given up is in the statement")
    await dry(stage)
    for sets in ("used_at = used_at - interval '73 hours'", "notices = 12"):
        _, row = await used(stage)
        assert await postgres.ask(
            stage.dsn, f"update override_use set {sets} where id = '{row.id}' returning 1"
        )
        assert await stage.notices.claim(MOST, 1) == []


async def test_without_an_address_nobody_is_told(stage: Stage) -> None:
    """And nothing is claimed, so that an address given later finds what waits."""
    await dry(stage)
    _, row = await used(stage)
    quiet = Notices(stage.notices, "", lambda **_: None, stage.reference, stage.clock)
    async with asyncio.timeout(5):
        await quiet.run()
    await quiet.close()
    assert row.id in {n.override for n in await stage.notices.claim(MOST, 60)}


def test_the_address_is_https_or_this_machine() -> None:
    """Who uses an override is not for anybody who listens on a network."""
    needed: dict[str, Any] = dict.fromkeys(("ca", "cert", "key", "keys", "guard"), "x") | {"database_url": "x"}
    for url in ("", "https://ig.example.test/overrides", "http://127.0.0.1:8080/x", "http://localhost/x"):
        assert Settings(**needed, override_webhook=url).override_webhook == url
    for url in ("http://ig.example.test/x", "ftp://x", "http://localhost.example.test/x", "https://a b"):
        with pytest.raises(ValidationError):
            Settings(**needed, override_webhook=url)
