"""The kit an adapter author runs: does an answer function keep every promise the broker relies on?

First version: it calls the answer function through the same desk that serves asks, so what passes here passes
there. It needs one subject the source holds and one it does not; the source can be taken away on request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import cast

from google.protobuf import symbol_database
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from adapters.sdk.answer import Answer, AnswerFunction
from adapters.sdk.desk import Desk
from adapters.sdk.provides import Provides
from adapters.sdk.question import Question, SubjectRef
from broker.v1 import adapter_pb2

_NO_DIGEST = "0" * 64


@dataclass(frozen=True, slots=True)
class Case:
    """What to try. `known` and `unknown` are of one scheme that `provides` names; times are seconds."""

    provides: Provides
    known: SubjectRef
    unknown: SubjectRef
    digest: str = _NO_DIGEST
    within: float = 2.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise, whether it is kept, and if not why (no personal data)."""

    promise: str
    kept: bool
    why: str = ""


async def check(
    answer: AnswerFunction, case: Case, *, take_away: Callable[[], Awaitable[None]] | None = None
) -> list[Verdict]:
    """A verdict for each promise. `take_away` makes the source unreachable; it is called last, if given."""
    verdicts = [
        *await _known(answer, case),
        await _unknown(answer, case),
        await _other_type(answer, case),
        await _out_of_time(answer, case),
        await _cancelled(answer, case),
    ]
    if take_away is not None:
        await take_away()
        verdicts.append(await _source_gone(answer, case))
    return verdicts


def leaves(record_type: type[Message]) -> list[str]:
    """Dotted names of every leaf of a record type: what an agreement without reserve would permit."""

    def under(descriptor: Descriptor) -> Iterator[str]:
        for field in descriptor.fields:
            if field.message_type is None:
                yield field.name
            else:
                yield from (f"{field.name}.{leaf}" for leaf in under(field.message_type))

    return list(under(cast(Descriptor, record_type.DESCRIPTOR)))


def _record_class(record_type: str) -> type[Message]:
    cls: type[Message] = symbol_database.Default().GetSymbol(record_type)
    return cls


def _ask(case: Case, subject: SubjectRef, within: float | None = None) -> adapter_pb2.Ask:
    ask = adapter_pb2.Ask(
        ask_id=1,
        record_type=case.provides.record_type,
        digest=case.digest,
        subject=subject.wire(),
        purpose="emergency-response",
        requester="conformance",
        requester_system="kit",
        agreement="conformance",
        agreement_version=1,
        permitted_paths=leaves(_record_class(case.provides.record_type)),
    )
    ask.actor.id = "kit"
    ask.actor.role = "tester"
    ask.timeout.FromNanoseconds(int((within or case.within) * 1e9))
    return ask


def _desk(answer: AnswerFunction, case: Case) -> Desk:
    provided = adapter_pb2.Provided(
        record_type=case.provides.record_type,
        digest=case.digest,
        subject_schemes=case.provides.subject_schemes,
        matches_queries=case.provides.matches_queries,
    )
    return Desk(answer, [provided], at_once=4)


def _unnamed(message: Message, path: str) -> Iterator[str]:
    """Enums with a number that the type gives no name, by path. The broker lets one pass: it may be of a newer
    version than a reader's. An adapter sets what its own copy names."""
    for field, value in message.ListFields():
        inner = f"{path}{field.name}"
        for item in value if field.is_repeated else [value]:
            if field.message_type is not None:
                yield from _unnamed(item, f"{inner}.")
            elif field.enum_type is not None and item not in field.enum_type.values_by_number:
                yield inner


async def _known(answer: AnswerFunction, case: Case) -> list[Verdict]:
    """Type, identifiers, unknown fields and states are the desk's checks; this looks at the rest."""
    reply = await _desk(answer, case).handle(_ask(case, case.known))
    if reply.WhichOneof("result") != "found":
        why = reply.failed.why or f"answered {reply.WhichOneof('result')}"
        return [Verdict("a known subject is found, with a sound record", False, why)]
    found = reply.found
    asked = case.known.wire()
    record = _record_class(case.provides.record_type).FromString(found.record.value)
    unnamed = ", ".join(_unnamed(record, ""))
    why = f"no name in the record type has the number of {unnamed}" if unnamed else ""
    return [
        Verdict("a known subject is found, with a sound record", not unnamed, why),
        Verdict("the digest is the one asked for", found.digest == case.digest),
        Verdict("the asked identifier is among those learnt", asked in found.identifiers),
        Verdict("the record says for which time it is true", found.as_at.seconds > 0),
    ]


async def _unknown(answer: AnswerFunction, case: Case) -> Verdict:
    reply = await _desk(answer, case).handle(_ask(case, case.unknown))
    kind = reply.WhichOneof("result")
    return Verdict("an unknown subject is not found", kind == "not_found", reply.failed.why or str(kind))


async def _other_type(answer: AnswerFunction, case: Case) -> Verdict:
    ask = _ask(case, case.known)
    ask.record_type = "records.nobody.v1.Nothing"
    reply = await _desk(answer, case).handle(ask)
    return Verdict("a type not provided is refused", reply.WhichOneof("result") == "failed")


async def _out_of_time(answer: AnswerFunction, case: Case) -> Verdict:
    """With next to no time, whatever comes must come in that time and a little more."""
    within = 0.02
    started = time.monotonic()
    await _desk(answer, case).handle(_ask(case, case.known, within))
    took = time.monotonic() - started
    return Verdict("an answer comes inside the asker's time", took < within + 0.25, f"took {took:.3f} s")


async def _cancelled(answer: AnswerFunction, case: Case) -> Verdict:
    """Cancelled at once after it began, the work ends, and ends as cancelled."""
    work: list[asyncio.Task[Answer]] = []
    began = asyncio.Event()

    async def watched(question: Question) -> Answer:
        task = asyncio.ensure_future(answer(question))
        work.append(task)
        began.set()
        try:
            return await task
        except asyncio.CancelledError:
            task.cancel()
            raise

    handling = asyncio.create_task(_desk(watched, case).handle(_ask(case, case.known)))
    try:
        async with asyncio.timeout(1.0):
            await began.wait()
        # One turn of the loop, so that the work is at its first wait and not merely scheduled.
        await asyncio.sleep(0)
    except TimeoutError:
        pass
    handling.cancel()
    await asyncio.gather(handling, return_exceptions=True)
    if not work:
        return Verdict("cancelling stops the work", False, "the work never began")
    await asyncio.wait(work, timeout=0.5)
    ended = work[0].done()
    return Verdict("cancelling stops the work", ended, "" if ended else "it still runs after 0.5 s")


async def _source_gone(answer: AnswerFunction, case: Case) -> Verdict:
    promise = "without its source, it says so inside the asker's time"
    started = time.monotonic()
    reply = await _desk(answer, case).handle(_ask(case, case.known))
    took = time.monotonic() - started
    kind = reply.WhichOneof("result")
    return Verdict(promise, kind == "failed" and took < case.within + 0.25, f"{kind} after {took:.3f} s")
