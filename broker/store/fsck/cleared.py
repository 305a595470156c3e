"""What controllers cleared of a request for access, and what its answer held, against what the entries say.

Each clearing's entry says which entries, by whose human, under which exemption and when; the answer's says how
many it held, and a digest of which. So nothing can be put into an answer that was given, nor taken out of it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from broker.core.canonical import Json
from broker.offline.problems import MOST
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import has, parts

MANY = 200_000  # clearings that are remembered at once
_ROWS = """
select c.access::text as access, c.entry::text as entry, c.agency, c.code, c.cleared_at, c.cleared_by, c.told,
    a.issued_at
from access_clearing c join access_request a on a.id = c.access order by c.access, c.entry, c.agency
"""
_OPEN = "select id::text as id from access_request where id = any ($1::uuid[])"


class _Said(NamedTuple):
    report: StoreReport
    place: int
    said: tuple[str, datetime, str]  # code, when, whose human


@dataclass
class Cleared:
    """Hears the full views of all logs, in the order of their entries."""

    compared: int = 0
    _rows: dict[tuple[str, str, str], _Said] = field(default_factory=dict)
    _answers: dict[str, tuple[StoreReport, int, str]] = field(default_factory=dict)
    _more: int = 0
    _wrong: int = 0
    _unknown: int = 0

    def hear(self, report: StoreReport, index: int, full: Mapping[str, Json]) -> None:
        """One full view that has been verified."""
        event, detail = full.get("event"), full.get("detail")
        if not isinstance(detail, dict):
            return
        try:
            if event == "access-cleared":
                self._hear(report, index, detail)
            elif event == "access-answered":
                self._answers[str(detail["access"])] = report, index, str(detail["told_sha256"])
        except (LookupError, TypeError, ValueError):
            return  # nothing of ours writes such a view

    def _hear(self, report: StoreReport, index: int, detail: Mapping[str, Any]) -> None:
        said = str(detail["code"]), datetime.fromisoformat(detail["at"]), str(detail["cleared_by"])
        for entry in detail["entries"]:
            key = str(detail["access"]), str(entry), str(detail["agency"])
            if key in self._rows or len(self._rows) < MANY:
                self._rows[key] = _Said(report, index, said)  # until it is answered the last counts
            else:
                self._more += 1

    async def judge(
        self,
        connection: asyncpg.Connection,
        may_be_said: Callable[[datetime | None], bool],
        current: StoreReport,
    ) -> None:
        """Hold the table against it. `may_be_said` tells whether an entry that is gone may be of a moment."""
        if not await has(connection, "access_clearing"):
            return
        told, issued, seen = (
            defaultdict[str, list[str]](list),
            dict[str, datetime | None](),
            set[tuple[str, ...]](),
        )
        async for some in parts(connection, _ROWS):
            for row in some:
                self.compared += 1
                issued[row["access"]] = row["issued_at"]
                if row["told"] and row["entry"] not in told[row["access"]][-1:]:
                    told[row["access"]].append(row["entry"])
                key = row["access"], row["entry"], row["agency"]
                seen.add(key)
                self._row(row, self._rows.get(key), may_be_said, current)
        for access, at in issued.items():
            self._answer(access, told[access], may_be_said(at), at is not None, current)
        await self._missing(connection, seen)
        if self._unknown:
            current.unchecked.append(
                f"what {self._unknown} rows of access_clearing say: the views of entries that may have said it "
                "are gone"
            )
        if self._more:
            current.unchecked.append(f"of {self._more} more clearings, what their entries say")

    def _row(
        self,
        row: asyncpg.Record,
        said: _Said | None,
        may_be_said: Callable[[datetime | None], bool],
        current: StoreReport,
    ) -> None:
        stands = row["code"], row["cleared_at"], row["cleared_by"]
        if said is not None and stands == said.said:
            return
        later = said is None or row["cleared_at"] > said.said[1]
        if later and (may_be_said(row["cleared_at"]) or self._more):
            self._unknown += 1
        elif said is None:
            self._say(current, -1, "a row that no entry made")
        else:
            self._say(said.report, said.place, f"says otherwise than entry {said.place}")

    def _answer(self, access: str, told: list[str], may_be: bool, issued: bool, current: StoreReport) -> None:
        said = self._answers.get(access)
        if said is None:
            if issued and may_be:
                self._unknown += bool(told)
            elif told:
                self._say(current, -1, "lists what an answer held that no entry says was given")
            return
        report, index, digest = said
        if hashlib.sha256("".join(f"{each}\n" for each in sorted(told)).encode()).hexdigest() != digest:
            self._say(report, index, f"lists other entries as told than the answer of entry {index} held")

    async def _missing(self, connection: asyncpg.Connection, seen: set[tuple[str, ...]]) -> None:
        missing = {key: said for key, said in self._rows.items() if key not in seen}
        asked = list({access for access, _, _ in missing})
        # With a request for access, whose end its own row's entry says, goes what was cleared of it.
        there = {row["id"] for row in await connection.fetch(_OPEN, asked)} if asked else set()
        for (access, _, _), said in missing.items():
            if access in there:
                self._say(said.report, said.place, f"is not there: entry {said.place} made it")

    def _say(self, report: StoreReport, index: int, text: str) -> None:
        self._wrong += 1
        if self._wrong <= MOST:
            report.wrong(
                "row", index, f"access_clearing of entry {index}" if index >= 0 else "access_clearing", text
            )
        else:
            report.more += 1
