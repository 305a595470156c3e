"""A flow of an agreement, with what every decision on it reads made ready once for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from broker.core.terms import FlowTerms, level
from broker.law import Law

# What a safe contact keeps from everybody who need not come to the door.
_REACHES = frozenset({"contact", "safe-contact", "location"})


@dataclass(frozen=True, slots=True)
class FlowKey:
    """What an agreement is looked up by."""

    requester: str
    provider: str
    record_type: str
    purpose: str

    def __str__(self) -> str:
        """Key of which agreements exist for this flow: also of one that does not exist yet."""
        return f"flow:{self.requester}|{self.provider}|{self.record_type}|{self.purpose}"


def flow_keys(agreement: Agreement) -> frozenset[str]:
    """Keys of every flow the agreement speaks to."""
    return frozenset(
        str(FlowKey(f.requester, f.provider, f.record_type, agreement.purpose)) for f in agreement.flows
    )


class Flow(Struct, frozen=True):
    """One flow of one agreement. Make one with `of`.

    `flaws` are what the law holds against it, by rule; `openings` the gateways that let it through and `shut`
    those that do not, each with why not. `reaching` are paths that say how or where to reach somebody.
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

    @classmethod
    def of(
        cls,
        agreement: Agreement,
        terms: FlowTerms,
        law: Law,
        agencies: Mapping[str, Agency],
        labels: Labels,
        ends: datetime | None = None,
    ) -> Flow:
        """The flow as the law, these agencies and these labels make it; `ends` where another supersedes it."""
        question = flow_question(agreement, terms, law, agencies, labels)
        opened, shut = openings(question)
        requester = question.requester
        override = agreement.override
        return cls(
            agreement=agreement,
            terms=terms,
            begins=agreement.begins,
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
        )


def flow_question(
    agreement: Agreement, terms: FlowTerms, law: Law, agencies: Mapping[str, Agency], labels: Labels
) -> Question:
    """The flow as `lawfulness` looks at it."""
    requester, provider = (
        side(agreement, name, law.kinds.get(agencies[name].kind), agencies[name].jurisdiction)
        if name in agencies
        else side(agreement, name, None, "")
        for name in (terms.requester, terms.provider)
    )
    given = frozenset(label for path in terms.permitted for label in labels_of(labels, terms.record_type, path))
    return Question(agreement, terms, requester, provider, given, law)


class Compiled(Struct, frozen=True):
    """The flows of one agreement by key, and what they were made of."""

    agreement: Agreement
    agencies: tuple[Agency | None, ...]
    labels: tuple[Mapping[str, frozenset[str]] | None, ...]
    ends: datetime
    flows: tuple[tuple[FlowKey, Flow], ...]

    def still(self, agreement: Agreement, agencies: Mapping[str, Agency], labels: Labels) -> bool:
        """Whether none of it has changed since; when it ends is compared apart."""
        return (
            self.agreement is agreement
            and all(a is agencies.get(p.agency) for a, p in zip(self.agencies, agreement.parties, strict=True))
            and all(x is labels.get(f.record_type) for x, f in zip(self.labels, agreement.flows, strict=True))
        )


def compiled(
    agreement: Agreement, agencies: Mapping[str, Agency], labels: Labels, law: Law, ends: datetime
) -> Compiled:
    """Every flow of an agreement, ready to decide on until `ends`."""
    return Compiled(
        agreement,
        tuple(agencies.get(p.agency) for p in agreement.parties),
        tuple(labels.get(f.record_type) for f in agreement.flows),
        ends,
        tuple(
            (
                FlowKey(terms.requester, terms.provider, terms.record_type, agreement.purpose),
                Flow.of(agreement, terms, law, agencies, labels, ends),
            )
            for terms in agreement.flows
        ),
    )
