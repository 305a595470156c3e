"""Explaining, replaying and planning over the wire: who may, how often, and what a stream of progress says."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest

from broker.v1 import agreement_pb2, agreement_pb2_grpc, audit_pb2, audit_pb2_grpc
from broker.v1 import exchange_pb2 as pb
from tests.rpc.conftest import SOON, Edge
from tests.support.world import HOME, flow, said, terms, toml

Wanted = Callable[..., pb.RecordRequest]
LOOKS = pb.Actor(id="r.audit", role="auditor")
WHY = pb.ReasonCode(code="complaint", words="a letter")


def audits(edge: Edge, name: str = "cumberland-audit") -> Any:
    """The log as one system sees it."""
    return audit_pb2_grpc.AuditServiceStub(edge.channel(name))


def agreements(edge: Edge, name: str = "operator-cli") -> Any:
    """Agreements as one system sees them."""
    return agreement_pb2_grpc.AgreementServiceStub(edge.channel(name))


async def refused(edge: Edge, wanted: Wanted) -> tuple[str, str]:
    """A request that somebody's objection refused: its id, and its entry's."""
    edge.world.say(HOME, said("objection"))
    request = wanted()
    with pytest.raises(grpc.aio.AioRpcError):
        await edge.exchange().Request(request, timeout=SOON)
    return request.request_id, edge.world.store.entries[-1].draft.id


async def code_of(call: Any) -> grpc.StatusCode:
    """How a call that fails ends."""
    code: grpc.StatusCode = await call.code()
    return code


async def test_each_is_told_what_is_theirs(edge: Edge, wanted: Wanted) -> None:
    """The requester in stages, the auditor everything: over the wire nothing more and nothing less."""
    request_id, entry = await refused(edge, wanted)
    asked = pb.ExplainRequest(request_id=request_id, actor=LOOKS, reason=WHY)
    own = await edge.exchange().Explain(asked, timeout=SOON)
    assert (own.audience, own.event_id, own.refusal.code) == ("requester", entry, "person")
    assert own.rules[-1].rule == "person"
    assert not own.inputs
    assert not own.HasField("replay")
    assert "objection" not in str(own)
    look = audit_pb2.ExplainEntryRequest(event_id=entry, actor=LOOKS, reason=WHY)
    whole = (await audits(edge).ExplainEntry(look, timeout=SOON)).explanation
    assert whole.replay.verdict == "same"
    last = whole.rules[-1]
    assert (last.rule, last.verdict) == ("person.not-against", "refuse")
    assert "cumberland recorded a objection" in last.sentence
    assert (last.asks[-1], bool(last.law), bool(last.mend)) == ("?", True, True)
    by_index = audit_pb2.ExplainEntryRequest(index=0, actor=LOOKS, reason=WHY)
    assert (await audits(edge).ExplainEntry(by_index, timeout=SOON)).explanation.event_id == entry
    for name in ("cfrs-cad", "operator-cli"):
        assert await code_of(audits(edge, name).ExplainEntry(look)) is grpc.StatusCode.PERMISSION_DENIED


async def test_a_hypothetical_over_the_wire(edge: Edge, wanted: Wanted) -> None:
    """Decided of nobody, told so, and the same id can be used for the request itself."""
    edge.world.say(HOME, said("objection"))
    request = wanted()
    told = await edge.exchange().Explain(pb.ExplainRequest(hypothetical=request), timeout=SOON)
    assert (told.decision.outcome, told.event_id) == ("permit", "")
    assert (told.permitted_paths, told.notes[0][:12]) == (sorted(flow()["permitted"]), "Decided with")
    assert "crew_notes" in {each.path for each in told.withheld}
    assert await code_of(edge.exchange().Request(request)) is grpc.StatusCode.PERMISSION_DENIED
    nobody = pb.ExplainRequest(hypothetical=wanted(subject=None))
    assert await code_of(edge.exchange().Explain(nobody)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_explaining_counts_as_asking(narrow: Edge, wanted: Wanted) -> None:
    """A hypothetical costs what a request does, and so does asking again about one's own."""
    stub, codes = narrow.exchange(), []
    for n in range(14):
        what = (
            pb.ExplainRequest(hypothetical=wanted())
            if n % 2
            else pb.ExplainRequest(request_id=str(uuid.uuid4()), actor=LOOKS)
        )
        try:
            await stub.Explain(what, timeout=SOON)
        except grpc.aio.AioRpcError as e:
            codes.append(e.code())
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
    assert len(narrow.world.store.entries) < 8


@pytest.mark.parametrize(
    "request_",
    [
        pb.ExplainRequest(),
        pb.ExplainRequest(request_id="x", actor=LOOKS),
        pb.ExplainRequest(request_id="4f9f7a0e-54a4-4f0a-8b5e-1f6f0c1c9d11"),
        pb.ExplainRequest(request_id="4f9f7a0e-54a4-4f0a-8b5e-1f6f0c1c9d11", actor=LOOKS),
    ],
)
async def test_a_bad_question_is_bad_input(edge: Edge, request_: pb.ExplainRequest) -> None:
    """Nothing asked, no id, nobody who asks, and an id that nobody used."""
    assert await code_of(edge.exchange().Explain(request_)) is grpc.StatusCode.INVALID_ARGUMENT
    assert not edge.world.store.entries


async def test_a_replay_of_the_log(edge: Edge, wanted: Wanted) -> None:
    """Progress to the end, one entry for the look; a system that is suspended meanwhile is told no more."""
    for _ in range(3):
        await edge.exchange().Request(wanted(), timeout=SOON)
    request = audit_pb2.ReplayDecisionsRequest(actor=LOOKS, reason=WHY)
    told = [each async for each in audits(edge).ReplayDecisions(request, timeout=SOON)]
    assert [(t.index, t.size, t.decisions, t.same, t.mismatches) for t in told] == [
        (0, 3, 0, 0, 0),
        (3, 3, 3, 3, 0),
    ]
    assert edge.world.store.events[3:] == ["log-replayed"]
    for name, changed, code in (
        ("nwas-cad", request, grpc.StatusCode.PERMISSION_DENIED),
        ("operator-cli", request, grpc.StatusCode.PERMISSION_DENIED),
        ("cumberland-audit", audit_pb2.ReplayDecisionsRequest(actor=LOOKS), grpc.StatusCode.INVALID_ARGUMENT),
        ("cumberland-audit", audit_pb2.ReplayDecisionsRequest(reason=WHY), grpc.StatusCode.INVALID_ARGUMENT),
        (
            "cumberland-audit",
            audit_pb2.ReplayDecisionsRequest(since=2**64 - 1, actor=LOOKS, reason=WHY),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ):
        assert await code_of(audits(edge, name).ReplayDecisions(changed)) is code
    edge.ahead = timedelta(days=5000)
    assert await code_of(audits(edge).ReplayDecisions(request)) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_replay_that_is_left_gives_its_seat_back(edge: Edge, wanted: Wanted) -> None:
    """One at a time for a system; the next may begin once the first has gone away."""
    for _ in range(3):
        await edge.exchange().Request(wanted(), timeout=SOON)
    request = audit_pb2.ReplayDecisionsRequest(actor=LOOKS, reason=WHY)
    for _ in range(3):
        call = audits(edge).ReplayDecisions(request, timeout=SOON)
        assert (await call.read()).size >= 3
        call.cancel()
        async for each in audits(edge).ReplayDecisions(request, timeout=SOON):
            assert each.mismatches == 0


async def test_a_plan_over_the_wire(edge: Edge, wanted: Wanted) -> None:
    """What would change comes first, then the counts; which decisions, only where that was asked for."""
    disclosed = await edge.exchange().Request(wanted(), timeout=SOON)
    today = edge.world.clock.now().date()
    days = {"valid_from": today - timedelta(300), "valid_until": today + timedelta(300), "review_on": today}
    file = toml(terms(version=2, flows=[flow(permitted=["uprn"])], **days))
    request = agreement_pb2.PlanAgreementRequest(files=[file], actor=LOOKS, reason=WHY)
    told = [each async for each in agreements(edge).PlanAgreement(request, timeout=SOON)]
    (change,) = told[0].changes
    assert (change.change, change.requester, change.provider) == ("changed", "nwas", "cfrs")
    assert "oxygen.kind" in change.paths_lost
    last = told[-1]
    assert (last.done, last.decisions, [(c.kind, c.count) for c in last.counts]) == (True, 1, [("fields", 1)])
    assert not any(each.flips for each in told)
    request.list = True
    told = [each async for each in agreements(edge, "cumberland-audit").PlanAgreement(request, timeout=SOON)]
    (flip,) = told[-1].flips
    assert flip.event_id == edge.world.store.entries[disclosed.receipt.index].draft.id
    assert (
        await code_of(agreements(edge, "nwas-cad").PlanAgreement(request)) is grpc.StatusCode.PERMISSION_DENIED
    )
    bad = agreement_pb2.PlanAgreementRequest(files=[b"x"], actor=LOOKS, reason=WHY)
    assert await code_of(agreements(edge).PlanAgreement(bad)) is grpc.StatusCode.INVALID_ARGUMENT
