"""Agreements that want stage two: a record leaves once its evidence is witnessed, or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from broker.core.receipt import Receipt
from broker.errors import AuditUnavailable, Denied, IntegrityError, InvalidRequest, NotWitnessed
from broker.rpc.errors import status_of
from broker.v1 import exchange_pb2
from tests.support.world import AUDITOR, HOME, WATCHED, World, ask, flow, said


@dataclass
class Scripted:
    """Witnesses that cosign as they are told; what was asked of them, with how long they may take."""

    cosign: bool = True
    error: Exception | None = None
    hang: bool = False
    asked: list[tuple[Receipt, float]] = field(default_factory=list)

    async def witnessed(self, receipt: Receipt, until: float) -> Receipt | None:
        """The receipt with a mark, or what the test wants."""
        self.asked.append((receipt, until))
        if self.hang:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        if not self.cosign:
            return None
        return Receipt(receipt.entry, receipt.index, receipt.proof, b"witnessed", receipt.opening)


async def world(witnesses: Scripted | None, *, wanted: bool = True, **changes: object) -> World:
    """An agreement that wants stage two, and a provider that has the record."""
    made = World(witnesses=witnesses)
    made.agree(evidence={"witnessed": wanted}, **changes)
    await made.ready()
    made.providers.answers(made.found())
    return made


async def test_a_record_leaves_with_the_witnessed_receipt() -> None:
    """What the requester is given leads to the cosigned checkpoint; the wait ends before its time does."""
    witnesses = Scripted()
    made = await world(witnesses)
    started = made.clock.loop_time()
    disclosed = await made.exchange.answer(ask(timeout=4.0))
    assert disclosed.record is not None
    assert disclosed.receipt.checkpoint == b"witnessed"
    ((receipt, until),) = witnesses.asked
    assert receipt.entry == disclosed.receipt.entry
    assert started < until <= started + 4.0 - 0.25


@pytest.mark.parametrize(
    "witnesses",
    [
        None,
        Scripted(cosign=False),
        Scripted(error=AuditUnavailable("no database")),
        Scripted(error=IntegrityError("no")),
    ],
)
async def test_without_the_quorum_nothing_leaves_but_the_receipt(witnesses: Scripted | None) -> None:
    """UNAVAILABLE with the entry's receipt among its details; the entry stands, the record does not leave."""
    made = await world(witnesses)
    with pytest.raises(NotWitnessed) as caught:
        await made.exchange.answer(request := ask())
    assert caught.value.receipt is not None
    status = status_of(caught.value)
    assert status.code == 14
    receipt = exchange_pb2.Receipt()
    assert any(detail.Unpack(receipt) for detail in status.details)
    assert receipt.entry == caught.value.receipt.entry
    assert made.store.entries[-1].draft.full["event"] == "disclosure"
    again = await made.exchange.answer(request)
    assert (again.record, again.replayed) == (None, True)


async def test_the_record_is_had_by_asking_again_as_a_retry() -> None:
    """Once the witnesses are back, under a new id that names the first."""
    witnesses = Scripted(cosign=False)
    made = await world(witnesses)
    first = ask()
    with pytest.raises(NotWitnessed):
        await made.exchange.answer(first)
    witnesses.cosign = True
    disclosed = await made.exchange.answer(replace(ask(), retry_of=first.request_id))
    assert disclosed.record is not None


async def test_only_agreements_that_want_it_wait() -> None:
    """The others release at stage one, whatever the witnesses do."""
    witnesses = Scripted(cosign=False)
    made = await world(witnesses, wanted=False)
    assert (await made.exchange.answer(ask())).record is not None
    assert witnesses.asked == []


@pytest.mark.parametrize("ncnd", [False, True])
async def test_refusals_wait_for_nobody(ncnd: bool) -> None:
    """So that they look as they always do, also where nothing may be confirmed nor denied."""
    witnesses = Scripted(hang=True)
    made = await world(witnesses, ncnd=ncnd)
    made.say(HOME, said("objection"))
    with pytest.raises(Denied) as caught:
        await made.exchange.answer(ask())
    assert caught.value.refusal.code == ("no-answer" if ncnd else "person")
    assert witnesses.asked == []


async def test_a_viewing_with_effects_that_is_not_released_is_settled_so() -> None:
    """The provider hears that nothing was shown; also where the requester goes away while it waits."""
    for witnesses in (Scripted(cosign=False), Scripted(hang=True)):
        made = await world(witnesses, flows=[flow(record_type=WATCHED)])
        made.providers.answers(made.found(WATCHED))
        asking = asyncio.ensure_future(made.exchange.answer(ask(record_type=WATCHED)))
        while not witnesses.asked:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        if witnesses.hang:
            asking.cancel()
        with pytest.raises((NotWitnessed, asyncio.CancelledError)):
            await asking
        assert [released for _, _, released in made.providers.settled] == [False]


async def test_an_auditor_may_ask_for_the_witnessed_receipt() -> None:
    """It comes, or it is said that it is not there yet, or that there are no witnesses."""
    for witnesses, expected in (
        (Scripted(), None),
        (Scripted(cosign=False), NotWitnessed),
        (None, InvalidRequest),
    ):
        made = await world(witnesses, wanted=False)
        disclosed = await made.exchange.answer(ask())
        event = await made.audits.at(disclosed.receipt.index)
        opened = await made.audits.receipt(AUDITOR, event)
        if expected is None:
            assert (await made.audits.witnessed(opened)).receipt.checkpoint == b"witnessed"
        else:
            with pytest.raises(expected):
                await made.audits.witnessed(opened)
