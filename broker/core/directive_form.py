"""What must be on record of a directive, kind by kind, and what has no place in it.

Refuses, by field, a directive that could not be judged later: a child's consent that nobody assessed, somebody
who speaks for another by no right, a conflict of nobody's. The same for whatever brings it: a call, or a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from broker.core.directive import (
    CAPACITIES,
    COMPANY,
    FOR_ANOTHER,
    KINDS,
    MANNERS,
    MATTERS,
    SHIELDS,
    STANDINGS,
    Directive,
)
from broker.errors import InvalidRequest

# Names in one set, characters of one text.
MAX_NAMES = 64
MAX_TEXT = 200
MAX_EXPLAINED = 500

_CODES = (
    ("kind", KINDS),
    ("standing", STANDINGS),
    ("manner", MANNERS),
    ("capacity", CAPACITIES),
    ("company", COMPANY | {""}),
    ("matter", MATTERS),
)
_SETS = ("purposes", "record_types", "requesters", "providers", "actors")
_TEXTS = {
    "speaker": MAX_TEXT,
    "authority": MAX_TEXT,
    "assessor": MAX_TEXT,
    "assessed": MAX_TEXT,
    "taken_by": MAX_TEXT,
    "explained": MAX_EXPLAINED,
}
_ASSESSMENT = ("assessor", "assessed_on", "assessed")
# What a shield has no use for: it is nobody's word on sharing, and stands whoever asks.
_OF_WORDS = (*_ASSESSMENT, "explained")


def check(directive: Directive, today: date) -> None:
    """Raises InvalidRequest naming the first field that is wrong. `today` is the day in the United Kingdom."""
    for field, problem in _problems(directive, today):
        raise InvalidRequest(f"directive.{field}", problem)


Problems = Iterator[tuple[str, str]]


def _problems(d: Directive, today: date) -> Problems:
    for name, allowed in _CODES:
        if getattr(d, name) not in allowed:
            yield name, f"one of {', '.join(sorted(allowed - {''}))}"
    yield from _bounds(d)
    if d.valid_until is not None and d.valid_until <= d.said_at:
        yield "valid_until", "ends before it was said"
    if d.kind in SHIELDS:
        yield from _shield(d)
    if bool(d.actors) != (d.kind == "staff-conflict"):
        problem = (
            "is required: the actors who have the conflict" if not d.actors else "only of a staff-conflict"
        )
        yield "actors", problem
    if d.standing in FOR_ANOTHER and not d.authority:
        yield "authority", f"is required: by what right {d.standing} speaks for the person"
    yield from _assessment(d, today)
    if d.kind != "consent":
        if d.matter != "sharing":
            yield "matter", "only a consent is for a visit; who would come must be told of anything else"
        if d.reconsider_at is not None:
            yield "reconsider_at", "only a consent is asked for again; valid_until ends anything else"


def _bounds(d: Directive) -> Problems:
    for name in _SETS:
        names = getattr(d, name)
        if len(names) > MAX_NAMES:
            yield name, f"over {MAX_NAMES} names"
        if any(not 0 < len(each) <= MAX_TEXT for each in names):
            yield name, f"each is 1 to {MAX_TEXT} characters"
    for name, most in _TEXTS.items():
        if len(getattr(d, name)) > most:
            yield name, f"over {most} characters"


def _shield(d: Directive) -> Problems:
    if d.standing != "self":
        yield "standing", f"a {d.kind} is nobody's consent; leave it out"
    if d.capacity != "presumed":
        yield "capacity", f"a {d.kind} is nobody's consent; leave it out"
    for name in _OF_WORDS:
        if getattr(d, name):
            yield name, f"a {d.kind} is nobody's consent; leave it out"


def _assessment(d: Directive, today: date) -> Problems:
    """Mental Capacity Act 2005 s.1-3: presumed, and an assessment is of one decision, by somebody, on a day."""
    gillick = d.standing == "gillick-child"
    if gillick and d.kind == "consent":
        for name in ("assessor", "assessed_on"):
            if not getattr(d, name):
                yield name, "is required: who assessed the child's competence, and on which day"
    if d.capacity != "presumed":
        for name in _ASSESSMENT:
            if not getattr(d, name):
                yield name, "is required with a capacity that was assessed: who, when, for which decision"
    elif not gillick:
        for name in _ASSESSMENT:
            if getattr(d, name):
                yield name, "belongs to an assessment: say capacity, or gillick-child as the standing"
    if d.assessed_on is not None and d.assessed_on > today:
        yield "assessed_on", "lies in the future"
