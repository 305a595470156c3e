"""What the log says of overrides, suspected breaches, complaints and published figures.

Reports read rows, which anybody with SQL can change; each is held against the entries that made it. Owns who
finds which entries for that: whoever reads the report, by their own eyes, and nobody's else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from broker.administration import Made
from broker.cases import StoredBreach, StoredComplaint
from broker.core.model import Caller
from broker.core.receipt import Audience
from broker.core.reports.against import Against
from broker.core.reports.complaints import Complaint
from broker.core.reports.document import MOST
from broker.core.reports.line import RELEASED, Line
from broker.core.reports.overrides import Review
from broker.core.searchterms import Question
from broker.figures import EVENT as FIGURES
from broker.figures import StoredFigures
from broker.looks import Look, line_of
from broker.queues import StoredOverride
from broker.searches import Searches

# An entry has whole seconds, and is made a moment after its change was planned.
_SLACK = timedelta(seconds=5)
_HAVE_ROWS = frozenset({RELEASED, "not-found"})  # with an override: the provider answered
OPEN = "open"
_WRONG_PERSON = Question((("event", "override-reviewed"), ("outcome", "wrong-person")))


class Reviewed(Struct, frozen=True):
    """A review as its entry says it."""

    entry: str
    verdict: str
    at: datetime


class Reviews:
    """What reviews said, by the override's entry and, for who asked, by their request."""

    def __init__(self) -> None:
        self._by_id: dict[str, Reviewed] = {}
        self._by_request: dict[tuple[str, str], Reviewed] = {}

    @classmethod
    async def of(cls, look: Look) -> Reviews:
        """Every one that this look may see, of what was used since the report's time begins."""
        made = cls()
        for caller in dict.fromkeys((look.caller, look.by.caller)):
            async for each in _said(look, "override-reviewed", look.wanted.since, caller):
                review = Reviewed(each.id, each.outcome, each.at)
                if isinstance(used := each.detail.get("id"), str):
                    made._by_id[used] = review
                made._by_request[each.requester, each.request] = review
        return made

    def __call__(self, used: Line) -> Reviewed | None:
        """Of this use."""
        return self._by_id.get(used.id) or self._by_request.get((used.requester, used.request))


def review_of(used: Line, row: StoredOverride | None, said: Reviewed | None, held: Against) -> Review | None:
    """How the review of an override stands, as the log says it where it does; None: there is none to show."""
    asker = used.audience is Audience.REQUESTER
    truth = f"entry {said.entry}: {said.verdict}" if said else ""
    if row is None:
        if said is None and (asker or used.event not in _HAVE_ROWS):
            return None
        held.no_row(used.id, truth)
        return Review(None, said.verdict if said else "not known", said.at if said else None)
    held.row()
    stands = Review(row.due_at, row.status, row.reviewed_at)
    if said is None:
        # Who asked is told of some reviews only; all others were made by an entry that stays.
        if row.status != OPEN and not asker:
            held.no_entry(used.id, row.status)
        return stands
    in_time = row.reviewed_at is not None and _near(row.reviewed_at, said.at)
    if row.status == said.verdict and in_time:
        return stands
    held.otherwise(used.id, f"{row.status}, reviewed {row.reviewed_at}", said.entry, truth)
    return Review(row.due_at, said.verdict, said.at)


async def complaints(look: Look, rows: Sequence[StoredComplaint], held: Against) -> list[Complaint]:
    """Complaints as the log says them, newest first; and what of the rows does not fit."""
    wanted = look.wanted
    said = {each.id: each async for each in _complaints_said(look)}
    known = {row.id: _as_row(row) for row in rows[:MOST]}
    if len(rows) > MOST:
        held.unsure(f"only the newest {MOST} rows were held against the log")
    found = list[Complaint]()
    for id, row in known.items():
        held.row()
        truth = said.pop(id, None)
        if truth is None:
            held.no_entry(id, _stands(row))
        else:
            if truth.reference and not row.reference:
                row = replace(row, reference=truth.reference)
            if truth != row:
                held.otherwise(id, _stands(row), id, _stands(truth))
        found.append(truth or row)
    oldest = min((row.received_at for row in known.values()), default=None) if len(rows) > MOST else None
    for truth in said.values():
        since, until = wanted.since, wanted.until
        in_time = (since is None or truth.received_at >= since) and (until is None or truth.received_at < until)
        if in_time and wanted.agency in ("", truth.agency) and (oldest is None or truth.received_at > oldest):
            held.no_row(truth.id, _stands(truth))
            found.append(truth)
    return sorted(found, key=lambda each: each.received_at, reverse=True)


async def _complaints_said(look: Look) -> AsyncIterator[Complaint]:
    since = look.wanted.since
    steps = dict[str, dict[str, Any]]()
    callers = tuple(dict.fromkeys((look.caller, look.by.caller)))
    for kind, name in (("complaint-acknowledged", "acknowledged_at"), ("complaint-closed", "closed_at")):
        for caller in callers:
            async for each in _said(look, kind, since, caller):
                known = steps.setdefault(str(each.detail.get("complaint")), {})
                known[name] = _at(each.detail.get("at"))
                if outcome := each.detail.get("outcome"):
                    known["outcome"] = str(outcome)
    done = set[str]()
    for caller in callers:
        async for each in _said(look, "complaint-received", since, caller):
            detail = each.detail
            received, due = _at(detail.get("received")), _at(detail.get("due"))
            if each.id in done or received is None or due is None:
                continue
            done.add(each.id)
            whose = (each.id, str(detail.get("agency")), str(detail.get("reference", "")), received, due)
            made = Complaint(*whose, None, None, "")
            yield replace(made, **steps.get(each.id, {}))


def breaches(found: Iterable[tuple[StoredBreach, str]], reviews: Iterable[Line], most: int) -> Against:
    """Suspected breaches, each with the request of its override, held against the reviews that began them."""
    held, rows = Against("suspected breaches"), list(found)
    by_id = {row.id: row for row, _ in rows}
    by_request = {(row.requester, request): row for row, request in rows}
    oldest = min((row.aware_at for row, _ in rows), default=None) if len(rows) >= most else None
    reviewed = dict[str, Line]()
    for each in reviews:
        id = each.detail.get("id")
        row = by_id.get(id) if isinstance(id, str) else by_request.get((each.requester, each.request))
        if row is not None:
            reviewed[row.id] = each
        elif oldest is None or each.at > oldest:
            held.no_row(each.id, f"wrong-person: {each.provider}, on a request of {each.requester}")
    for row, _ in rows:
        held.row()
        says = f"{row.provider}, on a request of {row.requester}, aware {row.aware_at}"
        truth = reviewed.get(row.id)
        if truth is None:
            held.no_entry(row.id, says)
        elif truth.requester != row.requester or not _near(row.aware_at, truth.at):
            now = f"{truth.provider}, on a request of {truth.requester}, aware {truth.at}"
            held.otherwise(row.id, says, truth.id, now)
    return held


async def begun(
    look: Look, row: StoredBreach, override: StoredOverride | None, held: Against
) -> tuple[StoredBreach, str]:
    """One suspected breach as the review that began it, and the entry of what was opened, say it; by what it
    was begun, in words; and what of the row does not fit. `override` is what was reviewed."""
    request = override.request if override is not None else ""
    review = used = None
    for caller in dict.fromkeys((look.caller, look.by.caller)):
        async for each in look.lines(_WRONG_PERSON, caller=caller):
            asked = (each.requester, each.request) == (row.requester, request)
            if row.id == each.detail.get("id") or (asked and request and "id" not in each.detail):
                review = review or each
    held.row()
    says = f"opened {row.used_at}, aware {row.aware_at}"
    if review is None:
        held.no_entry(row.id, says)
        return row, f"no review of override {row.id} that can be found"
    async for each in look.lines(Question((("request", review.request),))):
        used = each if each.id == row.id else used
    opened = row.used_at if used is None or _near(row.used_at, used.at) else used.at
    aware = row.aware_at if _near(row.aware_at, review.at) else review.at
    if (opened, aware) != (row.used_at, row.aware_at):
        held.otherwise(row.id, says, review.id, f"opened {opened}, aware {aware}")
    by = f"the review of override {row.id}: wrong person (entry {review.id})"
    return replace(row, used_at=opened, aware_at=aware), by


async def doubts(
    searches: Searches,
    eyes: Iterable[Caller],
    rows: Iterable[tuple[StoredBreach, str]],
    made: Made,
    most: int,
) -> tuple[str, ...]:
    """What of the listed breaches does not fit, in lines; `made` is the entry of the look at them."""
    found = dict[str, Line]()
    for caller in eyes:
        async for each in searches.every(caller, _WRONG_PERSON, made.log, made.receipt.index):
            found.setdefault(each.hit.id, line_of(each))
    held = breaches(rows, found.values(), most)
    short = [page for page in await searches.reach(made.log) if page.done < page.size]
    return (
        *held.told(),
        *(
            f"not sure: the search index holds {each.done} of the {each.size} entries of {each.log}"
            for each in short
        ),
    )


async def published(look: Look, month: date, eyes: Caller) -> StoredFigures | None:
    """A month as the entry says that published it first; None where none can be found."""
    first: StoredFigures | None = None
    async for each in _said(look, FIGURES, None, eyes):
        detail: Any = each.detail
        if detail.get("month") == month.isoformat() and isinstance(detail.get("page"), dict):
            at = _at(detail.get("at")) or each.at
            first = StoredFigures(month, each.id, at, detail["page"])
    return first


async def _said(look: Look, kind: str, since: datetime | None, caller: Caller) -> AsyncIterator[Line]:
    begun = since.replace(microsecond=0) if since else None
    async for each in look.lines(Question((("event", kind),), None, begun), caller=caller):
        yield each


def _as_row(row: StoredComplaint) -> Complaint:
    times = (row.received_at, row.due_at, row.acknowledged_at, row.closed_at)
    return Complaint(row.id, row.agency, str(row.detail.get("reference", "")), *times, row.outcome)


def _stands(each: Complaint) -> str:
    acknowledged = f"acknowledged {each.acknowledged_at}" if each.acknowledged_at else "not acknowledged"
    closed = f"closed {each.closed_at}: {each.outcome}" if each.closed_at else "open"
    return f"{each.agency}, received {each.received_at}, due {each.due_at}, {acknowledged}, {closed}"


def _near(one: datetime, other: datetime) -> bool:
    return abs(one - other) <= _SLACK


def _at(value: object) -> datetime | None:
    return datetime.fromisoformat(value).astimezone(UTC) if isinstance(value, str) else None
