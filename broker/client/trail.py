"""Owns what one log has shown us: the newest checkpoint proven to extend all before, and those not yet proven.

Pure. A log shows itself in many checkpoints, out of order where several workers sign. Each one is held against
the others at once (two roots for one size is a lie whoever tells it) and waits to be proven consistent. Where
more wait than can be asked about, some are dropped at random, so that a log cannot tell which will be looked
at; the newest never is. The first checkpoint ever seen is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from broker.core.checkpoint import Checkpoint
from broker.core.merkle import verify_consistency
from broker.errors import IntegrityError

MAX_WAITING = 64


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint whose signature verified, and the note it stood in."""

    checkpoint: Checkpoint
    note: bytes

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.checkpoint.size


@dataclass(frozen=True, slots=True)
class Proof:
    """A consistency proof between the two sizes asked for, and the note of a checkpoint, empty if none came."""

    hashes: tuple[bytes, ...]
    note: bytes


class Unlinked(IntegrityError):  # noqa: N818 - it is
    """A checkpoint of a log that nothing believed leads to yet: `note`. To be followed, or refused."""

    def __init__(self, note: bytes) -> None:
        super().__init__("checkpoint: of a log that is not linked to the one that is known")
        self.note = note


class Contradiction(IntegrityError):  # noqa: N818 - it is one
    """A log signed two checkpoints that cannot both be true. They are the evidence."""

    def __init__(self, why: str, first: Seen, second: Seen) -> None:
        super().__init__(f"checkpoint: {first.checkpoint.origin} contradicts itself: {why}")
        self.first = first
        self.second = second


class Trail:
    """One log's checkpoints. `choose(n)` picks a number below n that nobody can foretell."""

    def __init__(self, proven: Seen, waiting: Iterable[Seen] = (), *, choose: Callable[[int], int]) -> None:
        self.proven = proven
        self._choose = choose
        self._waiting: dict[int, Seen] = {}
        self._newest_next = True
        self._asked: tuple[Seen, Seen] | None = None
        for seen in waiting:
            self.observe(seen)

    @property
    def waiting(self) -> tuple[Seen, ...]:
        """Those seen and not proven yet, smallest first."""
        return tuple(self._waiting[size] for size in sorted(self._waiting))

    @property
    def behind(self) -> bool:
        """Whether any waits."""
        return bool(self._waiting)

    def observe(self, seen: Seen) -> bool:
        """Take note of a checkpoint; whether it is new. Raises Contradiction at a second root for its size."""
        known = self.proven if seen.size == self.proven.size else self._waiting.get(seen.size)
        if known is not None:
            if known.checkpoint.root != seen.checkpoint.root:
                raise Contradiction(f"two roots for the size {seen.size}", known, seen)
            return False
        if len(self._waiting) >= MAX_WAITING:
            older = sorted(self._waiting)[:-1]
            del self._waiting[older[self._choose(len(older))]]
        self._waiting[seen.size] = seen
        return True

    def question(self) -> tuple[Seen, Seen] | None:
        """The two checkpoints to ask a consistency proof for next, smaller first; None where all is proven.

        The newest and one of the others take turns. A question stands until it is settled: a log that does
        not answer one gets no other.
        """
        if self._asked is None and self._waiting:
            self._asked = self._choose_pair()
        return self._asked

    def _choose_pair(self) -> tuple[Seen, Seen]:
        sizes = sorted(self._waiting)
        pick = len(sizes) - 1 if self._newest_next else self._choose(len(sizes))
        self._newest_next = not self._newest_next
        other = self._waiting[sizes[pick]]
        return (self.proven, other) if other.size > self.proven.size else (other, self.proven)

    def settle(self, first: Seen, second: Seen, proof: tuple[bytes, ...]) -> None:
        """Check the proof (RFC 9162 section 2.1.4.2) for a question. Raises Contradiction where it fails."""
        one, two = first.checkpoint, second.checkpoint
        try:
            verify_consistency(one.size, one.root, two.size, two.root, proof)
        except IntegrityError as error:
            raise Contradiction(str(error), first, second) from error
        self._asked = None
        for seen in (first, second):
            self._waiting.pop(seen.size, None)
            if seen.size > self.proven.size:
                self.proven = seen

    def extend(self, start: Seen, seen: Seen) -> None:
        """Take note of a checkpoint that has been proven to extend `start`. Raises Contradiction.

        Where something else has been proven meanwhile, it waits like any other.
        """
        self.observe(seen)
        if self.proven is start and seen.size > start.size:
            self._waiting.pop(seen.size, None)
            self.proven, self._asked = seen, None
