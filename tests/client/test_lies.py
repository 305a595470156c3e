"""Every lie a broker can tell in an answer raises IntegrityError, over the stream and over single calls."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import grpc
import pytest
from google.rpc import status_pb2

from broker.core.checkpoint import Checkpoint, Signer, sign_checkpoint
from broker.core.record import Record
from broker.errors import Ambiguous, BrokerError, Denied, IntegrityError, Referred, SubjectNotFound
from broker.v1 import exchange_pb2 as wire
from tests.client.conftest import ASK, FakeBroker, Setup, rich

Lie = Callable[[FakeBroker, wire.Outcome, bytes], bytes | None]


def _flip(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def _other(broker: FakeBroker, **said: object) -> wire.Receipt:
    """The honest receipt of somebody else's committed request."""
    fields = {"request_id": str(uuid.uuid4()), "record_type": ASK["record_type"], "provider": "cfrs"}
    return broker.receipt(broker.commit(wire.RecordRequest(**fields), **said))


def _record_byte(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    outcome.disclosure.record.value = _flip(outcome.disclosure.record.value)


def _type_url(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    outcome.disclosure.record.type_url = "example.com/records.fire.v1.PremisesRisk"


def _no_record(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    outcome.disclosure.ClearField("record")


def _salt(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    outcome.disclosure.receipt.opening = _flip(outcome.disclosure.receipt.opening, 0)


def _view(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    opening = outcome.disclosure.receipt.opening
    outcome.disclosure.receipt.opening = opening.replace(b'"uk-gdpr"', b'"uk-gdpz"')


def _no_opening(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    outcome.disclosure.receipt.opening = b""


def _no_receipt(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    outcome.disclosure.ClearField("receipt")


def _another_entry(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    outcome.disclosure.receipt.entry = _flip(outcome.disclosure.receipt.entry, 10)


def _another_index(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    receipt = outcome.disclosure.receipt
    del receipt.proof[:]
    receipt.proof.extend(broker.log.tree.path(2, 0, broker.log.size))


def _shifted_index(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    outcome.disclosure.receipt.index -= 1


def _another_request(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> bytes:
    """The same record was released to somebody else, and that is what the receipt is of."""
    mine = broker.claims[outcome.request_id].sealed.requester
    assert mine is not None
    response = mine.view.partition(b'"response":"')[2][:64].decode()
    outcome.disclosure.receipt.CopyFrom(_other(broker, response=response))
    return broker.log.note()


def _old_checkpoint(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> bytes:
    return broker.log.note(outcome.disclosure.receipt.index)


def _old_proof(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> bytes:
    broker.log.grow(1)
    return broker.log.note()


def _stranger_signs(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> bytes:
    stranger = Signer.from_seed(broker.log.signer.name, bytes(32))
    size = broker.log.size
    return sign_checkpoint(Checkpoint(stranger.name, size, broker.log.tree.root(size)), stranger)


def _no_checkpoint(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    outcome.disclosure.receipt.checkpoint = b"\n"


def _request_id_inside(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    outcome.disclosure.request_id = str(uuid.uuid4())


def _controller(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    outcome.disclosure.decision.controller = "nwas"


def _agreement(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    outcome.disclosure.decision.agreement_version = 3


def _replay_with_record(broker: FakeBroker, outcome: wire.Outcome, note: bytes) -> None:
    outcome.disclosure.replayed = True


# Each lie, and what it is refused for: a lie must not be caught by accident.
LIES: list[tuple[Lie, str]] = [
    (_record_byte, "record: it is not the one"),
    (_type_url, "record: it is not the one"),
    (_no_record, "without a record"),
    (_salt, "opening: it does not open"),
    (_view, "opening: it does not open"),
    (_no_opening, "record: without an opening"),
    (_no_receipt, "without a receipt"),
    (_another_entry, "inclusion:"),
    (_another_index, "inclusion:"),
    (_shifted_index, "inclusion:"),
    (_another_request, "speaks of another request"),
    (_old_checkpoint, "is not in a tree of"),
    (_old_proof, "inclusion:"),
    (_stranger_signs, "not signed by a known key"),
    (_no_checkpoint, "note:"),
    (_request_id_inside, "of another request"),
    (_controller, "decision is not the one"),
    (_agreement, "decision is not the one"),
    (_replay_with_record, "a replay with a record"),
]
WAYS = pytest.mark.parametrize("unary", [False, True], ids=["stream", "unary"])


@WAYS
@pytest.mark.parametrize(("lie", "problem"), LIES, ids=[lie.__name__.strip("_") for lie, _ in LIES])
async def test_a_disclosure_that_its_evidence_does_not_bear_out_is_refused(
    setup: Setup, lie: Lie, problem: str, unary: bool
) -> None:
    """Whatever byte of answer or evidence is untrue, the caller gets IntegrityError; an honest one passes."""
    async with setup.client(unary=unary) as client:
        assert (await client.request(**ASK)).record_any.value
        setup.broker.bend = lambda outcome, note: lie(setup.broker, outcome, note)
        with pytest.raises(IntegrityError, match=problem):
            await client.request(**ASK)
    assert len(setup.broker.received) == (0 if unary else 1), "what did not verify is not acknowledged"


@WAYS
@pytest.mark.parametrize(
    "said",
    [
        {"request_id": "3f0e8f5e-6f0a-4a53-9d37-0b8b2f7c1a11"},
        {"record_type": "records.nhs.v1.PatientSummary"},
        {"provider": "nwas"},
        {"event": "refusal"},
        {"outcome": "refuse"},
        {"code": "purpose"},
        {"response": None},
        {"response": "0" * 64},
    ],
    ids=lambda said: "-".join(said),
)
async def test_an_entry_that_speaks_of_something_else_is_no_evidence(
    setup: Setup, said: dict[str, str | None], unary: bool
) -> None:
    """A receipt that verifies but whose view speaks of another request, type, holder or end is refused."""

    def answer(request: wire.RecordRequest) -> wire.Outcome:
        outcome = setup.broker.disclose(request)
        view = setup.broker.claims[request.request_id].sealed.requester
        assert view is not None
        response = view.view.partition(b'"response":"')[2][:64].decode()
        setup.broker.commit(request, **{"response": response, **said})
        return outcome

    setup.broker.answer = answer
    async with setup.client(unary=unary) as client:
        with pytest.raises(IntegrityError, match=r"speaks of|answer:|record:"):
            await client.request(**ASK)


def _refusal_without_receipt(broker: FakeBroker, request: wire.RecordRequest) -> wire.Outcome:
    outcome = broker.refuse(request)
    outcome.refusal.ClearField("receipt")
    return outcome


def _refusal_for_another_reason(broker: FakeBroker, request: wire.RecordRequest) -> wire.Outcome:
    outcome = broker.refuse(request)
    outcome.refusal.code = "person"
    return outcome


def _refusal_that_was_a_disclosure(broker: FakeBroker, request: wire.RecordRequest) -> wire.Outcome:
    outcome = broker.refuse(request)
    broker.commit(request, response="0" * 64)
    return outcome


def _referral_that_was_a_refusal(broker: FakeBroker, request: wire.RecordRequest) -> wire.Outcome:
    return broker.refuse(request, "referred", outcome="refuse")


def _refusal_of_another_request(broker: FakeBroker, request: wire.RecordRequest) -> wire.Outcome:
    return broker.refuse(request, request_id=str(uuid.uuid4()))


def _not_found_without_receipt(broker: FakeBroker, request: wire.RecordRequest) -> wire.Outcome:
    return wire.Outcome(request_id=request.request_id, error=rich(grpc.StatusCode.NOT_FOUND, "SubjectNotFound"))


def _not_found_that_was_a_refusal(broker: FakeBroker, request: wire.RecordRequest) -> wire.Outcome:
    broker.refuse(request)
    receipt = broker.receipt(broker.claims[request.request_id])
    receipt.checkpoint = broker.log.note()
    return wire.Outcome(
        request_id=request.request_id, error=rich(grpc.StatusCode.NOT_FOUND, "SubjectNotFound", receipt)
    )


def _failure_that_was_a_disclosure(broker: FakeBroker, request: wire.RecordRequest) -> wire.Outcome:
    broker.disclose(request)
    receipt = broker.receipt(broker.claims[request.request_id])
    receipt.checkpoint = broker.log.note()
    status = rich(grpc.StatusCode.UNAVAILABLE, "ProviderUnavailable", receipt)
    return wire.Outcome(request_id=request.request_id, error=status)


def _not_found_of_another_request(broker: FakeBroker, request: wire.RecordRequest) -> wire.Outcome:
    receipt = _other(broker, event="not-found")
    receipt.checkpoint = broker.log.note()
    return wire.Outcome(
        request_id=request.request_id, error=rich(grpc.StatusCode.NOT_FOUND, "SubjectNotFound", receipt)
    )


def _replay_of_another_request(broker: FakeBroker, request: wire.RecordRequest) -> wire.Outcome:
    broker.commit(request, request_id=str(uuid.uuid4()), response="0" * 64)
    return broker.disclose(request)


def _replay_of_a_refusal(broker: FakeBroker, request: wire.RecordRequest) -> wire.Outcome:
    broker.refuse(request)
    return broker.disclose(request)


def _record_of_another_type(broker: FakeBroker, request: wire.RecordRequest) -> wire.Outcome:
    outcome = broker.disclose(request)
    record = Record("type.googleapis.com/records.nhs.v1.PatientSummary", outcome.disclosure.record.value)
    broker.commit(request, response=record.digest())
    outcome.disclosure.record.type_url = record.type_url
    return outcome


@WAYS
@pytest.mark.parametrize(
    ("lie", "problem"),
    [
        (_refusal_without_receipt, "a refusal without a receipt"),
        (_refusal_for_another_reason, "speaks of another refusal"),
        (_refusal_that_was_a_disclosure, "the entry commits to one"),
        (_referral_that_was_a_refusal, "speaks of another outcome"),
        (_refusal_of_another_request, "speaks of another request"),
        (_not_found_without_receipt, "a 'not found' without a receipt"),
        (_not_found_that_was_a_refusal, "speaks of another end"),
        (_not_found_of_another_request, "speaks of another request"),
        (_failure_that_was_a_disclosure, "the entry commits to one"),
        (_replay_of_another_request, "speaks of another request"),
        (_replay_of_a_refusal, "speaks of no disclosure"),
        (_record_of_another_type, "the record is of another type"),
    ],
    ids=lambda given: "" if isinstance(given, str) else given.__name__.strip("_"),
)
async def test_an_end_that_its_evidence_does_not_bear_out_is_refused(
    setup: Setup, lie: Callable[[FakeBroker, wire.RecordRequest], wire.Outcome], problem: str, unary: bool
) -> None:
    """A refusal, an absence, a repeat or a record of another kind is believed no more readily than a yes."""
    setup.broker.answer = lambda request: lie(setup.broker, request)
    async with setup.client(unary=unary) as client:
        with pytest.raises(IntegrityError, match=problem):
            await client.request(**ASK)


@WAYS
async def test_a_repeated_refusal_stands_even_where_its_opening_was_erased(setup: Setup, unary: bool) -> None:
    """A replay may come without opening and its place in the log is proven; a first answer may not."""
    bare = True

    def bend(outcome: wire.Outcome, note: bytes) -> None:
        outcome.refusal.receipt.opening = b""
        outcome.refusal.replayed = bare

    setup.broker.answer, setup.broker.bend = setup.broker.refuse, bend
    async with setup.client(unary=unary) as client:
        with pytest.raises(Denied) as caught:
            await client.request(**ASK)
        assert caught.value.replayed
        assert caught.value.receipt is not None
        assert caught.value.receipt.opening is None
        bare = False
        with pytest.raises(IntegrityError, match="without its opening"):
            await client.request(**ASK)


@WAYS
async def test_an_honest_refusal_carries_its_verified_receipt(setup: Setup, unary: bool) -> None:
    """Denied, Referred, Ambiguous and SubjectNotFound each carry the receipt of what was committed."""

    def absent(request: wire.RecordRequest) -> wire.Outcome:
        setup.broker.commit(request, event="not-found")
        receipt = setup.broker.receipt(setup.broker.claims[request.request_id])
        receipt.checkpoint = setup.broker.log.note()
        status = rich(grpc.StatusCode.NOT_FOUND, "SubjectNotFound", receipt)
        return wire.Outcome(request_id=request.request_id, error=status)

    answers: list[tuple[Callable[[wire.RecordRequest], wire.Outcome], type[BrokerError]]] = [
        (setup.broker.refuse, Denied),
        (lambda request: setup.broker.refuse(request, "referred", outcome="refer"), Referred),
        (lambda request: setup.broker.refuse(request, "ambiguous", outcome="permit"), Ambiguous),
        (absent, SubjectNotFound),
    ]
    async with setup.client(unary=unary) as client:
        for answer, kind in answers:
            setup.broker.answer = answer
            with pytest.raises(kind) as caught:
                await client.request(**ASK)
            assert type(caught.value) is kind
            assert caught.value.receipt is not None
            assert caught.value.receipt.entry == setup.broker.log.tree.entries[-1]


def _unasked(reply: wire.ExchangeReply) -> None:
    extra = reply.outcomes.add()
    extra.CopyFrom(reply.outcomes[0])
    extra.request_id = extra.disclosure.request_id = str(uuid.uuid4())


def _somebody_elses(reply: wire.ExchangeReply) -> None:
    reply.outcomes[0].request_id = str(uuid.uuid4())


def _twice(reply: wire.ExchangeReply) -> None:
    reply.outcomes.add().CopyFrom(reply.outcomes[0])


def _no_result(reply: wire.ExchangeReply) -> None:
    reply.outcomes[0].ClearField("disclosure")


def _no_note(reply: wire.ExchangeReply) -> None:
    reply.ClearField("checkpoint")


def _torn_note(reply: wire.ExchangeReply) -> None:
    reply.checkpoint = reply.checkpoint[:-2]


@pytest.mark.parametrize(
    "lie",
    [_unasked, _somebody_elses, _twice, _no_result, _no_note, _torn_note],
    ids=lambda lie: lie.__name__.strip("_"),
)
async def test_a_reply_that_mixes_up_requests_ends_the_stream_and_everything_on_it(
    setup: Setup, lie: Callable[[wire.ExchangeReply], None]
) -> None:
    """Outcomes nobody asked for, or asked for once and told _twice, raise; the next stream works again."""
    setup.broker.bend_reply = lie
    async with setup.client() as client:
        with pytest.raises(IntegrityError):
            await client.request(**ASK)
        setup.broker.bend_reply = None
        assert (await client.request(**ASK)).record_any.value


async def test_a_checkpoint_that_no_answer_needs_is_verified_all_the_same(setup: Setup) -> None:
    """A reply of nothing but errors with a note that does not open is not believed."""
    status = rich(grpc.StatusCode.UNAVAILABLE, "ProviderUnavailable")
    setup.broker.answer = lambda request: wire.Outcome(request_id=request.request_id, error=status)
    setup.broker.bend_reply = _torn_note
    async with setup.client() as client:
        with pytest.raises(IntegrityError, match="note"):
            await client.request(**ASK)


async def test_a_second_outcome_in_a_later_reply_ends_the_stream(setup: Setup) -> None:
    """An outcome repeated for a request already answered fails what is in flight beside it."""
    first: list[wire.Outcome] = []

    def repeat(reply: wire.ExchangeReply) -> None:
        if first:
            reply.outcomes.append(first[0])
        first.append(reply.outcomes[0])

    setup.broker.bend_reply = repeat
    async with setup.client() as client:
        await client.request(**ASK)
        with pytest.raises(IntegrityError, match="not in flight"):
            await client.request(**ASK)


async def test_one_lie_in_a_reply_does_not_taint_the_others(setup: Setup) -> None:
    """Of many answers in one reply only the one that does not verify is refused."""
    bad = str(uuid.uuid4())

    def bend(outcome: wire.Outcome, note: bytes) -> None:
        if outcome.request_id == bad:
            _record_byte(setup.broker, outcome, note)

    setup.broker.bend = bend
    async with setup.client() as client:
        asks = [client.request(**ASK, request_id=bad), *(client.request(**ASK) for _ in range(20))]
        answers = await asyncio.gather(*asks, return_exceptions=True)
    assert isinstance(answers[0], IntegrityError)
    assert not any(isinstance(answer, BaseException) for answer in answers[1:])
    assert bad not in setup.broker.received


async def test_a_status_of_no_sense_releases_nothing(setup: Setup) -> None:
    """A refusal among the details of another status still needs its receipt."""
    status = rich(grpc.StatusCode.OK, "Denied", wire.Refusal(code="person", message="no"))
    setup.broker.answer = lambda request: wire.Outcome(request_id=request.request_id, error=status)
    async with setup.client() as client:
        with pytest.raises(IntegrityError):
            await client.request(**ASK)
        setup.broker.answer = lambda request: wire.Outcome(
            request_id=request.request_id, error=status_pb2.Status(code=99)
        )
        with pytest.raises(BrokerError):
            await client.request(**ASK)
