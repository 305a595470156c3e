"""Changes of what decisions read: made with their entry or not at all, and counted."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from broker.core.canonical import Json
from broker.core.model import SubjectRef
from broker.ports import Appended, Asked, Change, NotAppended, Reads
from broker.store.directives import DirectiveReader
from tests.support.evidence import Node, a_draft
from tests.support.postgres import ask

PERSON = SubjectRef("nhs-number", "9434765919")
SAID = "2026-11-01T10:00:00+00:00"


async def _made(worker: Node, change: Change, reads: Reads | None = None) -> None:
    answer = await worker.log.change(a_draft(reads=reads), change)
    assert isinstance(answer, Appended)
    worker.check(answer.receipt)


async def _rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(r.values()) for r in await connection.fetch(query)]
    finally:
        await connection.close()


def agency(name: str = "Fire") -> Change:
    """An agency's row."""
    return Change("agency", {"detail": {"id": "cfrs", "name": name}}, frozenset({"agency:cfrs"}), True)


def system(suspended: bool = False) -> Change:
    """A system's row."""
    detail: dict[str, Json] = {"name": "cfrs/mdt", "detail": {"suspended": suspended}}
    return Change("system", detail, frozenset({"system:cfrs/mdt"}), True)


def agreement(version: int = 1) -> Change:
    """An agreement's row."""
    detail: dict[str, Json] = {"id": "cfrs-ncic", "version": version, "digest": f"d{version}", "pins": [1, "x"]}
    return Change("agreement", detail, frozenset({"agreement:cfrs-ncic"}), True, b"file%d" % version)


def record_type(digest: str = "aa") -> Change:
    """A record type's row."""
    detail: dict[str, Json] = {"full_name": "records.fire.v1.X", "digest": digest, "approved_at": SAID}
    return Change("record-type", detail, frozenset({"record:x"}), True, b"descriptor")


def directive(directive_id: str, **scope: Json) -> Change:
    """A person's refusal."""
    said: dict[str, Json] = {
        "kind": "refusal",
        "said_at": SAID,
        "standing": "self",
        "manner": "verbal",
        "purposes": [],
        "record_types": [],
        "requesters": [],
        "providers": [],
        "valid_until": None,
        "matter": "sharing",
        "speaker": "",
        "authority": "",
        "capacity": "presumed",
        "assessor": "",
        "assessed_on": None,
        "assessed": "",
        "taken_by": "",
        "explained": "",
        "company": "",
        "reconsider_at": None,
        "actors": [],
        **scope,
    }
    detail: dict[str, Json] = {"id": directive_id, "recorder": "ncic", "at": SAID, "detail": said}
    return Change("directive", detail, frozenset({"subject:nhs-number|9434765919"}), False, subject=PERSON)


@pytest.mark.parametrize(
    ("first", "second", "table"),
    [
        (agency(), agency("Fire and Rescue"), "agency"),
        (system(), system(suspended=True), "system"),
        (agreement(), agreement(2), "agreement"),
        (record_type(), record_type("bb"), "record_type"),
    ],
)
async def test_a_newer_version_takes_the_place_of_the_older(
    worker: Node, dsn: str, first: Change, second: Change, table: str
) -> None:
    """Each kind keeps every version, with the counts it was true from and until; its keys are noted."""
    await _made(worker, first)
    await _made(worker, second)
    assert await _rows(dsn, f"select policy_from, policy_until from {table} order by 1") == [(1, 2), (2, None)]
    (key,) = first.writes
    assert await _rows(dsn, "select key, policy from policy_change order by 2") == [
        (worker.blind.key(key), 1),
        (worker.blind.key(key), 2),
    ]
    assert await _rows(dsn, "select size, policy, reference_policy from head") == [(2, 2, 2)]


async def test_a_directive_comes_and_goes(worker: Node, dsn: str) -> None:
    """A directive is found under its blind key while it stands, by nobody after it is withdrawn."""
    directive_id = str(uuid.uuid4())
    await _made(worker, directive(directive_id, purposes=["fire-safety"]))
    asked = Asked((PERSON,), "cfrs/mdt", ())
    facts = await worker.facts.read(asked)
    assert (facts.policy, facts.reference_policy) == (1, 0)
    (said,) = facts.directives[PERSON]
    assert (said.id, said.recorder, said.purposes) == (directive_id, "ncic", {"fire-safety"})
    stored = await DirectiveReader(worker.database, worker.blind).by_id(directive_id)
    assert stored is not None
    assert (stored.directive, stored.key, stored.policy) == (said, worker.blind.subject(PERSON), 1)
    recorded = DirectiveReader(worker.database, worker.blind)
    assert [(r.directive, r.recorded_at) for r in await recorded.about(PERSON, "ncic")] == [
        (said, datetime.fromisoformat(SAID))
    ]
    assert await recorded.about(PERSON, "cfrs") == []
    columns = await ask(dsn, "select d::text from directive d")
    assert PERSON.value not in columns
    withdrawal = Change(
        "directive-withdrawal", {"ids": [directive_id], "at": SAID}, frozenset({stored.key}), False
    )
    await _made(worker, withdrawal, Reads(1, frozenset({stored.key})))
    assert (await worker.facts.read(asked)).directives == {}
    assert await recorded.about(PERSON, "ncic") == []
    assert await DirectiveReader(worker.database, worker.blind).by_id(directive_id) is None
    assert await _rows(dsn, "select policy_from, policy_until, withdrawn_at from directive") == [
        (1, 2, datetime(2026, 11, 1, 10, tzinfo=UTC))
    ]


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Change("no-such-kind", {}, frozenset({"x"}), True),
        lambda: Change("agency", {"detail": {}}, frozenset({"x"}), True),
        lambda: Change("directive", {"id": "nonsense", "at": SAID}, frozenset({"x"}), False, subject=PERSON),
        lambda: Change("record-type", record_type().detail, frozenset({"x"}), True, b"x" * 262145),
        lambda: Change("agency", {"detail": {"id": "cf\0rs"}}, frozenset({"x"}), True),
    ],
)
async def test_an_error_in_the_change_leaves_nothing(worker: Node, dsn: str, bad: Callable[[], Change]) -> None:
    """Entry and change are one: where the change fails there is no entry, no count and no key."""
    with pytest.raises(asyncpg.PostgresError):
        await worker.log.change(a_draft(), bad())
    assert await _rows(dsn, "select size, policy, reference_policy from head") == [(0, 0, 0)]
    for table in ("entry", "view", "policy_change", "agency", "directive"):
        assert await ask(dsn, f"select count(*) from {table}") == 0
    await _made(worker, agency())


async def test_of_two_changes_on_the_same_inputs_one_is_given_back(worker: Node, other: Node, dsn: str) -> None:
    """Two operators change one thing at once: the second to commit decided on what is no longer so."""
    await _made(worker, agency())
    reads = Reads(1, frozenset({"agency:cfrs"}))
    answers = await asyncio.gather(
        worker.log.change(a_draft(reads=reads), agency("A")),
        other.log.change(a_draft(reads=reads), agency("B")),
    )
    assert NotAppended("stale") in answers
    assert sum(isinstance(a, Appended) for a in answers) == 1
    assert await _rows(dsn, "select size, policy from head") == [(2, 2)]
    assert await ask(dsn, "select count(*) from agency where policy_until is null") == 1


async def test_changes_and_entries_share_one_tree(worker: Node, other: Node) -> None:
    """Changes among appends on two workers: counts and indexes are dense and every receipt verifies."""

    async def one(n: int) -> int:
        by = (worker, other)[n % 2]
        made = by.log.change(a_draft(), agency(str(n))) if n % 3 else by.log.append(a_draft())
        answer = await made
        assert isinstance(answer, Appended)
        by.check(answer.receipt)
        return answer.receipt.index

    assert sorted(await asyncio.gather(*(one(n) for n in range(60)))) == list(range(60))
    facts = await worker.facts.read(Asked((), "cfrs/mdt", ()))
    assert facts.policy == facts.reference_policy == 40
