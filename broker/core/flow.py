"""A flow of an agreement, with what every decision on it reads made ready once for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from broker.core.agreement import Agreement
from broker.core.condition import Condition
from broker.core.directory import Agency
from broker.core.lawfulness import (
    Flaw,
    Labels,
    Opening,
    Question,
    flaws,
    labels_of,
    openings,
    opt_out_applies,
    side,
)
from broker.core.model import Assurance
from broker.core.succession import Heir
from broker.core.terms import FlowTerms, level
from broker.law import Law

# What a safe contact keeps from everybody who need not come to the door.
_REACHES = frozenset({"contact", "safe-contact", "location"})


class FlowKey(Struct, frozen=True):
    """What an agreement is looked up by."""

    requester: str
    provider: str
    record_type: str
    purpose: str

    def __str__(self) -> str:
        """Key of which agreements exist for this flow: also of one that does not exist yet."""
        return f"flow:{self.requester}|{self.provider}|{self.record_type}|{self.purpose}"


Heirs = Mapping[str, tuple[Heir, ...]]
"""By agency that ends: who takes its place."""
_NONE: Heirs = {}


def flow_keys(agreement: Agreement, heirs: Heirs = _NONE) -> frozenset[str]:
    """Keys of every flow the agreement speaks to, also for those in the place of a party."""
    return frozenset(
        str(FlowKey(requester.new, provider.new, f.record_type, agreement.purpose))
        for f in agreement.flows
        for requester, provider in _sides(agreement, f, heirs)
    )


def _sides(agreement: Agreement, terms: FlowTerms, heirs: Heirs) -> list[tuple[Heir, Heir]]:
    """Requester and provider of a flow: the parties themselves first, then those in their place."""
    begins = agreement.begins
    requesters, providers = (
        (Heir(name, name, begins), *heirs.get(name, ())) for name in (terms.requester, terms.provider)
    )
    return [
        (r, p)
        for r in requesters
        for p in providers
        if r.new != p.new and max(r.since, p.since) < agreement.ends
    ]


class Flow(Struct, frozen=True):
    """One flow of one agreement. Make one with `of`.

    `flaws` are what the law holds against it, by rule; `openings` the gateways that let it through and `shut`
    those that do not, each with why not. `reaching` are paths that say how or where to reach somebody.
    `lineage` says in whose place its parties are, where they did not sign themselves.
    """

    agreement: Agreement
    terms: FlowTerms
    begins: datetime
    ends: datetime
    regime: str
    provider_regime: str
    basis: str
    condition: str
    permitted: tuple[str, ...]
    roles: frozenset[str]
    minimum: Assurance
    flaws: Mapping[str, Flaw]
    openings: tuple[Opening, ...]
    shut: tuple[tuple[str, str], ...]
    opt_out: bool
    context: Condition | None
    reaching: frozenset[str]
    override: tuple[str, ...]
    override_minimum: Assurance
    lineage: tuple[Heir, ...] = ()

    @classmethod
    def of(
        cls,
        agreement: Agreement,
        terms: FlowTerms,
        law: Law,
        agencies: Mapping[str, Agency],
        labels: Labels,
        sides: tuple[Heir, Heir] | None = None,
        ends: datetime | None = None,
    ) -> Flow:
        """The flow as the law, these agencies and these labels make it, for its parties or those in their
        place; `ends` where another agreement supersedes it."""
        question = flow_question(agreement, terms, law, agencies, labels, sides)
        lineage = tuple(each for each in sides or () if each.new != each.old)
        opened, shut = openings(question)
        requester = question.requester
        override = agreement.override
        return cls(
            agreement=agreement,
            terms=terms,
            begins=max((agreement.begins, *(each.since for each in lineage))),
            ends=agreement.ends if ends is None else ends,
            regime=requester.regime,
            provider_regime=question.provider.regime,
            basis=requester.basis,
            condition=requester.condition,
            permitted=tuple(sorted(terms.permitted)),
            roles=frozenset(terms.roles),
            minimum=agreement.actors.minimum,
            flaws=flaws(question),
            openings=opened,
            shut=shut,
            opt_out=opt_out_applies(question),
            context=Condition(terms.context) if terms.context else None,
            reaching=frozenset(
                p for p in terms.permitted if _REACHES & labels_of(labels, terms.record_type, p)
            ),
            override=tuple(sorted(terms.override)),
            override_minimum=level(override.minimum_assurance) if override else Assurance.SIGNED_TOKEN,
            lineage=lineage,
        )


def flow_question(
    agreement: Agreement,
    terms: FlowTerms,
    law: Law,
    agencies: Mapping[str, Agency],
    labels: Labels,
    sides: tuple[Heir, Heir] | None = None,
) -> Question:
    """The flow as `lawfulness` looks at it, for its parties or those in their place."""
    now = [(each.new, each.old) for each in sides] if sides else []
    requester, provider = (
        side(agreement, name, law.kinds.get(agencies[name].kind), agencies[name].jurisdiction, named)
        if name in agencies
        else side(agreement, name, None, "", named)
        for name, named in now or ((terms.requester, terms.requester), (terms.provider, terms.provider))
    )
    given = frozenset(label for path in terms.permitted for label in labels_of(labels, terms.record_type, path))
    return Question(agreement, terms, requester, provider, given, law)


class Compiled(Struct, frozen=True):
    """The flows of one agreement by key, and what they were made of."""

    agreement: Agreement
    heirs: tuple[tuple[Heir, ...], ...]
    agencies: tuple[Agency | None, ...]
    labels: tuple[Mapping[str, frozenset[str]] | None, ...]
    ends: datetime
    flows: tuple[tuple[FlowKey, Flow], ...]

    def still(self, agreement: Agreement, agencies: Mapping[str, Agency], labels: Labels, heirs: Heirs) -> bool:
        """Whether none of it has changed since; when it ends is compared apart."""
        return (
            self.agreement is agreement
            and self.heirs == _of_parties(agreement, heirs)
            and all(
                a is agencies.get(n) for a, n in zip(self.agencies, _names(agreement, self.heirs), strict=True)
            )
            and all(x is labels.get(f.record_type) for x, f in zip(self.labels, agreement.flows, strict=True))
        )


def compiled(
    agreement: Agreement,
    agencies: Mapping[str, Agency],
    labels: Labels,
    law: Law,
    heirs: Heirs,
    ends: datetime,
) -> Compiled:
    """Every flow of an agreement, ready to decide on until `ends`: first its parties' own, then those in
    their place."""
    taking = _of_parties(agreement, heirs)
    return Compiled(
        agreement,
        taking,
        tuple(agencies.get(name) for name in _names(agreement, taking)),
        tuple(labels.get(f.record_type) for f in agreement.flows),
        ends,
        tuple(
            (
                FlowKey(sides[0].new, sides[1].new, terms.record_type, agreement.purpose),
                Flow.of(agreement, terms, law, agencies, labels, sides, ends),
            )
            for terms in agreement.flows
            for sides in _sides(agreement, terms, heirs)
        ),
    )


def _of_parties(agreement: Agreement, heirs: Heirs) -> tuple[tuple[Heir, ...], ...]:
    return tuple(heirs.get(p.agency, ()) for p in agreement.parties)


def _names(agreement: Agreement, taking: tuple[tuple[Heir, ...], ...]) -> tuple[str, ...]:
    """The parties, and whoever takes their place."""
    return (*(p.agency for p in agreement.parties), *(each.new for some in taking for each in some))
