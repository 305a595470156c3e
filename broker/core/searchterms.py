"""What entries are found by: terms such as `agency|nwas`, and a question in them. Which of them a view has for
whom is in `sights`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from msgspec import Struct

from broker.core.model import SubjectRef

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


def parties(*agencies: str | None) -> frozenset[str]:
    """The terms by which whoever may read an entry finds it, also where its full view names others."""
    return frozenset(term("agency", each) for each in agencies if each)


def heard(agency: str) -> str:
    """The term of what was said of a number that this agency gave, by itself or to it. Nobody asks for it."""
    return term("heard", agency)


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
