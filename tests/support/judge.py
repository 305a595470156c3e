"""The judge of one promise: no permit stands in the log above the withdrawal that it ignores.

Knows the log and the agreements' terms and nothing else: no database, no clock, and none of the code that
decides. What has been said is taken from the entries that recorded it, in the order of the log.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Identifier = tuple[str, str]
Full = Mapping[str, Any]
NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Terms:
    """What an agreement makes of what a person says: its weight, and whose record of a consent counts."""

    weight: str
    recorders: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Violation:
    """A permit at `index` that ignores what `ignored` (an index below; NOWHERE where nothing was ever said)
    had put into the log."""

    index: int
    ignored: int
    why: str


@dataclass
class Verdict:
    """What the judge found. `permits` and `refusals` are the indexes, by the identifier asked with."""

    violations: list[Violation] = field(default_factory=list)
    permits: defaultdict[Identifier, list[int]] = field(default_factory=lambda: defaultdict(list))
    refusals: defaultdict[Identifier, list[int]] = field(default_factory=lambda: defaultdict(list))
    # Of everything said: the index of its entry, and of each entry that ended it.
    recorded: dict[str, int] = field(default_factory=dict)
    withdrawn: dict[str, int] = field(default_factory=dict)
    size: int = 0


@dataclass(frozen=True, slots=True)
class _Said:
    id: str
    index: int
    recorder: str
    detail: Mapping[str, Any]

    def speaks_to(self, full: Full) -> bool:
        """Whether it covers this use at the moment of the decision."""
        scopes = (
            ("purposes", "purpose"),
            ("record_types", "record_type"),
            ("requesters", "requester"),
            ("providers", "provider"),
        )
        if any(self.detail[scope] and full[use] not in self.detail[scope] for scope, use in scopes):
            return False
        now, until = datetime.fromisoformat(full["now"]), self.detail["valid_until"]
        begun = datetime.fromisoformat(self.detail["said_at"]) <= now
        return begun and (until is None or now < datetime.fromisoformat(until))


class _Court:
    """What stands at one place of the log."""

    def __init__(self, terms: Mapping[str, Terms]) -> None:
        self.verdict = Verdict()
        self._terms = terms
        self._standing: defaultdict[Identifier, dict[str, _Said]] = defaultdict(dict)
        self._about: dict[str, Identifier] = {}
        # Where the last consent about an identifier was withdrawn.
        self._ended: dict[Identifier, int] = {}

    def hear(self, index: int, full: Full) -> None:
        """The next entry."""
        if full["event"] == "directive-recorded":
            detail = full["detail"]
            about = _identifier(detail["subject"])
            self._about[detail["id"]] = about
            said = _Said(detail["id"], index, detail["recorder"], detail["detail"])
            self._standing[about][said.id] = said
            self.verdict.recorded[said.id] = index
        elif full["event"] == "directive-withdrawn":
            for each in full["detail"]["ids"]:
                about = self._about[each]
                if self._standing[about].pop(each).detail["kind"] == "consent":
                    self._ended[about] = index
                self.verdict.withdrawn[each] = index
        elif full.get("outcome") == "permit":
            self._permit(index, full)
        elif full["event"] == "refusal":
            self.verdict.refusals[_identifier(full["asked_by"])].append(index)

    def _permit(self, index: int, full: Full) -> None:
        asked = _identifier(full["asked_by"])
        self.verdict.permits[asked].append(index)
        terms = self._terms[full["agreement"].partition("/")[0]]
        if terms.weight == "recorded":
            return
        for identifier in {asked, *map(_identifier, full["identifiers"])}:
            for said in self._standing[identifier].values():
                if said.detail["kind"] != "consent" and said.speaks_to(full):
                    self._violated(index, said.index, f"a permit above an {said.detail['kind']}")
        if terms.weight == "required" and not self._consented(asked, terms, full):
            self._violated(index, self._ended.get(asked, NOWHERE), "a permit without a consent that stands")

    def _consented(self, asked: Identifier, terms: Terms, full: Full) -> bool:
        return any(
            said.detail["kind"] == "consent"
            and said.recorder in terms.recorders
            and said.recorder != full["requester"]
            and said.speaks_to(full)
            for said in self._standing[asked].values()
        )

    def _violated(self, index: int, ignored: int, why: str) -> None:
        self.verdict.violations.append(Violation(index, ignored, why))


def judge(entries: Iterable[tuple[int, Full]], terms: Mapping[str, Terms]) -> Verdict:
    """The verdict on a whole log: (index, full view) of every entry from 0 on, and the terms by agreement id.

    Raises ValueError where an entry is missing or out of order: of such a log nothing can be said.
    """
    court = _Court(terms)
    for index, full in entries:
        if index != court.verdict.size:
            raise ValueError(f"entry {court.verdict.size} is missing: {index} follows")
        court.hear(index, full)
        court.verdict.size += 1
    return court.verdict


def _identifier(made: Mapping[str, str]) -> Identifier:
    return made["scheme"], made["value"]
