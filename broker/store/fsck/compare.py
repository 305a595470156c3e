"""What stands beside the entries, held against what they say of it: with the key folder alone.

Owns what hears the full views of all logs in their order, and what is said at the end of what was compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import asyncpg

from broker.store.blind import Blind
from broker.store.fsck.claims import Claims
from broker.store.fsck.cleared import Cleared
from broker.store.fsck.holds import Held
from broker.store.fsck.plans import Plans
from broker.store.fsck.report import StoreReport
from broker.store.fsck.rows import Rows
from broker.store.fsck.views import Checked, Of, Views
from broker.store.said import Said


class Compare:
    """Of one database."""

    def __init__(self, connection: asyncpg.Connection, blind: Blind) -> None:
        self._connection = connection
        self._claims = Claims(blind)
        self._held = Held()
        self._rows = Rows(blind)
        self._cleared = Cleared()
        self._plans = Plans()
        self._all_heard = True

    def hear(self, report: StoreReport, row: asyncpg.Record, at: datetime | None, checked: Checked) -> None:
        """One entry, made at that time (None: that is not known), as its views were found."""
        if checked.of is not Of.GOOD or checked.full is None:
            self._rows.not_heard(at)
            self._all_heard = False
            return
        index, entry, full = row["idx"], row["id"], checked.full
        self._claims.hear(report, index, entry, full, checked.words)
        self._held.hear(report, index, full)
        self._rows.hear(report, index, entry, full)
        self._cleared.hear(report, index, full)
        self._plans.hear(report, index, full)

    async def flush(self) -> None:
        """A part of the entries is complete."""
        await self._claims.flush(self._connection)

    async def judge(self, said: Said, views: Views, reports: Mapping[int, StoreReport]) -> None:
        """Once all have been heard; `reports` by a log's number."""
        *_, current = reports.values()
        await self._claims.judge(self._connection, views, reports)
        await self._held.judge(self._connection, said, views, current)
        await self._rows.judge(self._connection, said, views, current)
        may_be_said = self._rows.may_be_said
        now = await self._connection.fetchval("select clock_timestamp()")
        await self._cleared.judge(self._connection, may_be_said, current)
        await self._plans.judge(self._connection, may_be_said, current, all_heard=self._all_heard, now=now)
        current.compared |= {
            "claims": self._claims.good,
            "erasures and retentions against holds": self._held.compared,
            **self._rows.compared,
            "access_clearing": self._cleared.compared,
            "erasure plans": self._plans.compared,
        }
