"""Consent.provision: whom a rule is about, for what, until when, and what inside it is denied.

A permit may hold denials, which are refusals that outweigh it. Refused: a permit inside a denial or inside a
permit, rules three deep, and every way of narrowing a rule that a directive has no word for (security labels,
data, codes): left out, the rule would say more than was said.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

from msgspec import Struct

from broker.consent import purposes
from broker.consent.agencies import Agencies
from broker.consent.element import Code, Element, shown
from broker.consent.names import ACTION, PARTICIPATION, RECORD_TYPE
from broker.consent.times import span
from broker.law import Law

# Who receives, and who holds.
_ROLES = {
    Code(PARTICIPATION, "IRCP"): "requesters",
    Code(PARTICIPATION, "PRCP"): "requesters",
    Code(PARTICIPATION, "CST"): "providers",
}
_ACTIONS = {Code(ACTION, code): code for code in ("collect", "access", "use", "disclose", "correct")}
_SETS = ("purposes", "record_types", "requesters", "providers")


class Rule(Struct, frozen=True):
    """The scope of one rule; empty sets are all, and no end is none."""

    ELEMENTS: ClassVar = ("type", "period", "actor", "action", "purpose", "class", "provision")

    purposes: frozenset[str] = frozenset()
    record_types: frozenset[str] = frozenset()
    requesters: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    valid_until: datetime | None = None

    @property
    def scope(self) -> dict[str, Any]:
        """As fields of a directive."""
        return {name: getattr(self, name) for name in (*_SETS, "valid_until")}


def root_rule(
    root: Element,
    agencies: Agencies,
    law: Law,
    now: datetime,
    contained: dict[str, Element],
    *,
    permit: bool,
    foreign: bool,
) -> Iterator[Rule]:
    """The rule of a Consent, and after it those it makes exceptions by."""

    def rule(of: Element, *, permits: bool) -> Rule:
        of.only(*Rule.ELEMENTS)
        actors = _actors(of, agencies, contained, both=permits or not foreign)
        _is_about_sharing(of)
        return Rule(
            purposes=purposes.read(of, law, permit=permits),
            record_types=_record_types(of),
            requesters=actors["requesters"],
            providers=actors["providers"],
            valid_until=_until(of, now),
        )

    whole = rule(root, permits=permit)
    yield whole
    for inner in root.each("provision"):
        kind = inner.only(*Rule.ELEMENTS).child("type")
        if not permit:
            raise kind.refuse("is inside a denial, and no exception to one can be expressed; record it by hand")
        if kind.value != "deny":
            raise kind.refuse("is not deny: inside a permit only a denial is an exception")
        if inner.has("provision"):
            raise inner.child("provision").refuse("is an exception to an exception")
        yield _inside(inner, rule(inner, permits=False), whole)


def _inside(inner: Element, rule: Rule, whole: Rule) -> Rule:
    """The exception, no wider than what it is an exception to."""
    scope: dict[str, Any] = {}
    for name in _SETS:
        own, outer = getattr(rule, name), getattr(whole, name)
        if own and outer and not own <= outer:
            raise inner.refuse(f"denies what the rule around it does not permit ({name.replace('_', ' ')})")
        scope[name] = own or outer
    ends = [until for until in (rule.valid_until, whole.valid_until) if until is not None]
    return Rule(**scope, valid_until=min(ends, default=None))


def _actors(
    rule: Element, agencies: Agencies, contained: dict[str, Element], *, both: bool
) -> dict[str, frozenset[str]]:
    """Agencies by what they do. By others' hands, a denial that names receivers and holders may mean either."""
    found: dict[str, set[str]] = {"requesters": set(), "providers": set()}
    for each in rule.each("actor"):
        each.only("role", "reference")
        agency = agencies.read(each.child("reference"), contained)
        found[each.child("role").meaning(_ROLES)].add(agency)
    if all(found.values()) and not both:
        raise rule.child("actor").refuse("names who receives and who holds: either alone, or both together?")
    return {role: frozenset(names) for role, names in found.items()}


def _is_about_sharing(rule: Element) -> None:
    """An action that names none is about all; disclosing is what a directive is about."""
    actions = {each.meaning(_ACTIONS) for each in rule.each("action")}
    if actions and "disclose" not in actions:
        raise rule.child("action").refuse("is not about disclosing, which is what a directive here is about")


def _record_types(rule: Element) -> frozenset[str]:
    found = set()
    for each in rule.each("class"):
        system, code = each.code()
        if system != RECORD_TYPE:
            raise each.refuse(f"{shown(code)} is no record type of this broker")
        found.add(code)
    return frozenset(found)


def _until(rule: Element, now: datetime) -> datetime | None:
    """The moment before which it holds. What is to begin later cannot be held back until then."""
    if not rule.has("period"):
        return None
    period = rule.child("period").only("start", "end")
    begins = span(period.child("start"))[0] if period.has("start") else None
    if begins is not None and begins > now:
        raise period.child("start").refuse("lies in the future; record it when it begins")
    if not period.has("end"):
        return None
    ends = span(period.child("end"))[1]
    if begins is not None and ends <= begins:
        raise period.child("end").refuse("is before its start")
    return ends
