"""`fsck` with the key folder: a request id leads to the entry of what was asked under it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from broker.core.model import Override, Reason
from broker.keys import FolderKeys
from broker.late import LateRecords
from broker.store.blind import Blind
from tests.human.conftest import JUDGED, OVERRIDDEN
from tests.keeping.conftest import COUNCIL, NWAS, OFFICER, asks, entry_of
from tests.keeping.test_fsck_says import erases, index_of, look, said
from tests.support.postgres import ask
from tests.support.stage import Stage
from tests.support.world import ACTOR, WATCHED
from tests.usecases.test_late import shared

ONE_MORE = """
insert into claim (system, request, content, entry, settled)
select system, gen_random_uuid(), content, entry, true from claim where entry = '{0}'
"""
OTHER = "is not there: the request could be made and acted on again"


@dataclass(frozen=True)
class Two:
    """Two requests' entries: their ids and places."""

    stage: Stage
    entries: tuple[str, str]
    places: tuple[int, int]


@pytest.fixture
async def two(durable_stage: Stage) -> Two:
    """A good log of them."""
    stage = durable_stage
    first, second = [await entry_of(stage, await asks(stage, stage.person())) for _ in range(2)]
    assert await said(stage) == []
    return Two(stage, (first, second), (await index_of(stage, first), await index_of(stage, second)))


async def test_claims_of_all_that_a_request_may_come_to_are_good(durable_stage: Stage) -> None:
    """With and without words, of the reason and of an override; repeats, referrals, effects at the provider,
    what was shared without us; erased words and views."""
    stage = durable_stage
    blind = Blind(FolderKeys(stage.folder / "keys").index_key())
    person = stage.person()
    await stage.said.add(COUNCIL, person, stage.objection(), OFFICER)
    until = datetime(2099, 1, 1, tzinfo=UTC)
    for words in ("", "one", "one\ntwo\n"):
        override = Override("life-at-risk", words and f"{words}\nthree", until if words else None)
        await asks(stage, person, purpose=OVERRIDDEN, override=override, reason=Reason("urgent", words))
    first = await asks(stage, stage.person(), purpose=JUDGED)
    await asks(stage, first.subject, purpose=JUDGED, retry_of=first.request_id)
    await asks(stage, stage.person(), record_type=WATCHED)
    late = LateRecords(stage.log, stage.facts, stage.reference, stage.clock, blind.said)
    await late.record(
        NWAS, [shared(stage.clock.now(), agreement=agreement) for agreement in ("", "kept-long")], ACTOR
    )
    report = await look(stage)
    assert [str(each) for each in report.problems] == []
    assert report.compared["claims"] == report.claims
    kept = await entry_of(stage, await asks(stage, stage.person()))
    await erases(stage, NWAS, (kept,), words_only=True)
    report = await look(stage)
    assert report.good
    assert [each for each in report.unchecked if "under 1 claims: its words are gone" in each]


async def test_claims_that_were_exchanged_are_named(two: Two) -> None:
    """Each by its own entry."""
    first, second = two.entries
    swap = f"update claim set entry = case entry when '{first}' then '{second}'::uuid else '{first}'::uuid end"
    await ask(two.stage.dsn, f"{swap} where entry in ('{first}', '{second}')", "select 1")
    found = await said(two.stage)
    assert sorted({index for index, _ in found}) == sorted(two.places)
    assert any("leads to entry" in text for _, text in found)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("delete from claim where entry = '{0}'", OTHER),
        ("update claim set entry = '{1}' where entry = '{0}'", "leads to entry {1}, another one"),
        ("update claim set settled = false where entry = '{0}'", "is still under way"),
        ("update claim set content = sha256('x') where entry = '{0}'", "something else was asked"),
        (
            "update claim set retry_of = gen_random_uuid() where entry = '{0}'",
            "another request that it repeats",
        ),
        (
            ONE_MORE,
            "another request's leads to it",
        ),
    ],
    ids=["deleted", "elsewhere", "unsettled", "content", "repeats", "one-more"],
)
async def test_a_claim_changed_by_hand_is_named_by_its_entry(two: Two, change: str, text: str) -> None:
    """What a repeat of the request would be answered with, or whether it would be acted on again."""
    await ask(two.stage.dsn, change.format(*two.entries), "select 1")
    assert (two.places[0], text.format(*two.entries)) in [
        (index, each[-len(text.format(*two.entries)) :]) for index, each in await said(two.stage)
    ]


async def test_claims_of_erased_entries_are_counted(two: Two) -> None:
    """They lead to nothing that could say what was asked."""
    await ask(two.stage.dsn, f"delete from view where idx = {two.places[0]}", "select 1")
    report = await look(two.stage)
    assert [each.kind for each in report.problems if each.kind != "time"] == ["view"]
    assert [each for each in report.unchecked if "under 1 claims: the views of their entries are gone" in each]
