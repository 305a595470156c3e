"""Use cases of auditors: an entry's receipt, opened for those who may, and every opening an entry itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from broker.administration import Administration, why
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.opened import found_by
from broker.core.receipt import Receipt
from broker.errors import InvalidRequest, NotAllowed, NotTimestamped, NotWitnessed
from broker.heritage import Heritage, district_of
from broker.ports import Clock, LogView, TimeStamps, Witnesses

WITNESSED_WITHIN = 5.0  # seconds: witnesses cosign about once in one
_NONE = "there is no such entry that you may see"


@dataclass(frozen=True, slots=True)
class Opened:
    """A receipt, and which view its opening opens: requester, provider, full, or empty for none. `timestamp` is
    a time-stamp authority's response over the receipt's checkpoint, where one was asked for."""

    receipt: Receipt
    audience: str
    timestamp: bytes = b""


class Audits:
    """Reads the log for people."""

    def __init__(
        self,
        administration: Administration,
        log: LogView,
        heritage: Heritage,
        clock: Clock,
        witnesses: Witnesses | None = None,
        timestamps: TimeStamps | None = None,
    ) -> None:
        self._administration = administration
        self._log = log
        self._heritage = heritage
        self._clock = clock
        self._witnesses = witnesses
        self._timestamps = timestamps

    async def at(self, index: int, log: str = "") -> str:
        """The id of the entry at a place of a log, from 0: every entry's bytes are anybody's to read.

        `log` is named by its origin or half-year; empty: the current one.
        """
        try:
            return await self._log.id_at(index, log)
        except KeyError as e:
            raise InvalidRequest(
                "index", "the log has no such entry yet, or there is no such log; places are counted from 0"
            ) from e

    async def receipt(self, caller: Caller, event_id: str, *, archived: bool = False) -> Opened:
        """An entry with its proof and no opening: it reveals a time and nothing else. Without its bytes where
        they are kept in an export alone, and the caller has that (`archived`); else raises KeptElsewhere."""
        receipt = await self._read(event_id, "requester", archived)
        return Opened(Receipt(receipt.entry, receipt.index, receipt.proof, receipt.checkpoint, None), "")

    async def open(
        self, caller: Caller, event_id: str, actor: Actor, reason: Reason, *, archived: bool = False
    ) -> Opened:
        """The same with the caller's view opened. Somebody looked: that is committed before it is shown,
        and is found by whom and what the view is about."""
        audience, old = await self._whose(caller, event_id)
        why(reason)
        # What cannot be shown is not looked at.
        receipt, full = await self._both(event_id, audience, archived)
        shown = found_by(full, audience, receipt.opening.view if receipt.opening else None)
        detail: dict[str, Json] = {"entry": event_id, "audience": audience, **shown}
        if old:
            detail["in_place_of"] = old
        await self._administration.note_look(caller, "entry-viewed", detail, actor, reason)
        return Opened(await self._read(event_id, audience, archived), audience)

    async def witnessed(self, opened: Opened, within: float = WITNESSED_WITHIN) -> Opened:
        """The same to a checkpoint that a quorum of witnesses has cosigned; waits for it, `within` seconds.

        Raises NotWitnessed, InvalidRequest where this log has no witnesses.
        """
        if self._witnesses is None:
            raise InvalidRequest("witnessed", "this log has no witnesses")
        until = self._clock.loop_time() + within
        receipt = await self._witnesses.witnessed(opened.receipt, until)
        if receipt is None:
            raise NotWitnessed("no quorum of witnesses has cosigned this entry yet; ask again later")
        return Opened(receipt, opened.audience)

    async def timestamped(self, opened: Opened) -> Opened:
        """The same to the first checkpoint with the entry that was time-stamped, and the time stamp.

        Raises NotTimestamped where there is none yet, InvalidRequest where this log is not time-stamped.
        """
        if self._timestamps is None:
            raise InvalidRequest("timestamped", "this log is not time-stamped")
        found = await self._timestamps.timestamped(opened.receipt)
        if found is None:
            raise NotTimestamped("no checkpoint with this entry has been time-stamped yet; ask again later")
        return Opened(found[0], opened.audience, found[1])

    async def audience(self, caller: Caller, event_id: str) -> str:
        """Whose view of an entry the caller may see: requester, provider or full. Raises NotAllowed."""
        return (await self._whose(caller, event_id))[0]

    async def _whose(self, caller: Caller, event_id: str) -> tuple[str, str]:
        """The same, and in whose place."""
        try:
            requester, provider = await self._log.parties(event_id)
        except KeyError as e:
            raise NotAllowed(_NONE) from e
        if caller.function is Function.AUDITOR:
            return "full", ""
        if caller.function is Function.PARTNER and caller.agency == requester:
            return "requester", ""
        if caller.function is Function.PARTNER and caller.agency == provider:
            return "provider", ""
        for share in await self._heritage.left_to(caller):
            if share.of in (requester, provider):
                _, full = await self._log.receipt(event_id, "full")
                if district_of(full) not in share.but:
                    return ("requester" if share.of == requester else "provider"), share.of
        raise NotAllowed(_NONE)

    async def _read(self, event_id: str, audience: str, archived: bool) -> Receipt:
        return (await self._both(event_id, audience, archived))[0]

    async def _both(self, event_id: str, audience: str, archived: bool) -> tuple[Receipt, Mapping[str, Json]]:
        """The receipt with that view's opening, and the full view."""
        try:
            return await self._log.receipt(event_id, audience, archived=archived)
        except KeyError as e:
            raise NotAllowed(_NONE) from e
