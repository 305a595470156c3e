"""Who holds a record for a place at a time: routes, as an operator writes them in a TOML file.

Owns the file's shape, and finding the routes that speak to a record type in a district at a moment. A route for
a record type goes before one for its holder's kind. Refuses a file in which two routes of equal rank could both
apply; whether its agencies and record types exist is checked when it is applied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import Annotated, Literal, Self

from msgspec import Struct
from pydantic import Field, StringConstraints, ValidationError, model_validator

from broker.core import tables
from broker.core.hours import NATIONS, WEEKDAYS, Hours, Timetable, When
from broker.core.london import moment
from broker.core.terms import Id, Part, Text
from broker.errors import InvalidRequest
from broker.law import Law

MAX_FILE = tables.MAX_FILE
District = Annotated[str, StringConstraints(pattern=r"^[EWSN][0-9]{8}$")]
_FIRST_DAY = date(1900, 1, 1)


class TimetableTerms(Part):
    """When an office is open: clock times of the United Kingdom, within one day."""

    days: Annotated[tuple[Literal[WEEKDAYS], ...], Field(min_length=1)]  # type: ignore[valid-type]
    opens: time
    # 00:00:00 is the end of the day.
    closes: time
    # Whose bank holidays close it; absent: none do.
    bank_holidays: Literal[NATIONS] | None = None  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _within_a_day(self) -> Self:
        if self.closes != time.min and self.closes <= self.opens:
            raise ValueError("closes: is not after opens; what goes through the night is out-of-hours")
        return self

    def compiled(self, law: Law) -> Timetable:
        """As decisions read it."""
        nation = self.bank_holidays or ""
        days = frozenset(WEEKDAYS.index(day) for day in self.days)
        return Timetable(days, self.opens, self.closes, nation, law.holidays(nation))


class RouteTerms(Part):
    """One route as it is written. Days are whole days by the clock in the United Kingdom, the last included."""

    id: Id
    record_type: Text | None = None
    # Instead of a record type: all that agencies of this kind hold.
    kind: Id | None = None
    districts: Annotated[tuple[District, ...], Field(min_length=1)]
    hours: Literal["always", "office", "out-of-hours"] = "always"
    timetable: Id | None = None
    holder: Id
    valid_from: date | None = None
    valid_until: date | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if (self.record_type is None) == (self.kind is None):
            raise ValueError("record_type: give exactly one of record_type and kind")
        if (self.hours == "always") != (self.timetable is None):
            raise ValueError("timetable: goes with hours office or out-of-hours, and is needed there")
        if self.valid_from and self.valid_until and self.valid_until < self.valid_from:
            raise ValueError("valid_until: is before valid_from")
        for name in ("valid_from", "valid_until"):
            day = getattr(self, name)
            if day is not None and not 1900 <= day.year <= 2200:
                raise ValueError(f"{name}: a year between 1900 and 2200")
        return self


class RouteFile(Part):
    """One version of one file of routes; a new version takes the place of the one before, whole."""

    id: Id
    version: Annotated[int, Field(ge=1, le=100_000)]
    title: Text
    timetables: dict[str, TimetableTerms] = Field(default_factory=dict)
    routes: Annotated[tuple[RouteTerms, ...], Field(min_length=1, max_length=2000)]

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        names = [route.id for route in self.routes]
        for n, route in enumerate(self.routes):
            if names.index(route.id) != n:
                raise ValueError(f"routes.{n}.id: {route.id} stands twice")
            if route.timetable is not None and route.timetable not in self.timetables:
                raise ValueError(f"routes.{n}.timetable: {route.timetable} is not among the timetables")
        return self

    @property
    def label(self) -> str:
        """`id/version`, as it stands in views."""
        return f"{self.id}/{self.version}"


class Route(Struct, frozen=True):
    """A route as decisions read it. `wanted` is a record type's full name or a holder's kind."""

    name: str
    file: str
    wanted: str
    districts: frozenset[str]
    hours: Hours
    holder: str
    begins: datetime
    ends: datetime | None

    def applies(self, at: datetime) -> bool:
        """Whether it is for this moment."""
        return self.begins <= at and (self.ends is None or at < self.ends) and self.hours.cover(at)

    def next_change(self, after: datetime) -> datetime | None:
        """The first moment after this one at which `applies` may change."""
        edges = (self.begins, self.ends, self.hours.next_change(after))
        return min((edge for edge in edges if edge is not None and edge > after), default=None)

    def meets(self, other: Route) -> bool:
        """Whether there could be a place and a moment at which both apply, of equal rank."""
        apart = (self.ends is not None and self.ends <= other.begins) or (
            other.ends is not None and other.ends <= self.begins
        )
        return (
            self.wanted == other.wanted
            and not apart
            and bool(self.districts & other.districts)
            and self.hours.meet(other.hours)
        )


class Routing(Struct, frozen=True, dict=True):
    """One file of routes that was applied: what it says, its exact bytes and their digest."""

    file: RouteFile
    data: bytes
    routes: tuple[Route, ...]

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the file's bytes."""
        return hashlib.sha256(self.data).hexdigest()


def parse(data: bytes, law: Law) -> Routing:
    """The routes in a file, or InvalidRequest naming the key that is wrong (`routes.3.holder`)."""
    try:
        file = RouteFile.model_validate(tables.read(data))
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        named, _, problem = first["msg"].removeprefix("Value error, ").rpartition(": ")
        raise InvalidRequest(".".join(p for p in (where, named) if p)[:200] or "file", problem) from None
    routes = tuple(_compiled(file, terms, law) for terms in file.routes)
    refuse_meeting(routes, ())
    return Routing(file, data, routes)


def _compiled(file: RouteFile, terms: RouteTerms, law: Law) -> Route:
    table = file.timetables[terms.timetable].compiled(law) if terms.timetable else None
    until = terms.valid_until
    return Route(
        terms.id,
        file.label,
        terms.record_type or terms.kind or "",
        frozenset(terms.districts),
        Hours(When(terms.hours), table),
        terms.holder,
        moment(terms.valid_from or _FIRST_DAY, time.min),
        moment(until + timedelta(days=1), time.min) if until else None,
    )


def refuse_meeting(routes: tuple[Route, ...], others: Iterable[Route]) -> None:
    """InvalidRequest where two routes of equal rank could both apply: nobody could say who is asked."""
    known = list(others)
    for n, route in enumerate(routes):
        for other in (*routes[:n], *known):
            if route.meets(other):
                where = ", ".join(sorted(route.districts & other.districts)[:3])
                raise InvalidRequest(
                    f"routes.{n}",
                    f"{route.name} and {other.name} of {other.file} could both apply in {where}: part them by "
                    "days, hours or districts",
                )


def kind_of(record_type: str) -> str:
    """The kind of agency that holds a record type: `records.<kind>.v1.Name`."""
    parts = record_type.split(".")
    return parts[1] if len(parts) > 2 else ""


def route_key(wanted: str) -> str:
    """Key of the routes for a record type or a kind: also of one that does not exist yet."""
    return f"route:{wanted}"


class Routed(Struct, frozen=True):
    """Routes that apply: one is as it should be. `reads` are the keys looked under; from `until` on time alone
    could make it another answer."""

    routes: tuple[Route, ...]
    reads: frozenset[str]
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Routes:
    """All routes that were applied, by what they are for and where."""

    _by: Mapping[tuple[str, str], tuple[Route, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, routings: Iterable[Routing]) -> Routes:
        """Those of these files."""
        by: dict[tuple[str, str], tuple[Route, ...]] = {}
        for routing in sorted(routings, key=lambda routing: routing.file.id):
            for route in routing.routes:
                for district in route.districts:
                    by[route.wanted, district] = (*by.get((route.wanted, district), ()), route)
        return cls(by)

    def find(self, record_type: str, district: str, at: datetime) -> Routed:
        """The routes for a record type in a district at a moment."""
        wanted = (record_type, kind_of(record_type))
        edges: list[datetime] = []
        applying: tuple[Route, ...] = ()
        for each in wanted:
            routes = self._by.get((each, district), ())
            edges += [edge for route in routes if (edge := route.next_change(at)) is not None]
            applying = applying or tuple(route for route in routes if route.applies(at))
        return Routed(applying, frozenset(map(route_key, wanted)), min(edges, default=None))

    def to(self, holder: str) -> Iterator[Route]:
        """Every route that names this holder, once."""
        seen: set[tuple[str, str]] = set()
        for routes in self._by.values():
            for route in routes:
                if route.holder == holder and (route.file, route.name) not in seen:
                    seen.add((route.file, route.name))
                    yield route


def changed_keys(*routings: Routing | None) -> frozenset[str]:
    """Keys that a change from one of these to another touches."""
    return frozenset(route_key(route.wanted) for each in routings if each for route in each.routes)


def applied(routings: Mapping[str, Routing], but: str) -> Iterator[Route]:
    """Every route of the files but one."""
    for name in sorted(routings):
        if name != but:
            yield from routings[name].routes
