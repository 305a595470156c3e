"""What may be asked of the log, and by whom: the same for a search and an export."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from broker.administration import subject_detail
from broker.core import vocabulary
from broker.core.canonical import Json
from broker.core.model import Caller, Function, Reason
from broker.core.searchterms import CALLS_REFUSED, KINDS, Question
from broker.errors import InvalidRequest, NotAllowed


def check(caller: Caller, question: Question, reason: Reason) -> None:
    """Who may look, for what, and why. Raises InvalidRequest, NotAllowed."""
    if caller.function is Function.OPERATOR and ("event", CALLS_REFUSED) not in question.facts:
        raise NotAllowed(
            "operators run the broker and do not read what it carried; auditors and parties do. What was "
            f"refused at the door operators find with event={CALLS_REFUSED}"
        )
    if not reason.code:
        raise InvalidRequest("reason.code", "say why the log is searched")
    for n, (kind, value) in enumerate(question.facts):
        if kind not in KINDS:
            raise InvalidRequest(f"facts.{n}.kind", f"one of {', '.join(KINDS)}")
        if kind == "rule" and caller.function is Function.PARTNER:
            raise InvalidRequest(f"facts.{n}.kind", "rule is for auditors: no party's view says which it was")
        if not value:
            raise InvalidRequest(f"facts.{n}.value", "is required")
        vocabulary.check(kind, value, f"facts.{n}.value")
    if sum(kind == "incident" for kind, _ in question.facts) > 1:
        raise InvalidRequest(
            "facts", "name one incident: the numbers that are said to be the same are searched too"
        )
    if question.since and question.until and question.until <= question.since:
        raise InvalidRequest("until", "is not after since")


def check_agreements(question: Question, known: Collection[str]) -> None:
    """Whether an entry can have the agreement that is asked for: an id that there is or was, and perhaps a
    version. Raises InvalidRequest."""
    for n, (kind, value) in enumerate(question.facts):
        of, _, version = value.partition("/")
        if kind == "agreement" and not (of in known and (of == value or version.isdecimal())):
            near = ", ".join(get_close_matches(of, known, 5, 0.5))
            instead = f"did you mean {near}?" if near else "`broker agreement list` has them"
            raise InvalidRequest(f"facts.{n}.value", f"is no agreement that an entry can have; {instead}")


def question_detail(question: Question) -> dict[str, Json]:
    """A question as it stands in the full view of the entry of a look."""
    return {
        "facts": [f"{kind} {value}" for kind, value in question.facts],
        "subject": subject_detail(question.person) if question.person else None,
        "since": question.since.isoformat() if question.since else None,
        "until": question.until.isoformat() if question.until else None,
    }
