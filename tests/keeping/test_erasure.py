"""Erasing one person: each controller its own, nothing of anybody else's, and every proof stays good."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from typing import Any

import pytest

from broker.core.model import Assurance, Function, Reason, SubjectRef, Traits
from broker.core.receipt import NOT_AT_HAND, verify_receipt
from broker.core.searchterms import Question, person
from broker.erasable import Finder
from broker.errors import BrokerError, InvalidRequest, NotAllowed
from broker.ports import Asked
from broker.searches import Searches
from broker.verdicts import Verdict
from tests.keeping.conftest import (
    CFRS,
    COUNCIL,
    NWAS,
    OFFICER,
    WHY,
    asks,
    caught_up,
    entry_of,
    full_of,
    opening_of,
)
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.watched import Watched
from tests.support.world import ACTOR, OPERATOR, caller, said


async def erases(stage: Stage, who: Any, subject: SubjectRef) -> Any:
    """An erasure, and the index at its end."""
    told, made = await stage.erasures.erase(who, subject, OFFICER, WHY)
    await caught_up(stage)
    return told, made


async def plans(stage: Stage, who: Any, subject: SubjectRef, actor: Any, reason: Reason) -> Any:
    """What an erasure would do, and the index after it."""
    told = await stage.erasures.planned(who, subject, actor, reason)
    await caught_up(stage)
    return told


async def found(stage: Stage, subject: SubjectRef) -> list[str]:
    """What the index finds about somebody."""
    terms = frozenset({person(subject)})
    hits = await stage.search.find(terms, -1, 500, newest_first=False, since=None, until=None)
    return [hit.id for hit in hits.found]


async def test_a_refusal_of_one_party_goes_as_a_whole(stage: Stage) -> None:
    """Nobody else was told of it: views, words and what it is found by are gone, and its proof is as good."""
    subject = stage.person()
    request = await asks(stage, subject, actor=replace(ACTOR, role="visitor"))
    entry = await entry_of(stage, request)
    assert (await full_of(stage, entry))["event"] == "refusal"
    told, made = await erases(stage, NWAS, subject)
    assert (told.entries, told.words) == (1, 1)
    receipt, full = await stage.view.receipt(entry, "full")
    assert (receipt.opening, full) == (None, {})
    verify_receipt(receipt, [stage.signer.verifier], record=NOT_AT_HAND)
    assert await stage.view.parties(entry) == ("", "")
    assert await found(stage, subject) == []
    said_so = await full_of(stage, made[0].event_id)
    assert (said_so["event"], said_so["detail"]["entries"]) == ("erasure", [entry])


async def test_each_party_gives_up_its_own_part(stage: Stage) -> None:
    """After the requester's the provider and auditors still read it; after the provider's too nobody does."""
    subject = stage.person()
    request = await asks(stage, subject)
    entry = await entry_of(stage, request)
    told, _ = await erases(stage, NWAS, subject)
    assert (told.entries, told.others) == (1, {"cfrs": 1})
    assert await opening_of(stage, entry, "requester") is None
    assert await opening_of(stage, entry, "provider") is not None
    assert await stage.view.parties(entry) == ("", "cfrs")
    if stage.kind == "postgres":
        async with stage.past._database.connection() as connection:  # type: ignore[attr-defined]
            words = await connection.fetchval(
                "select words from view join entry using (log, idx) where id = $1", entry
            )
        assert words is None, "the requester's people wrote them"
    again, _ = await erases(stage, NWAS, subject)
    assert again.entries == 0
    told, _ = await erases(stage, CFRS, subject)
    assert told.entries == 1
    assert await full_of(stage, entry) == {}


async def test_a_requester_erases_by_what_it_asked_and_a_provider_by_what_it_matched(stage: Stage) -> None:
    """A requester that could erase by another number would learn whose number that is."""
    subject, other = stage.person(), stage.person()
    request = await asks(stage, subject, other)
    entry = await entry_of(stage, request)
    told, _ = await plans(stage, NWAS, other, OFFICER, WHY)
    assert told.entries == 0
    told, _ = await plans(stage, NWAS, subject, OFFICER, WHY)
    assert (told.entries, told.known_by) == (1, {})
    told, _ = await plans(stage, CFRS, other, OFFICER, WHY)
    assert (told.entries, told.known_by) == (1, {"uprn": 1})
    told, _ = await plans(stage, caller("ncic"), subject, OFFICER, WHY)
    assert told.entries == 0
    await erases(stage, CFRS, other)
    assert await opening_of(stage, entry, "provider") is None
    assert await opening_of(stage, entry, "requester") is not None


async def test_what_others_did_is_not_read_for_it(stage: Stage) -> None:
    """So it takes no longer for that; by another number of theirs than the requester gave, neither."""
    subject, other = stage.person(), stage.person()
    await asks(stage, other)
    await asks(stage, subject, other)
    watched: Any = Watched(stage.search)
    finder = Finder(watched, stage.keeping, stage.holds, stage.clock)
    assert (await finder.find(caller("ncic"), subject, False)).entries == ()
    assert watched.read == []
    assert len((await finder.find(NWAS, subject, False)).entries) == 1
    assert {"nwas"} == {hit.requester for hit in watched.read}


async def test_a_plan_erases_nothing(stage: Stage) -> None:
    """It says what would go, and is an entry that names nobody."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    told, made = await plans(stage, NWAS, subject, ACTOR, WHY)
    assert told.entries == 1
    assert (await full_of(stage, entry))["event"] == "disclosure"
    assert subject.value not in json.dumps(await full_of(stage, made.event_id))


async def test_no_erasure_names_whom_it_was_about(stage: Stage) -> None:
    """The identifier stands in no entry that says so, and the index finds nothing by it."""
    subject = stage.person()
    await asks(stage, subject)
    start = await stage.size()
    await erases(stage, NWAS, subject)
    await erases(stage, CFRS, subject)
    await plans(stage, NWAS, subject, OFFICER, WHY)
    assert subject.value not in json.dumps(await stage.since(start))
    assert await found(stage, subject) == []


async def test_a_repeat_of_an_erased_request_is_told_so(stage: Stage) -> None:
    """The same entry and place, without opening or record, and with no decision claimed."""
    subject = stage.person()
    request = await asks(stage, subject)
    entry = await entry_of(stage, request)
    await erases(stage, NWAS, subject)
    told = await stage.exchange.answer(request)
    assert (told.replayed, told.erased, told.record, told.receipt.opening) == (True, True, None, None)
    assert told.decision.agreement == ""
    assert verify_receipt(told.receipt, [stage.signer.verifier], record=NOT_AT_HAND).entry.id == entry


async def test_what_a_decision_read_is_named_by_its_erasure(stage: Stage) -> None:
    """A directive that is over goes, one that stands does not; a replay names the entry that says so."""
    subject = stage.person()
    over, standing = said("objection", said_at=stage.clock.now()), said("refusal", said_at=stage.clock.now())
    for each in (over, standing):
        await stage.said.add(COUNCIL, subject, each, ACTOR)
    request = await asks(stage, subject)
    await stage.said.withdraw_one(COUNCIL, over.id, ACTOR)
    await caught_up(stage)
    full = await full_of(stage, await entry_of(stage, request))
    assert over.id in full["directives"]
    told, made = await erases(stage, COUNCIL, subject)
    assert (told.directives, told.standing) == (1, 1)
    assert told.waiting == 1, "the recording of the one that stands"
    replayed = await stage.why.replays.one(full)
    assert replayed.verdict is Verdict.ERASED
    assert replayed.erased == (f"directive {over.id}",)
    assert replayed.erased_by == (made[0].event_id,)
    (still,) = (await stage.facts.read(Asked((subject,), "nwas/cad", ()))).directives[subject]
    assert still.id == standing.id
    detail = (await full_of(stage, made[0].event_id))["detail"]
    assert detail["directives"] == [over.id]
    assert len(detail["entries"]) == 1, "the recording of the one that is over"


async def test_erasing_a_person_reaches_the_looks_at_them(stage: Stage) -> None:
    """Opened, an entry leaves whom it was about in the look: its words go with the person, as those of a search
    for them do, and the rest of it stays; an auditor's hold on the person holds them too."""
    subject = stage.person()
    request = await asks(stage, subject)
    entry = await entry_of(stage, request)
    await stage.audits.open(NWAS, entry, ACTOR, WHY)
    await caught_up(stage)
    look = await stage.view.id_at(await stage.size() - 1)
    auditor = caller("ncic", "audit", Function.AUDITOR)
    hold, _ = await stage.holds.place(auditor, subject, "CASE-9", OFFICER, WHY)
    told = await stage.finder.find(NWAS, subject, words_only=False)
    assert look not in told.words
    await stage.holds.release(auditor, hold, OFFICER, WHY)
    told = await stage.finder.find(NWAS, subject, words_only=False)
    assert look in told.words
    assert look not in told.entries


async def test_an_erased_entry_is_named_by_its_erasure(stage: Stage) -> None:
    """A replay of the log says which entry says that the views are gone."""
    subject = stage.person()
    request = await asks(stage, subject, actor=replace(ACTOR, role="visitor"))
    entry = await entry_of(stage, request)
    _, made = await erases(stage, NWAS, subject)
    since = (await stage.view.receipt(entry, "full"))[0].index
    auditor = caller("ncic", "audit", Function.AUDITOR)
    pages = [page async for page in stage.why.replays.log(auditor, since, since + 1, ACTOR, WHY)]
    (one,) = pages[-1].found
    assert one.replayed.erased_by == (made[0].event_id,)


@pytest.mark.parametrize("who", [OPERATOR, caller("ncic", "cli", Function.OPERATOR)], ids=["first", "other"])
async def test_an_operator_erases_nothing(stage: Stage, who: Any) -> None:
    """A processor does not decide on erasure."""
    with pytest.raises(NotAllowed):
        await stage.erasures.erase(who, stage.person(), OFFICER, WHY)


async def test_a_reason_and_a_named_human(stage: Stage) -> None:
    """Neither without a code, nor by somebody who is only said to be there."""
    with pytest.raises(InvalidRequest, match=r"reason\.code"):
        await stage.erasures.erase(NWAS, stage.person(), OFFICER, Reason())
    somebody = replace(OFFICER, assurance=Assurance.ASSERTED)
    with pytest.raises(InvalidRequest, match=r"actor\.assurance"):
        await stage.erasures.erase(NWAS, stage.person(), somebody, WHY)


async def test_a_search_shows_no_party_what_it_gave_up(stage: Stage) -> None:
    """The provider finds it still, and the requester finds it no more."""
    searches = Searches(stage.administration, stage.search, stage.heritage)
    subject = stage.person()
    await asks(stage, subject)
    await erases(stage, NWAS, subject)
    question = Question(person=subject)
    for who, events in ((NWAS, []), (CFRS, ["disclosure"])):
        page = await searches.page(who, question, ACTOR, WHY)
        assert [json.loads(seen.view)["event"] for seen in page.found] == events


async def test_an_entry_that_names_nobody_is_erased_by_its_id(stage: Stage) -> None:
    """Traits that matched nobody stand in the entry and in no index; a stranger is told of no such entry."""
    traits = Traits(family_name="Exampleton", birth_date="1950-01-02")
    request = replace(stage.asks(), subject=None, query=traits)
    with suppress(BrokerError):
        await stage.exchange.answer(request)
    await caught_up(stage)
    entry = await entry_of(stage, request)
    assert "Exampleton" in json.dumps(await full_of(stage, entry))
    for who, which in ((caller("ncic"), entry), (NWAS, str(uuid.uuid4()))):
        with pytest.raises(NotAllowed, match="no such entry that your agency may erase"):
            await stage.erasures.erase(who, (which,), OFFICER, WHY)
    told, made = await stage.erasures.erase(NWAS, (entry,), OFFICER, WHY)
    await caught_up(stage)
    assert (told.entries, len(made)) == (1, 1)
    assert await full_of(stage, entry) == {}
    with pytest.raises(NotAllowed):
        await stage.erasures.erase(NWAS, (entry,), OFFICER, WHY)


async def test_words_go_by_themselves(stage: Stage) -> None:
    """Only those of the caller's own people; the views stay as they were."""
    subject = stage.person()
    request = await asks(stage, subject)
    entry = await entry_of(stage, request)
    before = await full_of(stage, entry)
    told, _ = await stage.erasures.erase(CFRS, (entry,), OFFICER, WHY, words_only=True)
    assert told.words == 0, "the requester's people wrote them"
    told, made = await stage.erasures.erase(NWAS, (entry,), OFFICER, WHY, words_only=True)
    await caught_up(stage)
    assert told.entries == 0
    assert (await full_of(stage, made[0].event_id))["detail"]["words"] == [entry]
    assert await full_of(stage, entry) == before
    if stage.kind == "postgres":
        sql = "select words from view join entry using (log, idx) where id = $1"
        async with stage.past._database.connection() as connection:  # type: ignore[attr-defined]
            assert await connection.fetchval(sql, entry) is None


@pytest.mark.parametrize(
    ("what", "only", "field"),
    [((), False, "event_ids"), (("a", "a"), False, "event_ids"), (SubjectRef("uprn", "1"), True, "words_only")],
    ids=["none", "twice", "person"],
)
async def test_what_is_named_wrongly(stage: Stage, what: Any, only: bool, field: str) -> None:
    """Nothing, an entry twice, and the words of a person."""
    with pytest.raises(InvalidRequest, match=field):
        await stage.erasures.erase(NWAS, what, OFFICER, WHY, words_only=only)


async def test_that_something_was_erased_is_not_erased(stage: Stage) -> None:
    """Its entry stays, or nobody would know what else is gone; why it was done, in words, may go."""
    subject = stage.person()
    await asks(stage, subject)
    _, (made,) = await erases(stage, NWAS, subject)
    with pytest.raises(InvalidRequest, match="it stays"):
        await stage.erasures.erase(NWAS, (made.event_id,), OFFICER, WHY)
    told, _ = await stage.erasures.erase(NWAS, (made.event_id,), OFFICER, WHY, words_only=True)
    assert told.entries == 0
    assert (await full_of(stage, made.event_id))["event"] == "erasure"
