"""Work of a deployment's offices: cases, reports, the directory, agreements, the ends of months and logs."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

from broker.accesswanted import Wanted
from broker.clearing import Ruling as Clearing
from broker.core.acting import Acting
from broker.core.directory import Agency, Successor
from broker.core.late import Late, Side
from broker.core.model import Function, Request, SubjectRef
from broker.core.reports.performance import bounds
from broker.core.retention import parse
from broker.core.searchterms import Question
from broker.errors import BrokerError
from broker.keys import FolderKeys
from broker.late import LateRecords
from broker.looks import Wanted as Report
from broker.retention import Retention
from broker.store.blind import Blind
from tests.human.conftest import Later
from tests.human.test_escalations import worker
from tests.keeping.conftest import CFRS, COUNCIL, NWAS, OFFICER, WHY, caught_up
from tests.support.cumbria import CARLISLE, EDEN, fire_routes
from tests.support.signing import Signatory
from tests.support.stage import SINCE, Stage
from tests.support.world import ACTOR, OPERATOR, RISK, WATCHED, caller, flow, key_of

WEST, EAST = caller("west-fire"), caller("east-fire")
SCHEDULE = """
version = 1
title = "Joint schedule"
[[class]]
name = "standard"
months = {standard}
schedule = "JS 4.2"
[[class]]
name = "long"
months = {long}
schedule = "JS 4.3"
[[class]]
name = "changes"
months = {changes}
schedule = "JS 4.9"
"""


class Deployment:
    """One deployment, and what its people remember."""

    def __init__(self, stage: Stage, seed: int, *, months: bool) -> None:
        self.stage = stage
        if months:
            stage.clock = Later(timedelta())
            signatories = stage.signatories
            stage.__post_init__()
            stage.signatories = signatories
        self.chance = random.Random(seed)
        self.people = [stage.person() for _ in range(4)]
        self.requests: list[Request] = []
        self.routing = self.version = self.enrolled = self.rotated = 0
        self.months = months
        self.done: list[str] = []

    def ago(self) -> timedelta:
        """What is done now is dated so far from now; nothing at last."""
        return -timedelta(days=max(0, 400 - 200 * (len(self.done) // 25))) if self.months else timedelta()

    def who(self) -> SubjectRef:
        """Somebody."""
        return self.chance.choice(self.people)

    def party(self) -> Any:
        """An agency's desk."""
        return self.chance.choice([NWAS, NWAS, CFRS, CFRS, COUNCIL, WEST])


class Office(Deployment):
    """What is done there, each at its turn."""

    async def do_retain(self) -> None:
        """Months end that are over: those of changes that were dated back."""
        if self.months and not self.ago():
            sooner = self.chance.choice([1, 1, 1200])
            await self._retain(Later(timedelta()), standard=1, long=1200, changes=sooner)

    async def end(self) -> None:
        """Years later: the requests of all this go, and what is left of humans' work with them."""
        if self.months and not self.ago():
            later = Later(timedelta(days=400))
            await self._retain(later, standard=1, long=self.chance.choice([1, 1200]), changes=1200)

    async def _retain(self, clock: Later, **months: int) -> None:
        stage = self.stage
        assert stage.destroying is not None
        policy = parse(SCHEDULE.format(**months).encode())
        keeper = Retention(stage.administration, stage.destroying, stage.facts, clock, policy)
        async for _ in keeper.apply(OPERATOR, OFFICER, WHY):
            pass

    async def do_complain(self) -> None:
        """A complaint, about somebody or nobody."""
        person = self.chance.choice([None, self.who()])
        await self.stage.complaints.add(self.party(), "C-5", None, "rude", ACTOR, person)

    async def do_complaint(self) -> None:
        """It is acknowledged, or closed."""
        who = self.party()
        found, _ = await self.stage.complaints.listed(who, ACTOR, WHY)
        if found:
            row = self.chance.choice(found)
            if self.chance.random() < 0.5:
                await self.stage.complaints.acknowledge(who, row.id, ACTOR)
            else:
                await self.stage.complaints.close(who, row.id, "not-upheld", "explained", ACTOR)

    async def do_access(self) -> None:
        """A person asks what is held."""
        about = tuple({self.who(), self.who()})
        await self.stage.access.start(self.chance.choice([COUNCIL, NWAS]), Wanted(about), OFFICER, WHY)

    async def do_clear(self) -> None:
        """A controller decides what is told, perhaps twice; the answer is given."""
        found, *_ = await self.stage.access.listed(NWAS, OFFICER, WHY)
        for each in found[:2]:
            row = each[0]
            for who in (NWAS, CFRS, COUNCIL):
                ruling = self.chance.choice([Clearing(), Clearing("crime-prevention", "it would tip them off")])
                with suppress(BrokerError):
                    await self.stage.access.clear(who, row.id, [], ruling, OFFICER)
                    await caught_up(self.stage)
            if self.chance.random() < 0.5:
                with suppress(BrokerError):
                    await self.stage.access.issue(caller(row.agency), row.id, OFFICER, WHY)

    async def do_report(self) -> None:
        """Somebody reads figures; a month's are published."""
        since, until = bounds(date(2020, self.chance.randint(1, 12), 1))
        await self.stage.reports.make(OPERATOR, Report("performance", since, until), OFFICER, WHY)
        kind = self.chance.choice(["overrides", "complaints", "snooping", "agency"])
        await self.stage.reports.make(self.party(), Report(kind), OFFICER, WHY)

    async def do_look(self) -> None:
        """Somebody searches, and opens what they find."""
        who = self.party()
        page = await self.stage.searches.page(who, Question((), self.who()), OFFICER, WHY)
        if page.found:
            entry = self.chance.choice(page.found).hit.id
            await self.stage.audits.open(who, entry, OFFICER, WHY)

    async def do_escalate(self) -> None:
        """What waits too long is told on, and who is to hear of it does."""
        await worker(self.stage, hours=self.chance.choice([9, 73, 24 * 32])).look()
        for each in await self.stage.late.claim(100, 0):
            if self.chance.random() < 0.5:
                await self.stage.late.told(each.id)
        for used in await self.stage.notices.claim(100, 0):
            await self.stage.notices.told(used.override)

    async def do_late(self) -> None:
        """What was shared while the broker was down is written down."""
        stage = self.stage
        records = LateRecords(stage.log, stage.facts, stage.reference, stage.clock, _content(stage))
        gave, took = Side("cfrs", "duty-officer", "J. Smith"), Side("nwas", "dispatcher", "")
        about = (self.who(), RISK, ("oxygen.kind",), "emergency-response", "they were\nat the door")
        late = Late(str(uuid.uuid4()), stage.clock.now(), "telephone", gave, took, *about)
        await records.record(self.chance.choice([CFRS, NWAS]), [late], ACTOR)

    async def do_directory(self) -> None:
        """Systems and agencies come, change and go."""
        registry, chance = self.stage.registry, self.chance
        self.enrolled += 1
        who = ("nwas", f"desk{chance.randint(1, 3)}")
        kind = chance.randrange(6)
        if kind < 2:
            until = chance.choice([None, self.stage.clock.now() + timedelta(days=90)])
            await registry.enrol(
                OPERATOR, *who, Function.PARTNER, key_of(f"desk {self.enrolled}"), SINCE, until
            )
        elif kind == 2:
            await registry.suspend(OPERATOR, *who, "looked odd", lift=chance.random() < 0.5)
        elif kind == 3:
            known = (await self.stage.reference.refresh()).systems.get("/".join(who))
            digest = chance.choice(sorted(known.key_digests)) if known and known.key_digests else key_of("x")
            await registry.revoke(OPERATOR, *who, digest, "lost")
        elif kind == 4:
            await registry.attached(chance.choice([NWAS, CFRS]))
        else:
            name = chance.choice(["west-fire", "east-fire", "nwas"])
            kind_of = "ambulance" if name == "nwas" else "fire"
            await registry.add_agency(
                OPERATOR, Agency(name, f"{name} {self.enrolled}", kind_of, "england", SINCE)
            )

    async def do_standing(self) -> None:
        """One acts for another; one follows another; one leaves."""
        standing, now, chance = self.stage.standing, self.stage.clock.now(), self.chance
        tomorrow, kind = now + timedelta(days=1), chance.randrange(5)
        if kind == 0:
            await standing.act(OPERATOR, Acting("", "ncic", "cumberland", "C-1", SINCE))
        elif kind == 1:
            for each in await standing.acting(OPERATOR, ended=False):
                await standing.end_acting(OPERATOR, each.id, "over")
        elif kind == 2:
            into = (Successor("west-fire", frozenset({CARLISLE})), Successor("east-fire", frozenset({EDEN})))
            await standing.succeed(OPERATOR, "cfrs", into, tomorrow)
        elif kind == 3:
            await standing.take_back(OPERATOR, "cfrs")
        else:
            await standing.leave(OPERATOR, "east-fire", tomorrow, "over")

    async def do_agree(self) -> None:
        """A new version of an agreement; one is stopped, and goes on."""
        stage, chance = self.stage, self.chance
        kind = chance.randrange(4)
        if kind == 0:
            self.version += 1
            await stage.agree(version=1 + self.version, flows=[flow(), flow(record_type=WATCHED)])
        elif kind == 1:
            await stage.suspensions.suspend(self.party(), "kept-long", "wrong field", ACTOR)
        elif kind == 2:
            await stage.suspensions.lift(self.party(), "kept-long", "put right", ACTOR)
        else:
            more = Signatory("cumberland").enrolled(date(2020, 1, 1))
            await stage.signing.enrol(OPERATOR, more, None, ACTOR)
            if chance.random() < 0.5:
                await stage.signing.end(OPERATOR, "cumberland", more.id, "lost", ACTOR)

    async def do_route(self) -> None:
        """Whom to ask."""
        self.routing += 1
        await self.stage.route_book.apply(OPERATOR, fire_routes(self.routing))

    async def do_rotate(self) -> None:
        """A half-year ends."""
        if self.stage.halves is None or self.rotated == 2 or self.chance.random() < 0.5:
            return
        self.rotated += 1
        halves, old = self.stage.halves, self.stage.halves.origin
        later = f"{old.rpartition('/')[0]}/{2026 + self.rotated}h1"
        await halves.rotate(old, halves.prepare(later))


def _content(stage: Stage) -> Callable[[Any], bytes]:
    return Blind(FolderKeys(stage.folder / "keys").index_key()).said
