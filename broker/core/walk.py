"""The state of one decision in the making, and how a step of it ends the walk.

A step looks at the walk and gives None to go on, or an `Ends`: what the requester is told and what the owner
is. Two things can go past an `Ends` that allows it: an override by a named human, where the agreement grants
one, and a decision that a named human of the provider took on this very request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct, field

from broker.core.directive import Directive, next_change
from broker.core.directory import Agency
from broker.core.flow import Flow, FlowKey
from broker.core.granting import override_keys, restricted_by
from broker.core.model import Grant, Refused, Request
from broker.core.reference import Reference


class Ends(Struct, frozen=True):
    """Why a walk ends: words for the requester, words for the owner, and what may go past it.

    `refer`: a named human of the provider decides instead. `yields_to` holds "override", "grant", or both.
    """

    refused: Refused
    owner: str
    refer: bool = False
    yields_to: frozenset[str] = frozenset()


class Walk(Struct):
    """One request, everything a decision on it reads, and what the steps so far have found."""

    request: Request
    reference: Reference
    directives: Sequence[Directive]
    linked: Sequence[Directive]
    now: datetime
    grant: Grant | None = None
    # Nothing is known of the person and nothing is asked: a hypothetical.
    nobody: bool = False
    # What a human decided on the request that this one repeats, whether it lets it through or not.
    ruling: Grant | None = None
    restricted: Mapping[str, datetime | None] = field(default_factory=dict)
    flow: Flow | None = None
    about_person: bool = False
    gateway: str = ""
    permitted: tuple[str, ...] = ()
    # As `permitted`, but for what is kept back for the person's sake.
    named: tuple[str, ...] = ()
    # What went past, by rule: "override" or "grant".
    waived: dict[str, str] = field(default_factory=dict)
    # Rules that would have refused, but for a human who is to decide and is told of them; and what those
    # would yield to.
    noted: dict[str, frozenset[str]] = field(default_factory=dict)
    boundaries: list[datetime] = field(default_factory=list)
    # Stored inputs read beyond what every walk reads, by key.
    reads: set[str] = field(default_factory=set)
    # What a step that passed has to say to the owner, by rule.
    details: dict[str, str] = field(default_factory=dict)
    # Whose adapters may answer in the provider's stead.
    answered_by: tuple[str, ...] = ()
    # Of `said` and `override_lacks`, once they have been asked for.
    _heard: Sequence[Directive] | None = None
    _lacks: str | None = None

    @property
    def chosen(self) -> Flow:
        """The flow that the agreement step found; every later step may rely on it."""
        if self.flow is None:  # a step placed before that one asked for it: a defect, not a refusal
            raise LookupError("no agreement chosen yet")
        return self.flow

    def agency(self, name: str) -> Agency | None:
        """An agency of the directory."""
        return self.reference.agencies.get(name)

    @property
    def valid_until(self) -> datetime | None:
        """The first moment at which time alone could change the outcome."""
        return min(self.boundaries, default=None)

    def ends(self, *moments: datetime | None) -> None:
        """Remember when time alone could change the outcome."""
        for moment in moments:
            if moment is not None and moment > self.now:
                self.boundaries.append(moment)

    @property
    def said(self) -> Sequence[Directive]:
        """What has been said about this use and is in force. A link carries all of it but consent."""
        if self._heard is None:
            self._heard = self._said() if self.directives or self.linked else ()
        return self._heard

    def _said(self) -> Sequence[Directive]:
        request = self.request
        purpose, record_type = request.purpose, request.record_type
        # What was said of an agency holds for whoever is in its place, and what was said against a processor
        # also where it acts for another.
        consented = against = self.before(request.requester)
        if request.processor:
            against |= {request.processor}
        providers = self.before(request.provider)
        relevant = [
            d
            for d in (*self.directives, *[d for d in self.linked if d.kind != "consent"])
            if d.speaks_to_any(purpose, record_type, consented if d.kind == "consent" else against, providers)
        ]
        if not relevant:
            return ()
        self.ends(next_change(relevant, self.now))
        return [d for d in relevant if d.in_force(self.now)]

    def before(self, agency: str) -> frozenset[str]:
        """An agency, and those whose place it has taken."""
        return self.reference.forebears(agency, self.now) | {agency}

    @property
    def override_lacks(self) -> str:
        """Why the override of this request does not count; empty where it does."""
        if self._lacks is None:
            self._lacks = self._lacking()
        return self._lacks

    def _lacking(self) -> str:
        flow, override = self.flow, self.request.override
        terms = flow.agreement.override if flow is not None else None
        if override is None:
            return "none was asked for"
        if flow is None or terms is None or not flow.override:
            return "the agreement grants none for this record"
        if override.code not in terms.codes:
            return f"the agreement does not know the reason {override.code}"
        if self.request.actor.assurance < flow.override_minimum:
            return f"the actor is known by less than {terms.minimum_assurance}"
        if not override.words:
            return "nobody said why in words"
        if what := self._restricted():
            return f"the provider has restricted overrides by this {what}"
        self.ends(override.until)
        if override.until is not None and override.until <= self.now:
            return "it had run out"
        if override.until is not None and override.until > self.now + timedelta(hours=terms.hours):
            return f"it is for longer than {terms.hours} hours"
        return ""

    def _restricted(self) -> str:
        """Under what overrides are restricted here: `actor`, `role` or `system`. Never where life may depend on
        the answer."""
        if self.reference.law.purposes[self.request.purpose].vital:
            return ""
        for whose, what in override_keys(self.request).items():
            # What a provider restricted holds for whoever is in its place.
            for key in (restricted_by(whose, name) for name in self.before(self.request.provider)):
                if key not in self.restricted:
                    continue
                until = self.restricted[key]
                if until is None or self.now < until:
                    self.ends(until)
                    return what
        return ""

    def goes_past(self, ends: Ends) -> str:
        """What goes past this end: "grant", "override", or nothing."""
        if self.grant is not None and "grant" in ends.yields_to:
            return "grant"
        if "override" in ends.yields_to and self.request.override is not None and not self.override_lacks:
            return "override"
        return ""


Judge = Callable[[Walk], Ends | None]


class Step(Struct, frozen=True):
    """One step: its rule, what it makes sure of in the owner's words, the law it stands on, and the judge."""

    rule: str
    asks: str
    law: str
    judge: Judge


def flow_key(request: Request) -> FlowKey:
    """What agreements are looked up by for a request."""
    return FlowKey(request.requester, request.provider, request.record_type, request.purpose)


def contact(agency: Agency | None) -> str:
    """How to reach the people who can mend a refusal."""
    if agency is None:
        return "the operator of this broker"
    reach = ", ".join(part for part in (agency.contact, agency.phone) if part)
    return f"{agency.name} ({reach})" if reach else agency.name


def refuse(
    code: str, message: str, remedy: str, owner: str = "", yields_to: frozenset[str] = frozenset()
) -> Ends:
    """An end that refuses."""
    return Ends(Refused(code, message, remedy), owner or message, yields_to=yields_to)
