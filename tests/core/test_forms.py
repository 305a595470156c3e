"""The stored forms of agencies, systems and directives: there and back is the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from broker.core.directive import KINDS, MANNERS, STANDINGS, Directive, next_change
from broker.core.directory import Agency, System
from broker.core.forms import (
    agency_detail,
    agency_from,
    directive_detail,
    directive_from,
    system_detail,
    system_from,
)
from broker.core.model import Function

times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
names = st.sets(st.text("abc-", min_size=1, max_size=4), max_size=3).map(frozenset)


@given(st.builds(Agency, *[st.text(max_size=5)] * 4, times, st.none() | times))
def test_an_agency_comes_back_as_it_was(agency: Agency) -> None:
    """Through JSON too, as the database keeps it."""
    assert agency_from(json.loads(json.dumps(agency_detail(agency)))) == agency


@given(
    st.builds(
        System,
        st.text(max_size=5),
        st.text(max_size=5),
        st.sampled_from(Function),
        names,
        times,
        st.none() | times,
        st.booleans(),
    )
)
def test_a_system_comes_back_as_it_was(system: System) -> None:
    """With every key and its suspension."""
    assert system_from(json.loads(json.dumps(system_detail(system)))) == system


said = st.builds(
    Directive,
    st.uuids().map(str),
    st.sampled_from(sorted(KINDS)),
    st.just("cumberland"),
    times,
    st.sampled_from(sorted(STANDINGS)),
    st.sampled_from(sorted(MANNERS)),
    names,
    names,
    names,
    names,
    st.none() | times,
    *[st.text(max_size=5)] * 5,
    st.none() | st.dates(),
    *[st.text(max_size=5)] * 4,
    st.none() | times,
    names,
)


@given(said)
def test_a_directive_comes_back_as_it_was(directive: Directive) -> None:
    """Its identifier is not in its form: that stands only as a blind key."""
    detail = json.loads(json.dumps(directive_detail(directive)))
    assert directive_from(directive.id, directive.recorder, detail) == directive
    assert "subject" not in detail


@given(st.lists(said, max_size=4), times)
def test_the_next_change_is_the_first_begin_or_end_to_come(directives: list[Directive], now: datetime) -> None:
    """Until then each is in force or not as it is now."""
    moment = next_change(directives, now)
    for directive in directives:
        if moment is None:
            assert directive.said_at <= now
            assert directive.valid_until is None or directive.valid_until <= now
        else:
            middle = now + (moment - now) / 2
            assert directive.in_force(now) == directive.in_force(middle)
