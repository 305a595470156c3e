"""What an export says of what has been erased: by which entries, whatever the search index has come to."""

from __future__ import annotations

import pytest

from broker.core.model import Caller, Reason
from broker.core.searchterms import Question
from broker.exports import Exports, Head, Part
from broker.ranges import Range
from tests.keeping.conftest import AUDITOR, CFRS, NWAS, OFFICER, WHY, asks, caught_up, entry_of
from tests.keeping.test_half_years import rotate
from tests.support.memory import ORIGIN
from tests.support.postgres import ask
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR

CREW = replace(ACTOR, id="crew-7")
ASKED = Question((("actor", "crew-7"),))


async def taken(
    stage: Stage, who: Caller, question: Question = ASKED, **within: object
) -> tuple[Head, list[Part]]:
    """A whole export."""
    exports = Exports(
        stage.administration, stage.view, stage.entries, stage.searches, stage.heritage, stage.clock
    )
    every = exports.export(who, question, Range(**within), ACTOR, Reason("yearly-check"))  # type: ignore[arg-type]
    head, *parts = [each async for each in every]
    await caught_up(stage)
    assert isinstance(head, Head)
    return head, [each for each in parts if isinstance(each, Part)]


async def erased(stage: Stage, *whose: Caller) -> tuple[int, list[str]]:
    """The place of a request that these have erased, and the erasures."""
    subject, erasures = stage.person(), []
    entry = await entry_of(stage, await asks(stage, subject, actor=CREW))
    for who in whose:
        _, made = await stage.erasures.erase(who, subject, OFFICER, WHY)
        erasures += [each.event_id for each in made]
        await caught_up(stage)
    return int(await ask(stage.dsn, f"select idx from entry where id = '{entry}'")), erasures


@pytest.mark.parametrize("behind", [False, True], ids=["index whole", "index behind"])
async def test_an_auditor_is_told_what_nobody_keeps_any_more(durable_stage: Stage, behind: bool) -> None:
    """The same whether the index can say that nothing was asked of it, or the entries are read."""
    stage = durable_stage
    place, (_, last) = await erased(stage, NWAS, CFRS)
    await asks(stage, stage.person(), actor=CREW)
    if behind:
        await ask(
            stage.dsn,
            f"delete from search where idx = {place + 1}",
            f"update search_progress set done = {place}",
            "select 1",
        )
    head, parts = await taken(stage, AUDITOR)
    (text,) = head.erased
    assert text.startswith("Erased since: 1 entry of these places, which nobody keeps any more")
    assert last in text
    assert (sum(part.closed for part in parts), sum(len(part.rows) for part in parts)) == (0, 1)


async def test_an_agency_is_told_of_its_own_erasures_alone(durable_stage: Stage) -> None:
    """Which are what is missing from its export."""
    stage = durable_stage
    _, (own,) = await erased(stage, NWAS)
    head, _ = await taken(stage, NWAS)
    (text,) = head.erased
    assert "1 entry of these places, which your agency has erased" in text
    assert own in text
    for who in (CFRS, AUDITOR):
        assert (await taken(stage, who))[0].erased == ()


async def test_what_lies_outside_the_range_is_not_told(durable_stage: Stage) -> None:
    """By place, by time, and by log; an erasure in a later log is told of its own."""
    stage = durable_stage
    before = stage.clock.now()
    place, _ = await erased(stage, NWAS)
    assert (await taken(stage, NWAS, first=place + 1))[0].erased == ()
    assert (await taken(stage, NWAS, before=place))[0].erased == ()
    assert (await taken(stage, NWAS, first=place, before=place + 1))[0].erased
    until = replace(ASKED, until=before.replace(microsecond=0))
    assert (await taken(stage, NWAS, until))[0].erased == ()
    await rotate(stage)
    assert (await taken(stage, NWAS))[0].erased == ()
    assert (await taken(stage, NWAS, log=ORIGIN))[0].erased


async def test_a_whole_range_has_them_as_rows(durable_stage: Stage) -> None:
    """Counted, since each of them is one."""
    stage = durable_stage
    place, _ = await erased(stage, NWAS, CFRS)
    head, parts = await taken(stage, AUDITOR, Question())
    assert (head.whole, head.erased, sum(part.closed for part in parts)) == (True, (), 1)
    (row,) = [each for part in parts for each in part.rows if each.opening is None]
    assert row.index == place
