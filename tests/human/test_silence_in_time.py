"""Neither confirm nor deny, by the clock: over the real stack, how long a silence takes says nothing of why.

Several hundred answers of each kind, shuffled so that whatever else the machine does falls on all alike, and
compared by rank: how often an answer of one kind came later than one of absence (the area under the ROC curve).
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.sdk import Found, NotFound, Question
from adapters.sdk.answer import Answer
from broker.children import spawn
from broker.cli.up.provision import provision
from broker.client import Broker
from broker.errors import Denied
from broker.v1 import directive_pb2, exchange_pb2
from broker.v1.directive_pb2_grpc import DirectiveServiceStub
from tests.e2e import words
from tests.support.fleet import CREW, RISK, Fleet, Risks, attached, certificates, fleet, settings
from tests.support.postgres import Server, ask

# By an area of one half nobody can tell one kind from the other; of 1 (or 0) one answer is enough. With so many
# of each kind chance alone strays by 0.026, and once in a hundred thousand runs as far as this bound.
EACH, BOUND = 240, 0.12
AT_ONCE, APART = 30, 0.008  # of each kind in a round, and seconds between two requests
LOOKS_UP = 0.03  # seconds that the fire service's system takes, found or not

AGREEMENT = b"""
id = "silent"
version = 1
title = "Whom the fire service knows, and does not say"
purpose = "missing-person"
valid_from = 2026-01-01
valid_until = 2099-12-31
review_on = 2099-01-01
ncnd = true

[legal]
basis = "art6-1-e"

[directives]
weight = "respected"
recorders = ["cumberland"]

[actors]
minimum_assurance = "roster"

[[parties]]
agency = "nwas"
regime = "uk-gdpr"

[[parties]]
agency = "cfrs"
regime = "uk-gdpr"

[[flows]]
provider = "cfrs"
requester = "nwas"
record_type = "records.fire.v1.PremisesRisk"
permitted = ["uprn"]
roles = ["ambulance-crew"]
subject_schemes = ["uprn"]
"""
# What was said about the house of each kind: kind of directive, and standing.
SAID = {
    "refused": [("refusal", "self")],
    "restricted": [("restriction", "self")],
    "protected": [("protected-identity", "self")],
    "conflicted": [("staff-conflict", "self")],
    "referred": [("consent", "parental-responsibility"), ("objection", "parental-responsibility")],
}
KINDS = {kind: f"10006299{n:04}" for n, kind in enumerate(("absent", "failed", *SAID), 1)}
Deploy = Callable[[str, Path], AbstractAsyncContextManager[Fleet]]


class Source(Risks):
    """Finds everything but what is absent, and breaks on one house."""

    async def answer(self, question: Question) -> Answer:  # type: ignore[override]
        assert question.subject is not None
        await asyncio.sleep(LOOKS_UP)
        if question.subject.value == KINDS["absent"]:
            return NotFound()
        if question.subject.value == KINDS["failed"]:
            raise OSError("the disk is full")
        found: Found = await super().answer(question)
        return found


@asynccontextmanager
async def impatient(dsn: str, folder: Path) -> AsyncIterator[Fleet]:
    """The product without the waits."""
    with certificates(folder) as state:
        line = (sys.executable, "-m", "tests.support.impatient")
        log, ready = state.logs / "broker.log", folder / "ready.json"
        with spawn(line, name="impatient", log=log, env=settings(state, dsn)) as child:
            await asyncio.to_thread(child.wait_ready, ready.exists, 60)
            said = state.write_ports(ready)
            await asyncio.to_thread(provision, state, f"localhost:{said['grpc']}")
            yield Fleet(state, child)


def product(dsn: str, folder: Path) -> AbstractAsyncContextManager[Fleet]:
    """The product."""
    return fleet(dsn, folder, workers=1)


async def say(running: Fleet) -> None:
    """What people have said, through the council."""
    async with running.channel("cumberland-mash") as channel:
        for kind, said in SAID.items():
            for what, standing in said:
                directive = directive_pb2.Directive(
                    kind=what,
                    subject=exchange_pb2.SubjectRef(scheme="uprn", value=KINDS[kind]),
                    standing=standing,
                    speaker=what if standing != "self" else "",
                    authority="birth certificate" if standing != "self" else "",
                    actors=[CREW.id] if what == "staff-conflict" else (),
                )
                request = directive_pb2.AddDirectiveRequest(directive=directive, actor=words.SOCIAL_WORKER)
                await DirectiveServiceStub(channel).AddDirective(request, timeout=10)


async def silence(client: Broker, kind: str, after: float) -> tuple[str, float]:
    """How long one silence takes."""
    await asyncio.sleep(after)
    started = asyncio.get_running_loop().time()
    with pytest.raises(Denied) as caught:
        await client.request(
            record_type=RISK,
            provider="cfrs",
            subject=("uprn", KINDS[kind]),
            purpose="missing-person",
            actor=CREW,
            timeout=20.0,
        )
    assert caught.value.refusal.code == "no-answer"
    return kind, asyncio.get_running_loop().time() - started


async def measured(deploy: Deploy, dsn: str, folder: Path) -> dict[str, list[float]]:
    """Seconds of every answer, by kind."""
    times: dict[str, list[float]] = defaultdict(list)
    turns = random.Random(20261121)
    async with deploy(dsn, folder) as running, attached(running, Source()), running.client() as client:
        await words.apply(running, AGREEMENT)  # type: ignore[arg-type]
        await say(running)
        for _ in range(EACH // AT_ONCE):
            asked = [*KINDS] * AT_ONCE
            turns.shuffle(asked)
            answers = [silence(client, kind, n * APART) for n, kind in enumerate(asked)]
            for kind, seconds in await asyncio.gather(*answers):
                times[kind].append(seconds)
    return times


def area(one: list[float], other: list[float]) -> float:
    """How often a time of `one` is longer than one of `other`, ties by half."""
    later = sum((a > b) + (a == b) / 2 for a in one for b in other)
    return later / (len(one) * len(other))


def strays(times: dict[str, list[float]]) -> dict[str, float]:
    """How far each kind is from being like absence."""
    return {kind: abs(area(times[kind], times["absent"]) - 0.5) for kind in times if kind != "absent"}


@pytest.mark.long
async def test_how_long_a_silence_takes_says_nothing_of_why(postgres: Server, tmp_path: Path) -> None:
    """Refused, restricted, protected, conflicted, referred and failed answers come when absent ones do."""
    start = datetime.now(UTC)
    async with postgres.fresh() as dsn:
        times = await measured(product, dsn, tmp_path / "state")
        # The referred ones stand in the owner's queue all the same, every one of them.
        assert await ask(dsn, "select count(*) from referral") == EACH
    assert {len(each) for each in times.values()} == {EACH}
    assert min(min(each) for each in times.values()) >= 1.0
    assert max(strays(times).values()) < BOUND, (strays(times), datetime.now(UTC) - start)


@pytest.mark.long
async def test_without_the_wait_the_same_measurement_tells(postgres: Server, tmp_path: Path) -> None:
    """What the test before this one looks with sees a broker that answers at once."""
    async with postgres.fresh() as dsn:
        times = await measured(impatient, dsn, tmp_path / "state")
    assert max(strays(times).values()) > 2 * BOUND, strays(times)
