"""Facts and reference: read in one statement, true together, newer only by what has changed."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import asyncpg
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from broker.catalogue import standard_record_types
from broker.core.canonical import Json
from broker.core.directory import Agency, System
from broker.core.forms import agency_detail, system_detail
from broker.core.model import Function, SubjectRef
from broker.errors import AuditUnavailable, IntegrityError
from broker.ports import Appended, Asked, Change
from broker.store.kept import KeptStatement
from tests.store.test_change import directive
from tests.support.evidence import Node, a_claim, a_draft
from tests.support.postgres import ask
from tests.support.values import replace

PERSON = SubjectRef("nhs-number", "9434765919")
NOBODY = SubjectRef("nhs-number", "9434765870")
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
CFRS = Agency("cfrs", "Fire", "fire", "england", SINCE)
MDT = System("cfrs", "mdt", Function.PARTNER, frozenset({"ab" * 32}), SINCE)


async def _make(worker: Node, change: Change) -> None:
    assert isinstance(await worker.log.change(a_draft(), change), Appended)


def _agency(agency: Agency) -> Change:
    return Change("agency", {"detail": agency_detail(agency)}, frozenset({f"agency:{agency.id}"}), True)


def _system(system: System) -> Change:
    detail: dict[str, Json] = {"name": system.name, "detail": system_detail(system)}
    return Change("system", detail, frozenset({f"system:{system.name}"}), True)


def _approval(name: str, descriptor: bytes) -> Change:
    digest = hashlib.sha256(descriptor).hexdigest()
    detail: dict[str, Json] = {"full_name": name, "digest": digest, "approved_at": SINCE.isoformat()}
    return Change("record-type", detail, frozenset({f"record-type:{name}"}), True, descriptor)


def _agreement(file: bytes) -> Change:
    detail: dict[str, Json] = {"id": "fire-home-visits", "version": 1, "digest": "x", "pins": []}
    return Change("agreement", detail, frozenset({"agreement:x"}), True, file)


def _with_a_comment(descriptor: bytes) -> bytes:
    """Another descriptor of the same type: only what no reader looks at differs."""
    files = FileDescriptorSet.FromString(descriptor)
    location = files.file[-1].source_code_info.location.add()
    location.leading_comments = "the same"
    return files.SerializeToString()


async def test_a_batch_of_questions_is_one_statement(worker: Node) -> None:
    """Many that come together are read by one statement, each getting what it asked for and no more."""
    taken = a_claim()
    await worker.append(a_draft(claim=taken))
    await _make(worker, directive(str(uuid.uuid4())))
    await _make(worker, directive(str(uuid.uuid4()), manner="written"))
    free = str(uuid.uuid4())
    questions = [
        Asked((PERSON, NOBODY), "cfrs/mdt", (taken.request_id, free)),
        Asked((NOBODY,), "cfrs/mdt", (free,)),
        Asked((), "cfrs/mdt", ()),
        Asked((PERSON,), "cfrs/other", (taken.request_id,)),
    ] * 10
    before = worker.facts.reads.batches
    answers = await asyncio.gather(*(worker.facts.read(q) for q in questions))
    assert worker.facts.reads.batches == before + 1
    for question, facts in zip(questions, answers, strict=True):
        assert (facts.policy, facts.reference_policy) == (2, 0)
        assert set(facts.directives) == {PERSON} & set(question.subjects)
        assert all(len(said) == 2 for said in facts.directives.values())
        mine = {taken.request_id} if question.system == "cfrs/mdt" else set()
        assert set(facts.claims) == mine & set(question.request_ids)


async def test_one_flush_is_one_statement(local: Node) -> None:
    """A flush of the facts reader sends one statement and nothing else."""
    sent: list[int] = []

    class Counting(KeptStatement):
        async def fetch(self, arguments: Callable[[], list[Any]]) -> list[asyncpg.Record]:
            sent.append(len(arguments()[0]))
            return await super().fetch(arguments)

    local.facts._statement.__class__ = Counting
    people = [SubjectRef("uprn", f"1001107346{n}") for n in range(10, 19)]
    await asyncio.gather(*(local.facts.read(Asked((who,), "x", (str(uuid.uuid4()),))) for who in people))
    assert sent == [9]


async def test_facts_are_true_together_at_their_count(worker: Node, other: Node) -> None:
    """Read while another worker changes them, directives are always exactly those of the count read."""
    stop, seen = asyncio.Event(), set[int]()

    async def speaker() -> None:
        for n in range(200):
            await _make(other, directive(str(uuid.uuid4())))
            if n > 25 and len(seen) > 3:  # however busy the machine
                break
        stop.set()

    speaking = asyncio.ensure_future(speaker())
    while not stop.is_set():
        facts = await worker.facts.read(Asked((PERSON,), "x", ()))
        assert len(facts.directives.get(PERSON, ())) == facts.policy
        seen.add(facts.policy)
    await speaking
    assert len(seen) > 3


async def test_a_bad_question_harms_only_itself(local: Node) -> None:
    """A request id that is none fails for its own asker."""
    good = Asked((PERSON,), "x", (str(uuid.uuid4()),))
    answers = await asyncio.gather(
        *(local.facts.read(a) for a in (good, Asked((), "x", ("nonsense",)), good)),
        return_exceptions=True,
    )
    assert [isinstance(a, BaseException) for a in answers] == [False, True, False]


async def test_the_snapshot_follows_what_other_workers_change(worker: Node, other: Node) -> None:
    """Agencies, systems, agreements and record types made on one worker are in the other's snapshot."""
    file = resources.files("broker.cli.up").joinpath("agreements/fire-home-visits.toml").read_bytes()
    name, descriptor = standard_record_types()[0]
    empty = await other.reference.refresh()
    assert (empty.policy, dict(empty.agencies)) == (0, {})
    await _make(worker, _agency(CFRS))
    await _make(worker, _system(MDT))
    await _make(worker, _agreement(file))
    await _make(worker, _approval(name, descriptor))
    reference = await other.reference.refresh()
    assert reference.policy == 4
    assert (reference.agencies["cfrs"], reference.systems["cfrs/mdt"]) == (CFRS, MDT)
    assert reference.record_types[name] == hashlib.sha256(descriptor).hexdigest()
    assert other.reference.catalogue.newest(name).digest == reference.record_types[name]
    await _make(worker, _system(replace(MDT, suspended=True)))
    assert (await other.reference.at_least(5)).systems["cfrs/mdt"].suspended
    await _make(worker, directive(str(uuid.uuid4())))
    assert await other.reference.refresh() is other.reference.current, "a person's word reloads nothing"
    with pytest.raises(AuditUnavailable):
        await other.reference.at_least(7)


async def test_only_what_is_newer_is_read(local: Node, local_dsn: str) -> None:
    """A snapshot is brought forward by the rows that changed; the others are not read again."""
    await _make(local, _agency(CFRS))
    await local.reference.refresh()
    await ask(local_dsn, 'update agency set detail = detail || \'{"name": "never read"}\'', "select 1")
    await _make(local, _agency(replace(CFRS, id="nwas", name="Ambulance")))
    reference = await local.reference.refresh()
    assert {a.name for a in reference.agencies.values()} == {"Fire", "Ambulance"}


async def test_superseded_record_types_stay_readable(local: Node) -> None:
    """A newer version takes the name, and the older can still be had by its digest."""
    name, descriptor = standard_record_types()[0]
    newer = _with_a_comment(descriptor)
    for stored in (descriptor, newer):
        await _make(local, _approval(name, stored))
        await local.reference.refresh()
    catalogue = local.reference.catalogue
    digests = [hashlib.sha256(d).hexdigest() for d in (descriptor, newer)]
    assert [v.record_type.digest for v in catalogue.versions(name)] == digests
    assert catalogue.newest(name).digest == digests[1]
    assert catalogue.by_digest(digests[0]).full_name == name


async def test_a_snapshot_that_cannot_be_made_changes_nothing(local: Node, local_dsn: str) -> None:
    """While a stored row is unsound the old snapshot stays whole; once it is mended, all of it arrives."""
    name, descriptor = standard_record_types()[0]
    await _make(local, _agency(CFRS))
    before = await local.reference.refresh()
    await _make(local, _agency(replace(CFRS, name="Fire and Rescue")))
    await _make(local, _approval(name, descriptor))
    await ask(local_dsn, "update record_type set digest = repeat('0', 64)", "select 1")
    for _ in range(3):
        with pytest.raises(IntegrityError):
            await local.reference.refresh()
        assert local.reference.current is before
    await ask(local_dsn, "update record_type set digest = encode(sha256(descriptor), 'hex')", "select 1")
    after = await local.reference.refresh()
    assert after.agencies["cfrs"].name == "Fire and Rescue"
    assert len(local.reference.catalogue.versions()) == 1
