"""Why it was decided so: to each audience as much as is its own, and every look an entry."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import Any

import pytest

from broker.core.explained import MEND, every_step
from broker.core.model import Actor, Caller, Override, Reason, Request
from broker.core.steps import STEPS
from broker.errors import (
    BrokerError,
    IntegrityError,
    InvalidRequest,
    NotAllowed,
    ProviderUnavailable,
    Saturated,
)
from broker.explanations import AT_ONCE, ERASED, Explained
from broker.ports import LogView, ManyMatch, NotFound, ProviderFailed
from broker.verdicts import Verdict
from tests.support.memory import all_texts
from tests.support.past import MemoryPast, Why
from tests.support.values import replace
from tests.support.world import (
    ACTOR,
    AUDITOR,
    HOME,
    OPERATOR,
    OTHER_HOME,
    WATCHED,
    World,
    ask,
    caller,
    flow,
    said,
)

NWAS, CFRS, COUNCIL = caller(), caller("cfrs"), caller("cumberland")
LOOKS = Actor("r.audit", "auditor")
WHY = Reason("complaint", "a letter of the family's")
# What may be behind one refusal about a person.
BEHIND = {
    "objection": said("objection"),
    "restriction": said("restriction"),
    "protected": said("protected-identity"),
    "conflict": said("staff-conflict", actors=frozenset({ACTOR.id})),
}


@pytest.fixture
async def world() -> World:
    """With an agreement, and a provider that has a record."""
    made = await World().ready()
    made.agree()
    made.providers.answers(made.found())
    return made


async def asked(world: World, **changes: Any) -> Request:
    """A request that has been answered, whatever with."""
    request = ask(**changes)
    with suppress(BrokerError):
        await world.exchange.answer(request)
    return request


async def own(world: World, request: Request) -> Explained:
    """What the requester is told of it."""
    return await world.why.explanations.of_request(NWAS, request.request_id, ACTOR, WHY)


async def newest(world: World, who: Caller, reason: Reason = WHY) -> Explained:
    """What somebody is told of the newest entry."""
    entry = world.store.entries[-1].draft.id
    return await world.why.explanations.of_entry(who, entry, LOOKS, reason)


def told(explained: Explained) -> Any:
    """Everything in it but which entries it is about, and when."""
    decision = explained.decision
    dateless = replace(decision, decided_at=world_began) if decision else None
    return replace(explained, look="", entry="", decision=dateless)


world_began = World().clock.now()


async def test_a_permit_to_whoever_asked(world: World) -> None:
    """The stages that were gone through, the law, the agreement's fields, and what it withholds."""
    explained = await own(world, await asked(world))
    assert {line.verdict for line in explained.lines} == {"pass"}
    assert [line.rule for line in explained.lines][-4:] == ["person", "context", "referred", "agreement"]
    assert explained.decision is not None
    assert explained.decision.agreement == "nwas-cfrs-premises"
    assert explained.permitted == tuple(sorted(flow()["permitted"]))
    assert {w.path for w in explained.withheld} >= {"crew_notes"}
    assert (explained.inputs, explained.replay, explained.refused) == ((), None, None)


async def test_a_refusal_that_stands_for_everybody(world: World) -> None:
    """It ends at its stage, with the words and the remedy that were told, and nothing about the person."""
    explained = await own(world, await asked(world, actor=replace(ACTOR, role="dispatcher")))
    assert [line.rule for line in explained.lines] == ["party", "purpose", "agreement", "role"]
    last = explained.lines[-1]
    assert (last.verdict, last.mend) == (
        "refuse",
        "Ask through somebody in one of these roles: ambulance-crew.",
    )
    assert (explained.permitted, explained.withheld) == ((), ())


async def test_whatever_is_behind_a_refusal_about_a_person_looks_the_same() -> None:
    """An objection, a restriction, a protected identity, a conflict: on any of the identifiers."""
    seen = []
    for directive in BEHIND.values():
        for about in (HOME, OTHER_HOME):
            world = await World().ready()
            world.agree()
            world.providers.answers(world.found("records.fire.v1.PremisesRisk", OTHER_HOME))
            world.say(about, directive)
            seen.append(await own(world, await asked(world)))
    first = told(seen[0])
    assert first.refused.code == "person"
    assert [line.rule for line in first.lines][-1] == "person"
    assert all(told(each) == first for each in seen)
    words = " ".join(all_texts([[*map(str, line.__struct_fields__), str(line)] for line in first.lines]))
    for word in (*BEHIND, "cumberland", "recorded", "identity"):
        assert word not in words


@pytest.mark.parametrize("record_type", ["records.fire.v1.PremisesRisk", WATCHED])
async def test_neither_confirm_nor_deny_says_nothing_to_whoever_asked(record_type: str) -> None:
    """Absent, refused, protected, conflicted, too many, and a provider that failed: one explanation."""
    seen = []
    answers = [NotFound(), ManyMatch(("birth_date",)), ProviderFailed(ProviderUnavailable("x"), "x")]
    for directive, answer in [*((d, None) for d in BEHIND.values()), *((None, a) for a in answers)]:
        world = await World().ready()
        world.agree(ncnd=True, flows=[flow(record_type=record_type)])
        world.providers.answers(answer or world.found(record_type, OTHER_HOME))
        if directive is not None:
            world.say(OTHER_HOME if directive.kind == "objection" else HOME, directive)
        seen.append(await own(world, await asked(world, record_type=record_type)))
    first = told(seen[0])
    assert first.refused.code == "no-answer"
    assert (first.permitted, first.decision.outcome, first.decision.decided_at.microsecond) == ((), "refuse", 0)
    assert all(told(each) == first for each in seen)


async def test_an_intent_says_nothing_to_whoever_asked(world: World) -> None:
    """Written before the provider is asked, and under ncnd whatever was decided: it has no stages to show."""
    world.agree(ncnd=True, version=2, flows=[flow(record_type=WATCHED)])
    world.providers.answers(world.found(WATCHED))
    await asked(world, record_type=WATCHED)
    intent = next(k for k in world.store.entries if k.draft.full["event"] == "intent")
    explained = await world.why.explanations.of_entry(NWAS, intent.draft.id, LOOKS, WHY)
    assert (explained.lines, explained.decision, explained.refused) == ((), None, None)
    assert len(explained.notes) == 1


async def test_a_referral_shows_no_step_about_the_person() -> None:
    """What was noted for the human who decides, and that there is nothing, look the same."""
    seen = []
    for directives in ((), (said("objection"),), (said("refusal"), said("restriction"))):
        world = await World().ready()
        world.agree(flows=[flow(judgement=True)])
        for directive in directives:
            world.say(HOME, directive)
        seen.append(told(await own(world, await asked(world))))
    assert seen[0].refused.code == "referred"
    assert (seen[0].lines[-1].rule, seen[0].lines[-1].verdict) == ("referred", "refer")
    assert seen[1] == seen[0] == seen[2]


async def test_a_safe_contact_does_not_show(world: World) -> None:
    """Fields kept back for somebody's sake are no part of what the agreement names or withholds."""
    terms: dict[str, Any] = {
        "purpose": "home-fire-safety",
        "legal": {"basis": "art6-1-e", "gateway": "frsa-2004-s6"},
        "flows": [flow(permitted=["uprn", "hazards.state", "address.postcode"])],
    }
    shown = []
    for directives in ((), (said("safe-contact"),)):
        made = await World().ready()
        made.agree(**terms)
        made.providers.answers(made.found())
        for directive in directives:
            made.say(HOME, directive)
        shown.append((await own(made, await asked(made, purpose="home-fire-safety")), made.store.entries))
    (plain, _), (shielded, entries) = shown
    assert told(plain) == told(shielded)
    permitted = [k.draft.full["permitted"] for k in entries if "decided" in k.draft.full]
    assert permitted == [["hazards.state"]], "nothing was kept back, so this test shows nothing"


async def test_an_override_is_told_as_one(world: World) -> None:
    """That it was used is known; past what it went about the person is not told."""
    world.agree(version=2, override={"codes": ["life-at-risk"]}, flows=[flow(override=["uprn"])])
    world.say(HOME, said("objection"))
    override = Override("life-at-risk", "no answer at the door")
    explained = await own(world, await asked(world, override=override, actor=replace(ACTOR, role="dispatcher")))
    verdicts = {line.rule: line.verdict for line in explained.lines}
    assert (verdicts["role"], verdicts["person"]) == ("override", "not told")
    assert explained.permitted == ("uprn",)


async def test_the_provider_reads_every_step(world: World) -> None:
    """Each with the owner's sentence, and who can mend the one that ended it; but no inputs and no replay."""
    world.providers.answers(world.found("records.fire.v1.PremisesRisk", OTHER_HOME))
    world.say(OTHER_HOME, said("objection", recorder="cfrs"))
    await asked(world)
    explained = await newest(world, CFRS)
    last = explained.lines[-1]
    assert (last.rule, last.verdict) == ("person.not-against", "refuse")
    assert last.sentence == "cfrs recorded a objection (self)."
    assert last.mend == MEND["person.not-against"]
    assert (explained.audience, explained.inputs, explained.replay) == ("provider", (), None)


@pytest.mark.parametrize("kind", ["objection", "refusal", "protected-identity"])
async def test_what_another_agency_recorded_is_not_the_providers_to_read(world: World, kind: str) -> None:
    """An adapter may say that a stranger's number is its own subject's: it learns whom to ask, no more."""
    world.providers.answers(world.found("records.fire.v1.PremisesRisk", OTHER_HOME))
    world.say(OTHER_HOME, said(kind))
    await asked(world)
    lines = (await newest(world, CFRS)).lines
    (about,) = (line for line in lines if line.rule.startswith("person"))
    assert about is lines[-1]
    assert (about.rule, about.verdict) == ("person", "refuse")
    assert about.sentence == "cumberland has recorded something that stands against it."
    assert kind not in str(lines)


async def test_a_provider_that_was_not_asked_is_told_nothing(world: World) -> None:
    """A refusal before dispatch is none of its entries; nor is anything a third agency's or an operator's."""
    world.say(HOME, said("objection"))
    await asked(world)
    for who in (CFRS, COUNCIL, OPERATOR):
        with pytest.raises(NotAllowed, match="no such entry that you may see"):
            await newest(world, who)


async def test_an_auditor_reads_everything(world: World) -> None:
    """Each step with its question and its law, the inputs by id, and the decision made again."""
    directive = world.say(HOME, said("objection"))
    await asked(world)
    explained = await newest(world, AUDITOR)
    walked = [s.rule for s in STEPS][: len(explained.lines)]
    assert [line.rule for line in explained.lines] == walked
    assert all(line.asks.endswith("?") and line.law for line in explained.lines)
    assert explained.replay is not None
    assert explained.replay.verdict is Verdict.SAME
    inputs = {each.kind: each for each in explained.inputs}
    assert inputs["directive"].id == directive.id
    assert inputs["agreement"].id == "nwas-cfrs-premises/1"
    assert {i.id for i in explained.inputs if i.kind == "agency"} == {"nwas", "cfrs"}
    assert HOME.value not in str(explained.inputs)


async def test_every_look_is_an_entry_before_it_is_shown(world: World) -> None:
    """Who looked, at what, as whom, and why; and where it cannot be written down, nothing is shown."""
    request = await asked(world)
    entry = world.store.entries[-1].draft.id
    explained = await world.why.explanations.of_entry(AUDITOR, entry, LOOKS, WHY)
    look = world.store.entries[-1].draft
    assert (look.id, look.full["event"], look.words) == (explained.look, "explained", WHY.words)
    subject = request.subject
    assert subject is not None
    assert look.full["detail"] == {
        "entry": entry,
        "audience": "full",
        "subjects": [{"scheme": subject.scheme, "value": subject.value}],
        "requests": [request.request_id],
        "reason": "complaint",
    }
    assert look.full["actor"] == {"id": "r.audit", "role": "auditor"}
    await own(world, request)
    assert world.store.events[-1] == "explained"
    world.store.log.fail = 2
    with pytest.raises(BrokerError):
        await newest(world, AUDITOR)
    with pytest.raises(BrokerError):
        await own(world, request)


async def test_a_reason_is_needed(world: World) -> None:
    """To open an entry by its id, somebody says why."""
    await asked(world)
    with pytest.raises(InvalidRequest, match=r"reason\.code"):
        await newest(world, AUDITOR, Reason())


async def test_requests_of_others_cannot_be_probed(world: World) -> None:
    """Another system's id, and one that nobody used, get the same words."""
    request = await asked(world)
    texts = set()
    for who, request_id in ((caller("cfrs"), request.request_id), (NWAS, str(uuid.uuid4()))):
        with pytest.raises(InvalidRequest) as caught:
            await world.why.explanations.of_request(who, request_id, ACTOR, WHY)
        texts.add(str(caught.value))
    assert len(texts) == 1
    assert world.store.events[-1] != "explained"
    with pytest.raises(NotAllowed):
        await world.why.explanations.of_request(AUDITOR, request.request_id, ACTOR, WHY)


async def test_an_entry_of_another_kind_and_one_that_was_erased(world: World) -> None:
    """Both are said to be what they are."""
    await asked(world)
    explained = await newest(world, AUDITOR)
    assert explained.lines
    assert "another kind" in (await newest(world, AUDITOR)).notes[0]
    kept = world.store.entries[0]
    world.store.entries[0] = replace(kept, sealed=replace(kept.sealed, full=None))
    explained = await world.why.explanations.of_entry(AUDITOR, kept.draft.id, LOOKS, WHY)
    assert (explained.notes, explained.lines) == ((ERASED,), ())


async def test_a_view_that_was_changed_is_not_explained(world: World) -> None:
    """The stored view is held against the entry before a word of it is shown."""
    await asked(world)
    kept = world.store.entries[-1]
    full = kept.sealed.full
    lie = replace(full, view=full.view.replace(b'"permit"', b'"refuse"'))
    world.store.entries[-1] = replace(kept, sealed=replace(kept.sealed, full=lie))
    for who in (AUDITOR, NWAS, CFRS):
        with pytest.raises(IntegrityError, match="not the one that the entry commits to"):
            await world.why.explanations.of_entry(who, kept.draft.id, LOOKS, WHY)


def test_every_step_can_be_mended_by_somebody() -> None:
    """A step that is new has a sentence for it, and the one that ends a walk shows it."""
    assert MEND.keys() == {step.rule for step in STEPS}
    (line,) = every_step([("another.release", "refuse", "why")])
    assert (line.asks, line.law, line.mend) == ("", "", "")


# Hypotheticals.


async def supposed(world: World, **changes: Any) -> Explained:
    """What a request that has not been made would come to."""
    return await world.why.explanations.hypothetical(NWAS, ask(**changes))


async def test_a_hypothetical_knows_nobody(world: World) -> None:
    """It is the same whatever anybody has said, and says that it did not look."""
    before = await supposed(world)
    for directive in BEHIND.values():
        world.say(HOME, directive)
    after = await supposed(world)
    assert told(before) == told(after)
    verdicts = {line.rule: line.verdict for line in before.lines}
    assert verdicts["person"] == "left out"
    assert before.decision is not None
    assert before.decision.outcome == "permit"
    assert before.notes[0].startswith("Decided with nothing of the person")


async def test_a_hypothetical_where_consent_is_required(world: World) -> None:
    """Whose record of it counts is told, for it is in the agreement; whether there is one is not looked at."""
    world.agree(version=2, directives={"weight": "required", "recorders": ["cumberland"]})
    explained = await supposed(world)
    assert explained.refused is None
    assert "recorded by cumberland" in explained.notes[1]


async def test_a_hypothetical_refused(world: World) -> None:
    """By what stands for everybody, in the words that a request would get."""
    explained = await supposed(world, actor=replace(ACTOR, role="dispatcher"))
    assert explained.refused is not None
    assert explained.refused.code == "role"
    assert explained.lines[-1].rule == "role"


async def test_a_hypothetical_is_an_entry_that_binds_no_id_and_names_nobody(world: World) -> None:
    """The same id can be asked with afterwards; the entry has no identifier; the provider hears of nothing."""
    request = ask(reason=Reason("complaint", "words of a caller"))
    await world.why.explanations.hypothetical(NWAS, request)
    entry = world.store.entries[-1].draft
    assert entry.full["event"] == "explained"
    assert HOME.value not in str(entry.full)
    assert "words of a caller" not in str(entry.full)
    assert entry.full["detail"]["hypothetical"]["scheme"] == "uprn"  # type: ignore[index,call-overload]
    assert not world.providers.asked
    assert (await world.exchange.answer(request)).record is not None


async def test_a_hypothetical_of_unknown_words(world: World) -> None:
    """Codes that nobody gave a meaning are bad input, as in a request."""
    with pytest.raises(InvalidRequest, match="purpose"):
        await supposed(world, purpose="curiosity")
    with pytest.raises(NotAllowed):
        await world.why.explanations.hypothetical(AUDITOR, ask())


class _Slow:
    """The log, with somebody else's turn before each answer."""

    def __init__(self, log: LogView) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def receipt(self, event_id: str, audience: str) -> Any:
        await asyncio.sleep(0)
        return await self._log.receipt(event_id, audience)


async def test_an_agency_has_so_many_explanations_at_a_time(world: World) -> None:
    """Each may make a day long past anew: the next one more is told to come later, another agency is not."""
    request = await asked(world)
    why = Why.of(
        world.administration,
        world.agreements,
        _Slow(world.store.log),
        world.store.facts,
        world.store.reference,
        MemoryPast(world.store),
        world.clock,
    )
    ask_why = why.explanations.of_request
    told = await asyncio.gather(
        *(ask_why(NWAS, request.request_id, LOOKS, WHY) for _ in range(AT_ONCE + 1)), return_exceptions=True
    )
    assert [isinstance(each, Explained) for each in told] == [True] * AT_ONCE + [False]
    assert isinstance(told[-1], Saturated)
    assert isinstance(await ask_why(NWAS, request.request_id, LOOKS, WHY), Explained)
