"""A row of the decision table as a request, a reference and what was said; and what the broker makes of it."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from broker.core import agreement as agreements
from broker.core.acting import Acting
from broker.core.agreement import Agreement
from broker.core.decision import decide
from broker.core.directory import Agency, Successor, System
from broker.core.flow import FlowKey
from broker.core.model import Actor, Decision, Function, Grant, Outcome, Reason, Request, SubjectRef, Traits
from broker.core.reference import Reference
from broker.core.routing import Routing
from broker.core.steps.sides import resolved
from broker.core.terms import level
from broker.errors import InvalidRequest
from broker.law import Gateway, Law, load
from tests.decisions import words
from tests.decisions.examples import LABELS, agencies, example
from tests.support.values import replace
from tests.support.world import key_of, toml

TABLE = Path(__file__).with_name("table.csv")
LAW = load()
_SINCE = datetime(2023, 4, 1, tzinfo=UTC)
_SUBJECTS = {
    "nhs-number": "9000000009",
    "uprn": "100062990001",
    "incident": "nwas/2026-11-21/0042",
    "police-nominal": "PN-1042",
    "social-care-id": "SC-1001",
}


@dataclass(frozen=True)
class Row:
    """One line of the table, as it stands there."""

    case: str
    agreement: str
    differs: str
    who: str
    role: str
    known_by: str
    of: str
    record: str
    purpose: str
    named_by: str
    circumstances: str
    said: str
    when: str
    outcome: str
    step: str
    fields: str
    gateway: str
    owner_told: str
    law: str

    @property
    def record_type(self) -> str:
        """Its full name; the table leaves `records.` out."""
        return f"records.{self.record}"


@cache
def rows() -> tuple[Row, ...]:
    """The whole table."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(Row(**line) for line in csv.DictReader(file))


COLUMNS = tuple(each.name for each in fields(Row))


@dataclass(frozen=True)
class Came:
    """What came of a row, in the table's words."""

    outcome: str
    step: str
    fields: tuple[str, ...]
    gateway: str


@dataclass
class Situation:
    """What a row describes, in the making: each circumstance changes one thing."""

    request: Request
    known: dict[str, Agency]
    systems: list[System]
    law: Law
    now: datetime
    suspended: bool = False
    grant: str = ""
    acting: list[Acting] = field(default_factory=list)
    routings: list[Routing] = field(default_factory=list)

    def change(self, circumstance: str) -> None:
        """One circumstance."""
        request, (first, _, rest) = self.request, circumstance.partition(" ")
        if first in ("incident", "callsign", "device", "employer", "on-behalf-of", "actor"):
            name = {"on-behalf-of": "on_behalf_of", "actor": "id"}.get(first, first)
            on = request if first == "incident" else request.actor
            changed = replace(on, **{name: rest})
            self.request = changed if first == "incident" else replace(request, actor=changed)
        elif first == "reason":
            self.request = replace(request, reason=Reason(rest))
        elif first == "override":
            self.request = replace(request, override=words.override(rest, self.now))
        elif first == "retry-of":
            self.request = replace(request, retry_of=rest)
        elif first == "place":
            self.request = replace(request, place=words.place(rest))
        elif first == "grant":
            self.grant = rest
        elif circumstance == "agreement suspended":
            self.suspended = True
        elif first == "system":
            self._system(rest)
        elif first == "route":
            self.routings.append(words.route(rest, self.law))
        elif first == "law":
            self._law(rest)
        else:
            self._agency(first, rest)

    def _system(self, rest: str) -> None:
        state, _, when = rest.partition(" ")
        match state:
            case "unknown":
                self.systems = []
            case "suspended":
                self.systems = [replace(self.systems[0], suspended=True)]
            case "key":  # "key another"
                self.request = replace(self.request, key_digest="0" * 64)
            case "from" | "until":
                self.systems = [replace(self.systems[0], **{f"valid_{state}": words.moment(when)})]
            case _:
                raise AssertionError(f"system {rest!r} is not known")

    def _law(self, rest: str) -> None:
        """`children-act-2004-s16la from 2026-11-22`: a day that the statute book does not have yet."""
        code, _, day = rest.partition(" from ")
        was = self.law.gateways.get(code)
        if was is not None:
            row: Gateway = replace(was, uncommenced=False, commences=words.moment(day).date())
            self.law = replace(self.law, gateways={**self.law.gateways, code: row})

    def _agency(self, name: str, rest: str) -> None:
        word, _, value = rest.partition(" ")
        if word == "unknown":
            del self.known[name]
            return
        if word == "acts":
            self.acting.append(words.acting(name, value, _SINCE))
            return
        if word == "succeeded":
            heirs = (*self.known[name].successors, Successor(value.removeprefix("by ")))
            self.known[name] = replace(self.known[name], successors=heirs)
            return
        assert word in ("is", "in", "from", "until"), f"circumstance {name!r} {rest!r} is not known"
        key = {"is": "kind", "in": "jurisdiction"}.get(word, f"valid_{word}")
        new = words.moment(value) if word in ("from", "until") else value
        self.known[name] = replace(self.known[name], **{key: new})


def _situation(row: Row, law: Law) -> Situation:
    subject = SubjectRef(row.named_by, _SUBJECTS[row.named_by]) if row.named_by in _SUBJECTS else None
    request = Request(
        request_id=row.case,
        requester=row.who,
        system="desk",
        key_digest=key_of(f"{row.who}/desk"),
        record_type=row.record_type,
        provider=row.of,
        subject=subject,
        query=None if subject else Traits("Tyson", "Joss"),
        purpose=row.purpose,
        actor=Actor("a.hill", row.role, assurance=level(row.known_by)),
    )
    system = System(row.who, "desk", Function.PARTNER, frozenset({key_of(f"{row.who}/desk")}), _SINCE)
    made = Situation(request, dict(agencies()), [system], law, words.moment(row.when))
    for circumstance in words.parts(row.circumstances):
        made.change(circumstance)
    return made


@cache
def _file(number: str, differs: str, who: str, of: str, record_type: str) -> bytes:
    return toml(words.varied(example(number), differs, who, of, record_type))


@cache
def _usual(number: str, differs: str, who: str, of: str, record_type: str) -> Agreement:
    """The agreement under the law as it is: the same for many rows and many tests."""
    return agreements.parse(_file(number, differs, who, of, record_type), LAW)


def requested(row: Row) -> Request:
    """The request of a row, as it was asked."""
    return _situation(row, LAW).request


def decided(
    row: Row, law: Law = LAW, *, grant: Grant | None = None, **how: Any
) -> tuple[Decision, tuple[str, ...]]:
    """The decision on a row under this law, and what the agreement permits at most; `grant` stands instead
    of the row's own, and `how` is for `decide`.

    Raises InvalidRequest where this law cannot read the agreement, or does not know a kind of agency.
    """
    made = _situation(row, law)
    for name in (row.who, row.of):  # as the directory does when an agency is entered
        if name in made.known and made.known[name].kind not in law.kinds:
            raise InvalidRequest("kind", made.known[name].kind)
    agreed = []
    if row.agreement:
        made_of = row.agreement, row.differs, row.who, row.of, row.record_type
        agreed = [_usual(*made_of) if law is LAW else agreements.parse(_file(*made_of), law)]
    reference = Reference.build(
        1,
        made.law,
        made.known.values(),
        made.systems,
        agreed,
        dict.fromkeys(LABELS, ""),
        labels=LABELS,
        suspended=[each.id for each in agreed] if made.suspended else (),
        routings=made.routings,
        acting=made.acting,
    )
    asked = resolved(made.request, reference, made.now)
    key = FlowKey(asked.requester, asked.provider, row.record_type, row.purpose)
    permitted = next((tuple(sorted(flow.terms.permitted)) for flow in reference.flows(key)), ())
    here, elsewhere = words.said(row.said)
    if made.grant:
        grant = words.grant(made.grant, permitted, made.now)
    return decide(made.request, reference, here, made.now, elsewhere, grant, **how), permitted


def came(decision: Decision) -> Came:
    """A decision in the table's words."""
    if decision.outcome is Outcome.PERMIT:
        outcome = "permit"
        if past := "override" if decision.override else "grant" if decision.grant else "":
            outcome += f" by {past}"
        return Came(outcome, "", decision.permitted, decision.gateway)
    assert decision.refused is not None
    outcome = "refer" if decision.outcome is Outcome.REFER else f"refuse {decision.refused.code}"
    return Came(outcome, decision.rules[-1].rule, (), decision.gateway)


def expected_fields(row: Row, permitted: tuple[str, ...]) -> tuple[str, ...]:
    """What the row says is released: all that the agreement permits, or what the cell names."""
    if not row.outcome.startswith("permit"):
        return ()
    if not row.fields:
        return permitted
    named = set(re.sub(r"^(all but|only) ", "", row.fields).split())
    if row.fields.startswith("all but "):
        assert named <= set(permitted), named - set(permitted)
        return tuple(p for p in permitted if p not in named)
    return tuple(sorted(named))


def stands(row: Row, law: Law = LAW) -> bool:
    """Whether what comes of the row is what it says, whatever else happens on the way."""
    try:
        decision, permitted = decided(row, law)
        found = came(decision)
    except (InvalidRequest, LookupError):
        return False  # no such decision could have been taken
    return (
        found.outcome == row.outcome
        and found.step == row.step
        and found.fields == expected_fields(row, permitted)
        and (not row.gateway or found.gateway == row.gateway)
        and row.owner_told in decision.rules[-1].detail
        and _told(decision)
    )


def _told(decision: Decision) -> bool:
    """Whether a refusal says what is wrong and what to do, to the requester and to the owner."""
    refused = decision.refused
    if refused is None:
        return True
    told = (refused.message, refused.remedy, decision.rules[-1].detail)
    return all(each and "  " not in each for each in told)
