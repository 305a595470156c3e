"""Use cases of reports: what is asked of the log, by whom, and the entry that says so before anything is read.

A report reads as a search does: a partner what it is party to, in its own view, an auditor all. Operators make
the one with counts of nobody, read with an auditor's eyes. Entries pass through a page at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta

from msgspec.structs import replace

from broker import rowssaid
from broker.administration import Administration, Made, why
from broker.cases import BreachStore, ComplaintStore, StoredBreach
from broker.core.canonical import Json
from broker.core.london import local
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.receipt import Audience
from broker.core.reports.against import Against
from broker.core.reports.agency import Dealings
from broker.core.reports.breach import Affected
from broker.core.reports.complaints import Received
from broker.core.reports.document import MOST, Document
from broker.core.reports.names import named
from broker.core.reports.overrides import Used
from broker.core.reports.performance import Month, bounds
from broker.core.reports.snooping import Member, Names, Signs, Watched
from broker.core.reports.times import day
from broker.core.searchterms import Question
from broker.desk import hidden
from broker.errors import InvalidRequest, NotAllowed
from broker.figures import Figures
from broker.heritage import Heritage, as_left
from broker.lanes import by_steps
from broker.looks import By, Look, Progress, Wanted, detail_of
from broker.ports import Clock, ReferenceSource
from broker.queues import OverrideStore
from broker.searches import Searches
from broker.seats import Seats

NAMES = ("breach", "snooping", "overrides", "agency", "performance", "complaints")
LISTED = 200


class Reports:
    """Makes reports for people. `seconds` gives what metrics know of the time that answers took."""

    def __init__(
        self,
        administration: Administration,
        searches: Searches,
        overrides: OverrideStore,
        breaches: BreachStore,
        complaints: ComplaintStore,
        reference: ReferenceSource,
        clock: Clock,
        figures: Figures,
        seconds: Callable[[], tuple[tuple[str, str], ...]],
    ) -> None:
        self._administration = administration
        self._searches = searches
        self._overrides = overrides
        self._breaches = breaches
        self._complaints = complaints
        self._reference = reference
        self._clock = clock
        self._figures = figures
        self._heritage = Heritage(reference, clock)
        self._seconds = seconds
        self._seats = Seats(1, "reports")
        self._kinds: dict[str, Callable[[Look], Awaitable[Document]]] = {
            "breach": self._breach,
            "snooping": self._snooping,
            "overrides": self._used,
            "agency": self._agency,
            "performance": self._performance,
            "complaints": self._complained,
        }

    async def make(
        self,
        caller: Caller,
        wanted: Wanted,
        actor: Actor,
        reason: Reason,
        progress: Progress | None = None,
        signs: Callable[[], Awaitable[Signs]] | None = None,
    ) -> tuple[Document, Made]:
        """The report. Who made it and why is committed first. `progress` says meanwhile how far it is; `signs`
        gives those of `wanted` once it is known that the report may be made, since a staff list is long.

        Raises InvalidRequest, NotAllowed, AuditUnavailable.
        """
        own = frozenset({caller.agency, *(each.of for each in await self._heritage.left_to(caller))})
        wanted = self._checked(caller, wanted, reason, own)
        eyes = caller
        if caller.function is Function.PARTNER:
            eyes = await self._heritage.eyes(caller, wanted.agency)
        breach = await self._own_breach(caller, wanted.breach) if wanted.breach else None
        with self._seats.one(caller.name):
            given = await signs() if signs else wanted.signs
            wanted = replace(wanted, signs=await _whose(given, wanted.agency) if given else None)
            made = await self._administration.note_look(caller, "report-made", detail_of(wanted), actor, reason)
            await self._reference.refresh()
            reference = self._reference.current
            by = By(caller, actor, reason, reference.agencies)
            look = Look(self._searches, eyes, wanted, made, breach, progress or Progress(), by)
            document = await self._kinds[wanted.report](look)
            titled = replace(document, title=_titled(document, by, wanted))
            return named(titled, reference.agencies, reference.law), made

    async def breaches(self, caller: Caller, actor: Actor, reason: Reason) -> tuple[list[StoredBreach], Made]:
        """Suspected breaches that a review began: the caller's agency's, for auditors everybody's."""
        if caller.function is Function.OPERATOR:
            raise NotAllowed("operators run the broker; the controllers concerned see breaches")
        whose = [""] if caller.function is Function.AUDITOR else [caller.agency]
        whose += [each.of for each in await self._heritage.left_to(caller)]
        listed = {row.id: row for agency in whose for row in await self._breaches.of(agency, LISTED)}
        newest = sorted(listed.values(), key=lambda row: row.aware_at, reverse=True)[:LISTED]
        found = [row for row in newest if await self._may_see(caller, row)]
        detail: dict[str, Json] = {"breaches": [row.id for row in found]}
        return found, await self._administration.note_look(caller, "breaches-viewed", detail, actor, reason)

    async def doubts(self, caller: Caller, found: list[StoredBreach], made: Made) -> tuple[str, ...]:
        """What of these, and of those that are not among them, does not fit the reviews that the log has: what
        `breaches` has `made` an entry of is held against it."""
        shares = await self._heritage.left_to(caller)
        eyes = (caller, *(as_left(caller, share) for share in shares))
        used = [(row, await self._overrides.by_id(row.id)) for row in found]
        rows = [(row, each.request if each is not None else "") for row, each in used]
        return await rowssaid.doubts(self._searches, eyes, rows, made, LISTED)

    async def _may_see(self, caller: Caller, row: StoredBreach) -> bool:
        """Its owner, auditors, and who asked: but not where they may not learn that there was a review. And
        who has taken the place of one of them, there."""
        if caller.function is Function.AUDITOR or caller.agency == row.provider:
            return True
        used = await self._overrides.by_id(row.id)
        district = used.district if used is not None else ""
        shares = await self._heritage.left_to(caller)
        if any(each.holds(row.provider, district) for each in shares):
            return True
        unknown = used is None or hidden(used, await self._reference.refresh())
        asked = caller.agency == row.requester or any(each.holds(row.requester, district) for each in shares)
        return asked and not unknown

    def _checked(self, caller: Caller, wanted: Wanted, reason: Reason, own: frozenset[str]) -> Wanted:
        if wanted.report not in NAMES:
            raise InvalidRequest("report", f"one of {', '.join(NAMES)}")
        why(reason)
        if wanted.report == "performance":
            return self._month(caller, wanted)
        if caller.function is Function.OPERATOR:
            raise NotAllowed("operators make the performance report and no other; parties and auditors do")
        if caller.function is Function.PARTNER and wanted.agency not in ("", *own):
            raise NotAllowed("an agency's report is about its own side")
        if wanted.since and wanted.until and wanted.until <= wanted.since:
            raise InvalidRequest("until", "is not after since")
        if wanted.report == "breach" and not (wanted.breach or wanted.since):
            raise InvalidRequest("since", "say from when on, or which suspected breach")
        if caller.function is Function.PARTNER:
            wanted = replace(wanted, agency=wanted.agency or caller.agency)
        return wanted

    def _month(self, caller: Caller, wanted: Wanted) -> Wanted:
        if caller.function is Function.PARTNER:
            raise NotAllowed("performance is of the whole deployment; `agency` is of your own side")
        if wanted.since is None:
            raise InvalidRequest("since", "the month's first moment: a whole month, and one that is over")
        since, until = bounds(_day(wanted.since))
        if since != wanted.since or wanted.until not in (None, until):
            raise InvalidRequest("since", "a whole month on a clock in the United Kingdom, and no other time")
        if until > self._clock.now():
            raise InvalidRequest("since", "that month is not over: counts that grow can be subtracted")
        return replace(wanted, since=since, until=until)

    async def _own_breach(self, caller: Caller, breach: str) -> StoredBreach:
        row = await self._breaches.by_id(breach)
        if row is None or not await self._may_see(caller, row):
            raise NotAllowed("there is no such breach that your agency may see")
        return row

    async def _breach(self, look: Look) -> Document:
        wanted, row, held, by = look.wanted, look.breach, None, ""
        affected = Affected(self._reference.current.labels, people=wanted.people, agency=wanted.agency)
        question = Question(_named(wanted), None, wanted.since, wanted.until)
        if row is not None:
            override, held = await self._overrides.by_id(row.id), Against("suspected breaches")
            row, by = await rowssaid.begun(look, row, override, held)
            look.breach = row
            # An entry's own time is in whole seconds. What else that system asked is for a report by system.
            begun = row.used_at.replace(microsecond=0)
            question = Question((), None, begun, begun + timedelta(seconds=2))
        async for each in look.lines(question):
            if row is not None and each.id != row.id:
                continue
            if wanted.key_digest in ("", each.key):
                affected.add(each)
        facts = (*await look.facts(), *([("Begun by", by)] if by else ()))
        return affected.document(
            facts, wanted.aware_at or (row.aware_at if row else None), held and look.surely(held)
        )

    async def _snooping(self, look: Look) -> Document:
        law = self._reference.current.law
        vital = frozenset(code for code, each in law.purposes.items() if each.vital)
        signs = look.wanted.signs or Signs(vital)
        if not signs.expects_incident:
            signs = replace(signs, expects_incident=vital)
        names = Names()
        async for each in look.lines():
            names.add(each)
        async for member in by_steps(signs.staff):
            names.know(member.agency, member.actor, member.name)
        watched = Watched(signs, names)
        async for each in look.lines():
            if look.wanted.agency in ("", each.requester):
                watched.add(each)
        return watched.document(await look.facts())

    async def _used(self, look: Look) -> Document:
        used, held = Used(self._clock.now()), Against("overrides")
        said = await rowssaid.Reviews.of(look)
        async for each in look.lines():
            if not each.override or not each.asks:
                continue
            row = await self._overrides.by_id(each.id)
            asker = each.audience is Audience.REQUESTER
            if row is not None and asker and hidden(row, self._reference.current):
                continue
            if (review := rowssaid.review_of(each, row, said(each), held)) is not None:
                used.add(each, review)
        return used.document(await look.facts(), look.surely(held))

    async def _agency(self, look: Look) -> Document:
        dealings = Dealings(look.wanted.agency)
        async for each in look.lines():
            dealings.add(each)
        return dealings.document(await look.facts())

    async def _performance(self, look: Look) -> Document:
        since = look.wanted.since
        first = _day(since) if since else date.min
        eyes = replace(look.caller, function=Function.AUDITOR)
        said = await rowssaid.published(look, first, eyes)

        async def count() -> Document:
            month = Month(first, self._reference.current.law)
            # Counts of a whole month leave, and nothing else does.
            async for each in look.lines(caller=eyes):
                month.add(each)
            facts = await look.facts(whose=False)
            look.check_whole()
            return month.document(facts, self._seconds())

        return await self._figures.published(look.caller, first, look.by.actor, count, said)

    async def _complained(self, look: Look) -> Document:
        wanted, received, held = look.wanted, Received(self._clock.now()), Against("complaints")
        rows = await self._complaints.of(wanted.agency, wanted.since, wanted.until, MOST + 1)
        for each in await rowssaid.complaints(look, rows, held):
            received.add(each)
        return received.document(await look.facts(), look.surely(held))


async def _whose(signs: Signs, agency: str) -> Signs:
    """The signs with the agency of each of the staff: an actor's id is their agency's own."""
    staff = list[Member]()
    async for each in by_steps(signs.staff):
        if not (each.agency or agency):
            problem = "say whose they are: a column agency, or a report of one agency"
            raise InvalidRequest(f"signs.staff.{len(staff)}.agency", problem)
        staff.append(replace(each, agency=each.agency or agency))
    return replace(signs, staff=tuple(staff))


def _named(wanted: Wanted) -> tuple[tuple[str, str], ...]:
    facts = (("system", wanted.system), ("agreement", wanted.agreement), ("agency", wanted.agency))
    return tuple((kind, value) for kind, value in facts if value)


def _titled(document: Document, by: By, wanted: Wanted) -> str:
    """Its title, whose it is, and of which days on a clock in the United Kingdom."""
    whose = [by.agencies[wanted.agency].name] if wanted.agency in by.agencies else []
    if wanted.report == "performance":  # its month is a fact of it
        return document.title
    days = ""
    if wanted.since is not None:
        last = wanted.until - timedelta(microseconds=1) if wanted.until else None
        first = day(_day(wanted.since))
        days = f"{first} to {day(_day(last))}" if last else f"from {first} on"
    elif wanted.until is not None:
        days = f"until {day(_day(wanted.until - timedelta(microseconds=1)))}"
    return ", ".join(filter(None, (document.title, *whose, days)))


def _day(at: datetime) -> date:
    return local(at).date()
