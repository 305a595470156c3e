"""The life of an agreement in each store: suspended, lifted, superseded; and what is under way meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, timedelta
from typing import Any

import pytest

from broker.core.model import Caller, Function, Request
from broker.errors import BrokerError, Denied, InvalidRequest, NotAllowed
from broker.ports import Answer, Question
from tests.support.stage import COUNCIL, Stage, stage_of
from tests.support.world import ACTOR, OPERATOR, caller, flow

ID = "nwas-cfrs-premises"
NWAS, CFRS = caller("nwas"), caller("cfrs")
AUDITOR = caller("cumberland", "audit", Function.AUDITOR)
WHY = "a reported breach"


@pytest.fixture(params=["memory", "postgres"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Agencies, an agreement between two of them, and a provider that has every record."""
    async with stage_of(request) as made:
        yield made


async def suspend(stage: Stage, by: Caller = CFRS) -> None:
    """Suspend the agreement."""
    await stage.suspensions.suspend(by, ID, WHY, ACTOR)


async def lift(stage: Stage, by: Caller = CFRS) -> None:
    """Lift the suspension."""
    await stage.suspensions.lift(by, ID, "mended", ACTOR)


async def code(stage: Stage, request: Request | None = None) -> str:
    """The code with which a request is refused; empty where its record is released."""
    request = request or stage.asks()
    stage.finds(request)
    try:
        assert (await stage.exchange.answer(request)).record is not None
    except Denied as denied:
        return denied.refusal.code
    return ""


async def status(stage: Stage, agreement: str = ID) -> str:
    """Where an agreement stands."""
    return (await stage.agreed.shown_to(OPERATOR, agreement)).status


async def meanwhile(stage: Stage, happens: Callable[[], Awaitable[Any]]) -> str:
    """The code of a request during which something happens: its provider has been asked already."""
    request = stage.asks()
    stage.finds(request)
    answer = stage.providers.script
    assert answer is not None
    done: list[bool] = []

    async def script(question: Question) -> Answer:
        if not done:
            done.append(True)
            await happens()
        return await answer(question)

    stage.providers.script = script
    try:
        assert (await stage.exchange.answer(request)).record is not None
    except Denied as denied:
        return denied.refusal.code
    return ""


async def refused(call: Awaitable[object], kind: type[BrokerError], field: str = "") -> BrokerError:
    """The named failure of a call."""
    with pytest.raises(kind) as caught:
        await call
    if field:
        assert isinstance(caught.value, InvalidRequest)
        assert caught.value.field == field
    return caught.value


# Suspension.


@pytest.mark.parametrize("by", [OPERATOR, NWAS, CFRS], ids=["operator", "requester", "provider"])
async def test_any_party_and_an_operator_stop_an_agreement_and_let_it_go_on(stage: Stage, by: Caller) -> None:
    """Nothing flows in between; who, since when and why stands in the list and the log."""
    assert await code(stage) == ""
    size = await stage.size()
    await suspend(stage, by)
    assert await code(stage) == "agreement"
    listed = await stage.agreed.shown_to(CFRS, ID)
    (stop,) = listed.suspensions
    assert (listed.status, stop.agency, stop.system, stop.reason) == ("suspended", by.agency, by.name, WHY)
    assert stop.operator is (by is OPERATOR)
    await lift(stage, by)
    assert await code(stage) == ""
    assert await status(stage) == "in force"
    fulls = await stage.since(size)
    assert [full["event"] for full in fulls] == [
        "agreement-suspended",
        "refusal",
        "agreement-suspension-lifted",
        "disclosure",
    ]
    assert (fulls[0]["detail"]["reason"], fulls[0]["actor"]["id"]) == (WHY, ACTOR.id)
    assert fulls[2]["detail"] == {"agreement": ID, "agencies": [by.agency], "reason": "mended"}


async def test_what_is_under_way_is_decided_again(stage: Stage) -> None:
    """The provider had answered; the record is dropped, and the refusal says that it was consulted."""
    assert await meanwhile(stage, lambda: suspend(stage)) == "agreement"
    last = (await stage.since(await stage.size() - 1))[0]
    assert (last["outcome"], last["consulted"]) == ("refuse", True)


async def test_a_suspension_lifted_meanwhile_releases(stage: Stage) -> None:
    """A refusal is no reason to keep refusing: the next request is decided on what is true then."""
    await suspend(stage)
    assert await code(stage) == "agreement"
    await lift(stage)
    assert await code(stage) == ""


async def test_each_party_lifts_its_own_stop_and_an_operator_every_one(stage: Stage) -> None:
    """While one of them stands, nothing flows."""
    await suspend(stage, CFRS)
    assert "only they, or an operator" in str(await refused(lift(stage, NWAS), NotAllowed))
    await suspend(stage, NWAS)
    await refused(suspend(stage, NWAS), InvalidRequest, "lift")
    await lift(stage, CFRS)
    assert await code(stage) == "agreement"
    await suspend(stage, CFRS)
    await lift(stage, OPERATOR)
    assert await code(stage) == ""
    await refused(lift(stage, OPERATOR), InvalidRequest, "lift")


async def test_nobody_lifts_an_operators_stop_but_an_operator(stage: Stage) -> None:
    """A party may add its own, and lifting that leaves the other."""
    await suspend(stage, OPERATOR)
    await refused(lift(stage, CFRS), NotAllowed)
    await suspend(stage, CFRS)
    await lift(stage, CFRS)
    assert await code(stage) == "agreement"


async def test_a_stranger_cannot_tell_an_agreement_from_none(stage: Stage) -> None:
    """The same words, and no entry; an auditor changes nothing."""
    size = await stage.size()
    theirs = await refused(stage.suspensions.suspend(COUNCIL, ID, WHY, ACTOR), NotAllowed)
    none = await refused(stage.suspensions.suspend(COUNCIL, "no-such-thing", WHY, ACTOR), NotAllowed)
    assert str(theirs) == str(none)
    await refused(stage.suspensions.suspend(OPERATOR, "no-such-thing", WHY, ACTOR), NotAllowed)
    await refused(suspend(stage, AUDITOR), NotAllowed)
    await refused(lift(stage, AUDITOR), NotAllowed)
    assert await stage.size() == size


async def test_a_new_version_stays_as_suspended_as_the_one_before(stage: Stage) -> None:
    """Applying is no way round a stop."""
    await suspend(stage)
    assert (await stage.agree(version=2)).status == "suspended"
    assert await code(stage) == "agreement"


async def test_two_stops_of_one_agency_at_once_are_one(stage: Stage) -> None:
    """The second is decided again on what the first has made, and says so."""
    first = suspend(stage)
    real, raced = stage.reference.refresh, []

    async def refresh() -> Any:
        seen = await real()
        if not raced:
            raced.append(True)
            await first
        return seen

    stage.suspensions._reference = _Racing(stage.reference, refresh)
    await refused(suspend(stage), InvalidRequest, "lift")


class _Racing:
    """A source of snapshots whose first answer is overtaken."""

    def __init__(self, real: Any, refresh: Callable[[], Awaitable[Any]]) -> None:
        self._real = real
        self.refresh = refresh

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


# Supersession.


def today(stage: Stage) -> date:
    """The day in UTC."""
    return stage.clock.now().date()


async def test_an_agreement_ends_another_on_its_first_day(stage: Stage) -> None:
    """From then on the new one decides; both say which took whose place."""
    successor = await stage.agree(id="successor", supersedes=ID, valid_from=today(stage))
    assert (successor.status, successor.agreement.supersedes) == ("in force", ID)
    older = await stage.agreed.shown_to(NWAS, ID)
    assert (older.status, older.successor) == ("superseded", "successor")
    assert older.ends == successor.agreement.begins
    request = stage.asks()
    stage.finds(request)
    disclosed = await stage.exchange.answer(request)
    assert disclosed.decision.agreement == "successor"


async def test_until_that_day_the_older_one_decides(stage: Stage) -> None:
    """And no longer than that: the decision itself runs out then."""
    later = today(stage) + timedelta(days=30)
    successor = await stage.agree(id="successor", supersedes=ID, valid_from=later, review_on=later)
    assert successor.status == "not yet in force"
    older = await stage.agreed.shown_to(NWAS, ID)
    assert (older.status, older.successor) == ("in force", "successor")
    assert older.ends == successor.agreement.begins
    request = stage.asks()
    stage.finds(request)
    decision = (await stage.exchange.answer(request)).decision
    assert (decision.agreement, decision.valid_until) == (ID, successor.agreement.begins)


async def test_what_is_under_way_when_it_is_applied_is_decided_under_the_new_one(stage: Stage) -> None:
    """The provider checked the older one, so nothing is released that it did not check."""
    with pytest.raises(BrokerError, match="agreement changed"):
        await meanwhile(stage, lambda: stage.agree(id="successor", supersedes=ID, valid_from=today(stage)))


async def test_other_parties_end_nobodys_agreement(stage: Stage) -> None:
    """Without `supersedes` it overlaps; with it, every party of the older one must have signed."""
    await stage.may_sign("cumberland")
    await refused(stage.agree(id="successor"), InvalidRequest, "flows.0")
    parties = [{"agency": each, "regime": "uk-gdpr"} for each in ("cumberland", "cfrs")]
    theirs = {"parties": parties, "flows": [flow(requester="cumberland")]}
    await refused(stage.agree(id="successor", supersedes=ID, **theirs), InvalidRequest, "supersedes")
    unheard = stage.agree(id="successor", supersedes="none-such", purpose="emergency-planning")
    await refused(unheard, InvalidRequest, "supersedes")


async def test_what_was_ended_never_comes_to_life_again(stage: Stage) -> None:
    """No later version may leave the key out, name another, or begin later: the older one would be back."""
    now = today(stage)
    again: dict[str, Any] = {"id": "successor", "version": 2, "valid_from": now}
    await stage.agree(id="successor", supersedes=ID, valid_from=now)
    await refused(stage.agree(**again), InvalidRequest, "supersedes")
    later = now + timedelta(days=1)
    moved = stage.agree(**again | {"supersedes": ID, "valid_from": later, "review_on": later})
    await refused(moved, InvalidRequest, "valid_from")
    await refused(stage.agree(version=2, valid_from=now, review_on=now), InvalidRequest, "id")
    assert (await stage.agree(**again, supersedes=ID)).status == "in force"


async def test_a_successor_that_has_not_begun_may_still_be_changed(stage: Stage) -> None:
    """The older one goes on to its own last day."""
    later = today(stage) + timedelta(days=30)
    await stage.agree(id="successor", supersedes=ID, valid_from=later, review_on=later)
    purpose = {"purpose": "emergency-planning"}
    await stage.agree(id="successor", version=2, valid_from=later, review_on=later, **purpose)
    older = await stage.agreed.shown_to(NWAS, ID)
    assert (older.status, older.successor, older.ends) == ("in force", "", older.agreement.ends)


async def test_an_edit_after_signing_is_refused(stage: Stage) -> None:
    """One byte: a comment even."""
    await stage.agree(version=2)
    file = (await stage.agreed.shown_to(OPERATOR, ID)).file.replace(b"version = 2", b"version = 3")
    on = today(stage)
    signatures = [stage.signatories[name].sign(file, on) for name in ("nwas", "cfrs")]
    edited = stage.agreed.apply(OPERATOR, file + b"\n# by hand\n", signatures)
    await refused(edited, InvalidRequest, "signatures.0.digest")
    assert (await stage.agreed.apply(OPERATOR, file, signatures))[0].agreement.version == 3


async def test_a_past_decision_is_explained_by_the_suspension_of_its_time(stage: Stage) -> None:
    """A snapshot of the past holds the stops that stood then, and none that came or went since."""
    before = (await stage.reference.refresh()).policy
    await suspend(stage)
    during = (await stage.reference.refresh()).policy
    await lift(stage)
    after = (await stage.reference.refresh()).policy
    stood = [(await stage.past.reference(policy)).suspended for policy in (before, during, after)]
    assert stood == [frozenset(), frozenset({ID}), frozenset()]


async def test_what_was_read_once_is_not_read_again(stage: Stage) -> None:
    """Any partner may list agreements as often as it may call: their files are parsed once."""
    once, twice = [await stage.agreed.visible_to(OPERATOR, all_versions=True) for _ in range(2)]
    assert once
    assert all(a.agreement is b.agreement for a, b in zip(once, twice, strict=True))
