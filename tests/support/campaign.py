"""Many withdrawals, each in a storm of requests about that very person, while others' words change too.

A person is asked about every 2 ms from before the withdrawal is sent until after it is acknowledged, at two
workers in turn. What each request ended as is kept, with when it was sent; nothing is judged here.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from nhs_number.validate import is_valid

from broker.client import Actor, Assurance, Broker
from broker.errors import BrokerError, Denied
from broker.v1 import directive_pb2 as pb
from broker.v1 import directive_pb2_grpc, exchange_pb2
from tests.support.fleet import Fleet
from tests.support.register import PATIENT, SCHEME

TEMPO = 0.002  # seconds between two requests about one person
LEAD, TAIL = 0.058, 0.054  # asked so long before the withdrawal is sent, and after it is acknowledged
TIME = 5.0  # each request's own
OTHERS_PER_SECOND = 200
BACKLOG = 25  # of others' changes: a storm waits for them, so that a slow machine spreads the load
SOCIAL_WORKER = exchange_pb2.Actor(
    id="cumberland-0938", role="social-worker", assurance=exchange_pb2.ASSURANCE_PERSONAL_LOGIN
)
# What is withdrawn, and of whom: see `Person.kind`.
KINDS = ("consent", "objection", "objection-elsewhere", "refusal-elsewhere")


@dataclass(eq=False)
class Person:
    """Somebody with two numbers; all requests name the first.

    By `kind`: a consent is withdrawn; an objection is recorded; the same under the other number, which only the
    provider's answer names; a refusal under the other number, where a consent stands under the first.
    """

    kind: str
    number: str
    other: str
    consent: str = ""
    # Index of the withdrawal's entry; 0 until it has one.
    withdrawn: int = 0

    @property
    def visit(self) -> bool:
        """Asked about before a home visit, for which there must be a consent; otherwise for direct care."""
        return self.kind in ("consent", "refusal-elsewhere")

    @property
    def spoken_under(self) -> str:
        """The number under which the withdrawal is recorded."""
        return self.other if self.kind.endswith("elsewhere") else self.number


@dataclass(frozen=True, slots=True)
class Answered:
    """One request: when it was sent (the machine's clock), how long it took, and how it ended."""

    number: str
    sent: float
    took: float
    end: str
    index: int | None = None
    checkpoint: bytes = b""


def numbers() -> Iterator[str]:
    """NHS numbers of the range that is never issued."""
    return (str(n) for n in itertools.count(9_000_200_000) if is_valid(str(n)))


def people(count: int, source: Iterator[str]) -> list[Person]:
    """So many persons, of each kind in turn."""
    return [Person(KINDS[n % len(KINDS)], next(source), next(source)) for n in range(count)]


@dataclass
class Campaign:
    """Clients of two workers, and what came of what they asked."""

    clients: dict[bool, Sequence[Broker]]
    directives: Sequence[directive_pb2_grpc.DirectiveServiceAsyncStub]
    answered: list[Answered] = field(default_factory=list)
    bystander: list[Answered] = field(default_factory=list)
    due: int = 0
    done: int = 0
    failures: list[BaseException] = field(default_factory=list)
    _turn: Iterator[int] = field(default_factory=itertools.count)
    _change: Iterator[int] = field(default_factory=itertools.count)  # its own: each connection gets its share
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def prepare(self, those: Sequence[Person]) -> None:
        """Record the consents that have to stand."""
        for person in those:
            if person.visit:
                made = await self._say("consent", person.number, "home-fire-safety")
                person.consent = made.directive_id

    async def storm(self, person: Person) -> None:
        """Ask about a person all the time, and withdraw in the midst of it."""
        await self._others_are_made()
        asking = asyncio.create_task(self._ask_until_cancelled(person))
        await asyncio.sleep(LEAD)
        person.withdrawn = await self._withdraw(person)
        await asyncio.sleep(TAIL)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    async def _others_are_made(self) -> None:
        try:
            async with asyncio.timeout(60), self._news:
                await self._news.wait_for(lambda: self.due - self.done - len(self.failures) < BACKLOG)
        except TimeoutError:
            raise AssertionError(
                f"of {self.due} changes about others {self.done} were made and {len(self.failures)} failed: "
                "this machine has no room for this test, or something holds them up"
            ) from (self.failures[0] if self.failures else None)

    async def _ask_until_cancelled(self, person: Person) -> None:
        asks: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while True:
                asks.append(asyncio.create_task(self._ask(person.number, person.visit, self.answered)))
                due += TEMPO
                await asyncio.sleep(due - loop.time())
        finally:
            await asyncio.gather(*asks)

    async def _ask(self, number: str, visit: bool, answered: list[Answered]) -> None:
        clients = self.clients[visit]
        sent, started = time.time(), time.monotonic()
        index, note = None, b""
        try:
            disclosure = await clients[next(self._turn) % len(clients)].request(
                record_type=PATIENT,
                provider="ncic",
                subject=(SCHEME, number),
                purpose="home-fire-safety" if visit else "direct-care",
                actor=FIRE_CREW if visit else PARAMEDIC,
                timeout=TIME,
            )
            end, index, note = "permit", disclosure.receipt.index, disclosure.receipt.checkpoint
        except Denied as e:
            end, index = e.code, e.receipt.index if e.receipt else None
        except BrokerError as e:
            end = type(e).__name__
        answered.append(Answered(number, sent, time.monotonic() - started, end, index, note))

    async def _withdraw(self, person: Person) -> int:
        if person.kind.startswith("objection"):
            return (await self._say("objection", person.spoken_under, "direct-care")).receipt.index
        if person.kind == "refusal-elsewhere":
            return (await self._say("refusal", person.spoken_under, "home-fire-safety")).receipt.index
        turn = next(self._turn)
        by_subject = {"subject": _subject(person.number), "purpose": "home-fire-safety"}
        what = {"directive_id": person.consent} if turn % 2 else by_subject
        request = pb.WithdrawDirectiveRequest(actor=SOCIAL_WORKER, **what)
        return (await self._directive().WithdrawDirective(request, timeout=TIME)).receipt.index

    async def _say(self, kind: str, number: str, purpose: str) -> pb.AddDirectiveResponse:
        directive = pb.Directive(
            kind=kind, subject=_subject(number), purposes=[purpose], standing="self", manner="verbal"
        )
        request = pb.AddDirectiveRequest(directive=directive, actor=SOCIAL_WORKER)
        return await self._directive().AddDirective(request, timeout=TIME)

    def _directive(self) -> directive_pb2_grpc.DirectiveServiceAsyncStub:
        return self.directives[next(self._change) % len(self.directives)]

    async def change_others(self, those: Sequence[str]) -> None:
        """Until cancelled: somebody else objects, or lifts an objection, so many times a second."""
        loop, standing = asyncio.get_running_loop(), asyncio.Queue[str]()
        started, who, changes = loop.time(), itertools.cycle(those), set[asyncio.Task[None]]()

        def ended(change: asyncio.Task[None]) -> None:
            changes.discard(change)
            if not change.cancelled() and (error := change.exception()) is not None:
                self.failures.append(error)

        try:
            while True:
                self.due += 1
                change = asyncio.create_task(self._change_another(next(who), standing))
                changes.add(change)
                change.add_done_callback(ended)
                await asyncio.sleep(started + self.due / OTHERS_PER_SECOND - loop.time())
                while len(changes) > 4 * BACKLOG:
                    await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await asyncio.gather(*changes)

    async def _change_another(self, number: str, standing: asyncio.Queue[str]) -> None:
        if standing.qsize() > BACKLOG:
            request = pb.WithdrawDirectiveRequest(directive_id=standing.get_nowait(), actor=SOCIAL_WORKER)
            await self._directive().WithdrawDirective(request, timeout=TIME)
        else:
            standing.put_nowait((await self._say("objection", number, "direct-care")).directive_id)
        async with self._news:
            self.done += 1
            self._news.notify_all()

    async def ask_a_bystander(self, number: str) -> None:
        """Until cancelled: somebody of whom nothing is said is asked about, twenty times a second."""
        while True:
            await self._ask(number, False, self.bystander)
            await asyncio.sleep(0.05)


FIRE_CREW = Actor("cfrs-2207", "fire-crew", callsign="K30P1", assurance=Assurance.ROSTER)
PARAMEDIC = Actor("nwas-51180", "ambulance-crew", callsign="AC412", assurance=Assurance.ROSTER)


def _subject(number: str) -> exchange_pb2.SubjectRef:
    return exchange_pb2.SubjectRef(scheme=SCHEME, value=number)


@asynccontextmanager
async def campaign(running: Fleet, others: Sequence[str], bystander: str) -> AsyncIterator[Campaign]:
    """Clients at each of two workers; others' words change until the block ends."""
    targets = [running.direct(number) for number in range(2)]
    async with AsyncExitStack() as stack:

        async def clients(name: str) -> list[Broker]:
            return [await stack.enter_async_context(running.client(name, target)) for target in targets]

        # Two connections to each: four backlogs of changes may be under way, and one carries 32 without fail.
        channels = [
            await stack.enter_async_context(running.channel("cumberland-mash", target))
            for target in targets * 2
        ]
        stubs = [directive_pb2_grpc.DirectiveServiceStub(channel) for channel in channels]
        asked = {True: await clients("cfrs-mdt"), False: await clients("nwas-cad")}
        one = Campaign(asked, stubs)
        beside = [
            asyncio.create_task(one.change_others(others)),
            asyncio.create_task(one.ask_a_bystander(bystander)),
        ]
        try:
            yield one
        finally:
            for task in beside:
                task.cancel()
            ends = await asyncio.gather(*beside, return_exceptions=True)
        for end in ends:
            if not isinstance(end, asyncio.CancelledError):
                raise AssertionError("what should have gone on beside has ended") from end


async def storms(
    one: Campaign, those: Sequence[Person], lanes: int, told: Callable[[int], None] = lambda _: None
) -> None:
    """A storm about each of them, at most `lanes` at a time; `told` hears how many are over."""
    left, over = iter(those), itertools.count(1)

    async def lane() -> None:
        for person in left:
            await one.storm(person)
            told(next(over))

    async with asyncio.TaskGroup() as group:
        for _ in range(lanes):
            group.create_task(lane())
