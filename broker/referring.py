"""The use case of asking for a human's decision: what no agreement foresaw, or what was refused.

Nothing is decided here and nothing about the person is looked at, so the answer says nothing about them. The
request id is bound as with every request, so that the very same can be asked again under `retry_of`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec.structs import replace

from broker.case import Case, Said
from broker.core.flow import FlowKey
from broker.core.model import Assurance, Decision, Outcome, Refused, Request, RuleApplied
from broker.core.receipt import Receipt
from broker.core.steps.who import identity, party
from broker.core.terms import ReferralTerms
from broker.core.vocabulary import REFERRAL_ASKED
from broker.core.walk import Walk, contact
from broker.course import check_known
from broker.drafts import draft
from broker.errors import AuditUnavailable, Denied, InvalidRequest, KeptElsewhere, Unsettled
from broker.handed import referred
from broker.ids import entry_id
from broker.ports import (
    Appended,
    Asked,
    Claim,
    Claimed,
    Clock,
    Facts,
    FactsSource,
    Log,
    Reads,
    ReferenceSource,
)
from broker.replay import AGAIN, replay, same_content

TRIES = 3


@dataclass(frozen=True, slots=True)
class Referral:
    """It waits: its id is that of its entry. `due` is None in a repeat."""

    id: str
    receipt: Receipt
    due: datetime | None
    refused: Refused


class Referring:
    """Puts requests before humans."""

    def __init__(
        self,
        log: Log,
        facts: FactsSource,
        reference: ReferenceSource,
        clock: Clock,
        content: Callable[[Request], bytes],
    ) -> None:
        self._log = log
        self._facts = facts
        self._reference = reference
        self._clock = clock
        self._content = content

    async def ask(self, request: Request) -> Referral:
        """Queue it for a named human of the provider.

        Raises InvalidRequest, and Denied, its entry durable, where one of the two agencies takes no part today.
        """
        if request.actor.assurance is Assurance.UNSPECIFIED:
            raise InvalidRequest("actor.assurance", "say how sure you are of who asks: a human decides on them")
        if not request.provider:
            raise InvalidRequest("provider", "name the agency that holds the record: its human decides")
        if not request.reason.words:
            raise InvalidRequest("reason.words", "say in words why: a human reads them and decides")
        if request.retry_of or request.override is not None:
            field = "retry_of" if request.retry_of else "override"
            raise InvalidRequest(field, "does not go with asking for a human's decision")
        claim = Claim(request.caller, request.request_id, self._content(request))
        for _ in range(TRIES):
            facts = await self._facts.read(Asked((), request.caller, (request.request_id,)))
            known = facts.claims.get(request.request_id)
            if known is not None:
                same_content(claim, known)
                return await self._again(request, known)
            case = await self._case(request, facts)
            refused = case.decision.refused or Refused("referred", "", "")
            refers = case.decision.outcome is Outcome.REFER
            said = Said("referral-asked" if refers else "refusal", case.decision.outcome.value, refused=refused)
            entry = draft(entry_id(), case, said, None, claim)
            entry = replace(entry, queued=referred(case) if refers else None, reads=None)
            # Nothing was decided here, so nobody can decide it again.
            entry = replace(entry, full={name: v for name, v in entry.full.items() if name != "decided"})
            committed = await self._log.append(entry)
            if isinstance(committed, Appended):
                if refers:
                    return Referral(entry.id, committed.receipt, case.decision.refer_by, refused)
                denied = Denied(refused)
                denied.receipt = committed.receipt
                raise denied
        raise Unsettled("this request id is in use elsewhere at this moment; try again")

    async def _again(self, request: Request, known: Claimed) -> Referral:
        try:
            receipt, full = await self._log.receipt(known.entry, "requester")
        except KeyError as e:
            raise AuditUnavailable("the entry of this request cannot be read at the moment") from e
        except KeptElsewhere as e:
            raise e.asked_as("request_id", AGAIN) from e
        if full.get("event") == "refusal":
            await replay(self._log, request, known)
        if full.get("event") != "referral-asked":
            raise InvalidRequest("request_id", "was used before for another request; use a fresh UUID")
        return Referral(known.entry, receipt, None, Refused("referred", "It waits for a human already.", ""))

    async def _case(self, request: Request, facts: Facts) -> Case:
        """As if a walk had ended here, before it came to the person."""
        reference = await self._reference.at_least(facts.reference_policy)
        check_known(request, reference)
        now = self._clock.now()
        walk = Walk(request, reference, (), (), now)
        for rule, step in (("identity.enrolled", identity), ("party.valid-today", party)):
            if ends := step(walk):
                refusal = RuleApplied(rule, "refuse", ends.owner)
                decision = Decision(Outcome.REFUSE, (refusal,), frozenset(), now, refused=ends.refused)
                return _case_of(request, decision, facts, now)
        key = FlowKey(request.requester, request.provider, request.record_type, request.purpose)
        flow = reference.in_force(key, now)
        terms = flow.agreement.referral if flow else ReferralTerms()
        phone = f" Telephone {terms.phone} where it cannot wait." if terms.phone else ""
        refused = Refused(
            "referred",
            f"This waits for {terms.role or 'a named person'} at {contact(walk.agency(request.provider))}.",
            f"It is to be decided within {terms.hours} hours; ask then under a new request id, with this one "
            f"as retry_of.{phone}",
        )
        decision = Decision(
            Outcome.REFER,
            (RuleApplied(REFERRAL_ASKED, "refer", "The requester asks for a human's decision."),),
            frozenset(),
            now,
            refused=refused,
            agreement=flow.agreement.id if flow else "",
            agreement_version=flow.agreement.version if flow else 0,
            controller=request.provider,
            regime=flow.regime if flow else "",
            provider_regime=flow.provider_regime if flow else "",
            refer_by=now + timedelta(hours=terms.hours),
        )
        return _case_of(request, decision, facts, now)


def _case_of(request: Request, decision: Decision, facts: Facts, now: datetime) -> Case:
    """Asked of the provider that was named."""
    reads = Reads(facts.policy, frozenset())
    return Case(request, decision, facts.policy, now, reads, asked_of=request.provider)
