"""What entries are found by: each view in terms such as `agency|nwas`, and a question in the same terms.

Owns which terms a view has for whom. A party finds an entry only by what it said itself or by what stands in
its own view: finding one by a finer rule, or by an identifier that the other side matched, would show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from msgspec import Struct

from broker.core.acted import DECIDED, acted_for
from broker.core.model import SubjectRef
from broker.core.receipt import Audience

Found = TypeVar("Found")

# What may be asked for, by the name of its option: docs/audit.md has them for people.
KINDS = (
    "event",
    "agency",
    "system",
    "actor",
    "callsign",
    "record-type",
    "purpose",
    "agreement",
    "outcome",
    "code",
    "rule",
    "override",
    "incident",
    "trace",
    "request",
    "key",
)
# Few entries have any one of these: they are looked up; the others only narrow what is read in order.
SELECTIVE = frozenset({"person", "actor", "callsign", "incident", "trace", "request"})
# Events that come with the requests themselves; of every other few entries are.
_COMMON = frozenset(
    {"disclosure", "refusal", "intent", "not-found", "provider-failure", "received", "undelivered"}
)
# What was refused at the door, counted: about nobody's record, and the one entry that operators may find.
CALLS_REFUSED = "calls-refused"
# Somebody said that two numbers are of one incident, or no longer.
INCIDENT_ALIAS = "incident-alias"
# Below it is every entry of a log: where a look at the newest begins.
NEWEST = (1 << 63) - 1


class Question(Struct, frozen=True):
    """What is looked for: entries that have all of these, newest first, or from `after` on in their order.

    `facts` are (kind, value) with kinds of `KINDS`; `person` is an identifier; times are [since, until).
    `aliases` are other numbers of the incident that is among the facts: any of them will do. `cut`: more was
    said of its numbers than is looked at.
    """

    facts: tuple[tuple[str, str], ...] = ()
    person: SubjectRef | None = None
    since: datetime | None = None
    until: datetime | None = None
    aliases: tuple[str, ...] = ()
    cut: bool = False

    @property
    def incident(self) -> str:
        """The number that was asked for; empty where none was."""
        return next((value for kind, value in self.facts if kind == "incident"), "")

    @property
    def incidents(self) -> tuple[str, ...]:
        """Every number that will do, the one that was asked for first; none where none was."""
        return (self.incident, *self.aliases) if self.incident else ()

    def ways(self) -> tuple[frozenset[str], ...]:
        """Terms of which an entry must have all of one set: as many sets as the incident has numbers, at least
        one."""
        asked = frozenset(term(kind, value) for kind, value in self.facts)
        if self.person:
            asked |= {person(self.person)}
        rest = asked - {term("incident", self.incident)}
        return (asked, *(rest | {term("incident", each)} for each in self.aliases))


def term(kind: str, value: str) -> str:
    """One term."""
    return f"{kind}|{value}"


def person(subject: SubjectRef) -> str:
    """The term of an identifier."""
    return f"person|{subject.scheme}|{subject.value}"


def people(terms: frozenset[str]) -> frozenset[SubjectRef]:
    """The identifiers among these terms."""
    parts = (each.split("|", 2) for each in terms)
    return frozenset(SubjectRef(part[1], part[2]) for part in parts if part[0] == "person")


def selective(terms: frozenset[str]) -> bool:
    """Whether few entries have all of these."""
    return any(map(rare, terms))


def together(
    found: Sequence[Sequence[Found]], place: Callable[[Found], int], most: int, *, newest_first: bool
) -> list[Found]:
    """The first of several looks into one log, in their common order, each entry once.

    Not beyond the last of any look that gave `most`, since what that one would have given next is not known.
    """
    sign = -1 if newest_first else 1
    ends = [sign * place(each[-1]) for each in found if len(each) >= most]
    once = {sign * place(one): one for each in found for one in each}
    return [once[at] for at in sorted(once) if not ends or at <= min(ends)]


def rare(term: str) -> bool:
    """Whether few entries have it."""
    kind, _, value = term.partition("|")
    return kind in SELECTIVE or (kind == "event" and value not in _COMMON)


def terms_of(
    full: Mapping[str, Any], audience: Audience = Audience.FULL, view: Mapping[str, Any] | None = None
) -> frozenset[str]:
    """The terms by which one audience finds an entry: from its own `view`, and of the full one what it said."""
    found = {*_shared(full if view is None else view)}
    if audience is Audience.FULL:
        found.update(_spoken(full), _own(full), _matched(full), _whole(full))
    elif audience is Audience.PROVIDER:
        found |= set(_matched(full)) | set(_actor(full))
        # What its own human and system did.
        found |= set(_system(full)) if full.get("event") in DECIDED else set()
        # A provider's view says what for, and whether somebody's refusal was gone past.
        found |= {term(kind, str(full[kind])) for kind in ("purpose", "override") if full.get(kind)}
    else:
        # Who decided on a request is the provider's to know, and who wrote down what they gave by telephone.
        spoke = acted_for(full) == str(full.get("requester") or "")
        found |= set(_own(full)) | (set(_spoken(full)) if spoke else set())
    return frozenset(found)


def parties(*agencies: str | None) -> frozenset[str]:
    """The terms by which whoever may read an entry finds it, also where its full view names others."""
    return frozenset(term("agency", each) for each in agencies if each)


_IN_EVERY_VIEW = (
    ("event", "event"),
    ("outcome", "outcome"),
    ("code", "code"),
    ("record-type", "record_type"),
    ("trace", "trace"),
    ("request", "request_id"),
    ("agency", "provider"),
    ("agency", "requester"),
)


def _shared(full: Mapping[str, Any]) -> Iterator[str]:
    """What stands in every view."""
    for kind, key in _IN_EVERY_VIEW:
        if value := full.get(key):
            yield f"{kind}|{value}"
    if agreement := full.get("agreement"):
        yield term("agreement", str(agreement))
        yield term("agreement", str(agreement).partition("/")[0])


def _actor(full: Mapping[str, Any]) -> Iterator[str]:
    actor = full.get("actor")
    if isinstance(actor, dict):
        for kind, key in (("actor", "id"), ("callsign", "callsign")):
            if value := actor.get(key):
                yield term(kind, str(value))


def _spoken(full: Mapping[str, Any]) -> Iterator[str]:
    """Whose human and system it was."""
    yield from _actor(full)
    yield from _system(full)


def _system(full: Mapping[str, Any]) -> Iterator[str]:
    if (agency := acted_for(full)) and (system := full.get("system")):
        yield term("system", f"{agency}/{system}")
        if key := full.get("key"):
            yield term("key", str(key))


def _own(full: Mapping[str, Any]) -> Iterator[str]:
    """What the requester's system said itself."""
    for kind in ("purpose", "incident"):
        if value := full.get(kind):
            yield term(kind, str(value))
    asked = full.get("asked_by")
    if isinstance(asked, dict) and asked.get("scheme"):
        yield person(SubjectRef(str(asked["scheme"]), str(asked["value"])))
        if asked["scheme"] == "incident":
            yield term("incident", str(asked["value"]))
    detail = full.get("detail")
    if not isinstance(detail, dict):
        return
    for incident in detail.get("incidents") or ():
        yield term("incident", str(incident))
    for request in detail.get("requests") or ():
        yield term("request", str(request))
    for subject in (detail.get("subject"), *(detail.get("subjects") or ())):
        if isinstance(subject, dict) and subject.get("scheme"):
            yield person(SubjectRef(str(subject["scheme"]), str(subject["value"])))


def _matched(full: Mapping[str, Any]) -> Iterator[str]:
    """Identifiers that the provider knows the subject by."""
    for each in full.get("identifiers") or ():
        yield person(SubjectRef(str(each["scheme"]), str(each["value"])))


def _whole(full: Mapping[str, Any]) -> Iterator[str]:
    """What only auditors see: an override that was used, which rule refused, referred or was gone past, whose
    calls were refused at the door."""
    # That it was used says that something had to be gone past: under ncnd the requester may not learn it.
    if value := full.get("override"):
        yield term("override", str(value))
    for each in full.get("rules") or ():
        rule, _, verdict = str(each).partition(" ")
        if verdict != "pass":
            yield term("rule", rule)
    if full.get("event") == CALLS_REFUSED:
        for call in full["detail"]["calls"]:
            if system := call["system"]:
                yield term("system", system)
                yield term("agency", system.partition("/")[0])
