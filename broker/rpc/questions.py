"""Questions to an adapter, written as bytes.

Owns their wire form, which is that of `adapter_pb2.Ask`; a test holds it to that. What an actor asks of one
agency under one agreement differs from question to question by its subject, its time and its trace: all else
is written once.
"""

from __future__ import annotations

from broker.core.model import Actor
from broker.ports import Question
from broker.rpc import wire
from broker.rpc.written import varint
from broker.v1 import adapter_pb2

_ASK = b"\x12"  # field 2 of AttachReply
_MOST = 1024

# By which actor and which fields (their identity: both are made once), and by what else is the same for many.
# The two are kept beside what was written: as long as they are, no other object has their address.
_Key = tuple[int, int, str, str, str, str, str, str, int, str, str]
_known: dict[_Key, tuple[Actor, tuple[str, ...], bytes]] = {}


def ask(ask_id: int, question: Question, remaining: float) -> bytes:
    """A question on one link, as a field of an AttachReply. `remaining` is in seconds, as this is written."""
    request, parts = question.request, [b"\x08", varint(ask_id), _same(question)]
    if (subject := request.subject) is not None:
        scheme, value = subject.scheme.encode(), subject.value.encode()
        inner = b"".join((b"\x0a", varint(len(scheme)), scheme, b"\x12", varint(len(value)), value))
        parts += (b"\x22", varint(len(inner)), inner)
    micros = max(0, int(remaining * 1_000_000))
    seconds, nanos = varint(micros // 1_000_000), varint(micros % 1_000_000 * 1000)
    parts += (b"\x6a", varint(2 + len(seconds) + len(nanos)), b"\x08", seconds, b"\x10", nanos)
    if request.traceparent:
        trace = request.traceparent.encode()
        parts += (b"\x72", varint(len(trace)), trace)
    seldom = request.query or request.place or request.incident or question.effect_key or request.reason.code
    if seldom or question.override or question.signed:
        parts.append(_seldom(question))
    data = b"".join(parts)
    return b"".join((_ASK, varint(len(data)), data))


def _same(question: Question) -> bytes:
    request = question.request
    key = (
        id(request.actor),
        id(question.permitted),
        request.record_type,
        question.digest,
        request.purpose,
        request.requester,
        request.system,
        question.agreement,
        question.agreement_version,
        request.provider,
        request.processor,
    )
    known = _known.get(key)
    if known is not None:
        return known[2]
    made = adapter_pb2.Ask(
        record_type=request.record_type,
        digest=question.digest,
        purpose=request.purpose,
        requester=request.requester,
        requester_system=request.system,
        actor=wire.actor(request.actor),
        agreement=question.agreement,
        agreement_version=question.agreement_version,
        permitted_paths=question.permitted,
        provider=request.provider,
        processor=request.processor,
    ).SerializeToString()
    if len(_known) >= _MOST:
        _known.clear()
    _known[key] = (request.actor, question.permitted, made)
    return made


def _seldom(question: Question) -> bytes:
    request = question.request
    return adapter_pb2.Ask(
        query=wire.query(request.query) if request.query else None,
        incident=request.incident,
        place=wire.place(request.place) if request.place else None,
        effect_key=question.effect_key,
        reason_code=request.reason.code,
        override=question.override,
        grant=wire.grant(question.signed) if question.signed else None,
    ).SerializeToString()
