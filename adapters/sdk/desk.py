"""Turns one ask into one wire answer, inside the asker's time, whatever the answer function does.

Owns the deadline, the bound on work at once, and the checks of what is asked and of what comes back. It refuses
a malformed ask and an unsound record: both become `Failed`, so the fault of one ask stays its own. Where the
agency's own copies of its agreements are at hand it refuses a question that none of them names (`NotAgreed`,
nothing is looked up), and a record leaves trimmed to the fields asked for. `why` and log lines carry field
names, error classes and places in the code, never an exception's text, which may quote a person.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from adapters.sdk import question as questions
from adapters.sdk import soundness
from adapters.sdk.agreed import trim
from adapters.sdk.answer import Answer, AnswerFunction, Found, ManyMatch, NotFound
from adapters.sdk.copies import Copies
from adapters.sdk.question import Question, SubjectRef
from adapters.sdk.stead import Shelf
from broker.core.stamp import numbers
from broker.errors import BrokerError, InvalidRequest, NotAgreed, ProviderTimeout, UnsoundAnswer, frames_of
from broker.tracing import OFF, Tracing
from broker.v1 import adapter_pb2

log = logging.getLogger("adapters.sdk")

_MOST_IDENTIFIERS = 64
# How an answer reads in a span.
_OUTCOMES: dict[type, str] = {Found: "permit", NotFound: "not-found", ManyMatch: "ambiguous"}


class Desk:
    """Answers asks for the types provided, at most `at_once` of them running at any time.

    Without `copies` the provider's own check is off.
    """

    def __init__(
        self,
        answer: AnswerFunction,
        provided: Iterable[adapter_pb2.Provided],
        at_once: int,
        copies: Copies | Shelf | None = None,
        tracing: Tracing = OFF,
    ) -> None:
        self._answer = answer
        self._copies = copies
        self._tracing = tracing
        self._provided = {(p.record_type, p.digest): p for p in provided}
        self._running = asyncio.Semaphore(at_once)
        # Work whose asker has gone but which has not ended yet keeps its place until it does.
        self._work: set[asyncio.Task[Answer]] = set()

    def provide(self, provided: Iterable[adapter_pb2.Provided]) -> None:
        """Take over the digests learnt at a newer attachment; older ones are still answered."""
        self._provided.update({(p.record_type, p.digest): p for p in provided})

    async def handle(self, ask: adapter_pb2.Ask, arrived: float | None = None) -> adapter_pb2.Answer:
        """The answer to `ask`, always before its time is over. Cancelling this cancels the work."""
        try:
            question = self._read(ask, time.monotonic() if arrived is None else arrived)
            answer = await self._traced(question)
            return _wire(ask.ask_id, question, answer, trimmed=self._copies is not None)
        except NotAgreed as e:
            log.warning("%s for %r, not answered: %s", ask.record_type, ask.requester[:63], e)
            return adapter_pb2.Answer(ask_id=ask.ask_id, not_agreed=adapter_pb2.NotAgreed(why=f"{e}"[:500]))
        except ProviderTimeout:
            log.warning("%s: no answer inside the asker's time", ask.record_type)
            return _failed(ask.ask_id, "no answer inside the asker's time", timed_out=True)
        except InvalidRequest as e:
            log.warning("refused an ask for %r: %s", ask.record_type[:200], e)
            return _failed(ask.ask_id, f"malformed ask: {e}")
        except BrokerError as e:
            # Our own errors carry public text by contract (broker/errors.py).
            log.warning("%s: %s: %s", ask.record_type, type(e).__name__, e)
            return _failed(ask.ask_id, f"{type(e).__name__}: {e}"[:500])
        except Exception as e:  # noqa: BLE001 - a defect in one answer must not end the link for all others
            where = frames_of(e)[-1]
            log.warning("%s: the adapter failed with %s at %s", ask.record_type, type(e).__name__, where)
            return _failed(ask.ask_id, f"the adapter failed with {type(e).__name__} at {where}")

    def _read(self, ask: adapter_pb2.Ask, arrived: float) -> Question:
        provided = self._provided.get((ask.record_type, ask.digest))
        if provided is None:
            known = any(name == ask.record_type for name, _ in self._provided)
            raise InvalidRequest("digest" if known else "record_type", "is not one this adapter provides")
        return questions.read(ask, provided.subject_schemes, provided.matches_queries, arrived)

    async def _traced(self, question: Question) -> Answer:
        """The answer, in a span below the broker's; the answer function may pass its traceparent on."""
        with self._tracing.span("adapter.answer", question.traceparent) as span:
            if self._copies is not None:
                agreed = await self._copies.current(question.remaining())
                agreed.check(question, datetime.now(UTC))
            span.set(agency=question.requester, record_type=question.record_type, purpose=question.purpose)
            if span.traceparent != question.traceparent:
                question = replace(question, traceparent=span.traceparent)
            answer = await self._within_time(question)
            span.set(outcome=_OUTCOMES.get(type(answer), "error"))
            return answer

    async def _within_time(self, question: Question) -> Answer:
        loop = asyncio.get_running_loop()
        work = loop.create_task(self._work_on(question))
        self._work.add(work)
        # Not asyncio.timeout: work that ignores its cancellation must not keep the asker waiting.
        over: asyncio.Future[None] = loop.create_future()

        def ended(_: object) -> None:
            self._ended(work)
            _settle(over)

        work.add_done_callback(ended)
        late = loop.call_later(question.remaining(), _settle, over)
        try:
            await over
        finally:
            late.cancel()
            if not work.done():
                work.cancel()
        if not work.done():
            raise ProviderTimeout("the answer took longer than the asker waits")
        return work.result()

    async def _work_on(self, question: Question) -> Answer:
        async with self._running:
            return await self._answer(question)

    def _ended(self, work: asyncio.Task[Answer]) -> None:
        self._work.discard(work)
        if not work.cancelled():
            work.exception()  # read, or asyncio would log it with its text


def _settle(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


def _wire(ask_id: int, question: Question, answer: Answer, *, trimmed: bool) -> adapter_pb2.Answer:
    """`answer` as a message. Raises UnsoundAnswer when it must not be sent."""
    match answer:
        case Found():
            return _found(ask_id, question, answer, trimmed=trimmed)
        case NotFound():
            identifiers = [i.wire() for i in answer.identifiers[:_MOST_IDENTIFIERS]]
            return adapter_pb2.Answer(ask_id=ask_id, not_found=adapter_pb2.NotFound(identifiers=identifiers))
        case ManyMatch():
            if question.traits is None:
                raise UnsoundAnswer("many matches, but an identifier was asked")
            return adapter_pb2.Answer(ask_id=ask_id, many_match=adapter_pb2.ManyMatch(ask_for=answer.ask_for))
    raise UnsoundAnswer(f"a {type(answer).__name__} is no answer")


def _found(ask_id: int, question: Question, answer: Found, *, trimmed: bool) -> adapter_pb2.Answer:
    faults = soundness.faults(answer.record, question.record_type, question.permitted_paths)
    faults += _identifier_faults(question.subject, answer.identifiers)
    if answer.as_at.tzinfo is None:
        faults.append("as_at: has no time zone")
    if faults:
        raise UnsoundAnswer("; ".join(faults[:5]))
    value = trim(answer.record, question.permitted_paths) if trimmed else answer.record.SerializeToString()
    message = adapter_pb2.Answer(ask_id=ask_id)
    found = message.found
    found.record.type_url, found.record.value = f"type.googleapis.com/{question.record_type}", value
    found.digest = question.digest
    for each in answer.identifiers:
        found.identifiers.add(scheme=each.scheme, value=each.value)
    if answer.traits_agreed:
        found.traits_agreed.extend(answer.traits_agreed)
    found.as_at.seconds, found.as_at.nanos = numbers(answer.as_at)
    return message


def _identifier_faults(asked: SubjectRef | None, known: tuple[SubjectRef, ...]) -> list[str]:
    if not known:
        return ["identifiers: none given"]
    if len(known) > _MOST_IDENTIFIERS:
        return [f"identifiers: more than {_MOST_IDENTIFIERS}"]
    if any(not i.scheme or not i.value for i in known):
        return ["identifiers: one is empty"]
    if asked is not None and asked not in known:
        return ["identifiers: the one asked for is not among them"]
    return []


def _failed(ask_id: int, why: str, *, timed_out: bool = False) -> adapter_pb2.Answer:
    return adapter_pb2.Answer(ask_id=ask_id, failed=adapter_pb2.Failed(why=why, timed_out=timed_out))
