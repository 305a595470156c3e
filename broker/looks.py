"""One report being made: what was asked for, whose eyes read, and what it must say of the log that it reads.

Owns that a report reads through the search and nothing else, and what stood before its own entry alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from broker.administration import Made
from broker.audience import Seen
from broker.cases import StoredBreach
from broker.core import canonical
from broker.core.canonical import Json
from broker.core.checkpoint import Checkpoint
from broker.core.directory import Agency
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.receipt import Audience
from broker.core.reports.against import Against
from broker.core.reports.line import Line, line
from broker.core.reports.snooping import Signs
from broker.core.reports.times import in_words
from broker.core.searchterms import Question
from broker.core.succession import heirs
from broker.erased import missing, shared
from broker.errors import AuditUnavailable
from broker.ports import Hit
from broker.searches import PAGE, Page, Searches

_BREATH = 0.005  # seconds


class Wanted(Struct, frozen=True):
    """A report and what it is of: entries in [since, until), of one agency for an auditor who names it.

    `key_digest` to `people` are a breach's, `signs` are snooping's.
    """

    report: str
    since: datetime | None = None
    until: datetime | None = None
    agency: str = ""
    key_digest: str = ""
    system: str = ""
    agreement: str = ""
    breach: str = ""
    aware_at: datetime | None = None
    people: bool = False
    signs: Signs | None = None


def detail_of(wanted: Wanted) -> dict[str, Json]:
    """A report as it stands in the entry of its making."""
    detail: dict[str, Json] = {
        name: getattr(wanted, name)
        for name in ("report", "agency", "key_digest", "system", "agreement", "breach", "people")
    }
    for name in ("since", "until", "aware_at"):
        at: datetime | None = getattr(wanted, name)
        detail[name] = at.isoformat() if at else None
    if wanted.signs is not None:
        detail["staff"] = len(wanted.signs.staff)
        detail["repeated_from"] = wanted.signs.repeated_from
    return detail


class By(Struct, frozen=True):
    """Who makes a report and why, as they said; and the directory that names agencies. `caller` is who they
    are, also where they read in another's place."""

    caller: Caller
    actor: Actor
    reason: Reason
    agencies: Mapping[str, Agency]

    def name(self, agency: str) -> str:
        """An agency as people know it, with its id."""
        known = self.agencies.get(agency)
        return f"{known.name} ({agency})" if known else agency


class Progress:
    """How far a report is: entries looked through, of those before it in the logs that it has come to. One
    report writes it."""

    read = 0
    of = 0


class Look:
    """Whose eyes, what of the log, and what is to be said about that."""

    def __init__(
        self,
        searches: Searches,
        caller: Caller,
        wanted: Wanted,
        made: Made,
        breach: StoredBreach | None,
        progress: Progress,
        by: By,
    ) -> None:
        self.caller = caller
        self.wanted = wanted
        self.breach = breach
        self._searches = searches
        self._made = made
        self._progress = progress
        self.by = by
        self._times = wanted.since, wanted.until
        progress.of = made.receipt.index
        self._reach = _Reach(made.log, made.receipt.index)

    async def lines(
        self, question: Question | None = None, *, caller: Caller | None = None
    ) -> AsyncIterator[Line]:
        """What the reader may see before the report's own entry, newest first."""
        wanted = self.wanted
        facts = (("agency", wanted.agency),) if wanted.agency else ()
        asked = question or Question(facts, None, wanted.since, wanted.until)
        self._times = asked.since, asked.until
        read = 0
        before = self._made.log, self._made.receipt.index
        async for seen in self._searches.every(caller or self.caller, asked, *before, self._reach.page):
            yield line_of(seen)
            read += 1
            if read % PAGE == 0:  # requests go first
                self._progress.read, self._progress.of = self._reach.come_to(seen.hit)
                await asyncio.sleep(_BREATH)

    async def facts(self, *, whose: bool = True) -> tuple[tuple[str, str], ...]:
        """Which log, up to which checkpoint, how far the index reached, and through whose eyes."""
        receipt = self._made.receipt
        note = Checkpoint.parse(receipt.checkpoint.partition(b"\n\n")[0].decode() + "\n")
        for page in await self._searches.reach(self._made.log):
            self._reach.page(page)
        reach, held = self._reach, self._reach.held[self._made.log]
        logs = (
            ("Log", note.origin),
            ("Checkpoint", f"{note.size} entries, root {note.root.hex()}"),
            ("Index", f"{held} of the {receipt.index} entries before this report: {reach.told(note.origin)}"),
            *(
                ("Log before", f"{log}: {reach.held[log]} of its {size} entries: {reach.told(log)}")
                for log, size in reach.before.items()
                if log != note.origin
            ),
        )
        if not whose:  # for publication: nothing of who asked for it, and no count of what somebody erased
            return (("Time", self.period()), *logs)
        eyes = self.caller, self.by.caller
        before = self._made.log, receipt.index
        gone = await missing(self._searches, *before, eyes, self._times)
        others = await shared(self._searches, *before, self.caller, self._sharers(), self._times)
        return (*self._asked(), *logs, *gone, *others)

    def _sharers(self) -> tuple[str, ...]:
        """Who else has taken the place of the agency in whose place this reads."""
        own = self.by.caller.agency
        if self.caller.agency == own:
            return ()
        return tuple(
            each.new for each in heirs(self.by.agencies).get(self.caller.agency, ()) if each.new != own
        )

    def surely(self, held: Against) -> Against:
        """The same, saying where the index held less than all: what is not in it could not be held against."""
        for log in self._reach.before:
            if self._reach.short(log):
                held.unsure(f"{log}: {self._reach.told(log)}")
        return held

    def check_whole(self) -> None:
        """Raises AuditUnavailable where the index held less than all: what is counted once is counted whole."""
        if short := [log for log in self._reach.before if self._reach.short(log)]:
            raise AuditUnavailable(
                f"the search index does not hold all of {short[0]} yet; try again in a moment"
            )

    def _asked(self) -> Iterator[tuple[str, str]]:
        """What it is of, whatever it was narrowed by, and for whom."""
        wanted, by, caller = self.wanted, self.by, self.caller
        yield "Time", self.period()
        if caller.function is Function.PARTNER:
            yield "Read as", f"{by.name(caller.agency)}: what it is party to, in its own view"
        else:
            of = f", of {by.name(wanted.agency)} alone" if wanted.agency else ""
            yield "Read as", f"an auditor: all entries{of}"
        for head, narrowed in (
            ("Only of the system", wanted.system),
            ("Only under the agreement", wanted.agreement),
            ("Only by the key", wanted.key_digest),
        ):
            if narrowed:
                yield head, narrowed
        own = wanted.system.partition("/")[0] in ("", caller.agency)
        if caller.function is Function.PARTNER and (wanted.key_digest or not own):
            blind = f"what others asked {caller.agency} for by that system or key: which it was only the agency"
            yield (
                "NOT COUNTED",
                f"{blind} that asked sees, and auditors. Have one of them make this, or make it by time alone",
            )
        yield "Made by", f"{by.actor.id} ({by.actor.role}) of {by.name(by.caller.agency)}"
        yield "Made for", by.reason.code

    def period(self) -> str:
        """The time that it is of, in words."""
        if self.breach is not None:
            return f"the request of {in_words(self.breach.used_at)} alone"
        since, until = self.wanted.since, self.wanted.until
        begins = in_words(since) if since else "the beginning of the log"
        return f"from {begins} to {f'before {in_words(until)}' if until else 'this report'}"


class _Reach:
    """The logs that were read, newest first: of each how many entries stand `before` the report, and how many
    of these the index `held` when it held fewest."""

    def __init__(self, log: str, before: int) -> None:
        self.before = {log: before}
        self.held: dict[str, int] = {}

    def page(self, page: Page) -> None:
        """One that was read, and how far the index of its log was then."""
        size = self.before.setdefault(page.log, page.size)
        self.held[page.log] = min(page.done, size, self.held.get(page.log, size))

    def come_to(self, hit: Hit) -> tuple[int, int]:
        """Entries looked through once it has come to this one, of those before the report that are known of."""
        logs = list(self.before)
        newer = sum(self.before[log] for log in logs[: logs.index(hit.log)])
        return newer + self.before[hit.log] - hit.index, sum(self.before.values())

    def short(self, log: str) -> int:
        """How many entries of a log the index did not hold."""
        return self.before[log] - self.held[log]

    def told(self, log: str) -> str:
        """Whether the index held all of a log, in words."""
        missing = self.short(log)
        return "all of them" if not missing else f"{missing} are not in the index yet, and so not in here"


def line_of(seen: Seen) -> Line:
    """An entry that was found, as a report may use it."""
    hit = seen.hit
    view = hit.full if seen.audience is Audience.FULL else canonical.decode_object(seen.view)
    return line(hit.index, hit.id, hit.at, (hit.requester, hit.provider), seen.audience, view, hit.full)
