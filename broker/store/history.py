"""The history that this worker signs: heads of one log that are known to extend one another.

A key must sign one history only, whatever a database says its head is. What an append started from is in hand,
and is nearly always the head that was signed last: nothing but a comparison. Where another worker appended in
between, the leaves in between prove it, in one read; far apart, the tiles do (`proofs`). Refuses heads that are
proven to be of another history, and one that holds a link to a later log which no rotation made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import asyncpg

from broker.core.merkle import EMPTY_RANGE, EMPTY_ROOT, HASH_BYTES, CompactRange
from broker.errors import AuditUnavailable
from broker.store.guard import Forked, LogClosed, SignedHead
from broker.store.proofs import Broken, Proofs

Kept = TypeVar("Kept")
_NEAR = 2048  # leaves that are read rather than tiles
_KEPT = 512  # heads that are remembered, since answers of the database may cross
# A link is the only entry that has this key; within a string the marks would be escaped.
_LEAVES = """
select string_agg(sha256('\\x00'::bytea || leaf), ''::bytea order by idx) as hashes,
    min(idx) filter (
        where idx >= greatest($4, 1) and idx <> $5 and position('"log":"'::bytea in leaf) > 0
    ) as link
from entry where log = $1 and idx >= $2 and idx < $3
"""
_HEAD = "select log, size, range from head"
_LINK = """
select idx from entry where log = $1 and idx >= greatest($2, 1) and idx < $3 and idx <> $4
    and position('"log":"'::bytea in leaf) > 0 order by idx limit 1
"""
_PAST = 65_536  # entries of a long absence that are looked at for a link


@dataclass(frozen=True, slots=True)
class Head:
    """A committed head that is to be signed. `old`: what the append that made it started from, where it was
    ours. `closing`: a rotation's own link is its last entry."""

    log: int
    range: CompactRange
    root: bytes
    old: CompactRange | None = None
    closing: bool = False

    @property
    def size(self) -> int:
        """Entries."""
        return self.range.size


class History:
    """Of the log of one name."""

    def __init__(self, origin: str) -> None:
        self.newest = SignedHead(origin, 0, EMPTY_ROOT)
        self._origin = origin
        self._roots: dict[int, bytes] = {0: EMPTY_ROOT}
        # Of those of them that came with their range: from any of these, leaves lead on.
        self._ranges: dict[int, CompactRange] = {0: EMPTY_RANGE}

    def holds(self, head: Head) -> bool:
        """Whether it is known without looking that the head is of this history. Raises Forked."""
        old = head.old
        if old is not None:
            if head.size > old.size == self.newest.size and old == self._ranges.get(old.size):
                return True
            self.has(SignedHead(self._origin, old.size, old.root()))
        return self.has(SignedHead(self._origin, head.size, head.root))

    def has(self, head: SignedHead) -> bool:
        """Whether this head is known. Raises Forked where another of its size is."""
        root = self._roots.get(head.size)
        if root is not None and root != head.root:
            raise Forked(f"two roots for size {head.size}: the log has forked; signing stops")
        return root is not None

    def extend(self, head: SignedHead, made: CompactRange | None = None) -> None:
        """A head that is known to be of this history."""
        _keep(self._roots, head.size, head.root)
        if made is not None:
            _keep(self._ranges, head.size, made)
        if head.size > self.newest.size:
            self.newest = head

    def starts_at(self, head: Head, known: SignedHead) -> bool:
        """Whether `head` was appended to one that another worker has signed since; it is then taken."""
        old = head.old
        if old is None or known.size < self.newest.size or (old.size, old.root()) != (known.size, known.root):
            return False
        self.extend(known, old)
        return True

    async def reaches(
        self, connection: asyncpg.Connection, log: int, end: SignedHead, known: Sequence[SignedHead]
    ) -> bool:
        """Whether what was signed last here, and the leaves after it, make this end by way of what others have
        (`known`); no tile is read, so that what is damaged before it does not matter. False: that is not so, or
        too far to be looked at."""
        between = {each for each in (self.newest, *known) if each.size >= self.newest.size}
        ahead = sorted({end, *between}, key=lambda each: each.size)
        begins = self._before(ahead[0].size)
        if begins is None or ahead[0].size < self.newest.size or ahead[-1].size - begins.size > _NEAR:
            return False
        row = await connection.fetchrow(_LEAVES, log, begins.size, ahead[-1].size, ahead[-1].size, -1)
        return _made(row, begins, ahead) is not None

    async def prove(
        self,
        connection: asyncpg.Connection,
        head: Head,
        known: SignedHead | None,
        broken: Broken,
        *,
        take: bool = True,
    ) -> None:
        """That `head`, what was signed last, and what others have (`known`) are one history.

        Raises Forked where they are proven not to be; IntegrityError, AuditUnavailable where it cannot be told;
        LogClosed.
        """
        ours = SignedHead(self._origin, head.size, head.root)
        # What is known to begin the newest needs no look.
        told = known is None or (known.size <= self.newest.size and self.has(known))
        signed = [self.newest] if told or known is None else [self.newest, known]
        ranges = await self._near(connection, head, signed)
        if ranges is None:
            await self._far(connection, head, [*signed, ours], broken)
            ranges = {head.size: head.range}
        if known is not None:
            self.extend(known, ranges.get(known.size))
        if take:
            self.extend(ours, head.range)

    async def _near(
        self, connection: asyncpg.Connection, head: Head, signed: list[SignedHead]
    ) -> dict[int, CompactRange] | None:
        """The range of each, by its size, where the leaves between them say so."""
        ours = SignedHead(self._origin, head.size, head.root)
        wanted = sorted({*signed, ours}, key=lambda each: each.size)
        if len(wanted) == 1:
            return {head.size: head.range}
        begins = head.range if wanted[0] == ours else self._before(wanted[0].size)
        sizes = [each.size for each in wanted]
        if begins is None or len(set(sizes)) < len(sizes) or sizes[-1] - begins.size > _NEAR:
            return None
        last = max(each.size for each in signed)
        row = await connection.fetchrow(_LEAVES, head.log, begins.size, sizes[-1], last, _allowed(head))
        ranges = _made(row, begins, wanted)
        if row is None or ranges is None:
            return None
        _refuse_link(row["link"])
        return ranges

    def _before(self, size: int) -> CompactRange | None:
        """The longest range that is at hand of so many entries or fewer."""
        return self._ranges.get(max((each for each in self._ranges if each <= size), default=-1))

    async def _far(
        self, connection: asyncpg.Connection, head: Head, wanted: list[SignedHead], broken: Broken
    ) -> None:
        """The tiles say so, or who has forked."""
        row = await connection.fetchrow(_HEAD)
        if row is None:
            raise AuditUnavailable("the database has no head")
        if row["log"] > head.log:
            raise LogClosed("the log has been rotated since it was read")
        if row["log"] < head.log:
            raise Forked(f"the database went back to a log before {self._origin}, which has been signed")
        size = row["size"]
        root = CompactRange(size, tuple(bytes(each) for each in row["range"])).root()
        proofs = Proofs(connection, head.log, size, root, broken)
        for each in sorted(set(wanted), key=lambda one: -one.size):
            if each.size > size:
                raise Forked(
                    f"{each.size} entries of {self._origin} are known, and the database has {size}: some were "
                    "taken back"
                )
            found = (
                root if each.size == size else EMPTY_ROOT if not each.size else await proofs.root_at(each.size)
            )
            if found != each.root:
                raise Forked(f"the first {each.size} entries of {self._origin} are not those that were signed")
        last = max((each.size for each in wanted if each.size != head.size), default=0)
        if last < head.size:
            since = max(last, head.size - _PAST)
            _refuse_link(await connection.fetchval(_LINK, head.log, since, head.size, _allowed(head)))


def _keep(kept: dict[int, Kept], size: int, value: Kept) -> None:
    """At its end, so that what was used longest ago goes."""
    kept.pop(size, None)
    kept[size] = value
    if len(kept) > _KEPT:
        del kept[next(iter(kept))]


def _made(
    row: asyncpg.Record | None, begins: CompactRange, heads: Sequence[SignedHead]
) -> dict[int, CompactRange] | None:
    """The ranges that the leaves which were read make of `begins`, by size; None where one of these heads, in
    order of size, is another."""
    hashes, made = bytes(row["hashes"] or b"") if row else b"", begins
    if len(hashes) != (heads[-1].size - begins.size) * HASH_BYTES:
        return None
    leaves = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    ranges = dict[int, CompactRange]()
    for each in heads:
        made = made.extend(leaves[made.size - begins.size : each.size - begins.size])
        if made.root() != each.root:
            return None
        ranges[each.size] = made
    return ranges


def _allowed(head: Head) -> int:
    """Where a link may stand although it is not the first entry."""
    return head.size - 1 if head.closing else -1


def _refuse_link(index: int | None) -> None:
    if index is not None:
        raise Forked(f"entry {index} names a later log's key, and no rotation made it: signing stops")
