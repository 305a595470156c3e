"""A data-sharing agreement: the TOML file that parties sign, parsed whole or not at all.

Owns the file's shape and the checks that need nothing but the file and the law's codes. Whether its paths,
record types and agencies exist is checked against the reference when it is applied. The file's exact bytes
are what is signed and stored, so nothing here ever writes one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from broker.core import tables
from broker.core.condition import Condition
from broker.core.retention import CHANGES, is_held
from broker.core.terms import (
    Actors,
    Directives,
    EvidenceTerms,
    FlowTerms,
    Governance,
    Id,
    Legal,
    Limits,
    ObligationTerms,
    OverrideTerms,
    OwnLegal,
    Part,
    Party,
    ReferralTerms,
    Text,
)
from broker.errors import InvalidRequest
from broker.law import Law

MAX_FILE = tables.MAX_FILE
# An agreement without an end is one nobody reviews; and arithmetic on dates stays inside what a date can be.
_YEARS = range(1900, 2201)


class Agreement(Part):
    """One version of one agreement. Dates are whole days in UTC; `valid_until` is the last day in force."""

    id: Id
    version: Annotated[int, Field(ge=1, le=100_000)]
    title: Text
    purpose: Text
    valid_from: date
    valid_until: date
    review_on: date
    # Information sharing tiers: what everybody keeps to, one purpose, or one procedure under it.
    tier: Literal["protocol", "purpose", "procedure"] = "purpose"
    type: Literal["reciprocal", "one-way", "joint-controllers"] = "one-way"
    # The id of the agreement that this one takes the place of, under another name or with other parties.
    supersedes: Id | None = None
    ncnd: bool = False
    legal: Legal
    directives: Directives
    actors: Actors
    parties: Annotated[tuple[Party, ...], Field(min_length=2)]
    flows: Annotated[tuple[FlowTerms, ...], Field(min_length=1)]
    obligations: tuple[ObligationTerms, ...] = ()
    limits: Limits | None = None
    evidence: EvidenceTerms = EvidenceTerms()
    override: OverrideTerms | None = None
    referral: ReferralTerms = ReferralTerms()
    governance: Governance = Governance()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        for name in ("valid_from", "valid_until", "review_on"):
            if getattr(self, name).year not in _YEARS:
                raise ValueError(f"{name}: a year between {_YEARS[0]} and {_YEARS[-1]}")
        if self.valid_until < self.valid_from:
            raise ValueError("valid_until: is before valid_from")
        agencies = [p.agency for p in self.parties]
        if len(set(agencies)) != len(agencies):
            raise ValueError("parties: an agency is named twice")
        self._check_flows(agencies)
        most, emergency = (self.limits or Limits()).per_minute, (self.limits or Limits()).emergency_per_minute
        if most is not None and emergency is not None and emergency > most:
            raise ValueError("limits.emergency_per_minute: is more than per_minute, which counts those too")
        if self.directives.weight == "required" and not self.directives.recorders:
            raise ValueError(
                "directives.recorders: a required consent needs somebody whose record of it counts"
            )
        if is_held(self.evidence.retention) or self.evidence.retention == CHANGES:
            raise ValueError("evidence.retention: is a class of the broker's own; name one of the schedule's")
        if self.supersedes == self.id:
            raise ValueError(
                "supersedes: is this very agreement; a new version replaces the one before by itself"
            )
        return self

    def _check_flows(self, agencies: list[str]) -> None:
        seen: dict[tuple[str, str, str], int] = {}
        for n, flow in enumerate(self.flows):
            same = seen.setdefault((flow.requester, flow.provider, flow.record_type), n)
            if same != n:  # which of the two decides would be left open
                raise ValueError(f"flows.{n}: is the same flow as flows.{same}")
            for side in ("provider", "requester"):
                if getattr(flow, side) not in agencies:
                    raise ValueError(f"flows.{n}.{side}: {getattr(flow, side)} is not among the parties")
            if flow.provider == flow.requester:
                raise ValueError(f"flows.{n}: provider and requester are the same agency")
            if len(set(flow.permitted)) != len(flow.permitted):
                raise ValueError(f"flows.{n}.permitted: a path is named twice")
            if more := sorted(set(flow.override) - set(flow.permitted)):
                raise ValueError(
                    f"flows.{n}.override: {more[0]} is not permitted; an override gives fewer fields"
                )
            if flow.context:
                Condition(flow.context, f"flows.{n}.context")
            if flow.override and self.override is None:
                raise ValueError(f"flows.{n}.override: needs an [override] table that says on whose word")

    @property
    def begins(self) -> datetime:
        """The first moment in force."""
        return datetime.combine(self.valid_from, time.min, UTC)

    @property
    def ends(self) -> datetime:
        """The first moment no longer in force."""
        return datetime.combine(date.fromordinal(self.valid_until.toordinal() + 1), time.min, UTC)

    @property
    def label(self) -> str:
        """`id/version`, as it stands in views."""
        return f"{self.id}/{self.version}"

    def party(self, agency: str) -> Party:
        """The party; KeyError where it is none."""
        for party in self.parties:
            if party.agency == agency:
                return party
        raise KeyError(agency)


def digest(file: bytes) -> str:
    """Hex SHA-256 of the file's exact bytes: what a signature is over."""
    return hashlib.sha256(file).hexdigest()


def parse(file: bytes, law: Law) -> Agreement:
    """The agreement in `file`, or InvalidRequest naming the key that is wrong (`flows.0.permitted`)."""
    agreement = read(file)
    for problem in unknown_codes(agreement, law):
        raise problem
    return agreement


def unknown_codes(agreement: Agreement, law: Law) -> Iterator[InvalidRequest]:
    """Every code of the file that the law's lists do not have, with those that they do."""
    for where, code, codes in _codes(agreement, law):
        if code not in codes:
            near = get_close_matches(code, codes, n=1)
            hint = f"did you mean {near[0]}? One of" if near else "one of"
            yield InvalidRequest(where, f"unknown code {code!r}; {hint} {', '.join(sorted(codes))}")


def read(file: bytes) -> Agreement:
    """As `parse`, whatever its codes: for who holds no list of them, and only compares."""
    try:
        return Agreement.model_validate(tables.read(file))
    except ValidationError as e:
        raise next(_told(e)) from None


def problems(file: bytes) -> list[InvalidRequest]:
    """All that keeps `read` from reading the file; empty where it reads it."""
    try:
        Agreement.model_validate(tables.read(file))
    except ValidationError as e:
        return list(_told(e))
    except InvalidRequest as e:
        return [e]
    return []


def _told(error: ValidationError) -> Iterator[InvalidRequest]:
    for each in error.errors(include_url=False, include_input=False):
        loc, problem = each["loc"], each["msg"].removeprefix("Value error, ")
        where = ".".join(str(part) for part in loc)
        if not where:
            where, _, problem = problem.partition(": ")
        if each["type"] == "extra_forbidden":
            problem = _no_such_key(loc)
        yield InvalidRequest(where[:200], problem)


def _no_such_key(loc: tuple[int | str, ...]) -> str:
    """What may stand where an unknown key does."""
    table: type[BaseModel] = Agreement
    for part in loc[:-1]:
        if isinstance(part, str):
            table = _table(table.model_fields[part].annotation)
    keys = sorted(table.model_fields)
    near = get_close_matches(str(loc[-1])[:200], keys, n=1)
    hint = f"did you mean {near[0]}? The keys here are" if near else "the keys here are"
    return f"there is no such key; {hint} {', '.join(keys)}"


def _table(annotation: object) -> type[BaseModel]:
    """The model inside an annotation such as `tuple[Party, ...]` or `Limits | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(_table(each) for each in get_args(annotation) if each not in (None, type(None), ...))


def _codes(agreement: Agreement, law: Law) -> Iterator[tuple[str, str, Collection[str]]]:
    """Every code of the file: where it stands, and those that there are."""
    legal = agreement.legal
    yield "purpose", agreement.purpose, law.purposes
    yield from _named("legal", legal, law)
    for name, codes in (
        ("confidentiality", law.confidentiality.keys()),
        ("further_use_law", law.gateways.keys()),
    ):
        if code := getattr(legal, name):
            yield f"legal.{name}", code, codes
    for n, gateway in enumerate(legal.other_gateways):
        yield f"legal.other_gateways.{n}", gateway, law.gateways
    for n, party in enumerate(agreement.parties):
        yield f"parties.{n}.regime", party.regime, law.regimes
        yield from _named(f"parties.{n}.legal", party.legal or OwnLegal(), law)


def _named(where: str, legal: Legal | OwnLegal, law: Law) -> Iterator[tuple[str, str, Collection[str]]]:
    for name, codes in (
        ("basis", law.bases.keys()),
        ("condition", law.conditions.keys()),
        ("offence_condition", law.conditions.keys()),
        ("gateway", law.gateways.keys()),
    ):
        if code := getattr(legal, name):
            yield f"{where}.{name}", code, codes
