"""Counts that may be published: none below `LEAST`, and none that could be worked out from the others.

A tree of counts, each the sum of its parts. A count below `LEAST` is withheld. Where a shown sum has withheld
parts, there are at least two and they come to `LEAST` at least, so that each might be anything below it; more
parts are withheld, smallest first, until that is so. The parts of what is withheld are withheld. Each part
stands under one sum only: a count that stood in two crossing sums could be worked out from both.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

LEAST = 10


class Counted(Struct, frozen=True):
    """A count, and the parts that it is the sum of (none: it is not divided)."""

    name: str
    count: int
    parts: tuple[Counted, ...] = ()


class Published(Struct, frozen=True):
    """The same as it may be shown: None where it is withheld."""

    name: str
    count: int | None
    parts: tuple[Published, ...] = ()

    def rows(self, depth: int = 0) -> Iterator[tuple[int, str, int | None]]:
        """Depth, name and count of it and of what is below."""
        yield depth, self.name, self.count
        for part in self.parts:
            yield from part.rows(depth + 1)


def publish(counted: Counted) -> Published:
    """A tree as it may be shown."""
    return _withheld(counted) if counted.count < LEAST else _shown(counted)


def _shown(counted: Counted) -> Published:
    hidden = {n for n, part in enumerate(counted.parts) if part.count < LEAST}
    others = sorted(set(range(len(counted.parts))) - hidden, key=lambda n: (counted.parts[n].count, n))
    while hidden and others and not _enough([counted.parts[n].count for n in hidden]):
        hidden.add(others.pop(0))
    parts = tuple(_withheld(p) if n in hidden else _shown(p) for n, p in enumerate(counted.parts))
    return Published(counted.name, counted.count, parts)


def _enough(counts: list[int]) -> bool:
    """Each of them might be anything below `LEAST`, for all that the sum says."""
    return len(counts) > 1 and sum(counts) >= LEAST


def _withheld(counted: Counted) -> Published:
    return Published(counted.name, None, tuple(_withheld(part) for part in counted.parts))
