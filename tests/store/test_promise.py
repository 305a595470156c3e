"""No permit stands in the log after the change it ignores: what an append gives back, and what it does not."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from broker.core.decision import subject_key
from broker.core.model import SubjectRef
from broker.ports import Appended, Change, NotAppended, Reads
from tests.support.evidence import Node, a_claim, a_draft
from tests.support.postgres import ask
from tests.support.values import replace

PERSON = SubjectRef("nhs-number", "9434765919")
KEY = subject_key(PERSON.scheme, PERSON.value)
NOBODY = subject_key("nhs-number", "9434765870")


def refusal_of_sharing(person: SubjectRef = PERSON) -> Change:
    """Somebody says no."""
    detail = {
        "id": str(uuid.uuid4()),
        "recorder": "ncic",
        "at": datetime.now(UTC).isoformat(),
        "detail": {"kind": "refusal"},
    }
    key = subject_key(person.scheme, person.value)
    return Change("directive", detail, frozenset({key}), reference=False, subject=person)


async def _say_no(worker: Node, person: SubjectRef = PERSON) -> None:
    assert isinstance(await worker.log.change(a_draft(), refusal_of_sharing(person)), Appended)


def _reads(*keys: str | bytes, policy: int = 0, until: datetime | None = None) -> Reads:
    return Reads(policy, frozenset(keys), until)


async def test_a_decision_on_old_inputs_is_given_back(worker: Node, other: Node) -> None:
    """One of the keys a decision read has changed since its policy count, on whichever worker: stale."""
    await worker.append(a_draft(reads=_reads(KEY)))
    await _say_no(other)
    assert await worker.given_back(a_draft(reads=_reads("agreement:x", KEY))) == "stale"
    assert await other.given_back(a_draft(reads=_reads(worker.blind.key(KEY)))) == "stale"
    await worker.append(a_draft(reads=_reads(KEY, policy=1)))
    await _say_no(worker)
    assert await worker.given_back(a_draft(reads=_reads(KEY, policy=1))) == "stale"


async def test_other_keys_and_refusals_are_not_given_back(worker: Node) -> None:
    """What read other keys, no keys, or needs no check is appended whatever has changed."""
    await _say_no(worker)
    for reads in (_reads(NOBODY), _reads(), _reads(KEY, policy=1), None):
        await worker.append(a_draft(reads=reads))


async def test_the_rest_of_a_batch_commits(local: Node) -> None:
    """Items of one batch are judged each by its own inputs; what is appended is dense and proven."""
    await _say_no(local)
    past = datetime.now(UTC) - timedelta(milliseconds=1)
    drafts = [
        a_draft(reads=_reads(NOBODY)),
        a_draft(reads=_reads(KEY)),
        a_draft(),
        a_draft(reads=_reads(NOBODY, until=past)),
        a_draft(reads=_reads(KEY, NOBODY, policy=1)),
        a_draft(reads=_reads(NOBODY, KEY)),
    ]
    batches = local.log.appends.batches
    answers = await asyncio.gather(*(local.log.append(d) for d in drafts))
    assert local.log.appends.batches == batches + 1
    whys = [a.why if isinstance(a, NotAppended) else "appended" for a in answers]
    assert whys == ["appended", "stale", "appended", "expired", "appended", "stale"]
    receipts = [a.receipt for a in answers if isinstance(a, Appended)]
    assert [r.index for r in receipts] == [1, 2, 3]
    for receipt in receipts:
        assert local.check(receipt).size == 4


@pytest.mark.parametrize("kept", [True, False])
async def test_a_change_that_commits_while_the_append_waits_is_seen(worker: Node, dsn: str, kept: bool) -> None:
    """An append blocked behind a withdrawal's commit sees it; behind one rolled back, it does not."""
    await worker.append()
    holder = await asyncpg.connect(dsn)
    try:
        transaction = holder.transaction()
        await transaction.start()
        await holder.fetch("select * from head for update")
        waiting = asyncio.ensure_future(worker.log.append(a_draft(reads=_reads(KEY))))
        beside = asyncio.ensure_future(worker.log.append(a_draft(reads=_reads(NOBODY))))
        for _ in range(400):
            if await ask(dsn, "select count(*) from pg_locks where not granted"):
                break
            await asyncio.sleep(0.005)
        assert not waiting.done()
        await holder.execute("update head set policy = policy + 1")
        await holder.execute("insert into policy_change (key, policy) values ($1, 1)", worker.blind.key(KEY))
        await (transaction.commit if kept else transaction.rollback)()
        assert isinstance(await beside, Appended)
        answer = await waiting
        assert answer == NotAppended("stale") if kept else isinstance(answer, Appended)
    finally:
        await holder.close()


async def test_time_that_runs_out_while_the_append_waits_counts(worker: Node, dsn: str) -> None:
    """A decision good for another moment, whose append waits longer than that, is expired."""
    await worker.append()
    holder = await asyncpg.connect(dsn)
    try:
        transaction = holder.transaction()
        await transaction.start()
        await holder.fetch("select * from head for update")
        until = datetime.now(UTC) + timedelta(seconds=0.3)
        waiting = asyncio.ensure_future(worker.log.append(a_draft(reads=_reads(KEY, until=until))))
        await asyncio.sleep(0.4)
        await transaction.rollback()
        assert await waiting == NotAppended("expired")
    finally:
        await holder.close()
    await worker.append(a_draft(reads=_reads(KEY, until=datetime.now(UTC) + timedelta(seconds=5))))


async def test_a_change_past_its_end_is_given_back(worker: Node, dsn: str) -> None:
    """A change decided on something that has run out is expired as an entry would be."""
    past = _reads(NOBODY, until=datetime.now(UTC) - timedelta(milliseconds=1))
    assert await worker.log.change(a_draft(reads=past), refusal_of_sharing()) == NotAppended("expired")
    assert await ask(dsn, "select policy from head") == 0


async def test_no_permit_follows_what_it_ignores(worker: Node, other: Node, dsn: str) -> None:
    """Many decide and many withdraw at once on two workers: in the log, nothing stands on older inputs."""
    people = [SubjectRef("nhs-number", f"{n:010}") for n in range(3)]

    async def decider(n: int) -> None:
        by, person = (worker, other)[n % 2], people[n % 3]
        key = subject_key(person.scheme, person.value)
        for _ in range(12):
            policy = await ask(dsn, "select policy from head")
            await asyncio.sleep(0.001)
            await by.log.append(a_draft(reads=_reads(key, policy=policy), seen=policy, person=person.value))

    async def withdrawer(n: int) -> None:
        for _ in range(12):
            await _say_no((worker, other)[n % 2], people[n % 3])
            await asyncio.sleep(0.003)

    await asyncio.gather(*(decider(n) for n in range(6)), *(withdrawer(n) for n in range(3)))
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("select id::text, idx from entry order by idx")
        changes = await connection.fetch("select key, policy from policy_change order by policy")
    finally:
        await connection.close()
    changed: dict[bytes, int] = {}
    count, permits = 0, 0
    for row in rows:
        _, full = await worker.reader.receipt(row["id"], "full")
        if "seen" in full:
            permits += 1
            key = worker.blind.subject(SubjectRef("nhs-number", str(full["person"])))
            assert changed.get(key, 0) <= int(str(full["seen"]))
        else:
            assert changes[count]["policy"] == count + 1
            count += 1
            changed[bytes(changes[count - 1]["key"])] = count
    assert count == 36
    assert permits > 0


async def test_the_first_use_of_a_request_id_counts(worker: Node, other: Node, dsn: str) -> None:
    """Once claimed, an id is refused to every other entry, in one batch and across workers."""
    claim = a_claim()
    both = [a_draft(claim=claim) for _ in range(12)]
    answers = await asyncio.gather(*((worker, other)[n % 2].log.append(d) for n, d in enumerate(both)))
    first = [d for d, a in zip(both, answers, strict=True) if isinstance(a, Appended)]
    assert len(first) == 1
    assert answers.count(NotAppended("claimed")) == 11
    assert str(await ask(dsn, "select entry from claim")) == first[0].id
    assert await ask(dsn, "select size from head") == 1
    other_system = replace(a_claim(claim.request_id), system="cfrs/other")
    await worker.append(a_draft(claim=other_system))


async def test_an_intent_is_settled_by_its_own_request_once(worker: Node) -> None:
    """An unsettled claim takes its request's end, and no other intent, content or retry."""
    request, effect = str(uuid.uuid4()), str(uuid.uuid4())
    intent = a_draft(claim=a_claim(request, settled=False, effect=effect))
    await worker.append(intent)
    for wrong in (
        a_claim(request, settled=False, effect=effect),
        a_claim(request, b"d" * 32),
        a_claim(request, retry_of=str(uuid.uuid4())),
    ):
        assert await worker.given_back(a_draft(claim=wrong)) == "claimed"
    end = a_draft(claim=a_claim(request))
    await worker.append(end)
    assert await worker.given_back(a_draft(claim=a_claim(request))) == "claimed"
    from broker.ports import Asked

    facts = await worker.facts.read(Asked((), "cfrs/mdt", (request,)))
    claimed = facts.claims[request]
    assert (claimed.entry, claimed.settled, claimed.effect) == (end.id, True, effect)


async def test_what_is_given_back_claims_nothing(worker: Node, dsn: str) -> None:
    """A stale or expired item leaves its request id free, for its own next try."""
    await _say_no(worker)
    claim = a_claim(retry_of=str(uuid.uuid4()))
    assert await worker.given_back(a_draft(reads=_reads(KEY), claim=claim)) == "stale"
    past = datetime.now(UTC) - timedelta(seconds=1)
    assert await worker.given_back(a_draft(reads=_reads(NOBODY, until=past), claim=claim)) == "expired"
    assert await ask(dsn, "select count(*) from claim") == 0
    await worker.append(a_draft(reads=_reads(KEY, policy=1), claim=claim))
    assert str(await ask(dsn, "select retry_of from claim")) == claim.retry_of
