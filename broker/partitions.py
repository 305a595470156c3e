"""Use case of dropping what was exported: the entries of one partition of a closed log.

Only when an operator says so. Refused: a log that is not closed; a partition that is not whole; a digest that
is not that of the entries as they are kept, since then the export is not what it should be.
"""

from __future__ import annotations

import re
from typing import Protocol

from broker.administration import Administration, Made
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function, Reason
from broker.errors import InvalidRequest
from broker.registry import require

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class DroppedTable(Protocol):
    """Entries of closed logs, and which of them were dropped. Each raises AuditUnavailable."""

    async def digest(self, log: str, partition: int) -> str:
        """Hex SHA-256 of the bundles of a partition, as they are kept, or as they were when they were dropped.

        KeyError where there is no such closed log, or no such whole partition.
        """

    async def drop(self, log: str, partition: int, digest: str, place: str) -> None:
        """Drop its entries; said and done by an earlier call, or partly, it is finished."""


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
        said = reason or Reason()
        detail: dict[str, Json] = {
            "log": log,
            "partition": partition,
            "digest": digest,
            "place": place,
            "reason": said.code or None,
        }
        made = await self._administration.note(caller, "partition-dropped", detail, actor, said.words)
        await self._table.drop(log, partition, digest, place)
        return made
