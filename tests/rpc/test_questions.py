"""Questions written as bytes are the messages that the generated code would have written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.core.model import Actor, Assurance, Place, Reason, Request, Signed, SubjectRef, Traits
from broker.ports import Question
from broker.rpc import questions, wire
from broker.v1 import adapter_pb2, exchange_pb2

_texts = st.text(max_size=200)
_actors = st.builds(Actor, _texts, _texts, _texts, _texts, assurance=st.sampled_from(Assurance))
_requests = st.builds(
    Request,
    request_id=st.just("5ea93b68-98c7-4b15-85cf-0cdb2efda675"),
    requester=_texts,
    system=_texts,
    key_digest=_texts,
    record_type=_texts,
    provider=_texts,
    subject=st.none() | st.builds(SubjectRef, _texts, _texts),
    query=st.none() | st.builds(Traits, family_name=_texts, approximate_age=st.integers(0, 120)),
    purpose=_texts,
    actor=_actors,
    reason=st.builds(Reason, _texts),
    incident=_texts,
    place=st.none() | st.builds(Place, _texts, st.floats(49, 61), st.floats(-9, 2)),
    traceparent=_texts,
    processor=_texts,
)
_questions = st.builds(
    Question,
    _requests,
    _texts,
    _texts,
    st.integers(0, 1000),
    st.lists(_texts).map(tuple),
    _texts,
    override=_texts,
    signed=st.none() | st.builds(Signed, st.binary(max_size=40), _texts, st.binary(max_size=64)),
)


def _message(ask_id: int, question: Question, micros: int) -> adapter_pb2.Ask:
    request = question.request
    return adapter_pb2.Ask(
        ask_id=ask_id,
        record_type=request.record_type,
        digest=question.digest,
        subject=_subject(request.subject),
        query=wire.query(request.query) if request.query else None,
        purpose=request.purpose,
        requester=request.requester,
        requester_system=request.system,
        actor=wire.actor(request.actor),
        agreement=question.agreement,
        agreement_version=question.agreement_version,
        permitted_paths=question.permitted,
        timeout=wire.duration(micros / 1_000_000),
        traceparent=request.traceparent,
        incident=request.incident,
        place=wire.place(request.place) if request.place else None,
        effect_key=question.effect_key,
        reason_code=request.reason.code,
        provider=request.provider,
        processor=request.processor,
        override=question.override,
        grant=wire.grant(question.signed) if question.signed else None,
    )


def _subject(ref: SubjectRef | None) -> exchange_pb2.SubjectRef | None:
    return None if ref is None else wire.subject(ref)


@given(st.lists(st.tuples(_questions, st.integers(1, 2**40), st.integers(0, 30_000_000)), max_size=4))
def test_questions_read_as_they_were_made(asked: list[tuple[Question, int, int]]) -> None:
    """Questions written one after the other are read as one message of the same asks; again the same."""
    for _ in range(2):
        data = b"".join(questions.ask(n, question, micros / 1_000_000) for question, n, micros in asked)
        read = adapter_pb2.AttachReply.FromString(data)
        assert list(read.asks) == [_message(n, question, micros) for question, n, micros in asked]


def test_only_what_is_the_same_is_shared() -> None:
    """Two actors who ask under one agreement are each named in their own question."""
    permitted = ("uprn",)

    def asked(actor: str) -> Question:
        request = Request(
            "", "nwas", "cad", "", "a.B", "cfrs", SubjectRef("uprn", "1"), None, "care", Actor(actor, "crew")
        )
        return Question(request, "0", "agreement", 1, permitted)

    data = b"".join(questions.ask(n, asked(name), 1.0) for n, name in enumerate(("one", "other", "one"), 1))
    read = adapter_pb2.AttachReply.FromString(data)
    assert [ask.actor.id for ask in read.asks] == ["one", "other", "one"]
