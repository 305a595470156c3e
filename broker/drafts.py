"""What is written down of one request: the three views of its entry.

Pure. Owns which words go into which view: the requester's never holds identifiers that were matched, finer
rules than the refusal's code, or anyone's words; under ncnd it is the same whatever happened.
"""

from __future__ import annotations

from msgspec.structs import replace

from broker.case import Case, Said
from broker.core.model import Outcome, Refused, Request
from broker.halves import halves_of
from broker.ports import Answer, Claim, Draft, ManyMatch, Shown

NO_ANSWER = Refused(
    "no-answer",
    "There is no answer to this request.",
    "That says nothing about whether a record exists. If life is at risk, telephone the provider.",
)


def ambiguous(answer: ManyMatch) -> Refused:
    """What to ask next; candidates are never listed."""
    ask_for = ", ".join(answer.ask_for) or "an identifier"
    return Refused(
        "ambiguous",
        "What was given fits more than one person.",
        f"Ask again with what tells them apart: {ask_for}.",
    )


def draft(entry_id: str, case: Case, said: Said, answer: Answer | None, claim: Claim | None) -> Draft:
    """The entry of a request's end. `answer` is the provider's, None where it was not asked."""
    request, decision = case.request, case.decision
    halves = halves_of(case, said, answer)
    # Of what is referred to them too: it is theirs to decide.
    provider_told = answer is not None or said.release is not None or decision.outcome is Outcome.REFER
    return Draft(
        id=entry_id,
        at=case.now,
        requester=Shown.IN_FULL,
        provider=Shown.IN_FULL if provider_told else None,
        full=halves.full,
        requester_agency=request.requester,
        provider_agency=request.provider if provider_told else "",
        words="\n".join(w for w in (request.reason.words, _override_words(request)) if w),
        # A refusal stands whatever has changed since; everything else is given back if an input has moved.
        # Under ncnd that goes for every way to say nothing: being decided again would take longer, and show.
        reads=None if decision.outcome is Outcome.REFUSE or said.refused is NO_ANSWER else case.reads,
        claim=claim,
        urgent=request.urgent,
        retention=decision.retention,
        halves=halves,
    )


def _override_words(request: Request) -> str:
    return request.override.words if request.override else ""


def intent(entry_id: str, case: Case, claim: Claim) -> Draft:
    """The entry before a viewing that has effects at the provider.

    Under ncnd there is one whatever was decided, and it is the same and stands whatever moves.
    """
    made = draft(entry_id, case, Said("intent", ""), None, claim)
    return replace(made, reads=None) if case.decision.ncnd else made
