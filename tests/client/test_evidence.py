"""No byte of an answer can be changed unseen, and no answer, however odd, raises another error."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError

from broker.client import evidence
from broker.client.asking import Asked
from broker.client.disclosure import Disclosure
from broker.core.checkpoint import Checkpoint, Signer, open_checkpoint
from broker.core.record import Record
from broker.errors import IntegrityError
from broker.v1 import exchange_pb2 as wire
from tests.client.conftest import ASK, RECORD_TYPE, FakeBroker, LogOfOne

REQUEST_ID = "3f0e8f5e-6f0a-4a53-9d37-0b8b2f7c1a11"
ASKED = Asked(REQUEST_ID, RECORD_TYPE, "cfrs")


def _honest(signer: Signer) -> tuple[wire.Disclosure, bytes]:
    broker = FakeBroker(LogOfOne(signer))
    broker.log.grow(9)
    request = wire.RecordRequest(request_id=REQUEST_ID, record_type=RECORD_TYPE, provider=ASK["provider"])
    outcome = broker.disclose(request)
    broker.log.grow(4)
    broker.finish(outcome)
    said = outcome.disclosure
    said.decision.obligations.add(code="review-by").due.seconds = 1_800_000_000
    said.decision.decided_at.seconds = 1_790_000_000
    return said, broker.log.note()


def test_every_changed_bit_of_an_answer_is_seen_or_is_not_evidence(signer: Signer) -> None:
    """Record, receipt and what the entry commits to never come through changed; nothing else ever raises."""
    said, note = _honest(signer)

    def open_note(data: bytes) -> Checkpoint:
        return open_checkpoint(data, (signer.verifier,))

    good = evidence.disclosed(ASKED, said, note, open_note)
    assert isinstance(good, Disclosure)
    data = said.SerializeToString()
    refused = 0
    for at in range(len(data)):
        for bit in (1, 4, 128):
            changed = bytearray(data)
            changed[at] ^= bit
            try:
                answer = evidence.disclosed(ASKED, wire.Disclosure.FromString(bytes(changed)), note, open_note)
            except (IntegrityError, DecodeError):
                refused += 1
                continue
            assert isinstance(answer, Disclosure)
            assert (answer.record_any, answer.record) == (good.record_any, good.record)
            assert answer.receipt == good.receipt
            told, right = answer.decision, good.decision
            assert (told.outcome, told.agreement, told.controller) == (
                right.outcome,
                right.agreement,
                right.controller,
            )
    assert refused > 2 * len(data)


@pytest.mark.parametrize("seconds", [1 << 62, -(1 << 62)])
def test_a_time_that_is_none_is_refused(signer: Signer, seconds: int) -> None:
    """A timestamp past what any calendar holds raises IntegrityError, not an error of arithmetic."""
    said, note = _honest(signer)
    said.decision.decided_at.seconds = seconds
    with pytest.raises(IntegrityError, match="a time that is none"):
        evidence.disclosed(ASKED, said, note, lambda data: open_checkpoint(data, (signer.verifier,)))


def test_the_usual_view_is_known_beforehand(signer: Signer) -> None:
    """The bytes of an honest disclosure's view are those expected, so that one comparison settles it."""
    said, _ = _honest(signer)
    record = Record(said.record.type_url, said.record.value)
    assert said.receipt.opening[32:] == evidence._view(ASKED, said.decision, record.digest())
    traced = Asked(REQUEST_ID, RECORD_TYPE, "cfrs", "0af7651916cd43dd8448eb211c80319c")
    assert said.receipt.opening[32:] != evidence._view(traced, said.decision, record.digest())
