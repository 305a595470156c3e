"""What the use cases promise holds at whichever step the store fails, whether or not that step had persisted.

Each scenario is run once to count its steps; then once for every step, failing before or after its effect, for
once or until the store is brought back; and then repeated, as a client repeats what had no answer.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from broker.core.directory import Agency
from broker.core.model import Request, SubjectRef
from broker.core.receipt import NOT_AT_HAND, Receipt, verify_receipt
from broker.core.record import Record
from broker.errors import (
    AuditUnavailable,
    BrokerError,
    Denied,
    NotAllowed,
    ProviderUnavailable,
    SubjectNotFound,
)
from broker.ports import Asked, Disclosed, NotFound, ProviderFailed
from tests.support.faults import Plan
from tests.support.stage import COUNCIL, SINCE, Stage, stage_of
from tests.support.world import ACTOR, LOOKING, OPERATOR, WATCHED

IMPLEMENTATIONS = ["memory", "postgres", pytest.param("external_postgres", marks=pytest.mark.long)]
FAILED = ProviderFailed(ProviderUnavailable("the provider's system could not answer"), "why, for auditors")
ENDS = ("disclosure", "refusal", "not-found", "provider-failure")


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each implementation in turn, furnished; every run asks about people of its own."""
    async with stage_of(request) as made:
        yield made


async def _under(stage: Stage, plan: Plan | None, act: Callable[[], Awaitable[object]]) -> object:
    """What came of it, an error of ours included."""
    stage.faults.arm(plan)
    try:
        return await act()
    except BrokerError as e:
        return e
    finally:
        stage.faults.heal()


def _plans(stage: Stage) -> list[Plan]:
    """Every way in which a walk of so many steps as the last one can be failed."""
    steps = range(len(stage.faults.steps))
    assert steps
    return [Plan(*each) for each in itertools.product(steps, (False, True), (False, True))]


# Requests.


async def _nothing_said(stage: Stage, request: Request) -> None:
    stage.finds(request)


async def _objected(stage: Stage, request: Request) -> None:
    """Nobody has said anything to this agreement but that person."""
    stage.finds(request)
    assert request.subject is not None
    await stage.said.add(COUNCIL, request.subject, stage.objection(), ACTOR)


async def _holds_nothing(stage: Stage, request: Request) -> None:
    stage.providers.answers(NotFound())


async def _is_down(stage: Stage, request: Request) -> None:
    stage.providers.answers(FAILED)


@dataclass(frozen=True)
class Course:
    """A request that ends as `event` in the log; `binds` says whether its id is used up by that."""

    given: Callable[[Stage, Request], Awaitable[None]]
    event: str
    ends: type
    binds: bool = True
    record_type: str = ""

    def request(self, stage: Stage) -> Request:
        """A request about somebody nobody has heard of."""
        return stage.asks(**({"record_type": self.record_type} if self.record_type else {}))


COURSES = {
    "a permit": Course(_nothing_said, "disclosure", Disclosed),
    "a permit with effects": Course(_nothing_said, "disclosure", Disclosed, record_type=WATCHED),
    "a refusal": Course(_objected, "refusal", Denied),
    "not found": Course(_holds_nothing, "not-found", SubjectNotFound),
    "a provider's failure": Course(_is_down, "provider-failure", ProviderUnavailable, binds=False),
}


@pytest.mark.parametrize("name", COURSES)
async def test_a_request_keeps_its_promises_wherever_the_store_fails(stage: Stage, name: str) -> None:
    """No release without evidence, one entry for a request id, the same receipt on a repeat, and nothing but
    AuditUnavailable for what the store could not do; a viewing has one effect key however often it is tried."""
    course = COURSES[name]
    request = course.request(stage)
    await course.given(stage, request)
    whole = await _under(stage, None, lambda: stage.exchange.answer(request))
    assert isinstance(whole, course.ends)
    lost = persisted = 0
    for plan in _plans(stage):
        request = course.request(stage)
        await course.given(stage, request)
        stage.providers.asked.clear()
        before = await stage.size()
        first = await _under(stage, plan, lambda r=request: stage.exchange.answer(r))
        if stage.faults.missed:
            continue
        stands = _ends_of(await stage.since(before), request)
        if isinstance(first, AuditUnavailable):
            lost, persisted = lost + 1, persisted + len(stands)
        else:
            assert stands, f"{plan}: an answer without evidence"
            _is_answer(stage, course, first, fresh=True)
        _at_most_one(stands, course, plan)
        await _is_repeated(stage, course, request, first, before, plan)
    assert lost
    assert persisted, "no step was lost after it had persisted"


def _ends_of(fulls: list[dict[str, Any]], request: Request) -> list[str]:
    """The events by which a request came to its end, from these entries."""
    mine = [full["event"] for full in fulls if full["request_id"] == request.request_id]
    assert mine.count("intent") <= 1
    return [event for event in mine if event in ENDS]


def _at_most_one(stands: list[str], course: Course, plan: Plan) -> None:
    assert stands in ([], [course.event]), plan


def _is_answer(stage: Stage, course: Course, answer: object, *, fresh: bool) -> Receipt:
    """The end that this course has, with a receipt that verifies; a record only where it is fresh."""
    assert isinstance(answer, course.ends), answer
    receipt: Any = getattr(answer, "receipt", None)
    assert receipt is not None, answer
    record: Record | None = getattr(answer, "record", None)
    held = record if fresh else NOT_AT_HAND
    view = verify_receipt(receipt, [stage.signer.verifier], record=held).view
    assert view is not None
    assert view.event == course.event
    assert answer.replayed is not fresh  # type: ignore[attr-defined]
    assert (record is not None) == (fresh and course.event == "disclosure")
    return receipt


async def _is_repeated(
    stage: Stage, course: Course, request: Request, first: object, before: int, plan: Plan
) -> None:
    """The same request, twice more: answered, from the log where its end stands already."""
    stood = bool(_ends_of(await stage.since(before), request)) and course.binds
    receipts = [first.receipt] if stood and getattr(first, "receipt", None) else []  # type: ignore[attr-defined]
    for n in range(2):
        answer = await _under(stage, None, lambda: stage.exchange.answer(request))
        fresh = not course.binds or not (stood or n)
        receipts.append(_is_answer(stage, course, answer, fresh=fresh))
    if course.binds:
        assert len({(r.index, r.entry) for r in receipts}) == 1, plan
        assert _ends_of(await stage.since(before), request) == [course.event], plan
    keys = {question.effect_key for question, _ in stage.providers.asked}
    assert len(keys) <= 1, plan
    assert bool(course.record_type) == bool(keys - {""}), plan


# Changes.


@dataclass(frozen=True)
class Errand:
    """A change that somebody makes. `stands` says whether it is in force; a repeat may be `told` that it is."""

    given: Callable[[Stage], Awaitable[Any]]
    act: Callable[[Stage, Any], Awaitable[object]]
    event: str
    stands: Callable[[Stage, Any], Awaitable[bool]]
    told: tuple[type[BrokerError], ...] = ()


async def _somebody(stage: Stage) -> SubjectRef:
    return stage.person()


async def _protected(stage: Stage, subject: SubjectRef) -> bool:
    return subject in (await stage.facts.read(Asked((subject,), "nwas/cad", ()))).directives


async def _object(stage: Stage, subject: SubjectRef) -> object:
    return await stage.said.add(COUNCIL, subject, stage.objection(), ACTOR)


async def _said_before(stage: Stage) -> tuple[SubjectRef, str]:
    subject, directive = stage.person(), stage.objection()
    await stage.said.add(COUNCIL, subject, directive, ACTOR)
    return subject, directive.id


async def _lift(stage: Stage, made: tuple[SubjectRef, str]) -> object:
    return await stage.said.withdraw_one(COUNCIL, made[1], ACTOR)


async def _lifted(stage: Stage, made: tuple[SubjectRef, str]) -> bool:
    return not await _protected(stage, made[0])


async def _an_agency(stage: Stage) -> Agency:
    name = f"x{stage.person().value}"
    return Agency(name, name, "fire", "england", SINCE)


async def _add(stage: Stage, agency: Agency) -> object:
    return await stage.registry.add_agency(OPERATOR, agency)


async def _added(stage: Stage, agency: Agency) -> bool:
    return agency.id in (await stage.reference.refresh()).agencies


async def _look(stage: Stage, subject: SubjectRef) -> object:
    return await stage.said.of_own(COUNCIL, subject, ACTOR, LOOKING)


async def _looked(stage: Stage, subject: SubjectRef) -> bool:
    last = (await stage.since(max(0, await stage.size() - 1)))[-1]
    return last["event"] == "directives-viewed" and last["detail"]["subject"]["value"] == subject.value


ERRANDS = {
    "an objection": Errand(_somebody, _object, "directive-recorded", _protected),
    "a withdrawal": Errand(_said_before, _lift, "directive-withdrawn", _lifted, (NotAllowed,)),
    "an agency": Errand(_an_agency, _add, "agency-added", _added),
    "a look": Errand(_somebody, _look, "directives-viewed", _looked),
}


@pytest.mark.parametrize("name", ERRANDS)
async def test_a_change_stands_with_its_entry_or_not_at_all(stage: Stage, name: str) -> None:
    """Wherever the store fails: in force exactly where the log says so, an answer only where it is, otherwise
    AuditUnavailable; and once the store is back, trying again leaves it in force."""
    errand = ERRANDS[name]
    assert not isinstance(await _run(stage, errand, await errand.given(stage), None), BrokerError)
    lost = persisted = 0
    for plan in _plans(stage):
        about = await errand.given(stage)
        before = await stage.size()
        answer = await _run(stage, errand, about, plan)
        if stage.faults.missed:
            continue
        entries = [full["event"] for full in await stage.since(before)]
        assert entries in ([], [errand.event]), plan
        assert await errand.stands(stage, about) == bool(entries), plan
        if isinstance(answer, BrokerError):
            assert isinstance(answer, AuditUnavailable), plan
            lost, persisted = lost + 1, persisted + len(entries)
        else:
            assert entries, f"{plan}: an answer without evidence"
        answer = await _run(stage, errand, about, None)
        assert not isinstance(answer, BrokerError) or (entries and isinstance(answer, errand.told)), plan
        assert await errand.stands(stage, about), plan
    assert lost
    assert persisted, "no step was lost after it had persisted"


async def _run(stage: Stage, errand: Errand, about: Any, plan: Plan | None) -> object:
    return await _under(stage, plan, lambda: errand.act(stage, about))
