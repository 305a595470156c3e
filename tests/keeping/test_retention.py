"""Retention: a month of a class ends with its key, and what must outlive it was sealed anew before."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from broker.core.model import Assurance, Function, Reason, SubjectRef
from broker.core.receipt import NOT_AT_HAND, verify_receipt
from broker.core.retention import RetentionPolicy, parse
from broker.errors import InvalidRequest, NotAllowed
from broker.keys import FolderKeys
from broker.looks import Wanted as Report
from broker.ports import Appended, Draft, Queued
from broker.retention import Ended, Retention
from broker.store.cases import ACCESS, COMPLAINT
from broker.store.seal import Seals
from tests.keeping.conftest import OFFICER, asks, caught_up, entry_of, full_of, holds_person
from tests.support.evidence import a_draft
from tests.support.postgres import ask
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR, AUDITOR, OPERATOR, caller

OLD, OTHER = datetime(2020, 1, 31, 23, 59, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC)
PERSON = SubjectRef("nhs-number", "9000000009")
FILE = b"""
version = 1
title = "Joint schedule"
[[class]]
name = "standard"
months = 12
schedule = "JS 4.2"
[[class]]
name = "changes"
months = 1200
schedule = "JS 4.9"
"""
DUE = Reason("schedule", "the yearly run")
HOLDER = caller("cfrs")


def retention(stage: Stage, policy: RetentionPolicy | None = None) -> Retention:
    """The use case over this store."""
    assert stage.destroying is not None
    known = parse(FILE) if policy is None else policy
    return Retention(stage.administration, stage.destroying, stage.facts, stage.clock, known)


async def applied(stage: Stage, policy: RetentionPolicy | None = None) -> list[Ended]:
    """What a run destroys."""
    done = [each async for each in retention(stage, policy).apply(OPERATOR, OFFICER, DUE)]
    await caught_up(stage)
    return done


async def put(stage: Stage, at: datetime, **changes: Any) -> Draft:
    """An entry of that time about PERSON, or whom `identifiers` name."""
    full = {"requester": "cfrs", **changes.pop("full", {})}
    draft = replace(a_draft(at=at, words="somebody's own", **full), **changes)
    assert isinstance(await stage.log.append(draft), Appended)
    await caught_up(stage)
    return draft


def keys(stage: Stage) -> set[str]:
    """The wrapping keys that there are."""
    return {path.stem for path in (stage.folder / "keys" / "views").iterdir()}


async def count(stage: Stage, table: str, key: str = "true") -> int:
    """Rows of a table."""
    return int(await ask(stage.dsn, f"select count(*) from {table} where {key}"))


async def test_a_month_that_is_over_ends_with_its_key(durable_stage: Stage) -> None:
    """Entry, rows, wrapped key and the key's file; the next month's, and every proof, stay as they were."""
    stage = durable_stage
    old, young = await put(stage, OLD), await put(stage, stage.clock.now())
    assert "2020-01.standard" in keys(stage)
    (done,) = await applied(stage)
    assert (done.view.month, done.view.name, done.entries, done.set_aside) == ("2020-01", "standard", 1, 0)
    assert "2020-01.standard" not in keys(stage)
    assert await count(stage, "view_key", "wrapped is null") == 1
    receipt, full = await stage.view.receipt(old.id, "full")
    assert (receipt.opening, full) == (None, {})
    verify_receipt(receipt, [stage.signer.verifier], record=NOT_AT_HAND)
    assert await full_of(stage, young.id) != {}
    said_so = await full_of(stage, done.entry)
    assert (said_so["event"], said_so["detail"]["month"], said_so["detail"]["schedule"]) == (
        "retention",
        "2020-01",
        "JS 4.2",
    )
    assert await stage.past.erased_by([(old.id, OLD), (young.id, stage.clock.now())]) == {old.id: done.entry}
    assert await applied(stage) == []
    assert await stage.keeping.missed() is None


async def test_what_is_held_survives_its_month(durable_stage: Stage) -> None:
    """Sealed anew first; what is not held is gone. Released, it goes with the next run."""
    stage = durable_stage
    held = await put(stage, OLD)
    other = a_draft(at=OLD)
    provider = replace(other.provider, identifiers=(("nhs-number", "9000000017"),))
    other = replace(other, provider=provider, full={**other.full, **provider.as_json()})
    assert isinstance(await stage.log.append(other), Appended)
    hold = await holds_person(stage, HOLDER, PERSON)
    before = await full_of(stage, held.id)
    items = {(i.view.month, i.view.name): i for i in await retention(stage).plan(OPERATOR)}
    due = items["2020-01", "standard"]
    assert (due.state, due.counted.entries, due.counted.held) == ("due", 2, 1)
    (done,) = await applied(stage)
    assert (done.entries, done.set_aside) == (1, 1)
    assert await full_of(stage, held.id) == before
    assert await full_of(stage, other.id) == {}
    assert {k for k in keys(stage) if k.startswith("2020-01")} == {"2020-01.hold"}
    (item,) = [i for i in await retention(stage).plan(OPERATOR) if i.view.name == "hold"]
    assert item.state == "held"
    assert await applied(stage) == []
    await stage.holds.release(HOLDER, hold, OFFICER, DUE)
    (done,) = await applied(stage)
    assert (done.view.name, done.entries) == ("hold", 1)
    assert await full_of(stage, held.id) == {}
    assert {k for k in keys(stage) if k.startswith("2020-01")} == set()


async def test_a_report_says_which_months_have_been_destroyed(durable_stage: Stage) -> None:
    """Of its own time, to everybody, with the entry that says so; how many entries they had nobody knows."""
    stage = durable_stage
    await put(stage, OLD)
    (done,) = await applied(stage)
    told = f"2020-01 of class standard, its time being over, by entry {done.entry}"
    for who in (HOLDER, AUDITOR):
        for since, until, said in (
            (None, None, told),
            (datetime(2020, 1, 31, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC), told),
            (None, datetime(2020, 1, 1, tzinfo=UTC), None),
            (datetime(2020, 2, 1, tzinfo=UTC), None, None),
        ):
            await caught_up(stage)
            document, _ = await stage.reports.make(who, Report("agency", since, until), OFFICER, DUE)
            assert dict(document.facts).get("Destroyed since") == said


async def test_of_two_holds_that_keep_a_month_one_is_released(durable_stage: Stage) -> None:
    """What the other keeps goes to a further key, so that the first can end as a whole."""
    stage = durable_stage
    one, two = await put(stage, OLD), await put(stage, OLD, full={"incident": "cfrs/2020-01-31/1"})
    incident, _ = await stage.holds.place(HOLDER, ("incident", "cfrs/2020-01-31/1"), "CASE-1", OFFICER, DUE)
    person = await holds_person(stage, HOLDER, PERSON)
    (done,) = await applied(stage)
    assert (done.entries, done.set_aside) == (0, 2)
    await stage.holds.release(HOLDER, person, OFFICER, DUE)
    (done,) = await applied(stage)
    assert (done.view.name, done.entries, done.set_aside) == ("hold", 1, 1)
    assert await full_of(stage, one.id) == {}
    assert (await full_of(stage, two.id))["incident"] == "cfrs/2020-01-31/1"
    assert {k for k in keys(stage) if k.startswith("2020-01")} == {"2020-01.hold-2"}
    assert incident


@pytest.mark.parametrize("kind", ["referral", "override"])
async def test_what_a_human_still_works_with_survives_its_month(durable_stage: Stage, kind: str) -> None:
    """An open row opens as before under another key, and its entry is gone with the month."""
    stage = durable_stage
    whose = ("cfrs", "nwas", "nwas/cad", str(uuid.uuid4()), OLD, OLD)
    queued = Queued(kind, *whose, {"why": ["because"]}, "in words", "life-at-risk")
    draft = await put(stage, OLD, queued=queued)
    (done,) = await applied(stage)
    assert (done.entries, done.set_aside) == (1, 0)
    row: Any = await (stage.referred if kind == "referral" else stage.overridden).by_id(draft.id)
    assert (row.asked if kind == "referral" else row.used) == {"why": ["because"]}
    assert row.words == "in words"
    table = "referral" if kind == "referral" else "override_use"
    status = "refused" if kind == "referral" else "justified"
    await ask(stage.dsn, f"update {table} set status = '{status}'", "select 1")
    (done,) = await applied(stage)
    assert done.view.name == "hold"
    assert await count(stage, table) == 0


async def test_an_open_case_survives_its_month(durable_stage: Stage) -> None:
    """A request for access that nobody has answered, and a complaint: sealed anew; ended, they go."""
    stage, seals = durable_stage, Seals(durable_stage.past._database, FolderKeys(durable_stage.folder / "keys"))  # type: ignore[attr-defined]
    draft = await put(stage, OLD)
    key = await seals.current(OLD)
    asked, number = (key.seal(b'{"n":1}', draft.id, what).hex() for what in (ACCESS, COMPLAINT))
    row = f"'{draft.id}', 'cfrs', now(), now(), {key.id}"
    await ask(
        stage.dsn,
        f"insert into access_request (id, agency, started_at, due_at, key, asked) values ({row}, '\\x{asked}')",
        f"insert into complaint (id, agency, received_at, due_at, key, detail) values ({row}, '\\x{number}')",
        "select 1",
    )
    (done,) = await applied(stage)
    assert done.entries == 1
    for table, column, what in (("access_request", "asked", ACCESS), ("complaint", "detail", COMPLAINT)):
        kept = await ask(stage.dsn, f"select key from {table}")
        sealed = await ask(stage.dsn, f"select {column} from {table}")
        assert (await seals.by_id(kept)).open(sealed, draft.id, what) == b'{"n":1}'
    await ask(stage.dsn, "update access_request set issued_at = now()", "select 1")
    await ask(stage.dsn, "update complaint set closed_at = now()", "select 1")
    (done,) = await applied(stage)
    assert done.view.name == "hold"
    assert (await count(stage, "access_request"), await count(stage, "complaint")) == (0, 0)


async def test_a_class_that_ends_later_finds_a_key_for_what_it_leaves(durable_stage: Stage) -> None:
    """The month's first key of what is held has been destroyed by then, and is never made anew."""
    stage = durable_stage
    await put(stage, OLD)
    hold = await holds_person(stage, HOLDER, PERSON)
    await applied(stage)
    await stage.holds.release(HOLDER, hold, OFFICER, DUE)
    await applied(stage)
    late = await put(stage, OLD, retention="long")
    await holds_person(stage, HOLDER, PERSON)
    (done,) = await applied(stage, parse(FILE.replace(b'"standard"', b'"long"')))
    assert (done.view.name, done.entries, done.set_aside) == ("long", 0, 1)
    assert await full_of(stage, late.id) != {}
    assert {k for k in keys(stage) if k.startswith("2020-01")} == {"2020-01.hold-2"}


async def test_each_class_ends_by_itself(durable_stage: Stage) -> None:
    """An agreement's own class is sealed under its own key, changes under theirs; each has its own end."""
    stage = durable_stage
    request = await asks(stage, stage.person(), purpose="emergency-planning")
    entry = await entry_of(stage, request)
    classes = await ask(
        stage.dsn,
        "select string_agg(distinct k.class, ' ' order by k.class) from view v join view_key k on k.id = v.key",
    )
    assert classes == "changes long"
    assert (
        await ask(
            stage.dsn,
            "select k.class from entry e join view v using (log, idx) join view_key k on k.id = v.key"
            f" where e.id = '{entry}'",
        )
        == "long"
    )
    items = {i.view.name: i for i in await retention(stage).plan(OPERATOR)}
    assert (items["long"].state, items["long"].due) == ("kept", None)
    assert (items["changes"].state, items["changes"].schedule) == ("kept", "JS 4.9")
    assert items["changes"].due is not None


async def test_without_a_policy_nothing_ends(durable_stage: Stage) -> None:
    """However old it is."""
    stage = durable_stage
    await put(stage, OLD)
    keeper = retention(stage, RetentionPolicy())
    assert {i.state for i in await keeper.plan(OPERATOR)} == {"kept"}
    assert [each async for each in keeper.apply(OPERATOR, OFFICER, DUE)] == []


async def test_only_operators_by_name_and_with_a_reason(durable_stage: Stage) -> None:
    """Partners and auditors neither plan nor apply it."""
    keeper = retention(durable_stage)
    for who in (HOLDER, AUDITOR, caller("ncic", "x", Function.AUDITOR)):
        with pytest.raises(NotAllowed):
            await keeper.plan(who)
    for actor, reason, field in (
        (ACTOR, Reason(), r"reason\.code"),
        (replace(OFFICER, assurance=Assurance.ASSERTED), DUE, r"actor\.assurance"),
    ):
        with pytest.raises(InvalidRequest, match=field):
            await anext(keeper.apply(OPERATOR, actor, reason))


async def test_directives_withdrawn_in_a_month_of_changes_end_with_it(durable_stage: Stage) -> None:
    """Their rows too, named by the entry; what stands, or was withdrawn later, stays."""
    stage = durable_stage
    subject, ids = stage.person(), [str(uuid.uuid4()) for _ in range(3)]
    for each in ids:
        said = replace(stage.objection(), id=each)
        await stage.said.add(caller("cumberland"), subject, said, ACTOR)
    for each, when in ((ids[0], OLD), (ids[1], OTHER)):
        await ask(
            stage.dsn,
            f"update directive set policy_until = policy_from, withdrawn_at = '{when}' where id = '{each}'",
            "select 1",
        )
    await put(stage, OLD, retention="changes")
    (done,) = await applied(stage, parse(FILE.replace(b"1200", b"12")))
    assert done.view.name == "changes"
    assert await count(stage, "directive") == 2
    assert await stage.past.erased_by([(each, None) for each in ids]) == {ids[0]: done.entry}


async def test_that_something_was_said_is_forgotten_an_hour_after_it_was_erased(durable_stage: Stage) -> None:
    """Not while somebody's word is left, and not while a decision in flight may have read what moved."""
    stage = durable_stage
    subject, other = stage.person(), stage.person()
    council = caller("cumberland")
    ids = [str(uuid.uuid4()) for _ in range(3)]
    for each, whom in zip(ids, (subject, subject, other), strict=True):
        await stage.said.add(council, whom, replace(stage.objection(), id=each), ACTOR)
    moved = "key in (select subject from directive) or key in (select subject from unsaid)"
    await stage.said.withdraw_one(council, ids[0], ACTOR)
    await stage.erasures.erase(council, subject, OFFICER, DUE)
    assert await count(stage, "unsaid") == 0, "something else is still said of them"
    await stage.said.withdraw_one(council, ids[1], ACTOR)
    await stage.erasures.erase(council, subject, OFFICER, DUE)
    await stage.keeping.forget()  # type: ignore[attr-defined]
    assert (await count(stage, "unsaid"), await count(stage, "directive")) == (1, 1)
    assert await count(stage, "policy_change", moved) == 5, "it may have been read a moment ago"
    await ask(stage.dsn, "update policy_change set at = at - interval '2 hours'", "select 1")
    await stage.keeping.forget()  # type: ignore[attr-defined]
    assert (await count(stage, "unsaid"), await count(stage, "policy_change", moved)) == (0, 1), "the other's"
