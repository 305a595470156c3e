"""An agreement of one request: what stands where a human let through what no agreement foresaw.

Lack of an agreement is not unlawfulness (ICO Data sharing code of practice), so a named human of the provider
may decide a single request. What they decide it on is put in the form of an agreement between the two, for this
request and nobody else, so that the same walk and the same checks of the law judge it.
"""

from __future__ import annotations

from datetime import timedelta

from broker.core.agreement import Agreement
from broker.core.flow import Flow, FlowKey
from broker.core.model import Grant, OneOff, Request, Stand
from broker.core.reference import Reference
from broker.core.terms import Actors, Directives, FlowTerms, Legal, OwnLegal, Party

# A one-off asked with traits has no scheme of its own; the file's form wants one.
_NO_SCHEME = "traits"


def one_off_id(referral: str) -> str:
    """The id under which views name it."""
    return f"referral-{referral}"


def one_off_agreement(request: Request, grant: Grant, law: OneOff, *, ncnd: bool = False) -> Agreement:
    """The agreement of this one request."""
    last = grant.until - timedelta(microseconds=1)
    return Agreement(
        id=one_off_id(grant.referral),
        version=1,
        title="One request, decided by a named person of the provider",
        purpose=request.purpose,
        valid_from=last.date() - timedelta(days=366),
        valid_until=last.date(),
        review_on=last.date(),
        ncnd=ncnd,
        legal=Legal(
            basis=law.requester.basis,
            gateway=law.gateway,
            confidentiality=law.confidentiality,
            justification=law.justification,
            further_use_law=law.further_use_law,
        ),
        directives=Directives(weight="respected"),
        actors=Actors(minimum_assurance="asserted"),
        parties=(_party(request.requester, law.requester), _party(request.provider, law.provider)),
        flows=(
            FlowTerms(
                provider=request.provider,
                requester=request.requester,
                record_type=request.record_type,
                permitted=grant.permitted,
                roles=(request.actor.role,),
                subject_schemes=(request.subject.scheme if request.subject else _NO_SCHEME,),
                queries=request.subject is None,
            ),
        ),
    )


def _party(agency: str, stand: Stand) -> Party:
    return Party(
        agency=agency,
        regime=stand.regime,
        legal=OwnLegal(
            basis=stand.basis,
            condition=stand.condition or None,
            offence_condition=stand.offence_condition or None,
        ),
    )


def one_off_flow(request: Request, grant: Grant, law: OneOff, reference: Reference) -> Flow:
    """Its one flow, as the law of today bears it or does not.

    Where an agreement between the two may neither confirm nor deny, neither may this.
    """
    key = FlowKey(request.requester, request.provider, request.record_type, request.purpose)
    ncnd = any(flow.agreement.ncnd for flow in reference.flows(key))
    agreement = one_off_agreement(request, grant, law, ncnd=ncnd)
    return Flow.of(agreement, agreement.flows[0], reference.law, reference.agencies, reference.labels)
