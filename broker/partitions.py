"""Use case of dropping what was exported: the entries of one partition of a closed log.

Only when an operator says so. Refused: a log that is not closed; a partition that is not whole; a digest that
is not that of the entries as they are kept, since then the export is not what it should be.

Said first, then done. The entry and the row that tells readers where the export is are committed in one
statement, before the first byte goes: a row without an entry is nobody's word, and bytes that went without
both are a loss. Where the broker stops between the two, the entry says more than was done: the bytes are there
still, are served, and cost nothing but room. Nothing finishes that by itself: the operator's command failed,
and the same again says it once more and drops what is left.
"""

from __future__ import annotations

import re
from typing import Protocol

from broker.administration import Administration, Made, Plan
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function, Reason
from broker.errors import InvalidRequest
from broker.ports import Change
from broker.registry import require

EVENT = "partition-dropped"
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class DroppedTable(Protocol):
    """Entries of closed logs, and which of them were dropped. Each raises AuditUnavailable."""

    async def digest(self, log: str, partition: int) -> str:
        """Hex SHA-256 of the bundles of a partition, as they are kept, or as they were when they were dropped.

        KeyError where there is no such closed log, or no such whole partition.
        """

    async def keep_hashes(self, log: str, partition: int) -> None:
        """Keep the hash of each of its entries, proven in the log: all that there will be of them here."""

    async def drop(self, log: str, partition: int) -> None:
        """Drop its entries, once it is said (a change of the kind EVENT); partly done by an earlier call, it is
        finished."""


class Partitions:
    """Drops partitions for operators."""

    def __init__(self, administration: Administration, table: DroppedTable) -> None:
        self._administration = administration
        self._table = table

    async def drop(
        self,
        caller: Caller,
        log: str,
        partition: int,
        digest: str,
        place: str,
        actor: Actor | None = None,
        reason: Reason | None = None,
    ) -> Made:
        """Drop a partition whose export has this digest. Raises InvalidRequest, AuditUnavailable."""
        require(caller, Function.OPERATOR)
        if not place:
            raise InvalidRequest("place", "say where the export is: whoever looks for an entry is told it")
        if not _DIGEST.fullmatch(digest):
            raise InvalidRequest("digest", "is 64 lower-case hex digits: the SHA-256 of the exported bundles")
        try:
            kept = await self._table.digest(log, partition)
        except KeyError as e:
            raise InvalidRequest(
                "partition", "is no whole one (65,536 entries) of a log that is closed: rotate the log first"
            ) from e
        if kept != digest:
            raise InvalidRequest(
                "digest", "is not that of the entries as they are kept here: export them again"
            )
        await self._table.keep_hashes(log, partition)
        said = reason or Reason()
        detail: dict[str, Json] = {
            "log": log,
            "partition": partition,
            "digest": digest,
            "place": place,
            "reason": said.code or None,
        }
        change = Change(EVENT, detail, frozenset({f"{EVENT}:{log}/{partition}"}), reference=False)

        async def plan() -> Plan:
            return Plan(EVENT, detail, change, words=said.words)

        made = await self._administration.make(caller, plan, actor)
        await self._table.drop(log, partition)
        return made
