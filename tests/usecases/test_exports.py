"""Taking entries away: who gets what, that it is an entry first, and that what is given proves itself."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.checkpoint import open_checkpoint
from broker.core.keys import Verifier
from broker.core.model import Caller, Function, Reason, SubjectRef
from broker.core.receipt import NOT_AT_HAND, Audience, Receipt, verify_receipt
from broker.core.searchterms import Question
from broker.errors import BrokerError, InvalidRequest, NotAllowed, Saturated
from broker.exports import Exports, Head, Part, Row
from broker.ranges import Range
from tests.support.memory import ORIGIN, MemoryStore
from tests.support.values import replace
from tests.support.world import ACTOR, AUDITOR, HOME, OPERATOR, OTHER_HOME, World, ask, caller, said

NWAS, CFRS = caller("nwas"), caller("cfrs")
WHY = Reason("complaint", "somebody asked")
LINKED = SubjectRef("nhs-number", "9434765919")
NOTHING = Question()


async def furnished(**terms: Any) -> World:
    """A world in which the provider knows HOME's person by a number as well."""
    world = World()
    world.agree(**terms)
    await world.ready()
    world.providers.answers(world.found("records.fire.v1.PremisesRisk", LINKED))
    return world


async def asked(world: World, **changes: Any) -> None:
    """One request, whatever comes of it."""
    with suppress(BrokerError):
        await world.exchange.answer(ask(**changes))


async def taken(
    exports: Exports, who: Caller, question: Question = NOTHING, within: Range | None = None
) -> tuple[Head, list[Row], list[Part]]:
    """A whole export."""
    every = [each async for each in exports.export(who, question, within or Range(), ACTOR, WHY)]
    head, parts = every[0], every[1:]
    assert isinstance(head, Head)
    checked = [part for part in parts if isinstance(part, Part)]
    assert len(checked) == len(parts)
    return head, [row for part in checked for row in part.rows], checked


def proven(store: MemoryStore, head: Head, row: Row) -> None:
    """The row verifies by itself."""
    receipt = Receipt(row.entry, row.index, row.proof, head.checkpoint, row.opening)
    keys = [Verifier.from_vkey(store.signer.vkey)]
    verify_receipt(receipt, keys, record=NOT_AT_HAND, audience=row.audience or Audience.REQUESTER)


async def test_the_export_is_an_entry_before_anything_is_read() -> None:
    """With who, why, what for and the range; nothing is read where it cannot be written down."""
    world = await furnished()
    await asked(world)
    question = Question((("purpose", "emergency-response"),), HOME)
    await taken(world.exports, NWAS, question, Range(0, 1, 1))
    full: Any = world.store.entries[-2].draft.full
    assert (full["event"], full["requester"], full["actor"]["id"]) == ("log-exported", "nwas", "a.hill")
    _, ends = world.store.entries[-2:]
    said: Any = ends.draft.full
    assert (said["event"], said["detail"]["ends"], said["detail"]["rows"]) == (
        "log-exported",
        world.store.entries[-2].draft.id,
        1,
    )
    detail = full["detail"]
    assert detail["facts"] == ["purpose emergency-response"]
    assert detail["subject"] == {"scheme": "uprn", "value": HOME.value}
    assert (detail["first"], detail["before"], detail["size"], detail["reason"]) == (0, 1, 1, "complaint")
    world.store.log.fail = 1
    with pytest.raises(BrokerError):
        await taken(world.exports, AUDITOR)


async def test_an_export_that_is_cut_off_has_no_end() -> None:
    """Whoever leaves before its last part is not said to have taken so much and no more; nor is an export
    complete whose end cannot be written down."""
    world = await furnished()
    for _ in range(3):
        await asked(world)
    given = world.exports.export(AUDITOR, NOTHING, Range(), ACTOR, WHY)
    assert isinstance(await anext(given), Head)
    assert isinstance(await anext(given), Part)
    await given.aclose()  # type: ignore[attr-defined]
    assert world.store.events.count("log-exported") == 1
    given = world.exports.export(AUDITOR, NOTHING, Range(), ACTOR, WHY)
    assert isinstance(await anext(given), Head)
    assert isinstance(await anext(given), Part)
    world.store.log.fail = 1
    with pytest.raises(BrokerError):
        await anext(given)
    assert world.store.events.count("log-exported") == 2


async def test_every_row_is_proven_to_one_checkpoint() -> None:
    """Of the log with the export's own entry, which is no row of it; in the log's order, without a gap."""
    world = await furnished()
    for _ in range(4):
        await asked(world)
    head, rows, parts = await taken(world.exports, AUDITOR)
    assert [row.index for row in rows] == [0, 1, 2, 3]
    assert (head.index, head.range, head.whole) == (4, Range(0, 4, 5, ORIGIN), True)
    assert open_checkpoint(head.checkpoint, [Verifier.from_vkey(world.store.signer.vkey)]).size == 5
    assert [part.looked for part in parts] == [4]
    for row in rows:
        proven(world.store, head, row)


async def test_the_same_range_and_size_give_the_same_rows() -> None:
    """Whatever has come since, to the same checkpoint's bytes: so it can be gone on with."""
    world = await furnished()
    for _ in range(3):
        await asked(world)
    head, rows, _ = await taken(world.exports, AUDITOR)
    await asked(world)
    again, same, _ = await taken(world.exports, AUDITOR, within=head.range)
    assert (again.checkpoint, again.range, same) == (head.checkpoint, head.range, rows)
    _, rest, _ = await taken(world.exports, AUDITOR, within=replace(head.range, first=2))
    assert rest == rows[2:]


async def test_views_that_are_gone_are_rows_of_a_whole_range_only() -> None:
    """There without an opening, since the entry itself is anybody's; elsewhere they are not counted."""
    world = await furnished()
    for _ in range(3):
        await asked(world)
    world.rows.gone = {1}
    head, rows, parts = await taken(world.exports, AUDITOR)
    assert [(row.index, row.audience) for row in rows] == [(0, "full"), (1, None), (2, "full")]
    assert sum(part.closed for part in parts) == 1
    proven(world.store, head, rows[1])
    for who, question in ((AUDITOR, Question((("event", "disclosure"),))), (NWAS, NOTHING)):
        head, rows, parts = await taken(world.exports, who, question, Range(0, 3))
        assert ([row.index for row in rows], sum(part.closed for part in parts)) == ([0, 2], 0)
        assert not head.whole
    _, rows, parts = await taken(world.exports, caller("cumberland"), NOTHING, Range(0, 3))
    assert (rows, sum(part.closed for part in parts)) == ([], 0)


async def test_a_time_bounds_what_is_taken() -> None:
    """From one moment to before another."""
    world = await furnished()
    for _ in range(4):
        await asked(world)
        world.clock.seconds += 60
    begun = world.clock.now() - timedelta(seconds=4 * 60)
    between = Question(since=begun + timedelta(seconds=60), until=begun + timedelta(seconds=180))
    head, rows, parts = await taken(world.exports, AUDITOR, between)
    assert [row.index for row in rows] == [1, 2]
    assert (parts[-1].looked, head.whole) == (head.range.before, False)


async def test_an_empty_range_has_an_end() -> None:
    """No rows, and it says so."""
    world = await furnished()
    head, rows, parts = await taken(world.exports, AUDITOR)
    assert (head.range.before, rows, [part.looked for part in parts]) == (0, [], [0])


@pytest.mark.parametrize(
    ("who", "question", "within", "reason", "error"),
    [
        (OPERATOR, NOTHING, Range(), WHY, NotAllowed),
        (AUDITOR, NOTHING, Range(), Reason(), InvalidRequest),
        (AUDITOR, Question((("colour", "blue"),)), Range(), WHY, InvalidRequest),
        (AUDITOR, NOTHING, Range(9), WHY, InvalidRequest),
        (AUDITOR, NOTHING, Range(1, 0, 9), WHY, InvalidRequest),
        (AUDITOR, NOTHING, Range(0, 2, 1), WHY, InvalidRequest),
        (AUDITOR, NOTHING, Range(2, 1), WHY, InvalidRequest),
    ],
    ids=["operator", "no reason", "no such kind", "past the end", "no such size", "past the size", "backwards"],
)
async def test_who_may_not_and_what_cannot_be_asked(
    who: Caller, question: Question, within: Range, reason: Reason, error: type[BrokerError]
) -> None:
    """Refused before it is written down."""
    world = await furnished()
    for _ in range(3):
        await asked(world)
    with pytest.raises(error):
        await anext(world.exports.export(who, question, within, ACTOR, reason))
    assert len(world.store.entries) == 3


async def test_so_many_at_once() -> None:
    """Of one system; those of others go on, and one that ended makes room."""
    world = await furnished()
    going = [world.exports.export(AUDITOR, NOTHING, Range(), ACTOR, WHY) for _ in range(3)]
    await anext(going[0])
    await anext(going[1])
    with pytest.raises(Saturated):
        await anext(going[2])
    await anext(world.exports.export(NWAS, NOTHING, Range(), ACTOR, WHY))
    await going[0].aclose()
    await anext(world.exports.export(AUDITOR, NOTHING, Range(), ACTOR, WHY))


FACTS = st.sampled_from(
    [
        *(("event", event) for event in ("disclosure", "refusal", "log-searched")),
        *(("agency", agency) for agency in ("nwas", "cfrs", "ncic")),
        *(("outcome", "permit"), ("outcome", "refuse"), ("code", "person"), ("code", "role")),
        *(("actor", "a.hill"), ("rule", "person.not-against"), ("rule", "role.named"), ("system", "nwas/cad")),
    ]
)


@given(
    requests=st.lists(
        st.tuples(st.sampled_from(["ambulance-crew", "visitor"]), st.sampled_from([HOME, OTHER_HOME])),
        max_size=5,
    ),
    objects=st.booleans(),
    ncnd=st.booleans(),
    facts=st.lists(FACTS, max_size=2),
    person=st.sampled_from([None, HOME, OTHER_HOME, LINKED]),
    who=st.sampled_from(("nwas", "cfrs", "cumberland", "ncic")),
    function=st.sampled_from(list(Function)),
)
@settings(max_examples=60, deadline=None)
async def test_an_export_is_what_a_search_shows(
    requests: list[tuple[str, SubjectRef]],
    objects: bool,
    ncnd: bool,
    facts: list[tuple[str, str]],
    person: SubjectRef | None,
    who: str,
    function: Function,
) -> None:
    """Whoever asks for whatever: the same entries in the same views, each with that view's opening alone."""
    world = await furnished(ncnd=ncnd)
    if objects:
        world.say(HOME, said("objection"))
    for role, subject in [("visitor", OTHER_HOME), *requests]:
        await asked(world, actor=replace(ACTOR, role=role), subject=subject)
    asker, question = caller(who, "cad", function), Question(tuple(facts), person)
    try:
        page = await world.searches.page(asker, question, ACTOR, WHY)
    except (NotAllowed, InvalidRequest):
        assert function is not Function.AUDITOR
        with pytest.raises((NotAllowed, InvalidRequest)):
            await taken(world.exports, asker, question)
        return
    # The search's own entry is there to be exported, and it did not find itself.
    head, rows, _ = await taken(world.exports, asker, question, Range(0, len(world.store.entries) - 1))
    found = [(seen.hit.index, seen.audience, seen.view) for seen in reversed(page.found)]
    assert [(row.index, row.audience, row.opening and row.opening.view) for row in rows] == found
    for row in rows:
        proven(world.store, head, row)
