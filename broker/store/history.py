"""The history that this worker signs: heads of one log that are known to extend one another.

A key must sign one history only, whatever a database says its head is. What an append started from is in hand,
and is nearly always the head that was signed last: nothing but a comparison. Where another worker appended in
between, the leaves in between prove it, in one read; far apart, the tiles do (`proofs`). Refuses heads that are
proven to be of another history, and one that holds a link to a later log which no rotation made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from broker.core.merkle import EMPTY_RANGE, EMPTY_ROOT, HASH_BYTES, CompactRange
from broker.errors import AuditUnavailable
from broker.store.guard import Forked, LogClosed, SignedHead
from broker.store.proofs import Broken, Proofs

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
        self._range: CompactRange | None = EMPTY_RANGE
        self._roots: dict[int, bytes] = {0: EMPTY_ROOT}

    def holds(self, head: Head) -> bool:
        """Whether it is known without looking that the head is of this history. Raises Forked."""
        old = head.old
        if old is not None:
            if old == self._range and head.size > old.size:
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
        self._roots[head.size] = head.root
        if len(self._roots) > _KEPT:
            del self._roots[next(iter(self._roots))]
        if head.size > self.newest.size or (head.size == self.newest.size and self._range is None):
            self.newest, self._range = head, made

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
        made = self._range
        between = {each for each in known if each.size >= self.newest.size}
        ahead = sorted({end, *between}, key=lambda each: each.size)
        if made is None or ahead[0].size < made.size or ahead[-1].size - made.size > _NEAR:
            return False
        row = await connection.fetchrow(_LEAVES, log, made.size, ahead[-1].size, ahead[-1].size, -1)
        return _make(row, made, ahead)

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
        signed = [self.newest] if known is None else [self.newest, known]
        if not await self._near(connection, head, signed):
            await self._far(connection, head, [*signed, ours], broken)
        if known is not None:
            self.extend(known, head.range if known == ours else None)
        if take:
            self.extend(ours, head.range)

    async def _near(self, connection: asyncpg.Connection, head: Head, signed: list[SignedHead]) -> bool:
        """Whether the leaves between them say so."""
        ours = SignedHead(self._origin, head.size, head.root)
        wanted = sorted({*signed, ours}, key=lambda each: each.size)
        if len(wanted) == 1:
            return True
        sizes = [each.size for each in wanted]
        if len(set(sizes)) < len(sizes) or sizes[-1] - sizes[0] > _NEAR:
            return False
        made = head.range if wanted[0] == ours else self._range if wanted[0] == self.newest else None
        if made is None:
            return False
        last = max(each.size for each in signed)
        row = await connection.fetchrow(_LEAVES, head.log, sizes[0], sizes[-1], last, _allowed(head))
        if row is None or not _make(row, made, wanted[1:]):
            return False
        _refuse_link(row["link"])
        return True

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


def _make(row: asyncpg.Record | None, made: CompactRange, heads: Sequence[SignedHead]) -> bool:
    """Whether the leaves after `made` that were read make each of these heads, in order of size."""
    hashes, start = bytes(row["hashes"] or b"") if row else b"", made.size
    if len(hashes) != (heads[-1].size - start) * HASH_BYTES:
        return False
    leaves = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    for each in heads:
        made = made.extend(leaves[made.size - start : each.size - start])
        if made.root() != each.root:
            return False
    return True


def _allowed(head: Head) -> int:
    """Where a link may stand although it is not the first entry."""
    return head.size - 1 if head.closing else -1


def _refuse_link(index: int | None) -> None:
    if index is not None:
        raise Forked(f"entry {index} names a later log's key, and no rotation made it: signing stops")
