"""Links: how a request finds an adapter, and what becomes of those that are owed an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from broker.core.model import SubjectRef, Traits
from broker.errors import ProviderTimeout, ProviderUnavailable, Saturated
from broker.link import MAX_OUTBOX, Link
from broker.links import Links
from broker.ports import Found, ManyMatch, NotFound, ProviderFailed, Question
from tests.support.values import replace
from tests.support.world import RISK, ask, record_of

DIGEST = "d" * 64
QUESTION = Question(ask(), DIGEST, "nwas-cfrs-premises", 1, ("uprn",))
ANSWER = NotFound()


def link(
    links: Links, system: str = "cad", at_once: int = 10, agency: str = "cfrs", digest: str = DIGEST
) -> Link:
    """An attached link."""
    made = Link(agency, system, [(RISK, digest)], at_once)
    links.attach(made)
    return made


def soon(seconds: float = 5) -> float:
    """A deadline in event-loop time."""
    return asyncio.get_running_loop().time() + seconds


async def start(links: Links, seconds: float = 5) -> asyncio.Task[object]:
    """An ask under way."""
    task: asyncio.Task[object] = asyncio.create_task(links.ask(QUESTION, soon(seconds)))
    await asyncio.sleep(0)
    return task


URGENT = replace(QUESTION, request=ask(urgent=True))


async def test_a_part_of_what_an_adapter_takes_is_kept_for_what_is_urgent() -> None:
    """Ordinary requests find it full, an urgent one does not, and is written before them."""
    links = Links()
    only = link(links, at_once=16)
    ordinary = [await start(links) for _ in range(14)]
    assert isinstance(error_of(await links.ask(QUESTION, soon(0.1))), Saturated)
    urgent = [asyncio.create_task(links.ask(URGENT, soon())) for _ in range(2)]
    await asyncio.sleep(0)
    assert isinstance(error_of(await links.ask(URGENT, soon(0.1))), Saturated)
    written = [only.outbox.asks.popleft() for _ in range(len(only.outbox.asks))]
    assert [question.request.urgent for _, question, _ in written] == [True] * 2 + [False] * 14
    for ask_id, *_ in written:
        assert only.answer(ask_id, ANSWER)
    assert await asyncio.gather(*ordinary, *urgent) == [ANSWER] * 16


def error_of(answer: object) -> Exception:
    """The error in a failure."""
    assert isinstance(answer, ProviderFailed)
    return answer.error


async def test_each_request_goes_to_the_least_busy_link() -> None:
    """So that a slow adapter does not collect what a quick one could do."""
    links = Links()
    made = [link(links, name) for name in ("a", "b", "c")]
    tasks = [await start(links) for _ in range(9)]
    assert [each.outstanding for each in made] == [3, 3, 3]
    for each in made:
        for ask_id, *_ in list(each.outbox.asks):
            assert each.answer(ask_id, ANSWER)
    assert await asyncio.gather(*tasks) == [ANSWER] * 9
    assert [each.outstanding for each in made] == [0, 0, 0]


@pytest.mark.parametrize(
    "others",
    [[], [("nwas", DIGEST)]],
    ids=["none", "another's"],
)
async def test_without_a_link_that_serves_it_the_provider_is_unavailable(others: list[tuple[str, str]]) -> None:
    """At once, and never by asking somebody else."""
    links = Links()
    made = [link(links, agency=agency, digest=digest) for agency, digest in others]
    assert isinstance(error_of(await links.ask(QUESTION, soon())), ProviderUnavailable)
    assert all(not each.outbox.asks for each in made)


async def test_an_adapter_of_an_older_version_is_asked_for_that_one() -> None:
    """A new approval cuts nobody off; the answer is held to the version that was asked for."""
    links = Links()
    older = "e" * 64
    only = link(links, digest=older)
    task = await start(links)
    ((ask_id, question, _),) = only.outbox.asks
    assert question.digest == older
    known_by = (ask().subject,)
    assert only.answer(ask_id, Found(record_of(), older, known_by))
    found = await task
    assert isinstance(found, Found)
    assert replace(found, held=None) == Found(record_of(), older, known_by)


async def test_a_full_link_is_waited_for_and_a_draining_one_is_gone() -> None:
    """For as long as there is time. One says: soon again. The other: not here any more."""
    links = Links()
    only = link(links, at_once=1)
    task = await start(links)
    assert isinstance(error_of(await links.ask(QUESTION, soon(0.1))), Saturated)
    waiting = await start(links)
    links.leaving(only)
    assert isinstance(error_of(await waiting), ProviderUnavailable)
    assert isinstance(error_of(await links.ask(QUESTION, soon())), ProviderUnavailable)
    only.answer(1, ANSWER)
    assert await task == ANSWER


async def test_who_waits_for_room_takes_turns_by_agency() -> None:
    """Many of one agency do not keep another's one waiting, nor the urgent; each gets its answer."""
    links = Links()
    only = link(links, at_once=1)
    order: list[str] = []

    async def one(agency: str, *, urgent: bool = False) -> None:
        asked = replace(QUESTION, request=replace(QUESTION.request, requester=agency, urgent=urgent))
        assert await links.ask(asked, soon()) == ANSWER
        order.append("urgent" if urgent else agency)

    tasks = [asyncio.create_task(one("flood")) for _ in range(20)]
    await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(one("nwas")), asyncio.create_task(one("nwas", urgent=True))]
    await asyncio.sleep(0.01)
    while not all(task.done() for task in tasks):
        while only.outbox.asks:
            only.answer(only.outbox.asks.popleft()[0], ANSWER)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order.index("urgent") <= 2
    assert order.index("nwas") <= 4
    assert len(order) == 22


OTHER = "records.fire.v1.HomeFireSafetyVisit"


async def answer_all(only: Link, tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Answer what is asked until all of these have ended."""
    while not all(task.done() for task in tasks):
        while only.outbox.asks:
            only.answer(only.outbox.asks.popleft()[0], ANSWER)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(("flooded", "wanted"), [(OTHER, RISK), (RISK, OTHER)])
async def test_record_types_take_turns_at_the_adapter_that_serves_both(flooded: str, wanted: str) -> None:
    """A queue for one type keeps nobody from another; what is urgent goes before both."""
    links = Links()
    only = Link("cfrs", "cad", [(RISK, DIGEST), (OTHER, DIGEST)], 1)
    links.attach(only)
    order: list[str] = []

    async def one(name: str, record_type: str, *, urgent: bool = False) -> None:
        asked = replace(QUESTION.request, requester=name, record_type=record_type, urgent=urgent)
        assert await links.ask(replace(QUESTION, request=asked), soon()) == ANSWER
        order.append(name)

    tasks = [asyncio.create_task(one("flood", flooded)) for _ in range(20)]
    await asyncio.sleep(0.01)
    tasks += [
        asyncio.create_task(one("nwas", wanted)),
        asyncio.create_task(one("nwas-urgent", wanted, urgent=True)),
    ]
    await asyncio.sleep(0.01)
    await answer_all(only, tasks)
    assert order.index("nwas-urgent") <= 2
    assert order.index("nwas") <= 4


async def test_a_place_given_to_who_has_gone_is_passed_on_to_who_waits_for_another_type() -> None:
    """The place is the adapter's, not the record type's."""
    links = Links()
    only = Link("cfrs", "cad", [(RISK, DIGEST), (OTHER, DIGEST)], 1)
    links.attach(only)
    first = await start(links)
    other = replace(QUESTION, request=replace(QUESTION.request, record_type=OTHER))
    gone = asyncio.create_task(links.ask(other, soon()))
    await asyncio.sleep(0)
    last = await start(links)
    only.answer(only.outbox.asks.popleft()[0], ANSWER)
    await asyncio.sleep(0)  # the first ends, and calls the next
    gone.cancel()
    await asyncio.sleep(0.01)
    while only.outbox.asks:
        only.answer(only.outbox.asks.popleft()[0], ANSWER)
    assert await asyncio.wait_for(last, 10) == ANSWER
    assert await first == ANSWER


async def test_a_place_given_to_who_has_gone_is_passed_on() -> None:
    """Cancelled or out of time in the very moment they are called: the next is called."""
    links = Links()
    only = link(links, at_once=1)
    first = await start(links)
    gone, late, last = [await start(links) for _ in range(3)]
    only.answer(only.outbox.asks.popleft()[0], ANSWER)
    await asyncio.sleep(0)  # the first ends, and calls the next
    gone.cancel()
    late.cancel()
    await asyncio.sleep(0.01)
    while only.outbox.asks:
        only.answer(only.outbox.asks.popleft()[0], ANSWER)
    assert await asyncio.wait_for(last, 10) == ANSWER
    assert await first == ANSWER


async def test_who_comes_now_does_not_go_before_those_who_wait() -> None:
    """Although there is a place: a steady stream of newcomers must not keep anybody waiting."""
    links = Links()
    only = link(links, at_once=1)
    tasks = [await start(links) for _ in range(2)]
    only.at_once = 2  # room that nobody has been called for yet
    tasks.append(await start(links))
    assert len(only.outbox.asks) == 1
    assert links.waiting == 2
    await answer_all(only, tasks)


async def test_who_has_left_holds_up_nobody() -> None:
    """A line of those whose time is over is no line: the next one is asked as soon as there is room."""
    links = Links()
    only = link(links, at_once=1)
    task = await start(links)
    assert isinstance(error_of(await links.ask(QUESTION, soon(0.05))), Saturated)
    # Room that nobody was called for.
    only.at_once = 2
    quick = await start(links)
    assert len(only.outbox.asks) == 2
    while only.outbox.asks:
        only.answer(only.outbox.asks.popleft()[0], ANSWER)
    assert [await task, await quick] == [ANSWER, ANSWER]


async def test_more_credit_lets_those_in_who_wait() -> None:
    """As many as there is room for now."""
    links = Links()
    only = link(links, at_once=1)
    asked = [await start(links) for _ in range(6)]
    assert len(only.outbox.asks) == 1
    assert links.waiting == 5
    links.credit(only, 4)
    await asyncio.sleep(0.01)
    assert len(only.outbox.asks) == 4
    assert links.waiting == 2
    while not all(task.done() for task in asked):
        while only.outbox.asks:
            only.answer(only.outbox.asks.popleft()[0], ANSWER)
        await asyncio.sleep(0)


async def test_an_outbox_that_nobody_reads_is_bounded() -> None:
    """What waits to be written counts too."""
    links = Links()
    only = link(links, at_once=10**9)
    only.outbox.cancels.extend(range(MAX_OUTBOX))
    assert isinstance(error_of(await links.ask(QUESTION, soon(0.1))), Saturated)


async def test_a_lost_link_fails_over_once_to_each_other_link() -> None:
    """Inside the same deadline; when all are lost, the provider is unavailable."""
    links = Links()
    made = [link(links, name) for name in ("a", "b")]
    task = await start(links)
    for _ in range(2):
        (busy,) = (each for each in made if each.outstanding)
        links.detach(busy)
        await asyncio.sleep(0.01)
    assert isinstance(error_of(await task), ProviderUnavailable)


async def test_time_runs_out_once_for_all_links() -> None:
    """Failover does not start the clock again, and the last adapter is told not to go on."""
    links = Links()
    first, second = link(links, "a"), link(links, "b")
    started = asyncio.get_running_loop().time()
    task = await start(links, 0.3)
    await asyncio.sleep(0.15)
    busy, other = (first, second) if first.outstanding else (second, first)
    links.detach(busy)
    assert isinstance(error_of(await task), ProviderTimeout)
    assert asyncio.get_running_loop().time() - started < 0.5
    assert list(other.outbox.cancels) == [1]
    assert other.outstanding == 0


async def test_an_adapter_that_answers_nobody_is_not_waited_for_alone() -> None:
    """Once half of the time is over its fellow is asked too; who was silent is told not to go on, and is asked
    next only where nobody else takes more."""
    links = Links()
    task, silent, fellow = await doubted(links)
    assert fellow.answer(asked_of(fellow), ANSWER)
    assert await task is ANSWER
    assert (silent.outstanding, fellow.outstanding) == (0, 0)
    assert list(silent.outbox.cancels) == [1]
    assert not fellow.outbox.cancels
    for n in range(fellow.at_once - 1):
        await start(links)
        assert (silent.outstanding, fellow.outstanding) == (0, n + 1)
    fellow.at_once = fellow.outstanding
    await start(links)
    assert silent.outstanding == 1


async def test_it_may_still_be_the_first_to_answer() -> None:
    """Then its fellow is told not to go on; and it is asked as before."""
    links = Links()
    task, silent, fellow = await doubted(links)
    assert silent.answer(asked_of(silent), ANSWER)
    assert await task is ANSWER
    assert not fellow.answer(asked_of(fellow), NotFound())
    assert list(fellow.outbox.cancels) == [1]
    await start(links)
    await start(links)
    assert (silent.outstanding, fellow.outstanding) == (1, 1)


async def test_where_one_is_lost_the_other_is_waited_for() -> None:
    """Whichever it is; nobody is asked twice."""
    for lose in (0, 1):
        links = Links()
        task, *both = await doubted(links)
        links.detach(both.pop(lose))
        await asyncio.sleep(0)
        (left,) = both
        assert left.answer(asked_of(left), ANSWER)
        assert await task is ANSWER


async def test_a_fellow_that_fails_settles_nothing() -> None:
    """What was asked first may still answer; where it is lost too, the failure is what there is to say."""
    for lost in (False, True):
        links = Links()
        task, silent, fellow = await doubted(links)
        assert fellow.answer(
            asked_of(fellow), ProviderFailed(ProviderUnavailable("its source is away"), "away")
        )
        await asyncio.sleep(0.01)
        assert not task.done()
        if lost:
            links.detach(silent)
            assert str(error_of(await task)) == "its source is away"
        else:
            assert silent.answer(asked_of(silent), ANSWER)
            assert await task is ANSWER


# Each of another record type than was asked for: no answer to anything.
WRONG = Found(record_of(RISK), "e" * 64, ())


async def wronged(links: Links, **changes: Any) -> tuple[asyncio.Task[object], Link, Link]:
    """A question whose first adapter has answered what is no answer; that adapter, and its fellow."""
    made = link(links, "a"), link(links, "b")
    task: asyncio.Task[object] = asyncio.create_task(links.ask(replace(QUESTION, **changes), soon(1.0)))
    await asyncio.sleep(0)
    first, fellow = sorted(made, key=lambda each: -each.outstanding)
    assert first.answer(asked_of(first), WRONG)
    first.outbox.asks.popleft()
    await asyncio.sleep(0.01)
    return task, first, fellow


async def test_an_answer_that_is_none_is_not_the_last_word() -> None:
    """Its fellow is asked inside the same time, and is asked first for a while."""
    links = Links()
    task, first, fellow = await wronged(links)
    assert fellow.answer(asked_of(fellow), ANSWER)
    assert await task is ANSWER
    assert not first.outbox.cancels
    for n in range(3):
        await start(links)
        assert (first.outstanding, fellow.outstanding) == (0, n + 1)


@pytest.mark.parametrize("then", ["wrong too", "fails", "lost", "late"])
async def test_of_two_that_do_not_answer_no_third_is_asked(then: str) -> None:
    """Whatever the fellow says is the end; where it says nothing, what the first one said."""
    links = Links()
    task, _, fellow = await wronged(links)
    third = link(links, "c")
    if then == "wrong too":
        assert fellow.answer(asked_of(fellow), WRONG)
    elif then == "fails":
        fellow.answer(asked_of(fellow), ProviderFailed(ProviderUnavailable("its source is away"), "away"))
    elif then == "lost":
        links.detach(fellow)
    why = "its source is away" if then == "fails" else "a record type or digest not asked for"
    assert why in str(error_of(await task))
    assert not third.outbox.asks


async def test_what_has_effects_is_asked_once_where_it_was_answered() -> None:
    """However wrongly: the record may have been seen."""
    links = Links()
    task, _, fellow = await wronged(links, effect_key="key")
    assert "not asked for" in str(error_of(await task))
    assert not fellow.outbox.asks


async def test_a_place_that_a_wrong_answer_frees_is_free_at_once() -> None:
    """Whoever waits for it does not wait for the fellow too."""
    links = Links()
    first, fellow = link(links, "a", at_once=1), link(links, "b", at_once=2)
    tasks = [await start(links) for _ in range(3)]
    waits = await start(links)
    assert (first.outstanding, fellow.outstanding) == (1, 2)
    fellow.at_once = 3
    assert first.answer(asked_of(first), WRONG)
    first.outbox.asks.popleft()
    await asyncio.sleep(0.01)
    assert (first.outstanding, fellow.outstanding) == (1, 3), "and nobody is asked for more than it takes"
    for each in (first, fellow):
        for ask_id, *_ in list(each.outbox.asks):
            assert each.answer(ask_id, ANSWER)
    assert await asyncio.gather(*tasks, waits) == [ANSWER] * 4


async def test_a_wrong_answer_beside_a_fellow_that_is_asked_waits_for_it() -> None:
    """First silent, then wrong."""
    links = Links()
    task, silent, fellow = await doubted(links)
    assert silent.answer(asked_of(silent), WRONG)
    await asyncio.sleep(0.01)
    assert fellow.answer(asked_of(fellow), ANSWER)
    assert await task is ANSWER


async def test_time_runs_out_for_both() -> None:
    """At the question's own end, and both are told."""
    links = Links()
    task, *both = await doubted(links)
    assert isinstance(error_of(await task), ProviderTimeout)
    await asyncio.sleep(0)
    assert [(each.outstanding, list(each.outbox.cancels)) for each in both] == [(0, [1])] * 2


async def test_a_slow_adapter_is_no_silent_one() -> None:
    """It has answered somebody else meanwhile: its fellow is not given its work as well."""
    links = Links()
    slow = link(links, "a")
    tasks = [await start(links, 1.6) for _ in range(2)]
    fellow = link(links, "b")
    await asyncio.sleep(0.05)
    assert slow.answer(1, ANSWER)
    await asyncio.sleep(0.9)
    assert not fellow.outbox.asks
    assert slow.answer(2, ANSWER)
    assert await asyncio.gather(*tasks) == [ANSWER] * 2


@pytest.mark.parametrize(
    ("changes", "agency", "at_once"),
    [({"effect_key": "key"}, "cfrs", 10), ({"answered_by": ("nwas",)}, "nwas", 10), ({}, "cfrs", 0)],
    ids=["effects", "another agency", "no room"],
)
async def test_nobody_is_asked_beside_the_first(changes: dict[str, Any], agency: str, at_once: int) -> None:
    """Where viewing has effects, in another agency, or where there is no room."""
    links = Links()
    only = link(links, "a")
    task = asyncio.create_task(links.ask(replace(QUESTION, **changes), soon(1.2)))
    await asyncio.sleep(0)
    other = link(links, "b", agency=agency, at_once=at_once)
    await asyncio.sleep(0.7)
    assert only.outstanding == 1
    assert not other.outbox.asks
    assert isinstance(error_of(await task), ProviderTimeout)


async def doubted(links: Links, seconds: float = 1.0) -> tuple[asyncio.Task[object], Link, Link]:
    """A question whose first adapter has said nothing for half its time; that adapter, and its fellow."""
    silent = link(links, "a")
    task = await start(links, seconds)
    fellow = link(links, "b")
    async with asyncio.timeout(10):
        while not fellow.outstanding:  # noqa: ASYNC110 - a link tells nobody of what it is asked
            await asyncio.sleep(0.005)
    return task, silent, fellow


def asked_of(each: Link) -> int:
    """The id of the one question that waits to be written there."""
    ((ask_id, *_),) = each.outbox.asks
    return ask_id


async def test_a_requester_that_leaves_is_a_cancel() -> None:
    """And nothing stays owed."""
    links = Links()
    only = link(links)
    task = await start(links)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert list(only.outbox.cancels) == [1]
    assert not only.owes(1)


async def test_late_double_and_unasked_answers_count_for_nothing() -> None:
    """Only the first answer to an ask that is owed settles it."""
    links = Links()
    only = link(links)
    task = await start(links)
    assert only.answer(1, ANSWER)
    assert not only.answer(1, NotFound())
    assert not only.answer(99, ANSWER)
    assert await task is ANSWER
    assert not only.answer(1, ANSWER)
    assert isinstance(error_of(await links.ask(QUESTION, soon(0))), ProviderTimeout)
    assert not only.answer(2, ANSWER)


@pytest.mark.parametrize(
    "found",
    [
        Found(record_of("records.fire.v1.Other"), DIGEST, ()),
        Found(record_of(), "e" * 64, ()),
    ],
    ids=["type", "digest"],
)
async def test_an_answer_of_another_type_or_version_is_a_failure(found: Found) -> None:
    """It is not an answer to what was asked."""
    links = Links()
    only = link(links)
    task = await start(links)
    only.answer(1, found)
    assert isinstance(error_of(await task), ProviderUnavailable)


async def test_many_for_one_identifier_is_a_failure() -> None:
    """Only traits can fit more than one; anything else would be a way to probe."""
    links = Links()
    only = link(links)
    task = await start(links)
    ((ask_id, *_),) = only.outbox.asks
    assert only.answer(ask_id, ManyMatch(("phone",)))
    assert isinstance(error_of(await task), ProviderUnavailable)


@pytest.mark.parametrize("known_by", [(), (SubjectRef("uprn", "100062990002"),)], ids=["nobody", "another"])
async def test_a_record_that_is_not_said_to_be_about_who_was_asked_for_is_a_failure(
    known_by: tuple[SubjectRef, ...],
) -> None:
    """Whose directives would hold for it cannot be told."""
    links = Links()
    only = link(links)
    task = await start(links)
    ((ask_id, *_),) = only.outbox.asks
    assert only.answer(ask_id, Found(record_of(), DIGEST, known_by))
    assert isinstance(error_of(await task), ProviderUnavailable)


async def test_a_match_that_is_said_to_be_nobody_is_a_failure() -> None:
    """Asked by traits, the adapter must say who it found, or an objection would be walked round."""
    links = Links()
    link(links)
    asked = replace(
        QUESTION, request=replace(ask(), subject=None, query=Traits(family_name="Tyson", phone="1"))
    )
    task = asyncio.create_task(links.ask(asked, soon()))
    await asyncio.sleep(0)
    (only,) = links.of("cfrs")
    assert only.answer(1, Found(record_of(), DIGEST, ()))
    assert isinstance(error_of(await task), ProviderUnavailable)


async def test_a_settlement_goes_to_every_link_of_the_agency() -> None:
    """The adapter that was asked may have gone; its fellows share its state."""
    links = Links()
    ours, theirs = [link(links, "a"), link(links, "b")], link(links, agency="nwas")
    links.settle("cfrs", "key", released=True)
    assert [list(each.outbox.settled) for each in ours] == [[("key", True)]] * 2
    assert not theirs.outbox.settled
