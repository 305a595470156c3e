"""One request from its parsing to its answer: evidence first, whatever happens on the way."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from broker.core.model import SubjectRef, Traits
from broker.core.receipt import verify_receipt
from broker.core.record import Record
from broker.core.views import RequesterView
from broker.errors import (
    Ambiguous,
    AuditUnavailable,
    BrokerError,
    Denied,
    InvalidRequest,
    ProviderTimeout,
    ProviderUnavailable,
    SubjectNotFound,
    Unsettled,
)
from broker.ports import Asked, Facts, ManyMatch, NotFound, ProviderFailed
from records.fire.v1 import premises_risk_pb2
from tests.support.memory import FakeClock, Kept, all_texts
from tests.support.values import replace
from tests.support.world import (
    HOME,
    OTHER_HOME,
    PERMITTED,
    RISK,
    SECRET,
    WATCHED,
    World,
    ask,
    flow,
    record_of,
    said,
)

FAILED = ProviderFailed(ProviderUnavailable("the provider's system could not answer"), "why, for auditors")


@pytest.fixture
async def world() -> World:
    """A world with one agreement and a provider that has the record."""
    made = World()
    made.agree()
    await made.ready()
    made.providers.answers(made.found())
    made.store.calls.clear()
    return made


def last(world: World) -> Kept:
    """The newest entry."""
    return world.store.entries[-1]


async def refused(world: World, code: str, **changes: object) -> Denied:
    """Ask, and be refused with this code."""
    with pytest.raises(Denied) as caught:
        await world.exchange.answer(ask(**changes))
    assert caught.value.refusal.code == code
    return caught.value


async def test_a_permit_is_read_decided_asked_committed_and_then_answered(world: World) -> None:
    """The order of calls is the promise: the append is the last thing before the answer."""
    disclosed = await world.exchange.answer(ask())
    assert world.store.calls == ["read", "ask", "append disclosure"]
    assert disclosed.record is not None
    released = premises_risk_pb2.PremisesRisk.FromString(disclosed.record.value)
    assert (released.uprn, released.crew_notes) == (HOME.value, "")
    assert SECRET.encode() not in disclosed.record.value
    assert {w.path for w in disclosed.withheld}.isdisjoint(PERMITTED)
    verified = verify_receipt(disclosed.receipt, [world.store.signer.verifier], record=disclosed.record)
    assert verified.view is not None
    assert verified.view.outcome == "permit"


ENDS: list[tuple[str, Callable[[World], object], type[BrokerError] | None, str]] = [
    ("permit", lambda w: w.found(), None, "disclosure"),
    ("not found", lambda w: NotFound(), SubjectNotFound, "not-found"),
    ("ambiguous", lambda w: ManyMatch(("birth_date",)), Ambiguous, "refusal"),
    ("failure", lambda w: FAILED, ProviderUnavailable, "provider-failure"),
    (
        "timeout",
        lambda w: ProviderFailed(ProviderTimeout("the provider did not answer in time"), "timed out"),
        ProviderTimeout,
        "provider-failure",
    ),
    (
        "fields its type lacks",
        lambda w: w.found(record=replace(record_of(), value=record_of().value + b"\xfa\x3e\x01x")),
        ProviderUnavailable,
        "provider-failure",
    ),
    (
        "garbage",
        lambda w: w.found(record=Record(record_of().type_url, b"\xff\xff\xff")),
        ProviderUnavailable,
        "provider-failure",
    ),
]


@pytest.mark.parametrize(("answer", "error", "event"), [e[1:] for e in ENDS], ids=[e[0] for e in ENDS])
async def test_every_end_is_an_entry_and_carries_its_receipt(
    world: World, answer: Callable[[World], object], error: type[BrokerError] | None, event: str
) -> None:
    """Permit, not found, ambiguity and failure alike stand in the log before anybody hears of them."""
    world.providers.answers(answer(world))  # type: ignore[arg-type]
    if error is None:
        receipt = (await world.exchange.answer(ask())).receipt
    else:
        with pytest.raises(error) as caught:
            await world.exchange.answer(ask())
        assert caught.value.receipt is not None
        receipt = caught.value.receipt
    assert world.store.events == [event]
    assert receipt.entry == last(world).sealed.entry
    assert last(world).draft.full["consulted"] is True


async def test_a_refusal_is_an_entry_and_asks_nobody(world: World) -> None:
    """Refusals are evidence too; the provider hears nothing of them."""
    error = await refused(world, "role", actor=replace(ask().actor, role="visitor"))
    assert error.receipt is not None
    assert world.store.calls == ["read", "append refusal"]
    assert last(world).draft.provider is None
    assert last(world).draft.full["consulted"] is False


async def test_no_append_no_release(world: World) -> None:
    """When evidence cannot be committed nothing leaves, and the adapter's record is forgotten."""
    world.store.log.fail = 1
    with pytest.raises(AuditUnavailable) as caught:
        await world.exchange.answer(ask())
    assert caught.value.receipt is None
    assert world.store.entries == []


async def test_failed_but_persisted_is_replayed_without_record(world: World) -> None:
    """A commit of unknown fate is found by its request id: the receipt comes, the record does not."""
    request = ask()
    world.store.log.fail_after_commit = 1
    with pytest.raises(AuditUnavailable):
        await world.exchange.answer(request)
    again = await world.exchange.answer(request)
    assert (again.replayed, again.record) == (True, None)
    assert again.receipt.entry == world.store.entries[0].sealed.entry
    assert len(world.store.entries) == 1
    assert len(world.providers.asked) == 1


async def test_a_repeat_gives_the_same_entry_index_and_opening(world: World) -> None:
    """A replay is the first answer's evidence under a newer checkpoint."""
    request = ask()
    first = await world.exchange.answer(request)
    await world.exchange.answer(ask())
    again = await world.exchange.answer(request)
    assert again.replayed
    assert (again.receipt.entry, again.receipt.index) == (first.receipt.entry, first.receipt.index)
    assert again.receipt.opening == first.receipt.opening
    assert again.decision.agreement == first.decision.agreement
    await world.exchange.answer(replace(request, timeout=9.0, traceparent=f"00-{'a' * 32}-{'b' * 16}-01"))


async def test_a_refusal_is_replayed_as_a_refusal(world: World) -> None:
    """The repeat of a refused request is refused in the same words, marked as replayed."""
    request = ask(actor=replace(ask().actor, role="visitor"))
    words = []
    for _ in range(2):
        with pytest.raises(Denied) as caught:
            await world.exchange.answer(request)
        words.append((caught.value.refusal, caught.value.replayed))
    assert words[0][0] == words[1][0]
    assert [replayed for _, replayed in words] == [False, True]


async def test_a_not_found_is_replayed_as_not_found(world: World) -> None:
    """Its id is bound, and the provider is not asked twice."""
    world.providers.answers(NotFound())
    request = ask()
    for _ in range(2):
        with pytest.raises(SubjectNotFound) as caught:
            await world.exchange.answer(request)
    assert caught.value.replayed
    assert len(world.providers.asked) == 1


OTHERWISE: list[dict[str, object]] = [
    {"subject": OTHER_HOME},
    {"purpose": "safeguarding-adult"},
    {"actor": replace(ask().actor, id="b.dale")},
    {"incident": "nwas/2026-11-21/1"},
]


@pytest.mark.parametrize("change", OTHERWISE)
async def test_an_id_is_never_used_for_something_else(world: World, change: dict[str, object]) -> None:
    """The same id with other content is bad input, not a new request."""
    request = ask()
    await world.exchange.answer(request)
    with pytest.raises(InvalidRequest) as caught:
        await world.exchange.answer(replace(request, **change))  # type: ignore[arg-type]
    assert caught.value.field == "request_id"


async def test_a_provider_failure_does_not_bind_the_id(world: World) -> None:
    """The client may repeat under the same id until the provider answers."""
    world.providers.answers(FAILED, world.found())
    request = ask()
    with pytest.raises(ProviderUnavailable):
        await world.exchange.answer(request)
    disclosed = await world.exchange.answer(request)
    assert disclosed.record is not None
    assert not disclosed.replayed


async def test_retry_of_names_a_request_of_this_system_that_ended_and_asked_the_same(world: World) -> None:
    """A retry under a new id gets the record again; anything else it names is bad input."""
    first = ask()
    await world.exchange.answer(first)
    retry = replace(first, request_id=str(uuid.uuid4()), retry_of=first.request_id)
    again = await world.exchange.answer(retry)
    assert again.record is not None
    for wrong in (
        replace(retry, request_id=str(uuid.uuid4()), retry_of=str(uuid.uuid4())),
        replace(retry, request_id=str(uuid.uuid4()), subject=OTHER_HOME),
        replace(retry, request_id=str(uuid.uuid4()), system="tablet"),
        replace(first, retry_of=str(uuid.uuid4())),
    ):
        with pytest.raises(InvalidRequest):
            await world.exchange.answer(wrong)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("record_type", {"record_type": "records.fire.v1.Nothing"}),
        ("provider", {"provider": "nobody"}),
        ("purpose", {"purpose": "curiosity"}),
    ],
)
async def test_words_without_meaning_are_bad_input_and_no_entry(
    world: World, field: str, change: dict[str, object]
) -> None:
    """An unknown record type, provider or purpose is told by field and is not a decision."""
    with pytest.raises(InvalidRequest) as caught:
        await world.exchange.answer(ask(**change))
    assert caught.value.field == field
    assert world.store.entries == []


# What overtakes a decision between the asking and the append.


def before_append(world: World, *events: Callable[[], object] | None) -> None:
    """Each event happens just before one append."""

    def awaited(event: Callable[[], object]) -> Callable[[], Awaitable[object]]:
        async def run() -> object:
            return event()

        return run

    world.store.log.overtaken_by = [awaited(e) if e else None for e in events]


async def test_an_objection_that_comes_before_the_append_is_honoured(world: World) -> None:
    """The record in memory is dropped, and the refusal says that the provider was consulted."""
    before_append(world, lambda: world.say(HOME, said("objection")))
    await refused(world, "person")
    assert world.store.events == ["refusal"]
    assert last(world).draft.full["consulted"] is True
    assert len(world.providers.asked) == 1


async def test_a_withdrawal_of_the_required_consent_is_honoured_up_to_the_append() -> None:
    """A permit on a consent that is withdrawn meanwhile never gets into the log."""
    world = World()
    world.agree(directives={"weight": "required", "recorders": ["cumberland"]})
    consent = world.say(HOME, said("consent"))
    await world.ready()
    world.providers.answers(world.found())

    def withdraw() -> None:
        world.store.withdrawn.add(consent.id)
        world.store.moved(f"subject:{HOME.scheme}|{HOME.value}")

    assert (await world.exchange.answer(ask())).record is not None
    before_append(world, withdraw)
    await refused(world, "person")


async def test_a_system_suspended_before_the_append_gets_nothing(world: World) -> None:
    """Suspension holds for what is under way, and the consultation still stands in the log."""
    before_append(world, lambda: world.put_system("nwas", "cad", suspended=True))
    await refused(world, "party")
    assert last(world).draft.full["consulted"] is True


async def test_a_suspended_system_is_refused_before_anybody_is_asked(world: World) -> None:
    """Also where the edge had let it in a moment before."""
    world.put_system("nwas", "cad", suspended=True)
    await refused(world, "party")
    assert world.providers.asked == []


async def test_another_agreement_than_the_provider_checked_releases_nothing(world: World) -> None:
    """The adapter agreed to version 1; what version 2 would release was never put to it."""
    before_append(world, lambda: world.agree(version=2, flows=[flow(permitted=["uprn"])]))
    with pytest.raises(ProviderUnavailable, match="agreement changed"):
        await world.exchange.answer(ask())
    assert world.store.events == ["provider-failure"]


async def test_fewer_fields_are_redacted_again(world: World) -> None:
    """The same agreement with fewer fields: what is released is what is permitted at the append."""
    narrowed = [flow(permitted=["uprn"])]
    before_append(world, lambda: world.agree(flows=narrowed))
    disclosed = await world.exchange.answer(ask())
    assert disclosed.record is not None
    assert disclosed.record.value == premises_risk_pb2.PremisesRisk(uprn=HOME.value).SerializeToString()
    assert len(world.providers.asked) == 1


async def test_what_keeps_changing_is_given_up_after_three_tries(world: World) -> None:
    """No endless loop: three appends, no entry, and an error that says so."""
    before_append(world, *[lambda: world.store.moved("agency:cfrs")] * 3)
    with pytest.raises(Unsettled):
        await world.exchange.answer(ask())
    assert world.store.calls.count("append disclosure") == 3
    assert world.store.entries == []


async def test_a_decision_past_its_end_is_decided_again(world: World) -> None:
    """An agreement that ends between the decision and the append permits nothing any more."""
    world.agree(version=2, valid_until=world.clock.now().date())
    before_append(world, lambda: world.clock.advance(14 * 3600))
    await refused(world, "agreement")


async def test_a_request_that_another_worker_ended_meanwhile_is_replayed(world: World) -> None:
    """Two workers with one request id: one entry, and the loser gives back the winner's evidence."""
    request = ask()
    other: list[object] = []

    async def meanwhile() -> None:
        other.append(await world.exchange.answer(request))

    world.store.log.overtaken_by = [meanwhile]
    disclosed = await world.exchange.answer(request)
    assert disclosed.replayed
    assert disclosed.record is None
    assert world.store.events == ["disclosure"]
    assert len(other) == 1


@pytest.mark.parametrize("change", OTHERWISE)
async def test_an_id_that_another_worker_took_meanwhile_for_something_else(
    world: World, change: dict[str, object]
) -> None:
    """Bad input, and never the other request's evidence."""
    request = ask()

    async def meanwhile() -> None:
        with suppress(Denied):
            await world.exchange.answer(replace(request, **change))  # type: ignore[arg-type]

    world.store.log.overtaken_by = [meanwhile]
    with pytest.raises(InvalidRequest) as caught:
        await world.exchange.answer(request)
    assert caught.value.field == "request_id"
    assert caught.value.receipt is None
    assert len(world.store.events) == 1


# Identifiers the provider knows the person by.


@pytest.mark.parametrize("found", [True, False], ids=["found", "not found"])
async def test_an_objection_under_another_identifier_refuses_before_release(world: World, found: bool) -> None:
    """Whoever objected under one number is not found by another, nor said to be absent."""
    world.say(OTHER_HOME, said("objection"))
    world.providers.answers(world.found(RISK, OTHER_HOME) if found else NotFound((OTHER_HOME,)))
    error = await refused(world, "person")
    assert error.receipt is not None
    assert last(world).draft.full["consulted"] is True


async def test_an_objection_under_another_identifier_is_seen_at_the_append_too(world: World) -> None:
    """The keys of learnt identifiers are among what the append checks."""
    world.providers.answers(world.found(RISK, OTHER_HOME))
    before_append(world, lambda: world.say(OTHER_HOME, said("restriction")))
    await refused(world, "person")


async def test_a_consent_under_another_identifier_permits_nothing() -> None:
    """Links carry restrictions, never consent."""
    world = World()
    world.agree(directives={"weight": "required", "recorders": ["cumberland"]})
    world.say(OTHER_HOME, said("consent"))
    await world.ready()
    world.providers.answers(world.found(RISK, OTHER_HOME))
    await refused(world, "person")
    assert world.providers.asked == []


# Time.


@pytest.mark.parametrize("timeout", [0.1, 0.25, 0.3, 5.0, 30.0])
async def test_the_provider_has_most_of_the_callers_time(world: World, timeout: float) -> None:
    """A margin is kept for the append and the way home, and never more than a quarter of what there is."""
    started = world.clock.loop_time()
    await world.exchange.answer(ask(timeout=timeout))
    _, deadline = world.providers.asked[0]
    assert started + timeout * 0.74 <= deadline < started + timeout


# Going away.


async def test_cancelled_before_the_append_leaves_no_entry(world: World) -> None:
    """Nothing was released, so there is nothing to prove."""
    asked = asyncio.Event()

    async def never(_: object) -> NotFound:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    world.providers.script = never
    task = asyncio.create_task(world.exchange.answer(ask()))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.store.entries == []


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_cancelled_during_the_append_it_is_seen_through(world: World, times: int) -> None:
    """However often it is cancelled, what was sent to be committed ends as the log says it ended."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def gate() -> None:
        reached.set()
        await go_on.wait()

    world.store.log.gate = gate
    request = ask()
    task = asyncio.create_task(world.exchange.answer(request))
    world.acknowledgements.undelivered(request, task)
    await reached.wait()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    world.store.log.gate = None
    go_on.set()
    assert (await task).record is not None
    await world.acknowledgements.drain()
    assert world.store.events == ["disclosure", "undelivered"]
    assert last(world).draft.full["detail"] == {"request_id": request.request_id}


async def test_cancelled_during_an_append_that_is_given_back_it_ends(world: World) -> None:
    """Nothing is decided again for somebody who has left."""
    task: asyncio.Task[object] | None = None

    def leave() -> None:
        assert task is not None
        task.cancel()
        world.store.moved("agency:cfrs")

    before_append(world, leave)
    task = asyncio.create_task(world.exchange.answer(ask()))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.store.entries == []


# Record types whose viewing has effects.


@pytest.fixture
async def watched(world: World) -> World:
    """The same world with a record type whose viewing somebody is told of."""
    world.agree(id="nwas-cfrs-watched", flows=[flow(record_type=WATCHED)])
    await world.ready()
    world.providers.answers(world.found(WATCHED))
    return world


async def test_an_intent_stands_before_the_provider_hears_of_it(watched: World) -> None:
    """Its id is the effect key, and the provider is told how it ended."""
    await watched.exchange.answer(ask(record_type=WATCHED))
    assert watched.store.calls == ["read", "append intent", "ask", "append disclosure"]
    key = watched.store.entries[0].draft.id
    assert [q.effect_key for q, _ in watched.providers.asked] == [key]
    assert watched.providers.settled == [("cfrs", key, True)]
    assert watched.store.entries[0].draft.requester.outcome is None  # type: ignore[union-attr]


async def test_without_its_intent_nobody_is_asked(watched: World) -> None:
    """An intent that cannot be committed, and one that an objection overtakes, end it there."""
    watched.store.log.fail = 1
    with pytest.raises(AuditUnavailable):
        await watched.exchange.answer(ask(record_type=WATCHED))
    before_append(watched, lambda: watched.say(HOME, said("objection")))
    await refused(watched, "person", record_type=WATCHED)
    assert watched.providers.asked == []
    assert watched.store.events == ["refusal"]
    assert watched.providers.settled == []


async def test_the_effect_key_is_one_for_repeats_and_retries(watched: World) -> None:
    """A social worker is told once: a repeat after a failure and a retry under a new id carry the first key."""
    watched.providers.answers(FAILED, watched.found(WATCHED))
    first = ask(record_type=WATCHED)
    with pytest.raises(ProviderUnavailable):
        await watched.exchange.answer(first)
    await watched.exchange.answer(first)
    second = replace(first, request_id=str(uuid.uuid4()), retry_of=first.request_id)
    await watched.exchange.answer(second)
    third = replace(second, request_id=str(uuid.uuid4()), retry_of=second.request_id)
    await watched.exchange.answer(third)
    keys = {q.effect_key for q, _ in watched.providers.asked}
    assert keys == {watched.store.entries[0].draft.id}
    assert [released for _, _, released in watched.providers.settled] == [False, True, True, True]
    assert watched.store.events.count("intent") == 3  # one for each request id


async def test_the_same_request_at_two_workers_has_one_effect(watched: World) -> None:
    """The second intent is given back, and its request goes on under the first one's key."""
    request = ask(record_type=WATCHED)

    async def meanwhile() -> None:
        watched.providers.answers(FAILED, watched.found(WATCHED))
        with pytest.raises(ProviderUnavailable):
            await watched.exchange.answer(request)

    watched.store.log.overtaken_by = [meanwhile]
    await watched.exchange.answer(request)
    assert len({q.effect_key for q, _ in watched.providers.asked}) == 1
    assert watched.store.events == ["intent", "provider-failure", "disclosure"]


async def test_a_provider_that_was_asked_is_told_that_nothing_was_released(watched: World) -> None:
    """After a refusal on the way, after three tries, and after the requester has left."""
    before_append(watched, None, lambda: watched.say(OTHER_HOME, said("objection")))
    watched.providers.answers(watched.found(WATCHED, OTHER_HOME))
    await refused(watched, "person", record_type=WATCHED)
    watched.providers.answers(watched.found(WATCHED))
    before_append(watched, None, *[lambda: watched.store.moved("agency:cfrs")] * 3)
    with pytest.raises(Unsettled):
        await watched.exchange.answer(ask(record_type=WATCHED))

    async def leave(_: object) -> NotFound:
        raise asyncio.CancelledError

    watched.providers.script = leave
    with pytest.raises(asyncio.CancelledError):
        await watched.exchange.answer(ask(record_type=WATCHED))
    assert [released for _, _, released in watched.providers.settled] == [False, False, False]


# What is kept back for the person's sake.


async def test_what_is_withheld_says_nothing_of_a_safe_contact() -> None:
    """The list is of type and agreement only; the record lacks what says how to reach somebody."""
    lists, records = [], []
    for words in ((), (said("safe-contact"),)):
        world = World()
        permitted = ["uprn", "oxygen.state", "oxygen.kind", "access.state", "access.directions"]
        legal = {"basis": "art6-1-e", "condition": "art9-2-g-sch1-para18"}
        world.agree(flows=[flow(permitted=permitted)], purpose="safeguarding-adult", legal=legal)
        await world.ready()
        for each in words:
            world.say(HOME, each)
        world.providers.answers(world.found())
        disclosed = await world.exchange.answer(ask(purpose="safeguarding-adult"))
        assert disclosed.record is not None
        lists.append(disclosed.withheld)
        records.append(premises_risk_pb2.PremisesRisk.FromString(disclosed.record.value).uprn)
    assert lists[0] == lists[1]
    assert records == [HOME.value, ""]


# Neither confirm nor deny.

SILENT: list[tuple[str, Callable[[World], object]]] = [
    ("absent", lambda w: w.providers.answers(NotFound())),
    ("absent, other number", lambda w: w.providers.answers(NotFound((OTHER_HOME,)))),
    ("refused", lambda w: w.say(HOME, said("refusal"))),
    ("conflicted", lambda w: w.say(HOME, said("staff-conflict", actors=frozenset({ask().actor.id})))),
    ("protected", lambda w: w.say(HOME, said("protected-identity"))),
    (
        "referred",
        lambda w: [
            w.say(HOME, said(kind, standing="parental-responsibility", speaker=who))
            for kind, who in (("consent", "mother"), ("objection", "father"))
        ],
    ),
    ("restricted", lambda w: w.say(HOME, said("restriction"))),
    (
        "protected under another number",
        lambda w: (
            w.say(OTHER_HOME, said("objection")),
            w.providers.answers(w.found(w.record_type, OTHER_HOME)),  # type: ignore[attr-defined]
        ),
    ),
    ("failed", lambda w: w.providers.answers(FAILED)),
    ("ambiguous", lambda w: w.providers.answers(ManyMatch(("birth_date",)))),
    ("slow", lambda w: setattr(w.providers, "takes", 20.0)),
    ("garbage", lambda w: w.providers.answers(w.found(record=Record(record_of().type_url, b"\xff")))),
]


async def silent(record_type: str, case: Callable[[World], object], moving: bool = False) -> dict[str, object]:
    """Everything a requester can tell of one silent answer."""
    world = World()
    world.record_type = record_type  # type: ignore[attr-defined]
    world.agree(
        ncnd=True,
        flows=[flow(record_type=record_type)],
        directives={"weight": "respected", "recorders": ["cumberland"]},
    )
    await world.ready()
    world.providers.answers(world.found(record_type))
    case(world)
    if moving:
        before_append(world, *[lambda: world.store.moved(f"subject:{HOME.scheme}|{HOME.value}")] * 9)
    request = ask(record_type=record_type)
    with pytest.raises(BrokerError) as caught:
        await world.exchange.answer(request)
    error = caught.value
    assert isinstance(error, Denied)
    assert error.receipt is not None
    assert error.receipt.opening is not None
    view = RequesterView.parse(error.receipt.opening.view)
    shown = [
        {**kept.draft.requester.as_json(), "request_id": ""}
        for kept in world.store.entries
        if kept.draft.requester
    ]
    first = world.clock.seconds
    with pytest.raises(Denied) as again:
        await world.exchange.answer(request)
    return {
        "type": type(error),
        "refusal": error.refusal,
        "view": replace(view, request_id=""),
        "entries": shown,
        "bytes": len(error.receipt.opening.view),
        "seconds": first,
        "again": (type(again.value), again.value.refusal, again.value.replayed),
    }


@pytest.mark.parametrize("record_type", [RISK, WATCHED])
@pytest.mark.parametrize("moving", [False, True], ids=["still", "while directives change"])
@pytest.mark.parametrize("case", [c[1] for c in SILENT], ids=[c[0] for c in SILENT])
async def test_under_ncnd_every_silence_is_the_same(
    record_type: str, moving: bool, case: Callable[[World], object]
) -> None:
    """Absent, refused, protected, conflicted, referred, failed, ambiguous: the same words, entries, moment."""
    one = await silent(record_type, case, moving)
    assert one == await silent(record_type, SILENT[0][1])
    assert one["refusal"].code == "no-answer"  # type: ignore[attr-defined]
    assert one["seconds"] == pytest.approx(1.05)


@pytest.mark.parametrize("case", [c[1] for c in SILENT], ids=[c[0] for c in SILENT])
async def test_under_ncnd_the_time_in_the_entry_says_nothing(case: Callable[[World], object]) -> None:
    """Asked just before a second is full, of a slow provider: each entry has the second of asking."""
    world = World(clock=FakeClock(datetime(2026, 11, 21, 10, 0, 0, 950_000, tzinfo=UTC)))
    world.record_type = RISK  # type: ignore[attr-defined]
    world.agree(ncnd=True)
    await world.ready()
    world.providers.takes = 0.1
    world.providers.answers(world.found())
    case(world)
    await refused(world, "no-answer")
    assert last(world).draft.at.replace(microsecond=0) == datetime(2026, 11, 21, 10, tzinfo=UTC)


async def test_under_ncnd_the_auditor_still_sees_why() -> None:
    """What is hidden from the requester stands in the full view."""
    world = World()
    world.agree(ncnd=True)
    world.say(HOME, said("objection"))
    await world.ready()
    await refused(world, "no-answer")
    full = last(world).draft.full
    assert full["refused"]["code"] == "person"  # type: ignore[index,call-overload]
    assert any(str(r).startswith("person.not-against refuse: ") for r in full["rules"])  # type: ignore[union-attr]


async def test_under_ncnd_what_does_not_depend_on_the_person_is_said_plainly() -> None:
    """A wrong role is wrong for everybody, so nothing is betrayed by saying so at once."""
    world = World()
    world.agree(ncnd=True)
    await world.ready()
    await refused(world, "role", actor=replace(ask().actor, role="visitor"))
    assert world.clock.seconds == 0.0


async def test_under_ncnd_a_record_is_released() -> None:
    """The agreement still does what it is for."""
    world = World()
    world.agree(ncnd=True)
    await world.ready()
    world.providers.answers(world.found())
    assert (await world.exchange.answer(ask())).record is not None


# What a requester may see.


@pytest.mark.parametrize("case", [c[1] for c in SILENT], ids=[c[0] for c in SILENT])
@pytest.mark.parametrize("ncnd", [False, True], ids=["open", "ncnd"])
async def test_the_requesters_view_holds_no_identifiers_words_or_finer_rules(
    case: Callable[[World], object], ncnd: bool
) -> None:
    """Over every end there is: nothing of the person, of the actor's words, or of how it was decided."""
    world = World()
    world.record_type = RISK  # type: ignore[attr-defined]
    world.agree(ncnd=ncnd, flows=[flow(queries=True)])
    await world.ready()
    world.providers.answers(world.found())
    case(world)
    words = "the neighbour rang about Mr Tyson"
    request = ask(reason=replace(ask().reason, code="welfare", words=words))
    query = replace(request, request_id=str(uuid.uuid4()), subject=None, query=Traits("Tyson", "Joss"))
    for each in (request, query):
        with pytest.raises(BrokerError):
            await world.exchange.answer(each)
    for kept in world.store.entries:
        assert kept.draft.requester is not None
        text = " ".join(all_texts(kept.draft.requester.as_json()))
        for hidden in (
            HOME.value,
            OTHER_HOME.value,
            "person.word",
            "neighbour",
            "welfare",
            "Tyson",
            "Ada Hill",
        ):
            assert hidden not in text
        everything = " ".join(all_texts(kept.draft.full))
        assert words not in everything
        assert kept.draft.words == words


async def test_identifiers_of_a_query_are_learnt_and_never_shown(world: World) -> None:
    """Found by traits: the provider's view says by which numbers, the requester's does not."""
    world.agree(version=2, flows=[flow(queries=True)])
    world.providers.answers(world.found())
    request = ask(subject=None, query=Traits("Tyson", "Joss"))
    disclosed = await world.exchange.answer(request)
    draft = last(world).draft
    assert draft.provider is not None
    assert draft.provider.identifiers == (("uprn", HOME.value),)
    assert disclosed.receipt.opening is not None
    assert HOME.value.encode() not in disclosed.receipt.opening.view
    world.say(HOME, said("objection"))
    await refused(world, "person", subject=None, query=Traits("Tyson", "Joss"))


def test_subjects_in_these_tests_are_two() -> None:
    """The other identifier really is another."""
    assert SubjectRef("uprn", "10000000002") == OTHER_HOME != HOME


async def test_the_lane_goes_with_the_request_to_every_queue(world: World) -> None:
    """What is read for it, asked of the provider and written down of it is urgent as it is."""
    asked: list[bool] = []
    read = world.store.facts.read

    async def noted(each: Asked) -> Facts:
        asked.append(each.urgent)
        return await read(each)

    world.store.facts.read = noted  # type: ignore[method-assign]
    for urgent in (True, False):
        await world.exchange.answer(ask(urgent=urgent))
    assert asked == [True, False]
    assert [question.request.urgent for question, _ in world.providers.asked] == [True, False]
    assert [entry.draft.urgent for entry in world.store.entries] == [True, False]
