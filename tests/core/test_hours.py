"""Office hours by the clock on the wall: weekdays, bank holidays by nation, and both clock changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.hours import Hours, Timetable, When
from broker.core.london import local
from broker.law import load

LAW = load()
WEEK = frozenset(range(5))
TICK = timedelta(microseconds=1)


def at(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def hubs(nation: str = "england-and-wales", **changes: object) -> Timetable:
    """Monday to Friday, nine to five."""
    made = {"days": WEEK, "opens": time(9), "closes": time(17), **changes}
    return Timetable(nation=nation, holidays=LAW.holidays(nation), **made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("when", "is_open"),
    [
        ("2026-11-20T08:59:59", False),
        ("2026-11-20T09:00:00", True),
        ("2026-11-20T16:59:59.999999", True),
        ("2026-11-20T17:00:00", False),
        ("2026-11-21T12:00:00", False),  # a Saturday
        ("2026-12-28T12:00:00", False),  # the substitute for Boxing Day
        ("2026-12-29T12:00:00", True),
        ("2026-07-01T08:00:00", True),  # nine in summer
        ("2026-07-01T16:00:00", False),
        ("2026-03-27T08:30:00", False),  # the last Friday of winter time: half past eight
        ("2026-03-30T08:30:00", True),  # the first Monday of summer time: half past nine
        ("2026-10-23T16:30:00", False),  # the last Friday of summer time: half past five
        ("2026-10-26T16:30:00", True),  # the first Monday of winter time: half past four
    ],
)
def test_an_office_is_open_by_the_clock_on_the_wall(when: str, is_open: bool) -> None:
    """From opening to before closing on working days, whatever the offset."""
    assert hubs().open(at(when)) is is_open
    assert Hours(When.OFFICE, hubs()).cover(at(when)) is is_open
    assert Hours(When.OUT_OF_HOURS, hubs()).cover(at(when)) is not is_open


@pytest.mark.parametrize(
    ("day", "closed_in"),
    [
        ("2026-01-02", {"scotland"}),
        ("2026-03-17", {"northern-ireland"}),
        ("2026-04-03", {"england-and-wales", "scotland", "northern-ireland"}),
        ("2026-04-06", {"england-and-wales", "northern-ireland"}),
        ("2026-06-15", {"scotland"}),
        ("2026-08-03", {"scotland"}),
        ("2026-08-31", {"england-and-wales", "northern-ireland"}),
        ("2026-11-30", {"scotland"}),
    ],
)
def test_bank_holidays_are_the_nations_own(day: str, closed_in: set[str]) -> None:
    """A day that closes Carlisle may not close Dumfries, nor the other way round."""
    nations = ("england-and-wales", "scotland", "northern-ireland")
    noon = at(f"{day}T12:00:00")
    assert {nation for nation in nations if not hubs(nation).open(noon)} == closed_in


def _easter(year: int) -> date:
    """The Gregorian computus (Meeus, Astronomical Algorithms, chapter 8)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    n = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * n) // 451
    month, day = divmod(h + n - 7 * m + 114, 31)
    return date(year, month, day + 1)


@pytest.mark.parametrize("year", range(2025, 2029))
def test_the_published_days_are_those_of_the_act(year: int) -> None:
    """Every nation's list holds the days that statute gives it (1971 c. 80, Sch. 1), none of them a weekend."""
    easter = _easter(year)
    monday = {n: [d for d in _days(year, n) if d.weekday() == 0] for n in (5, 8)}
    everywhere = {easter - timedelta(2), monday[5][0], monday[5][-1]}
    expected = {
        "england-and-wales": everywhere | {easter + timedelta(1), monday[8][-1]},
        "scotland": everywhere | {monday[8][0]},
        "northern-ireland": everywhere | {easter + timedelta(1), monday[8][-1]},
    }
    for nation, days in expected.items():
        known = LAW.bank_holidays[f"{nation}-{year}"].days
        assert days <= known
        assert all(day.weekday() < 5 for day in known)
        assert len(known) >= {"england-and-wales": 8, "scotland": 9, "northern-ireland": 10}[nation]


def _days(year: int, month: int) -> list[date]:
    first = date(year, month, 1)
    return [day for n in range(31) if (day := first + timedelta(n)).month == month]


def test_the_next_change_is_the_next_opening_or_closing() -> None:
    """Over a weekend, a bank holiday and a clock change."""
    table = hubs()
    assert table.next_change(at("2026-11-20T16:59:59")) == at("2026-11-20T17:00:00")
    assert table.next_change(at("2026-11-20T17:00:00")) == at("2026-11-23T09:00:00")
    assert table.next_change(at("2026-12-24T17:00:00")) == at("2026-12-29T09:00:00")
    assert table.next_change(at("2026-03-27T17:00:00")) == at("2026-03-30T08:00:00")
    assert table.next_change(at("2026-10-23T16:00:00")) == at("2026-10-26T09:00:00")


@given(st.datetimes(datetime(2025, 1, 1), datetime(2028, 12, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_between_changes_nothing_changes(when: datetime) -> None:
    """Open or closed holds until just before the next change, and is the other one at it."""
    table = hubs()
    edge = table.next_change(when)
    assert edge is not None
    assert table.open(edge - TICK) is table.open(when)
    assert table.open(edge) is not table.open(when)


@pytest.mark.parametrize("change", ["2026-03-29", "2026-10-25"])
def test_hours_through_a_clock_change_have_no_gap(change: str) -> None:
    """An office that is open from half past one to half past two on those Sundays opens and closes once."""
    table = hubs(days=frozenset({6}), opens=time(1, 30), closes=time(2, 30))
    start = at(f"{change}T00:00:00")
    opened = [table.open(start + timedelta(minutes=n)) for n in range(240)]
    flips = [n for n, (a, b) in enumerate(pairwise(opened)) if a is not b]
    assert len(flips) == 2
    first = local(start + timedelta(minutes=flips[0] + 1))
    # In spring half past one never comes: it opens when the clock has jumped.
    assert first.time() == (time(2) if change.startswith("2026-03") else time(1, 30))


def test_closing_at_midnight_is_the_end_of_the_day() -> None:
    """00:00 is not the beginning of the day that it ends."""
    table = hubs(opens=time(18), closes=time(0))
    assert table.open(at("2026-11-20T23:59:59"))
    assert not table.open(at("2026-11-21T00:00:00"))
    assert table.next_change(at("2026-11-20T20:00:00")) == at("2026-11-21T00:00:00")


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (Hours(When.OFFICE, hubs()), Hours(When.OUT_OF_HOURS, hubs()), False),
        (Hours(), Hours(When.OUT_OF_HOURS, hubs()), True),
        (Hours(When.OFFICE, hubs()), Hours(When.OFFICE, hubs()), True),
        (Hours(When.OFFICE, hubs(closes=time(12))), Hours(When.OFFICE, hubs(opens=time(12))), False),
        (Hours(When.OFFICE, hubs(closes=time(12, 1))), Hours(When.OFFICE, hubs(opens=time(12))), True),
        (
            Hours(When.OFFICE, hubs(days=frozenset({0}))),
            Hours(When.OFFICE, hubs(days=frozenset({1}))),
            False,
        ),
        # On a Scottish bank holiday that is none in England both would apply.
        (Hours(When.OFFICE, hubs()), Hours(When.OUT_OF_HOURS, hubs("scotland")), True),
    ],
)
def test_whether_two_parts_of_the_week_meet(one: Hours, other: Hours, meet: bool) -> None:
    """Found from the timetables alone, wherever bank holidays may fall."""
    assert (one.meet(other), other.meet(one)) == (meet, meet)
