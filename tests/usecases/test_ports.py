"""One suite, every implementation: what the use cases rely on, over memory and over PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.administration import Administration
from broker.clock import SystemClock
from broker.core.directive import Directive
from broker.core.directory import Agency, agency_key
from broker.core.forms import agency_detail, directive_detail
from broker.core.keys import Signer
from broker.core.model import SubjectRef
from broker.core.receipt import verify_receipt
from broker.core.views import ProviderView, RequesterView
from broker.directives import MAX_ABOUT_ONE, Directives
from broker.errors import InvalidRequest
from broker.ports import (
    Appended,
    Asked,
    Change,
    Claim,
    DirectiveStore,
    Draft,
    FactsSource,
    Log,
    LogView,
    NotAppended,
    Reads,
    ReferenceSource,
)
from tests.support.durable import durable
from tests.support.memory import MemoryStore
from tests.support.postgres import Server
from tests.support.values import replace
from tests.support.world import ACTOR, HOME, OTHER_HOME, caller, said

CLOCK = SystemClock()
KEY = f"subject:{HOME.scheme}|{HOME.value}"
SYSTEM = "nwas/cad"


@dataclass(frozen=True)
class Ports:
    """One implementation."""

    log: Log
    view: LogView
    facts: FactsSource
    reference: ReferenceSource
    directives: DirectiveStore
    signer: Signer

    async def policy(self) -> int:
        """The count now."""
        return (await self.facts.read(Asked((), SYSTEM, ()))).policy

    async def appended(self, draft: Draft) -> Appended:
        """Append what must be appended."""
        done = await self.log.append(draft)
        assert isinstance(done, Appended)
        return done

    async def given_back(self, draft: Draft) -> str:
        """Why an append was given back."""
        done = await self.log.append(draft)
        assert isinstance(done, NotAppended)
        return done.why

    async def say(self, subject: SubjectRef, directive: Directive) -> None:
        """Record a directive with its entry."""
        detail: dict[str, Any] = {
            "id": directive.id,
            "recorder": directive.recorder,
            "detail": directive_detail(directive),
            "at": CLOCK.now().isoformat(),
        }
        keys = frozenset({f"subject:{subject.scheme}|{subject.value}"})
        change = Change("directive", detail, keys, reference=False, subject=subject)
        assert isinstance(await self.log.change(draft("directive-recorded"), change), Appended)


@pytest.fixture(params=["memory", "postgres"])
async def ports(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ports]:
    """Each implementation in turn, empty."""
    if request.param == "memory":
        store = MemoryStore(CLOCK)
        yield Ports(store.log, store.log, store.facts, store.reference, store, store.signer)
        return
    server: Server = request.getfixturevalue("postgres")
    async with server.fresh() as dsn, durable(dsn, tmp_path) as made:
        yield Ports(made.log, made.reader, made.facts, made.reference, made.directives, made.signer)


def draft(event: str = "disclosure", reads: Reads | None = None, claim: Claim | None = None) -> Draft:
    """An entry."""
    view = RequesterView(event, request_id=claim.request_id if claim else None, outcome="permit")
    provider = ProviderView(view, {"id": "x"}, ((HOME.scheme, HOME.value),))
    full: dict[str, Any] = {**provider.as_json(), "policy": 0, "now": "x"}
    return Draft(str(uuid.uuid4()), CLOCK.now(), view, provider, full, "nwas", "cfrs", reads=reads, claim=claim)


def claim(**changes: Any) -> Claim:
    """A claim on a new request id."""
    return replace(Claim(SYSTEM, str(uuid.uuid4()), b"c" * 32), **changes)


async def test_an_append_gives_a_receipt_that_verifies(ports: Ports) -> None:
    """Index by index, each against the checkpoint it came with."""
    for index in range(5):
        made = draft()
        receipt = (await ports.appended(made)).receipt
        assert receipt.index == index
        assert verify_receipt(receipt, [ports.signer.verifier], record=None).view == made.requester


async def test_an_entry_is_read_again_by_audience(ports: Ports) -> None:
    """The same bytes and index; the opening is the one asked for; nothing where there is no such entry."""
    made = draft()
    first = (await ports.appended(made)).receipt
    await ports.appended(draft())
    for audience in ("requester", "provider", "full"):
        again, full = await ports.view.receipt(made.id, audience)
        assert (again.entry, again.index) == (first.entry, first.index)
        assert again.opening is not None
        assert (again.opening == first.opening) == (audience == "requester")
        assert full["event"] == "disclosure"
    assert await ports.view.parties(made.id) == ("nwas", "cfrs")
    with pytest.raises(KeyError):
        await ports.view.receipt(str(uuid.uuid4()), "requester")
    with pytest.raises(KeyError):
        await ports.view.parties(str(uuid.uuid4()))


async def test_an_input_that_has_moved_gives_the_append_back(ports: Ports) -> None:
    """Only for keys it read, only for changes since; without conditions it stands."""
    before = await ports.policy()
    await ports.say(HOME, said("objection"))
    assert await ports.given_back(draft(reads=Reads(before, frozenset({KEY, "flow:x"})))) == "stale"
    assert await ports.given_back(draft(reads=Reads(before, frozenset({KEY})))) == "stale"
    await ports.appended(draft(reads=Reads(before, frozenset({"flow:x"}))))
    await ports.appended(draft(reads=Reads(await ports.policy(), frozenset({KEY}))))
    await ports.appended(draft())


async def test_a_decision_past_its_end_gives_the_append_back(ports: Ports) -> None:
    """Time alone can end it; a moment that is still to come does not."""
    keys: frozenset[str | bytes] = frozenset({KEY})
    policy, now = await ports.policy(), CLOCK.now()
    assert await ports.given_back(draft(reads=Reads(policy, keys, now))) == "expired"
    await ports.appended(draft(reads=Reads(policy, keys, now + timedelta(minutes=5))))


async def test_a_change_is_decided_on_what_is_stored(ports: Ports) -> None:
    """Overtaken by another, it is given back with nothing changed."""
    before = await ports.policy()
    key = agency_key("lancs")
    agency = Agency("lancs", "Lancs", "fire", "england", CLOCK.now())

    async def enter(name: str, reads: Reads) -> object:
        detail: dict[str, Any] = {"detail": agency_detail(replace(agency, name=name))}
        change = Change("agency", detail, frozenset({key}), reference=True)
        return await ports.log.change(draft("agency-added", reads=reads), change)

    assert isinstance(await enter("first", Reads(before, frozenset({key}))), Appended)
    assert isinstance(await enter("second", Reads(before, frozenset({key}))), NotAppended)
    facts = await ports.facts.read(Asked((), SYSTEM, ()))
    assert facts.policy == facts.reference_policy == before + 1
    assert (await ports.reference.at_least(facts.reference_policy)).agencies["lancs"].name == "first"
    assert (await ports.reference.refresh()).policy == facts.reference_policy


async def test_a_settled_claim_stands_for_good(ports: Ports) -> None:
    """For this system and id; another system's same id is another's."""
    mine = claim(retry_of=str(uuid.uuid4()))
    made = draft(claim=mine)
    await ports.appended(made)
    assert await ports.given_back(draft(claim=mine)) == "claimed"
    assert await ports.given_back(draft(claim=replace(mine, content=b"d" * 32))) == "claimed"
    known = (await ports.facts.read(Asked((), SYSTEM, (mine.request_id,)))).claims[mine.request_id]
    assert (known.entry, known.content, known.retry_of) == (made.id, mine.content, mine.retry_of)
    assert (known.settled, known.effect) == (True, "")
    await ports.appended(draft(claim=replace(mine, system="cfrs/cad")))
    assert not (await ports.facts.read(Asked((), SYSTEM, (str(uuid.uuid4()),)))).claims


async def test_an_intents_claim_is_settled_by_its_own_request(ports: Ports) -> None:
    """It keeps its effect; a second intent, and other content, are given back."""
    mine = claim(settled=False, effect=str(uuid.uuid4()))
    await ports.appended(draft("intent", claim=mine))
    assert await ports.given_back(draft("intent", claim=replace(mine, effect=str(uuid.uuid4())))) == "claimed"
    end = replace(mine, settled=True)
    assert await ports.given_back(draft(claim=replace(end, content=b"d" * 32))) == "claimed"
    await ports.appended(draft(claim=end))
    known = (await ports.facts.read(Asked((), SYSTEM, (mine.request_id,)))).claims[mine.request_id]
    assert (known.settled, known.effect) == (True, mine.effect)


async def test_an_append_given_back_claims_nothing(ports: Ports) -> None:
    """Its request can still end."""
    before = await ports.policy()
    await ports.say(HOME, said("objection"))
    mine = claim()
    assert await ports.given_back(draft(reads=Reads(before, frozenset({KEY})), claim=mine)) == "stale"
    assert not (await ports.facts.read(Asked((), SYSTEM, (mine.request_id,)))).claims
    await ports.appended(draft(claim=mine))


async def test_what_is_said_is_read_for_the_identifiers_asked(ports: Ports) -> None:
    """As it was said, and until it is withdrawn."""
    directive = said("restriction", purposes=frozenset({"audit"}), valid_until=datetime(2100, 1, 1, tzinfo=UTC))
    await ports.say(HOME, directive)
    await ports.say(OTHER_HOME, said("consent"))
    facts = await ports.facts.read(Asked((HOME,), SYSTEM, ()))
    assert facts.directives == {HOME: (directive,)}
    stored = await ports.directives.by_id(directive.id)
    assert stored is not None
    assert stored.directive == directive
    # The key by id is the one that appends are checked by.
    reads = Reads(facts.policy, frozenset({stored.key}))
    detail: dict[str, Any] = {"ids": [directive.id], "at": CLOCK.now().isoformat()}
    change = Change("directive-withdrawal", detail, frozenset({stored.key}), reference=False)
    assert isinstance(await ports.log.change(draft("directive-withdrawn", reads=reads), change), Appended)
    assert await ports.directives.by_id(directive.id) is None
    assert (await ports.facts.read(Asked((HOME,), SYSTEM, ()))).directives == {}
    assert await ports.given_back(draft(reads=Reads(facts.policy, frozenset({KEY})))) == "stale"


async def test_all_that_was_taken_down_is_kept(ports: Ports) -> None:
    """Who spoke, by what right, how it was taken, who assessed: by identifier, by id, and for its recorder."""
    consent = said(
        "consent",
        standing="gillick-child",
        speaker="the elder",
        authority="none needed",
        capacity="has",
        assessor="Dr Iqbal",
        assessed_on=date(2026, 5, 31),
        assessed="sharing with the school nurse",
        taken_by="s.lowe",
        explained="who sees it\nand why",
        company="accompanied",
        reconsider_at=datetime(2028, 1, 10, tzinfo=UTC),
        matter="visit",
    )
    conflict = said("staff-conflict", actors=frozenset({"a.hill", "b.dale"}))
    for each in (consent, conflict):
        await ports.say(HOME, each)
        stored = await ports.directives.by_id(each.id)
        assert stored is not None
        assert stored.directive == each
    assert set((await ports.facts.read(Asked((HOME,), SYSTEM, ()))).directives[HOME]) == {consent, conflict}
    own = await ports.directives.about(HOME, "cumberland")
    assert [each.directive for each in own] == [consent, conflict]


async def test_how_many_there_are_is_counted_where_decisions_read(ports: Ports) -> None:
    """One agency's about one subject, whatever keeps them; withdrawn ones no more."""
    made = Administration(ports.log, CLOCK)
    use = Directives(made, ports.facts, ports.directives, ports.reference, CLOCK)
    first = said("objection", "nwas")
    await use.add(caller("nwas"), HOME, first, ACTOR)
    for _ in range(MAX_ABOUT_ONE - 1):
        await use.add(caller("nwas"), HOME, said("objection", "nwas"), ACTOR)
    with pytest.raises(InvalidRequest, match=r"directive.subject: your agency has"):
        await use.add(caller("nwas"), HOME, said("objection", "nwas"), ACTOR)
    await use.add(caller("cfrs"), HOME, said("objection", "cfrs"), ACTOR)
    await use.withdraw_one(caller("nwas"), first.id, ACTOR)
    await use.add(caller("nwas"), HOME, said("objection", "nwas"), ACTOR)
    assert len((await ports.facts.read(Asked((HOME,), SYSTEM, ()))).directives[HOME]) == MAX_ABOUT_ONE + 1
