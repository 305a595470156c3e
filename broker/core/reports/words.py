"""Names and codes of the log in words that people read: kinds of entry, reasons of refusals, types, fields.

Owns the phrases. A code without one is shown as it stands, its hyphens as spaces: nothing is left out for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from broker.core.acted import LATE

EVENTS = {
    "access-answer-viewed": "An answer to a request for access was given again",
    "access-answered": "An answer to a request for access was given",
    "access-cleared": "It was decided what of a request for access is told",
    "access-listed": "Requests for access were listed",
    "access-previewed": "It was looked at how an answer to a request for access stands",
    "access-started": "An answer to a request for access was begun",
    "access-viewed": "A draft for a request for access was looked at",
    "acting-ended": "One agency ceased to act for another",
    "acting-entered": "One agency began to act for another",
    "agency-added": "An agency was entered in the directory",
    "agency-changed": "What the directory says of an agency was changed",
    "agency-key-ended": "An agency's signing key was ended",
    "agency-key-enrolled": "An agency's signing key was enrolled",
    "agency-key-proposed": "A signing key of an agency was proposed",
    "agency-left": "An agency ceased to take part",
    "agency-succeeded": "An agency took another's place",
    "agency-succession-corrected": "Which agency took another's place was corrected",
    "agency-succession-proposed": "It was proposed that an agency take another's place",
    "agency-succession-taken-back": "That an agency takes another's place was taken back",
    "agreement-applied": "An agreement was put in force",
    "agreement-planned": "An agreement was tried on decisions of the past",
    "agreement-suspended": "An agreement was suspended",
    "agreement-suspension-lifted": "An agreement goes on after it was suspended",
    "breaches-viewed": "Suspected breaches were looked at",
    "calls-refused": "Calls were refused at the door",
    "complaint-acknowledged": "A complaint was acknowledged",
    "complaint-closed": "A complaint was closed",
    "complaint-received": "A complaint was received",
    "complaints-viewed": "Complaints were looked at",
    "directive-recorded": "What was said about sharing was recorded",
    "directive-withdrawn": "What was said about sharing was withdrawn",
    "directives-viewed": "What was said about sharing was looked at",
    "disclosure": "A record was given",
    "entry-viewed": "An entry of the log was looked at",
    "erasure": "What was kept was erased",
    "erasure-planned": "It was asked that something be erased",
    "erasure-refused": "An erasure was refused",
    "erasure-tried": "An erasure was tried, of somebody else than it was planned for",
    "erasure-viewed": "It was looked at what could be erased",
    "erasure-withdrawn": "A planned erasure was withdrawn",
    "erasures-viewed": "Planned erasures were looked at",
    "escalated": "Something waited for a person past its time",
    "explained": "It was explained why something was decided",
    "figures-published": "The figures of a month were published",
    "hold-placed": "A legal hold was placed",
    "hold-released": "A legal hold was released",
    "holds-viewed": "Legal holds were looked at",
    "incident-alias": "An incident was said to have another number",
    "intent": "About to be asked",
    "key-revoked": "A system's key was revoked",
    "log-exported": "Entries of the log were taken away as a file",
    "log-replayed": "Decisions of the log were made again, to check them",
    "log-rotated": "The log of a half-year was closed, and the next one opened",
    "log-searched": "The log was searched",
    "not-found": "Asked; nothing was found",
    "override-restricted": "Somebody's emergency overrides were restricted",
    "override-restriction-lifted": "A restriction of emergency overrides was lifted",
    "override-reviewed": "An emergency access was reviewed",
    "overrides-viewed": "Emergency accesses to review were looked at",
    "partition-dropped": "Entries that are kept in an export were dropped from the database",
    "provider-failure": "Asked; there was no answer",
    "received": "It was confirmed that a record arrived",
    "record-type-approved": "A form of record was approved",
    LATE: "Told by telephone or the like, and written down later",
    "referral-asked": "Put before a person to decide",
    "referral-decided": "A person decided",
    "referral-tried": "A decision on a request was tried",
    "referral-viewed": "A request that waits for a decision was looked at",
    "referrals-viewed": "Requests that wait for a decision were looked at",
    "refusal": "Asked, and not given",
    "report-made": "A report was made of the log",
    "retention": "What was kept was destroyed, its time being over",
    "routes-applied": "It was changed who is asked for which place",
    "scrubbed": "What had been erased was written over on the disk",
    "suspension-lifted": "A system may speak again",
    "system-attached": "A system of an agency was first linked",
    "system-enrolled": "A system was enrolled",
    "system-proposed": "A system was proposed",
    "system-suspended": "A system was suspended",
    "undelivered": "A record could not be delivered",
}
# Why something was not given, by the code that whoever asked was told: never by anything finer.
REFUSED = {
    "party": "one of the agencies was not taking part then",
    "role": "the agreement does not name the role of whoever asked",
    "assurance": "it was not known well enough who asked",
    "purpose": "it was not a purpose that had been agreed on",
    "agreement": "no agreement in force allows it",
    "regime": "the data protection law of one side does not allow it",
    "basis": "there was no lawful basis for it",
    "gateway": "no enactment opens the way for it",
    "confidentiality": "it is held in confidence",
    "context": "the circumstances that the agreement asks for were not there",
    "person": "because of what had been said about sharing it, or had not been",
    "referred": "a person had to decide first",
    "ambiguous": "it was not clear who was meant",
    "no-answer": "no reason is given",
}
OUTCOMES = {
    "justified": "It was found justified",
    "not-justified": "It was found not justified",
    "wrong-person": "It was found to be the wrong person's record",
    "granted": "It was to be given",
    "refused": "It was not to be given",
}
# What an emergency override went past, by rule.
_CAPITALS = frozenset({"gp", "id", "nhs", "uprn"})
_WAIVED = "waived by override"
_PAST = {
    "person.not-against": "in spite of your objection",
    "person.opt-out": "in spite of your opt-out",
    "person.consent": "without your consent",
    "person.holders-agree": "though those who may speak for you did not agree",
}


def plain(code: str) -> str:
    """A code without hyphens."""
    return code.replace("-", " ")


def event(code: str) -> str:
    """What happened."""
    return EVENTS.get(code) or sentence(plain(code))


def event_or_nothing(code: str) -> str:
    """The same where there is a phrase for it."""
    return EVENTS.get(code, "")


def record_type(name: str) -> str:
    """`records.nhs.v1.PatientSummary` as `Patient summary`."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name.rpartition(".")[2])
    return sentence(" ".join(word if word.isupper() else word.lower() for word in words))


def fields(paths: Iterable[str]) -> str:
    """`name, oxygen.kind, oxygen.litres` as `Name; Oxygen: kind, litres`."""
    whole: dict[str, list[str]] = {}
    for path in paths:
        first, _, rest = path.partition(".")
        whole.setdefault(first, []).extend([_field(rest)] if rest else [])
    return "; ".join(
        f"{sentence(_field(name))}: {', '.join(parts)}" if parts else sentence(_field(name))
        for name, parts in whole.items()
    )


def gone_past(full: Mapping[str, Any]) -> str:
    """What an emergency override went past, said to the person; empty where it was nothing of theirs."""
    walked = dict(str(each).split(" ", 1) for each in full.get("rules") or () if " " in str(each))
    return " and ".join(said for rule, said in _PAST.items() if walked.get(rule, "").startswith(_WAIVED))


def sentence(text: str) -> str:
    """With a capital letter first."""
    return text[:1].upper() + text[1:]


def _field(path: str) -> str:
    names = path.replace("_", " ").replace(".", " ").split(" ")
    return " ".join(name.upper() if name in _CAPITALS else name for name in names)
