"""How far one request has come, and the small judgements along its way.

Pure but for what it is given; `exchange.py` walks it.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.core.model import Request, SubjectRef
from broker.core.receipt import Receipt
from broker.core.reference import Reference
from broker.drafts import Case, Said
from broker.errors import (
    BrokerError,
    InvalidRequest,
    ProviderUnavailable,
)
from broker.ports import (
    Answer,
    Claim,
    Disclosed,
    Found,
    NotFound,
    ProviderFailed,
)
from broker.tracing import Span

# Under ncnd every answer but a record leaves at this many seconds after the request, or a multiple of it.
NCND_BUCKET = 1.0


@dataclass(slots=True)
class Course:
    """How far one request has come: what stands of it already, and what the provider said."""

    request: Request
    span: Span
    started: float
    claim: Claim
    intended: bool
    asked: bool
    asked_under: str = ""
    answer: Answer | None = None

    @property
    def learnt(self) -> tuple[SubjectRef, ...]:
        """Identifiers the provider knows the subject by, other than the one asked with."""
        return learnt_from(self.request, self.answer)


def learnt_from(request: Request, answer: Answer | None) -> tuple[SubjectRef, ...]:
    """Identifiers the provider knows the subject by, other than the one asked with."""
    if not isinstance(answer, Found | NotFound):
        return ()
    return tuple(sorted(set(answer.identifiers) - {request.subject}))


def check_known(request: Request, reference: Reference) -> None:
    """Codes and names that nobody has given a meaning are bad input, not a decision."""
    if request.record_type not in reference.record_types:
        raise InvalidRequest(
            "record_type", "is not an approved record type; `broker records list` shows what is"
        )
    if request.provider not in reference.agencies:
        raise InvalidRequest(
            "provider", "is not an agency that takes part; `broker agency list` shows which are"
        )
    if request.purpose not in reference.law.purposes:
        raise InvalidRequest("purpose", f"unknown; one of {', '.join(sorted(reference.law.purposes))}")


def still_agreed(case: Case, answer: Answer | None, asked_under: str) -> Answer | None:
    """The answer, unless another agreement than the one the adapter checked would now release it."""
    if answer is None or case.decision.refused is not None or case.agreement == asked_under:
        return answer
    why = "the agreement changed while the provider was asked"
    return ProviderFailed(ProviderUnavailable(f"{why}; ask again"), why)


def bucket(started: float, now: float) -> float:
    """The next moment at which an answer under ncnd may leave."""
    return started + NCND_BUCKET * (int((now - started) / NCND_BUCKET) + 1)


def reply(case: Case, said: Said, failure: BrokerError | None, receipt: Receipt) -> Disclosed:
    """The answer with its evidence: returned where a record was released, raised where not."""
    if failure is not None:
        failure.receipt = receipt
        raise failure
    if said.release is None:
        raise AssertionError("neither a record nor a failure")
    return Disclosed(case.request, case.decision, said.release.record, said.release.withheld, receipt)
