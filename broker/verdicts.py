"""One recorded decision made again: what its entry opens to, how it is decided now, and what came of that.

Pure. Owns the verdict. Refuses to pretend: where law files have changed, or what a decision read has lawfully
been erased since, it says so, and calls nothing a mismatch that it cannot judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from broker.core import canonical
from broker.core.canonical import Json
from broker.core.decision import decide
from broker.core.directive import Directive
from broker.core.entry import Rotation, parse_entry
from broker.core.model import Decision, SubjectRef
from broker.core.recorded import Recorded, Ruling, is_decision
from broker.core.reference import Reference
from broker.errors import IntegrityError
from broker.past import Leaf

_DIRECTIVE = "directive "
_VIEWS = "what the entry says"
Said = Mapping[tuple[SubjectRef, int], tuple[Directive, ...]]
"""By identifier and count of changes: what had been said about it."""


class Verdict(StrEnum):
    """What came of making a decision again."""

    SAME = "same"
    DIFFERS = "differs"
    # The law files are others than those it was made under, and it would be made otherwise under ours.
    LAW_DIFFERS = "law-differs"
    # Something that it read has been erased since.
    ERASED = "erased"
    # Something that it read is gone, and no entry says that it was erased: somebody took it by hand.
    GONE = "gone"
    # The stored view is not the one that the entry commits to.
    TAMPERED = "tampered"
    # No decision: a change, a look, an acknowledgement.
    NONE = "none"


MISMATCHES = frozenset({Verdict.DIFFERS, Verdict.TAMPERED, Verdict.GONE})


class Replayed(Struct, frozen=True):
    """One entry's replay. `differences` name what differs, recorded first; `erased` what is gone since, and
    `erased_by` the entries that say so; `law_differs` that our law files are others than those it was decided
    under, whatever came of it."""

    verdict: Verdict
    differences: tuple[str, ...] = ()
    erased: tuple[str, ...] = ()
    law_differs: bool = False
    decision: Decision | None = None
    reference: Reference | None = None
    said: tuple[Directive, ...] = ()
    erased_by: tuple[str, ...] = ()
    # Whether it can be told that this is a decision, or is none: not where its views are gone.
    known: bool = True

    @property
    def erased_directives(self) -> tuple[str, ...]:
        """The ids of directives among what was erased."""
        return tuple(each.removeprefix(_DIRECTIVE) for each in self.erased if each.startswith(_DIRECTIVE))


class Opened(Struct, frozen=True):
    """A leaf, its id, and its full view: None where that was erased, or is `wrong`."""

    index: int
    entry: str
    full: dict[str, Json] | None
    wrong: str = ""
    at: datetime | None = None


def opened(leaf: Leaf) -> Opened:
    """The full view of a leaf, held against what the entry commits to."""
    try:
        entry = parse_entry(leaf.entry)
    except IntegrityError as e:
        return Opened(leaf.index, "", None, str(e))
    if isinstance(entry, Rotation):
        return Opened(leaf.index, entry.id, {})
    if leaf.wrong or leaf.opening is None:
        return Opened(leaf.index, entry.id, None, leaf.wrong, entry.at)
    if not leaf.opening.opens(entry.full):
        return Opened(
            leaf.index, entry.id, None, "the stored full view is not the one that the entry commits to"
        )
    try:
        return Opened(leaf.index, entry.id, canonical.decode_object(leaf.opening.view))
    except IntegrityError as e:
        return Opened(leaf.index, entry.id, None, str(e))


def judged(recorded: Recorded, reference: Reference, said: Said) -> Replayed:
    """The recorded decision made again on these inputs, and whether it is the same."""
    heard = {s: said.get((s, recorded.policy), ()) for s in recorded.subjects}
    decision = again(recorded, reference, heard)
    known = {d.id for each in heard.values() for d in each}
    erased = tuple(f"{_DIRECTIVE}{each}" for each in sorted(recorded.said - known))
    added = tuple(f"{_DIRECTIVE}{each}: was not there then" for each in sorted(known - recorded.said))
    differences = recorded.ruling.differs_from(Ruling.of(decision)) + added
    law_differs = recorded.law != reference.law.digest
    if added:
        verdict = Verdict.DIFFERS
    elif erased:
        verdict = Verdict.ERASED
    elif not differences:
        verdict = Verdict.SAME
    else:
        verdict = Verdict.LAW_DIFFERS if law_differs else Verdict.DIFFERS
    heard_all = tuple(d for each in heard.values() for d in each)
    return Replayed(verdict, differences, erased, law_differs, decision, reference, heard_all)


def again(
    recorded: Recorded, reference: Reference, said: Mapping[SubjectRef, tuple[Directive, ...]]
) -> Decision:
    """The recorded request, decided at its own moment on these inputs."""
    subject = recorded.request.subject
    own = said.get(subject, ()) if subject else ()
    linked = [d for s in recorded.learnt for d in said.get(s, ())]
    return decide(recorded.asked, reference, own, recorded.now, linked, recorded.grant, recorded.restricted)


def recorded_in(full: dict[str, Json]) -> Recorded | Replayed:
    """The decision that a full view records, or why there is none to make again."""
    if not is_decision(full):
        return Replayed(Verdict.NONE)
    try:
        return Recorded.of(full)
    except IntegrityError as e:
        return Replayed(Verdict.DIFFERS, (str(e),))


def recorded_at(each: Opened) -> Recorded | Replayed:
    """The same of a leaf, whose full view may be gone or wrong."""
    if each.full is None:
        if each.wrong:
            return Replayed(Verdict.TAMPERED, (each.wrong,))
        return Replayed(Verdict.ERASED, erased=(_VIEWS,), known=False)
    return recorded_in(each.full)


def said_so(replayed: Replayed, by: Mapping[str, str], entry: str = "") -> Replayed:
    """The same, held against the entries that say what was erased: `by` has them by the id of what is gone, a
    directive's or, where the views are gone, that of the `entry` itself. Of what none says it is told so."""
    ids = {each: entry if each == _VIEWS else each.removeprefix(_DIRECTIVE) for each in replayed.erased}
    unsaid = tuple(f"{each}: gone, and nothing says so" for each, id in ids.items() if id not in by)
    if not unsaid:
        return replace(replayed, erased_by=tuple(sorted(set(by.values()))))
    verdict = Verdict.GONE if replayed.verdict is Verdict.ERASED else replayed.verdict
    return replace(
        replayed,
        verdict=verdict,
        differences=replayed.differences + unsaid,
        erased=tuple(each for each, id in ids.items() if id in by),
        erased_by=tuple(sorted(set(by.values()))),
    )
