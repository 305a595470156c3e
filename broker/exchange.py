"""THE use case: one request, from the moment it is parsed to the moment its answer may leave.

What is promised is kept here, in this order: decide; only if permitted ask the provider; decide again on
every identifier the provider knows the person by; make the released record anew; commit the evidence; only
then answer. An append gives back what has been overtaken by a change, and it is decided again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from msgspec.structs import replace

from broker.case import Case
from broker.core.decision import as_decided, decide, subject_key
from broker.core.granting import override_keys
from broker.core.model import Outcome, Request, SubjectRef
from broker.course import (
    NCND_BUCKET,
    Course,
    bucket,
    check_known,
    conclude,
    grain,
    naming_who_was_asked,
    reply,
    stage_two,
    still_agreed,
)
from broker.drafts import NO_ANSWER, draft, intent
from broker.errors import BrokerError, Denied, SubjectNotFound, Unsettled
from broker.handed import handed, told_it_waits
from broker.ids import entry_id
from broker.ports import (
    Appended,
    Asked,
    Claim,
    Clock,
    Disclosed,
    Draft,
    Facts,
    FactsSource,
    Log,
    NotAppended,
    Providers,
    Question,
    Reads,
    ReferenceSource,
    Releases,
    Witnesses,
)
from broker.replay import check_retry, effect_of, replay, same_content
from broker.tracing import OFF, Span, Tracing

TRIES = 3
# What is kept back of the caller's time for the append and the way home.
MARGIN = 0.25


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
        tracing: Tracing = OFF,
        witnesses: Witnesses | None = None,
    ) -> None:
        self._log = log
        self._facts = facts
        self._reference = reference
        self._providers = providers
        self._releases = releases
        self._clock = clock
        self._content = content
        self._tracing = tracing
        self._witnesses = witnesses

    async def answer(self, request: Request) -> Disclosed:
        """The disclosure, its evidence durable.

        Raises Denied (a refusal, with its receipt), SubjectNotFound, ProviderUnavailable, ProviderTimeout
        (each with the receipt of its entry, as NotWitnessed has), InvalidRequest, AuditUnavailable,
        IntegrityError.
        """
        with self._tracing.span(
            "broker.exchange", request.traceparent, agency=request.requester, system=request.system
        ) as span:
            try:
                disclosed = await self._answer(request, span)
            except BrokerError as e:
                # It may wait long to be read, and its frames hold the provider's record.
                raise e.with_traceback(None)  # noqa: B904 - the same
            span.set(outcome="replayed" if disclosed.replayed else "permit")
            return disclosed

    async def _answer(self, request: Request, span: Span) -> Disclosed:
        started = self._clock.loop_time()
        claim = Claim(request.caller, request.request_id, self._content(request), request.retry_of)
        facts = await self._read(request, ())
        known = facts.claims.get(request.request_id)
        if known is not None:
            same_content(claim, known)
            if known.settled:
                return await replay(self._log, request, known)
        check_known(request, await self._reference.at_least(facts.reference_policy))
        # Not before: until here they may be any words of the caller's.
        span.set(record_type=request.record_type, purpose=request.purpose)
        check_retry(request, claim, facts)
        claim = replace(claim, effect=effect_of(request, facts))
        under_way = known is not None
        course = Course(request, span, started, claim, under_way, under_way, told=(request.provider,))
        released = False
        try:
            for _ in range(TRIES):
                end = await self._try(course, facts)
                if isinstance(end, Disclosed):
                    released = True
                    return course.as_held(end)
                facts = await self._read(request, course.learnt)
                known = facts.claims.get(request.request_id) if end.why == "claimed" else None
                if known is not None:
                    same_content(claim, known)
                    if known.settled:
                        return await replay(self._log, request, known)
                    # The same request is under way elsewhere, its intent appended: one viewing, one effect.
                    course.claim, course.intended = replace(claim, effect=known.effect), True
        except asyncio.CancelledError:
            self._settle(course, released=False)
            raise
        finally:
            if not released and course.held is not None:
                course.held.release()
        self._settle(course, released=False)
        raise Unsettled("what this decision reads keeps changing; ask again")

    async def _try(self, course: Course, facts: Facts) -> Disclosed | NotAppended:
        """Once from decision to evidence. NotAppended where something has moved meanwhile.

        Raises what `answer` raises; by then its entry is durable, but for AuditUnavailable.
        """
        request = course.request
        with course.span.child("broker.decide"):
            case = await self._decide(request, facts, course.learnt)
        course.span.set(agreement=case.agreement)
        if course.answer is None:
            course.told = (case.request.provider, *case.decision.answered_by)
            if self._needs_intent(course, case):
                intended = await self._intend(course, case)
                if isinstance(intended, NotAppended):
                    return intended
            if case.decision.outcome is Outcome.PERMIT:
                await self._ask(course, case)
                if learnt := course.learnt:
                    with course.span.child("broker.decide"):
                        case = await self._decide(request, await self._read(request, learnt), learnt)
        answer = still_agreed(case, course.answer, course)
        case = naming_who_was_asked(case, course)
        said, failure = conclude(case, answer, self._releases)
        if said.refused is NO_ANSWER:
            await self._clock.until(bucket(course.started, self._clock.loop_time()))
        binding = course.claim if failure is None or isinstance(failure, Denied | SubjectNotFound) else None
        entry = draft(entry_id(), case, said, answer, binding)
        if said.refused is NO_ANSWER and course.asked_as is not None:
            # Decided again on what was learnt, later than where nobody was asked: the entry must not tell.
            entry = replace(entry, at=course.asked_as.now)
        committed = await self._commit(course, replace(entry, queued=handed(case, answer)))
        if isinstance(committed, NotAppended):
            return committed
        if said.refused is NO_ANSWER:
            # What it took to write down must not show either.
            with suppress(asyncio.CancelledError):
                await self._clock.until(grain(course.started, self._clock.loop_time()))
        receipt = committed.receipt
        if failure is None and case.decision.witnessed:
            until = course.started + request.timeout - min(MARGIN, request.timeout / 4)
            receipt, failure = await stage_two(receipt, self._witnesses, until)
        self._settle(course, released=failure is None)
        return reply(case, said, failure, receipt)

    async def _read(self, request: Request, learnt: tuple[SubjectRef, ...]) -> Facts:
        asked = (request.subject,) if request.subject else ()
        ids = (request.request_id, request.retry_of) if request.retry_of else (request.request_id,)
        restrictions = tuple(override_keys(request)) if request.override else ()
        return await self._facts.read(
            Asked(asked + learnt, request.caller, ids, request.urgent, request.retry_of, restrictions)
        )

    async def _decide(self, request: Request, facts: Facts, learnt: tuple[SubjectRef, ...]) -> Case:
        reference = await self._reference.at_least(facts.reference_policy)
        now = self._clock.now()
        said = facts.directives.get(request.subject, ()) if request.subject else ()
        linked = [d for s in learnt for d in facts.directives.get(s, ())]
        decision = decide(request, reference, said, now, linked, facts.grant, facts.restricted)
        decision = told_it_waits(decision, facts.referral, request.provider)
        asked, request = request, as_decided(request, decision)
        keys: frozenset[str | bytes] = frozenset(decision.reads)
        if decision.about_person:
            keys |= {subject_key(s.scheme, s.value) for s in learnt}
        reads = Reads(facts.policy, keys, decision.valid_until)
        heard = tuple(d.id for d in (*said, *linked))
        law = reference.law.digest
        return Case(
            request,
            decision,
            facts.policy,
            now,
            reads,
            learnt,
            reference.policy,
            law,
            heard,
            facts.grant,
            asked.provider,
            facts.restricted,
            facts.referral,
        )

    def _needs_intent(self, course: Course, case: Case) -> bool:
        """Whether an intent comes first: viewing has effects there. Under ncnd also where nobody is asked, or
        the number of entries would tell."""
        decision = case.decision
        asks = decision.outcome is Outcome.PERMIT or (decision.ncnd and decision.about_person)
        known = self._releases.known(course.request.record_type)
        return asks and known.viewing_has_effects and not course.intended

    async def _intend(self, course: Course, case: Case) -> Appended | NotAppended:
        """The intent, durable before the provider hears of the request. The first id of a chain of retries is
        the key under which the provider lets a viewing have its effect once."""
        intended = entry_id()
        claim = replace(course.claim, effect=course.claim.effect or intended)
        committed = await self._commit(course, intent(intended, case, replace(claim, settled=False)))
        if isinstance(committed, Appended):
            course.claim, course.intended = claim, True
        return committed

    async def _ask(self, course: Course, case: Case) -> None:
        """Put the question to the provider, for as long as the caller's time allows."""
        request, decision = case.request, case.decision
        until = course.started + request.timeout - min(MARGIN, request.timeout / 4)
        if decision.ncnd:
            until = min(until, course.started + NCND_BUCKET - MARGIN)
        course.asked, course.asked_under, course.asked_as = True, case.agreement, case
        with course.span.child("broker.ask") as span:
            question = self._question(course, case, span.traceparent)
            course.answer = await self._providers.ask(question, max(until, self._clock.loop_time()))

    def _question(self, course: Course, case: Case, traceparent: str) -> Question:
        request, decision = case.request, case.decision
        if traceparent != request.traceparent:
            request = replace(request, traceparent=traceparent)
        return Question(
            request,
            self._releases.known(request.record_type).digest,
            decision.agreement,
            decision.agreement_version,
            decision.permitted,
            course.claim.effect,
            decision.answered_by,
            decision.override,
            decision.signed,
        )

    async def _commit(self, course: Course, entry: Draft) -> Appended | NotAppended:
        """Append, seen through: once sent, a cancelled request still ends as the log says it ended.

        Bounded by the log's own limits. Cancelled however often, and not in the log: CancelledError.
        """
        append = asyncio.ensure_future(self._log.append(entry))
        cancelled = False
        with course.span.child("broker.append") as span:
            while not append.done():
                try:
                    await asyncio.shield(append)
                except asyncio.CancelledError:
                    cancelled = True
                except Exception:  # noqa: BLE001, S110 - its result, below, raises it
                    pass
            committed = append.result()
            if isinstance(committed, Appended):
                span.set(batch=committed.batch)
        if cancelled and isinstance(committed, NotAppended):
            raise asyncio.CancelledError
        return committed

    def _settle(self, course: Course, *, released: bool) -> None:
        """Tell a provider that may have been asked what became of a viewing with effects."""
        if course.claim.effect and course.asked:
            for agency in course.told:
                self._providers.settle(agency, course.claim.effect, released)
