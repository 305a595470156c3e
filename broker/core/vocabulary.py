"""The closed words of the log: kinds of entry, outcomes, codes of refusals; and the form of what has one.

A search for a word that no entry can have finds nothing, and reads as if nothing had happened: it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches

from broker.core.late import NOT_EVIDENCE
from broker.core.model import Outcome
from broker.core.steps import STEPS
from broker.core.subject import SCHEMES
from broker.errors import InvalidRequest

# docs/audit.md says what each is for.
EVENTS = frozenset(
    {
        "access-answer-viewed",
        "access-answered",
        "access-cleared",
        "access-listed",
        "access-previewed",
        "access-started",
        "access-viewed",
        "acting-ended",
        "acting-entered",
        "agency-added",
        "agency-changed",
        "agency-key-ended",
        "agency-key-enrolled",
        "agency-key-proposed",
        "agency-left",
        "agency-succeeded",
        "agency-succession-corrected",
        "agency-succession-proposed",
        "agency-succession-taken-back",
        "agreement-applied",
        "agreement-planned",
        "agreement-suspended",
        "agreement-suspension-lifted",
        "breaches-viewed",
        "calls-refused",
        "complaint-acknowledged",
        "complaint-closed",
        "complaint-received",
        "complaints-viewed",
        "directive-recorded",
        "directive-withdrawn",
        "directives-viewed",
        "disclosure",
        "entry-viewed",
        "erasure",
        "erasure-planned",
        "erasure-refused",
        "erasure-tried",
        "erasure-viewed",
        "erasure-withdrawn",
        "erasures-viewed",
        "escalated",
        "explained",
        "figures-published",
        "hold-placed",
        "hold-released",
        "holds-viewed",
        "incident-alias",
        "intent",
        "key-revoked",
        "log-exported",
        "log-replayed",
        "log-rotated",
        "log-searched",
        "not-found",
        "override-restricted",
        "override-restriction-lifted",
        "override-reviewed",
        "overrides-viewed",
        "partition-dropped",
        "provider-failure",
        "received",
        "record-type-approved",
        "recorded-late",
        "referral-asked",
        "referral-decided",
        "referral-tried",
        "referral-viewed",
        "referrals-viewed",
        "refusal",
        "report-made",
        "retention",
        "routes-applied",
        "scrubbed",
        "suspension-lifted",
        "system-attached",
        "system-enrolled",
        "system-proposed",
        "system-suspended",
        "undelivered",
    }
)
# Somebody looked at the log, or at what is kept beside it, by whatever way.
LOOKS = frozenset(
    each for each in EVENTS if each.endswith(("-viewed", "-listed", "-previewed", "-searched", "-exported"))
) | {"access-started", "agreement-planned", "explained", "log-replayed", "report-made"}
# Those, and tries of a decision, that no erasure takes, by whatever they are found (DPA 2018 s.62(2), UK GDPR
# Art. 17(3)(b), (e)): who looked ends with its month alone. A request for access is the person's own: it goes.
LOOKS_KEPT = LOOKS - {"access-started"} | {"referral-tried"}
# What was done to the evidence, who looked at it, what was found of it, and what was done to what decisions
# read: erased for its own sake, it would hide what else was.
KEPT = LOOKS_KEPT | frozenset(
    each
    for each in EVENTS
    if each.startswith(("erasure", "access-", "agency-", "system-", "agreement-", "acting-", "figures-"))
    or each
    in {
        *("retention", "scrubbed", "log-rotated", "partition-dropped", "calls-refused", "escalated"),
        *("override-reviewed", "hold-placed", "hold-released"),
        *("key-revoked", "suspension-lifted", "routes-applied", "record-type-approved"),
    }
)
# What a named human comes to who decides on a request, and who reviews an override; and of what nobody has
# decided, reviewed or acknowledged in time.
GRANTED, REFUSED = "granted", "refused"
VERDICTS = ("justified", "not-justified", "wrong-person")
OVERDUE = "overdue"
# Of a decision, of a named human's, of what waited too long, and of what was shared while the broker was down.
OUTCOMES = frozenset({*Outcome, GRANTED, REFUSED, *VERDICTS, OVERDUE, NOT_EVIDENCE})
# That the requester asks for a human's decision, and no step did.
REFERRAL_ASKED = "referral.asked"
RULES = frozenset({*(step.rule for step in STEPS), REFERRAL_ASKED})
CODES = frozenset(
    {
        *(
            "party",
            "role",
            "assurance",
            "purpose",
            "agreement",
            "regime",
            "basis",
            "gateway",
            "confidentiality",
        ),
        *("context", "person", "referred", "ambiguous", "no-answer"),
    }
)
_LISTED = 20  # words that a refusal lists; of more only those that are near
_CLOSED = {"event": EVENTS, "outcome": OUTCOMES, "code": CODES, "rule": RULES}
_FORMS: dict[str, tuple[Callable[[str], object], str]] = {
    "system": (re.compile(r"[a-z0-9-]+/[a-z0-9-]+", re.ASCII).fullmatch, "agency/system"),
    "incident": (SCHEMES["incident"][1], "agency/date/number"),
    "trace": (re.compile(r"[0-9a-f]{32}", re.ASCII).fullmatch, "32 hex digits"),
    "request": (
        re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII).fullmatch,
        "a UUID in lower case",
    ),
    "key": (re.compile(r"[0-9a-f]{64}", re.ASCII).fullmatch, "a SHA-256 digest: 64 hex digits in lower case"),
    "record-type": (re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)+", re.ASCII).fullmatch, "its full name"),
}


def check(kind: str, value: str, field: str) -> None:
    """Whether an entry can have this. Raises InvalidRequest."""
    closed = _CLOSED.get(kind)
    if closed is not None and value not in closed:
        near = get_close_matches(value, closed, 5, 0.5) if len(closed) > _LISTED else sorted(closed)
        instead = f"did you mean {', '.join(near)}?" if near else "docs/audit.md says which there are"
        raise InvalidRequest(field, f"is no {kind} that an entry can have; {instead}")
    if kind in _FORMS and not _FORMS[kind][0](value):
        raise InvalidRequest(field, f"a {kind} is {_FORMS[kind][1]}")
