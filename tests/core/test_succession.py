"""Whose humans decide what waits: by who has the district, through any number of successions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.directory import Agency, Successor
from broker.core.districts import nation
from broker.core.succession import shares, takers

DAYS = [datetime(2023, 4, n, tzinfo=UTC) for n in range(1, 6)]
DISTRICTS = ("E06000001", "E06000002", "E06000003")
NAMES = ("a", "b", "c", "d", "e")


@st.composite
def directories(draw: st.DrawFn) -> dict[str, Agency]:
    """Agencies of which some are replaced by one everywhere, or by several that part its districts."""
    made = {}
    for n, name in enumerate(NAMES):
        others = (
            draw(st.lists(st.sampled_from(NAMES[n + 1 :]), unique=True, max_size=3)) if NAMES[n + 1 :] else []
        )
        parted = len(others) > 1
        successors = tuple(
            Successor(each, frozenset({DISTRICTS[k]}) if parted else frozenset())
            for k, each in enumerate(others)
        )
        until = draw(st.sampled_from(DAYS)) if others else None
        made[name] = Agency(name, name, "fire", "england", DAYS[0] - timedelta(9), until, successors=successors)
    return made


@given(
    directories(), st.sampled_from(DAYS), st.sampled_from(NAMES), st.sampled_from(["", *DISTRICTS, "E06000009"])
)
def test_a_list_shows_what_its_agency_may_decide(
    agencies: dict[str, Agency], at: datetime, provider: str, district: str
) -> None:
    """What is found for an agency's list, and who may decide one row, are the same; somebody always may."""
    whose = takers(agencies, provider, district, at)
    assert whose
    for name in agencies:
        listed = any(share.holds(provider, district) for share in shares(agencies, name, at))
        assert listed is (name in whose)


@pytest.mark.parametrize(
    ("code", "there"),
    [
        *(
            ("E06000063", "england"),
            ("E07000028", "england"),
            ("E08000003", "england"),
            ("E09000001", "england"),
        ),
        *(("W06000001", "wales"), ("S12000006", "scotland"), ("N09000001", "northern-ireland")),
        *(("E10000006", ""), ("E12000002", ""), ("W07000001", ""), ("S08000017", ""), ("N06000001", "")),
        *(("E0600006", ""), ("E060000633", ""), ("e06000063", ""), ("E06\uff10\uff10\uff1063", ""), ("", "")),
    ],
)
def test_a_district_is_known_by_the_form_of_its_code(code: str, there: str) -> None:
    """Counties, regions, wards and constituencies are none, nor is what is not a code at all."""
    assert nation(code) == there
