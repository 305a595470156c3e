"""Plans of erasures against the entries of their asking and their end, and erasures against who planned them.

A plan takes two people, and who the first was stands in its row until the second confirms it: a row changed
by hand would make one person two. So every erasure's entry must name whom the plan's own entry names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from broker.core.canonical import Json
from broker.erasureplans import names
from broker.secondperson import LASTS
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import has

_ROWS = """
select id::text as id, agency, system, actor, key_digest, at, ground, words_only, entries::text[] as entries,
    directives::text[] as directives
from erasure_plan order by at
"""
_ENDS = frozenset({"erasure-withdrawn", "erasure-refused"})


@dataclass(frozen=True, slots=True)
class _Planned:
    report: StoreReport
    index: int
    until: datetime
    columns: Mapping[str, Json]


@dataclass
class Plans:
    """Hears the full views of all logs, in the order of their entries."""

    compared: int = 0
    _planned: dict[str, _Planned] = field(default_factory=dict)
    _over: set[str] = field(default_factory=set)

    def hear(self, report: StoreReport, index: int, full: Mapping[str, Json]) -> None:
        """One full view that has been verified."""
        event, detail = full.get("event"), full.get("detail")
        if not isinstance(detail, dict) or not isinstance(plan := detail.get("plan"), str):
            return
        try:
            if event == "erasure-planned":
                self._planned[plan] = _planned(report, index, full, detail)
            elif event in _ENDS:
                self._over.add(plan)
            elif event == "erasure":
                self._over.add(plan)  # or goes on with what is left
                self._erased(report, index, plan, detail)
        except (LookupError, TypeError, ValueError, AttributeError):
            return  # nothing of ours writes such a view

    def _erased(self, report: StoreReport, index: int, plan: str, detail: Mapping[str, Any]) -> None:
        known = self._planned.get(plan)
        if known is None:
            return  # its entry has ended
        by = detail["planned_by"]
        self.compared += 1
        said = {"system": by["system"], "actor": by["actor"], "ground": detail["ground"]}
        if wrong := [name for name, value in said.items() if known.columns[name] != value]:
            text = f"says otherwise of its plan than entry {known.index}, which made that: {', '.join(wrong)}"
            report.wrong("row", index, f"entry {index} (erasure)", text)

    async def judge(
        self,
        connection: asyncpg.Connection,
        may_be_said: Callable[[datetime | None], bool],
        current: StoreReport,
        *,
        all_heard: bool,
        now: datetime,
    ) -> None:
        """Hold the table against it. `all_heard` says that no entry's views are gone."""
        if not await has(connection, "erasure_plan"):
            return
        unknown, seen = 0, set[str]()
        for row in await connection.fetch(_ROWS):
            self.compared += 1
            seen.add(row["id"])
            known = self._planned.get(row["id"])
            if known is None:
                unknown += (may := may_be_said(row["at"]))
                if not may:
                    current.wrong("row", -1, f"erasure_plan {row['id']}", "is there, and no entry made it")
                continue
            if wrong := [name for name, said in known.columns.items() if _stands(name, row) != said]:
                text = f"says otherwise than entry {known.index}: {', '.join(wrong)}"
                known.report.wrong("row", known.index, f"erasure_plan of entry {known.index}", text)
        for plan, known in self._planned.items():
            # One that lapsed goes with the next that its agency makes.
            if plan not in seen | self._over and known.until > now:
                unknown += not all_heard
                if all_heard:
                    text = f"is not there, and nothing says that it ended: entry {known.index} made it"
                    known.report.wrong("row", known.index, f"erasure_plan of entry {known.index}", text)
        if unknown:
            current.unchecked.append(
                f"what {unknown} plans of erasures are: the views of entries that may have said it are gone"
            )


def _planned(report: StoreReport, index: int, full: Mapping[str, Any], detail: Mapping[str, Any]) -> _Planned:
    agency, until = str(full["requester"]), datetime.fromisoformat(detail["until"])
    columns: dict[str, Json] = {
        "agency": agency,
        "system": f"{agency}/{full['system']}",
        "actor": full["actor"]["id"],
        "key_digest": full["key"],
        "at": until.isoformat(),
        **{name: detail[name] for name in ("ground", "words_only", "entries", "directives")},
    }
    if "names_sha256" in detail:
        columns["names"] = detail["names_sha256"]
    return _Planned(report, index, until, columns)


def _stands(name: str, row: asyncpg.Record) -> Json:
    if name == "at":
        return str((row["at"] + LASTS).isoformat())
    if name == "names":
        return names(row["entries"], row["directives"])
    if name in ("entries", "directives"):
        return len(row[name])
    value: Json = row[name]
    return value
