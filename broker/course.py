"""How far one request has come, and the small judgements along its way.

Pure but for what it is given; `exchange.py` walks it.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from broker.case import Case, Said, decided
from broker.core.model import Outcome, Request, SubjectRef
from broker.core.receipt import Receipt
from broker.core.reference import Reference
from broker.core.steps.sides import needs_district
from broker.drafts import NO_ANSWER, ambiguous
from broker.errors import (
    Ambiguous,
    BrokerError,
    Denied,
    IntegrityError,
    InvalidRequest,
    NotWitnessed,
    ProviderUnavailable,
    Referred,
    SubjectNotFound,
)
from broker.held import Held
from broker.ports import (
    Answer,
    Claim,
    Disclosed,
    Found,
    ManyMatch,
    NotFound,
    ProviderFailed,
    Releases,
    Witnesses,
)
from broker.tracing import Span

# Under ncnd every answer but a record leaves at this many seconds after the request, or a multiple of it.
NCND_BUCKET = 1.0
# Its entry takes a while to write; what that took is rounded up to this, in seconds.
NCND_GRAIN = 0.05


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
    # Whom the question goes to: the provider first, then those who may answer in its stead.
    told: tuple[str, ...] = ()
    # What it was decided on that it was asked.
    asked_as: Case | None = None
    answer: Answer | None = None

    @property
    def held(self) -> Held | None:
        """The room of the provider's record, where there is one."""
        return self.answer.held if isinstance(self.answer, Found) else None

    def as_held(self, disclosed: Disclosed) -> Disclosed:
        """With the room that what is released of the record takes until it has been written."""
        if self.held is None or disclosed.record is None:
            return disclosed
        self.held.shrink(len(disclosed.record.value))
        return replace(disclosed, held=self.held)

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
    if request.provider and request.provider not in reference.agencies:
        raise InvalidRequest(
            "provider", "is not an agency that takes part; `broker agency list` shows which are"
        )
    authority = request.place.responsible_authority if request.place else ""
    if authority and authority not in reference.agencies:
        raise InvalidRequest(
            "place.responsible_authority",
            "is not an agency that takes part; `broker agency list` shows which are",
        )
    if request.purpose not in reference.law.purposes:
        raise InvalidRequest("purpose", f"unknown; one of {', '.join(sorted(reference.law.purposes))}")
    if needs_district(request, reference.law):
        raise InvalidRequest(
            "place.district",
            "is needed where no provider is named: the district's ONS code, such as E06000063. Coordinates or "
            "a UPRN alone cannot be turned into one here; or name the provider",
        )


def moved(case: Case, course: Course) -> bool:
    """Whether another agency than the one that was asked would be asked by now, or none."""
    return course.answer is not None and case.request.provider != course.told[0]


def naming_who_was_asked(case: Case, course: Course) -> Case:
    """The case as its entry is to tell it: whoever was asked stands in it, whoever would be asked by now."""
    if not moved(case, course):
        return case
    if case.decision.refused is None and course.asked_as is not None:
        return replace(course.asked_as, reads=case.reads)
    asked = course.told[0]
    decision = replace(case.decision, controller=asked)
    return replace(case, request=replace(case.request, provider=asked), decision=decision)


def still_agreed(case: Case, answer: Answer | None, course: Course) -> Answer | None:
    """The answer, unless another agreement than the one the adapter checked would now release it, another
    agency holds the record by now, or who answered no longer acts for the provider."""
    if answer is None or case.decision.refused is not None:
        return answer
    by = "" if isinstance(answer, ProviderFailed) else answer.by
    if moved(case, course):
        why = "another agency holds the record since the provider was asked"
    elif by and by not in case.decision.answered_by:
        why = "who answered no longer acts for the provider"
    elif case.agreement != course.asked_under:
        why = "the agreement changed while the provider was asked"
    else:
        return answer
    return ProviderFailed(ProviderUnavailable(f"{why}; ask again"), why)


def conclude(case: Case, answer: Answer | None, releases: Releases) -> tuple[Said, BrokerError | None]:
    """What the requester is told, and as which failure; None where a record is released."""
    decision = case.decision
    outcome = decided(decision)
    if decision.refused is not None:
        kind = Referred if decision.refused.code == "referred" else Denied
        failure: BrokerError = kind(decision.refused)
        said = Said("refusal", outcome, refused=decision.refused)
    elif isinstance(answer, Found):
        try:
            return Said("disclosure", outcome, release=releases.release(answer, decision)), None
        except IntegrityError as e:
            failure, said = ProviderUnavailable(str(e)), Said("provider-failure", outcome)
    elif isinstance(answer, NotFound):
        failure = SubjectNotFound("the provider holds no such record")
        said = Said("not-found", outcome)
    elif isinstance(answer, ManyMatch):
        refused = ambiguous(answer)
        failure, said = Ambiguous(refused), Said("refusal", outcome, refused=refused)
    elif isinstance(answer, ProviderFailed):
        failure, said = answer.error, Said("provider-failure", outcome)
    else:
        raise AssertionError("a permit without a question")
    if decision.ncnd and decision.about_person:
        return Said("refusal", Outcome.REFUSE.value, refused=NO_ANSWER), Denied(NO_ANSWER)
    return said, failure


def bucket(started: float, now: float) -> float:
    """The next moment at which an answer under ncnd may leave."""
    return started + NCND_BUCKET * (int((now - started) / NCND_BUCKET) + 1)


def grain(started: float, now: float) -> float:
    """The next moment at which one that has been written down may be told."""
    return started + NCND_GRAIN * (int((now - started) / NCND_GRAIN) + 1)


async def stage_two(
    receipt: Receipt, witnesses: Witnesses | None, until: float
) -> tuple[Receipt, BrokerError | None]:
    """The receipt of a release to a checkpoint that is witnessed by `until` (event-loop time), or why nothing
    may leave. The entry stands: the record is asked for again with `retry_of`.

    Only releases wait, so that refusals look as they always do.
    """
    late = NotWitnessed("the evidence was not witnessed in time, so nothing is released; ask again")
    try:
        witnessed = await witnesses.witnessed(receipt, until) if witnesses else None
    except BrokerError as e:
        late.__cause__ = e
        return receipt, late
    return (receipt, late) if witnessed is None else (witnessed, None)


def reply(case: Case, said: Said, failure: BrokerError | None, receipt: Receipt) -> Disclosed:
    """The answer with its evidence: returned where a record was released, raised where not."""
    if failure is not None:
        failure.receipt = receipt
        raise failure
    if said.release is None:
        raise AssertionError("neither a record nor a failure")
    return Disclosed(case.request, case.decision, said.release.record, said.release.withheld, receipt)
