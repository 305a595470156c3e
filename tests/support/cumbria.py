"""Cumbria as it is: two councils by district, the night team that one hosts for both, and a file of routes."""

from __future__ import annotations

from datetime import UTC, datetime

from broker.catalogue import standard_record_types
from broker.core.directory import Agency, Successor
from broker.core.london import moment

CHILD = "records.council.v1.ChildPlan"
CUMBERLAND = frozenset({"E06000063", "E07000026", "E07000028", "E07000029"})
WESTMORLAND = frozenset({"E06000064", "E07000027", "E07000030", "E07000031"})
CARLISLE, EDEN = "E07000028", "E07000030"
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
CHANGE = moment(datetime(2023, 4, 1, tzinfo=UTC).date(), datetime.min.time())
INTO = (Successor("cumberland", CUMBERLAND), Successor("wf", WESTMORLAND))


def council(name: str, **changes: object) -> Agency:
    """A council of the directory."""
    return Agency(name, name.upper(), "council", "england", SINCE, **changes)  # type: ignore[arg-type]


def child_plan() -> bytes:
    """The descriptor set of ChildPlan."""
    return dict(standard_record_types())[CHILD]


def routes(version: int = 1, **changes: str) -> bytes:
    """Children's records: by day each council's hub; at night, at weekends and on bank holidays one team."""
    east = _list(WESTMORLAND)
    west = _list(CUMBERLAND)
    text = f"""\
id = "cumbria"
version = {version}
title = "Who holds what in Cumbria"

[timetables.hubs]
days = ["monday", "tuesday", "wednesday", "thursday", "friday"]
opens = 09:00:00
closes = 17:00:00
bank_holidays = "england-and-wales"

[[routes]]
id = "children-west-day"
record_type = "{CHILD}"
districts = {west}
hours = "office"
timetable = "hubs"
holder = "cumberland"

[[routes]]
id = "children-east-day"
record_type = "{CHILD}"
districts = {east}
hours = "office"
timetable = "hubs"
holder = "wf"

[[routes]]
id = "children-night"
record_type = "{CHILD}"
districts = {_list(CUMBERLAND | WESTMORLAND)}
hours = "out-of-hours"
timetable = "hubs"
holder = "wf"

[[routes]]
id = "council-west"
kind = "council"
districts = {west}
holder = "cumberland"

[[routes]]
id = "fire"
kind = "fire"
districts = {_list(CUMBERLAND | WESTMORLAND)}
holder = "cfrs"
"""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text.encode()


def _list(codes: frozenset[str]) -> str:
    return "[" + ", ".join(f'"{code}"' for code in sorted(codes)) + "]"


def fire_routes(version: int = 1, holder: str = "cfrs") -> bytes:
    """Whom to ask about premises in Carlisle and Eden: one fire service."""
    return f"""\
id = "fire"
version = {version}
title = "Fire"
[[routes]]
id = "premises"
record_type = "records.fire.v1.PremisesRisk"
districts = ["{CARLISLE}", "{EDEN}"]
holder = "{holder}"
""".encode()
