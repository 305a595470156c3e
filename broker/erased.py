"""What has been erased, as the log says: which entries, when, and by which erasure.

Owns that a report or an export never falls silently short: whoever makes one says how much of its time is gone,
and by which entries, so that a reader can ask. An agency is told of its own erasures, which alone take anything
from its reports; auditors of all that nobody keeps any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from broker.core.model import Caller, Function
from broker.core.reports.times import in_words
from broker.core.searchterms import Question
from broker.heritage import district_of
from broker.ports import Hit, Remains
from broker.searches import Searches

ERASURE, RETENTION = "erasure", "retention"
_NAMED = 10  # erasures that a report lists by name
_EYES = Caller("", "", Function.AUDITOR, "")
_CHUNK = 500


class Erasure(Struct, frozen=True):
    """One erasure: its entry, when, and the entries of which a part was given up."""

    id: str
    at: datetime
    entries: tuple[str, ...]


async def erasures(
    searches: Searches, log: str, below: int, caller: Caller = _EYES, since: datetime | None = None
) -> AsyncIterator[Erasure]:
    """Every erasure below a place of a log and in those before it, that the caller may see, newest first.
    Whoever asks has noted the look."""
    async for seen in searches.every(caller, Question((("event", ERASURE),), None, since), log, below):
        detail = seen.hit.full.get("detail")
        entries = detail.get("entries") if isinstance(detail, dict) else None
        if isinstance(entries, list) and entries:
            yield Erasure(seen.hit.id, seen.hit.at, tuple(map(str, entries)))


async def missing(
    searches: Searches,
    log: str,
    below: int,
    callers: Iterable[Caller],
    times: tuple[datetime | None, datetime | None],
    within: Callable[[Remains], bool] = lambda _: True,
    what: str = "this time",
) -> tuple[tuple[str, str], ...]:
    """What is gone of the entries of a time, [since, until), and of these of what lies `within`, as facts of a
    report; none where nothing is. `what` says in words of which. The callers are whose eyes read, and whoever
    reads with them."""
    since, until = times
    by, seen = Counter[tuple[str, datetime]](), set[str]()
    eyes = tuple(dict.fromkeys(callers))
    own = eyes[0].function is Function.PARTNER
    for one in eyes:
        # What was erased before that time was not of it.
        async for each in erasures(searches, log, below, one, since):
            for start in range(0, len(each.entries), _CHUNK):
                remains = await searches.remains(each.entries[start : start + _CHUNK])
                for entry, found in remains.items():
                    of_it = (since is None or found.at >= since) and (until is None or found.at < until)
                    if of_it and within(found) and (own or not found.kept) and entry not in seen:
                        seen.add(entry)
                        by[each.id, each.at] += 1
    facts = [("Erased since", _erased(by, what, own=own))] if by else []
    ended = [text async for text in _ended(searches, log, below, since, until)]
    facts += [("Destroyed since", "; ".join(ended))] if ended else []
    return tuple(facts)


async def shared(
    searches: Searches,
    log: str,
    below: int,
    eyes: Caller,
    others: Sequence[str],
    times: tuple[datetime | None, datetime | None],
) -> tuple[tuple[str, str], ...]:
    """The same of what these others have erased who took the place of the same agency, whose `eyes` read: of
    what was theirs too. Of what nobody keeps any more nobody can say whose it was."""
    since, until = times
    gone = set[str]()
    for other in others:
        partner = Caller(other, "", Function.PARTNER, "")
        async for each in erasures(searches, log, below, partner, since):
            for entry in each.entries:
                hit = await searches.entry(entry)
                within = (since is None or hit.at >= since) and (until is None or hit.at < until)
                if within and _was_of(hit, eyes):
                    gone.add(entry)
    if not others:
        return ()
    of = f"{len(gone)} entries" if len(gone) != 1 else "1 entry"
    told = f"{of} of this time, not counted or listed here; what nobody keeps any more is not among these"
    return ((f"Erased by others in the place of {eyes.agency}", told),)


def _was_of(hit: Hit, eyes: Caller) -> bool:
    """Whether an entry's part that was given up is one that these eyes would have read."""
    given_up = {hit.full.get("requester"), hit.full.get("provider")} - {hit.requester, hit.provider}
    return eyes.agency in given_up and district_of(hit.full) not in eyes.but


def _erased(by: Counter[tuple[str, datetime]], what: str, *, own: bool) -> str:
    named = sorted(by.items(), key=lambda each: each[0][1], reverse=True)
    named_by = [f"{n} by entry {entry} of {in_words(at)}" for (entry, at), n in named[:_NAMED]]
    more = [f"{len(named) - _NAMED} older erasures"] if len(named) > _NAMED else []
    whose = "which your agency has erased" if own else "which nobody keeps any more"
    told = "; ".join((*named_by, *more))
    how_many = "1 entry" if by.total() == 1 else f"{by.total()} entries"
    return f"{how_many} of {what}, {whose}, not counted or listed here: {told}"


async def _ended(
    searches: Searches, log: str, below: int, since: datetime | None, until: datetime | None
) -> AsyncIterator[str]:
    """The months and classes of that time whose retention is over. How many entries had them nobody knows any
    more; that they ended is no secret of anybody's."""
    async for seen in searches.every(_EYES, Question((("event", RETENTION),), None, since), log, below):
        detail = seen.hit.full.get("detail")
        if not isinstance(detail, dict):
            continue
        begins = datetime.strptime(f"{detail['month']}-01", "%Y-%m-%d").replace(tzinfo=UTC)
        year, month = begins.year + begins.month // 12, begins.month % 12 + 1
        ends = begins.replace(year=year, month=month)
        if (since is None or ends > since) and (until is None or begins < until):
            yield f"{detail['month']} of class {detail['class']}, its time being over, by entry {seen.hit.id}"
