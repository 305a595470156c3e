"""`fsck` of the tables that decisions read: what the log's own entries do not say is named."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import pytest

from broker.core.acting import Acting
from broker.core.directory import Agency, Successor
from broker.core.model import Function
from broker.core.retention import parse
from broker.keys import FolderKeys
from broker.store.fsck.check import fsck_database
from broker.store.fsck.notes import Kept
from broker.store.fsck.report import StoreReport
from tests.human.conftest import GUARDIAN, OWNER
from tests.human.test_overrides import used
from tests.human.test_referrals import NO, grants, judged, refer
from tests.keeping.conftest import COUNCIL, NWAS, WHY, asks, caught_up, entry_of, holds_person
from tests.keeping.test_fsck_says import erases, index_of, look
from tests.keeping.test_retention import FILE, OLD, applied, put
from tests.support.cumbria import CARLISLE, EDEN, fire_routes
from tests.support.postgres import ask
from tests.support.signing import Signatory
from tests.support.stage import SINCE, Stage
from tests.support.world import ACTOR, OPERATOR, RISK, flow, key_of
from tests.support.world import said as says


@dataclass
class Busy:
    """A stage on which everything has been changed that may be, and the names of what is there."""

    stage: Stage
    directive: str = ""
    withdrawn: str = ""
    silent: str = ""
    hold: str = ""
    restriction: str = ""
    override: str = ""
    referral: str = ""
    acting: str = ""


async def busy(stage: Stage) -> Busy:
    """Every kind of change, once or more."""
    made, registry, now = Busy(stage), stage.registry, stage.clock.now()
    refused, granted, _ = [await refer(stage, judged(stage)) for _ in range(3)]
    await stage.referrals.decide(OWNER, refused.id, NO, GUARDIAN)
    await stage.referrals.decide(OWNER, granted.id, grants(), GUARDIAN)
    made.referral = refused.id
    who = ("nwas", "desk")
    for n in range(2):
        await registry.enrol(OPERATOR, *who, Function.PARTNER, key_of(f"desk {n}"), SINCE, None)
    await registry.suspend(OPERATOR, *who, "looked odd", lift=False)
    await registry.suspend(OPERATOR, *who, "was nothing", lift=True)
    await registry.revoke(OPERATOR, *who, key_of("desk 0"), "lost")
    await registry.attached(NWAS)
    for name in ("west-fire", "east-fire"):
        await registry.add_agency(OPERATOR, Agency(name, name, "fire", "england", SINCE))
    await registry.add_agency(OPERATOR, Agency("west-fire", "West", "fire", "england", SINCE))
    await stage.route_book.apply(OPERATOR, fire_routes())
    await stage.route_book.apply(OPERATOR, fire_routes(version=2))
    acting, _ = await stage.standing.act(OPERATOR, Acting("", "ncic", "cumberland", "C-1", SINCE))
    await stage.standing.act(OPERATOR, Acting("", "ncic", "cumberland", "C-2", SINCE))
    await stage.standing.end_acting(OPERATOR, acting.id, "over")
    made.acting = acting.id
    more = Signatory("cumberland").enrolled(date(2020, 1, 1))
    await stage.signing.enrol(OPERATOR, more, None, ACTOR)
    await stage.signing.end(OPERATOR, "cumberland", more.id, "lost", ACTOR)
    await stage.agree(version=2, flows=[flow()])
    for agreement in ("nwas-cfrs-premises", "judged"):
        await stage.suspensions.suspend(NWAS, agreement, "wrong field", ACTOR)
    await stage.suspensions.lift(NWAS, "nwas-cfrs-premises", "put right", ACTOR)
    person = stage.person()
    for _ in range(2):
        spoken = says("consent", said_at=now, explained="what it is for")
        await stage.said.add(COUNCIL, person, spoken, ACTOR)
        made.directive, made.withdrawn = spoken.id, made.directive
    await stage.said.withdraw_one(COUNCIL, made.withdrawn, ACTOR)
    spoken = says("objection", said_at=now)
    await stage.said.add(COUNCIL, person, spoken, ACTOR)
    made.silent = spoken.id
    made.hold = await holds_person(stage, NWAS, stage.person())
    released = await holds_person(stage, NWAS, stage.person())
    await stage.holds.release(NWAS, released, GUARDIAN, WHY)
    await stage.holds.place(NWAS, ("incident", "nwas/2026-11-21/1"), "CASE-8", GUARDIAN, WHY)
    await stage.holds.place(NWAS, ("agreement", "judged/1"), "CASE-9", GUARDIAN, WHY)
    await used(stage)
    _, row = await used(stage)
    made.override = row.id
    await stage.overrides.review(OWNER, row.id, "not-justified", "nobody was at risk", GUARDIAN)
    made.restriction, _ = await stage.overrides.restrict(OWNER, row.id, "actor", None, "why", GUARDIAN)
    lifted, _ = await stage.overrides.restrict(OWNER, row.id, "role", None, "why", GUARDIAN)
    await stage.overrides.lift(OWNER, lifted, "over", GUARDIAN)
    into = (Successor("west-fire", frozenset({CARLISLE})), Successor("east-fire", frozenset({EDEN})))
    tomorrow = now + timedelta(days=1)
    await stage.standing.succeed(OPERATOR, "cfrs", into, tomorrow)
    await stage.standing.take_back(OPERATOR, "cfrs")
    await stage.standing.leave(OPERATOR, "west-fire", tomorrow, "over")
    await caught_up(stage)
    return made


@pytest.fixture
async def made(durable_stage: Stage) -> Busy:
    """Such a stage."""
    return await busy(durable_stage)


def named(report: StoreReport) -> list[tuple[str, str]]:
    """What a report names of tables."""
    assert {each.kind for each in report.problems} <= {"state"}, [str(each) for each in report.problems]
    return [(each.path, each.text) for each in report.problems]


async def test_what_was_changed_by_entries_is_good(made: Busy) -> None:
    """Every kind of change: nothing is wrong, and nothing of it is left unchecked."""
    report = await look(made.stage)
    assert named(report) == []
    assert report.unchecked == []
    for table in ("agency", "system", "agency_key", "acting", "agreement", "agreement_suspension", "routing"):
        assert await ask(made.stage.dsn, f"select count(*) from {table} where policy_until is not null") > 0


GHOST = """
insert into system (name, detail, policy_from)
select 'wf/ghost', detail || '{{"agency": "wf", "system": "ghost", "function": "auditor"}}', policy_from
from system where name = 'ncic/cad' and policy_until is null
"""
FORGED = """
insert into directive (id, subject, recorder, detail, recorded_at, policy_from)
select gen_random_uuid(), subject, recorder, detail, recorded_at - interval '1 day', policy_from from directive
where id = '{directive}'
"""
_FUNCTION = "jsonb_set(detail, '{{function}}', '\"auditor\"')"


@pytest.mark.parametrize(
    ("done", "path", "text"),
    [
        (
            "update directive set policy_until = null, withdrawn_at = null where id = '{withdrawn}'",
            "directive {withdrawn}",
            "counts, although entry",
        ),
        (
            (
                "update directive set policy_until = (select policy from head), withdrawn_at = now()"
                " where id = '{directive}'"
            ),
            "directive {directive}",
            "counts no more, and no entry says so",
        ),
        (
            (
                "update directive set detail = detail || '{{\"purposes\": []}}', recorder = 'ncic'"
                " where id = '{directive}'"
            ),
            "directive {directive}",
            "is not what entry",
        ),
        (
            "update directive set subject = '\\x00112233445566778899aabbccddeeff' where id = '{directive}'",
            "directive {directive}",
            "is not what entry",
        ),
        (
            "update directive set detail = detail || '{{\"explained\": \"else\"}}' where id = '{directive}'",
            "directive {directive}",
            "is not what entry",
        ),
        (
            "update directive set detail = detail || '{{\"explained\": \"else\"}}' where id = '{silent}'",
            "directive {silent}",
            "is not what entry",
        ),
        ("update head set policy = policy - 20", "head", "counts "),
        ("delete from directive where id = '{directive}'", "directive {directive}", "is not there: entry"),
        (FORGED, "directive ", "is there, and no entry of the log says so"),
        ("update hold set released_at = now() where id = '{hold}'", "hold {hold}", "counts no more, and no"),
        (
            "update hold set terms = '{{}}', rare = '{{}}' where id = '{hold}'",
            "hold {hold}",
            "is not what entry",
        ),
        ("delete from hold where id = '{hold}'", "hold {hold}", "is not there: entry"),
        (GHOST, "system wf/ghost", "is there, and no entry of the log says so"),
        (
            f"update system set detail = {_FUNCTION} where name = 'ncic/cad'",
            "system ncic/cad",
            "is not what entry",
        ),
        (
            (
                "update system set detail = jsonb_set(detail, '{{revoked}}', '[]') where name = 'nwas/desk'"
                " and policy_until is null"
            ),
            "system nwas/desk",
            "is not what entry",
        ),
        ("delete from system where name = 'ncic/cad'", "system ncic/cad", "is not there: entry"),
        (
            "update system set policy_until = policy_from where name = 'ncic/cad'",
            "system ncic/cad",
            "counts no more, and no entry says so",
        ),
        (
            (
                "update agency_key set detail = jsonb_set(detail, '{{ended_on}}', 'null')"
                " where agency = 'cumberland'"
                " and policy_until is null"
            ),
            "agency_key ",
            "is not what entry",
        ),
        (
            (
                "insert into agency_key select repeat('a', 64), agency, detail, policy_from from agency_key"
                " where agency = 'nwas'"
            ),
            "agency_key aaaa",
            "no entry of the log says so",
        ),
        (
            "update agreement set file = file || '#'::bytea where id = 'judged'",
            "agreement judged",
            "is not what entry",
        ),
        ("update agreement set pins = '[]' where id = 'judged'", "agreement judged", "is not what entry"),
        (
            "delete from agreement_signature where agreement = 'judged' and agency = 'nwas'",
            "agreement judged",
            "is not what entry",
        ),
        (
            (
                "update agreement_suspension set policy_until = (select policy from head)"
                " where agreement = 'judged'"
            ),
            "agreement_suspension judged by nwas",
            "counts no more, and no entry says so",
        ),
        ("update routing set file = file || '#'::bytea where version = 2", "routing fire", "is not what entry"),
        (
            "update acting set detail = jsonb_set(detail, '{{valid_until}}', 'null') where id = '{acting}'",
            "acting {acting}",
            "is not what entry",
        ),
        (
            "update agency set detail = detail || '{{\"kind\": \"nhs\"}}' where id = 'nwas'",
            "agency nwas",
            "is not",
        ),
        (
            f"update record_type set descriptor = descriptor || '0' where full_name = '{RISK}'",
            f"record_type {RISK}",
            "is not what entry",
        ),
        (
            "update system set policy_from = 1 where name = 'nwas/cad' and policy_until is not null",
            "",
            "counts",
        ),
    ],
    ids=[
        *(
            "unwithdrawn",
            "withdrawn",
            "directive-changed",
            "whom",
            "explained",
            "explained-made",
            "head",
            "directive-gone",
            "directive-made",
            "released",
        ),
        *("hold-emptied", "hold-gone", "ghost", "function", "revoked-again", "system-gone", "system-ended"),
        *("agency-key-again", "agency-key-made", "agreement", "pins", "signature", "suspension", "routing"),
        *("acting", "agency", "record-type", "since"),
    ],
)
async def test_what_no_entry_says_is_named(made: Busy, done: str, path: str, text: str) -> None:
    """By table and row, with the entry that says otherwise; nothing else is, and no view or entry is."""
    names = {each: getattr(made, each) for each in Busy.__dataclass_fields__}
    by_hand = ["alter table hold disable trigger user", "alter table directive disable trigger user"]
    await ask(made.stage.dsn, *by_hand, done.format(**names), "select 1")
    report = await look(made.stage)
    ((where, why),) = named(report)
    assert where.startswith(path.format(**names))
    assert text in why
    assert not report.good


async def test_without_keys_it_is_said_that_tables_were_not_held_against_the_log(made: Busy) -> None:
    """What they say stands sealed; what was left out is named."""
    stage = made.stage
    _, note = await stage.view.head()
    report = await fsck_database(stage.dsn, [stage.signer.verifier], None, Kept((("head", note),)))
    assert [each for each in report.unchecked if "whether what decisions read" in each]


async def test_a_directive_that_was_erased_and_is_there_again_is_named(durable_stage: Stage) -> None:
    """Out of a copy of its table."""
    stage, subject = durable_stage, durable_stage.person()
    spoken = says("consent", said_at=stage.clock.now())
    await stage.said.add(COUNCIL, subject, spoken, ACTOR)
    await stage.said.withdraw_one(COUNCIL, spoken.id, ACTOR)
    await caught_up(stage)
    await ask(stage.dsn, "create table kept as select * from directive", "select 1")
    by = await erases(stage, COUNCIL, subject)
    assert await ask(stage.dsn, "select count(*) from directive") == 0
    report = await look(stage)
    assert (named(report), report.unchecked) == ([], [])
    await ask(stage.dsn, "insert into directive select * from kept", "select 1")
    assert named(await look(stage)) == [(f"directive {spoken.id}", f"erased by {by} and there again")]


async def test_a_directive_whose_entry_lost_its_words_is_no_fault(durable_stage: Stage) -> None:
    """What was explained was erased of the entry; the row says what the entry says still."""
    stage = durable_stage
    spoken = says("consent", said_at=stage.clock.now(), explained="what it is for")
    made = await stage.said.add(COUNCIL, stage.person(), spoken, ACTOR)
    await caught_up(stage)
    await erases(stage, COUNCIL, (made.event_id,), words_only=True)
    report = await look(stage)
    assert (named(report), report.unchecked) == ([], [])
    await ask(stage.dsn, 'update directive set detail = detail || \'{"manner": "written"}\'', "select 1")
    assert len(named(await look(stage))) == 1


async def test_a_head_that_is_closed_by_hand_is_named(durable_stage: Stage) -> None:
    """Nothing is appended to such a log, and its last entry names no other."""
    stage = durable_stage
    await ask(stage.dsn, "update head set closed = true", "select 1")
    report = await fsck_database(stage.dsn, [stage.signer.verifier], FolderKeys(stage.folder / "keys"))
    found = [str(each) for each in report.problems]
    assert [each for each in found if "says that the log is closed" in each]


async def test_what_was_said_of_a_directive_and_is_erased_is_not_checked(durable_stage: Stage) -> None:
    """Another agency withdrew it and has erased that: no entry says so any more, which is no fault."""
    stage, subject = durable_stage, durable_stage.person()
    spoken = says("consent", said_at=stage.clock.now())
    await stage.said.add(COUNCIL, subject, spoken, ACTOR)
    await stage.said.withdraw_consents(NWAS, subject, "", ACTOR)
    await caught_up(stage)
    await erases(stage, NWAS, subject)
    report = await look(stage)
    assert named(report) == []
    await ask(stage.dsn, FORGED.format(directive=spoken.id), "select 1")
    ((where, why),) = named(await look(stage))
    assert "no entry of the log says so" in why
    assert where != f"directive {spoken.id}"


async def test_a_month_of_changes_that_was_ended_leaves_rows_that_nothing_says(durable_stage: Stage) -> None:
    """They are counted as not checked; what an entry that is left says of others is held against them still."""
    stage = durable_stage
    await put(stage, OLD, retention="changes", full={"event": "system-enrolled"})
    policy = parse(FILE.replace(b"months = 1200", b"months = 1").replace(b"months = 12\n", b"months = 1200\n"))
    await applied(stage, policy)
    # As if the entry that is gone had said it.
    await ask(
        stage.dsn,
        "insert into system (name, detail, policy_from, policy_until)"
        " select name, detail || '{\"suspended\": true}', 0, policy_from from system where name = 'nwas/cad'",
        "select 1",
    )
    report = await look(stage)
    assert [each for each in report.problems if each.kind == "state"] == []
    assert [each for each in report.unchecked if "1 rows of `system` (nwas/cad)" in each]
    await ask(
        stage.dsn,
        "update system set detail = detail || '{\"suspended\": true}' where name = 'cfrs/cad'",
        "select 1",
    )
    ((path, text),) = [(e.path, e.text) for e in (await look(stage)).problems if e.kind == "state"]
    assert (path, "is not what entry" in text) == ("system cfrs/cad", True)


async def test_an_erasure_that_was_undone_hides_no_row(durable_stage: Stage) -> None:
    """An entry that is there again is heard like any other; one whose view was changed may have said something,
    so that a row which no entry says is then not called wrong, and is named all the same."""
    stage, subject = durable_stage, durable_stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    await erases(stage, NWAS, subject)
    n = await index_of(stage, entry)
    await ask(
        stage.dsn, f"update view set requester_agency = 'nwas' where idx = {n}", GHOST.format(), "select 1"
    )
    found = [(each.kind, each.path) for each in (await look(stage)).problems]
    assert sorted(found) == [("state", "system wf/ghost"), ("view", f"entry {n}")]
    await ask(stage.dsn, f"update view set views = '' where idx = {n}", "select 1")
    report = await look(stage)
    assert not report.good
    assert [each for each in report.unchecked if "1 rows of `system` (wf/ghost)" in each]


async def test_changes_of_an_earlier_half_year_are_heard(made: Busy) -> None:
    """An entry of a log that is closed is named with its half-year."""
    stage = made.stage
    assert stage.halves is not None
    old = stage.signer.verifier
    vkey = stage.halves.prepare("blue-light.test/log/2027h1")
    await stage.halves.rotate(old.name, vkey)
    await stage.said.withdraw_one(COUNCIL, made.directive, ACTOR)
    released = "update hold set released_at = now() where released_at is null"
    await ask(stage.dsn, "alter table hold disable trigger user", released, "select 1")
    keys = FolderKeys(stage.folder / "keys")
    report = await fsck_database(stage.dsn, [old], keys)
    found = [(each.path, each.text) for each in report.problems if each.kind == "state"]
    assert len(found) == 3
    assert all(f"entry {old.name.rpartition('/')[2]}:" in text for _, text in found)
