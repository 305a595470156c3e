"""The use cases of directives: who may record, lift and look, what a consent is worth, how many there are."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from datetime import date, timedelta
from typing import Any

import pytest

from broker.core.directive import KINDS as DIRECTIVE_KINDS
from broker.core.model import Actor, Caller
from broker.directives import MAX_ABOUT_ONE
from broker.errors import BrokerError, InvalidRequest, NotAllowed
from tests.support.world import AUDITOR, HOME, LOOKING, OPERATOR, OTHER_HOME, World, caller, said

ACTOR = Actor("o.fell", "operator")
NWAS, COUNCIL = caller("nwas"), caller("cumberland")


@pytest.fixture
async def world() -> World:
    """A world without agreements."""
    return await World().ready()


async def refused(work: Awaitable[object], error: type[BrokerError], field: str = "") -> BrokerError:
    """The work is refused, by field where one is named."""
    with pytest.raises(error) as caught:
        await work
    if field:
        assert isinstance(caught.value, InvalidRequest)
        assert caught.value.field == field
    return caught.value


@pytest.mark.parametrize("who", [OPERATOR, AUDITOR], ids=["operator", "auditor"])
async def test_only_partners_hold_what_people_say(world: World, who: Caller) -> None:
    """Neither operators nor auditors record, withdraw or look."""
    use = world.directives
    await refused(use.add(who, HOME, said("consent"), ACTOR), NotAllowed)
    await refused(use.withdraw_one(who, str(uuid.uuid4()), ACTOR), NotAllowed)
    await refused(use.withdraw_consents(who, HOME, "", ACTOR), NotAllowed)
    await refused(use.of_own(who, HOME, ACTOR, LOOKING), NotAllowed)
    assert world.store.entries == []


@pytest.mark.parametrize(
    ("field", "scope"),
    [
        ("directive.purposes", {"purposes": frozenset({"home-fire-safty"})}),
        ("directive.record_types", {"record_types": frozenset({"records.fire.v1.Risk"})}),
        ("directive.requesters", {"requesters": frozenset({"nwaas"})}),
        ("directive.providers", {"providers": frozenset({"cfrs", ""})}),
    ],
)
async def test_a_scope_that_names_nothing_is_refused(world: World, field: str, scope: dict[str, Any]) -> None:
    """A misspelt name would protect nobody."""
    await refused(world.directives.add(NWAS, HOME, said("objection", **scope), ACTOR), InvalidRequest, field)


async def test_the_recorder_is_who_recorded(world: World) -> None:
    """Whatever the directive says: an agency's certificate gives that agency's rights."""
    await world.directives.add(NWAS, HOME, said("consent", "cumberland"), ACTOR)
    ((_, directive),) = world.store.directives.values()
    assert directive.recorder == "nwas"


@pytest.mark.parametrize("kind", sorted(DIRECTIVE_KINDS))
async def test_who_may_withdraw_what(world: World, kind: str) -> None:
    """A consent through any party: withdrawing is as easy as giving. Anything else by its recorder alone."""
    actors = frozenset({"a.hill"} if kind == "staff-conflict" else ())
    directive = world.say(HOME, said(kind, "cumberland", actors=actors))
    by_another = world.directives.withdraw_one(NWAS, directive.id, ACTOR)
    if kind == "consent":
        assert (await by_another).ids == (directive.id,)
    else:
        await refused(by_another, NotAllowed)
        assert await world.store.by_id(directive.id) is not None
        assert (await world.directives.withdraw_one(COUNCIL, directive.id, ACTOR)).ids == (directive.id,)
    assert await world.store.by_id(directive.id) is None


async def test_ids_of_directives_cannot_be_probed(world: World) -> None:
    """None, another agency's, and one already withdrawn: the same error in the same words, and no entry."""
    theirs = world.say(HOME, said("objection", "cumberland"))
    own = world.say(HOME, said("objection", "nwas"))
    world.store.withdrawn.add(own.id)
    errors = [
        await refused(world.directives.withdraw_one(NWAS, each, ACTOR), NotAllowed)
        for each in (theirs.id, own.id, str(uuid.uuid4()))
    ]
    assert len({str(error) for error in errors}) == 1
    assert world.store.entries == []


async def test_consents_are_withdrawn_by_purpose(world: World) -> None:
    """Those that cover it, unlimited ones too, whoever recorded them; never an objection, nor somebody else's
    consent. The caller learns of its own agency's only, and of nothing where there was nothing."""
    wide = world.say(HOME, said("consent", NWAS.agency))
    narrow = world.say(HOME, said("consent", purposes=frozenset({"home-fire-safety"})))
    world.say(HOME, said("consent", purposes=frozenset({"audit"})))
    world.say(HOME, said("objection"))
    world.say(OTHER_HOME, said("consent"))
    done = await world.directives.withdraw_consents(NWAS, HOME, "home-fire-safety", ACTOR)
    assert done.ids == (wide.id,)
    assert world.store.withdrawn == {wide.id, narrow.id}
    policy = world.store.policy
    again = await world.directives.withdraw_consents(NWAS, HOME, "home-fire-safety", ACTOR)
    assert again.ids == ()
    assert world.store.events[-1] == "directive-withdrawn"
    assert world.store.policy == policy, "nothing moved, so no decision may be held up"


async def test_a_withdrawal_for_a_purpose_nobody_knows_is_refused(world: World) -> None:
    """A misspelt purpose would withdraw nothing and say that all is well."""
    world.say(HOME, said("consent", purposes=frozenset({"home-fire-safety"})))
    late = world.directives.withdraw_consents(NWAS, HOME, "home-fire-safty", ACTOR)
    await refused(late, InvalidRequest, "purpose")
    assert world.store.withdrawn == set()


async def test_a_consent_recorded_while_consents_are_withdrawn_is_seen(world: World) -> None:
    """The plan is made again on what is stored at the append."""
    read = world.store.facts.read
    late: list[str] = []

    async def overtaken(asked: Any) -> Any:
        facts = await read(asked)
        if not late:
            late.append(world.say(HOME, said("consent", NWAS.agency)).id)
        return facts

    world.store.facts.read = overtaken  # type: ignore[method-assign]
    done = await world.directives.withdraw_consents(NWAS, HOME, "", ACTOR)
    assert done.ids == (late[0],)


async def test_an_agency_sees_its_own_records_and_the_look_is_an_entry(world: World) -> None:
    """Not what others have recorded; and when the entry fails, nothing is shown."""
    own = world.say(HOME, said("consent", "nwas"))
    world.say(HOME, said("objection", "cumberland"))
    seen, _ = await world.directives.of_own(NWAS, HOME, ACTOR, LOOKING)
    assert [(each.directive, each.recorded_at) for each in seen] == [(own, world.clock.now())]
    assert world.store.events == ["directives-viewed"]
    world.store.log.fail = 1
    with pytest.raises(BrokerError):
        await world.directives.of_own(NWAS, HOME, ACTOR, LOOKING)


@pytest.mark.parametrize(
    ("recorder", "changes", "scope", "counted"),
    [
        ("cumberland", {}, {}, True),
        (
            "cumberland",
            {},
            {"purposes": frozenset({"emergency-response"}), "providers": frozenset({"cfrs"})},
            True,
        ),
        ("cumberland", {"directives": {"weight": "respected", "recorders": ["cumberland"]}}, {}, False),
        ("ncic", {}, {}, False),  # not among the recorders
        ("nwas", {}, {}, False),  # the requester's own word
        ("cumberland", {}, {"purposes": frozenset({"audit"})}, False),
        ("cumberland", {}, {"record_types": frozenset({"records.nhs.v1.PatientSummary"})}, False),
        ("cumberland", {"valid_from": date(2020, 1, 1), "valid_until": date(2020, 12, 31)}, {}, False),
        ("cumberland", {"valid_from": date(2100, 1, 1), "valid_until": date(2100, 12, 31)}, {}, True),
    ],
)
async def test_where_a_consent_counts(
    world: World, recorder: str, changes: dict[str, Any], scope: dict[str, Any], counted: bool
) -> None:
    """Under an agreement that requires one and names its recorder, for a flow in its scope, not yet over."""
    required = {"weight": "required", "recorders": ["cumberland", "nwas"]}
    world.agree(**{"id": "required", "directives": required, "review_on": date(2020, 6, 1), **changes})
    worth = await world.directives.worth(said("consent", recorder, **scope))
    assert worth == ((("required",) if counted else ()), "")
    assert await world.directives.worth(said("refusal", recorder, **scope)) == ((), "")


@pytest.mark.parametrize(
    ("changes", "lacks"),
    [
        ({"matter": "visit"}, "was given for a visit"),
        ({"capacity": "lacks"}, "lack capacity"),
        ({"standing": "gillick-child"}, "assessed the child's competence"),
        ({"standing": "attorney"}, "the right by which somebody spoke"),
        ({"reconsider_at": World().clock.now()}, "asked for again by now"),
        ({"reconsider_at": World().clock.now() + timedelta(days=1)}, ""),
    ],
)
async def test_why_a_consent_does_not_stand_is_said(world: World, changes: dict[str, Any], lacks: str) -> None:
    """And then it counts under nothing, whatever an agreement would make of it."""
    world.agree(directives={"weight": "required", "recorders": ["cumberland"]})
    counts_under, why = await world.directives.worth(said("consent", "cumberland", **changes))
    assert lacks in why
    assert bool(why) == bool(lacks)
    assert counts_under == (() if lacks else ("nwas-cfrs-premises",))


async def test_one_agency_has_so_many_about_one_subject(world: World) -> None:
    """What has run out counts until it is withdrawn, since decisions read it; others' and elsewhere do not."""
    long_ago = world.clock.now() - timedelta(days=1)
    kept = [world.say(HOME, said("objection", NWAS.agency)) for _ in range(MAX_ABOUT_ONE - 1)]
    world.say(HOME, said("objection", NWAS.agency, valid_until=long_ago))
    over = await refused(
        world.directives.add(NWAS, HOME, said("refusal"), ACTOR), InvalidRequest, "directive.subject"
    )
    assert f"may have {MAX_ABOUT_ONE}; withdraw" in str(over)
    assert world.store.entries == []
    await world.directives.add(COUNCIL, HOME, said("refusal"), ACTOR)
    await world.directives.add(NWAS, OTHER_HOME, said("refusal"), ACTOR)
    await world.directives.withdraw_one(NWAS, kept[0].id, ACTOR)
    await world.directives.add(NWAS, HOME, said("refusal"), ACTOR)


async def test_free_words_stand_where_they_can_be_erased(world: World) -> None:
    """What was explained is stored with the directive, and in its entry apart from the view."""
    await world.directives.add(COUNCIL, HOME, said("consent", explained="what a visit is"), ACTOR)
    ((_, stored),) = world.store.directives.values()
    assert stored.explained == "what a visit is"
    draft = world.store.entries[-1].draft
    assert draft.words == "what a visit is"
    assert "what a visit is" not in str(draft.full)
