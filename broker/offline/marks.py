"""What was said of a log at certain sizes, and by whom: signed checkpoints, the guard, the head.

Owns the judgement: where a tree that was derived contradicts tiles kept of it, which of them was changed, and
what is the first entry of which something signed says that it is not the one it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from broker.core.merkle import CompactRange
from broker.core.tiles import TILE_WIDTH
from broker.offline.derive import Derivation, Difference
from broker.offline.problems import Problem


@dataclass(frozen=True, slots=True)
class Mark:
    """A root for so many entries, and who says so. `vouched`: not the database alone, which anybody who may
    write to it could have changed."""

    size: int
    root: bytes
    who: str
    vouched: bool = True


class Judgement:
    """Of a derivation that is complete, by its marks."""

    def __init__(self, derived: Derivation, marks: Sequence[Mark]) -> None:
        self._derived = derived
        # What is vouched for decides; the head of the database only where nothing else reaches.
        self._marks = sorted(marks, key=lambda each: (not each.vouched, each.size))

    def problems(self) -> Iterator[Problem]:
        """What is wrong with entries and tiles, as far as the tree tells."""
        changed = {each.tile for each in self._derived.differences}  # whose own hash so is another too
        for tile in (each for each in self._derived.spoilt if each not in changed):
            text = "the hash kept of it for the level above is not its own"
            yield Problem("tile", tile.index * TILE_WIDTH ** (tile.level + 1), tile.path, text)
        told: list[Difference] = []
        for each in self._derived.differences:
            below = [d for d in told if each.first <= d.first < each.first + each.span]
            if not below:
                yield self._judged(each)
            told.append(each)
        yield from self._unmade()

    def _judged(self, each: Difference) -> Problem:
        for mark in self._marks:
            roots = self._derived.roots.get(mark.size)
            if mark.size <= each.first or roots is None:
                continue
            if roots.made == mark.root:
                text = f"hash {each.place} is not that of its entries, which are good"
                return Problem("tile", each.first, each.tile.path, text)
            if roots.claimed == mark.root and each.span == 1:
                return Problem("entry", each.first, each.tile.path, "is not the one that was logged")
            if roots.claimed == mark.root:
                last = min(each.first + each.span, self._derived.size) - 1
                text = f"it or another up to {last} was changed, and with it the tile that held its hash"
                return Problem("entry", each.first, each.tile.path, text)
        text = "it, or the tile that holds its hash, was changed: they contradict each other"
        return Problem("entry", each.first, each.tile.path, text)

    def _unmade(self) -> Iterator[Problem]:
        """The first vouched root that these entries do not make; later ones follow from it."""
        good = 0
        for mark in (each for each in self._marks if each.vouched):
            roots = self._derived.roots.get(mark.size)
            if roots is None:  # the log is shorter: said where its size is
                continue
            if roots.made == mark.root:
                good = mark.size
                continue
            if roots.claimed == mark.root:  # what was changed has been named by its own tile
                continue
            text = f"the first {mark.size} entries do not make the root that {mark.who} says"
            after = f"; the first {good} do" if good else ""
            yield Problem("root", good, mark.who, text + after)
            return


def unlike(derived: Derivation, head: CompactRange) -> tuple[int, int] | None:
    """The entries [first, last] of the first subtree that the head has another hash for; None: none."""
    if derived.size != head.size:
        return None
    first = 0
    for height, theirs, mine in zip(
        (h for h in reversed(range(head.size.bit_length())) if head.size >> h & 1),
        head.hashes,
        derived.compact_range(),
        strict=True,
    ):
        if mine != theirs:
            return first, first + (1 << height) - 1
        first += 1 << height
    return None
