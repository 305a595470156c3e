"""Office hours and the time outside them, by the clock on the wall and the bank holidays of a nation.

Owns when a timetable is open and the next moment at which that changes. Office hours lie within one day: what
goes through the night is the time outside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from broker.core.london import local, moment

NATIONS = ("england-and-wales", "scotland", "northern-ireland")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MIDNIGHT = time.min
# A stretch without one open day in it ends the search: no timetable changes again within it.
_LONGEST = 30


class When(StrEnum):
    """The part of the week that something is for."""

    ALWAYS = "always"
    OFFICE = "office"
    OUT_OF_HOURS = "out-of-hours"


@dataclass(frozen=True, slots=True)
class Timetable:
    """Open on these weekdays (0 is Monday) from `opens` to before `closes`, but on none of `holidays`.

    Clock times of the United Kingdom; `closes` at 00:00 is the end of the day.
    """

    days: frozenset[int]
    opens: time
    closes: time
    nation: str = ""
    holidays: frozenset[date] = frozenset()

    def open(self, at: datetime) -> bool:
        """Whether it is open at this moment."""
        return any(begins <= at < ends for begins, ends in self._stretches(local(at).date(), 1))

    def next_change(self, after: datetime) -> datetime | None:
        """The first moment after this one at which it opens or closes; None where it never opens."""
        for stretch in self._stretches(local(after).date(), _LONGEST):
            for edge in stretch:
                if edge > after:
                    return edge
        return None

    def _stretches(self, first: date, days: int) -> Iterator[tuple[datetime, datetime]]:
        for n in range(days):
            day = first + timedelta(days=n)
            if day.weekday() in self.days and day not in self.holidays:
                yield moment(day, self.opens), self._end(day)

    def _end(self, day: date) -> datetime:
        if self.closes == _MIDNIGHT:
            return moment(day + timedelta(days=1), _MIDNIGHT)
        return moment(day, self.closes)


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of the week: always, or inside or outside a timetable."""

    when: When = When.ALWAYS
    timetable: Timetable | None = None

    def cover(self, at: datetime) -> bool:
        """Whether this moment is inside."""
        if self.timetable is None or self.when is When.ALWAYS:
            return True
        return self.timetable.open(at) is (self.when is When.OFFICE)

    def next_change(self, after: datetime) -> datetime | None:
        """The first moment after this one at which `cover` may change; None where it never does."""
        if self.timetable is None or self.when is When.ALWAYS:
            return None
        return self.timetable.next_change(after)

    def meet(self, other: Hours) -> bool:
        """Whether some moment of some week, bank holidays wherever they may fall, is inside both."""
        nations = sorted({h.timetable.nation for h in (self, other) if h.timetable} - {""})
        clocks = {_MIDNIGHT, *(c for h in (self, other) for c in h._edges())}
        return any(
            self._at(weekday, clock, closed) and other._at(weekday, clock, closed)
            for weekday in range(7)
            for clock in clocks
            for closed in _subsets(nations)
        )

    def _edges(self) -> tuple[time, ...]:
        return (self.timetable.opens, self.timetable.closes) if self.timetable else ()

    def _at(self, weekday: int, clock: time, closed: frozenset[str]) -> bool:
        """Whether a day of the week at a clock time is inside, where these nations have a bank holiday."""
        table = self.timetable
        if table is None or self.when is When.ALWAYS:
            return True
        opened = weekday in table.days and table.nation not in closed and table.opens <= clock
        opened = opened and (clock < table.closes or table.closes == _MIDNIGHT)
        return opened is (self.when is When.OFFICE)


def _subsets(of: list[str]) -> list[frozenset[str]]:
    found: list[frozenset[str]] = [frozenset()]
    for each in of:
        found += [some | {each} for some in found]
    return found
