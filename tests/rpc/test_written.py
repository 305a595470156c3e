"""Answers written as bytes are the messages that the generated code would have written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from broker.core.entry import Opening
from broker.core.model import Actor, Decision, Obligation, Outcome, Refused, Request, SubjectRef
from broker.core.receipt import Receipt
from broker.core.record import Record
from broker.core.redaction import Withheld
from broker.errors import Denied
from broker.ports import Disclosed
from broker.rpc import written
from broker.v1 import exchange_pb2

_texts = st.text(max_size=40)
_bytes = st.binary(max_size=300)
_openings = st.none() | st.builds(
    Opening, st.binary(min_size=32, max_size=32), st.binary(min_size=1, max_size=20_000)
)
_receipts = st.builds(
    Receipt,
    _bytes,
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=40).map(tuple),
    st.sampled_from((b"", b"one note", b"another" * 40)),
    _openings,
)
_times = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001
_decisions = st.builds(
    lambda at, text, version, obligations: Decision(
        outcome=Outcome.PERMIT,
        agreement=text,
        agreement_version=version,
        controller=text,
        regime=text,
        basis=text,
        condition=text,
        gateway=text,
        obligations=tuple(Obligation("review-by", o, at if len(o) % 2 else None) for o in obligations),
        decided_at=at,
        reads=frozenset(),
        permitted=(),
        rules=(),
    ),
    _times,
    _texts,
    st.integers(0, 2**31),
    st.lists(_texts, max_size=3),
)
_urls = st.text(min_size=1, max_size=200).filter(lambda text: "\0" not in text)
_records = st.none() | st.builds(Record, _urls, _bytes)
_withheld = st.lists(st.builds(Withheld, _texts, _texts), max_size=30).map(tuple)
_REQUEST = Request(
    "5ea93b68-98c7-4b15-85cf-0cdb2efda675",
    "nwas",
    "cad",
    "",
    "records.fire.v1.PremisesRisk",
    "cfrs",
    SubjectRef("uprn", "100"),
    None,
    "emergency-response",
    Actor("nwas-1", "ambulance-crew"),
)
_disclosed = st.builds(Disclosed, st.just(_REQUEST), _decisions, _records, _withheld, _receipts, st.booleans())


def _message(of: Disclosed) -> exchange_pb2.Disclosure:
    decision = exchange_pb2.Decision(
        **{
            name: getattr(of.decision, name)
            for name in (
                *("agreement", "agreement_version", "controller", "regime", "basis"),
                *("condition", "gateway"),
            )
        },
        outcome=of.decision.outcome.value,
    )
    for each in of.decision.obligations:
        owed = decision.obligations.add(code=each.code, detail=each.detail)
        if each.due is not None:
            owed.due.FromDatetime(each.due)
    decision.decided_at.FromDatetime(of.decision.decided_at)
    message = exchange_pb2.Disclosure(
        request_id=of.request.request_id,
        withheld=[exchange_pb2.Withheld(path=w.path, rule=w.rule) for w in of.withheld],
        decision=decision,
        receipt=_receipt(of.receipt),
        replayed=of.replayed,
    )
    if of.record is not None:
        message.record.type_url, message.record.value = of.record.type_url, of.record.value
    return message


def _receipt(of: Receipt) -> exchange_pb2.Receipt:
    return exchange_pb2.Receipt(
        entry=of.entry,
        index=of.index,
        proof=of.proof,
        checkpoint=of.checkpoint,
        opening=of.opening.to_bytes() if of.opening else b"",
    )


@given(_disclosed)
def test_a_disclosure_reads_as_it_was_made(of: Disclosed) -> None:
    """A disclosure written as bytes is read as the message of the same fields."""
    assert exchange_pb2.Disclosure.FromString(written.disclosure(of)) == _message(of)


@given(st.lists(_disclosed, max_size=6), st.none() | _receipts)
def test_a_reply_reads_as_it_was_made(of: list[Disclosed], refused: Receipt | None) -> None:
    """Whichever receipts share the checkpoint, each has it in the end; all else reads as it was made."""
    denied = Denied(Refused("person", "No.", "Ask them."))
    denied.receipt = refused
    status = status_pb2.Status(code=5, message="nothing there")
    outcomes = [written.disclosed(str(n), each) for n, each in enumerate(of)]
    outcomes += [written.denied("no", denied), written.failed("", status)]
    reply = exchange_pb2.ExchangeReply.FromString(written.reply(outcomes))
    assert [each.request_id for each in reply.outcomes] == [*map(str, range(len(of))), "no", ""]
    for outcome, each in zip(reply.outcomes, of, strict=False):
        wanted = _message(each)
        if not outcome.disclosure.receipt.checkpoint and each.receipt.checkpoint:
            outcome.disclosure.receipt.checkpoint = reply.checkpoint
        assert outcome.disclosure == wanted
    refusal = reply.outcomes[-2].refusal
    assert refusal.code == "person"
    assert refusal.HasField("receipt") == (refused is not None)
    if refused is not None:
        if refused.checkpoint and not refusal.receipt.checkpoint:
            refusal.receipt.checkpoint = reply.checkpoint
        assert refusal.receipt == _receipt(refused)
    assert reply.outcomes[-1].error == status


def test_the_commonest_checkpoint_stands_once() -> None:
    """A checkpoint that most receipts share is sent once for all of them, and only then without them."""
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=3)
    decision = Decision(outcome=Outcome.PERMIT, decided_at=at, reads=frozenset(), permitted=(), rules=())
    several = [
        Disclosed(_REQUEST, decision, None, (), Receipt(b"entry", 1, (), note, None))
        for note in (b"many", b"many", b"few")
    ]
    sent = written.reply([written.disclosed(str(n), each) for n, each in enumerate(several)])
    reply = exchange_pb2.ExchangeReply.FromString(sent)
    assert reply.checkpoint == b"many"
    assert [o.disclosure.receipt.checkpoint for o in reply.outcomes] == [b"", b"", b"few"]
    assert all(o.size >= len(b"".join(o.written(b""))) for o in map(written.disclosed, "012", several))


def test_of_what_was_erased_nothing_is_claimed() -> None:
    """A repeat whose entry has been erased has the outcome `erased`, and no decision beside it."""
    decision = Decision(
        outcome=Outcome.PERMIT, decided_at=datetime(2026, 1, 1, tzinfo=UTC), reads=frozenset(), rules=()
    )
    receipt = Receipt(b"entry", 1, (), b"note", None)
    of = Disclosed(_REQUEST, decision, None, (), receipt, replayed=True, erased=True)
    said = exchange_pb2.Disclosure.FromString(written.disclosure(of))
    assert said.replayed
    assert said.decision == exchange_pb2.Decision(outcome="erased")
    assert not said.receipt.opening
