"""From the log of one half-year to the next, so that a crash at any moment leaves nothing undone or done twice.

    the next key is in the key ring, synced       `prepare`: nothing else has happened; made once
    the last entry stands, naming that key        `close`: from here on nothing is appended (BL004) ...
    the final checkpoint is signed and noted      `finish`: by the old key, over what is committed
    the next log stands with its first entry      `finish`: ... until here; the head has gone over
    whoever finds the head there goes over too    `Notary.turn`: only now the next key signs

Whoever is given back an append because the log is closed finishes the rotation, and appends again: no worker
waits for another, and one that was killed is not missed. Both steps are given to the database by the number of
the log that they are about, so that a second try of either changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime

import asyncpg

from broker.core.entry import Rotation
from broker.core.keys import Signer, Verifier
from broker.core.merkle import CompactRange
from broker.core.rotation import Link, rotation, split_origin
from broker.errors import AuditUnavailable, IntegrityError, InvalidRequest
from broker.keys import KeyRing
from broker.ports import Clock
from broker.store.guard import LogClosed
from broker.store.history import Head
from broker.store.notary import Notary
from broker.store.onelog import OneLog
from broker.store.pool import Database, one
from broker.store.reader import LogReader

_CLOSE = "select log_close($1, $2, $3, $4) as done"
_OPEN = "select log_open($1, $2, $3, $4, $5, $6, $7) as done"
_HEAD = """
select h.log, h.size, h.range, h.closed, l.origin, e.leaf,
    current_setting('synchronous_standby_names') <> '' as standby
from head h join log l on l.id = h.log left join entry e on e.log = h.log and e.idx = h.size - 1 and h.closed
"""
Step = Callable[[str], None]


def _unseen(_: str) -> None:
    """Nobody looks on."""


class HalfYears:
    """Carries out rotations. `step` is told the name of each step once it has been taken."""

    def __init__(
        self,
        database: Database,
        notary: Notary,
        reader: LogReader,
        ring: KeyRing,
        clock: Clock,
        step: Step = _unseen,
    ) -> None:
        self._database = database
        self._notary = notary
        self._reader = reader
        self._ring = ring
        self._clock = clock
        self._step = step

    @property
    def origin(self) -> str:
        """The current log, as this worker knows it."""
        return self._notary.origin

    def prepared(self, origin: str) -> str:
        """The verifier key of a log that is to come, if this worker holds its key; empty where it does not."""
        seed = self._ring.log_seed(split_origin(origin)[1])
        return "" if seed is None else Signer.from_seed(origin, seed).vkey

    def prepare(self, origin: str) -> str:
        """The same; the key is made, and on the disk, where it was not there."""
        made = Signer.from_seed(origin, self._ring.make_log_seed(split_origin(origin)[1]))
        self._step("prepared")
        return made.vkey

    async def size(self) -> int:
        """Entries of the current log. Raises AuditUnavailable."""
        return await self._reader.size()

    async def rotate(self, origin: str, vkey: str) -> None:
        """Close the log of this name, if it still is the current one, and open the one of that key.

        Raises AuditUnavailable; where it does, `finish` takes it to its end, or `rotate` again begins.
        """
        async with self._database.connection() as connection:
            row = await one(connection, "select log, origin from head h join log l on l.id = h.log")
        self._notary.require_whole()
        if row["origin"] == origin:
            # What an earlier try of the same rotation named stands, whatever this one would.
            last = Rotation(self._now(), str(uuid.uuid4()), vkey)
            await self._call(_CLOSE, row["log"], last.id, last.to_bytes())
            self._step("closed")
        await self.finish()

    async def finish(self) -> None:
        """Open the next log where the current one is closed, and go over to whichever is current.

        Raises AuditUnavailable, where this node has not the next log's key too.
        """
        await finish(self._database, self._notary, self._clock, self._step)

    async def link(self, origin: str, size: int) -> Link:
        """How the log after this one is reached, from `size` entries on.

        Raises InvalidRequest, AuditUnavailable.
        """
        chain = await self._reader.chain()
        at = next((n for n, each in enumerate(chain) if each.origin == origin), None)
        if at is None:
            raise InvalidRequest("log", "is no log of this broker")
        if not at:
            raise InvalidRequest("log", "is the current one: none follows it yet")
        old, new = (OneLog(self._database, self._notary, each.number) for each in (chain[at], chain[at - 1]))
        end, final = await old.head()
        if size > end:
            raise InvalidRequest("size", f"that log ended with {end} entries")
        entries = await self._ends(chain[at].number, chain[at - 1].number, end)
        length, head = await new.head()
        return Link(
            entries[0],
            await old.proof_at(end - 1, end),
            final,
            await old.proof_between(size, end) if size else (),
            entries[1],
            await new.proof_at(0, length),
            head,
        )

    async def consistency(self, origin: str, old: int, new: int) -> tuple[tuple[bytes, ...], bytes]:
        """As `OneLog.consistency`, of the log of this name; empty: the current one. Raises InvalidRequest."""
        if not origin:
            return await self._reader.consistency(old, new)
        try:
            number = await self._reader.numbered(origin)
        except KeyError as e:
            raise InvalidRequest("log", "is no log of this broker") from e
        return await OneLog(self._database, self._notary, number).consistency(old, new)

    async def _ends(self, old: int, new: int, end: int) -> list[bytes]:
        """Last entry of the old log and first of the new. Raises IntegrityError where one is not here."""
        async with self._database.connection() as connection:
            leaves = [
                await connection.fetchval("select leaf from entry where log = $1 and idx = $2", log, index)
                for log, index in ((old, end - 1), (new, 0))
            ]
        if None in leaves:
            raise IntegrityError("the entry that links two half-years is not in the database")
        return [bytes(leaf) for leaf in leaves]

    async def _call(self, sql: str, *arguments: object) -> bool:
        return await _call(self._database, self._clock, sql, *arguments)

    def _now(self) -> datetime:
        return self._clock.now().replace(microsecond=0)


async def finish(database: Database, notary: Notary, clock: Clock, step: Step = _unseen) -> None:
    """As `HalfYears.finish`."""
    async with database.connection() as connection:
        row = await one(connection, _HEAD)
        await notary.turn(connection)
        if not row["closed"]:
            return
    notary.require_whole()
    vkey = rotation(bytes(row["leaf"]))
    # Ours before anything is done: a log whose key nobody has would take no entry.
    notary.signer_of(Verifier.from_vkey(vkey).name, vkey)
    if row["log"] == notary.log:
        held = CompactRange(row["size"], tuple(bytes(h) for h in row["range"]))
        if row["standby"]:  # it may be another worker's, whose wait for it was cancelled
            async with database.connection() as connection:
                await database.acknowledged.require(connection, row["log"], row["size"])
        try:
            if row["log"] != notary.log:  # by another task of ours, while we waited
                raise LogClosed("the log has been rotated since it was read")
            final = await notary.sign(Head(row["log"], held, held.root(), closing=True), database.connection)
        except LogClosed:  # by another worker, just now
            final = b""
        step("signed")
        if final:
            first = Rotation(clock.now().replace(microsecond=0), str(uuid.uuid4()), final.decode())
            arguments = (row["log"], row["size"], final, vkey, first.id, first.to_bytes())
            await _call(database, clock, _OPEN, *arguments)
            step("opened")
    async with database.connection() as connection:
        await notary.turn(connection)
    step("turned")


async def _call(database: Database, clock: Clock, sql: str, *arguments: object) -> bool:
    """One step. Raises AuditUnavailable where its fate is unknown, or the database would not."""
    try:
        return bool((await database.commit(sql, lambda: [clock.now(), *arguments]))["done"])
    except asyncpg.PostgresError as e:
        if e.sqlstate == "BL005":
            raise IntegrityError("the database's last entry does not name the log that was to be opened") from e
        if e.sqlstate == "BL002":
            raise AuditUnavailable("this worker's clock is more than 500 ms from the database's") from e
        raise AuditUnavailable("the database did not take a step of the rotation") from e
