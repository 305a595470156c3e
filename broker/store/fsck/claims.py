"""Request ids and the entries that they lead to, against what these entries say was asked.

An entry that ends a request has its claim, which leads to it and to no other, with everything that was asked,
blind; an intent has one that leads to it, or to the end of the same request. What a claim should say that leads
to an entry without views is known no more: these are counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from broker.core.acted import LATE
from broker.core.canonical import Json
from broker.core.entry import parse_entry
from broker.core.model import Override, Reason, Request
from broker.core.recorded import request_of
from broker.errors import IntegrityError
from broker.offline.problems import MOST
from broker.store.blind import Blind
from broker.store.fsck.beside import ANY_PLAN, IN_ORDER, WHOLE
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import parts
from broker.store.fsck.views import Of, Views

INTENT = "intent"
_ENDS = frozenset({INTENT, "disclosure", "refusal", "not-found", "referral-asked"})
_OF = """
select w.n, c.system, c.content, c.retry_of::text as retry_of, c.entry::text as entry, c.settled,
    c.effect::text as effect
from unnest($1::text[], $2::uuid[]) with ordinality w(system, request, n)
join claim c on c.system = w.system and c.request = w.request
"""
_UNHEARD = """
select count(*) from claim c join entry e on e.id = c.entry
left join view v on v.log = e.log and v.idx = e.idx where v.key is null or not v.key = any ($1::smallint[])
"""
_NOWHERE = "select count(*) from claim c where not exists (select from entry e where e.id = c.entry)"
_ALL = """
select c.system, c.request::text as request, e.log, e.idx, e.id::text as id, e.leaf, v.key, v.views, v.words,
    v.requester_agency, v.provider_agency
from claim c join entry e on e.id = c.entry join view v on v.log = e.log and v.idx = e.idx
where v.key = any ($1::smallint[])
"""


@dataclass(frozen=True, slots=True)
class Due:
    """A claim that an entry should have. `asked` are the contents of which it may have been made; None where
    the words that were part of it are gone."""

    index: int
    entry: str
    system: str
    request: str
    retry_of: str
    intent: bool
    asked: tuple[bytes, ...] | None


@dataclass
class Claims:
    """Hears the full views of all logs; each batch is compared when it is complete."""

    blind: Blind
    good: int = 0
    wordless: int = 0
    _waiting: list[tuple[StoreReport, Due]] = field(default_factory=list)

    def hear(
        self, report: StoreReport, index: int, entry: str, full: Mapping[str, Json], words: str | None
    ) -> None:
        """One full view that has been verified, and its words: None where they are gone."""
        due = due_of(self.blind, index, entry, full, words)
        if due is not None:
            self._waiting.append((report, due))

    async def flush(self, connection: asyncpg.Connection) -> None:
        """Compare what waits."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        rows = await connection.fetch(
            _OF, [due.system for _, due in waiting], [UUID(due.request) for _, due in waiting]
        )
        found = {row["n"]: row for row in rows}
        for n, (report, due) in enumerate(waiting, 1):
            why = self._wrong(due, found.get(n))
            if why:
                report.wrong("claim", due.index, f"claim of entry {due.index}", why)

    def _wrong(self, due: Due, row: asyncpg.Record | None) -> str:
        if row is None:
            return "is not there: the request could be made and acted on again"
        leads_here = row["entry"] == due.entry
        if not leads_here and not (due.intent and row["settled"]):
            return f"leads to entry {row['entry']}, another one"
        self.good += leads_here
        if leads_here and row["settled"] is due.intent:
            return f"says that the request {'ended here' if due.intent else 'is still under way'}"
        if (row["retry_of"] or "") != due.retry_of:
            return "names another request that it repeats"
        if due.intent and not due.retry_of and row["effect"] != due.entry:
            return "names another effect at the provider"
        if due.asked is None:
            self.wordless += 1
        elif bytes(row["content"]) not in due.asked:
            return "says that something else was asked"
        return ""

    async def judge(
        self, connection: asyncpg.Connection, views: Views, reports: Mapping[int, StoreReport]
    ) -> None:
        """Name claims that lead to an entry that is not theirs; `reports` by a log's number."""
        opens = views.opens()
        *_, current = reports.values()
        await connection.execute(ANY_PLAN)
        unheard = await connection.fetchval(_UNHEARD, opens, timeout=WHOLE)
        nowhere = await connection.fetchval(_NOWHERE, timeout=WHOLE)
        every = await connection.fetchval("select count(*) from claim", timeout=WHOLE)
        if self.good + unheard + nowhere < every:
            told = 0
            async for rows in parts(connection, _ALL, opens):
                for row in rows:
                    if told < MOST and self._foreign(views, row):
                        told += 1
                        text = "another request's leads to it"
                        reports[row["log"]].wrong("claim", row["idx"], f"claim of entry {row['idx']}", text)
        await connection.execute(IN_ORDER)
        if unheard:
            current.unchecked.append(
                f"what was asked under {unheard} claims: the views of their entries are gone"
            )
        if self.wordless:
            current.unchecked.append(f"all of what was asked under {self.wordless} claims: its words are gone")

    def _foreign(self, views: Views, row: asyncpg.Record) -> bool:
        try:
            checked = views.check(parse_entry(bytes(row["leaf"])) if row["leaf"] else None, row)  # type: ignore[arg-type]
        except IntegrityError:
            return False
        if checked.of is not Of.GOOD or checked.full is None:
            return False
        due = due_of(self.blind, row["idx"], row["id"], checked.full, None)
        return due is None or (due.system, due.request) != (row["system"], row["request"])


def due_of(blind: Blind, index: int, entry: str, full: Mapping[str, Json], words: str | None) -> Due | None:
    """The claim that an entry of this view has; None where it has none."""
    view: Mapping[str, Any] = full
    try:
        request = str(UUID(view["request_id"]))
        if view["event"] == LATE:
            by = view["detail"]["recorded_by"]
            said = None if words is None else (blind.said(_late(view, words)),)
            return Due(index, entry, f"{by['agency']}/{by['system']}", request, "", False, said)
        if view["event"] not in _ENDS:
            return None
        asked = request_of(view)
        asked = replace(asked, provider=view["asked_of"] or "")
        contents = None if words is None else tuple(blind.content(each) for each in _worded(asked, words))
        return Due(index, entry, asked.caller, request, asked.retry_of, view["event"] == INTENT, contents)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None  # no request of ours ends in such a view


def _worded(asked: Request, words: str) -> Iterator[Request]:
    """The request with its words: those of the reason and those of an override are kept as one text."""
    override = asked.override
    if override is None or not override.words:
        yield replace(asked, reason=Reason(asked.reason.code, words))
        return
    lines = words.split("\n")
    for n in range(len(lines)):
        spoken = "\n".join(lines[:n]), "\n".join(lines[n:])
        said = Override(override.code, spoken[1], override.until)
        yield replace(asked, reason=Reason(asked.reason.code, spoken[0]), override=said)


def _late(view: Mapping[str, Any], words: str) -> dict[str, Json]:
    """As `core.late.content` has it."""
    told, about = view["told"], view["asked_by"]
    return {
        "occurred": told["occurred"],
        "channel": told["channel"],
        "gave": told["gave"],
        "took": told["took"],
        "about": {"scheme": about["scheme"], "value": about["value"]},
        "record_type": view["record_type"],
        "fields": told["fields"],
        "purpose": told["purpose"],
        "why": words,
        "agreement": (view["agreement"] or "").partition("/")[0],
        "incident": told["incident"] or "",
    }
