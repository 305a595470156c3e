"""What a look at a whole database found: what is wrong, what has been erased, and what could not be checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.offline.problems import MOST, Problem, Report

# What names no entry but only bounds where the first wrong one is.
_BOUNDS = frozenset({"root", "head"})


@dataclass
class StoreReport(Report):
    """`erased` counts entries without views any more, in `stretches` [first, last]: that is no fault."""

    opened: int = 0
    # Whose key is not in the key folder, and was not destroyed.
    unopened: int = 0
    erased: int = 0
    words_erased: int = 0
    claims: int = 0
    # What was held against what the entries say, and how many of each: with the key folder alone.
    compared: dict[str, int] = field(default_factory=dict)
    indexed: int | None = None
    signed: int = 0
    # Entries in the head that a guard remembers; None where none was given, or it is of another log.
    guarded: int | None = None
    stretches: list[tuple[int, int]] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    # Where the export of each dropped partition is, by its first place, in the operator's words.
    places: dict[int, str] = field(default_factory=dict)
    # Of the half-years before, oldest first.
    earlier: list[StoreReport] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong, in this log and those before it."""
        return not self.problems and all(each.good for each in self.earlier)

    @property
    def first(self) -> Problem | None:
        """The first entry of which it is known that it is wrong; else the bound below which all are good."""
        exact = [each for each in self.problems if each.kind not in _BOUNDS]
        if exact:
            return min(exact, key=lambda each: (each.index < 0, each.index, each.kind != "entry"))
        return max(self.problems, key=lambda each: each.index, default=None)

    def wrong(self, kind: str, index: int, path: str, text: str) -> None:
        """One problem more."""
        self.add(Problem(kind, index, path, text))

    def gone(self, index: int) -> None:
        """An entry whose views have been erased."""
        self.erased += 1
        if self.stretches and self.stretches[-1][1] == index - 1:
            self.stretches[-1] = (self.stretches[-1][0], index)
        elif len(self.stretches) < MOST:
            self.stretches.append((index, index))
