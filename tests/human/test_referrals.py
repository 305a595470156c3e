"""What is referred to a human of the provider: queued with its entry, seen by the owner, decided by name."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from broker.core.granting import sign_grant, statement
from broker.core.model import Assurance, OneOff, Reason, Request, Stand
from broker.core.oneoff import one_off_id
from broker.core.succession import Share
from broker.core.views import RequesterView
from broker.errors import Denied, InvalidRequest, NotAllowed, Referred, SubjectNotFound
from broker.ports import NotFound
from broker.queues import StoredReferral
from broker.rulings import Ruling
from records.fire.v1 import premises_risk_pb2
from tests.human.conftest import ASSERTED, GUARDIAN, JUDGED, OWNER, SILENT, later, soon
from tests.support.stage import COUNCIL, Stage
from tests.support.values import replace
from tests.support.world import LOOKING, OPERATOR, PERMITTED, caller, said

WORDS = "the neighbour rang about Mr Tyson"
STAND = Stand("uk-gdpr", "art6-1-e", "art9-2-g-sch1-para18")
ONE_OFF = OneOff(STAND, STAND)


def judged(stage: Stage, **changes: Any) -> Request:
    """A request that a human of the fire service has to decide."""
    return stage.asks(purpose=JUDGED, reason=Reason("welfare", WORDS), **changes)


async def refer(stage: Stage, request: Request) -> StoredReferral:
    """Ask, be referred, and find it in the owner's queue."""
    with pytest.raises(Referred) as caught:
        await stage.exchange.answer(request)
    assert caught.value.refusal.code == "referred"
    return await waiting(stage, request)


async def waiting(stage: Stage, request: Request) -> StoredReferral:
    """The row of a request in the owner's queue."""
    found, _ = await stage.referrals.listed(OWNER, GUARDIAN, LOOKING)
    (row,) = [each.row for each in found if each.row.request == request.request_id]
    return row


def again(request: Request) -> Request:
    """The same request under a new id."""
    return replace(request, request_id=str(uuid.uuid4()), retry_of=request.request_id)


def grants(*fields: str, **changes: Any) -> Ruling:
    """A grant of these fields."""
    made = Ruling(True, "a vulnerable adult, and no other way", fields or PERMITTED, soon())
    return replace(made, **changes)


NO = Ruling(False, "the purpose can be met without it")


async def test_a_referral_is_queued_with_its_entry_and_holds_the_request_as_asked(stage: Stage) -> None:
    """The row is named after the entry; the deadline and what stood in the way are there, words apart."""
    request = judged(stage)
    start = await stage.size()
    row = await refer(stage, request)
    full = (await stage.since(start))[0]
    assert (full["event"], full["outcome"], full["code"]) == ("refusal", "refer", "referred")
    assert (row.requester, row.system, row.provider) == ("nwas", "nwas/cad", "cfrs")
    assert row.due_at - row.opened_at == timedelta(hours=8)
    shown, _ = await stage.referrals.shown(OWNER, row.id, GUARDIAN, LOOKING)
    assert shown.row.asked["request"]["subject"]["value"] == request.subject.value  # type: ignore[index,call-overload,union-attr]
    assert shown.row.words == WORDS
    assert WORDS not in json.dumps(shown.row.asked)
    assert shown.row.asked["why"] == [
        "judgement.taken refer: Each request under this agreement is for a human to decide."
    ]
    assert shown.permitted == tuple(sorted(PERMITTED))
    assert stage.providers.asked == [] or stage.providers.asked[-1][0].request.request_id != request.request_id


async def test_what_the_person_said_is_noted_for_the_human_and_not_for_the_requester(stage: Stage) -> None:
    """An objection does not refuse where a human decides: it stands in the queue, for the owner."""
    request = judged(stage)
    assert request.subject is not None
    await stage.said.add(COUNCIL, request.subject, stage.objection(), GUARDIAN)
    row = await refer(stage, request)
    shown, _ = await stage.referrals.shown(OWNER, row.id, GUARDIAN, LOOKING)
    noted, judgement = shown.row.asked["why"]  # type: ignore[misc]
    assert noted == "person.not-against noted"
    assert str(judgement).endswith("Would otherwise be refused by: person.not-against.")


async def test_a_grant_goes_out_when_the_requester_asks_again(stage: Stage) -> None:
    """With the granted fields and no others, once and again, and only as a repeat of that very request."""
    request = judged(stage)
    row = await refer(stage, request)
    await stage.referrals.decide(OWNER, row.id, grants("uprn", "hazards.state"), GUARDIAN)
    stage.finds(request)
    start = await stage.size()
    disclosed = await stage.exchange.answer(again(request))
    assert disclosed.record is not None
    assert premises_risk_pb2.PremisesRisk.FromString(disclosed.record.value).hazards.items == []
    assert disclosed.decision.permitted == ("hazards.state", "uprn")
    full = (await stage.since(start))[0]
    assert (full["outcome"], full["grant"]) == ("permit", row.id)
    assert any(str(rule).startswith("judgement.taken waived by grant") for rule in full["rules"])
    # A repeat of the repeat still stands on it; a request of its own does not.
    third = again(disclosed.request)
    assert (await stage.exchange.answer(third)).record is not None
    assert (await stage.exchange.answer(again(third))).record is not None
    await refer(stage, judged(stage, subject=request.subject))


async def test_while_it_waits_a_repeat_is_referred_and_not_queued_again(stage: Stage) -> None:
    """Who asks every minute fills no queue."""
    request = judged(stage)
    row = await refer(stage, request)
    for _ in range(2):
        with pytest.raises(Referred):
            await stage.exchange.answer(again(request))
    found, _ = await stage.referrals.listed(OWNER, GUARDIAN, LOOKING)
    mine = [each for each in found if each.row.asked["request"]["subject"]["value"] == request.subject.value]  # type: ignore[index,call-overload,union-attr]
    assert [each.row.id for each in mine] == [row.id]


async def test_a_refusal_by_the_human_is_final_for_that_request(stage: Stage) -> None:
    """The repeat is refused and not queued again; a new request is decided anew."""
    request = judged(stage)
    row = await refer(stage, request)
    start = await stage.size()
    await stage.referrals.decide(OWNER, row.id, NO, GUARDIAN)
    with pytest.raises(Denied, match="has decided against"):
        await stage.exchange.answer(again(request))
    fulls = await stage.since(start)
    assert [each["event"] for each in fulls] == ["referral-decided", "refusal"]
    with pytest.raises(InvalidRequest, match="was refused already"):
        await stage.referrals.decide(OWNER, row.id, grants(), GUARDIAN)
    await refer(stage, judged(stage, subject=request.subject))


async def test_a_grant_that_is_taken_back_before_the_append_lets_nothing_out(stage: Stage) -> None:
    """The repeat is under way, its record in memory: the append gives it back, and it is refused."""
    request = judged(stage)
    row = await refer(stage, request)
    await stage.referrals.decide(OWNER, row.id, grants(), GUARDIAN)
    stage.finds(request)
    find = stage.providers.script
    assert find is not None

    async def meanwhile(question: Any) -> Any:
        await stage.referrals.decide(OWNER, row.id, NO, GUARDIAN)
        return await find(question)

    stage.providers.script = meanwhile
    start = await stage.size()
    with pytest.raises(Denied, match="has decided against"):
        await stage.exchange.answer(again(request))
    fulls = await stage.since(start)
    assert [each["event"] for each in fulls] == ["referral-decided", "refusal"]
    assert fulls[1]["consulted"] is True


async def test_a_grant_that_has_run_out_is_none(stage: Stage) -> None:
    """After its end the repeat is referred again, with a row of its own, and the list says so."""
    request = judged(stage)
    row = await refer(stage, request)
    await stage.referrals.decide(OWNER, row.id, grants(until=soon(seconds=2)), GUARDIAN)
    await stage.clock.until(stage.clock.loop_time() + 3)
    with pytest.raises(Referred):
        await stage.exchange.answer(again(request))
    shown, _ = await stage.referrals.shown(OWNER, row.id, GUARDIAN, LOOKING)
    assert shown.status == "expired"


async def test_only_the_owners_own_system_sees_or_decides_and_every_look_is_an_entry(stage: Stage) -> None:
    """Others hear the same words as for one that does not exist; who looked stands in the log."""
    row = await refer(stage, judged(stage))
    for other in (caller(), COUNCIL):
        for wanted in (row.id, str(uuid.uuid4())):
            with pytest.raises(NotAllowed, match="there is no such referral that your agency may decide"):
                await stage.referrals.shown(other, wanted, GUARDIAN, LOOKING)
            with pytest.raises(NotAllowed, match="there is no such referral that your agency may decide"):
                await stage.referrals.decide(other, wanted, NO, GUARDIAN)
        assert row.id not in {
            each.row.id for each in (await stage.referrals.listed(other, GUARDIAN, LOOKING))[0]
        }
    with pytest.raises(NotAllowed):
        await stage.referrals.listed(OPERATOR, GUARDIAN, LOOKING)
    start = await stage.size()
    await stage.referrals.listed(OWNER, GUARDIAN, LOOKING)
    await stage.referrals.shown(OWNER, row.id, GUARDIAN, LOOKING)
    seen = await stage.since(start)
    assert [(each["event"], each["actor"]["id"]) for each in seen] == [
        ("referrals-viewed", "p.moss"),
        ("referral-viewed", "p.moss"),
    ]


async def test_a_decision_is_by_a_named_human_with_reasons(stage: Stage) -> None:
    """Nobody else's counts; nor does one without words, fields, an end, or what a set-aside refusal needs."""
    row = await refer(stage, judged(stage))
    wrong: list[tuple[str, Ruling, Any]] = [
        ("actor.assurance", grants(), ASSERTED),
        ("actor.assurance", NO, replace(GUARDIAN, assurance=Assurance.ROSTER)),
        ("reasoning", replace(NO, reasoning=""), GUARDIAN),
        ("permitted", grants(permitted=()), GUARDIAN),
        ("permitted", grants("crew_notes"), GUARDIAN),
        ("until", grants(until=None), GUARDIAN),
        ("until", grants(until=soon(hours=-1)), GUARDIAN),
        ("until", grants(until=soon(days=91)), GUARDIAN),
        ("why_overridden", grants(person_refused=True, told="told"), GUARDIAN),
        ("told", grants(person_refused=True, why_overridden="life at risk"), GUARDIAN),
        ("told", grants(told="perhaps"), GUARDIAN),
    ]
    for field, ruling, actor in wrong:
        with pytest.raises(InvalidRequest) as caught:
            await stage.referrals.decide(OWNER, row.id, ruling, actor)
        assert caught.value.field == field
    assert (await waiting(stage, replace(judged(stage), request_id=row.request))).status == "open"


async def test_the_entry_of_a_decision_is_both_parties_and_the_requester_reads_only_the_outcome(
    stage: Stage,
) -> None:
    """Who decided, why and about whom is for owner and auditor; the words are erasable by themselves."""
    request = judged(stage)
    row = await refer(stage, request)
    ruling = grants(person_refused=True, why_overridden="a child is in the house", told="not-told")
    _, made = await stage.referrals.decide(OWNER, row.id, ruling, GUARDIAN)
    assert await stage.view.parties(made.event_id) == ("nwas", "cfrs")
    receipt, full = await stage.view.receipt(made.event_id, "requester")
    assert receipt.opening is not None
    view = RequesterView.parse(receipt.opening.view)
    assert view == RequesterView(
        "referral-decided", request_id=request.request_id, outcome="granted", provider="cfrs", controller="cfrs"
    )
    for hidden in (b"p.moss", b"child", request.subject.value.encode()):  # type: ignore[union-attr]
        assert hidden not in receipt.opening.view
    assert full["detail"]["decided_by"]["name"] == "Pat Moss"  # type: ignore[index,call-overload]
    assert full["detail"]["told"] == "not-told"  # type: ignore[index,call-overload]
    assert ruling.reasoning not in json.dumps(full)
    if stage.kind == "postgres":
        assert isinstance(full["words"], str), "a commitment to the words, which stand in a row of their own"


async def test_past_its_deadline_it_is_overdue_and_escalated(stage: Stage) -> None:
    """The list names the Caldicott guardian of the provider, as the agreement does."""
    row = await refer(stage, judged(stage))
    for hours, overdue in ((7, False), (9, True)):
        found, _ = await later(stage, hours=hours)[0].listed(OWNER, GUARDIAN, LOOKING)
        (seen,) = [each for each in found if each.row.id == row.id]
        assert (seen.overdue, seen.escalate_to, seen.status) == (overdue, "Ada Guardian", "open")


async def test_under_neither_confirm_nor_deny_the_requester_learns_of_no_referral(stage: Stage) -> None:
    """It is queued for the owner; the requester reads no-answer, and no entry of the decision is theirs."""
    request = stage.asks(purpose=SILENT)
    assert request.subject is not None
    for kind, who in (("consent", "mother"), ("objection", "father")):
        words = said(
            kind,
            said_at=stage.clock.now(),
            standing="parental-responsibility",
            speaker=who,
            authority="birth certificate",
        )
        await stage.said.add(COUNCIL, request.subject, words, GUARDIAN)
    with pytest.raises(Denied) as caught:
        await stage.exchange.answer(request)
    assert caught.value.refusal.code == "no-answer"
    row = await waiting(stage, request)
    _, made = await stage.referrals.decide(OWNER, row.id, grants(), GUARDIAN)
    assert await stage.view.parties(made.event_id) == ("", "cfrs")
    assert (await stage.view.receipt(made.event_id, "requester"))[0].opening is None
    stage.finds(request)
    assert (await stage.exchange.answer(again(request))).record is not None


# One-off requests that no agreement foresaw.


def unforeseen(stage: Stage, **changes: Any) -> Request:
    """A request that no agreement names."""
    return stage.asks(purpose="safeguarding-child", reason=Reason("", WORDS), **changes)


async def asked(stage: Stage, request: Request) -> StoredReferral:
    """Put it before a human."""
    made = await stage.referring.ask(request)
    row = await waiting(stage, request)
    assert row.id == made.id
    return row


async def test_a_one_off_is_asked_granted_and_fetched(stage: Stage) -> None:
    """Lack of an agreement is not unlawfulness: a human names the law, the same walk bears it, once."""
    request = unforeseen(stage)
    with pytest.raises(Denied) as caught:
        await stage.exchange.answer(replace(request, request_id=str(uuid.uuid4())))
    assert caught.value.refusal.code == "agreement"
    row = await asked(stage, request)
    with pytest.raises(Denied) as waits:
        await stage.exchange.answer(again(request))
    assert waits.value.refusal.code == "agreement", "the closed list has no other"
    assert "A named human of cfrs is to judge this request, and has not yet." in waits.value.refusal.message
    assert waits.value.refusal.remedy.startswith("Ask again when they have")
    with pytest.raises(Denied) as anew:
        await stage.exchange.answer(replace(request, request_id=str(uuid.uuid4())))
    assert "named human" not in anew.value.refusal.message, "this one waits for nobody"
    assert "put it before them as a referral" in anew.value.refusal.remedy
    with pytest.raises(InvalidRequest) as wanting:
        await stage.referrals.decide(OWNER, row.id, grants("uprn"), GUARDIAN)
    assert wanting.value.field == "one_off"
    await stage.referrals.decide(OWNER, row.id, grants("uprn", one_off=ONE_OFF), GUARDIAN)
    stage.finds(request)
    start = await stage.size()
    disclosed = await stage.exchange.answer(again(request))
    assert disclosed.record is not None
    only = premises_risk_pb2.PremisesRisk(
        uprn=premises_risk_pb2.PremisesRisk.FromString(disclosed.record.value).uprn
    )
    assert disclosed.record.value == only.SerializeToString()
    assert (disclosed.decision.agreement, disclosed.decision.basis) == (one_off_id(row.id), "art6-1-e")
    assert (await stage.since(start))[0]["granted"]["law"]["requester"]["basis"] == "art6-1-e"
    question, _ = stage.providers.asked[-1]
    assert (question.agreement, question.permitted) == (one_off_id(row.id), ("uprn",))
    # For this request and nobody else's.
    with pytest.raises(Denied):
        await stage.exchange.answer(unforeseen(stage, subject=request.subject))


@pytest.mark.parametrize(
    ("law", "field", "says"),
    [
        (replace(ONE_OFF, gateway="magic"), "one_off.gateway", "unknown code"),
        (replace(ONE_OFF, requester=Stand("uk-gdpr", "nothing")), "one_off.requester.basis", "unknown code"),
        (
            replace(ONE_OFF, requester=Stand("uk-gdpr", "art6-1-e"), provider=Stand("uk-gdpr", "art6-1-e")),
            "one_off.condition",
            "condition.special-category",
        ),
        (replace(ONE_OFF, gateway="policing-and-crime-act-2017-s1"), "permitted", "gateway.opens"),
        (
            replace(ONE_OFF, provider=Stand("dpa-2018-part-3", "part3-s35-task")),
            "one_off.provider.regime",
            "regime.fits",
        ),
    ],
)
async def test_what_the_law_does_not_bear_is_not_granted(
    stage: Stage, law: OneOff, field: str, says: str
) -> None:
    """The human is told which rule would still refuse it; that they were told is an entry, and nothing else."""
    row = await asked(stage, unforeseen(stage))
    start = await stage.size()
    with pytest.raises(InvalidRequest, match=says) as caught:
        await stage.referrals.decide(OWNER, row.id, grants("oxygen.state", one_off=law), GUARDIAN)
    assert caught.value.field == field
    tried = [(full["event"], full["detail"]) for full in await stage.since(start)]
    walked = [("referral-tried", {"referral": row.id, "refused_by": says})]
    told = [] if says == "unknown code" else walked
    assert tried == told
    assert (await stage.referred.by_id(row.id)) == row


async def test_a_one_off_names_leaves_of_its_record_type(stage: Stage) -> None:
    """A parent or a field that is not there is refused, as in agreements."""
    row = await asked(stage, unforeseen(stage))
    for path in ("oxygen", "shoe_size"):
        with pytest.raises(InvalidRequest) as caught:
            await stage.referrals.decide(OWNER, row.id, grants(path, one_off=ONE_OFF), GUARDIAN)
        assert caught.value.field.startswith("permitted")


async def test_what_was_refused_may_be_put_before_a_human(stage: Stage) -> None:
    """A role that the agreement does not name: refused, asked, and granted on a law of its own."""
    request = judged(stage, actor=replace(judged(stage).actor, role="visitor"))
    with pytest.raises(Denied):
        await stage.exchange.answer(replace(request, request_id=str(uuid.uuid4())))
    row = await asked(stage, request)
    with pytest.raises(InvalidRequest, match=r"role\.named"):
        await stage.referrals.decide(OWNER, row.id, grants("uprn"), GUARDIAN)
    await stage.referrals.decide(OWNER, row.id, grants("uprn", one_off=ONE_OFF), GUARDIAN)
    stage.providers.answers(NotFound())
    with pytest.raises(SubjectNotFound):
        await stage.exchange.answer(again(request))


async def test_who_takes_no_part_is_refused_with_evidence(stage: Stage) -> None:
    """A refusal of the asking itself is an entry before it is told, binds its id, and puts nobody to work."""
    request = replace(unforeseen(stage), key_digest="0" * 64)
    start = await stage.size()
    with pytest.raises(Denied) as caught:
        await stage.referring.ask(request)
    assert caught.value.code == "party"
    assert caught.value.receipt is not None
    (full,) = await stage.since(start)
    assert (full["event"], full["outcome"], full["code"]) == ("refusal", "refuse", "party")
    assert str(full["rules"][0]).startswith("identity.enrolled refuse")
    with pytest.raises(Denied) as repeated:
        await stage.referring.ask(request)
    assert repeated.value.replayed
    found, _ = await stage.referrals.listed(OWNER, GUARDIAN, LOOKING)
    assert request.request_id not in {each.row.request for each in found}


async def test_one_requesters_many_do_not_hide_anothers_few(stage: Stage) -> None:
    """The list goes round the requesters, so that who asks for much delays nobody else."""
    many = [unforeseen(stage) for _ in range(4)]
    for each in many:
        await stage.referring.ask(each)
    few = unforeseen(stage, requester="cumberland", system="cad", key_digest=COUNCIL.key_digest)
    await stage.referring.ask(few)
    listed = [row for row in await stage.referred.of([Share("cfrs")]) if row.status == "open"]
    order = [row.request for row in listed]
    assert order.index(few.request_id) < order.index(many[-1].request_id)
    counts: dict[str, int] = {}
    turns = []
    for row in listed:
        counts[row.requester] = counts.get(row.requester, 0) + 1
        turns.append(counts[row.requester])
    assert turns == sorted(turns)


async def test_asking_binds_the_id_and_repeats_alike(stage: Stage) -> None:
    """The same again is the same referral; other words under its id are bad input, as is asking without."""
    request = unforeseen(stage)
    first = await stage.referring.ask(request)
    second = await stage.referring.ask(request)
    assert (first.id, first.receipt.entry) == (second.id, second.receipt.entry)
    with pytest.raises(Referred) as caught:
        await stage.exchange.answer(request)
    assert caught.value.replayed
    for wrong, field in (
        (replace(request, reason=Reason("", "other words")), "request_id"),
        (replace(request, request_id=str(uuid.uuid4()), reason=Reason()), "reason.words"),
        (replace(request, request_id=str(uuid.uuid4()), retry_of=str(uuid.uuid4())), "retry_of"),
        (replace(request, actor=replace(request.actor, assurance=Assurance.UNSPECIFIED)), "actor.assurance"),
        (replace(request, request_id=str(uuid.uuid4()), purpose="fun"), "purpose"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            await stage.referring.ask(wrong)
        assert refused.value.field == field


# The agency's own word.


async def test_a_signed_grant_goes_to_the_adapter_and_says_exactly_what_was_decided(stage: Stage) -> None:
    """Signed by a key that counts, over this very decision; anything else is refused before it is an entry."""
    request = unforeseen(stage)
    row = await asked(stage, request)
    fields, until = ("uprn",), soon()
    fire, ambulance = stage.signatories["cfrs"], stage.signatories["nwas"]
    label = f"{one_off_id(row.id)}/1"
    right = statement(request, row.id, label, fields, until, ONE_OFF)
    wider = statement(request, row.id, label, ("uprn", "crew_notes"), until, ONE_OFF)
    good = sign_grant(right, fire.key)
    for signed, field in (
        (sign_grant(wider, fire.key), "signed.statement"),
        (sign_grant(right, ambulance.key), "signed.key_id"),
        (replace(good, signature=bytes(64)), "signed"),
    ):
        ruling = grants(*fields, until=until, one_off=ONE_OFF, signed=signed)
        with pytest.raises(InvalidRequest) as caught:
            await stage.referrals.decide(OWNER, row.id, ruling, GUARDIAN)
        assert caught.value.field == field
    ruling = grants(*fields, until=until, one_off=ONE_OFF, signed=good)
    await stage.referrals.decide(OWNER, row.id, ruling, GUARDIAN)
    stage.finds(request)
    await stage.exchange.answer(again(request))
    assert stage.providers.asked[-1][0].signed == good
