"""The small vocabulary of the decision table: docs/decision-table.md tells a reader what it means.

Each function reads one cell. A word that is not known fails the table, and says which.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from broker.core.acting import Acting
from broker.core.directive import KINDS, Directive
from broker.core.hours import WEEKDAYS
from broker.core.model import Grant, Override, Place
from broker.core.routing import Routing, parse
from broker.law import Law

_LISTS = re.compile(r"other_gateways|recorders|permitted|roles|subject_schemes|flow\.override|override\.codes")
_NUMBERS = re.compile(r"hours|review_hours|days")
_BEFORE = datetime(2026, 6, 1, tzinfo=UTC)


def moment(text: str) -> datetime:
    """`2026-11-21T10:00Z`, or a whole day."""
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def parts(cell: str) -> Iterator[str]:
    """What semicolons separate."""
    return (part for part in (each.strip() for each in cell.split(";")) if part)


# What an agreement differs in.


def varied(terms: dict[str, Any], differs: str, who: str, of: str, record: str) -> dict[str, Any]:
    """The terms of an agreement with the differences of a cell: `directives.weight = required; ...`."""
    made = copy.deepcopy(terms)
    pairs = [tuple(each.strip() for each in part.partition("=")) for part in parts(differs)]
    assert all(equals for _, equals, _ in pairs), f"{differs!r}: not of the form key = value"
    sides = {key: old for key, _, old in pairs if key in ("requester", "provider")}
    if sides:
        _exchange(made, {"requester": who, "provider": of}, sides, record)
    for key, _, text in pairs:
        if key not in sides:
            _put(made, key, text, who, of, record)
    return made


def _exchange(made: dict[str, Any], now: dict[str, str], sides: dict[str, str], record: str) -> None:
    """`requester = nwas`: who asks stands where the ambulance service did. Nobody else is left in it."""
    before = {**now, **sides}
    flow = next(
        f for f in made["flows"] if f["record_type"] == record and all(f[s] == before[s] for s in before)
    )
    stood = {before[side]: now[side] for side in now}
    made["flows"] = [{**flow, **now}]
    made["parties"] = [{**p, "agency": stood[p["agency"]]} for p in made["parties"] if p["agency"] in stood]


def _put(made: dict[str, Any], key: str, text: str, who: str, of: str, record: str) -> None:
    *path, last = key.split(".")
    table: Any = made
    for name in path:
        if name == "flow":
            asked = (who, of, record)
            table = next(f for f in made["flows"] if (f["requester"], f["provider"], f["record_type"]) == asked)
        elif isinstance(table, list):
            table = next(p for p in table if p["agency"] == name)
        else:
            table = table.setdefault(name, {})
    if text == "none":
        table.pop(last, None)
    else:
        table[last] = _value(key, text)


def _value(key: str, text: str) -> Any:
    if _LISTS.search(key):
        return text.split()
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return date.fromisoformat(text)
    return int(text) if _NUMBERS.search(key) else text


# What somebody said.

_CLAUSES = {
    "by": "recorder",
    "from": "speaker",
    "as": "standing",
    "right": "authority",
    "capacity": "capacity",
    "assessor": "assessor",
    "assessed": "assessed_on",
    "until": "valid_until",
    "since": "said_at",
    "reconsider": "reconsider_at",
    "matter": "matter",
    "for": "purposes",
    "about": "record_types",
    "to": "requesters",
    "of": "providers",
    "names": "actors",
}


def said(cell: str) -> tuple[list[Directive], list[Directive]]:
    """What was said under the identifier that is asked with, and under other numbers (`elsewhere`)."""
    here: list[Directive] = []
    elsewhere: list[Directive] = []
    for n, part in enumerate(parts(cell)):
        kind, *rest = part.replace(",", " ").split()
        assert kind in KINDS, f"{kind!r} is no kind of directive"
        where = elsewhere if "elsewhere" in rest else here
        words = [word for word in rest if word != "elsewhere"]
        assert len(words) % 2 == 0, f"{part!r}: each word is followed by its value"
        fields: dict[str, Any] = {"recorder": "cumberland", "said_at": _BEFORE}
        for clause, value in zip(words[::2], words[1::2], strict=True):
            assert clause in _CLAUSES, f"{clause!r} is not known; one of {', '.join(_CLAUSES)}"
            fields[_CLAUSES[clause]] = _told(_CLAUSES[clause], value)
        where.append(Directive(f"d{n}", kind, **fields))
    return here, elsewhere


def _told(field: str, value: str) -> Any:
    if field in ("valid_until", "said_at", "reconsider_at"):
        return moment(value)
    if field == "assessed_on":
        return date.fromisoformat(value)
    return frozenset({value}) if field.endswith("s") and field not in ("standing",) else value


# The circumstances.


def override(text: str, now: datetime) -> Override:
    """`life-at-risk for 2h`, `life-at-risk without words`, `life-at-risk ran out`."""
    code, _, rest = text.partition(" ")
    words = "" if "without words" in rest else "the crew hears somebody fall"
    if "ran out" in rest:
        return Override(code, words, now)
    lasts = re.search(r"for (\d+)h", rest)
    return Override(code, words, now + timedelta(hours=int(lasts[1])) if lasts else None)


def grant(text: str, permitted: tuple[str, ...], now: datetime) -> Grant:
    """`for 2h`, `for 2h of uprn needs.state`, `ran out`."""
    until = now if "ran out" in text else now + timedelta(hours=int(text.split("h")[0].removeprefix("for ")))
    _, of, paths = text.partition(" of ")
    return Grant("referral-1", tuple(paths.split()) if of else permitted, until)


def place(text: str) -> Place:
    """`district E06000063` or `uprn 100062990001`."""
    kind, value = text.split()
    return Place(uprn=value) if kind == "uprn" else Place(district=value)


def acting(processor: str, text: str, since: datetime) -> Acting:
    """`for cfrs`, `for cfrs until 2027-01-01`, `for cfrs in audit`, `for cfrs as N42`."""
    pairs = dict(zip(text.split()[::2], text.split()[1::2], strict=True))
    assert pairs.keys() <= {"for", "from", "until", "in", "as"}, f"{text!r} is not known"
    return Acting(
        "contract-1",
        processor,
        pairs["for"],
        "contract 1",
        moment(pairs["from"]) if "from" in pairs else since,
        moment(pairs["until"]) if "until" in pairs else None,
        purposes=frozenset({pairs["in"]} if "in" in pairs else ()),
        crews=frozenset({pairs["as"]} if "as" in pairs else ()),
    )


def route(text: str, law: Law) -> Routing:
    """`council E06000063 cumberland`: what councils hold for this district is held by that one.

    `council E06000063 wf closed england-and-wales`: outside of nine to five on the weekdays of this nation.
    """
    kind, district, holder, *closed = text.split()
    head = f'id = "{kind}-{holder}"\nversion = 1\ntitle = "Who holds what"\n'
    one = f'id = "r1"\nkind = "{kind}"\ndistricts = ["{district}"]\nholder = "{holder}"\n'
    if closed:
        days = ", ".join(f'"{day}"' for day in WEEKDAYS[:5])
        office = f"days = [{days}]\nopens = 09:00:00\ncloses = 17:00:00"
        head += f'[timetables.office]\n{office}\nbank_holidays = "{closed[1]}"\n'
        one += 'hours = "out-of-hours"\ntimetable = "office"\n'
    return parse(f"{head}[[routes]]\n{one}".encode(), law)
