"""The SDK against a real gRPC worker over mutual TLS."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.sdk import (
    AdapterSettings,
    AnswerFunction,
    Found,
    ManyMatch,
    NotFound,
    ProviderUnavailable,
    Provides,
    Question,
    SubjectRef,
)
from adapters.sdk.answer import Answer
from adapters.sdk.attach import Attach
from adapters.sdk.desk import Desk
from adapters.sdk.link import Link, Watcher
from broker.v1 import adapter_pb2
from records.fire.v1 import premises_risk_pb2
from tests.support.certificates import Authority
from tests.support.values import replace
from tests.support.worker import BROKER, DIGEST, RISK, Worker, an_ask

SECRET = "100062998877"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs both ends."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def worker(authority: Authority) -> AsyncIterator[Worker]:
    """A worker on a free port."""
    one = await Worker(authority.server()).start()
    yield one
    await one.stop()


def found(question: Question, **fields: object) -> Found:
    """The premises asked for, with `fields`."""
    assert question.subject is not None
    record = premises_risk_pb2.PremisesRisk(uprn=question.subject.value, **fields)  # type: ignore[arg-type]
    return Found(record, (question.subject,), datetime.now(UTC))


async def simple(question: Question) -> Answer:
    """Finds whatever is asked for."""
    return found(question)


@asynccontextmanager
async def attached(
    authority: Authority,
    target: str,
    answer: AnswerFunction = simple,
    matches_queries: bool = False,
    **changes: object,
) -> AsyncIterator[tuple[Attach, asyncio.Event, asyncio.Task[None]]]:
    """An adapter attached to `target` for as long as the block lasts."""
    files = authority.client("cfrs", "risk-system")
    values: dict[str, object] = {
        "target": target,
        "ca": files.ca,
        "cert": files.cert,
        "key": files.key,
        "at_once": 64,
        "backoff_first": 0.02,
        "backoff_cap": 0.2,
        "welcome_within": 2.0,
        "drain_within": 2.0,
    }
    settings = AdapterSettings(**(values | changes))  # type: ignore[arg-type]
    stop = asyncio.Event()
    provides = [Provides(RISK, ("uprn",), matches_queries)]
    attach = Attach(settings, provides, answer, software="test/1")
    running = asyncio.create_task(attach.run(stop))
    try:
        yield attach, stop, running
    finally:
        stop.set()
        async with asyncio.timeout(5):
            await running


async def test_hello_declares_what_the_broker_approved(authority: Authority, worker: Worker) -> None:
    """The digest in the hello is the one the broker lists, and a told one goes before it."""
    async with attached(authority, worker.address):
        hello = (await worker.link()).hello
        assert [(p.record_type, p.digest) for p in hello.provides] == [(RISK, DIGEST)]
        assert (hello.software, hello.at_once) == ("test/1", 64)
    async with attached(authority, worker.address, digests={RISK: "cd" * 32}):
        assert (await worker.link()).hello.provides[0].digest == "cd" * 32


async def test_an_ask_is_answered_with_record_digest_and_identifiers(
    authority: Authority, worker: Worker
) -> None:
    """What the answer function found comes back packed, with its digest, identifiers and time."""
    async with attached(authority, worker.address):
        link = await worker.link()
        answer = await link.answer(link.ask("123"))
    record = premises_risk_pb2.PremisesRisk()
    assert answer.found.record.Unpack(record)
    assert record.uprn == "123"
    assert answer.found.digest == DIGEST
    assert [(i.scheme, i.value) for i in answer.found.identifiers] == [("uprn", "123")]
    assert abs(answer.found.as_at.seconds - time.time()) < 10


async def test_not_found_is_not_a_failure(authority: Authority, worker: Worker) -> None:
    """A source that was read and holds nothing says so, with what it knows the subject by."""

    async def nobody(question: Question) -> Answer:
        assert question.subject is not None
        return NotFound((question.subject,))

    async with attached(authority, worker.address, nobody):
        link = await worker.link()
        answer = await link.answer(link.ask("9"))
    assert answer.WhichOneof("result") == "not_found"
    assert answer.not_found.identifiers[0].value == "9"


async def test_answers_ready_together_travel_together(authority: Authority, worker: Worker) -> None:
    """Answers that wait while a message is written share the next one, at most 256 of them."""
    gate = asyncio.Event()

    async def at_the_gate(question: Question) -> Answer:
        await gate.wait()
        return found(question)

    async with attached(authority, worker.address, at_the_gate, at_once=600):
        link = await worker.link()
        link.send(asks=[an_ask(i, str(i), 5) for i in range(1, 601)])
        await asyncio.sleep(0.2)
        gate.set()
        await link.until(lambda: len(link.answers) == 600)
    sizes = [len(m.answers) for m in link.messages if m.answers]
    assert max(sizes) <= 256
    assert len(sizes) < 100


async def test_a_record_of_the_limit_travels_alone_and_one_beyond_it_fails(
    authority: Authority, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """A record just under 1 MiB arrives in a message of its own; a larger one is Failed, with a log line."""

    async def sized(question: Question) -> Answer:
        assert question.subject is not None
        return found(question, crew_notes="x" * int(question.subject.value))

    async with attached(authority, worker.address, sized):
        link = await worker.link()
        link.send(asks=[an_ask(i, v, 5) for i, v in enumerate(["10", "1048500", "1048500", "1048600"], 1)])
        await link.until(lambda: len(link.answers) == 4)
    assert [link.answers[i].WhichOneof("result") for i in (1, 2, 3, 4)] == ["found"] * 3 + ["failed"]
    big = [m for m in link.messages if m.ByteSize() > 1_000_000]
    assert len(big) == 2
    assert all(len(m.answers) == 1 for m in big)
    assert "over the limit" in link.answers[4].failed.why
    assert any("over the limit" in r.message for r in caplog.records)


async def test_cancel_stops_the_work_and_sends_nothing(authority: Authority, worker: Worker) -> None:
    """A cancelled ask is cancelled in the answer function, and no answer for it is written."""
    stopped: list[str] = []

    async def slow(question: Question) -> Answer:
        assert question.subject is not None
        if question.subject.value == "1":
            return found(question)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            stopped.append(question.subject.value)
            raise
        return found(question)

    async with attached(authority, worker.address, slow):
        link = await worker.link()
        given_up = link.ask("2", 10)
        await asyncio.sleep(0.05)
        link.send(cancel=[given_up])
        await link.answer(link.ask("1"))
        await asyncio.sleep(0.05)
        assert stopped == ["2"]
        assert given_up not in link.answers


async def test_a_cancel_frees_the_place_for_the_ask_beside_it(authority: Authority, worker: Worker) -> None:
    """In one message, cancels come before asks; an ask cancelled beside itself is never begun."""
    begun: list[str] = []

    async def first_waits(question: Question) -> Answer:
        assert question.subject is not None
        begun.append(question.subject.value)
        if question.subject.value == "1":
            await asyncio.sleep(30)
        return found(question)

    async with attached(authority, worker.address, first_waits, at_once=1):
        link = await worker.link()
        link.send(asks=[an_ask(1, "1", 5)])
        await asyncio.sleep(0.05)
        link.send(cancel=[1, 2], asks=[an_ask(2, "2", 5), an_ask(3, "3", 5)])
        assert (await link.answer(3)).HasField("found")
        await asyncio.sleep(0.05)
    assert begun == ["1", "3"]
    assert set(link.answers) == {3}


@pytest.mark.parametrize("stubborn", [False, True])
async def test_an_ask_that_takes_too_long_fails_before_the_asker_stops_waiting(
    authority: Authority, worker: Worker, stubborn: bool
) -> None:
    """Failed(timed_out) comes inside the ask's time, even from work that ignores its cancellation."""
    released = asyncio.Event()

    async def endless(question: Question) -> Answer:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                if not stubborn:
                    raise
        return found(question)

    async with attached(authority, worker.address, endless):
        link = await worker.link()
        started = time.monotonic()
        try:
            answer = await link.answer(link.ask(timeout=1.0))
            took = time.monotonic() - started
        finally:
            released.set()
    assert answer.failed.timed_out
    assert 0.7 < took < 1.0


async def test_no_more_run_at_once_than_declared(authority: Authority, worker: Worker) -> None:
    """Asks beyond `at_once` are refused, and never is more work running than that."""
    running = most = 0
    gate = asyncio.Event()

    async def counted(question: Question) -> Answer:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return found(question)

    async with attached(authority, worker.address, counted, at_once=3):
        link = await worker.link()
        link.send(asks=[an_ask(i, str(i), 5) for i in range(1, 6)])
        await link.until(lambda: len(link.answers) == 2)
        gate.set()
        await link.until(lambda: len(link.answers) == 5)
    assert most == 3
    assert sorted(a.WhichOneof("result") or "" for a in link.answers.values()) == ["failed"] * 2 + ["found"] * 3


async def test_timed_out_work_that_will_not_end_keeps_its_place(authority: Authority, worker: Worker) -> None:
    """A source that hangs is not given more work than `at_once`, however many askers give up."""
    started = 0
    released = asyncio.Event()

    async def hung(question: Question) -> Answer:
        nonlocal started
        started += 1
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return found(question)

    async with attached(authority, worker.address, hung, at_once=2):
        link = await worker.link()
        try:
            for _ in range(3):
                ids = [link.ask(timeout=0.1), link.ask(timeout=0.1)]
                for ask_id in ids:
                    assert (await link.answer(ask_id)).failed.timed_out
            assert started == 2
        finally:
            released.set()


GARBAGE: list[tuple[str, dict[str, object], float]] = [
    ("timeout", {}, 0.0),
    ("record_type", {"record_type": "records.police.v1.PersonWarning"}, 1.0),
    ("digest", {"digest": "00" * 32}, 1.0),
    ("subject", {"query": {"family_name": "Smith"}}, 1.0),
    ("subject", {"subject": None}, 1.0),
    ("subject.scheme", {"subject": {"scheme": "nhs-number", "value": SECRET}}, 1.0),
    ("subject.value", {"subject": {"scheme": "uprn", "value": ""}}, 1.0),
    ("query", {"subject": None, "query": {"family_name": "Smith"}}, 1.0),
    ("requester", {"requester": ""}, 1.0),
    ("purpose", {"purpose": ""}, 1.0),
]


@pytest.mark.parametrize(("field", "change", "timeout"), GARBAGE)
async def test_a_garbage_ask_harms_only_itself(
    authority: Authority, worker: Worker, field: str, change: dict[str, object], timeout: float
) -> None:
    """A malformed ask fails naming its field and no value; the link goes on."""
    async with attached(authority, worker.address):
        link = await worker.link()
        bad = await link.answer(link.ask(timeout=timeout, **change))
        assert bad.failed.why.startswith(f"malformed ask: {field}:")
        assert SECRET not in bad.failed.why
        assert "Smith" not in bad.failed.why
        assert (await link.answer(link.ask())).HasField("found")


async def test_an_ask_id_sent_twice_is_answered_once(authority: Authority, worker: Worker) -> None:
    """A second ask under an id that is outstanding is ignored."""
    async with attached(authority, worker.address):
        link = await worker.link()
        link.send(asks=[an_ask(7, "1", 2), an_ask(7, "2", 2)])
        answer = await link.answer(7)
        await link.answer(link.ask())
    assert answer.found.identifiers[0].value == "1"
    assert sum(a.ask_id == 7 for m in link.messages for a in m.answers) == 1


async def test_a_defect_becomes_failed_and_gives_nobody_away(
    authority: Authority, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception's text, which may quote a person, is neither sent nor logged; its place in the code is."""
    caplog.set_level(logging.DEBUG)

    async def broken(question: Question) -> Answer:
        assert question.subject is not None
        raise KeyError(f"no row for {question.subject.value}")

    async with attached(authority, worker.address, broken):
        link = await worker.link()
        answer = await link.answer(link.ask(SECRET))
    assert "KeyError at" in answer.failed.why
    assert "broken:" in answer.failed.why
    assert SECRET not in answer.failed.why
    assert SECRET not in caplog.text


async def test_many_match_names_traits_and_only_for_traits(authority: Authority, worker: Worker) -> None:
    """Asked by traits, it says what would tell them apart; asked by number, it is no answer."""

    async def many(question: Question) -> Answer:
        return ManyMatch(("birth_date",))

    async with attached(authority, worker.address, many, matches_queries=True):
        link = await worker.link()
        by_traits = await link.answer(link.ask(subject=None, query={"family_name": "Smith"}))
        by_number = await link.answer(link.ask("1"))
    assert list(by_traits.many_match.ask_for) == ["birth_date"]
    assert "an identifier was asked" in by_number.failed.why


async def test_a_source_that_is_down_is_said_in_its_own_words(authority: Authority, worker: Worker) -> None:
    """ProviderUnavailable's public text reaches the operators."""

    async def down(question: Question) -> Answer:
        raise ProviderUnavailable("the risk system refuses connections")

    async with attached(authority, worker.address, down):
        link = await worker.link()
        answer = await link.answer(link.ask())
    assert answer.failed.why == "ProviderUnavailable: the risk system refuses connections"
    assert not answer.failed.timed_out


def _unknown_field(question: Question) -> Answer:
    good = found(question)
    good.record.MergeFromString(b"\xf8\x7f\x01")
    return good


UNSOUND: list[tuple[str, Callable[[Question], object]]] = [
    ("not a records.fire.v1.PremisesRisk", lambda q: replace(found(q), record=adapter_pb2.Hello())),
    ("unknown field", _unknown_field),
    ("oxygen.state: a fact must say its state", lambda q: found(q, oxygen={"kept_in": "hall"})),
    (
        "oxygen.kept_in: must be empty beside FACT_STATE_WITHHELD",
        lambda q: found(q, oxygen={"state": 4, "kept_in": "hall"}),
    ),
    (
        "hazards.items: must be empty beside FACT_STATE_NONE_RECORDED",
        lambda q: found(q, hazards={"state": 2, "items": [{}]}),
    ),
    ("identifiers: the one asked for", lambda q: replace(found(q), identifiers=(SubjectRef("uprn", "5"),))),
    ("identifiers: none", lambda q: replace(found(q), identifiers=())),
    ("as_at", lambda q: replace(found(q), as_at=datetime(2026, 1, 1))),  # noqa: DTZ001
    ("NoneType is no answer", lambda q: None),
]


@pytest.mark.parametrize(("fault", "make"), UNSOUND)
async def test_an_unsound_answer_never_leaves(
    authority: Authority, worker: Worker, fault: str, make: Callable[[Question], Answer]
) -> None:
    """A wrong type, an unknown field, a stateless fact or a missing identifier becomes Failed."""

    async def unsound(question: Question) -> Answer:
        return make(question)

    async with attached(authority, worker.address, unsound):
        link = await worker.link()
        answer = await link.answer(link.ask(SECRET))
    assert fault in answer.failed.why
    assert SECRET not in answer.failed.why


async def test_heartbeats_go_both_ways_and_silence_ends_the_link(authority: Authority) -> None:
    """The adapter beats at the welcome's pace; three beats without a word and it dials again."""
    worker = await Worker(authority.server(), beat=0.1).start()
    try:
        async with attached(authority, worker.address):
            first = await worker.link()
            for _ in range(5):
                first.send(heartbeat={})
                await asyncio.sleep(0.1)
            assert not first.ended.is_set()
            assert sum(m.HasField("heartbeat") for m in first.messages) >= 3
            silent_from = time.monotonic()
            await worker.link(2)
            assert 0.15 < time.monotonic() - silent_from < 8
            assert first.ended.is_set()
    finally:
        await worker.stop()


async def test_reconnects_when_the_broker_comes_back(authority: Authority) -> None:
    """A broker that went away is dialled until it answers again, and the work goes on."""
    worker = await Worker(authority.server()).start()
    async with attached(authority, worker.address):
        link = await worker.link()
        await link.answer(link.ask())
        await worker.stop()
        await asyncio.sleep(0.3)
        await worker.start()
        link = await worker.link()
        assert (await link.answer(link.ask())).HasField("found")
        await worker.stop()


async def test_drain_finishes_what_is_outstanding_and_leaves(authority: Authority, worker: Worker) -> None:
    """On stop: `draining`, the outstanding answer, then the end of the stream; nothing is cut off."""
    gate = asyncio.Event()

    async def at_the_gate(question: Question) -> Answer:
        await gate.wait()
        return found(question)

    async with attached(authority, worker.address, at_the_gate) as (_, stop, running):
        link = await worker.link()
        ask_id = link.ask(timeout=5)
        await asyncio.sleep(0.05)
        stop.set()
        await link.until(lambda: any(m.draining for m in link.messages))
        assert not running.done()
        gate.set()
        assert (await link.answer(ask_id)).HasField("found")
        async with asyncio.timeout(10):
            await running
            await link.ended.wait()


async def test_drain_is_bounded(authority: Authority, worker: Worker) -> None:
    """Work that does not end holds a stopping adapter for `drain_within` and no longer."""

    async def endless(question: Question) -> Answer:
        await asyncio.sleep(60)
        return found(question)

    async with attached(authority, worker.address, endless, drain_within=0.3) as (_, stop, running):
        link = await worker.link()
        link.ask(timeout=20)
        await asyncio.sleep(0.05)
        started = time.monotonic()
        stop.set()
        await running
    assert 0.25 < time.monotonic() - started < 8


async def test_every_listed_worker_gets_a_link_and_a_share(authority: Authority, worker: Worker) -> None:
    """The welcome and later updates name the workers; each is dialled directly, and credit is shared out."""
    second = await Worker(authority.server("second"), "w2").start()
    third = await Worker(authority.server("third"), "w3").start()
    worker.workers = [worker.listed, second.listed]
    second.workers = third.workers = [worker.listed, second.listed, third.listed]
    try:
        async with attached(authority, worker.address) as (attach, _, _running):
            one, two = await worker.link(), await second.link()
            await third.link()
            await one.until(lambda: any(m.credit == 21 for m in one.messages))
            assert set(attach.links()) == {"w1", "w2", "w3"}
            assert (await two.answer(two.ask())).HasField("found")
            await third.stop()
            one.send(workers=[worker.listed, second.listed])
            await one.until(lambda: one.messages[-1].credit == 32)
            assert set(attach.links()) == {"w1", "w2"}
    finally:
        await second.stop()
        await third.stop()


async def test_one_worker_under_two_addresses_gets_one_link(authority: Authority, worker: Worker) -> None:
    """A stale address that leads to a worker already linked: the second link ends at once, every time."""
    worker.workers = [worker.listed, adapter_pb2.Worker(id="w9", address=worker.address)]
    async with attached(authority, worker.address):
        first, second = await worker.link(), await worker.link()
        async with asyncio.timeout(10):
            await second.ended.wait()
        assert not first.ended.is_set()
        assert (await first.answer(first.ask())).HasField("found")


def test_a_cancel_forgets_an_answer_that_is_not_written_yet() -> None:
    """Between the work's end and the write, a cancelled answer is still not sent."""
    nobody = Watcher(lambda _: None, lambda _: None, lambda _: None, lambda _, __: None)
    hello = adapter_pb2.Hello(at_once=1)
    link = Link(Desk(simple, [], 1), hello, nobody, going=asyncio.Event())
    link._outbox.answer(adapter_pb2.Answer(ask_id=5))
    assert link.outstanding == 1
    link._take_in(adapter_pb2.AttachReply(cancel=[5]))
    assert link.outstanding == 0


async def test_an_adapter_stopped_during_its_last_write_still_says_so() -> None:
    """`draining` that was queued while an answer was being written is written before the stream is ended."""
    nobody = Watcher(lambda _: None, lambda _: None, lambda _: None, lambda _, __: None)
    link = Link(Desk(simple, [], 1), adapter_pb2.Hello(at_once=1), nobody, going=asyncio.Event())
    written: list[adapter_pb2.AttachRequest] = []
    ended = asyncio.Event()

    class Call:
        async def write(self, message: adapter_pb2.AttachRequest) -> None:
            written.append(message)
            if len(written) == 1:
                link.leave()

        async def done_writing(self) -> None:
            ended.set()

    link._outbox.answer(adapter_pb2.Answer(ask_id=5))
    writing = asyncio.create_task(link._write(Call()))  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        await ended.wait()
    writing.cancel()
    assert [message.draining for message in written] == [False, True]


async def test_a_draining_worker_is_served_until_it_ends(authority: Authority, worker: Worker) -> None:
    """A worker that is going keeps its link, and another link is made meanwhile."""
    async with attached(authority, worker.address):
        first = await worker.link()
        first.send(draining=True)
        second = await worker.link()
        assert (await first.answer(first.ask())).HasField("found")
        assert (await second.answer(second.ask())).HasField("found")


async def test_an_unexpected_broker_is_asked_nothing_and_told_nothing(
    authority: Authority, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """A welcome from another SPIFFE id ends the link before any ask of it is looked at."""
    async with attached(authority, worker.address, expected_broker=f"{BROKER}-other"):
        link = await worker.link()
        link.ask()
        async with asyncio.timeout(10):
            await link.ended.wait()
        assert not link.answers
    assert "calls itself" in caplog.text


async def test_a_broker_of_another_authority_is_not_spoken_to(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server whose certificate our CA did not sign sees no hello."""
    stranger = await Worker(Authority(tmp_path / "other").server()).start()
    try:
        async with attached(authority, stranger.address) as (attach, _, _running):
            await asyncio.sleep(0.5)
            assert not attach.attached.is_set()
            assert stranger.links.empty()
    finally:
        await stranger.stop()
    assert "UNAVAILABLE" in caplog.text


async def test_a_type_nobody_approved_is_said_plainly(
    authority: Authority, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an approved digest the adapter does not attach, says why, and does once it is approved."""
    worker.approved = {}
    async with attached(authority, worker.address) as (attach, _, _running):
        await asyncio.sleep(0.2)
        assert not attach.attached.is_set()
        assert f"has not approved {RISK}" in caplog.text
        worker.approved = {RISK: DIGEST}
        assert (await worker.link()).hello.provides[0].digest == DIGEST


async def test_what_became_of_a_viewing_is_told(authority: Authority, worker: Worker) -> None:
    """`settled` reaches the adapter's callback with its effect key."""
    heard: list[tuple[str, bool]] = []
    files = authority.client("cfrs", "risk-system")
    settings = AdapterSettings(target=worker.address, ca=files.ca, cert=files.cert, key=files.key)
    stop = asyncio.Event()
    attach = Attach(
        settings,
        [Provides(RISK, ("uprn",))],
        simple,
        software="test/1",
        settled=lambda key, released: heard.append((key, released)),
    )
    running = asyncio.create_task(attach.run(stop))
    link = await worker.link()
    link.send(settled=[{"effect_key": "k1", "released": True}])
    await link.answer(link.ask())
    stop.set()
    await running
    assert heard == [("k1", True)]
