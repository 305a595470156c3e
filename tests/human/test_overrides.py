"""Overrides: fewer fields, the owner told with the entry, reviewed by name, restricted where wrong."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from broker.core.model import Assurance, Override, Reason, Request
from broker.core.views import RequesterView
from broker.errors import Denied, InvalidRequest, NotAllowed, ProviderUnavailable, SubjectNotFound
from broker.ports import Disclosed, NotFound, ProviderFailed
from broker.queues import StoredOverride
from tests.human.conftest import ASSERTED, GUARDIAN, OVERRIDDEN, OWNER, SILENT_OVERRIDDEN, later, soon
from tests.support.stage import COUNCIL, Stage
from tests.support.values import replace
from tests.support.world import LOOKING, OPERATOR, caller, said

WORDS = "the father is at the door with a knife"
BREAK_GLASS = Override("life-at-risk", WORDS)


def breaks_glass(stage: Stage, **changes: Any) -> Request:
    """A request that goes past whatever an override may."""
    made = stage.asks(purpose=OVERRIDDEN, override=BREAK_GLASS, reason=Reason("urgent", "other words"))
    return replace(made, **changes)


async def objected(stage: Stage, request: Request) -> Request:
    """The request, after the person has objected."""
    assert request.subject is not None
    await stage.said.add(COUNCIL, request.subject, stage.objection(), GUARDIAN)
    return request


async def used(stage: Stage, request: Request | None = None) -> tuple[Disclosed, StoredOverride]:
    """An override that was used, and its row in the owner's queue."""
    request = request or await objected(stage, breaks_glass(stage))
    stage.finds(request)
    disclosed = await stage.exchange.answer(request)
    return disclosed, await row_of(stage, request)


async def row_of(stage: Stage, request: Request) -> StoredOverride:
    """Its row."""
    found, _, _ = await stage.overrides.listed(OWNER, GUARDIAN, LOOKING)
    (row,) = [each.row for each in found if each.row.request == request.request_id]
    return row


async def test_an_override_gives_fewer_fields_and_the_owner_has_it_to_review(stage: Stage) -> None:
    """The row stands with the entry: who, on what code, what was given, what it went past, due in 72 hours."""
    start = await stage.size()
    disclosed, row = await used(stage)
    assert disclosed.decision.permitted == ("hazards.items.code", "hazards.state", "uprn")
    assert [o.code for o in disclosed.decision.obligations][-1] == "override-review"
    full = (await stage.since(start))[-2]
    assert (full["event"], full["override"], full["overridden"]["used"]) == ("disclosure", "life-at-risk", True)
    assert (row.code, row.words, row.status) == ("life-at-risk", WORDS, "open")
    assert (row.due_at - row.used_at).total_seconds() == 72 * 3600
    assert row.used["given"] == ["hazards.items.code", "hazards.state", "uprn"]
    assert row.used["waived"] == ["person.not-against"]
    assert row.used["request"]["actor"]["id"] == "a.hill"  # type: ignore[index,call-overload]
    assert WORDS not in json.dumps([full, row.used])
    if stage.kind == "postgres":
        assert isinstance(full["words"], str), "committed to, in a row of their own"
    assert await stage.view.parties(row.id) == ("nwas", "cfrs"), "the owner reads the entry at once"


async def test_without_need_nothing_is_overridden(stage: Stage) -> None:
    """Where nothing refuses, all permitted fields go out, and nobody has anything to review."""
    request = breaks_glass(stage)
    stage.finds(request)
    disclosed = await stage.exchange.answer(request)
    assert disclosed.decision.override == ""
    assert len(disclosed.decision.permitted) > 3
    found, _, _ = await stage.overrides.listed(OWNER, GUARDIAN, LOOKING)
    assert request.request_id not in {each.row.request for each in found}


async def test_a_use_is_one_that_the_provider_answered(stage: Stage) -> None:
    """Not found is a use, since something was learnt; a provider that failed was not used."""
    request = await objected(stage, breaks_glass(stage))
    stage.providers.answers(ProviderFailed(ProviderUnavailable("away"), "away"))
    with pytest.raises(ProviderUnavailable):
        await stage.exchange.answer(request)
    stage.providers.answers(NotFound())
    with pytest.raises(SubjectNotFound):
        await stage.exchange.answer(request)
    assert (await row_of(stage, request)).status == "open"


async def test_a_repeat_is_no_second_use(stage: Stage) -> None:
    """The same request id gives the same entry, and one row."""
    disclosed, row = await used(stage)
    again = await stage.exchange.answer(disclosed.request)
    assert again.replayed
    assert (await row_of(stage, disclosed.request)).id == row.id


async def test_only_the_owner_sees_them_and_a_named_human_reviews_once(stage: Stage) -> None:
    """Others hear the same words as for none; both parties read the verdict, the owner who gave it."""
    _, row = await used(stage)
    for other in (caller(), COUNCIL):
        for wanted in (row.id, str(uuid.uuid4())):
            with pytest.raises(NotAllowed, match="no such override that your agency may review"):
                await stage.overrides.review(other, wanted, "justified", "why not", GUARDIAN)
        assert row.id not in {
            each.row.id for each in (await stage.overrides.listed(other, GUARDIAN, LOOKING))[0]
        }
    with pytest.raises(NotAllowed):
        await stage.overrides.listed(OPERATOR, GUARDIAN, LOOKING)
    for verdict, words, actor, field in (
        ("fine", "words", GUARDIAN, "verdict"),
        ("justified", "", GUARDIAN, "reasoning"),
        ("justified", "words", ASSERTED, "actor.assurance"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await stage.overrides.review(OWNER, row.id, verdict, words, actor)
        assert caught.value.field == field
    made = await stage.overrides.review(OWNER, row.id, "justified", "a life was at risk", GUARDIAN)
    receipt, full = await stage.view.receipt(made.event_id, "requester")
    assert receipt.opening is not None
    view = RequesterView.parse(receipt.opening.view)
    assert (view.event, view.request_id, view.outcome) == ("override-reviewed", row.request, "justified")
    assert b"p.moss" not in receipt.opening.view
    assert "a life was at risk" not in json.dumps(full)
    with pytest.raises(InvalidRequest, match="was reviewed already: justified"):
        await stage.overrides.review(OWNER, row.id, "not-justified", "second thoughts", GUARDIAN)
    stored = await stage.overridden.by_id(row.id)
    assert stored is not None
    assert stored.review["reviewed_by"]["id"] == "p.moss"  # type: ignore[index,call-overload]


async def test_a_silent_agreements_review_is_nothing_to_the_requester(stage: Stage) -> None:
    """Under neither-confirm-nor-deny a review would tell that the provider was asked and what became of it."""
    request = await objected(stage, breaks_glass(stage, purpose=SILENT_OVERRIDDEN))
    stage.providers.answers(NotFound())
    with pytest.raises(Denied) as caught:
        await stage.exchange.answer(request)
    assert caught.value.code == "no-answer"
    row = await row_of(stage, request)
    made = await stage.overrides.review(OWNER, row.id, "justified", "a life was at risk", GUARDIAN)
    assert await stage.view.parties(made.event_id) == ("", "cfrs")
    assert (await stage.view.receipt(made.event_id, "requester"))[0].opening is None
    assert (await stage.view.receipt(made.event_id, "provider"))[0].opening is not None


async def test_a_list_says_in_its_entry_which_overrides_were_shown(stage: Stage) -> None:
    """Each is shown with its person and actor, so whose was looked at can be found from the log."""
    _, row = await used(stage)
    start = await stage.size()
    found, standing, _ = await stage.overrides.listed(OWNER, GUARDIAN, LOOKING)
    (full,) = await stage.since(start)
    assert full["event"] == "overrides-viewed"
    assert row.id in full["detail"]["overrides"]
    assert full["detail"]["overrides"] == [each.row.id for each in found]
    assert full["detail"]["restrictions"] == [each.id for each in standing]


async def test_one_override_restricts_an_actor_once(stage: Stage) -> None:
    """Requests by the restricted read every restriction of them: an owner cannot pile them up."""
    _, row = await used(stage)
    await stage.overrides.review(OWNER, row.id, "not-justified", "nobody was at risk", GUARDIAN)
    restriction, _ = await stage.overrides.restrict(OWNER, row.id, "actor", soon(), "why", GUARDIAN)
    with pytest.raises(InvalidRequest, match="restricted for this override; lift that first"):
        await stage.overrides.restrict(OWNER, row.id, "actor", None, "why", GUARDIAN)
    role, _ = await stage.overrides.restrict(OWNER, row.id, "role", soon(), "why", GUARDIAN)
    await stage.overrides.lift(OWNER, restriction, "over", GUARDIAN)
    again, _ = await stage.overrides.restrict(OWNER, row.id, "actor", None, "why", GUARDIAN)
    made = await stage.overridden.restrictions({"cfrs"})
    lifted = [each.lifted_at is not None for each in made]
    assert lifted == sorted(lifted), "what is not lifted stands first, or it could not be lifted any more"
    for each in (role, again):
        await stage.overrides.lift(OWNER, each, "over", GUARDIAN)


async def test_an_overdue_review_is_escalated(stage: Stage) -> None:
    """To the Caldicott guardian whom the agreement names."""
    _, row = await used(stage)
    for hours, overdue in ((71, False), (73, True)):
        found, _, _ = await later(stage, hours=hours)[1].listed(OWNER, GUARDIAN, LOOKING)
        (seen,) = [each for each in found if each.row.id == row.id]
        assert (seen.overdue, seen.escalate_to) == (overdue, "Ada Guardian")


@pytest.mark.parametrize(
    ("what", "others"),
    [
        ("actor", {"actor": replace(GUARDIAN, role="ambulance-crew", id="b.dale")}),
        ("role", {"actor": replace(GUARDIAN, role="paramedic")}),
        ("system", None),
    ],
)
async def test_who_was_not_justified_may_be_restricted_and_others_not(
    stage: Stage, what: str, others: dict[str, Any] | None
) -> None:
    """By actor, role or system, until it is lifted; the requester reads nothing of it."""
    _, row = await used(stage)
    with pytest.raises(InvalidRequest, match="neither found unjustified nor overdue"):
        await stage.overrides.restrict(OWNER, row.id, what, None, "why", GUARDIAN)
    await stage.overrides.review(OWNER, row.id, "not-justified", "nobody was at risk", GUARDIAN)
    restriction, _ = await stage.overrides.restrict(OWNER, row.id, what, None, "after three of them", GUARDIAN)
    request = await objected(stage, breaks_glass(stage))
    stage.finds(request)
    start = await stage.size()
    with pytest.raises(Denied) as caught:
        await stage.exchange.answer(request)
    assert caught.value.refusal.code == "person"
    assert what not in caught.value.refusal.message
    full = (await stage.since(start))[0]
    assert f"restricted overrides by this {what}" in full["rules"][-1]
    if others is not None:
        await used(stage, replace(request, request_id=str(uuid.uuid4()), **others))
    _, standing, _ = await stage.overrides.listed(OWNER, GUARDIAN, LOOKING)
    assert [each.what for each in standing if each.id == restriction] == [what]
    await stage.overrides.lift(OWNER, restriction, "trained since", GUARDIAN)
    await used(stage, replace(request, request_id=str(uuid.uuid4())))
    with pytest.raises(InvalidRequest, match="lifted already"):
        await stage.overrides.lift(OWNER, restriction, "again", GUARDIAN)
    with pytest.raises(NotAllowed):
        await stage.overrides.lift(COUNCIL, restriction, "not ours", GUARDIAN)


async def test_a_restriction_between_decision_and_append_counts(stage: Stage) -> None:
    """The override is under way: the append gives it back, and it is decided again without."""
    _, row = await used(stage)
    await stage.overrides.review(OWNER, row.id, "wrong-person", "another family", GUARDIAN)
    request = await objected(stage, breaks_glass(stage))
    stage.finds(request)
    find = stage.providers.script
    assert find is not None
    made: list[str] = []

    async def meanwhile(question: Any) -> Any:
        restriction, _ = await stage.overrides.restrict(OWNER, row.id, "actor", soon(), "at once", GUARDIAN)
        made.append(restriction)
        return await find(question)

    stage.providers.script = meanwhile
    with pytest.raises(Denied):
        await stage.exchange.answer(request)
    await stage.overrides.lift(OWNER, made[0], "over", GUARDIAN)


async def test_an_overdue_review_may_restrict_and_a_restriction_ends_by_itself(stage: Stage) -> None:
    """Nobody has looked at it in time: that is enough; past its end it holds nobody back."""
    _, row = await used(stage)
    desk = later(stage, hours=73)[1]
    with pytest.raises(InvalidRequest, match="until: is past"):
        await desk.restrict(OWNER, row.id, "actor", soon(), "overdue", GUARDIAN)
    restriction, _ = await desk.restrict(OWNER, row.id, "actor", soon(hours=74), "overdue", GUARDIAN)
    request = await objected(stage, breaks_glass(stage))
    with pytest.raises(Denied):
        await stage.exchange.answer(request)
    _, standing, _ = await later(stage, hours=75)[1].listed(OWNER, GUARDIAN, LOOKING)
    assert restriction not in {each.id for each in standing}
    await stage.overrides.lift(OWNER, restriction, "over", GUARDIAN)


async def test_where_life_depends_on_the_answer_nothing_is_restricted(stage: Stage) -> None:
    """Whoever is restricted for one purpose is not for a vital one."""
    _, row = await used(stage)
    await stage.overrides.review(OWNER, row.id, "not-justified", "nobody was at risk", GUARDIAN)
    restriction, _ = await stage.overrides.restrict(OWNER, row.id, "actor", None, "why", GUARDIAN)
    request = await objected(stage, breaks_glass(stage, purpose="mental-health-crisis"))
    disclosed, _ = await used(stage, request)
    assert disclosed.decision.override == "life-at-risk"
    await stage.overrides.lift(OWNER, restriction, "over", GUARDIAN)


async def test_an_override_never_reaches_a_protected_identity(stage: Stage) -> None:
    """Nor a conflict of interest: refused, and nothing queued."""
    for kind, more in (("protected-identity", {}), ("staff-conflict", {"actors": frozenset({"a.hill"})})):
        request = breaks_glass(stage)
        assert request.subject is not None
        await stage.said.add(COUNCIL, request.subject, said(kind, **more), GUARDIAN)
        with pytest.raises(Denied):
            await stage.exchange.answer(request)
        found, _, _ = await stage.overrides.listed(OWNER, GUARDIAN, LOOKING)
        assert request.request_id not in {each.row.request for each in found}


async def test_who_is_not_known_in_person_overrides_nothing(stage: Stage) -> None:
    """An override is by a named human: a shared device's does not count."""
    request = await objected(stage, breaks_glass(stage))
    shared = replace(request, actor=replace(request.actor, assurance=Assurance.ROSTER))
    with pytest.raises(Denied):
        await stage.exchange.answer(shared)
