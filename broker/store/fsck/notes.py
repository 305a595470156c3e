"""Everything signed that is at hand of a log: in its database, and what was kept outside.

Owns the opening of notes and time stamps. What does not hold is named, and vouches for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import asyncpg
from cryptography import x509

from broker.anchor.token import over, verify
from broker.core.checkpoint import Verifier, open_checkpoint
from broker.core.entry import Rotation, parse_entry
from broker.errors import IntegrityError
from broker.offline.marks import Mark
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import has

_NEXT = "select leaf from entry where idx = 0 and log = (select min(id) from log where id > $1)"


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept outside the database: signed notes by the name of their file, and a guard's last head."""

    notes: tuple[tuple[str, bytes], ...] = ()
    guard: tuple[str, int, bytes] | None = None
    """Origin, size and root."""
    authorities: tuple[x509.Certificate, ...] = ()
    """Root certificates of time-stamp authorities that are believed."""


class Notes:
    """Everything signed that is at hand, by the log that it is of."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        verifiers: Sequence[Verifier],
        kept: Kept,
        origins: frozenset[str],
    ) -> None:
        self._connection = connection
        self._verifiers = verifiers
        self._kept = kept
        self._origins = origins

    async def of(self, log: asyncpg.Record, report: StoreReport) -> list[Mark]:
        """The marks of one log; what does not hold is named in its report."""
        notes = [*self._kept.notes, *await self._in_database(log), *await self._anchored(log, report)]
        marks = [mark for name, note in notes if (mark := self._opened(name, note, report)) is not None]
        if self._kept.guard is not None:
            origin, size, root = self._kept.guard
            if origin == report.origin:
                report.guarded = size
                marks.append(_within(Mark(size, root, "the guard"), report))
            elif origin not in self._origins:
                report.wrong(
                    "checkpoint", -1, "the guard", f"remembers {origin}, which is not in this database"
                )
        return marks

    async def _in_database(self, log: asyncpg.Record) -> list[tuple[str, bytes]]:
        """Signed notes that lie beside the log, and what the next log begins with."""
        notes: list[tuple[str, bytes]] = []
        if final := dict(log).get("final"):
            notes.append(("the final checkpoint", bytes(final)))
        leaf = await self._connection.fetchval(_NEXT, log["id"])
        if leaf is not None:
            with suppress(IntegrityError):  # that it is no entry is said where it stands
                first = parse_entry(bytes(leaf))
                notes += (
                    [("the next log's first entry", first.log.encode())] if isinstance(first, Rotation) else []
                )
        if await has(self._connection, "witnessed"):
            row = await self._connection.fetchrow(
                "select note, published from witnessed where log = $1", log["id"]
            )
            named = ("the cosigned checkpoint", "the published checkpoint")
            notes += [(name, bytes(note)) for name, note in zip(named, row or (), strict=False) if note]
        return notes

    async def _anchored(self, log: asyncpg.Record, report: StoreReport) -> list[tuple[str, bytes]]:
        """Checkpoints that were dated, their time stamps held against them."""
        if not await has(self._connection, "anchor"):
            return []
        rows = await self._connection.fetch(
            "select size, note, response, stamped_at from anchor where log = $1 order by size", log["id"]
        )
        if rows and not self._kept.authorities:
            report.unchecked.append(
                "who signed the time stamps: no root of their authority was given (--tsa-cert)"
            )
        for row in rows:
            response, note = bytes(row["response"]), bytes(row["note"])
            try:
                at = over(response, note)
                if self._kept.authorities:
                    verify(response, note, self._kept.authorities)
            except IntegrityError as e:
                text = str(e).removeprefix("time stamp: ")
                report.wrong("checkpoint", -1, f"the time stamp of {row['size']}", text)
                continue
            if at != row["stamped_at"]:
                text = f"states {at.isoformat()}, and the database another time"
                report.wrong("checkpoint", -1, f"the time stamp of {row['size']}", text)
        return [(f"the time-stamped checkpoint of {row['size']}", bytes(row["note"])) for row in rows]

    def _opened(self, name: str, note: bytes, report: StoreReport) -> Mark | None:
        try:
            checkpoint = open_checkpoint(note, self._verifiers)
        except IntegrityError as e:
            report.wrong("checkpoint", -1, name, str(e).removeprefix("checkpoint: "))
            return None
        if checkpoint.origin != report.origin:
            if checkpoint.origin not in self._origins:
                report.wrong(
                    "checkpoint", -1, name, f"is of {checkpoint.origin}, which is not in this database"
                )
            return None
        report.signed += 1
        return _within(Mark(checkpoint.size, checkpoint.root, name), report)


def _within(mark: Mark, report: StoreReport) -> Mark:
    if mark.size > report.size:
        text = f"{mark.who} says {mark.size} entries, the head {report.size}: the log was cut or set back"
        report.wrong("entry", report.size, "entry", f"is not there: {text}")
    return mark
