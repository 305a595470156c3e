"""Signs that somebody may have looked out of curiosity, for a human to look at. A sign proves nothing.

Owns what counts as a sign, and that every threshold is the reader's. Names and addresses of staff come from the
reader, are compared and forgotten; a sign names the entry and never the person who was looked up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import time

from msgspec import Struct

from broker.core.london import local
from broker.core.reports.document import Cell, Document, Table, columns
from broker.core.reports.line import Line
from broker.core.reports.people import Asked, Called, asked, called
from broker.core.reports.tally import Tally
from broker.core.reports.times import shown
from broker.core.vocabulary import LOOKS
from broker.errors import InvalidRequest

LISTED = 2_000
_NAMES = 50_000
# Different names of one first given name and one family name, at one agency. Where there are so many, another
# who asks by that name is taken for one of them: a sign more, rather than a look at each for every entry.
_ALIKE = 100
_ABOUT = (
    (
        "THESE ARE SIGNS AND NO PROOF. Each has many innocent reasons: names are shared, shifts are swapped, "
        "an incident's number comes late, people in crisis are asked about often. Nobody may be treated as "
        "having done wrong on this page alone: a named person reads the entry, and asks."
    ),
    (
        "Compared is what the asking system said of the actor and of whom it asked about; what was looked up "
        "by a number shows no name. Looks at people in the log itself count as well: entries that were opened "
        "or explained, searches and exports by an identifier, lists of what one person said; those who answer "
        "complaints look often. For a controller's monitoring of itself, disciplinary proceedings "
        "included (DPA 2018 s.62(4)(b))."
    ),
)
_MEANING = {
    "own-name": "The name asked about is the actor's own",
    "colleague-name": "The name asked about is that of somebody else who uses the broker at the same agency",
    "own-address": "The address asked about is the actor's own, as the staff list has it",
    "no-incident": "No incident was named, and the purpose expects one",
    "repeated": "One actor asked about one person or place, or looked at what the log has of it, so often",
    "out-of-hours": "Asked, or looked, outside the hours of the role",
}


class Member(Struct, frozen=True):
    """One of the staff, as the reader knows them. `actor` is theirs at that agency and nobody else's."""

    actor: str
    name: str = ""
    address_line: str = ""
    postcode: str = ""
    uprn: str = ""
    agency: str = ""


class Hours(Struct, frozen=True):
    """From one clock time to another, over midnight where the second is the earlier. An empty role is all."""

    begins: time
    ends: time
    role: str = ""

    def hold(self, at: time) -> bool:
        """Whether a clock time is within them."""
        if self.begins <= self.ends:
            return self.begins <= at < self.ends
        return at >= self.begins or at < self.ends


class Signs(Struct, frozen=True):
    """What counts: all of it is the reader's to set."""

    expects_incident: frozenset[str]
    repeated_from: int = 5
    shifts: tuple[Hours, ...] = ()
    staff: tuple[Member, ...] = ()


class Names:
    """Who asks at each agency, by name: what a first look at the entries gives, and the staff list.

    What one look costs is bounded, whatever the names are: whoever made them up may be the one who asks.
    """

    def __init__(self) -> None:
        self._ids: dict[tuple[str, Called], set[str]] = {}
        # By the hash of agency and mark: two that share one are told apart by their names.
        self._alike: dict[int, list[tuple[Called, set[str]]]] = {}
        self._many = 0

    def add(self, line: Line) -> None:
        """The actor of an entry."""
        self.know(line.requester, line.actor.get("id", ""), line.actor.get("name", ""))

    def know(self, agency: str, actor: str, name: str) -> None:
        """Somebody of an agency. Raises InvalidRequest where they are too many."""
        written = called(name)
        if written is None:
            return
        if (ids := self._ids.get((agency, written))) is None:
            ids = self._ids[agency, written] = set()
            for mark in written.marks:
                alike = self._alike.setdefault(hash((agency, mark)), [])
                if len(alike) < _ALIKE:
                    alike.append((written, ids))
        self._many += actor not in ids
        if self._many > _NAMES:
            raise InvalidRequest("since", "too many names for one report: ask for a shorter time")
        ids.add(actor)

    def of_another(self, agency: str, name: Asked, actor: str) -> bool:
        """Whether somebody else at that agency may be of this name."""
        known = [self._alike.get(hash((agency, mark)), ()) for mark in name.marks]
        return any(len(alike) == _ALIKE for alike in known) or any(
            written.may_be(name) and any(each != actor for each in ids)
            for alike in known
            for written, ids in alike
        )


class Watched:
    """Takes in entries, newest first, and keeps the signs. `names` were gathered before, the staff's too."""

    def __init__(self, signs: Signs, names: Names) -> None:
        self._signs = signs
        self._names = names
        self._staff: Mapping[tuple[str, str], Member] = {
            (each.agency, each.actor): each for each in signs.staff
        }
        self._pairs = Tally(200_000)
        self._found = Tally()
        self._looked = Tally()
        self._rows: list[tuple[Cell, ...]] = []
        self._more = False

    def add(self, line: Line) -> None:
        """One entry: a record was asked for, or somebody looked at what the log has of a person."""
        looks = line.event in LOOKS and bool(line.subjects)
        if not (line.asks or looks) or not line.actor:
            return
        if looks:
            actor, role = line.actor.get("id", ""), line.actor.get("role", "")
            self._looked.add(line.requester, actor, role, line.event)
        for sign in self._of(line):
            self._found.add(sign, line.requester)
            if len(self._rows) == LISTED:
                self._more = True
                continue
            who = (line.requester, line.actor.get("id", ""), line.actor.get("role", ""))
            self._rows.append((sign, *who, shown(line.at), line.purpose, line.record_type, line.id))

    def _of(self, line: Line) -> Iterable[str]:
        actor = line.actor.get("id", "")
        member = self._staff.get((line.requester, actor), Member(actor))
        if name := asked(line.traits):
            own = called(line.actor.get("name", "")), called(member.name)
            if any(each is not None and each.may_be(name) for each in own):
                yield "own-name"
            elif self._names.of_another(line.requester, name, actor):
                yield "colleague-name"
        if self._lives_there(line, member):
            yield "own-address"
        if line.purpose in self._signs.expects_incident and not line.incident:
            yield "no-incident"
        if self._often(line, actor):
            yield "repeated"
        if self._out_of_hours(line):
            yield "out-of-hours"

    def _lives_there(self, line: Line, member: Member) -> bool:
        if member.uprn and any((s.scheme, s.value) == ("uprn", member.uprn) for s in line.subjects):
            return True
        postcode = _plain(line.traits.get("postcode", ""))
        first_line = _plain(line.traits.get("address_line", ""))
        there = (_plain(member.postcode), _plain(member.address_line))
        return bool(postcode and first_line and all(there)) and (postcode, first_line) == there

    def _often(self, line: Line, actor: str) -> bool:
        """Once for each actor and person: at the entry that makes it so many."""
        whom = [f"{s.scheme}|{s.value}" for s in line.subjects[:1]]
        whom = whom or [f"traits|{'|'.join(f'{k}={_plain(v)}' for k, v in sorted(line.traits.items()))}"]
        pair = hashlib.blake2b(f"{line.requester}|{actor}|{whom[0]}".encode(), digest_size=8).hexdigest()
        return self._pairs.add(pair) == self._signs.repeated_from

    def _out_of_hours(self, line: Line) -> bool:
        role = line.actor.get("role", "")
        own = [each for each in self._signs.shifts if each.role == role]
        hours = own or [each for each in self._signs.shifts if not each.role]
        clock = local(line.at).time()
        return bool(hours) and not any(each.hold(clock) for each in hours)

    def document(self, facts: tuple[tuple[str, str], ...]) -> Document:
        """The report."""
        heads = columns(
            sign="Sign",
            agency="Agency",
            actor="Actor",
            role="Role",
            at="When",
            purpose="Purpose",
            type="Record type",
            entry="Entry",
        )
        meanings = tuple(f"{sign}: {meaning}." for sign, meaning in _MEANING.items())
        notes = (f"Only the newest {LISTED} are listed.",) if self._more else ()
        tables = (
            Table(
                "Signs, by kind",
                columns(sign="Sign", agency="Agency", signs="Signs"),
                self._found.rows(),
                "In short",
                meanings,
                "signs",
            ),
            Table(
                "Looks at people in the log, by whom",
                columns(agency="Agency", actor="Actor", role="Role", event="Event", looks="Looks"),
                self._looked.rows(),
                "Looks",
                ("No sign by itself: who has to look, looks. Each is found by its actor.",),
            ),
            Table("Each sign, newest first", heads, tuple(self._rows), "To look at", notes),
        )
        none = "No sign was found. That is no proof either."
        title = "Signs of looking without need"
        return Document("snooping", title, _ABOUT, (*facts, *self._limits()), tables, none)

    def _limits(self) -> tuple[tuple[str, str], ...]:
        signs = self._signs
        shifts = ", ".join(
            f"{each.role or 'all roles'} {each.begins:%H:%M} to {each.ends:%H:%M}" for each in signs.shifts
        )
        return (
            ("Often", f"{signs.repeated_from} times about one person or place, by one actor, in that time"),
            ("An incident is expected for", ", ".join(sorted(signs.expects_incident)) or "no purpose"),
            ("Hours", shifts or "not looked at: none were given"),
            ("Staff list", f"{len(signs.staff)} people" if signs.staff else "not looked at: none was given"),
        )


def _plain(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())
