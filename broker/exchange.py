"""THE use case: one request, from the moment it is parsed to the moment its answer may leave.

What is promised is kept here, in this order: decide; only if permitted ask the provider; decide again on
every identifier the provider knows the person by; make the released record anew; commit the evidence; only
then answer. An append gives back what has been overtaken by a change, and it is decided again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace

from broker.core.decision import decide, subject_key
from broker.core.model import Outcome, Refused, Request, SubjectRef
from broker.core.receipt import Receipt
from broker.core.reference import Reference
from broker.drafts import NO_ANSWER, Case, Said, decided, draft, intent
from broker.errors import (
    Ambiguous,
    BrokerError,
    Denied,
    IntegrityError,
    InvalidRequest,
    ProviderUnavailable,
    RevokedCertificate,
    SubjectNotFound,
    Unsettled,
)
from broker.ports import (
    Answer,
    Appended,
    Asked,
    Claim,
    Clock,
    Disclosed,
    Draft,
    Facts,
    FactsSource,
    Found,
    Log,
    ManyMatch,
    NotAppended,
    NotFound,
    ProviderFailed,
    Providers,
    Question,
    Reads,
    ReferenceSource,
    Releases,
)
from broker.replay import replay, same_content

TRIES = 3
# What is kept back of the caller's time for the append and the way home.
MARGIN = 0.25
# Under ncnd every answer but a record leaves at this many seconds after the request, or a multiple of it.
NCND_BUCKET = 1.0


class Exchange:
    """Answers requests. Everything it needs of the outside is a port."""

    def __init__(
        self,
        log: Log,
        facts: FactsSource,
        reference: ReferenceSource,
        providers: Providers,
        releases: Releases,
        clock: Clock,
        content: Callable[[Request], bytes],
    ) -> None:
        self._log = log
        self._facts = facts
        self._reference = reference
        self._providers = providers
        self._releases = releases
        self._clock = clock
        self._content = content

    async def answer(self, request: Request) -> Disclosed:
        """The disclosure, its evidence durable.

        Raises Denied (a refusal, with its receipt), SubjectNotFound, ProviderUnavailable, ProviderTimeout
        (each with the receipt of its entry), InvalidRequest, AuditUnavailable, IntegrityError.
        """
        started = self._clock.loop_time()
        deadline = started + request.timeout
        claim = Claim(request.caller, request.request_id, self._content(request), request.retry_of)
        facts = await self._read(request, ())
        if known := facts.claims.get(request.request_id):
            same_content(claim, known)
            if known.settled:
                return await replay(self._log, request, known)
            claim = replace(claim, effect=known.effect)
        _check_known(request, await self._reference.at_least(facts.reference_policy))
        _check_retry(request, claim, facts)
        answer: Answer | None = None
        asked_under = ""
        for _ in range(TRIES):
            case = await self._decide(request, facts, _learnt(request, answer))
            if answer is None and case.decision.outcome is Outcome.PERMIT:
                asked_under = case.agreement
                claim, answer = await self._ask(case, claim, started, deadline)
                if learnt := _learnt(request, answer):
                    case = await self._decide(request, await self._read(request, learnt), learnt)
            answer = _still_agreed(case, answer, asked_under)
            said, failure = self._conclude(case, answer)
            if said.refused is NO_ANSWER:
                await self._clock.until(_bucket(started, self._clock.loop_time()))
            binding = claim if failure is None or isinstance(failure, Denied | SubjectNotFound) else None
            entry = draft(str(uuid.uuid4()), case, said, answer, binding)
            committed = await self._commit(entry)
            if isinstance(committed, Appended):
                self._settle(case, claim, said)
                return _reply(case, said, failure, committed.receipt)
            facts = await self._read(request, _learnt(request, answer))
            if committed.why == "claimed":
                known = facts.claims[request.request_id]
                same_content(claim, known)
                return await replay(self._log, request, known)
        raise Unsettled("what this decision reads keeps changing; ask again")

    async def _read(self, request: Request, learnt: tuple[SubjectRef, ...]) -> Facts:
        asked = (request.subject,) if request.subject else ()
        ids = (request.request_id, request.retry_of) if request.retry_of else (request.request_id,)
        return await self._facts.read(Asked(asked + learnt, request.caller, ids))

    async def _decide(self, request: Request, facts: Facts, learnt: tuple[SubjectRef, ...]) -> Case:
        reference = await self._reference.at_least(facts.reference_policy)
        now = self._clock.now()
        if reference.identify(request.requester, request.system, request.key_digest, now) is None:
            raise RevokedCertificate("this system is suspended or out of its dates; ask the operator")
        said = facts.directives.get(request.subject, ()) if request.subject else ()
        linked = [d for s in learnt for d in facts.directives.get(s, ())]
        decision = decide(request, reference, said, now, linked)
        keys: frozenset[str | bytes] = frozenset(
            {*decision.reads, *(subject_key(s.scheme, s.value) for s in learnt)}
        )
        reads = Reads(facts.policy, keys, decision.valid_until)
        return Case(request, decision, facts.policy, now, reads, learnt)

    async def _ask(self, case: Case, claim: Claim, started: float, deadline: float) -> tuple[Claim, Answer]:
        """The provider's answer; first the intent, where viewing has effects there."""
        request, decision = case.request, case.decision
        record_type = self._releases.known(request.record_type)
        if record_type.viewing_has_effects and not claim.effect:
            entry_id = str(uuid.uuid4())
            claim = replace(claim, effect=entry_id)
            await self._log.append(intent(entry_id, case, replace(claim, settled=False)))
        question = Question(
            request,
            record_type.digest,
            decision.agreement,
            decision.agreement_version,
            decision.permitted,
            claim.effect,
        )
        until = deadline - MARGIN
        if decision.ncnd:
            until = min(until, started + NCND_BUCKET - MARGIN)
        return claim, await self._providers.ask(question, max(until, self._clock.loop_time()))

    def _conclude(self, case: Case, answer: Answer | None) -> tuple[Said, BrokerError | None]:
        """What the requester is told, and as which failure; None where a record is released."""
        decision = case.decision
        outcome = decided(decision)
        if decision.refused is not None:
            failure: BrokerError = Denied(decision.refused)
            said = Said("refusal", outcome, refused=decision.refused)
        elif isinstance(answer, Found):
            try:
                return Said("disclosure", outcome, release=self._releases.release(answer, decision)), None
            except IntegrityError as e:
                failure, said = ProviderUnavailable(str(e)), Said("provider-failure", outcome)
        elif isinstance(answer, NotFound):
            failure = SubjectNotFound("the provider holds no such record")
            said = Said("not-found", outcome)
        elif isinstance(answer, ManyMatch):
            refused = _ambiguous(answer)
            failure, said = Ambiguous(refused), Said("refusal", outcome, refused=refused)
        elif isinstance(answer, ProviderFailed):
            failure, said = answer.error, Said("provider-failure", outcome)
        else:
            raise AssertionError("a permit without a question")
        if decision.ncnd and decision.about_person:
            return Said("refusal", Outcome.REFUSE.value, refused=NO_ANSWER), Denied(NO_ANSWER)
        return said, failure

    async def _commit(self, entry: Draft) -> Appended | NotAppended:
        """Append, seen through: once sent, a cancelled request still ends as the log says it ended."""
        append = asyncio.ensure_future(self._log.append(entry))
        try:
            return await asyncio.shield(append)
        except asyncio.CancelledError:
            return await append

    def _settle(self, case: Case, claim: Claim, said: Said) -> None:
        if claim.effect:
            self._providers.settle(case.request.provider, claim.effect, said.release is not None)


def _learnt(request: Request, answer: Answer | None) -> tuple[SubjectRef, ...]:
    """Identifiers the provider knows the subject by, other than the one asked with."""
    if not isinstance(answer, Found | NotFound):
        return ()
    return tuple(sorted(set(answer.identifiers) - {request.subject}))


def _check_known(request: Request, reference: Reference) -> None:
    """Codes and names that nobody has given a meaning are bad input, not a decision."""
    if request.record_type not in reference.record_types:
        raise InvalidRequest("record_type", "is not an approved record type")
    if request.provider not in reference.agencies:
        raise InvalidRequest("provider", "is not an agency that takes part")
    if request.purpose not in reference.law.purposes:
        raise InvalidRequest("purpose", f"unknown; one of {', '.join(sorted(reference.law.purposes))}")


def _check_retry(request: Request, claim: Claim, facts: Facts) -> None:
    """`retry_of` names a committed request of this system that asked the same."""
    if request.retry_of:
        earlier = facts.claims.get(request.retry_of)
        if earlier is None or not earlier.settled:
            raise InvalidRequest("retry_of", "names no request of this system that came to an end")
        if earlier.content != claim.content:
            raise InvalidRequest("retry_of", "names a request that asked something else")


def _still_agreed(case: Case, answer: Answer | None, asked_under: str) -> Answer | None:
    """The answer, unless another agreement than the one the adapter checked would now release it."""
    if answer is None or case.decision.refused is not None or case.agreement == asked_under:
        return answer
    why = "the agreement changed while the provider was asked"
    return ProviderFailed(ProviderUnavailable(f"{why}; ask again"), why)


def _ambiguous(answer: ManyMatch) -> Refused:
    ask_for = ", ".join(answer.ask_for) or "an identifier"
    return Refused(
        "ambiguous",
        "What was given fits more than one person.",
        f"Ask again with what tells them apart: {ask_for}.",
    )


def _bucket(started: float, now: float) -> float:
    """The next moment at which an answer under ncnd may leave."""
    return started + NCND_BUCKET * (int((now - started) / NCND_BUCKET) + 1)


def _reply(case: Case, said: Said, failure: BrokerError | None, receipt: Receipt) -> Disclosed:
    if failure is not None:
        failure.receipt = receipt
        raise failure
    if said.release is None:
        raise AssertionError("neither a record nor a failure")
    return Disclosed(case.request, case.decision, said.release.record, said.release.withheld, receipt)
