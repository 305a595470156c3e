"""The log: appends that are durable and proven before anybody hears of them.

One statement appends a batch; from the head it started from and the batch's own leaves come every inclusion
proof, with no reads; the checkpoint is signed from the committed head, and the guard notes it. A commit whose
fate is unknown is resolved by issuing the same append again: every entry has its own random id. Where the log
has been closed, the rotation is finished first (`rotation`), and the same append goes to the next log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import asyncpg
from msgspec.structs import replace

from broker.coalesce import Coalescer
from broker.core.canonical import Json
from broker.core.entry import commit
from broker.core.merkle import CompactRange, extend_to_root, leaf_hash
from broker.core.receipt import Receipt
from broker.core.retention import CHANGES, STANDARD
from broker.errors import AuditUnavailable, BrokerError, IntegrityError
from broker.ids import random_bytes
from broker.ports import Appended, Change, Clock, Draft, NotAppended
from broker.store.append import APPEND, CHANGE, Prepared, append_arguments, change_arguments, prepare
from broker.store.blind import Blind
from broker.store.fastjson import encode
from broker.store.guard import LogClosed
from broker.store.history import Head
from broker.store.notary import Notary
from broker.store.pool import Database
from broker.store.reader import LogReader
from broker.store.rotation import finish
from broker.store.seal import Seals, ViewKey
from broker.store.stencil import Stencils

TRIES = 3  # of the same append, when its fate is unknown
_PAUSE = 0.2
Send = Callable[[Callable[[], list[Any]]], Awaitable[asyncpg.Record]]


class PostgresLog:
    """Implements `ports.Log` on PostgreSQL."""

    def __init__(
        self, database: Database, seals: Seals, blind: Blind, notary: Notary, reader: LogReader, clock: Clock
    ) -> None:
        self.appends: Coalescer[Prepared, Appended | NotAppended] = Coalescer("append", self._flush)
        self._database = database
        self._batches = database.keep(APPEND)
        self._seals = seals
        self._blind = blind
        self._stencils = Stencils(blind.terms)
        self._notary = notary
        self._reader = reader
        self._clock = clock

    def append(self, draft: Draft) -> asyncio.Future[Appended | NotAppended]:
        """Durable and proven, or not in the log at all. Raises AuditUnavailable when its fate is unknown."""
        key = self._seals.at_hand(draft.at, draft.retention or STANDARD)
        if key is None:
            return asyncio.ensure_future(self._append(draft))
        return self._submit(self._prepare(draft, key))

    async def _append(self, draft: Draft) -> Appended | NotAppended:
        key = await self._seals.current(draft.at, draft.retention or STANDARD)
        return await self._submit(self._prepare(draft, key))

    def _submit(self, item: Prepared) -> asyncio.Future[Appended | NotAppended]:
        draft = item.draft
        return self.appends.submit(item, item.size, draft.requester_agency, urgent=draft.urgent)

    async def receipt(self, entry: str, audience: str) -> tuple[Receipt, dict[str, Json]]:
        """As `LogReader.receipt`."""
        return await self._reader.receipt(entry, audience)

    async def change(self, draft: Draft, change: Change) -> Appended | NotAppended:
        """Append the entry of a change of what decisions read, and make the change, in one statement."""
        key = await self._seals.current(draft.at, draft.retention or CHANGES)
        item = self._prepare(draft, key)
        if change.sealed is not None:
            blob = key.seal(encode(change.sealed), str(change.detail["id"]), change.kind)
            change = replace(change, blob=blob)

        def arguments(again: bool) -> list[Any]:
            return change_arguments(item, change, self._blind, self._clock.now(), again)

        row = await self._commit(partial(self._database.commit, CHANGE), arguments)
        return (await self._settle([item], row))[0]

    async def _flush(self, batch: Sequence[Prepared]) -> list[Appended | NotAppended]:
        def arguments(again: bool) -> list[Any]:
            return append_arguments(batch, self._blind, self._clock.now(), again)

        try:
            return await self._settle(batch, await self._commit(self._batches.commit, arguments))
        except (BrokerError, asyncpg.PostgresError):
            raise
        except Exception as e:
            # Only the server's own refusal says that nothing was committed. After anything else the items may
            # stand, and tried one by one each would be refused for the claim that it holds itself.
            raise AuditUnavailable("an append ended in an error of unknown meaning") from e

    async def _commit(self, send: Send, arguments: Callable[[bool], list[Any]]) -> asyncpg.Record:
        """The statement's row. An append whose fate is unknown is issued again, the same.

        A PostgresError says that nothing of it was committed, by this try or an earlier one.
        """
        self._notary.require()  # or what is appended could not be signed here
        unsure = False
        for tries_left in reversed(range(TRIES)):
            try:
                return await send(partial(arguments, unsure))
            except AuditUnavailable:
                if not tries_left:
                    raise
                unsure = True
            except asyncpg.PostgresError as e:
                if e.sqlstate == "BL004":
                    if not tries_left:
                        raise AuditUnavailable("the log is between two half-years") from e
                    await finish(self._database, self._notary, self._clock)
                    continue
                if e.sqlstate == "BL002":
                    # A busy machine sends late, so a second look; clocks that are apart stay so.
                    if not tries_left:
                        raise AuditUnavailable(
                            "this worker's clock is more than 500 ms from the database's"
                        ) from e
                elif unsure:
                    raise AuditUnavailable("an append of unknown fate was refused when issued again") from e
                else:
                    raise
            await asyncio.sleep(_PAUSE)
        raise AssertionError("unreachable")

    async def _settle(self, batch: Sequence[Prepared], row: asyncpg.Record) -> list[Appended | NotAppended]:
        leaves = [
            leaf_hash(item.sealed.entry)
            for item, status in zip(batch, row["status"], strict=True)
            if status == "appended"
        ]
        old = CompactRange(row["old_size"], tuple(bytes(h) for h in row["old_range"]))
        new, root, proofs = extend_to_root(old, leaves)
        if new != CompactRange(row["new_size"], tuple(bytes(h) for h in row["new_range"])):
            raise IntegrityError("the database's head is not the one these entries make")
        self._database.acknowledged.came_to(row["log"], row["new_size"])
        note = await self._note(Head(row["log"], new, root, old)) if leaves else b""
        fresh = iter(proofs)
        results: list[Appended | NotAppended] = []
        for item, status, index in zip(batch, row["status"], row["idx"], strict=True):
            if status == "appended" and note:
                receipt = Receipt(item.sealed.entry, index, next(fresh), note, item.sealed.requester)
                results.append(Appended(receipt, batch=len(batch)))
            elif status in ("appended", "repeated"):
                repeated = status == "repeated"
                results.append(Appended(await self._again(item), repeated=repeated, batch=len(batch)))
            else:
                results.append(NotAppended(status))
        return results

    async def _note(self, head: Head) -> bytes:
        """The checkpoint of a head that we have committed; empty where the log has been rotated since."""
        if head.log > self._notary.log:  # by another worker
            await finish(self._database, self._notary, self._clock)
        if head.log != self._notary.log:
            return b""
        try:
            return await self._notary.sign(head, self._database.connection)
        except LogClosed:
            return b""

    async def _again(self, item: Prepared) -> Receipt:
        """The receipt of an entry that stands: an earlier try had committed it, or it ends an old log."""
        index, proof, note = await self._reader.place(item.draft.id)
        return Receipt(item.sealed.entry, index, proof, note, item.sealed.requester)

    def _prepare(self, draft: Draft, key: ViewKey) -> Prepared:
        words, more = None, dict[str, Json]()
        if draft.words:
            salt = random_bytes(32)
            words = salt + draft.words.encode()
            more["words"] = commit(salt, words[32:])
        return prepare(draft, self._stencils.write(draft, more), words, key)
