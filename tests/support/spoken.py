"""Directives as they may be on record: a strategy of whatever is well formed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import strategies as st

from broker.core.actorid import problem
from broker.core.directive import (
    CAPACITIES,
    COMPANY,
    FOR_ANOTHER,
    KINDS,
    MANNERS,
    SHIELDS,
    STANDINGS,
    Directive,
)

TODAY = date(2026, 11, 21)
NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)

# Words as somebody types them, over lines where that is allowed.
_LETTERS = st.characters(categories=("L", "N", "P", "S"), include_characters=" ")
words = st.text(_LETTERS, max_size=20).map(str.strip)
lines = st.lists(words, max_size=3).map("\n".join).map(str.strip)
some_words = words.filter(bool)
people = some_words.filter(lambda each: not problem(each))
past = st.datetimes(datetime(1990, 1, 1), NOW.replace(tzinfo=None), timezones=st.just(UTC))  # noqa: DTZ001


@st.composite
def directives(
    draw: st.DrawFn,
    purposes: st.SearchStrategy[str],
    record_types: st.SearchStrategy[str],
    agencies: st.SearchStrategy[str],
    kinds: frozenset[str] = KINDS,
) -> Directive:
    """One that passes `core.directive_form.check` on TODAY."""

    def scope(of: st.SearchStrategy[str], least: int = 0) -> frozenset[str]:
        return draw(st.frozensets(of, min_size=least, max_size=3))

    kind = draw(st.sampled_from(sorted(kinds)))
    said_at = draw(past)
    shield = kind in SHIELDS
    standing = "self" if shield else draw(st.sampled_from(sorted(STANDINGS)))
    capacity = "presumed" if shield else draw(st.sampled_from(sorted(CAPACITIES)))
    assessed = capacity != "presumed" or standing == "gillick-child"
    later = st.none() | st.timedeltas(timedelta(microseconds=1), timedelta(days=9000)).map(said_at.__add__)
    return Directive(
        id=str(draw(st.uuids())),
        kind=kind,
        recorder=draw(agencies),
        said_at=said_at,
        standing=standing,
        manner=draw(st.sampled_from(sorted(MANNERS))),
        purposes=scope(purposes),
        record_types=scope(record_types),
        requesters=scope(agencies),
        providers=scope(agencies),
        valid_until=draw(later),
        matter=draw(st.sampled_from(["sharing", "visit"])) if kind == "consent" else "sharing",
        speaker=draw(words),
        authority=draw(some_words if standing in FOR_ANOTHER else words),
        capacity=capacity,
        assessor=draw(some_words) if assessed else "",
        assessed_on=draw(st.dates(date(1990, 1, 1), TODAY)) if assessed else None,
        assessed=draw(some_words) if assessed else "",
        taken_by=draw(words),
        explained="" if shield else draw(lines),
        company=draw(st.sampled_from(sorted(COMPANY | {""}))),
        reconsider_at=draw(later) if kind == "consent" else None,
        actors=scope(people, 1) if kind == "staff-conflict" else frozenset(),
    )
