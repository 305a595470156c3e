"""A request id that is used again: the same answer, from the log, without the record.

Owns what a repeat gives back: the first entry, its index and opening, with a proof to the newest checkpoint.
The record is not kept, so to get it again the client asks under a new id with `retry_of`. Refused: an id, or a
`retry_of`, that stands for another request.
"""

from __future__ import annotations

from datetime import UTC, datetime

from broker.core.canonical import Json
from broker.core.model import Decision, Outcome, Refused, Request
from broker.core.views import RequesterView
from broker.drafts import NO_ANSWER
from broker.errors import (
    Ambiguous,
    AuditUnavailable,
    BrokerError,
    Denied,
    InvalidRequest,
    KeptElsewhere,
    Referred,
    SubjectNotFound,
)
from broker.ports import Claim, Claimed, Disclosed, Facts, Log

# What becomes of a repeat whose first entry is not here any more.
AGAIN = (
    "came to an end in an entry that cannot be given again; ask under a new id, with retry_of naming this one: "
)
_KINDS: dict[str, type[Denied]] = {"referred": Referred, "ambiguous": Ambiguous}


def same_content(claim: Claim, known: Claimed) -> None:
    """InvalidRequest where this id was used to ask something else."""
    if known.content != claim.content or known.retry_of != claim.retry_of:
        raise InvalidRequest("request_id", "was used before for another request; use a fresh UUID")


def check_retry(request: Request, claim: Claim, facts: Facts) -> None:
    """`retry_of` names a committed request of this system that asked the same."""
    if request.retry_of:
        earlier = facts.claims.get(request.retry_of)
        if earlier is None or not earlier.settled:
            raise InvalidRequest("retry_of", "names no request of this system that came to an end")
        if earlier.content != claim.content:
            raise InvalidRequest(
                "retry_of",
                "names a request that asked something else: all but the id must be as it was, the "
                "actor and the reason too",
            )


def effect_of(request: Request, facts: Facts) -> str:
    """The key of the effect that this viewing, or the one it is a retry of, has had already."""
    earlier = facts.claims.get(request.request_id) or facts.claims.get(request.retry_of)
    return earlier.effect if earlier else ""


async def replay(log: Log, request: Request, known: Claimed) -> Disclosed:
    """The committed end of this request: returned where it was a disclosure, raised where it was not."""
    try:
        receipt, full = await log.receipt(known.entry, "requester")
    except KeyError as e:
        raise AuditUnavailable("the entry of this request cannot be read at the moment") from e
    except KeptElsewhere as e:
        raise e.asked_as("request_id", AGAIN) from e
    if receipt.opening is None:
        decided = _decision(RequesterView("erased"), {})
        return Disclosed(request, decided, None, (), receipt, replayed=True, erased=True)
    view = RequesterView.parse(receipt.opening.view)
    failure: BrokerError | None = None
    if view.event == "not-found":
        failure = SubjectNotFound("the provider holds no such record")
    elif view.code is not None:
        failure = _KINDS.get(view.code, Denied)(_refused(view.code, full.get("refused")))
    if failure is not None:
        failure.receipt, failure.replayed = receipt, True
        raise failure
    return Disclosed(request, _decision(view, full), None, (), receipt, replayed=True)


def _refused(code: str, words: Json) -> Refused:
    """The refusal as it was worded; under ncnd the full view's own words are not for the requester."""
    if code == NO_ANSWER.code:
        return NO_ANSWER
    said = words if isinstance(words, dict) else {}
    return Refused(code, str(said.get("message", "")), str(said.get("remedy", "")))


def _decision(view: RequesterView, full: dict[str, Json]) -> Decision:
    agreement, _, version = (view.agreement or "").partition("/")
    return Decision(
        Outcome.PERMIT,
        rules=(),
        reads=frozenset(),
        decided_at=datetime.fromisoformat(str(full["now"]))
        if "now" in full
        else datetime.fromtimestamp(0, UTC),
        agreement=agreement,
        agreement_version=int(version or 0),
        controller=view.controller or "",
        regime=view.regime or "",
        basis=str(full.get("basis") or ""),
        condition=str(full.get("condition") or ""),
        gateway=str(full.get("gateway") or ""),
    )
